//! What is a breach, of whom, and how often it is told.

use std::path::Path;

use super::*;
use crate::experiments::events::Shown;
use crate::experiments::read_text;

pub(super) const GOOD: Observation = Observation { duration_us: 40_000, failed: false, empty: false, trapped: false, fell_back: false };
pub(super) const FAILED: Observation = Observation { failed: true, ..GOOD };
const EMPTY: Observation = Observation { empty: true, ..GOOD };
const TRAPPED: Observation = Observation { trapped: true, ..GOOD };
const FELL_BACK: Observation = Observation { fell_back: true, ..GOOD };

/// Arms `a`, the control, and `b`.
pub(super) fn monitor(mode: &str, guardrails: &str) -> Monitor {
    let primary = if mode == "interleave" { "used_findings" } else { "reciprocal_rank" };
    let text = format!(
        "id = 'x'\nversion = 1\nmode = '{mode}'\narms = [{{ key = 'a' }}, {{ key = 'b' }}]\nmetrics.primary = '{primary}'\n\
         metrics.guardrails = [{guardrails}]"
    );
    Monitor::new(&read_text(Path::new("x.toml"), &text).unwrap_or_else(|error| panic!("{error}")))
}

fn taking(duration_us: u64) -> Observation {
    Observation { duration_us, ..GOOD }
}

/// The first breach of runs that come in turns, by the arms' places, and after how many.
fn first(monitor: &mut Monitor, turns: usize, run: impl Fn(usize) -> Vec<(usize, Observation)>) -> Option<(usize, Breach)> {
    (0..turns).find_map(|turn| {
        let breaches: Vec<Breach> = run(turn).into_iter().filter_map(|(arm, run)| monitor.observe(arm, run)).collect();
        breaches.into_iter().next().map(|breach| (turn + 1, breach))
    })
}

/// Guardrail, what happens in every `nth` run of b, and the sentence that comes of it.
#[test]
fn every_figure_has_its_breach() {
    let check = |guardrail: &str, nth: usize, what: Observation, after: usize, expect: &str| {
        let mut monitor = monitor("ab", guardrail);
        let turn = |turn: usize| vec![(0, GOOD), (1, if turn.is_multiple_of(nth) { what } else { GOOD })];
        let (turns, breach) = first(&mut monitor, 20_000, turn).unwrap_or_else(|| panic!("{guardrail} is kept"));
        assert_eq!((turns, breach.to_string().as_str(), breach.arm), (after, expect, 1), "{guardrail}");
    };
    let limit = |metric: &str, limit: f64| format!("{{ metric = '{metric}', limit = {limit} }}");
    let increase = |metric: &str, most: f64| format!("{{ metric = '{metric}', increase_max = {most} }}");
    check(&limit("error_rate", 0.02), 10, FAILED, 100, "error_rate of the latest 100 runs of arm `b` is 0.1; allowed: 0.02");
    check(&limit("zero_result_rate", 0.1), 4, EMPTY, 100, "zero_result_rate of the latest 100 runs of arm `b` is 0.25; allowed: 0.1");
    check(&limit("trap_rate", 0.0), 30, TRAPPED, 100, "trap_rate of the latest 100 runs of arm `b` is 0.04; allowed: 0");
    check(&limit("fallback_rate", 0.5), 1, FELL_BACK, 100, "fallback_rate of the latest 100 runs of arm `b` is 1; allowed: 0.5");
    check(&limit("latency_p95_ms", 50.0), 2, taking(60_000), 100, "latency_p95_ms of the latest 100 runs of arm `b` is 60; allowed: 50");
    check(
        &increase("latency_p95_ms", 0.1),
        2,
        taking(44_001),
        240,
        "latency_p95_ms of the latest 240 runs of arm `b` is 44; allowed: 44, 10 % over the control",
    );
    check(
        &increase("error_rate", 0.0),
        5,
        FAILED,
        100,
        "error_rate of the latest 100 runs of arm `b` is 0.2; allowed: 0, as the control has it",
    );
}

