//! What the report of an experiment holds. Figures have six significant digits.
//!
//! Lists that have nothing to tell are empty. A figure that can't be told is null, and
//! something beside it says why.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::verdict::Verdict;
use crate::experiments::definition::{Mode, State};
use crate::experiments::metric::{Guard, Metric};

/// Version of the report's form, in every report.
pub const SCHEMA_VERSION: u32 = 1;

/// An experiment as the journal tells it, at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "Spanloom experiment report")]
pub struct Report {
    pub schema_version: u32,
    /// When it was made: RFC 3339.
    pub generated_at: String,
    pub subject: Subject,
    pub verdict: Verdict,
    /// Whether units arrived in the shares that the arms were promised. In mode ab only.
    pub sample_ratio: Option<SampleRatio>,
    /// What makes the figures worth less than they seem.
    pub warnings: Vec<Warning>,
    pub period: Period,
    pub counts: Counts,
    /// In the order of the file. In mode interleave all runs are of one arm, `interleave`.
    pub arms: Vec<ArmReport>,
    /// Every other arm with the control, the primary metric first. Not in mode interleave.
    pub comparisons: Vec<Comparison>,
    /// Which arm units prefer. In mode interleave only.
    pub preferences: Vec<Preferred>,
    /// How the arms' lists agree with those that were shown. In mode shadow only.
    pub agreements: Vec<Agreement>,
    pub guardrails: Vec<GuardrailReport>,
    /// The primary metric by class of query.
    pub classes: Vec<ClassReport>,
    /// What was done to the experiment, oldest first.
    pub controls: Vec<ControlReport>,
    /// How the figures were made, and where that comes from.
    pub methods: Vec<String>,
}

/// Which experiment it is, from its file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Subject {
    pub id: String,
    pub version: u32,
    pub mode: Mode,
    pub state: State,
    /// Such as `session` or `header x-team`.
    pub unit: String,
    pub owner: String,
    pub hypothesis: String,
    /// Key of the arm that the others are compared with.
    pub control: String,
    pub primary: Metric,
    /// SHA-256 of what decides who gets what.
    pub digest: String,
}

/// Units by arm, held against the arms' weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SampleRatio {
    pub arms: Vec<RatioRow>,
    /// None where there is nothing to check.
    pub chi_square: Option<f64>,
    /// How likely chance alone is to be as far off, over 0 to 1.
    pub p: Option<f64>,
    /// Whether p is below 0.001, with 5 units or more expected in every arm.
    pub mismatch: bool,
}

/// An arm's units, and those that it should have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RatioRow {
    pub arm: String,
    pub weight: f64,
    pub units: u64,
    pub expected: Option<f64>,
}

/// Something about the data that a reader has to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Warning {
    pub kind: WarningKind,
    /// How many units, runs or events it is about.
    pub count: u64,
    pub message: String,
}

/// Kinds of warnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WarningKind {
    /// Units that came into several arms. They are left out.
    UnitsInSeveralArms,
    /// Runs of another version. They are left out.
    OtherVersions,
    /// Runs of an arm that the file doesn't have. They are left out.
    UnknownArms,
    /// What decides who gets what was another at the start, under the same version.
    DefinitionChanged,
    /// A server rolled an arm back, as it breached a guardrail.
    RolledBack,
    /// The experiment was paused meanwhile.
    Paused,
    /// An arm has fewer units than an interval or a decision needs.
    TooFewUnits,
    /// Many runs got no feedback.
    RunsWithoutFeedback,
    /// Units without history: nothing of them is adjusted.
    UnitsWithoutHistory,
    /// Feedback for runs that the journal doesn't have. It is left out.
    UnknownRuns,
    /// Feedback for findings that the run didn't show. It is left out.
    NotShown,
    /// A time without runs.
    TimeGap,
    /// Moments that can't be: feedback before its run, or events from the future.
    ClockSkew,
    /// Events without a moment that can be read, or without a run. They are left out.
    Unreadable,
    /// The method holds for one look only.
    OneLook,
    /// Feedback on what the answering arm showed says less of what other arms found.
    OneSided,
}

/// From when to when. All moments are RFC 3339, UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Period {
    /// When it was started first, or its first run.
    pub started_at: Option<String>,
    pub first_run_at: Option<String>,
    pub last_run_at: Option<String>,
    /// When it is over by its file. Of one that was over and started again, its days count
    /// from that start.
    pub ends_at: Option<String>,
}

/// How much was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Lines of the journal, of all experiments.
    pub events: u64,
    /// Lines that say again what another one said.
    pub repeated: u64,
    /// Runs of this version, without those left out.
    pub runs: u64,
    /// Units of these runs.
    pub units: u64,
    /// Runs with any feedback.
    pub runs_with_feedback: u64,
}

/// One arm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ArmReport {
    pub arm: String,
    pub control: bool,
    pub units: u64,
    pub runs: u64,
    /// The primary metric first.
    pub metrics: Vec<MetricReport>,
    /// p50, p95 and p99 over all runs; empty without runs.
    pub latency: Vec<LatencyReport>,
    /// Figures of runs.
    pub guards: Vec<GuardReport>,
}

