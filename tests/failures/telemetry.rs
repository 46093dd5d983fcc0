//! Telemetry itself goes wrong: no room for ledgers, ledgers cut short, collectors that
//! don't take anything. No answer is the worse, and the reports say what is missing.

use std::fs::OpenOptions;

use axum::Router;
use axum::http::StatusCode;
use serde_json::Value as Json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{NONE, Reports, Row, SEARCH, query, report_of_command, reported, row};
use crate::support::Sandbox;
use crate::support::repo::Repo;
use crate::support::server::Server;

const fn complete(name: &'static str, injected: &'static str) -> Row {
    row(name, injected, [NONE, NONE, "complete"], "")
}

const fn crashed(name: &'static str, injected: &'static str, stage: &'static str) -> Row {
    row(name, injected, [stage, "crash", "crashed"], "")
}

pub(super) const ROWS: &[Row] = &[
    complete("ledger-disk-full", "the disk takes none of the ledger"),
    complete("ledger-folder-blocked", "a file stands where the folder of the ledgers should be"),
    crashed("ledger-torn-end", "the last line of a ledger is cut in its middle", SEARCH),
    crashed("ledger-torn-within", "a ledger is cut in the line after the beginning of a stage", "duckdb.hydrate"),
    crashed("ledger-torn-start", "a ledger is cut after its second line", SEARCH),
    complete("collector-down", "nothing listens where the collector was"),
    complete("collector-refuses", "the collector answers 503"),
    complete("collector-hangs", "the collector takes connections and never answers"),
];

/// More searches than wait in any queue of spans for long.
const SEARCHES: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_told_from_memory_when_no_ledger_can_be_written() {
    let full = Sandbox::indexed(&Repo::sample()).with_config("[faults]\nledger = \"error\"\n");
    let blocked = super::copy_of(&full);
    std::fs::create_dir_all(blocked.data().join("telemetry")).expect("a folder");
    std::fs::write(blocked.data().join("telemetry/runs"), "in the way").expect("a file");
    let mut reports = Reports::default();
    for (row, sandbox) in [("ledger-disk-full", &full), ("ledger-folder-blocked", &blocked)] {
        let server = Server::start(sandbox);
        reports.ask(&server, row, "semantic_search", query()).await;
        let report = &reports.0[row][0];
        assert!(report["ledger"]["lost_lines"].as_u64().is_some_and(|lost| lost > 0), "{row}: {}", report["ledger"]);
        assert!(report["warnings"].to_string().contains("lines"), "{row}: {}", report["warnings"]);
        assert!(report["findings"].as_array().is_some_and(|findings| !findings.is_empty()), "{row}");
        assert_eq!(names(&report["stages"]), names_of_a_whole_search(), "{row}");
    }
    reports.check(ROWS.iter().filter(|row| ["ledger-disk-full", "ledger-folder-blocked"].contains(&row.name)));
}

/// The stages of the run, in their order.
fn names(stages: &Json) -> Vec<&str> {
    stages[0]["children"].as_array().into_iter().flatten().filter_map(|stage| stage["name"].as_str()).collect()
}

fn names_of_a_whole_search() -> [&'static str; 9] {
    [
        "retrieval.profile",
        "retrieval.gate",
        "embed",
        "retrieval.gather_channels",
        "retrieval.fuse",
        "retrieval.recency_boost",
        "duckdb.hydrate",
        "retrieval.rerank",
        "retrieval.envelope",
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn torn_ledgers_read_as_crashes() {
    let sandbox = Sandbox::indexed(&Repo::sample());
    let server = Server::start(&sandbox);
    let torn = ["ledger-torn-end", "ledger-torn-within", "ledger-torn-start"];
    for row in torn {
        reported(&server, row, "semantic_search", query()).await;
        sandbox.ledger(row);
    }
    server.kill();
    let mut reports = Reports::default();
    for row in torn {
        let path = sandbox.ledger_path(row).expect("a ledger");
        let text = std::fs::read_to_string(&path).expect("its text");
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        // How many whole lines stay; half of the next one does, too.
        let whole = match row {
            "ledger-torn-end" => lines.len() - 1,
            "ledger-torn-start" => 2,
            _ => 1 + lines.iter().position(|line| line.contains("span.start") && line.contains("duckdb.hydrate")).expect("it began"),
        };
        let bytes = lines[..whole].concat().len() + lines[whole].len() / 2;
        OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(bytes as u64)).expect("a shorter file");
        let report = report_of_command(&sandbox, row);
        assert_eq!((&report["ledger"]["torn"], &report["ledger"]["lines"]), (&true.into(), &whole.into()), "{row}");
        reports.add(row, report);
    }
    reports.check(ROWS.iter().filter(|row| torn.contains(&row.name)));
}

#[tokio::test(flavor = "multi_thread")]
async fn collectors_that_fail_are_not_felt() {
    let mut tasks = JoinSet::new();
    let listen = async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("its address"));
        (listener, address)
    };
    let (nobody, down) = listen().await;
    drop(nobody);
    let (listener, refuses) = listen().await;
    let refuse = Router::new().fallback(async || StatusCode::SERVICE_UNAVAILABLE);
    tasks.spawn(async move { axum::serve(listener, refuse).await.expect("serving") });
    let (listener, hangs) = listen().await;
    tasks.spawn(async move {
        let mut held = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            held.push(connection);
        }
    });

    let repo = Repo::sample();
    let mut reports = Reports::default();
    for (row, endpoint) in [("collector-down", down), ("collector-refuses", refuses), ("collector-hangs", hangs)] {
        let sandbox = Sandbox::new().with_variable("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint);
        sandbox.index(&repo);
        let server = Server::start(&sandbox);
        for number in 0..SEARCHES {
            let one = reported(&server, &format!("{row}-{number}"), "semantic_search", query()).await;
            assert_eq!(one["outcome"], "complete", "{one}");
        }
        reports.ask(&server, row, "semantic_search", query()).await;
        // What couldn't be sent keeps nobody from stopping.
        assert_eq!(server.stop(), Some(0), "{row}");
    }
    reports.check(ROWS.iter().filter(|row| row.name.starts_with("collector-")));
}
