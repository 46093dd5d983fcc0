//! Dense vectors of a vLLM server. In: texts. Out: vectors of unit length, or why there are none.
//!
//! Speaks `POST /v1/embeddings`, the OpenAI-compatible endpoint. What an answer says is checked
//! before it is used: one vector a text, each index once, the length of the index at hand, finite
//! numbers. A failure that may pass is tried again; one that would come back the same is not.

mod breaker;
mod wire;

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use opentelemetry::KeyValue;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};

use super::{EmbedError, Embedder, EmbedderInfo};
use crate::telemetry::conventions::{attr, event, header, span as span_name};
use crate::telemetry::{Span, traceparent};
use breaker::Breaker;
use wire::{Answer, DIMENSION_MAX, Request, Rows, answer_bytes_max, error_message, read, read_start, retry_after_ms, unit_rows};

/// A host that doesn't take a connection in this time won't; below the time of an attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// vLLM's server closes connections that were idle for 5 s; they are let go before.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// An hour: longer is a slip of the unit.
const DURATION_MS_MAX: u64 = 3_600_000;
/// vLLM queues what it can't run; more than this only fills its queue.
const CONCURRENCY_MAX: usize = 1024;
const BATCH_SIZE_MAX: usize = 4096;
/// Of a refusal only the message is read.
const ERROR_BYTES_MAX: usize = 1 << 16;
const MESSAGE_CHARS_MAX: usize = 400;
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
    service: Service,
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
        Self::with_dimension(Service::new(settings)?, dimension)
    }

    /// An embedder of the dimension the server answers with.
    ///
    /// # Errors
    /// [`VllmError::Probe`] when the server gives no usable answer, otherwise as [`Self::new`].
    pub async fn connect(settings: VllmSettings) -> Result<Self, VllmError> {
        let service = Service::new(settings)?;
        let dimension = service.probe(service.settings.dimension).await?;
        Self::with_dimension(service, dimension)
    }

    fn with_dimension(service: Service, dimension: usize) -> Result<Self, VllmError> {
        within("dimension", dimension as u64, DIMENSION_MAX as u64)?;
        let concurrency = service.settings.concurrency;
        Ok(VllmEmbedder {
            service,
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
        self.service.probe(None).await
    }

    async fn query(&self, text: &str, parent: &Span) -> Result<Option<Vec<f32>>, EmbedError> {
        if text.trim().is_empty() {
            return Ok(None);
        }
        let span = parent.client(span_name::VLLM_EMBED);
        self.service.describe(&span, self.dimension);
        let mut unfinished = Unfinished(Some(&span));
        let outcome = self.query_below(text, &span).await;
        unfinished.0 = None;
        match outcome {
            Ok(rows) => Ok(Some(rows.values)),
            Err(error) => {
                span.fail(error.class(), &error.to_string());
                Err(error)
            }
        }
    }

    async fn query_below(&self, text: &str, span: &Span) -> Result<Rows, EmbedError> {
        let settings = &self.service.settings;
        let deadline = Instant::now() + Duration::from_millis(settings.timeout_ms);
        if let Err(left) = self.breaker.admit(Instant::now()) {
            let detail = format!("not asked for another {} ms, it failed repeatedly", left.as_millis());
            return Err(self.service.unavailable(detail));
        }
        let turn = timeout_at(deadline, self.query_turns.acquire()).await;
        // A turn that comes with the deadline is of no use, and no fault of the server.
        let (Ok(Ok(_turn)), true) = (turn, Instant::now() < deadline) else {
            let detail = format!("other queries took all of the {} ms", settings.timeout_ms);
            return Err(self.service.unavailable(detail));
        };
        let input = [prefixed(&settings.query_prefix, text)];
        let call = Call {
            input: &input,
            dimension: Some(self.dimension),
            limit: Limit::Whole { deadline, ms: settings.timeout_ms },
            span: Some(span),
        };
        let outcome = self.service.call(call).await;
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
        let size = self.service.settings.batch_size;
        // Made one by one as there is room for them; a corpus has many.
        let batches = (0..asked.len()).step_by(size).map(|start| {
            let end = asked.len().min(start + size);
            self.batch(texts, &asked[start..end])
        });
        let mut batches = stream::iter(batches).buffer_unordered(self.service.settings.concurrency);
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
        let settings = &self.service.settings;
        // Each batch before this one is bounded, in attempts and in the time of each.
        let Ok(_turn) = self.batch_turns.acquire().await else {
            return Err(self.service.unavailable("this embedder is shut down"));
        };
        let input: Vec<_> = places.iter().map(|&place| prefixed(&settings.passage_prefix, texts[place])).collect();
        let call =
            Call { input: &input, dimension: Some(self.dimension), limit: Limit::Attempt { ms: settings.index_timeout_ms }, span: None };
        Ok((places, self.service.call(call).await?))
    }
}

impl Embedder for VllmEmbedder {
    fn info(&self) -> EmbedderInfo {
        let model = self.service.settings.model.clone();
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

/// The server: one request, tried until it works, is refused, or time is up.
struct Service {
    http: Client,
    endpoint: Url,
    settings: VllmSettings,
}

struct Call<'a> {
    input: &'a [Cow<'a, str>],
    /// What every vector's length has to be; `None` takes any that is common to all.
    dimension: Option<usize>,
    limit: Limit,
    /// The span of the call, whose context goes with the request.
    span: Option<&'a Span>,
}

/// Where time ends. `ms` is what the settings say, for messages.
#[derive(Clone, Copy)]
enum Limit {
    Whole { deadline: Instant, ms: u64 },
    Attempt { ms: u64 },
}

enum Failure {
    /// May be gone the next time. `cause` is a low-cardinality class.
    Passing {
        cause: Cow<'static, str>,
        detail: String,
        retry_after_ms: Option<u64>,
    },
    Lasting(EmbedError),
}

impl Service {
    fn new(mut settings: VllmSettings) -> Result<Service, VllmError> {
        if settings.model.trim().is_empty() {
            return Err(unusable("model", "the name of a served model is needed"));
        }
        if let Some(dimension) = settings.dimension {
            within("dimension", dimension as u64, DIMENSION_MAX as u64)?;
        }
        within("batch_size", settings.batch_size as u64, BATCH_SIZE_MAX as u64)?;
        within("concurrency", settings.concurrency as u64, CONCURRENCY_MAX as u64)?;
        within("attempts_max", settings.attempts_max.into(), u32::MAX.into())?;
        for (name, ms) in [
            ("timeout_ms", settings.timeout_ms),
            ("index_timeout_ms", settings.index_timeout_ms),
            ("backoff_ms", settings.backoff_ms),
            ("backoff_ms_max", settings.backoff_ms_max),
        ] {
            within(name, ms, DURATION_MS_MAX)?;
        }
        let endpoint = endpoint(&settings.base_url)?;
        settings.api_key = settings.api_key.map(|key| key.trim().to_owned()).filter(|key| !key.is_empty());
        let mut headers = HeaderMap::new();
        if let Some(key) = &settings.api_key {
            let mut bearer = HeaderValue::from_str(&format!("Bearer {key}"))
                .map_err(|_| unusable("api_key", "has characters that a header can't hold"))?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        let mut builder = Client::builder()
            .default_headers(headers)
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(2 * settings.concurrency);
        if is_loopback(&endpoint) {
            builder = builder.no_proxy();
        }
        Ok(Service { http: builder.build().map_err(VllmError::Client)?, endpoint, settings })
    }

    fn describe(&self, span: &Span, dimension: usize) {
        span.set(attr::VLLM_MODE, "http");
        span.set(attr::VLLM_MODEL_NAME, self.settings.model.clone());
        span.set(attr::VLLM_EMBED_DIM, dimension as i64);
        span.set(attr::VLLM_BATCH, 1_i64);
        span.set(attr::VLLM_ATTEMPTS, 0_i64);
        span.set(attr::GEN_AI_REQUEST_MODEL, self.settings.model.clone());
        span.set(attr::GEN_AI_OPERATION_NAME, "embeddings");
        span.set(attr::SERVER_ADDRESS, self.endpoint.host_str().unwrap_or_default().to_owned());
        if let Some(port) = self.endpoint.port_or_known_default() {
            span.set(attr::SERVER_PORT, i64::from(port));
        }
    }

    async fn probe(&self, dimension: Option<usize>) -> Result<usize, EmbedError> {
        let ms = self.settings.index_timeout_ms;
        let limit = Limit::Whole { deadline: Instant::now() + Duration::from_millis(ms), ms };
        let input = [Cow::Borrowed(PROBE_TEXT)];
        let rows = self.call(Call { input: &input, dimension, limit, span: None }).await?;
        Ok(rows.dimension)
    }

    async fn call(&self, call: Call<'_>) -> Result<Rows, EmbedError> {
        let mut attempt: u32 = 0;
        let mut before = String::new();
        loop {
            attempt += 1;
            if let Some(span) = call.span {
                span.set(attr::VLLM_ATTEMPTS, i64::from(attempt));
            }
            let (deadline, ms) = match call.limit {
                Limit::Whole { deadline, ms } => (deadline, ms),
                Limit::Attempt { ms } => (Instant::now() + Duration::from_millis(ms), ms),
            };
            let outcome = timeout_at(deadline, self.attempt(&call)).await.unwrap_or_else(|_| {
                // The attempt cut short knows less than the one before it.
                let detail = format!("no answer within {ms} ms{before}");
                Err(Failure::Passing { cause: "timeout".into(), detail, retry_after_ms: None })
            });
            let (cause, detail, retry_after_ms) = match outcome {
                Ok(rows) => return Ok(rows),
                Err(Failure::Lasting(error)) => return Err(error),
                Err(Failure::Passing { cause, detail, retry_after_ms }) => (cause, detail, retry_after_ms),
            };
            let wait = self.backoff(attempt, retry_after_ms);
            let too_late = matches!(call.limit, Limit::Whole { deadline, .. } if Instant::now() + wait >= deadline);
            if attempt >= self.settings.attempts_max || too_late {
                return Err(self.unavailable(format!("{detail} (attempts: {attempt})")));
            }
            if cause != "timeout" {
                before = format!(", before that {detail}");
            }
            let wait_ms = wait.as_millis() as i64;
            match call.span {
                Some(span) => span.event(
                    event::RETRY,
                    vec![KeyValue::new("attempt", i64::from(attempt)), KeyValue::new("cause", cause), KeyValue::new("wait_ms", wait_ms)],
                ),
                None => {
                    tracing::debug!(model = self.settings.model, attempt, %cause, wait_ms, "an embedding request is retried");
                }
            }
            sleep(wait).await;
        }
    }

    /// The wait after a failed attempt, counted from 1.
    ///
    /// `uniform(0, min(backoff_ms_max, backoff_ms · 2^(attempt-1)))`: "full jitter", Brooker,
    /// Exponential Backoff And Jitter, AWS Architecture Blog, 2015. Departure: never less than what
    /// the server asks for with `Retry-After`, as far as `backoff_ms_max` allows.
    fn backoff(&self, attempt: u32, retry_after_ms: Option<u64>) -> Duration {
        let longest = self.settings.backoff_ms_max;
        let doubled = 1_u64.checked_shl(attempt - 1).unwrap_or(u64::MAX);
        let ceiling = self.settings.backoff_ms.saturating_mul(doubled).min(longest);
        let drawn = rand::random_range(0..=ceiling);
        Duration::from_millis(drawn.max(retry_after_ms.unwrap_or(0)).min(longest))
    }

    async fn attempt(&self, call: &Call<'_>) -> Result<Rows, Failure> {
        let mut request = self.http.post(self.endpoint.clone()).json(&Request {
            model: &self.settings.model,
            input: call.input,
            encoding_format: "base64",
            dimensions: self.settings.dimension,
            truncate_prompt_tokens: self.settings.truncate_prompt_tokens,
        });
        if let Some(context) = call.span.map(Span::context).filter(|context| context.is_valid()) {
            request = request.header(header::TRACEPARENT, traceparent(context));
        }
        let mut response = request.send().await.map_err(|error| self.broken(error))?;
        let status = response.status();
        if let Some(span) = call.span {
            span.set(attr::HTTP_STATUS, i64::from(status.as_u16()));
        }
        if !status.is_success() {
            return Err(self.turned_away(response).await);
        }
        let bytes_max = answer_bytes_max(call.input.len(), call.dimension);
        let Some(body) = read(&mut response, bytes_max).await.map_err(|error| self.broken(error))? else {
            return Err(self.lasting(format!("more than the {bytes_max} bytes it could need")));
        };
        let answer: Answer = serde_json::from_slice(&body).map_err(|error| {
            let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
            let kind = kind.unwrap_or("of unknown type");
            self.lasting(format!("not the JSON of /v1/embeddings but {kind}: {error}"))
        })?;
        if let (Some(span), Some(usage)) = (call.span, &answer.usage) {
            span.set(attr::GEN_AI_USAGE_INPUT_TOKENS, usage.prompt_tokens as i64);
        }
        unit_rows(answer.data, call.input.len(), call.dimension).map_err(|detail| self.lasting(detail))
    }

    /// What a status other than success means.
    async fn turned_away(&self, mut response: Response) -> Failure {
        let status = response.status();
        let retry_after_ms = retry_after_ms(response.headers());
        let message = match read_start(&mut response, ERROR_BYTES_MAX).await {
            Ok((body, _)) => error_message(&body),
            Err(_) => "the message broke off".into(),
        };
        let detail = self.shown(&message);
        let passes = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT;
        if passes {
            let cause = format!("http_{}", status.as_u16()).into();
            let detail = format!("HTTP {}: {detail}", status.as_u16());
            Failure::Passing { cause, detail, retry_after_ms }
        } else {
            let model = self.settings.model.clone();
            Failure::Lasting(EmbedError::Refused { model, status: status.as_u16(), detail })
        }
    }

    fn broken(&self, error: reqwest::Error) -> Failure {
        let cause = match () {
            () if error.is_timeout() => "timeout",
            () if error.is_connect() => "connect",
            () => "transport",
        };
        let detail = self.shown(&with_sources(&error.without_url()));
        Failure::Passing { cause: cause.into(), detail, retry_after_ms: None }
    }

    fn lasting(&self, detail: String) -> Failure {
        let model = self.settings.model.clone();
        Failure::Lasting(EmbedError::BadAnswer { model, detail: self.shown(&detail) })
    }

    fn unavailable(&self, detail: impl Into<String>) -> EmbedError {
        EmbedError::Unavailable { model: self.settings.model.clone(), detail: detail.into() }
    }

    /// A message fit to be passed on: one line, not long, without the key, which some servers
    /// repeat when they refuse it.
    fn shown(&self, message: &str) -> String {
        let hidden = match &self.settings.api_key {
            Some(key) => Cow::Owned(message.replace(key.as_str(), "[key]")),
            None => Cow::Borrowed(message),
        };
        let line = hidden.split_whitespace().collect::<Vec<_>>().join(" ");
        match line.char_indices().nth(MESSAGE_CHARS_MAX) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }
}

/// Marks the span of a call that is dropped before it ends.
struct Unfinished<'a>(Option<&'a Span>);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(span) = self.0 {
            span.fail("cancelled", "dropped before there was an answer");
        }
    }
}

