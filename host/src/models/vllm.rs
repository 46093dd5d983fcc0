//! Dense vectors of a vLLM server. In: texts. Out: vectors of unit length, or why there are none.
//!
//! Speaks `POST /v1/embeddings`, the OpenAI-compatible endpoint. What an answer says is checked
//! before it is used: one vector a text, each index once, the length of the index at hand, finite
//! numbers. A failure that may pass is tried again; one that would come back the same is not.

pub(super) mod breaker;
pub(super) mod service;
#[cfg(test)]
pub(super) mod stand_in;
pub(super) mod wire;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::{EmbedError, Embedder, EmbedderInfo};
use crate::telemetry::Span;
use crate::telemetry::conventions::{attr, span as span_name};
use breaker::Breaker;
use service::{
    BATCH_SIZE_MAX, Call, DURATION_MS_MAX, Limit, Service, ServiceSettings, Unfinished, prefixed, unusable, within, without_password,
};
use wire::{Answer, DIMENSION_MAX, Request, Rows, answer_bytes_max, unit_rows};

/// What is embedded to learn the dimension.
const PROBE_TEXT: &str = "probe";

/// Where the server is and how it is asked.
#[derive(Clone)]
pub struct VllmSettings {
    /// `http://127.0.0.1:8001`, with or without `/v1`; no user, password or query in it.
    pub base_url: String,
    /// The served name of the model.
    pub model: String,
    /// Asks for vectors of this length. Only for Matryoshka models; others refuse it.
    pub dimension: Option<usize>,
    /// Sent as a bearer token, shown nowhere.
    pub api_key: Option<String>,
    /// Passages a request.
    pub batch_size: usize,
    /// Requests at a time, for queries and for passages each.
    pub concurrency: usize,
    /// For a query as a whole: waiting for a turn, attempts and waits between them.
    pub timeout_ms: u64,
    /// For each attempt at a batch of passages, and for a probe as a whole.
    pub index_timeout_ms: u64,
    /// Attempts at a request, the first included.
    pub attempts_max: u32,
    /// Upper end of the first wait; doubles with each attempt.
    pub backoff_ms: u64,
    /// Upper end of every wait, also of one that the server asks for.
    pub backoff_ms_max: u64,
    /// Put before a query, `query: ` for the E5 family.
    pub query_prefix: String,
    /// Put before a passage.
    pub passage_prefix: String,
    /// Has the server cut longer inputs; without it they are refused.
    pub truncate_prompt_tokens: Option<u32>,
}

impl Default for VllmSettings {
    /// A server on this machine; the model has to be named.
    fn default() -> Self {
        VllmSettings {
            base_url: "http://127.0.0.1:8001".into(),
            model: String::new(),
            dimension: None,
            api_key: None,
            batch_size: 64,
            concurrency: 2,
            timeout_ms: 2_000,
            index_timeout_ms: 60_000,
            attempts_max: 4,
            backoff_ms: 100,
            backoff_ms_max: 5_000,
            query_prefix: String::new(),
            passage_prefix: String::new(),
            truncate_prompt_tokens: None,
        }
    }
}

