//! A reranker that changes nothing, or does wrong.

use hostile::{Parameters, misbehave};
use spanloom_plugin::{Call, Candidates, Documents, PluginError, Profile, Rerank, ScoringError, Span, evidence};

spanloom_plugin::export_rerank!(Hostile);

/// What a query has to say for the mode `ill` to fail.
const ILLNESS: &str = "fever";

struct Hostile(Parameters);

impl Rerank for Hostile {
    type Parameters = Parameters;

    fn configure(parameters: Parameters) -> Result<Hostile, PluginError> {
        hostile::configure(parameters).map(Hostile)
    }

    fn rerank(&self, stage: &Span, _: &Call, query: &Profile, rows: &Candidates, documents: &Documents) -> Result<Vec<f32>, PluginError> {
        let mode = self.0.mode.as_str();
        misbehave(mode, stage)?;
        let mut scores = rows.scores.clone();
        match mode {
            "nan_scores" => scores[0] = f32::NAN,
            "infinite_scores" => scores[0] = f32::NEG_INFINITY,
            "wrong_length" => scores.push(0.0),
            "unknown_id" => {
                let _open = stage.child("hostile.asks");
                drop(documents.texts(&[u64::MAX]));
            }
            "text_flood" => {
                // The same row over and over, far beyond what may cross in one call.
                drop(documents.texts(&vec![rows.ids[0]; 1 << 20]));
            }
            "asks_texts" => drop(documents.texts(&rows.ids)?),
            "asks_evidence" => hostile::tell_evidence(stage, &documents.evidence(&rows.ids)?),
            "asks_terms" => hostile::tell_evidence(stage, &evidence::terms(query)?),
            "asks_strange_row" => hostile::ask_row(u64::MAX),
            "asks_facts" => drop(documents.look_up(&rows.ids)?),
            "asks_late" => scores = documents.late_interaction(&rows.ids).map_err(no_scores)?,
            "asks_cross" => scores = documents.cross_encoder(&rows.ids).map_err(no_scores)?,
            "parts_short" => hostile::tell_parts(&["a", "b"], &vec![1.0; rows.ids.len()]),
            "parts_nan" => hostile::tell_parts(&["a"], &vec![f32::NAN; rows.ids.len()]),
            "parts_good" => hostile::tell_parts(&["a"], &vec![1.0; rows.ids.len()]),
            "ill" if query.text.contains(ILLNESS) => panic!("it is told to"),
            _ => {}
        }
        Ok(scores)
    }
}

fn no_scores(error: ScoringError) -> PluginError {
    match error {
        ScoringError::Unsupported(message) => PluginError::Unsupported(message),
        ScoringError::Unavailable(message) => PluginError::Internal(message),
    }
}
