//! Plugins that do wrong: the call is answered, says what happened, and the next call
//! is none the worse.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use spanloom::envelope::AnswerEnvelope;

use crate::support::admin::Scrape;
use crate::support::components::{NO_PLUGINS, component};
use crate::support::mcp::{Client, Raw, raw_call};
use crate::support::otlp::{Collector, Span, Trace};
use crate::support::repo::Repo;
use crate::support::server::Server;
use crate::support::{Sandbox, wait_until};

pub(crate) const QUERY: &str = "capacity of the token bucket release";

/// A mode: its name; the cause the answer gives, `None` where nothing is degraded; the
/// limits that cost it telemetry.
type Mode = (&'static str, Option<&'static str>, &'static [&'static str]);

/// What any stage can do wrong.
const ANY_STAGE: &[Mode] = &[
    ("honest", None, &[]),
    ("spin", Some("deadline"), &[]),
    ("spin_in_host_calls", Some("deadline"), &[]),
    ("spin_in_child_span", Some("deadline"), &[]),
    ("sleep", Some("contract"), &[]),
    ("memory_bomb", Some("limit.memory"), &[]),
    ("deep_recursion", Some("trap.stack_overflow"), &[]),
    ("panic", Some("trap.unreachable"), &[]),
    ("abort", Some("trap.unreachable"), &[]),
    ("panic_in_child_span", Some("trap.unreachable"), &[]),
    ("exit", Some("trap.other"), &[]),
    ("span_hoard", Some("limit.handles"), &["limit.spans"]),
    ("huge_attribute", Some("limit.host_call_bytes"), &[]),
    ("bad_config", Some("bad_config"), &[]),
    ("unsupported", Some("unsupported"), &[]),
    ("internal", Some("plugin_error"), &[]),
    ("keep_span", None, &[]),
    ("span_flood", None, &["limit.spans", "limit.attributes"]),
    ("attribute_flood", None, &["limit.attributes"]),
    ("event_flood", None, &["limit.events"]),
    ("log_flood", None, &["limit.log_lines"]),
    ("long_attribute", None, &["limit.telemetry_bytes"]),
    ("forged_attributes", None, &[]),
    ("peek", None, &[]),
];

const FUSION: &[Mode] = &[
    ("nan_scores", Some("bad_output"), &[]),
    ("infinite_scores", Some("bad_output"), &[]),
    ("wrong_length", Some("bad_output"), &[]),
    ("unknown_id", Some("bad_output"), &[]),
    ("duplicate_id", Some("bad_output"), &[]),
    ("short_contributions", Some("bad_output"), &[]),
    ("nan_contributions", Some("bad_output"), &[]),
    ("many_rows", Some("bad_output"), &[]),
    ("huge_output", Some("limit.host_call_bytes"), &[]),
    ("no_rows", None, &[]),
];

const GATE: &[Mode] = &[
    ("unknown_channel", Some("bad_output"), &[]),
    ("same_channel_twice", Some("bad_output"), &[]),
    ("no_budgets", Some("bad_output"), &[]),
    ("nan_weight", Some("bad_output"), &[]),
    ("negative_weight", Some("bad_output"), &[]),
    ("nan_ambiguity", Some("bad_output"), &[]),
    ("zero_k", Some("bad_output"), &[]),
    ("long_class", Some("bad_output"), &[]),
    ("boundless_depth", None, &[]),
    ("many_reasons", None, &[]),
    ("asks_terms", None, &[]),
    ("asks_rows", Some("denied"), &[]),
];

const RERANK: &[Mode] = &[
    ("nan_scores", Some("bad_output"), &[]),
    ("infinite_scores", Some("bad_output"), &[]),
    ("wrong_length", Some("bad_output"), &[]),
    ("unknown_id", Some("contract"), &[]),
    ("text_flood", Some("contract"), &[]),
    ("asks_texts", None, &[]),
    ("asks_facts", None, &[]),
    ("asks_evidence", None, &[]),
    ("asks_terms", None, &[]),
    ("asks_strange_row", Some("contract"), &[]),
    ("asks_late", Some("denied"), &[]),
    ("asks_cross", Some("denied"), &[]),
];

/// Every stage with all of its modes.
fn modes() -> Vec<(&'static str, Vec<Mode>)> {
    let all = |own: &[Mode]| ANY_STAGE.iter().chain(own).copied().collect();
    vec![("fusion", all(FUSION)), ("gate", all(GATE)), ("rerank", all(RERANK))]
}

