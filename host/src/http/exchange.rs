//! One exchange at `/mcp`: bounds what comes in, opens runs, puts ids on what goes out.
//!
//! The protocol library can't set headers, and in a session it starts to stream the
//! response before the tool has started. So this layer reads the body first (which is
//! small), opens the run of a tool call itself, and knows the ids whatever happens
//! after: an answer, a stream, a refusal, a time-out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::HttpSettings;
use super::guard::{Guard, Refused};
use crate::mcp::{CallSlot, Ids, SearchService, TOOL_NAME_CHARS_MAX};
use crate::telemetry::conventions::header;
use crate::telemetry::{Caller, is_run_id, parse_baggage, parse_trace_context};

/// The most that `concurrency_max` may say.
const CONCURRENCY_CEILING: usize = 100_000;
/// Messages in work for each tool call in work: bounds bodies in memory, and leaves
/// room for messages that cancel calls.
const MESSAGES_PER_CALL: usize = 4;
/// Sessions at once; each costs two tasks, and one that is left behind ends after
/// five idle minutes.
const SESSIONS_MAX: usize = 1_024;
/// How much later than the tool's own time-out the response is given up.
const OUTER_SLACK: Duration = Duration::from_secs(1);
/// What a client that was turned away is told to wait.
const RETRY_AFTER_S: &str = "1";
/// Characters of a client's name for its session, and of its protocol version.
const NAME_CHARS_MAX: usize = 128;

/// Headers that are kept for experiments, and bytes of each.
const HEADERS_MAX: usize = 64;
const HEADER_BYTES_MAX: usize = 256;
/// Headers that let somebody in.
const SECRET_HEADERS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

const MCP_SESSION_ID: &str = "mcp-session-id";
const MCP_PROTOCOL_VERSION: &str = "mcp-protocol-version";
const META_PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";

/// Methods that name spans; others are `other`.
const METHODS: [&str; 13] = [
    "initialize",
    "notifications/cancelled",
    "notifications/initialized",
    "ping",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/templates/list",
    "server/discover",
    "subscriptions/listen",
    "tools/call",
    "tools/list",
    "logging/setLevel",
];

/// JSON-RPC error codes.
mod code {
    pub const PARSE: i32 = -32_700;
    pub const INVALID_REQUEST: i32 = -32_600;
    pub const BUSY: i32 = -32_000;
    pub const LATE: i32 = -32_001;
}

/// What all exchanges share.
pub(super) struct Exchange {
    service: Arc<dyn SearchService>,
    guard: Arc<Guard>,
    sessions: Arc<LocalSessionManager>,
    calls: Arc<Semaphore>,
    concurrency_max: usize,
    messages: Semaphore,
    body_bytes_max: usize,
    request_timeout: Duration,
}

/// Held while a tool runs and while its answer is streamed.
#[derive(Clone)]
struct CallPermit {
    _held: Arc<(OwnedSemaphorePermit, Answering)>,
}

/// Says when nobody waits for a run's answer any more.
struct Answering {
    service: Arc<dyn SearchService>,
    run_id: String,
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.service.answer_sent(&self.run_id);
    }
}

impl Exchange {
    pub fn new(
        settings: &HttpSettings,
        service: Arc<dyn SearchService>,
        guard: Arc<Guard>,
        sessions: Arc<LocalSessionManager>,
    ) -> Exchange {
        let concurrency_max = settings.concurrency_max.clamp(1, CONCURRENCY_CEILING);
        Exchange {
            service,
            guard,
            sessions,
            calls: Arc::new(Semaphore::new(concurrency_max)),
            concurrency_max,
            messages: Semaphore::new(concurrency_max * MESSAGES_PER_CALL),
            body_bytes_max: settings.body_bytes_max,
            request_timeout: Duration::from_millis(settings.request_timeout_ms),
        }
    }

    /// Ready when no tool call is in work, and no answer of one under way.
    pub async fn idle(&self) {
        // The ceiling fits; a closed semaphore would have no calls either.
        let all = u32::try_from(self.concurrency_max).unwrap_or(u32::MAX);
        let _all = self.calls.acquire_many(all).await;
    }

