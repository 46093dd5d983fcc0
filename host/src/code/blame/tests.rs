use super::*;
use crate::code::test_repo::{Repo, random_history};
use crate::code::walk::{AUTHOR_CHARS_MAX, SUMMARY_CHARS_MAX};
use std::cell::Cell;
use std::fs;

const ALL: RangeInclusive<u32> = 1..=u32::MAX;

fn endless() -> WalkBounds<'static> {
    WalkBounds { commits_max: usize::MAX, stop: &|| false }
}

fn blamed(root: &Path, path: &str) -> Blame {
    blame(root, path, ALL, &endless()).unwrap_or_else(|error| panic!("{path}: {error:?}"))
}

/// Commit, line there, path there (relative to the work tree) of each line.
type Lines = Vec<(String, u32, String)>;

fn lines(blame: &Blame, path: &str) -> Lines {
    let mut out = Vec::new();
    for hunk in &blame.hunks {
        assert_eq!(hunk.start_line as usize, out.len() + blame.hunks[0].start_line as usize, "no gap, no overlap");
        let name = hunk.original_path.clone().unwrap_or_else(|| path.to_owned());
        out.extend(
            (hunk.start_line..=hunk.end_line)
                .map(|line| (hunk.facts.commit.clone(), hunk.original_start_line + (line - hunk.start_line), name.clone())),
        );
    }
    out
}

fn oracle(repo: &Repo, root: &Path, path: &str) -> Lines {
    let (success, out) = repo.run(root, &["blame", "--line-porcelain", "--", path]);
    assert!(success, "{path}");
    let mut found = Vec::new();
    let mut head = (String::new(), 0);
    for line in out.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if !line.starts_with('\t') && words[0].len() == 40 && words.len() >= 3 {
            head = (words[0].to_owned(), words[1].parse().unwrap());
        } else if let Some(name) = line.strip_prefix("filename ") {
            found.push((head.0.clone(), head.1, name.to_owned()));
        }
    }
    found
}

/// Holds every tracked file against `git blame`; gives how many lines that were.
fn check(repo: &Repo, root: &Path) -> usize {
    let (_, tracked) = repo.run(root, &["ls-files"]);
    let mut compared = 0;
    for path in tracked.lines() {
        let blame = blamed(root, path);
        assert_eq!(lines(&blame, path), oracle(repo, root, path), "{path}");
        assert_eq!(blame.cuts, []);
        assert_eq!(blame.content, fs::read(root.join(path)).unwrap());
        compared += blame.total_lines as usize;
    }
    compared
}

fn numbers(lines: std::ops::Range<u32>) -> String {
    lines.map(|line| format!("number {line}\n")).collect()
}

#[test]
fn lines_agree_with_git_blame_over_edits_merges_and_renames() {
    let repo = Repo::new();
    repo.write_commit("src/a.rs", &numbers(0..30));
    repo.write_commit("src/a.rs", &format!("first\n{}last", numbers(0..30)));
    repo.git(&["checkout", "--quiet", "-b", "side"]);
    repo.write_commit("src/a.rs", &format!("first\n{}side\n{}last", numbers(0..20), numbers(20..30)));
    repo.git(&["checkout", "--quiet", "main"]);
    repo.write_commit("src/a.rs", &format!("first\n{}main\n{}last", numbers(0..10), numbers(11..30)));
    repo.git(&["merge", "--quiet", "--no-edit", "side"]);
    check(&repo, repo.path());
    repo.git(&["mv", "src/a.rs", "src/renamed.rs"]);
    repo.commit(1);
    // Renamed and changed at once, beside a file that is less alike.
    repo.write_commit("src/decoy.rs", &numbers(0..12));
    repo.git(&["rm", "--quiet", "src/renamed.rs", "src/decoy.rs"]);
    repo.write_commit("other/moved.rs", &format!("top\nfirst\n{}main\n{}last", numbers(0..10), numbers(11..30)));
    let blame = blamed(repo.path(), "other/moved.rs");
    assert_eq!(blame.hunks[1].original_path.as_deref(), Some("src/a.rs"));
    assert_eq!(blame.hunks[0].original_path, None);
    check(&repo, repo.path());
    // Deleted and added again: not what it was before.
    repo.git(&["rm", "--quiet", "other/moved.rs"]);
    repo.commit(1);
    let again = repo.write_commit("other/moved.rs", &numbers(0..30));
    check(&repo, repo.path());
    assert!(blamed(repo.path(), "other/moved.rs").hunks.iter().all(|hunk| hunk.facts.commit == again));
}

#[test]
fn random_histories_agree_with_git_blame() {
    for seed in 1..=3 {
        let repo = random_history(seed, 60);
        let mut compared = 0;
        for branch in 0..4 {
            if repo.run(repo.path(), &["checkout", "--quiet", &format!("b{branch}")]).0 {
                compared += check(&repo, repo.path());
            }
        }
        assert!(compared > 100, "{compared} lines");
        let merges = repo.git(&["rev-list", "--count", "--merges", "--all"]);
        assert!(merges.parse::<u32>().unwrap() > 2, "{merges} merges");
    }
}

