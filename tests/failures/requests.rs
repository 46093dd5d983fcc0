//! Calls that ask for what can't be had: arguments that are wrong, things that aren't
//! there, repositories that are damaged or none.

use std::path::Path;

use serde_json::{Value as Json, json};

use super::{QUERY, Reports, Row, SEARCH, row};
use crate::support::Sandbox;
use crate::support::mcp::raw_call;
use crate::support::repo::Repo;
use crate::support::server::Server;

const SEARCH_PRO: &str = "tools/call semantic_search_pro";

const fn refused(name: &'static str, injected: &'static str, stage: &'static str, cause: &'static str, says: &'static str) -> Row {
    row(name, injected, [stage, cause, "failed"], says)
}

pub(super) const ROWS: &[Row] = &[
    refused("limit-zero", "`limit` is 0", SEARCH, "invalid_argument", "`limit` is 0; allowed: 1 to 100"),
    refused("query-of-wrong-type", "`query` is a number", SEARCH, "invalid_argument", "`query`"),
    refused("argument-unknown", "an argument that the tool has not", SEARCH, "invalid_argument", "`limt`"),
    refused("cursor-of-another-query", "the cursor of another query", SEARCH, "invalid_argument", "another query"),
    refused("plugin-unknown", "a plugin that is not loaded", SEARCH_PRO, "invalid_argument", "`fusion.plugin`"),
    refused("tool-unknown", "a tool there isn't", "tools/call made_up", "unknown_tool", "made_up"),
    refused("path-unknown", "a path that is not in the index", "file.open", "not_found", "src/nowhere.rs"),
    refused("path-outside", "a path that leads out of the roots", "file.open", "invalid_argument", "../etc/passwd"),
    refused("blame-path-unknown", "the blame of a path that is not in the index", "git.blame", "not_found", "src/nowhere.rs"),
    refused("blame-no-repository", "the blame of a file of no git repository", "git.blame", "git_no_work_tree", "plain.md"),
    refused("history-no-repository", "the history of a file of no git repository", "git.history", "git_no_work_tree", "plain.md"),
    refused("blame-untracked", "the blame of a file that was never committed", "git.blame", "git_untracked", "new.rs"),
    refused(
        "blame-object-missing",
        "the blame of a file with a commit whose object is gone",
        "git.blame",
        "git_object_missing",
        "git fsck",
    ),
    refused("history-object-missing", "the history of that file", "git.history", "git_object_missing", "git fsck"),
];

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_cannot_be_met_are_told() {
    let (repo, plain) = (Repo::sample(), tempfile::tempdir().expect("a folder"));
    std::fs::write(plain.path().join("plain.md"), "# Plain\n\nA file that no git knows.\n").expect("a file");
    let first = repo.git(&["rev-parse", "HEAD"]).trim().to_owned();
    repo.write("settings.toml", "[database]\nconnection_pool_size = 32\n");
    repo.commit("a larger pool");
    repo.write("new.rs", "pub fn brand_new() {}\n");
    let sandbox = Sandbox::new();
    sandbox.json(&["index", "--json", repo.text_path(), plain.path().to_str().expect("a path that is UTF-8")]);
    remove_object(repo.path(), &first);

    let server = Server::start(&sandbox);
    // With several roots, paths begin with the name of theirs.
    let of_repo = |path: &str| json!({"path": format!("sample/{path}")});
    let of_plain = json!({"path": format!("{}/plain.md", plain.path().file_name().expect("a name").to_string_lossy())});
    let mut reports = Reports::default();
    for (row, tool, arguments) in [
        ("limit-zero", "semantic_search", json!({"query": QUERY, "limit": 0})),
        ("query-of-wrong-type", "semantic_search", json!({"query": 7})),
        ("argument-unknown", "semantic_search", json!({"query": QUERY, "limt": 3})),
        ("cursor-of-another-query", "semantic_search", json!({"query": "haversine", "cursor": cursor(&server).await})),
        ("plugin-unknown", "semantic_search_pro", json!({"query": QUERY, "fusion": {"plugin": "nobody"}})),
        ("tool-unknown", "made_up", json!({})),
        ("path-unknown", "open_file", of_repo("src/nowhere.rs")),
        ("path-outside", "open_file", json!({"path": "../etc/passwd"})),
        ("blame-path-unknown", "git_blame", of_repo("src/nowhere.rs")),
        ("blame-no-repository", "git_blame", of_plain.clone()),
        ("history-no-repository", "git_history", of_plain),
        ("blame-untracked", "git_blame", of_repo("new.rs")),
        ("blame-object-missing", "git_blame", of_repo("settings.toml")),
        ("history-object-missing", "git_history", of_repo("settings.toml")),
    ] {
        reports.ask(&server, row, tool, arguments).await;
    }
    reports.check(ROWS);
}

/// Where the second finding of the query can be had.
async fn cursor(server: &Server) -> Json {
    let raw = raw_call(server, "semantic_search", json!({"query": QUERY, "limit": 1}), &[], json!({})).await;
    json!(raw.envelope().next_cursor.expect("more than one finding"))
}

/// Takes a loose object out of a repository.
fn remove_object(repo: &Path, id: &str) {
    let path = repo.join(".git/objects").join(&id[..2]).join(&id[2..]);
    std::fs::remove_file(&path).expect("a loose object");
}
