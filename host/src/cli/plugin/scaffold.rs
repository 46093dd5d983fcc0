//! Makes the folder of a new plugin, and reads its `plugin.toml`. In: name, stage, language.
//! Out: files that build by themselves, with the contract and, for Rust, the SDK beside them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};

use crate::types::Stage;

/// `<language>/common` and `<language>/<stage>`, which goes over it.
static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/templates/plugin");
static CONTRACT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../wit");
static SDK: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../plugins/sdk/src");
/// Goes with the SDK's sources.
const LICENSE: &str = include_str!("../../../../LICENSE");

/// What a plugin folder is known by.
pub const MANIFEST_FILE: &str = "plugin.toml";
/// Bytes of a `plugin.toml`; six lines have about 200.
const MANIFEST_BYTES_MAX: u64 = 64 << 10;
/// Characters of a plugin's name; it is also a folder, a package and a label in traces.
const NAME_LENGTH_MAX: usize = 63;
const KEYS: [&str; 6] = ["name", "stage", "language", "component", "cases", "wit"];

/// Names that a Rust package can't have: words of the language, the crates that come with
/// it, and what the project depends on.
const NAMES_TAKEN: &str = "\
     abstract alloc as async await become box break const continue core crate do dyn else enum extern false final \
     fn for gen if impl in let loop macro match mod move mut override priv proc-macro pub ref return schemars \
     self serde serde-json serde-path-to-error spanloom-plugin static std struct super test trait true try type \
     typeof unsafe unsized use virtual where while wit-bindgen yield";

/// What a plugin is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Language {
    Rust,
    Js,
    Python,
}

impl Language {
    pub const ALL: [Language; 3] = [Language::Rust, Language::Js, Language::Python];

    /// As it stands in `plugin.toml` and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Language::Rust => "rust",
            Language::Js => "js",
            Language::Python => "python",
        }
    }
}

/// Why there is no new folder.
#[derive(Debug, thiserror::Error)]
pub enum ScaffoldError {
    #[error(
        "a plugin can't be named `{name}`: {problem}; allowed: small letters, digits and single dashes, beginning with a letter, up to {NAME_LENGTH_MAX} characters"
    )]
    Name { name: String, problem: String },
    #[error("{folder} is there and not empty; allowed: a new folder, or an empty one")]
    NotEmpty { folder: String },
    #[error("{path} can't be written: {error}")]
    Write { path: String, error: io::Error },
}

/// The files of a new plugin: relative paths with `/`, in their order, and contents.
///
/// # Errors
/// [`ScaffoldError::Name`] for a name that is no kebab-case or already taken.
pub fn files(name: &str, stage: Stage, language: Language) -> Result<Vec<(String, String)>, ScaffoldError> {
    check_name(name).map_err(|problem| ScaffoldError::Name { name: name.to_owned(), problem })?;
    let filled =
        |text: &str| text.replace("{{name}}", name).replace("{{crate}}", &name.replace('-', "_")).replace("{{stage}}", stage.as_str());

    let mut files = BTreeMap::new();
    for part in ["common", stage.as_str()] {
        let folder = format!("{}/{part}", language.as_str());
        for (path, text) in TEMPLATES.get_dir(&folder).map(texts).unwrap_or_default() {
            // Paths are those in the whole of the templates.
            let path = path.strip_prefix(&format!("{folder}/")).unwrap_or(&path).to_owned();
            files.insert(path, filled(&text));
        }
    }
    files.extend(texts(&CONTRACT).into_iter().map(|(path, text)| (format!("wit/{path}"), text)));
    if language == Language::Rust {
        files.extend(texts(&SDK).into_iter().map(|(path, text)| (format!("vendor/spanloom-plugin/src/{path}"), text)));
        files.insert("vendor/spanloom-plugin/LICENSE".into(), LICENSE.into());
    }
    files.insert(MANIFEST_FILE.into(), Manifest::of_new(name, stage, language).text());
    Ok(files.into_iter().collect())
}

