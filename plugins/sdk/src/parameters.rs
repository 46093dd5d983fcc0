//! The parameters of a plugin: described as a JSON Schema, read from JSON, checked.

use std::fmt::Display;
use std::ops::RangeInclusive;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::PluginError;

/// What `describe` answers: a JSON object with `name`, `version`, `stage` and
/// `parameters`, the JSON Schema of `P`.
pub fn describe<P: JsonSchema>(name: &str, version: &str, stage: &str) -> String {
    serde_json::json!({
        "name": name,
        "version": version,
        "stage": stage,
        "parameters": schemars::schema_for!(P),
    })
    .to_string()
}

/// Reads parameters from a JSON object; blank text counts as `{}`. What doesn't fit
/// is [`PluginError::BadConfig`] with the path of the parameter in the message.
pub fn parse<P: DeserializeOwned>(json: &str) -> Result<P, PluginError> {
    let bad = |message: String| PluginError::BadConfig(message);
    let json = match json.trim() {
        "" => "{}",
        json => json,
    };
    // Serde would take an array for a struct, too, field by field.
    if !json.starts_with('{') {
        return Err(bad("parameters: expected a JSON object".into()));
    }

    let mut reader = serde_json::Deserializer::from_str(json);
    let parameters = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        match path.as_str() {
            "." | "?" => bad(format!("parameters: {}", error.inner())),
            path => bad(format!("parameter `{path}`: {}", error.inner())),
        }
    })?;
    reader.end().map_err(|error| bad(format!("parameters: {error}")))?;
    Ok(parameters)
}

/// Refuses a value out of `allowed`, or NaN, with [`PluginError::BadConfig`] that
/// says which parameter, which value, and what is allowed.
pub fn check_range<T: PartialOrd + Display>(parameter: &str, value: T, allowed: RangeInclusive<T>) -> Result<(), PluginError> {
    if allowed.contains(&value) {
        return Ok(());
    }
    Err(PluginError::BadConfig(format!(
        "parameter `{parameter}`: {value} is out of range, allowed: {} to {}",
        allowed.start(),
        allowed.end()
    )))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Debug, Default, PartialEq, serde::Deserialize, JsonSchema)]
    #[serde(default, deny_unknown_fields)]
    struct Sample {
        /// How many.
        count: u32,
        weights: BTreeMap<String, f32>,
    }

    #[test]
    fn parameters_are_read_and_errors_name_the_place() {
        let check = |json: &str, expected: Result<u32, &[&str]>| match (parse::<Sample>(json), expected) {
            (Ok(sample), Ok(count)) => assert_eq!(sample.count, count, "{json}"),
            (Err(PluginError::BadConfig(message)), Err(parts)) => {
                for part in parts {
                    assert!(message.contains(part), "{json}: {message}");
                }
            }
            (got, expected) => panic!("{json}: {got:?}, expected {expected:?}"),
        };
        check("", Ok(0));
        check("{}", Ok(0));
        check(r#"{"count": 3}"#, Ok(3));
        check(r#"{"cuont": 3}"#, Err(&["cuont", "unknown field", "count"]));
        check(r#"{"count": -1}"#, Err(&["`count`", "-1"]));
        check(r#"{"weights": {"bm25": "x"}}"#, Err(&["`weights.bm25`"]));
        check(r#"[1, {}]"#, Err(&["JSON object"]));
        check("{} {}", Err(&["trailing"]));
        check("{", Err(&["parameters"]));
    }

    #[test]
    fn the_description_carries_the_schema() {
        let text = describe::<Sample>("sample", "1.2.3", "fusion");
        let json: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(json["name"], "sample");
        assert_eq!(json["version"], "1.2.3");
        assert_eq!(json["stage"], "fusion");
        assert_eq!(json["parameters"]["additionalProperties"], false);
        let count = &json["parameters"]["properties"]["count"];
        assert_eq!(count["description"], "How many.");
        assert_eq!(count["default"], 0);
    }

    #[test]
    fn ranges_include_their_ends_and_refuse_nan() {
        assert_eq!(check_range("k", 0.0, 0.0..=1.0), Ok(()));
        assert_eq!(check_range("k", 1.0, 0.0..=1.0), Ok(()));
        assert!(check_range("k", f32::NAN, 0.0..=1.0).is_err());
        assert_eq!(check_range("k", 12, 0..=10), Err(PluginError::BadConfig("parameter `k`: 12 is out of range, allowed: 0 to 10".into())));
    }
}
