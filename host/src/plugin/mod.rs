//! Judgements as WebAssembly components: loading, limits, calls, fallbacks, swaps.
//!
//! The host owns every span and checks every output; what a plugin can do wrong
//! becomes a [`PluginFailure`], and the stage goes on with its [`fallback`].

mod bindings;
pub mod cases;
mod contract;
mod documents;
mod engine;
mod evidence;
mod failure;
pub mod fallback;
mod grants;
mod instance;
mod limits;
mod load;
mod quarantine;
mod ranks;
pub mod recorder;
mod registry;
mod report;
pub mod runner;
mod scoring;
mod selftest;
mod set;
mod shipped;
mod stages;
mod state;

pub use contract::{CONTRACT_PACKAGE, CONTRACT_VERSION, Interface, Surface};
pub use documents::DocumentRows;
pub use engine::PluginEngine;
pub use evidence::{Evidence, KnownEvidence};
pub use failure::{Cause, PluginFailure};
pub use grants::{Capability, Grants};
pub use instance::{CallSettings, Configured};
pub use limits::PluginLimits;
pub use load::{Identity, LoadError, Plugin, Terms, digest};
pub use quarantine::QuarantineSettings;
pub use registry::{Choice, ExtraSettings, PluginSettings, PluginSource, Plugins, Refusal, StageSettings};
pub use report::{CallReport, Called, Dropped, Explained, GuestSpanFact};
pub use scoring::Scoring;
pub use set::PluginSet;
pub use shipped::{SHIPPED, Shipped};
pub use stages::{Budget, ChannelRun, Decision, Fused};
