//! Foreign engines, one file each. Only here, and where git2's global options are
//! set, is there `unsafe`.

pub mod duckdb;
pub mod faiss;
pub mod priority;
pub mod text;
