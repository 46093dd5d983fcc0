//! Builds a generation: scan → read → git → catalog, text and vectors → manifest →
//! switch. Where little has changed, the parts are those of the last one, brought up to date
//! (`update.rs`).

use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use super::chunk::{ChunkLimits, Language};
use super::data_dir::{BuildLock, DataDir, DataDirError};
use super::dense::{ChunkSet, VectorRows, stored_vectors};
use super::documents::{DocumentsError, DocumentsFile, RecordRules, check_files};
use super::link::LinkError;
use super::manifest::{Counts, DenseInfo, FORMAT, Manifest, RootInfo};
use super::previous::Before;
use super::read::{Previous, Reading, RecordFiles, read_all, read_records};
use super::roots::{ask_git, describe_roots};
use super::scan::{ScanError, ScanLimits, scan};
use super::snapshot::OpenError;
use super::tokenize::TOKENIZER_VERSION;
use super::update::{plan, write_update};
use super::whole::write_parts;
use crate::code::git::GitLimits;
use crate::engines::duckdb::CatalogError;
use crate::engines::faiss::FaissError;
use crate::engines::text::TextError;
use crate::models::EmbedderSettings;
use crate::types::ChunkId;

pub use super::update::UpdateLimits;

/// Bytes of a record's title; longer ones are texts.
const TITLE_BYTES_MAX: usize = 1_000;

/// What to index.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    pub folders: Vec<PathBuf>,
    /// Files of records, see [`super::documents`].
    pub documents: Vec<PathBuf>,
    /// The language of records that tell none by `language` or `path`.
    pub documents_language: Option<Language>,
}

/// How to index it.
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
    Documents(#[from] DocumentsError),
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

/// Brings the index of a data directory up to date with its sources: folders are the first roots, in their order,
/// files of records the last. Blocks; needs a tokio runtime around it for remote embedders.
///
/// # Errors
/// [`BuildError`]; nothing that serves is touched then.
pub fn build(
    data: &DataDir,
    sources: &Sources,
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
        match build_on(data, &lock, sources, Some(&before), next_chunk_id, &job) {
            // What can be wrong with a build from nothing is told by that.
            Err(error) if !matches!(error, BuildError::Scan(_) | BuildError::Documents(_) | BuildError::DataDir(_)) => {
                not_taken_over(&error)
            }
            outcome => return outcome,
        }
    }
    build_on(data, &lock, sources, None, next_chunk_id, &job)
}

fn not_taken_over(error: &dyn std::fmt::Display) {
    tracing::warn!(%error, "the last index can't be built upon; every file is read anew");
}

