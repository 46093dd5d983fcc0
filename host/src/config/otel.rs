//! From the standard `OTEL_*` variables to checked settings. They mean here what the
//! OpenTelemetry specification says; `docs/otel.md` has the table.
//!
//! Order: a signal's own variable, the general one, the configuration, the default. A
//! value that can't be used is remembered with the reason and counts as unset.

mod given;
mod table;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Uri};

use super::schema::TelemetryConfig;
use crate::telemetry::{
    BatchLimits, Exporter, Headers, OtelSettings, OtlpProtocol, OtlpSettings, Propagators, ResourceSettings, RootSampling, Sampling,
    Signal, SpanLimits, Temporality, TlsFiles,
};
use given::Given;

/// One export with all its attempts, unless something else is said.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// No export may take longer: a queue fills meanwhile.
const EXPORT_TIMEOUT_MAX: Duration = Duration::from_secs(300);
/// Items that may wait to be sent. A span takes about a kilobyte.
const QUEUE_MAX: u64 = 65_536;
/// Time between batches, an hour at most, in milliseconds.
const DELAY_MS_MAX: u64 = 3_600_000;
/// Attributes, events or links of a span.
const COUNT_MAX: u64 = 10_000;

/// What the variables say, with the configuration where they are silent.
pub fn read(variables: &BTreeMap<String, String>, config: &TelemetryConfig, index_format: u32) -> OtelSettings {
    let mut given = Given::new(variables);
    let disabled = given.flag("OTEL_SDK_DISABLED").unwrap_or(false);
    let (mut traces, _) = exporters(&mut given, Signal::Traces, config);
    let (mut metrics, prometheus) = exporters(&mut given, Signal::Metrics, config);
    let (mut logs, _) = exporters(&mut given, Signal::Logs, config);
    // The SDK's processors and reader have no time-out of their own; it is the exporter's.
    let metric_timeout = given.wait("OTEL_METRIC_EXPORT_TIMEOUT", EXPORT_TIMEOUT_MAX);
    shorten(&mut metrics, metric_timeout);
    let span_timeout = given.wait("OTEL_BSP_EXPORT_TIMEOUT", EXPORT_TIMEOUT_MAX);
    shorten(&mut traces, span_timeout);
    let log_timeout = given.wait("OTEL_BLRP_EXPORT_TIMEOUT", EXPORT_TIMEOUT_MAX);
    shorten(&mut logs, log_timeout);
    let defaults = OtelSettings::default();
    let settings = OtelSettings {
        disabled,
        traces: if disabled { Vec::new() } else { traces },
        metrics: if disabled { Vec::new() } else { metrics },
        logs: if disabled { Vec::new() } else { logs },
        prometheus: prometheus && !disabled,
        propagators: propagators(&mut given),
        sampler: sampler(&mut given),
        span_limits: span_limits(&mut given),
        span_batch: batch(&mut given, "OTEL_BSP", BatchLimits::spans()),
        log_batch: batch(&mut given, "OTEL_BLRP", BatchLimits::logs()),
        metric_interval: given.milliseconds("OTEL_METRIC_EXPORT_INTERVAL", 1..=DELAY_MS_MAX).unwrap_or(defaults.metric_interval),
        temporality: given
            .choice(
                "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
                &[("cumulative", Temporality::Cumulative), ("delta", Temporality::Delta), ("lowmemory", Temporality::LowMemory)],
            )
            .unwrap_or(defaults.temporality),
        resource: ResourceSettings {
            service_name: given.text("OTEL_SERVICE_NAME").map(str::to_owned),
            attributes: given.pairs("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default(),
            platform: platform(&given),
            index_format,
        },
        sdk_log_level: given.choice("OTEL_LOG_LEVEL", &LOG_LEVELS),
        ignored: Vec::new(),
    };
    table::complain(&mut given);
    OtelSettings { ignored: given.ignored, ..settings }
}

/// Names of levels, as the specification and `tracing` have them.
const LOG_LEVELS: [(&str, &str); 7] =
    [("none", "off"), ("off", "off"), ("error", "error"), ("warn", "warn"), ("info", "info"), ("debug", "debug"), ("trace", "trace")];

/// Where the scrape listens, as far as `OTEL_EXPORTER_PROMETHEUS_HOST` and `_PORT` say
/// so, and which of them did.
pub fn scrape_address(variables: &BTreeMap<String, String>, default: &str) -> Option<(String, &'static str)> {
    const HOST: &str = "OTEL_EXPORTER_PROMETHEUS_HOST";
    const PORT: &str = "OTEL_EXPORTER_PROMETHEUS_PORT";
    let mut given = Given::new(variables);
    let (default_host, default_port) = default.rsplit_once(':')?;
    let host = given.text(HOST);
    let port = given.number(PORT, 0..=65_535);
    let named = match (host, port) {
        (None, None) => return None,
        (Some(_), _) => HOST,
        (None, Some(_)) => PORT,
    };
    let host = host.unwrap_or(default_host);
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
    let port = port.map_or_else(|| default_port.to_owned(), |port| port.to_string());
    Some((format!("{host}:{port}"), named))
}

/// Why a text is no endpoint; `None` when it is one.
pub fn endpoint_problem(endpoint: &str) -> Option<String> {
    const ALLOWED: &str = "allowed: such as http://127.0.0.1:4318";
    let Ok(uri) = endpoint.parse::<Uri>() else { return Some(format!("it is no URL; {ALLOWED}")) };
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(host)) if !host.is_empty() => None,
        (Some("http" | "https"), _) => Some(format!("it names no host; {ALLOWED}")),
        (Some(scheme), _) => Some(format!("`{scheme}` is no scheme that is spoken here; {ALLOWED}")),
        (None, _) => Some(format!("it has no scheme; {ALLOWED}")),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Otlp,
    Console,
    Prometheus,
}

