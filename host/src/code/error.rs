//! Why git can't answer, with a class for each cause.

use std::io;
use std::path::PathBuf;

use git2::{ErrorClass, ErrorCode};

/// Why git's facts are missing. An index can be built without them.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("{} cannot be resolved", root.display())]
    Root {
        root: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the git repository around {} cannot be opened", root.display())]
    Open {
        root: PathBuf,
        #[source]
        source: git2::Error,
    },
    #[error("the git repository around {} cannot be read: is it damaged, or a partial clone?", root.display())]
    Read {
        root: PathBuf,
        #[source]
        source: git2::Error,
    },
    #[error("{} is in no git work tree", root.display())]
    NoWorkTree { root: PathBuf },
    #[error("the git repository around {} has no commit yet", root.display())]
    NoCommits { root: PathBuf },
    #[error("`{path}` is no file that the commit HEAD tracks")]
    Untracked { path: String },
    #[error("`{path}` has {bytes} bytes at HEAD; at most {bytes_max} are compared")]
    TooLarge { path: String, bytes: usize, bytes_max: usize },
}

impl GitError {
    /// The cause as one of few words, the value of `error.type`.
    pub fn class(&self) -> &'static str {
        match self {
            GitError::Root { .. } => "git_root",
            GitError::Open { .. } => "git_open",
            GitError::Read { source, .. } => read_class(source),
            GitError::NoWorkTree { .. } => "git_no_work_tree",
            GitError::NoCommits { .. } => "git_no_commits",
            GitError::Untracked { .. } => "git_untracked",
            GitError::TooLarge { .. } => "git_too_large",
        }
    }
}

/// libgit2 has no class of its own for a missing object: the object database says that it
/// found nothing. What is there and can't be unpacked, parsed or has another hash is damaged.
fn read_class(source: &git2::Error) -> &'static str {
    match (source.class(), source.code()) {
        (ErrorClass::Odb, ErrorCode::NotFound) => "git_object_missing",
        (ErrorClass::Odb | ErrorClass::Zlib | ErrorClass::Object | ErrorClass::Tree | ErrorClass::Indexer, _) => "git_object_damaged",
        _ => "git_read",
    }
}
