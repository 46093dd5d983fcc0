//! Telemetry: names, spans, ledgers, and the one place that knows exporters.
//!
//! The core opens [`Span`]s and sets facts on them; what becomes of them (OTLP, the
//! ledger of the run, the meters) is decided here. A failing exporter or disk never
//! reaches a caller.

mod bootstrap;
pub mod conventions;
mod facts;
pub mod ledger;
mod line;
mod log_format;
mod logs;
mod metrics;
mod names;
mod propagation;
pub mod records;
mod redact;
mod retention;
mod run;
mod span;
mod step;
pub mod store;
pub mod trace_tree;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use opentelemetry::trace::{SpanKind, TracerProvider as _};
use opentelemetry_sdk::trace::SdkTracer;

pub use bootstrap::{
    BatchLimits, ExportCounts, Exporter, Headers, Ignored, OtelSettings, OtlpProtocol, OtlpSettings, Propagators, ResourceSettings,
    RootSampling, Sampling, Signal, SignalCounts, SpanLimits, TelemetryError, Temporality, TlsFiles, probe,
};
pub use facts::{Fact, IndexFacts, PluginCall};
pub use ledger::LedgerSettings;
pub use log_format::LogFormat;
pub use logs::{RunId, carried, export_layer, log_context};
pub use metrics::{Metrics, SERIES_MAX};
pub use propagation::{parse_baggage, parse_trace_context, traceparent};
pub use records::{RunRecord, RunRecords};
pub use redact::{QueryText, sha256_hex};
pub use retention::Retention;
pub use run::{Caller, Run, SHADOW, is_run_id};
pub use span::{GivenUp, Origin, Span, texts};
pub use step::{StepEvent, StepStatus};

use conventions::attr;
use ledger::{LedgerWriter, RunLedger};
use names::Names;
use propagation::Outgoing;
use redact::Redactor;

/// What telemetry is to do.
#[derive(Clone, Debug, Default)]
pub struct TelemetrySettings {
    /// What is exported; `None` exports nothing, but metrics can be scraped.
    pub export: Option<OtelSettings>,
    /// Where run ledgers are written; `None` writes none.
    pub ledger_folder: Option<PathBuf>,
    pub ledger: LedgerSettings,
    /// What of queries may be recorded in spans and ledgers.
    pub query_text: QueryText,
    /// Of the effective configuration, for the ledgers.
    pub config_sha256: Option<String>,
}

/// The process's telemetry. Dropping it flushes and stops the exporters.
pub struct Telemetry {
    providers: bootstrap::Providers,
    tracer: SdkTracer,
    ledgers: Option<LedgerWriter>,
    metrics: Arc<Metrics>,
    settings: TelemetrySettings,
    /// When this process began, by which it is told from another of its number.
    start_ticks: Option<u64>,
    names: Names,
}

/// Opens spans of work that is no tool call. They begin traces of their own and have
/// no ledger. Cheap to clone.
#[derive(Clone)]
pub struct Operations {
    sinks: Arc<span::Sinks>,
}

impl Operations {
    pub fn begin(&self, name: &'static str) -> Span {
        Span::root(self.sinks.clone(), name, SpanKind::Internal, Origin::default())
    }
}

impl Telemetry {
    /// Starts exporters and the ledger writer. Without an endpoint nothing is sent
    /// and that is no error.
    ///
    /// # Errors
    /// When an exporter can't be built from its settings or a thread can't start.
    pub fn start(settings: TelemetrySettings) -> Result<Telemetry, TelemetryError> {
        let otel = settings.export.clone().unwrap_or_default();
        for ignored in &otel.ignored {
            tracing::warn!("{ignored}");
        }
        let providers = bootstrap::Providers::start(&otel)?;
        let ledgers = match &settings.ledger_folder {
            Some(folder) => Some(LedgerWriter::start(folder.clone(), settings.ledger.clone()).map_err(TelemetryError::Ledger)?),
            None => None,
        };
        let counts = ledgers.as_ref().map(LedgerWriter::counts);
        let metrics = Metrics::new(&providers.meter, providers.registry.clone(), counts, providers.counts.clone());
        Ok(Telemetry {
            tracer: providers.tracer.tracer("spanloom"),
            providers,
            ledgers,
            metrics: Arc::new(metrics),
            settings,
            start_ticks: names::start_ticks(std::process::id()),
            names: Names::default(),
        })
    }

    /// Opens the SERVER span of an MCP message that is no tool call. It has no ledger.
    pub fn exchange(&self, method: &'static str, caller: &Caller) -> Span {
        let origin = Origin { parent: caller.parent.clone(), links: caller.link.clone().into_iter().collect() };
        let span = Span::root(Arc::new(self.sinks()), method, SpanKind::Server, origin);
        span.set(attr::MCP_METHOD, method);
        if let Some(session) = &caller.session_id {
            span.set(attr::MCP_SESSION_ID, session.clone());
        }
        span
    }

    /// For spans of work that is no tool call, such as loading a plugin.
    pub fn operations(&self) -> Operations {
        Operations { sinks: Arc::new(self.sinks()) }
    }

    /// Of what is no run.
    fn sinks(&self) -> span::Sinks {
        span::Sinks {
            tracer: self.tracer.clone(),
            ledger: RunLedger::off(),
            metrics: self.metrics.clone(),
            exporting: self.settings.export.as_ref().is_some_and(|otel| !otel.traces.is_empty()),
            outgoing: Outgoing::default(),
            redactor: Redactor::default(),
        }
    }

    /// What is read from requests and passed on with them.
    pub fn propagators(&self) -> Propagators {
        self.settings.export.as_ref().map(|otel| otel.propagators).unwrap_or_default()
    }

    /// What is scraped.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// Moves the meters.
    pub fn record(&self, fact: &Fact) {
        self.metrics.record(fact);
    }

    /// What the gauges of the index show from now on.
    pub fn index_opened(&self, facts: IndexFacts) {
        self.metrics.index_opened(facts);
    }

    /// Whether query text may be written down.
    pub fn records_query_text(&self) -> bool {
        self.settings.query_text == QueryText::Plain
    }

    /// The runs that were written down, those of this process among them.
    pub fn records(&self) -> RunRecords {
        match &self.ledgers {
            Some(writer) => RunRecords::of_folder(writer.folder().to_owned()).with_memory(writer.store(), writer.flusher()),
            None => RunRecords::none(),
        }
    }

    /// Sends and writes what is waiting, for a few seconds at most.
    pub fn flush(&self) {
        if let Some(ledgers) = &self.ledgers {
            ledgers.flush();
        }
        self.providers.flush();
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(lost) = self.ledgers.as_ref().map(|writer| writer.counts().dropped()).filter(|lost| *lost > 0) {
            tracing::warn!(lost, "ledger lines were lost");
        }
    }
}

/// A map as one attribute value: `{"bm25":100,"dense":50}`, keys sorted.
pub fn map_value<V: serde::Serialize>(map: &BTreeMap<&str, V>) -> String {
    // Maps of strings to numbers can't fail to serialize; an empty text would show.
    serde_json::to_string(map).unwrap_or_default()
}
