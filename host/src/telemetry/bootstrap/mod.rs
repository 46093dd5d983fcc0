//! Starts the OpenTelemetry SDK for all three signals, and stops it. The only folder
//! that names exporters.
//!
//! ```text
//! spans ──► Bounded(batch) ──┐
//! logs ───► Bounded(batch) ──┼──► Counted(exporter) ──► telemetry-export thread ──► receiver
//! metrics ► periodic reader ─┘
//!         └► registry ──► scrape
//! ```
//!
//! Nothing here is waited for by a call: queues that are full drop, exports have a
//! clock, and stopping has a bound.

mod console;
mod counted;
mod exporters;
mod resource;
mod settings;

use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use opentelemetry_otlp::RetryPolicy;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::{BatchConfigBuilder as LogBatchConfig, BatchLogProcessor, LogBatch, LogExporter as _, SdkLoggerProvider};
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder as SpanBatchConfig, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanExporter as _, SpanLimits as SdkSpanLimits,
};
use prometheus::Registry;

use super::logs::{self, RunIds};
use super::metrics::{scrape_reader, view};
use console::Console;
use counted::{Bounded, Counted, Tally};
use exporters::Sender;

pub use counted::{ExportCounts, SignalCounts};
pub use settings::{
    BatchLimits, Exporter, Headers, Ignored, OtelSettings, OtlpProtocol, OtlpSettings, Propagators, ResourceSettings, RootSampling,
    Sampling, Signal, SpanLimits, Temporality, TlsFiles,
};

/// How long what waits may take to leave when it is asked to, all signals together.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);
/// How long stopping may take after that, all signals together: a collector that hangs
/// holds the process no longer.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Why telemetry could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("the OTLP exporter of {signal} could not be built: {problem}")]
    Exporter { signal: &'static str, problem: String },
    #[error("the thread that exports could not start: {0}")]
    Thread(std::io::Error),
    #[error("the meters could not be built: {0}")]
    Metrics(opentelemetry_sdk::error::OTelSdkError),
    #[error("the ledger writer could not start: {0}")]
    Ledger(std::io::Error),
}

/// The running SDK. Dropping it sends what waits, within [`STOP_TIMEOUT`].
pub struct Providers {
    pub tracer: SdkTracerProvider,
    pub meter: SdkMeterProvider,
    /// What is scraped; `None` when there is no scrape.
    pub registry: Option<Registry>,
    pub counts: Arc<ExportCounts>,
    logger: Option<SdkLoggerProvider>,
    /// Last, so that it outlives everything that sends.
    sender: Sender,
}

impl Providers {
    /// Builds what the settings ask for. Connects to nothing: that is left to the first
    /// export, so a collector that is down doesn't delay the start.
    ///
    /// # Errors
    /// When a named file can't be read, or a thread can't start.
    pub fn start(settings: &OtelSettings) -> Result<Providers, TelemetryError> {
        let sender = Sender::start(settings).map_err(TelemetryError::Thread)?;
        let counts = Arc::new(ExportCounts::default());
        let resource = resource::detect(&settings.resource);
        let tracer = tracer_provider(settings, &resource, &sender, &counts)?;
        let (meter, registry) = meter_provider(settings, &resource, &sender, &counts)?;
        let logger = logger_provider(settings, &resource, &sender, &counts)?;
        if let Some(logger) = &logger {
            logs::install(logger);
        }
        Ok(Providers { tracer, meter, registry, counts, logger, sender })
    }

    /// Sends what waits, within [`FLUSH_TIMEOUT`].
    pub fn flush(&self) {
        let (tracer, meter, logger) = (self.tracer.clone(), self.meter.clone(), self.logger.clone());
        let mut work: Vec<Work> = vec![(Signal::Traces, Box::new(move || tracer.force_flush()))];
        work.push((Signal::Metrics, Box::new(move || meter.force_flush())));
        if let Some(logger) = logger {
            work.push((Signal::Logs, Box::new(move || logger.force_flush())));
        }
        side_by_side(work, FLUSH_TIMEOUT);
    }
}

impl Drop for Providers {
    fn drop(&mut self) {
        if self.logger.is_some() {
            logs::uninstall();
        }
        let (tracer, meter, logger) = (self.tracer.clone(), self.meter.clone(), self.logger.take());
        let mut work: Vec<Work> = vec![(Signal::Traces, Box::new(move || tracer.shutdown_with_timeout(STOP_TIMEOUT)))];
        work.push((Signal::Metrics, Box::new(move || meter.shutdown_with_timeout(STOP_TIMEOUT))));
        if let Some(logger) = logger {
            work.push((Signal::Logs, Box::new(move || logger.shutdown_with_timeout(STOP_TIMEOUT))));
        }
        if !side_by_side(work, STOP_TIMEOUT) {
            self.sender.leave();
        }
    }
}

