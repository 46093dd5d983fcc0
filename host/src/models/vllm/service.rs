//! One endpoint of a vLLM server. In: a request. Out: the body of its answer, or why there is none.
//!
//! A request is tried until it is answered, is refused, or time is up. What an answer says is for
//! the caller to check; one that can't be used would come back the same and is not asked for again.

use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;

use opentelemetry::KeyValue;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout_at};

use super::VllmError;
use super::wire::{error_message, read, read_start, retry_after_ms};
use crate::models::EmbedError;
use crate::telemetry::Span;
use crate::telemetry::conventions::{attr, event};

/// A host that doesn't take a connection in this time won't; below the time of an attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// vLLM's server closes connections that were idle for 5 s; they are let go before.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// An hour: longer is a slip of the unit.
pub const DURATION_MS_MAX: u64 = 3_600_000;
/// vLLM queues what it can't run; more than this only fills its queue.
const CONCURRENCY_MAX: usize = 1024;
/// Texts a request.
pub const BATCH_SIZE_MAX: usize = 4096;
/// Of a refusal only the message is read.
const ERROR_BYTES_MAX: usize = 1 << 16;
const MESSAGE_CHARS_MAX: usize = 400;

/// Where the server is and how often it is asked. The fields are those of the settings they come
/// from, and errors call them by these names.
pub struct ServiceSettings {
    pub base_url: String,
    pub model: String,
    pub api_key: Option<String>,
    /// Requests at a time; more connections than twice this are not kept.
    pub concurrency: usize,
    pub attempts_max: u32,
    pub backoff_ms: u64,
    pub backoff_ms_max: u64,
}

pub struct Service {
    http: Client,
    endpoint: Url,
    /// The endpoint's path below the base, `/v1/embeddings`.
    path: &'static str,
    settings: ServiceSettings,
}

/// One request, whatever the number of attempts.
pub struct Call<'a, R> {
    pub request: &'a R,
    /// The most that a right answer could need.
    pub answer_bytes_max: usize,
    pub limit: Limit,
    /// The span of the call, whose context goes with the request.
    pub span: Option<&'a Span>,
}

/// Where time ends. `ms` is how long it was, for messages.
#[derive(Clone, Copy)]
pub enum Limit {
    Whole { deadline: Instant, ms: u64 },
    Attempt { ms: u64 },
}

/// What a server said with a status of success.
pub struct Answered {
    body: Vec<u8>,
    /// `Content-Type`.
    kind: String,
    path: &'static str,
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
    /// # Errors
    /// [`VllmError::Setting`] for a setting that can't be used, [`VllmError::Client`].
    pub fn new(mut settings: ServiceSettings, path: &'static str) -> Result<Service, VllmError> {
        if settings.model.trim().is_empty() {
            return Err(unusable("model", "the name of a served model is needed"));
        }
        within("concurrency", settings.concurrency as u64, CONCURRENCY_MAX as u64)?;
        within("attempts_max", settings.attempts_max.into(), u32::MAX.into())?;
        within("backoff_ms", settings.backoff_ms, DURATION_MS_MAX)?;
        within("backoff_ms_max", settings.backoff_ms_max, DURATION_MS_MAX)?;
        let endpoint = endpoint(&settings.base_url, path)?;
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
        Ok(Service { http: builder.build().map_err(VllmError::Client)?, endpoint, path, settings })
    }

    /// Sets what is known of a call before it is made. `operation` is the value of
    /// `gen_ai.operation.name`, `batch` the number of texts.
    pub fn describe(&self, span: &Span, operation: &'static str, batch: usize) {
        span.set(attr::VLLM_MODE, "http");
        span.set(attr::VLLM_MODEL_NAME, self.settings.model.clone());
        span.set(attr::VLLM_BATCH, batch as i64);
        span.set(attr::VLLM_ATTEMPTS, 0_i64);
        span.set(attr::GEN_AI_REQUEST_MODEL, self.settings.model.clone());
        span.set(attr::GEN_AI_OPERATION_NAME, operation);
        span.set(attr::SERVER_ADDRESS, self.endpoint.host_str().unwrap_or_default().to_owned());
        if let Some(port) = self.endpoint.port_or_known_default() {
            span.set(attr::SERVER_PORT, i64::from(port));
        }
    }

