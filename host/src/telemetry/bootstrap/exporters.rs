//! Builds the exporters of OTLP: transport, protocol, TLS, headers.
//!
//! They run on a thread of their own with its own runtime: batch processors block on
//! them from plain threads, and nothing that hangs there takes a thread of the server.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig, Identity};
use opentelemetry_otlp::{
    Compression, LogExporter, MetricExporter, Protocol, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig,
};
use tokio::runtime::{Handle, Runtime};

use super::TelemetryError;
use super::settings::{Exporter, OtelSettings, OtlpProtocol, OtlpSettings, Signal, Temporality, TlsFiles};

/// What a receiver may answer with; its answer says what it refused.
const RESPONSE_BYTES_MAX: usize = 1 << 20;

/// The thread that sends. Stops with the value: what still uses it must have ended.
pub struct Sender {
    runtime: Option<Runtime>,
}

impl Sender {
    /// A thread for everything that goes over OTLP; none when nothing does.
    pub fn start(settings: &OtelSettings) -> io::Result<Sender> {
        let mut all = Signal::ALL.into_iter().flat_map(|signal| settings.exporters(signal));
        if !all.any(|exporter| matches!(exporter, Exporter::Otlp(_))) {
            return Ok(Sender { runtime: None });
        }
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("telemetry-export").enable_all();
        Ok(Sender { runtime: Some(builder.build()?) })
    }

    /// Leaves the thread to the process. For exports that are still under way when the
    /// process ends: their clocks must not stop before they do.
    pub fn leave(&mut self) {
        std::mem::forget(self.runtime.take());
    }

