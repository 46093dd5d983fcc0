//! A reranker that changes nothing, or does wrong.

use hostile::{Parameters, misbehave};
use spanloom_plugin::{Call, Candidates, Documents, PluginError, Profile, Rerank, Span};

spanloom_plugin::export_rerank!(Hostile);

struct Hostile(Parameters);

impl Rerank for Hostile {
    type Parameters = Parameters;

    fn configure(parameters: Parameters) -> Result<Hostile, PluginError> {
        hostile::configure(parameters).map(Hostile)
    }

    fn rerank(&self, stage: &Span, _: &Call, _: &Profile, rows: &Candidates, documents: &Documents) -> Result<Vec<f32>, PluginError> {
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
            _ => {}
        }
        Ok(scores)
    }
}
