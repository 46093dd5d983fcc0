//! Programs of others: a collector, Prometheus, a client with a trace of its own. Each
//! understands what the server says.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value as Json, json};

use crate::support::admin::Scrape;
use crate::support::mcp::raw_call;
use crate::support::otlp::Collector;
use crate::support::repo::Repo;
use crate::support::rotel::{Rotel, free_address};
use crate::support::server::Server;
use crate::support::tools::{or_skip, prometheus, python, rotel};
use crate::support::{Sandbox, wait_until};
use crate::traces::{QUERY, TREE};

/// Some of every tool, good and bad.
async fn call_tools(server: &Server) {
    for (tool, arguments) in [
        ("semantic_search", json!({"query": QUERY})),
        ("semantic_search_pro", json!({"query": QUERY, "explain": true})),
        ("semantic_search", json!({"query": QUERY, "limit": 0})),
        ("open_file", json!({"path": "docs/deploy.md"})),
        ("open_file", json!({"path": "not/there"})),
        ("git_blame", json!({"path": "docs/deploy.md"})),
        ("git_history", json!({"path": "docs/deploy.md"})),
        ("made_up", json!({})),
    ] {
        raw_call(server, tool, arguments, &[], json!({})).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_collector_takes_what_is_exported() {
    let Some(agent) = or_skip(rotel()) else { return };
    let collector = Rotel::start(&agent);
    let mut sandbox = Sandbox::indexed(&Repo::sample());
    let mut names: Vec<&str> = TREE.lines().map(|line| line.trim().trim_end_matches(" SERVER").trim_end_matches(" CLIENT")).collect();
    names.sort_unstable();
    for (protocol, endpoint) in [("grpc", &collector.grpc), ("http/protobuf", &collector.http)] {
        sandbox = sandbox.with_variable("OTEL_EXPORTER_OTLP_PROTOCOL", protocol).with_variable("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
        let taken = collector.said().len();
        let server = Server::start(&sandbox);
        let raw = raw_call(&server, "semantic_search", json!({"query": QUERY}), &[], json!({})).await;
        let trace_id = raw.header("x-trace-id").to_owned();
        wait_until(&format!("the trace by {protocol}"), async || (collector.spans(&trace_id) == names).then_some(())).await;
        // What the spans say came along.
        collector.line(&format!("-> mcp.run_id: Str({})", raw.header("x-run-id"))).await;
        // A server that stops sends what it has: its meters, and that it stops.
        assert_eq!(server.stop(), Some(0));
        for part in ["-> Name: mcp_runs_total", "-> Name: request_latency_seconds", "stopping: no new connections"] {
            wait_until(&format!("`{part}` by {protocol}"), async || collector.said()[taken..].contains(part).then_some(())).await;
        }
    }
    collector.line("-> service.name: Str(spanloom)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_scrapes_without_complaint() {
    let Some(tools) = or_skip(prometheus()) else { return };
    let repo = Repo::sample();
    let sandbox = Sandbox::indexed(&repo);
    let server = Server::start(&sandbox);
    call_tools(&server).await;

    let scrape = Scrape::of(&server).await;
    std::fs::write(sandbox.path("scrape.txt"), &scrape.text).expect("a file");
    let mut check = Command::new(&tools.promtool);
    check.args(["check", "metrics"]).stdin(std::fs::File::open(sandbox.path("scrape.txt")).expect("the file"));
    let output = check.output().expect("promtool starts");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "promtool has something to say");

    let scraping = Scraping::start(&tools.server, &sandbox, &server);
    let target = wait_until("a scrape", async || {
        let targets = scraping.ask("targets", &[]).await?;
        let target = targets["activeTargets"][0].clone();
        (target["health"] != "unknown" && !target.is_null()).then_some(target)
    })
    .await;
    assert_eq!((&target["health"], &target["lastError"]), (&json!("up"), &json!("")), "{target}");
    // Everything of the scrape has become a series there, with its type and its help.
    let up = scraping.query("scrape_samples_scraped").await;
    assert_eq!(up as usize, scrape.series().count());
    let metadata = scraping.ask("metadata", &[]).await.expect("metadata");
    for (name, kind) in scrape.types() {
        let known = &metadata[&name][0];
        assert_eq!(known["type"], kind, "{name}: {known}");
        assert_ne!(known["help"], "", "{name}");
    }
    assert_eq!(scraping.query("mcp_runs_total{tool=\"semantic_search\",status=\"ok\"}").await, 1.0);
    assert_eq!(scraping.query("sum(mcp_runs_total)").await, 8.0);
    let slow = scraping.query("histogram_quantile(0.5, sum by (le) (request_latency_seconds_bucket))").await;
    assert!(slow > 0.0, "{slow}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trace_of_a_python_client_is_continued() {
    let Some(python) = or_skip(python()) else { return };
    let collector = Collector::start().await;
    let sandbox = Sandbox::indexed(&Repo::sample()).with_variable("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.http);
    let server = Server::start(&sandbox);
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/clients/mcp_traced.py");
    let mut command = Command::new(&python);
    command.arg(&example).args([QUERY, "--url", &server.mcp(), "--otlp", &collector.http]);
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic there").expect("python starts");
    let (out, err) = (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned());
    assert!(output.status.success(), "{out}{err}");
    let ids = out.lines().find_map(|line| line.strip_prefix("trace ")?.split_once(", the server's ")).expect("both traces");
    assert_eq!(ids.0, ids.1, "{out}{err}");

    let of_trace = || collector.spans().into_iter().filter(|span| span.trace_id == ids.0);
    let root = wait_until("the call's span", async || of_trace().find(|span| span.name == "tools/call semantic_search")).await;
    // The client has sent its own before it ended.
    let above = |span_id: &str| of_trace().find(|span| span.span_id == span_id).unwrap_or_else(|| panic!("no span {span_id}"));
    // The SDK's own span of the message, and above it the client's.
    let (message, own) = (above(&root.parent), above(&above(&root.parent).parent));
    assert_eq!((root.service.as_str(), message.service.as_str()), ("spanloom", "mcp-traced"));
    assert!(message.name.contains("tools/call semantic_search"), "{}", message.name);
    assert_eq!((own.name.as_str(), own.parent.as_str()), ("look for code", ""));
}

/// A Prometheus that scrapes one server; ends with the value.
struct Scraping {
    child: Child,
    api: String,
}

impl Scraping {
    fn start(prometheus: &Path, sandbox: &Sandbox, server: &Server) -> Scraping {
        let target = server.metrics.trim_start_matches("http://").trim_end_matches("/metrics");
        let config = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [{"job_name": "spanloom", "static_configs": [{"targets": [target]}]}],
        });
        // JSON is YAML.
        std::fs::write(sandbox.path("prometheus.yml"), config.to_string()).expect("a configuration");
        let address = free_address();
        let mut command = Command::new(prometheus);
        command.current_dir(sandbox.path("")).env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=series", &format!("--web.listen-address={address}")]);
        Scraping { child: command.spawn().expect("prometheus starts"), api: format!("http://{address}/api/v1") }
    }

    /// The data of an answer; `None` while it isn't ready.
    async fn ask(&self, what: &str, query: &[(&str, &str)]) -> Option<Json> {
        let response = reqwest::Client::new().get(format!("{}/{what}", self.api)).query(query).send().await.ok()?;
        let body: Json = response.json().await.ok()?;
        (body["status"] == "success").then(|| body["data"].clone())
    }

    /// The one value of an expression, once there is one.
    async fn query(&self, expression: &str) -> f64 {
        wait_until(&format!("the value of {expression}"), async || {
            let data = self.ask("query", &[("query", expression)]).await?;
            data["result"][0]["value"][1].as_str()?.parse::<f64>().ok()
        })
        .await
    }
}

impl Drop for Scraping {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
