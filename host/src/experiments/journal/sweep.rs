//! How long the journal is kept.

use std::{fs, io, path::Path};

use time::Date;

use super::days;

/// What stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Days before today, from 1; 0 for all.
    pub days_max: u32,
    /// This day and later ones stay, however old they are: when the oldest experiment that
    /// isn't stopped began, less the days of its units' history. Its figures, and that an
    /// arm was rolled back, are nowhere else.
    pub protected_from: Option<Date>,
}

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub files: u64,
    pub bytes: u64,
}

/// Removes the files of days that are too old. Others, and those of the future, stay.
///
/// # Errors
/// When the folder can't be listed, or the first error of a file that can't be removed;
/// the others are gone all the same.
pub fn sweep(folder: &Path, keep: Keep, today: Date) -> io::Result<Swept> {
    let mut swept = Swept::default();
    let listed = match days(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(swept),
        listed => listed?,
    };
    let too_old = |date: Date| {
        let age_days = (today - date).whole_days();
        keep.days_max > 0 && age_days > i64::from(keep.days_max) && keep.protected_from.is_none_or(|from| date < from)
    };
    let mut failed = None;
    for (_, path) in listed.into_iter().filter(|(date, _)| too_old(*date)) {
        let bytes = path.metadata().map_or(0, |about| about.len());
        match fs::remove_file(&path) {
            Ok(()) => {
                swept.files += 1;
                swept.bytes += bytes;
            }
            // Another process sweeps, too.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(swept), Err)
}
