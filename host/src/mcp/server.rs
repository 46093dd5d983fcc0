//! Answers MCP requests: lists the tools, calls them, and finishes every run.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use opentelemetry::trace::FutureExt as _;
use rmcp::ErrorData;
use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, CustomRequest, CustomResult, ErrorCode, Implementation,
    ListResourceTemplatesResult, ListToolsResult, MetaObject, PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse,
    ServerCapabilities, ServerConfig, Tool as ToolCard,
};
use rmcp::service::{RequestContext, RoleServer};
use serde::Serialize;
use serde_json::{Value as Json, json};
use tokio_util::sync::CancellationToken;

use super::call::{CallSlot, LEFT, OpenRun};
use super::resource::{self, ReportResource};
use super::tools::{self, Tool};
use super::{SearchService, envelope_sha256, fit, text};
use crate::envelope::{AnswerEnvelope, BlameAnswer, FileSlice, HistoryAnswer, Observability};
use crate::reports::RunReportArguments;
use crate::request::{HistoryRequest, RequestError, SearchRequest};
use crate::telemetry::{self, Caller, Run};

/// Characters of an unknown tool's name that are recorded.
pub(crate) const TOOL_NAME_CHARS_MAX: usize = 128;

/// The MCP server, one clone for each session.
#[derive(Clone)]
pub struct McpServer {
    service: Arc<dyn SearchService>,
    call_timeout: Duration,
    stop: CancellationToken,
}

/// A tool's answer, and what the ledger keeps of it.
struct Answer {
    text: String,
    structured: Json,
    outcome: Json,
}

impl McpServer {
    /// A server that gives each call at most `call_timeout`, and cancels those that
    /// run when `stop` is cancelled.
    pub fn new(service: Arc<dyn SearchService>, call_timeout: Duration, stop: CancellationToken) -> McpServer {
        McpServer { service, call_timeout, stop }
    }

    /// The run of a call: the one the HTTP layer opened, else a new one.
    fn open_run(&self, request: &CallToolRequestParams, context: &RequestContext<RoleServer>) -> OpenRun {
        let slot = context.extensions.get::<axum::http::request::Parts>().and_then(|parts| parts.extensions.get::<CallSlot>());
        slot.and_then(CallSlot::take).unwrap_or_else(|| {
            let parent =
                context.meta.get_traceparent().and_then(|parent| telemetry::parse_trace_context(parent, context.meta.get_tracestate()));
            let caller =
                Caller { parent, protocol_version: context.protocol_version().map(|version| version.to_string()), ..Caller::default() };
            let tool: String = request.name.chars().take(TOOL_NAME_CHARS_MAX).collect();
            OpenRun::new(self.service.begin_run(&tool, &caller, json!(request.arguments)))
        })
    }

    async fn answer(&self, tool: Tool, run: &Run, arguments: Json) -> Result<Answer, RequestError> {
        match tool {
            Tool::Search => self.search(run, SearchRequest::simple(tools::parse(tool, arguments)?)?).await,
            Tool::SearchPro => self.search(run, SearchRequest::pro(tools::parse(tool, arguments)?)?).await,
            Tool::OpenFile => {
                let mut slice = self.service.open_file(run, tools::parse(tool, arguments)?).await?;
                let (structured, outcome) = answered_file(&mut slice)?;
                Ok(Answer { text: text::file(&slice), structured, outcome })
            }
            Tool::GitBlame => {
                let mut blame = self.service.git_blame(run, tools::parse(tool, arguments)?).await?;
                let (structured, outcome) = answered_blame(&mut blame)?;
                Ok(Answer { text: text::blame(&blame), structured, outcome })
            }
            Tool::GitHistory => {
                let mut history = self.service.git_history(run, HistoryRequest::check(tools::parse(tool, arguments)?)?).await?;
                let (structured, outcome) = answered_history(&mut history)?;
                Ok(Answer { text: text::history(&history), structured, outcome })
            }
            Tool::RunReport => self.run_report(run, tools::parse(tool, arguments)?).await,
            Tool::ExperimentReport => self.experiment_report(run, tools::parse(tool, arguments)?).await,
            Tool::ReportFeedback => {
                let answer = self.service.report_feedback(run, tools::parse(tool, arguments)?).await?;
                let structured = structured(&answer)?;
                Ok(Answer { text: text::feedback(&answer), outcome: structured.clone(), structured })
            }
        }
    }

    async fn experiment_report(&self, run: &Run, arguments: tools::ExperimentReportArguments) -> Result<Answer, RequestError> {
        let report = self.service.experiment_report(Some(run), arguments.id).await?;
        let outcome = json!({"experiment": report.subject.id, "version": report.subject.version, "verdict": report.verdict});
        let (text, structured) = fit::experiment(report, arguments.format.unwrap_or_default())?;
        Ok(Answer { text, structured, outcome })
    }

