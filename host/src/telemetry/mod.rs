//! Telemetry: names, spans, ledgers, and the one place that knows exporters.
//!
//! The core opens [`Span`]s and sets facts on them; what becomes of them (OTLP, the
//! ledger of the run) is decided here. A failing exporter or disk never reaches a
//! caller.

mod bootstrap;
pub mod conventions;
pub mod ledger;
mod metrics;
mod span;
pub mod trace_tree;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, SpanKind, TraceContextExt, TracerProvider as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use serde_json::{Map, Value as Json, json};

pub use bootstrap::{Export, TelemetryError};
pub use metrics::{Metrics, PluginCallFact};
pub use span::{Origin, Span, texts};

use conventions::{attr, header};
use ledger::{LedgerWriter, Line, LineKind, RunLedger};

/// What telemetry is to do.
#[derive(Clone, Debug)]
pub struct TelemetrySettings {
    /// Where spans are sent; `None` exports nothing.
    pub export: Option<Export>,
    /// Where run ledgers are written; `None` writes none.
    pub ledger_folder: Option<PathBuf>,
    /// Whether the text of queries may be recorded in spans and ledgers.
    pub record_query_text: bool,
}

/// The process's telemetry. Dropping it flushes and stops the exporters.
pub struct Telemetry {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    ledgers: Option<LedgerWriter>,
    metrics: Arc<Metrics>,
    settings: TelemetrySettings,
}

/// Who calls, as far as the transport knows.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// What the client calls its session (`X-Session-ID`).
    pub session_id: Option<String>,
    /// The protocol the client speaks.
    pub protocol_version: Option<String>,
    /// The span the call belongs to.
    pub parent: Option<SpanContext>,
    /// A second span context that came with the call, when it isn't the parent.
    pub link: Option<SpanContext>,
}

/// One tool call from its first span to its last ledger line.
pub struct Run {
    /// UUID, version 7: sorts by time.
    pub id: String,
    /// The SERVER span of the call.
    pub root: Span,
    ledger: RunLedger,
    metrics: Arc<Metrics>,
    /// For labels: one of few.
    tool: &'static str,
}

/// Opens spans of work that is no tool call. They begin traces of their own and have
/// no ledger. Cheap to clone.
#[derive(Clone)]
pub struct Operations {
    sinks: span::Sinks,
}

impl Operations {
    pub fn begin(&self, name: &'static str) -> Span {
        Span::root(self.sinks.clone(), name, SpanKind::Internal, Origin::default())
    }
}

/// The tools there are, for labels; any other name is `unknown`.
const TOOLS: [&str; 3] = ["semantic_search", "semantic_search_pro", "open_file"];

impl Telemetry {
    /// Starts exporters and the ledger writer. Without an endpoint nothing is sent
    /// and that is no error.
    ///
    /// # Errors
    /// When an exporter can't be built from its settings or a thread can't start.
    pub fn start(settings: TelemetrySettings) -> Result<Telemetry, TelemetryError> {
        let provider = bootstrap::tracer_provider(settings.export.as_ref())?;
        let ledgers = match &settings.ledger_folder {
            Some(folder) => Some(LedgerWriter::start(folder.clone()).map_err(TelemetryError::Ledger)?),
            None => None,
        };
        let metrics = Metrics::new(bootstrap::resource()).map_err(TelemetryError::Metrics)?;
        Ok(Telemetry { tracer: provider.tracer("spanloom"), provider, ledgers, metrics: Arc::new(metrics), settings })
    }

    /// Opens the run of a tool call: a SERVER span and a ledger.
    pub fn run(&self, tool: &str, caller: &Caller, request: Json) -> Run {
        let id = uuid::Uuid::now_v7().to_string();
        let now = SystemTime::now();
        let ledger = self.ledgers.as_ref().map_or_else(RunLedger::off, |writer| writer.open(&id, now));
        let origin = Origin { parent: caller.parent.clone(), links: caller.link.clone().into_iter().collect() };
        let name = format!("tools/call {tool}");
        let root = Span::root(self.sinks(ledger.clone()), name.clone(), SpanKind::Server, origin);
        root.set(attr::MCP_METHOD, "tools/call");
        root.set(attr::MCP_TOOL, tool.to_owned());
        root.set(attr::GEN_AI_TOOL_NAME, tool.to_owned());
        root.set(attr::GEN_AI_OPERATION_NAME, "execute_tool");
        root.set(attr::MCP_RUN_ID, id.clone());
        if let Some(session) = &caller.session_id {
            root.set(attr::MCP_SESSION_ID, session.clone());
        }
        if let Some(version) = &caller.protocol_version {
            root.set(attr::MCP_PROTOCOL_VERSION, version.clone());
        }
        let mut body = Map::new();
        body.insert("schema".into(), json!(ledger::SCHEMA_VERSION));
        body.insert("run_id".into(), json!(id));
        body.insert("session_id".into(), json!(caller.session_id));
        body.insert("tool".into(), json!(tool));
        let request = if self.settings.record_query_text { request } else { without_query(request) };
        body.insert("request".into(), request);
        body.insert("version".into(), json!(env!("CARGO_PKG_VERSION")));
        ledger.write(Line {
            kind: LineKind::RunStart,
            name: &name,
            at: now,
            span: Some(root.context()),
            parent: caller.parent.as_ref(),
            body,
        });
        let tool = TOOLS.into_iter().find(|known| *known == tool).unwrap_or("unknown");
        Run { id, root: root.announce_root(), ledger, metrics: self.metrics.clone(), tool }
    }

