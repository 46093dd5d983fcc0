//! What is expected of the world, and what of it is impossible.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::experiments::check::{CheckedExperiment, Problem};
use crate::experiments::definition::{Experiment, Mode, UnitKind};
use crate::experiments::metric::{self, Guard, Metric};

/// As long as `stop.days_max` may be.
pub const DAYS_MAX: u32 = 3_650;
/// More in ten years than the tests are exact for.
pub const UNITS_PER_DAY_MAX: f64 = 1e8;
/// Beyond, a unit is a robot.
const RUNS_PER_UNIT_MAX: f64 = 10_000.0;
/// Findings used in one run.
const COUNT_MAX: f64 = 1_000.0;
/// Characters of a wrong effect that are repeated.
const SHOWN_CHARS: usize = 40;

/// What is expected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Outlook {
    /// Units that are seen for the first time on a day and are eligible, before hold-out,
    /// layer and coverage; over 0, at most 100,000,000.
    pub units_per_day: f64,
    /// 1 to 3650, and to `stop.days_max`.
    pub days: u32,
    /// The primary metric's mean in the control. In interleaving, what the control earns in
    /// one run: its findings that are used, or the share of its judged ones that are helpful.
    pub baseline: f64,
    /// The standard deviation of a unit's figure. Shares don't need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deviation: Option<f64>,
    /// By how much the other arms differ from the baseline.
    pub effect: Effect,
    /// Runs of a unit, on average; 1 to 10,000, 1 unless given. Counts for shares without a
    /// deviation and in interleaving, where runs of a unit are taken as independent of each
    /// other; they seldom are, so fewer are the safer assumption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs_per_unit: Option<f64>,
    /// Of the random numbers.
    #[serde(default)]
    pub seed: u64,
}

/// A change of a mean.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Effect {
    /// As a share of the mean: 0.05 is written `5 %`.
    Relative(f64),
    /// In the metric's unit, such as `0.01`.
    Absolute(f64),
}

impl Effect {
    /// In the metric's unit.
    pub fn of(self, mean: f64) -> f64 {
        match self {
            Effect::Relative(share) => mean * share,
            Effect::Absolute(effect) => effect,
        }
    }
}

impl FromStr for Effect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = text.trim();
        let (number, percent) = plain.strip_suffix('%').map_or((plain, false), |number| (number.trim_end(), true));
        let digits = number.strip_prefix(['-', '+']).unwrap_or(number);
        let fits = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        match number.parse::<f64>() {
            Ok(value) if fits && value != 0.0 && value.is_finite() => {
                Ok(if percent { Effect::Relative(value / 100.0) } else { Effect::Absolute(value) })
            }
            _ => {
                let shown: String = text.chars().take(SHOWN_CHARS).collect();
                Err(format!(
                    "is `{shown}`; allowed: a share of the baseline such as `5%` or `-2.5 %`, or a difference such as `0.01`, not 0"
                ))
            }
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Twelve digits take away what the division by 100 added.
            Effect::Relative(share) => write!(f, "{} %", (share * 1e14).round() / 1e12),
            Effect::Absolute(effect) => effect.fmt(f),
        }
    }
}

impl From<Effect> for String {
    fn from(effect: Effect) -> String {
        effect.to_string()
    }
}

impl TryFrom<String> for Effect {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl JsonSchema for Effect {
    fn schema_name() -> Cow<'static, str> {
        "Effect".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A share of the baseline, such as `5 %`, or a difference in the metric's unit, such as `0.01`; not 0.",
            "type": "string",
            "pattern": r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)\s*%?\s*$"
        })
    }
}

/// What values a figure may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Values {
    /// 0 or 1 for a run.
    Share,
    /// 0 to 1.
    Unit,
    /// 0 or more.
    Count,
}

/// None of what is no mean.
pub(super) fn values(metric: Metric) -> Option<Values> {
    use metric::Outcome;
    match metric {
        Metric::Outcome(Outcome::Success | Outcome::Abandonment | Outcome::HelpfulShare) => Some(Values::Share),
        Metric::Outcome(Outcome::ReciprocalRank | Outcome::Ndcg) => Some(Values::Unit),
        Metric::Outcome(Outcome::UsedFindings) => Some(Values::Count),
        Metric::Guard(Guard::ErrorRate | Guard::ZeroResultRate | Guard::TrapRate | Guard::FallbackRate) => Some(Values::Share),
        Metric::Guard(Guard::LatencyP95Ms) | Metric::Measure(_) => None,
    }
}

