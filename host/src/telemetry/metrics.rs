//! The process's instruments, and which fact moves which. Names and labels are those of
//! dashboards: they change only with the documents.
//!
//! Names end in their unit and counters in `_total`, so that OTLP and the Prometheus
//! scrape agree on every one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, MeterProvider as _, UpDownCounter};
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{Aggregation, Instrument, SdkMeterProvider, Stream};
use prometheus::{Encoder as _, Registry, TextEncoder};

use super::bootstrap::{ExportCounts, Signal};
use super::facts::{Fact, IndexFacts, PluginCall};
use super::ledger::LedgerCounts;

/// Series of one instrument. What comes after them is counted together, in a series
/// labelled `otel_metric_overflow`.
pub const SERIES_MAX: usize = 200;

/// Upper bounds of latency buckets in seconds.
const LATENCY_BUCKETS_S: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// Of what takes microseconds.
const SHORT_BUCKETS_S: &[f64] = &[0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 1.0];
const COUNT_BUCKETS: &[f64] = &[0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0];
const SHARE_BUCKETS: &[f64] = &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];
const RRF_K_BUCKETS: &[f64] = &[5.0, 10.0, 20.0, 30.0, 40.0, 60.0, 80.0, 100.0, 150.0, 200.0];
const MEMORY_BUCKETS_BYTES: &[f64] =
    &[65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0, 33_554_432.0, 67_108_864.0, 134_217_728.0, 268_435_456.0];

/// Buckets of the histograms by name; the view applies them.
const HISTOGRAMS: &[(&str, &[f64])] = &[
    ("request_latency_seconds", LATENCY_BUCKETS_S),
    ("stage_latency_seconds", SHORT_BUCKETS_S),
    ("embed_latency_seconds", SHORT_BUCKETS_S),
    ("embed_batch_size", COUNT_BUCKETS),
    ("faiss_search_latency_seconds", SHORT_BUCKETS_S),
    ("xtr_search_latency_seconds", LATENCY_BUCKETS_S),
    ("duckdb_execute_seconds", SHORT_BUCKETS_S),
    ("gating_rrf_k", RRF_K_BUCKETS),
    ("query_ambiguity", SHARE_BUCKETS),
    ("channel_hits", COUNT_BUCKETS),
    ("plugin_cpu_time_seconds", SHORT_BUCKETS_S),
    ("plugin_memory_bytes", MEMORY_BUCKETS_BYTES),
];

/// Every instrument, and the registry they are scraped from.
pub struct Metrics {
    /// What is scraped; without one a scrape is empty.
    registry: Option<Registry>,
    index: Arc<ArcSwapOption<IndexFacts>>,
    runs: Counter<u64>,
    run_errors: Counter<u64>,
    runs_in_flight: UpDownCounter<i64>,
    request_latency: Histogram<f64>,
    stage_latency: Histogram<f64>,
    embed_latency: Histogram<f64>,
    embed_batch_size: Histogram<u64>,
    faiss_latency: Histogram<f64>,
    xtr_latency: Histogram<f64>,
    duckdb_time: Histogram<f64>,
    gating_decisions: Counter<u64>,
    gating_rrf_k: Histogram<f64>,
    query_ambiguity: Histogram<f64>,
    recency_boosted: Counter<u64>,
    query_errors: Counter<u64>,
    channel_hits: Histogram<u64>,
    channel_deadlines_missed: Counter<u64>,
    plugin_calls: Counter<u64>,
    plugin_traps: Counter<u64>,
    plugin_seconds: Histogram<f64>,
    plugin_memory: Histogram<u64>,
    plugin_limits: Counter<u64>,
    plugin_quarantines: Counter<u64>,
    plugin_loads: Counter<u64>,
    experiment_shadow_runs: Counter<u64>,
    experiment_rollbacks: Counter<u64>,
}

