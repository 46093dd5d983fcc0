//! Which commits changed a file. In: a root folder, a path in it, how many commits are wanted and
//! since when. Out: commits, newest first, as `git log -- <path>` has them.

use std::collections::HashSet;
use std::path::Path;

use git2::{Commit, Oid};

use super::error::GitError;
use super::git::Trees;
use super::renames::renamed_from;
use super::walk::{CommitFacts, Cut, Queue, Tracked, Version, WalkBounds, is_shallow_end, parents, version};

/// How much of a history is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Commits at most.
    pub limit: usize,
    /// Only commits of this time or later, seconds since 1970 UTC. The walk doesn't go beyond an
    /// older one, so a commit that lies behind it is not found even if its own clock ran ahead.
    pub since_s: Option<i64>,
}

/// The commits that changed a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// 40 hex digits: where the walk began.
    pub head_commit: String,
    /// Newest first by committer time, as far as a child comes before its parents.
    pub commits: Vec<FileChange>,
    /// Whether there is a further commit, or the walk ended before that could be known.
    pub more: bool,
    pub commits_walked: usize,
    /// Why there may be more than was found, in the order in which that came up.
    pub cuts: Vec<Cut>,
}

/// One commit of a file's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    pub facts: CommitFacts,
    pub kind: ChangeKind,
    /// The file's path before, relative to the root, when this commit renamed it. The history
    /// doesn't go on there.
    pub renamed_from: Option<String>,
}

/// What a commit did to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    Added,
    Modified,
    Deleted,
}

/// The history of `path`, relative to `root`, from HEAD on.
///
/// Merges are simplified as by `git log -- <path>`: where the file equals a parent's, also when
/// neither has it, only the first such parent is followed; other commits are listed and all of
/// their parents followed. So a merge is listed only when it made a version of its own, and a side
/// branch whose change was dropped is not. Renames are told, not followed.
///
/// # Errors
/// When HEAD doesn't track the file or an object that is needed is missing or damaged.
pub fn history(root: &Path, path: &str, wanted: Wanted, bounds: &WalkBounds<'_>) -> Result<History, GitError> {
    let file = Tracked::open(root, path)?;
    walk(&file, wanted, bounds).map_err(|source| GitError::Read { root: root.to_owned(), source })
}

fn walk(file: &Tracked, wanted: Wanted, bounds: &WalkBounds<'_>) -> Result<History, git2::Error> {
    let repository = &file.place.repository;
    let mut trees = Trees::new(repository);
    let mut history = History { head_commit: file.head.to_string(), commits: Vec::new(), more: false, commits_walked: 0, cuts: Vec::new() };
    let (mut queue, mut seen) = (Queue::new(), HashSet::new());
    let head = repository.find_commit(file.head)?;
    seen.insert(file.head);
    queue.push(head.time().seconds(), (head, Some(file.version)));
    while let Some((commit, here)) = queue.pop() {
        if let Some(cut) = bounds.reached(history.commits_walked) {
            history.more = true;
            history.cuts.push(cut);
            break;
        }
        history.commits_walked += 1;
        if wanted.since_s.is_some_and(|since_s| commit.time().seconds() < since_s) {
            continue;
        }
        let Step { kind, followed } = step(&mut trees, &file.path, &commit, here)?;
        if let Some(kind) = kind {
            if history.commits.len() == wanted.limit {
                history.more = true;
                break;
            }
            let renamed_from = match (kind, here) {
                (ChangeKind::Added, Some(here)) => source(file, &commit, here, bounds)?,
                _ => None,
            };
            history.commits.push(FileChange { facts: CommitFacts::of(&commit), kind, renamed_from });
        }
        if is_shallow_end(&commit) && !history.cuts.contains(&Cut::Shallow) {
            history.cuts.push(Cut::Shallow);
        }
        for (parent, there) in followed {
            if seen.insert(parent.id()) {
                queue.push(parent.time().seconds(), (parent, there));
            }
        }
    }
    Ok(history)
}

/// What a commit did, and where the walk goes on.
struct Step<'r> {
    /// `None` when the file is as it was.
    kind: Option<ChangeKind>,
    followed: Vec<(Commit<'r>, Option<Version>)>,
}

fn step<'r>(trees: &mut Trees<'r>, path: &[u8], commit: &Commit<'r>, here: Option<Version>) -> Result<Step<'r>, git2::Error> {
    let mut others = Vec::new();
    for parent in parents(commit) {
        let parent = parent?;
        let there = if parent.tree_id() == commit.tree_id() { here } else { version(trees, parent.tree_id(), path)? };
        if there == here {
            return Ok(Step { kind: None, followed: vec![(parent, there)] });
        }
        others.push((parent, there));
    }
    let kind = match here {
        None if others.is_empty() => None,
        None => Some(ChangeKind::Deleted),
        Some(_) if others.iter().all(|(_, there)| there.is_none()) => Some(ChangeKind::Added),
        Some(_) => Some(ChangeKind::Modified),
    };
    Ok(Step { kind, followed: others })
}

/// Where an added file came from: out of the first parent that has a source.
fn source(file: &Tracked, commit: &Commit<'_>, here: Version, bounds: &WalkBounds<'_>) -> Result<Option<String>, git2::Error> {
    for parent in parents(commit) {
        let parent = parent?;
        let trees: (Oid, Oid) = (parent.tree_id(), commit.tree_id());
        if let Some((path, _)) = renamed_from(&file.place.repository, trees, &file.path, here, bounds)? {
            return Ok(Some(file.relative(&path)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
