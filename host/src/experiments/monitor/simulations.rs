//! How often arms at their bound are called breaching, and how soon those far over it.
//! From fixed seeds.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::tests::{FAILED, GOOD, monitor};
use super::*;

/// Runs of an arm within which false alarms are counted.
const RUNS: u64 = 10_000;

/// Runs of both arms.
struct Arms {
    /// The arm's share of the runs; the control has the others.
    share: f64,
    control: fn(&mut ChaCha8Rng) -> Observation,
    arm: fn(&mut ChaCha8Rng) -> Observation,
}

impl Arms {
    /// After how many runs of the arm it breaches the guardrail, of `runs` at most.
    fn first(&self, monitor: &mut Monitor, runs: u64, random: &mut ChaCha8Rng) -> Option<u64> {
        let mut own = 0;
        while own < runs {
            let is_arm = random.random_bool(self.share);
            let run = if is_arm { (self.arm)(random) } else { (self.control)(random) };
            own += u64::from(is_arm);
            if monitor.observe(usize::from(is_arm), run).is_some() {
                return Some(own);
            }
        }
        None
    }
}

fn failing(share: f64, random: &mut ChaCha8Rng) -> Observation {
    if random.random_bool(share) { FAILED } else { GOOD }
}

/// A log-normal time with a median of 40 ms and a p95 of 91 ms, times `factor`.
fn lasting(factor: f64, random: &mut ChaCha8Rng) -> Observation {
    let (a, b) = (1.0 - random.random::<f64>(), random.random::<f64>());
    let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
    Observation { duration_us: (40_000.0 * factor * (0.5 * normal).exp()) as u64, ..GOOD }
}

/// The p95 of [`lasting`]: exp(½ · 1.644854) medians.
const P95_MS: f64 = 91.033;

/// Share of simulations in which an arm that is exactly at its bound is called breaching.
fn false_alarms(guardrail: &str, arms: &Arms, simulations: u64) -> f64 {
    let alarm = |seed: u64| arms.first(&mut monitor("ab", guardrail), RUNS, &mut ChaCha8Rng::seed_from_u64(seed)).is_some();
    (0..simulations).filter(|seed| alarm(*seed)).count() as f64 / simulations as f64
}

