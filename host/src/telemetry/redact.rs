//! Keeps the text of queries out of spans and ledgers where that is configured.

use std::sync::Arc;

use opentelemetry::Value;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

/// Bytes of a query by which a piece of it is found again: messages quote the
/// beginning of a value. Shorter queries are looked for whole.
const PREFIX_BYTES: usize = 12;
/// Shorter queries are not looked for: they would be found in every word.
const NEEDLE_BYTES_MIN: usize = 3;
/// Stands where the query stood.
const PLACEHOLDER: &str = "[query]";

/// What may be written down of a query's text: `true`, `false` or `"hash"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueryText {
    #[default]
    Plain,
    /// Its length and its SHA-256, by which equal queries are found.
    Hash,
    /// Its length.
    Off,
}

impl Serialize for QueryText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            QueryText::Plain => serializer.serialize_bool(true),
            QueryText::Off => serializer.serialize_bool(false),
            QueryText::Hash => serializer.serialize_str("hash"),
        }
    }
}

impl<'de> Deserialize<'de> for QueryText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<QueryText, D::Error> {
        match Json::deserialize(deserializer)? {
            Json::Bool(true) => Ok(QueryText::Plain),
            Json::Bool(false) => Ok(QueryText::Off),
            Json::String(text) if text == "hash" => Ok(QueryText::Hash),
            other => Err(serde::de::Error::custom(format!("is {other}; allowed: true, false, \"hash\""))),
        }
    }
}

