//! What git knows about a scanned folder: where HEAD stands, and the last commit of each file.
//!
//! In: a root folder and the paths found in it. Out: commits by path. Read only: nothing here
//! writes to the repository, runs a hook, a filter or a configured command, or contacts a remote.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::sync::Once;

use git2::{Commit, ErrorCode, ObjectType, Oid, Repository, RepositoryOpenFlags, StatusOptions, Tree, TreeEntry};

use super::error::GitError;
use super::walk::parents;

/// Parsed tree entries kept in memory during a history walk (about 50 bytes each): neighbouring
/// commits share most trees, so each is parsed about once.
const CACHED_TREE_ENTRIES_MAX: usize = 500_000;
/// The data folder; its files never make a work tree dirty.
const DATA_FOLDER: &str = ".spanloom";

/// HEAD, and for each of `paths` (relative to `root`, `/` between parts) that HEAD tracks its last
/// commit, the one that `git log -1 -- <path>` prints.
///
/// `None` when `root` lies in no work tree (no repository, a bare one, or inside `.git`). `root`
/// may be any folder of a work tree. A repository without commits has no head commit and no commits
/// by path. Untracked paths are absent. In a shallow clone, files last changed before the cut
/// belong to the commit at the cut, as with `git log`.
///
/// # Errors
/// When `root` cannot be resolved, the repository cannot be opened, or an object it needs is
/// missing or damaged.
pub fn git_facts(root: &Path, paths: &[&str], limits: &GitLimits) -> Result<Option<GitFacts>, GitError> {
    let Some(head) = head_state(root)? else {
        return Ok(None);
    };
    let history = last_commits(root, &head, paths, limits, None)?;
    Ok(Some(GitFacts {
        head_commit: head.commit,
        branch: head.branch,
        dirty: head.dirty,
        commits: history.commits,
        unresolved: history.unresolved.len(),
    }))
}

/// The commits of [`git_facts`] alone, seen from the commit in `head`. What an earlier walk `known`
/// found holds for every path that reaches the commit where it began, so only newer commits are
/// looked at; a walk that never gets there is a whole one.
///
/// # Errors
/// As [`git_facts`]; also when the commit is gone, or `root` no longer in a work tree.
pub fn last_commits(
    root: &Path,
    head: &HeadState,
    paths: &[&str],
    limits: &GitLimits,
    known: Option<&KnownCommits>,
) -> Result<History, GitError> {
    let Some(head) = &head.commit else {
        return Ok(History { is_lasting: true, ..History::default() });
    };
    let read = |source| GitError::Read { root: root.to_owned(), source };
    let gone = || read(git2::Error::from_str("the work tree is gone"));
    let place = Place::open(root)?.ok_or_else(gone)?;
    place.last_commits(head, paths, limits, known).map_err(read)
}

/// What an earlier walk found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownCommits {
    /// Where it began, 40 hex digits.
    pub head: String,
    /// By path relative to the root: its last commit, or `None` when it was not found within the
    /// bounds. Paths that the walk did not look for are absent.
    pub commits: HashMap<String, Option<FileCommit>>,
}

/// What a walk through history found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// As in [`GitFacts::commits`].
    pub commits: BTreeMap<String, FileCommit>,
    /// The paths that [`GitFacts::unresolved`] counts.
    pub unresolved: BTreeSet<String>,
    /// Whether it holds for as long as its commits exist: a shallow clone can be deepened.
    pub is_lasting: bool,
}

/// Where HEAD stands, without history: costs one `git status` of `root`. `None` as in
/// [`git_facts`].
///
/// # Errors
/// When `root` cannot be resolved, or the repository cannot be opened or read.
pub fn head_state(root: &Path) -> Result<Option<HeadState>, GitError> {
    let Some(place) = Place::open(root)? else {
        return Ok(None);
    };
    place.head_state().map(Some).map_err(|source| GitError::Read { root: root.to_owned(), source })
}