/// Where a signal is pushed, and whether it can be scraped.
fn exporters(given: &mut Given, signal: Signal, config: &TelemetryConfig) -> (Vec<Exporter>, bool) {
    let name = format!("OTEL_{}_EXPORTER", infix(signal));
    let mut allowed = vec![("otlp", Kind::Otlp), ("console", Kind::Console)];
    if signal == Signal::Metrics {
        allowed.push(("prometheus", Kind::Prometheus));
    }
    let (otlp, named) = otlp(given, signal, config);
    let kinds = given.list(&name, &allowed).unwrap_or_else(|| {
        let mut kinds = vec![Kind::Prometheus];
        kinds.extend(named.then_some(Kind::Otlp));
        kinds
    });
    let pushed = kinds.iter().filter_map(|kind| match kind {
        Kind::Otlp => Some(Exporter::Otlp(otlp.clone())),
        Kind::Console => Some(Exporter::Console),
        Kind::Prometheus => None,
    });
    (pushed.collect(), kinds.contains(&Kind::Prometheus))
}

/// The receiver of a signal, and whether anything names it.
fn otlp(given: &mut Given, signal: Signal, config: &TelemetryConfig) -> (OtlpSettings, bool) {
    let own = |part: &str| format!("OTEL_EXPORTER_OTLP_{}_{part}", infix(signal));
    let general = |part: &str| format!("OTEL_EXPORTER_OTLP_{part}");
    let protocols = OtlpProtocol::ALL.map(|protocol| (protocol.as_str(), protocol));
    let protocol = given.choice(&own("PROTOCOL"), &protocols);
    let protocol = protocol.or_else(|| given.choice(&general("PROTOCOL"), &protocols));
    let configured = protocols.iter().find(|(name, _)| *name == config.otlp_protocol).map(|(_, protocol)| *protocol);
    let protocol = protocol.or(configured).unwrap_or(OtlpProtocol::HttpProtobuf);
    let insecure = given.flag(&own("INSECURE"));
    let insecure = insecure.or_else(|| given.flag(&general("INSECURE"))).unwrap_or(false);
    let own_endpoint = endpoint(given, &own("ENDPOINT"), protocol, insecure);
    let general_endpoint = endpoint(given, &general("ENDPOINT"), protocol, insecure);
    let named = own_endpoint.is_some() || general_endpoint.is_some() || config.otlp_endpoint.is_some();
    let endpoint = own_endpoint.unwrap_or_else(|| {
        let base = general_endpoint.or_else(|| config.otlp_endpoint.clone()).unwrap_or_else(|| default_endpoint(protocol).to_owned());
        if protocol == OtlpProtocol::Grpc { base } else { format!("{}/v1/{}", base.trim_end_matches('/'), signal.as_str()) }
    });
    let timeout = given.wait(&own("TIMEOUT"), EXPORT_TIMEOUT_MAX);
    let timeout = timeout.or_else(|| given.wait(&general("TIMEOUT"), EXPORT_TIMEOUT_MAX)).unwrap_or(EXPORT_TIMEOUT);
    let compressions = [("gzip", true), ("none", false)];
    let gzip = given.choice(&own("COMPRESSION"), &compressions);
    let gzip = gzip.or_else(|| given.choice(&general("COMPRESSION"), &compressions)).unwrap_or(false);
    let headers = headers(given, &own("HEADERS")).or_else(|| headers(given, &general("HEADERS"))).unwrap_or_default();
    let file = |part: &str| given.text(&own(part)).or_else(|| given.text(&general(part))).map(PathBuf::from);
    let tls = TlsFiles { authorities: file("CERTIFICATE"), client_key: file("CLIENT_KEY"), client_certificate: file("CLIENT_CERTIFICATE") };
    (OtlpSettings { protocol, endpoint, timeout, headers, gzip, tls }, named)
}

