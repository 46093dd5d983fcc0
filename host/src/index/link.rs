//! Files that two generations share: one file with two names.

use std::fs;
use std::path::{Path, PathBuf};

/// What could not be linked, and not be copied either.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", path.display())]
pub struct LinkError {
    pub path: PathBuf,
    pub error: std::io::Error,
}

/// Gives a file that never changes a second name, or copies it where the file system has
/// no hard links.
///
/// # Errors
/// When neither can be done, as when `to` is there already.
pub fn link_or_copy(from: &Path, to: &Path) -> Result<(), LinkError> {
    if fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    let copy = || {
        let mut source = fs::File::open(from)?;
        std::io::copy(&mut source, &mut fs::File::create_new(to)?).map(drop)
    };
    copy().map_err(|error| LinkError { path: from.into(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linked_file_outlives_its_first_name() {
        let folder = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| folder.path().join(name));
        assert!(link_or_copy(&from, &to).unwrap_err().to_string().contains("from"));
        assert!(!to.exists());
        fs::write(&from, "text").unwrap();
        link_or_copy(&from, &to).unwrap();
        assert!(link_or_copy(&from, &to).is_err());
        fs::remove_file(&from).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "text");
    }
}
