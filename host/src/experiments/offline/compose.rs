//! Puts a report together. In: the figures of every arm on the same queries. Out: means,
//! differences with corrected p, latencies, a verdict.

use std::collections::BTreeMap;

use super::report::*;
use super::verdict::{corrected, verdict};
use crate::eval::report::{IndexFacts, SystemReport};
use crate::eval::statistics;
use crate::experiments::check::CheckedExperiment;
use crate::experiments::definition::Experiment;
use crate::experiments::report::compare::Family;
use crate::experiments::statistics::percentile::Sample;

/// How sure an interval of a percentile is, as those of means are.
const LATENCY_ALPHA: f64 = 1.0 - statistics::CONFIDENCE;

/// What nobody can take out of recorded runs.
const BIAS: &str = "known bias: only what was shown could be used. What an arm would have shown beyond that counts as wrong, so figures \
                    favour the arm most like the one that answered then";

/// What was asked, and what every arm answered.
#[derive(Clone, Debug)]
pub struct Asked {
    pub source: Source,
    /// Measures to compare by, the primary one first. A query may lack one; then it does
    /// so in every arm.
    pub measures: Vec<String>,
    /// Measures that are only told, of arms that have them.
    pub described: Vec<String>,
    pub queries: Vec<Query>,
    /// One for each arm of the experiment, in its order.
    pub arms: Vec<ArmAnswers>,
    pub warnings: Vec<String>,
}

/// What one arm answered.
#[derive(Clone, Debug)]
pub struct ArmAnswers {
    pub index: IndexFacts,
    /// Another data directory than the configured one.
    pub data_dir: Option<String>,
    /// In the order of the queries.
    pub per_query: Vec<AskedQuery>,
}

/// The report. `now` is RFC 3339 in UTC.
pub fn compose(experiment: &CheckedExperiment, asked: Asked, now: &str) -> Report {
    let Asked { source, measures, described, queries, arms, mut warnings } = asked;
    if matches!(source, Source::RecordedRuns(_)) {
        warnings.insert(0, BIAS.into());
    }
    let names: Vec<&String> = measures.iter().chain(&described).collect();
    let mut reports = Vec::with_capacity(arms.len());
    for (arm, answers) in experiment.arms.iter().zip(arms) {
        let (report, own) = arm_report(&arm.key, arm.key == experiment.control(), answers, &names);
        warnings.extend(own.into_iter().map(|warning| format!("arm `{}`: {warning}", arm.key)));
        reports.push(report);
    }
    let comparisons = comparisons(experiment, &measures, &reports);
    let statistics = Statistics {
        resamples: statistics::RESAMPLES,
        flips: statistics::FLIPS,
        confidence: statistics::CONFIDENCE,
        seed: statistics::SEED,
        alpha: experiment.analysis.alpha,
        correction: experiment.analysis.correction,
    };
    Report {
        schema: SCHEMA,
        generated_at: now.to_owned(),
        subject: Subject {
            id: experiment.id.clone(),
            version: experiment.version,
            mode: experiment.mode,
            hypothesis: experiment.hypothesis.clone(),
            control: experiment.control().to_owned(),
            digest: experiment.digest(),
        },
        verdict: verdict(&source, &statistics, measures.first().map_or("", String::as_str), &reports, &comparisons),
        warnings,
        methods: methods(&source, &statistics, comparisons.len(), experiment),
        source,
        measures,
        statistics,
        queries,
        arms: reports,
        comparisons,
    }
}

/// An arm's report, and what is to be warned of.
fn arm_report(key: &str, control: bool, answers: ArmAnswers, names: &[&String]) -> (ArmReport, Vec<String>) {
    let ArmAnswers { index, data_dir, per_query } = answers;
    let system = SystemReport::new(index, per_query.iter().map(|asked| asked.query.clone()).collect(), &[]);
    let estimate = |name: &&String| {
        let figures: Vec<f64> = per_query.iter().filter_map(|asked| asked.query.measures.get(*name).copied()).collect();
        (!figures.is_empty()).then(|| ((*name).clone(), statistics::estimate(&figures)))
    };
    let mut degraded_by: BTreeMap<String, usize> = BTreeMap::new();
    for part in per_query.iter().flat_map(|asked| &asked.query.degraded) {
        *degraded_by.entry(part.clone()).or_default() += 1;
    }
    let report = ArmReport {
        arm: key.to_owned(),
        control,
        data_dir,
        measures: names.iter().filter_map(estimate).collect(),
        unanswered: system.unanswered,
        degraded: system.degraded,
        degraded_by,
        warned: per_query.iter().filter(|asked| !asked.warnings.is_empty()).count(),
        latency: latency(&per_query),
        per_query,
        index: system.index.clone(),
    };
    (report, system.warnings())
}

