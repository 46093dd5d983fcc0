//! Reads experiments: a text, a file, or a folder of files. In: TOML. Out: checked
//! experiments, or every problem of every file.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::check::{CheckedExperiment, Problem, conflicts};
use super::definition::Experiment;

/// Bytes of a file. Experiments have a few kilobytes.
pub const FILE_BYTES_MAX: usize = 256 << 10;
/// Files of a folder.
const FILES_MAX: usize = 1_000;
/// Ends the names of files that are read.
const EXTENSION: &str = "toml";

/// An experiment and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct ExperimentFile {
    pub path: PathBuf,
    pub experiment: CheckedExperiment,
}

/// Why experiments can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{path}: {error}")]
    Read { path: PathBuf, error: io::Error },
    #[error("{path}: is longer than {FILE_BYTES_MAX} bytes; allowed: at most as many")]
    TooLong { path: PathBuf },
    #[error("{path}: has more than {FILES_MAX} files of experiments; allowed: at most as many")]
    TooMany { path: PathBuf },
    /// Line and column, from 1; columns are characters.
    #[error("{path}:{line}:{column}: {problem}")]
    Syntax { path: PathBuf, line: usize, column: usize, problem: String },
    /// At least one, in the order of the schema.
    #[error("{}", lines(problems.iter().map(|problem| format!("{}: {problem}", path.display()))))]
    Problems { path: PathBuf, problems: Vec<Problem> },
    /// Of several files, in their order.
    #[error("{}", lines(files.iter().map(ReadError::to_string)))]
    Several { files: Vec<ReadError> },
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.collect::<Vec<_>>().join("\n")
}

/// Reads the experiments of all `*.toml` in a folder, in the order of their names. Other
/// files and folders in it are let be; an empty folder has no experiments. It is all or
/// nothing: which experiments run should never depend on which files happen to be right.
///
/// # Errors
/// [`ReadError`] with every problem of every file, and of files with each other: an id
/// that two have, a layer that isn't divided cleanly.
pub fn read_folder(folder: &Path) -> Result<Vec<ExperimentFile>, ReadError> {
    read_files(paths(folder)?.into_iter())
}

/// The same of files that are named.
///
/// # Errors
/// As [`read_folder`].
pub fn read_files(paths: impl Iterator<Item = PathBuf>) -> Result<Vec<ExperimentFile>, ReadError> {
    together(paths, read_file)
}

/// What [`read_folder`] would give if one of the files had another text.
///
/// # Errors
/// As [`read_folder`].
pub(super) fn read_folder_with(folder: &Path, changed: &Path, text: &str) -> Result<Vec<ExperimentFile>, ReadError> {
    together(paths(folder)?.into_iter(), |path| match path == changed {
        true => Ok(ExperimentFile { path: path.into(), experiment: read_text(path, text)? }),
        false => read_file(path),
    })
}

fn together(
    paths: impl Iterator<Item = PathBuf>,
    read_one: impl Fn(&Path) -> Result<ExperimentFile, ReadError>,
) -> Result<Vec<ExperimentFile>, ReadError> {
    let mut read: Vec<ExperimentFile> = Vec::new();
    let mut files = Vec::new();
    for path in paths {
        let file = match read_one(&path) {
            Ok(file) => file,
            Err(error) => {
                files.push(error);
                continue;
            }
        };
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let among = |earlier: &ExperimentFile| conflicts(&earlier.experiment, &name(&earlier.path), &file.experiment);
        let problems: Vec<Problem> = read.iter().flat_map(among).collect();
        if !problems.is_empty() {
            files.push(ReadError::Problems { path, problems });
        }
        read.push(file);
    }
    match files.len() {
        0 => Ok(read),
        1 => Err(files.remove(0)),
        _ => Err(ReadError::Several { files }),
    }
}

/// The files of a folder that are read, in the order of their names.
///
/// # Errors
/// [`ReadError::Read`] and [`ReadError::TooMany`].
pub(super) fn paths(folder: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let failed = |error| ReadError::Read { path: folder.into(), error };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) && path.is_file() {
            paths.push(path);
        }
        if paths.len() > FILES_MAX {
            return Err(ReadError::TooMany { path: folder.into() });
        }
    }
    paths.sort();
    Ok(paths)
}

/// Reads the experiment of a file.
///
/// # Errors
/// [`ReadError`] with every problem of the file.
pub fn read_file(path: &Path) -> Result<ExperimentFile, ReadError> {
    Ok(ExperimentFile { path: path.into(), experiment: read_text(path, &file_text(path)?)? })
}

