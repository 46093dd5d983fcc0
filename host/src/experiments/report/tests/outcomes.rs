//! What is true of a population is what its report says, and never more.

use super::journal::*;
use super::*;
use crate::experiments::events::{Action, Search, Shadow, Shown};

const SUCCESS: &str = "metrics.primary = 'success'";

fn better() -> Vec<Event> {
    Journal { arms: vec![("off", 0.35), ("on", 0.55)], ..Journal::default() }.events()
}

#[test]
fn a_better_arm_is_called_better() {
    let report = report_of(&two_arms(SUCCESS), &better());
    assert_eq!(report.verdict.outcome, Outcome::Better, "{} {:?}", report.verdict.sentence, report.sample_ratio);
    assert!(report.verdict.sentence.starts_with("`on` is better than `off` on success: +0."), "{}", report.verdict.sentence);
    let own = &report.comparisons[0];
    assert!(own.low.unwrap() > 0.0 && own.low.unwrap() < 0.2 && own.high.unwrap() > 0.2, "{own:?}");
    assert!(own.p_adjusted.unwrap() < 0.05 && own.holds_for == HoldsFor::AnyLook);
    assert_eq!(own.course.len(), 40);
    assert!(own.course[0].low.is_none() && own.course[39].low == own.low, "the burn-in has no interval");
    assert!(report.warnings.is_empty(), "{:?}", report.warnings);
}

#[test]
fn the_direction_of_a_metric_counts() {
    let report = report_of(&two_arms("metrics.primary = 'abandonment'"), &better());
    assert_eq!(report.verdict.outcome, Outcome::Better, "{} {:?}", report.verdict.sentence, report.sample_ratio);
    assert!(report.verdict.sentence.contains("`on` is better than `off` on abandonment (lower is better): −0."));
    let worse = Journal { arms: vec![("off", 0.55), ("on", 0.35)], ..Journal::default() }.events();
    let report = report_of(&two_arms(SUCCESS), &worse);
    assert_eq!(report.verdict.outcome, Outcome::Worse);
    let report = report_of(&two_arms("control = 'on'\nmetrics.primary = 'success'"), &worse);
    assert_eq!(report.verdict.outcome, Outcome::Better, "{} {:?}", report.verdict.sentence, report.sample_ratio);
}

#[test]
fn equal_arms_are_not_decided() {
    let metrics = "metrics.primary = 'reciprocal_rank'\nmetrics.secondary = ['success', 'error_rate']";
    for (seed, analysis) in [
        (1, ""),
        (2, "analysis.method = 'mixture_sprt'"),
        (3, "analysis.correction = 'benjamini_hochberg'"),
        (4, "analysis.correction = 'none'"),
    ] {
        let report = report_of(&two_arms(&format!("{metrics}\n{analysis}")), &Journal { seed, ..Journal::default() }.events());
        assert_eq!(report.verdict.outcome, Outcome::NotDecided, "{}", report.verdict.sentence);
        assert!(report.verdict.sentence.contains(": between −0.") && report.verdict.sentence.ends_with(": not decided."));
        assert_eq!(report.comparisons.len(), 3);
        assert!(report.comparisons[2].why_none.is_some(), "no run failed, so that nothing varies");
    }
}

#[test]
fn a_mismatch_has_no_verdict() {
    let events = Journal { last_share: 0.4, arms: vec![("off", 0.2), ("on", 0.8)], ..Journal::default() }.events();
    let report = report_of(&two_arms(SUCCESS), &events);
    assert_eq!(report.verdict.outcome, Outcome::RatioMismatch);
    assert!(report.verdict.sentence.starts_with("No verdict: ") && report.verdict.arms.is_empty());
    let ratio = report.sample_ratio.unwrap();
    assert!(ratio.mismatch && ratio.p.unwrap() < 0.001);
    // An arm that was rolled back gets no more units, which is no mismatch.
    let kept: Vec<Event> = Journal::default().events();
    let cut = START_MS + 5 * moment::DAY_MS;
    let is_on = |event: &Event| matches!(&event.action, Action::Search(search) if search.experiments.iter().any(|own| own.variant == "on"));
    let mut rolled: Vec<Event> = kept.into_iter().filter(|event| !is_on(event) || moment::read(&event.timestamp).unwrap() < cut).collect();
    rolled.push(control("roll_back", cut, "error_rate"));
    let report = report_of(&two_arms(SUCCESS), &rolled);
    assert!(!report.sample_ratio.as_ref().unwrap().mismatch, "{:?}", report.sample_ratio);
    assert!(kinds(&report).contains(&WarningKind::RolledBack));
    let told = "; `on` was rolled back at 2026-03-06T00:00:00Z (error_rate)";
    assert!(report.verdict.sentence.contains(told), "{}", report.verdict.sentence);
    // A start gives it back; the warning stays.
    rolled.push(control("start", cut + 1, "gives back arm `on`"));
    let report = report_of(&two_arms(SUCCESS), &rolled);
    assert!(!report.verdict.sentence.contains("rolled back"), "{}", report.verdict.sentence);
    assert!(report.warnings[0].message.starts_with("rolled back: `on` at 2026-03-06T00:00:00Z (error_rate); from then on"));
}

