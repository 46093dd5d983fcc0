//! The server over real connections, message by message.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{HttpSettings, serve};
use crate::mcp::double::{Double, query};
use crate::telemetry::parse_trace_context;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const OTHER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// Longer than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server on loopback in front of a [`Double`].
pub(crate) struct TestServer {
    pub url: String,
    pub double: Arc<Double>,
    address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl TestServer {
    pub async fn start(settings: HttpSettings) -> TestServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let double = Double::new();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(serve(listener, double.clone(), None, settings, async {
            // An error means that the test is over.
            let _ = stopped.await;
        }));
        TestServer { url: format!("http://{address}"), double, address, stop, serving }
    }

    /// A message as a client of 2026-07-28 sends it.
    pub fn message(&self, method: &str, mut params: Json) -> RequestBuilder {
        let name = params["name"].as_str().map(str::to_owned);
        for (key, value) in [("protocolVersion", json!("2026-07-28")), ("clientCapabilities", json!({}))] {
            params["_meta"][format!("io.modelcontextprotocol/{key}")] = value;
        }
        let request = self.post(json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string());
        let request = request.header("mcp-protocol-version", "2026-07-28").header("mcp-method", method);
        match name {
            Some(name) => request.header("mcp-name", name),
            None => request,
        }
    }

    pub fn call(&self, tool: &str, arguments: Json) -> RequestBuilder {
        self.message("tools/call", json!({"name": tool, "arguments": arguments}))
    }

    pub fn post(&self, body: String) -> RequestBuilder {
        reqwest::Client::new()
            .post(format!("{}/mcp", self.url))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(body)
    }

    async fn get(&self, path: &str) -> Response {
        reqwest::get(format!("{}{path}", self.url)).await.unwrap()
    }

    /// A session of an older protocol version: its id.
    async fn session(&self) -> String {
        let params = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let response = self.post(initialize.to_string()).send().await.unwrap();
        let id = response.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        assert_ids(&response);
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let response = self.post(initialized.to_string()).header("mcp-session-id", &id).send().await.unwrap();
        assert_eq!(response.status(), 202);
        assert_ids(&response);
        id
    }

    async fn stopped(self) -> std::io::Result<()> {
        let _ = self.stop.send(());
        tokio::time::timeout(PATIENCE, self.serving).await.expect("the server stops").unwrap()
    }
}

/// The trace id and run id of a response, whose three headers must agree.
pub(crate) fn assert_ids(response: &Response) -> (String, String) {
    let text = |name: &str| response.headers().get(name).unwrap_or_else(|| panic!("{name} is missing")).to_str().unwrap().to_owned();
    let context = parse_trace_context(&text("traceparent"), None).expect("a valid traceparent");
    assert_eq!(context.trace_id().to_string(), text("x-trace-id"));
    assert_eq!(text("x-run-id").len(), 36);
    (text("x-trace-id"), text("x-run-id"))
}

#[tokio::test]
async fn health_is_told_without_mcp() {
    let server = TestServer::start(HttpSettings::default()).await;
    let health = server.get("/healthz").await;
    assert_eq!((health.status(), health.text().await.unwrap().as_str()), (StatusCode::OK, "ok"));
    let ready = server.get("/readyz").await;
    assert_eq!(ready.status(), 200);
    let body: Json = ready.json().await.unwrap();
    assert_eq!(body, json!({"ready": true, "checks": [{"name": "index", "ok": true, "detail": "generation g000007"}]}));
    server.double.ready.store(false, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(server.get("/readyz").await.status(), 503);
}

#[tokio::test]
async fn every_response_has_ids_and_every_call_its_run() {
    let server = TestServer::start(HttpSettings::default()).await;
    for (tool, arguments, status) in [
        ("semantic_search", query("x"), "ok"),
        ("semantic_search_pro", query("x"), "ok"),
        ("semantic_search", json!({"query": "x", "limit": "ten"}), "error"),
        ("semantic_search", query("busy"), "error"),
        ("semantic_search", query("panic"), "error"),
        ("open_file", json!({"path": "a.rs"}), "ok"),
        ("open_file", json!({"path": "missing"}), "error"),
        ("open_door", json!({}), "error"),
    ] {
        let response = server.call(tool, arguments.clone()).send().await.unwrap();
        assert_eq!(response.status(), 200, "{tool} {arguments}");
        let (trace_id, run_id) = assert_ids(&response);
        let body = response.text().await.unwrap();
        assert_eq!(server.double.last_run(), run_id);
        if tool != "open_door" {
            assert!(body.contains(&format!("run {run_id} trace {trace_id}")), "{body}");
        }
        assert_eq!(server.double.run_end(&run_id).await["status"], status, "{tool} {arguments}: {body}");
    }
    let runs = server.double.run_ids.lock().unwrap().len();
    for (method, params) in [("server/discover", json!({})), ("tools/list", json!({})), ("no/such", json!({}))] {
        assert_ids(&server.message(method, params).send().await.unwrap());
    }
    assert_eq!(server.double.run_ids.lock().unwrap().len(), runs, "only tool calls are runs");
    assert_eq!(*server.double.exchanges.lock().unwrap(), ["server/discover", "tools/list", "other"]);
}

#[tokio::test]
async fn calls_that_never_reach_a_tool_are_recorded_too() {
    let server = TestServer::start(HttpSettings::default()).await;
    let unknown_session =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "semantic_search", "arguments": query("x")}});
    let response = server.post(unknown_session.to_string()).header("mcp-session-id", "none").send().await.unwrap();
    assert_eq!(response.status(), 404);
    let (_, run_id) = assert_ids(&response);
    assert_eq!(server.double.run_end(&run_id).await["outcome"]["error"]["class"], "refused");

    let shapeless = server.message("tools/call", json!({"name": "semantic_search", "arguments": "x"})).send().await.unwrap();
    let (_, run_id) = assert_ids(&shapeless);
    let body: Json = shapeless.json().await.unwrap();
    assert_eq!(body["error"]["code"], -32602, "{body}");
    assert_eq!(server.double.run_end(&run_id).await["status"], "error");
}

