use super::*;
use crate::code::test_repo::{Repo, random_history};
use std::fs;

fn endless() -> WalkBounds<'static> {
    WalkBounds { commits_max: usize::MAX, stop: &|| false }
}

const ALL: Wanted = Wanted { limit: usize::MAX, since_s: None };

fn ids(history: &History) -> Vec<&str> {
    history.commits.iter().map(|change| change.facts.commit.as_str()).collect()
}

fn log(repo: &Repo, root: &Path, arguments: &[&str], path: &str) -> Vec<String> {
    let mut all = vec!["log", "--format=%H"];
    all.extend(arguments);
    all.extend(["--", path]);
    let (success, out) = repo.run(root, &all);
    assert!(success, "{path}");
    out.lines().map(str::to_owned).collect()
}

/// Holds every tracked file against `git log -- path`; gives how many commits that were.
fn check(repo: &Repo, root: &Path) -> usize {
    let (_, tracked) = repo.run(root, &["ls-files"]);
    let mut compared = 0;
    for path in tracked.lines() {
        let found = history(root, path, ALL, &endless()).unwrap();
        assert_eq!(ids(&found), log(repo, root, &[], path), "{path}");
        assert_eq!((found.more, &found.cuts), (false, &vec![]));
        for limit in [1, 2, 3] {
            let first = history(root, path, Wanted { limit, since_s: None }, &endless()).unwrap();
            let expect: Vec<&str> = ids(&found).into_iter().take(limit).collect();
            assert_eq!((ids(&first), first.more), (expect, found.commits.len() > limit), "{path} {limit}");
        }
        compared += found.commits.len();
    }
    compared
}

#[test]
fn random_histories_agree_with_git_log() {
    for seed in 11..=13 {
        let repo = random_history(seed, 60);
        let mut compared = 0;
        for branch in 0..4 {
            if repo.run(repo.path(), &["checkout", "--quiet", &format!("b{branch}")]).0 {
                compared += check(&repo, repo.path());
                compared += check(&repo, &repo.path().join("d0"));
            }
        }
        assert!(compared > 40, "{compared} commits");
    }
}

#[test]
fn changes_are_told_with_their_kind_and_where_a_file_came_from() {
    let repo = Repo::new();
    let body: String = (0..20).map(|line| format!("number {line}\n")).collect();
    repo.write_commit("src/a.rs", &body);
    repo.write_commit("src/b.rs", "something else\n");
    repo.git(&["mv", "src/a.rs", "src/c.rs"]);
    let renamed = repo.write_commit("src/c.rs", &format!("{body}and more\n"));
    repo.git(&["rm", "--quiet", "src/c.rs"]);
    let deleted = repo.commit(1);
    let added = repo.write_commit("src/c.rs", "new\n");
    let modified = repo.write_commit("src/c.rs", "newer\n");
    let found = history(repo.path(), "src/c.rs", ALL, &endless()).unwrap();
    let told: Vec<_> =
        found.commits.iter().map(|change| (change.facts.commit.as_str(), change.kind, change.renamed_from.as_deref())).collect();
    let expect = [
        (&*modified, ChangeKind::Modified, None),
        (&*added, ChangeKind::Added, None),
        (&*deleted, ChangeKind::Deleted, None),
        (&*renamed, ChangeKind::Added, Some("src/a.rs")),
    ];
    assert_eq!(told, expect);
    assert_eq!(found.head_commit, modified);
    assert_eq!((found.commits[0].facts.author.as_str(), found.commits[0].facts.summary.as_str()), ("A", "m"));
    let time_s = repo.git(&["log", "-1", "--format=%ct"]);
    assert_eq!(found.commits[0].facts.time_s.to_string(), time_s);
    check(&repo, repo.path());
    check(&repo, &repo.path().join("src"));
}

/// Git's own judgement of renames, on pairs around the threshold.
#[test]
fn renames_are_those_that_git_finds() {
    let text = |from: u32, to: u32| (from..to).map(|line| format!("some line with the number {line}\n")).collect::<String>();
    let long = |n: usize| "abcdefghij".repeat(n);
    for (sources, new) in [
        (vec![("x/old.rs", text(0, 20))], text(0, 20)),
        (vec![("x/old.rs", text(0, 20))], text(9, 29)),
        (vec![("x/old.rs", text(0, 20))], text(11, 31)),
        (vec![("x/old.rs", text(0, 20))], text(0, 9)),
        (vec![("x/old.rs", text(0, 20))], text(0, 12)),
        (vec![("x/less.rs", text(0, 12)), ("x/more.rs", text(2, 20))], text(0, 20)),
        // The only one of the same name, when it is alike enough, and when it is not.
        (vec![("x/new.rs", text(4, 20)), ("x/more.rs", text(1, 20))], text(0, 20)),
        (vec![("x/new.rs", text(8, 20)), ("x/more.rs", text(1, 20))], text(0, 20)),
        (vec![("x/new.rs", text(1, 20)), ("x/y/new.rs", text(2, 20))], text(0, 20)),
        // Equal ones: that of the same name, else the first.
        (vec![("x/a.rs", text(0, 20)), ("x/new.rs", text(0, 20))], text(0, 20)),
        (vec![("x/a.rs", text(0, 20)), ("x/b.rs", text(0, 20))], text(0, 20)),
        (vec![("x/a.rs", format!("{}1", long(50)))], format!("{}2", long(50))),
        (vec![("x/a.rs", String::new())], text(0, 2)),
    ] {
        let repo = Repo::new();
        sources.iter().for_each(|(path, text)| repo.write(path, text));
        repo.commit(1);
        repo.git(&["rm", "--quiet", "-r", "x"]);
        repo.write_commit("new.rs", &new);
        let found = history(repo.path(), "new.rs", ALL, &endless()).unwrap();
        let shown = repo.git(&["show", "--format=", "--name-status", "--find-renames", "HEAD"]);
        let expect = shown.lines().find_map(|line| {
            let parts: Vec<&str> = line.split('\t').collect();
            (parts[0].starts_with('R')).then(|| parts[1].to_owned())
        });
        assert_eq!(found.commits[0].renamed_from, expect, "{sources:?} became {new:?}");
    }
}