/// All files in and below a folder of the binary. They are text: a test sees to it.
fn texts(folder: &Dir<'_>) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = folder
        .files()
        .map(|file| (file.path().to_string_lossy().replace('\\', "/"), String::from_utf8_lossy(file.contents()).into_owned()))
        .collect();
    found.extend(folder.dirs().flat_map(texts));
    found
}

/// What is wrong with a name.
fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("it is empty".into());
    }
    if name.len() > NAME_LENGTH_MAX {
        return Err(format!("it has {} characters", name.len()));
    }
    if let Some(other) = name.chars().find(|&c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')) {
        return Err(format!("it has a `{other}` in it"));
    }
    if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        return Err("it begins with no letter".into());
    }
    if name.ends_with('-') || name.contains("--") {
        return Err("its dashes are not single ones between others".into());
    }
    if NAMES_TAKEN.split(' ').any(|taken| taken == name) {
        return Err("Rust or its packages use that name".into());
    }
    Ok(())
}

/// Writes the files into a folder that is new or empty. They are written in a folder of
/// another name first: after a failure the folder is as it was.
///
/// # Errors
/// [`ScaffoldError::NotEmpty`], and [`ScaffoldError::Write`] with the path.
pub fn write(files: &[(String, String)], folder: &Path) -> Result<(), ScaffoldError> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error| ScaffoldError::Write { path, error }
    };
    let exists = match fs::read_dir(folder).map(|mut entries| entries.next().is_some()) {
        Ok(true) => return Err(ScaffoldError::NotEmpty { folder: folder.display().to_string() }),
        Ok(false) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(failed(folder)(error)),
    };
    // On the same file system, whichever that is: in the folder or beside it.
    let around = match folder.parent().filter(|_| !exists) {
        None => folder,
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
    };
    fs::create_dir_all(around).map_err(failed(around))?;
    let temporary = tempfile::Builder::new().prefix(".spanloom-new-").tempdir_in(around).map_err(failed(around))?;
    let project = temporary.path().join("project");
    for (path, text) in files {
        let to = project.join(path);
        let parent = to.parent().unwrap_or(&project);
        fs::create_dir_all(parent).map_err(failed(parent))?;
        fs::write(&to, text).map_err(failed(&to))?;
    }

    if !exists {
        return fs::rename(&project, folder).map_err(failed(folder));
    }
    // The folder itself stays: it may be the shell's own, or a mounted one.
    for entry in fs::read_dir(&project).map_err(failed(&project))? {
        let entry = entry.map_err(failed(&project))?;
        let to = folder.join(entry.file_name());
        fs::rename(entry.path(), &to).map_err(failed(&to))?;
    }
    Ok(())
}

/// A `plugin.toml`: what is built from what. Paths are as they stand there, relative to
/// its folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Kebab-case.
    pub name: String,
    pub stage: Stage,
    pub language: Language,
    /// The file that a build leaves.
    pub component: PathBuf,
    /// The folder of golden cases.
    pub cases: PathBuf,
    /// The folder of the contract.
    pub wit: PathBuf,
}

/// Why a `plugin.toml` can't be used. Says which file and key, and what is allowed.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("{file}: {error}; allowed: a folder with a {MANIFEST_FILE}, as `spanloom plugin new` makes it")]
    Read { file: String, error: io::Error },
    #[error("{file} has more than {MANIFEST_BYTES_MAX} bytes; allowed: the keys {}", KEYS.join(", "))]
    TooLarge { file: String },
    #[error("{file} is no TOML: {problem}")]
    Syntax { file: String, problem: String },
    #[error("{file}: `{key}` {problem}; allowed: {allowed}")]
    Key { file: String, key: String, problem: String, allowed: String },
}

impl Manifest {
    fn of_new(name: &str, stage: Stage, language: Language) -> Manifest {
        let component = PathBuf::from(format!("build/{name}.wasm"));
        Manifest { name: name.to_owned(), stage, language, component, cases: "cases".into(), wit: "wit".into() }
    }

