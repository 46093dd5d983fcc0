//! What the catalog knows: the rows, without the database that keeps them.

use super::role::Role;
use crate::types::ChunkId;

/// An indexed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRow {
    pub id: u32,
    /// Which of the index's roots.
    pub root: u32,
    /// Relative to the root, with `/`.
    pub path: String,
    pub language: String,
    pub size_bytes: u64,
    pub modified_ns: i64,
    pub content_hash: String,
    pub commit: Option<String>,
    pub commit_time_s: Option<i64>,
    /// Its language has a grammar, but it was cut into windows of lines.
    pub fallback: bool,
    pub role: Role,
    /// The id of the record, where this is a record and no file.
    pub document: Option<String>,
}

/// Chunk ids in a row: those of one file. They are given in the order of its lines, all
/// at once, so a file has no others in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkSpan {
    pub first: ChunkId,
    pub count: u32,
}

impl ChunkSpan {
    pub fn contains(self, id: ChunkId) -> bool {
        id >= self.first && id.0 - self.first.0 < u64::from(self.count)
    }

    /// Ascending.
    pub fn ids(self) -> impl Iterator<Item = ChunkId> {
        (0..u64::from(self.count)).map(move |place| ChunkId(self.first.0 + place))
    }
}

/// A chunk as the catalog has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewChunk {
    pub id: ChunkId,
    /// In the generation at hand.
    pub file: u32,
    /// From 1.
    pub start_line: u32,
    /// Inclusive.
    pub end_line: u32,
    pub symbol: Option<String>,
    pub kind: String,
    /// Names defined here, separated by spaces.
    pub definitions: String,
    /// Comments and documentation strings in the text, without their marks.
    pub comments: String,
    /// Names that are called here, each once, separated by spaces.
    pub calls: String,
    pub text: String,
}

/// A chunk as queries see it, with what its file knows.
#[derive(Clone, Debug, PartialEq)]
pub struct ChunkRow {
    pub id: ChunkId,
    /// As clients know it.
    pub path: String,
    pub language: String,
    /// The id of the record, where this is no file.
    pub document: Option<String>,
    pub start_line: u32,
    pub end_line: u32,
    pub symbol: Option<String>,
    pub definitions: String,
    pub text: String,
    pub commit: Option<String>,
    pub commit_time_s: Option<i64>,
}

/// A file that was left out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedRow {
    pub root: u32,
    pub path: String,
    pub reason: String,
    pub detail: String,
}
