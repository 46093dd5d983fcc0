//! Puts runs to their units, and makes the figures of units and arms.
//! In: the journal's runs. Out: one outcome per unit, with that of the time before.

use std::collections::HashMap;

use super::gather::Gathered;
use super::moment::DAY_MS;
use super::run::{ANSWERING, Run};
use crate::experiments::definition::{Experiment, Mode};
use crate::experiments::metric::{Guard, Metric};
use crate::experiments::statistics::cuped;

/// All units that take part, in the order of their first runs.
pub(super) struct Population {
    pub mode: Mode,
    /// In the order of time.
    pub runs: Vec<Run>,
    pub units: Vec<Unit>,
    /// Names of classes.
    pub classes: Vec<String>,
    /// Units left out because they came into several arms.
    pub several_arms: u64,
    pub started_at: Option<i64>,
    pub first_run_at: Option<i64>,
    pub last_run_at: Option<i64>,
    /// Of runs and feedback.
    pub last_at: Option<i64>,
    arms: usize,
}

/// A unit. Runs are places in [`Population::runs`].
pub(super) struct Unit {
    pub arm: usize,
    pub runs: Vec<u32>,
    /// Runs from before the experiment.
    pub history: Vec<u32>,
}

impl Population {
    /// `started` is when the experiment was started first, if that is known.
    pub fn new(experiment: &Experiment, arms: usize, gathered: &mut Gathered, started: Option<i64>) -> Population {
        let runs = std::mem::take(&mut gathered.runs);
        let classes = std::mem::take(&mut gathered.classes);
        let mut arm_of: HashMap<u32, Option<usize>> = HashMap::new();
        for part in runs.iter().filter_map(|run| run.part) {
            let arm = arm_of.entry(part.unit).or_insert(Some(part.arm));
            if *arm != Some(part.arm) {
                *arm = None;
            }
        }
        let mut units: Vec<Unit> = Vec::new();
        let mut place: HashMap<u32, usize> = HashMap::new();
        let taking_part = || runs.iter().zip(0_u32..).filter_map(|(run, number)| Some((run, number, run.part?)));
        for (_, number, part) in taking_part() {
            // Whoever had two arms is in none.
            let Some(Some(arm)) = arm_of.get(&part.unit).copied() else { continue };
            let at = *place.entry(part.unit).or_insert_with(|| {
                units.push(Unit { arm, runs: Vec::new(), history: Vec::new() });
                units.len() - 1
            });
            units[at].runs.push(number);
        }
        let first_run_at = taking_part().next().map(|(run, ..)| run.at);
        // What an arm may have changed already is no history.
        let started_at = started.into_iter().chain(first_run_at).min();
        let last_run_at = taking_part().last().map(|(run, ..)| run.at);
        let cuped_ms = i64::from(experiment.analysis.cuped_days) * DAY_MS;
        let past = started_at.map(|started| started.saturating_sub(cuped_ms)..started).unwrap_or(0..0);
        for (run, number) in runs.iter().zip(0_u32..).filter(|(run, _)| run.part.is_none() && past.contains(&run.at)) {
            if let Some(at) = run.history_unit.and_then(|unit| place.get(&unit)) {
                units[*at].history.push(number);
            }
        }
        let several_arms = arm_of.values().filter(|arm| arm.is_none()).count() as u64;
        let last_at = gathered.last_at.max(last_run_at);
        Population { mode: experiment.mode, runs, units, classes, several_arms, started_at, first_run_at, last_run_at, last_at, arms }
    }

    /// The runs of an arm; in mode shadow, those in which it was asked.
    pub fn runs_of(&self, arm: usize) -> impl Iterator<Item = &Run> {
        let shadow = self.mode == Mode::Shadow;
        let units = self.units.iter().filter(move |unit| shadow || unit.arm == arm);
        let runs = units.flat_map(|unit| &unit.runs).map(|run| &self.runs[*run as usize]);
        runs.filter(move |run| !shadow || arm == ANSWERING || run.shadows.contains_key(&arm))
    }

    pub fn units_of(&self, arm: usize) -> u64 {
        let shadow = self.mode == Mode::Shadow;
        let asked = |unit: &&Unit| unit.runs.iter().any(|run| self.runs[*run as usize].shadows.contains_key(&arm));
        let counts = |unit: &&Unit| if shadow { arm == ANSWERING || asked(unit) } else { unit.arm == arm };
        self.units.iter().filter(counts).count() as u64
    }

