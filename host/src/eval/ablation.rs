//! What can be left out of a system, one thing at a time, to see what it is worth.
//!
//! Channels, plugin stages (the host's fallback answers instead) and the signals of the
//! reranker. Signals are found in the plugin's own schema of its parameters by their
//! names, so that new ones take part without a word here.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::types::{ChannelName, Stage};

/// Endings of parameters, with the value at which each has no effect: a weight adds
/// nothing at 0, a factor and a decay leave a score as it is at 1.
const NEUTRAL: [(&str, i64); 3] = [("_weight", 0), ("_factor", 1), ("_decay", 1)];

/// What a system does otherwise than configured.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Change {
    /// Nothing.
    #[default]
    None,
    /// As if the index didn't have the channel.
    WithoutChannel(ChannelName),
    /// The host's fallback in place of the plugin; of the reranker, the order before it.
    WithoutStage(Stage),
    /// No recency boost.
    WithoutRecency,
    /// Other parameters for the configured reranker: the whole object.
    RerankParameters(Map<String, Json>),
}

/// What kind of part is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    Channel,
    Stage,
    Signal,
}

/// One thing left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Ablation {
    pub part: Part,
    /// `channel dense`, `stage gate`, `signal path_weight`.
    pub name: String,
    /// What is done instead, in words.
    pub instead: String,
    pub change: Change,
}

/// A system, as far as it decides what can be left out.
pub struct Parts<'a> {
    /// The channels of the index.
    pub channels: &'a [ChannelName],
    /// Whether reranking is switched on.
    pub reranks: bool,
    /// Whether the recency boost has a weight.
    pub boosts_recency: bool,
    /// JSON Schema of the reranker's parameters.
    pub rerank_schema: &'a Json,
    /// What the reranker is configured with.
    pub rerank_parameters: &'a Map<String, Json>,
}

/// Everything that can be left out, and in words what can't, as it has no effect.
pub fn ablations(parts: &Parts<'_>) -> (Vec<Ablation>, Vec<String>) {
    let (mut found, mut passed_over) = (Vec::new(), Vec::new());
    match parts.channels {
        [only] => passed_over.push(format!("channel {only}: it is the only one")),
        channels => found.extend(channels.iter().map(|&channel| Ablation {
            part: Part::Channel,
            name: format!("channel {channel}"),
            instead: "the other channels".into(),
            change: Change::WithoutChannel(channel),
        })),
    }
    for (stage, instead) in
        [(Stage::Gate, "fixed budgets"), (Stage::Fusion, "the host's reciprocal rank fusion"), (Stage::Rerank, "the order before it")]
    {
        let name = format!("stage {stage}");
        match stage == Stage::Rerank && !parts.reranks {
            true => passed_over.push(format!("{name}: it is switched off")),
            false => found.push(Ablation { part: Part::Stage, name, instead: instead.into(), change: Change::WithoutStage(stage) }),
        }
    }
    if parts.boosts_recency {
        let (name, instead) = ("stage recency".into(), "no boost".into());
        found.push(Ablation { part: Part::Stage, name, instead, change: Change::WithoutRecency });
    }
    if parts.reranks {
        signals(parts, &mut found, &mut passed_over);
    }
    (found, passed_over)
}

/// The reranker's signals, in the order of their names.
fn signals(parts: &Parts<'_>, found: &mut Vec<Ablation>, passed_over: &mut Vec<String>) {
    let Some(properties) = parts.rerank_schema.get("properties").and_then(Json::as_object) else { return };
    let mut signals: Vec<(&String, &Json, i64)> = properties
        .iter()
        .filter(|(_, property)| is_number(property))
        .filter_map(|(name, property)| {
            let (_, neutral) = NEUTRAL.iter().find(|(ending, _)| name.ends_with(ending))?;
            Some((name, property, *neutral))
        })
        .collect();
    signals.sort_by_key(|(name, ..)| *name);
    for (parameter, property, neutral) in signals {
        let name = format!("signal {parameter}");
        let number = |key: &str| property.get(key).and_then(Json::as_f64);
        let configured = parts.rerank_parameters.get(parameter).and_then(Json::as_f64).or_else(|| number("default"));
        let is_allowed =
            number("minimum").is_none_or(|least| least <= neutral as f64) && number("maximum").is_none_or(|most| neutral as f64 <= most);
        if configured == Some(neutral as f64) {
            passed_over.push(format!("{name}: it is {neutral}, which is without effect already"));
        } else if !is_allowed {
            passed_over.push(format!("{name}: the plugin doesn't allow {neutral}"));
        } else {
            let mut parameters = parts.rerank_parameters.clone();
            parameters.insert(parameter.clone(), neutral.into());
            let instead = format!("{parameter} = {neutral}");
            found.push(Ablation { part: Part::Signal, name, instead, change: Change::RerankParameters(parameters) });
        }
    }
}

