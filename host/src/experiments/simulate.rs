//! Tells before an experiment starts how it is likely to go. In: a checked experiment, and what
//! is expected of the world. Out: units and power by day, how many days it takes, and the
//! smallest effect that would be found.
//!
//! ```text
//! outlook      what is expected, and what of it is impossible
//! rules        what the file says of the test: target, level, first look
//! design       the chance of a decision by each day, given an effect
//! text         the same for people
//! ```
//!
//! From the file come the share of units that take part (hold-out × layer × coverage), the
//! arms' weights, the method, and the number of comparisons with their correction. A decision
//! is an interval that excludes no difference, at whichever look. Reports are taken to be
//! watched all the time; who looks once a day over a month finds a few points less. The same
//! experiment, outlook and seed give the same figures.

mod design;
mod outlook;
mod rules;
#[cfg(test)]
mod tests;
mod text;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::design::Design;
pub use self::outlook::{DAYS_MAX, Effect, Outlook, UNITS_PER_DAY_MAX};
use super::check::{CheckedExperiment, Problem};
use super::definition::{Mode, UnitKind};
use super::metric::{Method, Metric};
use super::statistics::OutOfRange;

/// The power that an experiment is usually given.
const POWER_WANTED: f64 = 0.8;
/// Halvings of the range that the smallest effect lies in: to 1/256 of it.
const EFFECT_HALVINGS: u32 = 8;
/// Doublings of the effect before none is found.
const EFFECT_DOUBLINGS: u32 = 20;

/// How an experiment is likely to go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// The experiment's id.
    pub experiment: String,
    pub version: u32,
    pub mode: Mode,
    pub metric: Metric,
    pub method: Method,
    /// What is assigned.
    pub unit: UnitKind,
    /// What was expected.
    pub outlook: Outlook,
    /// The share of the units that take part, over 0, at most 1: hold-out × layer × coverage.
    pub share: f64,
    /// The error that each comparison may have, after the correction.
    pub level: f64,
    /// In the order of the file.
    pub arms: Vec<ArmUnits>,
    /// Each other arm with the control, in the order of the file.
    pub comparisons: Vec<Comparison>,
    /// One for each day of the outlook.
    pub days: Vec<Day>,
    /// What else matters, in words.
    pub notes: Vec<String>,
    /// The gist, in words.
    pub sentence: String,
}

/// The units of an arm. In interleaving both arms have all of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ArmUnits {
    pub key: String,
    /// Its share of the units that take part, over 0, at most 1.
    pub share: f64,
    pub units_per_day: f64,
}

/// An arm against the control.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    pub arm: String,
    pub control: String,
    /// Expected means of the metric. In interleaving, what an arm earns in one run.
    pub arm_mean: f64,
    pub control_mean: f64,
    /// In interleaving: what share of units prefers the arm, the control, neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preference: Option<PreferenceShares>,
    /// The chance that it is decided within the days of the outlook, 0 to 1.
    pub power: f64,
    /// The day of the decision on average, from 1; where there is none, the last day counts.
    pub decision_day: f64,
    /// Days until the power is 0.8; none if not within ten years, or with `fixed` never.
    pub days_to_power: Option<u32>,
    /// The smallest effect, in the metric's unit, that has a power of 0.8 within the days of
    /// the outlook; none if no possible one has.
    pub effect_detectable: Option<f64>,
    /// The chance that a difference is called real within these days when there is none.
    pub false_alarm_rate: f64,
}

/// Shares of units, 1 in sum.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PreferenceShares {
    pub arm: f64,
    pub control: f64,
    pub neither: f64,
}

/// What there is by the end of a day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Day {
    /// From 1.
    pub day: u32,
    /// Expected units of each arm, in the order of the file.
    pub units: Vec<u64>,
    /// Of each comparison, in their order, 0 to 1.
    pub power: Vec<f64>,
}

