//! What a search answers: findings with their provenance, and everything a reader
//! needs to judge how far to trust them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::explanation::{Explanation, FindingExplanation};
use crate::types::{ChannelName, ChunkId};

/// The answer to a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AnswerEnvelope {
    /// One sentence: how many findings, where the best one is.
    pub answer: String,
    /// From 0 to 1: how far the evidence points at the first findings. It is the
    /// share of the query's terms (by rarity) that the best finding holds, lowered
    /// when channels disagree or the answer is degraded. Not a probability.
    pub confidence: f32,
    /// Best first.
    pub findings: Vec<Finding>,
    /// Things that went otherwise than asked, in words.
    pub warnings: Vec<String>,
    /// Stages and channels that did not do their full part.
    pub degraded: Vec<Degraded>,
    /// What was searched.
    pub index: IndexStamp,
    /// Where this call is told in full.
    pub observability: Observability,
    /// The experiments that this call is part of; absent when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub experiments: Vec<ExperimentStamp>,
    /// The query's class, as the gate named it. For records, not for clients.
    #[serde(skip)]
    pub query_class: String,
    /// Give this as `cursor` to get the findings that follow; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// How the stages decided, when `explain` was set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation>,
}

/// One piece of code or text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// From 1, over all pages.
    pub rank: u32,
    pub chunk_id: ChunkId,
    /// Relative to its root, with `/`; prefixed with the root's name when several
    /// roots are indexed.
    pub path: String,
    /// The id of the record, where this is no file but a plain record, or its best passage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// First line, from 1. In a record with a title that is line 1.
    pub start_line: u32,
    /// Last line, inclusive.
    pub end_line: u32,
    /// What the chunk defines, qualified where the syntax tree says so.
    pub symbol: Option<String>,
    pub language: String,
    /// Comparable within this answer only; where arms of an experiment share it, not even
    /// there.
    pub score: f32,
    pub text: String,
    /// Which channels found it, in the order in which channels are asked.
    pub contributions: Vec<Contribution>,
    /// The last commit that touched the file; records have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Which arm of an interleaved experiment picked it. For records: a reader who knew
    /// would not judge alike.
    #[serde(skip)]
    pub team: Option<u32>,
    /// The finding's way through the stages, when `explain` was set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<FindingExplanation>,
}

/// A channel's part in a finding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Contribution {
    pub channel: ChannelName,
    /// Rank within the channel, from 1.
    pub rank: u32,
    /// The channel's own score.
    pub score: f32,
    /// The channel's share of the fused score, 0 to 1; the shares of a finding add up to 1.
    pub share: f32,
}

/// Something that did not do its full part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Degraded {
    /// A stage (`gate`, `fusion`, `rerank`), a channel (`bm25`, `dense`, `files`), or `rm3`.
    pub part: String,
    /// What happened, as a class: `deadline`, `unavailable`, `trap.…`, `bad_output`, …
    pub cause: String,
    /// What was done instead.
    pub instead: String,
}

/// The state of what was searched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IndexStamp {
    /// The immutable generation, such as `g000007`.
    pub generation: String,
    /// Commit of the first root's work tree when it was indexed.
    pub commit: Option<String>,
    /// Whether there were changes that were not committed then.
    pub dirty: bool,
    /// Seconds since the index was built.
    pub age_s: u64,
    pub coverage: Coverage,
}

/// How much of the roots is in the index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Coverage {
    /// Files and records in the index.
    pub files_indexed: u64,
    /// Files and records left out: binary, too large, not UTF-8, unreadable, links, without text. The reasons
    /// are in `spanloom status`.
    pub files_skipped: u64,
    pub chunks: u64,
    /// Chunks that have a vector.
    pub chunks_embedded: u64,
}

/// A call's part in an experiment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExperimentStamp {
    /// The experiment's id.
    pub id: String,
    pub version: u32,
    /// Key of the arm that ranked; `interleave` where two took turns.
    pub variant: String,
    /// The bucket that decided on the arm.
    pub bucket: u32,
}

/// Ids under which the call is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Observability {
    pub trace_id: String,
    pub run_id: String,
}

/// The answer of `open_file`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FileSlice {
    pub path: String,
    pub language: String,
    /// First line of `text`, from 1; 0 for an empty file.
    pub start_line: u32,
    /// Last line of `text`, inclusive.
    pub end_line: u32,
    /// Lines of the whole file.
    pub total_lines: u32,
    pub text: String,
    /// Whether the file is other than it was when it was indexed. Records are shown as they were indexed.
    pub changed_since_indexed: bool,
    pub warnings: Vec<String>,
    pub observability: Observability,
}

/// The answer of `git_blame`: the file as it was last committed, not as it is on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlameAnswer {
    pub path: String,
    /// The commit HEAD, whose version of the file this is about.
    pub head_commit: String,
    /// First line told of, from 1; 0 for an empty file.
    pub start_line: u32,
    /// Last line told of, inclusive.
    pub end_line: u32,
    /// Lines of the whole file at HEAD.
    pub total_lines: u32,
    /// In the order of the lines, without gaps.
    pub hunks: Vec<BlamedLines>,
    /// Whether the file on disk has other lines than at HEAD; line numbers then may not match.
    pub changed_since_commit: bool,
    pub warnings: Vec<String>,
    pub observability: Observability,
}

/// Lines that came with one commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlamedLines {
    /// First line at HEAD, from 1.
    pub start_line: u32,
    /// Last line at HEAD, inclusive.
    pub end_line: u32,
    /// 40 hexadecimal digits.
    pub commit: String,
    /// The author's name.
    pub author: String,
    /// When it was committed: seconds since 1970 UTC.
    pub time_s: i64,
    /// First paragraph of the commit's message.
    pub summary: String,
    /// First line in the commit's version of the file, from 1.
    pub original_start_line: u32,
    /// The file's path in that commit, when it was another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_path: Option<String>,
    /// Whether the commit is only where the search ended, so that the lines may be older.
    pub boundary: bool,
}

/// The answer of `git_history`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryAnswer {
    pub path: String,
    /// The commit HEAD, where the history begins.
    pub head_commit: String,
    /// Commits that changed the file, newest first.
    pub commits: Vec<HistoryCommit>,
    /// Whether there are more commits than these, or may be, as `warnings` then say.
    pub more: bool,
    pub warnings: Vec<String>,
    pub observability: Observability,
}

/// A commit that changed a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryCommit {
    /// 40 hexadecimal digits.
    pub commit: String,
    /// The author's name.
    pub author: String,
    /// When it was committed: seconds since 1970 UTC.
    pub time_s: i64,
    /// First paragraph of the commit's message.
    pub summary: String,
    /// What it did to the file.
    pub change: Change,
    /// The path that the file had before, when this commit renamed it. Ask for that path's
    /// history by `git log`: it is in the index no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renamed_from: Option<String>,
}

/// What a commit did to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Added,
    Modified,
    Deleted,
}
