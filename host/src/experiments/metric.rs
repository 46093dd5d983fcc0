//! What is measured, how figures are compared, and when that is enough.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::eval::measures::{Kind, Measure};
use crate::request::DEPTH_MAX;

/// What is measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// The one figure that decides.
    pub primary: Metric,
    /// Figures that are reported, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secondary: Vec<Metric>,
    /// Figures that an arm may not worsen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guardrails: Vec<Guardrail>,
}

/// A figure of an arm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Metric {
    /// From feedback.
    Outcome(Outcome),
    /// From runs.
    Guard(Guard),
    /// From judgments, such as `ndcg@10`.
    Measure(Measure),
}

/// Figures from feedback. A finding is *used* when feedback says that it was used, opened,
/// copied or helpful. The figure of a unit is the mean over its runs, that of an arm the
/// mean over its units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// 1 if any finding of the run was used, else 0.
    Success,
    /// 1 / rank of the first finding that was used, ranks from 1; 0 if none was.
    ReciprocalRank,
    /// Σ grade / log2(1 + rank), over the same sum of the best order of the grades given.
    /// Runs without a grade over 0 are left out.
    Ndcg,
    /// How many different findings of the run were used.
    UsedFindings,
    /// 1 if the run got no feedback, else 0. Lower is better.
    Abandonment,
    /// Findings called helpful / findings called helpful or not helpful. Runs with neither
    /// are left out.
    HelpfulShare,
}

/// Figures from runs; of all of them, lower is better. They are of an arm, over all its runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Guard {
    /// The shortest time, in milliseconds, that 95 % of runs didn't exceed.
    LatencyP95Ms,
    /// Runs that failed / runs.
    ErrorRate,
    /// Runs with an answer of no findings / runs with an answer.
    ZeroResultRate,
    /// Runs in which a plugin trapped / runs.
    TrapRate,
    /// Runs in which a built-in took a plugin's place / runs.
    FallbackRate,
}

impl Outcome {
    pub const ALL: [Outcome; 6] =
        [Outcome::Success, Outcome::ReciprocalRank, Outcome::Ndcg, Outcome::UsedFindings, Outcome::Abandonment, Outcome::HelpfulShare];

    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Success => "success",
            Outcome::ReciprocalRank => "reciprocal_rank",
            Outcome::Ndcg => "ndcg",
            Outcome::UsedFindings => "used_findings",
            Outcome::Abandonment => "abandonment",
            Outcome::HelpfulShare => "helpful_share",
        }
    }
}

impl Guard {
    pub const ALL: [Guard; 5] = [Guard::LatencyP95Ms, Guard::ErrorRate, Guard::ZeroResultRate, Guard::TrapRate, Guard::FallbackRate];

    pub fn as_str(self) -> &'static str {
        match self {
            Guard::LatencyP95Ms => "latency_p95_ms",
            Guard::ErrorRate => "error_rate",
            Guard::ZeroResultRate => "zero_result_rate",
            Guard::TrapRate => "trap_rate",
            Guard::FallbackRate => "fallback_rate",
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Metric::Outcome(outcome) => f.write_str(outcome.as_str()),
            Metric::Guard(guard) => f.write_str(guard.as_str()),
            Metric::Measure(measure) => measure.fmt(f),
        }
    }
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let outcome = || Outcome::ALL.into_iter().find(|outcome| outcome.as_str() == name).map(Metric::Outcome);
        let guard = || Guard::ALL.into_iter().find(|guard| guard.as_str() == name).map(Metric::Guard);
        outcome().or_else(guard).or_else(|| measure(name).map(Metric::Measure)).ok_or_else(|| {
            let names = Outcome::ALL.map(Outcome::as_str).into_iter().chain(Guard::ALL.map(Guard::as_str));
            format!(
                "unknown metric `{}`; allowed: {}, or a measure of judgments: ndcg, mrr, recall, p or map at 1 to {DEPTH_MAX}, such as ndcg@10",
                name.chars().take(super::check::SHOWN_CHARS).collect::<String>(),
                names.collect::<Vec<_>>().join(", "),
            )
        })
    }
}

