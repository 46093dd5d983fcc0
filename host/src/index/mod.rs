//! The index, offline: from folders and files of records to an immutable generation.

pub mod build;
pub mod catalog;
pub mod chunk;
pub mod data_dir;
pub mod documents;
pub mod manifest;
mod read;
pub mod role;
pub mod scan;
pub mod snapshot;
pub mod standing;
pub mod tokenize;
