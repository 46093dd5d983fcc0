//! Cases for the tests of this module, and ways to bend them.

use serde_json::Value as Json;

use super::{Case, Failure, Observed, Output};

pub(super) const GATE: &str = r#"{
  "schema": 1,
  "stage": "gate",
  "name": "a name in code is literal",
  "parameters": {"depth_max": 500},
  "call": {"limit": 20, "explain": true},
  "input": {
    "query": {
      "text": "parse_query", "terms": ["parse", "queri", "parse_query"], "document_frequencies": [300, 700, 4],
      "documents": 10000, "identifiers": ["parse_query"], "channels": ["bm25", "dense"]
    }
  },
  "expect": {
    "output": {
      "class": "literal", "ambiguity": 0.25, "rrf_k": 20, "rm3": false, "rerank_depth": 60,
      "budgets": [{"channel": "dense", "weight": 0.4}, {"channel": "bm25", "depth": 100, "weight": 1, "reason": "words"}],
      "reasons": ["one word"]
    },
    "spans": [{"name": "gate.features", "parent": "stage"}]
  }
}"#;

/// Scores: 2 has 1/62 + 1/61, 1 has 1/61 + 1/63, 4 has 1/62, 3 has 1/63.
pub(super) const FUSION: &str = r#"{
  "schema": 1,
  "stage": "fusion",
  "name": "two lists",
  "input": {
    "rrf_k": 60,
    "runs": [
      {"channel": "bm25", "weight": 1, "ids": [1, 2, 3], "scores": [9.5, 8, 0.1]},
      {"channel": "dense", "weight": 1, "ids": [2, 4, 1], "scores": [0.9, 0.8, 0.7]}
    ]
  },
  "expect": {
    "output": {"ids": [2, 1, 4, 3], "scores": [0.0325225, 0.0322664, 0.0161290, 0.0158730]},
    "order": [2, 1, 4, 3],
    "top": [2, 1],
    "spans": [{"name": "fusion.rrf", "parent": "stage", "attributes": {"retrieval.fusion.k": 60}}]
  }
}"#;

pub(super) const RERANK: &str = r#"{
  "schema": 1,
  "stage": "rerank",
  "name": "the definition is first",
  "input": {
    "query": {"text": "open", "terms": ["open"], "document_frequencies": [3], "documents": 9, "channels": ["bm25"]},
    "rows": {"ids": [7, 5, 6], "scores": [0.3, 0.2, 0.1]},
    "documents": [
      {"id": 5, "path": "src/a.rs", "text": "fn open() {}", "start_line": 3, "end_line": 3},
      {"id": 6, "path": "src/b.rs", "symbol": "open", "cross_encoder": 0.75},
      {"id": 7, "path": "src/c.rs", "language": "rust", "commit_time": 1700000000, "late_interaction": -0.5}
    ]
  },
  "expect": {
    "output": {"scores": [0.5, 0.25, 0.75]},
    "order": [6, 7, 5],
    "spans": [
      {"name": "rerank.features", "parent": "stage", "events": ["first", "last"]},
      {"name": "rerank.score", "attributes": {"share": 0.5, "rows": 3, "model": "none"}}
    ]
  },
  "recorded": {
    "run_id": "r1", "trace_id": "t1", "at": "2026-01-02T03:04:05Z", "generation": "g000007",
    "plugin": "rerank-code", "version": "0.2.0", "sha256": "00ff", "redacted": false
  }
}"#;

/// A text with the value at a JSON pointer replaced or added, `null` to remove it.
pub(super) fn with(text: &str, pointer: &str, value: &str) -> String {
    let mut case: Json = serde_json::from_str(text).unwrap();
    let value: Json = serde_json::from_str(value).unwrap();
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    match case.pointer_mut(parent).unwrap() {
        Json::Object(members) if value.is_null() => drop(members.remove(member)),
        Json::Object(members) => drop(members.insert(member.to_owned(), value)),
        Json::Array(items) => items[member.parse::<usize>().unwrap()] = value,
        other => panic!("{other} has no members"),
    }
    format!("{case:#}")
}

pub(super) fn case(text: &str) -> Case {
    Case::parse(text, "test").unwrap()
}

/// What the case expects as the output of a call.
pub(super) fn output(json: &str) -> Output {
    serde_json::from_str(json).unwrap()
}

/// A call without spans.
pub(super) fn gave(json: &str) -> Observed {
    Observed { outcome: Ok(output(json)), spans: Vec::new() }
}

pub(super) fn failed(cause: &str) -> Observed {
    Observed { outcome: Err(Failure { cause: cause.to_owned(), message: "it went wrong".to_owned() }), spans: Vec::new() }
}
