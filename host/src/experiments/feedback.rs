//! What became of findings: reported by agents, or seen when a file is opened. In: what is
//! reported, and what recent runs showed. Out: events for the journal.
//!
//! [`RecentRuns`] learns of runs as they end, and of marks when they are in the journal:
//! `report` and `opened_by` only make events, [`RecentRuns::observe`] takes them as known.
//! A mark whose write failed is so never told to be known. Two that come at once may both
//! be written; readers count a (run, chunk, kind) once.

mod opened;
mod recent;
#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::events::{Action, Event, Mark, Object, Position};
use crate::types::ChunkId;
pub use recent::{FindingShown, RUNS_DEFAULT, RecentRuns, RunShown};

/// Findings a report may name.
pub const CHUNKS_MAX: usize = 100;
/// The highest grade.
pub const GRADE_MAX: u8 = 3;
/// Characters of a wrong value that are repeated in an error.
const SHOWN_CHARS: usize = 80;
/// Chunks that an error names.
const SHOWN_CHUNKS: usize = 10;

/// Arguments of `report_feedback`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FeedbackArguments {
    /// `run_id` of the search answer that had the findings.
    #[schemars(length(min = 1, max = 64))]
    pub run_id: String,
    /// `chunk_id` of the findings that this is about, 1 to 100, all of that answer.
    #[schemars(length(min = 1, max = 100))]
    pub chunk_ids: Vec<ChunkId>,
    /// What you did with the findings, or what you think of them.
    pub kind: FeedbackKind,
    /// How relevant the findings are, with kind `grade` only: 0 not at all, 1 somewhat, 2
    /// mostly, 3 just what was looked for.
    #[schemars(range(max = 3))]
    pub grade: Option<u8>,
}

/// What is said of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FeedbackKind {
    /// You based your answer or your change on it.
    Used,
    /// You read the file at that place.
    Opened,
    /// You took text over from it.
    Copied,
    /// It helped, whether or not you used it.
    Helpful,
    /// It didn't help.
    NotHelpful,
    /// You grade it, by `grade`.
    Grade,
}

/// What became of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FeedbackAnswer {
    /// How many of `chunk_ids` were written down.
    pub accepted: u32,
    /// How many had been reported before with this kind, or stand in `chunk_ids` before.
    pub already_known: u32,
    /// The run that this is about.
    pub run_id: String,
}

/// A report that was held against its run: what to write, and what to answer then.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// In the order of `chunk_ids`. To be written durably, then observed.
    pub events: Vec<Event>,
    pub answer: FeedbackAnswer,
}

/// Why a report can't be taken; nothing of it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedbackError {
    #[error("`run_id` is `{run_id}`; allowed: the `run_id` of a search answer of this server, one of its last {runs_max} runs")]
    UnknownRun { run_id: String, runs_max: usize },
    #[error("`chunk_ids` has {chunks}, not among what run `{run_id}` showed; allowed: {allowed}")]
    NotShown { run_id: String, chunks: String, allowed: String },
    #[error("`chunk_ids` has {count} entries; allowed: 1 to {CHUNKS_MAX}")]
    ChunkCount { count: usize },
    #[error("`grade` is {grade}; allowed: 0 to {GRADE_MAX}")]
    GradeRange { grade: u8 },
    #[error("`grade` is missing; allowed: 0 to {GRADE_MAX} with kind `grade`")]
    GradeMissing,
    #[error("`grade` is {grade} with another kind than `grade`; allowed: a grade with kind `grade` only")]
    GradeUnexpected { grade: u8 },
}

impl FeedbackArguments {
    /// What needs no run to be seen.
    fn check(&self) -> Result<(), FeedbackError> {
        let count = self.chunk_ids.len();
        if count == 0 || count > CHUNKS_MAX {
            return Err(FeedbackError::ChunkCount { count });
        }
        match (self.kind, self.grade) {
            (FeedbackKind::Grade, None) => Err(FeedbackError::GradeMissing),
            (FeedbackKind::Grade, Some(grade)) if grade > GRADE_MAX => Err(FeedbackError::GradeRange { grade }),
            (FeedbackKind::Grade, _) | (_, None) => Ok(()),
            (_, Some(grade)) => Err(FeedbackError::GradeUnexpected { grade }),
        }
    }
}

impl FeedbackKind {
    /// The event's action.
    fn action(self, mark: Mark) -> Action {
        match self {
            FeedbackKind::Used => Action::Used(mark),
            FeedbackKind::Opened => Action::Opened(mark),
            FeedbackKind::Copied => Action::Copied(mark),
            FeedbackKind::Helpful => Action::Helpful(mark),
            FeedbackKind::NotHelpful => Action::NotHelpful(mark),
            FeedbackKind::Grade => Action::Graded(mark),
        }
    }

    /// The kind and mark of an action, if it is of a finding.
    fn of(action: &Action) -> Option<(FeedbackKind, &Mark)> {
        match action {
            Action::Used(mark) => Some((FeedbackKind::Used, mark)),
            Action::Opened(mark) => Some((FeedbackKind::Opened, mark)),
            Action::Copied(mark) => Some((FeedbackKind::Copied, mark)),
            Action::Helpful(mark) => Some((FeedbackKind::Helpful, mark)),
            Action::NotHelpful(mark) => Some((FeedbackKind::NotHelpful, mark)),
            Action::Graded(mark) => Some((FeedbackKind::Grade, mark)),
            Action::Search(_) | Action::Shadow(_) | Action::Experiment(_) => None,
        }
    }
}

fn mark(chunk: ChunkId, rank: u32, grade: Option<u8>, source: &str) -> Mark {
    let object = Object { object_id: chunk.0, object_id_field: "chunk_id".into() };
    Mark { object, position: Position { ordinal: rank }, grade, source: source.into() }
}

/// A text of a caller as errors show it: whole, or its beginning.
fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}

/// Chunks as errors name them: the first ones, and how many more there are.
fn named(chunks: &[ChunkId]) -> String {
    let mut text = chunks.iter().take(SHOWN_CHUNKS).map(ChunkId::to_string).collect::<Vec<_>>().join(", ");
    match chunks.len().saturating_sub(SHOWN_CHUNKS) {
        0 if chunks.is_empty() => text.push_str("none, as it showed nothing"),
        0 => {}
        more => text.push_str(&format!(" and {more} more")),
    }
    text
}
