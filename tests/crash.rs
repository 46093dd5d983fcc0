//! `kill -9` at any moment of indexing, and two indexers at once.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::mcp::Client;
use crate::support::repo::Repo;
use crate::support::server::Server;
use crate::support::{Sandbox, wait_for, wait_until};

/// Files enough that every phase of indexing takes a while.
const FILES: usize = 1_500;

/// What the indexer is doing when it is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// This stands on its standard error.
    Said(&'static str),
    /// A file below the generation that is being built is there.
    Exists(&'static str),
    /// After this share of the time that a whole build takes.
    Share(f64),
}

const MOMENTS: &[Moment] = &[
    Moment::Said("Looking for files"),
    Moment::Said("Reading and chunking"),
    Moment::Said("Asking git"),
    Moment::Said("Writing the catalog"),
    Moment::Said("Indexing words"),
    Moment::Said("Training"),
    Moment::Said("Embedding"),
    Moment::Said("Publishing"),
    Moment::Exists(""),
    Moment::Exists("catalog.duckdb"),
    Moment::Exists("text"),
    Moment::Exists("text/meta.json"),
    Moment::Exists("dense/lsa.bin"),
    Moment::Exists("dense/index.faiss"),
    Moment::Exists("dense/chunk_ids.bin"),
    Moment::Exists("manifest.json"),
    Moment::Share(0.05),
    Moment::Share(0.2),
    Moment::Share(0.4),
    Moment::Share(0.6),
    Moment::Share(0.8),
    Moment::Share(0.95),
];

/// Of an update, which is over much sooner.
const MOMENTS_OF_UPDATE: &[Moment] = &[
    Moment::Said("Reading and chunking"),
    Moment::Said("Asking git"),
    Moment::Said("Writing the catalog"),
    Moment::Said("Indexing words"),
    Moment::Said("Embedding"),
    Moment::Said("Publishing"),
    Moment::Exists(""),
    Moment::Exists("base/catalog.duckdb"),
    Moment::Exists("catalog.duckdb"),
    Moment::Exists("text/meta.json"),
    Moment::Exists("text/.tantivy-writer.lock"),
    Moment::Exists("files/meta.json"),
    Moment::Exists("standings.bin"),
    Moment::Exists("dense/index.faiss"),
    Moment::Exists("dense/secondary_ids.bin"),
    Moment::Exists("dense/secondary.bin"),
    Moment::Exists("manifest.json"),
];

fn large_repo() -> Repo {
    let repo = Repo::sample();
    for number in 0..FILES {
        let words = ["queue", "socket", "parser", "buffer", "ledger", "widget", "matrix"];
        let (a, b) = (words[number % words.len()], words[(number / 7) % words.len()]);
        let text = format!(
            "def {a}_{b}_{number}(value):\n    \"\"\"Moves the {a} of {b} number {number}.\"\"\"\n    return value + {number}\n\n\nclass {}{number}:\n    def close(self):\n        return \"{b}\"\n",
            a.to_uppercase()
        );
        repo.write(&format!("many/{}/module_{number}.py", number % 20), &text);
    }
    repo.commit("many files");
    repo
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_build_leaves_the_old_generation_serving() {
    let killed = kill_at_all(MOMENTS, "[index]\nupdate_percent_max = 0\n").await;
    assert!(killed * 2 > MOMENTS.len(), "only {killed} of {} builds were killed before they were done", MOMENTS.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_update_leaves_the_old_generation_serving() {
    let killed = kill_at_all(MOMENTS_OF_UPDATE, "[index]\nupdate_chunks_min = 0\nupdate_percent_max = 50\n").await;
    assert!(killed * 3 > MOMENTS_OF_UPDATE.len(), "only {killed} of {} updates were killed", MOMENTS_OF_UPDATE.len());
}

/// Builds on and on, killed at each of the moments; how many were.
async fn kill_at_all(moments: &[Moment], config: &str) -> usize {
    let repo = large_repo();
    let sandbox = Sandbox::new().with_config(config);
    let started = Instant::now();
    let mut generation = sandbox.index(&repo)["generation"].as_str().expect("a name").to_owned();
    let whole = started.elapsed();
    let server = Server::start(&sandbox);
    let client = Client::connect(&server).await;
    let mut killed = 0;
    for (round, moment) in moments.iter().enumerate() {
        let marker = format!("marker_of_round_{round}");
        repo.write("src/marker.rs", &format!("pub fn {marker}() {{}}\n"));
        let status = kill_at(&sandbox, &repo, *moment, whole);
        killed += usize::from(status.code().is_none());

        // What serves is whole: the old generation, or the new one when it was done.
        let answer = client.search(json!({"query": "token bucket", "paths": ["src/**"]})).await;
        assert_eq!((answer.findings[0].path.as_str(), answer.degraded.len()), ("src/token_bucket.rs", 0), "{moment:?}");
        sandbox.run(&["search", "LruCache", "--json"]).check(0, &["app/LruCache.java"]);
        let now = sandbox.json(&["status", "--json"])["generation"].as_str().expect("a name").to_owned();
        assert!(now == generation || marker_found(&sandbox, &marker), "{moment:?}: {now}");

        // And the next build works, on what the old one knew.
        let report = sandbox.index(&repo);
        assert!(report["files"]["read"].as_u64().is_some_and(|read| read <= 1), "{moment:?}: {report}");
        assert!(marker_found(&sandbox, &marker), "{moment:?}");
        generation = report["generation"].as_str().expect("a name").to_owned();
        let partial = std::fs::read_dir(sandbox.data().join("generations")).expect("a folder").flatten();
        let names: Vec<String> = partial.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        assert!(names.len() <= 2 && names.iter().all(|name| name.starts_with('g')), "{moment:?}: {names:?}");
    }
    wait_until("the last generation", async || (client.search(json!({"query": "x"})).await.index.generation == generation).then_some(()))
        .await;
    assert!(client.search(json!({"query": "token bucket"})).await.degraded.is_empty());
    sandbox.run(&["doctor"]).check(0, &["with the right SHA-256"]);
    killed
}

#[test]
fn a_first_build_that_is_killed_leaves_nothing_in_the_way() {
    let repo = Repo::sample();
    for moment in [Moment::Exists(""), Moment::Exists("catalog.duckdb"), Moment::Exists("dense/lsa.bin")] {
        let sandbox = Sandbox::new();
        let status = kill_at(&sandbox, &repo, moment, Duration::ZERO);
        if status.code().is_none() && !sandbox.data().join("CURRENT").exists() {
            sandbox.run(&["status"]).check(3, &["there is no index"]);
            sandbox.run(&["search", "x"]).check(3, &["spanloom index"]);
        }
        sandbox.index(&repo);
        sandbox.run(&["search", "LruCache"]).check(0, &["app/LruCache.java"]);
    }
}

#[test]
fn only_one_builds_at_a_time() {
    let repo = large_repo();
    let sandbox = Sandbox::new();
    let mut first = sandbox.command(&["index", "--json", repo.text_path()]).spawn().expect("the binary starts");
    // Something of the first build is there, so it has the lock.
    wait_for("the first build", || {
        let ended = first.try_wait().expect("a child of ours");
        assert!(ended.is_none(), "the first build was over too soon: {ended:?}");
        partial_folder(&sandbox)
    });
    sandbox.run(&["index", repo.text_path()]).check(1, &["another process is building an index", "--data-dir"]);
    let output = first.wait_with_output().expect("a child of ours");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(sandbox.index(&repo)["built"], false);
}

fn marker_found(sandbox: &Sandbox, marker: &str) -> bool {
    sandbox.run(&["search", marker, "--json", "--limit", "1"]).out.contains(&format!("fn {marker}"))
}

/// Starts the indexer and kills it at the moment, or lets it end when it comes first.
fn kill_at(sandbox: &Sandbox, repo: &Repo, moment: Moment, whole: Duration) -> ExitStatus {
    let mut indexer = sandbox.command(&["index", repo.text_path()]).spawn().expect("the binary starts");
    match moment {
        Moment::Said(words) => {
            let lines = BufReader::new(indexer.stderr.take().expect("its standard error")).lines();
            // Ends with the process, if it never says so.
            let _ = lines.map_while(Result::ok).find(|line| line.contains(words));
        }
        Moment::Exists(file) => wait_for("a partial file", || {
            let there = partial_folder(sandbox).is_some_and(|folder| folder.join(file).exists());
            (there || over(&mut indexer)).then_some(())
        }),
        Moment::Share(share) => {
            let until = Instant::now() + whole.mul_f64(share);
            wait_for("the time", || (Instant::now() >= until || over(&mut indexer)).then_some(()));
        }
    }
    // It may have ended.
    let _ = indexer.kill();
    let output = indexer.wait_with_output().expect("a child of ours");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{moment:?}");
    output.status
}

fn over(child: &mut Child) -> bool {
    child.try_wait().expect("a child of ours").is_some()
}

/// The folder of a build that isn't finished.
fn partial_folder(sandbox: &Sandbox) -> Option<std::path::PathBuf> {
    let entries = std::fs::read_dir(sandbox.data().join("generations")).ok()?;
    entries.flatten().map(|entry| entry.path()).find(|path| is_partial(path))
}

fn is_partial(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".partial-"))
}
