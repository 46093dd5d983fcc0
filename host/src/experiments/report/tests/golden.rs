//! Reports of small journals, held against files: `golden/*.{json,md,html}`.

use super::journal::*;
use super::*;

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
fn the_other_modes_have_theirs() {
    for (name, (experiment, events)) in [("interleave", outcomes::interleaved(120, 7)), ("shadow", outcomes::shadowed(520))] {
        let report = report_of(&experiment, &events);
        held_against(&format!("{name}.md"), &markdown(&report));
        held_against(&format!("{name}.html"), &html(&report));
    }
}