    /// Asks until there is an answer.
    ///
    /// # Errors
    /// [`EmbedError::Unavailable`] when no attempt was answered in time, [`EmbedError::Refused`],
    /// and [`EmbedError::BadAnswer`] for one that is too long.
    pub async fn call<R: Serialize>(&self, call: Call<'_, R>) -> Result<Answered, EmbedError> {
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
                Ok(answered) => return Ok(answered),
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
                    tracing::debug!(model = self.settings.model, path = self.path, attempt, %cause, wait_ms, "a request is tried again");
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

    async fn attempt<R: Serialize>(&self, call: &Call<'_, R>) -> Result<Answered, Failure> {
        let mut request = self.http.post(self.endpoint.clone()).json(call.request);
        for (name, value) in call.span.map(Span::headers).unwrap_or_default() {
            request = request.header(name, value);
        }
        let mut response = request.send().await.map_err(|error| self.broken(error))?;
        let status = response.status();
        if let Some(span) = call.span {
            span.set(attr::HTTP_STATUS, i64::from(status.as_u16()));
        }
        if !status.is_success() {
            return Err(self.turned_away(response).await);
        }
        let bytes_max = call.answer_bytes_max;
        let Some(body) = read(&mut response, bytes_max).await.map_err(|error| self.broken(error))? else {
            return Err(Failure::Lasting(self.bad_answer(&format!("more than the {bytes_max} bytes it could need"))));
        };
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or("of unknown type").to_owned();
        Ok(Answered { body, kind, path: self.path })
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

    pub fn bad_answer(&self, detail: &str) -> EmbedError {
        EmbedError::BadAnswer { model: self.settings.model.clone(), detail: self.shown(detail) }
    }

    pub fn unavailable(&self, detail: impl Into<String>) -> EmbedError {
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

impl Answered {
    /// The body as what the endpoint is to answer with. The error says what it is instead.
    pub fn json<A: DeserializeOwned>(&self) -> Result<A, String> {
        serde_json::from_slice(&self.body).map_err(|error| format!("not the JSON of {} but {}: {error}", self.path, self.kind))
    }
}

/// Marks the span of a call that is dropped before it ends.
pub struct Unfinished<'a>(Option<&'a Span>);

impl<'a> Unfinished<'a> {
    pub fn new(span: &'a Span) -> Self {
        Unfinished(Some(span))
    }

    /// The call has ended; what of its outcome the span has to say is said by others.
    pub fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(span) = self.0 {
            span.fail("cancelled", "dropped before there was an answer");
        }
    }
}

pub fn prefixed<'a>(prefix: &str, text: &'a str) -> Cow<'a, str> {
    if prefix.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(format!("{prefix}{text}")) }
}

fn endpoint(base_url: &str, below: &str) -> Result<Url, VllmError> {
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
    let path = format!("{}{below}", path.strip_suffix("/v1").unwrap_or(path));
    url.set_path(&path);
    Ok(url)
}

/// Whether the server is on this machine, where no proxy leads.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

pub fn within(name: &'static str, value: u64, max: u64) -> Result<(), VllmError> {
    if (1..=max).contains(&value) {
        return Ok(());
    }
    Err(unusable(name, format!("{value} is not within 1 and {max}")))
}

pub fn unusable(name: &'static str, problem: impl Into<String>) -> VllmError {
    VllmError::Setting { name, problem: problem.into() }
}

/// A base URL without what may be a password: settings are shown also before they are checked.
pub fn without_password(base_url: &str) -> &str {
    base_url.rsplit('@').next().unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_jittered_and_bounded() {
        let settings = ServiceSettings {
            base_url: "http://127.0.0.1:8001".into(),
            model: "stand-in/model".into(),
            api_key: None,
            concurrency: 1,
            attempts_max: 1,
            backoff_ms: 100,
            backoff_ms_max: 5_000,
        };
        let service = Service::new(settings, "/v1/embeddings").unwrap();
        for (attempt, ceiling_ms) in [(1, 100), (2, 200), (3, 400), (6, 3_200), (7, 5_000), (64, 5_000), (65, 5_000), (u32::MAX, 5_000)] {
            let waits: Vec<u128> = (0..500).map(|_| service.backoff(attempt, None).as_millis()).collect();
            assert!(waits.iter().all(|&wait| wait <= ceiling_ms), "{attempt}");
            assert!(waits.iter().any(|&wait| wait < ceiling_ms / 4), "{attempt}");
            assert!(waits.iter().any(|&wait| wait > 3 * ceiling_ms / 4), "{attempt}");
        }
        for (asked_ms, expected_ms) in [(1_000, 1_000), (5_000, 5_000), (60_000, 5_000), (u64::MAX, 5_000)] {
            assert_eq!(service.backoff(1, Some(asked_ms)), Duration::from_millis(expected_ms));
        }
    }

    #[test]
    fn the_endpoint_follows_from_any_form_of_the_base() {
        for (base_url, below, expected) in [
            ("http://127.0.0.1:8001", "/v1/embeddings", "http://127.0.0.1:8001/v1/embeddings"),
            ("http://127.0.0.1:8001/", "/v1/embeddings", "http://127.0.0.1:8001/v1/embeddings"),
            ("http://127.0.0.1:8001/v1", "/v1/embeddings", "http://127.0.0.1:8001/v1/embeddings"),
            (" https://host/v1// ", "/v1/embeddings", "https://host/v1/embeddings"),
            ("https://host/gpu/7/v1", "/v1/embeddings", "https://host/gpu/7/v1/embeddings"),
            ("http://127.0.0.1:8001/v1/", "/pooling", "http://127.0.0.1:8001/pooling"),
            ("https://host/gpu/7", "/pooling", "https://host/gpu/7/pooling"),
        ] {
            assert_eq!(endpoint(base_url, below).unwrap().as_str(), expected);
        }
        for (base_url, expected) in [
            ("http://127.0.0.2", true),
            ("http://[::1]:8001", true),
            ("http://localhost", true),
            ("http://10.0.0.1", false),
            ("http://localhost.example", false),
        ] {
            assert_eq!(is_loopback(&endpoint(base_url, "/pooling").unwrap()), expected, "{base_url}");
        }
    }
}