    async fn answer(&self, request: Request, next: Next) -> Response {
        let (parts, body) = request.into_parts();
        let caller = caller(&parts.headers, &Value::Null);
        if let Err(Refused { status, message }) = self.guard.check(&parts.uri, &parts.headers) {
            return self.refuse(&caller, &Value::Null, status, code::INVALID_REQUEST, &message);
        }
        if parts.method != Method::POST {
            let delete = parts.method == Method::DELETE;
            let mut response = next.run(Request::from_parts(parts, body)).await;
            if delete && response.status() == StatusCode::ACCEPTED {
                // The session has ended; clients take 202 for a failure.
                *response.status_mut() = StatusCode::NO_CONTENT;
            }
            return with_ids(response, &Ids::minted(caller.parent.as_ref()));
        }
        let Ok(_message_permit) = self.messages.try_acquire() else {
            return self.refuse(&caller, &Value::Null, StatusCode::SERVICE_UNAVAILABLE, code::BUSY, "too many messages at once; try again");
        };
        let read = match timeout(self.request_timeout, read_body(body, self.body_bytes_max)).await {
            Ok(read) => read,
            Err(_) => Err(Refused {
                status: StatusCode::REQUEST_TIMEOUT,
                message: format!("no whole body within {} ms", self.request_timeout.as_millis()),
            }),
        };
        let body = match read {
            Ok(body) => body,
            Err(Refused { status, message }) => return self.refuse(&caller, &Value::Null, status, code::INVALID_REQUEST, &message),
        };
        let message: Value = match serde_json::from_slice(&body) {
            Ok(message) => message,
            Err(error) => {
                return self.refuse(&caller, &Value::Null, StatusCode::BAD_REQUEST, code::PARSE, &format!("the body is not JSON: {error}"));
            }
        };
        let caller = self::caller(&parts.headers, &message);
        match message["method"].as_str() {
            Some("tools/call") => self.tool_call(parts, body, &message, &caller, next).await,
            Some("initialize") if self.sessions.sessions.read().await.len() >= SESSIONS_MAX => self.refuse(
                &caller,
                &message["id"],
                StatusCode::SERVICE_UNAVAILABLE,
                code::BUSY,
                "too many sessions; end one, or try again later",
            ),
            method => {
                let known = METHODS.into_iter().find(|known| Some(*known) == method).unwrap_or("other");
                let span = self.service.begin_exchange(known, &caller);
                let ids = span.as_ref().map_or_else(|| Ids::minted(caller.parent.as_ref()), |span| Ids::of_span(span.context()));
                with_ids(self.pass_on(parts, body, &message, next).await, &ids)
            }
        }
    }

    async fn tool_call(&self, mut parts: Parts, body: Bytes, message: &Value, caller: &Caller, next: Next) -> Response {
        let Ok(permit) = self.calls.clone().try_acquire_owned() else {
            let text = format!("{} calls are in work, which is as many as this server does at once; try again", self.concurrency_max);
            return self.refuse(caller, &message["id"], StatusCode::SERVICE_UNAVAILABLE, code::BUSY, &text);
        };
        let params = &message["params"];
        let tool: String = params["name"].as_str().unwrap_or("unnamed").chars().take(TOOL_NAME_CHARS_MAX).collect();
        let run = self.service.begin_run(&tool, caller, params["arguments"].clone());
        let ids = Ids::of(&run);
        let answering = Answering { service: self.service.clone(), run_id: run.id.clone() };
        let permit = CallPermit { _held: Arc::new((permit, answering)) };
        let slot = CallSlot::new(run);
        // Both go along to the tool: the run to be answered, the permit to be held.
        parts.extensions.insert(slot.clone());
        parts.extensions.insert(permit.clone());
        let response = self.pass_on(parts, body, message, next).await;
        if !response.status().is_success() {
            slot.refuse("refused", &format!("the message was refused with HTTP status {}", response.status()));
        }
        with_ids(hold_while_streaming(response, permit), &ids)
    }

    /// Gives the message to the protocol library, as it came.
    async fn pass_on(&self, parts: Parts, body: Bytes, message: &Value, next: Next) -> Response {
        let outer = self.request_timeout.saturating_add(OUTER_SLACK);
        match timeout(outer, next.run(Request::from_parts(parts, Body::from(body)))).await {
            Ok(response) => response,
            Err(_) => {
                refusal(&message["id"], StatusCode::GATEWAY_TIMEOUT, code::LATE, &format!("no response within {} ms", outer.as_millis()))
            }
        }
    }

    fn refuse(&self, caller: &Caller, id: &Value, status: StatusCode, code: i32, message: &str) -> Response {
        tracing::debug!(%status, message, "a request is refused");
        with_ids(refusal(id, status, code, message), &Ids::minted(caller.parent.as_ref()))
    }
}

/// The layer.
pub(super) async fn exchange(State(exchange): State<Arc<Exchange>>, request: Request, next: Next) -> Response {
    exchange.answer(request, next).await
}

