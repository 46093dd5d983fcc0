//! Builds a plugin's component with the tools of its language. In: a folder and its
//! `plugin.toml`. Out: the component, in its place as a whole.
//!
//! The tools' own messages go to standard error as they come.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::SystemTime;

use serde::Deserialize;

use super::scaffold::{Language, Manifest};

const TARGET: &str = "wasm32-wasip2";
/// Flags and wrappers of an outer build are not meant for WebAssembly.
const OUTER_VARIABLES: [&str; 6] =
    ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_TARGET", "CARGO_INCREMENTAL"];
/// As the shipped plugins are built: texts are copied and compared faster with vectors.
const RUST_FLAGS: &str = "-C target-feature=+simd128";
/// Written into a folder of installed packages when all of them are there.
const INSTALLED: &str = ".spanloom-installed";

/// A program that has to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tool {
    name: &'static str,
    language: Language,
    /// What gets it.
    install: &'static str,
}

const CARGO: Tool = Tool { name: "cargo", language: Language::Rust, install: "Rust 1.95 or later from https://rustup.rs" };
const RUST_TARGET: Tool =
    Tool { name: "the target wasm32-wasip2", language: Language::Rust, install: "it with `rustup target add wasm32-wasip2`" };
const NODE: Tool = Tool { name: "node", language: Language::Js, install: "Node.js 20 or later from https://nodejs.org" };
const NPM: Tool = Tool { name: "npm", language: Language::Js, install: "Node.js 20 or later with npm from https://nodejs.org" };
const PYTHON: Tool = Tool { name: "python3", language: Language::Python, install: "Python 3.10 or later, such as `apt install python3`" };
const VENV: Tool =
    Tool { name: "Python's module venv", language: Language::Python, install: "it, such as with `apt install python3-venv`" };

/// The oldest versions that the tools of the components run on.
const NODE_MIN: Version = Version(20, 0);
const PYTHON_MIN: Version = Version(3, 10);