/// Bounds of a history walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitLimits {
    /// Most commits looked at. A file untouched for longer counts as unresolved; its age says
    /// little more than "old".
    pub commits_max: usize,
}

impl Default for GitLimits {
    fn default() -> Self {
        Self { commits_max: 50_000 }
    }
}

/// What git knows about a scanned folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GitFacts {
    /// 40 hex digits; `None` before the first commit.
    pub head_commit: Option<String>,
    /// As in [`HeadState::branch`].
    pub branch: Option<String>,
    /// As in [`HeadState::dirty`].
    pub dirty: bool,
    /// The last commit of each tracked path, by path relative to the scanned root.
    pub commits: BTreeMap<String, FileCommit>,
    /// Tracked paths whose last commit lies beyond [`GitLimits::commits_max`]; they are absent from
    /// `commits`.
    pub unresolved: usize,
}

/// The last commit that touched a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileCommit {
    /// 40 hex digits.
    pub commit: String,
    /// Committer time, seconds since 1970 UTC.
    pub time_s: i64,
}

/// Where HEAD stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeadState {
    /// 40 hex digits; `None` before the first commit.
    pub commit: Option<String>,
    /// Short name, also before the first commit; `None` when HEAD is detached or the name is not
    /// UTF-8.
    pub branch: Option<String>,
    /// Whether files below the root differ from HEAD: changed, staged, deleted, or new and not
    /// ignored. Submodules and the data folder do not count.
    pub dirty: bool,
}

/// A folder in a work tree.
pub(super) struct Place {
    pub(super) repository: Repository,
    /// The folder, relative to the work tree; empty for the whole of it.
    pub(super) prefix: PathBuf,
}

impl Place {
    pub(super) fn open(root: &Path) -> Result<Option<Self>, GitError> {
        set_options_once();
        let resolve = |path: &Path| std::fs::canonicalize(path).map_err(|source| GitError::Root { root: root.to_owned(), source });
        let folder = resolve(root)?;
        // No flags: like git itself, the search upwards stops at a file system boundary and at
        // nothing else.
        let repository = match Repository::open_ext(&folder, RepositoryOpenFlags::empty(), [] as [&str; 0]) {
            Ok(repository) => repository,
            Err(error) if error.code() == ErrorCode::NotFound => return Ok(None),
            Err(source) => {
                return Err(GitError::Open { root: root.to_owned(), source });
            }
        };
        let Some(workdir) = repository.workdir() else {
            return Ok(None);
        };
        let prefix = folder.strip_prefix(resolve(workdir)?).map(Path::to_owned);
        if folder.starts_with(resolve(repository.path())?) {
            return Ok(None);
        }
        // A configured `core.worktree` can lie elsewhere; then the folder is in no work tree.
        Ok(prefix.ok().map(|prefix| Self { repository, prefix }))
    }

    fn head_state(&self) -> Result<HeadState, git2::Error> {
        let commit = self.head_commit()?.map(|commit| commit.id().to_string());
        Ok(HeadState { commit, branch: self.branch(), dirty: self.is_dirty()? })
    }

