//! The HTTP server: MCP at `/mcp`, liveness at `/healthz`, readiness at `/readyz`.
//!
//! Plugins are looked at and exchanged at `/admin/plugins` (see [`admin`]), runs are
//! told at `/reports` (see [`reports`]); both for operators only (see [`door`]).
//!
//! A request to `/mcp` passes [`guard`] (who may ask), [`exchange`] (how much, how
//! many, how long; ids on the way out) and then rmcp, which calls the tools.

mod accept;
mod admin;
mod door;
mod exchange;
mod guard;
pub mod metrics;
mod reports;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt as _;
use axum::{Json, Router, middleware};
use rmcp::transport::streamable_http_server::session::SessionManager;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::mcp::{McpServer, SearchService};
pub use admin::Admin;
use door::Door;
use exchange::Exchange;
use guard::Guard;

/// After the grace is over, how long connections may take to notice.
const CLOSE_MS: u64 = 1_000;

/// How the server treats its clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// Bytes of a request's body; more are answered with 413.
    pub body_bytes_max: usize,
    /// Tool calls at once, from 1 to 100,000; more are answered with 503.
    pub concurrency_max: usize,
    /// How long a tool call may take, and how long a client may take to send one.
    pub request_timeout_ms: u64,
    /// Origins that may call besides those of this machine, such as
    /// `https://app.example.com`; `:*` as port admits every port, `*` alone every
    /// origin.
    pub allowed_origins: Vec<String>,
    /// Names in `Host` under which the server may be called besides those of this
    /// machine and the address it is bound to, with or without port; `*` admits all.
    pub allowed_hosts: Vec<String>,
    /// How long calls in flight may go on when the server is told to stop.
    pub shutdown_grace_ms: u64,
}

impl Default for HttpSettings {
    fn default() -> HttpSettings {
        HttpSettings {
            body_bytes_max: 1024 * 1024,
            concurrency_max: 64,
            request_timeout_ms: 30_000,
            allowed_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            shutdown_grace_ms: 10_000,
        }
    }
}

/// Serves until `shutdown` is ready; then takes no more connections, lets calls in
/// flight end for `shutdown_grace_ms`, and closes sessions and streams. Calls that
/// still run then are cancelled, and their runs recorded as such.
///
/// # Errors
/// When the listener's address can't be read or accepting fails for good.
pub async fn serve(
    listener: TcpListener,
    service: Arc<dyn SearchService>,
    admin: Option<Admin>,
    settings: HttpSettings,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let guard = Arc::new(Guard::new(&settings, listener.local_addr()?));
    let sessions = Arc::new(LocalSessionManager::default());
    let closing = CancellationToken::new();
    let exchange = Arc::new(Exchange::new(&settings, service.clone(), guard.clone(), sessions.clone()));
    let mut app = router(service.clone(), &settings, exchange.clone(), sessions.clone(), closing.clone());
    if let Some(admin) = admin {
        let door = Arc::new(Door::new(guard, admin.token()));
        app = app.merge(admin::router(admin, door.clone())).merge(reports::router(service, door));
    }

    let stop = CancellationToken::new();
    // A set, because it ends the task when this future is dropped.
    let mut serving = JoinSet::new();
    // Answers are written in pieces: a client must not wait for its own acknowledgements.
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY can't be set");
        }
    });
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    serving.spawn(axum::serve(listener, app).with_graceful_shutdown(stop.clone().cancelled_owned()).into_future());
    tokio::select! {
        result = serving.join_next() => return served(result),
        () = shutdown => stop.cancel(),
    }
    tracing::info!("stopping: no new connections; calls in flight go on");
    let grace = Duration::from_millis(settings.shutdown_grace_ms);
    if tokio::time::timeout(grace, exchange.idle()).await.is_err() {
        tracing::warn!(grace_ms = settings.shutdown_grace_ms, "calls are still running and are cancelled");
    }
    // Connections with a stream end only when it is closed; idle ones have ended.
    closing.cancel();
    let closed = async {
        close_sessions(&sessions).await;
        exchange.idle().await;
        serving.join_next().await
    };
    tokio::time::timeout(Duration::from_millis(CLOSE_MS), closed).await.map_or_else(
        |_| {
            tracing::warn!("connections are still open and are dropped");
            Ok(())
        },
        served,
    )
}

fn served(ended: Option<Result<io::Result<()>, JoinError>>) -> io::Result<()> {
    match ended {
        None => Ok(()),
        Some(Ok(result)) => result,
        Some(Err(error)) => Err(io::Error::other(error)),
    }
}

fn router(
    service: Arc<dyn SearchService>,
    settings: &HttpSettings,
    exchange: Arc<Exchange>,
    sessions: Arc<LocalSessionManager>,
    closing: CancellationToken,
) -> Router {
    let server = McpServer::new(service.clone(), Duration::from_millis(settings.request_timeout_ms), closing.clone());
    // Hosts, origins and bodies are checked by our own layers, which answer in JSON
    // and with ids. Sessions exist for clients that speak a version before
    // 2026-07-28 only; later ones get one JSON answer for each request.
    let config = StreamableHttpServerConfig::default()
        .disable_allowed_hosts()
        .disable_allowed_origins()
        .with_max_request_body_bytes(settings.body_bytes_max)
        .with_json_response(true)
        .with_cancellation_token(closing);
    let mcp = StreamableHttpService::new(move || Ok(server.clone()), sessions, config);
    Router::new()
        .route_service("/mcp", mcp)
        .layer(middleware::from_fn_with_state(exchange, exchange::exchange))
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(ready).with_state(service))
}

async fn ready(State(service): State<Arc<dyn SearchService>>) -> Response {
    let readiness = service.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

/// Ends every session: its streams close and its calls are cancelled.
async fn close_sessions(sessions: &LocalSessionManager) {
    let ids: Vec<_> = sessions.sessions.read().await.keys().cloned().collect();
    for id in ids {
        if let Err(error) = sessions.close_session(&id).await {
            tracing::debug!(%error, "a session was closed already");
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
