//! Builds the OpenTelemetry SDK of traces. The only file that names a span exporter.

use opentelemetry::KeyValue;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;

/// Where spans go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Export {
    /// OTLP over gRPC, by default to port 4317.
    OtlpGrpc { endpoint: Option<String> },
    /// OTLP over HTTP with protobuf, by default to port 4318.
    OtlpHttp { endpoint: Option<String> },
}

/// Why telemetry could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("the OTLP exporter could not be built: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    #[error("the meters could not be built: {0}")]
    Metrics(opentelemetry_sdk::error::OTelSdkError),
    #[error("the ledger writer could not start: {0}")]
    Ledger(std::io::Error),
}

/// A provider with the sampler of `OTEL_TRACES_SAMPLER`, the resource of
/// `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, and a batch exporter when one
/// is wanted. gRPC needs a tokio runtime around this call.
///
/// # Errors
/// When endpoint, headers or another setting of the exporter are not usable.
pub fn tracer_provider(export: Option<&Export>) -> Result<SdkTracerProvider, TelemetryError> {
    let builder = SdkTracerProvider::builder().with_resource(resource());
    Ok(match export {
        None => builder.build(),
        Some(export) => builder.with_batch_exporter(exporter(export)?).build(),
    })
}

/// What this process is: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, with
/// `spanloom` as the name when they give none.
pub fn resource() -> Resource {
    let resource = Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    let given = Resource::builder().build().get(&"service.name".into());
    let named = given.is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    if named { resource.build() } else { resource.with_service_name("spanloom").build() }
}

fn exporter(export: &Export) -> Result<SpanExporter, TelemetryError> {
    Ok(match export {
        Export::OtlpGrpc { endpoint } => {
            let builder = SpanExporter::builder().with_tonic();
            match endpoint {
                Some(endpoint) => builder.with_endpoint(endpoint).build()?,
                None => builder.build()?,
            }
        }
        Export::OtlpHttp { endpoint } => {
            let builder = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary);
            match endpoint {
                // A base URL, as in OTEL_EXPORTER_OTLP_ENDPOINT; the signal's path is added.
                Some(endpoint) => builder.with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/'))).build()?,
                None => builder.build()?,
            }
        }
    })
}
