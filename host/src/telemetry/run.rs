//! One tool call from its first span to its last ledger line.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use opentelemetry::Context;
use opentelemetry::baggage::Baggage;
use opentelemetry::trace::{SpanContext, SpanKind};
use serde_json::{Map, Value as Json, json};

use super::Telemetry;
use super::conventions::{attr, span};
use super::ledger::{self, RunLedger};
use super::line::{Body, Line, LineKind, SCHEMA_VERSION};
use super::logs::log_context;
use super::metrics::Metrics;
use super::propagation::Outgoing;
use super::redact::{self, QueryText, Redactor, sha256_hex};
use super::span::{Origin, Sinks, Span};

/// Characters of a run id that a client chooses.
const RUN_ID_CHARS_MAX: usize = 128;
/// Bytes of a request that are written down. The longest query has 8,192.
const REQUEST_BYTES_MAX: usize = 64 << 10;
/// Runs of one name that are looked for before a new name is made.
const NAMESAKES_MAX: u32 = 16;

/// The tools there are, for labels; any other name is `unknown`.
const TOOLS: [&str; 9] = [
    "semantic_search",
    "semantic_search_pro",
    "open_file",
    "git_blame",
    "git_history",
    "run_report",
    "report_feedback",
    "experiment_report",
    SHADOW,
];

/// What runs of other arms are called where calls have their tool.
pub const SHADOW: &str = "shadow";

/// Who calls, as far as the transport knows.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// What the client calls its session (`X-Session-ID`).
    pub session_id: Option<String>,
    /// What the client wants the run to be called (`X-Run-ID`).
    pub run_id: Option<String>,
    /// The protocol the client speaks.
    pub protocol_version: Option<String>,
    /// The span the call belongs to.
    pub parent: Option<SpanContext>,
    /// A second span context that came with the call, when it isn't the parent.
    pub link: Option<SpanContext>,
    /// What the caller hands on to everyone.
    pub baggage: Arc<Baggage>,
    /// Headers of the call by their names in lower case, but for those that hold secrets.
    pub headers: Arc<BTreeMap<String, String>>,
}

/// One tool call from its first span to its last ledger line.
pub struct Run {
    /// What the client chose, else a UUID of version 7, which sorts by time.
    pub id: String,
    /// The SERVER span of the call.
    pub root: Span,
    ledger: RunLedger,
    metrics: Arc<Metrics>,
    redactor: Redactor,
    /// For labels: one of few.
    tool: &'static str,
    session_id: Option<String>,
    headers: Arc<BTreeMap<String, String>>,
}

impl Telemetry {
    /// Opens the run of a tool call: a SERVER span and a ledger.
    pub fn run(&self, tool: &str, caller: &Caller, request: Json) -> Run {
        self.open(tool, format!("tools/call {tool}"), SpanKind::Server, caller, request)
    }

    /// Opens a run that no client asked for: another arm is asked what the run that the
    /// caller links was. An INTERNAL span and a ledger.
    pub fn shadow(&self, caller: &Caller, request: Json) -> Run {
        self.open(SHADOW, span::SHADOW.to_owned(), SpanKind::Internal, caller, request)
    }

