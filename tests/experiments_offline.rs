//! `spanloom experiment offline`: its figures against those of `spanloom eval`, recorded
//! searches asked again, and what it does with arms that can't be had.

use serde_json::{Value as Json, json};
use spanloom::envelope::AnswerEnvelope;

use crate::eval::{QUESTIONS, bench, write};
use crate::support::Sandbox;
use crate::support::mcp::{Raw, raw_call};
use crate::support::repo::Repo;
use crate::support::server::Server;

/// Three arms in a folder beside the set.
const THREE: &str = r#"
id = "rerank"
version = 1
mode = "offline"
hypothesis = "What the reranker adds is worth its time."

[[arms]]
key = "today"

[[arms]]
key = "vectors"
channels = ["dense"]

[[arms]]
key = "plain"
rerank = false

[metrics]
primary = "ndcg@10"
secondary = ["mrr@10", "recall@100"]

[offline]
queries = "../queries.jsonl"
qrels = "../qrels.tsv"
"#;
const FILE: &str = "experiments/three.toml";
const OFFLINE: [&str; 3] = ["experiment", "offline", FILE];

fn with_file(sandbox: &Sandbox, text: &str) {
    std::fs::create_dir_all(sandbox.path("experiments")).expect("a folder");
    write(sandbox, FILE, [text.to_owned()]);
}

fn report(sandbox: &Sandbox, more: &[&str]) -> Json {
    sandbox.json(&[&OFFLINE[..], &["--format", "json"], more].concat())
}

fn arm<'a>(report: &'a Json, key: &str) -> &'a Json {
    report["arms"].as_array().expect("arms").iter().find(|arm| arm["arm"] == key).unwrap_or_else(|| panic!("no {key}: {report}"))
}

fn compared<'a>(report: &'a Json, key: &str, measure: &str) -> &'a Json {
    let mut rows = report["comparisons"].as_array().expect("comparisons").iter();
    rows.find(|row| row["arm"] == key && row["measure"] == measure).unwrap_or_else(|| panic!("no {key}, {measure}: {report}"))
}

fn number(value: &Json) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Files of ledgers, whatever is in them.
fn ledgers(sandbox: &Sandbox) -> usize {
    let days = std::fs::read_dir(sandbox.data().join("telemetry/runs")).into_iter().flatten().flatten();
    days.map(|day| std::fs::read_dir(day.path()).expect("a day").count()).sum()
}

#[test]
fn judged_figures_are_those_of_eval() {
    let sandbox = bench();
    with_file(&sandbox, THREE);
    write(&sandbox, "plain.toml", ["[search]\nrerank = false".to_owned()]);
    let eval = sandbox.json(&["eval", "--queries", "queries.jsonl", "--qrels", "qrels.tsv", "--json", "--compare", "plain.toml"]);
    let said = report(&sandbox, &[]);
    assert_eq!((&said["source"]["against"], &said["source"]["set"]["level"]), (&json!("judgments"), &json!("file")));
    assert_eq!((&said["warnings"], &said["subject"]["control"]), (&json!([]), &json!("today")));

    // The same system asked by either command, to the last digit; the vectors alone are another.
    let plain = &eval["comparisons"][0];
    for (own, theirs) in [(arm(&said, "today"), &eval), (arm(&said, "plain"), plain)] {
        assert_eq!(own["index"], theirs["index"]);
        for measure in ["ndcg@10", "mrr@10", "recall@100"] {
            assert_eq!(own["measures"][measure], theirs["measures"][measure], "{measure}");
            for (mine, other) in own["per_query"].as_array().expect("queries").iter().zip(theirs["per_query"].as_array().expect("queries"))
            {
                assert_eq!((&mine["query_id"], &mine["measures"][measure]), (&other["query_id"], &other["measures"][measure]), "{measure}");
            }
        }
    }
    for measure in ["ndcg@10", "mrr@10", "recall@100"] {
        for part in ["mean", "low", "high", "p", "wins", "losses", "ties"] {
            assert_eq!(compared(&said, "plain", measure)[part], plain["differences"][measure][part], "{measure} {part}");
        }
        let row = compared(&said, "vectors", measure);
        assert!(number(&row["p_adjusted"]) >= number(&row["p"]) && row["queries"] == 6, "{row}");
    }
    assert!(number(&compared(&said, "vectors", "ndcg@10")["mean"]) < -0.1, "names are not in vectors: {said}");
    for own in said["arms"].as_array().expect("arms") {
        let latency = &own["latency"];
        assert!(number(&latency["p95_ms"]) >= number(&latency["p50_ms"]) && number(&latency["p50_ms"]) > 0.0, "{latency}");
        assert_eq!((&own["unanswered"], &own["degraded"], &latency["answers"]), (&json!(0), &json!(0), &json!(6)), "{own}");
    }
    let verdict = said["verdict"]["sentence"].as_str().expect("a sentence");
    assert!(
        verdict.starts_with("By these judgments, `vectors` ") && verdict.ends_with("; p corrected by `holm` over 6 comparisons."),
        "{verdict}"
    );
    // Nothing is left behind that would push out the ledgers of real runs.
    assert_eq!(ledgers(&sandbox), 0);

    let told = sandbox.run(&OFFLINE);
    told.check(
        0,
        &[
            "# Experiment rerank, version 1: offline",
            "vectors against today",
            "today (control)",
            "| ndcg@10",
            "p95",
            "ndcg@10 of vectors against today",
            "| LruCache",
            "Asking 6 queries",
        ],
    );
}

