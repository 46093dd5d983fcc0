//! vLLM as the embedding, chosen in the configuration: there, gone, and gone while
//! indexing.

use serde_json::{Value as Json, json};
use spanloom::types::ChannelName;

use crate::support::mcp::Client;
use crate::support::repo::Repo;
use crate::support::server::Server;
use crate::support::vllm::{DIMENSION, Encoding, MODEL, StandIn};
use crate::support::{Ended, Sandbox};

#[tokio::test(flavor = "multi_thread")]
async fn search_goes_on_when_the_model_is_gone() {
    for encoding in [Encoding::AsAsked, Encoding::Numbers] {
        let repo = Repo::sample();
        let stand_in = StandIn::start(encoding);
        let sandbox = Sandbox::new().with_config(&stand_in.config());
        let report = sandbox.index(&repo);
        assert_eq!(report["chunks"], report["chunks_embedded"]);
        let status = sandbox.json(&["status", "--json"]);
        assert_eq!((&status["dense"]["model"], &status["dense"]["index"]["dimension"]), (&json!(MODEL), &json!(DIMENSION)));
        // Batches of four, and one probe.
        assert!(stand_in.requests() >= report["chunks"].as_u64().expect("a count") / 4, "{}", stand_in.requests());

        let server = Server::start(&sandbox);
        let client = Client::connect(&server).await;
        let answer = client.search(json!({"query": "great circle distance", "channels": ["dense"]})).await;
        assert_eq!(answer.degraded, []);
        assert!(answer.findings.iter().any(|finding| finding.path == "geo/haversine.py"));

        stand_in.stop();
        let answer = client.search(json!({"query": "great circle distance"})).await;
        assert_eq!(answer.findings[0].path, "geo/haversine.py");
        assert!(answer.findings.iter().all(|finding| finding.contributions.iter().all(|part| part.channel != ChannelName::Dense)));
        assert_eq!(answer.degraded.len(), 1, "{:?}", answer.degraded);
        assert_eq!(answer.degraded[0].part, "dense");
        assert!(answer.warnings.iter().any(|warning| warning.contains(MODEL)), "{:?}", answer.warnings);

        // The index is up to date, so a model that is gone is no reason to fail.
        let again = sandbox.run(&["index", repo.text_path()]);
        again.check(0, &["Nothing has changed"]);
        sandbox.run(&["doctor"]).check(1, &["broken", "embedding"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_without_the_model_says_so_and_is_completed_later() {
    let repo = Repo::sample();
    let stand_in = StandIn::start(Encoding::AsAsked);
    let (mut sandbox, config) = (Sandbox::new(), stand_in.config());
    stand_in.stop();
    sandbox.set_config(&config);
    sandbox.run(&["index", repo.text_path()]).check(4, &["no vectors", "run `spanloom index` again"]);
    let ended = sandbox.run(&["search", "LruCache", "--json"]);
    ended.check(0, &["app/LruCache.java"]);

    let stand_in = StandIn::start(Encoding::AsAsked);
    sandbox.set_config(&stand_in.config());
    let report = sandbox.index(&repo);
    assert_eq!((&report["built"], &report["files"]["read"]), (&json!(true), &json!(0)), "{report}");
    assert_eq!(report["chunks"], report["chunks_embedded"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_another_model_is_not_mixed_in() {
    let repo = Repo::sample();
    let stand_in = StandIn::start(Encoding::AsAsked);
    let mut sandbox = Sandbox::new().with_config(&stand_in.config());
    sandbox.index(&repo);
    sandbox.set_config(&stand_in.config().replace(MODEL, "another"));
    let without_vectors = |ended: &Ended, names: &[&str]| {
        ended.check(0, &["app/LruCache.java"]);
        let answer: Json = serde_json::from_str(&ended.out).expect("an envelope");
        assert_eq!(answer["degraded"][0]["cause"], "other_embedding", "{answer}");
        let warning = answer["warnings"][0].as_str().unwrap_or_default();
        assert!(names.iter().all(|name| warning.contains(name)), "{warning}");
    };
    without_vectors(&sandbox.run(&["search", "LruCache", "--json"]), &[MODEL, "another", "spanloom index"]);
    // The built-in embedding is made anew.
    sandbox.set_config("");
    without_vectors(&sandbox.run(&["search", "LruCache", "--json"]), &[MODEL, "the built-in one", "spanloom index"]);
    sandbox.index(&repo);
    let answer: Json = serde_json::from_str(&sandbox.run(&["search", "LruCache", "--json"]).out).expect("an envelope");
    assert_eq!(answer["degraded"], json!([]), "{answer}");
    // Switched off is not degraded.
    sandbox.set_config("[embedding]\nkind = \"off\"\n");
    let answer: Json = serde_json::from_str(&sandbox.run(&["search", "LruCache", "--json"]).out).expect("an envelope");
    assert_eq!(answer["degraded"], json!([]), "{answer}");
    assert!(!answer.to_string().contains("\"dense\""), "{answer}");
}