#[test]
fn the_days_of_one_that_was_over_count_anew() {
    let ends = |starts: &[i64]| {
        let starts = starts.iter().map(|days| control("start", START_MS + days * moment::DAY_MS, ""));
        let events: Vec<Event> = Journal { units: 20, ..Journal::default() }.events().into_iter().chain(starts).collect();
        report_of(&two_arms(&format!("{SUCCESS}\nstop.days_max = 14")), &events).period.ends_at.unwrap()
    };
    assert_eq!(ends(&[]), "2026-03-15T00:00:00Z");
    assert_eq!(ends(&[3, 13]), "2026-03-15T00:00:00Z");
    assert_eq!(ends(&[13, 14]), "2026-03-29T00:00:00Z");
    assert_eq!(ends(&[20, 30, 34]), "2026-04-18T00:00:00Z");
}

#[test]
fn nothing_counts_twice_and_order_does_not_matter() {
    let experiment = two_arms("metrics.primary = 'reciprocal_rank'\nmetrics.secondary = ['used_findings']\nanalysis.cuped_days = 7");
    let events = Journal { history: 1, ..Journal::default() }.events();
    let report = report_of(&experiment, &events);
    let mut twice = events.clone();
    // The same again from another source, later.
    twice.extend(events.iter().cloned().map(|mut event| {
        event.timestamp = moment::write(moment::read(&event.timestamp).unwrap() + i64::from(!event.query_id.is_empty()) * 1_000);
        if let Action::Used(mark) = &mut event.action {
            mark.source = "open_file".into();
        }
        event
    }));
    let mut again = report_of(&experiment, &twice);
    assert_eq!((again.counts.events, again.counts.repeated), (2 * events.len() as u64, events.len() as u64));
    again.counts = report.counts.clone();
    assert_eq!(again, report);
    twice.reverse();
    let mut reversed = report_of(&experiment, &twice);
    reversed.counts = report.counts.clone();
    assert_eq!(reversed, report);
}

#[test]
fn history_lessens_the_variance() {
    let events =
        Journal { history: 6, runs_per_unit: 6, spread: 0.35, arms: vec![("off", 0.45), ("on", 0.5)], ..Journal::default() }.events();
    let plain = report_of(&two_arms(SUCCESS), &events);
    let adjusted = report_of(&two_arms(&format!("{SUCCESS}\nanalysis.cuped_days = 7")), &events);
    let width = |report: &Report| report.comparisons[0].high.unwrap() - report.comparisons[0].low.unwrap();
    assert!(width(&adjusted) < 0.8 * width(&plain), "{} {}", width(&adjusted), width(&plain));
    let history = adjusted.comparisons[0].history.as_ref().unwrap();
    assert!(history.units_share == 1.0 && history.theta > 0.5 && history.variance_reduction.unwrap() > 0.3, "{history:?}");
    assert!(plain.comparisons[0].history.is_none());
    // One day reaches the history of some units only.
    let short = report_of(&two_arms(&format!("{SUCCESS}\nanalysis.cuped_days = 1")), &events);
    assert!(kinds(&short).contains(&WarningKind::UnitsWithoutHistory));
}

