//! Repositories made with git's command line, the oracle of these tests.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A repository made with git's command line, the oracle of these tests.
pub struct Repo {
    folder: tempfile::TempDir,
    /// Seconds since 1970 of the next commit.
    time_s: Cell<i64>,
}

impl Repo {
    pub fn new() -> Self {
        let repo = Self { folder: tempfile::tempdir().unwrap(), time_s: Cell::new(1_700_000_000) };
        repo.git(&["init", "--quiet", "--initial-branch=main"]);
        repo
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn run(&self, folder: &Path, args: &[&str]) -> (bool, String) {
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

    pub fn git(&self, args: &[&str]) -> String {
        let (success, output) = self.run(self.path(), args);
        assert!(success, "git {args:?}");
        output
    }

    pub fn write(&self, path: &str, content: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Commits everything, `gap_s` after the commit before.
    pub fn commit(&self, gap_s: i64) -> String {
        self.time_s.set(self.time_s.get() + gap_s);
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message=m"]);
        self.git(&["rev-parse", "HEAD"])
    }

    pub fn write_commit(&self, path: &str, content: &str) -> String {
        self.write(path, content);
        self.commit(1)
    }
}

/// Knuth's MMIX generator; the high bits are the good ones.
pub struct Random(Cell<u64>);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(Cell::new(seed))
    }

    pub fn below(&self, end: u64) -> u64 {
        self.0.set(self.0.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
        (self.0.get() >> 33) % end
    }
}

/// A history of `steps` commits on four branches: edits of lines, new, renamed, deleted and
/// re-added files, merges of every outcome, equal and decreasing times. Ends on `b0`.
pub fn random_history(seed: u64, steps: usize) -> Repo {
    let (repo, random) = (Repo::new(), Random::new(seed));
    let text = |lines: u64| (0..lines).map(|_| format!("line {}\n", random.below(40))).collect::<String>();
    repo.write_commit("d0/f0", &text(20));
    for _ in 0..steps {
        let branch = format!("b{}", random.below(4));
        if !repo.run(repo.path(), &["checkout", "--quiet", &branch]).0 {
            repo.git(&["checkout", "--quiet", "-b", &branch]);
        }
        if random.below(4) == 0 {
            let other = format!("b{}", random.below(4));
            let how = ["--strategy=ours", "--strategy-option=ours", "--strategy-option=theirs"];
            let how = how[random.below(3) as usize];
            // A merge that can't be made is given up; the steps go on from either state.
            if !repo.run(repo.path(), &["merge", "--quiet", "--no-ff", how, "--message=m", &other]).0 {
                repo.run(repo.path(), &["merge", "--abort"]);
            }
        }
        let path = format!("d{}/f{}", random.below(2), random.below(3));
        match (fs::read_to_string(repo.path().join(&path)), random.below(10)) {
            (Ok(_), 0) => drop(repo.git(&["rm", "--quiet", "--", &path])),
            (Ok(_), 1) => {
                let to = format!("d{}/f{}", random.below(2), random.below(3));
                if to != path {
                    fs::create_dir_all(repo.path().join(&to).parent().unwrap()).unwrap();
                    fs::rename(repo.path().join(&path), repo.path().join(&to)).unwrap();
                }
            }
            (Ok(old), _) => {
                let mut lines: Vec<String> = old.split_inclusive('\n').map(str::to_owned).collect();
                for _ in 0..=random.below(3) {
                    let at = random.below(lines.len() as u64 + 1) as usize;
                    match random.below(3) {
                        0 => lines.insert(at, text(2)),
                        1 if at < lines.len() => drop(lines.remove(at)),
                        _ if at < lines.len() => lines[at] = text(1),
                        _ => lines.push("the end, without a line break".into()),
                    }
                }
                repo.write(&path, &lines.concat());
            }
            (Err(_), _) => repo.write(&path, &text(15)),
        }
        repo.commit(random.below(4) as i64 - 1);
    }
    repo.git(&["checkout", "--quiet", "-B", "b0"]);
    repo
}
