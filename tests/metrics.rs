//! Every instrument moves when its page says so, and nothing that clients choose makes
//! new series.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::sync::Arc;

use serde_json::json;

use crate::experiments_guard::{guarded, until_rolled_back};
use crate::hostile::{call, extra};
use crate::support::admin::{Scrape, choose, serving};
use crate::support::mcp::{answered, raw_call, raw_request_by};
use crate::support::otlp::Collector;
use crate::support::repo::Repo;
use crate::support::server::Server;
use crate::support::vllm::{Encoding, StandIn};
use crate::support::{Sandbox, wait_until};
use crate::traces::QUERY;

/// The page that tells operators of the instruments.
const PAGE: &str = include_str!("../docs/metrics.md");
/// What the Prometheus exporter adds by itself.
const EXPORTERS_OWN: [&str; 2] = ["target_info", "otel_scope_info"];

/// No time runs out, however busy the machine is.
const PATIENT: &str = "[plugins.limits]\ncall_ms_max = 20000\nsetup_ms_max = 20000\n";
/// The same for whole searches.
const PATIENT_SEARCH: &str = "row_cache_mb = 0\ndeadline_ms = 60000\nembed_deadline_ms = 20000\nchannel_deadline_ms = 20000\n";

/// A series, and what it says after the script.
type Moved = (&'static str, &'static [(&'static str, &'static str)], Says);

#[derive(Clone, Copy, Debug)]
enum Says {
    Exactly(f64),
    More(f64),
}
use Says::{Exactly, More};

/// After [`script`].
const MOVED: &[Moved] = &[
    ("mcp_runs_total", &[("tool", "semantic_search"), ("status", "ok")], Exactly(2.0)),
    ("mcp_runs_total", &[("tool", "semantic_search"), ("status", "error")], Exactly(1.0)),
    ("mcp_runs_total", &[("tool", "unknown"), ("status", "error")], Exactly(1.0)),
    ("mcp_run_errors_total", &[("tool", "semantic_search"), ("error_type", "invalid_argument")], Exactly(1.0)),
    ("mcp_run_errors_total", &[("tool", "open_file"), ("error_type", "not_found")], Exactly(1.0)),
    ("mcp_runs_in_flight", &[("tool", "semantic_search")], Exactly(0.0)),
    ("request_latency_seconds_count", &[("tool", "semantic_search")], Exactly(3.0)),
    ("request_latency_seconds_sum", &[("tool", "open_file")], More(0.0)),
    ("stage_latency_seconds_count", &[("stage", "retrieval.fuse")], Exactly(8.0)),
    ("stage_latency_seconds_count", &[("stage", "file.open")], Exactly(2.0)),
    ("embed_latency_seconds_count", &[("mode", "http")], Exactly(8.0)),
    ("embed_batch_size_sum", &[("mode", "http")], Exactly(8.0)),
    ("faiss_search_latency_seconds_count", &[("index_kind", "Flat")], Exactly(8.0)),
    ("xtr_search_latency_seconds_count", &[], Exactly(1.0)),
    ("duckdb_execute_seconds_count", &[("operation", "SELECT")], More(7.0)),
    ("gating_decisions_total", &[("rm3", "false")], Exactly(8.0)),
    ("gating_rrf_k_count", &[], Exactly(8.0)),
    ("gating_rrf_k_sum", &[], More(0.0)),
    ("query_ambiguity_count", &[], Exactly(8.0)),
    ("recency_boosted_total", &[], More(0.0)),
    ("query_errors_total", &[("part", "fusion"), ("cause", "trap.unreachable")], Exactly(2.0)),
    ("query_errors_total", &[("part", "fusion"), ("cause", "quarantined")], Exactly(1.0)),
    ("channel_hits_count", &[("channel", "bm25")], Exactly(8.0)),
    ("channel_hits_sum", &[("channel", "dense")], More(0.0)),
    ("plugin_calls_total", &[("stage", "fusion"), ("plugin", "hostile"), ("outcome", "trap.unreachable")], Exactly(2.0)),
    ("plugin_calls_total", &[("stage", "gate"), ("outcome", "ok")], More(7.0)),
    ("plugin_traps_total", &[("stage", "fusion"), ("plugin", "hostile"), ("cause", "trap.unreachable")], Exactly(2.0)),
    ("plugin_cpu_time_seconds_sum", &[("stage", "rerank"), ("plugin", "hostile")], More(0.0)),
    ("plugin_memory_bytes_sum", &[("stage", "fusion"), ("plugin", "hostile")], More(0.0)),
    ("plugin_limit_reached_total", &[("stage", "rerank"), ("plugin", "hostile"), ("limit", "limit.log_lines")], Exactly(1.0)),
    ("plugin_quarantines_total", &[("stage", "fusion"), ("plugin", "hostile")], Exactly(1.0)),
    ("plugin_loads_total", &[("outcome", "switched")], Exactly(1.0)),
    ("index_age_seconds", &[], More(0.0)),
    ("index_coverage_ratio", &[("of", "files")], More(0.0)),
    ("index_coverage_ratio", &[("of", "vectors")], Exactly(1.0)),
    ("index_chunks", &[], More(0.0)),
    ("telemetry_queue_depth", &[("queue", "ledger")], Exactly(0.0)),
    ("telemetry_dropped_total", &[("signal", "ledger")], Exactly(0.0)),
    ("telemetry_exported_total", &[("signal", "traces")], More(0.0)),
    ("telemetry_export_failures_total", &[("signal", "traces")], Exactly(0.0)),
];

