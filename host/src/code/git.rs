//! What git knows about a scanned folder: where HEAD stands, and the last commit of each file.
//!
//! In: a root folder and the paths found in it. Out: commits by path. Read only: nothing here
//! writes to the repository, runs a hook, a filter or a configured command, or contacts a remote.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::sync::Once;

use git2::{Commit, ErrorCode, ObjectType, Oid, Repository, RepositoryOpenFlags, StatusOptions, Tree, TreeEntry};

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
    let Some(place) = Place::open(root)? else {
        return Ok(None);
    };
    let read = |source| GitError::Read { root: root.to_owned(), source };
    let head = place.head_state().map_err(read)?;
    let history = place.last_commits(paths, limits).map_err(read)?;
    Ok(Some(GitFacts {
        head_commit: head.commit,
        branch: head.branch,
        dirty: head.dirty,
        commits: history.commits,
        unresolved: history.unresolved,
    }))
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

/// Why git's facts are missing. An index can be built without them.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("{} cannot be resolved", root.display())]
    Root {
        root: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the git repository around {} cannot be opened", root.display())]
    Open {
        root: PathBuf,
        #[source]
        source: git2::Error,
    },
    #[error("the git repository around {} cannot be read: is it damaged, or a partial clone?", root.display())]
    Read {
        root: PathBuf,
        #[source]
        source: git2::Error,
    },
}

/// A folder in a work tree.
struct Place {
    repository: Repository,
    /// The folder, relative to the work tree; empty for the whole of it.
    prefix: PathBuf,
}