    pub(super) fn head_commit(&self) -> Result<Option<Commit<'_>>, git2::Error> {
        match self.repository.head() {
            // Not peeled where that can be helped: peeling hides that an object is missing.
            Ok(head) => match head.target() {
                Some(id) => self.repository.find_commit(id).map(Some),
                None => head.peel_to_commit().map(Some),
            },
            Err(error) if matches!(error.code(), ErrorCode::UnbornBranch | ErrorCode::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn branch(&self) -> Option<String> {
        // Asked of the reference itself, because a branch without commits cannot be resolved.
        let head = self.repository.find_reference("HEAD").ok()?;
        let target = head.symbolic_target().ok()??;
        target.strip_prefix("refs/heads/").map(str::to_owned)
    }

    fn is_dirty(&self) -> Result<bool, git2::Error> {
        let mut options = StatusOptions::new();
        options.include_untracked(true).include_ignored(false).exclude_submodules(true).disable_pathspec_match(true);
        if !self.prefix.as_os_str().is_empty() {
            options.pathspec(&self.prefix);
        }
        let statuses = self.repository.statuses(Some(&mut options))?;
        let counts = |path: &[u8]| !path.split(|byte| *byte == b'/').any(|part| part == DATA_FOLDER.as_bytes());
        Ok(statuses.iter().any(|entry| counts(entry.path_bytes())))
    }

    fn last_commits(&self, head: &str, paths: &[&str], limits: &GitLimits, known: Option<&KnownCommits>) -> Result<History, git2::Error> {
        let head = self.repository.find_commit(Oid::from_str(head)?)?;
        let mut trees = Trees::new(&self.repository);
        let mut pending = Pending::new(&self.prefix, paths);
        pending.keep_tracked(&mut trees, head.tree_id())?;
        let history = follow(&self.repository, &mut trees, head, pending, (limits, known))?;
        Ok(History { is_lasting: !self.repository.is_shallow(), ..history })
    }
}

/// Follows every pending path from `head` back to the commit that gave it its present content.
///
/// Each path stands at one commit at a time. Where it equals a parent's, it moves to the first such
/// parent; where it differs from all of them, it has arrived. That is git's default history
/// simplification ("TREESAME", `git log`), so a merge counts only when it made a version of its
/// own, and a side branch whose change was dropped does not count. Newest commits go first, so that
/// paths from several branches meet again before an old commit is looked at; the order changes the
/// cost, never the result (except which paths a too low `commits_max` leaves out). Where a path goes
/// from a commit depends on nothing before it, so at the commit where an earlier walk began its
/// outcome is taken over.
fn follow<'p>(
    repository: &Repository,
    trees: &mut Trees<'_>,
    head: Commit<'_>,
    pending: Pending<'p>,
    (limits, known): (&GitLimits, Option<&KnownCommits>),
) -> Result<History, git2::Error> {
    let mut history = History::default();
    let known = known.and_then(|known| Some((Oid::from_str(&known.head).ok()?, &known.commits)));
    let mut waiting: HashMap<Oid, Pending<'p>> = HashMap::new();
    let mut order = BinaryHeap::new();
    if !pending.is_empty() {
        order.push((head.time().seconds(), head.id()));
        waiting.insert(head.id(), pending);
    }
    let mut commits_seen = 0;
    while let Some((time_s, id)) = order.pop() {
        let Some(mut pending) = waiting.remove(&id) else {
            continue;
        };
        if let Some((_, known)) = known.filter(|(head, _)| *head == id) {
            pending.settle(&mut |path| match known.get(path) {
                Some(Some(commit)) => {
                    history.commits.insert(path.to_owned(), commit.clone());
                    true
                }
                Some(None) => {
                    history.unresolved.insert(path.to_owned());
                    true
                }
                None => false,
            });
            if pending.is_empty() {
                continue;
            }
        }
        if commits_seen == limits.commits_max {
            for pending in std::iter::once(&pending).chain(waiting.values()) {
                pending.for_each(&mut |path| {
                    history.unresolved.insert(path.to_owned());
                });
            }
            break;
        }
        commits_seen += 1;
        let commit = repository.find_commit(id)?;
        for parent in parents(&commit) {
            let parent = parent?;
            let changed = pending.split_changed(trees, commit.tree_id(), Some(parent.tree_id()))?;
            let same = std::mem::replace(&mut pending, changed);
            if !same.is_empty() {
                let at_parent = waiting.entry(parent.id()).or_default();
                if at_parent.is_empty() {
                    order.push((parent.time().seconds(), parent.id()));
                }
                at_parent.absorb(same);
            }
            if pending.is_empty() {
                break;
            }
        }
        if !pending.is_empty() {
            let file_commit = FileCommit { commit: id.to_string(), time_s };
            pending.for_each(&mut |path| {
                history.commits.insert(path.to_owned(), file_commit.clone());
            });
        }
    }
    Ok(history)
}

/// Paths whose last commit is still sought, as the folder tree they form. No empty folders are kept
/// below the top.
#[derive(Default)]
struct Pending<'p> {
    folders: BTreeMap<&'p [u8], Pending<'p>>,
    /// By name; the value is the path relative to the scanned root.
    files: BTreeMap<&'p [u8], &'p str>,
}

