//! Spanloom: a search host for code whose ranking stages are WebAssembly plugins and
//! whose every stage is a span.
//!
//! A query goes through [`pipeline::search`]; `ARCHITECTURE.md` has the map.

pub mod app;
pub mod channels;
pub mod cli;
pub mod code;
pub mod config;
pub mod engines;
pub mod envelope;
pub mod eval;
pub mod evidence;
pub mod expansion;
pub mod experiments;
pub mod explanation;
pub mod faults;
pub mod http;
pub mod index;
pub mod mcp;
pub mod models;
pub mod pipeline;
pub mod plugin;
pub mod profile;
pub mod recency;
pub mod reports;
pub mod request;
pub mod rm3;
pub mod telemetry;
pub mod types;
mod words;