    fn open(&self, tool: &str, name: String, kind: SpanKind, caller: &Caller, request: Json) -> Run {
        let (id, wished) = self.name_run(caller.run_id.as_deref());
        let now = SystemTime::now();
        let ledger = self.ledgers.as_ref().map_or_else(RunLedger::off, |writer| writer.open(&id, now));
        let mode = self.settings.query_text;
        let sinks = Sinks {
            ledger: ledger.clone(),
            outgoing: Outgoing::new(self.propagators(), &caller.baggage, &id, caller.session_id.as_deref()),
            redactor: Redactor::new(mode, &request),
            ..self.sinks()
        };
        let redactor = sinks.redactor.clone();
        let origin = Origin { parent: caller.parent.clone(), links: caller.link.clone().into_iter().collect() };
        let is_call = kind == SpanKind::Server;
        let root = Span::root(Arc::new(sinks), name.clone(), kind, origin);
        if is_call {
            root.set(attr::MCP_METHOD, "tools/call");
            root.set(attr::MCP_TOOL, tool.to_owned());
            root.set(attr::GEN_AI_TOOL_NAME, tool.to_owned());
            root.set(attr::GEN_AI_OPERATION_NAME, "execute_tool");
        }
        root.set(attr::MCP_RUN_ID, id.clone());
        if let Some(wished) = &wished {
            root.set(attr::MCP_CLIENT_RUN_ID, wished.clone());
        }
        if let Some(session) = &caller.session_id {
            root.set(attr::MCP_SESSION_ID, session.clone());
        }
        if let Some(version) = &caller.protocol_version {
            root.set(attr::MCP_PROTOCOL_VERSION, version.clone());
        }
        if let (QueryText::Hash, Some(query)) = (mode, request["query"].as_str()) {
            root.set(attr::QUERY_SHA256, sha256_hex(query));
        }
        if ledger.is_on() {
            let mut body = Map::new();
            body.insert("schema".into(), json!(SCHEMA_VERSION));
            body.insert("run_id".into(), json!(id));
            body.insert("session_id".into(), json!(caller.session_id));
            body.insert("tool".into(), json!(tool));
            body.insert("request".into(), bounded(redact::request(request, mode)));
            body.insert("version".into(), json!(env!("CARGO_PKG_VERSION")));
            body.insert("process".into(), json!({ "pid": std::process::id(), "start_ticks": self.start_ticks }));
            body.insert("config_sha256".into(), json!(self.settings.config_sha256));
            if let Some(wished) = wished {
                body.insert("client_run_id".into(), json!(wished));
            }
            ledger.write(Line {
                kind: LineKind::RunStart,
                name: name.into(),
                at: now,
                span: Some(root.context().clone()),
                parent: caller.parent.as_ref().map(SpanContext::span_id),
                body: Body::Members(body),
            });
        }
        let tool = TOOLS.into_iter().find(|known| *known == tool).unwrap_or("unknown");
        self.metrics.run_started(tool);
        Run {
            id,
            root: root.announce_root(),
            ledger,
            metrics: self.metrics.clone(),
            redactor,
            tool,
            session_id: caller.session_id.clone(),
            headers: caller.headers.clone(),
        }
    }

    /// The run's id, and what the client wished when that is taken. A client that works
    /// under one id gets `id`, `id-2`, `id-3`, …
    fn name_run(&self, wished: Option<&str>) -> (String, Option<String>) {
        let minted = || {
            let id = uuid::Uuid::now_v7().to_string();
            // A client may wish for it at once, when there is no ledger yet.
            self.names.number(&id);
            id
        };
        let Some(wished) = wished.filter(|id| is_run_id(id)) else { return (minted(), None) };
        for _ in 0..NAMESAKES_MAX {
            let name = match self.names.number(wished) {
                1 => wished.to_owned(),
                number => format!("{wished}-{number}"),
            };
            if !is_run_id(&name) {
                break;
            }
            // Somebody else may have wished for just this name.
            let free = name == wished || self.names.number(&name) == 1;
            if free && !self.is_written(&name) {
                let taken = (name != wished).then(|| wished.to_owned());
                return (name, taken);
            }
        }
        (minted(), Some(wished.to_owned()))
    }

    /// Whether a run of an earlier process has this name.
    fn is_written(&self, name: &str) -> bool {
        // A folder that can't be listed takes no ledger either.
        self.ledgers.as_ref().is_some_and(|writer| matches!(ledger::find(writer.folder(), name), Ok(Some(_))))
    }
}

/// The request, or its size when it is too large to be kept.
fn bounded(request: Json) -> Json {
    let bytes = request.to_string().len();
    if bytes > REQUEST_BYTES_MAX { json!({ "bytes": bytes }) } else { request }
}