#[test]
fn sets_and_indexes_can_be_others() {
    let sandbox = bench();
    // Without a measure in the file, and an index that has the same in it.
    let other = Sandbox::indexed(&Repo::sample());
    let data = other.data();
    let index = format!("key = \"plain\"\nindex = \"{}\"", data.display());
    let text = THREE.replace("\"offline\"", "\"shadow\"").replace("\"ndcg@10\"", "\"reciprocal_rank\"");
    let text = text.replace("secondary = [\"mrr@10\", \"recall@100\"]\n", "").replace("key = \"plain\"\nrerank = false", &index);
    with_file(&sandbox, &text);
    let said = report(&sandbox, &["--queries", "places.jsonl"]);
    assert_eq!((&said["source"]["set"]["layout"], &said["source"]["set"]["level"]), (&json!("places"), &json!("chunk")));
    let warning = "`reciprocal_rank` is no measure of judgments, as it needs feedback or runs of users; measured: `ndcg@10`";
    assert_eq!((&said["measures"], &said["warnings"]), (&json!(["ndcg@10"]), &json!([warning])));
    let eval = sandbox.json(&["eval", "--queries", "places.jsonl", "--json"]);
    assert_eq!(arm(&said, "today")["measures"]["ndcg@10"], eval["measures"]["ndcg@10"]);
    let same = compared(&said, "plain", "ndcg@10");
    assert_eq!((&same["ties"], &same["p"], &arm(&said, "plain")["data_dir"]), (&json!(6), &json!(1.0), &json!(data)));

    // By another level of the same set.
    let files = report(&sandbox, &["--queries", "places.jsonl", "--level", "file"]);
    let eval = sandbox.json(&["eval", "--queries", "places.jsonl", "--level", "file", "--json"]);
    assert_eq!(arm(&files, "today")["measures"]["ndcg@10"], eval["measures"]["ndcg@10"]);
}

