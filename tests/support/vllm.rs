//! A stand-in for vLLM's `/v1/embeddings`: vectors out of words, no model.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::http::StatusCode;
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
    requests: Arc<AtomicU64>,
    /// Of its own, so that open connections end with it.
    runtime: Option<Runtime>,
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
        let requests = Arc::new(AtomicU64::new(0));
        let app = Router::new().route("/v1/embeddings", post(embed)).with_state((requests.clone(), encoding));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            axum::serve(listener, app).await.expect("serving");
        });
        StandIn { url, requests, runtime: Some(runtime) }
    }

    /// The configuration that chooses it.
    pub fn config(&self) -> String {
        format!(
            "[embedding]\nkind = \"vllm\"\n[embedding.vllm]\nurl = \"{}\"\nmodel = \"{MODEL}\"\nbatch_size = 4\nattempts_max = 2\n",
            self.url
        )
    }

    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
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

async fn embed(State((requests, encoding)): State<(Arc<AtomicU64>, Encoding)>, Body(request): Body<Json>) -> Response {
    requests.fetch_add(1, Ordering::Relaxed);
    if request["model"] != MODEL {
        let error = json!({"error": {"message": format!("The model `{}` does not exist.", request["model"]), "code": 404}});
        return (StatusCode::NOT_FOUND, Body(error)).into_response();
    }
    let inputs: Vec<&str> = match &request["input"] {
        Json::String(text) => vec![text],
        Json::Array(texts) => texts.iter().filter_map(Json::as_str).collect(),
        _ => return StatusCode::UNPROCESSABLE_ENTITY.into_response(),
    };
    let in_base64 = encoding == Encoding::AsAsked && request["encoding_format"] == "base64";
    let data: Vec<Json> = inputs
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let vector = vector(text);
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
