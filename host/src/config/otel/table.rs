//! Every `OTEL_*` variable of the specification that concerns a program such as this
//! one, and what becomes of it here. `docs/otel.md` is held to it.

use super::given::Given;

/// What becomes of a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// It means what the specification says.
    Honoured,
    /// It changes nothing. Values that ask for what is done anyway are fine.
    Not { fine: &'static [&'static str], why: &'static str },
}

use Support::{Honoured, Not};

const NO_SCRAPE_OPTION: &str = "the scrape has no such option";
const NO_LOG_LIMIT: &str = "log records are not cut";

/// All but the options of OTLP receivers, which stand for themselves and once for each
/// signal, and are all honoured.
pub const VARIABLES: &[(&str, Support)] = &[
    ("OTEL_SDK_DISABLED", Honoured),
    ("OTEL_RESOURCE_ATTRIBUTES", Honoured),
    ("OTEL_SERVICE_NAME", Honoured),
    ("OTEL_LOG_LEVEL", Honoured),
    ("OTEL_PROPAGATORS", Honoured),
    ("OTEL_TRACES_SAMPLER", Honoured),
    ("OTEL_TRACES_SAMPLER_ARG", Honoured),
    ("OTEL_TRACES_EXPORTER", Honoured),
    ("OTEL_METRICS_EXPORTER", Honoured),
    ("OTEL_LOGS_EXPORTER", Honoured),
    ("OTEL_BSP_SCHEDULE_DELAY", Honoured),
    ("OTEL_BSP_EXPORT_TIMEOUT", Honoured),
    ("OTEL_BSP_MAX_QUEUE_SIZE", Honoured),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", Honoured),
    ("OTEL_BLRP_SCHEDULE_DELAY", Honoured),
    ("OTEL_BLRP_EXPORT_TIMEOUT", Honoured),
    ("OTEL_BLRP_MAX_QUEUE_SIZE", Honoured),
    ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", Honoured),
    ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", Honoured),
    ("OTEL_ATTRIBUTE_COUNT_LIMIT", Honoured),
    ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", Honoured),
    ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", Honoured),
    ("OTEL_SPAN_EVENT_COUNT_LIMIT", Honoured),
    ("OTEL_SPAN_LINK_COUNT_LIMIT", Honoured),
    ("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", Honoured),
    ("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", Honoured),
    ("OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", Not { fine: &[], why: NO_LOG_LIMIT }),
    ("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", Not { fine: &[], why: NO_LOG_LIMIT }),
    ("OTEL_METRIC_EXPORT_INTERVAL", Honoured),
    ("OTEL_METRIC_EXPORT_TIMEOUT", Honoured),
    ("OTEL_METRICS_EXEMPLAR_FILTER", Not { fine: &["always_off"], why: "exemplars are not recorded" }),
    ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", Honoured),
    (
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        Not { fine: &["explicit_bucket_histogram"], why: "histograms have the buckets that are documented" },
    ),
    ("OTEL_EXPORTER_PROMETHEUS_HOST", Honoured),
    ("OTEL_EXPORTER_PROMETHEUS_PORT", Honoured),
    ("OTEL_EXPORTER_PROMETHEUS_WITHOUT_SCOPE_INFO", Not { fine: &["false"], why: NO_SCRAPE_OPTION }),
    ("OTEL_EXPORTER_PROMETHEUS_WITHOUT_TARGET_INFO", Not { fine: &["false"], why: NO_SCRAPE_OPTION }),
    ("OTEL_EXPORTER_ZIPKIN_ENDPOINT", Not { fine: &[], why: "there is no Zipkin exporter; collectors take OTLP" }),
    ("OTEL_EXPORTER_ZIPKIN_TIMEOUT", Not { fine: &[], why: "there is no Zipkin exporter; collectors take OTLP" }),
    ("OTEL_BSP_MAX_CONCURRENT_EXPORTS", Not { fine: &["1"], why: "one batch is sent at a time" }),
    ("OTEL_CONFIG_FILE", Not { fine: &[], why: "declarative configuration is not read; the other variables are" }),
    ("OTEL_EXPERIMENTAL_CONFIG_FILE", Not { fine: &[], why: "declarative configuration is not read; the other variables are" }),
    ("OTEL_ENTITIES", Not { fine: &[], why: "entities are not known here; OTEL_RESOURCE_ATTRIBUTES are" }),
];

/// Puts what is set in vain on the list.
pub fn complain(given: &mut Given) {
    for (name, support) in VARIABLES {
        let (Not { fine, why }, Some(text)) = (support, given.text(name)) else { continue };
        if !fine.iter().any(|word| word.eq_ignore_ascii_case(text)) {
            given.ignore(name, text, format!("not supported: {why}"));
        }
    }
    // Read elsewhere, before there is a list; a wrong value is put on it here.
    let _ = given.number("OTEL_EXPORTER_PROMETHEUS_PORT", 0..=65_535);
    let sampled = given.text("OTEL_TRACES_SAMPLER").is_some_and(|name| name.to_ascii_lowercase().ends_with("traceidratio"));
    if let (false, Some(argument)) = (sampled, given.text("OTEL_TRACES_SAMPLER_ARG")) {
        given.ignore("OTEL_TRACES_SAMPLER_ARG", argument, "the sampler takes none");
    }
}
