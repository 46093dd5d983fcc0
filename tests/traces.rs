//! What a collector, a ledger and a client see of one and the same call.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::support::mcp::{Client, Raw, raw_call};
use crate::support::otlp::{Collector, Span, Trace};
use crate::support::repo::Repo;
use crate::support::server::Server;
use crate::support::{Sandbox, wait_for, wait_until};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const OTHER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// The whole tree of a search.
pub(crate) const TREE: &str = "\
tools/call semantic_search SERVER
  retrieval.profile
  retrieval.gate
    gate.features
  embed
  retrieval.gather_channels
    bm25.search
    faiss.search
    files.search
  retrieval.fuse
    fusion.rrf
  retrieval.recency_boost
  duckdb.hydrate CLIENT
  retrieval.rerank
    rerank.features
      documents.look_up
      documents.evidence
    rerank.score
      documents.texts
  retrieval.envelope
";

/// Words that the trained embedding knows, so that every channel is asked.
pub(crate) const QUERY: &str = "capacity of the token bucket release";

fn exporting(collector: &Collector) -> Sandbox {
    Sandbox::new().with_variable("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.http)
}

async fn ask(server: &Server, headers: &[(&str, &str)], meta: Json) -> Raw {
    raw_call(server, "semantic_search", json!({"query": QUERY}), headers, meta).await
}

/// The lines of a run's ledger, once it is complete.
fn ledger(sandbox: &Sandbox, run_id: &str) -> Vec<Json> {
    wait_for("the ledger", || {
        let days = std::fs::read_dir(sandbox.data().join("telemetry/runs")).ok()?;
        let path = days.flatten().map(|day| day.path().join(format!("{run_id}.jsonl"))).find(|path| path.exists())?;
        let text = std::fs::read_to_string(path).ok()?;
        let lines: Vec<Json> = text.lines().map_while(|line| serde_json::from_str(line).ok()).collect();
        lines.last().is_some_and(|line| line["line"] == "run.end").then_some(lines)
    })
}

#[track_caller]
fn check(span: &Span, expect: Json) {
    for (key, value) in expect.as_object().expect("attributes") {
        assert_eq!(span.attributes.get(key), Some(value), "{key} of {}: {:#?}", span.name, span.attributes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_is_this_tree_of_spans() {
    let repo = Repo::sample();
    let collector = Collector::start().await;
    let sandbox = exporting(&collector);
    sandbox.index(&repo);
    let server = Server::start(&sandbox);
    let raw = ask(&server, &[("x-session-id", "session-7")], json!({})).await;
    let envelope = raw.envelope();
    let trace = collector.trace(raw.header("x-trace-id")).await;
    assert_eq!(trace.tree(), TREE);
    assert_eq!(trace.spans.len(), TREE.lines().count());
    assert!(trace.spans.iter().all(|span| span.service == "spanloom" && !span.failed));
    for span in &trace.spans {
        assert!(span.start_ns <= span.end_ns);
        if let Some(parent) = trace.spans.iter().find(|parent| parent.span_id == span.parent) {
            assert!(parent.start_ns <= span.start_ns && span.end_ns <= parent.end_ns, "{} is within {}", span.name, parent.name);
        }
    }

    // The three headers, the envelope and the trace name the same call.
    assert_eq!(envelope.observability.trace_id, raw.header("x-trace-id"));
    assert_eq!(envelope.observability.run_id, raw.header("x-run-id"));
    assert_eq!(raw.header("traceparent"), format!("00-{}-{}-01", raw.header("x-trace-id"), trace.root().span_id));
    check(
        trace.root(),
        json!({
            "mcp.method.name": "tools/call", "mcp.tool": "semantic_search", "gen_ai.tool.name": "semantic_search",
            "gen_ai.operation.name": "execute_tool", "mcp.session_id": "session-7", "mcp.run_id": raw.header("x-run-id"),
            "mcp.protocol.version": "2026-07-28", "mcp.response.status": "ok", "retrieval.query_text": QUERY, "retrieval.top_k": 10,
            "retrieval.findings": envelope.findings.len(), "retrieval.index_generation": "g000001",
        }),
    );
    let plugins = sandbox.json(&["plugin", "list", "--json"]);
    for (stage, span) in [("gate", "retrieval.gate"), ("fusion", "retrieval.fuse"), ("rerank", "retrieval.rerank")] {
        let plugin = plugins.as_array().expect("a list").iter().find(|plugin| plugin["stage"] == stage).expect("each stage has one");
        let span = trace.span(span);
        check(
            span,
            json!({"plugin.stage": stage, "plugin.name": plugin["name"], "plugin.version": plugin["version"], "plugin.sha256": plugin["sha256"]}),
        );
        for key in
            ["plugin.instance_reuse", "plugin.candidates_in", "plugin.candidates_out", "plugin.guest_time_us", "plugin.memory_bytes_peak"]
        {
            assert!(span.attributes.get(key).is_some_and(Json::is_number), "{key} of {stage}: {:?}", span.attributes);
        }
    }
    assert!(trace.span("retrieval.gate").events.contains(&"retrieval.gating.decision".to_owned()));
    let chunks = envelope.index.coverage.chunks_embedded;
    check(
        trace.span("faiss.search"),
        json!({"faiss.index_kind": "Flat", "faiss.metric": "inner_product", "faiss.gpu": false, "retrieval.hits": chunks}),
    );
    check(trace.span("bm25.search"), json!({"retrieval.channel": "bm25"}));
    check(
        trace.span("duckdb.hydrate"),
        json!({"db.system.name": "duckdb", "duckdb.rows": trace.span("retrieval.fuse").attributes["retrieval.fused_docs"]}),
    );
    let depth = &trace.span("retrieval.rerank").attributes["retrieval.rerank_depth"];
    check(trace.span("documents.look_up"), json!({"documents.rows": depth}));
    // Only texts that can tell something are read.
    assert!(trace.span("documents.texts").attributes["documents.rows"].as_u64() < depth.as_u64());
    check(trace.span("embed"), json!({"vllm.mode": "builtin"}));

    // The ledger tells the same, and `spanloom trace` draws it.
    let lines = ledger(&sandbox, raw.header("x-run-id"));
    assert_eq!((&lines[0]["line"], &lines[0]["session_id"]), (&json!("run.start"), &json!("session-7")));
    assert_same(&lines, &trace);
    let drawn = sandbox.run(&["trace", raw.header("x-run-id")]);
    drawn.check(0, &["tools/call semantic_search", "│  └─ fusion.rrf", "documents.texts", "ledger: "]);
    sandbox.run(&["trace", "0190-none"]).check(1, &["there is no ledger of run `0190-none`"]);
}

/// Every span of the ledger is one of the trace, with the same parent, name and
/// attributes, and the other way round.
#[track_caller]
fn assert_same(lines: &[Json], trace: &Trace) {
    let text = |line: &Json, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let written: BTreeMap<String, (String, String, Json)> = lines
        .iter()
        .filter(|line| line["line"] == "span")
        .map(|line| (text(line, "span_id"), (text(line, "parent_span_id"), text(line, "name"), line["attributes"].clone())))
        .collect();
    let exported: BTreeMap<String, (String, String, Json)> =
        trace.spans.iter().map(|span| (span.span_id.clone(), (span.parent.clone(), span.name.clone(), json!(span.attributes)))).collect();
    assert_eq!(written, exported);
    assert!(lines.iter().all(|line| line.get("trace_id").is_none_or(|id| *id == trace.root().trace_id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_callers_trace_is_continued() {
    let repo = Repo::sample();
    let collector = Collector::start().await;
    let sandbox = exporting(&collector);
    sandbox.index(&repo);
    let server = Server::start(&sandbox);
    let ids = |traceparent: &str| (traceparent[3..35].to_owned(), traceparent[36..52].to_owned());
    for (header, meta, parent, link) in [
        (Some(PARENT), None, PARENT, None),
        (None, Some(OTHER), OTHER, None),
        (Some(PARENT), Some(OTHER), OTHER, Some(PARENT)),
        (Some(OTHER), Some(OTHER), OTHER, None),
    ] {
        let headers: Vec<(&str, &str)> = header.map(|header| ("traceparent", header)).into_iter().collect();
        let meta = meta.map_or(json!({}), |meta| json!({"traceparent": meta}));
        let raw = ask(&server, &headers, meta).await;
        let (trace_id, parent_id) = ids(parent);
        assert_eq!(raw.header("x-trace-id"), trace_id);
        assert_eq!(raw.envelope().observability.trace_id, trace_id);
        let run_id = raw.header("x-run-id").to_owned();
        let root = wait_until("the call's span", async || {
            collector.spans().into_iter().find(|span| span.attributes.get("mcp.run_id") == Some(&json!(run_id)))
        })
        .await;
        assert_eq!((root.trace_id, root.parent), (trace_id, parent_id));
        assert_eq!(root.links, link.map(ids).into_iter().collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_caller_did_not_sample_is_only_in_the_ledger() {
    let repo = Repo::sample();
    let collector = Collector::start().await;
    let sandbox = exporting(&collector);
    sandbox.index(&repo);
    let server = Server::start(&sandbox);
    let unsampled = ask(&server, &[("traceparent", UNSAMPLED)], json!({})).await;
    assert!(unsampled.header("traceparent").ends_with("-00"), "{}", unsampled.header("traceparent"));
    let lines = ledger(&sandbox, unsampled.header("x-run-id"));
    assert_eq!(lines.iter().filter(|line| line["line"] == "span").count(), TREE.lines().count());
    // What comes after is there, so what came before would be too.
    let sampled = ask(&server, &[], json!({})).await;
    collector.trace(sampled.header("x-trace-id")).await;
    assert!(collector.spans().iter().all(|span| span.trace_id != unsampled.header("x-trace-id")));
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_go_over_grpc_too() {
    let repo = Repo::sample();
    let collector = Collector::start().await;
    let config = format!("[telemetry]\notlp_endpoint = \"{}\"\notlp_protocol = \"grpc\"\n", collector.grpc);
    let sandbox = Sandbox::new().with_config(&config);
    sandbox.index(&repo);
    let server = Server::start(&sandbox);
    let raw = ask(&server, &[], json!({})).await;
    assert_eq!(collector.trace(raw.header("x-trace-id")).await.tree(), TREE);
    // A server that is stopped loses nothing.
    let last = ask(&server, &[], json!({})).await;
    assert_eq!(server.stop(), Some(0));
    assert_eq!(collector.trace(last.header("x-trace-id")).await.tree(), TREE);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_calls_are_answered() {
    let repo = Repo::sample();
    // A port where nobody listens, and one where nobody answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = format!("http://{}", silent.local_addr().expect("its address"));
    for endpoint in ["http://127.0.0.1:9", &silent] {
        let sandbox = Sandbox::indexed(&repo).with_variable("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
        let server = Server::start(&sandbox);
        for _ in 0..20 {
            let answer = ask(&server, &[], json!({})).await.envelope();
            assert_eq!((answer.findings.is_empty(), answer.degraded.len()), (false, 0));
        }
        assert_eq!(server.stop(), Some(0));
    }
    let sandbox = Sandbox::indexed(&repo);
    let server = Server::start(&sandbox);
    let raw = ask(&server, &[], json!({})).await;
    assert_eq!(raw.header("x-trace-id").len(), 32);
    assert!(!ledger(&sandbox, raw.header("x-run-id")).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn query_text_can_be_kept_out() {
    let repo = Repo::sample();
    let collector = Collector::start().await;
    let sandbox = exporting(&collector).with_config("[telemetry]\nrecord_query_text = false\n");
    sandbox.index(&repo);
    let server = Server::start(&sandbox);
    let secret = "xylophone capacity token";
    let raw = raw_call(&server, "semantic_search", json!({"query": secret}), &[], json!({})).await;
    let trace = collector.trace(raw.header("x-trace-id")).await;
    let lines = ledger(&sandbox, raw.header("x-run-id"));
    let everything = format!("{:?} {lines:?}", trace.spans);
    assert!(!everything.contains("xylophone"), "{everything}");
    check(trace.root(), json!({"retrieval.query_len": secret.len()}));
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_calls_have_a_span_and_a_ledger() {
    let repo = Repo::sample();
    let collector = Collector::start().await;
    let sandbox = exporting(&collector);
    sandbox.index(&repo);
    let server = Server::start(&sandbox);
    let raw = raw_call(&server, "semantic_search", json!({"query": "x", "limit": 0}), &[], json!({})).await;
    assert_eq!(raw.body["result"]["isError"], true);
    let trace = collector.trace(raw.header("x-trace-id")).await;
    assert_eq!(trace.tree(), "tools/call semantic_search SERVER FAILED\n");
    check(trace.root(), json!({"error.type": "invalid_argument", "mcp.response.status": "error"}));
    let lines = ledger(&sandbox, raw.header("x-run-id"));
    assert_eq!(lines.last().expect("an end")["outcome"]["error"]["class"], "invalid_argument");

    let raw = raw_call(&server, "open_file", json!({"path": "docs/deploy.md"}), &[], json!({})).await;
    let trace = collector.trace(raw.header("x-trace-id")).await;
    assert_eq!(trace.tree(), "tools/call open_file SERVER\n  file.open\n");
    check(trace.span("file.open"), json!({"file.path": "docs/deploy.md", "file.line_range": "1-11"}));

    // Messages that are no calls have a span of their own.
    let client = Client::connect(&server).await;
    client.tools().await;
    wait_until("the span of tools/list", async || collector.spans().into_iter().find(|span| span.name == "tools/list")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_and_stages_are_counted() {
    let repo = Repo::sample();
    let sandbox = Sandbox::indexed(&repo);
    let server = Server::start(&sandbox);
    for _ in 0..3 {
        ask(&server, &[], json!({})).await;
    }
    raw_call(&server, "semantic_search", json!({}), &[], json!({})).await;
    raw_call(&server, "made_up", json!({}), &[], json!({})).await;
    let text = reqwest::get(&server.metrics).await.expect("a scrape").text().await.expect("text");
    let value = |name: &str, labels: &[&str]| -> f64 {
        let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")) && labels.iter().all(|label| line.contains(label)));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("no {name} with {labels:?} in\n{text}"))
    };
    assert_eq!(value("mcp_runs_total", &["tool=\"semantic_search\"", "status=\"ok\""]), 3.0);
    assert_eq!(value("mcp_runs_total", &["tool=\"semantic_search\"", "status=\"error\""]), 1.0);
    assert_eq!(value("mcp_runs_total", &["tool=\"unknown\"", "status=\"error\""]), 1.0);
    assert_eq!(value("request_latency_seconds_count", &["tool=\"semantic_search\""]), 4.0);
    for stage in ["retrieval.gate", "embed", "retrieval.gather_channels", "retrieval.fuse", "duckdb.hydrate", "retrieval.rerank"] {
        assert_eq!(value("stage_latency_seconds_count", &[&format!("stage=\"{stage}\"")]), 3.0, "{stage}");
    }
    assert!(!text.contains("made_up"), "a client's words are no labels");
}
