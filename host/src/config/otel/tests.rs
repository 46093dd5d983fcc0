//! Every rule of reading, as data.

use super::*;
use crate::telemetry::Ignored;

fn settings_of(variables: &[(&str, &str)], config: &TelemetryConfig) -> OtelSettings {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    read(&variables, config, 1)
}

fn settings(variables: &[(&str, &str)]) -> OtelSettings {
    settings_of(variables, &TelemetryConfig::default())
}

/// `otlp grpc URL`, `console`; `scrape` for Prometheus.
fn shown(settings: &OtelSettings, signal: Signal) -> Vec<String> {
    let mut shown: Vec<String> = settings
        .exporters(signal)
        .iter()
        .map(|exporter| match exporter {
            Exporter::Otlp(otlp) => format!("{} {}", otlp.protocol.as_str(), otlp.endpoint),
            Exporter::Console => "console".into(),
        })
        .collect();
    if signal == Signal::Metrics && settings.prometheus {
        shown.push("scrape".into());
    }
    shown
}

fn complaints(settings: &OtelSettings) -> Vec<&str> {
    settings.ignored.iter().map(|ignored| ignored.variable.as_str()).collect()
}

const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h:4318");

#[test]
fn exporters_are_those_that_are_listed_or_named_by_an_endpoint() {
    let check = |variables: &[(&str, &str)], traces: &[&str], metrics: &[&str], logs: &[&str], ignored: &[&str]| {
        let settings = settings(variables);
        assert_eq!(shown(&settings, Signal::Traces), traces, "{variables:?}");
        assert_eq!(shown(&settings, Signal::Metrics), metrics, "{variables:?}");
        assert_eq!(shown(&settings, Signal::Logs), logs, "{variables:?}");
        assert_eq!(complaints(&settings), ignored, "{variables:?}");
    };
    let (traces, metrics, logs) =
        ("http/protobuf http://h:4318/v1/traces", "http/protobuf http://h:4318/v1/metrics", "http/protobuf http://h:4318/v1/logs");
    check(&[], &[], &["scrape"], &[], &[]);
    check(&[ENDPOINT], &[traces], &[metrics, "scrape"], &[logs], &[]);
    check(&[("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://h:4318/v1/logs")], &[], &["scrape"], &[logs], &[]);
    check(&[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")], &[], &[], &[], &[]);
    check(&[ENDPOINT, ("OTEL_SDK_DISABLED", "yes")], &[traces], &[metrics, "scrape"], &[logs], &["OTEL_SDK_DISABLED"]);
    check(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")], &[], &[metrics, "scrape"], &[logs], &[]);
    check(&[ENDPOINT, ("OTEL_METRICS_EXPORTER", "otlp")], &[traces], &[metrics], &[logs], &[]);
    check(&[ENDPOINT, ("OTEL_METRICS_EXPORTER", "none")], &[traces], &[], &[logs], &[]);
    check(&[("OTEL_METRICS_EXPORTER", "console, prometheus")], &[], &["console", "scrape"], &[], &[]);
    check(
        &[("OTEL_TRACES_EXPORTER", "console,OTLP")],
        &["http/protobuf http://localhost:4318/v1/traces", "console"],
        &["scrape"],
        &[],
        &[],
    );
    check(&[("OTEL_LOGS_EXPORTER", "prometheus")], &[], &["scrape"], &[], &["OTEL_LOGS_EXPORTER"]);
    check(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "zipkin")], &[traces], &[metrics, "scrape"], &[logs], &["OTEL_TRACES_EXPORTER"]);
    check(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "console,zipkin")], &["console"], &[metrics, "scrape"], &[logs], &["OTEL_TRACES_EXPORTER"]);
    check(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", " ")], &[traces], &[metrics, "scrape"], &[logs], &[]);
}

