//! Why an answer is as it is, for clients that set `explain`: the decisions of its
//! stages, and each finding's way through them.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::types::{ChannelName, Stage};

/// How the stages decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    pub query: QueryExplanation,
    pub gate: GateExplanation,
    /// Who was asked, by stage; a stage that did not run is missing. `degraded` of the
    /// answer says whose judgement was not used.
    pub plugins: BTreeMap<Stage, PluginStamp>,
    /// Where arms of an experiment share the answer, how each decided; what is said above
    /// is then the first one's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub teams: BTreeMap<String, TeamExplanation>,
}

/// How the stages of one of several rankings decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TeamExplanation {
    pub gate: GateExplanation,
    pub plugins: BTreeMap<Stage, PluginStamp>,
    /// As in [`QueryExplanation::widened`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub widened: Vec<WeightedTerm>,
}

/// What the host knew about the query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QueryExplanation {
    pub terms: Vec<TermExplanation>,
    /// Chunks in the index.
    pub documents: u64,
    /// Words written like code.
    pub identifiers: Vec<String>,
    pub phrases: Vec<String>,
    /// What prefixes (`rout*`) stood for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<PrefixExplanation>,
    /// Terms that were searched as well, or counted less than others: words that are named
    /// as one, other words for the same thing, names of languages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expanded: Vec<WeightedTerm>,
    /// The terms that the text index was asked for instead of the query's own, when RM3
    /// widened it; greatest weight first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub widened: Vec<WeightedTerm>,
}

/// A prefix and the terms that were searched for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PrefixExplanation {
    pub prefix: String,
    pub terms: Vec<String>,
}

/// A term with its part in the query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WeightedTerm {
    pub term: String,
    /// 0 to 1; those of a widened query add up to 1, and a term of the query by itself has 1.
    pub weight: f32,
}

/// A search term.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TermExplanation {
    pub term: String,
    /// Chunks that hold it.
    pub document_frequency: u32,
}

/// What the gate saw and decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GateExplanation {
    /// As the plugin calls them; empty when it says nothing.
    pub features: Map<String, Json>,
    pub class: String,
    /// 0 to 1.
    pub ambiguity: f32,
    pub budgets: Vec<BudgetExplanation>,
    pub rrf_k: f32,
    pub rm3: bool,
    pub rerank_depth: u32,
    pub reasons: Vec<String>,
}

/// What one channel was allowed, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BudgetExplanation {
    pub channel: ChannelName,
    pub depth: u32,
    pub weight: f32,
    pub reason: String,
}

/// Which plugin it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PluginStamp {
    pub name: String,
    pub version: String,
    /// Of the component.
    pub sha256: String,
}

/// A finding's way through the stages. Ranks count from 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FindingExplanation {
    /// The channels that found it, in the order in which they are asked.
    pub channels: Vec<ChannelExplanation>,
    pub fused_rank: u32,
    pub fused_score: f32,
    /// After the recency boost; as after the fusion where nothing is boosted.
    pub boosted_rank: u32,
    pub boosted_score: f32,
    /// What the boost multiplied the score with.
    pub boost: f32,
    /// Nothing when the finding was not reranked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerank_score: Option<f32>,
    /// What the reranker says its score is made of.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub rerank_parts: Map<String, Json>,
    /// Where arms of an experiment share the answer, the one that picked it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    pub final_rank: u32,
    /// For each channel that was fused, the rank that the finding would have had
    /// without it; nothing where it would not have been found.
    pub without: BTreeMap<ChannelName, Option<u32>>,
}

/// A channel's part in a finding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChannelExplanation {
    pub channel: ChannelName,
    pub rank: u32,
    /// The channel's own score.
    pub score: f32,
    /// The channel's weight in the fusion.
    pub weight: f32,
    /// What it added to the fused score.
    pub contribution: f32,
}

impl fmt::Display for FindingExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.channels {
            let ChannelExplanation { channel, rank, score, weight, contribution } = part;
            write!(f, "{channel} #{rank} ({score:.4} × weight {weight}, adds {contribution:.4}) → ")?;
        }
        write!(f, "fused #{} ({:.4})", self.fused_rank, self.fused_score)?;
        if self.boost != 1.0 || self.boosted_rank != self.fused_rank {
            write!(f, " → boosted #{} ({:.4}, × {:.3})", self.boosted_rank, self.boosted_score, self.boost)?;
        }
        if let Some(score) = self.rerank_score {
            write!(f, " → reranked {score:.4}")?;
            let parts: Vec<String> = self.rerank_parts.iter().map(|(name, value)| format!("{name} {}", short(value))).collect();
            if !parts.is_empty() {
                write!(f, " [{}]", parts.join(", "))?;
            }
        }
        if let Some(team) = &self.team {
            write!(f, " → picked by {team}")?;
        }
        write!(f, " → #{}", self.final_rank)?;
        for (channel, rank) in &self.without {
            match rank {
                Some(rank) => write!(f, "; without {channel} #{rank}")?,
                None => write!(f, "; without {channel} not found")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gate = &self.gate;
        write!(f, "class {}, ambiguity {:.2}, rrf_k {}, rerank depth {}", gate.class, gate.ambiguity, gate.rrf_k, gate.rerank_depth)?;
        for budget in &gate.budgets {
            write!(f, "; {} depth {} weight {} ({})", budget.channel, budget.depth, budget.weight, budget.reason)?;
        }
        for reason in &gate.reasons {
            write!(f, "; {reason}")?;
        }
        for WeightedTerm { term, weight } in &self.query.expanded {
            write!(f, "; searched {term} × {weight}")?;
        }
        for (stage, plugin) in &self.plugins {
            write!(f, "; {stage} by {} {}", plugin.name, plugin.version)?;
        }
        Ok(())
    }
}

/// Numbers with four digits, anything else as it is.
fn short(value: &Json) -> String {
    match value.as_f64() {
        // Adding 0 takes the sign from −0.
        Some(number) if !value.is_i64() && !value.is_u64() => format!("{:.4}", number + 0.0),
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_way_reads_from_left_to_right() {
        let mut why = FindingExplanation {
            channels: vec![ChannelExplanation { channel: ChannelName::Bm25, rank: 3, score: 12.5, weight: 1.0, contribution: 0.0159 }],
            fused_rank: 4,
            fused_score: 0.0159,
            boosted_rank: 4,
            boosted_score: 0.0159,
            boost: 1.0,
            rerank_score: Some(0.75),
            rerank_parts: json!({"path": 0.25, "exact": 1}).as_object().cloned().unwrap_or_default(),
            team: None,
            final_rank: 1,
            without: BTreeMap::from([(ChannelName::Bm25, None), (ChannelName::Dense, Some(2))]),
        };
        let text = "bm25 #3 (12.5000 × weight 1, adds 0.0159) → fused #4 (0.0159) → reranked 0.7500 [exact 1, path 0.2500] → #1; without bm25 not found; without dense #2";
        assert_eq!(why.to_string(), text);
        (why.boost, why.boosted_rank, why.rerank_score) = (1.1, 3, None);
        assert!(why.to_string().contains("fused #4 (0.0159) → boosted #3 (0.0159, × 1.100) → #1"), "{why}");
    }
}