/// The digest by which a query is known.
pub fn sha256_hex(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Arguments of tools that say nothing of a query. Any other is left out with it: what
/// is misspelt may hold it.
const PLAIN_ARGUMENTS: [&str; 19] = [
    "limit",
    "paths",
    "languages",
    "channels",
    "depths",
    "weights",
    "gate",
    "fusion",
    "rerank",
    "rerank_enabled",
    "explain",
    "path",
    "start_line",
    "end_line",
    "since",
    "run_id",
    "trace_id",
    "format",
    "query",
];

/// What of a run may not be written down.
#[derive(Clone, Debug, Default)]
pub(super) struct Redactor {
    /// The query in the forms in which messages quote it, longest first.
    needles: Arc<[String]>,
}

impl Redactor {
    /// Of a call with these arguments.
    pub(super) fn new(mode: QueryText, request: &Json) -> Redactor {
        if mode == QueryText::Plain {
            return Redactor::default();
        }
        let text = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let texts: Vec<String> = match request {
            Json::Null => Vec::new(),
            Json::Object(members) => {
                let hidden = members.iter().filter(|(key, _)| *key == "query" || !PLAIN_ARGUMENTS.contains(&key.as_str()));
                hidden.map(|(_, value)| text(value)).collect()
            }
            // Arguments of the wrong type are quoted by messages, too.
            other => vec![text(other)],
        };
        let mut needles: Vec<String> = texts.iter().flat_map(|text| forms(text)).filter(|text| text.len() >= NEEDLE_BYTES_MIN).collect();
        needles.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        needles.dedup();
        Redactor { needles: needles.into() }
    }

    /// Whether there is nothing to keep out.
    pub(super) fn is_off(&self) -> bool {
        self.needles.is_empty()
    }

    /// The text without the query in it; `None` when there is nothing to change.
    pub(super) fn text(&self, text: &str) -> Option<String> {
        let mut clean = None;
        for needle in self.needles.iter() {
            if let Some(without) = without(needle, clean.as_deref().unwrap_or(text)) {
                clean = Some(without);
            }
        }
        clean
    }

    /// The same for an attribute's value.
    pub(super) fn value(&self, value: Value) -> Value {
        match &value {
            Value::String(text) => self.text(text.as_str()).map_or(value, Value::from),
            _ => value,
        }
    }

    /// Removes the query from every text in a value.
    pub(super) fn json(&self, value: &mut Json) {
        if self.needles.is_empty() {
            return;
        }
        match value {
            Json::String(text) => {
                if let Some(clean) = self.text(text) {
                    *text = clean;
                }
            }
            Json::Array(items) => items.iter_mut().for_each(|item| self.json(item)),
            Json::Object(members) => members.values_mut().for_each(|member| self.json(member)),
            _ => {}
        }
    }
}

/// How messages quote a text: as it is, without the blanks around it or with single
/// ones within, and each as JSON has it.
fn forms(text: &str) -> Vec<String> {
    let plain = [text.to_owned(), text.trim().to_owned(), text.split_whitespace().collect::<Vec<_>>().join(" ")];
    let escaped = plain.each_ref().map(|text| Json::from(text.as_str()).to_string().trim_matches('"').to_owned());
    plain.into_iter().chain(escaped).collect()
}

/// The text without the needle, or what stands of the needle's beginning.
fn without(needle: &str, text: &str) -> Option<String> {
    let mut prefix = PREFIX_BYTES.min(needle.len());
    while !needle.is_char_boundary(prefix) {
        prefix += 1;
    }
    let mut rest = text;
    let mut out = String::new();
    while let Some(at) = rest.find(&needle[..prefix]) {
        let found = &rest[at..];
        let same: usize = found.chars().zip(needle.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum();
        out.push_str(&rest[..at]);
        out.push_str(PLACEHOLDER);
        rest = &found[same..];
    }
    if out.is_empty() {
        return None;
    }
    out.push_str(rest);
    Some(out)
}

/// The request with what may be said of its query in the query's place.
pub(super) fn request(request: Json, mode: QueryText) -> Json {
    if mode == QueryText::Plain {
        return request;
    }
    let size = |value: &Json| json!({ "bytes": value.as_str().map_or_else(|| value.to_string().len(), str::len) });
    let Json::Object(mut members) = request else {
        return if request.is_null() { request } else { size(&request) };
    };
    for (key, value) in &mut members {
        match (key.as_str(), mode, value.as_str()) {
            ("query", QueryText::Hash, Some(text)) => *value = json!({ "bytes": text.len(), "sha256": sha256_hex(text) }),
            ("query", ..) => *value = size(value),
            (key, ..) if !PLAIN_ARGUMENTS.contains(&key) => *value = size(value),
            _ => {}
        }
    }
    Json::Object(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_and_their_beginnings_are_removed() {
        let redactor = Redactor::new(QueryText::Off, &json!({ "query": "where is the token bucket refilled" }));
        assert_eq!(redactor.text("nothing of it"), None);
        assert_eq!(redactor.text("`where is the token bucket refilled` is odd").unwrap(), "`[query]` is odd");
        assert_eq!(redactor.text("cut: where is the tok…").unwrap(), "cut: [query]…");
        let mut value = json!({"a": ["x where is the token y"], "b": 1});
        redactor.json(&mut value);
        assert_eq!(value, json!({"a": ["x [query]y"], "b": 1}));
        let many = Redactor::new(QueryText::Hash, &json!({ "query": ["ünï"] }));
        assert_eq!(many.text("is [\"ünï\"] (a list)").unwrap(), "is [query] (a list)");
        let odd = Redactor::new(QueryText::Off, &json!({ "query": " find \"secret\"\n here  please" }));
        for quoted in ["find \"secret\" here please", "say: find \\\"secret\\\" here please", "find \"secret\"\n here  please"] {
            assert!(!odd.text(quoted).unwrap().contains("secret"), "{quoted}");
        }
        for (mode, query) in [(QueryText::Plain, "whole words"), (QueryText::Off, "ab")] {
            assert_eq!(Redactor::new(mode, &json!({ "query": query })).text(query), None);
        }
    }

    #[test]
    fn requests_keep_what_may_be_said() {
        let asked = json!({"query": "abc", "limit": 3});
        assert_eq!(request(asked.clone(), QueryText::Plain), asked);
        assert_eq!(request(asked.clone(), QueryText::Off), json!({"query": {"bytes": 3}, "limit": 3}));
        assert_eq!(request(asked, QueryText::Hash)["query"]["sha256"], sha256_hex("abc"));
        assert_eq!(sha256_hex("abc")[..8], *"ba7816bf");
        assert_eq!(request(json!({"path": "x"}), QueryText::Off), json!({"path": "x"}));
        // What is misspelt or of the wrong type may be a query.
        assert_eq!(request(json!({"q": "abc", "cursor": "x"}), QueryText::Off), json!({"q": {"bytes": 3}, "cursor": {"bytes": 1}}));
        assert_eq!(request(json!("{\"query\"}"), QueryText::Off), json!({"bytes": 9}));
    }

    #[test]
    fn the_setting_is_a_flag_or_hash() {
        for (text, mode) in [("true", QueryText::Plain), ("false", QueryText::Off), ("\"hash\"", QueryText::Hash)] {
            assert_eq!(serde_json::from_str::<QueryText>(text).unwrap(), mode);
            assert_eq!(serde_json::to_string(&mode).unwrap(), text);
        }
        assert!(serde_json::from_str::<QueryText>("\"md5\"").unwrap_err().to_string().contains("allowed: true, false"));
    }
}
