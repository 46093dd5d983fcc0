//! Forecasts against whole experiments that are carried out: units come, are assigned, and
//! are looked at as a report does.

mod carried_out;

use std::path::Path;

use super::*;
use crate::experiments::read::{read_folder, read_text};

const REST: &str = "id = 'a'\nversion = 1\nmetrics.primary = ";

fn project() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// With a mode, a metric and further lines.
fn experiment(mode: &str, metric: &str, more: &str) -> CheckedExperiment {
    let arms = if more.contains("arms") { "" } else { "arms = [{ key = 'x' }, { key = 'y' }]\n" };
    let text = format!("{REST}'{metric}'\nmode = '{mode}'\n{arms}{more}");
    read_text(Path::new("a.toml"), &text).unwrap_or_else(|error| panic!("{error}"))
}

fn outlook(baseline: f64, effect: &str) -> Outlook {
    Outlook { units_per_day: 400.0, days: 14, baseline, deviation: None, effect: effect.parse().unwrap(), runs_per_unit: None, seed: 1 }
}

#[test]
fn effects_are_read_and_written() {
    for (text, effect, shown) in [
        ("5 %", Effect::Relative(0.05), "5 %"),
        ("+5%", Effect::Relative(0.05), "5 %"),
        (" -2.5 % ", Effect::Relative(-0.025), "-2.5 %"),
        ("0.07%", Effect::Relative(0.0007), "0.07 %"),
        ("0.01", Effect::Absolute(0.01), "0.01"),
        ("-.5", Effect::Absolute(-0.5), "-0.5"),
    ] {
        let read: Effect = text.parse().unwrap();
        let close = match (read, effect) {
            (Effect::Relative(one), Effect::Relative(other)) | (Effect::Absolute(one), Effect::Absolute(other)) => {
                (one - other).abs() < 1e-15
            }
            _ => false,
        };
        assert!(close && read.to_string() == shown, "{text}: {read:?}");
    }
    for text in ["", "%", "0", "0 %", "five", "5 % up", "1e-3", "inf", "nan %", "5,5", "--1"] {
        assert!(text.parse::<Effect>().unwrap_err().starts_with(&format!("is `{text}`; allowed: a share")), "{text}");
    }
}

#[test]
fn what_is_impossible_is_refused() {
    let check = |experiment: &CheckedExperiment, change: &dyn Fn(&mut Outlook), expect: &[&str]| {
        let mut outlook = outlook(0.4, "5 %");
        change(&mut outlook);
        let told: Vec<String> = simulate(experiment, &outlook).unwrap_err().iter().map(Problem::to_string).collect();
        assert_eq!(told.len(), expect.len(), "{told:?}");
        assert!(told.iter().zip(expect).all(|(told, expect)| told.starts_with(expect)), "{told:?}");
    };
    let ab = experiment("ab", "success", "stop.days_max = 20");
    let ranks = experiment("ab", "reciprocal_rank", "");
    check(&ab, &|o| o.units_per_day = 0.0, &["`units_per_day` is 0; allowed: over 0, at most 100000000"]);
    check(&ab, &|o| o.units_per_day = f64::NAN, &["`units_per_day` is NaN; allowed: "]);
    check(&ab, &|o| o.days = 21, &["`days` is 21; allowed: 1 to 20, as `stop.days_max`"]);
    check(&ranks, &|o| (o.days, o.deviation) = (0, Some(0.2)), &["`days` is 0; allowed: 1 to 3650"]);
    check(&ab, &|o| o.baseline = 1.0, &["`baseline` is 1; allowed: between 0 and 1"]);
    check(
        &ab,
        &|o| o.effect = Effect::Absolute(0.6),
        &["`effect` is 0.6; allowed: an effect other than 0 that leaves a mean between 0 and 1"],
    );
    check(&ab, &|o| o.effect = Effect::Relative(-1.0), &["`effect` is -100 %; allowed: "]);
    check(&ab, &|o| o.effect = Effect::Absolute(0.0), &["`effect` is 0; allowed: "]);
    check(&ab, &|o| o.deviation = Some(0.5), &["`deviation` is 0.5; allowed: over 0, at most 0.4899"]);
    check(&ab, &|o| o.runs_per_unit = Some(0.5), &["`runs_per_unit` is 0.5; allowed: 1 to 10000"]);
    check(&ranks, &|_| (), &["`deviation` is missing; allowed: the standard deviation of a unit's reciprocal_rank"]);
    check(
        &experiment("ab", "success", "unit.kind = 'run'"),
        &|o| o.runs_per_unit = Some(2.0),
        &["`runs_per_unit` is 2; allowed: 1 or none"],
    );
    check(&experiment("ab", "success", "coverage = 0"), &|_| (), &["`coverage` is 0; allowed: over 0"]);
    check(&experiment("ab", "latency_p95_ms", ""), &|_| (), &["`metrics.primary` is `latency_p95_ms`; allowed: a mean over units"]);
    check(&experiment("shadow", "ndcg", ""), &|o| o.deviation = Some(0.2), &["`mode` is `shadow`; allowed: ab or interleave"]);
    check(&experiment("offline", "ndcg@10", ""), &|_| (), &["`mode` is `offline`; allowed: ", "`metrics.primary` is `ndcg@10`"]);
    check(
        &experiment("interleave", "used_findings", ""),
        &|o| o.deviation = Some(1.0),
        &["`deviation` is 1; allowed: none in mode interleave"],
    );
    check(&ab, &|o| (o.units_per_day, o.baseline) = (-1.0, 2.0), &["`units_per_day` is -1", "`baseline` is 2"]);
}