#[tokio::test]
async fn a_session_streams_its_answers_with_ids_in_the_headers() {
    let server = TestServer::start(HttpSettings::default()).await;
    let session = server.session().await;
    let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "semantic_search", "arguments": query("x")}});
    let request = server.post(call.to_string()).header("mcp-session-id", &session).header("mcp-protocol-version", "2025-06-18");
    let response = request.header("traceparent", PARENT).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let (trace_id, run_id) = assert_ids(&response);
    assert!(response.text().await.unwrap().contains(&run_id));
    assert_eq!(trace_id, &PARENT[3..35]);
    let (_, caller, _) = server.double.last_call();
    assert_eq!(caller.session_id.as_deref(), Some(session.as_str()));
    assert_eq!(caller.protocol_version.as_deref(), Some("2025-06-18"));
    let end = reqwest::Client::new().delete(format!("{}/mcp", server.url)).header("mcp-session-id", &session).send().await.unwrap();
    assert_eq!(end.status(), 204);
    assert_ids(&end);
}

#[tokio::test]
async fn the_caller_is_known_by_headers_and_meta() {
    let server = TestServer::start(HttpSettings::default()).await;
    let params = json!({"name": "semantic_search", "arguments": query("x"), "_meta": {"traceparent": PARENT}});
    let request = server.message("tools/call", params).header("traceparent", OTHER).header("x-session-id", "my-session");
    let (trace_id, run_id) = assert_ids(&request.send().await.unwrap());
    assert_eq!(trace_id, &PARENT[3..35]);
    let (tool, caller, arguments) = server.double.last_call();
    assert_eq!((tool.as_str(), arguments), ("semantic_search", query("x")));
    assert_eq!(caller.session_id.as_deref(), Some("my-session"));
    assert_eq!(caller.protocol_version.as_deref(), Some("2026-07-28"));
    assert_eq!(caller.link.unwrap().trace_id().to_string(), &OTHER[3..35]);
    assert_eq!(server.double.run_end(&run_id).await["outcome"]["findings"][0]["path"], "src/file1.rs");
}

#[tokio::test]
async fn foreign_pages_may_not_call() {
    let server = TestServer::start(HttpSettings { allowed_origins: vec!["https://app.example".into()], ..HttpSettings::default() }).await;
    for (header, value, expect) in [
        ("origin", "https://evil.example", 403),
        ("origin", "http://localhost:3000", 200),
        ("origin", "https://app.example", 200),
        ("host", "evil.example", 403),
        ("host", "localhost:1234", 200),
    ] {
        let response = server.message("tools/list", json!({})).header(header, value).send().await.unwrap();
        assert_eq!(response.status(), expect, "{header}: {value}");
        assert_ids(&response);
        if expect == 403 {
            let body: Json = response.json().await.unwrap();
            assert!(body["error"]["message"].as_str().unwrap().contains(value), "{body}");
        }
    }
    assert!(server.double.run_ids.lock().unwrap().is_empty());
}

