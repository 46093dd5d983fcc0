use super::*;
use crate::code::test_repo::{Random, Repo, random_history};
use std::cell::Cell;
use std::fs;

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
fn a_walk_over_a_known_one_finds_what_a_whole_walk_finds() {
    for seed in 1..=4 {
        let repo = random_history(seed, 60);
        let random = Random::new(seed);
        let commits: Vec<String> = repo.git(&["rev-list", "--all"]).lines().map(str::to_owned).collect();
        let paths: Vec<String> = (0..2).flat_map(|folder| (0..3).map(move |file| format!("d{folder}/f{file}"))).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let walk = |head: &str, commits_max: usize, known: Option<&KnownCommits>| {
            let head = HeadState { commit: Some(head.to_owned()), ..HeadState::default() };
            last_commits(repo.path(), &head, &paths, &GitLimits { commits_max }, known).unwrap()
        };
        for _ in 0..40 {
            // Older, newer, on another branch or the same: whichever, the outcome is that of a whole walk.
            let [before, now] = [0; 2].map(|_| &commits[random.below(commits.len() as u64) as usize]);
            let earlier = walk(before, usize::MAX, None);
            assert!(earlier.is_lasting);
            // Some of its paths were not looked for then.
            let looked_for = earlier.commits.into_iter().filter(|_| random.below(4) > 0);
            let known = KnownCommits { head: before.clone(), commits: looked_for.map(|(path, commit)| (path, Some(commit))).collect() };
            assert_eq!(walk(now, usize::MAX, Some(&known)), walk(now, usize::MAX, None), "{before}..{now}");
        }
    }
}

#[test]
fn a_walk_over_a_known_one_looks_at_newer_commits_only() {
    let repo = Repo::new();
    let before = repo.write_commit("old", "1");
    repo.write_commit("beyond", "1");
    let known_head = repo.write_commit("new", "1");
    let head = repo.write_commit("newest", "1");
    let commit = |commit: &str| FileCommit { commit: commit.to_owned(), time_s: 5 };
    let known = KnownCommits {
        head: known_head.clone(),
        commits: [("old", Some(commit(&before))), ("beyond", None), ("new", Some(commit(&known_head)))]
            .map(|(path, commit)| (path.to_owned(), commit))
            .into(),
    };
    let state = head_state(repo.path()).unwrap().unwrap();
    let found =
        last_commits(repo.path(), &state, &["old", "beyond", "new", "newest"], &GitLimits { commits_max: 1 }, Some(&known)).unwrap();
    assert_eq!(found.unresolved, ["beyond".to_owned()].into());
    let commits: Vec<(&str, &str)> = found.commits.iter().map(|(path, commit)| (path.as_str(), commit.commit.as_str())).collect();
    assert_eq!(commits, [("new", known_head.as_str()), ("newest", head.as_str()), ("old", before.as_str())]);
    let gone = HeadState { commit: Some("1".repeat(40)), ..HeadState::default() };
    assert!(last_commits(repo.path(), &gone, &["old"], &GitLimits::default(), None).is_err());
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
fn a_missing_commit_is_an_error_and_no_beginning() {
    let repo = Repo::new();
    let first = repo.write_commit("a", "1");
    repo.write_commit("b", "1");
    fs::remove_file(repo.path().join(".git/objects").join(&first[..2]).join(&first[2..])).unwrap();
    let error = git_facts(repo.path(), &["a"], &GitLimits::default()).unwrap_err();
    assert_eq!(error.class(), "git_object_missing", "{error:?}");
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