impl<'p> Pending<'p> {
    /// All of `paths`, placed below `prefix`. Paths that leave the root name nothing git tracks and
    /// are dropped.
    fn new(prefix: &'p Path, paths: &[&'p str]) -> Self {
        let mut top = Self::default();
        let mut place = &mut top;
        for part in prefix.components() {
            place = place.folders.entry(part.as_os_str().as_encoded_bytes()).or_default();
        }
        for path in paths {
            let is_plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
            if !is_plain || path.is_empty() {
                continue;
            }
            let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
            let mut folder = &mut *place;
            for part in folders.split('/').filter(|part| !part.is_empty()) {
                folder = folder.folders.entry(part.as_bytes()).or_default();
            }
            folder.files.insert(name.as_bytes(), path);
        }
        top
    }

    fn is_empty(&self) -> bool {
        self.folders.is_empty() && self.files.is_empty()
    }

    fn for_each(&self, visit: &mut impl FnMut(&'p str)) {
        self.files.values().for_each(|path| visit(path));
        self.folders.values().for_each(|folder| folder.for_each(visit));
    }

    /// Drops the paths for which `is_settled` says so.
    fn settle(&mut self, is_settled: &mut impl FnMut(&'p str) -> bool) {
        self.files.retain(|_, path| !is_settled(path));
        self.folders.retain(|_, folder| {
            folder.settle(is_settled);
            !folder.is_empty()
        });
    }

    /// Takes in paths that arrived at the same commit another way; the two sets are disjoint. Whole
    /// folders move, and the smaller set into the larger: this happens at every commit.
    fn absorb(&mut self, mut other: Self) {
        if other.folders.len() + other.files.len() > self.folders.len() + self.files.len() {
            std::mem::swap(self, &mut other);
        }
        for (name, path) in other.files {
            self.files.insert(name, path);
        }
        for (name, folder) in other.folders {
            match self.folders.entry(name) {
                Entry::Vacant(vacant) => {
                    vacant.insert(folder);
                }
                Entry::Occupied(mut occupied) => occupied.get_mut().absorb(folder),
            }
        }
    }

    /// Drops what is no file in the tree.
    fn keep_tracked(&mut self, trees: &mut Trees<'_>, tree: Oid) -> Result<(), git2::Error> {
        let tree = trees.get(tree)?;
        let find = |name: &[u8], kind| tree.get_name_bytes(name).filter(|entry| entry.kind() == Some(kind));
        self.files.retain(|name, _| find(name, ObjectType::Blob).is_some());
        let mut folders = BTreeMap::new();
        for (name, mut folder) in std::mem::take(&mut self.folders) {
            if let Some(entry) = find(name, ObjectType::Tree) {
                folder.keep_tracked(trees, entry.id())?;
                if !folder.is_empty() {
                    folders.insert(name, folder);
                }
            }
        }
        self.folders = folders;
        Ok(())
    }

    /// Moves the paths that differ between the trees (content, mode, or absent `there`) into the
    /// result; those that are equal stay. All paths must exist `here`. Enters only folders that
    /// differ and hold pending paths.
    fn split_changed(&mut self, trees: &mut Trees<'_>, here: Oid, there: Option<Oid>) -> Result<Self, git2::Error> {
        if self.is_empty() || there == Some(here) {
            return Ok(Self::default());
        }
        let Some(there) = there else {
            return Ok(std::mem::take(self));
        };
        let (here, there) = (trees.get(here)?, trees.get(there)?);
        let mut changed = Self::default();
        let mut others = there.iter().peekable();
        // Both trees are in git's order, so one pass beside each other pairs the entries.
        for entry in here.iter() {
            while others.next_if(|other| order_key(other).lt(order_key(&entry))).is_some() {}
            let other = others.next_if(|other| order_key(other).eq(order_key(&entry)));
            if other.as_ref().is_some_and(|other| is_same(other, &entry)) {
                continue;
            }
            let name = entry.name_bytes();
            if !is_tree(&entry) {
                if let Some((name, path)) = self.files.remove_entry(name) {
                    changed.files.insert(name, path);
                }
            } else if let Some((name, mut folder)) = self.folders.remove_entry(name) {
                let other = other.filter(is_tree).map(|other| other.id());
                let folder_changed = folder.split_changed(trees, entry.id(), other)?;
                if !folder.is_empty() {
                    self.folders.insert(name, folder);
                }
                if !folder_changed.is_empty() {
                    changed.folders.insert(name, folder_changed);
                }
            }
        }
        Ok(changed)
    }
}

/// Git orders tree entries by name, folders as if their name ended in `/`.
fn order_key<'e>(entry: &'e TreeEntry<'_>) -> impl Iterator<Item = u8> + 'e {
    let end: &[u8] = if is_tree(entry) { b"/" } else { b"" };
    entry.name_bytes().iter().chain(end).copied()
}

fn is_tree(entry: &TreeEntry<'_>) -> bool {
    entry.kind() == Some(ObjectType::Tree)
}

fn is_same(a: &TreeEntry<'_>, b: &TreeEntry<'_>) -> bool {
    a.id() == b.id() && a.filemode_raw() == b.filemode_raw()
}

/// Parsed trees, up to [`CACHED_TREE_ENTRIES_MAX`] entries; emptied when full, because the walk
/// does not come back.
pub(super) struct Trees<'r> {
    pub(super) repository: &'r Repository,
    cached: HashMap<Oid, Rc<Tree<'r>>>,
    entries: usize,
}