#[tokio::test]
async fn bodies_are_bounded_and_must_be_json() {
    let server = TestServer::start(HttpSettings { body_bytes_max: 1_000, ..HttpSettings::default() }).await;
    for (body, expect) in [("x".repeat(1_001), 413), ("x".repeat(1_000), 400), ("[]".to_owned(), 415), (String::new(), 400)] {
        let response = server.post(body).send().await.unwrap();
        assert_eq!(response.status(), expect);
        assert_ids(&response);
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let server = TestServer::start(HttpSettings { request_timeout_ms: 50, ..HttpSettings::default() }).await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{").await.unwrap();
    let mut answer = [0; 12];
    tokio::time::timeout(PATIENCE, slow.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
}

#[tokio::test]
async fn a_late_tool_answers_as_a_tool() {
    let server = TestServer::start(HttpSettings { request_timeout_ms: 50, ..HttpSettings::default() }).await;
    let response = server.call("semantic_search", query("wait")).send().await.unwrap();
    let (_, run_id) = assert_ids(&response);
    let body: Json = response.json().await.unwrap();
    assert_eq!(body["result"]["isError"], true, "{body}");
    assert_eq!(body["result"]["_meta"]["spanloom/error"]["class"], "deadline");
    assert_eq!(server.double.run_end(&run_id).await["outcome"]["error"]["class"], "deadline");
}

#[tokio::test]
async fn more_calls_than_allowed_are_turned_away_at_once() {
    let server = TestServer::start(HttpSettings { concurrency_max: 1, ..HttpSettings::default() }).await;
    let first = tokio::spawn(server.call("semantic_search", query("wait")).send());
    server.double.waiting.notified().await;
    let second = server.call("semantic_search", query("x")).send().await.unwrap();
    assert_eq!(second.status(), 503);
    assert_eq!(second.headers()["retry-after"], "1");
    assert_ids(&second);
    assert_eq!(server.message("tools/list", json!({})).send().await.unwrap().status(), 200, "only calls are counted");
    server.double.release.add_permits(1);
    assert_eq!(first.await.unwrap().unwrap().status(), 200);
    assert_eq!(server.call("semantic_search", query("x")).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_session_call_is_counted_until_its_answer_is_sent() {
    let server = TestServer::start(HttpSettings { concurrency_max: 1, ..HttpSettings::default() }).await;
    let session = server.session().await;
    let call =
        json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "semantic_search", "arguments": query("wait")}});
    // The head of the response comes at once; the call goes on.
    let response = server.post(call.to_string()).header("mcp-session-id", &session).send().await.unwrap();
    server.double.waiting.notified().await;
    assert_eq!(server.call("semantic_search", query("x")).send().await.unwrap().status(), 503);
    server.double.release.add_permits(1);
    assert!(response.text().await.unwrap().contains("src/file1.rs"));
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_call() {
    let server = TestServer::start(HttpSettings::default()).await;
    let call = tokio::spawn(server.call("semantic_search", query("wait")).send());
    server.double.waiting.notified().await;
    call.abort();
    let run_id = server.double.last_run();
    assert_eq!(server.double.run_end(&run_id).await["status"], "cancelled");
}

#[tokio::test]
async fn stopping_lets_calls_end() {
    let server = TestServer::start(HttpSettings::default()).await;
    let session = server.session().await;
    let call =
        json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "semantic_search", "arguments": query("wait")}});
    let streamed = server.post(call.to_string()).header("mcp-session-id", &session).send().await.unwrap();
    server.double.waiting.notified().await;
    let plain = tokio::spawn(server.call("semantic_search", query("wait")).send());
    server.double.waiting.notified().await;
    let (double, address) = (server.double.clone(), server.address);
    let stopping = tokio::spawn(server.stopped());
    // No new connections from some moment on.
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.expect("the listener closes");
    assert!(!stopping.is_finished());
    double.release.add_permits(2);
    let plain: Json = plain.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(plain["result"]["isError"], false);
    assert!(streamed.text().await.unwrap().contains("src/file1.rs"));
    stopping.await.unwrap().unwrap();
}

#[tokio::test]
async fn stopping_does_not_wait_for_ever() {
    let server = TestServer::start(HttpSettings { shutdown_grace_ms: 10, ..HttpSettings::default() }).await;
    let session = server.session().await;
    let stream =
        reqwest::Client::new().get(format!("{}/mcp", server.url)).header("accept", "text/event-stream").header("mcp-session-id", &session);
    let stream = stream.send().await.unwrap();
    assert_eq!(stream.status(), 200);
    assert_ids(&stream);
    let call =
        json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "semantic_search", "arguments": query("wait")}});
    let streamed = server.post(call.to_string()).header("mcp-session-id", &session).send().await.unwrap();
    server.double.waiting.notified().await;
    let plain = tokio::spawn(server.call("semantic_search", query("wait")).send());
    server.double.waiting.notified().await;
    let double = server.double.clone();
    server.stopped().await.unwrap();
    let run_ids = double.run_ids.lock().unwrap().clone();
    assert_eq!(run_ids.len(), 2);
    for run_id in run_ids {
        assert_eq!(double.run_end(&run_id).await["status"], "cancelled");
    }
    // How these end is not promised, only that they do.
    let _ = (plain.await.unwrap(), streamed.text().await, stream.text().await);
}
