//! Appends whole lines to a file that other processes append to, too.
//!
//! A write can end within a line: the disk is full, or the process is killed in the middle
//! of it. Whoever writes next would continue that line, and its own would be lost. So each
//! write looks back: does the byte before it end a line? If not, its first line hangs on
//! the rest of another, which readers pass over, and is written once more. Looking before
//! the write is not enough, as another process may be cut off in between; looking after it
//! leaves no gap, since the bytes before one's own never change.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::sync::sync_folder;

/// Writes in which no line came through whole, before a caller is told.
const ATTEMPTS_MAX: u32 = 3;

/// The file of a day.
pub struct DayFile {
    path: PathBuf,
    state: Mutex<State>,
    /// The same open file, to sync it without waiting for writers.
    synced: Mutex<Synced>,
}

struct State {
    file: File,
    /// Where our last write ended.
    end: u64,
    /// Whether a line ends there.
    whole: bool,
}

struct Synced {
    file: File,
    /// Whether the folder's entry of the file is on the disk, whoever made the file.
    entry: bool,
}

impl DayFile {
    /// The file, made when it isn't there.
    ///
    /// # Errors
    /// When it can't be opened.
    pub fn open(path: &Path) -> io::Result<DayFile> {
        // Reading is for the look back.
        let mut file = File::options().create(true).append(true).read(true).open(path)?;
        let end = file.seek(SeekFrom::End(0))?;
        let whole = ends_line(&mut file, end)?;
        let synced = Mutex::new(Synced { file: file.try_clone()?, entry: false });
        Ok(DayFile { path: path.into(), state: Mutex::new(State { file, end, whole }), synced })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends lines, each with its end: by one write, unless something goes wrong.
    ///
    /// # Errors
    /// When not all were taken. Some may be there; a cut one will be passed over.
    pub fn append(&self, lines: &[u8]) -> io::Result<()> {
        let mut state = lock(&self.state);
        let mut left = lines;
        let mut attempts = 0;
        while !left.is_empty() {
            let taken = state.write(left)?;
            attempts = if taken == 0 { attempts + 1 } else { 0 };
            if attempts == ATTEMPTS_MAX {
                return Err(io::Error::new(io::ErrorKind::WriteZero, "the file takes a part of a line only"));
            }
            left = &left[taken..];
        }
        Ok(())
    }

    /// Puts on the disk what was appended before, and that the file is there.
    ///
    /// # Errors
    /// When the disk doesn't take it. Asking again may go well and mean nothing.
    pub fn sync(&self) -> io::Result<()> {
        let mut synced = lock(&self.synced);
        synced.file.sync_data()?;
        if !synced.entry {
            sync_folder(&self.path)?;
            synced.entry = true;
        }
        Ok(())
    }
}

impl State {
    /// Writes once. Gives how many bytes of `lines` are there in whole lines: fewer than
    /// all when the write was cut off, or hung its first line on the rest of another.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let fresh;
        let (text, added): (&[u8], usize) = if self.whole {
            (lines, 0)
        } else {
            fresh = [b"\n", lines].concat();
            (&fresh, 1)
        };
        let written = loop {
            match self.file.write(text) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        // Appending leaves the position behind one's own bytes, wherever those went.
        let end = self.file.stream_position()?;
        let start = end.saturating_sub(written as u64);
        let hangs = added == 0 && start != self.end && !ends_line(&mut self.file, start)?;
        self.end = end;
        let taken = &lines[..written.saturating_sub(added)];
        // With nothing written, the end is what it was.
        if written > 0 {
            self.whole = text[written - 1] == b'\n';
        }
        if hangs {
            // Those behind the first line are whole; written again, they are there twice.
            return Ok(0);
        }
        Ok(taken.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1))
    }
}

/// Whether a line may start at `at`.
fn ends_line(file: &mut File, at: u64) -> io::Result<bool> {
    let Some(before) = at.checked_sub(1) else { return Ok(true) };
    let back = file.stream_position()?;
    file.seek(SeekFrom::Start(before))?;
    let mut byte = [0];
    let read = file.read(&mut byte)?;
    file.seek(SeekFrom::Start(back))?;
    // None is there when somebody cut the file: whatever is before then is not ours.
    Ok(read == 1 && byte[0] == b'\n')
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
