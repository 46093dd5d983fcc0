//! Golden cases: single stage calls, recorded or written by hand, with what they must give.
//! In: JSON files. Out: checked cases, the differences to what a call gave, and how far
//! two outputs of one call are apart.
//!
//! Nothing here runs a plugin. Whoever does, in a component or natively, brings what it
//! saw as [`Observed`].

mod diff;
mod expect;
mod inputs;
mod moves;
mod outputs;
mod read;
mod record;
mod report;
mod similarity;
mod spans;
#[cfg(test)]
mod testing;
mod validate;
mod write;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

pub use diff::{Difference, NumberOff, SpanProblem, TableRow, render};
pub use expect::{Failure, Observed, ObservedSpan, check};
pub use inputs::{Columns, Document, FusionInput, GateInput, Input, Query, RerankInput, Run};
pub use moves::{GateMoves, Move, Moves, PlacedRow, RankingMoves, WrongStage, compare};
pub use outputs::{
    Budget, ExpectedBudget, ExpectedFusion, ExpectedGate, ExpectedOutput, ExpectedRerank, FusionOutput, GateOutput, Output, Ranking,
    RerankOutput,
};
pub use read::{CaseError, read_folder};
pub use report::{MeanOverlap, Outcome, Replayed, Report, Summary};
pub use similarity::{OVERLAP_AT, OverlapAt, RBO_P, overlaps, rbo, swapped_pairs};

use crate::types::Stage;

/// The version of the format.
pub const SCHEMA: u32 = 1;
/// Bytes of a case's file. A larger one is refused before it is read.
pub const FILE_BYTES_MAX: u64 = 16 << 20;
/// Rows of a call, over all of its runs.
pub const ROWS_MAX: usize = 100_000;
/// Findings a call may ask for, as in a request.
pub const LIMIT_MAX: u32 = 100;
/// Numbers agree when they are this close: `|a - b| <= tolerance × max(1, |b|)`, where b
/// is the expected one.
pub const TOLERANCE_DEFAULT: f64 = 1e-5;

/// One stage call, and what it must give. Read with [`Case::read`] or [`Case::parse`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Case {
    /// [`SCHEMA`].
    pub schema: u32,
    pub stage: Stage,
    /// What the case is about, in words.
    pub name: String,
    /// What the plugin is configured with.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub parameters: Map<String, Json>,
    #[serde(skip_serializing_if = "CaseCall::is_default")]
    pub call: CaseCall,
    /// That of `stage`.
    pub input: Input,
    pub expect: Expect,
    /// Where the case comes from; none when it was written by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded: Option<Recorded>,
}

/// The circumstances of the call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CaseCall {
    /// 1 to [`LIMIT_MAX`].
    pub limit: u32,
    pub explain: bool,
}

impl Default for CaseCall {
    fn default() -> CaseCall {
        CaseCall { limit: 10, explain: false }
    }
}

impl CaseCall {
    fn is_default(&self) -> bool {
        *self == CaseCall::default()
    }
}

/// What must hold. Without `error` the call must succeed, whatever else is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Expect {
    /// Only the members that are there are compared; with none of them the call has to
    /// succeed and no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<ExpectedOutput>,
    /// The whole ranking, best first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<Vec<u64>>,
    /// The first rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top: Option<Vec<u64>>,
    /// 0 to 1; none is [`TOLERANCE_DEFAULT`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<f64>,
    /// The class that the call must fail with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Spans of the plugin in the order in which they were opened; others may stand
    /// between them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spans: Option<Vec<ExpectedSpan>>,
}

/// A span that must be there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedSpan {
    pub name: String,
    /// The name of the span it is in, `stage` for the stage's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Those that are named must be there; whole numbers must be the same, others within
    /// the tolerance.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub attributes: Map<String, Json>,
    /// Names in order; others may stand between them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
}

/// The call that a case was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    pub run_id: String,
    pub trace_id: String,
    /// RFC 3339.
    pub at: String,
    /// The index generation, such as `g000007`.
    pub generation: String,
    /// Name, version and digest of the plugin that was called.
    pub plugin: String,
    pub version: String,
    pub sha256: String,
    /// Whether the query's words are left out of the input.
    pub redacted: bool,
}