fn prefixed<'a>(prefix: &str, text: &'a str) -> Cow<'a, str> {
    if prefix.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(format!("{prefix}{text}")) }
}

fn endpoint(base_url: &str) -> Result<Url, VllmError> {
    // The text itself may hold a password: it is not repeated.
    let mut url = Url::parse(base_url.trim()).map_err(|error| unusable("base_url", error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(unusable("base_url", "has to begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(unusable("base_url", "holds a user or password; use `api_key`"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(unusable("base_url", "holds more than host, port and path"));
    }
    let path = url.path().trim_end_matches('/');
    let path = format!("{}/v1/embeddings", path.strip_suffix("/v1").unwrap_or(path));
    url.set_path(&path);
    Ok(url)
}

/// Whether the server is on this machine, where no proxy leads.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn within(name: &'static str, value: u64, max: u64) -> Result<(), VllmError> {
    if (1..=max).contains(&value) {
        return Ok(());
    }
    Err(unusable(name, format!("{value} is not within 1 and {max}")))
}

fn unusable(name: &'static str, problem: impl Into<String>) -> VllmError {
    VllmError::Setting { name, problem: problem.into() }
}

fn with_sources(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

impl fmt::Debug for VllmSettings {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        // Without what may be a password: settings are shown also before they are checked.
        let base_url = self.base_url.rsplit('@').next().unwrap_or_default();
        out.debug_struct("VllmSettings")
            .field("base_url", &base_url)
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
            .field("settings", &self.service.settings)
            .field("dimension", &self.dimension)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
