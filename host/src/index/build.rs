//! Builds a generation: scan → read → git → catalog, text and vectors → manifest →
//! switch.

use std::collections::HashMap;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use super::catalog::{FileRow, NewChunk};
use super::chunk::{ChunkLimits, Language};
use super::data_dir::{DataDir, DataDirError};
use super::documents::{DocumentsError, DocumentsFile, RecordRules, check_files};
use super::manifest::{
    CATALOG_FILE, CheckedManifest, Counts, DENSE_IDS_FILE, DenseInfo, FAISS_FILE, FILES_FOLDER, FORMAT, LSA_FILE, Manifest, RootInfo,
    RootKind, STANDINGS_FILE, TEXT_FOLDER,
};
use super::read::{Previous, Reading, RecordFiles, read_all, read_records};
use super::scan::{ScanError, ScanLimits, scan};
use super::standing::Standings;
use super::tokenize::TOKENIZER_VERSION;
use crate::code::git::{GitLimits, git_facts};
use crate::engines::duckdb::{Catalog, CatalogError, CatalogWriter};
use crate::engines::faiss::{FaissError, VectorIndex};
use crate::engines::text::{self, FileDocument, TextDocument, TextError};
use crate::models::builtin::BuiltinEmbedder;
use crate::models::vllm::VllmEmbedder;
use crate::models::{Embedder, EmbedderSettings};
use crate::types::ChunkId;

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
    /// Files of a language with a grammar that were cut into windows.
    pub fallbacks: u64,
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
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: std::io::Error },
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
    let started = SystemTime::now();
    let documents = check_files(&sources.documents)?;
    let scanned = scan(&sources.folders, &settings.scan, &|done| progress(Phase::Scan, done, 0))?;
    let roots = absolute(&sources.folders)?;
    let shape = settings_text(settings);
    // An index that can't be read is no loss here: this build replaces it.
    let found = data.current().ok().and_then(|name| Manifest::open(&data.generation(&name)).ok());
    let next_chunk_id = found.as_ref().map_or(0, |found| found.manifest.next_chunk_id);
    let before = found.filter(|_| !settings.rebuild);
    let known = before.as_ref().filter(|before| before.manifest.settings == shape).map(previous);
    let previous = match known {
        Some(Ok(previous)) => previous,
        Some(Err(error)) => {
            tracing::warn!(%error, "the last index can't be read; every file is read anew");
            Previous::default()
        }
        None => Previous::default(),
    };
    let mut previous = Previous { next_chunk_id, ..previous };
    let known_records = std::mem::take(&mut previous.records);
    let total = scanned.files.len();
    let mut reading = read_all(&roots, &scanned.files, &scanned.skipped, previous, (&settings.scan, &settings.chunks), &|done| {
        progress(Phase::Read, done, total)
    });
    let rules = record_rules(sources, settings);
    let records = RecordFiles { files: &documents, first_root: roots.len(), rules: &rules, limits: &settings.chunks };
    let said = read_records(&mut reading, &records, known_records, &|done| progress(Phase::Read, total + done, 0))?;
    let mut warnings = said.clone();
    progress(Phase::Git, 0, roots.len());
    let infos = describe_roots(&roots, &documents, &mut reading, &settings.git, &mut warnings);
    let fallbacks = reading.files.iter().filter(|file| file.row.fallback).count() as u64;
    if fallbacks > 0 {
        warnings.push(format!("{fallbacks} files did not parse and were cut into windows of lines"));
    }
    let fingerprint = fingerprint(&shape, &infos, &reading, &said);
    let report = |manifest, built| BuildReport {
        manifest,
        built,
        files_read: reading.files.iter().filter(|file| !file.kept).count() as u64,
        files_kept: reading.files.iter().filter(|file| file.kept).count() as u64,
        fallbacks,
    };
    if let Some(before) = before.filter(|before| before.manifest.fingerprint == fingerprint && is_complete(&before.manifest, settings)) {
        return Ok(report(before.manifest, false));
    }
    let (folder, name) = data.begin(&lock)?;
    let parts = write_parts(&folder, &infos, &reading, settings, runtime, progress, &mut warnings)?;
    progress(Phase::Publish, 0, 1);
    let manifest = Manifest {
        format: FORMAT,
        generation: name.clone(),
        written_by: format!("spanloom {}", env!("CARGO_PKG_VERSION")),
        created_s: started.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64),
        roots: infos.clone(),
        settings: shape.clone(),
        fingerprint: fingerprint.clone(),
        counts: Counts {
            files: reading.files.len() as u64,
            documents: reading.files.iter().filter(|file| file.row.document.is_some()).count() as u64,
            skipped: reading.skipped.len() as u64,
            chunks: parts.chunks as u64,
            embedded: parts.dense.as_ref().map_or(0, |dense| dense.index.rows as u64),
        },
        next_chunk_id: reading.next_chunk_id,
        dense: parts.dense,
        warnings,
        files: Default::default(),
    };
    let manifest = manifest.write(&folder).map_err(|error| BuildError::Io { path: folder.clone(), error })?;
    data.publish(&lock, &folder, &name)?;
    progress(Phase::Publish, 1, 1);
    Ok(report(manifest, true))
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