/// A URL; over gRPC an address without a scheme is one as well, with TLS unless
/// `INSECURE` says otherwise.
fn endpoint(given: &mut Given, name: &str, protocol: OtlpProtocol, insecure: bool) -> Option<String> {
    let text = given.text(name)?;
    let url = if protocol == OtlpProtocol::Grpc && !text.contains("://") {
        format!("{}://{text}", if insecure { "http" } else { "https" })
    } else {
        text.to_owned()
    };
    match endpoint_problem(&url) {
        None => Some(url),
        Some(problem) => {
            given.ignore(name, text, problem);
            None
        }
    }
}

fn default_endpoint(protocol: OtlpProtocol) -> &'static str {
    if protocol == OtlpProtocol::Grpc { "http://localhost:4317" } else { "http://localhost:4318" }
}

/// Names and values that HTTP can carry.
fn headers(given: &mut Given, name: &str) -> Option<Headers> {
    let pairs = given.pairs(name)?;
    let good = |(name, value): &(String, String)| name.parse::<HeaderName>().is_ok() && HeaderValue::from_str(value).is_ok();
    if !pairs.iter().all(good) {
        given.ignore_secret(name, "it holds a name or a value that no HTTP header can have");
        return None;
    }
    Some(Headers(pairs.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect()))
}

/// No export of the signal takes longer than its processor allows.
fn shorten(exporters: &mut [Exporter], timeout: Option<Duration>) {
    for exporter in exporters {
        if let (Exporter::Otlp(otlp), Some(timeout)) = (exporter, timeout) {
            otlp.timeout = otlp.timeout.min(timeout);
        }
    }
}

fn propagators(given: &mut Given) -> Propagators {
    let listed = given.list("OTEL_PROPAGATORS", &[("tracecontext", true), ("baggage", false)]);
    listed
        .map_or_else(Propagators::default, |listed| Propagators { trace_context: listed.contains(&true), baggage: listed.contains(&false) })
}

