//! What the tests stand on: a repository, the real binary, clients, a collector.

pub mod admin;
pub mod components;
pub mod mcp;
pub mod otlp;
pub mod projects;
pub mod repo;
pub mod rotel;
pub mod server;
pub mod tools;
pub mod vllm;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tempfile::TempDir;

use repo::Repo;

/// Longer than anything here takes on a slow machine: a test that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a condition.
const POLL: Duration = Duration::from_millis(10);

/// Looks until `found` gives something.
///
/// # Panics
/// After [`PATIENCE`], with `what` was waited for.
pub fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(POLL);
    }
}

/// As [`wait_for`], for conditions that ask a server.
pub async fn wait_until<T, F: Future<Output = Option<T>>>(what: &str, mut found: impl FnMut() -> F) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = found().await {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// A folder of its own for one test, with a data directory and a configuration, and
/// the program run in it.
pub struct Sandbox {
    folder: TempDir,
    config: String,
    variables: Vec<(String, String)>,
}

/// What a command left behind.
#[derive(Debug)]
pub struct Ended {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Sandbox {
    pub fn new() -> Sandbox {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let sandbox = Sandbox { folder, config: String::new(), variables: Vec::new() };
        std::fs::create_dir_all(sandbox.data()).expect("a data directory");
        // Compiled plugins are shared by all tests; each would compile them anew.
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin-cache");
        std::fs::create_dir_all(&cache).expect("a cache");
        std::os::unix::fs::symlink(&cache, sandbox.data().join("cache")).expect("a link");
        sandbox
    }

    /// A sandbox with an index of the repository.
    pub fn indexed(repo: &Repo) -> Sandbox {
        let sandbox = Sandbox::new();
        sandbox.index(repo);
        sandbox
    }

    /// With this in `spanloom.toml`.
    pub fn with_config(mut self, toml: &str) -> Sandbox {
        self.set_config(toml);
        self
    }

    pub fn set_config(&mut self, toml: &str) {
        toml.clone_into(&mut self.config);
        std::fs::write(self.path("spanloom.toml"), toml).expect("a configuration");
    }

    /// With this variable for every command.
    pub fn with_variable(mut self, name: &str, value: &str) -> Sandbox {
        self.variables.push((name.into(), value.into()));
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// The folder of the generation that serves.
    pub fn generation(&self) -> PathBuf {
        let name = std::fs::read_to_string(self.data().join("CURRENT")).expect("a current generation");
        self.data().join("generations").join(name.trim())
    }

    /// The program, to be started in the sandbox with nothing from around it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.other(env!("CARGO_BIN_EXE_spanloom"));
        command.arg("--data-dir").arg(self.data()).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Any program, with the sandbox's folder and variables.
    pub fn other(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", self.folder.path());
        // Spans leave at once, so that tests don't wait.
        command.env("OTEL_BSP_SCHEDULE_DELAY", "50");
        command.envs(self.variables.iter().cloned());
        command.current_dir(self.folder.path());
        command
    }

    /// Runs a command to its end.
    ///
    /// # Panics
    /// When the program panics, whatever the test expects.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        let output = self.command(arguments).output().expect("the binary starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let ended = Ended { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) };
        assert!(!ended.err.contains("panicked"), "{arguments:?} panicked: {}", ended.err);
        assert!(ended.code.is_some(), "{arguments:?} was ended by a signal: {} {}", output.status, ended.err);
        ended
    }

    /// Runs a command that has to end well; gives what it printed as JSON.
    pub fn json(&self, arguments: &[&str]) -> Json {
        let ended = self.run(arguments);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}{}", ended.out, ended.err);
        serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{arguments:?} printed no JSON ({error}): {}", ended.out))
    }

    /// The lines of a run's ledger, once it is complete.
    pub fn ledger(&self, run_id: &str) -> Vec<Json> {
        wait_for("the ledger", || {
            let lines = self.ledger_so_far(run_id);
            lines.last().is_some_and(|line| line["line"] == "run.end").then_some(lines)
        })
    }

    /// A search of this process that has to answer; its run's id.
    pub fn search(&self, query: &str) -> String {
        let answer = self.json(&["search", query, "--json"]);
        answer["observability"]["run_id"].as_str().expect("a run id").to_owned()
    }

    /// The whole lines that are in a run's ledger now; none when there is no ledger.
    pub fn ledger_so_far(&self, run_id: &str) -> Vec<Json> {
        let text = self.ledger_path(run_id).and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
        text.lines().map_while(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Where a run's ledger is, once it is there.
    pub fn ledger_path(&self, run_id: &str) -> Option<PathBuf> {
        let days = std::fs::read_dir(self.data().join("telemetry/runs")).ok()?;
        days.flatten().map(|day| day.path().join(format!("{run_id}.jsonl"))).find(|path| path.exists())
    }

    /// Indexes a repository; the report.
    pub fn index(&self, repo: &Repo) -> Json {
        self.json(&["index", "--json", repo.text_path()])
    }
}

impl Ended {
    /// Holds code and message against what is expected.
    #[track_caller]
    pub fn check(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        for part in parts {
            assert!(self.err.contains(part) || self.out.contains(part), "`{part}` is not in: {}{}", self.out, self.err);
        }
    }
}