    /// The unit's runs by a moment; runs of a unit are in the order of time.
    pub fn runs_by<'a>(&'a self, unit: &'a Unit, until: i64) -> impl Iterator<Item = &'a Run> {
        unit.runs.iter().map(|run| &self.runs[*run as usize]).take_while(move |run| run.at <= until)
    }

    /// One outcome per unit and arm, by a moment. Units without a figure are left out. Of
    /// figures that are shares over an arm's runs, these are the outcomes that have the
    /// share as their mean (see [`Population::shares`]). Of latencies there are none.
    pub fn outcomes(&self, metric: Metric, control: usize, until: i64) -> Vec<Vec<cuped::Unit>> {
        match metric {
            Metric::Guard(Guard::LatencyP95Ms) | Metric::Measure(_) => vec![Vec::new(); self.arms],
            Metric::Guard(_) => self.shares(metric, control, until),
            Metric::Outcome(_) => {
                let mut arms = vec![Vec::new(); self.arms];
                for unit in &self.units {
                    let figures = self.runs_by(unit, until).filter_map(|run| run.figure(metric, ANSWERING, until));
                    if let Some(outcome) = mean(figures) {
                        arms[unit.arm].push(cuped::Unit { before: self.before(unit, metric), outcome });
                    }
                }
                arms
            }
        }
    }

    /// The same figure of the time before. Feedback counts only if it, too, is from then.
    fn before(&self, unit: &Unit, metric: Metric) -> Option<f64> {
        let until = self.started_at? - 1;
        mean(unit.history.iter().filter_map(|run| self.runs[*run as usize].figure(metric, ANSWERING, until)))
    }

    /// A share of an arm's runs is a ratio of two sums over its units, no mean. With the
    /// ratio R of the control, a unit with `s` of `n` runs has the outcome `(s − R n)/n̄`,
    /// with the arm's own mean n̄: the arms' means then differ by exactly as much as their
    /// shares, and the units' deviation is that of the share to first order (the delta
    /// method; Deng, Knoblich and Lu, KDD 2018).
    fn shares(&self, metric: Metric, control: usize, until: i64) -> Vec<Vec<cuped::Unit>> {
        let mut counts: Vec<Vec<(f64, f64)>> = vec![Vec::new(); self.arms];
        for unit in &self.units {
            let figures = self.runs_by(unit, until).filter_map(|run| run.figure(metric, ANSWERING, until));
            let (sum, runs) = figures.fold((0.0, 0.0), |(sum, runs), figure| (sum + figure, runs + 1.0));
            if runs > 0.0 {
                counts[unit.arm].push((sum, runs));
            }
        }
        let totals = |arm: &[(f64, f64)]| arm.iter().fold((0.0, 0.0), |(sum, runs), (s, n)| (sum + s, runs + n));
        let (sum, runs) = totals(counts.get(control).map_or(&[], Vec::as_slice));
        let ratio = if runs > 0.0 { sum / runs } else { 0.0 };
        let outcomes = |arm: Vec<(f64, f64)>| {
            let runs_mean = totals(&arm).1 / arm.len().max(1) as f64;
            arm.into_iter().map(|(s, n)| cuped::Unit { before: None, outcome: (s - ratio * n) / runs_mean }).collect()
        };
        counts.into_iter().map(outcomes).collect()
    }

    /// What each unit's runs gain by the other arm, in mode shadow: the mean over the
    /// runs that both were asked for and that have both figures.
    pub fn paired(&self, metric: Metric, arm: usize, until: i64) -> Vec<f64> {
        self.units.iter().filter_map(|unit| mean(self.runs_by(unit, until).filter_map(|run| pair(run, metric, arm, until)))).collect()
    }
}

/// The other arm's figure less the answering one's.
pub(super) fn pair(run: &Run, metric: Metric, arm: usize, until: i64) -> Option<f64> {
    run.shadows.get(&arm).filter(|shadow| shadow.at <= until)?;
    Some(run.figure(metric, arm, until)? - run.figure(metric, ANSWERING, until)?)
}

/// None of nothing.
pub(super) fn mean(figures: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = figures.fold((0.0, 0_u32), |(sum, count), figure| (sum + figure, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}