fn sampler(given: &mut Given) -> Sampling {
    const NAME: &str = "OTEL_TRACES_SAMPLER";
    const ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";
    // The share is read below; 1 stands in its place.
    let all = RootSampling::Ratio(1.0);
    let known = [
        ("always_on", (false, RootSampling::On)),
        ("always_off", (false, RootSampling::Off)),
        ("traceidratio", (false, all)),
        ("parentbased_always_on", (true, RootSampling::On)),
        ("parentbased_always_off", (true, RootSampling::Off)),
        ("parentbased_traceidratio", (true, all)),
    ];
    let Some((parent_based, root)) = given.choice(NAME, &known) else { return Sampling::default() };
    let root = match root {
        RootSampling::Ratio(_) => {
            RootSampling::Ratio(given.parsed(ARGUMENT, |share: &f64| (0.0..=1.0).contains(share), "0 to 1; it is 1").unwrap_or(1.0))
        }
        other => other,
    };
    Sampling { parent_based, root }
}

fn span_limits(given: &mut Given) -> SpanLimits {
    let defaults = SpanLimits::default();
    let mut count = |name: &str| given.number(name, 0..=COUNT_MAX).map(|number| number as u32);
    let attributes = count("OTEL_ATTRIBUTE_COUNT_LIMIT");
    let (span, event, link) =
        (count("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"), count("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT"), count("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT"));
    let (events, links) = (count("OTEL_SPAN_EVENT_COUNT_LIMIT"), count("OTEL_SPAN_LINK_COUNT_LIMIT"));
    let own_length = given.number("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", 0..=u64::from(u32::MAX));
    let length = own_length.or_else(|| given.number("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", 0..=u64::from(u32::MAX)));
    SpanLimits {
        attributes: span.or(attributes).unwrap_or(defaults.attributes),
        events: events.unwrap_or(defaults.events),
        links: links.unwrap_or(defaults.links),
        event_attributes: event.or(attributes).unwrap_or(defaults.event_attributes),
        link_attributes: link.or(attributes).unwrap_or(defaults.link_attributes),
        value_length: length.map(|length| length as usize),
    }
}

/// A batch is no larger than the queue it comes from.
fn batch(given: &mut Given, prefix: &str, defaults: BatchLimits) -> BatchLimits {
    let queue = given.number(&format!("{prefix}_MAX_QUEUE_SIZE"), 1..=QUEUE_MAX);
    let queue_max = queue.map_or(defaults.queue_max, |number| number as usize);
    let name = format!("{prefix}_MAX_EXPORT_BATCH_SIZE");
    let batch = given.number(&name, 1..=queue_max as u64).map_or(defaults.batch_max, |number| number as usize);
    let delay = given.milliseconds(&format!("{prefix}_SCHEDULE_DELAY"), 1..=DELAY_MS_MAX).unwrap_or(defaults.delay);
    BatchLimits { queue_max, batch_max: batch.min(queue_max), delay }
}

/// What a pod is told about itself through the downward API: the first variable that
/// is set, for each attribute.
fn platform(given: &Given) -> Vec<(&'static str, String)> {
    const NAMES: [(&str, &[&str]); 6] = [
        ("k8s.pod.name", &["K8S_POD_NAME", "POD_NAME"]),
        ("k8s.pod.uid", &["K8S_POD_UID", "POD_UID"]),
        ("k8s.namespace.name", &["K8S_NAMESPACE_NAME", "K8S_NAMESPACE", "POD_NAMESPACE"]),
        ("k8s.node.name", &["K8S_NODE_NAME", "NODE_NAME"]),
        ("k8s.container.name", &["K8S_CONTAINER_NAME", "CONTAINER_NAME"]),
        ("k8s.cluster.name", &["K8S_CLUSTER_NAME"]),
    ];
    // Names without a prefix may mean anything outside of a cluster.
    let in_cluster = given.text("KUBERNETES_SERVICE_HOST").is_some();
    let allowed = |name: &str| in_cluster || name.starts_with("K8S_");
    let first = |names: &[&str]| names.iter().filter(|name| allowed(name)).find_map(|name| given.text(name)).map(str::to_owned);
    NAMES.iter().filter_map(|(attribute, names)| Some((*attribute, first(names)?))).collect()
}

fn infix(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "TRACES",
        Signal::Metrics => "METRICS",
        Signal::Logs => "LOGS",
    }
}

#[cfg(test)]
mod tests;
