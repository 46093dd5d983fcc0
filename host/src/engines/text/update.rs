//! Brings a text index up to date, in a folder of its own: the segments of the old one
//! are linked, what is gone is marked as deleted, what is new becomes a segment.
//!
//! Tantivy never writes into a file that is there: segments and lists of deleted documents
//! have names of their own, and `meta.json` is replaced by a rename. So the old index stays
//! as it was, also for those who have it open.
//!
//! Until a segment is written anew, its deleted documents count in document frequencies
//! and mean lengths, so scores differ a little from those of an index written whole.

use std::fs;
use std::path::Path;

use tantivy::indexer::NoMergePolicy;
use tantivy::{Index, TantivyDocument, TantivyError, Term};

use super::schema::{self, FIELDS, Kind};
use super::write::{chunk_row, document, file_row};
use super::{FileDocument, TextDocument, TextError};
use crate::index::link::{LinkError, link_or_copy};
use crate::index::tokenize::Tokenizer;
use crate::types::ChunkId;

/// Memory of the writer: an update is small.
const WRITER_BYTES: usize = 32 << 20;
/// Segments below this many documents are small: each costs a query about as much as a
/// large one.
const SEGMENT_DOCUMENTS_SMALL: u32 = 4_096;
/// More small segments than this are made into one.
const SEGMENTS_SMALL_MAX: usize = 8;
/// Tantivy's files that say what the index consists of. They are replaced, not changed;
/// copied all the same, for being small.
const COPIED: &[&str] = &["meta.json", ".managed.json"];

/// Writes the index of chunks of `old` into `new`, an empty folder that exists, without the chunks
/// in `removed` and with `documents`.
///
/// # Errors
/// What tantivy says, and when files can't be linked or copied.
pub fn update<'a>(
    old: &Path,
    new: &Path,
    removed: impl Iterator<Item = ChunkId>,
    documents: impl Iterator<Item = TextDocument<'a>>,
) -> Result<(), TextError> {
    write(Kind::Chunks, old, new, removed, documents.map(chunk_row))
}

/// The same for an index of whole files; `removed` are the first chunks of files.
///
/// # Errors
/// As [`update`].
pub fn update_files<'a>(
    old: &Path,
    new: &Path,
    removed: impl Iterator<Item = ChunkId>,
    documents: impl Iterator<Item = FileDocument<'a>>,
) -> Result<(), TextError> {
    write(Kind::Files, old, new, removed, documents.map(file_row))
}

fn write<T: AsRef<str>>(
    kind: Kind,
    old: &Path,
    new: &Path,
    removed: impl Iterator<Item = ChunkId>,
    rows: impl Iterator<Item = (u64, [T; FIELDS])>,
) -> Result<(), TextError> {
    link_files(old, new).map_err(|error| TextError(TantivyError::SystemError(error.to_string())))?;
    let index = Index::open_in_dir(new)?;
    schema::register(&index);
    let fields = schema::fields(kind, &index.schema())?;
    let tokenizer = Tokenizer::default();
    // One thread: documents keep their order.
    let mut writer = index.writer_with_num_threads::<TantivyDocument>(1, WRITER_BYTES)?;
    // Merges are ours to decide: one of the large segments would cost what a build costs.
    writer.set_merge_policy(Box::new(NoMergePolicy));
    for id in removed {
        writer.delete_term(Term::from_field_u64(fields.id, id.0));
    }
    for (id, texts) in rows {
        writer.add_document(document(&fields, &tokenizer, id, &texts))?;
    }
    writer.commit()?;
    let segments = index.searchable_segment_metas()?;
    let small: Vec<_> =
        segments.iter().filter(|segment| segment.num_docs() < SEGMENT_DOCUMENTS_SMALL).map(|segment| segment.id()).collect();
    // Held in `segments`, files that are merged away would not be removed.
    drop(segments);
    if small.len() > SEGMENTS_SMALL_MAX {
        writer.merge(&small).wait()?;
        writer.garbage_collect_files().wait()?;
    }
    writer.wait_merging_threads()?;
    Ok(())
}

