//! Arms that share one answer, and arms that nobody sees: what clients get of them, and
//! what is written down.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};
use spanloom::envelope::AnswerEnvelope;

use crate::experiments::{journal, write};
use crate::support::admin::Scrape;
use crate::support::mcp::{Raw, raw_call};
use crate::support::repo::Repo;
use crate::support::server::Server;
use crate::support::vllm::{Encoding, StandIn};
use crate::support::{Sandbox, wait_until};

const QUERY: &str = "capacity of the token bucket release";

/// A file of two arms with lists of their own; `more` is of the top, `sections` follow.
fn file(mode: &str, primary: &str, more: &str, arms: &str) -> String {
    format!(
        "id = \"{mode}\"\nversion = 1\nstate = \"running\"\nmode = \"{mode}\"\nowner = \"search\"\nhypothesis = \"Words do.\"\n{more}\n{arms}\n\
         [metrics]\nprimary = \"{primary}\"\n"
    )
}

const WORDS_OR_MEANING: &str = "[[arms]]\nkey = \"words\"\nrerank = false\nchannels = [\"bm25\"]\n\
     [[arms]]\nkey = \"meaning\"\nrerank = false\nchannels = [\"dense\"]\n";

async fn search(server: &Server, tool: &str, arguments: Json, session: &str) -> Raw {
    raw_call(server, tool, arguments, &[("x-session-id", session)], json!({})).await
}

fn chunks(answer: &AnswerEnvelope) -> Vec<u64> {
    answer.findings.iter().map(|finding| finding.chunk_id.0).collect()
}

