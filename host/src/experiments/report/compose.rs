//! Makes the report of an experiment out of the journal.

use super::compare::{self, lower_is_better, metrics};
use super::figure::figure;
use super::gather::{Gathered, arm_keys, gather, unit_kind};
use super::moment::{self, DAY_MS};
use super::population::{Population, mean};
use super::report::{Agreement, ArmReport, ControlReport, Counts, MetricReport, Period, Report, SCHEMA_VERSION, Subject};
use super::run::ANSWERING;
use super::verdict::{Evidence, verdict};
use super::{classes, guards, methods, prefer, quality};
use crate::experiments::check::CheckedExperiment;
use crate::experiments::definition::{Experiment, Mode};
use crate::experiments::events::Event;
use crate::experiments::metric::Metric;
use crate::experiments::statistics::moments::Moments;

/// Control events that are told, the newest.
const CONTROLS_MAX: usize = 200;

/// The report of an experiment, at the moment `now` (RFC 3339). Events may come in any
/// order and more than once, and be about other experiments. Never fails: without runs the
/// report says that there is nothing yet.
pub fn compose(experiment: &CheckedExperiment, events: impl Iterator<Item = Event>, now: &str) -> Report {
    let arms = arm_keys(experiment);
    let mut gathered = gather(experiment, events);
    let started = quality::own_controls(experiment, &gathered).find(|(_, control)| control.verb == "start").map(|(at, _)| at);
    let population = Population::new(experiment, arms.len(), &mut gathered, started);
    let alone = experiment.mode == Mode::Interleave;
    let sample_ratio = quality::sample_ratio(experiment, &population, &gathered);
    let warnings = quality::warnings(experiment, &population, &gathered, now);
    let comparisons = if alone { Vec::new() } else { compare::comparisons(experiment, &population, &arms) };
    let preferences = if alone { prefer::preferences(experiment, &population) } else { Vec::new() };
    let guardrails = guards::guardrails(experiment, &population, &arms);
    let counts = counts(&population, &gathered);
    let rolled_back = quality::rolled_back(experiment, &gathered);
    let verdict = verdict(&Evidence {
        experiment,
        runs: counts.runs,
        ratio: sample_ratio.as_ref(),
        comparisons: &comparisons,
        preferences: &preferences,
        guardrails: &guardrails,
        rolled_back: &rolled_back,
        warnings: &warnings,
    });
    Report {
        schema_version: SCHEMA_VERSION,
        generated_at: now.to_owned(),
        subject: subject(experiment),
        verdict,
        sample_ratio,
        warnings,
        period: period(experiment, &population, &gathered),
        counts,
        arms: arms.iter().enumerate().map(|(arm, key)| arm_report(experiment, &population, arm, key)).collect(),
        comparisons,
        preferences,
        agreements: if experiment.mode == Mode::Shadow { agreements(&population, &arms) } else { Vec::new() },
        guardrails,
        classes: classes::classes(experiment, &population, &arms),
        controls: controls(&gathered),
        methods: methods::methods(experiment),
    }
}

fn subject(experiment: &Experiment) -> Subject {
    Subject {
        id: experiment.id.clone(),
        version: experiment.version,
        mode: experiment.mode,
        state: experiment.state,
        unit: unit_kind(experiment),
        owner: experiment.owner.clone(),
        hypothesis: experiment.hypothesis.clone(),
        control: experiment.control().to_owned(),
        primary: experiment.metrics.primary,
        digest: experiment.digest(),
    }
}

fn period(experiment: &Experiment, population: &Population, gathered: &Gathered) -> Period {
    let days_from = quality::days_from(experiment, gathered, population.started_at);
    let days = experiment.stop.days_max.map(|days| i64::from(days) * DAY_MS);
    Period {
        started_at: population.started_at.map(moment::write),
        first_run_at: population.first_run_at.map(moment::write),
        last_run_at: population.last_run_at.map(moment::write),
        ends_at: days_from.zip(days).map(|(from, days)| moment::write(from.saturating_add(days))),
    }
}