/// Why there is no component.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("{tool} is not there, but a {language} plugin is built with it; install {install}")]
    Missing { tool: &'static str, language: &'static str, install: &'static str },
    #[error("{tool} is {found}, but a {language} plugin needs {needed} or later; install {install}")]
    TooOld { tool: &'static str, language: &'static str, found: String, needed: String, install: &'static str },
    #[error("{tool} can't be started: {error}")]
    Start { tool: &'static str, error: io::Error },
    /// The tool has said why.
    #[error("`{command}` in {folder} failed ({status}); what it said is above")]
    Failed { command: String, folder: String, status: ExitStatus },
    #[error("`{command}` left no component: {problem}")]
    NoComponent { command: String, problem: String },
    #[error("{path}: {error}")]
    File { path: String, error: io::Error },
}

impl Tool {
    fn missing(self) -> BuildError {
        BuildError::Missing { tool: self.name, language: self.language.as_str(), install: self.install }
    }

    fn not_started(self, error: io::Error) -> BuildError {
        match error.kind() {
            io::ErrorKind::NotFound => self.missing(),
            _ => BuildError::Start { tool: self.name, error },
        }
    }
}

/// Builds the component of a folder and returns where it is: `manifest.component`. The
/// component of an earlier build is there until the new one takes its place. `say` is
/// given each step before it is done.
///
/// # Errors
/// [`BuildError`] names a tool that is missing or too old, or the command that failed.
pub fn build(folder: &Path, manifest: &Manifest, say: &mut dyn FnMut(&str)) -> Result<PathBuf, BuildError> {
    // Tools run in the folder; what they are told must not depend on where this one runs.
    let folder = &std::path::absolute(folder).map_err(file_error(folder))?;
    let part = Part::beside(folder.join(&manifest.component))?;
    let mut shop = Shop { folder, say };
    match manifest.language {
        Language::Rust => rust(&mut shop, &part)?,
        Language::Js => js(&mut shop, &part)?,
        Language::Python => python(&mut shop, manifest, &part)?,
    }
    part.publish()
}

fn rust(shop: &mut Shop, part: &Part) -> Result<(), BuildError> {
    let mut cargo = cargo();
    let line = shop.say(&cargo);
    cargo.arg("--message-format=json-render-diagnostics").current_dir(shop.folder).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = cargo.output().map_err(|error| CARGO.not_started(error))?;
    if !output.status.success() {
        return Err(if has_rust_target(shop.folder) { shop.failed(line, output.status) } else { RUST_TARGET.missing() });
    }
    let Some(artifact) = artifact(&String::from_utf8_lossy(&output.stdout), &shop.folder.join("Cargo.toml")) else {
        let problem = "the package has no library of `crate-type = [\"cdylib\"]`".into();
        return Err(BuildError::NoComponent { command: line, problem });
    };
    fs::copy(&artifact, &part.path).map_err(file_error(&artifact))?;
    Ok(())
}

fn cargo() -> Command {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--target", TARGET]);
    for name in OUTER_VARIABLES {
        cargo.env_remove(name);
    }
    cargo.env("RUSTFLAGS", RUST_FLAGS);
    cargo
}

/// Whether the compiler has the target; true when it can't be asked, so that what the
/// tools said stands.
fn has_rust_target(folder: &Path) -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).current_dir(folder).output();
    output.map_or(true, |output| output.status.success() && Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}

/// One line of what cargo tells of a build; other lines have other members.
#[derive(Deserialize)]
struct CargoMessage {
    reason: String,
    manifest_path: Option<PathBuf>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

/// The component among the files that cargo made of one package.
fn artifact(messages: &str, manifest: &Path) -> Option<PathBuf> {
    let same =
        |path: &Path| path == manifest || fs::canonicalize(path).is_ok_and(|path| fs::canonicalize(manifest).is_ok_and(|m| m == path));
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<CargoMessage>(line).ok())
        .filter(|message| message.reason == "compiler-artifact" && message.manifest_path.as_deref().is_some_and(same))
        .flat_map(|message| message.filenames)
        .find(|file| file.extension() == Some(OsStr::new("wasm")))
}

/// The script `build` of package.json is the command; it is told where to write.
fn js(shop: &mut Shop, part: &Part) -> Result<(), BuildError> {
    shop.require(NODE, NODE_MIN)?;
    let modules = shop.folder.join("node_modules");
    let lists = [shop.folder.join("package.json"), shop.folder.join("package-lock.json")];
    if !is_installed(&modules, &lists) {
        shop.run(NPM, Command::new("npm").args(["install", "--no-audit", "--no-fund", "--include=dev"]))?;
        installed(&modules)?;
    }
    shop.run_to(part, NPM, Command::new("npm").args(["run", "build", "--silent", "--", "--out"]).arg(&part.path))
}

fn python(shop: &mut Shop, manifest: &Manifest, part: &Part) -> Result<(), BuildError> {
    let environment = shop.folder.join(".venv");
    let list = shop.folder.join("requirements.txt");
    if !is_installed(&environment, std::slice::from_ref(&list)) {
        shop.require(PYTHON, PYTHON_MIN)?;
        // Distributions split these off; without the second there is no pip.
        let modules = Command::new(PYTHON.name).args(["-c", "import venv, ensurepip"]).stderr(Stdio::null()).status();
        if !modules.map_err(|error| PYTHON.not_started(error))?.success() {
            return Err(VENV.missing());
        }
        shop.run(PYTHON, Command::new(PYTHON.name).args(["-m", "venv"]).arg(&environment))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
        shop.run(PYTHON, Command::new(environment.join("bin/python")).args(pip).arg(&list))?;
        installed(&environment)?;
    }
    shop.run_to(part, PYTHON, &mut componentize(&environment, manifest, &part.path))
}

fn componentize(environment: &Path, manifest: &Manifest, out: &Path) -> Command {
    let mut tool = Command::new(environment.join("bin/componentize-py"));
    tool.arg("-d").arg(&manifest.wit).arg("-w").arg(format!("{}-plugin", manifest.stage));
    tool.args(["componentize", "-p", "src", "plugin", "-o"]).arg(out);
    // Packages are looked for in the folder's own environment, not in the outer one.
    tool.env("VIRTUAL_ENV", environment).env_remove("PYTHONPATH").env_remove("PYTHONHOME");
    tool
}

/// Whether all packages were installed after the lists of them were last changed. A list
/// that isn't there changes nothing.
fn is_installed(folder: &Path, lists: &[PathBuf]) -> bool {
    let changed = |path: &Path| -> Option<SystemTime> { fs::metadata(path).and_then(|metadata| metadata.modified()).ok() };
    let Some(installed) = changed(&folder.join(INSTALLED)) else { return false };
    lists.iter().filter_map(|list| changed(list)).all(|list| list <= installed)
}

fn installed(folder: &Path) -> Result<(), BuildError> {
    // A package.json without dependencies makes no folder.
    fs::create_dir_all(folder).map_err(file_error(folder))?;
    let mark = folder.join(INSTALLED);
    fs::write(&mark, "").map_err(file_error(&mark))
}

/// Where the tools run, and who is told of it.
struct Shop<'a> {
    folder: &'a Path,
    say: &'a mut dyn FnMut(&str),
}

