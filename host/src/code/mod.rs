//! What the code's own tools know: for now, git.
//!
//! [`git`] stamps an index; [`blame`] and [`history`] answer about one file. All of it only
//! reads: nothing writes to a repository, runs a hook, a filter or a configured command, or
//! contacts a remote.

pub mod blame;
pub mod error;
pub mod git;
pub mod history;
mod renames;
pub mod walk;

#[cfg(test)]
mod test_repo;
