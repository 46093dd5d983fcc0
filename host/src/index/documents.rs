//! Files of plain records, one JSON object a line. In: a file. Out: checked records in the order of their lines, those
//! that are left out with the reason, and what is to be said about the file.
//!
//! A record has `id` and `text`, and may have `title`, `path`, `language` and `time`; other members are ignored. A line
//! that can't be meant as a record is an error, which names file, line and value: part of a set would look like the
//! whole. A record that holds nothing to index is left out and counted.

mod lines;
mod record;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::chunk::Language;
use super::scan::SkipReason;
use lines::{Line, Lines};
use record::{Parsed, parse};

pub use record::language_named;

/// Bytes of a line beside those of its text: for the other members, wanted or not.
const OTHER_MEMBERS_BYTES_MAX: usize = 1 << 20;
/// Bytes that JSON may take for one byte of text: a control character is written `\u0001`.
const ESCAPE_BYTES_MAX: usize = 6;
/// Bytes that are read from a file at once.
const READ_BYTES: usize = 256 << 10;

/// A file of records that was there and could be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentsFile {
    /// As it was given, for messages.
    pub given: PathBuf,
    /// Absolute, links resolved.
    pub path: PathBuf,
}

/// What holds for all files of records.
#[derive(Clone, Debug)]
pub struct RecordRules {
    /// Records with longer texts are left out.
    pub text_bytes_max: u64,
    /// Longer titles are cut, which is said.
    pub title_bytes_max: usize,
    /// More records, over all files, are refused; bounds memory.
    pub records_max: usize,
    /// The language of records that tell none by `language` or `path`.
    pub language: Option<Language>,
}

/// One piece of text to index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// From 1.
    pub line: u64,
    /// Its own among all files of a build.
    pub id: String,
    /// Without blank lines at its ends; never empty.
    pub text: String,
    /// One line, without white space at its ends.
    pub title: Option<String>,
    /// A name only: nothing is read there.
    pub path: Option<String>,
    pub language: Language,
    /// Unix seconds.
    pub time_s: Option<i64>,
}

/// A record that is not indexed, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// From 1.
    pub line: u64,
    /// `None` where the line could not be read.
    pub id: Option<String>,
    pub reason: SkipReason,
    /// For a person.
    pub detail: String,
}

/// What a line turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Record(Record),
    LeftOut(LeftOut),
}

/// The ids of a build with the place of each, over all its files.
#[derive(Debug, Default)]
pub struct Ids {
    /// File and line.
    places: HashMap<String, (usize, u64)>,
    files: Vec<PathBuf>,
    /// With those whose id can't be read, without blank ones.
    lines: usize,
}

/// A line of a file, as messages name it: `corpus.jsonl:7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: PathBuf,
    /// From 1.
    pub line: u64,
}

/// Why a file of records can't be indexed.
#[derive(Debug, thiserror::Error)]
pub enum DocumentsError {
    #[error("{} does not exist; --documents takes a file of records, one JSON object a line", path.display())]
    Missing { path: PathBuf },
    #[error("{} is {found}; --documents takes a file of records, one JSON object a line", path.display())]
    NotAFile { path: PathBuf, found: &'static str },
    #[error("{} is given twice to --documents: name it once", path.display())]
    GivenTwice { path: PathBuf },
    #[error("{} can't be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{at}: not a JSON object: {reason}, in {excerpt}")]
    NotAnObject { at: Place, reason: String, excerpt: String },
    #[error("{at}: `{member}` is {found}; allowed: {allowed}")]
    Member { at: Place, member: &'static str, found: String, allowed: &'static str },
    #[error("{at}: the id {id:?} is that of {first}, too; every record has an id of its own")]
    SameId { at: Place, first: Place, id: String },
    #[error("{at}: more than {records_max} records; split the file, or raise `index.files_max`")]
    TooMany { at: Place, records_max: usize },
}

/// Checks that files of records are there, each once, in the given order.
///
/// # Errors
/// The first one that can't be used.
pub fn check_files(given: &[PathBuf]) -> Result<Vec<DocumentsFile>, DocumentsError> {
    let mut files: Vec<DocumentsFile> = Vec::with_capacity(given.len());
    for name in given {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => DocumentsError::Missing { path: name.clone() },
            _ => DocumentsError::Unreadable { path: name.clone(), source },
        };
        let path = fs::canonicalize(name).map_err(failed)?;
        let kind = fs::metadata(&path).map_err(failed)?;
        if !kind.is_file() {
            let found = if kind.is_dir() { "a folder" } else { "no regular file" };
            return Err(DocumentsError::NotAFile { path: name.clone(), found });
        }
        if files.iter().any(|earlier| earlier.path == path) {
            return Err(DocumentsError::GivenTwice { path: name.clone() });
        }
        files.push(DocumentsFile { given: name.clone(), path });
    }
    Ok(files)
}