impl Shop<'_> {
    fn say(&mut self, command: &Command) -> String {
        let line = line(command, self.folder);
        (self.say)(&line);
        line
    }

    fn run(&mut self, tool: Tool, command: &mut Command) -> Result<String, BuildError> {
        let line = self.say(command);
        // Standard output is for results. Nobody is there to answer questions.
        command.current_dir(self.folder).stdin(Stdio::null()).stdout(io::stderr());
        let status = command.status().map_err(|error| tool.not_started(error))?;
        if status.success() { Ok(line) } else { Err(self.failed(line, status)) }
    }

    /// Runs the command that writes the component.
    fn run_to(&mut self, part: &Part, tool: Tool, command: &mut Command) -> Result<(), BuildError> {
        let command = self.run(tool, command)?;
        if part.path.is_file() {
            return Ok(());
        }
        let problem = format!("there is no {}, the file that it was told to write", part.path.display());
        Err(BuildError::NoComponent { command, problem })
    }

    fn failed(&self, command: String, status: ExitStatus) -> BuildError {
        BuildError::Failed { command, folder: self.folder.display().to_string(), status }
    }

    fn require(&self, tool: Tool, needed: Version) -> Result<(), BuildError> {
        let output = Command::new(tool.name).arg("--version").current_dir(self.folder).stdin(Stdio::null()).output();
        let output = output.map_err(|error| tool.not_started(error))?;
        // Shims of version managers are there without what they stand for.
        if !output.status.success() {
            return Err(tool.missing());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        match Version::parse(&text) {
            Some(found) if found >= needed => Ok(()),
            _ => Err(BuildError::TooOld {
                tool: tool.name,
                language: tool.language.as_str(),
                found: format!("`{}`", text.trim()),
                needed: format!("{}.{}", needed.0, needed.1),
                install: tool.install,
            }),
        }
    }
}

/// A command as it could be typed in its folder.
fn line(command: &Command, folder: &Path) -> String {
    let short = |word: &OsStr| {
        let path = Path::new(word);
        path.strip_prefix(folder).unwrap_or(path).display().to_string()
    };
    std::iter::once(command.get_program()).chain(command.get_args()).map(short).collect::<Vec<_>>().join(" ")
}

/// Major and minor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32);

