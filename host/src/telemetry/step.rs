//! What a stage came to, as one event.
//!
//! A step event has three destinations at once: the span it belongs to, the ledger of
//! the run, and the store behind the report endpoints (which the ledger's writer
//! fills). Stages emit one when they end; what is left out emits one that says why.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::KeyValue;

use super::conventions::attr;

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepStatus {
    Ok,
    Failed,
    /// It was not needed, or not possible; the detail says which.
    Skipped,
}

impl StepStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            StepStatus::Ok => "ok",
            StepStatus::Failed => "failed",
            StepStatus::Skipped => "skipped",
        }
    }
}

/// One step of a run.
#[derive(Clone, Debug)]
pub struct StepEvent {
    /// The stage, by the name of its span; with `.error` appended when it failed.
    pub kind: Cow<'static, str>,
    pub status: StepStatus,
    /// When it began.
    pub at: SystemTime,
    /// `None` for what was skipped.
    pub duration: Option<Duration>,
    /// Why it failed or was skipped.
    pub detail: Option<String>,
    /// Sizes, and the identifiers of what was used: paths, the index generation, the
    /// model, the plugin's digest.
    pub attributes: Arc<[KeyValue]>,
}

impl StepEvent {
    /// A stage that ended.
    pub fn ended(stage: Cow<'static, str>, at: SystemTime, duration: Duration, failure: Option<&str>, attributes: Arc<[KeyValue]>) -> Self {
        let (kind, status) = match failure {
            None => (stage, StepStatus::Ok),
            Some(_) => (Cow::Owned(format!("{stage}.error")), StepStatus::Failed),
        };
        StepEvent { kind, status, at, duration: Some(duration), detail: failure.map(str::to_owned), attributes }
    }

    /// A stage that was left out.
    pub fn skipped(stage: &'static str, reason: impl Into<String>) -> Self {
        StepEvent {
            kind: stage.into(),
            status: StepStatus::Skipped,
            at: SystemTime::now(),
            duration: None,
            detail: Some(reason.into()),
            attributes: Arc::from([]),
        }
    }

    /// The event as a span holds it: without the attributes, which are the span's own.
    pub(super) fn on_span(&self) -> Vec<KeyValue> {
        let mut all = vec![KeyValue::new(attr::STEP_STATUS, self.status.as_str())];
        if let Some(duration) = self.duration {
            all.push(KeyValue::new(attr::STEP_DURATION_US, duration.as_micros() as i64));
        }
        if let Some(detail) = &self.detail {
            all.push(KeyValue::new(attr::STEP_DETAIL, detail.clone()));
        }
        all
    }
}
