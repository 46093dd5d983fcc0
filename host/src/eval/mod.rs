//! Measures how good answers are: queries with judgments in, figures with intervals
//! out.
//!
//! ```text
//! read → judgments        files → a checked test set
//! ask                     a test set and an app → hits for each query
//! matching → measures     hits and judgments → what was found at which rank → figures
//! statistics              figures of many queries → means, intervals, tests
//! ablation                what a system consists of → what can be left out
//! report → text           everything → JSON or tables
//! merge                   reports of several sets → one
//! runs                    hits → files that other programs score
//! ```
//!
//! Only `read`, `merge` and `ask` touch the world. `docs/quality.md` says what each
//! figure is.

pub mod ablation;
pub mod ask;
pub mod judgments;
pub mod matching;
pub mod measures;
pub mod merge;
pub mod read;
pub mod report;
pub mod runs;
pub mod statistics;
pub mod text;

pub use judgments::{Layout, SetPaths, TestSet};
pub use matching::{Hit, Level};
pub use measures::Cuts;
pub use report::Report;