/// Calls that go well, badly and oddly: eight searches and three other calls.
async fn script(server: &Server) {
    let plain = [
        ("semantic_search", json!({"query": QUERY})),
        ("semantic_search", json!({"query": "LruCache"})),
        ("semantic_search", json!({"query": QUERY, "limit": 0})),
        ("semantic_search_pro", json!({"query": QUERY, "explain": false})),
        ("open_file", json!({"path": "docs/deploy.md"})),
        ("open_file", json!({"path": "not/there"})),
        ("made_up", json!({})),
    ];
    for (tool, arguments) in plain {
        raw_call(server, tool, arguments, &[], json!({})).await;
    }
    // The third finds the plugin taken out.
    for _ in 0..3 {
        call(server, "fusion", "panic").await;
    }
    call(server, "rerank", "log_flood").await;
    call(server, "rerank", "asks_late").await;
    let (fusion, _) = serving(server, "fusion").await;
    assert_eq!(choose(server, "fusion", json!({"plugin": fusion, "parameters": {}})).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_instrument_moves_and_is_documented() {
    let stand_in = StandIn::start(Encoding::AsAsked);
    let models = format!("{}{}", stand_in.config(), stand_in.scoring());
    let plugins = extra("fusion", "") + &extra("rerank", "grants = [\"documents\", \"scoring\"]");
    let config = format!(
        "{models}[search]\n{PATIENT_SEARCH}[search.recency]\nweight = 0.5\n{plugins}[plugins.quarantine]\nfailures_max = 2\n{PATIENT}"
    );
    let (collector, repo) = (Collector::start().await, Repo::sample());
    let mut sandbox = Sandbox::new().with_config(&config).with_variable("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.http);
    sandbox.index(&repo);
    let server = Server::start(&sandbox);
    script(&server).await;
    // The queues are empty a moment after the last answer.
    let after = wait_until("empty queues", async || {
        let scrape = Scrape::of(&server).await;
        (scrape.value("telemetry_queue_depth", &[]) == Some(0.0)).then_some(scrape)
    })
    .await;
    for (name, labels, says) in MOVED {
        let value = after.value(name, labels).unwrap_or_else(|| panic!("there is no {name} with {labels:?} in\n{}", after.text));
        let fits = match says {
            Exactly(number) => value == *number,
            More(number) => value > *number,
        };
        assert!(fits, "{name} with {labels:?} is {value}, not {says:?}, in\n{}", after.text);
    }

    // What moves only when something is late or lost.
    let faults = "[faults]\n\"faiss.search\" = \"delay 600000 ms\"\nledger = \"error\"\n";
    sandbox.set_config(&format!("{models}[search]\ndeadline_ms = 60000\nembed_deadline_ms = 20000\nchannel_deadline_ms = 1500\n{faults}"));
    // Nobody listens there.
    let sandbox = sandbox.with_variable("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9");
    let late = Server::start(&sandbox);
    let flying = async {
        wait_until("a run in flight", async || {
            (Scrape::of(&late).await.value("mcp_runs_in_flight", &[("tool", "semantic_search")]) == Some(1.0)).then_some(())
        })
        .await;
    };
    let (raw, ()) = tokio::join!(raw_call(&late, "semantic_search", json!({"query": QUERY}), &[], json!({})), flying);
    assert_eq!(raw.envelope().degraded[0].part, "dense");
    let lost = wait_until("lost lines and spans", async || {
        let scrape = Scrape::of(&late).await;
        let lost = scrape.count("telemetry_dropped_total", &[("signal", "ledger")]) > 0;
        (lost && scrape.count("telemetry_export_failures_total", &[("signal", "traces")]) > 0).then_some(scrape)
    })
    .await;
    assert_eq!(lost.count("channel_deadlines_missed_total", &[("channel", "dense")]), 1);
    assert_eq!(lost.count("query_errors_total", &[("part", "dense"), ("cause", "deadline")]), 1);
    assert_eq!(lost.value("mcp_runs_in_flight", &[("tool", "semantic_search")]), Some(0.0));

    // What experiments add.
    let sandbox = guarded();
    let server = Server::start(&sandbox);
    until_rolled_back(&server).await;
    let experiments = wait_until("an arm that was asked unseen", async || {
        let scrape = Scrape::of(&server).await;
        let asked = scrape.count("experiment_shadow_runs_total", &[("experiment", "unseen"), ("outcome", "ok")]) > 0;
        (asked && scrape.count("experiment_rollbacks_total", &[("variant", "trap")]) == 1).then_some(scrape)
    })
    .await;
    check_page(&[after, lost, experiments]);
}

/// Name, type, unit and labels of each instrument are those of the page.
#[track_caller]
fn check_page(scrapes: &[Scrape]) {
    let mut measured: BTreeMap<String, (String, &str, BTreeSet<String>)> = BTreeMap::new();
    for scrape in scrapes {
        for (name, kind) in scrape.types().into_iter().filter(|(name, _)| !EXPORTERS_OWN.contains(&name.as_str())) {
            let unit = [("_seconds", "s"), ("_bytes", "By")].into_iter().find(|(end, _)| name.ends_with(end)).map_or("1", |(_, unit)| unit);
            let labels = scrape.labels(&name);
            measured.entry(name).or_insert((kind, unit, BTreeSet::new())).2.extend(labels);
        }
    }
    let rows = PAGE.lines().filter(|line| line.starts_with("| `"));
    let told: BTreeMap<String, (String, &str, BTreeSet<String>)> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let labels = cells[4].split(',').map(|label| label.trim().trim_matches('`').to_owned());
            (cells[1].trim_matches('`').to_owned(), (cells[2].to_owned(), cells[3], labels.filter(|label| !label.is_empty()).collect()))
        })
        .collect();
    assert_eq!(measured, told, "measured, and as docs/metrics.md has it");
}

/// Calls of the flood, and those after which every series there can be is there.
const CALLS: usize = 10_000;
const FIRST_CALLS: usize = 2_000;
/// Connections that are kept.
const CONNECTIONS: usize = 4;
/// Memory that a flood may cost beyond what the first calls did: the run store fills to
/// its bound of 32 MB, the rest is what the allocator keeps.
const GROWTH_BYTES_MAX: u64 = 64 << 20;

/// One of the calls: its session, run, path, tool or query are nobody else's.
async fn distinct_call(client: &reqwest::Client, server: &Server, number: usize) {
    let (tool, arguments) = match number % 20 {
        0 => (format!("tool_x{number}x"), json!({})),
        1 if number % 40 == 1 => ("semantic_search".into(), json!({"query": format!("{QUERY} x{number}x")})),
        2 => ("semantic_search".into(), json!({"query": "a", "limit": 0, "paths": [format!("x{number}x")]})),
        _ => ("open_file".into(), json!({"path": format!("folder/x{number}x.rs")})),
    };
    let (session, run) = (format!("session-x{number}x"), format!("run-x{number}x"));
    let headers = [("x-session-id", &*session), ("x-run-id", &*run)];
    let raw = answered(raw_request_by(client, server, &tool, arguments, &headers, json!({}))).await;
    assert_eq!(raw.header("x-run-id"), run);
}

async fn flood(client: &reqwest::Client, server: &Arc<Server>, calls: std::ops::Range<usize>) {
    let mut tasks = tokio::task::JoinSet::new();
    for connection in 0..CONNECTIONS {
        let (client, server, calls) = (client.clone(), server.clone(), calls.clone());
        tasks.spawn(async move {
            for number in calls.skip(connection).step_by(CONNECTIONS) {
                distinct_call(&client, &server, number).await;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("all calls are answered");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_sessions_runs_and_paths_make_no_series() {
    // A collector that takes connections and answers nothing: what waits for it is bounded, too.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = format!("http://{}", silent.local_addr().expect("its address"));
    let sandbox = Sandbox::new().with_config(&format!("[search]\n{PATIENT_SEARCH}{PATIENT}"));
    sandbox.index(&Repo::sample());
    let sandbox = sandbox.with_variable("OTEL_EXPORTER_OTLP_ENDPOINT", &silent);
    let server = Arc::new(Server::start(&sandbox));
    let client = reqwest::Client::new();
    let names = |scrape: &Scrape| -> BTreeSet<String> {
        scrape.series().filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series.to_owned()).collect()
    };
    flood(&client, &server, 0..FIRST_CALLS).await;
    let (before, resident) = (Scrape::of(&server).await, server.resident_bytes());
    flood(&client, &server, FIRST_CALLS..CALLS).await;
    let after = Scrape::of(&server).await;
    let grown = server.resident_bytes().saturating_sub(resident);

    assert_eq!(after.count("mcp_runs_total", &[]), CALLS as u64);
    let new: Vec<String> = names(&after).difference(&names(&before)).cloned().collect();
    assert!(new.is_empty(), "{} series more than the {} before: {new:#?}", new.len(), names(&before).len());
    let clients_words = |line: &&str| line.contains("x1") || line.contains("session-") || line.contains("folder/");
    assert_eq!(after.series().find(clients_words), None);
    assert!(grown <= GROWTH_BYTES_MAX, "{} MiB more than the {} MiB after the first calls", grown >> 20, resident >> 20);
}
