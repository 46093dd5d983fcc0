//! Experiments while a server runs: who gets which arm, where it is told, what feedback is
//! taken, and what a kill leaves.

use std::path::Path;

use serde_json::{Value as Json, json};
use spanloom::envelope::AnswerEnvelope;

use crate::support::mcp::{Client, Raw, raw_call};
use crate::support::repo::Repo;
use crate::support::server::Server;
use crate::support::{Sandbox, wait_until};

/// Two arms that differ in what is reranked.
pub const DEPTHS: &str = r#"
id = "depths"
version = 2
state = "running"
mode = "ab"
owner = "search"
hypothesis = "Two rows are enough."

[[arms]]
key = "all"
budgets.rerank_depth = 50

[[arms]]
key = "two"
rm3 = false
budgets = { rerank_depth = 2, depths = { bm25 = 7 } }

[metrics]
primary = "success"
"#;

pub fn write(sandbox: &Sandbox, name: &str, text: &str) {
    std::fs::create_dir_all(sandbox.path("experiments")).expect("a folder");
    std::fs::write(sandbox.path("experiments").join(name), text).expect("an experiment");
}

async fn search(server: &Server, session: &str) -> Raw {
    raw_call(server, "semantic_search", json!({"query": "token bucket"}), &[("x-session-id", session)], json!({})).await
}

/// The arm that a session gets; `None` outside of any experiment.
async fn variant(server: &Server, session: &str) -> Option<String> {
    search(server, session).await.envelope().experiments.first().map(|stamp| stamp.variant.clone())
}