#[test]
fn a_folder_of_the_work_tree_has_paths_of_its_own() {
    let repo = Repo::new();
    repo.write_commit("a/x/one.rs", &numbers(0..9));
    repo.write_commit("top.rs", &numbers(20..29));
    repo.git(&["mv", "a/x/one.rs", "a/x/two.rs"]);
    repo.commit(1);
    fs::create_dir_all(repo.path().join("a/y")).unwrap();
    repo.git(&["mv", "top.rs", "a/y/top.rs"]);
    repo.commit(1);
    let root = repo.path().join("a");
    let original = |path: &str| blamed(&root, path).hunks[0].original_path.clone();
    assert_eq!(original("x/two.rs").as_deref(), Some("x/one.rs"));
    assert_eq!(original("y/top.rs").as_deref(), Some("../top.rs"));
    assert_eq!(blamed(&root.join("x"), "two.rs").hunks[0].original_path.as_deref(), Some("one.rs"));
}

#[test]
fn a_range_gives_its_part_of_the_whole() {
    let repo = random_history(7, 30);
    let path = "d0/f0";
    if !repo.path().join(path).exists() {
        repo.write_commit(path, &numbers(0..20));
    }
    let whole = blamed(repo.path(), path);
    let (all, total) = (lines(&whole, path), whole.total_lines);
    assert!(total > 4);
    for (start, end) in [(1, 1), (2, 4), (total, total), (1, total), (total - 1, total + 100)] {
        let part = blame(repo.path(), path, start..=end, &endless()).unwrap();
        assert_eq!(lines(&part, path), all[start as usize - 1..end.min(total) as usize], "{start}-{end}");
        assert_eq!((part.hunks[0].start_line, part.total_lines), (start, total));
    }
    assert_eq!(blame(repo.path(), path, total + 1..=total + 9, &endless()).unwrap().hunks, []);
    repo.write_commit("empty", "");
    let empty = blamed(repo.path(), "empty");
    assert_eq!((empty.total_lines, empty.hunks.len()), (0, 0));
}

#[test]
fn a_bounded_walk_says_what_it_left_open() {
    let repo = Repo::new();
    let first = repo.write_commit("f", "1\n2\n3\n");
    let second = repo.write_commit("f", "1\n2\nthree\n");
    let third = repo.write_commit("f", "1\ntwo\nthree\n");
    let hunks = |bounds: &WalkBounds<'_>| -> (Vec<(String, bool)>, Vec<Cut>, usize) {
        let blame = blame(repo.path(), "f", ALL, bounds).unwrap();
        (blame.hunks.iter().map(|hunk| (hunk.facts.commit.clone(), hunk.is_boundary)).collect(), blame.cuts, blame.commits_walked)
    };
    let of = |ids: &[(&String, bool)]| ids.iter().map(|(id, open)| ((*id).clone(), *open)).collect::<Vec<_>>();
    let at_most = |commits_max| WalkBounds { commits_max, stop: &|| false };
    assert_eq!(hunks(&at_most(0)), (of(&[(&third, true)]), vec![Cut::Commits], 0));
    assert_eq!(hunks(&at_most(1)), (of(&[(&second, true), (&third, false), (&second, true)]), vec![Cut::Commits], 1));
    let all = of(&[(&first, false), (&third, false), (&second, false)]);
    assert_eq!(hunks(&at_most(3)), (all, vec![], 3));
    let asked = Cell::new(0);
    let stop = || {
        asked.set(asked.get() + 1);
        asked.get() > 2
    };
    let stopped = hunks(&WalkBounds { commits_max: 9, stop: &stop });
    assert_eq!(stopped, (of(&[(&first, true), (&third, false), (&second, false)]), vec![Cut::Stopped], 2));
}

#[test]
fn a_shallow_clone_ends_at_its_cut() {
    let repo = Repo::new();
    repo.write_commit("f", "1\n2\n3\n");
    let second = repo.write_commit("f", "1\n2\nthree\n");
    let third = repo.write_commit("f", "1\ntwo\nthree\n");
    let folder = tempfile::tempdir().unwrap();
    let clone = folder.path().join("clone");
    repo.git(&["clone", "--quiet", "--depth=2", &format!("file://{}", repo.path().display()), clone.to_str().unwrap()]);
    let blame = blamed(&clone, "f");
    assert_eq!(lines(&blame, "f"), oracle(&repo, &clone, "f"));
    let found: Vec<_> = blame.hunks.iter().map(|hunk| (hunk.facts.commit.as_str(), hunk.is_boundary)).collect();
    assert_eq!(found, [(&*second, true), (&*third, false), (&*second, true)]);
    assert_eq!(blame.cuts, [Cut::Shallow]);
}

