//! A stand-in for vLLM's `/v1/embeddings` and `/pooling`: vectors out of words, no
//! model. It can be made to misbehave.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json as Body, Router};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// Numbers in a vector.
pub const DIMENSION: usize = 32;
/// The served name.
pub const MODEL: &str = "stand-in";

/// The stand-in; stops with the value.
pub struct StandIn {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    shared: Arc<Shared>,
    /// Of its own, so that open connections end with it.
    runtime: Option<Runtime>,
}

/// Of the last request.
type Headers = Arc<Mutex<HeaderMap>>;

/// What requests find.
struct Shared {
    requests: AtomicU64,
    encoding: Encoding,
    mood: Mutex<Mood>,
    headers: Headers,
}

/// What the stand-in does with requests.
#[derive(Clone, Copy, PartialEq)]
pub enum Mood {
    Well,
    /// Takes them and never answers.
    Silent,
    /// Answers with this status and an error of vLLM's form.
    Refuses(u16),
    /// Says that all is well, in words that are no vectors.
    Babbles,
    /// Leaves out the last number of every vector.
    Short,
}

/// How vectors are written. Servers answer with numbers whatever they were asked for
/// when they are older.
#[derive(Clone, Copy, PartialEq)]
pub enum Encoding {
    AsAsked,
    Numbers,
}

impl StandIn {
    pub fn start(encoding: Encoding) -> StandIn {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a listener for tokio");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let shared = Arc::new(Shared { requests: AtomicU64::new(0), encoding, mood: Mutex::new(Mood::Well), headers: Headers::default() });
        let keep = shared.headers.clone();
        let app =
            Router::new().route("/v1/embeddings", post(embed)).route("/pooling", post(embed_tokens)).with_state(shared.clone()).layer(
                middleware::map_request(move |request: Request| {
                    request.headers().clone_into(&mut keep.lock().expect("no panic here"));
                    std::future::ready(request)
                }),
            );
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            axum::serve(listener, app).await.expect("serving");
        });
        StandIn { url, shared, runtime: Some(runtime) }
    }

    /// The configuration that chooses it.
    pub fn config(&self) -> String {
        format!(
            "[embedding]\nkind = \"vllm\"\n[embedding.vllm]\nurl = \"{}\"\nmodel = \"{MODEL}\"\nbatch_size = 4\nattempts_max = 2\n",
            self.url
        )
    }

    /// The configuration that has it score by late interaction.
    pub fn scoring(&self) -> String {
        format!("[scoring.late_interaction]\nurl = \"{}\"\nmodel = \"{MODEL}\"\n", self.url)
    }

    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// From now on.
    pub fn set_mood(&self, mood: Mood) {
        *self.shared.mood.lock().expect("no panic there") = mood;
    }

    /// The headers of the last request.
    pub fn last_headers(&self) -> BTreeMap<String, String> {
        let headers = self.shared.headers.lock().expect("no panic there");
        headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned())).collect()
    }

    /// No connection is taken any more, and open ones end.
    pub fn stop(self) {}
}

impl Drop for StandIn {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn embed(State(shared): State<Arc<Shared>>, Body(request): Body<Json>) -> Response {
    shared.requests.fetch_add(1, Ordering::Relaxed);
    let mood = *shared.mood.lock().expect("no panic there");
    match mood {
        Mood::Silent => return std::future::pending().await,
        Mood::Refuses(status) => {
            let error = json!({"error": {"message": "the stand-in is told to refuse", "code": status}});
            return (StatusCode::from_u16(status).expect("a status"), Body(error)).into_response();
        }
        Mood::Babbles => return "<html>not the service you are looking for</html>".into_response(),
        Mood::Well | Mood::Short => {}
    }
    let dimension = if mood == Mood::Short { DIMENSION - 1 } else { DIMENSION };
    if request["model"] != MODEL {
        let error = json!({"error": {"message": format!("The model `{}` does not exist.", request["model"]), "code": 404}});
        return (StatusCode::NOT_FOUND, Body(error)).into_response();
    }
    let Some(inputs) = inputs(&request) else { return StatusCode::UNPROCESSABLE_ENTITY.into_response() };
    let in_base64 = shared.encoding == Encoding::AsAsked && request["encoding_format"] == "base64";
    let data: Vec<Json> = inputs
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let vector = &vector(text)[..dimension];
            let embedding = if in_base64 {
                let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
                json!(BASE64_STANDARD.encode(bytes))
            } else {
                json!(vector)
            };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    let usage = json!({"prompt_tokens": inputs.len(), "total_tokens": inputs.len(), "completion_tokens": 0});
    Body(json!({"object": "list", "id": "embd-1", "created": 0, "model": MODEL, "data": data, "usage": usage})).into_response()
}

/// A vector for each word.
async fn embed_tokens(State(shared): State<Arc<Shared>>, Body(request): Body<Json>) -> Response {
    shared.requests.fetch_add(1, Ordering::Relaxed);
    let Some(inputs) = inputs(&request) else { return StatusCode::UNPROCESSABLE_ENTITY.into_response() };
    let words = |text: &str| -> Vec<Vec<f32>> { text.split_whitespace().map(vector).collect() };
    let data: Vec<Json> =
        inputs.iter().enumerate().map(|(index, text)| json!({"object": "pooling", "index": index, "data": words(text)})).collect();
    let usage = json!({"prompt_tokens": inputs.len(), "total_tokens": inputs.len(), "completion_tokens": 0});
    Body(json!({"object": "list", "id": "pool-1", "created": 0, "model": MODEL, "data": data, "usage": usage})).into_response()
}

fn inputs(request: &Json) -> Option<Vec<&str>> {
    match &request["input"] {
        Json::String(text) => Some(vec![text]),
        Json::Array(texts) => Some(texts.iter().filter_map(Json::as_str).collect()),
        _ => None,
    }
}

/// Counts words in as many buckets as there are numbers.
fn vector(text: &str) -> Vec<f32> {
    let mut numbers = [0.01_f32; DIMENSION];
    for word in text.to_lowercase().split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 2) {
        let hash = word.bytes().fold(7_usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        numbers[hash % DIMENSION] += 1.0;
    }
    let length = numbers.iter().map(|x| x * x).sum::<f32>().sqrt();
    numbers.iter().map(|x| x / length).collect()
}
