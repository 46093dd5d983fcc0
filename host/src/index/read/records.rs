//! Reads files of records into a build, after the files of the folders.

use std::collections::HashMap;

use rayon::prelude::*;

use super::{Content, Known, Reading, new_chunk};
use crate::index::catalog::{FileRow, SkippedRow};
use crate::index::chunk::{ChunkLimits, Language, chunk_record};
use crate::index::documents::{DocumentsError, DocumentsFile, Found, Ids, LeftOut, Record, RecordRules};
use crate::index::role::Role;
use crate::index::scan::content_hash;

/// Records that are cut side by side before more are read; with their texts, bounds memory.
const BATCH_RECORDS: usize = 2_048;
/// Bytes of their texts.
const BATCH_BYTES: usize = 32 << 20;

/// The records of the last generation, by the file they are of and their id.
pub type KnownRecords = HashMap<(String, String), Known>;

/// Files of records, and how they are read.
pub struct RecordFiles<'a> {
    pub files: &'a [DocumentsFile],
    /// The number of the first file among the roots; the others follow.
    pub first_root: usize,
    pub rules: &'a RecordRules,
    pub limits: &'a ChunkLimits,
}

/// Puts records into `reading`, each as a file of its own. Those whose content is that of the last generation keep
/// their chunks. Gives what is to be said about the files. `on_progress` gets the number of records so far.
///
/// # Errors
/// What is wrong with a file; `reading` then is of no use.
pub fn read_records(
    reading: &mut Reading,
    sources: &RecordFiles,
    known: KnownRecords,
    on_progress: &dyn Fn(usize),
) -> Result<Vec<String>, DocumentsError> {
    let mut ids = Ids::default();
    let mut said = Vec::new();
    let mut batch = Batch { reading, known, limits: sources.limits, root: 0, file: String::new(), records: Vec::new(), bytes: 0 };
    let mut done = 0;
    for (number, file) in (sources.first_root..).zip(sources.files) {
        batch.root = number as u32;
        batch.file = file.path.to_string_lossy().into_owned();
        let sentences = file.read(sources.rules, &mut ids, &mut |found| {
            batch.take(found);
            done += 1;
            on_progress(done);
        });
        said.extend(sentences?);
        batch.flush();
    }
    Ok(said)
}

/// Records on their way into a build.
struct Batch<'a> {
    reading: &'a mut Reading,
    known: KnownRecords,
    limits: &'a ChunkLimits,
    /// The number and the path of the file that is read.
    root: u32,
    file: String,
    records: Vec<Record>,
    bytes: usize,
}

impl Batch<'_> {
    fn take(&mut self, found: Found) {
        match found {
            Found::Record(record) => {
                self.bytes += record.text.len();
                self.records.push(record);
                if self.records.len() >= BATCH_RECORDS || self.bytes >= BATCH_BYTES {
                    self.flush();
                }
            }
            Found::LeftOut(LeftOut { line, id, reason, detail }) => self.reading.skipped.push(SkippedRow {
                root: self.root,
                path: id.unwrap_or_else(|| format!("line {line}")),
                reason: reason.as_str().into(),
                detail,
            }),
        }
    }

    fn flush(&mut self) {
        let work: Vec<(Record, Option<Known>)> = self
            .records
            .drain(..)
            .map(|record| {
                let known = self.known.remove(&(self.file.clone(), record.id.clone()));
                (record, known)
            })
            .collect();
        let (root, limits) = (self.root, self.limits);
        let read: Vec<(FileRow, Content)> = work.into_par_iter().map(|(record, known)| read_one(root, record, known, limits)).collect();
        for (row, content) in read {
            self.reading.push(row, content);
        }
        self.bytes = 0;
    }
}

/// The record as a file, with its chunks.
fn read_one(root: u32, record: Record, known: Option<Known>, limits: &ChunkLimits) -> (FileRow, Content) {
    let content_hash = hash_of(&record);
    let Record { id, text, title, path, language, time_s, .. } = record;
    let row = FileRow {
        id: 0,
        root,
        role: path.as_deref().map_or(Role::Source, |path| Role::of(path, &text)),
        path: path.unwrap_or_else(|| id.clone()),
        language: language.as_str().into(),
        size_bytes: text.len() as u64,
        // Its file is read each time anyway.
        modified_ns: 0,
        content_hash,
        commit: None,
        commit_time_s: time_s,
        fallback: false,
        document: Some(id),
    };
    if let Some((before, span)) = known.filter(|(before, _)| before.content_hash == row.content_hash) {
        return (FileRow { fallback: before.fallback, ..row }, Content::Kept(span));
    }
    let chunked = chunk_record(language, title.as_deref(), &text, limits);
    let fallback = chunked.fallback.is_some() && language != Language::Markdown && chunked.chunks.len() > 1;
    (FileRow { fallback, ..row }, Content::Fresh(chunked.chunks.into_iter().map(new_chunk).collect()))
}

