//! The index, offline: from folders and files of records to an immutable generation.

pub mod build;
pub mod catalog;
pub mod chunk;
pub mod data_dir;
pub mod dense;
pub mod documents;
pub(crate) mod link;
pub mod manifest;
mod previous;
mod read;
pub mod role;
mod roots;
pub mod scan;
pub mod snapshot;
pub mod standing;
pub mod tokenize;
mod update;
mod whole;
