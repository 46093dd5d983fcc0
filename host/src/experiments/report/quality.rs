//! What makes figures worth less than they seem: shares of units that are off, and
//! everything else about the data that a reader has to know.

use std::ops::Deref as _;

use super::figure::{counted, figure, percent};
use super::gather::Gathered;
use super::moment::{self, DAY_MS};
use super::population::Population;
use super::report::{RatioRow, SampleRatio, Warning, WarningKind};
use crate::experiments::check::CheckedExperiment;
use crate::experiments::definition::{Experiment, Mode};
use crate::experiments::events::Control;
use crate::experiments::metric::Method;
use crate::experiments::statistics::ratio;
use crate::experiments::statistics::sequential::BURN_IN_UNITS;

/// From this share of runs without feedback on, it is worth a warning.
const WITHOUT_FEEDBACK_SHARE: f64 = 0.9;
/// A time without runs is a gap if it is longer than a weekend …
const GAP_MS: i64 = 3 * DAY_MS;
/// … and a larger share of the whole time than this.
const GAP_SHARE: f64 = 0.1;
/// Events that are further in the future than this can't be.
const FUTURE_MS: i64 = 60_000;
/// Characters of why an arm was rolled back.
const WHY_CHARS_MAX: usize = 200;
/// Names in a warning.
const NAMES_MAX: usize = 8;

/// Control events of this version, oldest first.
pub(super) fn own_controls<'a>(experiment: &'a Experiment, gathered: &'a Gathered) -> impl Iterator<Item = (i64, &'a Control)> {
    let own = gathered.controls.iter().filter(|(_, control)| control.version == experiment.version);
    own.map(|(at, control)| (*at, control))
}

/// An arm that a server took out of the experiment.
pub(super) struct RolledBack {
    pub arm: String,
    pub at: i64,
    /// The guardrail that was breached, in words.
    pub why: String,
}

impl RolledBack {
    fn of(at: i64, control: &Control) -> RolledBack {
        let why = control.detail.chars().take(WHY_CHARS_MAX).collect();
        RolledBack { arm: control.variant.clone().unwrap_or_else(|| "?".into()), at, why }
    }
}

/// Arms that take no part now, by their latest roll-backs: a start gives them back.
pub(super) fn rolled_back(experiment: &Experiment, gathered: &Gathered) -> Vec<RolledBack> {
    let mut out: Vec<RolledBack> = Vec::new();
    for (at, control) in own_controls(experiment, gathered) {
        match control.verb.as_str() {
            "start" => out.clear(),
            "roll_back" => {
                let own = RolledBack::of(at, control);
                // Of several servers, the first counts.
                if !out.iter().any(|known| known.arm == own.arm) {
                    out.push(own);
                }
            }
            _ => {}
        }
    }
    out
}

/// From when its days are counted: the first start or run, and again a start of one that was
/// over.
pub(super) fn days_from(experiment: &Experiment, gathered: &Gathered, started_at: Option<i64>) -> Option<i64> {
    let days_ms = i64::from(experiment.stop.days_max?) * DAY_MS;
    let starts = own_controls(experiment, gathered).filter(|(_, control)| control.verb == "start");
    let anew = |from: i64, (at, _): (i64, &Control)| if at >= from.saturating_add(days_ms) { at } else { from };
    Some(starts.fold(started_at?, anew))
}

/// Holds the arms' units against their weights. Once an arm was rolled back it gets no
/// more units: only units from before that are counted.
pub(super) fn sample_ratio(experiment: &Experiment, population: &Population, gathered: &Gathered) -> Option<SampleRatio> {
    if experiment.mode != Mode::Ab {
        return None;
    }
    let until = own_controls(experiment, gathered).find(|(_, control)| control.verb == "roll_back").map_or(i64::MAX, |(at, _)| at);
    let mut counts = vec![0_u64; experiment.arms.len()];
    for unit in &population.units {
        let came = population.runs_by(unit, until).next().is_some();
        if let Some(count) = counts.get_mut(unit.arm).filter(|_| came) {
            *count += 1;
        }
    }
    let weights: Vec<f64> = experiment.arms.iter().map(|arm| arm.weight).collect();
    // Without units there is nothing to check.
    let check = ratio::check(&counts, &weights).ok();
    let row = |(place, arm): (usize, &crate::experiments::definition::Arm)| RatioRow {
        arm: arm.key.clone(),
        weight: figure(arm.weight),
        units: counts[place],
        expected: check.as_ref().and_then(|check| check.expected.get(place)).copied().map(figure),
    };
    Some(SampleRatio {
        arms: experiment.arms.iter().enumerate().map(row).collect(),
        chi_square: check.as_ref().map(|check| figure(check.chi_square)),
        p: check.as_ref().map(|check| figure(check.p)),
        mismatch: check.is_some_and(|check| check.mismatch),
    })
}

