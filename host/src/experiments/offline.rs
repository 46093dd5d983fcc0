//! Arms without users: every arm answers the same queries, and what it finds is held
//! against judgments, or against what was used when the query was first asked.
//!
//! ```text
//! measured    the metrics of a file → measures of judgments
//! recorded    findings of a recorded run, what was used of them → figures
//! compose     figures of every arm on the same queries → differences, the report    report, its form
//! verdict     differences → one sentence
//! document    the report → Markdown
//! ```
//!
//! Whoever asks is elsewhere: nothing here searches.

mod compose;
mod document;
mod measured;
pub mod recorded;
mod report;
#[cfg(test)]
mod tests;
mod verdict;

pub use compose::{ArmAnswers, Asked, compose};
pub use document::markdown;
pub use measured::Measures;
pub use report::*;