impl Version {
    /// Out of `v20.11.1` or `Python 3.11.7`.
    fn parse(text: &str) -> Option<Version> {
        let number = text.trim().rsplit(' ').next()?.trim_start_matches('v');
        let mut parts = number.split('.').map(str::parse::<u32>);
        Some(Version(parts.next()?.ok()?, parts.next()?.ok()?))
    }
}

/// A component that is being written, beside the place where it goes. A reader of that
/// place never sees half of it.
struct Part {
    path: PathBuf,
    component: PathBuf,
}

impl Part {
    fn beside(component: PathBuf) -> Result<Part, BuildError> {
        let folder = component.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(file_error(folder))?;
        let name = component.file_name().unwrap_or_default().to_string_lossy();
        let path = folder.join(format!(".{name}.{}.part", std::process::id()));
        Ok(Part { path, component })
    }

    fn publish(self) -> Result<PathBuf, BuildError> {
        let kept = File::open(&self.path).and_then(|file| file.sync_all()).and_then(|()| fs::rename(&self.path, &self.component));
        kept.map_err(file_error(&self.component))?;
        Ok(self.component.clone())
    }
}

impl Drop for Part {
    /// After a failure; what was published is no longer there.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> BuildError {
    let path = path.display().to_string();
    move |error| BuildError::File { path, error }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::types::Stage;

    fn manifest(language: Language) -> Manifest {
        let component = "build/my-plugin.wasm".into();
        Manifest { name: "my-plugin".into(), stage: Stage::Fusion, language, component, cases: "cases".into(), wit: "wit".into() }
    }

    fn shop<R>(folder: &Path, work: impl FnOnce(&mut Shop) -> R) -> (R, Vec<String>) {
        let mut said = Vec::new();
        let mut say = |line: &str| said.push(line.to_owned());
        let result = work(&mut Shop { folder, say: &mut say });
        (result, said)
    }

    #[test]
    fn versions_are_read_and_compared() {
        let check = |text: &str, expected: Option<Version>| assert_eq!(Version::parse(text), expected, "{text}");
        check("v20.20.2\n", Some(Version(20, 20)));
        check("Python 3.11.7\n", Some(Version(3, 11)));
        check("Python 3.13.0rc1", Some(Version(3, 13)));
        check("", None);
        check("node", None);
        assert!(Version(3, 9) < PYTHON_MIN && Version(3, 10) >= PYTHON_MIN && Version(18, 19) < NODE_MIN);
    }

    #[test]
    fn a_missing_or_old_tool_is_named_with_what_to_install() {
        let none = Tool { name: "no-such-tool-of-anybody", ..NODE };
        let (found, _) = shop(Path::new("."), |shop| shop.require(none, NODE_MIN));
        let message = found.unwrap_err().to_string();
        assert_eq!(
            message,
            "no-such-tool-of-anybody is not there, but a js plugin is built with it; install Node.js 20 or later from https://nodejs.org"
        );
        assert!(RUST_TARGET.missing().to_string().ends_with("install it with `rustup target add wasm32-wasip2`"));

        let cargo = Tool { name: "cargo", ..PYTHON };
        let (found, _) = shop(Path::new("."), |shop| shop.require(cargo, Version(1_000_000, 0)));
        let message = found.unwrap_err().to_string();
        assert!(message.starts_with("cargo is `cargo 1.") && message.contains("needs 1000000.0 or later"), "{message}");
    }

    #[test]
    fn cargo_is_called_without_the_flags_of_an_outer_build() {
        let cargo = cargo();
        assert_eq!(line(&cargo, Path::new("/")), "cargo build --release --target wasm32-wasip2");
        let variables: Vec<_> = cargo.get_envs().collect();
        assert!(variables.contains(&(OsStr::new("RUSTFLAGS"), Some(OsStr::new(RUST_FLAGS)))));
        for name in OUTER_VARIABLES.iter().filter(|name| **name != "RUSTFLAGS") {
            assert!(variables.contains(&(OsStr::new(name), None)), "{name}");
        }
    }