#[test]
fn what_is_wrong_is_named() {
    let sandbox = bench();
    let check = |text: &str, more: &[&str], code: i32, parts: &[&str]| {
        with_file(&sandbox, text);
        let ended = sandbox.run(&[&OFFLINE[..], more].concat());
        ended.check(code, parts);
        assert!(ended.out.is_empty() && ended.err.len() < 1_000, "{}{}", ended.out, ended.err);
    };
    let (bare, _) = THREE.split_once("[offline]").expect("a section");
    check(bare, &[], 2, &["three.toml: `offline` is missing; allowed: a section with `queries`, or the command line's --queries"]);
    check(&THREE.replace("queries.jsonl", "none.jsonl"), &[], 2, &["experiments/../none.jsonl: "]);
    check(THREE, &["--queries", "queries.jsonl"], 2, &["name no `relevant` places, and --qrels isn't given"]);
    check(THREE, &["--queries", "places.jsonl", "--qrels", "qrels.tsv"], 2, &["allowed: one of them"]);
    check(&THREE.replace("\"plain\"", "\"today\""), &[], 2, &["`arms[2].key` is `today`; allowed: another key than that of arms[0]"]);
    // No silent fallback to what is configured.
    let plugin = |choice: &str| THREE.replace("rerank = false", &format!("plugins.fusion = {{ {choice} }}"));
    check(&plugin("plugin = \"nothing\""), &[], 2, &["three.toml: ", "arm plain: `fusion.plugin` is `nothing`; allowed: ", "fusion-rrf"]);
    check(&plugin("parameters = { kk = 3 }"), &[], 2, &["three.toml: ", "arm plain: ", "kk"]);
    let pinned = plugin(&format!("plugin = \"fusion-rrf\", sha256 = \"{}\"", "0".repeat(64)));
    check(&pinned, &[], 2, &["arm plain: fusion plugin fusion-rrf is the component ", "and the arm is pinned to 0000"]);
    let elsewhere = THREE.replace("rerank = false", "index = \"../elsewhere\"");
    check(&elsewhere, &[], 3, &["`arms[2].index` is `experiments/../elsewhere`: there is no index in", "spanloom index"]);
    check(THREE, &["--from-runs", "--queries", "queries.jsonl"], 2, &["--from-runs", "--queries"]);
    check(THREE, &["--since", "3"], 2, &["--from-runs"]);
    check(THREE, &["--from-runs", "--since", "0"], 2, &["--since", "1..=3650"]);
    check(THREE, &["--from-runs"], 1, &["telemetry/runs has no search that can be asked again: none is recorded"]);

    // As eval treats them: what can be gone on with is counted.
    write(&sandbox, "more.tsv", ["limit\tsrc/token_bucket.rs\t1".to_owned(), "limit\tgone.rs\t1".to_owned(), "who\tx\t1".to_owned()]);
    with_file(&sandbox, THREE);
    let said = report(&sandbox, &["--qrels", "more.tsv"]);
    assert_eq!(
        said["warnings"],
        json!([
            "judged queries that the set doesn't have, not used: 1 (`who`)",
            "queries without a judgment, not asked: 5 (`globe`, …)",
            "relevant documents that are not in the index: 1 (`gone.rs`)",
        ])
    );
    write(
        &sandbox,
        "long.jsonl",
        [json!({"id": "l", "text": "long ".repeat(5_000), "relevant": [{"path": "src/checksum.rs"}]}).to_string()],
    );
    let ended = sandbox.run(&[&OFFLINE[..], &["--queries", "long.jsonl"]].concat());
    ended.check(4, &["3 searches have no answer and count 0", "queries without an answer, which count 0: 1"]);

    let empty = Sandbox::new();
    std::fs::copy(sandbox.path("places.jsonl"), empty.path("places.jsonl")).expect("a copy");
    with_file(&empty, THREE);
    empty.run(&[&OFFLINE[..], &["--queries", "places.jsonl"]].concat()).check(3, &["spanloom index"]);
}

async fn call(server: &Server, tool: &str, arguments: Json) -> Raw {
    raw_call(server, tool, arguments, &[("x-session-id", "s1")], json!({})).await
}

