//! What the code's own tools know: for now, git.

pub mod git;
