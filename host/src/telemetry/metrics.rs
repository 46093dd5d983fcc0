//! The process's instruments. Names and labels are those of dashboards: they change
//! only with the documents.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, MeterProvider as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Encoder as _, Registry, TextEncoder};

/// Upper bounds of latency buckets in seconds.
const LATENCY_BUCKETS_S: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

/// Every instrument, and the registry they are scraped from.
pub struct Metrics {
    registry: Registry,
    provider: SdkMeterProvider,
    runs: Counter<u64>,
    request_latency: Histogram<f64>,
    stage_latency: Histogram<f64>,
}

impl Metrics {
    /// # Errors
    /// When the exporter refuses its settings.
    pub(super) fn new(resource: Resource) -> Result<Metrics, opentelemetry_sdk::error::OTelSdkError> {
        let registry = Registry::new();
        let reader = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .build()
            .map_err(|error| opentelemetry_sdk::error::OTelSdkError::InternalFailure(error.to_string()))?;
        let provider = SdkMeterProvider::builder().with_reader(reader).with_resource(resource).build();
        let meter = provider.meter("spanloom");
        let latency = |name: &'static str, description: &'static str| {
            meter.f64_histogram(name).with_unit("s").with_description(description).with_boundaries(LATENCY_BUCKETS_S.to_vec()).build()
        };
        Ok(Metrics {
            runs: meter.u64_counter("mcp_runs").with_description("Tool calls by tool and status").build(),
            request_latency: latency("request_latency", "Time of tool calls by tool"),
            stage_latency: latency("stage_latency", "Time of stages by stage"),
            registry,
            provider,
        })
    }

    pub(super) fn run_finished(&self, tool: &'static str, status: &str, seconds: f64) {
        self.runs.add(1, &[KeyValue::new("tool", tool), KeyValue::new("status", status.to_owned())]);
        self.request_latency.record(seconds, &[KeyValue::new("tool", tool)]);
    }

    pub(super) fn stage_finished(&self, stage: &str, seconds: f64) {
        self.stage_latency.record(seconds, &[KeyValue::new("stage", stage.to_owned())]);
    }

    /// The Prometheus text of everything measured so far.
    ///
    /// # Errors
    /// When the registry holds what the format can't.
    pub fn scrape(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    pub(super) fn shutdown(&self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!(%error, "the meters did not stop cleanly");
        }
    }
}
