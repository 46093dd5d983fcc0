//! Reads and chunks the files of a scan, or takes over what the last generation has
//! of files that did not change.

mod records;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::catalog::{ChunkSpan, FileRow, NewChunk, SkippedRow};
use super::chunk::{Chunk, ChunkKind, ChunkLimits, Language, chunk_source};
use super::role::Role;
use super::scan::{FileContent, ScanLimits, ScannedFile, Skipped, content_hash, read_file};
use crate::types::ChunkId;

pub use records::{KnownRecords, RecordFiles, read_records};

/// A file this recently changed when the last index was made may have changed again
/// within the same time stamp: it is compared by content.
const RACY_NS: i64 = 2_000_000_000;

/// A file of the last generation with the ids of its chunks.
pub type Known = (FileRow, ChunkSpan);

/// What the last generation knows, found by root folder and path.
#[derive(Default)]
pub struct Previous {
    /// Key: (absolute root, path within).
    pub files: HashMap<(String, String), Known>,
    /// Key: (absolute file, id of the record).
    pub records: KnownRecords,
    /// When it was made, in nanoseconds since 1970.
    pub created_ns: i64,
    pub next_chunk_id: u64,
}

/// A file in the new generation.
pub struct ReadFile {
    pub row: FileRow,
    /// The ids of its chunks.
    pub span: ChunkSpan,
    /// As many as `span` has; none for a kept file, until the last generation's are
    /// asked for.
    pub chunks: Vec<NewChunk>,
    /// Whether the chunks are those of the last generation.
    pub kept: bool,
}

/// All files of a build, in the order of the scan.
#[derive(Default)]
pub struct Reading {
    pub files: Vec<ReadFile>,
    pub skipped: Vec<SkippedRow>,
    pub next_chunk_id: u64,
}

enum Outcome {
    Read(FileRow, Content),
    Skipped(SkippedRow),
}

/// The chunks of a file.
enum Content {
    /// Those of the last generation.
    Kept(ChunkSpan),
    /// New ones, without ids yet.
    Fresh(Vec<NewChunk>),
}

/// Reads what changed, in parallel, and gives new chunks their ids in order.
pub fn read_all(
    roots: &[std::path::PathBuf],
    scanned: &[ScannedFile],
    already_skipped: &[Skipped],
    mut previous: Previous,
    limits: (&ScanLimits, &ChunkLimits),
    on_progress: &(dyn Fn(usize) + Sync),
) -> Reading {
    let done = AtomicUsize::new(0);
    // Each file takes its own part of the previous generation, so nothing is shared.
    let work: Vec<(&ScannedFile, Option<Known>)> = scanned
        .iter()
        .map(|file| {
            let key = (roots[file.root].to_string_lossy().into_owned(), file.path.clone());
            (file, previous.files.remove(&key))
        })
        .collect();
    let outcomes: Vec<Outcome> = work
        .into_par_iter()
        .map(|(file, known)| {
            let outcome = read_one(&roots[file.root], file, known, previous.created_ns, limits);
            on_progress(done.fetch_add(1, Ordering::Relaxed) + 1);
            outcome
        })
        .collect();
    let mut reading = Reading { next_chunk_id: previous.next_chunk_id, ..Reading::default() };
    reading.skipped.extend(already_skipped.iter().map(|skipped| SkippedRow {
        root: skipped.root as u32,
        path: skipped.path.clone(),
        reason: skipped.reason.as_str().into(),
        detail: skipped.detail.clone(),
    }));
    for outcome in outcomes {
        match outcome {
            Outcome::Skipped(row) => reading.skipped.push(row),
            Outcome::Read(row, content) => reading.push(row, content),
        }
    }
    reading
}

impl Reading {
    /// Takes a file in as the next one. New chunks get their ids, in one run.
    fn push(&mut self, row: FileRow, content: Content) {
        let id = self.files.len() as u32;
        let (span, chunks, kept) = match content {
            Content::Kept(span) => (span, Vec::new(), true),
            Content::Fresh(mut chunks) => {
                let span = ChunkSpan { first: ChunkId(self.next_chunk_id), count: chunks.len() as u32 };
                for (chunk, chunk_id) in chunks.iter_mut().zip(span.ids()) {
                    (chunk.id, chunk.file) = (chunk_id, id);
                }
                self.next_chunk_id += chunks.len() as u64;
                (span, chunks, false)
            }
        };
        self.files.push(ReadFile { row: FileRow { id, ..row }, span, chunks, kept });
    }
}

fn read_one(
    root: &std::path::Path,
    file: &ScannedFile,
    known: Option<Known>,
    previous_ns: i64,
    (scan_limits, chunk_limits): (&ScanLimits, &ChunkLimits),
) -> Outcome {
    let root_number = file.root as u32;
    let same_stat =
        |row: &FileRow| row.size_bytes == file.size_bytes && row.modified_ns == file.modified_ns && row.modified_ns < previous_ns - RACY_NS;
    let known = match known {
        Some((row, span)) if same_stat(&row) => return Outcome::Read(FileRow { root: root_number, ..row }, Content::Kept(span)),
        other => other,
    };
    let text = match read_file(root, file, scan_limits) {
        FileContent::Text(text) => text,
        FileContent::Skip(reason, detail) => {
            return Outcome::Skipped(SkippedRow { root: root_number, path: file.path.clone(), reason: reason.as_str().into(), detail });
        }
    };
    let language = Language::of(&file.path, &text);
    let row = FileRow {
        id: 0,
        root: root_number,
        path: file.path.clone(),
        language: language.as_str().into(),
        size_bytes: file.size_bytes,
        modified_ns: file.modified_ns,
        content_hash: content_hash(text.as_bytes()),
        commit: None,
        commit_time_s: None,
        fallback: false,
        role: Role::of(&file.path, &text),
        document: None,
    };
    if let Some((before, span)) = known.filter(|(before, _)| before.content_hash == row.content_hash) {
        let row = FileRow { commit: before.commit, commit_time_s: before.commit_time_s, fallback: before.fallback, ..row };
        return Outcome::Read(row, Content::Kept(span));
    }
    let chunked = chunk_source(language, &text, chunk_limits);
    let row = FileRow { fallback: chunked.fallback.is_some() && language != Language::Markdown, ..row };
    let chunks = chunked.chunks.into_iter().map(new_chunk).collect();
    Outcome::Read(row, Content::Fresh(chunks))
}

/// A chunk without its id and its file.
fn new_chunk(chunk: Chunk) -> NewChunk {
    NewChunk {
        id: ChunkId(0),
        file: 0,
        start_line: chunk.start_line,
        end_line: chunk.end_line,
        symbol: chunk.symbol,
        kind: kind_name(chunk.kind).into(),
        definitions: chunk.definitions.join(" "),
        comments: chunk.comments,
        calls: chunk.calls.join(" "),
        text: chunk.text,
    }
}

fn kind_name(kind: ChunkKind) -> &'static str {
    match kind {
        ChunkKind::Definition => "definition",
        ChunkKind::Container => "container",
        ChunkKind::Section => "section",
        ChunkKind::Window => "window",
        ChunkKind::Module => "module",
    }
}
