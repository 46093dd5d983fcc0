//! Run reports over HTTP, for operators.
//!
//! | `GET` | gives the report of |
//! | --- | --- |
//! | `/reports/{run_id}` | a run; `.json` and `.md` behind the id choose the form |
//! | `/observability/run_report/{id}` | a run, or the newest run of a trace |
//! | `/observability/run_report?run_id=` or `?trace_id=` | the same, with a name for the id |
//! | `/admin/index/observability/run/{run_id}/report` | a run |
//! | `/reports/schema.json` | no run: the JSON Schema of reports |
//! | `/reports/experiments/{id}` | an experiment; `.json`, `.md` and `.html` behind the id choose the form |
//!
//! JSON or Markdown, of experiments also HTML, by the ending or by `Accept`. When a trace has several runs, the
//! header `X-Trace-Runs` names the others, newest first.

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, VARY};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::accept;
use super::door::{Door, admit, problem};
use super::guard::Refused;
use crate::experiments::report::{self as experiment, Report as ExperimentReport};
use crate::mcp::SearchService;
use crate::reports::{self, ReportKey, Reported, cut};
use crate::request::RequestError;

/// Reports composed at once: each reads a whole ledger.
const COMPOSING_MAX: usize = 4;
/// Bytes of an answer. Ledgers are bounded too; this is for a run of many thousand spans.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Other runs of a trace that the header names: headers have to stay below 8 KiB.
const TRACE_RUNS_MAX: usize = 100;
/// Characters of a foreign header that an error repeats.
const SHOWN_CHARS_MAX: usize = 200;

const JSON: &str = "application/json";
const MARKDOWN: &str = "text/markdown";
const TEXT: &str = "text/plain";
const HTML: &str = "text/html";

/// What these endpoints share.
#[derive(Clone)]
struct Reports {
    service: Arc<dyn SearchService>,
    composing: Arc<Semaphore>,
}

/// An id under its name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    run_id: Option<String>,
    trace_id: Option<String>,
}

pub(super) fn router(service: Arc<dyn SearchService>, door: Arc<Door>) -> Router {
    Router::new()
        .route("/reports/schema.json", get(schema))
        .route("/reports/{run_id}", get(by_file_name))
        .route("/reports/experiments/{id}", get(experiment))
        .route("/observability/run_report", get(by_name))
        .route("/observability/run_report/{id}", get(by_id))
        .route("/admin/index/observability/run/{run_id}/report", get(by_run))
        .layer(middleware::from_fn_with_state(door, admit))
        .with_state(Reports { service, composing: Arc::new(Semaphore::new(COMPOSING_MAX)) })
}

async fn schema() -> Response {
    ([(CONTENT_TYPE, "application/schema+json")], reports::schema().to_string()).into_response()
}

async fn experiment(State(reports): State<Reports>, name: Result<Path<String>, PathRejection>, headers: HeaderMap) -> Response {
    let name = match path(name) {
        Ok(name) => name,
        Err(refused) => return problem(refused.status, &refused.message),
    };
    let (id, kind) = match name.rsplit_once('.') {
        Some((id, "json")) => (id, Ok(JSON)),
        Some((id, "md")) => (id, Ok(MARKDOWN)),
        Some((id, "html")) => (id, Ok(HTML)),
        _ => (name.as_str(), accepted(&headers, &[JSON, MARKDOWN, TEXT, HTML])),
    };
    reports.give(kind, reports.service.experiment_report(None, id.to_owned()), write_experiment).await
}

fn write_experiment(report: &ExperimentReport, kind: &'static str) -> Response {
    let mut response = match kind {
        JSON => Json(report).into_response(),
        HTML => ([(CONTENT_TYPE, "text/html; charset=utf-8")], experiment::html(report)).into_response(),
        kind => ([(CONTENT_TYPE, format!("{kind}; charset=utf-8"))], experiment::markdown(report)).into_response(),
    };
    of_this_moment(&mut response);
    response
}

/// Says that there is another report a moment later, and in other forms.
fn of_this_moment(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("accept"));
}

async fn by_id(State(reports): State<Reports>, id: Result<Path<String>, PathRejection>, headers: HeaderMap) -> Response {
    let key = path(id).and_then(|id| Ok(ReportKey::of(&id)?));
    reports.answer(key, kind(&headers)).await
}

async fn by_run(State(reports): State<Reports>, id: Result<Path<String>, PathRejection>, headers: HeaderMap) -> Response {
    let key = path(id).and_then(|id| Ok(ReportKey::run(&id)?));
    reports.answer(key, kind(&headers)).await
}

async fn by_file_name(State(reports): State<Reports>, name: Result<Path<String>, PathRejection>, headers: HeaderMap) -> Response {
    let name = match path(name) {
        Ok(name) => name,
        Err(refused) => return problem(refused.status, &refused.message),
    };
    let (id, kind) = match name.rsplit_once('.') {
        Some((id, "json")) => (id, Ok(JSON)),
        Some((id, "md")) => (id, Ok(MARKDOWN)),
        _ => (name.as_str(), kind(&headers)),
    };
    reports.answer(ReportKey::run(id).map_err(Refused::from), kind).await
}

