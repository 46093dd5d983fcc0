//! The published schema.

use super::project;
use crate::experiments::schema;

#[test]
fn the_published_schema_is_that_of_the_code() {
    let path = project().join("docs/experiment.schema.json");
    let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    if std::env::var_os("SPANLOOM_BLESS_EXPERIMENTS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "{} is not what is written now; SPANLOOM_BLESS_EXPERIMENTS=1 takes over:\n{text}", path.display());
}

#[test]
fn every_key_is_described() {
    fn check(value: &serde_json::Value, at: &str) {
        let Some(members) = value.as_object() else { return };
        for (name, property) in members.get("properties").and_then(|all| all.as_object()).into_iter().flatten() {
            assert!(property["description"].is_string(), "{at}.{name} has no description");
        }
        members.iter().for_each(|(name, member)| check(member, &format!("{at}.{name}")));
    }
    check(&schema(), "");
}