type Work = (Signal, Box<dyn FnOnce() -> OTelSdkResult + Send>);

/// Does the work of all signals at once and waits no longer than `limit`; what takes
/// longer is left behind on its thread. Failures are logged. Whether all came to an end.
fn side_by_side(work: Vec<Work>, limit: Duration) -> bool {
    let until = Instant::now() + limit;
    let (done, outcomes) = mpsc::channel();
    let mut waiting = Vec::new();
    let mut ended = true;
    for (signal, work) in work {
        let done = done.clone();
        let thread = std::thread::Builder::new().name(format!("telemetry-{}", signal.as_str()));
        let spawned = thread.spawn(move || {
            // Nobody listens any more when it took too long.
            let _ = done.send((signal, work()));
        });
        match spawned {
            Ok(_) => waiting.push(signal),
            Err(error) => {
                ended = false;
                tracing::warn!(%error, "{} could not be exported", signal.as_str());
            }
        }
    }
    while !waiting.is_empty() {
        let Ok((signal, outcome)) = outcomes.recv_timeout(until.saturating_duration_since(Instant::now())) else { break };
        waiting.retain(|other| *other != signal);
        match outcome {
            // A provider whose last handle was elsewhere has stopped by itself.
            Ok(()) | Err(OTelSdkError::AlreadyShutdown) => {}
            Err(error) => {
                ended &= !matches!(error, OTelSdkError::Timeout(_));
                tracing::warn!(%error, "{} could not be exported", signal.as_str());
            }
        }
    }
    ended &= waiting.is_empty();
    for signal in waiting {
        tracing::warn!(limit_ms = limit.as_millis() as u64, "{} could not be exported in time", signal.as_str());
    }
    ended
}

fn tracer_provider(
    settings: &OtelSettings,
    resource: &Resource,
    sender: &Sender,
    counts: &Arc<ExportCounts>,
) -> Result<SdkTracerProvider, TelemetryError> {
    let (limits, bounds) = (settings.span_limits, settings.span_batch);
    let batch = || {
        let config = SpanBatchConfig::default().with_max_queue_size(bounds.queue_max).with_max_export_batch_size(bounds.batch_max);
        config.with_scheduled_delay(bounds.delay).build()
    };
    let mut builder = SdkTracerProvider::builder()
        .with_resource(resource.clone())
        .with_sampler(sampler(settings.sampler))
        .with_span_limits(SdkSpanLimits {
            max_events_per_span: limits.events,
            max_attributes_per_span: limits.attributes,
            max_links_per_span: limits.links,
            max_attributes_per_event: limits.event_attributes,
            max_attributes_per_link: limits.link_attributes,
        });
    for exporter in &settings.traces {
        builder = match (exporter, sender.handle()) {
            (Exporter::Otlp(otlp), Some(handle)) => {
                let tally = Tally::new(counts.clone(), Signal::Traces, bounds.queue_max);
                let exporter = exporters::spans(otlp, handle, RetryPolicy::default())?;
                let exporter = Counted::new(exporter, tally.clone(), handle.clone(), otlp.timeout).with_value_length(limits.value_length);
                let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batch()).build();
                builder.with_span_processor(Bounded { processor, tally })
            }
            _ => {
                let exporter = Console::new(settings.temporality);
                builder.with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batch()).build())
            }
        };
    }
    Ok(builder.build())
}

fn meter_provider(
    settings: &OtelSettings,
    resource: &Resource,
    sender: &Sender,
    counts: &Arc<ExportCounts>,
) -> Result<(SdkMeterProvider, Option<Registry>), TelemetryError> {
    fn reader<E: PushMetricExporter>(exporter: E, interval: Duration) -> PeriodicReader<E> {
        PeriodicReader::builder(exporter).with_interval(interval).build()
    }
    let mut builder = SdkMeterProvider::builder().with_resource(resource.clone()).with_view(view);
    for exporter in &settings.metrics {
        builder = match (exporter, sender.handle()) {
            (Exporter::Otlp(otlp), Some(handle)) => {
                let tally = Tally::new(counts.clone(), Signal::Metrics, 1);
                let exporter = exporters::metrics(otlp, settings.temporality, handle, RetryPolicy::default())?;
                builder.with_reader(reader(Counted::new(exporter, tally, handle.clone(), otlp.timeout), settings.metric_interval))
            }
            _ => builder.with_reader(reader(Console::new(settings.temporality), settings.metric_interval)),
        };
    }
    if !settings.prometheus {
        return Ok((builder.build(), None));
    }
    let registry = Registry::new();
    let scrape = scrape_reader(&registry).map_err(TelemetryError::Metrics)?;
    Ok((builder.with_reader(scrape).build(), Some(registry)))
}

