//! What a run report holds. Times count in microseconds from the start of the run.
//!
//! Everything comes out of the run's ledger and nothing is left to the reader: a report
//! says what ran, in which order, for how long, and where and why it stopped.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

/// Version of the report's form, in every report.
pub const REPORT_VERSION: u32 = 2;

/// One run, told. Lists that have nothing to tell are empty, never missing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "Spanloom run report")]
pub struct RunReport {
    pub report_version: u32,
    /// What happened, in one sentence.
    pub headline: String,
    pub identity: Identity,
    pub outcome: RunOutcome,
    /// From the start to the end, or to the last sign of life of a run without an end.
    pub duration_us: u64,
    /// The arguments as the ledger has them; the query may be a digest only.
    pub request: Json,
    /// Why the run did not do all of its work; nothing for a complete one.
    pub stopped_because: Option<Stop>,
    /// The spans of the run as a tree, in the order in which they began. The first is
    /// the run's own; others beside it are those whose parent is not in the ledger.
    pub stages: Vec<StageReport>,
    /// Stages that were left out, and why.
    pub skipped: Vec<SkippedStep>,
    /// What the gate decided; nothing when it wasn't reached.
    pub gate: Option<GateReport>,
    /// The channels that were asked, or were to be asked.
    pub channels: Vec<ChannelReport>,
    /// The plugins that judged, in the order of their stages.
    pub plugins: Vec<PluginReport>,
    /// The models that were used.
    pub models: Vec<ModelReport>,
    /// What the answer warned of, and what is missing in this report.
    pub warnings: Vec<String>,
    /// The failures of spans, in the order of their ends, and the run's own last.
    pub errors: Vec<StageError>,
    /// What did not do its full part, in the order of the stages.
    pub degradations: Vec<Degradation>,
    /// What was searched; nothing when the run did not get to say so.
    pub index: Option<IndexReport>,
    /// What was found, without the texts.
    pub findings: Vec<FindingReport>,
    /// What else the run came to: the outcome's other members.
    pub answer: Map<String, Json>,
    pub ledger: LedgerReport,
    /// The stages as bars over time, one a line.
    pub waterfall: String,
}

/// Which run it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Identity {
    pub run_id: String,
    /// 32 hexadecimal digits.
    pub trace_id: Option<String>,
    pub session_id: Option<String>,
    pub tool: Option<String>,
    /// Version of the program that answered.
    pub version: Option<String>,
    /// RFC 3339.
    pub started_at: Option<String>,
    /// SHA-256 of the configuration in effect.
    pub config_sha256: Option<String>,
    /// What the client wished to call the run when that was taken already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_run_id: Option<String>,
    /// The caller's span, 16 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_span: Option<String>,
}

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// Answered in full.
    Complete,
    /// Answered, with something left out or replaced.
    Degraded,
    /// Ended with an error in place of an answer.
    Failed,
    /// Nobody waited for the answer any more.
    Cancelled,
    /// The process ended before the run did.
    Crashed,
    /// It goes on.
    Running,
}

impl RunOutcome {
    pub const ALL: [RunOutcome; 6] =
        [RunOutcome::Complete, RunOutcome::Degraded, RunOutcome::Failed, RunOutcome::Cancelled, RunOutcome::Crashed, RunOutcome::Running];

    pub fn as_str(self) -> &'static str {
        match self {
            RunOutcome::Complete => "complete",
            RunOutcome::Degraded => "degraded",
            RunOutcome::Failed => "failed",
            RunOutcome::Cancelled => "cancelled",
            RunOutcome::Crashed => "crashed",
            RunOutcome::Running => "running",
        }
    }
}

/// Where a run stopped, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stop {
    /// The stage, by its span; the run's own span for what came before the first or
    /// after the last one.
    pub stage: String,
    /// The stage that had finished last.
    pub after: Option<String>,
    /// Stages that would have followed.
    pub not_reached: Vec<String>,
    /// A class: `crash`, `cancelled`, `deadline`, `trap.unreachable`, …
    pub cause: String,
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

/// One span of the run, with those below it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageReport {
    pub name: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// `internal`, `client` or `server`; nothing for what did not end.
    pub kind: Option<String>,
    pub started_us: u64,
    /// Nothing for what did not end.
    pub duration_us: Option<u64>,
    /// Of the run's duration, 0 to 1. Stages that ran side by side add up to more.
    pub share: Option<f64>,
    pub status: StageStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReport>,
    pub attributes: Map<String, Json>,
    pub events: Vec<EventReport>,
    pub children: Vec<StageReport>,
}

/// How a span ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StageStatus {
    Ok,
    Failed,
    /// It began, and its end is not in the ledger.
    #[default]
    Unfinished,
}

impl StageStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            StageStatus::Ok => "ok",
            StageStatus::Failed => "failed",
            StageStatus::Unfinished => "unfinished",
        }
    }
}

