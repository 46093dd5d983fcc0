//! Scores of models on vLLM servers, for rerankers. In: a query and texts. Out: a number for each
//! text, or why there are none.
//!
//! A cross-encoder reads query and text together and answers with the score (`POST /v1/rerank`).
//! For late interaction the server gives a vector for each token (`POST /pooling`) and the
//! comparison is done here. What an answer says is checked before it is used; requests are retried
//! and a failing server is left alone as for embeddings.

mod maxsim;
mod wire;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryFutureExt, stream};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::EmbedError;
use super::vllm::VllmError;
use super::vllm::breaker::Breaker;
use super::vllm::service::{
    Answered, BATCH_SIZE_MAX, Call, DURATION_MS_MAX, Limit, Service, ServiceSettings, Unfinished, prefixed, within, without_password,
};
use super::vllm::wire::Usage;
use crate::telemetry::conventions::{attr, span as span_name};
use crate::telemetry::{Fact, Span};
use maxsim::{TokenRows, max_sims};
use wire::{
    POOLING_ANSWER_BYTES_MAX, PoolingAnswer, PoolingRequest, RerankAnswer, RerankRequest, relevances, rerank_answer_bytes_max, token_rows,
};

/// Upper end of the first wait between attempts, doubled with each: somebody waits for the answer.
const BACKOFF_MS: u64 = 50;
/// Upper end of every wait between attempts, also of one that the server asks for.
const BACKOFF_MS_MAX: u64 = 500;
/// A megabyte: no model reads as much of one text.
const DOCUMENT_BYTES_MAX: usize = 1 << 20;

/// Which models score for rerankers; `None` for none.
#[derive(Clone, Debug, Default)]
pub struct ScoringSettings {
    pub cross_encoder: Option<ScorerSettings>,
    pub late_interaction: Option<ScorerSettings>,
}

/// Where a model is served and how it is asked.
#[derive(Clone, PartialEq)]
pub struct ScorerSettings {
    /// `http://127.0.0.1:8002`, with or without `/v1`; no user, password or query in it.
    pub base_url: String,
    /// The served name of the model.
    pub model: String,
    /// Sent as a bearer token, shown nowhere.
    pub api_key: Option<String>,
    /// For a call as a whole, with all its requests and their retries; a caller may allow less.
    pub timeout_ms: u64,
    /// Documents a request.
    pub batch_size: usize,
    /// Requests at a time, of all calls together.
    pub concurrency: usize,
    /// Attempts at a request, the first included.
    pub attempts_max: u32,
    /// Longer documents are cut, at a character.
    pub document_bytes_max: usize,
    /// Put before the query, `[unused0] ` for ColBERT.
    pub query_prefix: String,
    /// Put before a document, `[unused1] ` for ColBERT.
    pub document_prefix: String,
}

impl Default for ScorerSettings {
    /// A server on this machine, next to that of the embedder; the model has to be named.
    fn default() -> Self {
        ScorerSettings {
            base_url: "http://127.0.0.1:8002".into(),
            model: String::new(),
            api_key: None,
            timeout_ms: 2_000,
            batch_size: 32,
            concurrency: 2,
            attempts_max: 2,
            document_bytes_max: 8_192,
            query_prefix: String::new(),
            document_prefix: String::new(),
        }
    }
}

/// Why there are no scorers.
#[derive(Debug, thiserror::Error)]
#[error("scoring.{scorer}: {problem}")]
pub struct ScorersError {
    /// `cross_encoder` or `late_interaction`.
    pub scorer: &'static str,
    pub problem: VllmError,
}

/// Why there are no scores.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScoringError {
    /// No such model is configured; the message names the key that sets it.
    #[error("{0}")]
    Unsupported(String),
    /// The model did not answer in time, refused, or gave an answer that can't be used. The message
    /// names the model; it is one line and not long.
    #[error("{0}")]
    Unavailable(String),
}

/// The models that score. Shared by all searches, so that they take turns and know of each other's
/// failures.
#[derive(Debug)]
pub struct Scorers {
    cross_encoder: Option<Scorer>,
    late_interaction: Option<Scorer>,
}

impl Scorers {
    /// Asks nothing of the servers.
    ///
    /// # Errors
    /// [`ScorersError`] for a setting that can't be used.
    pub fn new(settings: ScoringSettings) -> Result<Scorers, ScorersError> {
        let scorer = |kind: Kind, settings: Option<ScorerSettings>| {
            let scorer = settings.map(|settings| Scorer::new(kind, settings)).transpose();
            scorer.map_err(|problem| ScorersError { scorer: kind.key(), problem })
        };
        Ok(Scorers {
            cross_encoder: scorer(Kind::CrossEncoder, settings.cross_encoder)?,
            late_interaction: scorer(Kind::LateInteraction, settings.late_interaction)?,
        })
    }

