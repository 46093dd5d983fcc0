//! Plugins as their authors have them: folders that `plugin new` makes and `plugin build`
//! builds, with the tools of three languages.
//!
//! Folders lie below the target folder and are made anew by each run; what takes long
//! (compiled Rust packages, the packages of JavaScript and Python) is kept between runs.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::SystemTime;

use super::Sandbox;

/// Written by `plugin build` when all packages are installed.
const INSTALLED: &str = ".spanloom-installed";

/// What a plugin can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Rust,
    Js,
    Python,
}

impl Language {
    pub const ALL: [Language; 3] = [Language::Rust, Language::Js, Language::Python];

    /// As `--lang` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Language::Rust => "rust",
            Language::Js => "js",
            Language::Python => "python",
        }
    }

    /// The folder of installed packages, and the list of them.
    fn packages(self) -> Option<(&'static str, &'static str)> {
        match self {
            Language::Rust => None,
            Language::Js => Some(("node_modules", "package.json")),
            Language::Python => Some((".venv", "requirements.txt")),
        }
    }

    /// The first tool that isn't there.
    fn missing(self) -> Option<&'static str> {
        let tools: &[(&str, &[&str])] = match self {
            Language::Rust => &[("cargo", &["--version"])],
            Language::Js => &[("node", &["--version"]), ("npm", &["--version"])],
            Language::Python => &[("python3", &["-c", "import venv, ensurepip"])],
        };
        let works = |(name, arguments): &(&str, &[&str])| {
            let status = Command::new(name).args(*arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
            status.is_ok_and(|status| status.success())
        };
        tools.iter().find(|tool| !works(tool)).map(|tool| tool.0)
    }

    /// Whether plugins can be built in this language here. Installs its packages the
    /// first time.
    pub fn is_here(self) -> bool {
        match self.missing() {
            Some(tool) => {
                skipped(&format!("{}: {tool} is not there", self.name()));
                false
            }
            None => match self.install() {
                Ok(()) => true,
                Err(why) => {
                    skipped(&format!("{}: its packages can't be had: {why}", self.name()));
                    false
                }
            },
        }
    }

    /// Packages that are installed once, as `plugin build` does it; or why they can't be
    /// had, as on a machine that reaches no registry.
    fn install(self) -> Result<(), String> {
        /// Tests begin at the same time.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let Some((packages, list)) = self.packages() else { return Ok(()) };
        let _held = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let sandbox = with_tools(Sandbox::new());
        sandbox.run(&["plugin", "new", "tools", "--stage", "fusion", "--lang", self.name()]).check(0, &[]);
        let (new, kept) = (sandbox.path("tools"), home().join(format!("tools-{}", self.name())));
        let read = |folder: &Path| std::fs::read_to_string(folder.join(list)).ok();
        if read(&kept) == read(&new) && kept.join(packages).join(INSTALLED).exists() {
            return Ok(());
        }
        let _ = std::fs::remove_dir_all(&kept);
        sandbox.run(&["plugin", "new", "tools", "--stage", "fusion", "--lang", self.name(), "--folder", text(&kept)]).check(0, &[]);
        let built = sandbox.run(&["plugin", "build", text(&kept)]);
        let failed = built.err.lines().rev().find(|line| line.starts_with("spanloom: ") && line.contains(" install "));
        if let Some(why) = failed.filter(|_| built.code != Some(0)) {
            return Err(why.to_owned());
        }
        built.check(0, &[]);
        Ok(())
    }

    /// Has a folder use the packages that are installed already.
    pub fn lend_packages(self, folder: &Path) {
        let Some((packages, _)) = self.packages() else { return };
        let kept = home().join(format!("tools-{}", self.name())).join(packages);
        std::os::unix::fs::symlink(&kept, folder.join(packages)).expect("a link");
        // The list in the folder is newer than the installation, and says the same.
        let mark = std::fs::File::options().write(true).open(kept.join(INSTALLED)).expect("an installation");
        mark.set_modified(SystemTime::now()).expect("its time");
    }
}

/// Says what was left out, whether the test passes or not.
pub fn skipped(what: &str) {
    // Past the capture of the test runner, which keeps what passing tests print.
    writeln!(std::io::stderr(), "skipped: {what}").expect("standard error");
}

/// Where projects and their tools are.
pub fn home() -> PathBuf {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin-projects");
    std::fs::create_dir_all(&home).expect("a folder");
    home
}

/// An empty folder for a project or more.
pub fn empty_folder(name: &str) -> PathBuf {
    let folder = home().join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// The sandbox with what tools need of the environment: their homes, caches, proxies.
pub fn with_tools(sandbox: Sandbox) -> Sandbox {
    let foreign = |name: &str| {
        let own = ["SPANLOOM_", "OTEL_", "GIT_", "CARGO", "RUSTFLAGS", "RUSTDOC", "LD_LIBRARY_PATH"];
        own.iter().any(|prefix| name.starts_with(prefix)) && name != "CARGO_HOME"
    };
    let outer = std::env::vars().filter(|(name, _)| !foreign(name));
    let sandbox = outer.fold(sandbox, |sandbox, (name, value)| sandbox.with_variable(&name, &value));
    // One folder for all Rust plugins, as packages that are compiled are found there.
    let target = home().join("target");
    let path = format!("{}:{}", text(program_folder()), std::env::var("PATH").unwrap_or_default());
    let own = [("CARGO_TARGET_DIR", text(&target)), ("CARGO_NET_OFFLINE", "true"), ("npm_config_prefer_offline", "true"), ("PATH", &path)];
    own.into_iter().fold(sandbox, |sandbox, (name, value)| sandbox.with_variable(name, value))
}

/// The folder of the binary.
pub fn program_folder() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_spanloom")).parent().expect("a file in a folder")
}

/// Makes a project and builds it; its component.
pub fn built(sandbox: &Sandbox, name: &str, stage: &str, language: Language) -> PathBuf {
    let folder = empty_folder(name);
    sandbox.run(&["plugin", "new", name, "--stage", stage, "--lang", language.name(), "--folder", text(&folder)]).check(0, &[]);
    language.lend_packages(&folder);
    sandbox.run(&["plugin", "test", text(&folder)]).check(0, &["2 of 2 cases passed"]);
    folder.join("build").join(format!("{name}.wasm"))
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is UTF-8")
}