/// What the journal says was shown in a run: chunk, rank, team.
fn shown(sandbox: &Sandbox, run: &str) -> Vec<(u64, u64, Option<u64>)> {
    let events = journal(sandbox);
    let event = events.iter().find(|event| event["query_id"] == run && event["action_name"] == "search").expect("a search");
    let findings = event["event_attributes"]["findings"].as_array().expect("findings");
    findings
        .iter()
        .map(|finding| (finding["object_id"].as_u64().unwrap_or(0), finding["ordinal"].as_u64().unwrap_or(0), finding["team"].as_u64()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_arms_fill_one_list_in_turns() {
    let repo = Repo::sample();
    let sandbox = Sandbox::indexed(&repo);
    // What each arm finds by itself.
    let alone = Server::start(&sandbox);
    let mut lists = Vec::new();
    for channel in ["bm25", "dense"] {
        let arguments = json!({"query": QUERY, "channels": [channel], "rerank_enabled": false, "limit": 50});
        lists.push(chunks(&search(&alone, "semantic_search_pro", arguments, "s").await.envelope()));
    }
    assert_ne!(lists[0], lists[1]);
    drop(alone);

    write(&sandbox, "interleave.toml", &file("interleave", "used_findings", "", WORDS_OR_MEANING));
    let server = Server::start(&sandbox);
    let mut first_teams = BTreeSet::new();
    for number in 0..12 {
        let session = format!("s{number}");
        let raw = search(&server, "semantic_search", json!({"query": QUERY, "limit": 6}), &session).await;
        let (answer, run) = (raw.envelope(), raw.header("x-run-id").to_owned());
        assert_eq!((answer.experiments[0].id.as_str(), answer.experiments[0].variant.as_str()), ("interleave", "interleave"));
        // Each rank is the best that its team still had.
        let mut taken = BTreeSet::new();
        let shown = shown(&sandbox, &run);
        assert_eq!(shown.iter().map(|(chunk, ..)| *chunk).collect::<Vec<_>>(), chunks(&answer));
        for (rank, (chunk, ordinal, team)) in shown.iter().enumerate() {
            assert_eq!(*ordinal, rank as u64 + 1);
            // Once a list has nothing left, what follows is nobody's.
            let is_even = lists.iter().all(|list| list.iter().any(|chunk| !taken.contains(chunk)));
            assert_eq!(team.is_some(), is_even, "rank {ordinal} of {session}");
            if let Some(team) = team {
                assert_eq!(lists[*team as usize].iter().find(|chunk| !taken.contains(*chunk)), Some(chunk), "rank {ordinal} of {session}");
            }
            taken.insert(*chunk);
        }
        for pair in shown.chunks_exact(2).filter(|pair| pair[1].2.is_some()) {
            assert_ne!(pair[0].2, pair[1].2, "each round both teams pick");
        }
        assert!(shown[1].2.is_some());
        first_teams.insert(shown[0].2);

        // The same again, and page by page, is the same list.
        assert_eq!(
            chunks(&search(&server, "semantic_search", json!({"query": QUERY, "limit": 6}), &session).await.envelope()),
            chunks(&answer)
        );
        let page = search(&server, "semantic_search", json!({"query": QUERY, "limit": 3}), &session).await.envelope();
        let cursor = page.next_cursor.clone().expect("more");
        let next = search(&server, "semantic_search", json!({"query": QUERY, "limit": 3, "cursor": cursor}), &session).await.envelope();
        assert_eq!([chunks(&page), chunks(&next)].concat(), chunks(&answer));
        assert_eq!(next.findings[0].rank, 4);

        let lines = sandbox.ledger(&run);
        let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
        let teams: BTreeMap<String, String> = lines
            .iter()
            .filter(|line| line["line"] == "span" && line["name"] == "retrieval.team")
            .map(|line| (text(&line["attributes"]["retrieval.variant"]), text(&line["span_id"])))
            .collect();
        assert_eq!(teams.keys().collect::<Vec<_>>(), ["meaning", "words"]);
        let fuses = lines.iter().filter(|line| line["line"] == "span" && line["name"] == "retrieval.fuse");
        let fused: BTreeSet<String> = fuses.map(|line| text(&line["parent_span_id"])).collect();
        assert_eq!(fused, teams.values().cloned().collect());
        let end = lines.last().expect("an end");
        assert_eq!(end["outcome"]["findings"][0]["team"], json!(shown[0].2));
        if number == 0 {
            sandbox.run(&["trace", &run]).check(0, &["retrieval.team"]);
            sandbox.run(&["replay", &run]).check(0, &[]);
        }
    }
    assert_eq!(first_teams.len(), 2, "the coin fell on one side twelve times");

    // What is no longer there can't be repeated.
    let run = search(&server, "semantic_search", json!({"query": QUERY}), "s1").await.header("x-run-id").to_owned();
    sandbox.ledger(&run);
    let text = std::fs::read_to_string(sandbox.path("experiments/interleave.toml")).expect("a file");
    let folder = sandbox.path("empty");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("interleave.toml"), text.replace("version = 1", "version = 2")).expect("a file");
    let elsewhere = format!("[experiments]\nfolder = \"{}\"\n", folder.display());
    std::fs::write(sandbox.path("other.toml"), elsewhere).expect("a configuration");
    let config = sandbox.path("other.toml");
    sandbox.run(&["--config", config.to_str().expect("text"), "replay", &run]).check(1, &["part of experiment interleave version 1"]);

    // A client isn't told who picked what, unless it asks why.
    let raw = search(&server, "semantic_search", json!({"query": QUERY}), "s1").await;
    assert!(!raw.body["result"]["structuredContent"]["findings"].to_string().contains("team"), "{}", raw.body);
    let why = search(&server, "semantic_search_pro", json!({"query": QUERY, "explain": true}), "s1").await.envelope();
    let explanation = why.explanation.expect("an explanation");
    assert_eq!(explanation.teams.keys().collect::<Vec<_>>(), ["meaning", "words"]);
    assert_eq!(explanation.teams["words"].gate.budgets.iter().map(|budget| budget.channel.as_str()).collect::<Vec<_>>(), ["bm25"]);
    let picked: BTreeSet<_> = why.findings.iter().filter_map(|finding| finding.explanation.as_ref()?.team.clone()).collect();
    assert_eq!(picked.len(), 2, "{picked:?}");

    // Credit goes to the team that picked.
    let raw = search(&server, "semantic_search", json!({"query": QUERY}), "s1").await;
    let run = raw.header("x-run-id").to_owned();
    let words = shown(&sandbox, &run).into_iter().find(|(_, _, team)| *team == Some(0)).expect("a finding of words");
    let feedback = json!({"run_id": run, "chunk_ids": [words.0], "kind": "used"});
    search(&server, "report_feedback", feedback, "s1").await;
    let report = sandbox.json(&["experiment", "report", "interleave", "--format", "json"]);
    let preferred = &report["preferences"][0];
    assert!(preferred.to_string().contains("\"words\""), "{preferred}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_single_run_stay_together() {
    let repo = Repo::sample();
    let sandbox = Sandbox::indexed(&repo);
    write(&sandbox, "interleave.toml", &file("interleave", "used_findings", "[unit]\nkind = \"run\"\n", WORDS_OR_MEANING));
    let server = Server::start(&sandbox);
    let mut lists = BTreeSet::new();
    for _ in 0..8 {
        let whole = search(&server, "semantic_search", json!({"query": QUERY, "limit": 3}), "s").await.envelope();
        let mut pages = chunks(&whole);
        let arguments = json!({"query": QUERY, "limit": 3, "cursor": whole.next_cursor});
        let next = search(&server, "semantic_search", arguments, "s").await.envelope();
        pages.extend(chunks(&next));
        assert_eq!(pages.iter().collect::<BTreeSet<_>>().len(), 6, "{pages:?}");
        assert_eq!((&next.experiments, &next.warnings), (&whole.experiments, &Vec::new()));
        lists.insert(pages);
    }
    // Each run draws anew.
    assert!(lists.len() > 1);
    // What ranks otherwise since the first page is told.
    let first = search(&server, "semantic_search", json!({"query": QUERY, "limit": 3}), "s").await.envelope();
    std::fs::remove_file(sandbox.path("experiments/interleave.toml")).expect("a file");
    let warning = wait_until("the end of the experiment", async || {
        let arguments = json!({"query": QUERY, "limit": 3, "cursor": first.next_cursor});
        search(&server, "semantic_search", arguments, "s").await.envelope().warnings.first().cloned()
    })
    .await;
    assert!(warning.contains("have changed since the first page"), "{warning}");
}

#[tokio::test(flavor = "multi_thread")]
async fn arms_in_the_shadow_are_asked_and_nobody_sees_them() {
    let repo = Repo::sample();
    let sandbox = Sandbox::indexed(&repo);
    let other = sandbox.path("other");
    sandbox.run(&["index", "--data-dir", other.to_str().expect("text"), repo.text_path()]).check(0, &[]);
    let server = Server::start(&sandbox);
    let before = search(&server, "semantic_search", json!({"query": QUERY}), "s1").await.envelope();
    let arms = "[[arms]]\nkey = \"today\"\n[[arms]]\nkey = \"words\"\nchannels = [\"bm25\"]\n\
         [[arms]]\nkey = \"index\"\nindex = \"../other\"\n[[arms]]\nkey = \"gone\"\nindex = \"../gone\"\n";
    write(&sandbox, "shadow.toml", &file("shadow", "reciprocal_rank", "", &format!("{arms}[shadow]\nconcurrency_max = 4\n")));
    let (run, after) = wait_until("the experiment", async || {
        let raw = search(&server, "semantic_search", json!({"query": QUERY}), "s1").await;
        let answer = raw.envelope();
        (!answer.experiments.is_empty()).then(|| (raw.header("x-run-id").to_owned(), answer))
    })
    .await;
    assert_eq!(after.findings, before.findings);
    assert_eq!((after.experiments[0].variant.as_str(), after.degraded.len(), after.warnings.len()), ("today", 0, 0));

    let shadows = wait_until("what the arms said", async || {
        let events = journal(&sandbox);
        let own: BTreeMap<String, Json> = events
            .into_iter()
            .filter(|event| event["query_id"] == run && event["action_name"] == "shadow")
            .map(|event| (event["event_attributes"]["variant"].as_str().unwrap_or_default().to_owned(), event["event_attributes"].clone()))
            .collect();
        (own.len() == 3).then_some(own)
    })
    .await;
    // The same index elsewhere answers the same.
    let same = &shadows["index"];
    assert_eq!((&same["status"], &same["overlap_at_10"], &same["rank_biased_overlap"]), (&json!("ok"), &json!(1.0), &json!(1.0)), "{same}");
    assert_eq!(same["findings"], json!(chunks(&after)));
    let words = &shadows["words"];
    let overlap = words["overlap_at_10"].as_f64().expect("a share");
    assert!(words["status"] == "ok" && (0.0..=1.0).contains(&overlap) && words["duration_us"].as_u64() > Some(0), "{words}");
    let gone = &shadows["gone"];
    assert!(gone["status"] == "error" && gone["warnings"][0].as_str().is_some_and(|text| text.contains("gone")), "{gone}");
    let ready: Json = reqwest::get(format!("{}/readyz", server.base)).await.expect("an answer").json().await.expect("JSON");
    assert!(ready.to_string().contains("can't be asked"), "{ready}");

    // Each is a run of its own, which says of which it is the shadow.
    let days = std::fs::read_dir(sandbox.data().join("telemetry/runs")).expect("ledgers");
    let ledgers: Vec<String> = days
        .flatten()
        .flat_map(|day| std::fs::read_dir(day.path()).into_iter().flatten().flatten())
        .map(|file| std::fs::read_to_string(file.path()).expect("lines"))
        .collect();
    let of_run = |line: &&String| line.contains("\"tool\":\"shadow\"") && line.contains(&format!("\"shadow_of\":\"{run}\""));
    assert_eq!(ledgers.iter().filter(of_run).count(), 2, "{run}");

    let scrape = reqwest::get(&server.metrics).await.expect("metrics").text().await.expect("text");
    assert!(scrape.contains("experiment_shadow_runs_total{experiment=\"shadow\",outcome=\"ok\""), "{scrape}");
    let report = sandbox.json(&["experiment", "report", "shadow", "--format", "json"]);
    let agreement =
        report["agreements"].as_array().expect("agreements").iter().find(|one| one["arm"] == "index").expect("the other index").clone();
    assert_eq!(agreement["overlap_at_10"].as_f64().or_else(|| agreement["overlap_at_10"]["mean"].as_f64()), Some(1.0), "{agreement}");
}

/// Shadow runs so far, by outcome.
async fn asked(server: &Server, outcome: &str) -> u64 {
    Scrape::of(server).await.count("experiment_shadow_runs_total", &[("experiment", "shadow"), ("outcome", outcome)])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_asked_of_the_shadow_is_left_out() {
    let repo = Repo::sample();
    let mut sandbox = Sandbox::indexed(&repo);
    let arms = "[[arms]]\nkey = \"today\"\n[[arms]]\nkey = \"a\"\nrm3 = false\n[[arms]]\nkey = \"b\"\nrm3 = false\n[shadow]\n";
    let with = |settings: &str| file("shadow", "reciprocal_rank", "", &format!("{arms}{settings}\n"));
    // Two arms and one turn.
    write(&sandbox, "shadow.toml", &with("concurrency_max = 1"));
    let server = Server::start(&sandbox);
    search(&server, "semantic_search", json!({"query": QUERY}), "s").await;
    wait_until("one of both", async || (asked(&server, "ok").await == 1 && asked(&server, "left_out").await == 1).then_some(())).await;
    drop(server);

    // No share of the runs.
    write(&sandbox, "shadow.toml", &with("share = 0.0"));
    let server = Server::start(&sandbox);
    for _ in 0..5 {
        let answer = search(&server, "semantic_search", json!({"query": QUERY}), "s").await.envelope();
        assert_eq!(answer.experiments.len(), 1);
    }
    assert_eq!((asked(&server, "ok").await, asked(&server, "left_out").await, asked(&server, "error").await), (0, 0, 0));
    drop(server);

    // Less time than a stage takes that nothing cuts short.
    sandbox.set_config("[faults]\n\"retrieval.recency_boost\" = \"delay 900 ms\"\n");
    write(&sandbox, "shadow.toml", &with("deadline_ms = 10"));
    let server = Server::start(&sandbox);
    let answer = search(&server, "semantic_search", json!({"query": QUERY}), "s").await.envelope();
    assert!(!answer.findings.is_empty(), "the answer has its own time");
    wait_until("both given up", async || (asked(&server, "error").await == 2).then_some(())).await;
    let told = journal(&sandbox).into_iter().rfind(|event| event["action_name"] == "shadow").expect("a shadow");
    assert!(told["event_attributes"]["warnings"].to_string().contains("no answer within 10 ms"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_a_models_vectors_is_asked_with_that_model() {
    let stand_in = StandIn::start(Encoding::AsAsked);
    let repo = Repo::sample();
    // The built-in embedding answers; the server is named for the other index alone.
    let sandbox = Sandbox::new().with_config(&stand_in.config().replace("kind = \"vllm\"", "kind = \"builtin\""));
    sandbox.index(&repo);
    let (other, config) = (sandbox.path("other"), sandbox.path("other.toml"));
    std::fs::write(&config, stand_in.config()).expect("a configuration");
    let index = ["--config", config.to_str().expect("text"), "index", "--data-dir", other.to_str().expect("text"), repo.text_path()];
    sandbox.run(&index).check(0, &[]);
    let arms = "[[arms]]\nkey = \"today\"\n[[arms]]\nkey = \"model\"\nindex = \"../other\"\nchannels = [\"dense\"]\n";
    write(&sandbox, "shadow.toml", &file("shadow", "reciprocal_rank", "", arms));
    let server = Server::start(&sandbox);
    let before = stand_in.requests();
    search(&server, "semantic_search", json!({"query": QUERY}), "s").await;
    let told = wait_until("the other index", async || journal(&sandbox).into_iter().find(|event| event["action_name"] == "shadow")).await;
    let attributes = &told["event_attributes"];
    assert!(attributes["status"] == "ok" && attributes["findings"].as_array().is_some_and(|findings| !findings.is_empty()), "{told}");
    assert_eq!(attributes["warnings"], Json::Null, "{told}");
    assert_eq!(stand_in.requests(), before + 1);
}
