//! Writes a generation that differs little from the last one: what did not change is
//! linked, what is new stands beside it.
//!
//! The base is the last generation that was written whole. Its catalog, trained vectors and
//! text segments stay as they are over any number of updates; every update writes the files'
//! rows, the chunks and vectors that came after the base, lists of deleted documents, and
//! the standings of all chunks.

use std::path::Path;

use super::build::{BuildError, BuildSettings, Job, Phase, display_path};
use super::catalog::{ChunkSpan, FileRow, NewChunk};
use super::dense::{ChunkSet, VectorRows, open_builtin, primary_ids, secondary_rows, write_secondary};
use super::link::link_or_copy;
use super::manifest::{
    BASE_CATALOG_FILE, Base, CATALOG_FILE, DENSE_IDS_FILE, DenseInfo, FAISS_FILE, FILES_FOLDER, LSA_FILE, RootInfo, TEXT_FOLDER,
};
use super::previous::Before;
use super::read::Reading;
use super::whole::{Parts, document_names, file_document, passage, text_document, write_standings};
use crate::engines::duckdb::{Catalog, CatalogWriter};
use crate::engines::text;
use crate::models::vllm::VllmEmbedder;
use crate::models::{Embedder, EmbedderSettings};
use crate::types::ChunkId;

/// Vectors beyond the base are compared one by one: at 256 dimensions, this many take less
/// than a millisecond.
const ADDED_MAX: u64 = 20_000;

/// When an index is updated, and when it is written whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpdateLimits {
    /// Indexes of fewer chunks are written whole: that takes hardly longer, and its scores
    /// are exact.
    pub chunks_min: u64,
    /// Chunks added and removed since the index was written whole, as a share of those it
    /// had. 0 writes every index whole.
    pub percent_max: u64,
}

impl Default for UpdateLimits {
    fn default() -> Self {
        UpdateLimits { chunks_min: 2_000, percent_max: 20 }
    }
}

/// What an update takes over and leaves out.
pub struct Plan {
    pub base: Base,
    /// Chunks of the last generation that are gone.
    pub removed: Vec<ChunkSpan>,
}

/// How the last generation can be updated; `None` when the new one is better written whole.
pub fn plan(before: &Before, roots: &[RootInfo], reading: &Reading, settings: &BuildSettings) -> Option<Plan> {
    let last = before.manifest();
    // Paths stand in the text indexes and in the vectors as clients see them; those of records may change by themselves.
    let same_paths = before.has_roots(roots) && before.moved(reading).is_empty();
    let lacks_vectors = match (&settings.embedder, &last.dense) {
        (EmbedderSettings::Off, _) => false,
        (_, None) => true,
        // Those are chunks of the base.
        (_, Some(dense)) => dense.pending > 0 && last.base.is_none(),
    };
    if !same_paths || lacks_vectors {
        return None;
    }
    let whole = || Base { generation: last.generation.clone(), chunks: last.counts.chunks, end: last.next_chunk_id, removed: 0, added: 0 };
    let base = last.base.clone().unwrap_or_else(whole);
    // A file's chunks get their ids together, so they are all in the base or all beyond.
    let (mut in_base, mut added) = (0, 0);
    for span in reading.files.iter().map(|file| file.span) {
        let side = if span.first.0 < base.end { &mut in_base } else { &mut added };
        *side += u64::from(span.count);
    }
    let removed = base.chunks.saturating_sub(in_base);
    let limits = &settings.updates;
    let is_small = in_base + added < limits.chunks_min;
    let is_much = (added + removed).saturating_mul(100) > base.chunks.saturating_mul(limits.percent_max) || added > ADDED_MAX;
    (!is_small && !is_much).then(|| Plan { base: Base { removed, added, ..base }, removed: before.removed(reading) })
}

/// Writes the generation into `folder`.
///
/// # Errors
/// When anything of the last generation can't be read or linked, or an engine fails.
pub fn write_update(
    folder: &Path,
    (before, plan): (&Before, Plan),
    roots: &[RootInfo],
    reading: &mut Reading,
    job: &Job,
    warnings: &mut Vec<String>,
) -> Result<Parts, BuildError> {
    let progress = job.progress;
    let base_end = ChunkId(plan.base.end);
    before.fill(reading, before.catalog.chunks_beyond_base()?, base_end).map_err(BuildError::Last)?;
    let reading = &*reading;
    let paths: Vec<String> = reading.files.iter().map(|file| display_path(roots, file.row.root, &file.row.path)).collect();
    let mut beyond: Vec<&NewChunk> = reading.files.iter().flat_map(|file| &file.chunks).collect();
    beyond.sort_by_key(|chunk| chunk.id);
    let old = &before.checked.folder;

    let catalog = || -> Result<(), BuildError> {
        progress(Phase::Catalog, 0, beyond.len());
        let base = if before.manifest().base.is_some() { BASE_CATALOG_FILE } else { CATALOG_FILE };
        make_parent(&folder.join(BASE_CATALOG_FILE))?;
        link_or_copy(&old.join(base), &folder.join(BASE_CATALOG_FILE))?;
        let writer = CatalogWriter::create(&folder.join(CATALOG_FILE))?;
        writer.write_files(reading.files.iter().map(|file| (&file.row, file.span)))?;
        writer.write_chunks(beyond.iter().copied())?;
        writer.write_skipped(&reading.skipped)?;
        writer.finish()?;
        let base = folder.join(BASE_CATALOG_FILE);
        write_standings(folder, &Catalog::open_with_base(&folder.join(CATALOG_FILE), Some((&base, base_end)))?)?;
        progress(Phase::Catalog, beyond.len(), beyond.len());
        Ok(())
    };
    let text_index = || -> Result<(), BuildError> {
        let target = folder.join(TEXT_FOLDER);
        make_parent(&target.join("any"))?;
        let fresh = reading.files.iter().filter(|file| !file.kept).flat_map(|file| file.chunks.iter().map(move |chunk| (&file.row, chunk)));
        let fresh: Vec<(&FileRow, &NewChunk)> = fresh.collect();
        progress(Phase::Text, 0, fresh.len());
        let names: Vec<String> = fresh.iter().map(|(_, chunk)| document_names(chunk)).collect();
        let documents = fresh.iter().zip(&names).map(|((file, chunk), names)| text_document(chunk, names, &paths[file.id as usize]));
        text::update(&old.join(TEXT_FOLDER), &target, plan.removed.iter().flat_map(|span| span.ids()), documents)?;
        let target = folder.join(FILES_FOLDER);
        make_parent(&target.join("any"))?;
        let files = reading.files.iter().filter(|file| !file.kept);
        let files = files.filter_map(|file| file_document(file, &paths[file.row.id as usize]));
        text::update_files(&old.join(FILES_FOLDER), &target, plan.removed.iter().map(|span| span.first), files)?;
        progress(Phase::Text, fresh.len(), fresh.len());
        Ok(())
    };
    let (written, dense) = std::thread::scope(|scope| {
        let text_index = scope.spawn(text_index);
        let others = catalog().and_then(|()| update_dense(folder, before, reading, (&beyond, &paths), job, warnings));
        // A panic in the thread goes on in this one.
        (text_index.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), others)
    });
    written?;
    let chunks = reading.files.iter().map(|file| file.span.count as usize).sum();
    Ok(Parts { chunks, base: Some(plan.base), dense: dense? })
}

