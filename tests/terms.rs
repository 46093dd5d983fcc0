//! The terms of plugins: what has to be granted, what is limited, and when one that
//! fails is left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::hostile::{NO_QUARANTINE, QUERY, arguments, call, causes, extra, indexed};
use crate::support::admin::{Scrape, checks, plugins};
use crate::support::components::{component, text_component};
use crate::support::mcp::raw_call;
use crate::support::otlp::Collector;
use crate::support::repo::Repo;
use crate::support::server::Server;
use crate::support::{Sandbox, wait_until};

/// What is forbidden unless it is granted ends the call; with the grant and without a
/// model the plugin is told so.
#[tokio::test(flavor = "multi_thread")]
async fn documents_and_scores_are_for_those_who_were_granted_them() {
    let denied = Some("denied");
    for (grants, texts, scores) in [
        ("", denied, denied),
        ("\"documents\"", None, denied),
        ("\"scoring\"", denied, Some("unsupported")),
        ("\"documents\", \"scoring\"", None, Some("unsupported")),
    ] {
        let sandbox = indexed(&format!("{NO_QUARANTINE}{}", extra("rerank", &format!("grants = [{grants}]"))));
        let server = Server::start(&sandbox);
        for (mode, cause) in [
            ("honest", None),
            ("asks_texts", texts),
            ("asks_facts", texts),
            ("asks_evidence", texts),
            ("asks_terms", None),
            ("asks_late", scores),
            ("asks_cross", scores),
        ] {
            let answer = call(&server, "rerank", mode).await.envelope();
            assert_eq!(causes(&answer), cause.map(|cause| ("rerank", cause)).into_iter().collect::<Vec<_>>(), "[{grants}] {mode}");
            match cause {
                Some("denied") => {
                    assert!(answer.warnings[0].contains("is not granted to this plugin; allow it with `grants = ["), "{mode}")
                }
                Some(_) => assert!(answer.warnings[0].contains("no ") && answer.warnings[0].contains("model"), "{:?}", answer.warnings),
                None => {}
            }
        }
    }
}