#[test]
fn what_git_cant_answer_has_a_class() {
    let repo = Repo::new();
    let class = |root: &Path, path: &str| blame(root, path, ALL, &endless()).expect_err(path).class();
    assert_eq!(class(repo.path(), "f"), "git_no_commits");
    repo.write_commit("f", "1\n2\n");
    let object = |name: &str| repo.path().join(".git/objects").join(&name[..2]).join(&name[2..]);
    let old = repo.git(&["rev-parse", "HEAD:f"]);
    let first = repo.git(&["rev-parse", "HEAD"]);
    repo.write_commit("f", "1\ntwo\n");
    repo.write("untracked", "1\n");
    std::os::unix::fs::symlink("f", repo.path().join("link")).unwrap();
    repo.git(&["add", "link"]);
    repo.commit(1);
    repo.git(&["rm", "--quiet", "--cached", "untracked"]);
    repo.git(&["commit", "--quiet", "--message=m"]);
    for path in ["untracked", "missing", "link", "", "..", "/f", "f/f", ".git/config"] {
        assert_eq!(class(repo.path(), path), "git_untracked", "{path}");
    }
    let plain = tempfile::tempdir().unwrap();
    assert_eq!(class(plain.path(), "f"), "git_no_work_tree");
    assert_eq!(class(&plain.path().join("none"), "f"), "git_root");
    for id in [&old, &first] {
        let bytes = fs::read(object(id)).unwrap();
        fs::remove_file(object(id)).unwrap();
        let error = blame(repo.path(), "f", ALL, &endless()).unwrap_err();
        assert_eq!(error.class(), "git_object_missing");
        assert!(std::error::Error::source(&error).unwrap().to_string().contains(&id[..7]), "{error:?}");
        let another = fs::read(object(&repo.git(&["rev-parse", "HEAD^{tree}"]))).unwrap();
        for damaged in [&another[..], b"garbage", b""] {
            fs::write(object(id), damaged).unwrap();
            let error = blame(repo.path(), "f", ALL, &endless()).unwrap_err();
            assert_eq!(error.class(), "git_object_damaged", "{id} {damaged:?} {error:?}");
            fs::remove_file(object(id)).unwrap();
        }
        fs::write(object(id), bytes).unwrap();
    }
    assert!(blame(repo.path(), "f", ALL, &endless()).is_ok());
    let head = repo.git(&["rev-parse", "HEAD"]);
    let tree = repo.git(&["rev-parse", "HEAD^{tree}"]);
    for id in [head, tree] {
        let bytes = fs::read(object(&id)).unwrap();
        fs::remove_file(object(&id)).unwrap();
        assert_eq!(class(repo.path(), "f"), "git_object_missing", "{id}");
        fs::write(object(&id), bytes).unwrap();
    }
    repo.write(".git/config", "[core\n");
    assert_eq!(class(repo.path(), "f"), "git_open");
}

#[test]
fn facts_are_short_and_hold_no_address() {
    let repo = Repo::new();
    repo.write("f", "1\n");
    repo.git(&["add", "--all"]);
    let message = format!("What\nwas done {}\n\nand why", "x".repeat(1_000));
    let name = format!("Ada <ada@example.org> {}", "y".repeat(1_000));
    repo.git(&["-c", "user.name=x", "commit", "--quiet", "--author", "someone@example.org <a@example.org>", "--message", &message]);
    let facts = blamed(repo.path(), "f").hunks[0].facts.clone();
    assert_eq!((facts.author.as_str(), facts.time_s), ("someone", 1_700_000_000));
    assert!(facts.summary.starts_with("What was done xxx") && facts.summary.chars().count() == SUMMARY_CHARS_MAX + 1);
    repo.write("f", "2\n");
    repo.git(&["commit", "--quiet", "--all", "--author", &format!("{name} <b@example.org>"), "--message=", "--allow-empty-message"]);
    let facts = blamed(repo.path(), "f").hunks[0].facts.clone();
    assert!(!facts.author.contains("example.org") && facts.author.chars().count() <= AUTHOR_CHARS_MAX + 1, "{}", facts.author);
    assert_eq!(facts.summary, "");
}

#[test]
fn line_ends_make_no_other_lines() {
    for (committed, on_disk, same) in [
        (&b"a\nb\n"[..], &b"a\nb\n"[..], true),
        (b"a\nb\n", b"a\r\nb\r\n", true),
        (b"a\nb\n", b"a\nb", false),
        (b"a\nb\n", b"a\n\nb\n", false),
        (b"\xEF\xBB\xBFa", b"a", true),
        (b"", b"", true),
        (b"", b"x", false),
    ] {
        assert_eq!(has_same_lines(committed, on_disk), same, "{committed:?} {on_disk:?}");
    }
}