/// A failure by its class, and in words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorReport {
    pub class: String,
    pub message: String,
}

/// Something that happened within a span.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventReport {
    pub name: String,
    pub at_us: u64,
    pub attributes: Map<String, Json>,
}

/// A stage that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SkippedStep {
    pub stage: String,
    pub reason: String,
}

/// The gate's decision.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GateReport {
    pub class: Option<String>,
    /// 0 to 1.
    pub ambiguity: Option<f64>,
    pub budgets: Vec<BudgetReport>,
    pub rrf_k: Option<f64>,
    pub rm3: Option<bool>,
    pub rerank_depth: Option<u64>,
    /// In the gate's words.
    pub reasons: Option<String>,
}

/// What a channel was allowed, and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BudgetReport {
    pub channel: String,
    /// Rows.
    pub depth: Option<u64>,
    pub weight: Option<f64>,
    pub reason: Option<String>,
}

/// What a channel gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChannelReport {
    pub name: String,
    /// Rows that were asked for.
    pub depth: Option<u64>,
    /// Rows that came back: candidates for the fusion.
    pub hits: Option<u64>,
    pub deadline_ms: Option<u64>,
    pub duration_us: Option<u64>,
    pub status: ChannelStatus,
    /// The class of what went wrong, or why it was not asked.
    pub cause: Option<String>,
}

/// What became of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChannelStatus {
    Answered,
    /// Not within its deadline.
    Late,
    Failed,
    /// It had a budget, and was not asked.
    NotAsked,
    /// It was asked, and no answer is in the ledger.
    Unfinished,
}

impl ChannelStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            ChannelStatus::Answered => "answered",
            ChannelStatus::Late => "late",
            ChannelStatus::Failed => "failed",
            ChannelStatus::NotAsked => "not asked",
            ChannelStatus::Unfinished => "unfinished",
        }
    }
}

/// A plugin's part in the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PluginReport {
    /// `gate`, `fusion` or `rerank`.
    pub stage: String,
    pub name: String,
    pub version: Option<String>,
    /// Of the component.
    pub sha256: Option<String>,
    /// How often its instance had been used before.
    pub reuse: Option<u64>,
    /// Processor time of the guest.
    pub guest_time_us: Option<u64>,
    pub memory_bytes_peak: Option<u64>,
    pub candidates_in: Option<u64>,
    pub candidates_out: Option<u64>,
    /// `ok`, or the class of its failure.
    pub outcome: String,
    /// What was done in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
}

/// A use of a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelReport {
    /// The span in which it was used.
    pub stage: String,
    pub name: String,
    /// `http` or `builtin`.
    pub mode: Option<String>,
    /// Numbers of a vector.
    pub dimension: Option<u64>,
    /// Texts.
    pub batch: Option<u64>,
    /// Requests that were made, repeated ones included.
    pub attempts: Option<u64>,
    pub duration_us: Option<u64>,
    /// `ok`, or the class of its failure.
    pub outcome: String,
}

/// A failure, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StageError {
    pub stage: String,
    pub class: String,
    pub message: String,
}

/// Something that did not do its full part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Degradation {
    /// The span in which the cause arose.
    pub stage: String,
    /// As the answer calls it: a stage or a channel.
    pub part: String,
    /// A class.
    pub cause: String,
    /// What was done instead.
    pub instead: String,
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

/// The state of what was searched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IndexReport {
    pub generation: Option<String>,
    pub commit: Option<String>,
    pub dirty: Option<bool>,
    /// Seconds since it was built, when the run answered.
    pub age_s: Option<u64>,
    pub files_indexed: Option<u64>,
    pub files_skipped: Option<u64>,
    pub chunks: Option<u64>,
    pub chunks_embedded: Option<u64>,
}

/// A finding without its text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FindingReport {
    /// From 1, over all pages.
    pub rank: u64,
    pub chunk_id: Option<u64>,
    pub path: String,
    pub start_line: Option<u64>,
    /// Inclusive.
    pub end_line: Option<u64>,
    pub symbol: Option<String>,
    pub score: Option<f64>,
    pub contributions: Vec<ContributionReport>,
}

/// A channel's part in a finding.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContributionReport {
    pub channel: String,
    /// Within the channel, from 1.
    pub rank: Option<u64>,
    /// The channel's own.
    pub score: Option<f64>,
    /// Of the fused score, 0 to 1.
    pub share: Option<f64>,
}

/// What the report was read from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LedgerReport {
    /// Nothing when the run was told from memory.
    pub path: Option<String>,
    /// Version of the line format.
    pub schema: Option<u64>,
    /// Lines that were read.
    pub lines: u64,
    /// Whether the last line is cut short, as a crash leaves it.
    pub torn: bool,
    /// Lines that are known to be missing.
    pub lost_lines: u64,
}
