//! End-to-end tests: the real binary, a real git repository, real MCP clients, a real
//! OTLP receiver. One integration binary; each module is a promise.

mod bad_input;
mod clients;
mod crash;
mod hostile;
mod main_job;
mod support;
mod traces;
mod vllm;
