//! The host's models as a rerank call sees them: scores of its query with its rows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::bindings::scoring::ScoringError as WireError;
use crate::models::scoring::{Scorers, ScoringError};
use crate::telemetry::Span;

/// Which model a reranker asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScoringModel {
    LateInteraction,
    CrossEncoder,
}

impl ScoringModel {
    pub fn name(self) -> &'static str {
        match self {
            ScoringModel::LateInteraction => "late-interaction",
            ScoringModel::CrossEncoder => "cross-encoder",
        }
    }
}

/// Where the scores of one call come from.
#[derive(Clone)]
pub enum Scoring {
    /// The models, asked about the query of the call. A guest's call is synchronous:
    /// the thread that runs the guest waits for the model, never longer than the call
    /// has left.
    Models {
        scorers: Arc<Scorers>,
        query: Arc<str>,
        /// Of the runtime that sends the requests.
        runtime: tokio::runtime::Handle,
    },
    /// Scores that are known beforehand, by chunk.
    Known(Arc<BTreeMap<u64, KnownScores>>),
}

/// What the models say of one chunk, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct KnownScores {
    pub late_interaction: Option<f32>,
    pub cross_encoder: Option<f32>,
}

impl Scoring {
    /// One score for each row; `ids` and `texts` are columns.
    pub(super) fn ask(
        &self,
        model: ScoringModel,
        ids: &[u64],
        texts: &[String],
        span: &Span,
        left: Duration,
    ) -> Result<Vec<f32>, WireError> {
        match self {
            Scoring::Models { scorers, query, runtime } => runtime
                .block_on(async {
                    match model {
                        ScoringModel::LateInteraction => scorers.late_interaction(query, texts, span, left).await,
                        ScoringModel::CrossEncoder => scorers.cross_encoder(query, texts, span, left).await,
                    }
                })
                .map_err(|error| match error {
                    ScoringError::Unsupported(message) => WireError::Unsupported(message),
                    ScoringError::Unavailable(message) => WireError::Unavailable(message),
                }),
            Scoring::Known(scores) => {
                let score = |id: &u64| {
                    scores.get(id).and_then(|known| match model {
                        ScoringModel::LateInteraction => known.late_interaction,
                        ScoringModel::CrossEncoder => known.cross_encoder,
                    })
                };
                let known: Option<Vec<f32>> = ids.iter().map(score).collect();
                known.ok_or_else(|| WireError::Unsupported(format!("not every row has a {} score", model.name())))
            }
        }
    }
}
