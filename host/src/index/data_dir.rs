//! The data directory: generations side by side, one pointer to the current one.
//!
//! ```text
//! .gitignore            `*`: the folder ignores itself
//! CURRENT               the name of the generation that serves
//! lock                  held while a generation is built
//! generations/g000001/  immutable once it has its name
//! telemetry/runs/       ledgers, outside of the generations
//! cache/                compiled plugins
//! ```

use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};

const CURRENT_FILE: &str = "CURRENT";
/// Folders of builds that are not finished begin with this.
const PARTIAL_PREFIX: &str = ".partial-";

/// A data directory, which may not be there yet.
#[derive(Clone, Debug)]
pub struct DataDir {
    path: PathBuf,
}

/// Why the data directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error("there is no index in {}; make one with `spanloom index PATH`", .0.display())]
    NoIndex(PathBuf),
    #[error("another process is building an index in {}; wait for it or name another --data-dir", .0.display())]
    Locked(PathBuf),
    #[error("{}: {error}", .path.display())]
    Io { path: PathBuf, error: std::io::Error },
}

/// The right to build; given back when dropped, also by the operating system.
pub struct BuildLock {
    file: File,
}

impl Drop for BuildLock {
    fn drop(&mut self) {
        // Closing alone leaves it held while a process that was just forked has a copy.
        if let Err(error) = self.file.unlock() {
            tracing::warn!(%error, "the build lock could not be given back");
        }
    }
}

impl DataDir {
    pub fn new(path: impl Into<PathBuf>) -> DataDir {
        DataDir { path: path.into() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where run ledgers are.
    pub fn ledgers(&self) -> PathBuf {
        self.path.join("telemetry").join("runs")
    }

    /// Where searches and feedback are written down for experiments.
    pub fn experiments(&self) -> PathBuf {
        self.path.join("experiments")
    }

    /// Where compiled plugins are kept.
    pub fn plugin_cache(&self) -> PathBuf {
        self.path.join("cache").join("plugins")
    }

    /// The folder of a generation.
    pub fn generation(&self, name: &str) -> PathBuf {
        self.path.join("generations").join(name)
    }

    /// The name of the generation that serves.
    ///
    /// # Errors
    /// [`DataDirError::NoIndex`] when none was ever finished.
    pub fn current(&self) -> Result<String, DataDirError> {
        let pointer = self.path.join(CURRENT_FILE);
        match fs::read_to_string(&pointer) {
            Ok(name) => Ok(name.trim().to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(DataDirError::NoIndex(self.path.clone())),
            Err(error) => Err(DataDirError::Io { path: pointer, error }),
        }
    }

    /// Makes the directory, with the file that keeps it out of git.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn prepare(&self) -> Result<(), DataDirError> {
        let ignore = self.path.join(".gitignore");
        if ignore.exists() {
            return Ok(());
        }
        std::fs::create_dir_all(&self.path)
            .and_then(|()| fs::write(&ignore, "*\n"))
            .map_err(|error| DataDirError::Io { path: self.path.clone(), error })
    }

    /// The name of the current generation and when its manifest was written: another
    /// one of the same name is told apart.
    ///
    /// # Errors
    /// As [`DataDir::current`].
    pub fn current_stamp(&self) -> Result<(String, Option<std::time::SystemTime>), DataDirError> {
        let name = self.current()?;
        let manifest = self.generation(&name).join(super::manifest::MANIFEST_FILE);
        Ok((name, fs::metadata(manifest).and_then(|found| found.modified()).ok()))
    }

    /// Makes the directory, takes the build lock and clears away what crashed builds
    /// left.
    ///
    /// # Errors
    /// [`DataDirError::Locked`] while another build runs.
    pub fn lock(&self) -> Result<BuildLock, DataDirError> {
        let at = |path: &Path| {
            let path = path.to_path_buf();
            move |error| DataDirError::Io { path, error }
        };
        let generations = self.path.join("generations");
        self.prepare()?;
        fs::create_dir_all(&generations).map_err(at(&generations))?;
        let path = self.path.join("lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(at(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DataDirError::Locked(self.path.clone())),
            Err(TryLockError::Error(error)) => return Err(DataDirError::Io { path, error }),
        }
        for entry in fs::read_dir(&generations).map_err(at(&generations))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(PARTIAL_PREFIX) {
                fs::remove_dir_all(entry.path()).map_err(at(&entry.path()))?;
            }
        }
        self.remove_old()?;
        Ok(BuildLock { file })
    }

    /// An empty folder for a build, and the name that its generation will have: one
    /// more than any there is.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn begin(&self, _lock: &BuildLock) -> Result<(PathBuf, String), DataDirError> {
        let last = self.generations()?.into_iter().filter_map(|name| name.strip_prefix('g')?.parse::<u64>().ok()).max().unwrap_or(0);
        let name = format!("g{:06}", last + 1);
        let folder = self.generation(&format!("{PARTIAL_PREFIX}{name}"));
        // An attempt of the same build may have been given up.
        let emptied = if folder.exists() { fs::remove_dir_all(&folder) } else { Ok(()) };
        emptied.and_then(|()| fs::create_dir_all(&folder)).map_err(|error| DataDirError::Io { path: folder.clone(), error })?;
        Ok((folder, name))
    }

