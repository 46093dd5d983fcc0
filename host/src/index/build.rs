//! Builds a generation: scan → read → git → catalog, text and vectors → manifest →
//! switch. Where little has changed, the parts are those of the last one, brought up to date
//! (`update.rs`).

use std::collections::HashSet;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use super::catalog::{FileRow, NewChunk};
use super::chunk::ChunkLimits;
use super::data_dir::{BuildLock, DataDir, DataDirError};
use super::dense::{ChunkSet, VectorRows, stored_vectors, write_ids};
use super::link::LinkError;
use super::manifest::{
    Base, CATALOG_FILE, Counts, DENSE_IDS_FILE, DenseInfo, FAISS_FILE, FORMAT, LSA_FILE, Manifest, RootInfo, TEXT_FOLDER,
};
use super::previous::Before;
use super::read::{Previous, Reading, read_all};
use super::roots::{ask_git, describe_roots};
use super::scan::{ScanError, ScanLimits, scan};
use super::snapshot::OpenError;
use super::tokenize::TOKENIZER_VERSION;
use super::update::{plan, write_update};
use crate::code::git::GitLimits;
use crate::engines::duckdb::{CatalogError, CatalogWriter};
use crate::engines::faiss::{FaissError, VectorIndex};
use crate::engines::text::{self, TextDocument, TextError};
use crate::models::builtin::BuiltinEmbedder;
use crate::models::vllm::VllmEmbedder;
use crate::models::{Embedder, EmbedderSettings};
use crate::types::ChunkId;

pub use super::update::UpdateLimits;

/// What to index and how.
#[derive(Clone, Debug)]
pub struct BuildSettings {
    pub scan: ScanLimits,
    pub chunks: ChunkLimits,
    pub git: GitLimits,
    pub embedder: EmbedderSettings,
    pub updates: UpdateLimits,
    /// Build anew also when nothing changed, and take nothing over.
    pub rebuild: bool,
}

/// What a build is doing. Counts go up to `total`, 0 when it isn't known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Scan,
    Read,
    Git,
    Catalog,
    Text,
    Train,
    Embed,
    Publish,
}

/// Hears of progress: phase, done, total. Called from several threads.
pub type Progress<'a> = dyn Fn(Phase, usize, usize) + Sync + 'a;

/// What a build did.
#[derive(Clone, Debug)]
pub struct BuildReport {
    /// The generation that serves now.
    pub manifest: Manifest,
    /// False when nothing had changed and nothing was written.
    pub built: bool,
    pub files_read: u64,
    pub files_kept: u64,
    pub chunks: ChunkChanges,
    /// Files of a language with a grammar that were cut into windows.
    pub fallbacks: u64,
}

/// How the chunks compare with those of the last generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkChanges {
    pub kept: u64,
    pub added: u64,
    pub removed: u64,
}

/// Why no generation was built. The one before goes on serving.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Text(#[from] TextError),
    #[error(transparent)]
    Faiss(#[from] FaissError),
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Of the last generation, in words.
    #[error("{0}")]
    Last(String),
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: std::io::Error },
}

impl From<LinkError> for BuildError {
    fn from(LinkError { path, error }: LinkError) -> Self {
        BuildError::Io { path, error }
    }
}

/// What every step of a build is given.
pub(super) struct Job<'a> {
    pub settings: &'a BuildSettings,
    /// Of remote embedders.
    pub runtime: &'a tokio::runtime::Handle,
    pub progress: &'a Progress<'a>,
}

/// Brings the index of a data directory up to date with `roots`. Blocks; needs a
/// tokio runtime around it for remote embedders.
///
/// # Errors
/// [`BuildError`]; nothing that serves is touched then.
pub fn build(
    data: &DataDir,
    roots: &[PathBuf],
    settings: &BuildSettings,
    runtime: &tokio::runtime::Handle,
    progress: &Progress,
) -> Result<BuildReport, BuildError> {
    let lock = data.lock()?;
    let job = Job { settings, runtime, progress };
    // An index that can't be read is no loss here: this build replaces it.
    let found = data.current().ok().and_then(|name| Manifest::open(&data.generation(&name)).ok());
    let next_chunk_id = found.as_ref().map_or(0, |found| found.manifest.next_chunk_id);
    let shape = settings_text(settings);
    let before = found.filter(|found| !settings.rebuild && found.manifest.settings == shape).map(Before::open);
    let before = before.and_then(|before| before.map_err(|error| not_taken_over(&error)).ok());
    if let Some(before) = before {
        match build_on(data, &lock, roots, Some(&before), next_chunk_id, &job) {
            // What can be wrong with a build from nothing is told by that.
            Err(error) if !matches!(error, BuildError::Scan(_) | BuildError::DataDir(_)) => not_taken_over(&error),
            outcome => return outcome,
        }
    }
    build_on(data, &lock, roots, None, next_chunk_id, &job)
}

fn not_taken_over(error: &dyn std::fmt::Display) {
    tracing::warn!(%error, "the last index can't be built upon; every file is read anew");
}

