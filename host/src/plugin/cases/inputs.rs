//! What a stage is called with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::outputs::{Output, Ranking};
use crate::types::Stage;

/// The arguments of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Input {
    Gate(GateInput),
    Fusion(FusionInput),
    Rerank(RerankInput),
}

/// A gate is given the query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateInput {
    pub query: Query,
}

/// A fusion is given the channels' lists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FusionInput {
    /// What the gate decided; the contract has it over 0.
    pub rrf_k: f32,
    pub runs: Vec<Run>,
}

/// A reranker is given the best rows, and may ask for what the documents hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RerankInput {
    pub query: Query,
    /// Best first.
    pub rows: Columns,
    /// One for each row at least, in any order.
    pub documents: Vec<Document>,
}

/// The query and what the host knows about it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    pub text: String,
    /// As the text index has them.
    pub terms: Vec<String>,
    /// One for each term: how many chunks hold it.
    pub document_frequencies: Vec<u32>,
    /// How many chunks the index has.
    pub documents: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identifiers: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phrases: Vec<String>,
    pub channels: Vec<String>,
    /// What the index knows of the terms: values under the names of columns, one for each
    /// term.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub evidence: BTreeMap<String, Vec<f32>>,
}

/// One channel's ranked list, best first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    pub channel: String,
    pub weight: f32,
    /// Each once.
    pub ids: Vec<u64>,
    /// One for each id.
    pub scores: Vec<f32>,
}

/// Rows as columns of one length.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Columns {
    /// Each once.
    pub ids: Vec<u64>,
    pub scores: Vec<f32>,
    /// What the index knows of the rows: values under the names of columns, one for each
    /// row.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub evidence: BTreeMap<String, Vec<f32>>,
}

/// What a reranker can learn of a chunk. Facts that are left out are empty, or 0; without
/// any score of a model the server has no such model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    pub id: u64,
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// The names of all symbols defined in the chunk, separated by spaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definitions: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// From 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_line: Option<u32>,
    /// Inclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_line: Option<u32>,
    /// Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_time: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What the late-interaction model says of this chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_interaction: Option<f32>,
    /// What the cross-encoder says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cross_encoder: Option<f32>,
}

impl Input {
    pub fn stage(&self) -> Stage {
        match self {
            Input::Gate(_) => Stage::Gate,
            Input::Fusion(_) => Stage::Fusion,
            Input::Rerank(_) => Stage::Rerank,
        }
    }

    /// Whether there is a query in it whose words decide what comes out.
    pub fn depends_on_query_text(&self) -> bool {
        match self {
            Input::Gate(_) | Input::Rerank(_) => true,
            Input::Fusion(_) => false,
        }
    }

    /// The rows in the order that an output of this call puts them in; none for a gate
    /// and for an output of another stage.
    ///
    /// After a rerank: score descending, then the order before, as the host sorts.
    pub fn ranking(&self, output: &Output) -> Option<Ranking> {
        match (self, output) {
            (Input::Fusion(_), Output::Fusion(fused)) => Some(Ranking { ids: fused.ids.clone(), scores: fused.scores.clone() }),
            (Input::Rerank(input), Output::Rerank(output)) => Some(Ranking::of_scores(&input.rows.ids, &output.scores)),
            _ => None,
        }
    }
}