/// Whether a property takes numbers; optional ones, too.
fn is_number(property: &Json) -> bool {
    let is_numeric = |name: &Json| matches!(name.as_str(), Some("number" | "integer"));
    match property.get("type") {
        Some(Json::Array(types)) => types.iter().any(is_numeric),
        Some(name) => is_numeric(name),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(channels: &[ChannelName], reranks: bool, schema: &Json, parameters: &Json) -> (Vec<(String, Change)>, Vec<String>) {
        let parameters = parameters.as_object().cloned().unwrap_or_default();
        let (found, passed_over) =
            ablations(&Parts { channels, reranks, boosts_recency: false, rerank_schema: schema, rerank_parameters: &parameters });
        (found.into_iter().map(|ablation| (ablation.name, ablation.change)).collect(), passed_over)
    }

    #[test]
    fn every_part_is_left_out_once() {
        let schema = json!({"properties": {
            "path_weight": {"type": "number", "default": 0.5, "minimum": 0.0, "maximum": 10.0},
            "fused_weight": {"type": "number", "default": 1.0},
            "test_factor": {"type": ["number", "null"], "default": 0.5, "minimum": 0.01, "maximum": 1.0},
            "same_file_decay": {"type": "number", "default": 0.3},
            "prose_factor": {"type": "number", "default": 1.0},
            "odd_factor": {"type": "number", "default": 3.0, "minimum": 2.0},
            "name_weight": {"type": "string"},
            "proximity_lines": {"type": "integer", "default": 8},
        }});
        let (found, passed_over) = found(&ChannelName::ALL, true, &schema, &json!({"fused_weight": 2.0, "path_weight": 0.25}));
        let parameters = |value: Json| Change::RerankParameters(value.as_object().cloned().unwrap());
        let expect = [
            ("channel bm25", Change::WithoutChannel(ChannelName::Bm25)),
            ("channel dense", Change::WithoutChannel(ChannelName::Dense)),
            ("stage gate", Change::WithoutStage(Stage::Gate)),
            ("stage fusion", Change::WithoutStage(Stage::Fusion)),
            ("stage rerank", Change::WithoutStage(Stage::Rerank)),
            ("signal fused_weight", parameters(json!({"fused_weight": 0, "path_weight": 0.25}))),
            ("signal path_weight", parameters(json!({"fused_weight": 2.0, "path_weight": 0}))),
            ("signal same_file_decay", parameters(json!({"fused_weight": 2.0, "path_weight": 0.25, "same_file_decay": 1}))),
            ("signal test_factor", parameters(json!({"fused_weight": 2.0, "path_weight": 0.25, "test_factor": 1}))),
        ];
        // New channels come before the stages.
        let stages_on = found.iter().position(|(name, _)| name == "stage gate").unwrap();
        assert_eq!(stages_on, ChannelName::ALL.len());
        assert_eq!(&found[..2], expect[..2].iter().map(|(name, change)| ((*name).to_owned(), change.clone())).collect::<Vec<_>>());
        assert_eq!(&found[stages_on..], expect[2..].iter().map(|(name, change)| ((*name).to_owned(), change.clone())).collect::<Vec<_>>());
        assert_eq!(
            passed_over,
            ["signal odd_factor: the plugin doesn't allow 1", "signal prose_factor: it is 1, which is without effect already"]
        );
    }

    #[test]
    fn what_is_off_or_alone_stays() {
        let schema = json!({"properties": {"path_weight": {"type": "number"}}});
        let (found, passed_over) = found(&[ChannelName::Bm25], false, &schema, &json!({}));
        assert_eq!(found.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["stage gate", "stage fusion"]);
        assert_eq!(passed_over, ["channel bm25: it is the only one", "stage rerank: it is switched off"]);
    }

    #[test]
    fn the_shipped_reranker_has_signals() {
        let schema = serde_json::to_value(schemars::schema_for!(rerank_code::Parameters)).unwrap();
        let (found, _) = found(&[ChannelName::Bm25], true, &schema, &json!({}));
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["signal fused_weight", "signal test_factor", "signal same_file_decay"] {
            assert!(names.contains(&name), "{names:?}");
        }
    }
}