#[test]
fn what_takes_part_comes_from_the_file() {
    let more = "coverage = 0.5\neligibility.holdout = { salt = 'h', share = 0.1 }\nlayer = { name = 'l', salt = 'm', buckets = [0, 4000] }\n\
                arms = [{ key = 'x', weight = 3 }, { key = 'y' }]";
    let outcome = simulate(&experiment("ab", "success", more), &outlook(0.4, "0.1")).unwrap();
    assert!((outcome.share - 0.9 * 0.4 * 0.5).abs() < 1e-12);
    assert_eq!(outcome.days[9].units, [540, 180]);
    let interleaved = simulate(&experiment("interleave", "used_findings", "coverage = 0.5"), &outlook(0.4, "20 %")).unwrap();
    assert_eq!(interleaved.days[9].units, [2_000, 2_000], "every unit has both arms");
}

#[test]
fn corrections_leave_less_to_each_comparison() {
    let with = |more: &str| {
        let more = format!("metrics.secondary = ['ndcg']\n{more}\narms = [{{ key = 'x' }}, {{ key = 'y' }}, {{ key = 'z' }}]");
        let outcome = simulate(&experiment("ab", "success", &more), &Outlook { units_per_day: 1_000.0, ..outlook(0.4, "0.03") }).unwrap();
        (outcome.level, outcome.comparisons[1].power)
    };
    let [none, holm, hochberg] = ["none", "holm", "benjamini_hochberg"].map(|name| with(&format!("analysis.correction = '{name}'")));
    assert_eq!((none.0, holm.0), (0.05, 0.0125));
    assert!(holm == hochberg && holm.1 < none.1 - 0.05, "{none:?} {holm:?}");
}

#[test]
fn the_same_outlook_gives_the_same_figures() {
    for experiment in [experiment("ab", "success", ""), experiment("interleave", "used_findings", "")] {
        let outlook = outlook(0.4, "12 %");
        let one = simulate(&experiment, &outlook).unwrap();
        assert_eq!(one, simulate(&experiment, &outlook).unwrap());
        let other = simulate(&experiment, &Outlook { seed: 2, ..outlook.clone() }).unwrap();
        assert!(one.days != other.days && (one.comparisons[0].power - other.comparisons[0].power).abs() < 0.04);
        let text = serde_json::to_string(&one).unwrap();
        assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap(), one);
    }
}

#[test]
fn figures_agree_with_each_other() {
    for (mode, metric, more) in [
        ("ab", "success", ""),
        ("ab", "success", "analysis.method = 'mixture_sprt'"),
        ("interleave", "helpful_share", ""),
        ("interleave", "used_findings", "stop.units_min = 900"),
    ] {
        let experiment = experiment(mode, metric, more);
        let outlook = outlook(0.4, "-15 %");
        let outcome = simulate(&experiment, &outlook).unwrap();
        let comparison = &outcome.comparisons[0];
        assert!(outcome.days.iter().map(|day| day.power[0]).is_sorted(), "{outcome:?}");
        assert_eq!(outcome.days[13].power[0], comparison.power);
        assert!(comparison.false_alarm_rate < 0.05 && comparison.decision_day > 1.0 && comparison.decision_day <= 14.0);
        // What is found with 80 % is found with 80 %.
        let smallest = comparison.effect_detectable.unwrap();
        assert!(smallest < 0.0);
        let at = simulate(&experiment, &Outlook { effect: Effect::Absolute(smallest), ..outlook.clone() }).unwrap();
        assert!((at.comparisons[0].power - 0.8).abs() < 0.02, "{mode} {metric}: {at:?}");
        let days = comparison.days_to_power.unwrap();
        let until = simulate(&experiment, &Outlook { days, ..outlook }).unwrap();
        assert!((until.comparisons[0].power - 0.8).abs() < 0.1, "{mode} {metric} {days}: {}", until.comparisons[0].power);
    }
}