fn logger_provider(
    settings: &OtelSettings,
    resource: &Resource,
    sender: &Sender,
    counts: &Arc<ExportCounts>,
) -> Result<Option<SdkLoggerProvider>, TelemetryError> {
    if settings.logs.is_empty() {
        return Ok(None);
    }
    let bounds = settings.log_batch;
    let batch = || {
        let config = LogBatchConfig::default().with_max_queue_size(bounds.queue_max).with_max_export_batch_size(bounds.batch_max);
        config.with_scheduled_delay(bounds.delay).build()
    };
    // First, so that those after it see what it adds.
    let mut builder = SdkLoggerProvider::builder().with_resource(resource.clone()).with_log_processor(RunIds);
    for exporter in &settings.logs {
        builder = match (exporter, sender.handle()) {
            (Exporter::Otlp(otlp), Some(handle)) => {
                let tally = Tally::new(counts.clone(), Signal::Logs, bounds.queue_max);
                let exporter = exporters::logs(otlp, handle, RetryPolicy::default())?;
                let exporter = Counted::new(exporter, tally.clone(), handle.clone(), otlp.timeout);
                let processor = BatchLogProcessor::builder(exporter).with_batch_config(batch()).build();
                builder.with_log_processor(Bounded { processor, tally })
            }
            _ => {
                let exporter = Console::new(settings.temporality);
                builder.with_log_processor(BatchLogProcessor::builder(exporter).with_batch_config(batch()).build())
            }
        };
    }
    Ok(Some(builder.build()))
}

fn sampler(sampling: Sampling) -> Sampler {
    let root = match sampling.root {
        RootSampling::On => Sampler::AlwaysOn,
        RootSampling::Off => Sampler::AlwaysOff,
        RootSampling::Ratio(share) => Sampler::TraceIdRatioBased(share),
    };
    if sampling.parent_based { Sampler::ParentBased(Box::new(root)) } else { root }
}

/// Sends an export without content to a receiver, once. For checks by hand; blocks up
/// to `limit`.
///
/// # Errors
/// What went wrong, in words.
pub fn probe(signal: Signal, otlp: &OtlpSettings, limit: Duration) -> Result<(), String> {
    let otlp = OtlpSettings { timeout: limit, ..otlp.clone() };
    let settings = OtelSettings { traces: vec![Exporter::Otlp(otlp.clone())], ..OtelSettings::default() };
    let sender = Sender::start(&settings).map_err(|error| error.to_string())?;
    let Some(handle) = sender.handle() else { return Err("there is no thread to send from".into()) };
    let once = RetryPolicy::disabled();
    let told = |error: TelemetryError| error.to_string();
    let outcome = match signal {
        Signal::Traces => {
            let exporter = exporters::spans(&otlp, handle, once).map_err(told)?;
            futures::executor::block_on(exporters::within(limit, handle, exporter.export(Vec::new())))
        }
        Signal::Metrics => {
            let exporter = exporters::metrics(&otlp, Temporality::Cumulative, handle, once).map_err(told)?;
            let nothing = ResourceMetrics::default();
            futures::executor::block_on(exporters::within(limit, handle, exporter.export(&nothing)))
        }
        Signal::Logs => {
            let exporter = exporters::logs(&otlp, handle, once).map_err(told)?;
            futures::executor::block_on(exporters::within(limit, handle, exporter.export(LogBatch::new(&[]))))
        }
    };
    match outcome {
        Some(Ok(())) => Ok(()),
        Some(Err(OTelSdkError::InternalFailure(problem))) => Err(problem),
        Some(Err(error)) => Err(error.to_string()),
        None => Err(format!("no answer within {} ms", limit.as_millis())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_has_a_bound() {
        let (release, hang) = mpsc::channel::<()>();
        let (report, finished) = mpsc::channel();
        let work: Vec<Work> = vec![
            (
                Signal::Traces,
                Box::new(move || {
                    let _ = hang.recv();
                    Ok(())
                }),
            ),
            (
                Signal::Logs,
                Box::new(move || {
                    let _ = report.send(());
                    Ok(())
                }),
            ),
        ];
        assert!(!side_by_side(work, Duration::from_millis(50)), "one is left behind");
        assert!(finished.recv().is_ok(), "what can be done is done beside what hangs");
        drop(release);
    }

    #[test]
    fn samplers_are_those_of_the_sdk() {
        let check = |parent_based, root, expect: &str| {
            assert_eq!(format!("{:?}", sampler(Sampling { parent_based, root })), expect);
        };
        check(false, RootSampling::On, "AlwaysOn");
        check(false, RootSampling::Off, "AlwaysOff");
        check(true, RootSampling::Ratio(0.25), "ParentBased(TraceIdRatioBased(0.25))");
    }
}