/// Caps the series of every instrument and gives histograms their buckets.
pub(super) fn view(instrument: &Instrument) -> Option<Stream> {
    let mut stream = Stream::builder().with_cardinality_limit(SERIES_MAX);
    if let Some((_, bounds)) = HISTOGRAMS.iter().find(|(name, _)| *name == instrument.name()) {
        stream = stream.with_aggregation(Aggregation::ExplicitBucketHistogram { boundaries: bounds.to_vec(), record_min_max: true });
    }
    stream.build().ok()
}

impl Metrics {
    /// Instruments of `provider`, which has to have the [`view`]; `registry` is what is
    /// scraped. The counts are those of telemetry itself.
    pub(super) fn new(
        provider: &SdkMeterProvider,
        registry: Option<Registry>,
        ledger: Option<Arc<LedgerCounts>>,
        exports: Arc<ExportCounts>,
    ) -> Metrics {
        let meter = provider.meter("spanloom");
        let index = Arc::new(ArcSwapOption::empty());
        watch_index(&meter, &index);
        watch_telemetry(&meter, ledger, exports);
        let counter = |name: &'static str, description: &'static str| meter.u64_counter(name).with_description(description).build();
        let seconds =
            |name: &'static str, description: &'static str| meter.f64_histogram(name).with_unit("s").with_description(description).build();
        let numbers = |name: &'static str, description: &'static str| meter.f64_histogram(name).with_description(description).build();
        let sizes = |name: &'static str, unit: &'static str, description: &'static str| {
            meter.u64_histogram(name).with_unit(unit).with_description(description).build()
        };
        Metrics {
            runs: counter("mcp_runs_total", "Tool calls by tool and status"),
            run_errors: counter("mcp_run_errors_total", "Tool calls without an answer by tool and error class"),
            runs_in_flight: meter.i64_up_down_counter("mcp_runs_in_flight").with_description("Tool calls in work").build(),
            request_latency: seconds("request_latency_seconds", "Time of tool calls by tool"),
            stage_latency: seconds("stage_latency_seconds", "Time of stages by stage"),
            embed_latency: seconds("embed_latency_seconds", "Time to embed a batch of texts by mode"),
            embed_batch_size: sizes("embed_batch_size", "1", "Texts embedded together by mode"),
            faiss_latency: seconds("faiss_search_latency_seconds", "Time of FAISS searches by kind of index"),
            xtr_latency: seconds("xtr_search_latency_seconds", "Time to score rows by late interaction"),
            duckdb_time: seconds("duckdb_execute_seconds", "Time of DuckDB statements by operation"),
            gating_decisions: counter("gating_decisions_total", "Gate decisions by query class and whether RM3 was asked for"),
            gating_rrf_k: numbers("gating_rrf_k", "The constant of reciprocal rank fusion as the gate chose it"),
            query_ambiguity: numbers("query_ambiguity", "How ambiguous the gate holds queries, 0 to 1"),
            recency_boosted: counter("recency_boosted_total", "Rows that the recency boost raised"),
            query_errors: counter("query_errors_total", "Parts of searches that did not do their full part, by part and cause"),
            channel_hits: sizes("channel_hits", "1", "Rows a channel gave, by channel"),
            channel_deadlines_missed: counter("channel_deadlines_missed_total", "Searches a channel was too late for, by channel"),
            plugin_calls: counter("plugin_calls_total", "Plugin calls by stage, plugin and outcome: ok or the cause of the failure"),
            plugin_traps: counter("plugin_traps_total", "Plugin calls that cost the instance, by stage, plugin and cause"),
            plugin_seconds: seconds("plugin_cpu_time_seconds", "Processor time of plugin calls by stage and plugin"),
            plugin_memory: sizes("plugin_memory_bytes", "By", "Peak memory of plugin calls by stage and plugin"),
            plugin_limits: counter("plugin_limit_reached_total", "Plugin calls that reached a limit, by stage, plugin and limit"),
            plugin_quarantines: counter(
                "plugin_quarantines_total",
                "How often a plugin was taken out after failures in a row, by stage and plugin",
            ),
            plugin_loads: counter("plugin_loads_total", "Plugins loaded while serving, by outcome"),
            experiment_shadow_runs: counter(
                "experiment_shadow_runs_total",
                "Arms asked without anybody seeing it, by experiment and outcome: ok, error or left_out",
            ),
            experiment_rollbacks: counter(
                "experiment_rollbacks_total",
                "Arms that a guardrail took back, by experiment, variant and guardrail",
            ),
            registry,
            index,
        }
    }

    pub(super) fn run_started(&self, tool: &'static str) {
        self.runs_in_flight.add(1, &[KeyValue::new("tool", tool)]);
    }

    /// `error` is the class of a run without an answer.
    pub(super) fn run_finished(&self, tool: &'static str, status: &'static str, error: Option<&str>, seconds: f64) {
        self.runs_in_flight.add(-1, &[KeyValue::new("tool", tool)]);
        self.runs.add(1, &[KeyValue::new("tool", tool), KeyValue::new("status", status)]);
        if let Some(class) = error {
            self.run_errors.add(1, &[KeyValue::new("tool", tool), KeyValue::new("error_type", class.to_owned())]);
        }
        self.request_latency.record(seconds, &[KeyValue::new("tool", tool)]);
    }

    pub(super) fn stage_finished(&self, stage: &str, seconds: f64) {
        self.stage_latency.record(seconds, &[KeyValue::new("stage", stage.to_owned())]);
    }

    /// What the gauges of the index show from now on.
    pub(super) fn index_opened(&self, facts: IndexFacts) {
        self.index.store(Some(Arc::new(facts)));
    }

    pub(super) fn record(&self, fact: &Fact) {
        match fact {
            Fact::Embedded { mode, texts, seconds } => {
                let labels = [KeyValue::new("mode", *mode)];
                self.embed_latency.record(*seconds, &labels);
                self.embed_batch_size.record(*texts as u64, &labels);
            }
            Fact::FaissSearched { kind, seconds } => {
                self.faiss_latency.record(*seconds, &[KeyValue::new("index_kind", (*kind).to_owned())]);
            }
            Fact::LateInteractionScored { seconds } => self.xtr_latency.record(*seconds, &[]),
            Fact::DuckdbExecuted { operation, seconds } => {
                self.duckdb_time.record(*seconds, &[KeyValue::new("operation", *operation)]);
            }
            Fact::Gated { class, rm3, rrf_k, ambiguity } => {
                self.gating_decisions.add(1, &[KeyValue::new("class", (*class).to_owned()), KeyValue::new("rm3", *rm3)]);
                self.gating_rrf_k.record(*rrf_k, &[]);
                self.query_ambiguity.record(*ambiguity, &[]);
            }
            Fact::RecencyBoosted(rows) => self.recency_boosted.add(*rows, &[]),
            Fact::ChannelAnswered { channel, hits } => {
                self.channel_hits.record(*hits as u64, &[KeyValue::new("channel", channel.as_str())]);
            }
            Fact::ChannelLate { channel } => self.channel_deadlines_missed.add(1, &[KeyValue::new("channel", channel.as_str())]),
            Fact::Degraded { part, cause } => {
                self.query_errors.add(1, &[KeyValue::new("part", (*part).to_owned()), KeyValue::new("cause", (*cause).to_owned())]);
            }
            Fact::PluginCalled(call) => self.plugin_called(call),
            Fact::PluginQuarantined { stage, name } => {
                self.plugin_quarantines.add(1, &[KeyValue::new("stage", stage.as_str()), KeyValue::new("plugin", (*name).to_owned())]);
            }
            Fact::PluginLoaded { outcome } => self.plugin_loads.add(1, &[KeyValue::new("outcome", *outcome)]),
            Fact::ShadowAsked { experiment, outcome } => {
                let labels = [KeyValue::new("experiment", (*experiment).to_owned()), KeyValue::new("outcome", *outcome)];
                self.experiment_shadow_runs.add(1, &labels);
            }
            Fact::RolledBack { experiment, variant, guardrail } => {
                let labels = [("experiment", *experiment), ("variant", *variant), ("guardrail", *guardrail)];
                self.experiment_rollbacks.add(1, &labels.map(|(key, value)| KeyValue::new(key, value.to_owned())));
            }
        }
    }

    fn plugin_called(&self, call: &PluginCall) {
        let labels = [KeyValue::new("stage", call.stage.as_str()), KeyValue::new("plugin", call.name.to_owned())];
        let with = |key: &'static str, value: &'static str| [labels[0].clone(), labels[1].clone(), KeyValue::new(key, value)];
        self.plugin_calls.add(1, &with("outcome", call.cause.unwrap_or("ok")));
        self.plugin_seconds.record(call.seconds, &labels);
        self.plugin_memory.record(call.memory_bytes, &labels);
        let is_trap = |cause: &&str| cause.starts_with("trap.") || cause.starts_with("limit.") || ["deadline", "contract"].contains(cause);
        if let Some(cause) = call.cause.filter(is_trap) {
            self.plugin_traps.add(1, &with("cause", cause));
        }
        let reached = call.cause.filter(|cause| cause.starts_with("limit.") || *cause == "deadline");
        for limit in call.dropped.iter().map(|(limit, _)| *limit).chain(reached) {
            self.plugin_limits.add(1, &with("limit", limit));
        }
    }

    /// The Prometheus text of everything measured so far.
    ///
    /// # Errors
    /// When the registry holds what the format can't.
    pub fn scrape(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        if let Some(registry) = &self.registry {
            TextEncoder::new().encode(&registry.gather(), &mut text)?;
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// A reader for the registry that is scraped. Names are left as they are: they say unit
/// and kind already.
///
/// # Errors
/// When the registry refuses the reader.
pub(super) fn scrape_reader(registry: &Registry) -> Result<impl MetricReader + use<>, OTelSdkError> {
    opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .without_units()
        .without_counter_suffixes()
        .build()
        .map_err(|error| OTelSdkError::InternalFailure(error.to_string()))
}

fn watch_index(meter: &Meter, index: &Arc<ArcSwapOption<IndexFacts>>) {
    let age = index.clone();
    meter
        .f64_observable_gauge("index_age_seconds")
        .with_unit("s")
        .with_description("Time since the index that serves was built")
        .with_callback(move |gauge| {
            if let Some(facts) = age.load().as_ref() {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
                gauge.observe((now - facts.created_s as f64).max(0.0), &[]);
            }
        })
        .build();
    let coverage = index.clone();
    meter
        .f64_observable_gauge("index_coverage_ratio")
        .with_description("Share of the files that are indexed, and of the chunks that have a vector")
        .with_callback(move |gauge| {
            if let Some(facts) = coverage.load().as_ref() {
                let share = |part: u64, whole: u64| if whole == 0 { 1.0 } else { part as f64 / whole as f64 };
                gauge.observe(share(facts.files_indexed, facts.files_indexed + facts.files_skipped), &[KeyValue::new("of", "files")]);
                gauge.observe(share(facts.chunks_embedded, facts.chunks), &[KeyValue::new("of", "vectors")]);
            }
        })
        .build();
    let size = index.clone();
    meter
        .u64_observable_gauge("index_chunks")
        .with_description("Chunks of the index that serves")
        .with_callback(move |gauge| {
            if let Some(facts) = size.load().as_ref() {
                gauge.observe(facts.chunks, &[]);
            }
        })
        .build();
}

/// Telemetry on itself: what waits, what left, what was lost.
fn watch_telemetry(meter: &Meter, ledger: Option<Arc<LedgerCounts>>, exports: Arc<ExportCounts>) {
    const SIGNALS: [Signal; 3] = [Signal::Traces, Signal::Metrics, Signal::Logs];
    let label = |signal: &'static str| [KeyValue::new("signal", signal)];
    let (waiting, lines) = (exports.clone(), ledger.clone());
    meter
        .u64_observable_gauge("telemetry_queue_depth")
        .with_description("Items that wait to be written or sent, by queue")
        .with_callback(move |gauge| {
            let label = |queue: &'static str| [KeyValue::new("queue", queue)];
            if let Some(lines) = &lines {
                gauge.observe(lines.waiting() as u64, &label("ledger"));
            }
            // Metrics don't queue: each export collects what there is.
            for signal in [Signal::Traces, Signal::Logs] {
                gauge.observe(waiting.of(signal).waiting.load(Ordering::Relaxed) as u64, &label(signal.as_str()));
            }
        })
        .build();
    let lost = exports.clone();
    meter
        .u64_observable_counter("telemetry_dropped_total")
        .with_description("Items lost to a full queue, a failing disk or a collector that takes nothing, by signal")
        .with_callback(move |counter| {
            if let Some(ledger) = &ledger {
                counter.observe(ledger.dropped(), &label("ledger"));
            }
            for signal in SIGNALS {
                let counts = lost.of(signal);
                let all = counts.dropped.load(Ordering::Relaxed) + counts.failed.load(Ordering::Relaxed);
                counter.observe(all, &label(signal.as_str()));
            }
        })
        .build();
    let left = exports.clone();
    meter
        .u64_observable_counter("telemetry_exported_total")
        .with_description("Items that a collector took, by signal")
        .with_callback(move |counter| {
            SIGNALS.iter().for_each(|signal| counter.observe(left.of(*signal).exported.load(Ordering::Relaxed), &label(signal.as_str())));
        })
        .build();
    meter
        .u64_observable_counter("telemetry_export_failures_total")
        .with_description("Exports that failed, by signal")
        .with_callback(move |counter| {
            SIGNALS
                .iter()
                .for_each(|signal| counter.observe(exports.of(*signal).failures.load(Ordering::Relaxed), &label(signal.as_str())));
        })
        .build();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Stage;

    /// The provider stops with its last handle.
    fn metrics() -> (Metrics, SdkMeterProvider) {
        let registry = Registry::new();
        let provider = SdkMeterProvider::builder().with_reader(scrape_reader(&registry).unwrap()).with_view(view).build();
        (Metrics::new(&provider, Some(registry), Some(Arc::default()), Arc::default()), provider)
    }

    /// The value of the one series of that name with these labels, in any order.
    fn value(text: &str, name: &str, labels: &str) -> String {
        let mut wanted: Vec<&str> = labels.split(',').filter(|label| !label.is_empty()).chain(["otel_scope_name=\"spanloom\""]).collect();
        wanted.sort_unstable();
        let found = text.lines().find_map(|line| {
            let (labels, value) = line.strip_prefix(name)?.strip_prefix('{')?.split_once("} ")?;
            let mut labels: Vec<&str> = labels.split(',').collect();
            labels.sort_unstable();
            (labels == wanted).then_some(value)
        });
        found.unwrap_or_else(|| panic!("no {name} with {wanted:?} in\n{text}")).to_owned()
    }

    #[test]
    fn facts_move_the_instruments_of_their_names() {
        let (metrics, _provider) = metrics();
        metrics.run_started("open_file");
        metrics.run_finished("open_file", "error", Some("not_found"), 0.002);
        metrics.stage_finished("embed", 0.1);
        metrics.index_opened(IndexFacts { created_s: 0, files_indexed: 3, files_skipped: 1, chunks: 10, chunks_embedded: 5 });
        let call = PluginCall {
            stage: Stage::Gate,
            name: "g",
            cause: Some("limit.memory"),
            seconds: 0.1,
            memory_bytes: 65_536,
            dropped: vec![("span_children_max", 2)],
        };
        for fact in [
            Fact::Embedded { mode: "http", texts: 3, seconds: 0.1 },
            Fact::FaissSearched { kind: "Flat", seconds: 0.1 },
            Fact::LateInteractionScored { seconds: 0.1 },
            Fact::DuckdbExecuted { operation: "SELECT", seconds: 0.1 },
            Fact::Gated { class: "literal", rm3: false, rrf_k: 60.0, ambiguity: 0.25 },
            Fact::RecencyBoosted(4),
            Fact::ChannelAnswered { channel: crate::types::ChannelName::Bm25, hits: 7 },
            Fact::ChannelLate { channel: crate::types::ChannelName::Dense },
            Fact::Degraded { part: "rerank", cause: "deadline" },
            Fact::PluginCalled(call),
            Fact::PluginQuarantined { stage: Stage::Gate, name: "g" },
            Fact::PluginLoaded { outcome: "switched" },
        ] {
            metrics.record(&fact);
        }
        let text = metrics.scrape().unwrap();
        let check = |name: &str, labels: &str, expect: &str| assert_eq!(value(&text, name, labels), expect, "{name}");
        check("mcp_runs_total", "status=\"error\",tool=\"open_file\"", "1");
        check("mcp_run_errors_total", "error_type=\"not_found\",tool=\"open_file\"", "1");
        check("mcp_runs_in_flight", "tool=\"open_file\"", "0");
        check("request_latency_seconds_count", "tool=\"open_file\"", "1");
        check("stage_latency_seconds_count", "stage=\"embed\"", "1");
        check("embed_latency_seconds_count", "mode=\"http\"", "1");
        check("embed_batch_size_sum", "mode=\"http\"", "3");
        check("faiss_search_latency_seconds_count", "index_kind=\"Flat\"", "1");
        check("xtr_search_latency_seconds_count", "", "1");
        check("duckdb_execute_seconds_count", "operation=\"SELECT\"", "1");
        check("gating_decisions_total", "class=\"literal\",rm3=\"false\"", "1");
        check("gating_rrf_k_sum", "", "60");
        check("query_ambiguity_sum", "", "0.25");
        check("recency_boosted_total", "", "4");
        check("channel_hits_sum", "channel=\"bm25\"", "7");
        check("channel_deadlines_missed_total", "channel=\"dense\"", "1");
        check("query_errors_total", "cause=\"deadline\",part=\"rerank\"", "1");
        check("plugin_calls_total", "outcome=\"limit.memory\",plugin=\"g\",stage=\"gate\"", "1");
        check("plugin_traps_total", "cause=\"limit.memory\",plugin=\"g\",stage=\"gate\"", "1");
        check("plugin_memory_bytes_sum", "plugin=\"g\",stage=\"gate\"", "65536");
        check("plugin_limit_reached_total", "limit=\"span_children_max\",plugin=\"g\",stage=\"gate\"", "1");
        check("plugin_quarantines_total", "plugin=\"g\",stage=\"gate\"", "1");
        check("plugin_loads_total", "outcome=\"switched\"", "1");
        check("index_coverage_ratio", "of=\"files\"", "0.75");
        check("index_coverage_ratio", "of=\"vectors\"", "0.5");
        check("index_chunks", "", "10");
        check("telemetry_queue_depth", "queue=\"ledger\"", "0");
        check("telemetry_dropped_total", "signal=\"ledger\"", "0");
    }

    #[test]
    fn labels_from_outside_make_a_bounded_number_of_series() {
        let (metrics, _provider) = metrics();
        for number in 0..10_000 {
            metrics.record(&Fact::Gated { class: &format!("class {number}"), rm3: false, rrf_k: 60.0, ambiguity: 0.0 });
        }
        let text = metrics.scrape().unwrap();
        let series = text.lines().filter(|line| line.starts_with("gating_decisions_total{")).count();
        assert!(series <= SERIES_MAX + 1, "{series}");
        assert!(text.contains("otel_metric_overflow=\"true\""), "{text}");
    }
}