/// Whether a generation has all that the settings ask for: one made while the
/// embedding server was down has not.
fn is_complete(manifest: &Manifest, settings: &BuildSettings) -> bool {
    manifest.dense.is_some() || !matches!(settings.embedder, EmbedderSettings::Vllm(_))
}

fn previous(before: &CheckedManifest) -> Result<Previous, CatalogError> {
    let catalog = Catalog::open(&before.folder.join(CATALOG_FILE))?;
    let mut chunks: HashMap<u32, Vec<NewChunk>> = HashMap::new();
    for chunk in catalog.chunks()? {
        chunks.entry(chunk.file).or_default().push(chunk);
    }
    let (mut files, mut records) = (HashMap::new(), HashMap::new());
    for file in catalog.files()? {
        let Some(root) = before.manifest.roots.get(file.root as usize) else { continue };
        let root = root.path.to_string_lossy().into_owned();
        let chunks = chunks.remove(&file.id).unwrap_or_default();
        match &file.document {
            Some(id) => records.insert((root, id.clone()), (file, chunks)),
            None => files.insert((root, file.path.clone()), (file, chunks)),
        };
    }
    Ok(Previous {
        files,
        records,
        created_ns: before.manifest.created_s.saturating_mul(1_000_000_000),
        next_chunk_id: before.manifest.next_chunk_id,
    })
}

/// Puts each file's last commit into its row. Without git, or when its facts can't be
/// had, files have no commit and a warning says so. Git is not asked about records.
fn describe_roots(
    roots: &[PathBuf],
    documents: &[DocumentsFile],
    reading: &mut Reading,
    limits: &GitLimits,
    warnings: &mut Vec<String>,
) -> Vec<RootInfo> {
    let mut names = root_names(roots.iter().chain(documents.iter().map(|file| &file.path)));
    let of_documents = names.split_off(roots.len());
    let bare = |path: &Path, kind, name| RootInfo { path: path.to_owned(), kind, name, commit: None, branch: None, dirty: false };
    let records = documents.iter().zip(of_documents).map(|(file, name)| bare(&file.path, RootKind::Documents, name));
    roots
        .iter()
        .zip(names)
        .enumerate()
        .map(|(number, (root, name))| {
            let mut info = bare(root, RootKind::Folder, name);
            let paths: Vec<&str> =
                reading.files.iter().filter(|file| file.row.root == number as u32).map(|file| file.row.path.as_str()).collect();
            let facts = match git_facts(root, &paths, limits) {
                Ok(Some(facts)) => facts,
                Ok(None) => return info,
                Err(error) => {
                    warnings.push(format!("no git facts for {}: {}", root.display(), chain(&error)));
                    return info;
                }
            };
            if facts.unresolved > 0 {
                warnings.push(format!(
                    "{} files of {} were last changed more than {} commits ago; their commit is not known",
                    facts.unresolved,
                    root.display(),
                    limits.commits_max
                ));
            }
            for file in reading.files.iter_mut().filter(|file| file.row.root == number as u32) {
                let commit = facts.commits.get(&file.row.path);
                file.row.commit = commit.map(|commit| commit.commit.clone());
                file.row.commit_time_s = commit.map(|commit| commit.time_s);
            }
            (info.commit, info.branch, info.dirty) = (facts.head_commit, facts.branch, facts.dirty);
            info
        })
        .chain(records)
        .collect()
}

