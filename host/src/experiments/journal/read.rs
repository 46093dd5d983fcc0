//! Reads events, file by file and line by line: a journal may be larger than memory.
//!
//! What is no event is passed over and counted: rests of lines that were cut off, and
//! actions that a later release knows. A line that is being written just now may count as
//! damaged, too; it is whole the next time.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use time::Date;

use super::{JournalError, LINE_BYTES_MAX, days};
use crate::experiments::events::Event;

/// Actions of this release.
pub const ACTIONS: [&str; 9] = ["search", "used", "opened", "copied", "helpful", "not_helpful", "graded", "shadow", "experiment"];

/// Reads events in the order in which they were written.
pub struct Reader {
    files: VecDeque<PathBuf>,
    open: Option<(PathBuf, BufReader<File>)>,
    line: Vec<u8>,
    passed_over: PassedOver,
}

/// Lines that are no events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassedOver {
    /// How many are damaged, by file; files without any are not named.
    pub damaged: BTreeMap<PathBuf, u64>,
    /// Actions that this release doesn't know, and how often they came.
    pub unknown: BTreeMap<String, u64>,
}

/// The events of the days from `since` on, or all. A folder that isn't there has none.
///
/// # Errors
/// [`JournalError::Read`] when the folder can't be listed.
pub fn read(folder: &Path, since: Option<Date>) -> Result<Reader, JournalError> {
    let listed = match days(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(JournalError::Read { path: folder.into(), error }),
        Ok(days) => days,
    };
    let files = listed.into_iter().filter(|(date, _)| since.is_none_or(|since| *date >= since)).map(|(_, path)| path).collect();
    Ok(Reader { files, open: None, line: Vec::new(), passed_over: PassedOver::default() })
}

impl Reader {
    /// What was passed over so far.
    pub fn passed_over(&self) -> &PassedOver {
        &self.passed_over
    }

    /// The next line into `self.line`, without its end. False behind the last line.
    fn next_line(&mut self) -> Result<bool, JournalError> {
        loop {
            let Some((path, file)) = &mut self.open else {
                let Some(path) = self.files.pop_front() else { return Ok(false) };
                match File::open(&path) {
                    // Swept in the meantime.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(JournalError::Read { path, error }),
                    Ok(file) => self.open = Some((path, BufReader::with_capacity(1 << 16, file))),
                }
                continue;
            };
            self.line.clear();
            match line_of(file, &mut self.line) {
                Ok(true) => return Ok(true),
                Ok(false) => self.open = None,
                Err(error) => {
                    let path = path.clone();
                    self.open = None;
                    return Err(JournalError::Read { path, error });
                }
            }
        }
    }

    fn pass_over(&mut self) {
        #[derive(Deserialize)]
        struct Named {
            action_name: String,
        }
        match serde_json::from_slice::<Named>(&self.line) {
            Ok(Named { action_name }) if !ACTIONS.contains(&action_name.as_str()) => {
                *self.passed_over.unknown.entry(action_name).or_default() += 1;
            }
            _ => {
                if let Some((path, _)) = &self.open {
                    *self.passed_over.damaged.entry(path.clone()).or_default() += 1;
                }
            }
        }
    }
}

impl Iterator for Reader {
    type Item = Result<Event, JournalError>;

    /// After an error, the next file follows.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.next_line() {
                Ok(false) => return None,
                Ok(true) if self.line.is_empty() => {}
                Ok(true) => match serde_json::from_slice(&self.line) {
                    Ok(event) => return Some(Ok(event)),
                    Err(_) => self.pass_over(),
                },
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Reads a line; of one that is too long its beginning, which is no JSON.
fn line_of(file: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    if file.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', line)? == 0 {
        return Ok(false);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() == LINE_BYTES_MAX {
        file.skip_until(b'\n')?;
    }
    Ok(true)
}