impl Place {
    fn open(root: &Path) -> Result<Option<Self>, GitError> {
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

    fn head_commit(&self) -> Result<Option<Commit<'_>>, git2::Error> {
        match self.repository.head() {
            Ok(head) => head.peel_to_commit().map(Some),
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

    fn last_commits(&self, paths: &[&str], limits: &GitLimits) -> Result<History, git2::Error> {
        let Some(head) = self.head_commit()? else {
            return Ok(History::default());
        };
        let mut trees = Trees::new(&self.repository);
        let mut pending = Pending::new(&self.prefix, paths);
        pending.keep_tracked(&mut trees, head.tree_id())?;
        follow(&self.repository, &mut trees, head, pending, limits)
    }
}

#[derive(Default)]
struct History {
    commits: BTreeMap<String, FileCommit>,
    unresolved: usize,
}

/// Follows every pending path from `head` back to the commit that gave it its present content.
///
/// Each path stands at one commit at a time. Where it equals a parent's, it moves to the first such
/// parent; where it differs from all of them, it has arrived. That is git's default history
/// simplification ("TREESAME", `git log`), so a merge counts only when it made a version of its
/// own, and a side branch whose change was dropped does not count. Newest commits go first, so that
/// paths from several branches meet again before an old commit is looked at; the order changes the
/// cost, never the result (except which paths a too low `commits_max` leaves out).
fn follow<'p>(
    repository: &Repository,
    trees: &mut Trees<'_>,
    head: Commit<'_>,
    pending: Pending<'p>,
    limits: &GitLimits,
) -> Result<History, git2::Error> {
    let mut history = History::default();
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
        if commits_seen == limits.commits_max {
            history.unresolved = pending.len() + waiting.values().map(Pending::len).sum::<usize>();
            break;
        }
        commits_seen += 1;
        let commit = repository.find_commit(id)?;
        for parent in commit.parents() {
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

    fn len(&self) -> usize {
        self.files.len() + self.folders.values().map(Self::len).sum::<usize>()
    }

    fn for_each(&self, visit: &mut impl FnMut(&'p str)) {
        self.files.values().for_each(|path| visit(path));
        self.folders.values().for_each(|folder| folder.for_each(visit));
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
struct Trees<'r> {
    repository: &'r Repository,
    cached: HashMap<Oid, Rc<Tree<'r>>>,
    entries: usize,
}

impl<'r> Trees<'r> {
    fn new(repository: &'r Repository) -> Self {
        Self { repository, cached: HashMap::new(), entries: 0 }
    }

    fn get(&mut self, id: Oid) -> Result<Rc<Tree<'r>>, git2::Error> {
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
        // else. Reading trees, commits and the index runs neither, and a container that mounts a
        // work tree often runs as another user. Partial clones are accepted for the same reason:
        // file contents are never read from the repository.
        let results = unsafe { [git2::opts::set_verify_owner_validation(false), git2::opts::set_extensions(&["partialclone"])] };
        // A failure leaves the stricter default; opening such a repository then reports why it was
        // refused.
        drop(results);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::fs;
    use std::process::Command;

    /// A repository made with git's command line, the oracle of these tests.
    struct Repo {
        folder: tempfile::TempDir,
        /// Seconds since 1970 of the next commit.
        time_s: Cell<i64>,
    }

    impl Repo {
        fn new() -> Self {
            let repo = Self { folder: tempfile::tempdir().unwrap(), time_s: Cell::new(1_700_000_000) };
            repo.git(&["init", "--quiet", "--initial-branch=main"]);
            repo
        }

        fn path(&self) -> &Path {
            self.folder.path()
        }

        fn run(&self, folder: &Path, args: &[&str]) -> (bool, String) {
            let date = format!("{} +0000", self.time_s.get());
            let output = Command::new("git")
                .args(args)
                .current_dir(folder)
                .env_remove("GIT_DIR")
                .env_remove("GIT_WORK_TREE")
                .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1")])
                .envs([("GIT_AUTHOR_NAME", "A"), ("GIT_AUTHOR_EMAIL", "a@example.org")])
                .envs([("GIT_COMMITTER_NAME", "C"), ("GIT_COMMITTER_EMAIL", "c@example.org")])
                .envs([("GIT_AUTHOR_DATE", "1600000000 +0000"), ("GIT_COMMITTER_DATE", &date)])
                .output()
                .unwrap();
            (output.status.success(), String::from_utf8(output.stdout).unwrap().trim().to_owned())
        }

        fn git(&self, args: &[&str]) -> String {
            let (success, output) = self.run(self.path(), args);
            assert!(success, "git {args:?}");
            output
        }

        fn write(&self, path: &str, content: &str) {
            let path = self.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }

        /// Commits everything, `gap_s` after the commit before.
        fn commit(&self, gap_s: i64) -> String {
            self.time_s.set(self.time_s.get() + gap_s);
            self.git(&["add", "--all"]);
            self.git(&["commit", "--quiet", "--allow-empty", "--message=m"]);
            self.git(&["rev-parse", "HEAD"])
        }

        fn write_commit(&self, path: &str, content: &str) -> String {
            self.write(path, content);
            self.commit(1)
        }
    }

    fn facts(root: &Path, paths: &[&str]) -> GitFacts {
        git_facts(root, paths, &GitLimits::default()).unwrap().unwrap()
    }

    /// Holds every tracked file below `root` against `git log -1`.
    fn check(repo: &Repo, root: &Path) -> GitFacts {
        let (_, tracked) = repo.run(root, &["ls-files"]);
        let paths: Vec<&str> = tracked.lines().collect();
        let facts = facts(root, &paths);
        let expected: BTreeMap<String, FileCommit> = paths
            .iter()
            .map(|path| {
                let (_, line) = repo.run(root, &["log", "-1", "--format=%H %ct", "--", path]);
                let (commit, time_s) = line.split_once(' ').unwrap();
                let file_commit = FileCommit { commit: commit.to_owned(), time_s: time_s.parse().unwrap() };
                ((*path).to_owned(), file_commit)
            })
            .collect();
        assert_eq!(facts.commits, expected);
        assert_eq!(facts.unresolved, 0);
        let (_, head) = repo.run(root, &["rev-parse", "HEAD"]);
        assert_eq!(facts.head_commit, Some(head));
        facts
    }

    #[test]
    fn last_commits_agree_with_git_log_over_renames_modes_and_type_changes() {
        let repo = Repo::new();
        repo.write("a.rs", "1");
        repo.write("src/b.rs", "1");
        repo.write("src/deep/er/c.rs", "1");
        repo.write("src.rs", "sorts beside src/");
        repo.write("thing", "a file that becomes a folder");
        repo.commit(1);
        repo.write_commit("src/b.rs", "2");
        repo.git(&["mv", "src/b.rs", "src/renamed.rs"]);
        let rename = repo.commit(1);
        repo.git(&["update-index", "--chmod=+x", "a.rs"]);
        repo.git(&["commit", "--quiet", "--message=mode"]);
        repo.git(&["reset", "--quiet", "--hard"]);
        repo.git(&["rm", "--quiet", "thing"]);
        repo.write_commit("thing/file", "1");
        repo.git(&["rm", "--quiet", "src.rs"]);
        repo.commit(1);
        repo.write_commit("src.rs", "sorts beside src/");
        let facts = check(&repo, repo.path());
        assert_eq!(facts.commits["src/renamed.rs"].commit, rename);
        assert_eq!((facts.branch.as_deref(), facts.dirty), (Some("main"), false));
        // A folder of the work tree: paths are relative to it, and siblings do not matter.
        let below = check(&repo, &repo.path().join("src"));
        assert_eq!(below.commits.keys().collect::<Vec<_>>(), ["deep/er/c.rs", "renamed.rs"]);
    }

    #[test]
    fn merges_count_only_with_a_version_of_their_own() {
        let repo = Repo::new();
        for path in ["both", "dropped", "main", "side", "d/side"] {
            repo.write(path, "base");
        }
        repo.commit(1);
        repo.git(&["checkout", "--quiet", "-b", "side"]);
        let on_side = repo.write_commit("side", "side");
        repo.write("d/side", "side");
        repo.write("both", "side");
        repo.commit(1);
        // Newest of all changes to this path, and lost in the merge.
        repo.write_commit("dropped", "side");
        repo.git(&["checkout", "--quiet", "main"]);
        repo.write("both", "main");
        let on_main = repo.write_commit("main", "main");
        repo.run(repo.path(), &["merge", "--quiet", "--no-commit", "side"]);
        repo.write("both", "merged");
        repo.write("dropped", "base");
        let merge = repo.commit(1);
        let commits = check(&repo, repo.path()).commits;
        let commit = |path: &str| commits[path].commit.as_str();
        assert_eq!((commit("both"), commit("main"), commit("side")), (&*merge, &*on_main, &*on_side));
        let root = repo.git(&["rev-list", "--max-parents=0", "HEAD"]);
        assert_eq!(commit("dropped"), root);
    }

    /// Seeded histories with merges of every outcome, commits of equal time and of decreasing time.
    #[test]
    fn random_histories_agree_with_git_log() {
        for seed in 1..=3_u64 {
            let state = Cell::new(seed);
            // Knuth's MMIX generator; the high bits are the good ones.
            let random = |below: u64| {
                state.set(state.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
                (state.get() >> 33) % below
            };
            let repo = Repo::new();
            repo.write_commit("d0/f0", "start");
            for step in 0..60 {
                let branch = format!("b{}", random(4));
                if !repo.run(repo.path(), &["checkout", "--quiet", &branch]).0 {
                    repo.git(&["checkout", "--quiet", "-b", &branch]);
                }
                if random(4) == 0 {
                    let other = format!("b{}", random(4));
                    let how = ["--strategy=ours", "--strategy-option=ours", "--strategy-option=theirs"];
                    let how = how[random(3) as usize];
                    repo.run(repo.path(), &["merge", "--quiet", "--no-ff", how, "--message=m", &other]);
                }
                for _ in 0..=random(3) {
                    // Few contents, so that branches come to the same one independently.
                    let path = format!("d{}/f{}", random(3), random(3));
                    repo.write(&path, &format!("{}", random(3)));
                }
                repo.commit(random(4) as i64 - 1);
                if step % 20 == 19 {
                    check(&repo, repo.path());
                }
            }
            for branch in 0..4 {
                repo.git(&["checkout", "--quiet", &format!("b{branch}")]);
                check(&repo, repo.path());
            }
            let merges = repo.git(&["rev-list", "--count", "--merges", "--all"]);
            assert!(merges.parse::<u32>().unwrap() > 3, "{merges} merges");
        }
    }

    #[test]
    fn a_bounded_walk_counts_what_it_left_open() {
        let repo = Repo::new();
        repo.write("old", "1");
        repo.write_commit("older/one", "1");
        let second = repo.write_commit("new", "1");
        let head = repo.write_commit("newest", "1");
        let paths = ["old", "older/one", "new", "newest", "untracked", "older", "../new", "/new", ""];
        let cases: [(usize, &[&str], usize); 4] =
            [(0, &[], 4), (1, &["newest"], 3), (2, &["new", "newest"], 2), (3, &["new", "newest", "old", "older/one"], 0)];
        for (commits_max, resolved, unresolved) in cases {
            let facts = git_facts(repo.path(), &paths, &GitLimits { commits_max }).unwrap().unwrap();
            assert_eq!(facts.commits.keys().collect::<Vec<_>>(), resolved);
            assert_eq!(facts.unresolved, unresolved);
        }
        let facts = facts(repo.path(), &paths);
        assert_eq!([&facts.commits["new"].commit, &facts.commits["newest"].commit], [&second, &head]);
    }

    #[test]
    fn folders_outside_a_work_tree_have_no_facts() {
        let plain = tempfile::tempdir().unwrap();
        let repo = Repo::new();
        repo.git(&["init", "--quiet", "--bare", "bare.git"]);
        for root in [plain.path(), &repo.path().join(".git"), &repo.path().join("bare.git")] {
            assert_eq!(git_facts(root, &["a"], &GitLimits::default()).unwrap(), None, "{}", root.display());
            assert_eq!(head_state(root).unwrap(), None);
        }
        assert!(matches!(head_state(&plain.path().join("missing")), Err(GitError::Root { .. })));
        repo.write(".git/config", "[core\n");
        assert!(matches!(head_state(repo.path()), Err(GitError::Open { .. })));
    }

    #[test]
    fn empty_repositories_detached_heads_worktrees_and_shallow_clones_are_read() {
        let repo = Repo::new();
        let unborn = facts(repo.path(), &["a"]);
        assert_eq!(unborn, GitFacts { branch: Some("main".to_owned()), ..GitFacts::default() });
        repo.write_commit("a", "1");
        let second = repo.write_commit("b", "1");
        let third = repo.write_commit("c", "1");
        let other = tempfile::tempdir().unwrap();
        let (tree, clone) = (other.path().join("tree"), other.path().join("clone"));
        repo.git(&["worktree", "add", "--quiet", "-b", "feature/x", tree.to_str().unwrap(), &second]);
        assert_eq!(check(&repo, &tree).branch.as_deref(), Some("feature/x"));
        let url = format!("file://{}", repo.path().display());
        repo.git(&["clone", "--quiet", "--depth=2", &url, clone.to_str().unwrap()]);
        assert_eq!(check(&repo, &clone).commits["a"].commit, second);
        repo.git(&["config", "uploadpack.allowFilter", "true"]);
        let partial = other.path().join("partial");
        repo.git(&["clone", "--quiet", "--filter=blob:none", &url, partial.to_str().unwrap()]);
        repo.run(&partial, &["config", "core.repositoryFormatVersion", "1"]);
        repo.run(&partial, &["config", "extensions.partialClone", "origin"]);
        assert_eq!(check(&repo, &partial).commits["c"].commit, third);
        repo.git(&["checkout", "--quiet", "--detach"]);
        assert_eq!(check(&repo, repo.path()).branch, None);
    }

    #[test]
    fn dirty_means_below_the_root_and_not_ignored() {
        let repo = Repo::new();
        repo.write(".gitignore", "*.log\n");
        repo.write("sub/a", "1");
        repo.write("sub2/a", "1");
        repo.commit(1);
        let check = |what: &str, top: bool, sub: bool| {
            let dirty = |path: &str| head_state(&repo.path().join(path)).unwrap().unwrap().dirty;
            assert_eq!((dirty(""), dirty("sub")), (top, sub), "{what}");
        };
        check("clean", false, false);
        repo.write("sub/.spanloom/CURRENT", "1");
        repo.write(".spanloom/CURRENT", "1");
        repo.write("sub/x.log", "1");
        check("data folder and ignored files", false, false);
        repo.write("sub2/a", "2");
        check("changed beside the folder", true, false);
        repo.git(&["checkout", "--quiet", "sub2/a"]);
        repo.write("sub/a", "22");
        check("changed", true, true);
        repo.git(&["add", "sub/a"]);
        check("staged", true, true);
        repo.git(&["reset", "--quiet", "--hard"]);
        repo.write("sub/new/b", "1");
        check("new", true, true);
        fs::remove_dir_all(repo.path().join("sub/new")).unwrap();
        check("clean again", false, false);
        fs::remove_file(repo.path().join("sub/a")).unwrap();
        check("deleted", true, true);
    }
}
