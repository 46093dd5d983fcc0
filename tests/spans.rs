//! The spans of every tool, held against the page that describes them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::json;

use crate::support::mcp::raw_call;
use crate::support::otlp::{Collector, Span, Trace};
use crate::support::repo::Repo;
use crate::support::server::Server;
use crate::support::vllm::{Encoding, StandIn};
use crate::support::{Sandbox, wait_until};

/// Words that the trained embedding knows, so that every channel is asked.
const QUERY: &str = "capacity of the token bucket release";

/// What the page says of a span.
struct Described {
    always: BTreeSet<String>,
    at_times: BTreeSet<String>,
}

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/telemetry.md");
    std::fs::read_to_string(path).expect("the page")
}

/// The trees that the page draws, by their first line.
fn trees(page: &str) -> BTreeMap<String, String> {
    let blocks = page.split("```").skip(1).step_by(2).map(|block| block.trim_start_matches('\n'));
    blocks
        .filter(|block| block.starts_with("tools/call "))
        .map(|block| (block.lines().next().unwrap_or("").to_owned(), block.to_owned()))
        .collect()
}

/// The table of attributes.
fn table(page: &str) -> BTreeMap<String, Described> {
    let rows = page.lines().skip_while(|line| !line.starts_with("| span | always")).skip(2).take_while(|line| line.starts_with('|'));
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<String>>();
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').collect();
        let name = names(cells[1]).into_iter().next().expect("a span");
        (name, Described { always: names(cells[2]), at_times: names(cells[3]) })
    })
    .collect()
}

#[track_caller]
fn check(span: &Span, table: &BTreeMap<String, Described>) {
    let name = if span.name.starts_with("tools/call ") { "tools/call …" } else { span.name.as_str() };
    let described = table.get(name).unwrap_or_else(|| panic!("{name} is not on the page"));
    let missing: Vec<&String> = described.always.iter().filter(|key| !span.attributes.contains_key(*key)).collect();
    assert!(missing.is_empty() || span.failed, "{name} lacks {missing:?}: {:?}", span.attributes);
    let known =
        |key: &&String| described.always.contains(*key) || described.at_times.contains(*key) || (span.failed && *key == "error.type");
    let unknown: Vec<&String> = span.attributes.keys().filter(|key| !known(key)).collect();
    assert!(unknown.is_empty(), "{name} has {unknown:?}, of which the page says nothing");
}

/// The trace of one call.
async fn call(server: &Server, collector: &Collector, tool: &str, arguments: serde_json::Value) -> Trace {
    call_with(server, collector, tool, arguments, ("x-kind", "none")).await
}

