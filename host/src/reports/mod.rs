//! Run reports: what a run's ledger tells, put in order for people and programs.
//!
//! `compose` reads a record into a [`RunReport`], `stop` finds where and why the run
//! stopped, `markdown` and `waterfall` write it down for people. The rest hands reports
//! on: by id ([`report()`]), shortened ([`cut`]), packed ([`pack`]), run again ([`replay`]).

mod compose;
pub mod cut;
pub(crate) mod escape;
mod headline;
mod key;
mod lookup;
mod markdown;
pub mod pack;
mod parts;
mod remedy;
pub mod replay;
mod report;
mod stages;
mod stop;
pub(crate) mod table;
#[cfg(test)]
mod tests;
mod trail;
mod waterfall;

pub use compose::compose;
pub use key::{ReportFormat, ReportKey, RunReportArguments};
pub use lookup::{REPORT_TOOL, Reported, find, report};
pub use markdown::markdown;
pub use report::*;

/// The JSON Schema (2020-12) of [`RunReport`], as published in `docs/run_report.schema.json`.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(RunReport).to_value()
}
