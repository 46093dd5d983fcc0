//! Records of the index, which are no files: `open_file` shows them as they were indexed.

use crate::engines::duckdb::CatalogError;
use crate::index::catalog::{FileRow, NewChunk};
use crate::index::snapshot::Snapshot;
use crate::request::RequestError;
use crate::types::ChunkId;

use super::files::recorded;

/// A record that a call names.
pub(super) struct IndexedRecord<'s> {
    snapshot: &'s Snapshot,
    pub row: &'s FileRow,
    /// As findings have it.
    pub shown: &'s str,
}

impl IndexedRecord<'_> {
    /// Finds the record with that path, else the one with that id, also without a leading `./`; `None` when there is
    /// none.
    ///
    /// # Errors
    /// When several records have the path.
    pub fn find<'s>(snapshot: &'s Snapshot, wanted: &str) -> Result<Option<IndexedRecord<'s>>, RequestError> {
        if !snapshot.chunks.has_records() {
            return Ok(None);
        }
        match wanted.strip_prefix("./") {
            Some(bare) => Ok(IndexedRecord::named(snapshot, wanted)?.or(IndexedRecord::named(snapshot, bare)?)),
            None => IndexedRecord::named(snapshot, wanted),
        }
    }

    fn named<'s>(snapshot: &'s Snapshot, wanted: &str) -> Result<Option<IndexedRecord<'s>>, RequestError> {
        let found = |(row, shown)| Some(IndexedRecord { snapshot, row, shown });
        let records = || snapshot.chunks.files().filter(|(row, _)| row.document.is_some());
        let mut of_path = records().filter(|(_, path)| *path == wanted);
        match (of_path.next(), of_path.count()) {
            (Some(record), 0) => Ok(found(record)),
            (None, _) => Ok(records().find(|(row, _)| row.document.as_deref() == Some(wanted)).and_then(found)),
            (Some(_), more) => Err(RequestError::Invalid(format!(
                "`path` is `{}`, which {} records have; allowed: the `document` of one of them, as findings have it",
                recorded(wanted),
                more + 1
            ))),
        }
    }

    /// The text as it was indexed, its title first. Blank lines at its end are not kept, and long lines are broken.
    ///
    /// # Errors
    /// What the catalog says.
    pub fn text(&self) -> Result<String, CatalogError> {
        let ids: Vec<ChunkId> = self.snapshot.chunks.chunks_of(self.row.id).to_vec();
        let (mut chunks, _) = self.snapshot.catalog.hydrate(&ids)?;
        chunks.sort_by_key(|chunk| (chunk.start_line, chunk.end_line));
        Ok(put_together(&chunks))
    }
}

/// The lines of chunks in the order of the text; they may overlap, and what is between two is blank.
fn put_together(chunks: &[NewChunk]) -> String {
    let mut out = String::new();
    let mut lines = 0;
    for chunk in chunks {
        while lines + 1 < chunk.start_line {
            out.push('\n');
            lines += 1;
        }
        for line in chunk.text.split('\n').skip((lines + 1 - chunk.start_line) as usize) {
            out.push_str(line);
            out.push('\n');
            lines += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(chunks: &[(u32, &str)], expect: &str) {
        let chunks: Vec<NewChunk> = chunks
            .iter()
            .map(|(start_line, text)| NewChunk {
                id: ChunkId(0),
                file: 0,
                start_line: *start_line,
                end_line: start_line + text.split('\n').count() as u32 - 1,
                symbol: None,
                kind: "window".into(),
                definitions: String::new(),
                comments: String::new(),
                calls: String::new(),
                text: (*text).to_owned(),
            })
            .collect();
        assert_eq!(put_together(&chunks), expect);
    }

    #[test]
    fn passages_become_the_text_again() {
        check(&[], "");
        check(&[(1, "a\nb")], "a\nb\n");
        check(&[(1, "a\nb"), (3, "c")], "a\nb\nc\n");
        check(&[(1, "a\nb\nc"), (2, "b\nc\nd")], "a\nb\nc\nd\n");
        check(&[(2, "a"), (5, "b")], "\na\n\n\nb\n");
        check(&[(1, "a\nb\nc"), (2, "b")], "a\nb\nc\n");
        check(&[(1, "a\n\nb")], "a\n\nb\n");
    }
}