/// The columns that a page's table has for terms (of two cells) and rows (of three).
fn columns_of_the_page(cells: usize) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/evidence.md");
    let page = std::fs::read_to_string(path).expect("the page");
    let rows = page.lines().filter(|line| line.starts_with("| `") && line.matches(" | ").count() + 1 == cells);
    rows.flat_map(|row| row.split('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

/// Gates and rerankers see the columns of the page, rows only with the grant; a gate has none.
#[tokio::test(flavor = "multi_thread")]
async fn evidence_has_the_columns_of_the_page() {
    let collector = Collector::start().await;
    let otlp = format!("[telemetry]\notlp_endpoint = \"{}\"\n", collector.http);
    let granted = "grants = [\"documents\"]";
    let sandbox = indexed(&format!("{otlp}{NO_QUARANTINE}{}{}", extra("gate", granted), extra("rerank", granted)));
    let server = Server::start(&sandbox);
    let seen = async |stage: &str, mode: &str, name: &str| {
        let raw = call(&server, stage, mode).await;
        assert_eq!(causes(&raw.envelope()), [], "{stage} {mode}");
        let trace = collector.trace(raw.header("x-trace-id")).await;
        let stage = trace.span(name);
        // The shipped reranker asks, too, below a step of its own.
        let asked = trace.spans.iter().find(|span| span.name == "documents.evidence" && span.parent == stage.span_id).expect("it asked");
        assert!(!asked.failed);
        let value = |(key, value): (&String, &Json)| Some((key.strip_prefix("hostile.evidence.")?.to_owned(), value.as_f64()?));
        let columns: BTreeMap<String, f64> = stage.attributes.iter().filter_map(value).collect();
        (columns, asked.attributes.clone())
    };
    for (stage, name) in [("gate", "retrieval.gate"), ("rerank", "retrieval.rerank")] {
        let (columns, asked) = seen(stage, "asks_terms", name).await;
        assert_eq!(columns.keys().cloned().collect::<BTreeSet<_>>(), columns_of_the_page(2), "{stage}");
        assert!(columns["documents"] >= 1.0 && columns["documents"] >= columns["paths"], "{columns:?}");
        assert_eq!((asked.get("documents.terms"), asked.get("documents.rows")), (Some(&json!(4)), None));
    }
    let (columns, asked) = seen("rerank", "asks_evidence", "retrieval.rerank").await;
    assert_eq!(columns.keys().cloned().collect::<BTreeSet<_>>(), columns_of_the_page(3));
    assert!(asked.get("documents.rows").and_then(Json::as_u64).is_some_and(|rows| rows > 1));
    // The first row of all: words and vectors found it.
    assert!(columns["bm25_rank"] >= 1.0 && columns["bm25"] > 0.0 && columns["dense_rank"] >= 1.0, "{columns:?}");
    assert!(columns["position"] >= 1.0 && columns["file_chunks"] >= columns["position"], "{columns:?}");
    assert_eq!((columns["role_test"], columns["role_docs"]), (0.0, 0.0));

    let raw = call(&server, "gate", "asks_rows").await;
    assert_eq!(causes(&raw.envelope()), [("gate", "contract")]);
}

/// What a fusion wrote of the outside.
async fn look_around(collector: &Collector, server: &Server) -> BTreeMap<String, Json> {
    let raw = call(server, "fusion", "look_around").await;
    assert_eq!(causes(&raw.envelope()), []);
    let trace = collector.trace(raw.header("x-trace-id")).await;
    let attributes = trace.span("retrieval.fuse").attributes.clone();
    attributes.into_iter().filter(|(key, _)| key.starts_with("hostile.")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_random_numbers_and_environment_have_to_be_granted() {
    let collector = Collector::start().await;
    let start = |grants: &str| {
        let config = format!("[telemetry]\notlp_endpoint = \"{}\"\n{}", collector.http, extra("fusion", &format!("grants = [{grants}]")));
        let sandbox = Sandbox::new().with_config(&config).with_variable("TEST_REGION", "north").with_variable("TEST_SECRET", "sesame");
        sandbox.index(&Repo::sample());
        sandbox
    };
    let sandbox = start("");
    let (one, other) = (Server::start(&sandbox), Server::start(&sandbox));
    let seen = look_around(&collector, &one).await;
    assert_eq!(
        (&seen["hostile.wall_s"], &seen["hostile.clock_runs"], &seen["hostile.environment"]),
        (&json!(0), &json!(false), &json!(""))
    );
    // Another instance of another process sees the very same.
    assert_eq!(seen, look_around(&collector, &other).await);

    let sandbox = start("\"clocks\", \"random\", \"env:TEST_REGION\"");
    let (one, other) = (Server::start(&sandbox), Server::start(&sandbox));
    let (seen, again) = (look_around(&collector, &one).await, look_around(&collector, &other).await);
    assert_ne!(seen["hostile.random"], again["hostile.random"]);
    for seen in [seen, again] {
        assert!(seen["hostile.wall_s"].as_i64().is_some_and(|time| time > 1_700_000_000), "{seen:?}");
        assert_eq!((&seen["hostile.clock_runs"], &seen["hostile.environment"]), (&json!(true), &json!("TEST_REGION=north")));
    }
}

/// Limits that are off or far away unless somebody sets them.
#[tokio::test(flavor = "multi_thread")]
async fn computation_tables_and_instances_are_limited_too() {
    let table = format!("[[plugins.extra]]\nstage = \"fusion\"\npath = \"{}\"\n", text_component("grows_table").display());
    let config = format!(
        "{NO_QUARANTINE}{}{}{table}",
        extra("gate", "limits = { fuel_max = 50000000, call_ms_max = 20000 }"),
        extra("fusion", "limits = { instances_max = 2, call_ms_max = 1000 }")
    );
    let sandbox = indexed(&config);
    let server = Arc::new(Server::start(&sandbox));

    for (mode, cause) in [("honest", None), ("spin", Some("limit.fuel")), ("spin_in_child_span", Some("limit.fuel")), ("honest", None)] {
        let answer = call(&server, "gate", mode).await.envelope();
        assert_eq!(causes(&answer), cause.map(|cause| ("gate", cause)).into_iter().collect::<Vec<_>>(), "{mode}");
    }

    for (parameters, cause) in [(json!({}), None), (json!({"grow": true}), Some("limit.table"))] {
        let arguments = json!({"query": QUERY, "fusion": {"plugin": "hostile-table", "parameters": parameters}});
        let answer = raw_call(&server, "semantic_search_pro", arguments, &[], json!({})).await.envelope();
        assert_eq!(causes(&answer), cause.map(|cause| ("fusion", cause)).into_iter().collect::<Vec<_>>());
    }

    // The first makes the parameters known.
    assert_eq!(causes(&call(&server, "fusion", "spin").await.envelope()), [("fusion", "deadline")]);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let server = server.clone();
        clients.spawn(async move { call(&server, "fusion", "spin").await.envelope() });
    }
    let mut counts = BTreeMap::new();
    while let Some(answer) = clients.join_next().await {
        let answer = answer.expect("an answer");
        assert!(!answer.findings.is_empty());
        let cause = causes(&answer).first().map(|(_, cause)| (*cause).to_owned());
        *counts.entry(cause).or_insert(0) += 1;
    }
    let count = |cause: &str| counts.get(&Some(cause.to_owned())).copied().unwrap_or(0);
    // The instance of the call before may still be on its way out when these begin.
    assert!(count("limit.instances") >= 1 && count("deadline") >= 1 && count("limit.instances") + count("deadline") == 6, "{counts:?}");
    let scrape = Scrape::of(&server).await;
    for (stage, limit) in [("gate", "limit.fuel"), ("fusion", "limit.table"), ("fusion", "limit.instances")] {
        assert!(scrape.count("plugin_limit_reached_total", &[("stage", stage), ("limit", limit)]) > 0, "{limit}");
    }
}

/// What a plugin says of itself is checked as well.
#[tokio::test(flavor = "multi_thread")]
async fn explanations_that_do_not_fit_are_refused() {
    let config = format!("{NO_QUARANTINE}{}{}", extra("rerank", ""), extra("fusion", ""));
    let sandbox = indexed(&config);
    let server = Server::start(&sandbox);
    for (stage, mode, explain, cause) in [
        ("rerank", "parts_good", true, None),
        ("rerank", "parts_short", true, Some("contract")),
        ("rerank", "parts_nan", true, Some("contract")),
        ("fusion", "tell_parts", true, Some("contract")),
        // Nobody listens, so nobody checks.
        ("rerank", "parts_short", false, None),
        ("rerank", "parts_nan", false, None),
        ("fusion", "tell_parts", false, None),
    ] {
        let mut arguments = arguments(stage, mode);
        arguments["explain"] = json!(explain);
        let answer = raw_call(&server, "semantic_search_pro", arguments, &[], json!({})).await.envelope();
        let found: BTreeSet<(&str, &str)> = causes(&answer).into_iter().collect();
        assert_eq!(found, cause.map(|cause| (stage, cause)).into_iter().collect(), "{stage} {mode} {explain}: {:?}", answer.warnings);
        let first = answer.findings.first().and_then(|finding| finding.explanation.as_ref());
        assert_eq!(
            first.map(|explained| explained.rerank_parts.get("a")),
            explain.then_some((mode == "parts_good").then_some(&json!(1.0)))
        );
    }
}

/// A plugin that fails again and again is left alone for a while, and is back when it is
/// well.
#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_fails_in_a_row_is_taken_out_until_it_is_well() {
    let collector = Collector::start().await;
    let sandbox = indexed(&format!(
        "[telemetry]\notlp_endpoint = \"{}\"\n[plugins.rerank]\npath = \"{}\"\nparameters = {{ mode = \"ill\" }}\n\
         [plugins.quarantine]\nfailures_max = 3\nfirst_ms = 1500\nlongest_ms = 3000\n",
        collector.http,
        component("rerank").display()
    ));
    let server = Server::start(&sandbox);
    let ask = async |query: &str| {
        let raw = raw_call(&server, "semantic_search_pro", json!({"query": query}), &[], json!({})).await;
        let cause = causes(&raw.envelope()).first().map(|(_, cause)| (*cause).to_owned());
        (cause, raw)
    };
    let (well, ill) = (QUERY.to_owned(), format!("{QUERY} fever"));
    let quarantines = async || Scrape::of(&server).await.count("plugin_quarantines_total", &[("stage", "rerank"), ("plugin", "hostile")]);

    // A success between failures starts the count anew.
    for (query, cause) in [(&ill, true), (&ill, true), (&well, false), (&ill, true), (&ill, true)] {
        assert_eq!(ask(query).await.0, cause.then(|| "trap.unreachable".to_owned()));
    }
    assert_eq!(quarantines().await, 0);
    let (cause, raw) = ask(&ill).await;
    assert_eq!(cause.as_deref(), Some("trap.unreachable"));
    let trace = collector.trace(raw.header("x-trace-id")).await;
    assert!(trace.span("retrieval.rerank").events.contains(&"plugin.quarantined".to_owned()));

    // It is out, for queries that it could answer too; the fallback serves.
    let (cause, raw) = ask(&well).await;
    assert_eq!(cause.as_deref(), Some("quarantined"));
    let answer = raw.envelope();
    assert!(!answer.findings.is_empty());
    assert!(
        answer.warnings[0].contains("quarantined") && answer.warnings[0].contains("used the fused order instead"),
        "{:?}",
        answer.warnings
    );
    let (ok, words) = checks(&server).await["plugin rerank"].clone();
    assert!(!ok && words.contains("after failures in a row, the fallback serves"), "{words}");
    assert!(plugins(&server).await["plugins"].as_array().is_some_and(|list| list.iter().any(|plugin| plugin["quarantined_ms"].is_u64())));
    assert_eq!(quarantines().await, 1);

    // When its time is over, one call tries; as it fails, it is out again, for longer.
    wait_until("a try", async || (ask(&ill).await.0.as_deref() == Some("trap.unreachable")).then_some(())).await;
    assert_eq!(ask(&well).await.0.as_deref(), Some("quarantined"));
    assert_eq!(quarantines().await, 2);

    // When it is well, it is back for good.
    wait_until("an answer", async || ask(&well).await.0.is_none().then_some(())).await;
    assert_eq!(ask(&well).await.0, None);
    assert_eq!(ask(&ill).await.0.as_deref(), Some("trap.unreachable"));
    assert!(checks(&server).await["plugin rerank"].0);
    let scrape = Scrape::of(&server).await;
    assert!(scrape.count("plugin_calls_total", &[("stage", "rerank"), ("outcome", "quarantined")]) >= 2);
}

/// With limits below what an honest plugin needs, it is the one that runs into them.
#[test]
fn limits_hold_from_the_first_moment() {
    let mut sandbox = Sandbox::indexed(&Repo::sample());
    for (limit, part) in [
        ("memory_bytes_max = 1048576", "limit.memory"),
        ("table_elements_max = 100", "limit.table"),
        ("core_instances_max = 1", "resource limit exceeded"),
    ] {
        sandbox.set_config(&format!("[plugins.limits]\n{limit}\n"));
        sandbox.run(&["plugin", "list"]).check(1, &["shipped", part]);
    }
    sandbox.set_config("[plugins.limits]\nmemory_bytes_max = 5\n");
    sandbox.run(&["plugin", "list"]).check(2, &["`memory_bytes_max` is 5; allowed: 1048576 to 1073741824"]);
}
