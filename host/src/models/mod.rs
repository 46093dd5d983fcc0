//! Models that turn text into vectors, or compare texts. Which ones serve is a matter of
//! configuration.

pub mod builtin;
pub mod linalg;
pub mod lsa;
pub mod scoring;
pub mod vllm;

use futures::future::BoxFuture;

use crate::telemetry::Span;

/// Which embedder makes the dense vectors.
#[derive(Clone, Debug)]
pub enum EmbedderSettings {
    /// No dense channel at all.
    Off,
    /// Trained on the corpus.
    Builtin(lsa::LsaOptions),
    /// A vLLM server.
    Vllm(vllm::VllmSettings),
}

/// What an embedder is, for manifests and spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbedderInfo {
    /// `lsa` or `vllm`.
    pub kind: &'static str,
    pub model: String,
    /// Length of every vector.
    pub dimension: usize,
}

/// Turns texts into vectors of unit length.
pub trait Embedder: Send + Sync {
    fn info(&self) -> EmbedderInfo;

    /// One query. `None` when nothing in the text is known to the model. What it
    /// asks of others becomes children of `span`.
    ///
    /// # Errors
    /// See [`EmbedError`]; the search then goes on without this channel.
    fn embed_query<'a>(&'a self, text: &'a str, span: &'a Span) -> BoxFuture<'a, Result<Option<Vec<f32>>, EmbedError>>;

    /// Many passages: n × dimension, row-major; a passage without anything known is
    /// a row of zeros. No texts give no rows. `on_progress` gets the number done.
    ///
    /// # Errors
    /// See [`EmbedError`]; no part of the rows is returned then.
    fn embed_passages<'a>(
        &'a self,
        texts: &'a [&'a str],
        on_progress: &'a (dyn Fn(usize) + Sync),
    ) -> BoxFuture<'a, Result<Vec<f32>, EmbedError>>;
}

/// Why a model gave no vectors, or no scores.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// Nobody answered, or not in time, also after retries.
    #[error("{model} did not answer: {detail}")]
    Unavailable { model: String, detail: String },
    /// The service refused the request; the same one would be refused again.
    #[error("{model} refused the request ({status}): {detail}")]
    Refused { model: String, status: u16, detail: String },
    /// The answer is not what the protocol or the index asks for.
    #[error("{model} gave an unusable answer: {detail}")]
    BadAnswer { model: String, detail: String },
}

impl EmbedError {
    /// The value of `error.type`.
    pub fn class(&self) -> &'static str {
        match self {
            EmbedError::Unavailable { .. } => "unavailable",
            EmbedError::Refused { .. } => "refused",
            EmbedError::BadAnswer { .. } => "bad_answer",
        }
    }
}
