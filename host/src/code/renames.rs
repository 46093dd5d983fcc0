//! Which file became another one in a commit. In: two trees and a path that only the newer one
//! has. Out: the path it had before, if there was one.
//!
//! Git's rule: of the files that the commit deleted, one with the same content, else the most
//! similar one from half on. Only deleted files count, so a copy is none.

use std::collections::HashMap;

use git2::{Delta, DiffOptions, Oid, Repository};

use super::walk::{Version, WalkBounds};

/// Bytes of a version of a file that are compared: sixteen times what is indexed by default.
/// Comparing takes several times as much memory.
pub(super) const FILE_BYTES_MAX: usize = 16 << 20;
/// Deleted files that are compared by content, as git's `diff.renameLimit` has it; beyond, only
/// equal ones are found.
const SOURCES_MAX: usize = 1_000;
/// Bytes of a piece at which similarity looks: a line, or this much of a long one.
const PIECE_BYTES_MAX: usize = 64;
/// Thousandths that have to be alike.
const SIMILARITY_MIN: usize = 500;
/// Thousandths that suffice for the only file of the same name: half way to equal.
const SIMILARITY_MIN_SAME_NAME: usize = 750;

/// A file of the older tree, with its path.
pub(super) type Source = (Vec<u8>, Version);

/// The deleted file that `path`, which is `new` in `tree`, was in `parent_tree`. Trees by id.
pub(super) fn renamed_from(
    repository: &Repository,
    (parent_tree, tree): (Oid, Oid),
    path: &[u8],
    new: Version,
    bounds: &WalkBounds<'_>,
) -> Result<Option<Source>, git2::Error> {
    if !new.is_file() {
        return Ok(None);
    }
    let deleted = deleted_files(repository, parent_tree, tree)?;
    let same_name = |source: &[u8]| name(source) == name(path);
    let mut equal = deleted.iter().filter(|(_, version)| version.blob == new.blob);
    let first = equal.clone().next();
    if let Some(found) = equal.find(|(source, _)| same_name(source)).or(first) {
        return Ok(Some(found.clone()));
    }
    if deleted.is_empty() || deleted.len() > SOURCES_MAX {
        return Ok(None);
    }
    let Some(new_content) = Content::read(repository, new.blob, None)? else {
        return Ok(None);
    };
    let names_alike = deleted.iter().filter(|(source, _)| same_name(source)).count();
    let mut best: Option<(usize, bool, &Source)> = None;
    for candidate in &deleted {
        // Without an answer the file counts as added, which the walk's own end then tells.
        if (bounds.stop)() {
            return Ok(None);
        }
        let Some(content) = Content::read(repository, candidate.1.blob, Some(new_content.bytes))? else {
            continue;
        };
        let score = new_content.similarity(&content);
        let named = same_name(&candidate.0);
        if named && names_alike == 1 && score >= SIMILARITY_MIN_SAME_NAME {
            return Ok(Some(candidate.clone()));
        }
        if score >= SIMILARITY_MIN && best.is_none_or(|(best, best_named, _)| (score, named) > (best, best_named)) {
            best = Some((score, named, candidate));
        }
    }
    Ok(best.map(|(_, _, candidate)| candidate.clone()))
}

/// Regular files that are in the first tree only, by path.
fn deleted_files(repository: &Repository, parent_tree: Oid, tree: Oid) -> Result<Vec<Source>, git2::Error> {
    let (old, new) = (repository.find_tree(parent_tree)?, repository.find_tree(tree)?);
    let mut options = DiffOptions::new();
    // A file in whose place something else stands is not deleted.
    options.include_typechange(true);
    let diff = repository.diff_tree_to_tree(Some(&old), Some(&new), Some(&mut options))?;
    let files = diff.deltas().filter(|delta| delta.status() == Delta::Deleted).filter_map(|delta| {
        let file = delta.old_file();
        let version = Version { blob: file.id(), mode: u32::from(file.mode()) as i32 };
        let path = file.path_bytes()?.to_vec();
        version.is_file().then_some((path, version))
    });
    Ok(files.collect())
}

fn name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// How much of a file is which piece.
struct Content {
    bytes: usize,
    pieces: HashMap<Vec<u8>, usize>,
}

impl Content {
    /// `None` for an empty or too large file, and for one whose size alone makes it too unlike
    /// one of `other_bytes`.
    fn read(repository: &Repository, blob: Oid, other_bytes: Option<usize>) -> Result<Option<Content>, git2::Error> {
        let (bytes, _) = repository.odb()?.read_header(blob)?;
        let (small, large) = (bytes.min(other_bytes.unwrap_or(bytes)), bytes.max(other_bytes.unwrap_or(bytes)));
        if bytes == 0 || bytes > FILE_BYTES_MAX || small * 1_000 < large * SIMILARITY_MIN {
            return Ok(None);
        }
        Ok(Some(Content::of(repository.find_blob(blob)?.content())))
    }

    fn of(text: &[u8]) -> Content {
        let mut pieces: HashMap<Vec<u8>, usize> = HashMap::new();
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            for piece in line.chunks(PIECE_BYTES_MAX) {
                match pieces.get_mut(piece) {
                    Some(bytes) => *bytes += piece.len(),
                    None => drop(pieces.insert(piece.to_vec(), piece.len())),
                }
            }
        }
        Content { bytes: text.len(), pieces }
    }

    /// Thousandths of the larger file that are in both: `1000 · Σ min(a, b) / max(|a|, |b|)` over
    /// the bytes that each piece makes up.
    fn similarity(&self, other: &Content) -> usize {
        let common: usize = self.pieces.iter().filter_map(|(piece, bytes)| other.pieces.get(piece).map(|others| *bytes.min(others))).sum();
        common * 1_000 / self.bytes.max(other.bytes).max(1)
    }
}