fn counts(population: &Population, gathered: &Gathered) -> Counts {
    let runs = || population.units.iter().flat_map(|unit| population.runs_by(unit, i64::MAX));
    Counts {
        events: gathered.events,
        repeated: gathered.repeated,
        runs: runs().count() as u64,
        units: population.units.len() as u64,
        runs_with_feedback: runs().filter(|run| run.has_feedback()).count() as u64,
    }
}

fn arm_report(experiment: &Experiment, population: &Population, arm: usize, key: &str) -> ArmReport {
    let guards = guards::guards(population, arm);
    let metric = |metric: Metric| {
        let (lower_is_better, none) = (lower_is_better(metric), (0, None, None));
        let (units, value, deviation) = match metric {
            Metric::Measure(_) => none,
            Metric::Guard(guard) => {
                let value = guards.iter().find(|own| own.metric == guard).and_then(|own| own.value);
                (if value.is_some() { population.units_of(arm) } else { 0 }, value, None)
            }
            Metric::Outcome(_) => {
                let moments = Moments::of(&unit_figures(population, metric, arm)).unwrap_or_default();
                let deviation = moments.variance().map(|variance| figure(variance.sqrt()));
                (moments.count(), moments.mean().map(figure), deviation)
            }
        };
        MetricReport { metric, lower_is_better, units, value, deviation }
    };
    ArmReport {
        arm: key.to_owned(),
        control: key == experiment.control(),
        units: population.units_of(arm),
        runs: population.runs_of(arm).count() as u64,
        metrics: metrics(experiment).into_iter().map(metric).collect(),
        latency: guards::latencies(population, arm, experiment.analysis.alpha),
        guards,
    }
}

/// The means of units over their runs in an arm.
fn unit_figures(population: &Population, metric: Metric, arm: usize) -> Vec<f64> {
    let shadow = population.mode == Mode::Shadow;
    // Everybody has the answering arm in mode shadow; others where they were asked.
    let place = if shadow { arm } else { ANSWERING };
    let units = population.units.iter().filter(|unit| shadow || unit.arm == arm);
    let asked = |run: &&super::run::Run| place == ANSWERING || run.shadows.contains_key(&place);
    units
        .filter_map(|unit| {
            let runs = population.runs_by(unit, i64::MAX).filter(asked);
            mean(runs.filter_map(|run| run.figure(metric, place, i64::MAX)))
        })
        .collect()
}

fn agreements(population: &Population, arms: &[String]) -> Vec<Agreement> {
    let agreement = |(arm, key): (usize, &String)| {
        let shadows = || population.runs_of(arm).filter_map(|run| run.shadows.get(&arm));
        let answered = || shadows().filter(|shadow| shadow.answered);
        let share = |figure: f64| if figure.is_finite() { Some(figure.clamp(0.0, 1.0)) } else { None };
        Agreement {
            arm: key.clone(),
            runs: shadows().count() as u64,
            overlap_at_10: mean(answered().filter_map(|shadow| share(shadow.overlap_at_10))).map(figure),
            rank_biased_overlap: mean(answered().filter_map(|shadow| share(shadow.rank_biased_overlap))).map(figure),
            runs_with_warnings: shadows().filter(|shadow| shadow.warned).count() as u64,
        }
    };
    arms.iter().enumerate().filter(|(arm, _)| *arm != ANSWERING).map(agreement).collect()
}

fn controls(gathered: &Gathered) -> Vec<ControlReport> {
    let older = gathered.controls.len().saturating_sub(CONTROLS_MAX);
    let told = gathered.controls.iter().skip(older);
    told.map(|(at, control)| ControlReport {
        at: moment::write(*at),
        version: control.version,
        verb: control.verb.clone(),
        actor: control.actor.clone(),
        detail: control.detail.clone(),
        variant: control.variant.clone(),
        coverage: control.coverage.filter(|coverage| coverage.is_finite()).map(figure),
    })
    .collect()
}
