//! Figures of runs: latencies, shares of runs that went wrong, and the guardrails.

use super::figure::figure;
use super::population::Population;
use super::report::{GuardReport, GuardrailReport, GuardrailState, LatencyReport};
use super::run::{ANSWERING, Run};
use crate::experiments::definition::{Experiment, Mode};
use crate::experiments::metric::{Guard, Guardrail};
use crate::experiments::statistics::percentile::Sample;

/// The percentiles that are told.
const SHARES: [f64; 3] = [0.5, 0.95, 0.99];

/// Milliseconds of the arm's runs; none without runs.
pub(super) fn latency(population: &Population, arm: usize) -> Option<Sample> {
    let duration = |run: &Run| match arm {
        ANSWERING => run.duration_us,
        arm => run.shadows.get(&arm).map_or(run.duration_us, |shadow| shadow.duration_us),
    };
    let millis: Vec<f64> = population.runs_of(arm).map(|run| duration(run) as f64 / 1_000.0).collect();
    if millis.is_empty() { None } else { Sample::new(millis).ok() }
}

/// p50, p95 and p99 with intervals at `alpha`.
pub(super) fn latencies(population: &Population, arm: usize, alpha: f64) -> Vec<LatencyReport> {
    let Some(sample) = latency(population, arm) else { return Vec::new() };
    let told = |share: f64| {
        let percentile = sample.percentile(share, alpha).ok()??;
        let (value_ms, low_ms, high_ms) = (figure(percentile.value), percentile.low.map(figure), percentile.high.map(figure));
        Some(LatencyReport { share, value_ms, low_ms, high_ms })
    };
    SHARES.into_iter().filter_map(told).collect()
}

/// All figures of an arm's runs.
pub(super) fn guards(population: &Population, arm: usize) -> Vec<GuardReport> {
    Guard::ALL.into_iter().map(|guard| self::guard(population, arm, guard)).collect()
}

fn guard(population: &Population, arm: usize, metric: Guard) -> GuardReport {
    if metric == Guard::LatencyP95Ms {
        let sample = latency(population, arm);
        // The value doesn't depend on the interval's level.
        let value = sample.and_then(|sample| sample.percentile(0.95, 0.05).ok()?).map(|percentile| figure(percentile.value));
        return GuardReport { metric, runs: population.runs_of(arm).count() as u64, value };
    }
    let counted = |run: &Run| match run.shadows.get(&arm).filter(|_| arm != ANSWERING) {
        Some(shadow) => shadow.counted(metric),
        None => run.counted(metric),
    };
    let (mut runs, mut those) = (0_u64, 0_u64);
    for holds in population.runs_of(arm).filter_map(counted) {
        runs += 1;
        those += u64::from(holds);
    }
    GuardReport { metric, runs, value: (runs > 0).then(|| figure(those as f64 / runs as f64)) }
}

/// Every guardrail of every arm that it is about: an increase, of all arms but the control.
pub(super) fn guardrails(experiment: &Experiment, population: &Population, arms: &[String]) -> Vec<GuardrailReport> {
    let control = arms.iter().position(|arm| arm == experiment.control()).unwrap_or(0);
    let mut rows = Vec::new();
    for rule in &experiment.metrics.guardrails {
        for (arm, key) in arms.iter().enumerate() {
            if rule.increase_max.is_none() || arm != control {
                rows.push(guardrail(population, rule, arm, key, control));
            }
        }
    }
    rows
}

fn guardrail(population: &Population, rule: &Guardrail, arm: usize, key: &str, control: usize) -> GuardrailReport {
    let own = guard(population, arm, rule.metric);
    let (limit, enough, words) = match (rule.limit, rule.increase_max) {
        (Some(limit), _) => (Some(limit), true, "at most".to_owned()),
        (None, increase) => {
            let base = guard(population, control, rule.metric);
            let increase = increase.unwrap_or(0.0);
            let words = format!("at most {} over the control", super::figure::percent(increase));
            (base.value.map(|base| figure(base * (1.0 + increase))), base.runs >= rule.runs_min, words)
        }
    };
    let all = population.runs_of(arm).count() as u64;
    let hidden = population.mode == Mode::Shadow && arm != ANSWERING;
    let state = match (own.value, limit) {
        (None, _) if hidden && all > 0 && matches!(rule.metric, Guard::TrapRate | Guard::FallbackRate) => GuardrailState::Unknown,
        (Some(value), Some(limit)) if enough && own.runs >= rule.runs_min => {
            if value > limit {
                GuardrailState::Breached
            } else {
                GuardrailState::Ok
            }
        }
        _ => GuardrailState::TooFewRuns,
    };
    GuardrailReport {
        arm: key.to_owned(),
        metric: rule.metric,
        limit,
        rule: words,
        value: own.value,
        runs: own.runs,
        runs_min: rule.runs_min,
        state,
    }
}
