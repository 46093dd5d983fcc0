//! Writes a generation whole: catalog, text, vectors.

use std::collections::HashSet;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::build::{BuildError, Job, Phase, display_path};
use super::catalog::{FileRow, NewChunk};
use super::dense::{VectorRows, write_ids};
use super::manifest::{
    Base, CATALOG_FILE, DENSE_IDS_FILE, DenseInfo, FAISS_FILE, FILES_FOLDER, LSA_FILE, RootInfo, STANDINGS_FILE, TEXT_FOLDER,
};
use super::read::{ReadFile, Reading};
use super::standing::Standings;
use crate::engines::duckdb::{Catalog, CatalogWriter};
use crate::engines::faiss::VectorIndex;
use crate::engines::text::{self, FileDocument, TextDocument};
use crate::models::builtin::BuiltinEmbedder;
use crate::models::vllm::VllmEmbedder;
use crate::models::{Embedder, EmbedderSettings};
use crate::types::ChunkId;

/// What was written.
pub(super) struct Parts {
    pub chunks: usize,
    pub base: Option<Base>,
    pub dense: Option<DenseInfo>,
}

/// Writes catalog, text indexes and vectors, all side by side. All files have their chunks.
pub(super) fn write_parts(
    folder: &Path,
    roots: &[RootInfo],
    reading: &Reading,
    stored: VectorRows,
    job: &Job,
    warnings: &mut Vec<String>,
) -> Result<Parts, BuildError> {
    let progress = job.progress;
    let chunks: Vec<(&FileRow, &NewChunk)> =
        reading.files.iter().flat_map(|file| file.chunks.iter().map(move |chunk| (&file.row, chunk))).collect();
    let paths: Vec<String> = reading.files.iter().map(|file| display_path(roots, file.row.root, &file.row.path)).collect();
    let catalog = || -> Result<(), BuildError> {
        progress(Phase::Catalog, 0, chunks.len());
        let writer = CatalogWriter::create(&folder.join(CATALOG_FILE))?;
        writer.write_files(reading.files.iter().map(|file| (&file.row, file.span)))?;
        // By id, so that an id's rows are found without reading the others.
        let mut by_id: Vec<&NewChunk> = chunks.iter().map(|(_, chunk)| *chunk).collect();
        by_id.sort_by_key(|chunk| chunk.id);
        writer.write_chunks(by_id.into_iter())?;
        writer.write_skipped(&reading.skipped)?;
        writer.finish()?;
        write_standings(folder, &Catalog::open(&folder.join(CATALOG_FILE))?)?;
        progress(Phase::Catalog, chunks.len(), chunks.len());
        Ok(())
    };
    let text_index = || -> Result<(), BuildError> {
        let target = folder.join(TEXT_FOLDER);
        std::fs::create_dir_all(&target).map_err(|error| BuildError::Io { path: target.clone(), error })?;
        let names: Vec<String> = chunks.iter().map(|(_, chunk)| document_names(chunk)).collect();
        let documents = chunks.iter().zip(&names).map(|((file, chunk), names)| text_document(chunk, names, &paths[file.id as usize]));
        text::build(&target, documents, &|done| progress(Phase::Text, done, chunks.len()))?;
        Ok(())
    };
    let files_index = || write_files(folder, reading, &paths);
    let (words, rows, dense) = std::thread::scope(|scope| {
        let words = scope.spawn(text_index);
        let rows = scope.spawn(|| files_index().and_then(|()| catalog()));
        let dense = write_dense(folder, &chunks, &paths, stored, job, warnings);
        // A panic in a thread goes on in this one.
        let ended = |thread: std::thread::ScopedJoinHandle<'_, _>| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (ended(words), ended(rows), dense)
    });
    words?;
    rows?;
    Ok(Parts { chunks: chunks.len(), base: None, dense: dense? })
}

/// What stands in the text index's field of names.
pub(super) fn document_names(chunk: &NewChunk) -> String {
    format!("{} {}", chunk.symbol.as_deref().unwrap_or_default(), chunk.definitions)
}

/// What the text index gets of a chunk; `names` are those of [`document_names`].
pub(super) fn text_document<'a>(chunk: &'a NewChunk, names: &'a str, path: &'a str) -> TextDocument<'a> {
    TextDocument { id: chunk.id, text: &chunk.text, names, path, comments: &chunk.comments }
}

/// What the index of whole files gets of a file; nothing of one without chunks.
pub(super) fn file_document<'a>(file: &ReadFile, path: &'a str) -> Option<FileDocument<'a>> {
    let joined = |part: &dyn Fn(&NewChunk) -> String| file.chunks.iter().map(part).collect::<Vec<_>>().join("\n");
    (!file.chunks.is_empty()).then(|| FileDocument {
        first: file.span.first,
        text: joined(&|chunk| chunk.text.clone()),
        names: joined(&document_names),
        path,
        comments: joined(&|chunk| chunk.comments.clone()),
    })
}

/// Writes the index of whole files. A file without chunks is not in it.
fn write_files(folder: &Path, reading: &Reading, paths: &[String]) -> Result<(), BuildError> {
    let target = folder.join(FILES_FOLDER);
    std::fs::create_dir_all(&target).map_err(|error| BuildError::Io { path: target.clone(), error })?;
    text::build_files(&target, reading.files.iter().filter_map(|file| file_document(file, &paths[file.row.id as usize])))?;
    Ok(())
}