    /// Relevance of each text to the query: finite, higher is better, in the order of the texts, on
    /// the scale of the model. No texts give no scores and no request. Each request is a span below
    /// `parent`; the call ends within `limit`.
    ///
    /// # Errors
    /// See [`ScoringError`]; there are no scores for some of the texts only.
    pub async fn cross_encoder(&self, query: &str, texts: &[String], parent: &Span, limit: Duration) -> Result<Vec<f32>, ScoringError> {
        Kind::CrossEncoder.of(&self.cross_encoder)?.scores(query, texts, parent, limit).await
    }

    /// MaxSim of the query with each text: within ± the number of the query's tokens, 0 for a blank
    /// text or query. Otherwise as [`Self::cross_encoder`].
    ///
    /// # Errors
    /// See [`ScoringError`]; there are no scores for some of the texts only.
    pub async fn late_interaction(&self, query: &str, texts: &[String], parent: &Span, limit: Duration) -> Result<Vec<f32>, ScoringError> {
        let began = Instant::now();
        let scores = Kind::LateInteraction.of(&self.late_interaction)?.scores(query, texts, parent, limit).await;
        parent.record(&Fact::LateInteractionScored { seconds: began.elapsed().as_secs_f64() });
        scores
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    CrossEncoder,
    LateInteraction,
}

impl Kind {
    /// The name of its settings.
    fn key(self) -> &'static str {
        match self {
            Kind::CrossEncoder => "cross_encoder",
            Kind::LateInteraction => "late_interaction",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Kind::CrossEncoder => "/v1/rerank",
            Kind::LateInteraction => "/pooling",
        }
    }

    fn of(self, scorer: &Option<Scorer>) -> Result<&Scorer, ScoringError> {
        let name = match self {
            Kind::CrossEncoder => "cross-encoder",
            Kind::LateInteraction => "late-interaction model",
        };
        scorer.as_ref().ok_or_else(|| {
            let key = self.key();
            ScoringError::Unsupported(format!("no {name} is configured; `scoring.{key}.model` and `scoring.{key}.url` set one"))
        })
    }
}

/// One model.
struct Scorer {
    kind: Kind,
    service: Service,
    settings: ScorerSettings,
    breaker: Breaker,
    turns: Semaphore,
}

/// What a call is about, for all of its requests.
#[derive(Clone, Copy)]
struct Scoring<'a> {
    query: &'a str,
    parent: &'a Span,
    deadline: Instant,
    /// How long it was to the deadline, for messages.
    ms: u64,
}

impl Scorer {
    fn new(kind: Kind, settings: ScorerSettings) -> Result<Scorer, VllmError> {
        within("timeout_ms", settings.timeout_ms, DURATION_MS_MAX)?;
        within("batch_size", settings.batch_size as u64, BATCH_SIZE_MAX as u64)?;
        within("document_bytes_max", settings.document_bytes_max as u64, DOCUMENT_BYTES_MAX as u64)?;
        let service = ServiceSettings {
            base_url: settings.base_url.clone(),
            model: settings.model.clone(),
            api_key: settings.api_key.clone(),
            concurrency: settings.concurrency,
            attempts_max: settings.attempts_max,
            backoff_ms: BACKOFF_MS,
            backoff_ms_max: BACKOFF_MS_MAX,
        };
        let service = Service::new(service, kind.path())?;
        let turns = Semaphore::new(settings.concurrency);
        Ok(Scorer { kind, service, settings, breaker: Breaker::default(), turns })
    }