#[test]
fn endpoints_and_protocols_follow_the_specification() {
    let check = |variables: &[(&str, &str)], expect: &str, ignored: &[&str]| {
        let mut variables = variables.to_vec();
        variables.push(("OTEL_TRACES_EXPORTER", "otlp"));
        variables.push(("OTEL_LOGS_EXPORTER", "none"));
        variables.push(("OTEL_METRICS_EXPORTER", "none"));
        let settings = settings(&variables);
        assert_eq!(shown(&settings, Signal::Traces), [expect], "{variables:?}");
        assert_eq!(complaints(&settings), ignored, "{variables:?}");
    };
    let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    check(&[], "http/protobuf http://localhost:4318/v1/traces", &[]);
    check(&[grpc], "grpc http://localhost:4317", &[]);
    check(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "HTTP/JSON")], "http/json http://localhost:4318/v1/traces", &[]);
    check(&[grpc, ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json")], "http/json http://localhost:4318/v1/traces", &[]);
    check(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "thrift")], "http/protobuf http://localhost:4318/v1/traces", &["OTEL_EXPORTER_OTLP_PROTOCOL"]);
    check(&[grpc, ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "x")], "grpc http://localhost:4317", &["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"]);
    let general = |value| ("OTEL_EXPORTER_OTLP_ENDPOINT", value);
    let own = |value| ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", value);
    // The general one is a base, the signal's own one is used as it is.
    check(&[general("http://h:1/base/")], "http/protobuf http://h:1/base/v1/traces", &[]);
    check(&[general("https://h")], "http/protobuf https://h/v1/traces", &[]);
    check(&[general("http://h:1"), own("http://t:2/x")], "http/protobuf http://t:2/x", &[]);
    check(&[own("http://t:2")], "http/protobuf http://t:2", &[]);
    check(&[grpc, general("http://h:1")], "grpc http://h:1", &[]);
    check(&[grpc, own("h:1")], "grpc https://h:1", &[]);
    check(&[grpc, own("h:1"), ("OTEL_EXPORTER_OTLP_INSECURE", "true")], "grpc http://h:1", &[]);
    let both = [("OTEL_EXPORTER_OTLP_INSECURE", "true"), ("OTEL_EXPORTER_OTLP_TRACES_INSECURE", "false")];
    check(&[grpc, own("h:1"), both[0], both[1]], "grpc https://h:1", &[]);
    for bad in ["h:1", "ftp://h:1", "unix:///tmp/x", "http://", "not a url", "/v1/traces"] {
        check(&[general(bad)], "http/protobuf http://localhost:4318/v1/traces", &["OTEL_EXPORTER_OTLP_ENDPOINT"]);
        check(&[own(bad), general("http://h:1")], "http/protobuf http://h:1/v1/traces", &["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]);
    }
}

#[test]
fn the_configuration_stands_where_variables_are_silent() {
    let config = TelemetryConfig { otlp_endpoint: Some("http://c:1".into()), otlp_protocol: "grpc".into(), ..TelemetryConfig::default() };
    let check = |variables: &[(&str, &str)], expect: &str| {
        assert_eq!(shown(&settings_of(variables, &config), Signal::Logs), [expect], "{variables:?}");
    };
    check(&[], "grpc http://c:1");
    check(&[ENDPOINT], "grpc http://h:4318");
    check(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")], "http/protobuf http://c:1/v1/logs");
    check(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/json")], "http/json http://h:4318/v1/logs");
}

/// The receiver of spans with these variables, and the complaints.
fn receiver(variables: &[(&str, &str)]) -> (OtlpSettings, Vec<Ignored>) {
    let mut variables = variables.to_vec();
    variables.push(ENDPOINT);
    let settings = settings(&variables);
    let Some(Exporter::Otlp(otlp)) = settings.traces.first() else { panic!("no receiver with {variables:?}") };
    (otlp.clone(), settings.ignored)
}

#[test]
fn options_of_a_receiver_are_read() {
    let timeout = |variables: &[(&str, &str)]| {
        let (otlp, ignored) = receiver(variables);
        (otlp.timeout.as_millis(), ignored.len())
    };
    assert_eq!(timeout(&[]), (10_000, 0));
    assert_eq!(timeout(&[("OTEL_EXPORTER_OTLP_TIMEOUT", "500")]), (500, 0));
    assert_eq!(timeout(&[("OTEL_EXPORTER_OTLP_TIMEOUT", "500"), ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "700")]), (700, 0));
    assert_eq!(timeout(&[("OTEL_EXPORTER_OTLP_TIMEOUT", "10s")]), (10_000, 1));
    assert_eq!(timeout(&[("OTEL_EXPORTER_OTLP_TIMEOUT", "0")]), (300_000, 1));
    assert_eq!(timeout(&[("OTEL_BSP_EXPORT_TIMEOUT", "250")]), (250, 0));
    assert_eq!(timeout(&[("OTEL_BLRP_EXPORT_TIMEOUT", "250"), ("OTEL_METRIC_EXPORT_TIMEOUT", "250")]), (10_000, 0));

    let gzip = |variables: &[(&str, &str)]| {
        let (otlp, ignored) = receiver(variables);
        (otlp.gzip, ignored.len())
    };
    assert_eq!(gzip(&[("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")]), (true, 0));
    assert_eq!(gzip(&[("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"), ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "none")]), (false, 0));
    assert_eq!(gzip(&[("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd")]), (false, 1));

    let headers = |variables: &[(&str, &str)]| {
        let (otlp, ignored) = receiver(variables);
        (otlp.headers.0, ignored)
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(headers(&[("OTEL_EXPORTER_OTLP_HEADERS", "Api-Key=s3cret,b=c%20d")]).0, [pair("api-key", "s3cret"), pair("b", "c d")]);
    let both = [("OTEL_EXPORTER_OTLP_HEADERS", "a=1"), ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "b=2")];
    assert_eq!(headers(&both).0, [pair("b", "2")]);
    for bad in ["s3cret", "a b=s3cret", "a=s3cret%0A"] {
        let (kept, ignored) = headers(&[("OTEL_EXPORTER_OTLP_HEADERS", bad)]);
        assert!(kept.is_empty() && ignored.len() == 1, "{bad}: {ignored:?}");
        assert!(!format!("{ignored:?}").contains("s3cret"), "secrets are not repeated");
    }
    let (otlp, _) = receiver(&[("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s3cret")]);
    assert!(!format!("{otlp:?}").contains("s3cret"), "secrets are not shown");

    let (otlp, _) = receiver(&[
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/key.pem"),
        ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "/own.pem"),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/cert.pem"),
    ]);
    let expect =
        TlsFiles { authorities: Some("/ca.pem".into()), client_key: Some("/own.pem".into()), client_certificate: Some("/cert.pem".into()) };
    assert_eq!(otlp.tls, expect);
}

