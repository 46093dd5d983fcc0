//! The digest of an answer, by which a run that is repeated is compared.

use std::fmt::Write as _;

use serde_json::Value as Json;
use sha2::{Digest, Sha256};

/// SHA-256, in hexadecimal, of an answer's JSON without ids and times: without
/// `observability` and `index.age_s`. Keys are sorted and there is no white space, so
/// that equal answers have equal digests however they were put together.
pub fn envelope_sha256(answer: &Json) -> String {
    let mut text = String::new();
    match answer.as_object() {
        // Copied is only what loses a member: answers are long, and every call has one.
        Some(members) => {
            let index = members.get("index").and_then(Json::as_object).map(|index| {
                let mut index = index.clone();
                index.remove("age_s");
                Json::Object(index)
            });
            let kept = members.iter().filter(|(key, _)| *key != "observability");
            object(kept.map(|(key, value)| (key, index.as_ref().filter(|_| key == "index").unwrap_or(value))), &mut text);
        }
        None => canonical(answer, &mut text),
    }
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn canonical(value: &Json, out: &mut String) {
    match value {
        Json::Object(members) => object(members.iter(), out),
        Json::Array(items) => {
            out.push('[');
            for (number, item) in items.iter().enumerate() {
                if number > 0 {
                    out.push(',');
                }
                canonical(item, out);
            }
            out.push(']');
        }
        // Writing to a String can't fail.
        other => _ = write!(out, "{other}"),
    }
}

fn object<'a>(members: impl Iterator<Item = (&'a String, &'a Json)>, out: &mut String) {
    let mut members: Vec<(&String, &Json)> = members.collect();
    members.sort_by_key(|(key, _)| *key);
    out.push('{');
    for (number, (key, value)) in members.into_iter().enumerate() {
        if number > 0 {
            out.push(',');
        }
        out.push_str(&Json::from(key.as_str()).to_string());
        out.push(':');
        canonical(value, out);
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ids_and_times_don_t_count_and_nothing_else_is_left_out() {
        let answer = |text: &str| serde_json::from_str::<Json>(text).unwrap();
        let one =
            answer(r#"{"a": [1, {"y": 2.50, "x": "é\""}], "index": {"generation": "g1", "age_s": 5}, "observability": {"run_id": "r"}}"#);
        let same =
            answer(r#"{"observability": {"run_id": "q"}, "index": {"age_s": 9, "generation": "g1"}, "a": [1, {"x": "é\"", "y": 2.5}]}"#);
        assert_eq!(envelope_sha256(&one), envelope_sha256(&same));
        // What `printf '{"a":[1,{"x":"é\\"","y":2.5}],"index":{"generation":"g1"}}' | sha256sum` says.
        assert_eq!(envelope_sha256(&one), "b6b9c7a009f62375e206f032f6f88db82faf8d067e952fec16a0df688a369de2");
        for other in [
            r#"{"a": [{"x": "é\"", "y": 2.5}, 1], "index": {"generation": "g1"}}"#,
            r#"{"a": [1, {"x": "é\"", "y": 2.5}], "index": {"generation": "g2"}}"#,
            r#"{"a": [1, {"x": "é\"", "y": 2.5, "age_s": 1}], "index": {"generation": "g1"}}"#,
        ] {
            assert_ne!(envelope_sha256(&answer(other)), envelope_sha256(&one), "{other}");
        }
        assert_eq!(envelope_sha256(&json!(null)).len(), 64);
    }
}