async fn call_with(server: &Server, collector: &Collector, tool: &str, arguments: serde_json::Value, header: (&str, &str)) -> Trace {
    let raw = raw_call(server, tool, arguments, &[("x-session-id", "s"), ("x-run-id", "mine"), header], json!({})).await;
    let run_id = raw.header("x-run-id").to_owned();
    let trace_id = raw.header("x-trace-id").to_owned();
    wait_until("the run's spans", async || {
        let root = |span: &Span| span.attributes.get("mcp.run_id") == Some(&json!(run_id));
        collector.spans().iter().any(root).then_some(())
    })
    .await;
    collector.trace(&trace_id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tool_has_the_spans_and_attributes_of_the_page() {
    let (page, repo) = (page(), Repo::sample());
    let (trees, table) = (trees(&page), table(&page));
    let collector = Collector::start().await;
    let sandbox = Sandbox::new().with_variable("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.http);
    sandbox.index(&repo);
    for mode in ["shadow", "interleave"] {
        std::fs::create_dir_all(sandbox.path("experiments")).expect("a folder");
        std::fs::write(sandbox.path(&format!("experiments/{mode}.toml")), experiment(mode)).expect("an experiment");
    }
    let server = Server::start(&sandbox);
    let mut seen = BTreeSet::new();
    for (tool, arguments) in [
        ("semantic_search", json!({"query": QUERY})),
        ("open_file", json!({"path": "docs/deploy.md"})),
        ("git_blame", json!({"path": "docs/deploy.md"})),
        ("git_history", json!({"path": "docs/deploy.md"})),
        ("run_report", json!({"run_id": "mine"})),
        ("report_feedback", json!({"run_id": "mine", "kind": "used"})),
        ("experiment_report", json!({"id": "shadow"})),
    ] {
        let mut arguments = arguments;
        if tool == "report_feedback" {
            let end = sandbox.ledger("mine").pop().expect("an end");
            arguments["chunk_ids"] = json!([end["outcome"]["findings"][0]["chunk_id"]]);
        }
        let trace = call(&server, &collector, tool, arguments).await;
        assert_eq!(Some(&trace.tree()), trees.get(&format!("tools/call {tool} SERVER")), "{tool}");
        trace.spans.iter().for_each(|span| check(span, &table));
        seen.extend(trace.spans.iter().map(|span| span.name.clone()));
        if tool == "semantic_search" {
            fans_out_and_in(&trace);
        }
    }
    // Whatever a call asks for, no span says what the page doesn't know.
    for arguments in [
        json!({"query": QUERY, "explain": true}),
        json!({"query": QUERY, "rerank_enabled": false, "channels": ["bm25"]}),
        json!({"query": "how is the token bucket refilled?", "gate": {"plugin": "gate-heuristic", "parameters": {"rm3_enabled": true}}}),
        json!({"query": QUERY, "paths": ["**/*.md"]}),
        json!({"query": "qwertzuiop"}),
        json!({"query": "x", "limit": 0}),
    ] {
        let trace = call(&server, &collector, "semantic_search_pro", arguments).await;
        trace.spans.iter().for_each(|span| check(span, &table));
        seen.extend(trace.spans.iter().map(|span| span.name.clone()));
    }
    // Runs in experiments.
    let teams = call_with(&server, &collector, "semantic_search", json!({"query": QUERY}), ("x-kind", "interleave")).await;
    let variants: Vec<_> =
        teams.spans.iter().filter(|span| span.name == "retrieval.team").map(|span| span.attributes["retrieval.variant"].clone()).collect();
    assert_eq!(variants.len(), 2, "{}", teams.tree());
    assert_ne!(variants[0], variants[1]);
    let answered = call_with(&server, &collector, "semantic_search", json!({"query": QUERY}), ("x-kind", "shadow")).await;
    let root = answered.span("tools/call semantic_search");
    let links = |span: &Span| span.links.contains(&(root.trace_id.clone(), root.span_id.clone()));
    let shadow = wait_until("the shadow", async || {
        collector.spans().iter().find(|span| span.name == "retrieval.shadow" && links(span)).map(|span| span.trace_id.clone())
    })
    .await;
    let shadow = collector.trace(&shadow).await;
    for trace in [teams, answered, shadow] {
        trace.spans.iter().for_each(|span| check(span, &table));
        seen.extend(trace.spans.iter().map(|span| span.name.clone()));
    }
    let elsewhere = ["tools/call …", "vllm.embed_batch", "vllm.rerank", "vllm.token_embed"];
    let unseen: Vec<&String> = table.keys().filter(|name| !seen.contains(*name) && !elsewhere.contains(&name.as_str())).collect();
    assert!(unseen.is_empty(), "{unseen:?} were not seen");
}

/// An experiment of that mode, for calls that say so.
fn experiment(mode: &str) -> String {
    let primary = if mode == "shadow" { "reciprocal_rank" } else { "used_findings" };
    format!(
        r#"
id = "{mode}"
version = 1
state = "running"
mode = "{mode}"
owner = "search"
hypothesis = "Spans tell who ranked."
[unit]
kind = "run"
[eligibility]
header = {{ name = "x-kind", values = ["{mode}"] }}
[[arms]]
key = "all"
[[arms]]
key = "few"
budgets.depths = {{ bm25 = 5 }}
[metrics]
primary = "{primary}"
"#
    )
}

/// Fusion links the channels; every stage ends with its step.
#[track_caller]
fn fans_out_and_in(trace: &Trace) {
    let ids = |span: &Span| (span.trace_id.clone(), span.span_id.clone());
    let channels: BTreeSet<_> = ["bm25.search", "faiss.search", "files.search"].map(|name| ids(trace.span(name))).into_iter().collect();
    assert_eq!(trace.span("retrieval.fuse").links.iter().cloned().collect::<BTreeSet<_>>(), channels);
    for span in trace.spans.iter().filter(|span| span.attributes.contains_key("request.stage") || channels.contains(&ids(span))) {
        assert_eq!(span.events.last(), Some(&span.name), "the step of {}", span.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_to_models_are_spans_of_the_page_and_carry_the_context() {
    let (page, repo, stand_in) = (page(), Repo::sample(), StandIn::start(Encoding::AsAsked));
    let collector = Collector::start().await;
    let sandbox = Sandbox::new().with_config(&stand_in.config()).with_variable("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.http);
    sandbox.index(&repo);
    let server = Server::start(&sandbox);
    let trace = call(&server, &collector, "semantic_search", json!({"query": QUERY})).await;
    let table = table(&page);
    trace.spans.iter().for_each(|span| check(span, &table));
    let request = trace.span("vllm.embed_batch");
    assert_eq!(request.parent, trace.span("embed").span_id);
    let headers = stand_in.last_headers();
    assert_eq!(headers["traceparent"], format!("00-{}-{}-01", request.trace_id, request.span_id));
    assert!(headers["baggage"].contains("session.id=s") && headers["baggage"].contains("run.id=mine"), "{headers:?}");
}