/// Why there is no embedder.
#[derive(Debug, thiserror::Error)]
pub enum VllmError {
    /// A setting that can't be used; the message says what would be.
    #[error("vLLM setting `{name}`: {problem}")]
    Setting { name: &'static str, problem: String },
    #[error("the HTTP client could not be built: {0}")]
    Client(reqwest::Error),
    /// The server was asked for the dimension and gave none.
    #[error(transparent)]
    Probe(#[from] EmbedError),
}

/// Embeds by asking a vLLM server.
pub struct VllmEmbedder {
    embeddings: Embeddings,
    dimension: usize,
    breaker: Breaker,
    /// Apart from each other, so that queries don't wait behind batches that may take a minute.
    query_turns: Semaphore,
    batch_turns: Semaphore,
}

impl VllmEmbedder {
    /// An embedder whose dimension is known: from `expected_dimension`, that of an index, or from
    /// the settings. Asks nothing of the server.
    ///
    /// # Errors
    /// [`VllmError::Setting`], also when no dimension is known or the two differ.
    pub fn new(settings: VllmSettings, expected_dimension: Option<usize>) -> Result<Self, VllmError> {
        let dimension = match (settings.dimension, expected_dimension) {
            (Some(asked), Some(expected)) if asked != expected => {
                return Err(unusable("dimension", format!("{asked}, but the index has {expected}")));
            }
            (asked, expected) => asked.or(expected),
        };
        let Some(dimension) = dimension else {
            return Err(unusable("dimension", "not known; set it or ask the server for it"));
        };
        Self::with_dimension(Embeddings::new(settings)?, dimension)
    }

    /// An embedder of the dimension the server answers with.
    ///
    /// # Errors
    /// [`VllmError::Probe`] when the server gives no usable answer, otherwise as [`Self::new`].
    pub async fn connect(settings: VllmSettings) -> Result<Self, VllmError> {
        let embeddings = Embeddings::new(settings)?;
        let dimension = embeddings.probe(embeddings.settings.dimension).await?;
        Self::with_dimension(embeddings, dimension)
    }

    fn with_dimension(embeddings: Embeddings, dimension: usize) -> Result<Self, VllmError> {
        within("dimension", dimension as u64, DIMENSION_MAX as u64)?;
        let concurrency = embeddings.settings.concurrency;
        Ok(VllmEmbedder {
            embeddings,
            dimension,
            breaker: Breaker::default(),
            query_turns: Semaphore::new(concurrency),
            batch_turns: Semaphore::new(concurrency),
        })
    }

    /// The length of the vectors the server gives now, by embedding one word; it may differ from
    /// what this embedder expects.
    ///
    /// # Errors
    /// See [`EmbedError`].
    pub async fn probe(&self) -> Result<usize, EmbedError> {
        self.embeddings.probe(None).await
    }

    async fn query(&self, text: &str, parent: &Span) -> Result<Option<Vec<f32>>, EmbedError> {
        if text.trim().is_empty() {
            return Ok(None);
        }
        let span = parent.client(span_name::VLLM_EMBED);
        self.embeddings.service.describe(&span, "embeddings", 1);
        span.set(attr::VLLM_EMBED_DIM, self.dimension as i64);
        let unfinished = Unfinished::new(&span);
        let outcome = self.query_below(text, &span).await;
        unfinished.ended();
        match outcome {
            Ok(rows) => Ok(Some(rows.values)),
            Err(error) => {
                span.fail(error.class(), &error.to_string());
                Err(error)
            }
        }
    }

    async fn query_below(&self, text: &str, span: &Span) -> Result<Rows, EmbedError> {
        let Embeddings { service, settings } = &self.embeddings;
        let deadline = Instant::now() + Duration::from_millis(settings.timeout_ms);
        if let Err(left) = self.breaker.admit(Instant::now()) {
            let detail = format!("not asked for another {} ms, it failed repeatedly", left.as_millis());
            return Err(service.unavailable(detail));
        }
        let turn = timeout_at(deadline, self.query_turns.acquire()).await;
        // A turn that comes with the deadline is of no use, and no fault of the server.
        let (Ok(Ok(_turn)), true) = (turn, Instant::now() < deadline) else {
            let detail = format!("other queries took all of the {} ms", settings.timeout_ms);
            return Err(service.unavailable(detail));
        };
        let input = [prefixed(&settings.query_prefix, text)];
        let limit = Limit::Whole { deadline, ms: settings.timeout_ms };
        let outcome = self.embeddings.rows(&input, Some(self.dimension), limit, Some(span)).await;
        match outcome {
            Err(EmbedError::Unavailable { .. }) => self.breaker.failed(Instant::now()),
            _ => self.breaker.answered(),
        }
        outcome
    }

    async fn passages(&self, texts: &[&str], on_progress: &(dyn Fn(usize) + Sync)) -> Result<Vec<f32>, EmbedError> {
        let mut rows = vec![0.0; texts.len() * self.dimension];
        let asked: Vec<usize> = (0..texts.len()).filter(|&at| !texts[at].trim().is_empty()).collect();
        let mut done = texts.len() - asked.len();
        if done > 0 {
            on_progress(done);
        }
        let Embeddings { settings, .. } = &self.embeddings;
        let size = settings.batch_size;
        // Made one by one as there is room for them; a corpus has many.
        let batches = (0..asked.len()).step_by(size).map(|start| {
            let end = asked.len().min(start + size);
            self.batch(texts, &asked[start..end])
        });
        let mut batches = stream::iter(batches).buffer_unordered(settings.concurrency);
        while let Some(batch) = batches.next().await {
            let (places, vectors) = batch?;
            for (&place, vector) in places.iter().zip(vectors.values.chunks_exact(self.dimension)) {
                rows[place * self.dimension..][..self.dimension].copy_from_slice(vector);
            }
            done += places.len();
            on_progress(done);
        }
        Ok(rows)
    }

    async fn batch<'a>(&self, texts: &[&str], places: &'a [usize]) -> Result<(&'a [usize], Rows), EmbedError> {
        let Embeddings { service, settings } = &self.embeddings;
        // Each batch before this one is bounded, in attempts and in the time of each.
        let Ok(_turn) = self.batch_turns.acquire().await else {
            return Err(service.unavailable("this embedder is shut down"));
        };
        let input: Vec<_> = places.iter().map(|&place| prefixed(&settings.passage_prefix, texts[place])).collect();
        let limit = Limit::Attempt { ms: settings.index_timeout_ms };
        Ok((places, self.embeddings.rows(&input, Some(self.dimension), limit, None).await?))
    }
}

impl Embedder for VllmEmbedder {
    fn info(&self) -> EmbedderInfo {
        let model = self.embeddings.settings.model.clone();
        EmbedderInfo { kind: "vllm", model, dimension: self.dimension }
    }

