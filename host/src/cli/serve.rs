//! `spanloom serve`: MCP over HTTP until a signal.

use std::sync::Arc;

use clap::Args;
use tokio_util::sync::CancellationToken;
use toml::Value;

use super::{Failure, runtime};
use crate::app::App;
use crate::config::{Flag, Loaded};
use crate::http::Admin;
use crate::index::data_dir::DataDir;
use crate::mcp::SearchService;

#[derive(Args)]
pub struct ServeArgs {
    /// Address and port of the MCP endpoint [default: 127.0.0.1:8000]
    #[arg(long, value_name = "ADDRESS:PORT")]
    bind: Option<String>,
    /// Address and port of the Prometheus scrape [default: 127.0.0.1:9464]
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics_bind: Option<String>,
}

impl ServeArgs {
    pub fn flags(&self) -> Vec<Flag> {
        let flag = |name, key, value: &Option<String>| value.clone().map(|value| Flag { name, key, value: Value::String(value) });
        [flag("--bind", "server.bind", &self.bind), flag("--metrics-bind", "server.metrics_bind", &self.metrics_bind)]
            .into_iter()
            .flatten()
            .collect()
    }
}

pub fn run(loaded: &Loaded) -> Result<(), Failure> {
    let runtime = runtime()?;
    DataDir::new(&loaded.config.data_dir.0).prepare().map_err(Failure::failed)?;
    let app = {
        let _within = runtime.enter();
        let app = App::start(loaded).map_err(Failure::failed)?;
        app.start_experiments(&loaded.config.experiments).map_err(Failure::failed)?;
        Arc::new(app)
    };
    let outcome = runtime.block_on(serve(loaded, app.clone()));
    app.telemetry().flush();
    outcome
}

async fn serve(loaded: &Loaded, app: Arc<App>) -> Result<(), Failure> {
    let bind = &loaded.config.server.bind;
    let listener = listen(bind, "--bind").await?;
    // Without the scrape nothing listens there.
    let metrics = match loaded.otel().prometheus {
        true => Some(listen(&loaded.config.server.metrics_bind, "--metrics-bind").await?),
        false => None,
    };
    let address = listener.local_addr().map_err(Failure::failed)?;
    let stop = CancellationToken::new();
    eprintln!("MCP endpoint: http://{address}/mcp");
    match &metrics {
        Some(metrics) => eprintln!("Prometheus:   http://{}/metrics", metrics.local_addr().map_err(Failure::failed)?),
        None => eprintln!("Prometheus:   off"),
    }
    let readiness = app.readiness();
    for check in &readiness.checks {
        eprintln!("{}: {}", check.name, check.detail);
    }
    let watcher = tokio::spawn(app.clone().watch(stop.clone()));
    let plugin_watcher = tokio::spawn(app.clone().watch_plugins(stop.clone()));
    let (registry, until) = (app.telemetry().metrics(), stop.clone());
    let scrape = tokio::spawn(async move {
        if let Some(metrics) = metrics {
            crate::http::metrics::serve(metrics, registry, until).await;
        }
    });
    let admin = Admin::new(app.plugins().clone(), loaded.admin_token());
    let outcome = crate::http::serve(listener, app, Some(admin), loaded.http(), signalled()).await;
    stop.cancel();
    // All end by the token; a panic in them has been logged.
    let _ = tokio::join!(watcher, plugin_watcher, scrape);
    outcome.map_err(Failure::failed)
}

async fn listen(address: &str, flag: &str) -> Result<tokio::net::TcpListener, Failure> {
    tokio::net::TcpListener::bind(address)
        .await
        .map_err(|error| Failure::Failed(format!("can't listen on {address}: {error}; choose another one with {flag}")))
}

/// Ready when the process is told to stop.
async fn signalled() {
    let interrupt = tokio::signal::ctrl_c();
    match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
        }
        Err(error) => {
            tracing::warn!(%error, "SIGTERM is not heard");
            // Nothing to be done about an error here either: stop.
            let _ = interrupt.await;
        }
    }
    eprintln!("Stopping: finishing the calls in flight …");
}
