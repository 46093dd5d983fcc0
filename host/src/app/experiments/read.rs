//! Makes the report of an experiment from the files there are.

use std::path::Path;
use std::time::SystemTime;

use crate::experiments::events::Event;
use crate::experiments::journal::{self, JournalError, PassedOver};
use crate::experiments::report::{Report, compose};
use crate::experiments::{ReadError as FolderError, read_folder};

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("`{id}` is no experiment of the folder; allowed: {allowed}")]
    Unknown { id: String, allowed: String },
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// What the experiment of that id has shown so far, and which lines of the journal could
/// not be used. Reads the whole journal.
///
/// # Errors
/// When no file of the folder has the id, or something can't be read.
pub fn report(folder: &Path, journal_folder: &Path, id: &str) -> Result<(Report, PassedOver), ReadError> {
    let files = read_folder(folder)?;
    let Some(file) = files.iter().find(|file| file.experiment.id == id) else {
        let ids: Vec<&str> = files.iter().map(|file| file.experiment.id.as_str()).collect();
        let allowed = if ids.is_empty() { "none, as the folder has no experiment".to_owned() } else { ids.join(", ") };
        return Err(ReadError::Unknown { id: id.chars().take(SHOWN_CHARS).collect(), allowed });
    };
    let mut events = journal::read(journal_folder, None)?;
    let read: Vec<Event> = events.by_ref().collect::<Result<_, _>>()?;
    let report = compose(&file.experiment, read.into_iter(), &journal::timestamp(SystemTime::now()));
    Ok((report, events.passed_over().clone()))
}

/// Characters of a wrong id that are repeated.
const SHOWN_CHARS: usize = 80;
