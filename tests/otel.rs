//! The standard `OTEL_*` variables, seen from a collector: what is exported, how it comes,
//! and what happens when nobody takes it.

use std::collections::BTreeSet;
use std::io::Write as _;

use serde_json::{Value as Json, json};

use crate::support::mcp::{Raw, raw_call};
use crate::support::otlp::Collector;
use crate::support::repo::Repo;
use crate::support::server::Server;
use crate::support::{Sandbox, wait_until};

const QUERY: &str = "capacity of the token bucket release";

/// A sandbox with an index, in which everything leaves at once.
fn sandbox(repo: &Repo, variables: &[(&str, &str)]) -> Sandbox {
    let quick = [("OTEL_METRIC_EXPORT_INTERVAL", "50"), ("OTEL_BLRP_SCHEDULE_DELAY", "50")];
    let sandbox = Sandbox::indexed(repo);
    quick.iter().chain(variables).fold(sandbox, |sandbox, (name, value)| sandbox.with_variable(name, value))
}

async fn ask(server: &Server) -> Raw {
    raw_call(server, "semantic_search", json!({"query": QUERY}), &[], json!({})).await
}

/// Signals that came so far.
fn signals(collector: &Collector) -> BTreeSet<&'static str> {
    let came =
        [("traces", !collector.spans().is_empty()), ("metrics", !collector.metrics().is_empty()), ("logs", !collector.logs().is_empty())];
    came.into_iter().filter(|(_, came)| *came).map(|(signal, _)| signal).collect()
}