#[test]
fn before_enough_units_nothing_is_decided() {
    let check = |more: &str, units: u32, expect: &str| {
        let events = Journal { units, arms: vec![("off", 0.2), ("on", 0.9)], ..Journal::default() }.events();
        let report = report_of(&two_arms(&format!("{SUCCESS}\n{more}")), &events);
        assert_eq!(report.verdict.outcome, Outcome::TooFewUnits, "{}", report.verdict.sentence);
        assert!(report.verdict.sentence.contains(expect), "{}", report.verdict.sentence);
        assert!(kinds(&report).contains(&WarningKind::TooFewUnits));
    };
    check("", 200, "every arm needs 500 units");
    check("stop.units_min = 5000", 1_200, "not decided before 5000 units of every arm; so far between +0.");
    check("stop.units_min = 5000\nanalysis.method = 'fixed'", 1_200, "the look was set for 5000 units of every arm");
    let fixed = two_arms(&format!("{SUCCESS}\nstop.units_min = 100\nanalysis.method = 'fixed'"));
    let report = report_of(&fixed, &better());
    assert!(report.verdict.sentence.ends_with("with 95 % at one look."), "{}", report.verdict.sentence);
    assert_eq!(report.comparisons[0].course.iter().filter(|point| point.low.is_some()).count(), 1);
    assert!(kinds(&report).contains(&WarningKind::OneLook));
}

#[test]
fn guardrails_are_told_and_named() {
    let rules = "metrics.primary = 'success'\nmetrics.secondary = ['latency_p95_ms']\n[[metrics.guardrails]]\nmetric = 'latency_p95_ms'\n\
                 limit = 150\n[[metrics.guardrails]]\nmetric = 'latency_p95_ms'\nincrease_max = 0.5\n[[metrics.guardrails]]\n\
                 metric = 'trap_rate'\nlimit = 0.5\nruns_min = 9999";
    let report = report_of(&two_arms(rules), &better());
    let states: Vec<_> = report.guardrails.iter().map(|own| (own.arm.as_str(), own.metric.as_str(), own.state)).collect();
    use GuardrailState::*;
    assert_eq!(
        states,
        [
            ("off", "latency_p95_ms", Breached),
            ("on", "latency_p95_ms", Breached),
            ("on", "latency_p95_ms", Ok),
            ("off", "trap_rate", TooFewRuns),
            ("on", "trap_rate", TooFewRuns)
        ]
    );
    assert!(report.verdict.sentence.contains("; 2 guardrails are breached: latency_p95_ms of `off` is "), "{}", report.verdict.sentence);
    assert_eq!(report.arms[1].latency.len(), 3);
    let latency = &report.comparisons[1];
    assert!(latency.p.is_none() && latency.low.unwrap() < 0.0 && latency.high.unwrap() > 0.0 && latency.holds_for == HoldsFor::OneLook);
}

#[test]
fn doubtful_data_is_named() {
    let experiment = two_arms(SUCCESS);
    let at = START_MS + moment::DAY_MS;
    let mut events = Journal { units: 40, ..Journal::default() }.events();
    let mut other = exposure("on", 900);
    other.version = 3;
    events.push(event("v3", at, Action::Search(search(900, 1, vec![other]))));
    events.push(event("gone", at, Action::Search(search(901, 1, vec![exposure("gone", 901)]))));
    events.push(event("both-1", at, Action::Search(search(902, 1, vec![exposure("on", 902)]))));
    events.push(event("both-2", at, Action::Search(search(902, 1, vec![exposure("off", 902)]))));
    events.push(event("nobody", at, Action::Used(mark(1, 1, "tool"))));
    events.push(event("r-1-0", START_MS, Action::Used(mark(77, 1, "tool"))));
    events.push(event("late", START_MS + 40 * moment::DAY_MS, Action::Search(search(903, 1, vec![exposure("on", 903)]))));
    events.push(event("late", START_MS + 39 * moment::DAY_MS, Action::Used(mark(1, 1, "tool"))));
    events.push(event("", at, Action::Used(mark(1, 1, "tool"))));
    events.push(control("start", at, &format!("digest {}", "ab".repeat(32))));
    events.push(control("pause", at, ""));
    let report = report_of(&experiment, &events);
    use WarningKind::*;
    let expect = [
        UnitsInSeveralArms,
        OtherVersions,
        UnknownArms,
        DefinitionChanged,
        Paused,
        TooFewUnits,
        UnknownRuns,
        NotShown,
        ClockSkew,
        ClockSkew,
        TimeGap,
        Unreadable,
    ];
    assert_eq!(kinds(&report), expect, "{:#?}", report.warnings);
    assert!(report.warnings[1].message.contains("version 3 (1)"));
    assert_eq!(report.counts.units, 41, "without 902, 901 and 900");
    assert!(report.verdict.sentence.ends_with("; but the definition was changed under the same version."));
    let same = control("start", at, &format!("definition {}", experiment.digest()));
    assert!(!kinds(&report_of(&experiment, &[same])).contains(&DefinitionChanged));
}

