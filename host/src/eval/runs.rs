//! Writes answers for other programs to score: trec_eval's format, or one JSON line for
//! each query.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::matching::{Hit, Level};

/// The last column of a TREC run: which system it is of.
const TAG: &str = "spanloom";

/// The format that a file's name asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `{"query_id", "hits": [{"path", "start_line", "end_line", "score"}]}`; plain records
    /// have `document`, too.
    Jsonl,
    /// `qid Q0 docid rank score tag`.
    Trec,
}

impl Format {
    pub fn of(path: &Path) -> Format {
        if path.extension().is_some_and(|extension| extension == "jsonl") { Format::Jsonl } else { Format::Trec }
    }
}

/// The lines of one query. `ranking` is what is judged.
pub fn lines(format: Format, level: Level, query: &str, ranking: &[&Hit]) -> String {
    match format {
        Format::Jsonl => jsonl(query, ranking),
        Format::Trec => trec(level, query, ranking),
    }
}

fn jsonl(query: &str, ranking: &[&Hit]) -> String {
    let written = |hit: &&Hit| HitLine {
        path: hit.path.clone(),
        start_line: hit.start_line,
        end_line: hit.end_line,
        score: hit.score,
        document: (hit.document != hit.path).then(|| hit.document.clone()),
    };
    let line = QueryLine { query_id: query, hits: ranking.iter().map(written).collect() };
    // Texts and numbers always serialize.
    serde_json::to_string(&line).unwrap_or_default() + "\n"
}

#[derive(Serialize)]
struct QueryLine<'a> {
    query_id: &'a str,
    hits: Vec<HitLine>,
}

/// Scores stay 32 bits wide, so that they are written with the digits of an answer.
#[derive(Serialize)]
struct HitLine {
    path: String,
    start_line: u32,
    end_line: u32,
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<String>,
}

/// trec_eval goes by the scores and breaks ties by document id, so the scores here are
/// distinct and fall with the rank: the number of ranks from here to the end.
fn trec(level: Level, query: &str, ranking: &[&Hit]) -> String {
    let mut out = String::new();
    for (at, hit) in ranking.iter().enumerate() {
        let document = match level {
            Level::File => word(&hit.document),
            // A file may come several times, an id must not.
            Level::Chunk | Level::Lines => format!("{}:{}-{}", word(&hit.document), hit.start_line, hit.end_line),
        };
        // Writing to a String can't fail.
        let _ = writeln!(out, "{} Q0 {document} {} {} {TAG}", word(query), at + 1, ranking.len() - at);
    }
    out
}

/// The columns are separated by blanks, so those within an id are written as in a URL.
fn word(id: &str) -> String {
    let mut out = String::with_capacity(id.len());
    for character in id.chars() {
        if !character.is_whitespace() {
            out.push(character);
            continue;
        }
        for byte in character.encode_utf8(&mut [0; 4]).bytes() {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_keep_the_order() {
        let hit = |document: &str, score| Hit { document: document.into(), path: "src/a b.rs".into(), start_line: 3, end_line: 9, score };
        let (one, two) = (hit("src/a b.rs", 0.1), hit("d\u{a0}7", 0.1));
        let ranking = [&one, &two];
        assert_eq!(
            lines(Format::Trec, Level::File, "q 1", &ranking),
            "q%201 Q0 src/a%20b.rs 1 2 spanloom\nq%201 Q0 d%C2%A07 2 1 spanloom\n"
        );
        assert_eq!(lines(Format::Trec, Level::Chunk, "q", &ranking[..1]), "q Q0 src/a%20b.rs:3-9 1 1 spanloom\n");
        let line = lines(Format::Jsonl, Level::Chunk, "q", &ranking);
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["hits"][0], serde_json::json!({"path": "src/a b.rs", "start_line": 3, "end_line": 9, "score": 0.1}));
        assert_eq!(line["hits"][1]["document"], "d\u{a0}7");
        assert_eq!(lines(Format::Trec, Level::File, "q", &[]), "");
        assert_eq!((Format::of(Path::new("r.jsonl")), Format::of(Path::new("r.run"))), (Format::Jsonl, Format::Trec));
    }
}
