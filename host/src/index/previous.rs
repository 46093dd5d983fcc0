//! The last generation, as far as the next one builds on it.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::catalog::{ChunkSpan, FileRow, NewChunk};
use super::manifest::{CheckedManifest, Manifest, RootInfo};
use super::read::{Previous, Reading};
use super::snapshot::open_catalog;
use crate::code::git::{FileCommit, GitLimits, KnownCommits};
use crate::engines::duckdb::{Catalog, CatalogError};
use crate::types::ChunkId;

/// An index whose chunks are still good: the settings that shape them are the same.
pub struct Before {
    pub checked: CheckedManifest,
    pub catalog: Catalog,
    /// By file id.
    pub files: Vec<(FileRow, ChunkSpan)>,
}

impl Before {
    /// # Errors
    /// When the catalog can't be read.
    pub fn open(checked: CheckedManifest) -> Result<Before, CatalogError> {
        let catalog = open_catalog(&checked)?;
        let files = catalog.files()?;
        Ok(Before { checked, catalog, files })
    }

    pub fn manifest(&self) -> &Manifest {
        &self.checked.manifest
    }

    /// Its files, for the comparison with those that are there now.
    pub fn known(&self) -> Previous {
        let roots = &self.manifest().roots;
        let (mut files, mut records) = (HashMap::new(), HashMap::new());
        for (file, span) in &self.files {
            let Some(root) = roots.get(file.root as usize) else { continue };
            let root = root.path.to_string_lossy().into_owned();
            match &file.document {
                Some(id) => records.insert((root, id.clone()), (file.clone(), *span)),
                None => files.insert((root, file.path.clone()), (file.clone(), *span)),
            };
        }
        Previous {
            files,
            records,
            created_ns: self.manifest().created_s.saturating_mul(1_000_000_000),
            next_chunk_id: self.manifest().next_chunk_id,
        }
    }

    /// What the walk through the history of a root found, if it can be built upon.
    pub fn known_commits(&self, root: &Path, limits: &GitLimits) -> Option<KnownCommits> {
        let (number, info) = self.manifest().roots.iter().enumerate().find(|(_, info)| info.path == root)?;
        if info.commits_max != Some(limits.commits_max as u64) {
            return None;
        }
        let files = self.files.iter().filter(|(file, _)| file.root as usize == number && file.document.is_none());
        let commit = |file: &FileRow| Some(FileCommit { commit: file.commit.clone()?, time_s: file.commit_time_s? });
        Some(KnownCommits { head: info.commit.clone()?, commits: files.map(|(file, _)| (file.path.clone(), commit(file))).collect() })
    }

    /// Whether clients see these roots as they saw those of the index.
    pub fn has_roots(&self, roots: &[RootInfo]) -> bool {
        let seen = |root: &RootInfo| (root.path.clone(), root.kind, root.name.clone());
        self.manifest().roots.iter().map(seen).eq(roots.iter().map(seen))
    }

    /// The first chunks of records that were kept under another path.
    pub fn moved(&self, reading: &Reading) -> HashSet<ChunkId> {
        let records = self.files.iter().filter(|(file, span)| file.document.is_some() && span.count > 0);
        let paths: HashMap<ChunkId, &str> = records.map(|(file, span)| (span.first, file.path.as_str())).collect();
        let kept = reading.files.iter().filter(|file| file.kept && file.span.count > 0);
        kept.filter(|file| paths.get(&file.span.first).is_some_and(|path| *path != file.row.path)).map(|file| file.span.first).collect()
    }

    /// The chunks that are not in the new generation any more.
    pub fn removed(&self, reading: &Reading) -> Vec<ChunkSpan> {
        let kept: HashMap<ChunkId, u32> =
            reading.files.iter().filter(|file| file.kept).map(|file| (file.span.first, file.span.count)).collect();
        self.files.iter().map(|(_, span)| *span).filter(|span| span.count > 0 && kept.get(&span.first) != Some(&span.count)).collect()
    }

    /// Gives kept files their chunks, from the first id on that is asked for.
    ///
    /// # Errors
    /// When the catalog can't be read, or says which file it has not all chunks of.
    pub fn fill(&self, reading: &mut Reading, chunks: Vec<NewChunk>, from: ChunkId) -> Result<(), String> {
        let mut chunks: HashMap<ChunkId, NewChunk> = chunks.into_iter().map(|chunk| (chunk.id, chunk)).collect();
        for file in reading.files.iter_mut().filter(|file| file.kept && file.span.first >= from) {
            let id = file.row.id;
            file.chunks = file.span.ids().filter_map(|chunk| chunks.remove(&chunk)).map(|chunk| NewChunk { file: id, ..chunk }).collect();
            if file.chunks.len() != file.span.count as usize {
                return Err(format!("the catalog has {} of the {} chunks of {}", file.chunks.len(), file.span.count, file.row.path));
            }
        }
        Ok(())
    }
}