#[test]
fn an_empty_journal_has_nothing_yet() {
    for mode in ["ab", "shadow", "interleave"] {
        let metric = if mode == "interleave" { "used_findings" } else { "reciprocal_rank" };
        let experiment = experiment(&format!(
            "id = 'rm3'\nversion = 4\nmode = '{mode}'\narms = [{{ key = 'a' }}, {{ key = 'b' }}]\nmetrics.primary = '{metric}'"
        ));
        let report = report_of(&experiment, &[]);
        assert_eq!(report.verdict.outcome, Outcome::NothingYet);
        assert_eq!(report.verdict.sentence, "There is nothing yet: the journal has no run of `rm3`, version 4.");
        assert!(markdown(&report).contains("nothing yet") && html(&report).contains("nothing yet"));
    }
}

#[test]
fn every_arm_has_its_own_verdict() {
    let experiment = experiment(
        "id = 'rm3'\nversion = 1\nmode = 'ab'\narms = [{ key = 'off' }, { key = 'same' }, { key = 'on' }]\nmetrics.primary = 'success'",
    );
    let journal = Journal { units: 3_000, arms: vec![("off", 0.3), ("same", 0.3), ("on", 0.5)], last_share: 0.333, ..Journal::default() };
    let report = report_of(&experiment, &journal.events());
    let arms: Vec<_> = report.verdict.arms.iter().map(|own| (own.arm.as_str(), own.outcome)).collect();
    assert_eq!(arms, [("same", Outcome::NotDecided), ("on", Outcome::Better)], "{}", report.verdict.sentence);
    assert_eq!(report.verdict.outcome, Outcome::Better);
    assert_eq!(report.comparisons[0].level, 0.975);
}

/// Runs that show the two arms' findings in turns; what is used belongs to `winner`.
pub fn interleaved(units: u32, winner_share: u32) -> (CheckedExperiment, Vec<Event>) {
    let experiment = experiment(
        "id = 'rm3'\nversion = 1\nmode = 'interleave'\narms = [{ key = 'off' }, { key = 'on' }]\nmetrics.primary = 'used_findings'\n\
         metrics.secondary = ['helpful_share']\nunit.kind = 'query'\n[[metrics.guardrails]]\nmetric = 'error_rate'\nlimit = 0.02",
    );
    let mut events = Vec::new();
    for unit in 0..units {
        let id = format!("r-{unit}");
        let at = START_MS + i64::from(unit) * 60_000;
        let mut own = search(unit, u64::from(unit), vec![exposure("interleave", unit)]);
        own.findings = (1..=6).map(|rank| Shown { object_id: u64::from(rank), ordinal: rank, team: Some((rank + 1) % 2) }).collect();
        events.push(event(&id, at, Action::Search(own)));
        // Odd ranks are of `off`, even ones of `on`.
        let rank = if unit % 10 < winner_share { 2 } else { 1 };
        events.push(event(&id, at + 5_000, Action::Opened(mark(rank, rank as u32, "open_file"))));
        if unit % 7 == 0 {
            events.push(event(&id, at + 6_000, Action::Helpful(mark(2, 2, "tool"))));
            events.push(event(&id, at + 6_000, Action::NotHelpful(mark(1, 1, "tool"))));
        }
    }
    (experiment, events)
}

#[test]
fn units_prefer_an_arm_of_one_list() {
    let (experiment, events) = interleaved(300, 7);
    let report = report_of(&experiment, &events);
    assert_eq!(report.verdict.outcome, Outcome::Better, "{} {:?}", report.verdict.sentence, report.sample_ratio);
    assert!(report.verdict.sentence.starts_with("`on` is preferred to `off` on used_findings: "), "{}", report.verdict.sentence);
    let own = &report.preferences[0];
    assert_eq!(own.wins + own.losses + own.ties, 300);
    assert!(report.comparisons.is_empty() && report.sample_ratio.is_none() && report.arms.len() == 1);
    assert_eq!((report.preferences[1].wins, report.preferences[1].losses), (43, 0), "helpful and not helpful on 43 units");
    assert_eq!(report_of(&experiment, &interleaved(300, 5).1).verdict.outcome, Outcome::NotDecided);
    assert_eq!(report_of(&experiment, &interleaved(300, 2).1).verdict.outcome, Outcome::Worse);
}