/// The last part of each root's path, made different where two are the same.
fn root_names<'a>(roots: impl Iterator<Item = &'a PathBuf>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for root in roots {
        let base = root.file_name().map_or_else(|| "root".to_owned(), |name| name.to_string_lossy().into_owned());
        let mut name = base.clone();
        let mut number = 2;
        while names.contains(&name) {
            name = format!("{base}-{number}");
            number += 1;
        }
        names.push(name);
    }
    names
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
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

struct Parts {
    chunks: usize,
    dense: Option<DenseInfo>,
}

/// Writes catalog, text index and vectors, the first two beside the third.
fn write_parts(
    folder: &Path,
    roots: &[RootInfo],
    reading: &Reading,
    settings: &BuildSettings,
    runtime: &tokio::runtime::Handle,
    progress: &Progress,
    warnings: &mut Vec<String>,
) -> Result<Parts, BuildError> {
    let chunks: Vec<(&FileRow, &NewChunk)> =
        reading.files.iter().flat_map(|file| file.chunks.iter().map(move |chunk| (&file.row, chunk))).collect();
    let paths: Vec<String> = reading.files.iter().map(|file| display_path(roots, file.row.root, &file.row.path)).collect();
    let catalog = || -> Result<(), BuildError> {
        progress(Phase::Catalog, 0, chunks.len());
        let writer = CatalogWriter::create(&folder.join(CATALOG_FILE))?;
        let files: Vec<FileRow> = reading.files.iter().map(|file| file.row.clone()).collect();
        writer.write_files(&files)?;
        // By id, so that an id's rows are found without reading the others.
        let mut by_id: Vec<&NewChunk> = chunks.iter().map(|(_, chunk)| *chunk).collect();
        by_id.sort_by_key(|chunk| chunk.id);
        writer.write_chunks(by_id.into_iter())?;
        writer.write_skipped(&reading.skipped)?;
        writer.finish()?;
        let path = folder.join(STANDINGS_FILE);
        let standings = Standings::count(&Catalog::open(&folder.join(CATALOG_FILE))?)?;
        standings.write(&path).map_err(|error| BuildError::Io { path, error })?;
        progress(Phase::Catalog, chunks.len(), chunks.len());
        Ok(())
    };
    let text_index = || -> Result<(), BuildError> {
        let target = folder.join(TEXT_FOLDER);
        std::fs::create_dir_all(&target).map_err(|error| BuildError::Io { path: target.clone(), error })?;
        let names: Vec<String> =
            chunks.iter().map(|(_, chunk)| format!("{} {}", chunk.symbol.as_deref().unwrap_or_default(), chunk.definitions)).collect();
        let documents = chunks.iter().zip(&names).map(|((file, chunk), names)| TextDocument {
            id: chunk.id,
            text: &chunk.text,
            names,
            path: &paths[file.id as usize],
            comments: &chunk.comments,
        });
        text::build(&target, documents, &|done| progress(Phase::Text, done, chunks.len()))?;
        Ok(())
    };
    let files_index = || write_files(folder, reading, &paths);
    let (written, dense) = std::thread::scope(|scope| {
        let others = scope.spawn(|| text_index().and_then(|()| files_index()).and_then(|()| catalog()));
        let dense = write_dense(folder, &chunks, &paths, &settings.embedder, runtime, progress, warnings);
        // A panic in the thread goes on in this one.
        (others.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), dense)
    });
    written?;
    Ok(Parts { chunks: chunks.len(), dense: dense? })
}

/// Writes the index of whole files. A file without chunks is not in it.
fn write_files(folder: &Path, reading: &Reading, paths: &[String]) -> Result<(), BuildError> {
    let target = folder.join(FILES_FOLDER);
    std::fs::create_dir_all(&target).map_err(|error| BuildError::Io { path: target.clone(), error })?;
    let joined = |chunks: &[NewChunk], part: &dyn Fn(&NewChunk) -> String| chunks.iter().map(part).collect::<Vec<_>>().join("\n");
    let names = |chunk: &NewChunk| format!("{} {}", chunk.symbol.as_deref().unwrap_or_default(), chunk.definitions);
    let documents = reading.files.iter().filter(|file| !file.chunks.is_empty()).map(|file| FileDocument {
        file: file.row.id,
        text: joined(&file.chunks, &|chunk| chunk.text.clone()),
        names: joined(&file.chunks, &names),
        path: &paths[file.row.id as usize],
        comments: joined(&file.chunks, &|chunk| chunk.comments.clone()),
    });
    text::build_files(&target, documents)?;
    Ok(())
}