/// The most that figures from 0 to 1 can deviate around a mean: `√(m (1 − m))`, when all are
/// 0 or 1.
pub(super) fn deviation_max(mean: f64) -> f64 {
    (mean * (1.0 - mean)).max(0.0).sqrt()
}

/// Every value that can't be.
pub(super) fn check(experiment: &CheckedExperiment, outlook: &Outlook) -> Result<(), Vec<Problem>> {
    let mut problems = Problems(Vec::new());
    let mode = format!("`{:?}`", experiment.mode).to_lowercase();
    problems.require(
        matches!(experiment.mode, Mode::Ab | Mode::Interleave),
        "mode",
        mode,
        "ab or interleave, as the others compare the arms on the same runs",
    );
    problems.require(experiment.coverage > 0.0, "coverage", experiment.coverage, "over 0, as else nobody takes part");
    let Some(values) = values(experiment.metrics.primary) else {
        problems.require(
            false,
            "metrics.primary",
            format!("`{}`", experiment.metrics.primary),
            "a mean over units, not a percentile or a measure of judgments",
        );
        return Err(problems.0);
    };
    let units = outlook.units_per_day;
    problems.require(units > 0.0 && units <= UNITS_PER_DAY_MAX, "units_per_day", units, "over 0, at most 100000000");
    days(experiment, outlook.days, &mut problems);
    let runs = outlook.runs_per_unit.unwrap_or(1.0);
    if experiment.unit.kind == UnitKind::Run {
        problems.require(runs == 1.0, "runs_per_unit", runs, "1 or none, as the unit is a run");
    } else {
        problems.require((1.0..=RUNS_PER_UNIT_MAX).contains(&runs), "runs_per_unit", runs, "1 to 10000");
    }
    means(outlook, values, &mut problems);
    deviation(experiment, outlook, values, &mut problems);
    if problems.0.is_empty() { Ok(()) } else { Err(problems.0) }
}

fn days(experiment: &Experiment, days: u32, problems: &mut Problems) {
    match experiment.stop.days_max {
        Some(last) if last < DAYS_MAX => {
            problems.require((1..=last).contains(&days), "days", days, &format!("1 to {last}, as `stop.days_max` ends it"));
        }
        _ => problems.require((1..=DAYS_MAX).contains(&days), "days", days, &format!("1 to {DAYS_MAX}")),
    }
}

/// Both means inside their range: at its ends nothing varies.
fn means(outlook: &Outlook, values: Values, problems: &mut Problems) {
    let (end, allowed) = if values == Values::Count { (COUNT_MAX, "over 0, at most 1000") } else { (1.0, "between 0 and 1") };
    let inside = |mean: f64| mean > 0.0 && (mean < end || values == Values::Count && mean == end);
    problems.require(inside(outlook.baseline), "baseline", outlook.baseline, allowed);
    if inside(outlook.baseline) {
        let effect = outlook.effect.of(outlook.baseline);
        let kept = format!("an effect other than 0 that leaves a mean {allowed}, from a baseline of {}", outlook.baseline);
        problems.require(effect != 0.0 && inside(outlook.baseline + effect), "effect", outlook.effect, &kept);
    }
}

fn deviation(experiment: &Experiment, outlook: &Outlook, values: Values, problems: &mut Problems) {
    let metric = experiment.metrics.primary;
    let Some(deviation) = outlook.deviation else {
        if values != Values::Share && experiment.mode == Mode::Ab {
            let problem = format!("is missing; allowed: the standard deviation of a unit's {metric}, as it doesn't follow from its mean");
            problems.0.push(Problem { key: "deviation".into(), problem });
        }
        return;
    };
    if experiment.mode == Mode::Interleave {
        problems.require(false, "deviation", deviation, "none in mode interleave, where only counts which arm earned more");
    } else if values == Values::Count {
        problems.require(deviation > 0.0 && deviation <= 1e6, "deviation", deviation, "over 0, at most 1000000");
    } else if outlook.baseline > 0.0 && outlook.baseline < 1.0 {
        let most = deviation_max(outlook.baseline);
        // Who computes the bound himself may round it.
        let fits = deviation > 0.0 && deviation <= most * 1.001;
        let allowed = format!("over 0, at most {most:.4}, as figures from 0 to 1 with a mean of {} deviate no more", outlook.baseline);
        problems.require(fits, "deviation", deviation, &allowed);
    }
}

struct Problems(Vec<Problem>);

impl Problems {
    fn require(&mut self, holds: bool, key: &str, value: impl fmt::Display, allowed: &str) {
        if !holds {
            self.0.push(Problem { key: key.into(), problem: format!("is {value}; allowed: {allowed}") });
        }
    }
}