/// Runs whose used finding the other arm has first, while the answering one has it third.
pub fn shadowed(units: u32) -> (CheckedExperiment, Vec<Event>) {
    let experiment = experiment(
        "id = 'rm3'\nversion = 1\nmode = 'shadow'\narms = [{ key = 'off' }, { key = 'on' }]\nmetrics.primary = 'reciprocal_rank'\n\
         metrics.secondary = ['ndcg', 'latency_p95_ms', 'error_rate']\nunit.kind = 'run'\n[[metrics.guardrails]]\n\
         metric = 'latency_p95_ms'\nincrease_max = 0.5\n[[metrics.guardrails]]\nmetric = 'trap_rate'\nlimit = 0.1",
    );
    let mut events = Vec::new();
    for unit in 0..units {
        let id = format!("r-{unit}");
        let at = START_MS + i64::from(unit) * 60_000;
        events.push(event(&id, at, Action::Search(search(unit, u64::from(unit % 50), vec![exposure("off", unit)]))));
        let shadow = Shadow {
            experiment: "rm3".into(),
            version: 1,
            variant: "on".into(),
            status: "ok".into(),
            duration_us: 90_000 + u64::from(unit),
            findings: if unit % 5 == 0 { vec![9, 8, 7] } else { vec![3, 1, 2] },
            overlap_at_10: 0.6,
            rank_biased_overlap: 0.5,
            warnings: if unit % 100 == 0 { vec!["slow".into()] } else { vec![] },
        };
        events.push(event(&id, at + 100, Action::Shadow(shadow)));
        events.push(event(&id, at + 5_000, Action::Used(mark(3, 3, "tool"))));
        events.push(event(&id, at + 5_000, Action::Graded(crate::experiments::events::Mark { grade: Some(2), ..mark(3, 3, "tool") })));
    }
    (experiment, events)
}

#[test]
fn shadows_are_held_against_what_was_used() {
    let (experiment, events) = shadowed(600);
    let report = report_of(&experiment, &events);
    assert_eq!(report.verdict.outcome, Outcome::Better, "{} {:?}", report.verdict.sentence, report.sample_ratio);
    assert!(report.verdict.sentence.contains("of what `off` showed: +0.4667"), "{}", report.verdict.sentence);
    let values: Vec<_> = report.arms.iter().map(|arm| (arm.runs, arm.metrics[0].value.unwrap(), arm.metrics[1].value.unwrap())).collect();
    assert_eq!(values, [(600, 0.333333, 0.5), (600, 0.8, 0.8)]);
    let own = &report.agreements[0];
    assert_eq!((own.runs, own.overlap_at_10, own.rank_biased_overlap, own.runs_with_warnings), (600, Some(0.6), Some(0.5), 6));
    let states: Vec<_> = report.guardrails.iter().map(|own| own.state).collect();
    assert_eq!(states, [GuardrailState::Breached, GuardrailState::Ok, GuardrailState::Unknown]);
    assert!(kinds(&report).contains(&WarningKind::OneSided));
}

#[test]
fn other_runs_of_the_journal_have_no_part() {
    let unrelated = Search { units: Default::default(), ..search(1, 1, vec![]) };
    let events = [event("x", START_MS, Action::Search(unrelated)), event("x", START_MS, Action::Used(mark(1, 1, "tool")))];
    let report = report_of(&two_arms(SUCCESS), &events);
    assert_eq!((report.verdict.outcome, report.counts.runs, report.warnings.len()), (Outcome::NothingYet, 0, 0));
}

#[test]
#[ignore = "takes some seconds, and a gigabyte"]
fn a_million_events_are_no_matter() {
    let journal = Journal { units: 110_000, runs_per_unit: 6, spread: 0.2, ..Journal::default() };
    let metrics = "metrics.primary = 'success'\nmetrics.secondary = ['reciprocal_rank', 'abandonment', 'error_rate']";
    let events = journal.events();
    let begin = std::time::Instant::now();
    let report = report_of(&two_arms(metrics), &events);
    println!("{} events in {:?}", events.len(), begin.elapsed());
    assert!(events.len() > 900_000 && report.verdict.outcome == Outcome::NotDecided, "{}", report.verdict.sentence);
}

#[test]
fn chance_alone_is_seldom_taken_for_more() {
    let (mut mismatches, mut decided) = (0_u32, 0_u32);
    for seed in 0..200 {
        let report = report_of(&two_arms(SUCCESS), &Journal { seed, ..Journal::default() }.events());
        mismatches += u32::from(report.verdict.outcome == Outcome::RatioMismatch);
        decided += u32::from(matches!(report.verdict.outcome, Outcome::Better | Outcome::Worse));
    }
    // One in a thousand, and at most five in a hundred.
    assert!(mismatches <= 2 && decided <= 10, "{mismatches} {decided}");
}