/// The median and the 95th percentile of runs until a breach is found.
fn delays(guardrail: &str, arms: &Arms) -> (u64, u64) {
    let mut delays: Vec<u64> = (0..200)
        .map(|seed| arms.first(&mut monitor("ab", guardrail), 4 * RUNS, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap_or(u64::MAX))
        .collect();
    delays.sort_unstable();
    (delays[100], delays[190])
}

#[test]
fn arms_at_their_limit_are_seldom_called_breaching() {
    let healthy = |random: &mut ChaCha8Rng| failing(0.0, random);
    for (limit, arm) in [
        ("error_rate', limit = 0.005", (|random| failing(0.005, random)) as fn(&mut ChaCha8Rng) -> Observation),
        ("error_rate', limit = 0.02", |random| failing(0.02, random)),
        ("error_rate', limit = 0.2", |random| failing(0.2, random)),
        ("error_rate', limit = 0.5", |random| failing(0.5, random)),
        ("error_rate', limit = 0.05, runs_min = 1", |random| failing(0.05, random)),
        (&format!("latency_p95_ms', limit = {P95_MS}"), |random| lasting(1.0, random)),
    ] {
        let share = false_alarms(&format!("{{ metric = '{limit} }}"), &Arms { share: 1.0, control: healthy, arm }, 1_000);
        assert!(share <= 0.05, "{limit}: {share}");
    }
}

#[test]
fn arms_at_the_controls_bound_are_seldom_called_breaching() {
    type Run = fn(&mut ChaCha8Rng) -> Observation;
    let cases: [(&str, f64, Run, Run); 7] = [
        ("error_rate', increase_max = 0", 0.5, |random| failing(0.02, random), |random| failing(0.02, random)),
        ("error_rate', increase_max = 0", 0.1, |random| failing(0.02, random), |random| failing(0.02, random)),
        ("error_rate', increase_max = 0", 0.9, |random| failing(0.005, random), |random| failing(0.005, random)),
        ("error_rate', increase_max = 0.5", 0.5, |random| failing(0.2, random), |random| failing(0.3, random)),
        ("latency_p95_ms', increase_max = 0", 0.5, |random| lasting(1.0, random), |random| lasting(1.0, random)),
        ("latency_p95_ms', increase_max = 0.1", 0.9, |random| lasting(1.0, random), |random| lasting(1.1, random)),
        ("latency_p95_ms', increase_max = 0.1", 0.1, |random| lasting(1.0, random), |random| lasting(1.1, random)),
    ];
    for (guardrail, share, control, arm) in cases {
        let alarms = false_alarms(&format!("{{ metric = '{guardrail} }}"), &Arms { share, control, arm }, 500);
        assert!(alarms <= 0.05, "{guardrail} {share}: {alarms}");
    }
}

/// Twice the rate, or time, that is allowed; runs of the arm until it is found, in half of the
/// cases and in 95 % of them.
#[test]
fn twice_the_bound_is_found_soon() {
    type Run = fn(&mut ChaCha8Rng) -> Observation;
    let cases: [(&str, Run, Run, u64, u64); 7] = [
        ("error_rate', limit = 0.01", |random| failing(0.0, random), |random| failing(0.02, random), 2_400, 6_400),
        ("error_rate', limit = 0.05", |random| failing(0.0, random), |random| failing(0.1, random), 400, 1_200),
        ("error_rate', limit = 0.2", |random| failing(0.0, random), |random| failing(0.4, random), 120, 200),
        (&format!("latency_p95_ms', limit = {P95_MS}"), |random| lasting(1.0, random), |random| lasting(2.0, random), 100, 120),
        ("error_rate', increase_max = 0", |random| failing(0.05, random), |random| failing(0.1, random), 1_000, 2_000),
        ("error_rate', increase_max = 0", |random| failing(0.2, random), |random| failing(0.4, random), 260, 500),
        ("latency_p95_ms', increase_max = 0", |random| lasting(1.0, random), |random| lasting(2.0, random), 300, 500),
    ];
    for (guardrail, control, arm, median, late) in cases {
        let found = delays(&format!("{{ metric = '{guardrail} }}"), &Arms { share: 0.5, control, arm });
        assert!(found.0 <= median && found.1 <= late, "{guardrail}: {found:?}");
    }
}

/// An arm that breaks after 20,000 good runs is found as soon as one that is broken from the
/// start: old runs leave the windows.
#[test]
fn good_runs_of_before_hide_nothing() {
    let delay = |seed: u64| {
        let mut monitor = monitor("ab", "{ metric = 'error_rate', limit = 0.05 }");
        (0..2 * RUNS).for_each(|_| assert!(monitor.observe(1, GOOD).is_none()));
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        (1..=RUNS).find(|_| monitor.observe(1, failing(0.2, &mut random)).is_some()).unwrap_or(u64::MAX)
    };
    let mut delays: Vec<u64> = (0..200).map(delay).collect();
    delays.sort_unstable();
    assert!(delays[100] <= 100 && delays[190] <= 180, "{} {}", delays[100], delays[190]);
}

#[test]
#[ignore = "prints what a run costs"]
fn cost_of_a_run() {
    let all = "{ metric = 'error_rate', limit = 0.02 }, { metric = 'zero_result_rate', limit = 0.02 }, { metric = 'trap_rate', limit = 0.02 }, \
               { metric = 'fallback_rate', limit = 0.02 }, { metric = 'latency_p95_ms', limit = 91.033 }, \
               { metric = 'error_rate', increase_max = 0 }, { metric = 'zero_result_rate', increase_max = 0 }, \
               { metric = 'trap_rate', increase_max = 0 }, { metric = 'fallback_rate', increase_max = 0 }, { metric = 'latency_p95_ms', increase_max = 0 }";
    for (name, guardrails) in [
        ("none", ""),
        ("error_rate by limit", "{ metric = 'error_rate', limit = 0.02 }"),
        ("error_rate by increase", "{ metric = 'error_rate', increase_max = 0 }"),
        ("latency by limit", "{ metric = 'latency_p95_ms', limit = 91.033 }"),
        ("latency by increase", "{ metric = 'latency_p95_ms', increase_max = 0 }"),
        ("all ten", all),
    ] {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let one = |random: &mut ChaCha8Rng| {
            let mut is = || random.random_bool(0.019);
            let (failed, empty, trapped, fell_back) = (is(), is(), is(), is());
            Observation { failed, empty, trapped, fell_back, ..lasting(0.98, random) }
        };
        let runs: Vec<(usize, Observation)> = (0..400_000).map(|_| (random.random_range(0..2), one(&mut random))).collect();
        let mut monitor = monitor("ab", guardrails);
        let mut slowest = std::time::Duration::ZERO;
        let began = std::time::Instant::now();
        let told = runs.iter().filter(|(arm, run)| monitor.observe(*arm, *run).is_some()).count();
        let all = began.elapsed();
        for (arm, run) in &runs[..100_000] {
            let began = std::time::Instant::now();
            monitor.observe(*arm, *run);
            slowest = slowest.max(began.elapsed());
        }
        println!("{name}: {:.3} µs, slowest {slowest:?}, {told} told", all.as_secs_f64() * 1e6 / runs.len() as f64);
    }
}