    /// Where exporters run.
    pub fn handle(&self) -> Option<&Handle> {
        self.runtime.as_ref().map(Runtime::handle)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub fn spans(otlp: &OtlpSettings, handle: &Handle, retry: RetryPolicy) -> Result<SpanExporter, TelemetryError> {
    let (failed, _within) = (failure(Signal::Traces), handle.enter());
    let builder = SpanExporter::builder();
    if otlp.protocol == OtlpProtocol::Grpc {
        grpc(builder.with_tonic(), otlp, retry).and_then(|builder| builder.build().map_err(|error| error.to_string())).map_err(failed)
    } else {
        http(builder.with_http(), otlp, handle, retry)
            .and_then(|builder| builder.build().map_err(|error| error.to_string()))
            .map_err(failed)
    }
}

pub fn metrics(
    otlp: &OtlpSettings,
    temporality: Temporality,
    handle: &Handle,
    retry: RetryPolicy,
) -> Result<MetricExporter, TelemetryError> {
    let (failed, _within) = (failure(Signal::Metrics), handle.enter());
    let builder = MetricExporter::builder().with_temporality(temporality);
    if otlp.protocol == OtlpProtocol::Grpc {
        grpc(builder.with_tonic(), otlp, retry).and_then(|builder| builder.build().map_err(|error| error.to_string())).map_err(failed)
    } else {
        http(builder.with_http(), otlp, handle, retry)
            .and_then(|builder| builder.build().map_err(|error| error.to_string()))
            .map_err(failed)
    }
}

pub fn logs(otlp: &OtlpSettings, handle: &Handle, retry: RetryPolicy) -> Result<LogExporter, TelemetryError> {
    let (failed, _within) = (failure(Signal::Logs), handle.enter());
    let builder = LogExporter::builder();
    if otlp.protocol == OtlpProtocol::Grpc {
        grpc(builder.with_tonic(), otlp, retry).and_then(|builder| builder.build().map_err(|error| error.to_string())).map_err(failed)
    } else {
        http(builder.with_http(), otlp, handle, retry)
            .and_then(|builder| builder.build().map_err(|error| error.to_string()))
            .map_err(failed)
    }
}

fn failure(signal: Signal) -> impl Fn(String) -> TelemetryError {
    move |problem| TelemetryError::Exporter { signal: signal.as_str(), problem }
}

fn grpc<B: WithExportConfig + WithTonicConfig>(builder: B, otlp: &OtlpSettings, retry: RetryPolicy) -> Result<B, String> {
    let mut names = axum::http::HeaderMap::new();
    for (name, value) in &otlp.headers.0 {
        // Names and values were checked when they were read.
        if let (Ok(name), Ok(value)) = (axum::http::HeaderName::try_from(name), axum::http::HeaderValue::try_from(value)) {
            names.insert(name, value);
        }
    }
    let builder = builder.with_endpoint(&otlp.endpoint).with_timeout(otlp.timeout).with_metadata(MetadataMap::from_headers(names));
    let builder = WithTonicConfig::with_retry_policy(builder, retry);
    let builder = if otlp.gzip { builder.with_compression(Compression::Gzip) } else { builder };
    if !otlp.endpoint.starts_with("https:") {
        return Ok(builder);
    }
    let tls = ClientTlsConfig::new();
    let tls = match &otlp.tls.authorities {
        Some(path) => tls.ca_certificate(Certificate::from_pem(pem(path)?)),
        None => tls.with_webpki_roots(),
    };
    let tls = match client_identity(&otlp.tls)? {
        Some((certificate, key)) => tls.identity(Identity::from_pem(certificate, key)),
        None => tls,
    };
    Ok(builder.with_tls_config(tls))
}

fn http<B: WithExportConfig + WithHttpConfig>(builder: B, otlp: &OtlpSettings, handle: &Handle, retry: RetryPolicy) -> Result<B, String> {
    let protocol = if otlp.protocol == OtlpProtocol::HttpJson { Protocol::HttpJson } else { Protocol::HttpBinary };
    let headers: HashMap<String, String> = otlp.headers.0.iter().cloned().collect();
    let client = Client { client: http_client(otlp)?, handle: handle.clone() };
    let builder = builder.with_endpoint(&otlp.endpoint).with_timeout(otlp.timeout).with_protocol(protocol);
    let builder = WithHttpConfig::with_retry_policy(builder.with_headers(headers).with_http_client(client), retry);
    Ok(if otlp.gzip { builder.with_compression(Compression::Gzip) } else { builder })
}

fn http_client(otlp: &OtlpSettings) -> Result<reqwest::Client, String> {
    // Telemetry goes where it is sent and nowhere else.
    let mut builder = reqwest::Client::builder().timeout(otlp.timeout).redirect(reqwest::redirect::Policy::none());
    if otlp.endpoint.starts_with("https:") {
        if let Some(path) = &otlp.tls.authorities {
            let bundle = reqwest::Certificate::from_pem_bundle(&pem(path)?).map_err(|error| format!("{}: {error}", path.display()))?;
            builder = bundle.into_iter().fold(builder.tls_built_in_root_certs(false), reqwest::ClientBuilder::add_root_certificate);
        }
        if let Some((mut certificate, key)) = client_identity(&otlp.tls)? {
            certificate.push(b'\n');
            certificate.extend(key);
            builder =
                builder.identity(reqwest::Identity::from_pem(&certificate).map_err(|error| format!("the client certificate: {error}"))?);
        }
    }
    builder.build().map_err(|error| error.to_string())
}

/// Certificate and key, as PEM.
type ClientIdentity = (Vec<u8>, Vec<u8>);

/// What the client shows, when both files are named.
fn client_identity(tls: &TlsFiles) -> Result<Option<ClientIdentity>, String> {
    match (&tls.client_certificate, &tls.client_key) {
        (Some(certificate), Some(key)) => Ok(Some((pem(certificate)?, pem(key)?))),
        (None, None) => Ok(None),
        (Some(path), None) => Err(format!("the client certificate {} has no key beside it; name one with …_CLIENT_KEY", path.display())),
        (None, Some(path)) => Err(format!("the key {} has no certificate beside it; name one with …_CLIENT_CERTIFICATE", path.display())),
    }
}

fn pem(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// The HTTP client of the exporters, which call it from threads without a runtime.
#[derive(Debug)]
struct Client {
    client: reqwest::Client,
    handle: Handle,
}

impl HttpClient for Client {
    fn send_bytes<'a, 'b>(&'a self, request: Request<Bytes>) -> BoxFuture<'b, Result<Response<Bytes>, HttpError>>
    where
        'a: 'b,
        Self: 'b,
    {
        let task = self.handle.spawn(send(self.client.clone(), request));
        async move { task.await.map_err(|error| Box::new(error) as HttpError)? }.boxed()
    }
}

async fn send(client: reqwest::Client, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let mut response = client.execute(request.try_into()?).await?;
    let mut answer = Response::builder().status(response.status());
    if let Some(headers) = answer.headers_mut() {
        std::mem::swap(headers, response.headers_mut());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        // What is beyond this is of no use, and no reason to send again.
        let room = RESPONSE_BYTES_MAX - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            break;
        }
    }
    Ok(answer.body(body.into())?)
}

/// Ends what takes longer than it may, also where it does not look at a clock itself.
pub async fn within<T>(limit: Duration, handle: &Handle, work: impl Future<Output = T>) -> Option<T> {
    let clock = {
        let _within = handle.enter();
        tokio::time::sleep(limit)
    };
    tokio::select! {
        done = work => Some(done),
        () = clock => None,
    }
}
