//! Calls that are cut short while a stage hangs: the client goes away, the process is
//! killed or told to stop, the time is over, the stage panics.

use serde_json::{Value as Json, json};

use super::{QUERY, Reports, Row, query, report, report_of_command, row};
use crate::hostile::{arguments, extra};
use crate::support::mcp::raw_request;
use crate::support::repo::Repo;
use crate::support::server::Server;
use crate::support::vllm::{Encoding, Mood, StandIn};
use crate::support::{Sandbox, wait_until};

const fn gone(name: &'static str, injected: &'static str, stage: &'static str) -> Row {
    row(name, injected, [stage, "cancelled", "cancelled"], "the client cancelled the call or went away")
}

const fn killed(name: &'static str, injected: &'static str, stage: &'static str) -> Row {
    row(name, injected, [stage, "crash", "crashed"], "")
}

pub(super) const ROWS: &[Row] = &[
    gone("gone-profile", "the client goes away while the query is looked at", "retrieval.profile"),
    gone("gone-gate", "the client goes away while the gate decides", "retrieval.gate"),
    gone("gone-embed", "the client goes away while the query is embedded", "embed"),
    gone("gone-gather", "the client goes away before the channels are asked", "retrieval.gather_channels"),
    gone("gone-bm25", "the client goes away while the text index searches", "bm25.search"),
    gone("gone-faiss", "the client goes away while FAISS searches", "faiss.search"),
    gone("gone-files", "the client goes away while the index of whole files searches", "files.search"),
    gone("gone-fuse", "the client goes away while the lists are fused", "retrieval.fuse"),
    gone("gone-recency", "the client goes away while new things are moved up", "retrieval.recency_boost"),
    gone("gone-hydrate", "the client goes away while the catalog is read", "duckdb.hydrate"),
    gone("gone-rerank", "the client goes away while the rows are reranked", "retrieval.rerank"),
    gone("gone-envelope", "the client goes away while the answer is put together", "retrieval.envelope"),
    gone("gone-open-file", "the client goes away while a file is opened", "file.open"),
    gone("gone-plugin", "the client goes away while a reranker loops", "retrieval.rerank"),
    gone("gone-model", "the client goes away while the embedding server is silent", "embed"),
    killed("killed-profile", "`kill -9` while the query is looked at", "retrieval.profile"),
    killed("killed-gate", "`kill -9` while the gate decides", "retrieval.gate"),
    killed("killed-embed", "`kill -9` while the query is embedded", "embed"),
    killed("killed-gather", "`kill -9` before the channels are asked", "retrieval.gather_channels"),
    killed("killed-bm25", "`kill -9` while the text index searches", "bm25.search"),
    killed("killed-faiss", "`kill -9` while FAISS searches", "faiss.search"),
    killed("killed-files", "`kill -9` while the index of whole files searches", "files.search"),
    killed("killed-fuse", "`kill -9` while the lists are fused", "retrieval.fuse"),
    killed("killed-recency", "`kill -9` while new things are moved up", "retrieval.recency_boost"),
    killed("killed-hydrate", "`kill -9` while the catalog is read", "duckdb.hydrate"),
    killed("killed-rerank", "`kill -9` while the rows are reranked", "retrieval.rerank"),
    killed("killed-envelope", "`kill -9` while the answer is put together", "retrieval.envelope"),
    killed("killed-open-file", "`kill -9` while a file is opened", "file.open"),
    killed("killed-plugin", "`kill -9` while a reranker loops", "retrieval.rerank"),
    killed("killed-model", "`kill -9` while the embedding server is silent", "embed"),
    row(
        "timeout-hydrate",
        "`server.request_timeout_ms` is over while the catalog is read",
        ["duckdb.hydrate", "deadline", "failed"],
        "within 300 ms",
    ),
    row(
        "stopped-rerank",
        "the server is stopped, without grace, while the rows are reranked",
        ["retrieval.rerank", "cancelled", "cancelled"],
        "the server was stopped",
    ),
    row("panic-bm25", "a channel panics", ["bm25.search", "panic", "failed"], "bm25.search"),
    row("panic-hydrate", "the stage that reads the catalog panics", ["duckdb.hydrate", "panic", "failed"], "duckdb.hydrate"),
];

/// Every stage by the last part of its rows' names.
const STAGES: &[(&str, &str)] = &[
    ("profile", "retrieval.profile"),
    ("gate", "retrieval.gate"),
    ("embed", "embed"),
    ("gather", "retrieval.gather_channels"),
    ("bm25", "bm25.search"),
    ("faiss", "faiss.search"),
    ("files", "files.search"),
    ("fuse", "retrieval.fuse"),
    ("recency", "retrieval.recency_boost"),
    ("hydrate", "duckdb.hydrate"),
    ("rerank", "retrieval.rerank"),
    ("envelope", "retrieval.envelope"),
    ("open-file", "file.open"),
];

/// So that nothing ends a stage that hangs but what the test does.
const PATIENT: &str = "[search]\ndeadline_ms = 300000\nembed_deadline_ms = 300000\nchannel_deadline_ms = 300000\n\
                       [server]\nrequest_timeout_ms = 600000\nshutdown_grace_ms = 0\n";

