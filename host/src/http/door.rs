//! The door of the endpoints for operators: without a token only callers of this
//! machine come in; with one, whoever has it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::guard::Guard;

/// Who is let in, and how it is checked.
pub(super) struct Door {
    guard: Arc<Guard>,
    token: Option<Arc<str>>,
}

impl Door {
    /// `token` is what `Authorization: Bearer …` has to hold.
    pub fn new(guard: Arc<Guard>, token: Option<Arc<str>>) -> Door {
        Door { guard, token }
    }
}

/// The layer: passes a request on, or answers it with 400, 401 or 403.
pub(super) async fn admit(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    if let Err(refused) = door.guard.check(request.uri(), request.headers()) {
        return problem(refused.status, &refused.message);
    }
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    match &door.token {
        Some(token) if !has_token(request.headers(), token) => {
            let mut response = problem(StatusCode::UNAUTHORIZED, "the endpoints for operators want `Authorization: Bearer TOKEN`");
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            response
        }
        None if is_forwarded(request.headers()) || !peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback()) => problem(
            StatusCode::FORBIDDEN,
            "without a token the endpoints for operators answer callers of this machine only; set `server.admin_token_variable`",
        ),
        _ => next.run(request).await,
    }
}

/// An error as these endpoints have it.
pub(super) fn problem(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "error": message }))).into_response()
}

/// Whether a proxy brings the request: then its peer says nothing about who asks.
fn is_forwarded(headers: &HeaderMap) -> bool {
    const BY_PROXIES: [&str; 10] = [
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-server",
        "x-real-ip",
        "x-client-ip",
        "true-client-ip",
        "cf-connecting-ip",
        "via",
    ];
    BY_PROXIES.iter().any(|name| headers.contains_key(*name))
}

fn has_token(headers: &HeaderMap, token: &str) -> bool {
    let given = headers.get(AUTHORIZATION).map(|value| value.as_bytes()).and_then(|value| value.strip_prefix(b"Bearer "));
    given.is_some_and(|given| same(given, token.as_bytes()))
}

/// Takes as long for a wrong token as for the right one.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}