async fn by_name(State(reports): State<Reports>, named: Result<Query<Named>, QueryRejection>, headers: HeaderMap) -> Response {
    let bad = |message: String| Err(Refused { status: StatusCode::BAD_REQUEST, message });
    let key = match named {
        Ok(Query(Named { run_id: Some(id), trace_id: None })) => ReportKey::run(&id).map_err(Refused::from),
        Ok(Query(Named { run_id: None, trace_id: Some(id) })) => ReportKey::trace(&id).map_err(Refused::from),
        Ok(_) => bad("the query has not one id; allowed: either `run_id` or `trace_id`".into()),
        Err(rejection) => bad(format!("the query can't be read ({}); allowed: `run_id` or `trace_id`", rejection.body_text())),
    };
    reports.answer(key, kind(&headers)).await
}

impl Reports {
    async fn answer(&self, key: Result<ReportKey, Refused>, kind: Result<&'static str, Refused>) -> Response {
        match key {
            Ok(key) => self.give(kind, self.service.run_report(None, key), write).await,
            Err(refused) => problem(refused.status, &refused.message),
        }
    }

    /// A report in the form that is wanted, unless too many are being composed.
    async fn give<T: Send + 'static>(
        &self,
        kind: Result<&'static str, Refused>,
        reported: impl Future<Output = Result<T, RequestError>>,
        write: fn(&T, &'static str) -> Response,
    ) -> Response {
        let kind = match kind {
            Ok(kind) => kind,
            Err(refused) => return problem(refused.status, &refused.message),
        };
        let Ok(permit) = self.composing.clone().try_acquire_owned() else { return busy() };
        let reported = match reported.await {
            Ok(reported) => reported,
            Err(error) => {
                let Refused { status, message } = error.into();
                return problem(status, &message);
            }
        };
        // Writing a long report takes its time too.
        let written = tokio::task::spawn_blocking(move || {
            let _held = permit;
            write(&reported, kind)
        });
        written.await.unwrap_or_else(|_| problem(StatusCode::INTERNAL_SERVER_ERROR, "an internal error was logged"))
    }
}

fn busy() -> Response {
    let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, &format!("{COMPOSING_MAX} reports are being composed; try again"));
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn write(reported: &Reported, kind: &'static str) -> Response {
    let mut response = if kind == JSON {
        match serde_json::to_value(reported) {
            Ok(mut json) => {
                cut::json(&mut json, ANSWER_BYTES_MAX);
                Json(json).into_response()
            }
            Err(error) => return problem(StatusCode::INTERNAL_SERVER_ERROR, &format!("the report can't be written as JSON: {error}")),
        }
    } else {
        let kind = format!("{kind}; charset=utf-8");
        ([(CONTENT_TYPE, kind)], cut::text(reported.markdown(), ANSWER_BYTES_MAX)).into_response()
    };
    of_this_moment(&mut response);
    let others: Vec<&str> = reported.trace_runs.iter().take(TRACE_RUNS_MAX).map(String::as_str).collect();
    if let Some(others) = (!others.is_empty()).then(|| HeaderValue::from_str(&others.join(", ")).ok()).flatten() {
        response.headers_mut().insert(HeaderName::from_static("x-trace-runs"), others);
    }
    response
}

fn kind(headers: &HeaderMap) -> Result<&'static str, Refused> {
    accepted(headers, &[JSON, MARKDOWN, TEXT])
}

fn accepted(headers: &HeaderMap, offered: &[&'static str]) -> Result<&'static str, Refused> {
    accept::best(headers, offered).ok_or_else(|| {
        let given = headers.get(ACCEPT).map(|value| String::from_utf8_lossy(value.as_bytes()).chars().take(SHOWN_CHARS_MAX).collect());
        let given: String = given.unwrap_or_default();
        Refused { status: StatusCode::NOT_ACCEPTABLE, message: format!("`Accept` is `{given}`; allowed: {}", offered.join(", ")) }
    })
}

fn path(id: Result<Path<String>, PathRejection>) -> Result<String, Refused> {
    id.map(|Path(id)| id).map_err(|rejection| Refused {
        status: StatusCode::BAD_REQUEST,
        message: format!("the id in the path can't be read: {}; allowed: letters, digits, `-` and `_`", rejection.body_text()),
    })
}

impl From<RequestError> for Refused {
    fn from(error: RequestError) -> Refused {
        let status = match &error {
            RequestError::Invalid(_) => StatusCode::BAD_REQUEST,
            RequestError::NotFound(_) => StatusCode::NOT_FOUND,
            RequestError::Unavailable(_) | RequestError::Git { .. } => StatusCode::SERVICE_UNAVAILABLE,
        };
        Refused { status, message: error.to_string() }
    }
}