/// The time of a hostile call, in milliseconds.
const CALL_MS: u32 = 750;
/// The memory of a hostile instance: it is filled well within the time.
const MEMORY_BYTES: usize = 64 << 20;
/// Failures in a row take nothing out: here every call is to show what it does.
pub(crate) const NO_QUARANTINE: &str = "[plugins.quarantine]\nfailures_max = 0\n";

/// The configuration of a hostile component beside the shipped ones, with `more` lines.
pub(crate) fn extra(stage: &str, more: &str) -> String {
    format!("[[plugins.extra]]\nstage = \"{stage}\"\npath = \"{}\"\n{more}\n", component(stage).display())
}

pub(crate) fn indexed(config: &str) -> Sandbox {
    let sandbox = Sandbox::new().with_config(config);
    sandbox.index(&Repo::sample());
    sandbox
}

/// A server that knows the hostile components beside the shipped ones. These have more
/// time than the hostile ones, which take all of `call_ms_max`.
fn sandbox(collector: &Collector, call_ms_max: u32) -> Sandbox {
    let mut config = format!("[telemetry]\notlp_endpoint = \"{}\"\n{NO_QUARANTINE}[plugins.limits]\ncall_ms_max = 20000\n", collector.http);
    for (stage, grants) in [("gate", ""), ("fusion", ""), ("rerank", "grants = [\"documents\"]\n")] {
        config += &extra(stage, &format!("{grants}limits = {{ call_ms_max = {call_ms_max}, memory_bytes_max = {MEMORY_BYTES} }}"));
    }
    indexed(&config)
}

pub(crate) fn arguments(stage: &str, mode: &str) -> Json {
    json!({"query": QUERY, stage: {"plugin": "hostile", "parameters": {"mode": mode}}})
}

