//! What a stage gave, and the part of it that a case asks for.

use serde::{Deserialize, Serialize};

use crate::types::Stage;

/// What a call gave, after the host's checks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Output {
    Gate(GateOutput),
    Fusion(FusionOutput),
    Rerank(RerankOutput),
}

/// A gate's decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateOutput {
    pub class: String,
    /// 0 to 1.
    pub ambiguity: f32,
    /// At most one for each channel.
    pub budgets: Vec<Budget>,
    pub rrf_k: f32,
    pub rm3: bool,
    /// 0 leaves the fused order.
    pub rerank_depth: u32,
    pub reasons: Vec<String>,
}

/// What a channel may do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    pub channel: String,
    /// 0 leaves the channel out.
    pub depth: u32,
    pub weight: f32,
    pub reason: String,
}

/// One list out of many, as the host sorted it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FusionOutput {
    pub ids: Vec<u64>,
    /// One for each id.
    pub scores: Vec<f32>,
    /// Row-major, ids × runs.
    pub contributions: Vec<f32>,
}

/// A reranker's scores.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RerankOutput {
    /// One for each row of the call, in their order.
    pub scores: Vec<f32>,
}

impl Output {
    pub fn stage(&self) -> Stage {
        match self {
            Output::Gate(_) => Stage::Gate,
            Output::Fusion(_) => Stage::Fusion,
            Output::Rerank(_) => Stage::Rerank,
        }
    }
}

/// The members of an output that a case compares.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ExpectedOutput {
    Gate(ExpectedGate),
    Fusion(ExpectedFusion),
    Rerank(ExpectedRerank),
}

/// See [`GateOutput`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedGate {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ambiguity: Option<f32>,
    /// All channels that are asked, in any order; one of depth 0 must not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budgets: Option<Vec<ExpectedBudget>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rrf_k: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rm3: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerank_depth: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasons: Option<Vec<String>>,
}

/// See [`Budget`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedBudget {
    pub channel: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// See [`FusionOutput`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedFusion {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<u64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<Vec<f32>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contributions: Option<Vec<f32>>,
}

/// See [`RerankOutput`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedRerank {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<Vec<f32>>,
}

impl ExpectedOutput {
    pub fn stage(&self) -> Stage {
        match self {
            ExpectedOutput::Gate(_) => Stage::Gate,
            ExpectedOutput::Fusion(_) => Stage::Fusion,
            ExpectedOutput::Rerank(_) => Stage::Rerank,
        }
    }

    /// Nothing but that there is an output.
    pub fn any(stage: Stage) -> ExpectedOutput {
        match stage {
            Stage::Gate => ExpectedOutput::Gate(ExpectedGate::default()),
            Stage::Fusion => ExpectedOutput::Fusion(ExpectedFusion::default()),
            Stage::Rerank => ExpectedOutput::Rerank(ExpectedRerank::default()),
        }
    }

    /// The output, when every member is there.
    pub fn complete(&self) -> Option<Output> {
        Some(match self.clone() {
            ExpectedOutput::Gate(gate) => Output::Gate(GateOutput {
                class: gate.class?,
                ambiguity: gate.ambiguity?,
                budgets: gate.budgets?.into_iter().map(ExpectedBudget::complete).collect::<Option<_>>()?,
                rrf_k: gate.rrf_k?,
                rm3: gate.rm3?,
                rerank_depth: gate.rerank_depth?,
                reasons: gate.reasons?,
            }),
            ExpectedOutput::Fusion(fused) => {
                Output::Fusion(FusionOutput { ids: fused.ids?, scores: fused.scores?, contributions: fused.contributions? })
            }
            ExpectedOutput::Rerank(rerank) => Output::Rerank(RerankOutput { scores: rerank.scores? }),
        })
    }

    /// Every member as it is in `output`.
    pub fn all_of(output: &Output) -> ExpectedOutput {
        match output {
            Output::Gate(output) => ExpectedOutput::Gate(ExpectedGate {
                class: Some(output.class.clone()),
                ambiguity: Some(output.ambiguity),
                budgets: Some(output.budgets.iter().map(ExpectedBudget::all_of).collect()),
                rrf_k: Some(output.rrf_k),
                rm3: Some(output.rm3),
                rerank_depth: Some(output.rerank_depth),
                reasons: Some(output.reasons.clone()),
            }),
            Output::Fusion(output) => ExpectedOutput::Fusion(ExpectedFusion {
                ids: Some(output.ids.clone()),
                scores: Some(output.scores.clone()),
                contributions: Some(output.contributions.clone()),
            }),
            Output::Rerank(output) => ExpectedOutput::Rerank(ExpectedRerank { scores: Some(output.scores.clone()) }),
        }
    }
}

impl ExpectedBudget {
    fn complete(self) -> Option<Budget> {
        Some(Budget { channel: self.channel, depth: self.depth?, weight: self.weight?, reason: self.reason? })
    }

    fn all_of(budget: &Budget) -> ExpectedBudget {
        ExpectedBudget {
            channel: budget.channel.clone(),
            depth: Some(budget.depth),
            weight: Some(budget.weight),
            reason: Some(budget.reason.clone()),
        }
    }
}

/// Rows, best first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranking {
    pub ids: Vec<u64>,
    /// One for each id.
    pub scores: Vec<f32>,
}

impl Ranking {
    /// Rows in the order of their scores: descending, then as they came. A row without a
    /// score is left out.
    pub fn of_scores(ids: &[u64], scores: &[f32]) -> Ranking {
        let mut rows: Vec<(u64, f32)> = ids.iter().copied().zip(scores.iter().copied()).collect();
        // The sort is stable.
        rows.sort_by(|a, b| b.1.total_cmp(&a.1));
        let (ids, scores) = rows.into_iter().unzip();
        Ranking { ids, scores }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_ordered_by_score_then_as_they_came() {
        let check = |ids: &[u64], scores: &[f32], order: &[u64]| assert_eq!(Ranking::of_scores(ids, scores).ids, order);
        check(&[9, 4, 7, 1], &[0.5, 0.9, 0.5, 0.5], &[4, 9, 7, 1]);
        check(&[1, 2], &[-1.0, 0.0], &[2, 1]);
        check(&[], &[], &[]);
        check(&[1, 2, 3], &[0.1, 0.2], &[2, 1]);
    }

    #[test]
    fn an_output_is_told_apart_by_its_members() {
        let read = |json: &str| serde_json::from_str::<Output>(json).map(|output| output.stage());
        assert_eq!(read(r#"{"scores": [1.0]}"#).unwrap(), Stage::Rerank);
        assert_eq!(read(r#"{"ids": [1], "scores": [1.0], "contributions": []}"#).unwrap(), Stage::Fusion);
        assert!(read(r#"{"ids": [1]}"#).is_err());
    }
}