#[test]
fn propagators_are_read() {
    let check = |value: &str, expect: &str, ignored: usize| {
        let settings = settings(&[("OTEL_PROPAGATORS", value)]);
        assert_eq!((settings.propagators.to_string().as_str(), settings.ignored.len()), (expect, ignored), "{value}");
    };
    check("", "tracecontext,baggage", 0);
    check("tracecontext", "tracecontext", 0);
    check("Baggage", "baggage", 0);
    check("baggage, tracecontext, baggage", "tracecontext,baggage", 0);
    check("none", "none", 0);
    check("none,baggage", "baggage", 1);
    check("b3,tracecontext", "tracecontext", 1);
    check("b3", "tracecontext,baggage", 1);
}

#[test]
fn samplers_are_read_or_the_default_is_taken() {
    let check = |name: &str, argument: Option<&str>, expect: &str, ignored: &[&str]| {
        let mut variables = vec![("OTEL_TRACES_SAMPLER", name)];
        variables.extend(argument.map(|argument| ("OTEL_TRACES_SAMPLER_ARG", argument)));
        let settings = settings(&variables);
        assert_eq!(settings.sampler.to_string(), expect, "{variables:?}");
        assert_eq!(complaints(&settings), ignored, "{variables:?}");
    };
    check("", None, "parentbased_always_on", &[]);
    check("always_on", None, "always_on", &[]);
    check("Always_Off", None, "always_off", &[]);
    check("parentbased_always_off", None, "parentbased_always_off", &[]);
    check("traceidratio", Some("0.25"), "traceidratio of 0.25", &[]);
    check("parentbased_traceidratio", Some("0"), "parentbased_traceidratio of 0", &[]);
    check("traceidratio", None, "traceidratio of 1", &[]);
    for bad in ["2", "-0.1", "half", "NaN", "inf"] {
        check("traceidratio", Some(bad), "traceidratio of 1", &["OTEL_TRACES_SAMPLER_ARG"]);
    }
    check("jaeger_remote", None, "parentbased_always_on", &["OTEL_TRACES_SAMPLER"]);
    check("always_on", Some("0.5"), "always_on", &["OTEL_TRACES_SAMPLER_ARG"]);
}

