//! A generation opened for searching. Immutable; queries hold it by `Arc`, so that
//! one that began on a generation ends on it.

use std::sync::Arc;

use super::build::display_path;
use super::catalog::{ChunkRow, FileRow, NewChunk};
use super::data_dir::{DataDir, DataDirError};
use super::dense::Dense;
use super::manifest::{BASE_CATALOG_FILE, CATALOG_FILE, CheckedManifest, DenseInfo, Manifest, ManifestError, TEXT_FOLDER};
use crate::engines::duckdb::{Catalog, CatalogError};
use crate::engines::faiss::FaissError;
use crate::engines::text::{TextError, TextIndex};
use crate::models::EmbedderSettings;
use crate::models::lsa::LsaError;
use crate::models::vllm::VllmError;
use crate::types::ChunkId;

/// An open generation.
pub struct Snapshot {
    pub manifest: Manifest,
    pub catalog: Catalog,
    pub text: TextIndex,
    pub dense: Option<Dense>,
    /// Why the vectors that the index has are not searched.
    pub dense_off: Option<String>,
    pub chunks: ChunkTable,
}

/// What is kept in memory of every chunk: enough to filter and to boost.
pub struct ChunkTable {
    /// Ascending.
    ids: Vec<ChunkId>,
    /// Into `files`, one for each id.
    file_of: Vec<u32>,
    files: Vec<FileRow>,
    /// As clients see them, one for each file.
    paths: Vec<String>,
}

