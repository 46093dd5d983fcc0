//! What walks over the history of one file share: where they begin, where they have to end,
//! and how commits are told.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::{Component, Path};

use git2::{Commit, ObjectType, Oid};

use super::error::GitError;
use super::git::{Place, Trees};

/// Characters of a commit's summary that are told: what is longer is no summary.
pub const SUMMARY_CHARS_MAX: usize = 200;
/// Characters of an author's name that are told.
pub const AUTHOR_CHARS_MAX: usize = 100;

/// Where a walk ends at the latest.
pub struct WalkBounds<'a> {
    /// Most commits looked at.
    pub commits_max: usize,
    /// Asked before each commit: whether to end now. A deadline, or a caller who went away.
    pub stop: &'a dyn Fn() -> bool,
}

/// Why a walk ended before its answer was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// [`WalkBounds::commits_max`] were looked at.
    Commits,
    /// [`WalkBounds::stop`] said so.
    Stopped,
    /// A shallow clone has no more.
    Shallow,
    /// A version of the file is too large to be compared.
    TooLarge,
}

/// A commit as answers tell it. No e-mail addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitFacts {
    /// 40 hex digits.
    pub commit: String,
    /// The author's name, at most [`AUTHOR_CHARS_MAX`] characters. Of an address that stands
    /// in the name's place, what comes before the `@`.
    pub author: String,
    /// Committer time, seconds since 1970 UTC: when the change came to where it is, which is
    /// what histories are ordered by.
    pub time_s: i64,
    /// First paragraph of the message as one line, at most [`SUMMARY_CHARS_MAX`] characters.
    pub summary: String,
}

impl WalkBounds<'_> {
    /// The bound that is reached after `walked` commits.
    pub(super) fn reached(&self, walked: usize) -> Option<Cut> {
        if walked >= self.commits_max {
            Some(Cut::Commits)
        } else if (self.stop)() {
            Some(Cut::Stopped)
        } else {
            None
        }
    }
}

impl CommitFacts {
    pub(super) fn of(commit: &Commit<'_>) -> CommitFacts {
        let author = commit.author();
        let name = String::from_utf8_lossy(author.name_bytes());
        let words = name.split_whitespace().map(|word| word.split('@').next().unwrap_or_default());
        let summary = String::from_utf8_lossy(commit.summary_bytes().unwrap_or_default());
        CommitFacts {
            commit: commit.id().to_string(),
            author: shorten(words.collect::<Vec<_>>().join(" ").trim_matches(['<', '>']), AUTHOR_CHARS_MAX),
            time_s: commit.time().seconds(),
            summary: shorten(summary.trim(), SUMMARY_CHARS_MAX),
        }
    }
}

/// A file as a commit has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    pub blob: Oid,
    /// With the file's kind.
    pub mode: i32,
}

impl Version {
    /// Whether this is a regular file, not a link.
    pub fn is_file(self) -> bool {
        self.mode & 0o170_000 == 0o100_000
    }
}

/// A file that HEAD tracks.
pub(super) struct Tracked {
    pub place: Place,
    /// Relative to the work tree.
    pub path: Vec<u8>,
    pub head: Oid,
    pub version: Version,
}

impl Tracked {
    /// Finds `path`, relative to `root`, in the commit HEAD.
    ///
    /// # Errors
    /// Every one of [`GitError`] but [`GitError::TooLarge`].
    pub fn open(root: &Path, path: &str) -> Result<Tracked, GitError> {
        let place = Place::open(root)?.ok_or_else(|| GitError::NoWorkTree { root: root.to_owned() })?;
        let read = |source| GitError::Read { root: root.to_owned(), source };
        let untracked = || GitError::Untracked { path: path.to_owned() };
        let plain = !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        if !plain {
            return Err(untracked());
        }
        let full = place.prefix.join(path).as_os_str().as_encoded_bytes().to_vec();
        let commit = place.head_commit().map_err(read)?.ok_or_else(|| GitError::NoCommits { root: root.to_owned() })?;
        let (head, tree) = (commit.id(), commit.tree_id());
        drop(commit);
        let version = version(&mut Trees::new(&place.repository), tree, &full).map_err(read)?;
        let version = version.filter(|version| version.is_file()).ok_or_else(untracked)?;
        Ok(Tracked { place, path: full, head, version })
    }

    /// A path of the work tree, relative to the root; with `../` when it lies outside.
    pub fn relative(&self, path: &[u8]) -> String {
        let path = String::from_utf8_lossy(path);
        let prefix = self.place.prefix.to_string_lossy();
        let folders: Vec<&str> = prefix.split('/').filter(|part| !part.is_empty()).collect();
        let parts: Vec<&str> = path.split('/').collect();
        let common = folders.iter().zip(&parts).take_while(|(folder, part)| folder == part).count();
        let mut out = "../".repeat(folders.len() - common);
        out.push_str(&parts[common..].join("/"));
        out
    }
}

/// What stands at `path` in a tree; `None` when nothing or no file does.
pub(super) fn version(trees: &mut Trees<'_>, tree: Oid, path: &[u8]) -> Result<Option<Version>, git2::Error> {
    let mut tree = trees.get(tree)?;
    let mut parts = path.split(|byte| *byte == b'/').peekable();
    while let Some(part) = parts.next() {
        let found = tree.get_name_bytes(part).map(|entry| (entry.id(), entry.filemode_raw(), entry.kind()));
        match (found, parts.peek().is_some()) {
            (Some((blob, mode, Some(ObjectType::Blob))), false) => return Ok(Some(Version { blob, mode })),
            (Some((id, _, Some(ObjectType::Tree))), true) => tree = trees.get(id)?,
            _ => return Ok(None),
        }
    }
    Ok(None)
}

/// The parents in their order. git2's own iterator ends silently at one that is missing.
pub(super) fn parents<'r>(commit: &Commit<'r>) -> impl Iterator<Item = Result<Commit<'r>, git2::Error>> {
    (0..commit.parent_count()).map(|number| commit.parent(number))
}

/// Whether a shallow clone ends here: the commit names parents that are not followed.
pub(super) fn is_shallow_end(commit: &Commit<'_>) -> bool {
    commit.parent_count() == 0 && commit.raw_header_bytes().split(|byte| *byte == b'\n').any(|line| line.starts_with(b"parent "))
}

/// What waits to be looked at: the newest first, then the one that came first, as git has it.
pub(super) struct Queue<T> {
    heap: BinaryHeap<(i64, Reverse<usize>, Entry<T>)>,
    pushed: usize,
}

/// Takes no part in the order.
struct Entry<T>(T);

impl<T> Queue<T> {
    pub fn new() -> Self {
        Queue { heap: BinaryHeap::new(), pushed: 0 }
    }

    pub fn push(&mut self, time_s: i64, item: T) {
        self.heap.push((time_s, Reverse(self.pushed), Entry(item)));
        self.pushed += 1;
    }

    pub fn pop(&mut self) -> Option<T> {
        self.heap.pop().map(|(_, _, Entry(item))| item)
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

fn shorten(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
