//! The files of `examples/experiments`: each is carried out, and does what it says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Value as Json, json};
use spanloom::envelope::AnswerEnvelope;

use crate::experiments::{journal, write};
use crate::experiments_population::{extra, fusion_dbsf, sha256};
use crate::support::mcp::raw_call;
use crate::support::repo::Repo;
use crate::support::server::Server;
use crate::support::{Sandbox, wait_until};

const QUERY: &str = "capacity of the token bucket release";

/// The example's component, built once.
fn component() -> &'static Path {
    static COMPONENT: OnceLock<PathBuf> = OnceLock::new();
    COMPONENT.get_or_init(|| fusion_dbsf("examples"))
}

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/experiments").join(format!("{name}.toml"));
    std::fs::read_to_string(path).expect("an example")
}

/// Puts text in the place of other text that has to be there.
#[track_caller]
fn with(text: &str, old: &str, new: &str) -> String {
    assert!(text.contains(old), "`{old}` is not in {text}");
    text.replace(old, new)
}

/// An index of the sample and both fusions.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new().with_config(&extra(component()));
    sandbox.index(&Repo::sample());
    sandbox
}

/// Sets the pins that an example asks for, and starts it as its comments say.
fn start(sandbox: &Sandbox, name: &str) {
    let (rrf, dbsf) = (sha256(sandbox, "fusion-rrf"), sha256(sandbox, component().to_str().expect("text")));
    let text = example(name)
        .replace("plugins.fusion.plugin = \"fusion-rrf\"", "plugins.fusion = { plugin = \"fusion-rrf\" }")
        .replace("plugin = \"fusion-rrf\"", &format!("plugin = \"fusion-rrf\", sha256 = \"{rrf}\""))
        .replace("plugin = \"fusion-dbsf\"", &format!("plugin = \"fusion-dbsf\", sha256 = \"{dbsf}\""));
    write(sandbox, &format!("{name}.toml"), &text);
    if text.contains("state = \"draft\"") {
        sandbox.run(&["experiment", "start", name, "--reason", "the pins are there"]).check(0, &[name]);
    }
}

async fn search(server: &Server, arguments: Json, header: (&str, &str)) -> AnswerEnvelope {
    raw_call(server, "semantic_search", arguments, &[header], json!({})).await.envelope()
}

/// Arms by experiment, over calls with other values of a header.
async fn arms(server: &Server, header: &str, arguments: Json, calls: usize) -> BTreeMap<String, BTreeSet<String>> {
    let mut arms = BTreeMap::<String, BTreeSet<String>>::new();
    for number in 0..calls {
        let answer = search(server, arguments.clone(), (header, &format!("unit-{number}"))).await;
        assert_eq!(answer.degraded, []);
        for stamp in answer.experiments {
            arms.entry(stamp.id).or_default().insert(stamp.variant);
        }
    }
    arms
}

fn set(keys: &[&str]) -> BTreeSet<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