/// Counts how the chunks of a catalog stand, over all that are there.
pub(super) fn write_standings(folder: &Path, catalog: &Catalog) -> Result<(), BuildError> {
    let path = folder.join(STANDINGS_FILE);
    Standings::count(catalog)?.write(&path).map_err(|error| BuildError::Io { path, error })
}

/// What is embedded of a chunk: what it defines and says in comments counts twice.
pub(super) fn passage(path: &str, chunk: &NewChunk) -> String {
    format!("{path}\n{}\n{} {}\n{}", chunk.text, chunk.symbol.as_deref().unwrap_or_default(), chunk.definitions, chunk.comments)
}

/// Embeds every chunk that `stored` has no vector of, and writes the vector index. An
/// embedder that has nothing to learn from, or doesn't answer, leaves the generation
/// without those vectors, and a warning.
fn write_dense(
    folder: &Path,
    chunks: &[(&FileRow, &NewChunk)],
    paths: &[String],
    stored: VectorRows,
    job: &Job,
    warnings: &mut Vec<String>,
) -> Result<Option<DenseInfo>, BuildError> {
    let (settings, runtime, progress) = (&job.settings.embedder, job.runtime, job.progress);
    if chunks.is_empty() || matches!(settings, EmbedderSettings::Off) {
        return Ok(None);
    }
    let has_vector: HashSet<ChunkId> = stored.ids.iter().copied().collect();
    let wanted: Vec<&(&FileRow, &NewChunk)> = chunks.iter().filter(|(_, chunk)| !has_vector.contains(&chunk.id)).collect();
    let passages: Vec<String> = wanted.iter().map(|(file, chunk)| passage(&paths[file.id as usize], chunk)).collect();
    let passages: Vec<&str> = passages.iter().map(String::as_str).collect();
    let io = |path: &Path, error: std::io::Error| BuildError::Io { path: path.into(), error };
    let dense = folder.join("dense");
    std::fs::create_dir_all(&dense).map_err(|error| io(&dense, error))?;
    let embedder: Result<Box<dyn Embedder>, String> = match settings {
        EmbedderSettings::Off => return Ok(None),
        EmbedderSettings::Builtin(options) => {
            progress(Phase::Train, 0, passages.len());
            let builtin = match BuiltinEmbedder::train(&passages, options) {
                Ok(builtin) => builtin,
                Err(error) => {
                    warnings.push(format!("no vectors: {error}"));
                    return Ok(None);
                }
            };
            progress(Phase::Train, passages.len(), passages.len());
            let path = folder.join(LSA_FILE);
            let mut file = BufWriter::new(std::fs::File::create(&path).map_err(|error| io(&path, error))?);
            builtin.model().write_to(&mut file).and_then(|()| file.flush()).map_err(|error| io(&path, error))?;
            Ok(Box::new(builtin))
        }
        EmbedderSettings::Vllm(vllm) => match runtime.block_on(VllmEmbedder::connect(vllm.clone())) {
            Ok(remote) => Ok(Box::new(remote)),
            Err(error) => Err(error.to_string()),
        },
    };
    let done = AtomicUsize::new(0);
    let on_progress = |count: usize| {
        // Batches may finish out of order; the bar only goes forward.
        let most = done.fetch_max(count, Ordering::Relaxed).max(count);
        progress(Phase::Embed, most, passages.len());
    };
    let embedded = embedder.and_then(|embedder| {
        let rows = runtime.block_on(embedder.embed_passages(&passages, &on_progress)).map_err(|error| error.to_string())?;
        Ok((embedder.info(), rows))
    });
    let (mut rows, mut pending) = (stored, 0);
    let (kind, model, dimension) = match embedded {
        Ok((info, vectors)) => {
            if rows.vectors.len() != rows.ids.len() * info.dimension {
                return Err(BuildError::Last(format!("{} now gives vectors of {}", info.model, info.dimension)));
            }
            rows.take_embedded(wanted.iter().map(|(_, chunk)| chunk.id), &vectors, info.dimension);
            (info.kind.to_owned(), info.model, info.dimension)
        }
        Err(error) => {
            pending = wanted.len();
            warnings.push(format!("no vectors{}: {error}; run `spanloom index` again when it is back", of_some(pending, chunks.len())));
            let EmbedderSettings::Vllm(vllm) = settings else { return Ok(None) };
            ("vllm".to_owned(), vllm.model.clone(), rows.vectors.len() / rows.ids.len().max(1))
        }
    };
    if rows.ids.is_empty() {
        if pending == 0 {
            warnings.push("no vectors: no chunk holds a term that the embedding knows".into());
        }
        return Ok(None);
    }
    let index = VectorIndex::build(&rows.vectors, dimension)?;
    index.write(&folder.join(FAISS_FILE))?;
    let path = folder.join(DENSE_IDS_FILE);
    write_ids(&path, &rows.ids).map_err(|error| io(&path, error))?;
    let unembedded = chunks.len() - rows.ids.len() - pending;
    if unembedded > 0 {
        warnings.push(format!("{unembedded} chunks hold no term that the embedding knows and have no vector"));
    }
    Ok(Some(DenseInfo { embedder: kind, model, index: index.info().clone(), removed: 0, secondary: 0, pending }))
}

/// " for 3 chunks", unless that is all of them.
fn of_some(count: usize, all: usize) -> String {
    if count < all { format!(" for {count} chunks") } else { String::new() }
}
