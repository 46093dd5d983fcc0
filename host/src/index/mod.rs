//! The index, offline: from folders of files to an immutable generation.

pub mod build;
pub mod catalog;
pub mod chunk;
pub mod data_dir;
pub mod dense;
pub(crate) mod link;
pub mod manifest;
mod previous;
mod read;
pub mod role;
mod roots;
pub mod scan;
pub mod snapshot;
pub mod tokenize;
mod update;