/// Gives a call up and kills the server under another one, while both hang in a stage;
/// adds what the server and the command line report of them.
async fn cut_off(sandbox: &Sandbox, reports: &mut Reports, name: &str, stage: &str, tool: &str, arguments: &Json) {
    let server = Server::start(sandbox);
    let hanging = async |run_id: &str| {
        let call = raw_request(&server, tool, arguments.clone(), &[("x-run-id", run_id)], json!({}));
        let call = tokio::spawn(call.send()).abort_handle();
        hangs(sandbox, run_id, stage).await;
        call
    };
    let run_id = format!("gone-{name}");
    hanging(&run_id).await.abort();
    reports.add(&run_id, report(&server, &run_id).await);

    let run_id = format!("killed-{name}");
    hanging(&run_id).await;
    server.kill();
    reports.add(&run_id, report_of_command(sandbox, &run_id));
}

/// Waits until a run has come to the stage that hangs, as its ledger shows.
async fn hangs(sandbox: &Sandbox, run_id: &str, stage: &str) {
    wait_until(&format!("{run_id} to hang"), async || (innermost(&sandbox.ledger_so_far(run_id)) == [stage]).then_some(())).await;
}

/// The stages that have begun and not ended, without those around them.
fn innermost(ledger: &[Json]) -> Vec<&str> {
    let spans = |kind: &'static str| ledger.iter().filter(move |line| line["line"] == kind);
    let open: Vec<&Json> = spans("span.start").filter(|start| spans("span").all(|end| end["span_id"] != start["span_id"])).collect();
    let is_inner = |span: &&&Json| open.iter().all(|other| other["parent_span_id"] != span["span_id"]);
    open.iter().filter(is_inner).filter_map(|span| span["name"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_given_up_or_killed_are_told_with_the_stage() {
    let mut sandbox = Sandbox::indexed(&Repo::sample());
    let mut reports = Reports::default();
    for (name, stage) in STAGES {
        sandbox.set_config(&format!("{PATIENT}[faults]\n\"{stage}\" = \"hang\"\n"));
        let opens = *stage == "file.open";
        let (tool, arguments) = if opens { ("open_file", json!({"path": "docs/deploy.md"})) } else { ("semantic_search", query()) };
        cut_off(&sandbox, &mut reports, name, stage, tool, &arguments).await;
    }
    sandbox.set_config(&format!("{PATIENT}{}", extra("rerank", "limits = { call_ms_max = 60000 }")));
    cut_off(&sandbox, &mut reports, "plugin", "retrieval.rerank", "semantic_search_pro", &arguments("rerank", "spin")).await;
    // A server that has never seen them reports the same.
    sandbox.set_config("");
    let server = Server::start(&sandbox);
    for name in STAGES.iter().map(|(name, _)| *name).chain(["plugin"]) {
        for way in ["gone", "killed"] {
            let run_id = format!("{way}-{name}");
            reports.add(&run_id, report(&server, &run_id).await);
        }
    }

    let stand_in = StandIn::start(Encoding::AsAsked);
    let config = format!("{}timeout_ms = 60000\n{PATIENT}", stand_in.config());
    let sandbox = Sandbox::new().with_config(&config);
    sandbox.index(&Repo::sample());
    stand_in.set_mood(Mood::Silent);
    cut_off(&sandbox, &mut reports, "model", "embed", "semantic_search", &query()).await;
    reports.check(ROWS.iter().filter(|row| row.name.starts_with("gone-") || row.name.starts_with("killed-")));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_ended_from_within_are_told_with_the_stage() {
    let mut sandbox = Sandbox::indexed(&Repo::sample());
    let mut reports = Reports::default();

    sandbox.set_config("[server]\nrequest_timeout_ms = 300\n[faults]\n\"duckdb.hydrate\" = \"hang\"\n");
    reports.ask(&Server::start(&sandbox), "timeout-hydrate", "semantic_search", query()).await;

    sandbox.set_config("[faults]\n\"bm25.search\" = \"panic\"\n\"duckdb.hydrate\" = \"panic\"\n");
    let server = Server::start(&sandbox).that_may_panic();
    reports.ask(&server, "panic-bm25", "semantic_search", query()).await;
    let dense = json!({"query": QUERY, "channels": ["dense"]});
    reports.ask(&server, "panic-hydrate", "semantic_search_pro", dense).await;

    sandbox.set_config(&format!("{PATIENT}[faults]\n\"retrieval.rerank\" = \"hang\"\n"));
    let server = Server::start(&sandbox);
    let _call = tokio::spawn(raw_request(&server, "semantic_search", query(), &[("x-run-id", "stopped-rerank")], json!({})).send());
    hangs(&sandbox, "stopped-rerank", "retrieval.rerank").await;
    assert_eq!(server.stop(), Some(0));
    reports.add("stopped-rerank", report_of_command(&sandbox, "stopped-rerank"));

    reports.check(ROWS.iter().filter(|row| !row.name.starts_with("gone-") && !row.name.starts_with("killed-")));
}