/// A call with one stage in a mode.
pub(crate) async fn call(server: &Server, stage: &str, mode: &str) -> Raw {
    raw_call(server, "semantic_search_pro", arguments(stage, mode), &[], json!({})).await
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

/// What is degraded, and why.
pub(crate) fn causes(answer: &AnswerEnvelope) -> Vec<(&str, &str)> {
    answer.degraded.iter().map(|part| (part.part.as_str(), part.cause.as_str())).collect()
}

#[track_caller]
fn check_answer(answer: &AnswerEnvelope, stage: &str, (mode, cause, limits): Mode, digest: &str) {
    assert_eq!(answer.findings.is_empty(), mode == "no_rows", "{stage} {mode}");
    assert_eq!(causes(answer), cause.map(|cause| (stage, cause)).into_iter().collect::<Vec<_>>(), "{stage} {mode}: {:?}", answer.warnings);
    // Limits that were reached first, then the failure.
    let expect: Vec<Vec<&str>> = limits
        .iter()
        .map(|limit| vec![stage, "plugin hostile reached", limit, "items of its telemetry were dropped"])
        .chain(cause.map(|cause| vec![stage, "hostile", &digest[..12], cause]))
        .collect();
    assert_eq!(answer.warnings.len(), expect.len(), "{stage} {mode}: {:?}", answer.warnings);
    for (warning, parts) in answer.warnings.iter().zip(expect) {
        assert!(parts.iter().all(|part| warning.contains(part)), "{stage} {mode}: {parts:?} are not in `{warning}`");
    }
}

#[track_caller]
fn check_trace(trace: &Trace, stage: &str, (mode, cause, limits): Mode, digest: &str) {
    let span = trace.span(span_name(stage));
    let attribute = |key: &str| span.attributes.get(key);
    assert_eq!(attribute("plugin.trap"), cause.map(Json::from).as_ref(), "{stage} {mode}");
    assert_eq!(attribute("error.type"), cause.map(Json::from).as_ref(), "{stage} {mode}");
    assert_eq!(span.failed, cause.is_some(), "{stage} {mode}");
    assert_eq!(attribute("plugin.fallback").is_some(), cause.is_some(), "{stage} {mode}");
    assert_eq!(attribute("plugin.name"), Some(&json!("hostile")), "{stage} {mode}");
    assert_eq!(attribute("plugin.sha256"), Some(&json!(digest)), "{stage} {mode}");
    assert_eq!(span.events.iter().filter(|event| *event == "plugin.limit_reached").count(), limits.len(), "{stage} {mode}");
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
        "span_hoard" => {
            assert_eq!(within.len(), 64);
            assert!(within.iter().all(|span| span.failed), "open spans end with an error");
            assert!((800..1_024).contains(&dropped), "{dropped}");
        }
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
    let sandbox = sandbox(&collector, CALL_MS);
    let server = Server::start(&sandbox);
    for (stage, modes) in modes() {
        let digest = digest(&sandbox, stage);
        for mode in modes {
            let raw = call(&server, stage, mode.0).await;
            check_answer(&raw.envelope(), stage, mode, &digest);
            check_trace(&collector.trace(raw.header("x-trace-id")).await, stage, mode, &digest);
            let honest = call(&server, stage, "honest").await;
            check_answer(&honest.envelope(), stage, ("honest", None, &[]), &digest);
        }
    }
    let said = server.said();
    assert!(!said.contains("nobody reads this"), "a plugin's output goes nowhere");
}

/// Clients at once, each in every mode of every stage.
const CLIENTS: usize = 16;

/// Every mode by every client, each beside an honest call.
async fn everything_at_once(server: &Arc<Server>, digests: &Arc<BTreeMap<&'static str, String>>) {
    let calls: Arc<Vec<(&str, Mode)>> =
        Arc::new(modes().into_iter().flat_map(|(stage, modes)| modes.into_iter().map(move |mode| (stage, mode))).collect());
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        let (server, digests, calls) = (server.clone(), digests.clone(), calls.clone());
        clients.spawn(async move {
            let client = Client::connect(&server).await;
            for at in 0..calls.len() {
                let (stage, mode) = calls[(number * 7 + at) % calls.len()];
                check_answer(&client.search(arguments(stage, mode.0)).await, stage, mode, &digests[stage]);
                let shipped = client.search(json!({"query": QUERY})).await;
                assert_eq!((causes(&shipped), &shipped.warnings[..]), (vec![], &[][..]), "beside {stage} {}", mode.0);
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.expect("every client got its answers");
    }
}

/// How often a round has each outcome and reaches each limit, by stage.
fn expected_counts() -> BTreeMap<(&'static str, &'static str, &'static str), u64> {
    let mut counts = BTreeMap::new();
    let mut count = |stage, label, value| *counts.entry((stage, label, value)).or_insert(0) += CLIENTS as u64;
    for (stage, modes) in modes() {
        for (_, cause, limits) in modes {
            count(stage, "outcome", cause.unwrap_or("ok"));
            let stopped = cause.filter(|cause| cause.starts_with("limit.") || *cause == "deadline");
            limits.iter().copied().chain(stopped).for_each(|limit| count(stage, "limit", limit));
        }
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn many_hostile_calls_at_once_harm_nobody() {
    let collector = Collector::start().await;
    // Most of them share two processors with some that spin.
    let sandbox = sandbox(&collector, 3 * CALL_MS);
    let server = Arc::new(Server::start(&sandbox));
    let digests = Arc::new(["gate", "fusion", "rerank"].map(|stage| (stage, digest(&sandbox, stage))).into_iter().collect());
    let before = Scrape::of(&server).await;
    everything_at_once(&server, &digests).await;
    let resident = server.resident_bytes();
    everything_at_once(&server, &digests).await;
    let later = server.resident_bytes();
    // What the first round left is used again by the second.
    assert!(later < resident * 13 / 10 + (32 << 20), "{resident} bytes after a round, {later} after another");

    // A call that the host did not wait for is counted when it ends.
    let expected = expected_counts();
    let calls: u64 = 2 * expected.iter().filter(|((_, label, _), _)| *label == "outcome").map(|(_, count)| count).sum::<u64>();
    let hostile = [("plugin", "hostile")];
    let after = wait_until("all calls to be counted", async || {
        let now = Scrape::of(&server).await;
        (now.count("plugin_calls_total", &hostile) - before.count("plugin_calls_total", &hostile) >= calls).then_some(now)
    })
    .await;
    for ((stage, label, value), count) in expected {
        let name = if label == "outcome" { "plugin_calls_total" } else { "plugin_limit_reached_total" };
        let labels = [("stage", stage), ("plugin", "hostile"), (label, value)];
        assert_eq!(after.count(name, &labels) - before.count(name, &labels), 2 * count, "{stage} {value}");
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
    let sandbox = sandbox(&collector, CALL_MS);
    let server = Server::start(&sandbox);
    for _ in 0..3 {
        assert_eq!(call(&server, "fusion", "sleep").await.envelope().degraded.len(), 1);
    }
    // A thread that still slept would keep the process from ending in time.
    assert_eq!(server.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_do_harm_are_refused() {
    let collector = Collector::start().await;
    let mut sandbox = sandbox(&collector, CALL_MS);
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
        ("gate", "exports `spanloom:search/gate@0.1.2`"),
    ] {
        check(&component(example), part);
    }
}
