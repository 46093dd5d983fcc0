//! Starts, pauses, stops and ramps an experiment of a folder by its id, and writes down who did
//! it. In: a request. Out: the file with another `state` or `coverage`, and an event.
//!
//! ```text
//! edit     state and coverage in a file's text
//! record   what the journal is told, also of what a server does by itself
//! words    what changed, in words
//! ```
//!
//! The new text is held against what a server checks before anything is changed. Then, in this
//! order: the text is on the disk beside the file, the event is on the disk, the file is
//! replaced. A process that is killed in between leaves an event too many, never a change that
//! nobody wrote down.

mod edit;
pub mod record;
#[cfg(test)]
mod tests;
mod words;

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use toml::Table;

use super::check::CheckedExperiment;
use super::definition::State;
use super::events::Event;
use super::journal::{Journal, JournalError};
use super::read::{ReadError, file_text, paths, read_folder, read_folder_with};
use super::replace::{Lock, Replacement};
use super::standing::{Lifted, StandingError, StandingFile};
use edit::{edit, word};
use record::{Subject, Told, cut};
use words::{Change, same};

/// Beside the journal: one command at a time.
const LOCK: &str = "control.lock";

/// Where requests are carried out, and for whom.
pub struct ControlDesk<'a> {
    /// The folder of experiments.
    pub folder: &'a Path,
    pub journal: &'a Journal,
    pub standing: &'a StandingFile,
    /// Who asks.
    pub actor: &'a str,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Request {
    /// Carries out a draft, or one that is paused. Gives back arms that were rolled back; of
    /// one that is over, the days count anew.
    Start {
        /// 0 to 1; as the file has it without.
        coverage: Option<f64>,
    },
    /// Pauses what is running.
    Pause,
    /// Ends it for good, unless it is stopped already.
    Stop,
    /// Lets other shares of the units in, while it is running or paused.
    Ramp {
        /// 0 to 1.
        coverage: f64,
    },
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether anything was changed; if not, nothing was written either.
    pub changed: bool,
    /// One sentence.
    pub sentence: String,
}

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// There is nothing to write down: no experiment was asked for.
    #[error("`{id}` is no experiment of {folder}; allowed: {allowed}")]
    Unknown { id: String, folder: PathBuf, allowed: String },
    /// The folder, or files of it among which the experiment may be.
    #[error(transparent)]
    Files(#[from] ReadError),
    /// Written down, and nothing is changed. Problems of files are lines.
    #[error("refused to {verb} {id}: {why}")]
    Refused { id: String, verb: &'static str, why: String },
    /// Nothing is changed; the request may be made again.
    #[error("{path}: was changed by somebody else meanwhile; nothing was done")]
    Changed { path: PathBuf },
    #[error("{path}: can't be locked: {error}")]
    Lock { path: PathBuf, error: io::Error },
    /// The file is as it was, or replaced and may not outlive a power cut.
    #[error("{path}: can't be written: {error}")]
    Write { path: PathBuf, error: io::Error },
    /// Nothing is changed.
    #[error("it can't be written down, so nothing was done: {0}")]
    Journal(#[from] JournalError),
    /// The file is changed, if there was something to change. Starting again does the rest.
    #[error(transparent)]
    Standing(#[from] StandingError),
}

impl Request {
    /// As events have it.
    pub fn verb(self) -> &'static str {
        match self {
            Request::Start { .. } => "start",
            Request::Pause => "pause",
            Request::Stop => "stop",
            Request::Ramp { .. } => "ramp",
        }
    }

    fn coverage(self) -> Option<f64> {
        match self {
            Request::Start { coverage } => coverage,
            Request::Ramp { coverage } => Some(coverage),
            Request::Pause | Request::Stop => None,
        }
    }

    /// The state after it.
    ///
    /// # Errors
    /// Why it isn't possible from this state, and what is.
    fn state_after(self, state: State) -> Result<State, String> {
        let running = matches!(state, State::Running | State::Paused);
        match (self, state) {
            (Request::Start { .. } | Request::Ramp { .. }, State::Stopped) => {
                Err("it is stopped; what is measured anew needs a new `version` and state `draft` in its file, or a file of its own".into())
            }
            (Request::Start { .. }, _) => Ok(State::Running),
            (Request::Pause, State::Running | State::Paused) => Ok(State::Paused),
            (Request::Stop, _) => Ok(State::Stopped),
            (Request::Ramp { .. }, state) if running => Ok(state),
            (Request::Ramp { .. }, _) => Err("it is a draft; start it with this coverage".into()),
            (Request::Pause, State::Draft) => Err("it is a draft; only what is running can be paused".into()),
            (Request::Pause, State::Stopped) => Err("it is stopped; only what is running can be paused".into()),
        }
    }
}

/// The file with the id, as it is before. It need not be right.
struct Found {
    path: PathBuf,
    text: String,
    version: u32,
    /// None of a state that isn't one.
    state: Option<State>,
    coverage: f64,
}

impl ControlDesk<'_> {
    /// Carries out a request. A `reason` is written down, too. Blocks: up to ten seconds for
    /// another command, and as long for the disk.
    ///
    /// # Errors
    /// [`ControlError`]. Those that are refused are written down as `refused`.
    pub fn carry_out(&self, id: &str, request: Request, reason: Option<&str>, now: SystemTime) -> Result<Outcome, ControlError> {
        let lock = self.standing.folder().join(LOCK);
        let _held = Lock::take(&lock).map_err(|error| ControlError::Lock { path: lock, error })?;
        let found = find(self.folder, id)?;
        let (text, after) = match self.checked(id, request, &found) {
            Ok(checked) => checked,
            Err(why) => return Err(self.refuse(id, request, &found, why, now)),
        };
        let lifted = match request {
            Request::Start { .. } => self.standing.read()?.would_lift(&after, now),
            _ => Lifted::default(),
        };
        if text == found.text && lifted.is_nothing() {
            return Ok(Outcome { changed: false, sentence: same(request, &after) });
        }
        let change = Change { request, state: found.state, coverage: found.coverage, after: &after, lifted: &lifted };
        let told = Told { verb: request.verb(), actor: self.actor, detail: &change.detail(reason), now };
        let coverage = matches!(request, Request::Start { .. } | Request::Ramp { .. }).then_some(after.coverage);
        let event = told.of(&Subject { experiment: &after.id, version: after.version }, None, coverage);
        if let Err(error) = self.replace(&found, &text, || self.write_down(event)) {
            return Err(self.undone(id, request, &found, error, now));
        }
        if !lifted.is_nothing() {
            self.standing.lift(&after, now)?;
        }
        Ok(Outcome { changed: true, sentence: change.sentence() })
    }

    /// The text afterwards, and the experiment that it says.
    ///
    /// # Errors
    /// Every problem that a server would have with it.
    fn checked(&self, id: &str, request: Request, found: &Found) -> Result<(String, CheckedExperiment), String> {
        if let Some(coverage) = request.coverage().filter(|coverage| !(0.0..=1.0).contains(coverage)) {
            return Err(format!("the coverage is {coverage}; allowed: 0 to 1"));
        }
        let state = match found.state {
            Some(state) => request.state_after(state)?,
            None => State::Draft,
        };
        // Of a state that isn't one, the check tells.
        let other_state = found.state.filter(|before| *before != state).map(|_| state);
        let other_coverage = request.coverage().filter(|coverage| *coverage != found.coverage);
        let text = edit(&found.text, other_state, other_coverage).map_err(|error| error.to_string())?;
        let files = read_folder_with(self.folder, &found.path, &text).map_err(|error| error.to_string())?;
        for file in &files {
            file.experiment.plan().map_err(|error| format!("{}: {error}", file.path.display()))?;
        }
        let own = files.into_iter().find(|file| file.path == found.path);
        own.map(|own| (text, own.experiment)).ok_or_else(|| format!("the file of {id} is gone"))
    }

    /// Writes down that a request is refused.
    fn refuse(&self, id: &str, request: Request, found: &Found, mut why: String, now: SystemTime) -> ControlError {
        if let Err(error) = self.write_down(self.refusal(id, request, found, &why, now)) {
            why += &format!("\n(this is not written down: {error})");
        }
        ControlError::Refused { id: id.into(), verb: request.verb(), why }
    }

    /// If the event is written and the file was not, that is written down, too.
    fn undone(&self, id: &str, request: Request, found: &Found, error: ControlError, now: SystemTime) -> ControlError {
        if let ControlError::Write { .. } = &error
            && file_text(&found.path).ok().as_deref() == Some(found.text.as_str())
            && let Err(also) = self.write_down(self.refusal(id, request, found, &error.to_string(), now))
        {
            tracing::error!(experiment = id, error = %also, "a request that failed is not written down");
        }
        error
    }

    fn refusal(&self, id: &str, request: Request, found: &Found, why: &str, now: SystemTime) -> Event {
        let detail = cut(&format!("{}: {why}", request.verb()));
        let subject = Subject { experiment: id, version: found.version };
        Told { verb: "refused", actor: self.actor, detail: &detail, now }.of(&subject, None, None)
    }

    fn write_down(&self, event: Event) -> Result<(), JournalError> {
        self.journal.append_durably(&[event])?.wait()
    }

    /// Replaces the file, if there is something to replace, once it is written down.
    fn replace(&self, found: &Found, text: &str, write_down: impl FnOnce() -> Result<(), JournalError>) -> Result<(), ControlError> {
        if text == found.text {
            return Ok(write_down()?);
        }
        let failed = |error| ControlError::Write { path: found.path.clone(), error };
        let replacement = Replacement::of(&found.path, text).map_err(failed)?;
        if file_text(&found.path).ok().as_deref() != Some(found.text.as_str()) {
            return Err(ControlError::Changed { path: found.path.clone() });
        }
        write_down()?;
        replacement.put().map_err(failed)
    }
}

/// Finds the file that says this id, also when it is wrong otherwise.
fn find(folder: &Path, id: &str) -> Result<Found, ControlError> {
    for path in paths(folder)? {
        let Ok(text) = file_text(&path) else { continue };
        let Ok(table) = text.parse::<Table>() else { continue };
        let text_of = |key: &str| table.get(key).and_then(|value| value.as_str());
        if text_of("id") != Some(id) {
            continue;
        }
        let state = match table.get("state") {
            None => Some(State::default()),
            Some(_) => [State::Draft, State::Running, State::Paused, State::Stopped]
                .into_iter()
                .find(|state| text_of("state") == Some(word(*state))),
        };
        let number = |key: &str| table.get(key).and_then(|value| value.as_float().or(value.as_integer().map(|whole| whole as f64)));
        let version = table.get("version").and_then(|value| u32::try_from(value.as_integer()?).ok()).unwrap_or(0);
        let coverage = number("coverage").unwrap_or(1.0);
        return Ok(Found { path, text, version, state, coverage });
    }
    // If files can't be read, it may be in one of them.
    let ids: Vec<String> = read_folder(folder)?.into_iter().map(|file| file.experiment.id.clone()).collect();
    let allowed = if ids.is_empty() { "none, as the folder has no experiment".to_owned() } else { ids.join(", ") };
    Err(ControlError::Unknown { id: id.into(), folder: folder.into(), allowed })
}
