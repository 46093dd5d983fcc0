//! The index is missing, damaged before the server starts or under it; its engines fail
//! or are late.

use std::fs::OpenOptions;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use serde_json::json;

use super::{Reports, Row, SEARCH, copy_of, query, row};
use crate::support::Sandbox;
use crate::support::repo::Repo;
use crate::support::server::Server;

/// There is nothing to search with.
const fn unusable(name: &'static str, injected: &'static str, says: &'static str) -> Row {
    row(name, injected, [SEARCH, "unavailable", "failed"], says)
}

const fn channel(name: &'static str, injected: &'static str, stage: &'static str, cause: &'static str, says: &'static str) -> Row {
    row(name, injected, [stage, cause, "degraded"], says)
}

pub(super) const ROWS: &[Row] = &[
    unusable("index-missing", "nothing was ever indexed", "spanloom index"),
    unusable("faiss-gone", "`dense/index.faiss` is gone when the server starts", "index.faiss"),
    unusable("faiss-cut", "`dense/index.faiss` is half as long as it was when the server starts", "index.faiss"),
    unusable("faiss-overwritten", "`dense/index.faiss` has other bytes when the server starts", "index.faiss"),
    unusable("catalog-gone", "`catalog.duckdb` is gone when the server starts", "catalog.duckdb"),
    unusable("generation-gone", "`CURRENT` names a generation that is not there", "g000001"),
    row("duckdb-damaged", "`catalog.duckdb` is overwritten under the server", ["duckdb.hydrate", "engine", "degraded"], "DuckDB"),
    row("duckdb-error", "`faults` makes DuckDB fail", ["duckdb.hydrate", "engine", "degraded"], "duckdb.hydrate"),
    channel("bm25-late", "the text index is not done by `search.channel_deadline_ms`", "bm25.search", "deadline", "within 150 ms"),
    channel("faiss-late", "FAISS is not done by `search.channel_deadline_ms`", "faiss.search", "deadline", "within 150 ms"),
    channel(
        "files-late",
        "the index of whole files is not done by `search.channel_deadline_ms`",
        "files.search",
        "deadline",
        "within 150 ms",
    ),
    channel("bm25-error", "the text index fails", "bm25.search", "engine", "bm25.search"),
    channel("faiss-error", "FAISS fails", "faiss.search", "engine", "faiss.search"),
    channel("files-error", "the index of whole files fails", "files.search", "engine", "files.search"),
    channel("rm3-error", "the query can't be widened", "bm25.rm3", "engine", "bm25.rm3"),
    row("profile-error", "the text index can't count terms", ["retrieval.profile", "unavailable", "failed"], "retrieval.profile"),
    row("open-file-gone", "an indexed file is removed from disk", ["file.open", "not_found", "failed"], "can't be read"),
];

#[tokio::test(flavor = "multi_thread")]
async fn indexes_that_cannot_be_opened_are_told() {
    let whole = Sandbox::indexed(&Repo::sample());
    let mut reports = Reports::default();
    for (row, damage) in [
        ("faiss-gone", (|folder| std::fs::remove_file(folder.join("dense/index.faiss"))) as fn(&Path) -> std::io::Result<()>),
        ("faiss-cut", |folder| cut(&folder.join("dense/index.faiss"))),
        ("faiss-overwritten", |folder| overwrite(&folder.join("dense/index.faiss"), 0)),
        ("catalog-gone", |folder| std::fs::remove_file(folder.join("catalog.duckdb"))),
        ("generation-gone", |folder| std::fs::rename(folder, folder.with_file_name("elsewhere"))),
    ] {
        let sandbox = copy_of(&whole);
        damage(&sandbox.generation()).expect("damage");
        reports.ask(&Server::start(&sandbox), row, "semantic_search", query()).await;
    }
    reports.ask(&Server::start(&Sandbox::new()), "index-missing", "semantic_search", query()).await;
    reports.check(rows_of(|row| row.stage == SEARCH));
}

#[tokio::test(flavor = "multi_thread")]
async fn engines_that_fail_while_searching_are_told() {
    let repo = Repo::sample();
    // A catalog of many blocks: opening it doesn't read those of the texts.
    for number in 0..24 {
        repo.write(&format!("many/text_{number}.md"), &noise(number));
    }
    repo.commit("much text");
    let mut sandbox = Sandbox::indexed(&repo);
    let mut reports = Reports::default();

    // Nothing is in memory that the file doesn't have any more.
    let damaged = copy_of(&sandbox).with_config("[search]\nrow_cache_mb = 0\n");
    let server = Server::start(&damaged);
    // Behind the three headers, which are read when it is opened.
    overwrite(&damaged.generation().join("catalog.duckdb"), 3 * 4096).expect("damage");
    reports.ask(&server, "duckdb-damaged", "semantic_search", query()).await;

    std::fs::remove_file(repo.path().join("docs/deploy.md")).expect("a file");
    reports.ask(&server, "open-file-gone", "open_file", json!({"path": "docs/deploy.md"})).await;

    // A question in plain words, which the gate has widened when it may.
    let vague = || json!({"query": "how is the capacity of a token bucket released?", "channels": ["bm25"]});
    let only = |channel: &str| json!({"query": super::QUERY, "channels": [channel]});
    for (faults, rows) in [
        (
            "\"bm25.search\" = \"error\"\n\"faiss.search\" = \"hang\"",
            [("bm25-error", only("bm25")), ("faiss-late", only("dense"))].to_vec(),
        ),
        (
            "\"bm25.search\" = \"hang\"\n\"faiss.search\" = \"error\"",
            [("bm25-late", only("bm25")), ("faiss-error", only("dense"))].to_vec(),
        ),
        ("\"files.search\" = \"error\"", [("files-error", only("files"))].to_vec()),
        ("\"files.search\" = \"hang\"", [("files-late", only("files"))].to_vec()),
        ("\"bm25.rm3\" = \"error\"\n[plugins.gate.parameters]\nrm3_enabled = true", [("rm3-error", vague())].to_vec()),
        ("\"duckdb.hydrate\" = \"error\"", [("duckdb-error", query())].to_vec()),
        ("\"retrieval.profile\" = \"error\"", [("profile-error", query())].to_vec()),
    ] {
        sandbox.set_config(&format!("[search]\nchannel_deadline_ms = 150\n[faults]\n{faults}\n"));
        let server = Server::start(&sandbox);
        for (row, arguments) in rows {
            reports.ask(&server, row, "semantic_search_pro", arguments).await;
        }
    }
    reports.check(rows_of(|row| row.stage != SEARCH));
}

fn rows_of(which: impl Fn(&Row) -> bool) -> Vec<&'static Row> {
    ROWS.iter().filter(|row| which(row)).collect()
}

/// Leaves the first half of a file.
fn cut(path: &Path) -> std::io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(file.metadata()?.len() / 2)
}

/// Writes other bytes into a file, from `start` to its end.
fn overwrite(path: &Path, start: u64) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let bytes = file.metadata()?.len() - start;
    file.seek(SeekFrom::Start(start))?;
    std::io::copy(&mut std::io::repeat(0xa5).take(bytes), &mut file)?;
    file.sync_all()
}

/// Words that no compression makes short, other ones for each number.
fn noise(number: u64) -> String {
    let mut state = number + 1;
    let mut word = || {
        // xorshift64: Marsaglia, Xorshift RNGs, 2003.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        format!("{state:x}")
    };
    let lines = (0..400).map(|_| format!("{} {} {}\n", word(), word(), word()));
    std::iter::once(format!("# Notes {number}\n\n")).chain(lines).collect()
}