#[test]
fn bounds_are_read_and_bounded() {
    let check = |variables: &[(&str, &str)], queue: usize, batch: usize, delay_ms: u128, ignored: usize| {
        let settings = settings(variables);
        let bounds = settings.span_batch;
        assert_eq!((bounds.queue_max, bounds.batch_max, bounds.delay.as_millis()), (queue, batch, delay_ms), "{variables:?}");
        assert_eq!(settings.ignored.len(), ignored, "{variables:?}");
        assert_eq!(settings.log_batch, BatchLimits::logs());
    };
    check(&[], 2_048, 512, 5_000, 0);
    check(&[("OTEL_BSP_SCHEDULE_DELAY", "50")], 2_048, 512, 50, 0);
    check(&[("OTEL_BSP_MAX_QUEUE_SIZE", "100")], 100, 100, 5_000, 0);
    check(&[("OTEL_BSP_MAX_QUEUE_SIZE", "100"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")], 100, 10, 5_000, 0);
    check(&[("OTEL_BSP_MAX_QUEUE_SIZE", "100"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "200")], 100, 100, 5_000, 1);
    for bad in ["0", "-1", "999999999999", "x"] {
        check(&[("OTEL_BSP_MAX_QUEUE_SIZE", bad)], 2_048, 512, 5_000, 1);
    }
    let logs = settings(&[("OTEL_BLRP_MAX_QUEUE_SIZE", "9"), ("OTEL_BLRP_SCHEDULE_DELAY", "7")]);
    assert_eq!(logs.log_batch, BatchLimits { queue_max: 9, batch_max: 9, delay: Duration::from_millis(7) });
    let metrics = settings(&[("OTEL_METRIC_EXPORT_INTERVAL", "100"), ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "Delta")]);
    assert_eq!((metrics.metric_interval.as_millis(), metrics.temporality), (100, Temporality::Delta));
}

#[test]
fn limits_of_spans_are_read() {
    let check = |variables: &[(&str, &str)], expect: SpanLimits| assert_eq!(settings(variables).span_limits, expect, "{variables:?}");
    let defaults = SpanLimits::default();
    check(&[], defaults);
    check(&[("OTEL_ATTRIBUTE_COUNT_LIMIT", "5")], SpanLimits { attributes: 5, event_attributes: 5, link_attributes: 5, ..defaults });
    let own = [("OTEL_ATTRIBUTE_COUNT_LIMIT", "5"), ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "6"), ("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "7")];
    check(&own, SpanLimits { attributes: 6, event_attributes: 5, link_attributes: 7, ..defaults });
    check(&[("OTEL_SPAN_EVENT_COUNT_LIMIT", "0"), ("OTEL_SPAN_LINK_COUNT_LIMIT", "1")], SpanLimits { events: 0, links: 1, ..defaults });
    check(&[("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "9")], SpanLimits { value_length: Some(9), ..defaults });
    let lengths = [("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "9"), ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "8")];
    check(&lengths, SpanLimits { value_length: Some(8), ..defaults });
}

#[test]
fn the_resource_is_told() {
    let given = settings(&[("OTEL_SERVICE_NAME", "s"), ("OTEL_RESOURCE_ATTRIBUTES", "team=a%2Cb,x=y")]).resource;
    assert_eq!(given.service_name.as_deref(), Some("s"));
    assert_eq!(given.attributes, [("team".to_owned(), "a,b".to_owned()), ("x".to_owned(), "y".to_owned())]);
    let platform = |variables: &[(&str, &str)]| settings(variables).resource.platform;
    // Short names mean a pod only inside of a cluster.
    assert_eq!(platform(&[("POD_NAME", "p")]), []);
    assert_eq!(platform(&[("K8S_POD_NAME", "p")]), [("k8s.pod.name", "p".to_owned())]);
    let inside =
        [("KUBERNETES_SERVICE_HOST", "10.0.0.1"), ("POD_NAME", "p"), ("K8S_POD_UID", "u"), ("POD_NAMESPACE", "n"), ("NODE_NAME", "m")];
    let expect = [("k8s.pod.name", "p"), ("k8s.pod.uid", "u"), ("k8s.namespace.name", "n"), ("k8s.node.name", "m")];
    assert_eq!(platform(&inside), expect.map(|(name, value)| (name, value.to_owned())));
}

#[test]
fn what_is_not_supported_is_said() {
    let check = |name: &str, value: &str, complained: bool| {
        let settings = settings(&[(name, value)]);
        assert_eq!(complaints(&settings), if complained { vec![name] } else { vec![] }, "{name} {value}");
    };
    check("OTEL_METRICS_EXEMPLAR_FILTER", "trace_based", true);
    check("OTEL_METRICS_EXEMPLAR_FILTER", "always_off", false);
    check("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "base2_exponential_bucket_histogram", true);
    check("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "explicit_bucket_histogram", false);
    check("OTEL_CONFIG_FILE", "/otel.yaml", true);
    check("OTEL_EXPORTER_PROMETHEUS_PORT", "port", true);
    check("OTEL_EXPORTER_PROMETHEUS_PORT", "9464", false);
    check("OTEL_LOG_LEVEL", "loud", true);
    check("OTEL_LOG_LEVEL", "DEBUG", false);
    check("OTEL_PYTHON_LOG_CORRELATION", "true", false);
}

/// Options of OTLP receivers.
const OTLP_PARTS: [&str; 9] =
    ["ENDPOINT", "PROTOCOL", "HEADERS", "TIMEOUT", "COMPRESSION", "INSECURE", "CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE"];

/// The page's table and the code's are the same.
#[test]
fn the_page_has_every_variable() {
    let page = include_str!("../../../../docs/otel.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut documented: Vec<(String, bool)> = rows
        .flat_map(|row| {
            let (names, rest) = row.split_once('|').unwrap_or((row, ""));
            let honoured = rest.trim_start().starts_with("yes");
            names.split(',').map(move |name| (name.trim().trim_matches('`').to_owned(), honoured)).collect::<Vec<_>>()
        })
        .filter(|(name, _)| name.starts_with("OTEL_"))
        .collect();
    let parts = OTLP_PARTS.iter().flat_map(|part| {
        let own = Signal::ALL.map(|signal| format!("OTEL_EXPORTER_OTLP_{}_{part}", infix(signal)));
        std::iter::once(format!("OTEL_EXPORTER_OTLP_{part}")).chain(own)
    });
    let known = table::VARIABLES.iter().map(|(name, support)| ((*name).to_owned(), *support == table::Support::Honoured));
    let mut expected: Vec<(String, bool)> = known.chain(parts.map(|name| (name, true))).collect();
    documented.sort();
    expected.sort();
    assert_eq!(documented, expected);
}