    async fn scores(&self, query: &str, texts: &[String], parent: &Span, limit: Duration) -> Result<Vec<f32>, ScoringError> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let limit = limit.min(Duration::from_millis(self.settings.timeout_ms));
        let query = prefixed_unless_blank(&self.settings.query_prefix, query);
        let scoring = Scoring { query: &query, parent, deadline: Instant::now() + limit, ms: limit.as_millis() as u64 };
        // Each wait below ends at the deadline by itself, and says what it waited for: for a turn,
        // for the server with all attempts, for answers to be read.
        let outcome = self.admitted(&scoring, texts).await;
        outcome.map_err(|error| ScoringError::Unavailable(error.to_string()))
    }

    async fn admitted(&self, scoring: &Scoring<'_>, texts: &[String]) -> Result<Vec<f32>, EmbedError> {
        // Asked once a call: of requests side by side only one could be the one that tries again.
        if let Err(left) = self.breaker.admit(Instant::now()) {
            let error = self.service.unavailable(format!("not asked for another {} ms, it failed repeatedly", left.as_millis()));
            failed(&self.span(scoring.parent, 0), &error);
            return Err(error);
        }
        let documents: Vec<Cow<'_, str>> = texts.iter().map(|text| self.document(text)).collect();
        match self.kind {
            Kind::CrossEncoder => self.relevances(scoring, &documents).await,
            Kind::LateInteraction => self.max_sims(scoring, &documents).await,
        }
    }

    /// A text as it is sent: cut, with the prefix; nothing when it is blank.
    fn document<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let cut = &text[..text.floor_char_boundary(self.settings.document_bytes_max)];
        prefixed_unless_blank(&self.settings.document_prefix, cut)
    }

    async fn relevances(&self, scoring: &Scoring<'_>, documents: &[Cow<'_, str>]) -> Result<Vec<f32>, EmbedError> {
        let size = self.settings.batch_size;
        let batches = (0..documents.len()).step_by(size).map(|start| {
            let batch = &documents[start..documents.len().min(start + size)];
            self.rerank(scoring, batch).map_ok(move |scores| (start, scores))
        });
        let mut scores = vec![0.0; documents.len()];
        let mut batches = stream::iter(batches).buffer_unordered(self.settings.concurrency);
        while let Some(batch) = batches.next().await {
            let (start, batch) = batch?;
            scores[start..][..batch.len()].copy_from_slice(&batch);
        }
        Ok(scores)
    }

    async fn rerank(&self, scoring: &Scoring<'_>, documents: &[Cow<'_, str>]) -> Result<Vec<f32>, EmbedError> {
        let span = &self.span(scoring.parent, documents.len());
        let work = async {
            let request = RerankRequest::new(&self.settings.model, scoring.query, documents);
            let answered = self.ask(scoring, &request, rerank_answer_bytes_max(documents), span).await?;
            let answer: RerankAnswer = answered.json().map_err(|detail| self.service.bad_answer(&detail))?;
            describe_answer(span, answer.results.len(), answer.usage);
            relevances(answer.results, documents.len()).map_err(|detail| self.service.bad_answer(&detail))
        };
        self.request(scoring, span, work).await
    }

    async fn max_sims(&self, scoring: &Scoring<'_>, documents: &[Cow<'_, str>]) -> Result<Vec<f32>, EmbedError> {
        let mut scores = vec![0.0; documents.len()];
        // Some models refuse a text without tokens. There is nothing in it to compare.
        let places: Vec<usize> = (0..documents.len()).filter(|&at| !documents[at].is_empty()).collect();
        if scoring.query.is_empty() || places.is_empty() {
            return Ok(scores);
        }
        let query = self.token_embed(scoring, &[Cow::Borrowed(scoring.query)], None, Arc::new).await?;
        let size = self.settings.batch_size;
        let batches = (0..places.len()).step_by(size).map(|start| {
            let places = &places[start..places.len().min(start + size)];
            self.compare(scoring, query.clone(), places.iter().map(|&place| Cow::Borrowed(documents[place].as_ref())).collect())
                .map_ok(move |scores| (places, scores))
        });
        let mut batches = stream::iter(batches).buffer_unordered(self.settings.concurrency);
        while let Some(batch) = batches.next().await {
            let (places, batch) = batch?;
            for (&place, score) in places.iter().zip(batch) {
                scores[place] = score;
            }
        }
        Ok(scores)
    }

    async fn compare(&self, scoring: &Scoring<'_>, query: Arc<TokenRows>, documents: Vec<Cow<'_, str>>) -> Result<Vec<f32>, EmbedError> {
        let (dimension, deadline) = (query.dimension(), scoring.deadline);
        let then = move |rows: TokenRows| max_sims(&query, &rows, deadline);
        let scores = self.token_embed(scoring, &documents, Some(dimension), then).await?;
        scores.ok_or_else(|| self.service.unavailable(format!("its vectors came too late to be compared within {} ms", scoring.ms)))
    }

    /// Token vectors, and what `then` makes of them. An answer has megabytes, which take longer to
    /// read (25 MB: a tenth of a second) than to compare: both are done on a thread that may block.
    /// It goes on when the call is dropped, with as much as one answer can hold, and compares
    /// nothing after the deadline.
    async fn token_embed<T: Send + 'static>(
        &self,
        scoring: &Scoring<'_>,
        texts: &[Cow<'_, str>],
        dimension: Option<usize>,
        then: impl FnOnce(TokenRows) -> T + Send + 'static,
    ) -> Result<T, EmbedError> {
        let span = &self.span(scoring.parent, texts.len());
        let work = async {
            let request = PoolingRequest::new(&self.settings.model, texts);
            let answered = self.ask(scoring, &request, POOLING_ANSWER_BYTES_MAX, span).await?;
            let count = texts.len();
            let read = tokio::task::spawn_blocking(move || {
                let answer: PoolingAnswer = answered.json()?;
                drop(answered);
                let rows = token_rows(answer.data, count, dimension)?;
                Ok((answer.usage, rows.rows(), rows.dimension(), then(rows)))
            });
            let read = match timeout_at(scoring.deadline, read).await {
                Ok(Ok(read)) => read.map_err(|detail: String| self.service.bad_answer(&detail)),
                Ok(Err(error)) => Err(self.service.unavailable(format!("its answer was not read: {error}"))),
                Err(_) => Err(self.service.unavailable(format!("its answer was not read within {} ms", scoring.ms))),
            };
            let (usage, rows, dimension, made) = read?;
            describe_answer(span, rows, usage);
            span.set(attr::VLLM_EMBED_DIM, dimension as i64);
            Ok(made)
        };
        self.request(scoring, span, work).await
    }

    /// One request from its turn to what is made of its answer, as `span` shows it.
    async fn request<T>(
        &self,
        scoring: &Scoring<'_>,
        span: &Span,
        work: impl Future<Output = Result<T, EmbedError>>,
    ) -> Result<T, EmbedError> {
        let unfinished = Unfinished::new(span);
        let turn = timeout_at(scoring.deadline, self.turns.acquire()).await;
        // A turn that comes with the deadline is of no use, and no fault of the server.
        let outcome = match turn {
            Ok(Ok(_turn)) if Instant::now() < scoring.deadline => work.await,
            _ => Err(self.service.unavailable(format!("its turn did not come within {} ms", scoring.ms))),
        };
        unfinished.ended();
        if let Err(error) = &outcome {
            failed(span, error);
        }
        outcome
    }

    async fn ask<R: Serialize>(
        &self,
        scoring: &Scoring<'_>,
        request: &R,
        answer_bytes_max: usize,
        span: &Span,
    ) -> Result<Answered, EmbedError> {
        let limit = Limit::Whole { deadline: scoring.deadline, ms: scoring.ms };
        let outcome = self.service.call(Call { request, answer_bytes_max, limit, span: Some(span) }).await;
        match outcome {
            Err(EmbedError::Unavailable { .. }) => self.breaker.failed(Instant::now()),
            _ => self.breaker.answered(),
        }
        outcome
    }

    fn span(&self, parent: &Span, batch: usize) -> Span {
        let (name, operation) = match self.kind {
            Kind::CrossEncoder => (span_name::VLLM_RERANK, "rerank"),
            Kind::LateInteraction => (span_name::VLLM_TOKEN_EMBED, "embeddings"),
        };
        let span = parent.client(name);
        self.service.describe(&span, operation, batch);
        span
    }
}