#[test]
fn since_leaves_older_commits_out() {
    let repo = Repo::new();
    let ids_of: Vec<String> = (0..6).map(|number| repo.write_commit("f", &format!("{number}"))).collect();
    let times: Vec<i64> = ids_of.iter().map(|id| repo.git(&["show", "-s", "--format=%ct", id]).parse().unwrap()).collect();
    for (number, time_s) in times.iter().enumerate() {
        let found = history(repo.path(), "f", Wanted { limit: 100, since_s: Some(*time_s) }, &endless()).unwrap();
        assert_eq!(ids(&found), log(&repo, repo.path(), &[&format!("--since={time_s}")], "f"));
        assert_eq!((found.commits.len(), found.more), (6 - number, false));
    }
    let none = history(repo.path(), "f", Wanted { limit: 100, since_s: Some(times[5] + 1) }, &endless()).unwrap();
    assert_eq!((none.commits.len(), none.more, none.commits_walked), (0, false, 1));
}

#[test]
fn a_bounded_walk_and_a_shallow_clone_say_so() {
    let repo = Repo::new();
    repo.write_commit("f", "1");
    repo.write_commit("g", "1");
    let third = repo.write_commit("f", "2");
    let fourth = repo.write_commit("g", "2");
    let bounded = |commits_max| history(repo.path(), "f", ALL, &WalkBounds { commits_max, stop: &|| false }).unwrap();
    for (commits_max, commits, more) in [(0, 0, true), (1, 0, true), (2, 1, true), (3, 1, true), (4, 2, false)] {
        let found = bounded(commits_max);
        assert_eq!((found.commits.len(), found.more, found.commits_walked), (commits, more, commits_max));
        assert_eq!(found.cuts, if more { vec![Cut::Commits] } else { vec![] });
    }
    let stopped = history(repo.path(), "f", ALL, &WalkBounds { commits_max: 9, stop: &|| true }).unwrap();
    assert_eq!((stopped.cuts, stopped.more, stopped.commits_walked), (vec![Cut::Stopped], true, 0));
    let folder = tempfile::tempdir().unwrap();
    let clone = folder.path().join("clone");
    repo.git(&["clone", "--quiet", "--depth=2", &format!("file://{}", repo.path().display()), clone.to_str().unwrap()]);
    for (path, expect) in [("f", &third), ("g", &fourth)] {
        let found = history(&clone, path, ALL, &endless()).unwrap();
        assert_eq!(ids(&found), log(&repo, &clone, &[], path), "{path}");
        assert_eq!(ids(&found)[0], expect);
        assert_eq!(found.cuts, [Cut::Shallow]);
    }
}

#[test]
fn what_git_cant_answer_has_a_class() {
    let repo = Repo::new();
    let class = |root: &Path, path: &str| history(root, path, ALL, &endless()).expect_err(path).class();
    assert_eq!(class(repo.path(), "f"), "git_no_commits");
    let first = repo.write_commit("f", "1\n");
    repo.write_commit("f", "2\n");
    assert_eq!(class(repo.path(), "missing"), "git_untracked");
    assert_eq!(class(tempfile::tempdir().unwrap().path(), "f"), "git_no_work_tree");
    // File contents are not needed, commits and trees are.
    let object = |id: &str| repo.path().join(".git/objects").join(&id[..2]).join(&id[2..]);
    fs::remove_file(object(&repo.git(&["rev-parse", "HEAD:f"]))).unwrap();
    assert_eq!(history(repo.path(), "f", ALL, &endless()).unwrap().commits.len(), 2);
    fs::remove_file(object(&first)).unwrap();
    assert_eq!(class(repo.path(), "f"), "git_object_missing");
    fs::write(object(&first), b"garbage").unwrap();
    assert_eq!(class(repo.path(), "f"), "git_object_damaged");
}
