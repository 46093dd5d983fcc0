//! Plugins that do wrong: the call is answered, says what happened, and the next call
//! is none the worse.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use spanloom::envelope::AnswerEnvelope;

use crate::support::Sandbox;
use crate::support::components::{NO_PLUGINS, component};
use crate::support::mcp::{Client, raw_call};
use crate::support::otlp::{Collector, Span, Trace};
use crate::support::repo::Repo;
use crate::support::server::Server;

const QUERY: &str = "capacity of the token bucket release";

/// What any stage can do wrong, and the cause the answer gives; `None` where nothing is
/// degraded.
const ANY_STAGE: &[(&str, Option<&str>)] = &[
    ("honest", None),
    ("spin", Some("deadline")),
    ("spin_in_host_calls", Some("deadline")),
    ("spin_in_child_span", Some("deadline")),
    ("sleep", Some("contract")),
    ("memory_bomb", Some("limit.memory")),
    ("deep_recursion", Some("trap.stack_overflow")),
    ("panic", Some("trap.unreachable")),
    ("abort", Some("trap.unreachable")),
    ("panic_in_child_span", Some("trap.unreachable")),
    ("exit", Some("trap.other")),
    ("span_hoard", Some("trap.other")),
    ("huge_attribute", Some("limit.host_call_bytes")),
    ("bad_config", Some("bad_config")),
    ("unsupported", Some("unsupported")),
    ("internal", Some("plugin_error")),
    ("keep_span", None),
    ("span_flood", None),
    ("attribute_flood", None),
    ("event_flood", None),
    ("log_flood", None),
    ("long_attribute", None),
    ("forged_attributes", None),
    ("peek", None),
];

const FUSION: &[(&str, Option<&str>)] = &[
    ("nan_scores", Some("bad_output")),
    ("infinite_scores", Some("bad_output")),
    ("wrong_length", Some("bad_output")),
    ("unknown_id", Some("bad_output")),
    ("duplicate_id", Some("bad_output")),
    ("short_contributions", Some("bad_output")),
    ("nan_contributions", Some("bad_output")),
    ("many_rows", Some("bad_output")),
    ("huge_output", Some("limit.host_call_bytes")),
    ("no_rows", None),
];

const GATE: &[(&str, Option<&str>)] = &[
    ("unknown_channel", Some("bad_output")),
    ("same_channel_twice", Some("bad_output")),
    ("no_budgets", Some("bad_output")),
    ("nan_weight", Some("bad_output")),
    ("negative_weight", Some("bad_output")),
    ("nan_ambiguity", Some("bad_output")),
    ("zero_k", Some("bad_output")),
    ("long_class", Some("bad_output")),
    ("boundless_depth", None),
    ("many_reasons", None),
];

const RERANK: &[(&str, Option<&str>)] = &[
    ("nan_scores", Some("bad_output")),
    ("infinite_scores", Some("bad_output")),
    ("wrong_length", Some("bad_output")),
    ("unknown_id", Some("contract")),
    ("text_flood", Some("contract")),
];

/// A server that knows the hostile components beside the shipped ones.
fn sandbox(collector: &Collector) -> Sandbox {
    let mut config = format!("[telemetry]\notlp_endpoint = \"{}\"\n", collector.http);
    for stage in ["gate", "fusion", "rerank"] {
        config += &format!("[[plugins.extra]]\nstage = \"{stage}\"\npath = \"{}\"\n", component(stage).display());
    }
    let sandbox = Sandbox::new().with_config(&config);
    sandbox.index(&Repo::sample());
    sandbox
}

fn arguments(stage: &str, mode: &str) -> Json {
    json!({"query": QUERY, stage: {"plugin": "hostile", "parameters": {"mode": mode}}})
}

fn span_name(stage: &str) -> &'static str {
    match stage {
        "gate" => "retrieval.gate",
        "fusion" => "retrieval.fuse",
        _ => "retrieval.rerank",
    }
}

/// The sha-256 of the loaded hostile component of a stage.
fn digest(sandbox: &Sandbox, stage: &str) -> String {
    let plugins = sandbox.json(&["plugin", "list", "--json"]);
    let found = plugins.as_array().and_then(|list| list.iter().find(|plugin| plugin["stage"] == stage && plugin["name"] == "hostile"));
    found.expect("it is loaded")["sha256"].as_str().expect("a digest").to_owned()
}

#[track_caller]
fn check_answer(answer: &AnswerEnvelope, stage: &str, mode: &str, digest: &str, cause: Option<&str>) {
    assert_eq!(answer.findings.is_empty(), mode == "no_rows", "{stage} {mode}");
    let degraded: Vec<(&str, &str)> = answer.degraded.iter().map(|part| (part.part.as_str(), part.cause.as_str())).collect();
    assert_eq!(degraded, cause.map(|cause| (stage, cause)).into_iter().collect::<Vec<_>>(), "{stage} {mode}: {:?}", answer.warnings);
    if let Some(cause) = cause {
        let warning = &answer.warnings[0];
        for part in ["hostile", &digest[..12], cause] {
            assert!(warning.contains(part), "{stage} {mode}: `{part}` is not in `{warning}`");
        }
    } else {
        assert!(answer.warnings.is_empty(), "{stage} {mode}: {:?}", answer.warnings);
    }
}