/// What a client sees of a path: with the root's name when there are several.
pub fn display_path(roots: &[RootInfo], root: u32, path: &str) -> String {
    match roots.get(root as usize) {
        Some(info) if roots.len() > 1 => format!("{}/{path}", info.name),
        _ => path.to_owned(),
    }
}

/// What is embedded of a chunk: what it defines and says in comments counts twice.
fn passage(path: &str, chunk: &NewChunk) -> String {
    format!("{path}\n{}\n{} {}\n{}", chunk.text, chunk.symbol.as_deref().unwrap_or_default(), chunk.definitions, chunk.comments)
}

/// Embeds every chunk and writes the vector index. An embedder that has nothing to
/// learn from, or doesn't answer, leaves the generation without vectors, and a
/// warning.
fn write_dense(
    folder: &Path,
    chunks: &[(&FileRow, &NewChunk)],
    paths: &[String],
    settings: &EmbedderSettings,
    runtime: &tokio::runtime::Handle,
    progress: &Progress,
    warnings: &mut Vec<String>,
) -> Result<Option<DenseInfo>, BuildError> {
    if chunks.is_empty() || matches!(settings, EmbedderSettings::Off) {
        return Ok(None);
    }
    let passages: Vec<String> = chunks.iter().map(|(file, chunk)| passage(&paths[file.id as usize], chunk)).collect();
    let passages: Vec<&str> = passages.iter().map(String::as_str).collect();
    let io = |path: &Path, error: std::io::Error| BuildError::Io { path: path.into(), error };
    let dense = folder.join("dense");
    std::fs::create_dir_all(&dense).map_err(|error| io(&dense, error))?;
    let embedder: Box<dyn Embedder> = match settings {
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
            Box::new(builtin)
        }
        EmbedderSettings::Vllm(vllm) => match runtime.block_on(VllmEmbedder::connect(vllm.clone())) {
            Ok(remote) => Box::new(remote),
            Err(error) => {
                warnings.push(format!("no vectors: {error}; run `spanloom index` again when it is back"));
                return Ok(None);
            }
        },
    };
    let done = AtomicUsize::new(0);
    let on_progress = |count: usize| {
        // Batches may finish out of order; the bar only goes forward.
        let most = done.fetch_max(count, Ordering::Relaxed).max(count);
        progress(Phase::Embed, most, passages.len());
    };
    let rows = match runtime.block_on(embedder.embed_passages(&passages, &on_progress)) {
        Ok(rows) => rows,
        Err(error) => {
            warnings.push(format!("no vectors: {error}; run `spanloom index` again when it is back"));
            return Ok(None);
        }
    };
    let info = embedder.info();
    // A passage in which the model knows nothing has no direction, and no row.
    let (mut vectors, mut ids) = (Vec::with_capacity(rows.len()), Vec::<ChunkId>::new());
    for (row, (_, chunk)) in rows.chunks(info.dimension.max(1)).zip(chunks) {
        if row.iter().any(|x| *x != 0.0) {
            vectors.extend_from_slice(row);
            ids.push(chunk.id);
        }
    }
    drop(rows);
    if ids.is_empty() {
        warnings.push("no vectors: no chunk holds a term that the embedding knows".into());
        return Ok(None);
    }
    let index = VectorIndex::build(&vectors, info.dimension)?;
    index.write(&folder.join(FAISS_FILE))?;
    let path = folder.join(DENSE_IDS_FILE);
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.0.to_le_bytes()).collect();
    std::fs::write(&path, bytes).map_err(|error| io(&path, error))?;
    let unembedded = chunks.len() - ids.len();
    if unembedded > 0 {
        warnings.push(format!("{unembedded} chunks hold no term that the embedding knows and have no vector"));
    }
    Ok(Some(DenseInfo { embedder: info.kind.into(), model: info.model, index: index.info().clone() }))
}
