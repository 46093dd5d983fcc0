//! Every way to a run's report, and the tools around ledgers.

use std::collections::BTreeMap;
use std::io::Read as _;

use reqwest::header::HeaderMap;
use rmcp::ServiceError;
use rmcp::model::{ErrorCode, ResourceContents};
use serde_json::{Value as Json, json};

use crate::support::mcp::{Client, raw_call};
use crate::support::repo::Repo;
use crate::support::server::Server;
use crate::support::{Sandbox, wait_for};

const QUERY: &str = "capacity of the token bucket release";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// What an endpoint answers.
#[derive(Debug)]
struct Got {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Got {
    fn kind(&self) -> &str {
        self.headers["content-type"].to_str().expect("visible characters")
    }

    fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

async fn get(server: &Server, path: &str, headers: &[(&str, &str)]) -> Got {
    let mut request = reqwest::Client::new().get(format!("{}{path}", server.base));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.expect("a response");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Got { status, headers, body: response.text().await.expect("a body") }
}

/// A search through the server; the ids of its run and trace.
async fn searched(server: &Server, headers: &[(&str, &str)]) -> (String, String) {
    let raw = raw_call(server, "semantic_search", json!({"query": QUERY}), headers, json!({})).await;
    assert_ne!(raw.body["result"]["isError"], true, "{}", raw.body);
    (raw.header("x-run-id").to_owned(), raw.header("x-trace-id").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_address_gives_the_report_in_both_forms() {
    let sandbox = Sandbox::indexed(&Repo::sample());
    let server = Server::start(&sandbox);
    let (run, trace) = searched(&server, &[("x-session-id", "session-7")]).await;
    for path in [
        format!("/observability/run_report/{run}"),
        format!("/observability/run_report/{trace}"),
        format!("/observability/run_report?run_id={run}"),
        format!("/observability/run_report?trace_id={}", trace.to_uppercase()),
        format!("/admin/index/observability/run/{run}/report"),
        format!("/reports/{run}"),
    ] {
        let as_json = get(&server, &path, &[]).await;
        assert_eq!((as_json.status, as_json.kind()), (200, "application/json"), "{path}: {}", as_json.body);
        let report = as_json.json();
        assert_eq!((&report["report_version"], &report["outcome"]), (&json!(2), &json!("complete")));
        let identity = &report["identity"];
        assert_eq!((&identity["run_id"], &identity["trace_id"]), (&json!(run), &json!(trace)));
        assert_eq!((&identity["session_id"], &identity["tool"]), (&json!("session-7"), &json!("semantic_search")));
        assert!(report["findings"].as_array().is_some_and(|findings| !findings.is_empty()));
        assert_eq!(report.get("trace_runs"), None);
        for accept in ["text/markdown", "text/plain", "application/json;q=0.1, text/markdown;q=0.8"] {
            let markdown = get(&server, &path, &[("accept", accept)]).await;
            let kind = if accept == "text/plain" { "text/plain; charset=utf-8" } else { "text/markdown; charset=utf-8" };
            assert_eq!((markdown.status, markdown.kind()), (200, kind), "{path}");
            assert!(markdown.body.contains(&run) && markdown.body.contains("retrieval.gate"), "{}", markdown.body);
        }
        let refused = get(&server, &path, &[("accept", "text/html")]).await;
        assert_eq!(refused.status, 406, "{path}");
        assert_eq!(refused.json()["error"], "`Accept` is `text/html`; allowed: application/json, text/markdown, text/plain");
    }
    // The ending goes before the header.
    for (ending, accept, kind) in [(".json", "text/markdown", "application/json"), (".md", "text/html", "text/markdown; charset=utf-8")] {
        let got = get(&server, &format!("/reports/{run}{ending}"), &[("accept", accept)]).await;
        assert_eq!((got.status, got.kind()), (200, kind), "{}", got.body);
    }
    let schema = get(&server, "/reports/schema.json", &[]).await;
    assert_eq!((schema.status, schema.kind()), (200, "application/schema+json"));
    assert!(schema.json()["properties"]["stopped_because"].is_object(), "{}", schema.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_of_many_runs_gives_the_newest_and_names_the_others() {
    let sandbox = Sandbox::indexed(&Repo::sample());
    let server = Server::start(&sandbox);
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.insert(0, searched(&server, &[("traceparent", PARENT)]).await.0);
    }
    let got = get(&server, &format!("/observability/run_report?trace_id={TRACE}"), &[]).await;
    let report = got.json();
    assert_eq!(report["identity"]["run_id"], json!(runs[0]));
    assert_eq!(report["trace_runs"], json!(runs[1..]));
    assert_eq!(got.headers["x-trace-runs"].to_str().expect("ids"), runs[1..].join(", "));
    let markdown = get(&server, &format!("/observability/run_report/{TRACE}"), &[("accept", "text/markdown")]).await;
    assert!(markdown.body.contains(&format!("Other runs of this trace: `{}`, `{}`", runs[1], runs[2])), "{}", markdown.body);
    sandbox.run(&["diagnostics", "report", "run", TRACE]).check(0, &[&runs[0], "Other runs of this trace"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_are_none_are_refused_and_nothing_else_is_read() {
    let sandbox = Sandbox::indexed(&Repo::sample());
    let runs = sandbox.data().join("telemetry/runs");
    std::fs::create_dir_all(runs.join("2026-01-01")).expect("a folder");
    std::fs::write(sandbox.data().join("telemetry/secret.jsonl"), "{\"line\": \"run.start\", \"tool\": \"sesame\"}\n").expect("a file");
    let server = Server::start(&sandbox);
    let nobody = "019aa5f2-7b1c-7000-8000-000000000000";
    for (path, status, words) in [
        (
            format!("/observability/run_report/{nobody}"),
            404,
            "`run_id` is `019aa5f2-7b1c-7000-8000-000000000000`, of which there is no run",
        ),
        (format!("/observability/run_report/{TRACE}"), 404, "`trace_id` is `0af7651916cd43dd8448eb211c80319c`, of which there is no run"),
        (format!("/reports/{nobody}.md"), 404, "allowed: an id that an answer"),
        ("/reports/..%2F..%2Fsecret".into(), 400, "`run_id` is `../../secret`; allowed: 1 to 128"),
        ("/reports/%2e%2e%2fsecret.json".into(), 400, "`run_id` is `../secret`; allowed"),
        ("/observability/run_report/..%2f..%2fsecret".into(), 400, "`../../secret`"),
        ("/admin/index/observability/run/..%2f..%2fsecret/report".into(), 400, "`../../secret`"),
        ("/observability/run_report?run_id=../../secret".into(), 400, "`../../secret`"),
        ("/observability/run_report?trace_id=7".into(), 400, "`trace_id` is `7`; allowed: 32 hexadecimal digits"),
        ("/observability/run_report".into(), 400, "allowed: either `run_id` or `trace_id`"),
        (format!("/observability/run_report?run_id={nobody}&trace_id={TRACE}"), 400, "allowed: either `run_id` or `trace_id`"),
        ("/observability/run_report?id=7".into(), 400, "unknown field `id`"),
        ("/reports/%ff".into(), 400, "can't be read"),
        (format!("/reports/{}", "x".repeat(200)), 400, "xxx…`; allowed: 1 to 128"),
    ] {
        let got = get(&server, &path, &[]).await;
        assert_eq!(got.status, status, "{path}: {}", got.body);
        assert!(got.json()["error"].as_str().is_some_and(|error| error.contains(words)), "{path}: {}", got.body);
        assert!(!got.body.contains("sesame"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_are_behind_the_door_of_the_operators() {
    let sandbox = Sandbox::indexed(&Repo::sample());
    let paths = |run: &str| {
        [
            format!("/observability/run_report/{run}"),
            format!("/observability/run_report?run_id={run}"),
            format!("/admin/index/observability/run/{run}/report"),
            format!("/reports/{run}.md"),
            "/reports/schema.json".to_owned(),
        ]
    };
    let server = Server::start(&sandbox);
    let (run, _) = searched(&server, &[]).await;
    for path in paths(&run) {
        for (headers, expect) in [
            (&[][..], 200),
            (&[("x-forwarded-for", "127.0.0.1")], 403),
            (&[("forwarded", "for=127.0.0.1")], 403),
            (&[("origin", "https://evil.example")], 403),
            (&[("host", "evil.example")], 403),
        ] {
            assert_eq!(get(&server, &path, headers).await.status, expect, "{path} {headers:?}");
        }
    }
    drop(server);
    let sandbox = sandbox.with_config("[server]\nadmin_token_variable = \"ADMIN_TOKEN\"\n").with_variable("ADMIN_TOKEN", "open sesame");
    let server = Server::start(&sandbox);
    for path in paths(&run) {
        for (headers, expect) in [
            (&[][..], 401),
            (&[("authorization", "Bearer open sesamE")], 401),
            (&[("authorization", "Bearer open sesame")], 200),
            (&[("authorization", "Bearer open sesame"), ("x-forwarded-for", "192.0.2.1")], 200),
        ] {
            assert_eq!(get(&server, &path, headers).await.status, expect, "{path} {headers:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_ask_by_tool_and_by_resource() {
    let sandbox = Sandbox::indexed(&Repo::sample());
    let server = Server::start(&sandbox);
    let client = Client::connect(&server).await;
    let (run, trace) = searched(&server, &[]).await;
    for arguments in [json!({"run_id": run}), json!({"trace_id": trace}), json!({"run_id": run, "format": "json"})] {
        let result = client.call("run_report", arguments.clone()).await.expect("an answer");
        assert_ne!(result.is_error, Some(true), "{:?}", result.content);
        let report = result.structured_content.expect("structured content");
        assert_eq!(report["identity"]["run_id"], json!(run), "{arguments}");
        let text = &result.content[0].as_text().expect("text").text;
        match arguments.get("format") {
            None => assert!(text.contains("retrieval.fuse") && text.contains(&run), "{text}"),
            Some(_) => assert_eq!(serde_json::from_str::<Json>(text).expect("JSON"), report),
        }
    }
    for (arguments, words) in [
        (json!({}), "neither `run_id` nor `trace_id`"),
        (json!({"run_id": run, "trace_id": trace}), "both `run_id` and `trace_id`"),
        (json!({"run_id": "../x"}), "`run_id` is `../x`; allowed"),
        (json!({"trace_id": TRACE}), "of which there is no run"),
        (json!({"run_id": run, "format": "pdf"}), "`format` is \"pdf\""),
    ] {
        let told = client.refused("run_report", arguments).await;
        assert!(told.contains(words), "{told}");
    }
    // A report is a run of its own, with one stage.
    let raw = raw_call(&server, "run_report", json!({"run_id": run}), &[], json!({})).await;
    let lines = sandbox.ledger(raw.header("x-run-id"));
    let spans: Vec<&Json> = lines.iter().filter(|line| line["line"] == "span").map(|line| &line["name"]).collect();
    assert_eq!(spans, ["report.compose", "tools/call run_report"]);
    assert_eq!(lines.last().expect("an end")["outcome"]["report_of"], json!(run));

    let (templates, listed) = client.resources().await;
    assert_eq!((templates, listed), (vec!["run://{run_id}/report".to_owned(), "run://{run_id}/report.json".to_owned()], 0));
    let contents = client.read(&format!("run://{run}/report")).await.expect("a resource").contents;
    let found: Vec<(&str, Option<&str>, &str)> = contents
        .iter()
        .map(|content| match content {
            ResourceContents::TextResourceContents { uri, mime_type, text, .. } => (uri.as_str(), mime_type.as_deref(), text.as_str()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(found[0].0, format!("run://{run}/report"));
    assert_eq!(found[1].0, format!("run://{run}/report.json"));
    assert_eq!([found[0].1, found[1].1], [Some("text/markdown"), Some("application/json")]);
    assert!(found[0].2.contains("retrieval.gate"), "{}", found[0].2);
    assert_eq!(serde_json::from_str::<Json>(found[1].2).expect("JSON")["identity"]["run_id"], json!(run));
    assert_eq!(client.read(&format!("run://{trace}/report.json")).await.expect("a resource").contents.len(), 1);
    for uri in [format!("run://{TRACE}/report"), "run://../report".into(), "file:///etc/passwd".into()] {
        match client.read(&uri).await {
            // What older versions call "resource not found" is an invalid parameter since 2026-07-28.
            Err(ServiceError::McpError(error)) => {
                assert!([ErrorCode::RESOURCE_NOT_FOUND, ErrorCode::INVALID_PARAMS].contains(&error.code), "{error:?}");
                assert!(error.message.contains(&format!("resource `{uri}`")), "{error:?}");
            }
            other => panic!("{uri}: {other:?}"),
        }
    }
}

#[test]
fn the_command_prints_reports_and_writes_them() {
    let sandbox = Sandbox::indexed(&Repo::sample());
    let run = sandbox.search(QUERY);
    sandbox.run(&["diagnostics", "report", "run", &run]).check(0, &[&run, "retrieval.gate"]);
    let report = sandbox.json(&["diagnostics", "report", "run", &run, "--format", "json"]);
    assert_eq!(report["identity"]["run_id"], json!(run));
    let written = sandbox.run(&["diagnostics", "report", "run", &run, "--out", "out/run_reports"]);
    written.check(0, &[&format!("out/run_reports/{run}.json\n"), &format!("out/run_reports/{run}.md\n")]);
    let text = std::fs::read_to_string(sandbox.path(&format!("out/run_reports/{run}.json"))).expect("a file");
    assert_eq!(serde_json::from_str::<Json>(&text).expect("JSON"), report);
    sandbox.run(&["diagnostics", "report", "run", TRACE]).check(1, &["of which there is no run"]);
    sandbox.run(&["diagnostics", "report", "run", "../x"]).check(2, &["`run_id` is `../x`; allowed"]);
    sandbox.run(&["diagnostics", "report", "run", &run, "--format", "pdf"]).check(2, &["possible values: json, md"]);
}

#[test]
fn runs_are_listed_and_filtered() {
    let sandbox = Sandbox::indexed(&Repo::sample());
    sandbox.run(&["diagnostics", "runs"]).check(0, &["0 of 0 runs"]);
    let first = sandbox.search(QUERY);
    let second = sandbox.search("fletcher16");
    sandbox.run(&["search", QUERY, "--limit", "0"]).check(2, &["`limit` is 0"]);
    let day = sandbox.data().join("telemetry/runs/2020-02-03");
    std::fs::create_dir_all(&day).expect("a folder");
    let start = json!({"line": "run.start", "schema": 2, "run_id": "old", "tool": "open_file", "at": "2020-02-03T04:05:06.789Z", "trace_id": TRACE});
    std::fs::write(day.join("old.jsonl"), format!("{start}\n{{\"line\": \"span.sta")).expect("a file");
    std::fs::write(day.join("broken.jsonl"), "not a ledger\n").expect("a file");

    let list = |arguments: &[&str]| {
        let all: Vec<&str> = ["diagnostics", "runs", "--json"].iter().chain(arguments).copied().collect();
        sandbox.json(&all)
    };
    let ids = |arguments: &[&str]| -> Vec<String> {
        let runs = list(arguments)["runs"].as_array().cloned().expect("a list");
        runs.iter().map(|run| run["run_id"].as_str().expect("an id").to_owned()).collect()
    };
    let all = list(&[]);
    assert_eq!((&all["matching"], &all["files"]), (&json!(4), &json!(5)));
    assert!(all["damaged"][0].as_str().is_some_and(|path| path.ends_with("2020-02-03/broken.jsonl")), "{all}");
    assert_eq!(ids(&["--status", "ok"]), [second.clone(), first.clone()]);
    assert_eq!(ids(&["--since", "1h", "--tool", "semantic_search_pro", "--limit", "1"]).len(), 1);
    assert_eq!(ids(&["--until", "2020-02-04"]), ["old"]);
    assert_eq!(ids(&["--since", "2020-02-03T04:05:06.789Z", "--until", "2020-02-03T04:05:07Z"]), ["old"]);
    assert_eq!(ids(&["--since", "2020-02-03T04:05:07Z", "--tool", "open_file"]), Vec::<String>::new());
    assert_eq!(ids(&["--status", "unfinished"]), ["old"]);
    let failed = list(&["--status", "error"])["runs"][0].clone();
    assert_eq!((&failed["error_class"], &failed["findings"]), (&json!("invalid_argument"), &Json::Null));
    let slowest = list(&["--slowest", "--status", "ok"])["runs"].clone();
    assert!(slowest[0]["duration_us"].as_u64() >= slowest[1]["duration_us"].as_u64(), "{slowest}");
    assert!(slowest[0]["findings"].as_u64().is_some_and(|findings| findings > 0), "{slowest}");

    let shown = sandbox.run(&["diagnostics", "runs", "--tool", "open_file"]);
    shown.check(0, &["2020-02-03 04:05:06", "unfinished", TRACE, "1 of 1 runs, 5 ledgers", "broken.jsonl"]);
    sandbox.run(&["diagnostics", "runs", "--since", "soon"]).check(2, &["--since is `soon`; allowed: such as 90s"]);
    sandbox.run(&["diagnostics", "runs", "--status", "fine"]).check(2, &["unfinished"]);
}

/// The entries of an archive, in order, with their modes.
fn unpacked(path: &std::path::Path) -> (Vec<String>, BTreeMap<String, String>) {
    let file = std::fs::File::open(path).expect("an archive");
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let (mut names, mut texts) = (Vec::new(), BTreeMap::new());
    for entry in archive.entries().expect("entries") {
        let mut entry = entry.expect("an entry");
        let name = entry.path().expect("a path").to_string_lossy().into_owned();
        assert_eq!((entry.header().mode().ok(), entry.header().mtime().ok()), (Some(0o600), Some(0)), "{name}");
        let mut text = String::new();
        entry.read_to_string(&mut text).expect("text");
        names.push(name.clone());
        texts.insert(name, text);
    }
    (names, texts)
}

#[test]
fn a_runpack_holds_all_that_is_known_of_a_run() {
    use std::os::unix::fs::PermissionsExt as _;
    let config = "[embedding.vllm]\nurl = \"http://me:sesame@127.0.0.1:9\"\napi_key_variable = \"THE_KEY\"\n";
    let sandbox = Sandbox::indexed(&Repo::sample()).with_config(config).with_variable("THE_KEY", "open-sesame");
    let run = sandbox.search(QUERY);
    sandbox.run(&["diagnostics", "runpack", &run]).check(0, &[&format!("runpack-{run}.tar.gz")]);
    let path = sandbox.path(&format!("runpack-{run}.tar.gz"));
    assert_eq!(std::fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
    let (names, texts) = unpacked(&path);
    assert_eq!(names, ["manifest.json", "ledger.jsonl", "report.json", "report.md", "config.toml", "index.json", "versions.json"]);
    assert!(texts.values().all(|text| !text.contains("sesame")), "{texts:?}");
    let json = |name: &str| serde_json::from_str::<Json>(&texts[name]).expect("JSON");
    let files = json("manifest.json")["files"].clone();
    for file in files.as_array().expect("a list") {
        let text = &texts[file["name"].as_str().expect("a name")];
        let sum: String = <sha2::Sha256 as sha2::Digest>::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((file["bytes"].as_u64(), file["sha256"].as_str()), (Some(text.len() as u64), Some(sum.as_str())));
        assert_eq!(file["redacted"], json!(file["name"] == "config.toml"), "{file}");
    }
    assert_eq!(files.as_array().map(Vec::len), Some(names.len() - 1));
    assert_eq!(texts["ledger.jsonl"].lines().count(), sandbox.ledger(&run).len());
    assert_eq!(json("report.json")["identity"]["run_id"], json!(run));
    assert!(texts["report.md"].contains(&run));
    assert!(texts["config.toml"].contains("embedding.vllm.url = \"http://…@127.0.0.1:9\"  # "), "{}", texts["config.toml"]);
    assert!(texts["config.toml"].contains("server.request_timeout_ms = 30000  # default"));
    assert_eq!(json("index.json")["generation"], "g000001");
    let versions = json("versions.json");
    assert_eq!(versions["spanloom"], env!("CARGO_PKG_VERSION"));
    assert!(versions["rustc"].as_str().is_some_and(|rustc| rustc.starts_with("rustc ")), "{versions}");
    assert!(["duckdb", "faiss-sys", "wasmtime"].iter().all(|library| versions["libraries"][library].is_string()), "{versions}");
    assert_eq!(versions["plugins_of_the_run"].as_array().map(Vec::len), Some(3));

    sandbox.run(&["diagnostics", "runpack", &run]).check(1, &["is there already", "--force"]);
    sandbox.run(&["diagnostics", "runpack", &run, "--force"]).check(0, &[]);
    sandbox.run(&["diagnostics", "runpack", &run, "--out", "none/pack.tar.gz"]).check(1, &["none/pack.tar.gz"]);
    sandbox.run(&["diagnostics", "runpack", TRACE]).check(1, &["of which there is no run"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_says_whether_the_answer_is_the_same() {
    let repo = Repo::sample();
    let mut sandbox = Sandbox::indexed(&repo);
    let run = sandbox.search(QUERY);
    sandbox.run(&["replay", &run]).check(0, &["the same: run "]);
    // What a server answered is the same in this process.
    let server = Server::start(&sandbox);
    let (served, trace) = searched(&server, &[]).await;
    let opened = raw_call(&server, "open_file", json!({"path": "docs/deploy.md", "end_line": 3}), &[], json!({})).await;
    let refused = raw_call(&server, "semantic_search", json!({"query": "x", "limit": 0}), &[], json!({})).await;
    for run in [&served, opened.header("x-run-id"), refused.header("x-run-id")] {
        sandbox.ledger(run);
        sandbox.run(&["replay", run]).check(0, &["the same: run "]);
    }
    drop(server);
    let compared = sandbox.json(&["replay", &trace, "--json"]);
    assert_eq!((&compared["same"], &compared["original"]["run_id"]), (&json!(true), &json!(served)));
    assert_eq!(compared["original"]["envelope_sha256"], compared["replayed"]["envelope_sha256"]);

    // Other parameters, other answer.
    sandbox.set_config("[plugins.fusion.parameters]\nk = 1\nweights = { bm25 = 0.5 }\n[search]\nrerank = false\n");
    let differs = sandbox.run(&["replay", &run, "--json"]);
    differs.check(4, &["differs"]);
    let compared: Json = serde_json::from_str(&differs.out).expect("JSON");
    let what: Vec<&str> = compared["differences"].as_array().expect("a list").iter().filter_map(|one| one["what"].as_str()).collect();
    assert!(what.iter().any(|what| what.starts_with("finding ")) && what.contains(&"plugin rerank"), "{what:?}");
    sandbox.run(&["replay", &run]).check(4, &["another answer: run ", "  finding ", " → "]);
    sandbox.set_config("");

    // The generation before the current one is still searched; the one before that is gone.
    for (name, code, words) in [("src/one.rs", 0, "the same"), ("src/two.rs", 1, "generation g000001, which is gone")] {
        repo.write(name, "/// The capacity of the token bucket release.\npub fn capacity() {}\n");
        repo.commit(name);
        sandbox.index(&repo);
        sandbox.run(&["replay", &run]).check(code, &[words]);
    }
}

#[test]
fn what_can_not_be_replayed_says_why() {
    let mut sandbox = Sandbox::indexed(&Repo::sample()).with_config("[telemetry]\nrecord_query_text = false\n");
    let silent = sandbox.search(QUERY);
    sandbox.run(&["replay", &silent]).check(1, &["can't be replayed: the query's text was not recorded"]);
    sandbox.set_config("");
    let run = sandbox.search(QUERY);
    let path = wait_for("the ledger's path", || {
        let days = std::fs::read_dir(sandbox.data().join("telemetry/runs")).ok()?;
        days.flatten().map(|day| day.path().join(format!("{run}.jsonl"))).find(|path| path.exists())
    });
    let text = std::fs::read_to_string(&path).expect("a ledger");
    let digest = sandbox.json(&["plugin", "list", "--json"])[0]["sha256"].as_str().expect("a digest").to_owned();
    let without_end: String = text.lines().filter(|line| !line.contains("\"run.end\"")).map(|line| format!("{line}\n")).collect();
    for (changed, words) in [
        (text.replace(&digest, &"0".repeat(64)), "is not loaded; loaded: "),
        (text.replace("g000001", "../../x"), "generation ../../x, which is gone"),
        (without_end, "it did not end"),
        (String::new(), "no line that begins the run"),
    ] {
        std::fs::write(&path, changed).expect("a ledger");
        sandbox.run(&["replay", &run]).check(1, &["can't be replayed: ", words]);
    }
    sandbox.run(&["replay", TRACE]).check(1, &["of which there is no run"]);
    sandbox.run(&["replay", "a/b"]).check(2, &["allowed: 1 to 128"]);
}