/// The rank of the first finding that has a line in common with another one.
fn first_rank(answer: &AnswerEnvelope, used: usize) -> usize {
    let place = &answer.findings[used];
    let meets = |other: &spanloom::envelope::Finding| {
        other.path == place.path && other.start_line <= place.end_line && other.end_line >= place.start_line
    };
    1 + answer.findings.iter().position(meets).expect("itself at least")
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_searches_are_asked_again_in_every_arm() {
    let sandbox = bench();
    with_file(&sandbox, THREE);
    let server = Server::start(&sandbox);
    let mut answers: Vec<AnswerEnvelope> = Vec::new();
    for (_, text, _) in &QUESTIONS[..4] {
        answers.push(call(&server, "semantic_search", json!({"query": text, "limit": 5})).await.envelope());
    }
    let feedback = async |run: usize, finding: usize, kind: &str| {
        let answer = &answers[run];
        let chunk = answer.findings[finding].chunk_id;
        let arguments = json!({"run_id": answer.observability.run_id, "chunk_ids": [chunk], "kind": kind});
        let told = call(&server, "report_feedback", arguments).await.body;
        assert_eq!(told["result"]["structuredContent"]["accepted"], 1, "{told}");
    };
    feedback(0, 1, "used").await;
    feedback(1, 0, "helpful").await;
    // Of this one nothing is known to be right.
    feedback(2, 0, "not_helpful").await;
    // What can't be asked again, or not by every arm.
    let cursor = answers[0].next_cursor.clone().expect("a further page");
    call(&server, "semantic_search", json!({"query": QUESTIONS[0].1, "limit": 5, "cursor": cursor})).await.envelope();
    call(&server, "semantic_search_pro", json!({"query": QUESTIONS[0].1, "channels": ["bm25"]})).await.envelope();
    call(&server, "semantic_search", json!({"query": QUESTIONS[0].1, "limit": 0})).await;
    assert_eq!(server.stop(), Some(0));

    let kept = ledgers(&sandbox);
    let said = report(&sandbox, &["--from-runs"]);
    assert_eq!(ledgers(&sandbox), kept, "nothing is left behind");
    let source = &said["source"];
    assert_eq!((&source["against"], &source["replayed"], &source["with_used_findings"]), (&json!("recorded_runs"), &json!(4), &json!(2)));
    assert_eq!(source["other_generation"], 0);
    let skipped: Vec<(&str, u64)> = source["skipped"]
        .as_array()
        .expect("reasons")
        .iter()
        .map(|own| (own["reason"].as_str().expect("a reason"), own["runs"].as_u64().expect("a count")))
        .collect();
    assert_eq!(skipped, [("it asked for a further page", 1), ("it failed", 1), ("it said itself what arms may change", 1)]);
    assert!(said["warnings"].to_string().contains("known bias: only what was shown could be used"), "{}", said["warnings"]);

    // In the order in which they were asked; the control answers as the server did.
    let runs: Vec<&str> = said["queries"].as_array().expect("runs").iter().map(|own| own["query_id"].as_str().expect("an id")).collect();
    assert_eq!(runs, answers.iter().map(|answer| answer.observability.run_id.as_str()).collect::<Vec<_>>());
    let today = arm(&said, "today");
    for (run, used) in [(0, 1), (1, 0)] {
        let expect = 1.0 / first_rank(&answers[run], used) as f64;
        let own = &today["per_query"][run]["measures"];
        assert_eq!((number(&own["reciprocal_rank"]), number(&own["success@10"])), (expect, 1.0), "{own}");
    }
    for run in [2, 3] {
        assert_eq!(today["per_query"][run]["measures"], json!({}));
    }
    assert_eq!(today["per_query"][0]["ranked"], 5, "with the limit that was asked for");
    for key in ["vectors", "plain"] {
        let row = compared(&said, key, "reciprocal_rank");
        assert_eq!((&row["queries"], &row["primary"]), (&json!(2), &json!(true)), "{row}");
        for measure in ["overlap@10", "rank_biased_overlap"] {
            let mean = number(&arm(&said, key)["measures"][measure]["mean"]);
            assert!((0.0..=1.0).contains(&mean), "{key} {measure}: {mean}");
        }
        assert_eq!(arm(&said, key)["latency"]["answers"], 4);
    }

    // The newest only.
    let newest = report(&sandbox, &["--from-runs", "--since", "1", "--runs-max", "1"]);
    assert_eq!(newest["queries"], json!([{"query_id": answers[3].observability.run_id}]));
    let verdict = newest["verdict"]["sentence"].as_str().expect("a sentence");
    assert_eq!(verdict, "No verdict: of 1 recorded run nothing is known to have been used, so only the lists are compared.");
    sandbox.run(&[&OFFLINE[..], &["--from-runs"]].concat()).check(0, &["it asked for a further page", "rank-biased overlap", "known bias"]);
}

#[test]
fn searches_whose_words_were_not_recorded_are_counted() {
    let sandbox = Sandbox::indexed(&Repo::sample()).with_config("[telemetry]\nrecord_query_text = false\n");
    with_file(&sandbox, THREE);
    sandbox.search("token bucket");
    sandbox.search("great circle");
    let ended = sandbox.run(&[&OFFLINE[..], &["--from-runs"]].concat());
    ended.check(1, &["has no search that can be asked again: left out: the query's text was not recorded (2)"]);
}
