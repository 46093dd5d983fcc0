//! How long ledgers are kept: by age and by size.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use time::macros::format_description;
use time::{Date, OffsetDateTime};

/// What is kept. 0 means without bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Days before today.
    pub days_max: u32,
    /// Bytes of all ledgers.
    pub bytes_max: u64,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention { days_max: 30, bytes_max: 1 << 30 }
    }
}

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub files: u64,
    pub bytes: u64,
}

/// A ledger younger than this belongs to a run that may be going on, and stays.
const UNTOUCHED: Duration = Duration::from_secs(15 * 60);

struct Ledger {
    path: PathBuf,
    bytes: u64,
    modified: SystemTime,
}

/// Removes ledgers that are too old, then the oldest ones until the rest fits. Only
/// `*.jsonl` in folders named by a day are touched; folders that are left empty go.
///
/// # Errors
/// When the folder can't be listed or a file can't be removed.
pub fn sweep(folder: &Path, retention: Retention, now: SystemTime) -> io::Result<Swept> {
    let today = OffsetDateTime::from(now).date();
    let mut swept = Swept::default();
    // One file that stays must not keep all others.
    let mut failed = None;
    let mut kept = Vec::new();
    for (date, day) in days(folder)? {
        let too_old = retention.days_max > 0 && (today - date).whole_days() > i64::from(retention.days_max);
        for ledger in ledgers(&day)? {
            if too_old {
                failed = failed.or(remove(&ledger, &mut swept).err());
            } else {
                kept.push(ledger);
            }
        }
        if too_old {
            // Not empty when something else lies there: that is not ours to remove.
            let _ = fs::remove_dir(&day);
        }
    }
    let mut bytes: u64 = kept.iter().map(|ledger| ledger.bytes).sum();
    if retention.bytes_max == 0 || bytes <= retention.bytes_max {
        return failed.map_or(Ok(swept), Err);
    }
    kept.sort_by(|a, b| (a.modified, &a.path).cmp(&(b.modified, &b.path)));
    for ledger in kept {
        // One from the future was written to before the clock was set back.
        let young = now.duration_since(ledger.modified).map_or(true, |age| age < UNTOUCHED);
        if bytes <= retention.bytes_max || young {
            break;
        }
        if let Err(error) = remove(&ledger, &mut swept) {
            failed = failed.or(Some(error));
            continue;
        }
        bytes -= ledger.bytes;
        if let Some(day) = ledger.path.parent() {
            // It holds younger ledgers unless this was the last one.
            let _ = fs::remove_dir(day);
        }
    }
    failed.map_or(Ok(swept), Err)
}

/// The folders of days, oldest first.
fn days(folder: &Path) -> io::Result<Vec<(Date, PathBuf)>> {
    let format = format_description!("[year]-[month]-[day]");
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut days = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Some(date) = entry.file_name().to_str().and_then(|name| Date::parse(name, format).ok())
            && entry.file_type()?.is_dir()
        {
            days.push((date, entry.path()));
        }
    }
    days.sort();
    Ok(days)
}

fn ledgers(day: &Path) -> io::Result<Vec<Ledger>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(day)? {
        let entry = entry?;
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "jsonl") && entry.file_type()?.is_file() {
            // Another process may have removed it just now.
            let Ok(metadata) = entry.metadata() else { continue };
            found.push(Ledger { path, bytes: metadata.len(), modified: metadata.modified()? });
        }
    }
    Ok(found)
}

fn remove(ledger: &Ledger, swept: &mut Swept) -> io::Result<()> {
    match fs::remove_file(&ledger.path) {
        // Another process may sweep the same folder.
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    swept.files += 1;
    swept.bytes += ledger.bytes;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    /// Ledgers of 10 bytes, one for each of the last days, today's last.
    fn ledgers_of(days: u64) -> (tempfile::TempDir, SystemTime) {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::UNIX_EPOCH + 20_000 * DAY;
        for back in 0..days {
            let at = now - DAY * back as u32;
            let day = folder.path().join(OffsetDateTime::from(at).date().to_string());
            fs::create_dir_all(&day).unwrap();
            let path = day.join(format!("run-{back}.jsonl"));
            fs::write(&path, "0123456789").unwrap();
            fs::File::options().append(true).open(&path).unwrap().set_modified(at).unwrap();
        }
        (folder, now)
    }

    fn left(folder: &Path) -> usize {
        days(folder).unwrap().iter().map(|(_, day)| ledgers(day).unwrap().len()).sum()
    }

    #[test]
    fn age_then_size() {
        let (folder, now) = ledgers_of(10);
        let foreign = folder.path().join("notes");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("mine.jsonl"), "0123456789").unwrap();
        let sweep = |days_max, bytes_max| sweep(folder.path(), Retention { days_max, bytes_max }, now).unwrap().files;
        assert_eq!((sweep(0, 0), left(folder.path())), (0, 10));
        assert_eq!((sweep(6, 0), left(folder.path())), (3, 7));
        assert_eq!((sweep(6, 45), left(folder.path())), (3, 4));
        // The youngest may belong to a run that goes on.
        assert_eq!((sweep(6, 1), left(folder.path())), (3, 1));
        assert!(foreign.join("mine.jsonl").exists());
        assert_eq!(days(folder.path()).unwrap().len(), 1);
        assert_eq!(super::sweep(&folder.path().join("none"), Retention::default(), now).unwrap(), Swept::default());
    }
}
