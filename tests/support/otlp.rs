//! A collector in this process: takes OTLP over HTTP, as protobuf or JSON, and over gRPC,
//! and keeps every span, metric and log record, and the headers they came with.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{MetricsService, MetricsServiceServer};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord as WireLog;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::resource::v1::Resource as WireResource;
use opentelemetry_proto::tonic::trace::v1::Span as WireSpan;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use serde_json::Value as Json;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::codec::CompressionEncoding;

use super::wait_until;

/// The collector; stops with the value.
pub struct Collector {
    received: Received,
    /// `http://127.0.0.1:PORT`, for HTTP.
    pub http: String,
    /// `http://127.0.0.1:PORT`, for gRPC.
    pub grpc: String,
    _tasks: tokio::task::JoinSet<()>,
}

#[derive(Clone, Default)]
struct Received(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    spans: Vec<Span>,
    metrics: Vec<Metric>,
    logs: Vec<Log>,
    requests: Vec<Request>,
}

/// How something came: over HTTP with its path, over gRPC with its method.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    pub headers: BTreeMap<String, String>,
}

/// A metric of one export.
#[derive(Clone, Debug)]
pub struct Metric {
    pub name: String,
    pub resource: BTreeMap<String, Json>,
    /// Attributes of each data point.
    pub points: Vec<BTreeMap<String, Json>>,
}

/// A log record.
#[derive(Clone, Debug)]
pub struct Log {
    pub body: String,
    pub level: String,
    pub resource: BTreeMap<String, Json>,
    pub attributes: BTreeMap<String, Json>,
    /// Hexadecimal; empty for none.
    pub trace_id: String,
    pub span_id: String,
}

/// A span as it was exported.
#[derive(Clone, Debug)]
pub struct Span {
    pub service: String,
    pub resource: BTreeMap<String, Json>,
    pub name: String,
    /// Hexadecimal, as are the other ids.
    pub trace_id: String,
    pub span_id: String,
    /// Empty for none.
    pub parent: String,
    pub kind: SpanKind,
    pub start_ns: u64,
    pub end_ns: u64,
    pub failed: bool,
    pub attributes: BTreeMap<String, Json>,
    /// Names, in order.
    pub events: Vec<String>,
    /// Trace id and span id of each link.
    pub links: Vec<(String, String)>,
}

impl Collector {
    pub async fn start() -> Collector {
        let received = Received::default();
        let mut tasks = tokio::task::JoinSet::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let http = format!("http://{}", listener.local_addr().expect("its address"));
        let app = Router::new().route("/v1/{signal}", post(take)).with_state(received.clone());
        tasks.spawn(async move { axum::serve(listener, app).await.expect("serving") });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let grpc = format!("http://{}", listener.local_addr().expect("its address"));
        let gzip = CompressionEncoding::Gzip;
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(received.clone()).accept_compressed(gzip))
            .add_service(MetricsServiceServer::new(received.clone()).accept_compressed(gzip))
            .add_service(LogsServiceServer::new(received.clone()).accept_compressed(gzip));
        let incoming = TcpListenerStream::new(listener);
        tasks.spawn(async move { server.serve_with_incoming(incoming).await.expect("serving") });
        Collector { received, http, grpc, _tasks: tasks }
    }

    /// Every span so far.
    pub fn spans(&self) -> Vec<Span> {
        self.received.0.lock().expect("no panic there").spans.clone()
    }

    /// Every metric so far, once for each export.
    pub fn metrics(&self) -> Vec<Metric> {
        self.received.0.lock().expect("no panic there").metrics.clone()
    }

    /// Every log record so far.
    pub fn logs(&self) -> Vec<Log> {
        self.received.0.lock().expect("no panic there").logs.clone()
    }

    /// Every export so far.
    pub fn requests(&self) -> Vec<Request> {
        self.received.0.lock().expect("no panic there").requests.clone()
    }

    /// The whole trace, once the span of the tool call, which ends last, is there.
    pub async fn trace(&self, trace_id: &str) -> Trace {
        wait_until("a trace", async || {
            let spans: Vec<Span> = self.spans().into_iter().filter(|span| span.trace_id == trace_id).collect();
            let root = spans.iter().any(|span| span.kind == SpanKind::Server || span.name == "retrieval.shadow");
            root.then_some(Trace { spans })
        })
        .await
    }
}

/// The spans of one trace.
#[derive(Debug)]
pub struct Trace {
    pub spans: Vec<Span>,
}

impl Trace {
    /// The one span of that name.
    #[track_caller]
    pub fn span(&self, name: &str) -> &Span {
        let found: Vec<&Span> = self.spans.iter().filter(|span| span.name == name).collect();
        assert_eq!(found.len(), 1, "spans called {name} in\n{}", self.tree());
        found[0]
    }

    pub fn root(&self) -> &Span {
        self.spans.iter().find(|span| span.kind == SpanKind::Server).expect("a trace has one")
    }

    pub fn children(&self, of: &Span) -> Vec<&Span> {
        let mut children: Vec<&Span> = self.spans.iter().filter(|span| span.parent == of.span_id).collect();
        // Channels run side by side; everything else one after the other.
        if of.name == "retrieval.gather_channels" {
            children.sort_by_key(|span| span.name.clone());
        } else {
            children.sort_by_key(|span| span.start_ns);
        }
        children
    }

    /// One line a span: two blanks for each level, name, kind unless internal.
    pub fn tree(&self) -> String {
        let mut out = String::new();
        self.draw(self.root(), 0, &mut out);
        out
    }

