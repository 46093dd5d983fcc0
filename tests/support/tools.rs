//! Programs of others that tests hold the server against. What isn't on the machine is
//! fetched once and kept in the target folder; nothing is installed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::projects::skipped;

/// A tool, or why it can't be had.
pub type Found<T> = Result<T, String>;

/// What the examples of clients need: the MCP SDK, and OpenTelemetry for the one that
/// exports a trace of its own.
const CLIENT_PACKAGES: [&str; 3] = ["mcp>=2,<3", "opentelemetry-sdk>=1.30,<2", "opentelemetry-exporter-otlp-proto-http>=1.30,<2"];
const CLIENT_IMPORTS: &str =
    "import mcp.client.streamable_http, opentelemetry.sdk.trace, opentelemetry.exporter.otlp.proto.http.trace_exporter";
/// The reference that scores are held against.
const BM25_PACKAGE: &str = "bm25s>=0.2,<0.4";
/// The measures of trec_eval, for Python. The package of the same name without `terrier`
/// is older and has no binaries.
const MEASURES_PACKAGE: &str = "pytrec-eval-terrier>=0.5.6,<0.6";
/// Carries the collector's binary. All of its versions are pre-releases.
const COLLECTOR_PACKAGE: &str = "rotel>=0.0.1a15,<0.1";
const COLLECTOR_PATH: &str = "import rotel, os; print(os.path.join(os.path.dirname(rotel.__file__), 'rotel-agent'))";

/// The tool; nothing where it can't be had, which is said. Where CI runs that is a
/// failure.
pub fn or_skip<T>(found: Found<T>) -> Option<T> {
    match found {
        Ok(tool) => Some(tool),
        Err(why) if std::env::var_os("CI").is_none() => {
            skipped(&why);
            None
        }
        Err(why) => panic!("{why}"),
    }
}

/// A Python with what the examples need.
pub fn python() -> Found<PathBuf> {
    static PYTHON: OnceLock<Found<PathBuf>> = OnceLock::new();
    let make = || {
        let python = environment()?;
        if run(&python, &["-c", CLIENT_IMPORTS]).is_err() {
            install(&python, &CLIENT_PACKAGES)?;
            run(&python, &["-c", CLIENT_IMPORTS])?;
        }
        Ok(python)
    };
    PYTHON.get_or_init(make).clone()
}

/// A Python with `bm25s`.
pub fn bm25_reference() -> Found<PathBuf> {
    static PYTHON: OnceLock<Found<PathBuf>> = OnceLock::new();
    let make = || {
        let python = environment()?;
        if run(&python, &["-c", "import bm25s"]).is_err() {
            install(&python, &[BM25_PACKAGE])?;
            run(&python, &["-c", "import bm25s"])?;
        }
        Ok(python)
    };
    PYTHON.get_or_init(make).clone()
}

/// A Python with the measures of trec_eval.
pub fn pytrec_eval() -> Found<PathBuf> {
    static PYTHON: OnceLock<Found<PathBuf>> = OnceLock::new();
    let make = || {
        let python = environment()?;
        if run(&python, &["-c", "import pytrec_eval"]).is_err() {
            install(&python, &[MEASURES_PACKAGE])?;
            run(&python, &["-c", "import pytrec_eval"])?;
        }
        Ok(python)
    };
    PYTHON.get_or_init(make).clone()
}

/// The binary of Rotel, an OpenTelemetry collector.
pub fn rotel() -> Found<PathBuf> {
    static ROTEL: OnceLock<Found<PathBuf>> = OnceLock::new();
    let make = || {
        let python = environment()?;
        if run(&python, &["-c", "import rotel"]).is_err() {
            install(&python, &[COLLECTOR_PACKAGE])?;
        }
        let agent = PathBuf::from(run(&python, &["-c", COLLECTOR_PATH])?.trim());
        run(&agent, &["--version"])?;
        Ok(agent)
    };
    ROTEL.get_or_init(make).clone()
}

/// Prometheus and the program that checks what it scrapes.
#[derive(Clone, Debug)]
pub struct Prometheus {
    pub server: PathBuf,
    pub promtool: PathBuf,
}