impl DocumentsFile {
    /// Reads the file and hands each record to `sink`, in the order of the lines. Gives what is to be said about the
    /// file, in sentences.
    ///
    /// # Errors
    /// The first line that can't be meant as a record, or what the system says.
    pub fn read(&self, rules: &RecordRules, ids: &mut Ids, sink: &mut dyn FnMut(Found)) -> Result<Vec<String>, DocumentsError> {
        let file = File::open(&self.path).map_err(|source| DocumentsError::Unreadable { path: self.given.clone(), source })?;
        read_records(BufReader::with_capacity(READ_BYTES, file), &self.given, rules, ids, sink)
    }
}

/// As [`DocumentsFile::read`], from anywhere. Never holds more than one line, and of that no more than `text_bytes_max`
/// can need.
fn read_records(
    reader: impl BufRead,
    file: &Path,
    rules: &RecordRules,
    ids: &mut Ids,
    sink: &mut dyn FnMut(Found),
) -> Result<Vec<String>, DocumentsError> {
    let text_bytes_max = usize::try_from(rules.text_bytes_max).unwrap_or(usize::MAX);
    let line_bytes_max = text_bytes_max.saturating_mul(ESCAPE_BYTES_MAX).saturating_add(OTHER_MEMBERS_BYTES_MAX);
    let mut lines = Lines::new(reader, line_bytes_max);
    let mut tally = Tally::default();
    ids.files.push(file.to_owned());
    while let Some((number, line)) = lines.next().map_err(|source| DocumentsError::Unreadable { path: file.to_owned(), source })? {
        let at = || Place { file: file.to_owned(), line: number };
        let left_out = |id, reason, detail| Found::LeftOut(LeftOut { line: number, id, reason, detail });
        let found = match line {
            Line::Blank => continue,
            Line::TooLong { bytes } => {
                left_out(None, SkipReason::TooLarge, format!("{}: a line of {bytes} bytes, limit {line_bytes_max}", at()))
            }
            Line::NotUtf8 => left_out(None, SkipReason::NotUtf8, format!("{}: the line is not UTF-8", at())),
            Line::Text(text) => {
                let Parsed { id, outcome, unknown_language, title_is_cut } =
                    parse(text, number, rules).map_err(|problem| problem.at(at()))?;
                ids.take(&id, number)?;
                tally.note(number, unknown_language, title_is_cut);
                match outcome {
                    Ok(record) => Found::Record(record),
                    Err((reason, detail)) => left_out(Some(id), reason, format!("{}: {detail}", at())),
                }
            }
        };
        ids.lines += 1;
        if ids.lines > rules.records_max {
            return Err(DocumentsError::TooMany { at: at(), records_max: rules.records_max });
        }
        tally.count(&found, number);
        sink(found);
    }
    Ok(tally.sentences(file))
}

impl Ids {
    /// Notes the id of a line of the last file.
    fn take(&mut self, id: &str, line: u64) -> Result<(), DocumentsError> {
        let file = self.files.len().saturating_sub(1);
        let place = |(file, line): (usize, u64)| Place { file: self.files.get(file).cloned().unwrap_or_default(), line };
        if let Some(first) = self.places.get(id) {
            return Err(DocumentsError::SameId { at: place((file, line)), first: place(*first), id: id.to_owned() });
        }
        self.places.insert(id.to_owned(), (file, line));
        Ok(())
    }
}

/// What is said about a file at its end.
#[derive(Default)]
struct Tally {
    records: usize,
    /// How many, and the first line.
    left_out: BTreeMap<SkipReason, (usize, u64)>,
    unknown_languages: usize,
    /// The first one, and its line.
    unknown_language: Option<(String, u64)>,
    titles_cut: usize,
    title_cut: u64,
}

impl Tally {
    fn note(&mut self, line: u64, unknown_language: Option<String>, title_is_cut: bool) {
        if let Some(name) = unknown_language {
            self.unknown_languages += 1;
            self.unknown_language.get_or_insert((name, line));
        }
        if title_is_cut {
            self.title_cut = if self.titles_cut == 0 { line } else { self.title_cut };
            self.titles_cut += 1;
        }
    }

    fn count(&mut self, found: &Found, line: u64) {
        match found {
            Found::Record(_) => self.records += 1,
            Found::LeftOut(left_out) => self.left_out.entry(left_out.reason).or_insert((0, line)).0 += 1,
        }
    }

    fn sentences(&self, file: &Path) -> Vec<String> {
        let mut sentences = Vec::new();
        let file = file.display();
        if self.records == 0 {
            sentences.push(format!("{file} holds no record that can be indexed"));
        }
        for (reason, (count, line)) in &self.left_out {
            sentences.push(format!("{file}: left out as {reason}: {count}, the first at line {line}"));
        }
        if let Some((name, line)) = &self.unknown_language {
            let count = self.unknown_languages;
            sentences.push(format!(
                "{file}: of an unknown language: {count}, the first {name:?} at line {line}; taken by their path, or as text"
            ));
        }
        if self.titles_cut > 0 {
            sentences.push(format!("{file}: titles too long and cut: {}, the first at line {}", self.titles_cut, self.title_cut));
        }
        sentences
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}