#[test]
fn one_look_has_its_day() {
    let fixed =
        experiment("ab", "success", "analysis.method = 'fixed'\nstop.units_min = 1000\narms = [{ key = 'x', weight = 3 }, { key = 'y' }]");
    let outcome = simulate(&fixed, &outlook(0.4, "0.06")).unwrap();
    let comparison = &outcome.comparisons[0];
    // 100 units a day come to y.
    assert!(outcome.days[8].power[0] == 0.0 && outcome.days[9].power[0] > 0.8, "{:?}", outcome.days);
    assert_eq!((comparison.decision_day, comparison.days_to_power), (10.0, Some(10)));
    assert!((comparison.false_alarm_rate - 0.05).abs() < 1e-9);
    let weak = simulate(&fixed, &outlook(0.4, "0.02")).unwrap();
    assert_eq!(weak.comparisons[0].days_to_power, None);
    assert!(weak.notes[0].starts_with("for a power of 80 % of y, `stop.units_min` has to be "), "{:?}", weak.notes);
    let coin = experiment("interleave", "used_findings", "analysis.method = 'fixed'\nstop.units_min = 2000");
    let outcome = simulate(&coin, &outlook(0.4, "0.1")).unwrap();
    assert!(outcome.days[3].power[0] == 0.0 && outcome.days[4].power[0] > 0.8, "{:?}", outcome.days);
    assert_eq!(outcome.comparisons[0].decision_day, 5.0);
}

#[test]
fn what_never_comes_is_none() {
    let outlook = Outlook { units_per_day: 1.0, ..outlook(0.4, "1 %") };
    let outcome = simulate(&experiment("ab", "success", ""), &outlook).unwrap();
    let comparison = &outcome.comparisons[0];
    assert_eq!((comparison.power, comparison.days_to_power, comparison.effect_detectable), (0.0, None, None));
    assert_eq!(outcome.notes, ["nothing is decided before every arm has 500 units, on day 1,000"]);
    assert!(outcome.sentence.ends_with("within 14 days with a chance of 0 %; 80 % are out of reach."), "{}", outcome.sentence);
}

#[test]
fn rare_runs_in_uneven_arms_are_warned_of() {
    let uneven = experiment("ab", "error_rate", "arms = [{ key = 'x', weight = 4 }, { key = 'y' }]");
    let outcome = simulate(&uneven, &outlook(0.005, "0.01")).unwrap();
    assert!(
        outcome
            .notes
            .iter()
            .any(|note| note.starts_with("the smaller of y and x expects 2.5 runs") && note.ends_with("to 2,000 or make the arms even")),
        "{:?}",
        outcome.notes
    );
}

/// Each example that is an experiment on people, with a plausible outlook.
#[test]
fn the_examples_have_a_forecast() {
    let files = read_folder(&project().join("examples/experiments")).unwrap_or_else(|error| panic!("{error}"));
    let mut simulated = Vec::new();
    for file in &files {
        let experiment = &file.experiment;
        let base = Outlook { units_per_day: 2_000.0, ..outlook(0.4, "8 %") };
        let outlook = match experiment.metrics.primary.to_string().as_str() {
            "reciprocal_rank" | "ndcg" => Outlook { deviation: Some(0.35), ..base },
            _ => base,
        };
        match simulate(experiment, &outlook) {
            Ok(outcome) => {
                println!("{}", outcome.text());
                assert!(
                    outcome.comparisons.iter().all(|comparison| comparison.power > 0.0 && comparison.days_to_power.is_some()),
                    "{outcome:?}"
                );
                assert!(outcome.comparisons.iter().all(|comparison| comparison.false_alarm_rate <= outcome.level * 1.2), "{outcome:?}");
                simulated.push(experiment.id.as_str());
            }
            Err(problems) => assert!(experiment.id == "embedding-shadow" && problems[0].key == "mode", "{problems:?}"),
        }
    }
    assert_eq!(simulated, ["custom-interleaved", "fusion-dbsf", "rerank-depth", "rm3"]);
}

/// What a fence of the documentation holds, after the line that opens it.
fn fenced<'a>(page: &'a str, opening: &str) -> &'a str {
    let (_, after) = page.split_once(&format!("```{opening}\n")).unwrap();
    after.split_once("```").unwrap().0
}

#[test]
fn the_documentation_shows_what_is() {
    let page = std::fs::read_to_string(project().join("docs/experiments.md")).unwrap();
    let experiment = read_text(Path::new("rrf-k.toml"), fenced(&page, "toml")).unwrap_or_else(|error| panic!("{error}"));
    let outlook = Outlook { units_per_day: 2_000.0, days: 28, deviation: Some(0.42), seed: 0, ..outlook(0.46, "5 %") };
    let text = simulate(&experiment, &outlook).unwrap().text();
    assert!(page.contains(&text), "{text}");
    let explanation = carried_out::plan(&experiment).explain("session-17");
    assert!(page.contains(&explanation.why), "{}", explanation.why);
    for line in fenced(&page, "json").lines() {
        let event: crate::experiments::events::Event = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_string(&event).unwrap(), line);
    }
}