    fn draw(&self, span: &Span, level: usize, out: &mut String) {
        let kind = match span.kind {
            SpanKind::Internal => "",
            SpanKind::Server => " SERVER",
            SpanKind::Client => " CLIENT",
            _ => " OTHER",
        };
        let failed = if span.failed { " FAILED" } else { "" };
        writeln!(out, "{}{}{kind}{failed}", "  ".repeat(level), span.name).expect("a string takes it");
        for child in self.children(span) {
            self.draw(child, level + 1, out);
        }
    }
}

async fn take(State(received): State<Received>, uri: Uri, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut bytes = body.to_vec();
    if header("content-encoding") == "gzip" {
        let mut unpacked = Vec::new();
        if flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut unpacked).is_err() {
            return StatusCode::BAD_REQUEST;
        }
        bytes = unpacked;
    }
    let json = header("content-type") == "application/json";
    received.note(uri.path(), &headers);
    let taken = match uri.path() {
        "/v1/traces" => decoded(&bytes, json).map(|request| received.keep_spans(request)),
        "/v1/metrics" => decoded(&bytes, json).map(|request| received.keep_metrics(request)),
        "/v1/logs" => decoded(&bytes, json).map(|request| received.keep_logs(request)),
        _ => return StatusCode::NOT_FOUND,
    };
    if taken.is_some() { StatusCode::OK } else { StatusCode::BAD_REQUEST }
}

fn decoded<M: prost::Message + Default + serde::de::DeserializeOwned>(bytes: &[u8], json: bool) -> Option<M> {
    if json { serde_json::from_slice(bytes).ok() } else { M::decode(bytes).ok() }
}

#[tonic::async_trait]
impl TraceService for Received {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        self.note("grpc traces", request.metadata().as_ref());
        self.keep_spans(request.into_inner());
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Received {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, tonic::Status> {
        self.note("grpc metrics", request.metadata().as_ref());
        self.keep_metrics(request.into_inner());
        Ok(tonic::Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Received {
    async fn export(
        &self,
        request: tonic::Request<ExportLogsServiceRequest>,
    ) -> Result<tonic::Response<ExportLogsServiceResponse>, tonic::Status> {
        self.note("grpc logs", request.metadata().as_ref());
        self.keep_logs(request.into_inner());
        Ok(tonic::Response::new(ExportLogsServiceResponse::default()))
    }
}

impl Received {
    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().expect("no panic here")
    }

    fn note(&self, path: &str, headers: &HeaderMap) {
        let text = |value: &axum::http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let headers = headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        self.kept().requests.push(Request { path: path.to_owned(), headers });
    }

    fn keep_spans(&self, request: ExportTraceServiceRequest) {
        for part in request.resource_spans {
            let of = described(part.resource);
            self.kept().spans.extend(part.scope_spans.into_iter().flat_map(|scope| scope.spans).map(|span| read(span, &of)));
        }
    }

    fn keep_metrics(&self, request: ExportMetricsServiceRequest) {
        for part in request.resource_metrics {
            let of = described(part.resource);
            let metrics = part.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
            let metrics = metrics.map(|metric| Metric { name: metric.name, resource: of.clone(), points: points(metric.data) });
            self.kept().metrics.extend(metrics);
        }
    }

    fn keep_logs(&self, request: ExportLogsServiceRequest) {
        for part in request.resource_logs {
            let of = described(part.resource);
            self.kept().logs.extend(part.scope_logs.into_iter().flat_map(|scope| scope.log_records).map(|log| read_log(log, &of)));
        }
    }
}

fn described(resource: Option<WireResource>) -> BTreeMap<String, Json> {
    resource.map(|resource| attributes(resource.attributes)).unwrap_or_default()
}

fn points(data: Option<Data>) -> Vec<BTreeMap<String, Json>> {
    match data {
        Some(Data::Sum(sum)) => sum.data_points.into_iter().map(|point| attributes(point.attributes)).collect(),
        Some(Data::Gauge(gauge)) => gauge.data_points.into_iter().map(|point| attributes(point.attributes)).collect(),
        Some(Data::Histogram(histogram)) => histogram.data_points.into_iter().map(|point| attributes(point.attributes)).collect(),
        _ => Vec::new(),
    }
}

fn read_log(log: WireLog, resource: &BTreeMap<String, Json>) -> Log {
    Log {
        body: log.body.map(json).and_then(|body| body.as_str().map(str::to_owned)).unwrap_or_default(),
        level: log.severity_text,
        resource: resource.clone(),
        attributes: attributes(log.attributes),
        trace_id: hex(&log.trace_id),
        span_id: hex(&log.span_id),
    }
}

fn read(span: WireSpan, resource: &BTreeMap<String, Json>) -> Span {
    let status = span.status.clone().unwrap_or_default();
    Span {
        service: resource.get("service.name").and_then(Json::as_str).unwrap_or_default().to_owned(),
        resource: resource.clone(),
        kind: span.kind(),
        name: span.name,
        trace_id: hex(&span.trace_id),
        span_id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        start_ns: span.start_time_unix_nano,
        end_ns: span.end_time_unix_nano,
        failed: status.code() == SpanStatus::Error,
        attributes: attributes(span.attributes),
        events: span.events.into_iter().map(|event| event.name).collect(),
        links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
    }
}

fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, Json> {
    pairs.into_iter().map(|pair| (pair.key, pair.value.map_or(Json::Null, json))).collect()
}

fn json(value: AnyValue) -> Json {
    match value.value {
        Some(Value::StringValue(text)) => Json::from(text),
        Some(Value::BoolValue(flag)) => Json::from(flag),
        Some(Value::IntValue(number)) => Json::from(number),
        Some(Value::DoubleValue(number)) => Json::from(number),
        other => Json::from(format!("{other:?}")),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
