//! End-to-end tests: the real binary, a real git repository, real MCP clients, a real
//! OTLP receiver. One integration binary; each module is a promise.

mod authoring;
mod bad_input;
mod clients;
mod contract;
mod crash;
mod documents;
mod eval;
mod experiments;
mod experiments_examples;
mod experiments_guard;
mod experiments_modes;
mod experiments_offline;
mod experiments_population;
mod failures;
mod git_tools;
mod hostile;
mod main_job;
mod metrics;
mod otel;
mod pages;
mod peers;
mod reports;
mod spans;
mod support;
mod swaps;
mod terms;
mod text;
mod traces;
mod updates;
mod vllm;
mod workbench;
