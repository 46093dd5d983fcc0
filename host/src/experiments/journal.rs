//! The journal: what experiments are judged by, written so that what was acknowledged is
//! there later. In: events. Out: the same events, read from any day on.
//!
//! ```text
//! append          a line of <folder>/<YYYY-MM-DD>.jsonl, by one write
//! append_durably  the same, and a ticket: waited for, the line is on the disk
//! read            the events since a day, file by file
//! sweep           removes days that are too old
//! ```
//!
//! An event is acknowledged when [`Journal::append`] returns: the system has it, so that it
//! outlives the process, also one that is killed. When [`Ticket::wait`] returns, it outlives
//! a power cut, too. Searches take the first: they wait for no disk. Feedback and what is
//! done to experiments take the second: they are few, and nothing makes up for their loss.
//!
//! A server and command lines write the same files without a lock: a file is opened to be
//! appended to, and the system puts each write at its end as a whole. That holds for disks
//! of the machine, not for network file systems, where two machines may write over each
//! other. What a lock would give besides, the look back of [`lines`] gives.
//!
//! The day of a line is that of its event, in UTC. An event may be there twice, when its
//! writer was told of an error that came late: readers count a (run, object, action) once.

mod lines;
mod read;
mod sweep;
mod sync;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Date, OffsetDateTime};

use super::events::Event;
use lines::DayFile;
pub use read::{PassedOver, Reader, read};
pub use sweep::{Keep, Swept, sweep};
use sync::Syncer;
pub use sync::Ticket;
pub(super) use sync::sync_folder;

/// Bytes of a line. A search with 100 findings and 8 experiments has some 10 kB.
pub const LINE_BYTES_MAX: usize = 1 << 20;
/// Ends the names of files that are read and swept.
const EXTENSION: &str = "jsonl";
const DAY: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");
const MOMENT: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// A folder of events, open to be written.
pub struct Journal {
    folder: PathBuf,
    /// The day that was written last, as most events are of today.
    day: Mutex<Option<(Date, Arc<DayFile>)>>,
    syncer: Syncer,
}

/// Why an event is not in the journal, or not known to be.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It has to be fixed where the event is made.
    #[error("the time of an event is `{timestamp}`; allowed: RFC 3339 in UTC, such as 2026-01-31T12:00:00.000Z")]
    Timestamp { timestamp: String },
    #[error("an event of {bytes} bytes; allowed: at most {LINE_BYTES_MAX}")]
    TooLong { bytes: usize },
    /// Nothing, or a part that readers pass over. It may be tried again, when the disk has
    /// room or the folder's rights are mended.
    #[error("{path}: can't be written: {error}")]
    Write { path: PathBuf, error: io::Error },
    /// Written, but it may not outlive a power cut. To be sure, append it again: a system
    /// tells of pages that it couldn't write once only.
    #[error("the journal may not be on the disk: {error}")]
    Sync { error: Arc<io::Error> },
    #[error("{path}: can't be read: {error}")]
    Read { path: PathBuf, error: io::Error },
}

impl Journal {
    /// The journal of a folder, which is made when it isn't there. Files are made when
    /// their first event comes.
    ///
    /// # Errors
    /// [`JournalError::Write`] when the folder can't be made.
    pub fn open(folder: &Path) -> Result<Journal, JournalError> {
        let failed = |error| JournalError::Write { path: folder.into(), error };
        make_folder(folder).map_err(failed)?;
        Ok(Journal { folder: folder.into(), day: Mutex::new(None), syncer: Syncer::start().map_err(failed)? })
    }

    /// Writes an event. It outlives this process; it doesn't wait for the disk.
    ///
    /// # Errors
    /// [`JournalError`]; the event may be appended again.
    pub fn append(&self, event: &Event) -> Result<(), JournalError> {
        self.write(std::slice::from_ref(event)).map(|_| ())
    }

    /// Writes events, those of a day together, whose tickets tell when they are on the disk.
    ///
    /// # Errors
    /// [`JournalError`]; some may be written all the same, and all may be appended again.
    pub fn append_durably(&self, events: &[Event]) -> Result<Ticket, JournalError> {
        Ok(self.syncer.ticket(self.write(events)?))
    }

    /// The files written to. Each run of events of the same day is one write.
    fn write(&self, events: &[Event]) -> Result<Vec<Arc<DayFile>>, JournalError> {
        let mut files: Vec<Arc<DayFile>> = Vec::new();
        let dates = events.iter().map(date).collect::<Result<Vec<Date>, _>>()?;
        let mut texts = events.iter().map(line).collect::<Result<Vec<_>, _>>()?.into_iter();
        for same in dates.chunk_by(|one, other| one == other) {
            let text: Vec<u8> = texts.by_ref().take(same.len()).flatten().collect();
            let file = self.file(same[0])?;
            file.append(&text).map_err(|error| JournalError::Write { path: file.path().into(), error })?;
            if !files.iter().any(|known| Arc::ptr_eq(known, &file)) {
                files.push(file);
            }
        }
        Ok(files)
    }

    fn file(&self, date: Date) -> Result<Arc<DayFile>, JournalError> {
        let mut day = self.lock();
        if let Some((open, file)) = &*day
            && *open == date
        {
            return Ok(file.clone());
        }
        let path = path(&self.folder, date);
        let file = Arc::new(DayFile::open(&path).map_err(|error| JournalError::Write { path, error })?);
        *day = Some((date, file.clone()));
        Ok(file)
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Date, Arc<DayFile>)>> {
        self.day.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A moment as events have it: RFC 3339 in UTC, with milliseconds.
pub fn timestamp(at: SystemTime) -> String {
    // Only years outside of four digits can't be written.
    OffsetDateTime::from(at).format(MOMENT).unwrap_or_default()
}

/// The day of an event, in UTC.
///
/// # Errors
/// [`JournalError::Timestamp`].
pub fn date(event: &Event) -> Result<Date, JournalError> {
    let timestamp = &event.timestamp;
    let read = timestamp.ends_with('Z').then(|| Date::parse(timestamp.get(..10)?, DAY).ok()).flatten();
    let shown = || timestamp.chars().take(40).collect();
    read.filter(|_| timestamp.as_bytes().get(10) == Some(&b'T')).ok_or_else(|| JournalError::Timestamp { timestamp: shown() })
}

/// JSON escapes the ends of lines, so an event is one line.
fn line(event: &Event) -> Result<Vec<u8>, JournalError> {
    // Only maps whose keys are no texts don't serialize.
    let mut line = serde_json::to_vec(event).unwrap_or_default();
    line.push(b'\n');
    if line.len() > LINE_BYTES_MAX { Err(JournalError::TooLong { bytes: line.len() }) } else { Ok(line) }
}

fn path(folder: &Path, date: Date) -> PathBuf {
    // The `Display` of a date is `YYYY-MM-DD`.
    folder.join(format!("{date}.{EXTENSION}"))
}

/// The files of a folder by day, oldest first; other files are let be.
fn days(folder: &Path) -> io::Result<Vec<(Date, PathBuf)>> {
    let mut days = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION)
            && let Some(date) = path.file_stem().and_then(|name| Date::parse(name.to_str()?, DAY).ok())
        {
            days.push((date, path));
        }
    }
    days.sort();
    Ok(days)
}

/// Makes a folder and those above it; each is on the disk when this returns.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    let mut missing: Vec<&Path> = folder.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect();
    fs::create_dir_all(folder)?;
    missing.reverse();
    for made in missing {
        sync_folder(made)?;
    }
    Ok(())
}