/// Who calls, by headers and by the message's `params._meta`, which goes first as
/// the place that the protocol names; a second, different span context becomes a link.
fn caller(headers: &HeaderMap, message: &Value) -> Caller {
    let meta = &message["params"]["_meta"];
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let from_header = text(header::TRACEPARENT).and_then(|parent| parse_trace_context(parent, text(header::TRACESTATE)));
    let from_meta = meta[header::TRACEPARENT].as_str().and_then(|parent| parse_trace_context(parent, meta[header::TRACESTATE].as_str()));
    let (parent, link) = match (from_meta, from_header) {
        (Some(meta), Some(header)) if meta.span_id() == header.span_id() && meta.trace_id() == header.trace_id() => (Some(meta), None),
        (Some(meta), header) => (Some(meta), header),
        (None, header) => (header, None),
    };
    // What the message itself says goes first, as with the trace context.
    let baggage = meta[header::BAGGAGE].as_str().or_else(|| text(header::BAGGAGE)).map(parse_baggage).unwrap_or_default();
    let carried = baggage.get(crate::telemetry::conventions::baggage::SESSION_ID).and_then(|session| name(session.as_str()));
    let version = text(MCP_PROTOCOL_VERSION).or_else(|| meta[META_PROTOCOL_VERSION].as_str());
    Caller {
        session_id: text(header::SESSION_ID).and_then(name).or(carried).or_else(|| text(MCP_SESSION_ID).and_then(name)),
        run_id: text(header::RUN_ID).filter(|id| is_run_id(id)).map(str::to_owned),
        protocol_version: version.and_then(name),
        parent,
        link,
        baggage: Arc::new(baggage),
        headers: Arc::new(kept_headers(headers)),
    }
}

/// Headers that experiments may look at; a name that comes twice is kept once.
fn kept_headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    let open = headers.iter().filter(|(name, value)| !SECRET_HEADERS.contains(&name.as_str()) && value.len() <= HEADER_BYTES_MAX);
    open.filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))).take(HEADERS_MAX).collect()
}

/// A name that is fit to be recorded: visible ASCII, not too long.
fn name(text: &str) -> Option<String> {
    let fit = (1..=NAME_CHARS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    fit.then(|| text.to_owned())
}

async fn read_body(body: Body, bytes_max: usize) -> Result<Bytes, Refused> {
    let mut stream = body.into_data_stream();
    let mut read = Vec::new();
    while let Some(piece) = stream.next().await {
        let piece =
            piece.map_err(|error| Refused { status: StatusCode::BAD_REQUEST, message: format!("the body could not be read: {error}") })?;
        if piece.len() > bytes_max - read.len() {
            return Err(Refused { status: StatusCode::PAYLOAD_TOO_LARGE, message: format!("the body is larger than {bytes_max} bytes") });
        }
        read.extend_from_slice(&piece);
    }
    Ok(read.into())
}

/// Keeps the permit until a stream has been sent. Other bodies are complete.
fn hold_while_streaming(response: Response, permit: CallPermit) -> Response {
    if !response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream")) {
        return response;
    }
    response.map(|body| {
        Body::from_stream(body.into_data_stream().map(move |piece| {
            let _held = &permit;
            piece
        }))
    })
}

/// A JSON-RPC error, which is what MCP has for HTTP errors too.
fn refusal(id: &Value, status: StatusCode, code: i32, message: &str) -> Response {
    let mut body = json!({"jsonrpc": "2.0", "error": {"code": code, "message": message}});
    // Without an id when the message could not be read so far.
    if !id.is_null() {
        body["id"] = id.clone();
    }
    let mut response = (status, Json(body)).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
    }
    response
}

fn with_ids(mut response: Response, ids: &Ids) -> Response {
    for (name, value) in [(header::TRACE_ID, &ids.trace_id), (header::RUN_ID, &ids.run_id), (header::TRACEPARENT, &ids.traceparent)] {
        // Ids are hexadecimal digits and dashes, so this never leaves one out.
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const B: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn check(header: Option<&str>, meta: Option<&str>, expect: [Option<&str>; 2]) {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert("traceparent", header.parse().unwrap());
        }
        let caller = caller(&headers, &json!({"params": {"_meta": {"traceparent": meta}}}));
        let found = [caller.parent, caller.link].map(|context| context.map(|context| crate::telemetry::traceparent(&context)));
        assert_eq!(found.each_ref().map(Option::as_deref), expect, "header {header:?}, meta {meta:?}");
    }

    #[test]
    fn the_parent_is_the_one_in_meta_and_the_header_is_linked() {
        check(None, None, [None, None]);
        check(Some(A), None, [Some(A), None]);
        check(None, Some(A), [Some(A), None]);
        check(Some(A), Some(B), [Some(B), Some(A)]);
        check(Some(A), Some(A), [Some(A), None]);
        check(Some(A), Some("00-nonsense"), [Some(A), None]);
        check(Some("nonsense"), Some(B), [Some(B), None]);
    }

    #[test]
    fn names_of_sessions_are_short_visible_ascii() {
        let long = "x".repeat(129);
        for (own, protocol, expect) in [
            (Some("s-1"), Some("m-1"), Some("s-1")),
            (None, Some("m-1"), Some("m-1")),
            (Some("two words"), Some("m-1"), Some("m-1")),
            (Some(long.as_str()), None, None),
            (Some(""), None, None),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in [("x-session-id", own), (MCP_SESSION_ID, protocol)] {
                if let Some(value) = value {
                    headers.insert(name, value.parse().unwrap());
                }
            }
            assert_eq!(caller(&headers, &Value::Null).session_id.as_deref(), expect);
        }
    }
}
