//! The embedding that needs no download: latent semantic analysis over the terms of
//! the text index, trained on the corpus while it is indexed.

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::lsa::{LsaError, LsaModel, LsaOptions};
use super::{EmbedError, Embedder, EmbedderInfo};
use crate::index::tokenize::Tokenizer;
use crate::telemetry::Span;

/// Passages embedded between two reports of progress.
const PROGRESS_STEP: usize = 2_048;

/// The model with the tokenizer it was trained with.
pub struct BuiltinEmbedder {
    model: LsaModel,
    tokenizer: Tokenizer,
}

impl BuiltinEmbedder {
    pub fn new(model: LsaModel) -> BuiltinEmbedder {
        BuiltinEmbedder { model, tokenizer: Tokenizer::default() }
    }

    /// Trains on the passages themselves.
    ///
    /// # Errors
    /// When there are no terms to learn from, as in an empty corpus.
    pub fn train(passages: &[&str], options: &LsaOptions) -> Result<BuiltinEmbedder, LsaError> {
        let tokenizer = Tokenizer::default();
        let model = LsaModel::train(passages, &|text, sink| tokenizer.terms(text, &mut |term, _| sink(term)), options)?;
        Ok(BuiltinEmbedder { model, tokenizer })
    }

    pub fn model(&self) -> &LsaModel {
        &self.model
    }
}

impl Embedder for BuiltinEmbedder {
    fn info(&self) -> EmbedderInfo {
        EmbedderInfo { kind: "lsa", model: format!("lsa-{}", self.model.dimension()), dimension: self.model.dimension() }
    }

    fn embed_query<'a>(&'a self, text: &'a str, _span: &'a Span) -> BoxFuture<'a, Result<Option<Vec<f32>>, EmbedError>> {
        let vector = self.model.embed(text, &|text, sink| self.tokenizer.terms(text, &mut |term, _| sink(term)));
        futures::future::ready(Ok(vector)).boxed()
    }

    fn embed_passages<'a>(
        &'a self,
        texts: &'a [&'a str],
        on_progress: &'a (dyn Fn(usize) + Sync),
    ) -> BoxFuture<'a, Result<Vec<f32>, EmbedError>> {
        let mut rows = Vec::with_capacity(texts.len() * self.model.dimension());
        for (step, part) in texts.chunks(PROGRESS_STEP).enumerate() {
            rows.extend(self.model.embed_all(part, &|text, sink| self.tokenizer.terms(text, &mut |term, _| sink(term))));
            on_progress((step * PROGRESS_STEP + part.len()).min(texts.len()));
        }
        futures::future::ready(Ok(rows)).boxed()
    }
}