/// How the experiment is likely to go.
///
/// # Errors
/// Every value that is impossible, with its key and what is allowed. Keys are those of the
/// outlook or of the experiment's file.
pub fn simulate(experiment: &CheckedExperiment, outlook: &Outlook) -> Result<Outcome, Vec<Problem>> {
    outlook::check(experiment, outlook)?;
    let share = rules::share(experiment);
    let designs = Design::all(experiment, outlook);
    let forecasts = designs.iter().map(|design| Forecast::new(design, outlook.days)).collect::<Result<Vec<_>, _>>().map_err(impossible)?;

    let arms: Vec<ArmUnits> = experiment
        .arms
        .iter()
        .map(|arm| {
            let of_arms = if experiment.mode == Mode::Interleave { 1.0 } else { rules::arm_share(experiment, arm) };
            ArmUnits { key: arm.key.clone(), share: figure(of_arms), units_per_day: figure(outlook.units_per_day * share * of_arms) }
        })
        .collect();
    let days = (1..=outlook.days)
        .map(|day| Day {
            day,
            units: arms.iter().map(|arm| (arm.units_per_day * f64::from(day)).round() as u64).collect(),
            power: forecasts.iter().map(|forecast| forecast.powers[day as usize - 1]).collect(),
        })
        .collect();
    let mut outcome = Outcome {
        experiment: experiment.id.clone(),
        version: experiment.version,
        mode: experiment.mode,
        metric: experiment.metrics.primary,
        method: experiment.analysis.method,
        unit: experiment.unit.kind,
        outlook: outlook.clone(),
        share: figure(share),
        level: figure(rules::level(experiment)),
        arms,
        comparisons: forecasts.into_iter().map(|forecast| forecast.comparison).collect(),
        days,
        notes: text::notes(experiment, outlook, &designs),
        sentence: String::new(),
    };
    outcome.sentence = text::sentence(&outcome);
    Ok(outcome)
}

/// The tests' own ranges, which a checked experiment and outlook keep all but at the edges of
/// what a computer can count.
fn impossible(error: OutOfRange) -> Vec<Problem> {
    vec![Problem { key: error.name.into(), problem: format!("is {}; allowed: {}", error.value, error.allowed) }]
}

/// With six significant digits: what lies beyond is the noise of the simulation.
fn figure(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

/// A comparison and its power by day.
struct Forecast {
    comparison: Comparison,
    powers: Vec<f64>,
}

impl Forecast {
    fn new(design: &Design, days: u32) -> Result<Forecast, OutOfRange> {
        let powers: Vec<f64> = design.powers(design.effect, days)?.into_iter().map(figure).collect();
        let last = |powers: &[f64]| powers.last().copied().unwrap_or(0.0);
        // Σ of the chances that a day begins undecided. The one look of `fixed` is on its day.
        let undecided = || powers[..powers.len() - 1].iter().map(|power| 1.0 - power).sum::<f64>();
        let decision_day = design.look_day().map_or_else(|| 1.0 + undecided(), |day| f64::from(day.min(days)));
        let comparison = Comparison {
            arm: design.arm.clone(),
            control: design.control.clone(),
            arm_mean: figure(design.baseline + design.effect),
            control_mean: design.baseline,
            preference: design.preference_shares(),
            power: last(&powers),
            decision_day: figure(decision_day),
            days_to_power: days_to_power(design, &powers)?,
            effect_detectable: effect_detectable(design, days)?.map(figure),
            false_alarm_rate: figure(last(&design.powers(0.0, days)?)),
        };
        Ok(Forecast { comparison, powers })
    }
}

fn days_to_power(design: &Design, powers: &[f64]) -> Result<Option<u32>, OutOfRange> {
    let within = |powers: &[f64]| powers.iter().position(|power| *power >= POWER_WANTED).map(|at| at as u32 + 1);
    let mut found = within(powers);
    let mut days = powers.len() as u32;
    while found.is_none() && days < DAYS_MAX {
        days = (days * 4).min(DAYS_MAX);
        found = within(&design.powers(design.effect, days)?);
    }
    Ok(found)
}

/// Doubles the expected effect until its power suffices, and halves the range that leaves.
fn effect_detectable(design: &Design, days: u32) -> Result<Option<f64>, OutOfRange> {
    let limit = design.effect_limit();
    let suffices = |size: f64| Ok(*design.powers(size.copysign(design.effect), days)?.last().unwrap_or(&0.0) >= POWER_WANTED);
    let (mut small, mut enough) = (0.0, design.effect.abs().min(limit));
    let mut doublings = 0;
    while !suffices(enough)? {
        if enough >= limit || doublings == EFFECT_DOUBLINGS {
            return Ok(None);
        }
        (small, enough) = (enough, (enough * 2.0).min(limit));
        doublings += 1;
    }
    for _ in 0..EFFECT_HALVINGS {
        let middle = f64::midpoint(small, enough);
        if suffices(middle)? { enough = middle } else { small = middle }
    }
    Ok(Some(enough.copysign(design.effect)))
}