/// Why a generation can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("{generation}: {0}; the index is damaged: run `spanloom index --rebuild`", generation = .1)]
    Catalog(CatalogError, String),
    #[error("{generation}: {0}; the index is damaged: run `spanloom index --rebuild`", generation = .1)]
    Text(TextError, String),
    #[error("{0}; the index is damaged: run `spanloom index --rebuild`")]
    Faiss(#[from] FaissError),
    #[error("the built-in embedding of {1} can't be read: {0}; the index is damaged: run `spanloom index --rebuild`")]
    Lsa(LsaError, String),
    #[error(transparent)]
    Embedder(#[from] VllmError),
    #[error("{path}: {error}; the index is damaged: run `spanloom index --rebuild`")]
    Io { path: String, error: std::io::Error },
}

impl Snapshot {
    /// Opens the generation that a data directory points to.
    ///
    /// # Errors
    /// [`OpenError`] names what can't be used and what to do.
    pub fn open_current(data: &DataDir, embedder: &EmbedderSettings) -> Result<Snapshot, OpenError> {
        let name = data.current()?;
        Snapshot::open_named(data, &name, embedder)
    }

    /// Opens a generation that may no longer be the current one. `name` has to be one
    /// that a manifest gave, such as `g000007`.
    ///
    /// # Errors
    /// As [`Snapshot::open_current`]; also when the generation has been removed.
    pub fn open_named(data: &DataDir, name: &str, embedder: &EmbedderSettings) -> Result<Snapshot, OpenError> {
        Snapshot::open(Manifest::open(&data.generation(name))?, embedder)
    }

    fn open(checked: CheckedManifest, embedder: &EmbedderSettings) -> Result<Snapshot, OpenError> {
        let name = || checked.manifest.generation.clone();
        let catalog = open_catalog(&checked).map_err(|error| OpenError::Catalog(error, name()))?;
        let CheckedManifest { manifest, folder } = checked;
        let name = || manifest.generation.clone();
        let text = TextIndex::open(&folder.join(TEXT_FOLDER)).map_err(|error| OpenError::Text(error, name()))?;
        let chunks = ChunkTable::read(&catalog, &manifest).map_err(|error| OpenError::Catalog(error, name()))?;
        let mut dense_off = None;
        let dense = match &manifest.dense {
            Some(info) => match other_embedding(info, embedder) {
                None => Some(Dense::open(&folder, info, embedder, &|id| chunks.file(id).is_some())?),
                other => {
                    dense_off = other;
                    None
                }
            },
            None => None,
        };
        Ok(Snapshot { manifest, catalog, text, dense, dense_off, chunks })
    }
}

/// Opens the catalog of a generation.
///
/// # Errors
/// When a file isn't there or isn't a catalog.
pub fn open_catalog(checked: &CheckedManifest) -> Result<Catalog, CatalogError> {
    let base = checked.folder.join(BASE_CATALOG_FILE);
    let base = checked.manifest.base.as_ref().map(|info| (base.as_path(), ChunkId(info.end)));
    Catalog::open_with_base(&checked.folder.join(CATALOG_FILE), base)
}

/// Why vectors made by one embedding can't be searched with the configured one.
fn other_embedding(info: &DenseInfo, settings: &EmbedderSettings) -> Option<String> {
    let configured = match settings {
        EmbedderSettings::Builtin(_) if info.embedder == "lsa" => return None,
        EmbedderSettings::Vllm(vllm) if info.embedder == "vllm" && vllm.model == info.model => return None,
        // What was switched off is not missed.
        EmbedderSettings::Off => return Some(String::new()),
        EmbedderSettings::Builtin(_) => "the built-in one",
        EmbedderSettings::Vllm(vllm) => &vllm.model,
    };
    Some(format!("the index was embedded with {}, but the configuration names {configured}; run `spanloom index` again", info.model))
}

impl ChunkTable {
    fn read(catalog: &Catalog, manifest: &Manifest) -> Result<ChunkTable, CatalogError> {
        let files: Vec<FileRow> = catalog.files()?.into_iter().map(|(file, _)| file).collect();
        let paths = files.iter().map(|file| display_path(&manifest.roots, file.root, &file.path)).collect();
        let (ids, file_of) = catalog.chunk_files().into_iter().unzip();
        Ok(ChunkTable { ids, file_of, files, paths })
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// A chunk's file and the path clients know it by.
    pub fn file(&self, id: ChunkId) -> Option<(&FileRow, &str)> {
        let at = self.ids.binary_search(&id).ok()?;
        let file = self.file_of[at] as usize;
        Some((self.files.get(file)?, self.paths.get(file)?))
    }

    /// A chunk with what its file knows; `None` when there is no such file.
    pub fn row(&self, chunk: NewChunk) -> Option<ChunkRow> {
        let file = self.files.get(chunk.file as usize)?;
        Some(ChunkRow {
            id: chunk.id,
            path: self.paths.get(chunk.file as usize)?.clone(),
            language: file.language.clone(),
            document: file.document.clone(),
            start_line: chunk.start_line,
            end_line: chunk.end_line,
            symbol: chunk.symbol,
            definitions: chunk.definitions,
            text: chunk.text,
            commit: file.commit.clone(),
            commit_time_s: file.commit_time_s,
        })
    }

    /// All files with the paths clients know them by.
    pub fn files(&self) -> impl Iterator<Item = (&FileRow, &str)> {
        self.files.iter().zip(self.paths.iter().map(String::as_str))
    }

    /// The chunks of the files that `admits` lets through.
    pub fn admitted(&self, admits: impl Fn(&FileRow, &str) -> bool) -> Admitted {
        let files: Vec<bool> = self.files.iter().zip(&self.paths).map(|(file, path)| admits(file, path)).collect();
        let ids: Vec<ChunkId> = self
            .ids
            .iter()
            .zip(&self.file_of)
            .filter(|(_, file)| files.get(**file as usize).copied().unwrap_or(false))
            .map(|(id, _)| *id)
            .collect();
        let mut bits = vec![0_u64; ids.last().map_or(0, |last| last.0 as usize / 64 + 1)];
        for id in &ids {
            bits[id.0 as usize / 64] |= 1 << (id.0 % 64);
        }
        Admitted { bits: bits.into(), count: ids.len() }
    }
}

/// A set of chunks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admitted {
    bits: Arc<[u64]>,
    count: usize,
}

impl Admitted {
    pub fn contains(&self, id: ChunkId) -> bool {
        self.bits.get(id.0 as usize / 64).is_some_and(|word| word & (1 << (id.0 % 64)) != 0)
    }

    /// How many chunks are in it.
    pub fn count(&self) -> usize {
        self.count
    }
}