/// `rows`: scores or token vectors.
fn describe_answer(span: &Span, rows: usize, usage: Option<Usage>) {
    span.set(attr::VLLM_ROWS, rows as i64);
    if let Some(usage) = usage {
        span.set(attr::GEN_AI_USAGE_INPUT_TOKENS, usage.prompt_tokens as i64);
    }
}

fn failed(span: &Span, error: &EmbedError) {
    span.fail(error.class(), &error.to_string());
}

/// Empty for a blank text, which a prefix would make look like one with words.
fn prefixed_unless_blank<'a>(prefix: &str, text: &'a str) -> Cow<'a, str> {
    if text.trim().is_empty() { Cow::Borrowed("") } else { prefixed(prefix, text) }
}

impl fmt::Debug for ScorerSettings {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.debug_struct("ScorerSettings")
            .field("base_url", &without_password(&self.base_url))
            .field("model", &self.model)
            .field("api_key", &self.api_key.as_ref().map(|_| "[key]"))
            .field("timeout_ms", &self.timeout_ms)
            .field("batch_size", &self.batch_size)
            .field("concurrency", &self.concurrency)
            .field("attempts_max", &self.attempts_max)
            .field("document_bytes_max", &self.document_bytes_max)
            .field("query_prefix", &self.query_prefix)
            .field("document_prefix", &self.document_prefix)
            .finish()
    }
}

impl fmt::Debug for Scorer {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.debug_struct("Scorer").field("kind", &self.kind).field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
