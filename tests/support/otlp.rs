//! A collector in this process: takes OTLP over HTTP and gRPC and keeps every span.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span as WireSpan;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use prost::Message as _;
use serde_json::Value as Json;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;

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
struct Received(Arc<Mutex<Vec<Span>>>);

/// A span as it was exported.
#[derive(Clone, Debug)]
pub struct Span {
    pub service: String,
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
        let app = Router::new().route("/v1/traces", post(take)).with_state(received.clone());
        tasks.spawn(async move { axum::serve(listener, app).await.expect("serving") });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let grpc = format!("http://{}", listener.local_addr().expect("its address"));
        let service = TraceServiceServer::new(received.clone());
        let incoming = TcpListenerStream::new(listener);
        tasks.spawn(async move {
            tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await.expect("serving")
        });
        Collector { received, http, grpc, _tasks: tasks }
    }

    /// Every span so far.
    pub fn spans(&self) -> Vec<Span> {
        self.received.0.lock().expect("no panic there").clone()
    }

    /// The whole trace, once the span of the tool call, which ends last, is there.
    pub async fn trace(&self, trace_id: &str) -> Trace {
        wait_until("a trace", async || {
            let spans: Vec<Span> = self.spans().into_iter().filter(|span| span.trace_id == trace_id).collect();
            let root = spans.iter().any(|span| span.kind == SpanKind::Server);
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

async fn take(State(received): State<Received>, body: Bytes) -> StatusCode {
    match ExportTraceServiceRequest::decode(body) {
        Ok(request) => {
            received.keep(request);
            StatusCode::OK
        }
        Err(_) => StatusCode::BAD_REQUEST,
    }
}

#[tonic::async_trait]
impl TraceService for Received {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        self.keep(request.into_inner());
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Received {
    fn keep(&self, request: ExportTraceServiceRequest) {
        let mut spans = self.0.lock().expect("no panic here");
        for resource in request.resource_spans {
            let of = resource.resource.map(|resource| attributes(resource.attributes)).unwrap_or_default();
            let service = of.get("service.name").and_then(Json::as_str).unwrap_or_default().to_owned();
            spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans).map(|span| read(span, &service)));
        }
    }
}

fn read(span: WireSpan, service: &str) -> Span {
    let status = span.status.clone().unwrap_or_default();
    Span {
        service: service.to_owned(),
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