#[test]
fn a_figure_within_its_bound_is_no_breach() {
    let check = |guardrails: &str, run: &dyn Fn(usize) -> Vec<(usize, Observation)>| {
        let breach = first(&mut monitor("ab", guardrails), 20_000, run);
        assert!(breach.is_none(), "{guardrails}: {breach:?}");
    };
    let every = |nth: usize, what: Observation| move |turn: usize| vec![(0, GOOD), (1, if turn.is_multiple_of(nth) { what } else { GOOD })];
    check("", &every(1, FAILED));
    check("{ metric = 'error_rate', limit = 0.1 }", &every(10, FAILED));
    check("{ metric = 'error_rate', limit = 0.0 }", &every(1, GOOD));
    check("{ metric = 'error_rate', limit = 1.0 }", &every(1, FAILED));
    check("{ metric = 'zero_result_rate', limit = 0.0 }", &every(1, Observation { empty: true, ..FAILED }));
    check("{ metric = 'latency_p95_ms', limit = 50 }", &every(20, taking(60_000)));
    check("{ metric = 'latency_p95_ms', limit = 50 }", &every(1, taking(50_000)));
    check("{ metric = 'latency_p95_ms', increase_max = 0.5 }", &every(1, taking(60_000)));
    // Arms that aren't there.
    check("{ metric = 'error_rate', limit = 0.0 }", &|_| vec![(2, FAILED), (usize::MAX, FAILED)]);
    // The control is not held against itself.
    check("{ metric = 'error_rate', increase_max = 0.0 }", &|_| vec![(0, FAILED), (1, GOOD)]);
}

#[test]
fn the_control_has_limits_too_and_each_breach_is_told_once() {
    let mut monitor = monitor("ab", "{ metric = 'error_rate', limit = 0.1 }, { metric = 'trap_rate', limit = 0.0 }");
    let both = Observation { trapped: true, ..FAILED };
    let told: Vec<(usize, Guard, u64)> = (0..400)
        .filter_map(|turn| monitor.observe(0, if turn < 200 { both } else { GOOD }))
        .map(|own| (own.arm, own.metric, own.runs))
        .collect();
    assert_eq!(told, [(0, Guard::ErrorRate, 100), (0, Guard::TrapRate, 100)]);
}

#[test]
fn an_arm_that_is_given_again_begins_anew() {
    let mut monitor = monitor("ab", "{ metric = 'error_rate', limit = 0.1 }");
    let breaches =
        |monitor: &mut Monitor, arm: usize, run: Observation, runs: usize| (0..runs).filter_map(|_| monitor.observe(arm, run)).count();
    assert_eq!(breaches(&mut monitor, 1, FAILED, 300), 1);
    monitor.follow(&[1]);
    assert_eq!(breaches(&mut monitor, 1, FAILED, 300), 0, "runs that were under way");
    monitor.follow(&[1]);
    monitor.follow(&[]);
    monitor.follow(&[]);
    assert_eq!(breaches(&mut monitor, 1, GOOD, 300), 0, "those of before are forgotten");
    assert_eq!(breaches(&mut monitor, 1, FAILED, 300), 1);
    // With the control, all begin anew.
    assert_eq!(breaches(&mut monitor, 0, FAILED, 90), 0);
    monitor.follow(&[0]);
    monitor.follow(&[]);
    assert_eq!((breaches(&mut monitor, 0, FAILED, 90), breaches(&mut monitor, 1, FAILED, 90)), (0, 0));
    monitor.follow(&[5]);
    assert_eq!((breaches(&mut monitor, 0, FAILED, 10), breaches(&mut monitor, 1, FAILED, 10)), (1, 1));
}