/// The text of a file, or the first bytes of one that is too long.
///
/// # Errors
/// [`ReadError::Read`], and [`ReadError::TooLong`] where the cut goes through a character.
pub(super) fn file_text(path: &Path) -> Result<String, ReadError> {
    let mut text = String::new();
    let file = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX as u64 + 1).read_to_string(&mut text));
    match file {
        Err(error) if error.kind() == io::ErrorKind::InvalidData && is_long(path) => Err(ReadError::TooLong { path: path.into() }),
        Err(error) => Err(ReadError::Read { path: path.into(), error }),
        Ok(_) => Ok(text),
    }
}

fn is_long(path: &Path) -> bool {
    path.metadata().is_ok_and(|about| about.len() > FILE_BYTES_MAX as u64)
}

/// Reads the experiment in a text; `path` is only named in errors.
///
/// # Errors
/// [`ReadError`] with every problem of the text. A value of a wrong type hides the rules
/// behind it, so it is told alone.
pub fn read_text(path: &Path, text: &str) -> Result<CheckedExperiment, ReadError> {
    if text.len() > FILE_BYTES_MAX {
        return Err(ReadError::TooLong { path: path.into() });
    }
    let table: Table = text.parse().map_err(|error| syntax(path, text, &error))?;
    let table = Value::Table(table);
    let mut problems = Vec::new();
    foreign(&table, "", &mut problems);
    let checked = serde_path_to_error::deserialize(table).map_err(|error| vec![typed(error)]).and_then(Experiment::check);
    match checked {
        Ok(experiment) if problems.is_empty() => Ok(experiment),
        checked => {
            let known: Vec<String> = problems.iter().map(|problem| problem.key.clone()).collect();
            problems.extend(checked.err().into_iter().flatten().filter(|problem| !known.contains(&problem.key)));
            Err(ReadError::Problems { path: path.into(), problems })
        }
    }
}

/// Values that TOML has and parameters of plugins, being JSON, have not: they would come
/// through as something else.
fn foreign(value: &Value, key: &str, problems: &mut Vec<Problem>) {
    let mut refuse = |value: &dyn std::fmt::Display, allowed: &str| {
        problems.push(Problem { key: key.into(), problem: format!("is {value}; allowed: {allowed}") });
    };
    match value {
        Value::Float(number) if !number.is_finite() => refuse(number, "finite numbers"),
        Value::Datetime(moment) => refuse(moment, "texts, numbers, true, false, lists and tables; a date in quotes is a text"),
        Value::Array(items) => items.iter().enumerate().for_each(|(number, item)| foreign(item, &format!("{key}[{number}]"), problems)),
        Value::Table(members) => {
            let below = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
            members.iter().for_each(|(name, member)| foreign(member, &below(name), problems));
        }
        _ => {}
    }
}

/// The first value of a wrong type. A key that is missing is named itself, not the table
/// around it.
fn typed(error: serde_path_to_error::Error<toml::de::Error>) -> Problem {
    let at = match error.path().to_string() {
        whole if whole == "." => String::new(),
        at => at,
    };
    let message = error.inner().message().trim();
    let quoted = |prefix: &str| message.strip_prefix(prefix)?.split_once('`').map(|(name, _)| name);
    if let Some(name) = quoted("missing field `") {
        let key = if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
        return Problem { key, problem: "is missing".into() };
    }
    if quoted("unknown field `").is_some() {
        let allowed = message.split_once("expected ").map_or("no keys", |(_, keys)| keys.trim_start_matches("one of "));
        return Problem { key: at, problem: format!("is not known; allowed: {allowed}") };
    }
    // A key that has to be one of a few doesn't come into the path.
    let key = match (at.strip_suffix(".?"), quoted("unknown variant `")) {
        (Some(table), Some(name)) => format!("{table}.{name}"),
        _ => at,
    };
    let plain =
        [("expected f64", "expected a number"), ("expected u32", "expected a whole number"), ("expected u64", "expected a whole number")];
    let problem = plain.iter().fold(message.to_owned(), |message, (typed, plain)| message.replace(typed, plain));
    Problem { key, problem: format!("can't be read: {problem}") }
}

fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> ReadError {
    let start = error.span().map_or(0, |span| span.start).min(text.len());
    let before = text.get(..start).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    ReadError::Syntax {
        path: path.into(),
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        problem: error.message().replace('\n', "; "),
    }
}
