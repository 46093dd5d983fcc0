//! The process's instruments. Names and labels are those of dashboards: they change
//! only with the documents.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, MeterProvider as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Encoder as _, Registry, TextEncoder};

use crate::types::Stage;

/// Upper bounds of latency buckets in seconds.
const LATENCY_BUCKETS_S: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

/// Every instrument, and the registry they are scraped from.
pub struct Metrics {
    registry: Registry,
    provider: SdkMeterProvider,
    runs: Counter<u64>,
    request_latency: Histogram<f64>,
    stage_latency: Histogram<f64>,
    plugin_calls: Counter<u64>,
    plugin_seconds: Histogram<f64>,
    plugin_limits: Counter<u64>,
    plugin_quarantines: Counter<u64>,
    plugin_loads: Counter<u64>,
}

/// What one plugin call comes to.
pub struct PluginCallFact<'a> {
    pub stage: Stage,
    /// Of the loaded plugins, so one of few.
    pub name: &'a str,
    /// Why it failed; `None` when it went well.
    pub cause: Option<&'static str>,
    /// Processor time of the guest.
    pub seconds: f64,
    /// Items dropped over a limit, by the limit.
    pub dropped: Vec<(&'static str, u64)>,
}

/// Upper bounds of plugin time in seconds: calls take microseconds.
const PLUGIN_BUCKETS_S: [f64; 12] = [0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.1, 1.0];

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
            plugin_calls: meter
                .u64_counter("plugin_calls")
                .with_description("Plugin calls by stage, plugin and outcome: ok or the cause of the failure")
                .build(),
            plugin_seconds: meter
                .f64_histogram("plugin_cpu_time")
                .with_unit("s")
                .with_description("Processor time of plugin calls by stage and plugin")
                .with_boundaries(PLUGIN_BUCKETS_S.to_vec())
                .build(),
            plugin_limits: meter
                .u64_counter("plugin_limit_reached")
                .with_description("Plugin calls that reached a limit, by stage, plugin and limit")
                .build(),
            plugin_quarantines: meter
                .u64_counter("plugin_quarantines")
                .with_description("How often a plugin was taken out after failures in a row, by stage and plugin")
                .build(),
            plugin_loads: meter.u64_counter("plugin_loads").with_description("Plugins loaded while serving, by outcome").build(),
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

    pub(super) fn plugin_called(&self, fact: &PluginCallFact) {
        let labels = [KeyValue::new("stage", fact.stage.as_str()), KeyValue::new("plugin", fact.name.to_owned())];
        let with = |key: &'static str, value: &'static str| [labels[0].clone(), labels[1].clone(), KeyValue::new(key, value)];
        self.plugin_calls.add(1, &with("outcome", fact.cause.unwrap_or("ok")));
        self.plugin_seconds.record(fact.seconds, &labels);
        let reached = fact.cause.filter(|cause| cause.starts_with("limit.") || *cause == "deadline");
        for limit in fact.dropped.iter().map(|(limit, _)| *limit).chain(reached) {
            self.plugin_limits.add(1, &with("limit", limit));
        }
    }

    pub(super) fn plugin_quarantined(&self, stage: Stage, name: &str) {
        self.plugin_quarantines.add(1, &[KeyValue::new("stage", stage.as_str()), KeyValue::new("plugin", name.to_owned())]);
    }

    pub(super) fn plugin_loaded(&self, outcome: &'static str) {
        self.plugin_loads.add(1, &[KeyValue::new("outcome", outcome)]);
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