/// The lines of the journal, in the order of their files.
pub fn journal(sandbox: &Sandbox) -> Vec<Json> {
    let mut files: Vec<_> =
        std::fs::read_dir(sandbox.data().join("experiments")).expect("a journal").flatten().map(|file| file.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    let text: String = files.iter().map(|path| std::fs::read_to_string(path).expect("lines")).collect();
    text.lines().map(|line| serde_json::from_str(line).expect("an event")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_keeps_its_arm_and_every_record_says_so() {
    let repo = Repo::sample();
    let sandbox = Sandbox::indexed(&repo);
    let server = Server::start(&sandbox);
    assert_eq!(variant(&server, "s1").await, None);

    // Without a restart.
    write(&sandbox, "depths.toml", DEPTHS);
    let first = wait_until("the experiment", async || variant(&server, "s1").await).await;
    let path = sandbox.path("experiments/depths.toml");
    let mut seen = std::collections::BTreeSet::new();
    for number in 1..=12 {
        let session = format!("s{number}");
        let (one, again) = (search(&server, &session).await, search(&server, &session).await);
        let (envelope, run) = (one.envelope(), one.header("x-run-id").to_owned());
        let stamp = envelope.experiments[0].clone();
        assert_eq!(again.envelope().experiments, std::slice::from_ref(&stamp));
        assert_eq!((stamp.id.as_str(), stamp.version), ("depths", 2));
        // The command line says the same, and why.
        let why = sandbox.run(&["experiment", "assign", path.to_str().expect("text"), "--unit", &session]);
        why.check(0, &[&format!("arm {} has bucket {} of 10000", stamp.variant, stamp.bucket)]);
        check_depths(&sandbox, &run, &stamp.variant);
        seen.insert(stamp.variant);
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_eq!(variant(&server, "s1").await, Some(first));

    // Who has no session has no arm, nor who adjusts the ranking by himself.
    let client = Client::connect(&server).await;
    let adjusted = client.search(json!({"query": "token bucket", "depths": {"bm25": 9}})).await;
    assert_eq!(adjusted.experiments, []);
    let answer = raw_call(&server, "semantic_search", json!({"query": "token bucket"}), &[], json!({})).await;
    assert_eq!(answer.envelope().experiments, []);

    // A wrong file leaves what runs as it is, and readiness tells.
    write(&sandbox, "wrong.toml", &DEPTHS.replace("\"depths\"", "\"other\"").replace("version = 2", "version = 0"));
    wait_until("the refusal", async || {
        let ready: Json = reqwest::get(format!("{}/readyz", server.base)).await.expect("an answer").json().await.expect("JSON");
        ready.to_string().contains("wrong.toml: `version` is 0; allowed: 1 to").then_some(())
    })
    .await;
    assert!(variant(&server, "s1").await.is_some());
    std::fs::remove_file(sandbox.path("experiments/wrong.toml")).expect("a file");

    write(&sandbox, "depths.toml", &DEPTHS.replace("\"running\"", "\"paused\""));
    wait_until("the end", async || variant(&server, "s1").await.is_none().then_some(())).await;

    let events = journal(&sandbox);
    let searches: Vec<&Json> = events.iter().filter(|event| event["action_name"] == "search").collect();
    let exposed = searches.iter().filter(|event| event["event_attributes"]["experiments"][0]["experiment"] == "depths").count();
    assert!(exposed >= 24 && searches.len() > exposed, "{exposed} of {}", searches.len());
    let event = searches.iter().find(|event| event["client_id"] == "s7").expect("a search of s7");
    let attributes = &event["event_attributes"];
    assert_eq!(
        (&event["application"], &attributes["status"], &attributes["tool"]),
        (&json!("spanloom"), &json!("ok"), &json!("semantic_search"))
    );
    assert_eq!(attributes["findings"][0]["ordinal"], 1);
    assert_eq!(attributes["units"]["session"], attributes["experiments"][0]["unit"]);
    assert!(!events.iter().any(|event| event.to_string().contains("token bucket")), "a journal names no queries");
}

/// What the run's ledger says: the arm on the spans, and what it changed.
fn check_depths(sandbox: &Sandbox, run: &str, variant: &str) {
    let lines = sandbox.ledger(run);
    let span = |name: &str| lines.iter().find(|line| line["line"] == "span" && line["name"] == name).unwrap_or_else(|| panic!("no {name}"));
    for name in ["tools/call semantic_search", "retrieval.gate", "retrieval.fuse", "duckdb.hydrate", "retrieval.rerank"] {
        let attributes = &span(name)["attributes"];
        assert_eq!((&attributes["retrieval.experiment"], &attributes["retrieval.variant"]), (&json!("depths"), &json!(variant)), "{name}");
    }
    let (rerank, bm25) =
        (&span("retrieval.rerank")["attributes"]["retrieval.rerank_depth"], &span("bm25.search")["attributes"]["retrieval.channel_depth"]);
    match variant {
        "two" => assert_eq!((rerank, bm25), (&json!(2), &json!(7))),
        _ => assert!(rerank.as_u64() > Some(2) && *bm25 != json!(7), "{rerank} {bm25}"),
    }
    let exposure = lines.iter().find(|line| line["name"] == "retrieval.experiment.exposure").expect("an exposure");
    assert_eq!(exposure["attributes"]["retrieval.experiment_version"], 2);
    let end = lines.iter().find(|line| line["line"] == "run.end").expect("an end");
    assert_eq!(end["outcome"]["experiments"][0]["variant"], variant);
}

#[tokio::test(flavor = "multi_thread")]
async fn feedback_is_held_against_its_run_and_outlives_a_kill() {
    let repo = Repo::sample();
    let sandbox = Sandbox::indexed(&repo);
    write(&sandbox, "depths.toml", DEPTHS);
    let server = Server::start(&sandbox);
    let envelope: AnswerEnvelope = search(&server, "s1").await.envelope();
    let (run, chunks): (&str, Vec<u64>) =
        (&envelope.observability.run_id, envelope.findings.iter().map(|finding| finding.chunk_id.0).collect());
    let report = async |server: &Server, arguments: Json| {
        raw_call(server, "report_feedback", arguments, &[("x-session-id", "s1")], json!({})).await.body
    };
    let told = |body: &Json| body["result"]["structuredContent"].clone();
    let used = json!({"run_id": run, "chunk_ids": chunks[..2], "kind": "used"});
    assert_eq!(told(&report(&server, used.clone()).await), json!({"accepted": 2, "already_known": 0, "run_id": run}));
    assert_eq!(told(&report(&server, used.clone()).await), json!({"accepted": 0, "already_known": 2, "run_id": run}));
    for (arguments, expect) in [
        (json!({"run_id": "nobody", "chunk_ids": [1], "kind": "used"}), "`run_id` is `nobody`"),
        (json!({"run_id": run, "chunk_ids": [99_999_999], "kind": "used"}), "`chunk_ids` has 99999999"),
        (json!({"run_id": run, "chunk_ids": [], "kind": "used"}), "`chunk_ids` has 0 entries"),
        (json!({"run_id": run, "chunk_ids": chunks[..1], "kind": "grade"}), "`grade` is missing"),
        (json!({"run_id": run, "chunk_ids": chunks[..1], "kind": "liked"}), "`kind` is \"liked\""),
    ] {
        let body = report(&server, arguments.clone()).await;
        assert_eq!(body["result"]["isError"], true, "{arguments}: {body}");
        assert!(body.to_string().contains(&expect.replace('"', "\\\"")), "{arguments}: {body}");
    }
    // A file that a finding led to counts as opened; where it didn't lead, not.
    let third = &envelope.findings[2];
    let lines = json!({"path": third.path, "start_line": third.start_line, "end_line": third.end_line});
    for session in ["s1", "s2"] {
        raw_call(&server, "open_file", lines.clone(), &[("x-session-id", session)], json!({})).await;
    }
    server.kill();

    let events = journal(&sandbox);
    let marks = |action: &str| -> Vec<Json> {
        let own = events.iter().filter(|event| event["action_name"] == action && event["query_id"] == run);
        own.map(|event| event["event_attributes"]["object"]["object_id"].clone()).collect()
    };
    assert_eq!(marks("used"), [json!(chunks[0]), json!(chunks[1])]);
    assert!(marks("opened").contains(&json!(chunks[2])), "{:?}", marks("opened"));
    assert!(events.iter().all(|event| event["action_name"] != "opened" || event["client_id"] == "s1"));

    // The next server knows the run, and what was said of it.
    let server = Server::start(&sandbox);
    let more = json!({"run_id": run, "chunk_ids": chunks[..3], "kind": "used"});
    assert_eq!(told(&report(&server, more).await), json!({"accepted": 1, "already_known": 2, "run_id": run}));

    // A running server tells the same, by its tool and at its endpoint.
    let answer = raw_call(&server, "experiment_report", json!({"id": "depths"}), &[], json!({})).await.body["result"].clone();
    assert_eq!(answer["structuredContent"]["counts"]["runs_with_feedback"], 1, "{answer}");
    assert!(answer["content"][0]["text"].as_str().is_some_and(|text| text.contains("depths")), "{answer}");
    let unknown = raw_call(&server, "experiment_report", json!({"id": "nothing"}), &[], json!({})).await.body;
    assert!(unknown.to_string().contains("`nothing` is no experiment of the folder; allowed: depths"), "{unknown}");
    for (name, status, kind, part) in [
        ("depths", 200, "application/json", "\"verdict\""),
        ("depths.md", 200, "text/markdown", "depths"),
        ("depths.html", 200, "text/html", "<!DOCTYPE html>"),
        ("nothing", 404, "text/plain", "allowed: depths"),
    ] {
        let got = reqwest::get(format!("{}/reports/experiments/{name}", server.base)).await.expect("an answer");
        let found = (got.status().as_u16(), got.headers()["content-type"].to_str().expect("text").to_owned());
        let text = got.text().await.expect("text");
        assert!(found.0 == status && (status != 200 || found.1.starts_with(kind)) && text.contains(part), "{name}: {found:?} {text}");
    }

    let client = reqwest::Client::new();
    let wanted = client.get(format!("{}/reports/experiments/depths", server.base)).header("accept", "image/png").send();
    assert_eq!(wanted.await.expect("an answer").status().as_u16(), 406);

    // And the report counts each once.
    let said = sandbox.json(&["experiment", "report", "depths", "--format", "json"]);
    let counts = &said["counts"];
    assert_eq!((&counts["runs"], &counts["units"], &counts["runs_with_feedback"]), (&json!(1), &json!(1), &json!(1)), "{said}");
    sandbox.run(&["experiment", "report", "depths"]).check(0, &["depths", "two"]);
    sandbox.run(&["experiment", "report", "depths", "--format", "html"]).check(0, &["<!DOCTYPE html>"]);
    sandbox.run(&["experiment", "report", "nothing"]).check(2, &["`nothing` is no experiment of the folder; allowed: depths"]);
}

#[test]
fn files_are_checked_and_told() {
    let sandbox = Sandbox::new();
    write(&sandbox, "depths.toml", DEPTHS);
    sandbox.run(&["experiment", "check", "experiments"]).check(0, &["depths version 2, running, ab: all (control), two; digest "]);
    write(&sandbox, "bad.toml", &DEPTHS.replace("rerank_depth = 50", "rerank_depth = 5000").replace("owner = \"search\"", "owner = \"\""));
    let ended = sandbox.run(&["experiment", "check", "experiments/bad.toml"]);
    ended.check(2, &["bad.toml: `owner` is empty", "bad.toml: `arms[0].budgets.rerank_depth` is 5000; allowed: 0 to 100"]);
    write(&sandbox, "bad.toml", DEPTHS);
    sandbox.run(&["experiment", "check", "experiments"]).check(2, &["`id` is `depths`, as in bad.toml"]);
    let schema: Json = serde_json::from_str(&sandbox.run(&["experiment", "schema"]).out).expect("JSON");
    let published = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/experiment.schema.json")).expect("a file");
    assert_eq!(schema, serde_json::from_str::<Json>(&published).expect("JSON"));
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/experiments");
    sandbox
        .run(&["experiment", "check", examples.to_str().expect("text")])
        .check(0, &["fusion-dbsf version 1, draft, ab: rrf (control), dbsf"]);
    let path = sandbox.path("experiments/depths.toml");
    let outlook =
        ["experiment", "simulate", path.to_str().expect("text"), "--units-per-day", "2000", "--baseline", "0.3", "--effect", "5%"];
    sandbox.run(&outlook).check(0, &["depths version 2: success", "two against all", "smallest effect found in 28 days"]);
    sandbox.run(&[&outlook[..7], &["--effect", "0"]].concat()).check(2, &["--effect"]);
    let assigned = sandbox.json(&["experiment", "assign", path.to_str().expect("text"), "--unit", "s1", "--json"]);
    assert!(assigned["why"].as_str().is_some_and(|why| why.starts_with("in: arm ")), "{assigned}");
}