/// A metric of an arm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricReport {
    pub metric: Metric,
    pub lower_is_better: bool,
    /// Units that have a figure.
    pub units: u64,
    /// The mean over units, or the figure over all runs.
    pub value: Option<f64>,
    /// The standard deviation of the units' figures; none for figures over all runs.
    pub deviation: Option<f64>,
}

/// A percentile of the durations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LatencyReport {
    /// 0.5, 0.95 or 0.99.
    pub share: f64,
    pub value_ms: f64,
    /// The ends of an interval for every distribution, at the file's alpha, for one look;
    /// none where the runs are too few to bound that side.
    pub low_ms: Option<f64>,
    pub high_ms: Option<f64>,
}

/// A figure of runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GuardReport {
    pub metric: Guard,
    /// Runs that it is over.
    pub runs: u64,
    /// None without such runs, or where the journal can't tell.
    pub value: Option<f64>,
}

/// An arm with the control, on one metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    pub arm: String,
    pub control: String,
    pub metric: Metric,
    pub primary: bool,
    pub lower_is_better: bool,
    pub control_units: u64,
    pub arm_units: u64,
    /// The arm less the control, in the metric's unit; with history, adjusted by it.
    pub difference: Option<f64>,
    /// The ends of the interval. None as long as there is none.
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// The chance that an interval of this kind holds the true difference.
    pub level: f64,
    pub holds_for: HoldsFor,
    /// Of no difference, two-sided. None of latencies, and as long as there is no interval.
    pub p: Option<f64>,
    /// Corrected for all comparisons of the report.
    pub p_adjusted: Option<f64>,
    /// Why there is no interval.
    pub why_none: Option<String>,
    /// What the units' history was worth. None if it wasn't used.
    pub history: Option<HistoryReport>,
    /// The same comparison as it was earlier, oldest first, today's last.
    pub course: Vec<CoursePoint>,
}

/// How often an interval may be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HoldsFor {
    /// All looks together.
    AnyLook,
    /// One look, at a time set beforehand.
    OneLook,
}

/// An adjustment by what units did before the experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryReport {
    /// Share of the units with a history, over 0 to 1.
    pub units_share: f64,
    /// The figure's change per change of the earlier one.
    pub theta: f64,
    /// Share of the variance that is gone, at most 1.
    pub variance_reduction: Option<f64>,
}

/// A comparison at some moment. For preferences, `difference` is the share less ½.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CoursePoint {
    pub at: String,
    /// Units of both arms.
    pub units: u64,
    pub difference: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
}

/// Which of two interleaved arms units prefer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Preferred {
    pub arm: String,
    pub control: String,
    pub metric: Metric,
    pub primary: bool,
    /// Units that prefer the arm, the control, or neither.
    pub wins: u64,
    pub losses: u64,
    pub ties: u64,
    /// Wins among the units that prefer one, ½ without a difference.
    pub share: Option<f64>,
    /// The interval of the share, which holds at any look.
    pub low: f64,
    pub high: f64,
    pub level: f64,
    pub p: f64,
    pub p_adjusted: f64,
    /// `(wins + ties/2) / units − ½`.
    pub delta: Option<f64>,
    pub course: Vec<CoursePoint>,
}

/// How another arm's lists agree with those that were shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Agreement {
    pub arm: String,
    /// Runs in which the arm was asked, too.
    pub runs: u64,
    /// Means over the runs in which it answered, 0 to 1.
    pub overlap_at_10: Option<f64>,
    pub rank_biased_overlap: Option<f64>,
    /// Runs with warnings of this arm.
    pub runs_with_warnings: u64,
}

/// A guardrail of an arm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GuardrailReport {
    pub arm: String,
    pub metric: Guard,
    /// The most it may be. None when it depends on a figure that isn't there.
    pub limit: Option<f64>,
    /// Where the limit comes from, in words.
    pub rule: String,
    pub value: Option<f64>,
    pub runs: u64,
    pub runs_min: u64,
    pub state: GuardrailState,
}

/// What a guardrail says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GuardrailState {
    /// Within the limit.
    Ok,
    /// Over the limit.
    Breached,
    /// The arm, or the control that it is held against, has too few runs.
    TooFewRuns,
    /// The journal can't tell: nobody notes it of arms that nobody sees.
    Unknown,
}

/// The primary metric among the runs of one class of query. A description, not a test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClassReport {
    pub arm: String,
    /// As the gate named it; `(none)` where it was not asked.
    pub class: String,
    pub control_runs: u64,
    pub arm_runs: u64,
    /// The mean over the arm's runs less that over the control's.
    pub difference: Option<f64>,
    /// What wins and losses count.
    pub counted: Counted,
    pub wins: u64,
    pub losses: u64,
    pub ties: u64,
}

/// What wins and losses count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Counted {
    /// Queries that both arms were asked.
    Queries,
    /// Units that saw both arms in one list.
    Units,
    /// Runs that both arms were asked for.
    Runs,
}

/// Something done to the experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ControlReport {
    pub at: String,
    pub version: u32,
    pub verb: String,
    pub actor: String,
    pub detail: String,
    pub variant: Option<String>,
    pub coverage: Option<f64>,
}