    fn embed_query<'a>(&'a self, text: &'a str, span: &'a Span) -> BoxFuture<'a, Result<Option<Vec<f32>>, EmbedError>> {
        self.query(text, span).boxed()
    }

    fn embed_passages<'a>(
        &'a self,
        texts: &'a [&'a str],
        on_progress: &'a (dyn Fn(usize) + Sync),
    ) -> BoxFuture<'a, Result<Vec<f32>, EmbedError>> {
        self.passages(texts, on_progress).boxed()
    }
}

/// What is asked of the server, whoever asks.
struct Embeddings {
    service: Service,
    settings: VllmSettings,
}

impl Embeddings {
    fn new(settings: VllmSettings) -> Result<Embeddings, VllmError> {
        if let Some(dimension) = settings.dimension {
            within("dimension", dimension as u64, DIMENSION_MAX as u64)?;
        }
        within("batch_size", settings.batch_size as u64, BATCH_SIZE_MAX as u64)?;
        within("timeout_ms", settings.timeout_ms, DURATION_MS_MAX)?;
        within("index_timeout_ms", settings.index_timeout_ms, DURATION_MS_MAX)?;
        let service = ServiceSettings {
            base_url: settings.base_url.clone(),
            model: settings.model.clone(),
            api_key: settings.api_key.clone(),
            concurrency: settings.concurrency,
            attempts_max: settings.attempts_max,
            backoff_ms: settings.backoff_ms,
            backoff_ms_max: settings.backoff_ms_max,
        };
        Ok(Embeddings { service: Service::new(service, "/v1/embeddings")?, settings })
    }

    async fn probe(&self, dimension: Option<usize>) -> Result<usize, EmbedError> {
        let ms = self.settings.index_timeout_ms;
        let limit = Limit::Whole { deadline: Instant::now() + Duration::from_millis(ms), ms };
        let rows = self.rows(&[Cow::Borrowed(PROBE_TEXT)], dimension, limit, None).await?;
        Ok(rows.dimension)
    }

    /// A vector for each input. `dimension` is what every vector's length has to be; `None` takes
    /// any that is common to all.
    async fn rows(&self, input: &[Cow<'_, str>], dimension: Option<usize>, limit: Limit, span: Option<&Span>) -> Result<Rows, EmbedError> {
        let request = Request {
            model: &self.settings.model,
            input,
            encoding_format: "base64",
            dimensions: self.settings.dimension,
            truncate_prompt_tokens: self.settings.truncate_prompt_tokens,
        };
        let answer_bytes_max = answer_bytes_max(input.len(), dimension);
        let answered = self.service.call(Call { request: &request, answer_bytes_max, limit, span }).await?;
        let answer: Answer = answered.json().map_err(|detail| self.service.bad_answer(&detail))?;
        if let (Some(span), Some(usage)) = (span, &answer.usage) {
            span.set(attr::GEN_AI_USAGE_INPUT_TOKENS, usage.prompt_tokens as i64);
        }
        unit_rows(answer.data, input.len(), dimension).map_err(|detail| self.service.bad_answer(&detail))
    }
}

impl fmt::Debug for VllmSettings {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.debug_struct("VllmSettings")
            .field("base_url", &without_password(&self.base_url))
            .field("model", &self.model)
            .field("dimension", &self.dimension)
            .field("api_key", &self.api_key.as_ref().map(|_| "[key]"))
            .field("batch_size", &self.batch_size)
            .field("concurrency", &self.concurrency)
            .field("timeout_ms", &self.timeout_ms)
            .field("index_timeout_ms", &self.index_timeout_ms)
            .field("attempts_max", &self.attempts_max)
            .field("backoff_ms", &self.backoff_ms)
            .field("backoff_ms_max", &self.backoff_ms_max)
            .field("query_prefix", &self.query_prefix)
            .field("passage_prefix", &self.passage_prefix)
            .field("truncate_prompt_tokens", &self.truncate_prompt_tokens)
            .finish()
    }
}

impl fmt::Debug for VllmEmbedder {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.debug_struct("VllmEmbedder")
            .field("settings", &self.embeddings.settings)
            .field("dimension", &self.dimension)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