/// Builds on the last generation, or on none.
fn build_on(
    data: &DataDir,
    lock: &BuildLock,
    roots: &[PathBuf],
    before: Option<&Before>,
    next_chunk_id: u64,
    job: &Job,
) -> Result<BuildReport, BuildError> {
    let (settings, progress) = (job.settings, job.progress);
    let started = SystemTime::now();
    let (sender, scanned) = std::sync::mpsc::channel();
    let (read, asked) = std::thread::scope(|scope| {
        // The work tree's state takes git about as long as the reading takes.
        let asked = scope.spawn(move || ask_git(roots, scanned, &settings.git));
        let read = read_roots(roots, before, next_chunk_id, job, sender);
        (read, asked.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let (roots, mut reading) = read?;
    let mut warnings = Vec::new();
    progress(Phase::Git, 0, roots.len());
    let infos = describe_roots(&roots, asked, before, &mut reading, &settings.git, &mut warnings);
    let fallbacks = reading.files.iter().filter(|file| file.row.fallback).count() as u64;
    if fallbacks > 0 {
        warnings.push(format!("{fallbacks} files did not parse and were cut into windows of lines"));
    }
    let shape = settings_text(settings);
    let fingerprint = fingerprint(&shape, &infos, &reading);
    let report = |manifest, built, reading: &Reading| BuildReport {
        manifest,
        built,
        files_read: reading.files.iter().filter(|file| !file.kept).count() as u64,
        files_kept: reading.files.iter().filter(|file| file.kept).count() as u64,
        chunks: changes(before, reading),
        fallbacks,
    };
    let same = before.map(Before::manifest).filter(|last| last.fingerprint == fingerprint && is_complete(last, settings));
    if let Some(same) = same {
        return Ok(report(same.clone(), false, &reading));
    }
    let (folder, name) = data.begin(lock)?;
    let planned = before.and_then(|before| Some((before, plan(before, &infos, &reading, settings)?)));
    let parts = match planned {
        Some(planned) => write_update(&folder, planned, &infos, &mut reading, job, &mut warnings)?,
        None => {
            if let Some(before) = before {
                before.fill(&mut reading, before.catalog.chunks()?, ChunkId(0)).map_err(BuildError::Last)?;
            }
            let stored = before.map_or_else(Default::default, |before| vectors_to_keep(before, &infos, &reading, settings));
            write_parts(&folder, &infos, &reading, stored, job, &mut warnings)?
        }
    };
    progress(Phase::Publish, 0, 1);
    let manifest = Manifest {
        format: FORMAT,
        generation: name.clone(),
        written_by: format!("spanloom {}", env!("CARGO_PKG_VERSION")),
        created_s: started.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64),
        roots: infos,
        settings: shape,
        fingerprint,
        counts: Counts {
            files: reading.files.len() as u64,
            skipped: reading.skipped.len() as u64,
            chunks: parts.chunks as u64,
            embedded: parts.dense.as_ref().map_or(0, DenseInfo::searched) as u64,
        },
        next_chunk_id: reading.next_chunk_id,
        base: parts.base,
        dense: parts.dense,
        warnings,
        files: Default::default(),
    };
    let linked_from = before.map(|before| &before.checked);
    let manifest = manifest.write(&folder, linked_from).map_err(|error| BuildError::Io { path: folder.clone(), error })?;
    data.publish(lock, &folder, &name)?;
    progress(Phase::Publish, 1, 1);
    Ok(report(manifest, true, &reading))
}

/// Scans and reads: the roots as absolute paths, and their files. Tells what was scanned
/// when there is no generation before, whose files would be enough to know.
fn read_roots(
    roots: &[PathBuf],
    before: Option<&Before>,
    next_chunk_id: u64,
    job: &Job,
    tell: Sender<Vec<(usize, String)>>,
) -> Result<(Vec<PathBuf>, Reading), BuildError> {
    let (settings, progress) = (job.settings, job.progress);
    let scanned = scan(roots, &settings.scan, &|done| progress(Phase::Scan, done, 0))?;
    if before.is_none() {
        // Nobody listens any more when git had nothing to say.
        let _ = tell.send(scanned.files.iter().map(|file| (file.root, file.path.clone())).collect());
    }
    drop(tell);
    let roots = absolute(roots)?;
    let previous = before.map_or_else(Previous::default, Before::known);
    let previous = Previous { next_chunk_id, ..previous };
    let total = scanned.files.len();
    let reading = read_all(&roots, &scanned.files, &scanned.skipped, previous, (&settings.scan, &settings.chunks), &|done| {
        progress(Phase::Read, done, total)
    });
    Ok((roots, reading))
}

fn changes(before: Option<&Before>, reading: &Reading) -> ChunkChanges {
    let count = |kept: bool| reading.files.iter().filter(|file| file.kept == kept).map(|file| u64::from(file.span.count)).sum();
    let kept: u64 = count(true);
    ChunkChanges { kept, added: count(false), removed: before.map_or(0, |before| before.manifest().counts.chunks.saturating_sub(kept)) }
}

fn absolute(roots: &[PathBuf]) -> Result<Vec<PathBuf>, BuildError> {
    roots.iter().map(|root| std::fs::canonicalize(root).map_err(|error| BuildError::Io { path: root.clone(), error })).collect()
}

/// Everything that shapes chunks, terms and vectors, as one line.
fn settings_text(settings: &BuildSettings) -> String {
    let chunks = &settings.chunks;
    let embedder = match &settings.embedder {
        EmbedderSettings::Off => "off".to_owned(),
        EmbedderSettings::Builtin(options) => format!("{options:?}"),
        EmbedderSettings::Vllm(vllm) => format!("vllm {} {:?} {:?}", vllm.model, vllm.dimension, vllm.passage_prefix),
    };
    format!(
        "format {FORMAT}; terms {TOKENIZER_VERSION}; chunks {} {} {} {} {}; file bytes {}; {embedder}",
        chunks.lines_max, chunks.lines_min, chunks.window_lines, chunks.window_overlap, chunks.bytes_max, settings.scan.file_bytes_max
    )
}

/// Whether a generation has all that its settings ask for: one made while the
/// embedding server was down has not.
fn is_complete(manifest: &Manifest, settings: &BuildSettings) -> bool {
    !matches!(settings.embedder, EmbedderSettings::Vllm(_)) || manifest.dense.as_ref().is_some_and(|dense| dense.pending == 0)
}

/// Vectors of a model that is asked for over the network, so that a build that writes
/// everything anew asks for new ones only. None where they can't be had.
fn vectors_to_keep(before: &Before, roots: &[RootInfo], reading: &Reading, settings: &BuildSettings) -> VectorRows {
    let last = before.manifest();
    // Paths are embedded as clients see them.
    let same_roots = last.roots.iter().map(|root| (&root.path, &root.name)).eq(roots.iter().map(|root| (&root.path, &root.name)));
    let (EmbedderSettings::Vllm(_), Some(info), true) = (&settings.embedder, &last.dense, same_roots) else {
        return VectorRows::default();
    };
    let kept = ChunkSet::of(reading.files.iter().filter(|file| file.kept).map(|file| file.span));
    stored_vectors(&before.checked.folder, info, &|id| kept.contains(id)).unwrap_or_else(|error| {
        tracing::warn!(%error, "the last index's vectors can't be read; every chunk is embedded anew");
        VectorRows::default()
    })
}

fn fingerprint(settings: &str, roots: &[RootInfo], reading: &Reading) -> String {
    let mut hash = Sha256::new();
    let mut add = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    };
    add(settings);
    for root in roots {
        add(&root.path.to_string_lossy());
        add(root.commit.as_deref().unwrap_or_default());
        add(root.branch.as_deref().unwrap_or_default());
        add(if root.dirty { "dirty" } else { "clean" });
    }
    for file in &reading.files {
        add(&file.row.root.to_string());
        add(&file.row.path);
        add(&file.row.content_hash);
        add(file.row.commit.as_deref().unwrap_or_default());
    }
    for skipped in &reading.skipped {
        add(&skipped.path);
        add(&skipped.reason);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What was written.
pub(super) struct Parts {
    pub chunks: usize,
    pub base: Option<Base>,
    pub dense: Option<DenseInfo>,
}

/// Writes catalog, text index and vectors, the first two beside the third. All files have
/// their chunks.
fn write_parts(
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
        progress(Phase::Catalog, chunks.len(), chunks.len());
        Ok(())
    };
    let text_index = || -> Result<(), BuildError> {
        let target = folder.join(TEXT_FOLDER);
        std::fs::create_dir_all(&target).map_err(|error| BuildError::Io { path: target.clone(), error })?;
        let names: Vec<String> = chunks.iter().map(|(_, chunk)| document_names(chunk)).collect();
        let documents = chunks.iter().zip(&names).map(|((file, chunk), names)| TextDocument {
            id: chunk.id,
            text: &chunk.text,
            names,
            path: &paths[file.id as usize],
        });
        text::build(&target, documents, &|done| progress(Phase::Text, done, chunks.len()))?;
        Ok(())
    };
    let (written, dense) = std::thread::scope(|scope| {
        let others = scope.spawn(|| text_index().and_then(|()| catalog()));
        let dense = write_dense(folder, &chunks, &paths, stored, job, warnings);
        // A panic in the thread goes on in this one.
        (others.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), dense)
    });
    written?;
    Ok(Parts { chunks: chunks.len(), base: None, dense: dense? })
}

/// What stands in the text index's field of names.
pub(super) fn document_names(chunk: &NewChunk) -> String {
    format!("{} {}", chunk.symbol.as_deref().unwrap_or_default(), chunk.definitions)
}

/// What a client sees of a path: with the root's name when there are several.
pub fn display_path(roots: &[RootInfo], root: u32, path: &str) -> String {
    match roots.get(root as usize) {
        Some(info) if roots.len() > 1 => format!("{}/{path}", info.name),
        _ => path.to_owned(),
    }
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
    let passages: Vec<String> = wanted.iter().map(|(file, chunk)| format!("{}\n{}", paths[file.id as usize], chunk.text)).collect();
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
