//! A generation opened for searching. Immutable; queries hold it by `Arc`, so that
//! one that began on a generation ends on it.

use std::sync::Arc;

use super::build::display_path;
use super::catalog::{ChunkRow, FileRow, NewChunk};
use super::data_dir::{DataDir, DataDirError};
use super::dense::Dense;
use super::manifest::{
    BASE_CATALOG_FILE, CATALOG_FILE, CheckedManifest, DenseInfo, FILES_FOLDER, Manifest, ManifestError, STANDINGS_FILE, TEXT_FOLDER,
};
use super::standing::Standings;
use crate::engines::duckdb::{Catalog, CatalogError};
use crate::engines::faiss::FaissError;
use crate::engines::text::{FileIndex, TextError, TextIndex, TextQuery};
use crate::models::EmbedderSettings;
use crate::models::lsa::LsaError;
use crate::models::vllm::VllmError;
use crate::types::ChunkId;

/// An open generation.
pub struct Snapshot {
    pub manifest: Manifest,
    pub catalog: Catalog,
    pub text: TextIndex,
    /// The same words by whole files; [`Snapshot::best_files`] knows them by number.
    pub files_text: FileIndex,
    pub dense: Option<Dense>,
    /// Why the vectors that the index has are not searched.
    pub dense_off: Option<String>,
    pub chunks: ChunkTable,
    pub standings: Standings,
}

/// What is kept in memory of every chunk: enough to filter and to boost.
pub struct ChunkTable {
    /// Ascending.
    ids: Vec<ChunkId>,
    /// Into `files`, one for each id.
    file_of: Vec<u32>,
    /// All ids file by file, each file's ascending.
    by_file: Vec<ChunkId>,
    /// Where each file's begin in `by_file`; one more at the end.
    begins: Vec<usize>,
    files: Vec<FileRow>,
    /// As clients see them, one for each file.
    paths: Vec<String>,
    newest_commit_s: Option<i64>,
    /// Whether any of the files is a record.
    has_records: bool,
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
        let files_text = FileIndex::open(&folder.join(FILES_FOLDER)).map_err(|error| OpenError::Text(error, name()))?;
        let chunks = ChunkTable::read(&catalog, &manifest).map_err(|error| OpenError::Catalog(error, name()))?;
        let path = folder.join(STANDINGS_FILE);
        let standings = Standings::read(&path, chunks.len(), chunks.files.len())
            .map_err(|error| OpenError::Io { path: path.display().to_string(), error })?;
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
        Ok(Snapshot { manifest, catalog, text, files_text, dense, dense_off, chunks, standings })
    }

    /// The `depth` best files by their number, best first; see [`FileIndex::search`].
    /// `admits` decides by number.
    ///
    /// # Errors
    /// What tantivy says.
    pub fn best_files(
        &self,
        query: &TextQuery,
        depth: usize,
        admits: Option<&(dyn Fn(u32) -> bool + Send + Sync)>,
    ) -> Result<Vec<(u32, f32)>, TextError> {
        let number = |first: ChunkId| self.chunks.file_number(first);
        let rows = match admits {
            Some(admits) => self.files_text.search(query, depth, Some(&|first| number(ChunkId(first)).is_some_and(admits))),
            None => self.files_text.search(query, depth, None),
        }?;
        Ok(rows.into_iter().filter_map(|(first, score)| Some((number(first)?, score))).collect())
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
        Ok(ChunkTable::of(ids, file_of, files, paths))
    }

    /// A table of chunks, ascending by id, and their files, in the order of their numbers.
    fn of(ids: Vec<ChunkId>, file_of: Vec<u32>, files: Vec<FileRow>, paths: Vec<String>) -> ChunkTable {
        let mut by_number: Vec<(u32, ChunkId)> = file_of.iter().copied().zip(ids.iter().copied()).collect();
        by_number.sort_unstable();
        let begins = (0..=files.len()).map(|file| by_number.partition_point(|row| (row.0 as usize) < file)).collect();
        let by_file = by_number.into_iter().map(|row| row.1).collect();
        let newest_commit_s = files.iter().filter_map(|file| file.commit_time_s).max();
        let has_records = files.iter().any(|file| file.document.is_some());
        ChunkTable { ids, file_of, by_file, begins, files, paths, newest_commit_s, has_records }
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

    /// A chunk's place among all by id, from 0, and its file.
    pub fn place(&self, id: ChunkId) -> Option<(usize, &FileRow)> {
        let at = self.ids.binary_search(&id).ok()?;
        Some((at, self.files.get(self.file_of[at] as usize)?))
    }

    /// The time of the newest of the files' last commits, in Unix seconds.
    pub fn newest_commit_s(&self) -> Option<i64> {
        self.newest_commit_s
    }

    /// Whether there are records beside files, or instead of them.
    pub fn has_records(&self) -> bool {
        self.has_records
    }

    /// The record, by the number of its file, that a chunk is a passage of; `None` for the chunks of files.
    pub fn record_of(&self, id: ChunkId) -> Option<u32> {
        self.file(id).filter(|(file, _)| file.document.is_some()).map(|(file, _)| file.id)
    }

    /// The number of a chunk's file.
    pub fn file_number(&self, id: ChunkId) -> Option<u32> {
        self.ids.binary_search(&id).ok().map(|at| self.file_of[at])
    }

    /// The chunks of a file, ascending; none for a number that no file has.
    pub fn chunks_of(&self, file: u32) -> &[ChunkId] {
        let begin = |file: usize| self.begins.get(file).copied().unwrap_or(self.by_file.len());
        &self.by_file[begin(file as usize)..begin(file as usize + 1)]
    }

    /// For each file whether a chunk of it is admitted.
    pub fn files_of(&self, admitted: &Admitted) -> Vec<bool> {
        let mut files = vec![false; self.files.len()];
        for (id, file) in self.ids.iter().zip(&self.file_of) {
            if admitted.contains(*id)
                && let Some(file) = files.get_mut(*file as usize)
            {
                *file = true;
            }
        }
        files
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
        Admitted::of(&ids)
    }
}

