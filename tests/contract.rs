//! Components of other versions of the contract: old ones serve, foreign ones are refused
//! with both versions in the words.

use serde_json::{Value as Json, json};

use crate::support::Sandbox;
use crate::support::components::component;
use crate::support::mcp::raw_call;
use crate::support::otlp::{Collector, Span};
use crate::support::repo::Repo;
use crate::support::server::Server;

/// `tests/hostile/wit-0.1.0` is the contract as it was first published.
#[tokio::test(flavor = "multi_thread")]
async fn components_of_the_first_version_serve() {
    let collector = Collector::start().await;
    let mut config = format!("[telemetry]\notlp_endpoint = \"{}\"\n", collector.http);
    for (stage, more) in [("gate", ""), ("fusion", ""), ("rerank", "grants = [\"documents\", \"scoring\"]\n")] {
        config += &format!("[plugins.{stage}]\npath = \"{}\"\n{more}", component(&format!("old_{stage}")).display());
    }
    let sandbox = Sandbox::new().with_config(&config);
    sandbox.index(&Repo::sample());
    for stage in ["gate", "fusion", "rerank"] {
        let path = component(&format!("old_{stage}"));
        let inspected = sandbox.run(&["plugin", "inspect", path.to_str().expect("a path that is UTF-8")]);
        inspected.check(0, &[&format!("world      {stage}-plugin of spanloom:search 0.1.0 (this host: 0.1.2)")]);
    }
    let server = Server::start(&sandbox);
    for explain in [false, true] {
        let arguments = json!({"query": "capacity of the token bucket release", "explain": explain});
        let raw = raw_call(&server, "semantic_search_pro", arguments, &[], json!({})).await;
        let answer = raw.envelope();
        assert_eq!((&answer.degraded[..], &answer.warnings[..], answer.findings.is_empty()), (&[][..], &[][..], false));
        let trace = collector.trace(raw.header("x-trace-id")).await;
        // Rankings that are compared with have the same spans once more.
        let named = |name: &str| -> Vec<&Span> {
            let found: Vec<&Span> = trace.spans.iter().filter(|span| span.name == name).collect();
            assert!(!found.is_empty() && found.iter().all(|span| !span.failed), "{name} in\n{}", trace.tree());
            found
        };
        for (stage, name) in [("gate", "retrieval.gate"), ("rerank", "retrieval.rerank")] {
            for span in named(name) {
                assert_eq!(span.attributes.get("plugin.name"), Some(&json!(format!("old-{stage}"))));
                assert!(span.events.iter().any(|event| event.starts_with(&format!("old.{stage}"))), "{:?}", span.events);
            }
        }
        assert!(named("old.fusion").iter().all(|span| span.attributes.get("old.k").is_some_and(Json::is_number)));
        // The reranker got texts, in the place of scores that no model gives.
        assert_eq!(named("documents.look_up").len(), named("documents.texts").len());
    }
}

#[test]
fn components_of_other_versions_are_refused_with_both_versions() {
    let mut sandbox = Sandbox::indexed(&Repo::sample());
    let path = sandbox.path("other.wasm");
    sandbox.set_config(&format!("[plugins.fusion]\npath = \"{}\"\n", path.display()));
    let component = |imports: &str, version: &str| {
        format!("(component {imports} (instance $empty) (export \"spanloom:search/fusion@{version}\" (instance $empty)))")
    };
    let import = |name: &str, function: &str| format!("(import \"{name}\" (instance (export \"{function}\" (func))))");
    for (text, parts) in [
        (component("", "0.2.0"), ["spanloom:search 0.2.0", "this host has 0.1.2"]),
        (component("", "1.0.0"), ["spanloom:search 1.0.0", "this host has 0.1.2"]),
        (component("", "0.0.9"), ["spanloom:search 0.0.9", "this host has 0.1.2"]),
        (component(&import("spanloom:search/log@0.2.0", "write"), "0.1.2"), ["`spanloom:search/log@0.2.0`", "this host has 0.1.2"]),
        // New in a later patch: an interface, and a function in one that is known.
        (
            component(&import("spanloom:search/crystal-ball@0.1.9", "gaze"), "0.1.2"),
            ["`spanloom:search/crystal-ball@0.1.9`", "was built against spanloom:search 0.1.9, this host has 0.1.2"],
        ),
        (
            component(&import("spanloom:search/log@0.1.9", "whisper"), "0.1.9"),
            ["`whisper`", "was built against spanloom:search 0.1.9, this host has 0.1.2"],
        ),
    ] {
        std::fs::write(&path, text).expect("a file");
        for command in [&["serve", "--bind", "127.0.0.1:0", "--metrics-bind", "127.0.0.1:0"][..], &["plugin", "list"]] {
            sandbox.run(command).check(1, &[&path.display().to_string(), parts[0], parts[1]]);
        }
        sandbox.run(&["doctor"]).check(1, &["broken  plugin", parts[0], parts[1]]);
    }
}