/// The report can be read, and counts what was asked.
fn check_report(sandbox: &Sandbox, id: &str) {
    let report = sandbox.json(&["experiment", "report", id, "--format", "json"]);
    assert!(report["counts"]["runs"].as_u64() > Some(0), "{report}");
    sandbox.run(&["experiment", "report", id]).check(0, &[id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_fusion_and_rm3_share_a_layer() {
    let sandbox = sandbox();
    start(&sandbox, "fusion-dbsf");
    start(&sandbox, "rm3");
    let server = Server::start(&sandbox);
    // A query that the gate calls vague, so that both are asked.
    let mut vague = None;
    for query in [
        "how are rate limits enforced when many clients call",
        "how does it work",
        "what is done here",
        "why",
        "something about data",
        "things",
    ] {
        let arguments = json!({"query": query, "explain": true});
        let answer = raw_call(&server, "semantic_search_pro", arguments, &[], json!({})).await.envelope();
        if answer.explanation.expect("an explanation").gate.class == "vague" {
            vague = Some(query);
        }
    }
    let vague = json!({"query": vague.expect("a vague query")});
    let arms = arms(&server, "x-session-id", vague.clone(), 120).await;
    assert_eq!(arms, BTreeMap::from([("fusion-dbsf".into(), set(&["dbsf", "rrf"])), ("rm3".into(), set(&["off", "on"]))]));
    // Who is in one is in no other, and the class decides.
    for number in 0..40 {
        let header = ("x-session-id", &*format!("unit-{number}"));
        assert!(search(&server, vague.clone(), header).await.experiments.len() <= 1);
        let clear = search(&server, json!({"query": "TokenBucket::try_acquire"}), header).await;
        assert!(clear.experiments.iter().all(|stamp| stamp.id != "rm3"), "{:?}", clear.experiments);
    }
    check_report(&sandbox, "fusion-dbsf");
    check_report(&sandbox, "rm3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_team_keeps_its_depth() {
    let sandbox = sandbox();
    start(&sandbox, "rerank-depth");
    let server = Server::start(&sandbox);
    let arms = arms(&server, "x-team", json!({"query": QUERY}), 60).await;
    assert_eq!(arms, BTreeMap::from([("rerank-depth".into(), set(&["20", "50", "100"]))]));
    let session = search(&server, json!({"query": QUERY}), ("x-session-id", "s")).await;
    assert_eq!(session.experiments, [], "only who has a team takes part");
    check_report(&sandbox, "rerank-depth");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_of_ones_own_shares_the_answer_with_rrf() {
    let sandbox = sandbox();
    start(&sandbox, "custom-interleaved");
    let server = Server::start(&sandbox);
    let rust = json!({"query": QUERY, "languages": ["rust"]});
    let answer = search(&server, rust.clone(), ("x-session-id", "s1")).await;
    assert_eq!((answer.experiments.len(), answer.experiments[0].variant.as_str()), (1, "interleave"));
    // The unit is the query: whoever asks it gets the same list.
    let other = search(&server, rust, ("x-session-id", "s2")).await;
    assert_eq!(other.findings, answer.findings);
    assert_eq!(search(&server, json!({"query": QUERY}), ("x-session-id", "s1")).await.experiments, [], "without a language");
    let event = journal(&sandbox).into_iter().find(|event| event["query_id"] == answer.observability.run_id.as_str()).expect("a search");
    assert!(event["event_attributes"]["findings"][0]["team"].is_u64(), "{event}");
    check_report(&sandbox, "custom-interleaved");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_embedding_is_asked_in_the_shadow() {
    let sandbox = sandbox();
    let larger = sandbox.path("larger");
    let config = sandbox.path("larger.toml");
    std::fs::write(&config, "[embedding]\ndimension = 16\n").expect("a configuration");
    let repo = Repo::sample();
    let index = ["--config", config.to_str().expect("text"), "index", "--data-dir", larger.to_str().expect("text"), repo.text_path()];
    sandbox.run(&index).check(0, &[]);
    let text = with(&example("embedding-shadow"), "/var/lib/spanloom/larger-embedding", larger.to_str().expect("text"));
    write(&sandbox, "embedding-shadow.toml", &text);
    let server = Server::start(&sandbox);
    let told = wait_until("an answer of the other index", async || {
        let answer = search(&server, json!({"query": QUERY}), ("x-session-id", "s")).await;
        assert!(answer.experiments.iter().all(|stamp| stamp.variant == "today"));
        journal(&sandbox).into_iter().find(|event| event["action_name"] == "shadow")
    })
    .await;
    let attributes = &told["event_attributes"];
    assert_eq!((&attributes["variant"], &attributes["status"]), (&json!("larger"), &json!("ok")), "{told}");
    assert!(attributes["findings"].as_array().is_some_and(|findings| !findings.is_empty()), "{told}");
    check_report(&sandbox, "embedding-shadow");
}
