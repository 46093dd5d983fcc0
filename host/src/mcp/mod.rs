//! The Model Context Protocol side: which tools there are, how a call becomes a run,
//! and how an answer is written down for an agent.
//!
//! The core is behind [`SearchService`]; nothing here knows an index or a plugin.
//! How messages come in and out over HTTP is the matter of `crate::http`.

mod call;
pub mod client;
mod digest;
mod fit;
mod resource;
mod server;
mod text;
mod tools;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::envelope::{AnswerEnvelope, BlameAnswer, FileSlice, HistoryAnswer};
use crate::experiments::feedback::{FeedbackAnswer, FeedbackArguments};
use crate::experiments::report::Report as ExperimentReport;
use crate::reports::{ReportKey, Reported};
use crate::request::{BlameArguments, HistoryRequest, OpenFileArguments, RequestError, SearchRequest};
use crate::telemetry::{Caller, Run, Span};

pub use call::{CallSlot, Ids};
pub use digest::envelope_sha256;
pub use fit::ANSWER_CHARS_MAX;
pub use server::McpServer;
pub(crate) use server::{TOOL_NAME_CHARS_MAX, answered_blame, answered_file, answered_history, answered_search};
pub use tools::Tool;
pub(crate) use tools::parse as arguments;

/// What answers the tools.
pub trait SearchService: Send + Sync + 'static {
    /// Opens the run of a tool call. `tool` is as the client wrote it, shortened to
    /// 128 characters, so it may be no tool at all; `arguments` are not checked yet.
    fn begin_run(&self, tool: &str, caller: &Caller, arguments: Json) -> Run;

    /// Opens the span of a message that is no tool call, such as `initialize` or
    /// `tools/list`; `method` is one of a fixed set or `other`. It ends when the
    /// response begins. `None`, the default, records nothing: the client then gets
    /// ids that stand for no span.
    fn begin_exchange(&self, method: &'static str, caller: &Caller) -> Option<Span> {
        let _ = (method, caller);
        None
    }

    /// Answers `semantic_search` and `semantic_search_pro`.
    ///
    /// # Errors
    /// Only when there can be no answer; everything else degrades it.
    fn search<'a>(&'a self, run: &'a Run, request: SearchRequest) -> BoxFuture<'a, Result<AnswerEnvelope, RequestError>>;

    /// Answers `open_file`.
    ///
    /// # Errors
    /// When the lines can't be named or the file isn't there.
    fn open_file<'a>(&'a self, run: &'a Run, arguments: OpenFileArguments) -> BoxFuture<'a, Result<FileSlice, RequestError>>;

    /// Answers `git_blame`.
    ///
    /// # Errors
    /// When the lines can't be named, the file isn't there, or git can't tell.
    fn git_blame<'a>(&'a self, run: &'a Run, arguments: BlameArguments) -> BoxFuture<'a, Result<BlameAnswer, RequestError>>;

    /// Answers `git_history`.
    ///
    /// # Errors
    /// When the file isn't there, or git can't tell.
    fn git_history<'a>(&'a self, run: &'a Run, request: HistoryRequest) -> BoxFuture<'a, Result<HistoryAnswer, RequestError>>;

    /// Answers `run_report`, and whoever else wants a report: those have no run of
    /// their own.
    ///
    /// # Errors
    /// When no such run is kept, or the ledgers can't be read.
    fn run_report<'a>(&'a self, run: Option<&'a Run>, key: ReportKey) -> BoxFuture<'a, Result<Reported, RequestError>>;

    /// Answers `report_feedback`.
    ///
    /// # Errors
    /// When it names what the run didn't show, or can't be written down.
    fn report_feedback<'a>(&'a self, run: &'a Run, arguments: FeedbackArguments) -> BoxFuture<'a, Result<FeedbackAnswer, RequestError>>;

    /// Says that the answer of a run has been sent, or that nobody waits for it any more:
    /// what need not delay it may begin. Must not block. Nothing, by default.
    fn answer_sent(&self, run_id: &str) {
        let _ = run_id;
    }

    /// Answers `experiment_report`, and whoever else wants one: those have no run of their
    /// own.
    ///
    /// # Errors
    /// When there is no such experiment, or the journal can't be read.
    fn experiment_report<'a>(&'a self, run: Option<&'a Run>, id: String) -> BoxFuture<'a, Result<ExperimentReport, RequestError>>;

    /// Whether calls can be answered now, and why not. Must not block.
    fn readiness(&self) -> Readiness;

    /// What is searched, as part of a sentence for agents: `the repositories axum and
    /// tower`. Empty, the default, leaves it out.
    fn roots_description(&self) -> String {
        String::new()
    }
}

/// Whether the server can answer, with everything that was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether searches can be answered, be it degraded.
    pub ready: bool,
    pub checks: Vec<Check>,
}

/// One thing that readiness depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub name: String,
    pub ok: bool,
    /// What was found, and what to do when it isn't `ok`.
    pub detail: String,
}

#[cfg(test)]
pub(crate) mod double;
#[cfg(test)]
mod tests;