/// `None` without an answer.
fn latency(per_query: &[AskedQuery]) -> Option<Latency> {
    let answered = per_query.iter().filter(|asked| asked.query.error.is_none()).map(|asked| asked.latency_ms);
    let figures: Vec<f64> = answered.filter(|ms| ms.is_finite()).collect();
    let answers = figures.len();
    let sample = Sample::new(figures).ok()?;
    let at = |share: f64| sample.percentile(share, LATENCY_ALPHA).ok().flatten();
    let (p50, p95) = (at(0.5)?, at(0.95)?);
    Some(Latency { answers, p50_ms: p50.value, p95_ms: p95.value, p95_low_ms: p95.low, p95_high_ms: p95.high })
}

/// All arms but the control on all measures: one family, whose errors stay together where
/// that of one was.
fn comparisons(experiment: &Experiment, measures: &[String], arms: &[ArmReport]) -> Vec<Comparison> {
    let Some(control) = arms.iter().find(|arm| arm.control) else { return Vec::new() };
    let others: Vec<&ArmReport> = arms.iter().filter(|arm| !arm.control).collect();
    let mut rows: Vec<Comparison> = Vec::new();
    for (place, measure) in measures.iter().enumerate() {
        for arm in &others {
            let (first, other) = paired(control, arm, measure);
            if first.is_empty() {
                continue;
            }
            let difference = statistics::compare(&first, &other);
            rows.push(Comparison {
                arm: arm.arm.clone(),
                control: control.arm.clone(),
                measure: measure.clone(),
                primary: place == 0,
                queries: first.len(),
                difference,
                p_adjusted: difference.p,
            });
        }
    }
    let p_values: Vec<Option<f64>> = rows.iter().map(|row| Some(row.difference.p)).collect();
    let (adjusted, _) = Family::new(experiment, rows.len()).adjust(&p_values);
    for (row, adjusted) in rows.iter_mut().zip(adjusted) {
        row.p_adjusted = adjusted.unwrap_or(1.0);
    }
    rows
}

/// A measure of the control and of an arm, for the queries that both have it of.
pub(super) fn paired(control: &ArmReport, arm: &ArmReport, measure: &str) -> (Vec<f64>, Vec<f64>) {
    let both = control.per_query.iter().zip(&arm.per_query);
    both.filter_map(|(one, other)| Some((one.query.measures.get(measure)?, other.query.measures.get(measure)?))).unzip()
}

fn methods(source: &Source, statistics: &Statistics, comparisons: usize, experiment: &Experiment) -> Vec<String> {
    let Statistics { resamples, flips, confidence, seed, alpha, correction } = statistics;
    let mut methods = vec![format!(
        "Intervals of means and of differences: {:.0} %, percentile bootstrap over queries, {resamples} samples, seed {seed}; each by itself, \
         not corrected for their number.",
        confidence * 100.0
    )];
    if comparisons > 0 {
        methods.push(format!(
            "p: paired randomization test, two-sided, {flips} random assignments of signs, seed {seed}; {} (arms × measures). A difference \
             counts when this p is at most {alpha}.",
            corrected(*correction, comparisons)
        ));
    }
    let order = "all arms are asked a query before the next one, each time beginning with another arm";
    match source {
        Source::Judgments { limit, .. } => {
            methods.push(format!(
                "Rankings and measures are those of spanloom eval. Latency is that of another search for {limit} findings, in one process, \
                 without HTTP; {order}."
            ));
            methods.push("Judgments tell what judges think: an arm that finds what nobody judged gets nothing for it.".into());
        }
        Source::RecordedRuns(_) => {
            methods
                .push(format!("Arguments are those that were recorded. Latency is of one search in one process, without HTTP; {order}."));
            methods.push(
                "Lists are held against the control's: `overlap@10`, and `rank_biased_overlap` with persistence 0.9. Findings are the same \
                 when they are the same lines of the same file."
                    .into(),
            );
            methods.push(
                "A finding counts as right when it has a line in common with one that was used, opened, copied or called helpful.".into(),
            );
            methods.push("Runs of one session, or of one query asked again, are not independent, as the test takes them to be.".into());
        }
    }
    if !experiment.metrics.guardrails.is_empty() {
        methods.push("The file's guardrails are about runs of users; they are not judged here.".into());
    }
    methods
}