    fn text(&self) -> String {
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let path = |path: &Path| quoted(&path.to_string_lossy());
        format!(
            "name = {}\nstage = {}\nlanguage = {}\ncomponent = {}\ncases = {}\nwit = {}\n",
            quoted(&self.name),
            quoted(self.stage.as_str()),
            quoted(self.language.as_str()),
            path(&self.component),
            path(&self.cases),
            path(&self.wit),
        )
    }

    /// Reads the `plugin.toml` of a folder. All keys have to be there.
    ///
    /// # Errors
    /// [`ManifestError`] with the first thing that is wrong.
    pub fn read(folder: &Path) -> Result<Manifest, ManifestError> {
        let path = folder.join(MANIFEST_FILE);
        let file = path.display().to_string();
        let mut text = String::new();
        let read = File::open(&path).and_then(|file| file.take(MANIFEST_BYTES_MAX + 1).read_to_string(&mut text));
        match read {
            Ok(bytes) if bytes as u64 > MANIFEST_BYTES_MAX => Err(ManifestError::TooLarge { file }),
            Ok(_) => Manifest::parse(&text, &file),
            Err(error) => Err(ManifestError::Read { file, error }),
        }
    }

    /// `file` stands in the errors.
    fn parse(text: &str, file: &str) -> Result<Manifest, ManifestError> {
        let syntax = |error: toml::de::Error| ManifestError::Syntax { file: file.to_owned(), problem: error.to_string().trim_end().into() };
        let keys = Keys { file, table: text.parse().map_err(syntax)? };
        if let Some(key) = keys.table.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return keys.wrong(key, "is unknown".into(), &KEYS.join(", "));
        }
        let name = keys.text("name", "a name in kebab-case")?;
        if let Err(problem) = check_name(name) {
            let problem = format!("is `{name}`: {problem}");
            return keys.wrong("name", problem, "small letters, digits and single dashes, beginning with a letter");
        }
        let component = keys.path("component", "the path of a file, such as build/my-plugin.wasm")?;
        if component.file_name().is_none() {
            let problem = format!("is `{}`, which names no file", component.display());
            return keys.wrong("component", problem, "the path of a file, such as build/my-plugin.wasm");
        }
        Ok(Manifest {
            name: name.to_owned(),
            stage: keys.one_of("stage", &Stage::ALL, Stage::as_str)?,
            language: keys.one_of("language", &Language::ALL, Language::as_str)?,
            component,
            cases: keys.path("cases", "the path of a folder, such as cases")?,
            wit: keys.path("wit", "the path of a folder, such as wit")?,
        })
    }
}

/// The values of a file, all of them text.
struct Keys<'a> {
    file: &'a str,
    table: toml::Table,
}

impl Keys<'_> {
    fn wrong<T>(&self, key: &str, problem: String, allowed: &str) -> Result<T, ManifestError> {
        Err(ManifestError::Key { file: self.file.to_owned(), key: key.to_owned(), problem, allowed: allowed.to_owned() })
    }

    fn text(&self, key: &str, allowed: &str) -> Result<&str, ManifestError> {
        match self.table.get(key) {
            Some(toml::Value::String(text)) if !text.trim().is_empty() => Ok(text),
            Some(other) => self.wrong(key, format!("is {other}"), allowed),
            None => self.wrong(key, "is missing".into(), allowed),
        }
    }

    fn path(&self, key: &str, allowed: &str) -> Result<PathBuf, ManifestError> {
        self.text(key, allowed).map(PathBuf::from)
    }

    fn one_of<T: Copy>(&self, key: &str, all: &[T], name: fn(T) -> &'static str) -> Result<T, ManifestError> {
        let allowed = all.iter().map(|&one| name(one)).collect::<Vec<_>>().join(", ");
        let text = self.text(key, &allowed)?;
        match all.iter().find(|&&one| name(one) == text) {
            Some(&one) => Ok(one),
            None => self.wrong(key, format!("is `{text}`"), &allowed),
        }
    }
}

#[cfg(test)]
mod tests;