/// Over everything that shapes a record's chunks.
fn hash_of(record: &Record) -> String {
    let language = record.language.as_str();
    let title = record.title.as_deref().unwrap_or_default();
    // Neither of the first two has line endings, so that no other record has the same bytes.
    content_hash(format!("{language}\n{title}\n{}", record.text).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::documents::check_files;
    use crate::types::ChunkId;

    /// Reads files of these lines; (id, path, language, time, kept, chunk ids) of each record.
    type Read = (String, String, String, Option<i64>, bool, Vec<u64>);

    struct Bench {
        folder: tempfile::TempDir,
        known: KnownRecords,
        next_chunk_id: u64,
    }

    impl Bench {
        fn read(&mut self, lines: &str) -> (Vec<Read>, Reading) {
            let path = self.folder.path().join("c.jsonl");
            std::fs::write(&path, lines).unwrap();
            let files = check_files(&[path]).unwrap();
            let rules = RecordRules { text_bytes_max: 100_000, title_bytes_max: 100, records_max: 10_000, language: None };
            let mut reading = Reading { next_chunk_id: self.next_chunk_id, ..Reading::default() };
            let known = std::mem::take(&mut self.known);
            let sources = RecordFiles { files: &files, first_root: 3, rules: &rules, limits: &ChunkLimits::default() };
            read_records(&mut reading, &sources, known, &|_| {}).unwrap();
            self.next_chunk_id = reading.next_chunk_id;
            let mut told = Vec::new();
            for file in &reading.files {
                assert_eq!(file.row.root, 3);
                let id = file.row.document.clone().unwrap();
                let ids = file.span.ids().map(|id| id.0).collect();
                told.push((id.clone(), file.row.path.clone(), file.row.language.clone(), file.row.commit_time_s, file.kept, ids));
                let key = (files[0].path.to_string_lossy().into_owned(), id);
                self.known.insert(key, (file.row.clone(), file.span));
            }
            (told, reading)
        }
    }

    #[test]
    fn records_that_did_not_change_keep_their_chunks() {
        let mut bench = Bench { folder: tempfile::tempdir().unwrap(), known: KnownRecords::new(), next_chunk_id: 40 };
        let row = |id: &str, path: &str, language: &str, time: Option<i64>, kept: bool, chunks: &[u64]| -> Read {
            (id.into(), path.into(), language.into(), time, kept, chunks.to_vec())
        };
        let a = r#"{"id":"a","text":"def f(): pass","path":"tests/a.py","time":5}"#;
        let b = r#"{"id":"b","text":"words"}"#;
        let c = r#"{"id":"c","text":"others"}"#;
        let (told, reading) = bench.read(&format!("{a}\n{b}\n{{\"id\":\"z\"}}\n{c}\n"));
        assert_eq!(
            told,
            [
                row("a", "tests/a.py", "python", Some(5), false, &[40]),
                row("b", "b", "text", None, false, &[41]),
                row("c", "c", "text", None, false, &[42]),
            ]
        );
        assert_eq!(reading.files[0].row.role, Role::Test);
        assert_eq!(reading.files[1].row.role, Role::Source);
        assert_eq!((reading.skipped[0].path.as_str(), reading.skipped[0].reason.as_str()), ("z", "no_text"));
        assert_eq!(reading.files.iter().map(|file| file.row.id).collect::<Vec<_>>(), [0, 1, 2]);

        // Another order, another time and path, one text more, one gone.
        let a = r#"{"id":"a","text":"def f(): pass","path":"src/a.py","time":6}"#;
        let c = r#"{"id":"c","text":"others","title":"with a title"}"#;
        let (told, reading) = bench.read(&format!("{c}\n{a}\n"));
        assert_eq!(told, [row("c", "c", "text", None, false, &[43]), row("a", "src/a.py", "python", Some(6), true, &[40])]);
        assert_eq!(reading.files[1].row.role, Role::Source);
        assert!(reading.files.iter().all(|file| {
            file.chunks.iter().map(|chunk| (chunk.id, chunk.file)).eq(file.span.ids().filter(|_| !file.kept).map(|id| (id, file.row.id)))
        }));
        // The language shapes the chunks.
        let a = r#"{"id":"a","text":"def f(): pass","language":"text"}"#;
        assert_eq!(bench.read(a).0, [row("a", "a", "text", None, false, &[44])]);
    }

    #[test]
    fn more_than_a_batch_keeps_its_order() {
        let mut bench = Bench { folder: tempfile::tempdir().unwrap(), known: KnownRecords::new(), next_chunk_id: 0 };
        let lines: Vec<String> = (0..BATCH_RECORDS * 2 + 1).map(|n| format!(r#"{{"id":"d{n}","text":"word {n}"}}"#)).collect();
        let (told, reading) = bench.read(&lines.join("\n"));
        assert_eq!(told.len(), lines.len());
        for (n, (file, told)) in reading.files.iter().zip(&told).enumerate() {
            assert_eq!((file.row.id, told.0.as_str(), told.5.as_slice()), (n as u32, format!("d{n}").as_str(), &[n as u64][..]));
            assert_eq!(file.chunks[0].id, ChunkId(n as u64));
        }
    }
}
