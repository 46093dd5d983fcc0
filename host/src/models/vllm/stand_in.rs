//! A server in the place of vLLM: it answers as a test says, and remembers what it was asked.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, Uri};
use axum::routing::post;
use serde_json::{Value as Json, json};

use crate::telemetry::{Caller, Run, Span, Telemetry, TelemetrySettings, ledger};

/// What the stand-in answers with.
pub struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Body,
    delay_ms: u64,
}

impl Reply {
    pub fn new(status: u16, kind: &str, body: impl Into<Body>) -> Reply {
        let headers = vec![("content-type", kind.to_owned())];
        Reply { status, headers, body: body.into(), delay_ms: 0 }
    }

    pub fn json(status: u16, body: &Json) -> Reply {
        Reply::new(status, "application/json", body.to_string())
    }

    pub fn with(mut self, name: &'static str, value: &str) -> Reply {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub fn after(self, delay_ms: u64) -> Reply {
        Reply { delay_ms, ..self }
    }
}

/// A request as it arrived. `number` counts from 0.
pub struct Arrived {
    pub number: usize,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Json,
}

impl Arrived {
    /// `input` of a request that has one.
    pub fn texts(&self) -> Vec<&str> {
        self.body["input"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
    }
}

type Behaviour = dyn Fn(&Arrived) -> Reply + Send + Sync;

pub struct StandIn {
    pub address: SocketAddr,
    pub seen: Arc<Seen>,
    pub server: tokio::task::JoinHandle<()>,
}

pub struct Seen {
    behaviour: Box<Behaviour>,
    arrived: Mutex<Vec<Arc<Arrived>>>,
    running: AtomicUsize,
    pub running_max: AtomicUsize,
}

/// Counts a request as running for as long as its handler lives.
struct Running(Arc<Seen>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl StandIn {
    /// Serves `paths`; any other is not found.
    pub async fn serve(paths: &[&str], behaviour: impl Fn(&Arrived) -> Reply + Send + Sync + 'static) -> StandIn {
        let seen = Arc::new(Seen {
            behaviour: Box::new(behaviour),
            arrived: Mutex::default(),
            running: AtomicUsize::new(0),
            running_max: AtomicUsize::new(0),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = paths.iter().fold(Router::new(), |router, path| router.route(path, post(answer))).with_state(seen.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        StandIn { address, seen, server }
    }

    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn arrived(&self) -> Vec<Arc<Arrived>> {
        self.seen.arrived.lock().unwrap().clone()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(State(seen): State<Arc<Seen>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let running = seen.running.fetch_add(1, Ordering::SeqCst) + 1;
    seen.running_max.fetch_max(running, Ordering::SeqCst);
    let _running = Running(seen.clone());
    let arrived = {
        let mut all = seen.arrived.lock().unwrap();
        let body = serde_json::from_slice(&body).unwrap();
        let arrived = Arc::new(Arrived { number: all.len(), path: uri.path().to_owned(), headers, body });
        all.push(arrived.clone());
        arrived
    };
    let reply = (seen.behaviour)(&arrived);
    tokio::time::sleep(Duration::from_millis(reply.delay_ms)).await;
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response.body(reply.body).unwrap()
}

pub fn vllm_error(status: u16, message: &str) -> Reply {
    let error = json!({"message": message, "type": "BadRequestError", "param": null, "code": status});
    Reply::json(status, &json!({"error": error}))
}

/// A run whose ledger can be read.
pub struct Traced {
    folder: tempfile::TempDir,
    telemetry: Telemetry,
    pub run: Run,
}

impl Traced {
    pub fn new() -> Traced {
        let folder = tempfile::tempdir().unwrap();
        let telemetry =
            Telemetry::start(TelemetrySettings { ledger_folder: Some(folder.path().into()), ..TelemetrySettings::default() }).unwrap();
        let run = telemetry.run("semantic_search", &Caller::default(), json!({}));
        Traced { folder, telemetry, run }
    }

    pub fn span(&self) -> &Span {
        &self.run.root
    }

    /// The ledger's lines about models, in their order.
    pub fn lines(self) -> Vec<Json> {
        let id = self.run.id.clone();
        self.run.succeed(json!({}));
        self.telemetry.flush();
        let path = ledger::find(self.folder.path(), &id).unwrap().unwrap();
        let lines = ledger::read(&path).unwrap();
        lines.into_iter().filter(|line| line["name"].as_str().unwrap().starts_with("vllm.")).collect()
    }
}

/// Waits until the server sees that nobody waits any more, far sooner than it would answer.
pub async fn all_ended(server: &StandIn) {
    let ended = async {
        while server.seen.running.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), ended).await.expect("requests were left behind");
}