    #[test]
    fn the_component_is_found_among_what_cargo_tells() {
        let message = |manifest: &str, file: &str| {
            format!(r#"{{"reason":"compiler-artifact","manifest_path":"{manifest}","target":{{}},"filenames":["/t/lib.rlib","{file}"]}}"#)
        };
        let check = |lines: &[String], expected: Option<&str>| {
            assert_eq!(artifact(&lines.join("\n"), Path::new("/p/Cargo.toml")), expected.map(PathBuf::from), "{lines:?}");
        };
        let finished = r#"{"reason":"build-finished","success":true}"#.to_owned();
        let other = message("/p/vendor/sdk/Cargo.toml", "/t/sdk.wasm");
        let own = message("/p/Cargo.toml", "/t/my_plugin.wasm");
        check(&[other.clone(), own, finished.clone()], Some("/t/my_plugin.wasm"));
        check(&[other, message("/p/Cargo.toml", "/t/my_plugin.so"), finished], None);
        check(&["not JSON".into()], None);
    }

    #[test]
    fn python_packages_come_from_the_own_environment() {
        let folder = Path::new("/p");
        let tool = componentize(&folder.join(".venv"), &manifest(Language::Python), &folder.join("build/x.part"));
        assert_eq!(line(&tool, folder), ".venv/bin/componentize-py -d wit -w fusion-plugin componentize -p src plugin -o build/x.part");
        assert!(tool.get_envs().any(|pair| pair == (OsStr::new("VIRTUAL_ENV"), Some(OsStr::new("/p/.venv")))));
    }

    #[test]
    fn packages_are_installed_again_after_their_list_changed() {
        let folder = tempfile::tempdir().unwrap();
        let (modules, list) = (folder.path().join("node_modules"), folder.path().join("package.json"));
        let lists = [list.clone(), folder.path().join("package-lock.json")];
        fs::write(&list, "{}").unwrap();
        assert!(!is_installed(&modules, &lists));
        fs::create_dir(&modules).unwrap();
        assert!(!is_installed(&modules, &lists), "an installation that was broken off");
        installed(&modules).unwrap();
        assert!(is_installed(&modules, &lists));
        let later = SystemTime::now() + Duration::from_secs(5);
        File::options().write(true).open(&list).unwrap().set_modified(later).unwrap();
        assert!(!is_installed(&modules, &lists));
    }

    #[test]
    fn a_component_takes_the_place_of_the_old_one_only_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let component = folder.path().join("build/a.wasm");
        let files = || fs::read_dir(folder.path().join("build")).unwrap().count();

        let part = Part::beside(component.clone()).unwrap();
        fs::write(&part.path, "one").unwrap();
        assert!(!component.exists());
        assert_eq!(part.publish().unwrap(), component);
        let given_up = Part::beside(component.clone()).unwrap();
        fs::write(&given_up.path, "tw").unwrap();
        drop(given_up);
        assert_eq!((fs::read_to_string(&component).unwrap().as_str(), files()), ("one", 1));
    }

    #[test]
    fn a_failed_step_is_told_as_it_was_said() {
        let folder = tempfile::tempdir().unwrap();
        let (failed, said) = shop(folder.path(), |shop| shop.run(CARGO, Command::new("cargo").arg("no-such-command-of-cargo")));
        assert_eq!(said, ["cargo no-such-command-of-cargo"]);
        let message = failed.unwrap_err().to_string();
        assert!(message.contains("`cargo no-such-command-of-cargo` in ") && message.contains("what it said is above"), "{message}");

        let part = Part::beside(folder.path().join("build/a.wasm")).unwrap();
        let (silent, _) = shop(folder.path(), |shop| shop.run_to(&part, CARGO, Command::new("cargo").arg("--version")));
        assert!(matches!(&silent, Err(BuildError::NoComponent { problem, .. }) if problem.contains("told to write")), "{silent:?}");
    }
}