/// Links the primary index and writes the secondary: what it had and still is there, and
/// what is new.
fn update_dense(
    folder: &Path,
    before: &Before,
    reading: &Reading,
    (beyond, paths): (&[&NewChunk], &[String]),
    job: &Job,
    warnings: &mut Vec<String>,
) -> Result<Option<DenseInfo>, BuildError> {
    let (settings, runtime, progress) = (job.settings, job.runtime, job.progress);
    let Some(info) = &before.manifest().dense else { return Ok(None) };
    let (old, dimension) = (&before.checked.folder, info.index.dimension);
    make_parent(&folder.join(FAISS_FILE))?;
    let is_builtin = matches!(settings.embedder, EmbedderSettings::Builtin(_));
    for name in [FAISS_FILE, DENSE_IDS_FILE].into_iter().chain(is_builtin.then_some(LSA_FILE)) {
        link_or_copy(&old.join(name), &folder.join(name))?;
    }
    let there = ChunkSet::of(reading.files.iter().map(|file| file.span));
    let removed = primary_ids(old, info)?.into_iter().filter(|id| !there.contains(*id)).count();
    let mut rows = VectorRows::default();
    rows.take(&secondary_rows(old, info)?, dimension, &|id| there.contains(id));
    // The built-in embedding had its say on all that were there; a model may not have answered.
    let first_new = if is_builtin { ChunkId(before.manifest().next_chunk_id) } else { ChunkId(0) };
    let has_vector: std::collections::HashSet<ChunkId> = rows.ids.iter().copied().collect();
    let wanted: Vec<&NewChunk> = beyond.iter().copied().filter(|chunk| chunk.id >= first_new && !has_vector.contains(&chunk.id)).collect();
    let mut pending = 0;
    if !wanted.is_empty() {
        progress(Phase::Embed, 0, wanted.len());
        let passages: Vec<String> = wanted.iter().map(|chunk| passage(&paths[chunk.file as usize], chunk)).collect();
        let passages: Vec<&str> = passages.iter().map(String::as_str).collect();
        let embedder: Result<Box<dyn Embedder>, String> = match &settings.embedder {
            EmbedderSettings::Vllm(vllm) => match runtime.block_on(VllmEmbedder::connect(vllm.clone())) {
                Ok(remote) => Ok(Box::new(remote)),
                Err(error) => Err(error.to_string()),
            },
            EmbedderSettings::Builtin(_) | EmbedderSettings::Off => Ok(Box::new(open_builtin(old, info)?)),
        };
        if let Ok(embedder) = &embedder
            && embedder.info().dimension != dimension
        {
            let now = embedder.info();
            return Err(BuildError::Last(format!("{} gives vectors of {}, and the index has {dimension}", now.model, now.dimension)));
        }
        let on_progress = |count: usize| progress(Phase::Embed, count, passages.len());
        let embedded = embedder
            .and_then(|embedder| runtime.block_on(embedder.embed_passages(&passages, &on_progress)).map_err(|error| error.to_string()));
        match embedded {
            Ok(vectors) => rows.take_embedded(wanted.iter().map(|chunk| chunk.id), &vectors, dimension),
            Err(error) => {
                pending = wanted.len();
                warnings.push(format!("no vectors for {pending} chunks: {error}; run `spanloom index` again when it is back"));
            }
        }
    }
    write_secondary(folder, &rows).map_err(|error| BuildError::Io { path: folder.into(), error })?;
    let info = DenseInfo { removed, secondary: rows.ids.len(), pending, ..info.clone() };
    let unembedded = reading.files.iter().map(|file| file.span.count as usize).sum::<usize>().saturating_sub(info.searched() + pending);
    if unembedded > 0 {
        warnings.push(format!("{unembedded} chunks hold no term that the embedding knows and have no vector"));
    }
    Ok(Some(info))
}

fn make_parent(path: &Path) -> Result<(), BuildError> {
    let parent = path.parent().unwrap_or(path);
    std::fs::create_dir_all(parent).map_err(|error| BuildError::Io { path: parent.into(), error })
}
