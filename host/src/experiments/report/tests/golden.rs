//! Reports of small journals, held against files: `golden/*.{json,md,html}`.

use super::journal::*;
use super::*;
use crate::experiments::events;

/// Compares with a file, or writes it.
fn held_against(name: &str, text: &str) {
    let path = folder().join(name);
    if std::env::var_os("SPANLOOM_BLESS_EXPERIMENTS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "{name} is not what is written now; SPANLOOM_BLESS_EXPERIMENTS=1 takes over:\n{text}");
}

fn pretty(report: &Report) -> String {
    serde_json::to_string_pretty(report).unwrap() + "\n"
}

#[test]
fn a_small_journal_has_its_report() {
    let experiment = two_arms(
        "hash.salt = 'x'\nmetrics.primary = 'success'\nmetrics.secondary = ['reciprocal_rank', 'latency_p95_ms']\nanalysis.cuped_days = 7\n\
         stop.units_min = 500\nstop.days_max = 28\n[[metrics.guardrails]]\nmetric = 'latency_p95_ms'\nincrease_max = 0.1\n\
         [[metrics.guardrails]]\nmetric = 'zero_result_rate'\nlimit = 0.1",
    );
    let mut events = Journal { arms: vec![("off", 0.35), ("on", 0.5)], history: 1, spread: 0.2, ..Journal::default() }.events();
    events.push(control("pause", START_MS + moment::DAY_MS, "looking at <errors> & `more`"));
    events.push(control("start", START_MS + 2 * moment::DAY_MS, "all right | again"));
    let report = report_of(&experiment, &events);
    held_against("ab.json", &pretty(&report));
    held_against("ab.md", &markdown(&report));
    held_against("ab.html", &html(&report));
    assert!(serde_json::from_str::<Report>(&pretty(&report)).unwrap() == report, "another after writing and reading");
}

#[test]
fn an_arm_that_is_rolled_back_is_told() {
    let experiment =
        two_arms("metrics.primary = 'success'\nmetrics.secondary = []\n[[metrics.guardrails]]\nmetric = 'error_rate'\nlimit = 0.02");
    let at = START_MS + 5 * moment::DAY_MS;
    let fails = |event: &mut Event| {
        let recent = moment::read(&event.timestamp).is_some_and(|when| when > at - moment::DAY_MS);
        if let events::Action::Search(search) = &mut event.action
            && recent
            && search.experiments.iter().any(|own| own.variant == "on")
        {
            search.status = "error".into();
            search.findings.clear();
        }
    };
    let mut events = Journal::default().events();
    events.retain(|event| moment::read(&event.timestamp).is_some_and(|when| when < at));
    events.iter_mut().for_each(fails);
    events.push(control("roll_back", at, "error_rate of the latest 100 runs of arm `on` is 0.31; allowed: 0.02"));
    events.push(control("refused", at + 1_000, "ramp: the coverage is 1.5; allowed: 0 to 1"));
    let report = report_of(&experiment, &events);
    held_against("rolled_back.md", &markdown(&report));
    held_against("rolled_back.html", &html(&report));
}

#[test]
fn the_other_modes_have_theirs() {
    for (name, (experiment, events)) in [("interleave", outcomes::interleaved(120, 7)), ("shadow", outcomes::shadowed(520))] {
        let report = report_of(&experiment, &events);
        held_against(&format!("{name}.md"), &markdown(&report));
        held_against(&format!("{name}.html"), &html(&report));
    }
}