/// Those on the path, else those of Debian's package, unpacked: installed it would start
/// a service.
pub fn prometheus() -> Found<Prometheus> {
    static PROMETHEUS: OnceLock<Found<Prometheus>> = OnceLock::new();
    PROMETHEUS.get_or_init(find_prometheus).clone()
}

fn find_prometheus() -> Found<Prometheus> {
    let within = |folder: &Path| {
        let found = Prometheus { server: folder.join("prometheus"), promtool: folder.join("promtool") };
        let starts = |program: &PathBuf| run(program, &["--version"]).is_ok();
        (starts(&found.server) && starts(&found.promtool)).then_some(found)
    };
    let folder = kept("prometheus");
    let unpacked = folder.join("unpacked/usr/bin");
    if let Some(found) = within(Path::new("")).or_else(|| within(&unpacked)) {
        return Ok(found);
    }
    let remedy = |why: String| {
        format!(
            "there is no `prometheus` with `promtool` on the path ({why}); Debian and Ubuntu have a package, others: https://prometheus.io/download/"
        )
    };
    unpack_prometheus(&folder).map_err(remedy)?;
    within(&unpacked).ok_or_else(|| remedy("the package's does not start".into()))
}

/// Downloads Debian's package and unpacks it below the folder. Needs no rights: where
/// the machine has no list of packages, apt gets one of our own.
fn unpack_prometheus(folder: &Path) -> Found<()> {
    let fail = |error: std::io::Error| format!("{}: {error}", folder.display());
    let _ = std::fs::remove_dir_all(folder);
    for own in ["lists/partial", "cache/archives/partial", "download"] {
        std::fs::create_dir_all(folder.join(own)).map_err(fail)?;
    }
    let download = folder.join("download");
    let apt = |arguments: &[String]| {
        let mut command = Command::new("apt-get");
        command.args(["-qq", "-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20"]).args(arguments).current_dir(&download);
        finish(command, &format!("apt-get {}", arguments.last().map_or("", String::as_str)))
    };
    let ask =
        |options: &[String], words: &[&str]| apt(&[options, &words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()].concat());
    let get = ["download", "prometheus"];
    if ask(&[], &get).is_err() {
        let option = |name: &str, own: &str| ["-o".to_owned(), format!("{name}={}", folder.join(own).display())];
        let own = [option("Dir::State::lists", "lists"), option("Dir::Cache", "cache")].concat();
        ask(&own, &["update"])?;
        ask(&own, &get)?;
    }
    let package = std::fs::read_dir(&download).map_err(fail)?.flatten().map(|entry| entry.path()).next();
    let package = package.ok_or("apt-get downloaded nothing")?;
    let mut command = Command::new("dpkg-deb");
    command.arg("-x").arg(package).arg(folder.join("unpacked"));
    finish(command, "dpkg-deb").map(drop)?;
    for own in ["lists", "cache", "download"] {
        std::fs::remove_dir_all(folder.join(own)).map_err(fail)?;
    }
    Ok(())
}

/// A Python environment that is made once and kept. Without packages.
fn environment() -> Found<PathBuf> {
    static MADE: OnceLock<Found<PathBuf>> = OnceLock::new();
    let make = || {
        let folder = kept("python");
        let python = folder.join("bin/python");
        if run(&python, &["-m", "pip", "--version"]).is_err() {
            let mut command = Command::new("python3");
            command.args(["-m", "venv"]).arg(&folder);
            finish(command, "python3 -m venv")?;
        }
        Ok(python)
    };
    MADE.get_or_init(make).clone()
}

fn install(python: &Path, packages: &[&str]) -> Found<()> {
    // Two at once would write into each other's files.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    run(python, &[&["-m", "pip", "install", "--quiet", "--disable-pip-version-check"], packages].concat()).map(drop)
}

fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Runs a program to its end; what it printed.
fn run(program: &Path, arguments: &[&str]) -> Found<String> {
    let mut command = Command::new(program);
    command.args(arguments);
    finish(command, &format!("{} {}", program.display(), arguments.join(" ")))
}

fn finish(mut command: Command, what: &str) -> Found<String> {
    let output = command.output().map_err(|error| format!("{what}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
