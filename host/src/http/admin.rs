//! The admin endpoints: which plugins serve, exchanging them, recording their calls.
//!
//! | method and path | does |
//! | --- | --- |
//! | `GET /admin/plugins` | lists what is loaded, what serves, what was refused |
//! | `POST /admin/plugins/reload` | looks at every file again, changed or not |
//! | `POST /admin/plugins/{stage}` | has a stage served by another loaded plugin |
//! | `POST /admin/plugins/recording` | records the stage calls of the next runs |
//! | `GET /admin/plugins/recording/{id}` | gives what was recorded so far |
//! | `DELETE /admin/plugins/recording/{id}` | ends a recording |
//!
//! Who is let in is the matter of [`super::door`].

use std::sync::Arc;
use std::time::Instant;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::door::{Door, admit, problem};
use crate::plugin::recorder::RecordRequest;
use crate::plugin::{CONTRACT_VERSION, Choice, LoadError, Plugins};
use crate::types::Stage;

/// Bytes of a request: names, a digest, parameters.
const BODY_BYTES_MAX: usize = 1 << 20;

/// What the admin endpoints work on, and who may use them.
#[derive(Clone)]
pub struct Admin {
    plugins: Arc<Plugins>,
    token: Option<Arc<str>>,
}

/// A plugin for a stage, until the server ends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChoiceBody {
    /// A loaded plugin, by name.
    plugin: String,
    #[serde(default)]
    parameters: Map<String, Value>,
    #[serde(default)]
    sha256: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct After {
    #[serde(default)]
    after: usize,
}

/// A loaded plugin, as the list has it.
#[derive(Serialize)]
struct Listed {
    stage: Stage,
    name: String,
    version: String,
    sha256: String,
    source: String,
    serving: bool,
    grants: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quarantined_ms: Option<u64>,
}

impl Admin {
    pub fn new(plugins: Arc<Plugins>, token: Option<String>) -> Admin {
        Admin { plugins, token: token.map(Arc::from) }
    }

    pub(super) fn token(&self) -> Option<Arc<str>> {
        self.token.clone()
    }
}

pub(super) fn router(admin: Admin, door: Arc<Door>) -> Router {
    Router::new()
        .route("/admin/plugins", get(list))
        .route("/admin/plugins/reload", post(reload))
        .route("/admin/plugins/recording", post(record))
        .route("/admin/plugins/recording/{id}", get(recorded).delete(stop_recording))
        .route("/admin/plugins/{stage}", post(choose))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(door, admit))
        .with_state(admin)
}

async fn list(State(admin): State<Admin>) -> Response {
    Json(state(&admin.plugins)).into_response()
}

fn state(plugins: &Plugins) -> Value {
    let set = plugins.set();
    let listed = |(plugin, serving): (Arc<crate::plugin::Plugin>, bool)| {
        let identity = &plugin.identity;
        let out = set.active(identity.stage).filter(|_| serving).and_then(|active| active.quarantine.left(Instant::now()));
        Listed {
            stage: identity.stage,
            name: identity.name.clone(),
            version: identity.version.clone(),
            sha256: identity.sha256.clone(),
            source: identity.source.clone(),
            serving,
            grants: plugin.terms.grants.names(),
            quarantined_ms: out.map(|left| left.as_millis() as u64),
        }
    };
    let refused: Vec<Value> = plugins
        .refusals()
        .into_iter()
        .map(|refusal| json!({ "source": refusal.source, "class": refusal.class, "message": refusal.message }))
        .collect();
    json!({
        "contract": CONTRACT_VERSION,
        "revision": set.revision,
        "plugins": set.list().into_iter().map(listed).collect::<Vec<_>>(),
        "refused": refused,
    })
}

async fn reload(State(admin): State<Admin>) -> Response {
    let plugins = admin.plugins.clone();
    match tokio::task::spawn_blocking(move || (plugins.refresh(true), state(&plugins))).await {
        Ok((changed, mut state)) => {
            state["changed"] = json!(changed);
            // What was refused is told in full; the call itself says whether all is well.
            let refused = state["refused"].as_array().is_some_and(|refused| !refused.is_empty());
            (if refused { StatusCode::CONFLICT } else { StatusCode::OK }, Json(state)).into_response()
        }
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "an internal error was logged"),
    }
}

async fn choose(State(admin): State<Admin>, Path(stage): Path<String>, body: Result<Json<ChoiceBody>, JsonRejection>) -> Response {
    let Some(stage) = Stage::ALL.into_iter().find(|known| known.as_str() == stage) else {
        return problem(StatusCode::NOT_FOUND, &format!("there is no stage `{stage}`; allowed: gate, fusion, rerank"));
    };
    let Json(ChoiceBody { plugin, parameters, sha256 }) = match body {
        Ok(body) => body,
        Err(rejection) => return problem(rejection.status(), &rejection.body_text()),
    };
    let plugins = admin.plugins.clone();
    let choice = Choice { stage, plugin, parameters, sha256 };
    match tokio::task::spawn_blocking(move || plugins.choose(choice).map(|()| state(&plugins))).await {
        Ok(Ok(state)) => Json(state).into_response(),
        Ok(Err(error)) => {
            let status = if matches!(error, LoadError::Unknown { .. }) { StatusCode::NOT_FOUND } else { StatusCode::CONFLICT };
            (status, Json(json!({ "error": error.to_string(), "class": error.class() }))).into_response()
        }
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "an internal error was logged"),
    }
}

async fn record(State(admin): State<Admin>, body: Result<Json<RecordRequest>, JsonRejection>) -> Response {
    match body {
        Ok(Json(request)) => match admin.plugins.recorder.start(request) {
            Ok(id) => (StatusCode::CREATED, Json(json!({ "id": id }))).into_response(),
            Err(message) => problem(StatusCode::BAD_REQUEST, &message),
        },
        Err(rejection) => problem(rejection.status(), &rejection.body_text()),
    }
}

async fn recorded(State(admin): State<Admin>, Path(id): Path<u64>, Query(After { after }): Query<After>) -> Response {
    match admin.plugins.recorder.progress(id, after) {
        Some(progress) => Json(progress).into_response(),
        None => problem(StatusCode::NOT_FOUND, &format!("there is no recording {id}; a later one may have taken its place")),
    }
}

async fn stop_recording(State(admin): State<Admin>, Path(id): Path<u64>) -> Response {
    if admin.plugins.recorder.stop(id) {
        StatusCode::NO_CONTENT.into_response()
    } else {
        problem(StatusCode::NOT_FOUND, &format!("there is no recording {id}"))
    }
}
