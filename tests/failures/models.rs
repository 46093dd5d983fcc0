//! The embedding server goes wrong in every way it can; the search goes on without it.

use super::{Reports, Row, query, reported, row};
use crate::support::Sandbox;
use crate::support::repo::Repo;
use crate::support::server::Server;
use crate::support::vllm::{Encoding, Mood, StandIn};

const fn embed(name: &'static str, injected: &'static str, cause: &'static str, says: &'static str) -> Row {
    row(name, injected, ["embed", cause, "degraded"], says)
}

pub(super) const ROWS: &[Row] = &[
    embed("model-down", "nothing listens where the embedding server was", "unavailable", "attempts: 2"),
    embed("model-slow", "the embedding server is not done by `search.embed_deadline_ms`", "deadline", "within 200 ms"),
    embed("model-silent", "the embedding server takes requests and never answers", "unavailable", "no answer within 300 ms"),
    embed("model-wrong-dimension", "its vectors have another length than those of the index", "bad_answer", "31"),
    embed("model-400", "it answers 400", "refused", "400"),
    embed("model-429", "it answers 429, twice", "unavailable", "HTTP 429"),
    embed("model-500", "it answers 500, twice", "unavailable", "HTTP 500"),
    embed("model-garbage", "it answers 200 with a page of HTML", "bad_answer", "not the JSON of /v1/embeddings"),
    embed("model-left-alone", "it failed five queries in a row and is not asked", "unavailable", "it failed repeatedly"),
];

const SEARCH: &str = "semantic_search";
/// Failures in a row after which the server is left alone.
const FAILURES_MAX: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn embedding_servers_that_fail_are_told() {
    let stand_in = StandIn::start(Encoding::AsAsked);
    // Below `[embedding.vllm]`, with which the stand-in's configuration ends.
    let config = format!("{}timeout_ms = 300\n", stand_in.config());
    let mut sandbox = Sandbox::new().with_config(&config);
    sandbox.index(&Repo::sample());
    let server = Server::start(&sandbox);
    sandbox.set_config(&format!("{}timeout_ms = 60000\n[search]\nembed_deadline_ms = 200\n", stand_in.config()));
    let hasty = Server::start(&sandbox);

    let mut reports = Reports::default();
    for (row, mood) in [
        ("model-silent", Mood::Silent),
        ("model-wrong-dimension", Mood::Short),
        ("model-400", Mood::Refuses(400)),
        ("model-429", Mood::Refuses(429)),
        ("model-500", Mood::Refuses(500)),
        ("model-garbage", Mood::Babbles),
    ] {
        stand_in.set_mood(mood);
        reports.ask(&server, row, SEARCH, query()).await;
        // An answer in between, so that it isn't left alone yet.
        stand_in.set_mood(Mood::Well);
        let well = reported(&server, &format!("well-after-{row}"), SEARCH, query()).await;
        assert_eq!(well["outcome"], "complete", "{well}");
    }
    stand_in.set_mood(Mood::Silent);
    reports.ask(&hasty, "model-slow", SEARCH, query()).await;
    stand_in.stop();
    reports.ask(&server, "model-down", SEARCH, query()).await;
    for round in 1..FAILURES_MAX {
        reported(&server, &format!("model-still-down-{round}"), SEARCH, query()).await;
    }
    reports.ask(&server, "model-left-alone", SEARCH, query()).await;
    reports.check(ROWS);
}