fn link_files(old: &Path, new: &Path) -> Result<(), LinkError> {
    let at = |path: &Path| {
        let path = path.to_path_buf();
        move |error| LinkError { path, error }
    };
    for entry in fs::read_dir(old).map_err(at(old))? {
        let entry = entry.map_err(at(old))?;
        let (from, name) = (entry.path(), entry.file_name());
        let to = new.join(&name);
        let name = name.to_string_lossy();
        if COPIED.contains(&&*name) {
            fs::copy(&from, &to).map_err(at(&from))?;
        } else if !name.ends_with(".lock") {
            link_or_copy(&from, &to)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{FileIndex, TextIndex, TextQuery, build, build_files};
    use super::*;
    use std::collections::BTreeMap;

    fn chunk(id: u64, text: &str) -> TextDocument<'_> {
        TextDocument { id: ChunkId(id), text, names: "", path: "a.rs", comments: "" }
    }

    fn query(term: &str) -> TextQuery {
        TextQuery::of(&[term.to_owned()])
    }

    fn found(folder: &Path, term: &str) -> Vec<u64> {
        let hits = TextIndex::open(folder).unwrap().search(&query(term), 1_000, None).unwrap();
        let mut ids: Vec<u64> = hits.into_iter().map(|(id, _)| id.0).collect();
        ids.sort();
        ids
    }

    /// Every file with its content.
    fn content(folder: &Path) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        entries.filter(|path| !name(path).ends_with(".lock")).map(|path| (name(&path), fs::read(&path).unwrap())).collect()
    }

    #[test]
    fn updates_chain_and_never_touch_what_they_came_from() {
        let root = tempfile::tempdir().unwrap();
        let folder = |number: u64| {
            let folder = root.path().join(number.to_string());
            fs::create_dir_all(&folder).unwrap();
            folder
        };
        build(&folder(0), (0..50).map(|id| chunk(id, "alpha beta")), &|_| {}).unwrap();
        // More updates than there may be small segments: they are merged on the way.
        let rounds = 2 * SEGMENTS_SMALL_MAX as u64;
        for round in 0..rounds {
            let (old, new) = (folder(round), folder(round + 1));
            let before = content(&old);
            let reader = TextIndex::open(&old).unwrap();
            let added = 50 + round;
            update(&old, &new, [ChunkId(round), ChunkId(9_999)].into_iter(), [chunk(added, "gamma beta")].into_iter()).unwrap();
            assert_eq!(content(&old), before);
            assert_eq!(found(&new, "alpha"), (round + 1..50).collect::<Vec<_>>());
            assert_eq!(found(&new, "gamma"), (50..=added).collect::<Vec<_>>());
            assert_eq!(TextIndex::open(&new).unwrap().documents(), 50);
            // One who had it open before still reads it, also when it is removed.
            fs::remove_dir_all(&old).unwrap();
            assert_eq!(reader.search(&query("beta"), 100, None).unwrap().len(), 50);
        }
        let last = folder(rounds);
        let segments = Index::open_in_dir(&last).unwrap().searchable_segment_ids().unwrap().len();
        assert!(segments <= SEGMENTS_SMALL_MAX + 1, "{segments} segments");
        // Nothing is left of those that were merged.
        let parts = content(&last).keys().filter(|name| name.ends_with(".term")).count();
        assert_eq!(parts, segments);
    }

    #[test]
    fn files_are_replaced_by_their_first_chunk() {
        let root = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| root.path().join(name));
        [&old, &new].iter().for_each(|folder| fs::create_dir_all(folder).unwrap());
        let file = |first, text: &str| FileDocument {
            first: ChunkId(first),
            text: text.into(),
            names: String::new(),
            path: "a.rs",
            comments: String::new(),
        };
        build_files(&old, [file(0, "alpha beta"), file(7, "beta"), file(9, "beta gamma")].into_iter()).unwrap();
        update_files(&old, &new, [ChunkId(7)].into_iter(), [file(12, "alpha")].into_iter()).unwrap();
        let found = |folder: &Path, term: &str| -> Vec<u64> {
            let hits = FileIndex::open(folder).unwrap().search(&query(term), 10, None).unwrap();
            let mut ids: Vec<u64> = hits.into_iter().map(|(first, _)| first.0).collect();
            ids.sort();
            ids
        };
        assert_eq!((found(&new, "alpha"), found(&new, "beta")), (vec![0, 12], vec![0, 9]));
        assert_eq!((found(&old, "alpha"), found(&old, "beta")), (vec![0], vec![0, 7, 9]));
        // Another kind of index has other fields.
        let other = root.path().join("other");
        fs::create_dir_all(&other).unwrap();
        assert!(update(&old, &other, std::iter::empty(), std::iter::empty()).is_err());
    }

    #[test]
    fn an_index_that_is_not_there_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let [old, new, gone] = ["old", "new", "gone"].map(|name| root.path().join(name));
        fs::create_dir_all(&new).unwrap();
        assert!(update(&gone, &new, std::iter::empty(), std::iter::empty()).unwrap_err().to_string().contains("gone"));
        fs::create_dir_all(&old).unwrap();
        assert!(update(&old, &new, std::iter::empty(), std::iter::empty()).is_err());
    }
}
