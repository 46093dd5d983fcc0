//! Write a ranking plugin for Spanloom: implement one trait, call one macro.
//!
//! ```
//! use spanloom_plugin::{Call, Fused, Fusion, FusionSettings, PluginError, Run, Span};
//!
//! /// Takes the first run as it is.
//! struct FirstRun;
//!
//! #[derive(Default, serde::Deserialize, schemars::JsonSchema)]
//! #[serde(default, deny_unknown_fields)]
//! struct Parameters {}
//!
//! impl Fusion for FirstRun {
//!     type Parameters = Parameters;
//!
//!     fn configure(_: Parameters) -> Result<Self, PluginError> {
//!         Ok(FirstRun)
//!     }
//!
//!     fn fuse(&self, stage: &Span, _: &Call, _: &FusionSettings, runs: &[Run]) -> Result<Fused, PluginError> {
//!         let Some(first) = runs.first() else {
//!             return Ok(spanloom_plugin::no_rows());
//!         };
//!         stage.event("first.run", || [("rows", first.ids.len().into())]);
//!         let contributions = first.scores.iter().flat_map(|&score| {
//!             (0..runs.len()).map(move |run| if run == 0 { score } else { 0.0 })
//!         });
//!         Ok(Fused {
//!             ids: first.ids.clone(),
//!             scores: first.scores.clone(),
//!             contributions: contributions.collect(),
//!         })
//!     }
//! }
//!
//! spanloom_plugin::export_fusion!(FirstRun);
//! ```
//!
//! `cargo build --release --target wasm32-wasip2` makes the component (the crate
//! needs `crate-type = ["cdylib", "rlib"]`); its name and version are those of the
//! package. `cargo test` runs the same logic natively: [`Span::recorded`] keeps
//! what a test wants to look at, [`Documents::in_memory`] stands in for the index,
//! and [`testing`] makes the other arguments. On the native side nothing is
//! exported, so the macro only checks that the trait is implemented.
//!
//! What the host promises and expects is written in the contract, `wit/`; the data
//! types here are the ones generated from it.

#[doc(hidden)]
pub mod bindings;
mod columns;
mod documents;
pub mod evidence;
pub mod explain;
#[doc(hidden)]
pub mod instance;
pub mod log;
mod parameters;
mod span;
mod stage;
pub mod testing;

pub use bindings::fusion::exports::spanloom::search::fusion::{Fused, Settings as FusionSettings};
pub use bindings::gate::exports::spanloom::search::gate::{Budget, Decision};
pub use bindings::rerank::exports::spanloom::search::rerank::Candidates;
pub use bindings::rerank::spanloom::search::documents::Facts;
pub use bindings::rerank::spanloom::search::scoring::ScoringError;
pub use bindings::rerank::spanloom::search::telemetry::{SpanContext, Value};
pub use bindings::rerank::spanloom::search::types::{Call, PluginError, Profile, Run};

pub use columns::{check_profile, check_rows, check_runs};
pub use documents::{Asked, Document, Documents};
pub use evidence::Evidence;
pub use parameters::{check_range, describe, parse};
pub use span::{Record, RecordedEvent, RecordedSpan, Span};
pub use stage::{Fusion, Gate, Rerank, no_rows};
