//! Writes text indexes.

use std::borrow::Cow;
use std::path::Path;

use tantivy::{Index, IndexWriter, TantivyDocument};

use super::TextError;
use super::schema::{self, FIELDS, Fields, Kind};
use crate::index::tokenize::Tokenizer;
use crate::types::ChunkId;

/// Memory of the writer.
const WRITER_BYTES: usize = 128 << 20;

/// What the text index gets of a chunk.
pub struct TextDocument<'a> {
    pub id: ChunkId,
    pub text: &'a str,
    /// Symbol and definitions.
    pub names: &'a str,
    pub path: &'a str,
    /// Comments and documentation in the text, once more.
    pub comments: &'a str,
}

/// What the index of whole files gets of a file.
pub struct FileDocument<'a> {
    /// Its first chunk: unlike its number, that stays while the file is unchanged.
    pub first: ChunkId,
    /// The texts of its chunks, one after the other.
    pub text: String,
    /// Symbols and definitions of all of them.
    pub names: String,
    pub path: &'a str,
    pub comments: String,
}

/// Writes a new index of chunks into an empty folder that exists. `on_progress` gets
/// the number of documents added.
///
/// # Errors
/// What tantivy says.
pub fn build<'a>(folder: &Path, documents: impl Iterator<Item = TextDocument<'a>>, on_progress: &dyn Fn(usize)) -> Result<(), TextError> {
    write(Kind::Chunks, folder, documents.map(chunk_row), on_progress)
}

/// Writes a new index of whole files into an empty folder that exists.
///
/// # Errors
/// What tantivy says.
pub fn build_files<'a>(folder: &Path, documents: impl Iterator<Item = FileDocument<'a>>) -> Result<(), TextError> {
    write(Kind::Files, folder, documents.map(file_row), &|_| {})
}

/// The id and the texts of a chunk, in the order of [`schema::NAMES`].
pub(super) fn chunk_row(chunk: TextDocument<'_>) -> (u64, [&str; FIELDS]) {
    (chunk.id.0, [chunk.text, chunk.names, chunk.path, chunk.comments])
}

/// The same of a file.
pub(super) fn file_row(file: FileDocument<'_>) -> (u64, [Cow<'_, str>; FIELDS]) {
    (file.first.0, [file.text.into(), file.names.into(), Cow::Borrowed(file.path), file.comments.into()])
}

fn write<T: AsRef<str>>(
    kind: Kind,
    folder: &Path,
    rows: impl Iterator<Item = (u64, [T; FIELDS])>,
    on_progress: &dyn Fn(usize),
) -> Result<(), TextError> {
    let (schema, fields) = schema::schema(kind);
    let index = Index::create_in_dir(folder, schema)?;
    schema::register(&index);
    // One thread: documents keep their order.
    let mut writer: IndexWriter = index.writer_with_num_threads(1, WRITER_BYTES)?;
    let tokenizer = Tokenizer::default();
    for (count, (id, texts)) in rows.enumerate() {
        writer.add_document(document(&fields, &tokenizer, id, &texts))?;
        on_progress(count + 1);
    }
    writer.commit()?;
    writer.wait_merging_threads()?;
    Ok(())
}

/// The place of `names` among the fields.
const NAMES_AT: usize = 1;

/// A document as the index has it; `texts` are in the order of [`schema::NAMES`].
pub(super) fn document<T: AsRef<str>>(fields: &Fields, tokenizer: &Tokenizer, id: u64, texts: &[T; FIELDS]) -> TantivyDocument {
    let mut row = TantivyDocument::default();
    row.add_u64(fields.id, id);
    for (at, text) in texts.iter().map(AsRef::as_ref).enumerate() {
        if at == NAMES_AT {
            // Values of their own: names side by side are no phrase.
            text.split_whitespace().for_each(|name| row.add_text(fields.texts[at], name));
        } else {
            row.add_text(fields.texts[at], text);
        }
        row.add_u64(fields.lengths[at], tokenizer.count(text));
    }
    row
}