#[test]
fn nobody_is_judged_before_there_are_enough_runs() {
    let check = |guardrail: &str, run: &dyn Fn(usize) -> Vec<(usize, Observation)>, after: usize, runs: u64| {
        let (turns, breach) = first(&mut monitor("ab", guardrail), 40_000, run).unwrap_or_else(|| panic!("{guardrail} is kept"));
        assert_eq!((turns, breach.runs), (after, runs), "{guardrail}");
    };
    let of_b = |_: usize| vec![(1, FAILED)];
    check("{ metric = 'error_rate', limit = 0.5, runs_min = 1 }", &of_b, 20, 20);
    check("{ metric = 'error_rate', limit = 0.5, runs_min = 150 }", &of_b, 160, 160);
    check("{ metric = 'error_rate', limit = 0.5, runs_min = 5000 }", &of_b, 5_000, 5_000);
    check("{ metric = 'error_rate', limit = 0.5, runs_min = 20000 }", &of_b, 20_000, 10_000);
    // The control has one run for four of the arm.
    let seldom = |turn: usize| if turn.is_multiple_of(4) { vec![(0, GOOD), (1, FAILED)] } else { vec![(1, FAILED)] };
    check("{ metric = 'error_rate', increase_max = 0.5 }", &seldom, 400, 100);
}

/// All runs of two hours failed, then none; the control has nine of ten runs. In as many
/// of its latest runs as the arm has, there are no such runs.
#[test]
fn what_happens_to_both_arms_is_no_difference() {
    let guardrails = "{ metric = 'error_rate', increase_max = 0.0 }, { metric = 'latency_p95_ms', increase_max = 0.0 }";
    let run = |turn: usize| {
        let how = if (3_000..6_000).contains(&turn) { Observation { duration_us: 90_000, ..FAILED } } else { GOOD };
        vec![(usize::from(turn.is_multiple_of(10)), how)]
    };
    assert_eq!(first(&mut monitor("ab", guardrails), 60_000, run), None);
}

#[test]
fn a_control_with_far_more_runs_is_compared_by_its_latest() {
    let slower = |turn: usize| vec![if turn.is_multiple_of(200) { (1, taking(80_000)) } else { (0, GOOD) }];
    let (turns, breach) = first(&mut monitor("ab", "{ metric = 'latency_p95_ms', increase_max = 0.5 }"), 40_000, slower).unwrap();
    assert_eq!((turns, breach.runs, breach.allowed), (19_801, 100, 60.0));
}

#[test]
fn runs_of_one_list_are_of_both_arms() {
    let mut monitor = monitor("interleave", "{ metric = 'error_rate', limit = 0.1 }");
    let (turns, breach) = first(&mut monitor, 1_000, |turn| vec![(turn % 2, FAILED)]).unwrap();
    assert_eq!((turns, breach.arm, breach.variant.as_str()), (100, 0, "interleave"));
}

#[test]
fn searches_and_shadows_are_runs() {
    let search = |status: &str, findings: usize| {
        let findings = (0..findings).map(|at| Shown { object_id: at as u64, ordinal: at as u32 + 1, team: None }).collect();
        Observation::of_search(&Search { status: status.into(), duration_us: 40_000, findings, trapped: true, ..Search::default() })
    };
    assert_eq!(search("ok", 2), Some(TRAPPED));
    assert_eq!(search("ok", 0), Some(Observation { empty: true, ..TRAPPED }));
    assert_eq!(search("error", 0), Some(Observation { failed: true, ..TRAPPED }));
    assert_eq!(search("cancelled", 0), None);
    let shadow = |status: &str, findings: Vec<u64>| {
        let (experiment, variant, status) = ("x".into(), "b".into(), status.into());
        Observation::of_shadow(&Shadow {
            experiment,
            version: 1,
            variant,
            status,
            duration_us: 40_000,
            findings,
            overlap_at_10: 0.0,
            rank_biased_overlap: 0.0,
            warnings: Vec::new(),
        })
    };
    assert_eq!(
        [shadow("ok", vec![1]), shadow("ok", vec![]), shadow("error", vec![]), shadow("", vec![])],
        [Some(GOOD), Some(EMPTY), Some(FAILED), None]
    );
}
