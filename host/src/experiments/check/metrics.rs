//! Metrics, analysis and stopping: what can be measured in a mode, and what is valid.

use std::collections::BTreeSet;

use super::Problems;
use crate::experiments::definition::{Experiment, Mode, UnitKind};
use crate::experiments::metric::{Guard, Guardrail, Method, Metric, Outcome};

/// Metrics besides the primary one.
const SECONDARY_MAX: usize = 32;

pub(super) fn check(experiment: &Experiment, problems: &mut Problems) {
    let metrics = &experiment.metrics;
    measured("metrics.primary", metrics.primary, experiment.mode, problems);
    let count = metrics.secondary.len();
    problems.require(count <= SECONDARY_MAX, "metrics.secondary", format!("a list of {count}"), "at most 32 metrics");
    let mut seen = BTreeSet::from([metrics.primary.to_string()]);
    for (number, metric) in metrics.secondary.iter().enumerate() {
        let key = format!("metrics.secondary[{number}]");
        measured(&key, *metric, experiment.mode, problems);
        problems.require(seen.insert(metric.to_string()), &key, format!("`{metric}`"), "metrics that are not named before");
    }
    let mut seen = BTreeSet::new();
    for (number, guardrail) in metrics.guardrails.iter().enumerate() {
        let key = format!("metrics.guardrails[{number}]");
        self::guardrail(&key, guardrail, experiment.mode, problems);
        if !seen.insert((guardrail.metric.as_str(), guardrail.limit.is_some())) {
            problems.add(&key, format!("guards `{}` once more; allowed: each metric once by either bound", guardrail.metric.as_str()));
        }
    }
    analysis(experiment, problems);
    let stop = &experiment.stop;
    if let Some(units) = stop.units_min {
        problems.range("stop.units_min", units, 1, 1_000_000_000);
    }
    if let Some(days) = stop.days_max {
        problems.range("stop.days_max", days, 1, 3_650);
    }
}

/// What each mode can tell an arm's figure of.
fn measured(key: &str, metric: Metric, mode: Mode, problems: &mut Problems) {
    let (holds, allowed) = match (mode, metric) {
        (Mode::Offline, Metric::Measure(_)) => (true, ""),
        (Mode::Offline, _) => (false, "a measure of judgments in mode offline, such as ndcg@10, as there is no feedback"),
        (_, Metric::Measure(_)) => (false, "an outcome or a figure of runs, as only mode offline has judgments"),
        (Mode::Shadow, Metric::Outcome(outcome)) => (
            matches!(outcome, Outcome::ReciprocalRank | Outcome::Ndcg),
            "reciprocal_rank, ndcg or a figure of runs in mode shadow, as nobody sees what the other arms find: only where they rank what was used",
        ),
        (Mode::Interleave, Metric::Outcome(outcome)) => (
            matches!(outcome, Outcome::UsedFindings | Outcome::HelpfulShare),
            "used_findings or helpful_share in mode interleave, as only these tell the arms of one list apart",
        ),
        (Mode::Interleave, Metric::Guard(_)) => {
            (false, "used_findings or helpful_share in mode interleave, as every run is one of both arms")
        }
        (Mode::Ab, Metric::Outcome(_) | Metric::Guard(_)) | (Mode::Shadow, Metric::Guard(_)) => (true, ""),
    };
    problems.require(holds, key, format!("`{metric}`"), allowed);
}

fn guardrail(at: &str, guardrail: &Guardrail, mode: Mode, problems: &mut Problems) {
    match (guardrail.limit, guardrail.increase_max) {
        (None, None) => problems.add(at, "has no bound; allowed: `limit` or `increase_max`"),
        (Some(_), Some(_)) => problems.add(at, "has both `limit` and `increase_max`; allowed: one of them"),
        _ => {}
    }
    if let Some(limit) = guardrail.limit {
        let key = format!("{at}.limit");
        match guardrail.metric {
            Guard::LatencyP95Ms => problems.over_zero(&key, limit, 300_000.0),
            _ => problems.range(&key, limit, 0.0, 1.0),
        }
    }
    if let Some(increase) = guardrail.increase_max {
        let key = format!("{at}.increase_max");
        problems.range(&key, increase, 0.0, 10.0);
        if mode == Mode::Interleave {
            problems.require(false, &key, increase, "`limit` in mode interleave, as every run is one of both arms");
        }
    }
    problems.range(&format!("{at}.runs_min"), guardrail.runs_min, 1, 1_000_000);
}

fn analysis(experiment: &Experiment, problems: &mut Problems) {
    let analysis = &experiment.analysis;
    problems.require(analysis.alpha > 0.0 && analysis.alpha < 0.5, "analysis.alpha", analysis.alpha, "over 0 and under 0.5");
    if analysis.method == Method::Fixed && experiment.mode != Mode::Offline && experiment.stop.units_min.is_none() {
        let allowed =
            "with `stop.units_min`, as it is valid for one look only and has to know when; or a method that may be looked at any time";
        problems.require(false, "analysis.method", "`fixed`", allowed);
    }
    problems.range("analysis.cuped_days", analysis.cuped_days, 0, 90);
    if analysis.cuped_days > 0 && experiment.mode != Mode::Ab {
        let allowed = "0, as only mode ab compares different units; the others compare the arms within each";
        problems.require(false, "analysis.cuped_days", analysis.cuped_days, allowed);
    } else if analysis.cuped_days > 0 && experiment.unit.kind == UnitKind::Run {
        problems.require(false, "analysis.cuped_days", analysis.cuped_days, "0 with unit `run`, as a run has no earlier days");
    }
}
