//! From a repository to ranked code, and everything around it that has to work.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};
use spanloom::envelope::AnswerEnvelope;
use spanloom::types::{ChannelName, ChunkId};

use crate::support::mcp::{Client, raw_call};
use crate::support::repo::{FILES, Repo};
use crate::support::server::Server;
use crate::support::{Sandbox, wait_until};

/// Chunk ids by path, out of as many pages as there are.
async fn chunks_by_path(client: &Client, query: &str) -> BTreeMap<String, BTreeSet<ChunkId>> {
    let mut chunks: BTreeMap<String, BTreeSet<ChunkId>> = BTreeMap::new();
    for finding in
        client.search(json!({"query": query, "limit": 100, "depths": {"bm25": 1000, "dense": 1000, "files": 1000}})).await.findings
    {
        chunks.entry(finding.path).or_default().insert(finding.chunk_id);
    }
    chunks
}

/// The answer without what may differ between two runs of the same.
fn timeless(mut answer: AnswerEnvelope) -> Json {
    answer.index.age_s = 0;
    answer.observability.run_id.clear();
    answer.observability.trace_id.clear();
    json!(answer)
}

#[test]
fn everything_is_indexed_or_counted() {
    let repo = Repo::sample();
    let sandbox = Sandbox::new();
    let report = sandbox.index(&repo);
    assert_eq!(report["built"], true);
    assert_eq!(report["generation"], "g000001");
    // And `.gitignore` itself.
    let files = FILES.len() as u64 + 1;
    assert_eq!(report["files"]["indexed"], files, "{report}");
    assert_eq!(report["files"]["read"], files);
    assert_eq!(report["files"]["unchanged"], 0);
    assert_eq!(report["files"]["fallbacks"], 0);
    // `.gitignore` holds no word that stands anywhere else.
    assert_eq!(report["warnings"], json!(["1 chunks hold no term that the embedding knows and have no vector"]));
    assert_eq!(report["chunks"].as_u64(), report["chunks_embedded"].as_u64().map(|embedded| embedded + 1));

    let status = sandbox.json(&["status", "--json"]);
    let skipped: BTreeMap<&str, u64> = status["skipped"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| (entry["reason"].as_str().expect("a reason"), entry["count"].as_u64().expect("a count")))
        .collect();
    let expect = [("binary", 2), ("broken_symlink", 1), ("not_utf8", 1), ("outside_root", 1), ("too_large", 1)];
    assert_eq!(skipped, BTreeMap::from(expect));
    assert_eq!(report["files"]["skipped"], 6);
    let commit = repo.git(&["rev-parse", "HEAD"]);
    assert_eq!(status["roots"][0]["commit"], commit.trim());
    assert_eq!(status["roots"][0]["moved"], false);
    assert_eq!(status["roots"][0]["dirty"], false);
    assert_eq!(status["generation"], "g000001");
    assert_eq!(std::fs::read_to_string(sandbox.data().join(".gitignore")).expect("it ignores itself"), "*\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_changed_is_read_again() {
    let repo = Repo::sample();
    let sandbox = Sandbox::indexed(&repo);
    let files = FILES.len() as u64 + 1;

    let again = sandbox.index(&repo);
    assert_eq!((&again["built"], &again["generation"], &again["files"]["read"]), (&json!(false), &json!("g000001"), &json!(0)));
    sandbox.run(&["index", repo.text_path()]).check(0, &["Nothing has changed"]);

    let server = Server::start(&sandbox);
    let client = Client::connect(&server).await;
    let words = "token bucket retry router matrix cache checksum distance deployment database debounce";
    let before = chunks_by_path(&client, words).await;

    repo.write("src/token_bucket.rs", &format!("{}\n/// Gives tokens back.\npub fn hand_back() {{}}\n", FILES[0].1));
    repo.commit("hand tokens back");
    let report = sandbox.index(&repo);
    assert_eq!((&report["files"]["read"], &report["files"]["unchanged"]), (&json!(1), &json!(files - 1)), "{report}");
    assert_eq!((&report["built"], &report["generation"]), (&json!(true), &json!("g000002")));

    wait_until("the new generation", async || {
        let answer = client.search(json!({"query": "hand back"})).await;
        (answer.index.generation == "g000002").then_some(())
    })
    .await;
    let answer = client.search(json!({"query": "hand_back"})).await;
    assert!(answer.findings[0].text.contains("pub fn hand_back"), "{:?}", answer.findings[0]);
    let after = chunks_by_path(&client, words).await;
    for (path, chunks) in &before {
        if path != "src/token_bucket.rs" {
            assert_eq!(after.get(path), Some(chunks), "{path}");
        }
    }
    assert!(before.len() > 8, "{before:?}");

    // A file that is gone is found no more; what is only renamed is found there.
    std::fs::rename(repo.path().join("server/retry.go"), repo.path().join("server/again.go")).expect("renamed");
    repo.commit("rename");
    sandbox.index(&repo);
    wait_until("the third generation", async || {
        let answer = client.search(json!({"query": "RetryWithBackoff"})).await;
        (answer.findings[0].path == "server/again.go").then_some(())
    })
    .await;
    assert!(!chunks_by_path(&client, words).await.contains_key("server/retry.go"));
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_find_their_file() {
    let repo = Repo::sample();
    let sandbox = Sandbox::indexed(&repo);
    let server = Server::start(&sandbox);
    let client = Client::connect(&server).await;
    let tools = [
        "semantic_search",
        "semantic_search_pro",
        "open_file",
        "git_blame",
        "git_history",
        "run_report",
        "report_feedback",
        "experiment_report",
    ];
    assert_eq!(client.tools().await, tools);

    for (query, path, symbol) in [
        ("token bucket that limits the rate of requests", "src/token_bucket.rs", None),
        ("try_acquire", "src/token_bucket.rs", Some("TokenBucket")),
        ("fletcher16", "src/checksum.rs", Some("fletcher16")),
        ("great circle distance between two points", "geo/haversine.py", None),
        ("GeoFence contains", "geo/haversine.py", None),
        ("delay a callback until events stop", "web/debounce.js", None),
        ("PageRouter navigate", "web/router.ts", None),
        ("exponential backoff with jitter", "server/retry.go", None),
        ("LruCache", "app/LruCache.java", None),
        ("cyclic redundancy check ethernet polynomial", "lib/crc32.c", None),
        ("gaussian elimination determinant", "lib/matrix.cpp", None),
        ("how to roll back a release", "docs/deploy.md", None),
        ("connection_pool_size", "settings.toml", None),
        ("nightly smoke job", ".github/workflows/ci.yml", None),
    ] {
        let result = client.call("semantic_search", json!({"query": query, "limit": 3})).await.expect("an answer");
        let text: String = result.content.iter().filter_map(|content| content.as_text().map(|text| text.text.clone())).collect();
        let answer: AnswerEnvelope = serde_json::from_value(result.structured_content.expect("an envelope")).expect("an envelope");
        let best = answer.findings.first().unwrap_or_else(|| panic!("nothing for {query}"));
        assert_eq!(best.path, path, "{query}");
        assert!(text.contains(path), "the text names {path}: {text}");
        if let Some(symbol) = symbol {
            assert_eq!(best.symbol.as_deref(), Some(symbol), "{query}");
        }
        assert_eq!(answer.degraded, []);
        assert!(answer.warnings.is_empty(), "{:?}", answer.warnings);
        assert!(answer.confidence > 0.0 && answer.confidence <= 1.0);
        assert!(answer.findings.len() <= 3);
        for (at, finding) in answer.findings.iter().enumerate() {
            assert_eq!(finding.rank as usize, at + 1);
            assert!(1 <= finding.start_line && finding.start_line <= finding.end_line);
            assert!(finding.score.is_finite());
            assert!(!finding.contributions.is_empty());
            let shares: f32 = finding.contributions.iter().map(|part| part.share).sum();
            assert!((shares - 1.0).abs() < 1e-3, "{query}: shares add up to {shares}");
            let on_disk = std::fs::read_to_string(repo.path().join(&finding.path)).expect("an indexed file");
            let lines: Vec<&str> = on_disk.lines().collect();
            let claimed = lines[finding.start_line as usize - 1..finding.end_line as usize].join("\n");
            assert_eq!(finding.text.trim_end(), claimed.trim_end(), "{}:{}-{}", finding.path, finding.start_line, finding.end_line);
            assert_eq!(finding.commit, answer.index.commit, "one commit made them all");
        }
    }
    // Nothing that is ignored, skipped or outside is ever found.
    let everywhere = client.search(json!({"query": "token bucket open sesame", "limit": 100})).await;
    let paths: BTreeSet<&str> = everywhere.findings.iter().map(|finding| finding.path.as_str()).collect();
    let known: BTreeSet<&str> = FILES.iter().map(|file| file.0).chain([".gitignore"]).collect();
    assert!(paths.is_subset(&known), "{paths:?}");
    assert_eq!(everywhere.index.coverage.files_skipped, 6);
    drop(client);
    assert_eq!(server.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stage_can_be_adjusted() {
    let repo = Repo::sample();
    let sandbox = Sandbox::indexed(&repo);
    let server = Server::start(&sandbox);
    let client = Client::connect(&server).await;
    // Words that stand in more than one chunk: the trained embedding knows no others.
    let query = "capacity of the token bucket release";
    let plain = client.search(json!({"query": query})).await;

    for channel in ChannelName::ALL {
        let answer = client.search(json!({"query": query, "channels": [channel]})).await;
        assert!(!answer.findings.is_empty());
        assert!(answer.findings.iter().all(|finding| finding.contributions.iter().all(|part| part.channel == channel)));
    }
    let shallow = client.search(json!({"query": query, "depths": {"bm25": 1, "dense": 1, "files": 1}})).await;
    assert!((1..=3).contains(&shallow.findings.len()), "{}", shallow.findings.len());
    let weighted = client.search(json!({"query": query, "weights": {"dense": 0}, "rerank_enabled": false})).await;
    assert!(
        weighted
            .findings
            .iter()
            .all(|finding| finding.contributions.iter().all(|part| part.channel != ChannelName::Dense || part.share == 0.0))
    );

    let unreranked = client.search(json!({"query": query, "rerank_enabled": false, "explain": true})).await;
    assert!(unreranked.findings.iter().all(|finding| finding.explanation.as_ref().is_some_and(|why| why.rerank_score.is_none())));
    let explained = client.search(json!({"query": query, "explain": true})).await;
    let why = explained.explanation.as_ref().expect("asked for");
    assert_eq!(why.query.documents, explained.index.coverage.chunks);
    assert!(!why.gate.reasons.is_empty(), "{why}");
    assert!(explained.findings[0].explanation.as_ref().is_some_and(|why| why.rerank_score.is_some() && why.fused_rank > 0));
    assert!(plain.explanation.is_none() && plain.findings[0].explanation.is_none());

    let with_k = |k: u32| json!({"query": query, "rerank_enabled": false, "fusion": {"plugin": "fusion-rrf", "parameters": {"k": k}}});
    let (steep, flat) = (client.search(with_k(1)).await, client.search(with_k(1000)).await);
    assert!(
        steep.findings[0].score > 10.0 * flat.findings[0].score,
        "k changes scores: {} and {}",
        steep.findings[0].score,
        flat.findings[0].score
    );

    for (filter, admits) in [
        (json!({"languages": ["python"]}), "geo/"),
        (json!({"languages": ["GO"]}), "server/"),
        (json!({"paths": ["docs/**"]}), "docs/"),
        (json!({"paths": ["lib"]}), "lib/"),
        (json!({"paths": ["./app/"]}), "app/"),
        (json!({"paths": ["web/*.ts"], "languages": ["typescript", "rust"]}), "web/router.ts"),
    ] {
        let mut arguments = filter.clone();
        arguments["query"] = json!("data");
        arguments["channels"] = json!(["bm25", "dense"]);
        let mut answer = client.search(arguments.clone()).await;
        if answer.findings.is_empty() {
            arguments["query"] = json!("retry distance release crc route capacity");
            answer = client.search(arguments).await;
        }
        assert!(!answer.findings.is_empty(), "{filter}");
        assert!(answer.findings.iter().all(|finding| finding.path.starts_with(admits)), "{filter}: {:?}", answer.answer);
    }
    let none = client.search(json!({"query": query, "paths": ["no/such/**"]})).await;
    assert!(none.findings.is_empty() && none.next_cursor.is_none() && none.confidence == 0.0);

    assert!(client.refused("semantic_search_pro", json!({"query": query, "fusion": {"plugin": "magic"}})).await.contains("fusion-rrf"));
    let refused = client.refused("semantic_search_pro", json!({"query": query, "fusion": {"parameters": {"k": -1}}})).await;
    assert!(refused.contains('k') && refused.contains("fusion-rrf"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_cut_from_one_ranking() {
    let repo = Repo::sample();
    for number in 0..60 {
        repo.write(
            &format!("many/worker_{number}.py"),
            &format!("def worker_{number}(queue):\n    \"\"\"Takes job {number} from the queue.\"\"\"\n    return queue.pop({number})\n"),
        );
    }
    let sandbox = Sandbox::indexed(&repo);
    let server = Server::start(&sandbox);
    let client = Client::connect(&server).await;
    for limit in [7, 10, 25] {
        let mut paged = Vec::new();
        let mut ranks = Vec::new();
        let mut arguments = json!({"query": "job queue worker", "limit": limit});
        loop {
            let page = client.search(arguments.clone()).await;
            assert!(page.findings.len() <= limit);
            ranks.extend(page.findings.iter().map(|finding| finding.rank));
            paged.extend(page.findings.iter().map(|finding| finding.chunk_id));
            let Some(cursor) = page.next_cursor else { break };
            assert_eq!(page.findings.len(), limit, "only the last page is short");
            assert!(paged.len() < 1_000, "pages end");
            arguments["cursor"] = json!(cursor);
        }
        assert_eq!(ranks, (1..=paged.len() as u32).collect::<Vec<_>>());
        assert_eq!(paged.iter().collect::<BTreeSet<_>>().len(), paged.len(), "no repetition");
        let whole = client.search(json!({"query": "job queue worker", "limit": 100})).await;
        let whole_ids: Vec<ChunkId> = whole.findings.iter().map(|finding| finding.chunk_id).collect();
        let common = whole_ids.len().min(paged.len());
        assert!(common >= 60, "{common}");
        let (a, b): (BTreeSet<_>, BTreeSet<_>) = (paged.iter().collect(), whole_ids.iter().collect());
        assert_eq!(a, b, "no gap with pages of {limit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_open_around_a_finding() {
    let repo = Repo::sample();
    let sandbox = Sandbox::indexed(&repo);
    let server = Server::start(&sandbox);
    let client = Client::connect(&server).await;
    let open = async |arguments: Json| {
        let result = client.call("open_file", arguments).await.expect("an answer");
        assert_ne!(result.is_error, Some(true), "{:?}", result.content);
        result.structured_content.expect("a slice")
    };
    let slice = open(json!({"path": "geo/haversine.py", "start_line": 3, "end_line": 5})).await;
    assert_eq!(slice["text"], "from math import asin, cos, radians, sin, sqrt\n\nEARTH_RADIUS_KM = 6371.0\n");
    assert_eq!((&slice["start_line"], &slice["end_line"], &slice["language"]), (&json!(3), &json!(5), &json!("python")));
    assert_eq!(slice["changed_since_indexed"], false);
    let whole = open(json!({"path": "geo/haversine.py"})).await;
    assert_eq!(whole["text"], std::fs::read_to_string(repo.path().join("geo/haversine.py")).expect("a file"));
    assert_eq!(whole["end_line"], whole["total_lines"]);
    repo.write("geo/haversine.py", "pass\n");
    let changed = open(json!({"path": "geo/haversine.py"})).await;
    assert_eq!((&changed["text"], &changed["changed_since_indexed"]), (&json!("pass\n"), &json!(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_roots_are_one_index() {
    let (first, second) = (Repo::sample(), Repo::empty("tools"));
    second.write("src/token_bucket.rs", "/// A leaky bucket.\npub struct LeakyBucket;\n");
    second.write("plain/notes.md", "# Notes\n\nA leaky bucket drips.\n");
    second.commit("leaky");
    let sandbox = Sandbox::new();
    let report = sandbox.json(&["index", "--json", first.text_path(), second.text_path()]);
    assert_eq!(report["files"]["indexed"], FILES.len() as u64 + 3);
    let server = Server::start(&sandbox);
    let client = Client::connect(&server).await;
    let answer = client.search(json!({"query": "LeakyBucket"})).await;
    assert_eq!(answer.findings[0].path, "tools/src/token_bucket.rs");
    let answer = client.search(json!({"query": "TokenBucket", "paths": ["sample/src/**"]})).await;
    assert!(answer.findings.iter().all(|finding| finding.path.starts_with("sample/src/")) && !answer.findings.is_empty());
    let opened = client.call("open_file", json!({"path": "tools/plain/notes.md"})).await.expect("an answer");
    assert_eq!(opened.structured_content.expect("a slice")["total_lines"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_question_has_the_same_answer() {
    let repo = Repo::sample();
    let sandbox = Sandbox::indexed(&repo);
    let server = Server::start(&sandbox);
    let client = Client::connect(&server).await;
    for query in ["rate limit", "haversine_distance", "how does the service get to production", "capacity"] {
        let arguments = json!({"query": query, "explain": true, "limit": 50});
        let first = client.search(arguments.clone()).await;
        for _ in 0..3 {
            assert_eq!(timeless(client.search(arguments.clone()).await), timeless(first.clone()), "{query}");
        }
        let bare = raw_call(&server, "semantic_search_pro", arguments.clone(), &[], json!({})).await;
        assert_eq!(timeless(bare.envelope()), timeless(first.clone()), "{query}, another client");
    }
    // Another index of the same commit, and the command line.
    let other = Sandbox::indexed(&repo);
    let ended = other.run(&["search", "rate limit", "--json", "--explain", "--limit", "50"]);
    ended.check(0, &[]);
    let from_cli: AnswerEnvelope = serde_json::from_str(&ended.out).expect("an envelope");
    let from_server = client.search(json!({"query": "rate limit", "explain": true, "limit": 50})).await;
    assert_eq!(timeless(from_cli), timeless(from_server));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_go_on_while_generations_change() {
    let repo = Repo::sample();
    let sandbox = Sandbox::indexed(&repo);
    let server = Server::start(&sandbox);
    let asker = {
        let client = Client::connect(&server).await;
        let stop = tokio_util::sync::CancellationToken::new();
        let token = stop.clone();
        let asking = tokio::spawn(async move {
            let mut seen = Vec::new();
            loop {
                // The last call begins after the last generation came.
                let last = token.is_cancelled();
                let answer = client.search(json!({"query": "token bucket"})).await;
                assert_eq!(answer.degraded, []);
                assert_eq!(answer.findings[0].path, "src/token_bucket.rs");
                if seen.last() != Some(&answer.index.generation) {
                    seen.push(answer.index.generation);
                }
                if last {
                    break seen;
                }
            }
        });
        (stop, asking)
    };
    let client = Client::connect(&server).await;
    for round in 2..=4 {
        repo.write("src/extra.rs", &format!("pub fn extra_{round}() {{}}\n"));
        sandbox.index(&repo);
        let generation = format!("g{round:06}");
        wait_until("the new generation", async || {
            (client.search(json!({"query": "extra"})).await.index.generation == generation).then_some(())
        })
        .await;
    }
    asker.0.cancel();
    assert_eq!(asker.1.await.expect("every call was answered"), ["g000001", "g000002", "g000003", "g000004"]);
}

#[test]
fn the_command_line_says_what_it_does() {
    let repo = Repo::sample();
    let sandbox = Sandbox::indexed(&repo);
    let ended = sandbox.run(&["search", "haversine_distance", "--limit", "1", "--trace"]);
    ended.check(0, &["geo/haversine.py", "haversine_distance", "bm25#1", "retrieval.fuse", "fusion.rrf", "ledger: "]);
    sandbox.run(&["status"]).check(0, &["generation  g000001", "6 skipped", "FAISS"]);
    sandbox.run(&["plugin", "list"]).check(0, &["gate-heuristic", "fusion-rrf", "rerank-code", "(active)"]);
    let plugins = sandbox.json(&["plugin", "list", "--json"]);
    assert!(
        plugins.as_array().is_some_and(|list| list.len() == 3 && list.iter().all(|plugin| plugin["parameters"]["properties"].is_object()))
    );
    sandbox.run(&["config", "show"]).check(0, &["server.bind = \"127.0.0.1:8000\"  # default", "# flag --data-dir"]);
    let doctor = sandbox.json(&["doctor", "--json"]);
    for part in ["FAISS", "index", "plugin", "search", "embedding", "telemetry", "traces", "metrics", "logs"] {
        let found = doctor.as_array().expect("a list").iter().find(|finding| finding["part"] == part);
        assert!(found.is_some_and(|finding| finding["state"] != "broken"), "{part} in {doctor}");
    }
    repo.write("new.rs", "fn new() {}\n");
    repo.commit("one more");
    sandbox.run(&["status"]).check(0, &["HEAD has moved since"]);
}

#[test]
fn a_batch_answers_line_by_line() {
    let repo = Repo::sample();
    let sandbox = Sandbox::indexed(&repo);
    std::fs::write(sandbox.path("q.jsonl"), "{\"id\": 1, \"text\": \"LruCache\"}\n\n{\"id\": \"b\", \"text\": \"crc32\"}\n")
        .expect("a file");
    let ended = sandbox.run(&["search", "--batch", "q.jsonl", "--limit", "2"]);
    ended.check(0, &[]);
    let lines: Vec<Json> = ended.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.iter().map(|line| line["query_id"].clone()).collect::<Vec<_>>(), [json!(1), json!("b")]);
    assert_eq!(lines[0]["envelope"]["findings"][0]["path"], "app/LruCache.java");
    assert_eq!(lines[1]["envelope"]["findings"][0]["path"], "lib/crc32.c");

    std::fs::write(sandbox.path("q.jsonl"), "{\"id\": 1, \"text\": \"LruCache\"}\nnonsense\n{\"id\": 3, \"text\": \" \"}\n")
        .expect("a file");
    let ended = sandbox.run(&["search", "--batch", "q.jsonl"]);
    ended.check(4, &["2 lines have no answer", "line 2", "`query` is empty"]);
    assert_eq!(ended.out.lines().count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_asks_a_server() {
    let repo = Repo::sample();
    let sandbox = Sandbox::indexed(&repo);
    let server = Server::start(&sandbox);
    sandbox
        .run(&["search", "LruCache", "--url", &server.mcp(), "--trace"])
        .check(0, &["app/LruCache.java", "tools/call semantic_search_pro"]);
    sandbox.run(&["search", "LruCache", "--url", "http://127.0.0.1:9/mcp"]).check(1, &["no MCP server answered"]);
    sandbox.run(&["search", "LruCache", "--url", &server.mcp(), "--limit", "0"]).check(1, &["`limit` is 0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_can_be_left_out() {
    let repo = Repo::sample();
    let sandbox = Sandbox::new().with_config("[embedding]\nkind = \"off\"\n");
    let report = sandbox.index(&repo);
    assert_eq!(report["chunks_embedded"], 0);
    let server = Server::start(&sandbox);
    let client = Client::connect(&server).await;
    let answer = client.search(json!({"query": "LruCache"})).await;
    assert_eq!((answer.findings[0].path.as_str(), answer.degraded.len(), answer.warnings.len()), ("app/LruCache.java", 0, 0));
    let answer = client.search(json!({"query": "LruCache", "channels": ["dense", "bm25"]})).await;
    assert_eq!(answer.degraded.iter().map(|part| part.part.as_str()).collect::<Vec<_>>(), ["dense"]);
    assert!(!answer.findings.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_an_index_waits_for_one() {
    let repo = Repo::sample();
    let sandbox = Sandbox::new();
    let server = Server::start(&sandbox);
    let status = async || reqwest::get(format!("{}/readyz", server.base)).await.expect("a response").status().as_u16();
    assert_eq!(status().await, 503);
    assert_eq!(reqwest::get(format!("{}/healthz", server.base)).await.expect("a response").status(), 200);
    let client = Client::connect(&server).await;
    assert!(client.refused("semantic_search", json!({"query": "x"})).await.contains("spanloom index"));
    sandbox.index(&repo);
    wait_until("the index", async || (status().await == 200).then_some(())).await;
    assert_eq!(client.search(json!({"query": "LruCache"})).await.findings[0].path, "app/LruCache.java");
}