    /// Gives a finished build its name and points to it. All others are removed but
    /// the one that served before. Until the last rename the old generation serves,
    /// whenever the process is killed.
    ///
    /// # Errors
    /// When a rename fails; the old generation goes on serving.
    pub fn publish(&self, _lock: &BuildLock, folder: &Path, name: &str) -> Result<(), DataDirError> {
        let named = self.generation(name);
        let pointer = self.path.join(CURRENT_FILE);
        let next = self.path.join("CURRENT.next");
        let io = |path: &Path, result: std::io::Result<()>| result.map_err(|error| DataDirError::Io { path: path.into(), error });
        io(folder, sync_folder(folder))?;
        io(&named, fs::rename(folder, &named))?;
        io(&named, sync_folder(&self.path.join("generations")))?;
        let mut file = File::create(&next).map_err(|error| DataDirError::Io { path: next.clone(), error })?;
        io(&next, file.write_all(format!("{name}\n").as_bytes()).and_then(|()| file.sync_all()))?;
        io(&pointer, fs::rename(&next, &pointer))?;
        io(&pointer, sync_folder(&self.path))?;
        self.remove_old()?;
        Ok(())
    }

    /// Removes all generations but the current one and the one that served before it:
    /// readers may still have that open. Newer ones were named by a build that was
    /// killed before it pointed to them. What can't be removed stays for the next build.
    fn remove_old(&self) -> Result<(), DataDirError> {
        let current = match self.current() {
            Err(DataDirError::NoIndex(_)) => None,
            found => Some(found?),
        };
        let names = self.generations()?;
        let before = names.iter().rfind(|name| current.as_ref().is_some_and(|current| *name < current));
        for other in names.iter().filter(|name| Some(*name) != current.as_ref() && Some(*name) != before) {
            if let Err(error) = fs::remove_dir_all(self.generation(other)) {
                tracing::warn!(generation = other, %error, "an old generation could not be removed");
            }
        }
        Ok(())
    }

    /// The names of all finished generations, oldest first.
    fn generations(&self) -> Result<Vec<String>, DataDirError> {
        let folder = self.path.join("generations");
        let entries = fs::read_dir(&folder).map_err(|error| DataDirError::Io { path: folder, error })?;
        let mut names: Vec<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(|name| name.starts_with('g')).collect();
        names.sort();
        Ok(names)
    }
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pointer_moves_last_and_old_generations_go() {
        let root = tempfile::tempdir().unwrap();
        let data = DataDir::new(root.path().join("data"));
        assert!(data.current().unwrap_err().to_string().contains("spanloom index"));
        let mut names = Vec::new();
        for _ in 0..4 {
            let lock = data.lock().unwrap();
            assert!(matches!(DataDir::new(data.path()).lock(), Err(DataDirError::Locked(_))));
            let (folder, name) = data.begin(&lock).unwrap();
            fs::write(folder.join("file"), &name).unwrap();
            data.publish(&lock, &folder, &name).unwrap();
            assert_eq!(data.current().unwrap(), name);
            names.push(name);
        }
        assert_eq!(names, ["g000001", "g000002", "g000003", "g000004"]);
        assert_eq!(data.generations().unwrap(), ["g000003", "g000004"]);
        assert_eq!(fs::read_to_string(data.path().join(".gitignore")).unwrap(), "*\n");
    }

    #[test]
    fn what_a_crash_left_is_cleared_and_never_served() {
        let root = tempfile::tempdir().unwrap();
        let data = DataDir::new(root.path());
        let lock = data.lock().unwrap();
        let (partial, _) = data.begin(&lock).unwrap();
        drop(lock);
        assert!(data.current().is_err());
        drop(data.lock().unwrap());
        assert!(!partial.exists());
    }

    #[test]
    fn a_crash_while_publishing_is_tidied_up_by_the_next_build() {
        let root = tempfile::tempdir().unwrap();
        let data = DataDir::new(root.path());
        let lock = data.lock().unwrap();
        for _ in 0..3 {
            let (folder, name) = data.begin(&lock).unwrap();
            data.publish(&lock, &folder, &name).unwrap();
        }
        drop(lock);
        // Killed before the oldest was removed, and another time before the pointer moved.
        for left in ["g000001", "g000004"] {
            fs::create_dir_all(data.generation(left)).unwrap();
        }
        drop(data.lock().unwrap());
        assert_eq!(data.generations().unwrap(), ["g000002", "g000003"]);
        assert_eq!(data.current().unwrap(), "g000003");
    }
}
