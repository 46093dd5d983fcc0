//! The primary metric by class of query: where an arm wins and where it loses. It
//! describes; nothing is tested.

use std::collections::BTreeMap;

use super::compare::lower_is_better;
use super::figure::figure;
use super::population::{Population, mean, pair};
use super::prefer::{Teams, earned, teams};
use super::report::{ClassReport, Counted};
use super::run::{ANSWERING, Run};
use crate::experiments::definition::{Experiment, Mode};
use crate::experiments::metric::Metric;

/// Where the gate was not asked.
const NO_CLASS: &str = "(none)";
/// Classes that are told. A gate names a few.
const CLASSES_MAX: usize = 64;

/// By arm, then the class's name. Of latencies there is none.
pub(super) fn classes(experiment: &Experiment, population: &Population, arms: &[String]) -> Vec<ClassReport> {
    let metric = experiment.metrics.primary;
    if let (Mode::Interleave, Some(teams)) = (experiment.mode, teams(experiment)) {
        return interleaved(experiment, population, metric, teams);
    }
    let control = arms.iter().position(|arm| arm == experiment.control()).unwrap_or(0);
    let figures = |arm: usize| population.runs_of(arm).filter_map(move |run| Some((run, run.figure(metric, ANSWERING, i64::MAX)?)));
    let mut rows = Vec::new();
    for arm in (0..arms.len()).filter(|arm| *arm != control) {
        let mut own = match population.mode {
            Mode::Shadow => {
                let pairs = population.runs_of(arm).filter_map(|run| Some((run, pair(run, metric, arm, i64::MAX)?)));
                by_class(pairs).into_iter().map(|(class, pairs)| shadow(class, &pairs, metric)).collect()
            }
            _ => split(&by_class(figures(control)), &by_class(figures(arm)), metric),
        };
        named(&mut own, &population.classes, &arms[arm]);
        rows.append(&mut own);
    }
    rows
}

type ByClass<'a> = BTreeMap<u32, Vec<(&'a Run, f64)>>;

fn by_class<'a>(runs: impl Iterator<Item = (&'a Run, f64)>) -> ByClass<'a> {
    let mut classes = ByClass::new();
    runs.for_each(|(run, figure)| classes.entry(run.class).or_default().push((run, figure)));
    classes
}

/// Puts names for the numbers of classes, and the rows in their order.
fn named(rows: &mut Vec<ClassReport>, classes: &[String], arm: &str) {
    for row in rows.iter_mut() {
        let name = row.class.parse::<usize>().ok().and_then(|class| classes.get(class)).map_or("", String::as_str);
        row.class = if name.is_empty() { NO_CLASS.into() } else { name.into() };
        row.arm = arm.to_owned();
    }
    rows.sort_by(|a, b| a.class.cmp(&b.class));
    rows.truncate(CLASSES_MAX);
}

fn empty(class: u32, counted: Counted) -> ClassReport {
    ClassReport {
        arm: String::new(),
        class: class.to_string(),
        control_runs: 0,
        arm_runs: 0,
        difference: None,
        counted,
        wins: 0,
        losses: 0,
        ties: 0,
    }
}

/// A gain is a difference to the good side.
fn count(row: &mut ClassReport, difference: f64, metric: Metric) {
    let gain = if lower_is_better(metric) { -difference } else { difference };
    let counted = match gain {
        gain if gain > 0.0 => &mut row.wins,
        gain if gain < 0.0 => &mut row.losses,
        _ => &mut row.ties,
    };
    *counted += 1;
}

/// Each run has one arm: queries that both arms were asked are compared by their means.
fn split(control: &ByClass, arm: &ByClass, metric: Metric) -> Vec<ClassReport> {
    let classes: std::collections::BTreeSet<u32> = control.keys().chain(arm.keys()).copied().collect();
    let none = Vec::new();
    let row = |class: u32| {
        let (control, arm) = (control.get(&class).unwrap_or(&none), arm.get(&class).unwrap_or(&none));
        let mut row = empty(class, Counted::Queries);
        (row.control_runs, row.arm_runs) = (control.len() as u64, arm.len() as u64);
        let of = |runs: &[(&Run, f64)]| mean(runs.iter().map(|(_, figure)| *figure));
        row.difference = of(arm).zip(of(control)).map(|(arm, control)| figure(arm - control));
        let (control, arm) = (by_query(control), by_query(arm));
        for (query, (sum, runs)) in &arm {
            if let Some((control_sum, control_runs)) = control.get(query) {
                count(&mut row, sum / runs - control_sum / control_runs, metric);
            }
        }
        row
    };
    classes.into_iter().map(row).collect()
}

/// Sum and number of the figures of each query.
fn by_query(runs: &[(&Run, f64)]) -> BTreeMap<u32, (f64, f64)> {
    let mut queries = BTreeMap::new();
    for (run, figure) in runs {
        if let Some(query) = run.query {
            let (sum, count) = queries.entry(query).or_insert((0.0, 0.0));
            *sum += figure;
            *count += 1.0;
        }
    }
    queries
}

fn shadow(class: u32, pairs: &[(&Run, f64)], metric: Metric) -> ClassReport {
    let mut row = empty(class, Counted::Runs);
    (row.control_runs, row.arm_runs) = (pairs.len() as u64, pairs.len() as u64);
    row.difference = mean(pairs.iter().map(|(_, difference)| *difference)).map(figure);
    pairs.iter().for_each(|(_, difference)| count(&mut row, *difference, metric));
    row
}

fn interleaved(experiment: &Experiment, population: &Population, metric: Metric, teams: Teams) -> Vec<ClassReport> {
    let mut rows: BTreeMap<u32, ClassReport> = BTreeMap::new();
    for unit in &population.units {
        let mut runs: BTreeMap<u32, Vec<&Run>> = BTreeMap::new();
        population.runs_by(unit, i64::MAX).for_each(|run| runs.entry(run.class).or_default().push(run));
        for (class, runs) in runs {
            let row = rows.entry(class).or_insert_with(|| empty(class, Counted::Units));
            row.control_runs += runs.len() as u64;
            row.arm_runs += runs.len() as u64;
            let [control, arm] = earned(runs.into_iter(), metric, teams, i64::MAX);
            let counted = match arm.cmp(&control) {
                std::cmp::Ordering::Greater => &mut row.wins,
                std::cmp::Ordering::Less => &mut row.losses,
                std::cmp::Ordering::Equal => &mut row.ties,
            };
            *counted += 1;
        }
    }
    let mut rows: Vec<ClassReport> = rows.into_values().collect();
    named(&mut rows, &population.classes, &experiment.arms[usize::from(teams.arm)].key);
    rows
}
