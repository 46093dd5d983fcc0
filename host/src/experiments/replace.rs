//! Changes of small files: by one process at a time, and never half done.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use super::journal::sync_folder;

/// Nobody waits longer for another process, which holds a lock for a few writes only.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(5);

/// The right to change something; given back when dropped, also by the system.
pub(super) struct Lock(File);

impl Lock {
    /// Takes the lock of a file, which is made when it isn't there and never removed. Waits
    /// ten seconds at most.
    ///
    /// # Errors
    /// When the file can't be made, or another process doesn't give it back.
    pub fn take(path: &Path) -> io::Result<Lock> {
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        let until = Instant::now() + WAIT_MAX;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock(file)),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if Instant::now() >= until => {
                    let held = format!("another process has held it for {} s", WAIT_MAX.as_secs());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, held));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing alone leaves it held while a process that was just forked has a copy.
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "a lock could not be given back");
        }
    }
}

/// A new text of a file, on the disk beside it. Dropped, it is gone.
pub(super) struct Replacement {
    beside: NamedTempFile,
    path: PathBuf,
}

impl Replacement {
    /// Writes the text beside the file, with the file's rights. Of a link, it is the file
    /// linked to that is replaced.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn of(path: &Path, text: &str) -> io::Result<Replacement> {
        let path = if path.exists() { fs::canonicalize(path)? } else { path.to_owned() };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut beside = tempfile::Builder::new();
        beside.prefix(".").suffix(".new");
        #[cfg(unix)]
        let beside = beside.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut beside = beside.tempfile_in(folder)?;
        if let Ok(about) = fs::metadata(&path) {
            beside.as_file().set_permissions(about.permissions())?;
        }
        beside.write_all(text.as_bytes())?;
        beside.as_file().sync_all()?;
        Ok(Replacement { beside, path })
    }

    /// Puts it in the file's place, at once for whoever reads.
    ///
    /// # Errors
    /// When the file stays as it was, or is replaced and may not outlive a power cut.
    pub fn put(self) -> io::Result<()> {
        self.beside.persist(&self.path).map_err(|error| error.error)?;
        sync_folder(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_keeps_its_rights() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        Replacement::of(&path, "one").unwrap().put().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        drop(Replacement::of(&path, "two").unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        #[cfg(unix)]
        {
            use std::os::unix::fs::{PermissionsExt as _, symlink};
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            let link = folder.path().join("b.toml");
            symlink("a.toml", &link).unwrap();
            Replacement::of(&link, "three").unwrap().put().unwrap();
            assert!(link.is_symlink());
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        }
        #[cfg(not(unix))]
        Replacement::of(&path, "three").unwrap().put().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "three");
        assert_eq!(fs::read_dir(folder.path()).unwrap().filter(|entry| entry.as_ref().unwrap().path().extension().is_none()).count(), 0);
        assert!(Replacement::of(&folder.path().join("none/a.toml"), "x").is_err());
    }

    #[test]
    fn one_at_a_time_changes_something() {
        let folder = tempfile::tempdir().unwrap();
        let (lock, count) = (folder.path().join("lock"), folder.path().join("count"));
        fs::write(&count, "0").unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..25 {
                        let _held = Lock::take(&lock).unwrap();
                        let number: u32 = fs::read_to_string(&count).unwrap().parse().unwrap();
                        Replacement::of(&count, &(number + 1).to_string()).unwrap().put().unwrap();
                    }
                });
            }
        });
        assert_eq!(fs::read_to_string(&count).unwrap(), "100");
    }
}
