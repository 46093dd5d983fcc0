//! What a server decided by itself about experiments, so that it outlives restarts: since when
//! one is carried out, which arms were rolled back, and what is over. In: decisions. Out:
//! which arms are given now.
//!
//! It is one file in the journal's folder, `standing.json`. Changes are made under the lock of
//! `standing.lock`, so that several servers and command lines may share it. People's decisions are
//! in the files of experiments.

mod entry;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::check::CheckedExperiment;
use super::definition::Mode;
use super::journal::{make_folder, timestamp};
use super::replace::{Lock, Replacement};
use entry::{Entry, FileForm, Over, RolledBack};

const FILE: &str = "standing.json";
const LOCK: &str = "standing.lock";
/// Bytes of the file. An experiment has some 200, so that this is of thousands.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Characters of a reason.
const REASON_CHARS_MAX: usize = 500;
const DAY: Duration = Duration::from_secs(86_400);

/// What was decided, at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// By id and version.
    entries: BTreeMap<(String, u32), Entry>,
}

/// Whether a server carries out an experiment that is running by its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carried {
    /// Units of these arms, by their places in the file, take no part: they are answered as
    /// configured.
    Out { without: Vec<usize> },
    /// Nobody takes part, and why: follows the experiment's name in a sentence.
    Not { why: String },
}

/// What a start gives back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lifted {
    /// Keys of arms that were rolled back.
    pub arms: Vec<String>,
    /// It was over: its days count anew.
    pub over: bool,
}

impl Lifted {
    pub fn is_nothing(&self) -> bool {
        self.arms.is_empty() && !self.over
    }
}

/// Why the standing can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StandingError {
    #[error("{path}: can't be read: {error}")]
    Read { path: PathBuf, error: io::Error },
    /// Nothing was changed, or it may not outlive a power cut.
    #[error("{path}: can't be written: {error}")]
    Write { path: PathBuf, error: io::Error },
    #[error("{path}: can't be locked: {error}")]
    Lock { path: PathBuf, error: io::Error },
    #[error("{path}: is damaged: {problem}; mend it, or remove it, which gives back all arms that were rolled back")]
    Damaged { path: PathBuf, problem: String },
}

impl Standing {
    /// Whether and how an experiment is carried out at a moment, if its file says that it
    /// runs. One that was never carried out is carried out as a whole.
    pub fn of(&self, experiment: &CheckedExperiment, now: SystemTime) -> Carried {
        let Some(entry) = self.entry(experiment) else { return Carried::Out { without: Vec::new() } };
        if let Some(why) = entry.over(experiment.stop.days_max, now) {
            return Carried::Not { why };
        }
        let told = |(key, own): (&String, &RolledBack)| format!("`{key}` was rolled back at {}: {}", timestamp(own.at), own.reason);
        let all = || entry.rolled_back.iter().map(told).collect::<Vec<_>>().join("; ");
        if experiment.mode == Mode::Interleave && !entry.rolled_back.is_empty() {
            return Carried::Not { why: format!("both arms fill one list, and {}", all()) };
        }
        if let Some(own) = entry.rolled_back.get_key_value(experiment.control()) {
            return Carried::Not { why: format!("the others have nothing to be compared with: the control {}", told(own)) };
        }
        let places = experiment.arms.iter().enumerate().filter(|(_, arm)| entry.rolled_back.contains_key(&arm.key));
        let without: Vec<usize> = places.map(|(place, _)| place).collect();
        if without.len() + 1 >= experiment.arms.len() && !without.is_empty() {
            return Carried::Not { why: format!("only the control is left: {}", all()) };
        }
        Carried::Out { without }
    }

    /// When a server first carried it out; again, after a start of one that was over.
    pub fn since(&self, experiment: &CheckedExperiment) -> Option<SystemTime> {
        self.entry(experiment).map(|entry| entry.since)
    }

    /// Whether its days are over, and that is not written down yet.
    pub fn is_due(&self, experiment: &CheckedExperiment, now: SystemTime) -> bool {
        self.entry(experiment).is_some_and(|entry| entry.is_due(experiment.stop.days_max, now))
    }

    /// What a start at this moment would give back.
    pub fn would_lift(&self, experiment: &CheckedExperiment, now: SystemTime) -> Lifted {
        self.entry(experiment).map_or_else(Lifted::default, |entry| Lifted {
            arms: entry.rolled_back.keys().cloned().collect(),
            over: entry.over(experiment.stop.days_max, now).is_some(),
        })
    }

