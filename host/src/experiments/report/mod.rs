//! The report of an online experiment: what the journal says of it, as figures, intervals
//! and one sentence.
//!
//! ```text
//! gather       journal lines, in any order → runs, each thing once       run, moment
//! population   runs → units, their outcomes now and before
//! compare      arms on metrics → differences with intervals              prefer, for one list of two arms
//! guards       latencies, shares of runs that went wrong, guardrails
//! quality      whether the shares of units are right, and all warnings
//! verdict      what may be concluded
//! compose      all of it → the report                                    report, its form
//! document     the report → sections → Markdown or HTML                  words, markdown, html, plot
//! ```

mod classes;
pub(in crate::experiments) mod compare;
mod compose;
pub(in crate::experiments) mod document;
pub(in crate::experiments) mod figure;
mod gather;
mod guards;
mod html;
pub(in crate::experiments) mod markdown;
mod methods;
mod moment;
mod plot;
mod population;
mod prefer;
mod quality;
#[allow(clippy::module_inception)]
mod report;
mod run;
#[cfg(test)]
mod tests;
mod verdict;
mod words;

pub use compose::compose;
pub use html::html;
pub use markdown::markdown;
pub use report::*;
pub use verdict::{ArmVerdict, Outcome, Verdict};

/// The JSON Schema (2020-12) of [`Report`].
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Report).to_value()
}