/// All warnings, those about the experiment first, then those about its data.
pub(super) fn warnings(experiment: &CheckedExperiment, population: &Population, gathered: &Gathered, now: &str) -> Vec<Warning> {
    let mut found = Found { warnings: Vec::new(), experiment, population, gathered };
    found.assignment();
    found.controls();
    if population.first_run_at.is_some() {
        found.sizes();
        found.feedback();
        found.times(moment::read(now));
    }
    let unreadable = gathered.unreadable;
    found.add(
        WarningKind::Unreadable,
        unreadable,
        format!("{} without a moment or a run left out", counted(unreadable, "event", "events")),
    );
    found.warnings
}

struct Found<'a> {
    warnings: Vec<Warning>,
    experiment: &'a CheckedExperiment,
    population: &'a Population,
    gathered: &'a Gathered,
}

impl Found<'_> {
    /// Nothing is no warning.
    fn add(&mut self, kind: WarningKind, count: u64, message: String) {
        if count > 0 {
            self.warnings.push(Warning { kind, count, message });
        }
    }

    fn assignment(&mut self) {
        let several = self.population.several_arms;
        let units = counted(several, "unit came", "units came");
        self.add(WarningKind::UnitsInSeveralArms, several, format!("{units} into several arms and count for none"));
        let versions: Vec<String> =
            self.gathered.other_versions.iter().map(|(version, runs)| format!("version {version} ({runs})")).collect();
        let runs: u64 = self.gathered.other_versions.values().sum();
        let message = format!("{} of other versions left out: {}", counted(runs, "run", "runs"), listed(&versions));
        self.add(WarningKind::OtherVersions, runs, message);
        let arms: Vec<String> = self.gathered.unknown_arms.iter().map(|(arm, runs)| format!("{arm} ({runs})")).collect();
        let runs: u64 = self.gathered.unknown_arms.values().sum();
        let message = format!("{} of arms that the file doesn't have left out: {}", counted(runs, "run", "runs"), listed(&arms));
        self.add(WarningKind::UnknownArms, runs, message);
    }

    fn controls(&mut self) {
        let (experiment, gathered) = (self.experiment.deref(), self.gathered);
        let own = || own_controls(experiment, gathered);
        let now = experiment.digest();
        let other: Vec<String> = own()
            .filter(|(_, control)| control.verb == "start")
            .flat_map(|(_, control)| digests(&control.detail))
            .filter(|digest| *digest != now)
            .collect();
        let message = format!(
            "it was started with another definition ({}…, now {}…) under the same version: the arms may not be what the file says",
            other.first().map_or("", |digest| &digest[..12]),
            &now[..12]
        );
        self.add(WarningKind::DefinitionChanged, other.len() as u64, message);
        let backs: Vec<String> = own()
            .filter(|(_, control)| control.verb == "roll_back")
            .map(|(at, control)| RolledBack::of(at, control))
            .map(|RolledBack { arm, at, why }| format!("`{arm}` at {} ({why})", moment::write(at)))
            .collect();
        let message = format!("rolled back: {}; from then on, an arm gets no units until it is started again", listed(&backs));
        self.add(WarningKind::RolledBack, backs.len() as u64, message);
        let pauses: Vec<String> =
            own().filter(|(_, control)| control.verb == "pause").map(|(at, _)| format!("at {}", moment::write(at))).collect();
        self.add(WarningKind::Paused, pauses.len() as u64, format!("paused meanwhile: {}", listed(&pauses)));
    }

    fn sizes(&mut self) {
        let (experiment, population) = (self.experiment, self.population);
        let stop = experiment.stop.units_min;
        let sequence = experiment.analysis.method != Method::Fixed && experiment.mode != Mode::Interleave;
        let needed = stop.unwrap_or(0).max(if sequence { BURN_IN_UNITS } else { 0 });
        let keys = super::gather::arm_keys(experiment);
        let few: Vec<String> = keys
            .iter()
            .enumerate()
            .map(|(arm, key)| (key, population.units_of(arm)))
            .filter(|(_, units)| *units < needed)
            .map(|(key, units)| format!("{key} has {units}"))
            .collect();
        let message = match stop {
            Some(units) if units >= needed => format!("too few units: {}; the file wants {needed} of every arm", listed(&few)),
            _ => format!("too few units: {}; an interval needs {needed} of every arm", listed(&few)),
        };
        self.add(WarningKind::TooFewUnits, few.len() as u64, message);
        if experiment.analysis.cuped_days > 0 {
            let units = population.units.len() as u64;
            let without = population.units.iter().filter(|unit| unit.history.is_empty()).count() as u64;
            let days = experiment.analysis.cuped_days;
            let message = format!("{without} of {units} units have no run in the {days} days before; they count as they are");
            self.add(WarningKind::UnitsWithoutHistory, without, message);
        }
        if experiment.analysis.method == Method::Fixed && experiment.mode != Mode::Interleave {
            let target = stop.unwrap_or(0);
            let message =
                format!("`fixed` holds for the first look with {target} units of every arm; if this is a later one, it says less");
            self.add(WarningKind::OneLook, 1, message);
        }
        if experiment.mode == Mode::Shadow {
            let message = "only what the answering arm showed could be used: where the others found something else, nobody could say so";
            self.add(WarningKind::OneSided, 1, message.into());
        }
    }

    fn feedback(&mut self) {
        let (population, gathered) = (self.population, self.gathered);
        let runs = || population.units.iter().flat_map(|unit| population.runs_by(unit, i64::MAX));
        let (all, without) = (runs().count() as u64, runs().filter(|run| !run.has_feedback()).count() as u64);
        let share = without as f64 / all.max(1) as f64;
        if share >= WITHOUT_FEEDBACK_SHARE {
            let message = format!("{} of the runs have no feedback: the figures from feedback are of few", percent(share));
            self.add(WarningKind::RunsWithoutFeedback, without, message);
        }
        let unknown = gathered.unknown_runs;
        let message =
            format!("{} of runs that the journal doesn't have left out", counted(unknown, "piece of feedback", "pieces of feedback"));
        self.add(WarningKind::UnknownRuns, unknown, message);
        let hidden = gathered.not_shown;
        let message =
            format!("{} on findings that the run didn't show left out", counted(hidden, "piece of feedback", "pieces of feedback"));
        self.add(WarningKind::NotShown, hidden, message);
    }

    fn times(&mut self, now: Option<i64>) {
        let gathered = self.gathered;
        let early = gathered.before_run;
        let message = format!("{} earlier than the run: clocks differ", counted(early, "piece of feedback is", "pieces of feedback are"));
        self.add(WarningKind::ClockSkew, early, message);
        if let (Some(now), Some(last)) = (now, self.population.last_at)
            && last.saturating_sub(now) > FUTURE_MS
        {
            let message = format!("the last event is of {}, which is yet to come", moment::write(last));
            self.add(WarningKind::ClockSkew, 1, message);
        }
        let (Some(first), Some(last)) = (self.population.first_run_at, self.population.last_run_at) else { return };
        let moments: Vec<i64> = self.population.runs.iter().filter(|run| run.part.is_some()).map(|run| run.at).collect();
        let length = last.saturating_sub(first) as f64;
        let gap = |pair: &&[i64]| {
            let gap = pair[1].saturating_sub(pair[0]);
            gap > GAP_MS && gap as f64 > length * GAP_SHARE
        };
        let gaps: Vec<String> = moments
            .windows(2)
            .filter(gap)
            .map(|pair| format!("{} from {}", moment::span(pair[1].saturating_sub(pair[0])), moment::write(pair[0])))
            .collect();
        self.add(WarningKind::TimeGap, gaps.len() as u64, format!("without runs: {}", listed(&gaps)));
    }
}

/// SHA-256 digests within a text.
fn digests(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|word| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit())).map(str::to_ascii_lowercase).collect()
}

fn listed(names: &[String]) -> String {
    let rest = names.len().saturating_sub(NAMES_MAX);
    let shown = names.iter().take(NAMES_MAX).cloned().collect::<Vec<_>>().join(", ");
    if rest > 0 { format!("{shown} and {rest} more") } else { shown }
}