/// A measure by its name in evaluations.
fn measure(name: &str) -> Option<Measure> {
    let (kind, cut) = name.split_once('@')?;
    let kind = match kind {
        "ndcg" => Kind::Ndcg,
        "mrr" => Kind::Mrr,
        "recall" => Kind::Recall,
        "p" => Kind::Precision,
        "map" => Kind::AveragePrecision,
        _ => return None,
    };
    let k: usize = cut.parse().ok().filter(|k| (1..=DEPTH_MAX as usize).contains(k))?;
    let measure = Measure { kind, k };
    // `ndcg@010` and `ndcg@+10` would be second names of one measure.
    (measure.to_string() == name).then_some(measure)
}

impl From<Metric> for String {
    fn from(metric: Metric) -> String {
        metric.to_string()
    }
}

impl TryFrom<String> for Metric {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

impl JsonSchema for Metric {
    fn schema_name() -> Cow<'static, str> {
        "Metric".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A figure of an arm. In mode offline it comes from judgments, in the others from feedback or from runs.",
            "anyOf": [
                generator.subschema_for::<Outcome>(),
                generator.subschema_for::<Guard>(),
                {
                    "description": "From judgments, over the first ranks, as `spanloom eval` has it: `ndcg@10`, `mrr@10`, `recall@100`, `p@5`, `map@100`; at 1 to 1000.",
                    "type": "string",
                    "pattern": "^(ndcg|mrr|recall|p|map)@([1-9][0-9]{0,2}|1000)$"
                }
            ]
        })
    }
}

/// A figure that an arm may not worsen: either `limit` or `increase_max`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Guardrail {
    /// The figure.
    pub metric: Guard,
    /// The most it may be: 0 to 1 for shares, over 0 and at most 300,000 for milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// The most it may be over that of the control, as a share of it: 0.1 is a tenth more.
    /// 0 to 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 10.0))]
    pub increase_max: Option<f64>,
    /// Runs of an arm before it is judged, 1 to 1,000,000.
    #[serde(default = "runs_min")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub runs_min: u64,
}

fn runs_min() -> u64 {
    100
}

/// How figures are compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Analysis {
    /// The chance of calling a difference real that isn't; over 0 and under 0.5.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 0.5))]
    pub alpha: f64,
    /// How intervals are made.
    pub method: Method,
    /// Days before the experiment that a unit's earlier figures are taken from, to lessen
    /// variance; 0 to 90, 0 for none. In mode ab only. CUPED: Deng et al., WSDM 2013.
    #[schemars(range(max = 90))]
    pub cuped_days: u32,
    /// What is done about many comparisons.
    pub correction: Correction,
}

impl Default for Analysis {
    fn default() -> Self {
        Analysis { alpha: 0.05, method: Method::default(), cuped_days: 0, correction: Correction::default() }
    }
}

/// How intervals are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Asymptotic confidence sequences, valid whenever they are looked at: Waudby-Smith et
    /// al., Annals of Statistics 2024.
    #[default]
    Asymptotic,
    /// The mixture sequential probability ratio test, valid whenever it is looked at:
    /// Johari et al., Operations Research 2022.
    MixtureSprt,
    /// Intervals for one look, once `stop.units_min` is reached.
    Fixed,
}

/// What is done about many comparisons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Correction {
    /// Nothing.
    None,
    /// Each at alpha over their number.
    Bonferroni,
    /// Step by step, from the smallest p-value: Holm, 1979.
    #[default]
    Holm,
    /// The share of false finds is held, not the chance of one: Benjamini and Hochberg, 1995.
    BenjaminiHochberg,
}

/// When an experiment ends, and what ends an arm before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Stop {
    /// Units of every arm before anything is decided, 1 to 1,000,000,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub units_min: Option<u64>,
    /// Days that it may take, 1 to 3650, from when a server first carried it out: the server
    /// stops carrying it out then, forecasts end there, and reports say when that is.
    /// Default: any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3_650))]
    pub days_max: Option<u32>,
    /// Whether a server takes an arm out of the experiment by itself when its latest runs
    /// breach a guardrail. Without it, the breach is told only.
    pub roll_back: bool,
}

impl Default for Stop {
    fn default() -> Self {
        Stop { units_min: None, days_max: None, roll_back: true }
    }
}
