//! Experiments on rankings: what is compared, for whom, and how it is decided.
//!
//! ```text
//! read         a file or a folder of TOML → experiments that can be carried out
//! definition   the words of such a file   ┐
//! metric       what is measured           ┴ the published schema
//! check        one experiment, then all of a folder → every problem, with its key
//! digest       what may not change without a new version
//! plan         an experiment → how its units are assigned
//! assign       a plan and a unit → the arm, or why there is none
//! board        the experiments of a moment and who asks → the run's arms
//! events       what is written down of searches and of what became of them
//! journal      where they are kept, so that none is lost
//! feedback     what somebody says of findings → events
//! control      a request to start, pause, stop or ramp → the file changed, and who did it
//! standing     what a server decided by itself → which arms are given
//! monitor      guardrails and the latest runs → the arm that breaches one
//! interleave   rankings → one list in which each rank has a team; feedback → credits
//! overlap      two rankings → how alike they are
//! offline      arms on the same queries → what judgments or recorded runs tell of them
//! simulate     an experiment and what is expected → how long it takes
//! report       an experiment and its journal → what may be concluded
//! statistics   figures of arms → differences and how far they can be trusted
//! ```
//!
//! Nothing here knows an index, a plugin or a client.

pub mod assign;
pub mod board;
mod check;
pub mod control;
mod definition;
mod digest;
pub mod events;
pub mod feedback;
pub mod interleave;
pub mod journal;
mod metric;
pub mod monitor;
pub mod offline;
pub mod overlap;
mod plan;
mod read;
mod replace;
pub mod report;
pub mod simulate;
pub mod standing;
pub mod statistics;
#[cfg(test)]
mod tests;

pub use check::{CheckedExperiment, Problem};
pub use definition::*;
pub use metric::*;
pub use read::{ExperimentFile, FILE_BYTES_MAX, ReadError, read_file, read_files, read_folder, read_text};

/// The JSON Schema (2020-12) of [`Experiment`], as published in `docs/experiment.schema.json`.
/// What it can't say, such as rules between keys, [`Experiment::check`] refuses.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Experiment).to_value()
}