    async fn search(&self, run: &Run, request: SearchRequest) -> Result<Answer, RequestError> {
        let mut envelope = self.service.search(run, request).await?;
        let (structured, outcome) = answered_search(&mut envelope)?;
        Ok(Answer { text: text::answer(&envelope), structured, outcome })
    }

    async fn run_report(&self, run: &Run, arguments: RunReportArguments) -> Result<Answer, RequestError> {
        let reported = self.service.run_report(Some(run), arguments.key()?).await?;
        let (text, structured) = fit::report(&reported, arguments.format.unwrap_or_default())?;
        let outcome = json!({
            "report_of": reported.report.identity.run_id,
            "left_out": structured.get("left_out"),
            "envelope_sha256": envelope_sha256(&structured),
        });
        Ok(Answer { text, structured, outcome })
    }
}

impl ServerHandler for McpServer {
    fn get_info(&self) -> ServerConfig {
        let roots = self.service.roots_description();
        let what = if roots.is_empty() { String::new() } else { format!(" It searches {roots}.") };
        ServerConfig::new(ServerCapabilities::builder().enable_tools().enable_resources().build())
            .with_server_info(Implementation::new("spanloom", env!("CARGO_PKG_VERSION")).with_title("Spanloom"))
            .with_instructions(format!(
                "Spanloom finds code and documentation.{what} Ask `semantic_search` first; read on with `open_file`; \
                 `git_blame` and `git_history` tell where code comes from; `semantic_search_pro` adjusts and explains the ranking. Line numbers start at 1 and include the last line."
            ))
    }

    async fn list_tools(&self, _: Option<PaginatedRequestParams>, _: RequestContext<RoleServer>) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(Tool::ALL.map(Tool::card).to_vec()))
    }

    fn get_tool(&self, name: &str) -> Option<ToolCard> {
        Tool::find(name).map(Tool::card)
    }

    async fn call_tool(&self, request: CallToolRequestParams, context: RequestContext<RoleServer>) -> Result<CallToolResponse, ErrorData> {
        // Dropping it finishes the run as cancelled, also when this future is dropped.
        let open = self.open_run(&request, &context);
        let Some(tool) = Tool::find(&request.name) else {
            let names = Tool::ALL.map(Tool::name).join(", ");
            let shown: String = request.name.chars().take(TOOL_NAME_CHARS_MAX).collect();
            let message = format!("unknown tool `{shown}`; there are {names}");
            open.finish_error("unknown_tool", &message);
            return Err(ErrorData::invalid_params(message, None));
        };
        let arguments = Json::Object(request.arguments.unwrap_or_default());
        // A panic ends this call only; what it may have broken belongs to the call.
        let work = AssertUnwindSafe(self.answer(tool, open.run(), arguments)).catch_unwind().with_context(open.run().log_context());
        let outcome = tokio::select! {
            biased;
            // A server that stops cancels its calls, too.
            () = self.stop.cancelled() => Err("the server was stopped"),
            () = context.ct.cancelled() => Err(LEFT),
            outcome = tokio::time::timeout(self.call_timeout, work) => Ok(outcome),
        };
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(why) => {
                open.finish_cancelled(why);
                return Err(ErrorData::internal_error(why, None));
            }
        };
        let ids = Observability { trace_id: open.run().trace_id(), run_id: open.run().id.clone() };
        // What is recorded may be more than what the client is told.
        let (class, recorded, told) = match outcome {
            Ok(Ok(Ok(answer))) => {
                open.finish_ok(answer.outcome);
                return Ok(success(answer.text, answer.structured).into());
            }
            Ok(Ok(Err(error))) => (error.class(), error.to_string(), error.to_string()),
            Ok(Err(panic)) => {
                let panic = panic_message(&*panic).to_owned();
                tracing::error!(run = %ids.run_id, panic, "a tool panicked");
                ("panic", panic, "the server failed inside while answering; the run has the details".to_owned())
            }
            Err(_) => {
                let late = format!("no answer within {} ms; ask for less, or try again later", self.call_timeout.as_millis());
                ("deadline", late.clone(), late)
            }
        };
        open.finish_error(class, &recorded);
        Ok(failure(class, &told, &ids).into())
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(ListResourceTemplatesResult::with_all_items(resource::templates()))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let wanted = ReportResource::parse(&request.uri)?;
        let work = self.service.run_report(None, wanted.key.clone());
        let reported = tokio::select! {
            biased;
            () = context.ct.cancelled() => return Err(ErrorData::internal_error("the request was cancelled", None)),
            () = self.stop.cancelled() => return Err(ErrorData::internal_error("the server is stopping", None)),
            reported = tokio::time::timeout(self.call_timeout, work) => reported,
        };
        match reported {
            Ok(Ok(reported)) => Ok(wanted.contents(&reported)?.into()),
            Ok(Err(error)) => Err(resource::failure(&request.uri, &error)),
            Err(_) => Err(ErrorData::internal_error(format!("no report within {} ms", self.call_timeout.as_millis()), None)),
        }
    }

    async fn on_custom_request(&self, request: CustomRequest, _: RequestContext<RoleServer>) -> Result<CustomResult, ErrorData> {
        // A known method whose parameters have the wrong shape ends up here.
        if request.method == "tools/call" {
            return Err(ErrorData::invalid_params("`params` needs `name`, a string, and `arguments`, an object", None));
        }
        Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, request.method, None))
    }
}