async fn all_signals(collector: &Collector) {
    wait_until("spans, metrics and log records", async || (signals(collector).len() == 3).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn log_lines_of_a_run_carry_its_ids() {
    let repo = Repo::sample();
    let collector = Collector::start().await;
    let sandbox = sandbox(&repo, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.http), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")])
        .with_config(&format!(
            "[telemetry]\nlog = \"error\"\nlog_format = \"json\"\n{}",
            crate::hostile::extra("rerank", "grants = [\"documents\", \"scoring\"]")
        ));
    let server = Server::start(&sandbox);
    let raw = crate::hostile::call(&server, "rerank", "log_flood").await;
    let (trace_id, run_id) = (raw.header("x-trace-id").to_owned(), raw.header("x-run-id").to_owned());
    let exported = wait_until("a log record of the run", async || {
        collector.logs().into_iter().find(|log| log.attributes.get("mcp.run_id") == Some(&json!(run_id)))
    })
    .await;
    assert_eq!((exported.trace_id.as_str(), exported.span_id.is_empty()), (trace_id.as_str(), false));
    let lines = server.said();
    let line: Json = lines
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .find(|line: &Json| line["run_id"] == run_id.as_str())
        .unwrap_or_else(|| panic!("no line of the run: {lines}"));
    assert_eq!((line["trace_id"].as_str(), line["level"].as_str()), (Some(trace_id.as_str()), Some("ERROR")), "{line}");
    assert!(line["span_id"].is_string(), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_signals_come_over_each_protocol() {
    let repo = Repo::sample();
    for (protocol, content_type, path) in [
        ("http/protobuf", "application/x-protobuf", "/v1/"),
        ("http/json", "application/json", "/v1/"),
        ("grpc", "application/grpc", "grpc "),
    ] {
        for compression in ["none", "gzip"] {
            let collector = Collector::start().await;
            let endpoint = if protocol == "grpc" { &collector.grpc } else { &collector.http };
            let sandbox = sandbox(
                &repo,
                &[
                    ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
                    ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
                    ("OTEL_EXPORTER_OTLP_COMPRESSION", compression),
                    ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=open%20sesame,x-team=search"),
                    ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,host.name=mine"),
                    ("OTEL_SERVICE_NAME", "finder"),
                    ("K8S_POD_NAME", "pod-1"),
                ],
            );
            let server = Server::start(&sandbox);
            let raw = ask(&server).await;
            all_signals(&collector).await;
            let trace = collector.trace(raw.header("x-trace-id")).await;
            for request in collector.requests() {
                let header = |name: &str| request.headers.get(name).map(String::as_str);
                assert!(request.path.starts_with(path), "{request:?}");
                assert_eq!(header("content-type"), Some(content_type));
                assert_eq!((header("api-key"), header("x-team")), (Some("open sesame"), Some("search")), "{request:?}");
                let encoding = header(if protocol == "grpc" { "grpc-encoding" } else { "content-encoding" });
                assert_eq!(encoding, (compression == "gzip").then_some("gzip"), "{request:?}");
            }
            let (metrics, logs) = (collector.metrics(), collector.logs());
            let resources = [&trace.spans[0].resource, &metrics[0].resource, &logs[0].resource];
            for resource in resources {
                for (key, value) in [
                    ("service.name", json!("finder")),
                    ("service.version", json!(env!("CARGO_PKG_VERSION"))),
                    ("deployment.environment.name", json!("test")),
                    ("host.name", json!("mine")),
                    ("k8s.pod.name", json!("pod-1")),
                    ("os.type", json!("linux")),
                    ("process.executable.name", json!("spanloom")),
                    ("telemetry.sdk.language", json!("rust")),
                ] {
                    assert_eq!(resource.get(key), Some(&value), "{key}: {resource:?}");
                }
                assert_eq!(resource.get("service.instance.id"), resources[0].get("service.instance.id"), "one process, one resource");
            }
            wait_until("the call's metric", async || {
                let counted = |metric: &crate::support::otlp::Metric| {
                    metric.name.contains("runs") && metric.points.iter().any(|point| point.get("tool") == Some(&json!("semantic_search")))
                };
                collector.metrics().iter().any(counted).then_some(())
            })
            .await;
            let opened = logs.iter().find(|log| log.body == "index opened").expect("what is logged at the start");
            assert_eq!((opened.level.as_str(), opened.attributes.get("generation")), ("INFO", Some(&json!("g000001"))));
            assert_eq!((opened.trace_id.as_str(), opened.span_id.as_str()), ("", ""), "it belongs to no run");
            assert_eq!(server.stop(), Some(0));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_signal_has_its_own_switch() {
    let repo = Repo::sample();
    for (variables, expect, scrape) in [
        (vec![("OTEL_TRACES_EXPORTER", "none")], vec!["logs", "metrics"], true),
        (vec![("OTEL_METRICS_EXPORTER", "none")], vec!["logs", "traces"], false),
        (vec![("OTEL_METRICS_EXPORTER", "otlp")], vec!["logs", "metrics", "traces"], false),
        (vec![("OTEL_METRICS_EXPORTER", "prometheus"), ("OTEL_LOGS_EXPORTER", "none")], vec!["traces"], true),
        (vec![("OTEL_TRACES_EXPORTER", "zipkin"), ("OTEL_LOGS_EXPORTER", "zipkin,none")], vec!["metrics", "traces"], true),
    ] {
        let collector = Collector::start().await;
        let mut variables = variables;
        variables.push(("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.http));
        let sandbox = sandbox(&repo, &variables);
        let server = Server::start(&sandbox);
        ask(&server).await;
        assert_eq!(server.metrics != "off", scrape, "{variables:?}");
        if scrape {
            let text = reqwest::get(&server.metrics).await.expect("a scrape").text().await.expect("text");
            assert!(text.contains("target_info"), "{text}");
        }
        let said = server.said();
        assert_eq!(said.contains("zipkin"), variables.iter().any(|(_, value)| value.contains("zipkin")), "{said}");
        // Everything that waits leaves when the server stops.
        assert_eq!(server.stop(), Some(0));
        assert_eq!(signals(&collector), expect.into_iter().collect(), "{variables:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_sdk_exports_nothing() {
    let repo = Repo::sample();
    let collector = Collector::start().await;
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.http.as_str());
    let sandbox = sandbox(&repo, &[endpoint, ("OTEL_SDK_DISABLED", "true"), ("OTEL_METRICS_EXPORTER", "otlp,prometheus,console")]);
    let server = Server::start(&sandbox);
    let raw = ask(&server).await;
    assert_eq!(server.metrics, "off");
    assert_eq!(raw.header("x-trace-id").len(), 32);
    // The ledger is no part of the SDK.
    let lines = sandbox.ledger(raw.header("x-run-id"));
    assert!(lines.iter().any(|line| line["name"] == "retrieval.fuse"), "{lines:?}");
    assert_eq!(server.stop(), Some(0));
    assert_eq!(collector.requests().len(), 0);
    sandbox.run(&["doctor"]).check(0, &["OTEL_SDK_DISABLED: nothing is exported"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_has_a_line_of_json_for_each_batch() {
    let repo = Repo::sample();
    let console = ["OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER"].map(|name| (name, "console"));
    let sandbox = sandbox(&repo, &console);
    let ended = sandbox.run(&["search", QUERY]);
    ended.check(0, &[]);
    let lines: Vec<Json> = ended.out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let names = |group: &str, scope: &str, items: &str, name: &str| -> Vec<String> {
        let all = |value: &Json, key: &str| value[key].as_array().cloned().unwrap_or_default();
        let groups = lines.iter().flat_map(|line| all(line, group));
        let found = groups.flat_map(|group| all(&group, scope)).flat_map(|scope| all(&scope, items));
        found.filter_map(|item| item.pointer(name).and_then(Json::as_str).map(str::to_owned)).collect()
    };
    let spans = names("resourceSpans", "scopeSpans", "spans", "/name");
    assert!(spans.iter().any(|name| name.starts_with("tools/call ")) && spans.contains(&"retrieval.fuse".to_owned()), "{spans:?}");
    let metrics = names("resourceMetrics", "scopeMetrics", "metrics", "/name");
    assert!(metrics.iter().any(|name| name == "stage_latency_seconds"), "{metrics:?}");
    let logs = names("resourceLogs", "scopeLogs", "logRecords", "/body/stringValue");
    assert!(logs.contains(&"index opened".to_owned()), "{logs:?}");
    // A reader that goes away is no reason to fail.
    let mut child = sandbox.command(&["search", QUERY]).spawn().expect("the binary starts");
    drop(child.stdout.take());
    let left = child.wait_with_output().expect("its end");
    let said = String::from_utf8_lossy(&left.stderr).into_owned();
    assert!(left.status.success() && !said.contains("panicked"), "{:?} {said}", left.status);
}

#[tokio::test(flavor = "multi_thread")]
async fn collectors_that_refuse_or_hang_hold_up_nothing() {
    let repo = Repo::sample();
    // One that refuses connections, one that refuses exports, one that never answers.
    let refusing = axum::Router::new().fallback(async || axum::http::StatusCode::SERVICE_UNAVAILABLE);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let unavailable = format!("http://{}", listener.local_addr().expect("its address"));
    tokio::spawn(async move { axum::serve(listener, refusing).await });
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let hanging = format!("http://{}", silent.local_addr().expect("its address"));
    for endpoint in ["http://127.0.0.1:9", &unavailable, &hanging] {
        for protocol in ["http/protobuf", "grpc"] {
            let sandbox = sandbox(
                &repo,
                &[
                    ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
                    ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
                    // Whoever waited for it would wait far longer than a test does.
                    ("OTEL_EXPORTER_OTLP_TIMEOUT", "300000"),
                    ("OTEL_BSP_MAX_QUEUE_SIZE", "16"),
                ],
            );
            let server = Server::start(&sandbox);
            for _ in 0..5 {
                let answer = ask(&server).await.envelope();
                assert_eq!((answer.findings.is_empty(), answer.degraded.len()), (false, 0), "{endpoint} {protocol}");
            }
            assert_eq!(server.stop(), Some(0), "{endpoint} {protocol}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_are_cut_to_the_limits() {
    let repo = Repo::sample();
    let collector = Collector::start().await;
    let limits = [("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "5"), ("OTEL_SPAN_EVENT_COUNT_LIMIT", "0"), ("OTEL_TRACES_SAMPLER", "always_on")];
    let sandbox = limits.iter().fold(sandbox(&repo, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.http)]), |sandbox, (name, value)| {
        sandbox.with_variable(name, value)
    });
    let server = Server::start(&sandbox);
    let raw = ask(&server).await;
    let trace = collector.trace(raw.header("x-trace-id")).await;
    assert_eq!(trace.root().attributes.get("retrieval.query_text"), Some(&json!(&QUERY[..5])));
    assert!(trace.spans.iter().all(|span| span.events.is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_tries_each_receiver() {
    let repo = Repo::sample();
    let collector = Collector::start().await;
    for (protocol, endpoint) in [("grpc", &collector.grpc), ("http/json", &collector.http), ("http/protobuf", &collector.http)] {
        let sandbox = sandbox(
            &repo,
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
                ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s3cret"),
                ("OTEL_PROPAGATORS", "b3,tracecontext"),
                ("OTEL_TRACES_SAMPLER", "traceidratio"),
                ("OTEL_TRACES_SAMPLER_ARG", "0.5"),
                ("OTEL_CONFIG_FILE", "/otel.yaml"),
            ],
        );
        let ended = sandbox.run(&["doctor"]);
        let takes = format!("over {protocol}, with headers takes exports");
        ended.check(
            0,
            &[
                "OTLP traces",
                "OTLP metrics",
                "OTLP logs",
                &takes,
                "sampler traceidratio of 0.5, propagators tracecontext",
                "OTEL_PROPAGATORS is `b3`: allowed: tracecontext, baggage, none",
                "OTEL_CONFIG_FILE is `/otel.yaml`: not supported",
            ],
        );
        assert!(!ended.out.contains("s3cret") && !ended.err.contains("s3cret"));
    }
    // Somebody else's port, and one where nobody is.
    let mut wrong = tempfile::NamedTempFile::new().expect("a file");
    wrong.write_all(b"no certificate").expect("its text");
    let lone = sandbox(&repo, &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:9/v1/traces")]);
    lone.run(&["doctor"])
        .check(1, &["http://127.0.0.1:9/v1/traces over http/protobuf: ", "refused", "not exported: they are only on standard error"]);
    let misplaced = format!("{}/elsewhere", collector.http);
    sandbox(&repo, &[("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", &misplaced)]).run(&["doctor"]).check(1, &["404"]);
    // A certificate that is none is said at the start.
    let path = wrong.path().to_str().expect("a path");
    let secure = [("OTEL_EXPORTER_OTLP_ENDPOINT", "https://127.0.0.1:9"), ("OTEL_EXPORTER_OTLP_CLIENT_KEY", path)];
    sandbox(&repo, &secure).run(&["search", QUERY]).check(1, &["exporter of traces", "has no certificate beside it"]);
}