impl<'r> Trees<'r> {
    pub(super) fn new(repository: &'r Repository) -> Self {
        Self { repository, cached: HashMap::new(), entries: 0 }
    }

    pub(super) fn get(&mut self, id: Oid) -> Result<Rc<Tree<'r>>, git2::Error> {
        if let Some(tree) = self.cached.get(&id) {
            return Ok(Rc::clone(tree));
        }
        let tree = Rc::new(self.repository.find_tree(id)?);
        if self.entries + tree.len() > CACHED_TREE_ENTRIES_MAX {
            self.cached.clear();
            self.entries = 0;
        }
        self.entries += tree.len();
        self.cached.insert(id, Rc::clone(&tree));
        Ok(tree)
    }
}

/// Process-wide settings of libgit2, made before this module first uses it.
fn set_options_once() {
    static OPTIONS: Once = Once::new();
    OPTIONS.call_once(|| {
        // Sound: both write a global that libgit2 reads when opening a repository, and `Once`
        // orders the write before every opening in this module, the only one that opens any.
        //
        // Ownership ("safe.directory") protects against hooks and commands configured by someone
        // else. Reading objects and the index runs neither, and a container that mounts a work
        // tree often runs as another user. Partial clones are accepted because most of what is
        // asked needs no file contents; where one is needed and missing, that is an error.
        let results = unsafe { [git2::opts::set_verify_owner_validation(false), git2::opts::set_extensions(&["partialclone"])] };
        // A failure leaves the stricter default; opening such a repository then reports why it was
        // refused.
        drop(results);
    });
}

#[cfg(test)]
mod tests;