/// Builds on the last generation, or on none.
fn build_on(
    data: &DataDir,
    lock: &BuildLock,
    sources: &Sources,
    before: Option<&Before>,
    next_chunk_id: u64,
    job: &Job,
) -> Result<BuildReport, BuildError> {
    let (settings, progress) = (job.settings, job.progress);
    let started = SystemTime::now();
    let (sender, scanned) = std::sync::mpsc::channel();
    let (read, asked) = std::thread::scope(|scope| {
        // The work tree's state takes git about as long as the reading takes.
        let asked = scope.spawn(move || ask_git(&sources.folders, scanned, &settings.git));
        let read = read_sources(sources, before, next_chunk_id, job, sender);
        (read, asked.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let Sought { roots, documents, mut reading, said } = read?;
    let mut warnings = said.clone();
    progress(Phase::Git, 0, roots.len());
    let infos = describe_roots(&roots, &documents, asked, before, &mut reading, &settings.git, &mut warnings);
    let fallbacks = reading.files.iter().filter(|file| file.row.fallback).count() as u64;
    if fallbacks > 0 {
        warnings.push(format!("{fallbacks} files did not parse and were cut into windows of lines"));
    }
    let shape = settings_text(settings);
    let fingerprint = fingerprint(&shape, &infos, &reading, &said);
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
            documents: reading.files.iter().filter(|file| file.row.document.is_some()).count() as u64,
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

/// What the sources have.
struct Sought {
    /// The folders as absolute paths; files of records are the roots after them.
    roots: Vec<PathBuf>,
    documents: Vec<DocumentsFile>,
    reading: Reading,
    /// What is to be said about files of records.
    said: Vec<String>,
}

/// Scans and reads. Tells what was scanned of the folders when there is no generation
/// before, whose files would be enough to know.
fn read_sources(
    sources: &Sources,
    before: Option<&Before>,
    next_chunk_id: u64,
    job: &Job,
    tell: Sender<Vec<(usize, String)>>,
) -> Result<Sought, BuildError> {
    let (settings, progress) = (job.settings, job.progress);
    let documents = check_files(&sources.documents)?;
    let scanned = scan(&sources.folders, &settings.scan, &|done| progress(Phase::Scan, done, 0))?;
    if before.is_none() {
        // Nobody listens any more when git had nothing to say.
        let _ = tell.send(scanned.files.iter().map(|file| (file.root, file.path.clone())).collect());
    }
    drop(tell);
    let roots = absolute(&sources.folders)?;
    let previous = before.map_or_else(Previous::default, Before::known);
    let mut previous = Previous { next_chunk_id, ..previous };
    let known_records = std::mem::take(&mut previous.records);
    let total = scanned.files.len();
    let mut reading = read_all(&roots, &scanned.files, &scanned.skipped, previous, (&settings.scan, &settings.chunks), &|done| {
        progress(Phase::Read, done, total)
    });
    let rules = record_rules(sources, settings);
    let records = RecordFiles { files: &documents, first_root: roots.len(), rules: &rules, limits: &settings.chunks };
    let said = read_records(&mut reading, &records, known_records, &|done| progress(Phase::Read, total + done, 0))?;
    Ok(Sought { roots, documents, reading, said })
}

fn changes(before: Option<&Before>, reading: &Reading) -> ChunkChanges {
    let count = |kept: bool| reading.files.iter().filter(|file| file.kept == kept).map(|file| u64::from(file.span.count)).sum();
    let kept: u64 = count(true);
    ChunkChanges { kept, added: count(false), removed: before.map_or(0, |before| before.manifest().counts.chunks.saturating_sub(kept)) }
}

fn absolute(roots: &[PathBuf]) -> Result<Vec<PathBuf>, BuildError> {
    roots.iter().map(|root| std::fs::canonicalize(root).map_err(|error| BuildError::Io { path: root.clone(), error })).collect()
}

fn record_rules(sources: &Sources, settings: &BuildSettings) -> RecordRules {
    RecordRules {
        text_bytes_max: settings.scan.file_bytes_max,
        // The title stands at the head of the first chunk.
        title_bytes_max: TITLE_BYTES_MAX.min(settings.chunks.bytes_max / 2),
        records_max: settings.scan.files_max,
        language: sources.documents_language,
    }
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
    let (EmbedderSettings::Vllm(_), Some(info), true) = (&settings.embedder, &last.dense, before.has_roots(roots)) else {
        return VectorRows::default();
    };
    let moved = before.moved(reading);
    let kept = ChunkSet::of(reading.files.iter().filter(|file| file.kept && !moved.contains(&file.span.first)).map(|file| file.span));
    stored_vectors(&before.checked.folder, info, &|id| kept.contains(id)).unwrap_or_else(|error| {
        tracing::warn!(%error, "the last index's vectors can't be read; every chunk is embedded anew");
        VectorRows::default()
    })
}

/// `said` is what is to be said about files of records.
fn fingerprint(settings: &str, roots: &[RootInfo], reading: &Reading, said: &[String]) -> String {
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
        if let Some(id) = &file.row.document {
            add(id);
            add(&format!("{:?}", file.row.commit_time_s));
        }
    }
    for skipped in &reading.skipped {
        add(&skipped.path);
        add(&skipped.reason);
    }
    said.iter().for_each(|sentence| add(sentence));
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a client sees of a path: with the root's name when there are several.
pub fn display_path(roots: &[RootInfo], root: u32, path: &str) -> String {
    match roots.get(root as usize) {
        Some(info) if roots.len() > 1 => format!("{}/{path}", info.name),
        _ => path.to_owned(),
    }
}