    fn entry(&self, experiment: &CheckedExperiment) -> Option<&Entry> {
        self.entries.get(&(experiment.id.clone(), experiment.version))
    }
}

/// The file of the standing.
#[derive(Clone, Debug)]
pub struct StandingFile {
    folder: PathBuf,
}

impl StandingFile {
    /// The file in the journal's folder. Neither has to be there yet.
    pub fn new(journal_folder: &Path) -> StandingFile {
        StandingFile { folder: journal_folder.into() }
    }

    /// The folder that it is in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn path(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// Reads it. A file that isn't there says nothing of any experiment.
    ///
    /// # Errors
    /// [`StandingError::Read`] and [`StandingError::Damaged`].
    pub fn read(&self) -> Result<Standing, StandingError> {
        let path = self.path();
        let mut text = String::new();
        match File::open(&path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Standing::default()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(StandingError::Damaged { path, problem: error.to_string() });
            }
            Err(error) => return Err(StandingError::Read { path, error }),
            Ok(_) => {}
        }
        entry::read(&text).map_err(|problem| StandingError::Damaged { path, problem })
    }

    /// Notes that an experiment is carried out from now on. Gives whether that is new.
    ///
    /// # Errors
    /// [`StandingError`]; nothing is changed then, unless it is one of writing.
    pub fn begin(&self, experiment: &CheckedExperiment, now: SystemTime) -> Result<bool, StandingError> {
        self.change(|standing| {
            let known = standing.entry(experiment).is_some();
            entry_of(standing, experiment, now);
            !known
        })
    }

    /// Takes an arm out of an experiment, by its key; in interleaving, all of it by
    /// `interleave`. Gives whether that is new.
    ///
    /// # Errors
    /// As [`StandingFile::begin`].
    pub fn roll_back(&self, experiment: &CheckedExperiment, variant: &str, reason: &str, now: SystemTime) -> Result<bool, StandingError> {
        self.change(|standing| {
            let rolled_back = &mut entry_of(standing, experiment, now).rolled_back;
            let known = rolled_back.contains_key(variant);
            let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
            rolled_back.entry(variant.into()).or_insert(RolledBack { at: now, reason });
            !known
        })
    }

    /// Notes that an experiment's days are over, if they are. Gives whether that is new.
    ///
    /// # Errors
    /// As [`StandingFile::begin`].
    pub fn end(&self, experiment: &CheckedExperiment, now: SystemTime) -> Result<bool, StandingError> {
        self.change(|standing| {
            let (days_max, due) = (experiment.stop.days_max, standing.is_due(experiment, now));
            if let (Some(days_max), true) = (days_max, due) {
                entry_of(standing, experiment, now).over = Some(Over { at: now, days_max });
            }
            due
        })
    }

    /// Gives back arms that were rolled back. Of one that is over, the days count anew from
    /// when a server carries it out again.
    ///
    /// # Errors
    /// As [`StandingFile::begin`].
    pub fn lift(&self, experiment: &CheckedExperiment, now: SystemTime) -> Result<Lifted, StandingError> {
        let mut lifted = Lifted::default();
        self.change(|standing| {
            lifted = standing.would_lift(experiment, now);
            let key = (experiment.id.clone(), experiment.version);
            match standing.entries.get_mut(&key) {
                Some(_) if lifted.over => drop(standing.entries.remove(&key)),
                Some(entry) => entry.rolled_back.clear(),
                None => {}
            }
            !lifted.is_nothing()
        })?;
        Ok(lifted)
    }

    /// Reads, changes and writes, while nobody else does. Without a change, nothing is written.
    fn change(&self, change: impl FnOnce(&mut Standing) -> bool) -> Result<bool, StandingError> {
        let (path, lock) = (self.path(), self.folder.join(LOCK));
        make_folder(&self.folder).map_err(|error| StandingError::Write { path: self.folder.clone(), error })?;
        let _held = Lock::take(&lock).map_err(|error| StandingError::Lock { path: lock, error })?;
        let mut standing = self.read()?;
        let changed = change(&mut standing);
        if changed {
            let text = FileForm::of(&standing).text();
            let written = Replacement::of(&path, &text).and_then(Replacement::put);
            written.map_err(|error| StandingError::Write { path, error })?;
        }
        Ok(changed)
    }
}

fn entry_of<'a>(standing: &'a mut Standing, experiment: &CheckedExperiment, now: SystemTime) -> &'a mut Entry {
    standing.entries.entry((experiment.id.clone(), experiment.version)).or_insert_with(|| Entry::new(now))
}