/// Whether a text can name a run: it names a file, too.
pub fn is_run_id(text: &str) -> bool {
    (1..=RUN_ID_CHARS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

impl Run {
    /// The 32 hexadecimal digits of the trace.
    pub fn trace_id(&self) -> String {
        self.root.context().trace_id().to_string()
    }

    /// The tool that was called, or `unknown`.
    pub fn tool(&self) -> &'static str {
        self.tool
    }

    /// What the client calls its session.
    pub fn session_id(&self) -> Option<&str> {
        self.session_id.as_deref()
    }

    /// Headers of the call, by their names in lower case.
    pub fn headers(&self) -> &BTreeMap<String, String> {
        &self.headers
    }

    /// A context to attach around the run's work, so that what it logs has its ids.
    pub fn log_context(&self) -> Context {
        log_context(self.root.context(), &self.id)
    }

    /// Where the run's ledger is written, when it is.
    pub fn ledger_path(&self) -> Option<&Path> {
        self.ledger.path()
    }

    /// Ends the run well. `outcome` holds what a report needs: findings, warnings.
    pub fn succeed(self, outcome: Json) {
        self.finish("ok", None, outcome);
    }

    /// Ends the run without an answer. `class` is of low cardinality.
    pub fn fail(self, class: &str, message: &str) {
        self.root.fail(class, message);
        self.finish("error", Some(class), json!({ "error": { "class": class, "message": message } }));
    }

    /// Ends the run because nobody waits for it any more.
    pub fn cancel(self, message: &str) {
        self.root.fail("cancelled", message);
        self.finish("cancelled", Some("cancelled"), json!({ "error": { "class": "cancelled", "message": message } }));
    }

    fn finish(self, status: &'static str, error: Option<&str>, mut outcome: Json) {
        let duration = self.root.elapsed();
        self.root.set(attr::MCP_RESPONSE_STATUS, status);
        self.metrics.run_finished(self.tool, status, error, duration.as_secs_f64());
        self.root.end();
        if !self.ledger.is_on() {
            return;
        }
        if let Some(warnings) = outcome.pointer_mut("/warnings") {
            self.redactor.json(warnings);
        }
        if let Some(message) = outcome.pointer_mut("/error/message") {
            self.redactor.json(message);
        }
        if !self.redactor.is_off()
            && let Some(outcome) = outcome.as_object_mut()
        {
            // It holds a digest of the query.
            outcome.remove("next_cursor");
        }
        let mut body = Map::new();
        body.insert("run_id".into(), json!(self.id));
        body.insert("status".into(), json!(status));
        body.insert("duration_us".into(), json!(duration.as_micros() as u64));
        body.insert("outcome".into(), outcome);
        self.ledger.write(Line {
            kind: LineKind::RunEnd,
            name: "run".into(),
            at: SystemTime::now(),
            span: Some(self.root.context().clone()),
            parent: None,
            body: Body::Members(body),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{TelemetrySettings, parse_baggage, parse_trace_context};

    fn telemetry(folder: &Path, query_text: QueryText) -> Telemetry {
        Telemetry::start(TelemetrySettings { ledger_folder: Some(folder.into()), query_text, ..TelemetrySettings::default() }).unwrap()
    }

    fn lines(folder: &Path, id: &str) -> Vec<Json> {
        ledger::read(&ledger::find(folder, id).unwrap().unwrap()).unwrap()
    }

    #[test]
    fn spans_and_steps_reach_the_ledger_also_when_the_caller_did_not_sample() {
        let folder = tempfile::tempdir().unwrap();
        let telemetry = telemetry(folder.path(), QueryText::Plain);
        let parent = parse_trace_context("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", None);
        let caller = Caller { parent, session_id: Some("s1".into()), ..Caller::default() };
        let run = telemetry.run("semantic_search", &caller, json!({"query": "x"}));
        assert_eq!(run.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        run.root.skip("retrieval.rerank", "switched off");
        let child = run.root.child("retrieval.gate").announce();
        child.set("a", 1_i64);
        child.set("a", 2_i64);
        child.set(attr::PLUGIN_NAME, "p");
        child.link(run.root.context());
        child.fail("trap", "out of time");
        child.end();
        drop(run.root.child("embed").announce());
        let id = run.id.clone();
        run.succeed(json!({}));
        telemetry.flush();
        let lines = lines(folder.path(), &id);
        let kinds: Vec<_> = lines.iter().map(|l| (l["line"].as_str().unwrap(), l["name"].as_str().unwrap())).collect();
        let root = "tools/call semantic_search";
        let expect = [
            ("run.start", root),
            ("span.start", root),
            ("step", "retrieval.rerank"),
            ("span.start", "retrieval.gate"),
            ("step", "retrieval.gate.error"),
            ("span", "retrieval.gate"),
            ("span.start", "embed"),
            ("step", "embed.error"),
            ("span", "embed"),
            ("span", root),
            ("run.end", "run"),
        ];
        assert_eq!(kinds, expect);
        assert_eq!(lines[0]["process"]["pid"], std::process::id());
        assert_eq!((&lines[2]["status"], &lines[2]["detail"]), (&json!("skipped"), &json!("switched off")));
        assert_eq!(
            (&lines[4]["status"], &lines[4]["detail"], &lines[4]["attributes"]),
            (&json!("failed"), &json!("out of time"), &json!({"error.type": "trap", "plugin.name": "p"}))
        );
        assert_eq!(lines[4]["duration_us"], lines[5]["duration_us"]);
        assert_eq!((&lines[5]["attributes"]["error.type"], &lines[5]["status"]), (&json!("trap"), &json!("error")));
        // What is only dropped was not finished.
        assert_eq!(
            (&lines[7]["detail"], &lines[7]["attributes"]["error.type"]),
            (&json!("given up before it was done"), &json!("cancelled"))
        );
        assert_eq!(lines[5]["links"][0]["span_id"], lines[9]["span_id"]);
        assert_eq!(lines[9]["attributes"]["mcp.session_id"], "s1");
        assert_eq!(lines[5]["parent_span_id"], lines[9]["span_id"]);
        assert!(lines[10]["duration_us"].is_u64());
    }

    #[test]
    fn clients_name_their_runs_and_no_two_runs_have_one_name() {
        let folder = tempfile::tempdir().unwrap();
        let named = |telemetry: &Telemetry, id: &str| {
            let run = telemetry.run("open_file", &Caller { run_id: Some(id.into()), ..Caller::default() }, json!({}));
            let id = run.id.clone();
            run.succeed(json!({}));
            telemetry.flush();
            id
        };
        let first = telemetry(folder.path(), QueryText::Plain);
        assert_eq!([named(&first, "job_7"), named(&first, "job_7")], ["job_7", "job_7-2"]);
        assert_eq!(lines(folder.path(), "job_7-2")[0]["client_run_id"], "job_7");
        assert_eq!([named(&first, "a-2"), named(&first, "a"), named(&first, "a"), named(&first, "a-2")], ["a-2", "a", "a-3", "a-2-3"]);
        for bad in ["../x", "", "a b", &"x".repeat(129)] {
            assert_eq!(named(&first, bad).len(), 36, "{bad}");
        }
        drop(first);
        assert_eq!(named(&telemetry(folder.path(), QueryText::Plain), "job_7"), "job_7-3");
    }

    #[test]
    fn the_text_of_a_query_can_be_kept_out_of_everything() {
        let folder = tempfile::tempdir().unwrap();
        for (mode, hash) in [(QueryText::Off, false), (QueryText::Hash, true)] {
            let telemetry = telemetry(folder.path(), mode);
            let run = telemetry.run("semantic_search", &Caller::default(), json!({"query": "xylophone player"}));
            run.root.event("log", vec![opentelemetry::KeyValue::new("message", "asked for xylophone player")]);
            run.root.set_foreign("gate.text", "xylophone player");
            let id = run.id.clone();
            run.fail("invalid_argument", "`query` is \"xylophone play…");
            telemetry.flush();
            let text = format!("{:?}", lines(folder.path(), &id));
            assert!(!text.contains("xylophone"), "{text}");
            assert_eq!(text.contains(&sha256_hex("xylophone player")), hash, "{text}");
        }
    }

    #[test]
    fn what_is_written_down_of_a_caller_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let telemetry = telemetry(folder.path(), QueryText::Plain);
        let run = telemetry.run("open_file", &Caller::default(), json!({"path": "x".repeat(REQUEST_BYTES_MAX)}));
        let child = run.root.child("file.open").announce();
        child.fail("invalid_argument", &"ü".repeat(4_000));
        child.end();
        let id = run.id.clone();
        run.fail("invalid_argument", "no such file");
        telemetry.flush();
        let lines = lines(folder.path(), &id);
        assert_eq!(lines[0]["request"], json!({"bytes": REQUEST_BYTES_MAX + r#"{"path":""}"#.len()}));
        let step = lines.iter().find(|line| line["name"] == "file.open.error").unwrap();
        assert_eq!(step["detail"].as_str().unwrap().len(), 4_096);
    }

    #[test]
    fn a_stage_that_a_late_thread_still_holds_was_given_up_once() {
        let folder = tempfile::tempdir().unwrap();
        let telemetry = telemetry(folder.path(), QueryText::Plain);
        let run = telemetry.run("semantic_search", &Caller::default(), json!({}));
        let late = {
            let stage = run.root.child("bm25.search").announce();
            let _left = crate::telemetry::GivenUp(stage.clone());
            stage
        };
        late.fail("engine", "too late to be told");
        late.end();
        let id = run.id.clone();
        run.succeed(json!({}));
        telemetry.flush();
        let lines = lines(folder.path(), &id);
        let told: Vec<&Json> = lines.iter().filter(|line| line["name"] == "bm25.search" && line["line"] == "span").collect();
        assert_eq!(told.len(), 1);
        assert_eq!(told[0]["attributes"]["error.type"], "cancelled");
    }

    #[test]
    fn requests_made_within_a_run_carry_its_context() {
        let folder = tempfile::tempdir().unwrap();
        let telemetry = telemetry(folder.path(), QueryText::Plain);
        let caller = Caller { session_id: Some("s".into()), baggage: Arc::new(parse_baggage("tenant=t")), ..Caller::default() };
        let run = telemetry.run("semantic_search", &caller, json!({}));
        let child = run.root.client("vllm.embed_batch");
        let headers = child.headers();
        assert!(headers[0].1.contains(&child.context().span_id().to_string()), "{headers:?}");
        let baggage = parse_baggage(&headers.last().unwrap().1);
        assert_eq!(baggage.get("run.id").unwrap().as_str(), run.id);
        assert_eq!(baggage.len(), 3);
    }
}
