//! What the OpenTelemetry SDK is to do: checked settings, made by the configuration
//! out of the standard `OTEL_*` variables. Nothing here reads the environment.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use opentelemetry_sdk::metrics::Temporality;

/// The three signals of OpenTelemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    Traces,
    Metrics,
    Logs,
}

/// Everything that is exported, how, and what of the variables was not heeded.
#[derive(Clone, Debug, PartialEq)]
pub struct OtelSettings {
    /// `OTEL_SDK_DISABLED`: no exporter, no scrape, no reader.
    pub disabled: bool,
    /// Where spans go; empty for nowhere.
    pub traces: Vec<Exporter>,
    /// Where metrics are pushed, besides the scrape.
    pub metrics: Vec<Exporter>,
    /// Where log records go, besides standard error.
    pub logs: Vec<Exporter>,
    /// Whether metrics can be scraped.
    pub prometheus: bool,
    pub propagators: Propagators,
    pub sampler: Sampling,
    pub span_limits: SpanLimits,
    pub span_batch: BatchLimits,
    pub log_batch: BatchLimits,
    /// Time between two pushes of metrics.
    pub metric_interval: Duration,
    pub temporality: Temporality,
    pub resource: ResourceSettings,
    /// `OTEL_LOG_LEVEL`: what the SDK itself logs, as a level of `tracing`.
    pub sdk_log_level: Option<&'static str>,
    /// Values that can't be used, and variables that nothing here honours.
    pub ignored: Vec<Ignored>,
}

/// A place that one signal goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exporter {
    Otlp(OtlpSettings),
    /// Standard output, one line of OTLP/JSON per batch.
    Console,
}

/// An OTLP receiver of one signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpSettings {
    pub protocol: OtlpProtocol,
    /// The whole URL, with the signal's path where the protocol has one.
    pub endpoint: String,
    /// One export with all its attempts.
    pub timeout: Duration,
    pub headers: Headers,
    pub gzip: bool,
    pub tls: TlsFiles,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpProtocol {
    Grpc,
    HttpProtobuf,
    HttpJson,
}

/// Names and values of request headers. Values are secrets: they are never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

/// PEM files of a TLS connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Trusted instead of the well-known authorities.
    pub authorities: Option<PathBuf>,
    pub client_key: Option<PathBuf>,
    pub client_certificate: Option<PathBuf>,
}

/// What is read from requests and passed on with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagators {
    /// W3C `traceparent` and `tracestate`.
    pub trace_context: bool,
    /// W3C `baggage`.
    pub baggage: bool,
}

/// Which traces are exported; ledgers are complete whatever it says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Whether the caller's decision goes first.
    pub parent_based: bool,
    pub root: RootSampling,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RootSampling {
    On,
    Off,
    /// The share of traces, 0 to 1.
    Ratio(f64),
}

/// How much of a span is exported. Counts of items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanLimits {
    pub attributes: u32,
    pub events: u32,
    pub links: u32,
    pub event_attributes: u32,
    pub link_attributes: u32,
    /// Characters of a text; longer ones are cut.
    pub value_length: Option<usize>,
}

/// A batch processor's bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Items that wait at most, those being sent included; more are dropped and counted.
    pub queue_max: usize,
    /// Items sent at once at most.
    pub batch_max: usize,
    /// Time between two batches when there are few items.
    pub delay: Duration,
}

/// What the process is called, beyond what it can find out itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceSettings {
    /// `OTEL_SERVICE_NAME`.
    pub service_name: Option<String>,
    /// `OTEL_RESOURCE_ATTRIBUTES`; goes before everything that is detected.
    pub attributes: Vec<(String, String)>,
    /// What the environment says about the cluster, by attribute.
    pub platform: Vec<(&'static str, String)>,
    /// The format that indexes have.
    pub index_format: u32,
}

/// A variable that was set in vain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    pub variable: String,
    /// What it says; `None` where that may be a secret.
    pub value: Option<String>,
    pub why: String,
}

impl OtelSettings {
    /// Where one signal is pushed to.
    pub fn exporters(&self, signal: Signal) -> &[Exporter] {
        match signal {
            Signal::Traces => &self.traces,
            Signal::Metrics => &self.metrics,
            Signal::Logs => &self.logs,
        }
    }
}

/// Nothing is pushed anywhere, and metrics can be scraped.
impl Default for OtelSettings {
    fn default() -> Self {
        OtelSettings {
            disabled: false,
            traces: Vec::new(),
            metrics: Vec::new(),
            logs: Vec::new(),
            prometheus: true,
            propagators: Propagators::default(),
            sampler: Sampling::default(),
            span_limits: SpanLimits::default(),
            span_batch: BatchLimits::spans(),
            log_batch: BatchLimits::logs(),
            metric_interval: Duration::from_secs(60),
            temporality: Temporality::Cumulative,
            resource: ResourceSettings::default(),
            sdk_log_level: None,
            ignored: Vec::new(),
        }
    }
}

impl Signal {
    pub const ALL: [Signal; 3] = [Signal::Traces, Signal::Metrics, Signal::Logs];

    /// As in URLs and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Signal::Traces => "traces",
            Signal::Metrics => "metrics",
            Signal::Logs => "logs",
        }
    }
}

impl OtlpProtocol {
    pub const ALL: [OtlpProtocol; 3] = [OtlpProtocol::Grpc, OtlpProtocol::HttpProtobuf, OtlpProtocol::HttpJson];

    /// As `OTEL_EXPORTER_OTLP_PROTOCOL` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            OtlpProtocol::Grpc => "grpc",
            OtlpProtocol::HttpProtobuf => "http/protobuf",
            OtlpProtocol::HttpJson => "http/json",
        }
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Default for Propagators {
    fn default() -> Self {
        Propagators { trace_context: true, baggage: true }
    }
}

impl fmt::Display for Propagators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.trace_context, self.baggage) {
            (true, true) => "tracecontext,baggage",
            (true, false) => "tracecontext",
            (false, true) => "baggage",
            (false, false) => "none",
        })
    }
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling { parent_based: true, root: RootSampling::On }
    }
}

impl fmt::Display for Sampling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.parent_based { "parentbased_" } else { "" };
        match self.root {
            RootSampling::On => write!(f, "{prefix}always_on"),
            RootSampling::Off => write!(f, "{prefix}always_off"),
            RootSampling::Ratio(share) => write!(f, "{prefix}traceidratio of {share}"),
        }
    }
}

impl Default for SpanLimits {
    fn default() -> Self {
        SpanLimits { attributes: 128, events: 128, links: 128, event_attributes: 128, link_attributes: 128, value_length: None }
    }
}

impl BatchLimits {
    /// The specification's numbers for spans.
    pub const fn spans() -> BatchLimits {
        BatchLimits { queue_max: 2_048, batch_max: 512, delay: Duration::from_secs(5) }
    }

    /// The specification's numbers for log records.
    pub const fn logs() -> BatchLimits {
        BatchLimits { queue_max: 2_048, batch_max: 512, delay: Duration::from_secs(1) }
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} is `{value}`: {}", self.variable, self.why),
            None => write!(f, "{}: {}", self.variable, self.why),
        }
    }
}
