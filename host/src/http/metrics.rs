//! The Prometheus scrape, on its own port.

use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::telemetry::Metrics;

/// Answers `GET /metrics` until `stop`.
pub async fn serve(listener: TcpListener, metrics: Arc<Metrics>, stop: CancellationToken) {
    let scrape = move || {
        let metrics = metrics.clone();
        async move {
            match metrics.scrape() {
                Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
                Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("metrics can't be written: {error}")).into_response(),
            }
        }
    };
    let served =
        axum::serve(listener, Router::new().route("/metrics", get(scrape))).with_graceful_shutdown(async move { stop.cancelled().await });
    if let Err(error) = served.await {
        tracing::error!(%error, "the metrics endpoint stopped");
    }
}