    /// Opens the SERVER span of an MCP message that is no tool call. It has no ledger.
    pub fn exchange(&self, method: &'static str, caller: &Caller) -> Span {
        let origin = Origin { parent: caller.parent.clone(), links: caller.link.clone().into_iter().collect() };
        let span = Span::root(self.sinks(RunLedger::off()), method, SpanKind::Server, origin);
        span.set(attr::MCP_METHOD, method);
        if let Some(session) = &caller.session_id {
            span.set(attr::MCP_SESSION_ID, session.clone());
        }
        span
    }

    /// For spans of work that is no tool call, such as loading a plugin.
    pub fn operations(&self) -> Operations {
        Operations { sinks: self.sinks(RunLedger::off()) }
    }

    fn sinks(&self, ledger: RunLedger) -> span::Sinks {
        span::Sinks { tracer: self.tracer.clone(), ledger, metrics: self.metrics.clone(), exporting: self.settings.export.is_some() }
    }

    /// What is scraped.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// Whether query text may be written down.
    pub fn records_query_text(&self) -> bool {
        self.settings.record_query_text
    }

    /// Sends and writes what is waiting. Bounded by the exporters' own time-outs.
    pub fn flush(&self) {
        if let Some(ledgers) = &self.ledgers {
            ledgers.flush();
        }
        if let Err(error) = self.provider.force_flush() {
            tracing::warn!(%error, "spans could not be exported");
        }
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(lost) = self.ledgers.as_ref().map(LedgerWriter::dropped).filter(|lost| *lost > 0) {
            tracing::warn!(lost, "ledger lines were lost");
        }
        self.metrics.shutdown();
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!(%error, "the span exporter did not stop cleanly");
        }
    }
}

impl Run {
    /// The 32 hexadecimal digits of the trace.
    pub fn trace_id(&self) -> String {
        self.root.context().trace_id().to_string()
    }

    /// Where the run's ledger is written, when it is.
    pub fn ledger_path(&self) -> Option<&Path> {
        self.ledger.path()
    }

    /// Ends the run: its span, then the last line of the ledger. `outcome` holds
    /// what a report needs: findings, warnings, error.
    pub fn finish(self, status: &str, outcome: Json) {
        self.root.set(attr::MCP_RESPONSE_STATUS, status.to_owned());
        self.metrics.run_finished(self.tool, status, self.root.elapsed().as_secs_f64());
        self.root.end();
        let mut body = Map::new();
        body.insert("run_id".into(), json!(self.id));
        body.insert("status".into(), json!(status));
        body.insert("outcome".into(), outcome);
        self.ledger.write(Line {
            kind: LineKind::RunEnd,
            name: "run",
            at: SystemTime::now(),
            span: Some(self.root.context()),
            parent: None,
            body,
        });
    }
}

/// The request with the length of its query in the query's place.
fn without_query(mut request: Json) -> Json {
    if let Some(query) = request.get_mut("query") {
        let bytes = query.as_str().map_or(0, str::len);
        *query = json!({ "bytes": bytes });
    }
    request
}

/// Reads a W3C trace context; `None` when there is none or it is malformed.
pub fn parse_trace_context(traceparent: &str, tracestate: Option<&str>) -> Option<SpanContext> {
    let mut carrier = std::collections::HashMap::from([(header::TRACEPARENT.to_owned(), traceparent.to_owned())]);
    if let Some(state) = tracestate {
        carrier.insert(header::TRACESTATE.to_owned(), state.to_owned());
    }
    let context = TraceContextPropagator::new().extract(&carrier);
    let span = context.span().span_context().clone();
    span.is_valid().then_some(span)
}

/// The `traceparent` header of a span.
pub fn traceparent(context: &SpanContext) -> String {
    format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags().to_u8() & 1)
}

/// A map as one attribute value: `{"bm25":100,"dense":50}`, keys sorted.
pub fn map_value<V: serde::Serialize>(map: &BTreeMap<&str, V>) -> String {
    // Maps of strings to numbers can't fail to serialize; an empty text would show.
    serde_json::to_string(map).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_context_round_trips_and_garbage_is_none() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(traceparent(&parse_trace_context(text, None).unwrap()), text);
        for bad in ["", "00-0-0-0", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "zz"] {
            assert!(parse_trace_context(bad, None).is_none(), "{bad}");
        }
    }

    #[test]
    fn spans_reach_the_ledger_also_when_the_caller_did_not_sample() {
        let folder = tempfile::tempdir().unwrap();
        let settings = TelemetrySettings { export: None, ledger_folder: Some(folder.path().into()), record_query_text: true };
        let telemetry = Telemetry::start(settings).unwrap();
        let parent = parse_trace_context("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", None);
        let caller = Caller { parent, session_id: Some("s1".into()), ..Caller::default() };
        let run = telemetry.run("semantic_search", &caller, json!({"query": "x"}));
        assert_eq!(run.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        let child = run.root.child("retrieval.gate");
        child.set("a", 1_i64);
        child.set("a", 2_i64);
        child.fail("trap", "out of time");
        drop(child);
        let id = run.id.clone();
        run.finish("ok", json!({}));
        telemetry.flush();
        let lines = ledger::read(&ledger::find(folder.path(), &id).unwrap().unwrap()).unwrap();
        let kinds: Vec<_> = lines.iter().map(|l| l["line"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["run.start", "span.start", "span", "span", "run.end"]);
        assert_eq!(lines[2]["attributes"]["a"], 2);
        assert_eq!(lines[2]["attributes"]["error.type"], "trap");
        assert_eq!(lines[2]["status"], "error");
        assert_eq!(lines[3]["attributes"]["mcp.session_id"], "s1");
        assert_eq!(lines[2]["parent_span_id"], lines[3]["span_id"]);
    }
}