/// A set of chunks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admitted {
    bits: Arc<[u64]>,
    count: usize,
}

impl Admitted {
    /// These chunks, each once, ascending.
    pub fn of(ids: &[ChunkId]) -> Admitted {
        let mut bits = vec![0_u64; ids.last().map_or(0, |last| last.0 as usize / 64 + 1)];
        for id in ids {
            bits[id.0 as usize / 64] |= 1 << (id.0 % 64);
        }
        Admitted { bits: bits.into(), count: ids.len() }
    }

    /// What is in both.
    pub fn and(&self, other: &Admitted) -> Admitted {
        Admitted::counted(self.bits.iter().zip(&*other.bits).map(|(a, b)| a & b).collect())
    }

    /// What is in either.
    pub fn or(&self, other: &Admitted) -> Admitted {
        let (long, short) = if self.bits.len() < other.bits.len() { (other, self) } else { (self, other) };
        let rest = short.bits.iter().copied().chain(std::iter::repeat(0));
        Admitted::counted(long.bits.iter().zip(rest).map(|(a, b)| a | b).collect())
    }

    fn counted(bits: Arc<[u64]>) -> Admitted {
        Admitted { count: bits.iter().map(|word| word.count_ones() as usize).sum(), bits }
    }

    pub fn contains(&self, id: ChunkId) -> bool {
        self.bits.get(id.0 as usize / 64).is_some_and(|word| word & (1 << (id.0 % 64)) != 0)
    }

    /// How many chunks are in it.
    pub fn count(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::index::role::Role;

    /// A table in which chunk n is of file `file_of[n]`; `records` says which files are records.
    pub(crate) fn table(records: &[bool], file_of: &[u32]) -> ChunkTable {
        let file = |(id, is_record): (u32, &bool)| FileRow {
            id,
            root: 0,
            path: format!("f{id}"),
            language: "text".into(),
            size_bytes: 1,
            modified_ns: 0,
            content_hash: String::new(),
            commit: None,
            commit_time_s: None,
            fallback: false,
            role: Role::Source,
            document: is_record.then(|| format!("d{id}")),
        };
        let files: Vec<FileRow> = (0..).zip(records).map(file).collect();
        let ids = (0..file_of.len() as u64).map(ChunkId).collect();
        let paths = files.iter().map(|file| file.path.clone()).collect();
        ChunkTable::of(ids, file_of.to_vec(), files, paths)
    }

    #[test]
    fn chunks_know_their_record() {
        let table = table(&[false, true], &[0, 1, 1, 0]);
        assert!(table.has_records());
        assert_eq!((table.record_of(ChunkId(0)), table.record_of(ChunkId(2)), table.record_of(ChunkId(9))), (None, Some(1), None));
        assert_eq!(table.chunks_of(1), [ChunkId(1), ChunkId(2)]);
        assert!(table.chunks_of(7).is_empty());
    }

    #[test]
    fn admitted_sets_are_cut_and_joined() {
        let set = |ids: &[u64]| Admitted::of(&ids.iter().map(|id| ChunkId(*id)).collect::<Vec<_>>());
        let check = |set: Admitted, expect: &[u64]| {
            let ids: Vec<u64> = (0..1_000).filter(|id| set.contains(ChunkId(*id))).collect();
            assert_eq!((ids.as_slice(), set.count()), (expect, expect.len()));
        };
        let (long, short) = (set(&[1, 64, 900]), set(&[1, 2, 64]));
        check(long.and(&short), &[1, 64]);
        check(short.and(&long), &[1, 64]);
        check(long.or(&short), &[1, 2, 64, 900]);
        check(short.or(&long), &[1, 2, 64, 900]);
        check(set(&[]).or(&short).and(&set(&[])), &[]);
    }
}