fn success(text: String, structured: Json) -> CallToolResult {
    let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
    result.structured_content = Some(structured);
    result
}

/// An error an agent can read. It has no structured content, which would have to
/// follow the tool's output schema; class and ids are in `_meta`.
fn failure(class: &str, message: &str, ids: &Observability) -> CallToolResult {
    let mut meta = MetaObject::new();
    meta.0.insert("spanloom/error".into(), json!({"class": class, "message": message}));
    meta.0.insert("spanloom/observability".into(), json!(ids));
    CallToolResult::error(vec![ContentBlock::text(text::failure(message, ids))]).with_meta(Some(meta))
}

/// The value as JSON by way of its text, which keeps 32-bit scores short: 0.92, not
/// 0.9200000166893005.
fn structured<T: Serialize>(value: &T) -> Result<Json, RequestError> {
    serde_json::to_string(value)
        .and_then(|text| serde_json::from_str(&text))
        .map_err(|error| RequestError::Unavailable(format!("the answer could not be written as JSON: {error}")))
}

/// Makes a search's answer fit for clients; gives it as JSON, and what the ledger
/// keeps of it: everything but the texts, the query's among them.
///
/// # Errors
/// When it can't be written as JSON.
pub(crate) fn answered_search(envelope: &mut AnswerEnvelope) -> Result<(Json, Json), RequestError> {
    fit::envelope(envelope);
    let structured = structured(envelope)?;
    let sha256 = envelope_sha256(&structured);
    Ok((structured, search_outcome(envelope, &sha256)))
}

/// The same for a file's lines.
///
/// # Errors
/// As [`answered_search`].
pub(crate) fn answered_file(slice: &mut FileSlice) -> Result<(Json, Json), RequestError> {
    fit::file(slice);
    let structured = structured(slice)?;
    let sha256 = envelope_sha256(&structured);
    Ok((structured, file_outcome(slice, &sha256)))
}

fn search_outcome(envelope: &AnswerEnvelope, sha256: &str) -> Json {
    let findings: Vec<Json> = envelope
        .findings
        .iter()
        .map(|finding| {
            let mut kept = json!({
                "rank": finding.rank,
                "chunk_id": finding.chunk_id,
                "path": finding.path,
                "start_line": finding.start_line,
                "end_line": finding.end_line,
                "symbol": finding.symbol,
                "score": finding.score,
                "contributions": finding.contributions,
            });
            if let Some(document) = &finding.document {
                kept["document"] = json!(document);
            }
            if let Some(team) = finding.team {
                kept["team"] = json!(team);
            }
            kept
        })
        .collect();
    let mut outcome = json!({
        "confidence": envelope.confidence,
        "findings": findings,
        "warnings": envelope.warnings,
        "degraded": envelope.degraded,
        "index": envelope.index,
        "envelope_sha256": sha256,
    });
    if !envelope.experiments.is_empty() {
        outcome["experiments"] = json!(envelope.experiments);
    }
    if let Some(cursor) = &envelope.next_cursor {
        outcome["next_cursor"] = json!(cursor);
    }
    outcome
}

fn file_outcome(slice: &FileSlice, sha256: &str) -> Json {
    json!({
        "path": slice.path,
        "start_line": slice.start_line,
        "end_line": slice.end_line,
        "total_lines": slice.total_lines,
        "warnings": slice.warnings,
        "envelope_sha256": sha256,
    })
}

/// The same for blamed lines.
///
/// # Errors
/// As [`answered_search`].
pub(crate) fn answered_blame(blame: &mut BlameAnswer) -> Result<(Json, Json), RequestError> {
    fit::blame(blame);
    let structured = structured(blame)?;
    let outcome = json!({
        "path": blame.path,
        "start_line": blame.start_line,
        "end_line": blame.end_line,
        "total_lines": blame.total_lines,
        "head_commit": blame.head_commit,
        "hunks": blame.hunks.len(),
        "warnings": blame.warnings,
        "envelope_sha256": envelope_sha256(&structured),
    });
    Ok((structured, outcome))
}

/// The same for a history.
///
/// # Errors
/// As [`answered_search`].
pub(crate) fn answered_history(history: &mut HistoryAnswer) -> Result<(Json, Json), RequestError> {
    fit::history(history);
    let structured = structured(history)?;
    let outcome = json!({
        "path": history.path,
        "head_commit": history.head_commit,
        "commits": history.commits.len(),
        "more": history.more,
        "warnings": history.warnings,
        "envelope_sha256": envelope_sha256(&structured),
    });
    Ok((structured, outcome))
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