#[track_caller]
fn check_trace(trace: &Trace, stage: &str, mode: &str, digest: &str, cause: Option<&str>) {
    let span = trace.span(span_name(stage));
    let attribute = |key: &str| span.attributes.get(key);
    assert_eq!(attribute("plugin.trap"), cause.map(Json::from).as_ref(), "{stage} {mode}");
    assert_eq!(attribute("error.type"), cause.map(Json::from).as_ref(), "{stage} {mode}");
    assert_eq!(span.failed, cause.is_some(), "{stage} {mode}");
    assert_eq!(attribute("plugin.fallback").is_some(), cause.is_some(), "{stage} {mode}");
    assert_eq!(attribute("plugin.name"), Some(&json!("hostile")), "{stage} {mode}");
    assert_eq!(attribute("plugin.sha256"), Some(&json!(digest)), "{stage} {mode}");
    let within: Vec<&Span> = trace.spans.iter().filter(|span| span.name.starts_with("hostile.")).collect();
    let dropped = attribute("plugin.telemetry_dropped").and_then(Json::as_u64).unwrap_or(0);
    let names: Vec<(&str, bool)> = within.iter().map(|span| (span.name.as_str(), span.failed)).collect();
    match mode {
        "panic_in_child_span" => {
            let (outer, inner) = (trace.span("hostile.outer"), trace.span("hostile.inner"));
            assert!(outer.failed && inner.failed, "open spans end with an error");
            assert_eq!((&outer.parent, &inner.parent), (&span.span_id, &outer.span_id));
            assert_eq!(inner.attributes.get("error.type"), Some(&json!("trap.unreachable")));
        }
        "spin_in_child_span" => assert_eq!(names, [("hostile.outer", true)]),
        "unknown_id" if stage == "rerank" => {
            assert_eq!(names, [("hostile.asks", true)]);
            assert!(trace.span("documents.texts").failed);
        }
        "keep_span" => assert_eq!(names, [("hostile.kept", false)]),
        "span_flood" => {
            assert_eq!(within.len(), 64);
            assert!(dropped >= 9_936, "{dropped}");
        }
        "span_hoard" => assert_eq!(within.len(), 64),
        "attribute_flood" => {
            assert!(span.attributes.len() < 600, "{}", span.attributes.len());
            assert!(dropped >= 99_000, "{dropped}");
        }
        "event_flood" => assert!(span.events.len() <= 70 && dropped >= 9_936, "{} {dropped}", span.events.len()),
        "log_flood" => {
            assert_eq!(span.events.iter().filter(|event| *event == "plugin.log").count(), 32);
            assert_eq!(dropped, 9_968);
        }
        "long_attribute" => assert_eq!(dropped, 1),
        _ => assert_eq!((names.as_slice(), dropped), (&[][..], 0), "{stage} {mode}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_plugin_does_the_call_is_answered() {
    let collector = Collector::start().await;
    let sandbox = sandbox(&collector);
    let server = Server::start(&sandbox);
    for (stage, own) in [("fusion", FUSION), ("gate", GATE), ("rerank", RERANK)] {
        let digest = digest(&sandbox, stage);
        for (mode, cause) in ANY_STAGE.iter().chain(own) {
            let raw = raw_call(&server, "semantic_search_pro", arguments(stage, mode), &[], json!({})).await;
            check_answer(&raw.envelope(), stage, mode, &digest, *cause);
            check_trace(&collector.trace(raw.header("x-trace-id")).await, stage, mode, &digest, *cause);
            let honest = raw_call(&server, "semantic_search_pro", arguments(stage, "honest"), &[], json!({})).await;
            check_answer(&honest.envelope(), stage, "honest", &digest, None);
        }
    }
    let said = server.said();
    assert!(!said.contains("nobody reads this"), "a plugin's output goes nowhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_hostile_calls_at_once_harm_nobody() {
    let collector = Collector::start().await;
    let sandbox = sandbox(&collector);
    let server = Arc::new(Server::start(&sandbox));
    let digest: Arc<str> = digest(&sandbox, "fusion").into();
    let modes: Vec<(&str, Option<&str>)> = ANY_STAGE.iter().chain(FUSION).copied().filter(|(mode, _)| *mode != "sleep").collect();
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..16 {
        let (server, digest, modes) = (server.clone(), digest.clone(), modes.clone());
        clients.spawn(async move {
            let client = Client::connect(&server).await;
            for at in 0..8 {
                let (mode, cause) = modes[(number * 5 + at * 3) % modes.len()];
                check_answer(&client.search(arguments("fusion", mode)).await, "fusion", mode, &digest, cause);
                check_answer(&client.search(json!({"query": QUERY})).await, "fusion", "shipped", &digest, None);
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.expect("every client got its answers");
    }
}

/// Each set of parameters has instances of its own; old ones have to make room.
#[tokio::test(flavor = "multi_thread")]
async fn many_parameters_at_once_exhaust_nothing() {
    let repo = Repo::sample();
    let sandbox = Sandbox::indexed(&repo);
    let server = Arc::new(Server::start(&sandbox));
    for round in 0..40 {
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let server = server.clone();
            let fusion = json!({"plugin": "fusion-rrf", "parameters": {"k": 10 + round}});
            clients.spawn(async move {
                let arguments = json!({"query": QUERY, "fusion": fusion});
                raw_call(&server, "semantic_search_pro", arguments, &[], json!({})).await.envelope()
            });
        }
        while let Some(answer) = clients.join_next().await {
            assert_eq!(answer.expect("an answer").degraded, [], "round {round}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleeping_plugin_holds_no_thread_for_good() {
    let collector = Collector::start().await;
    let sandbox = sandbox(&collector);
    let server = Server::start(&sandbox);
    for _ in 0..3 {
        let raw = raw_call(&server, "semantic_search_pro", arguments("fusion", "sleep"), &[], json!({})).await;
        assert_eq!(raw.envelope().degraded.len(), 1);
    }
    // A thread that still slept would keep the process from ending in time.
    assert_eq!(server.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_do_harm_are_refused() {
    let collector = Collector::start().await;
    let mut sandbox = sandbox(&collector);
    let server = Server::start(&sandbox);
    let client = Client::connect(&server).await;
    for (mode, part) in
        [("configure_spins", "deadline"), ("configure_traps", "trap.unreachable"), ("configure_refuses", "this mode is refused")]
    {
        let words = client.refused("semantic_search_pro", arguments("fusion", mode)).await;
        assert!(words.contains(part) && words.contains("hostile"), "{words}");
    }
    assert_eq!(client.search(arguments("fusion", "honest")).await.degraded, []);

    // In the configuration they keep the server from starting.
    for (mode, part) in [("configure_spins", "deadline"), ("configure_refuses", "this mode is refused")] {
        let path = component("fusion");
        sandbox.set_config(&format!("[plugins.fusion]\npath = \"{}\"\nparameters = {{ mode = \"{mode}\" }}\n", path.display()));
        sandbox.run(&["serve", "--bind", "127.0.0.1:0", "--metrics-bind", "127.0.0.1:0"]).check(1, &["parameters are refused", part]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_of_ones_own_serves() {
    let sandbox = Sandbox::new().with_config(&format!("[plugins.fusion]\npath = \"{}\"\n", component("fusion").display()));
    sandbox.index(&Repo::sample());
    sandbox.run(&["plugin", "list"]).check(0, &["hostile", "fusion.wasm (active)"]);
    let server = Server::start(&sandbox);
    let client = Client::connect(&server).await;
    let answer = client.search(json!({"query": QUERY, "rerank_enabled": false})).await;
    assert_eq!(answer.degraded, []);
    // It takes the first run as it is.
    assert!(
        answer
            .findings
            .iter()
            .zip(1..)
            .all(|(finding, rank)| finding.contributions[0].rank == rank && finding.contributions[0].share == 1.0)
    );
    let other = client.search(json!({"query": QUERY, "rerank_enabled": false, "fusion": {"plugin": "fusion-rrf"}})).await;
    assert!(other.findings.iter().any(|finding| finding.contributions.iter().any(|part| part.share < 1.0)));
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

#[test]
fn what_is_no_plugin_is_refused_by_name() {
    let mut sandbox = Sandbox::indexed(&Repo::sample());
    let mut check = |path: &std::path::Path, part: &str| {
        sandbox.set_config(&format!("[plugins.fusion]\npath = \"{}\"\n", path.display()));
        let name = path.display().to_string();
        for command in [&["serve", "--bind", "127.0.0.1:0", "--metrics-bind", "127.0.0.1:0"][..], &["search", "x"], &["plugin", "list"]] {
            sandbox.run(command).check(1, &[&name, part]);
        }
        sandbox.run(&["doctor"]).check(1, &["broken  plugin", part]);
    };
    let folder = tempfile::tempdir().expect("a folder");
    for (name, content, part) in NO_PLUGINS {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("a file");
        check(&path, part);
    }
    check(&folder.path().join("missing.wasm"), "can't be read");
    check(folder.path(), "can't be read");
    for (example, part) in [
        ("describe_garbage", "`describe` failed: is not JSON"),
        ("describe_nameless", "`describe` failed: has no `name`"),
        ("describe_spins", "`describe` failed: deadline"),
        ("describe_traps", "`describe` failed: trap.unreachable"),
        ("gate", "exports `spanloom:search/gate@0.1.0`"),
    ] {
        check(&component(example), part);
    }
}
