//! A tool call between the moment its run is opened and the moment it is finished.
//!
//! The run begins in the HTTP layer, before the message reaches the protocol library:
//! a response may start to stream before the tool has started, and its headers carry
//! the run's ids. The tool then takes the run over. Whatever becomes of the call, the
//! run is finished exactly once.

use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::trace::SpanContext;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use serde_json::Value as Json;

use crate::telemetry::{self, Run};

/// Why a run is cancelled. The protocol library tells both in one way.
pub(super) const LEFT: &str = "the client cancelled the call or went away";

/// What a client is told to find a call again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// A UUID.
    pub run_id: String,
    /// The W3C header of the span that answered.
    pub traceparent: String,
}

impl Ids {
    /// The ids of a recorded run.
    pub fn of(run: &Run) -> Ids {
        Ids { trace_id: run.trace_id(), run_id: run.id.clone(), traceparent: telemetry::traceparent(run.root.context()) }
    }

    /// The ids of a span that belongs to no run; its run id is new and has no ledger.
    pub fn of_span(context: &SpanContext) -> Ids {
        Ids {
            trace_id: context.trace_id().to_string(),
            run_id: uuid::Uuid::now_v7().to_string(),
            traceparent: telemetry::traceparent(context),
        }
    }

    /// Ids for a response behind which nothing was recorded: within the caller's
    /// trace when there is one, and never marked as sampled.
    pub fn minted(parent: Option<&SpanContext>) -> Ids {
        let generator = RandomIdGenerator::default();
        let trace_id = parent.map_or_else(|| generator.new_trace_id(), SpanContext::trace_id);
        let traceparent = format!("00-{trace_id}-{}-00", generator.new_span_id());
        Ids { trace_id: trace_id.to_string(), run_id: uuid::Uuid::now_v7().to_string(), traceparent }
    }
}

/// Carries a call's run from the HTTP layer to the tool, in the request's extensions.
///
/// When the last clone is dropped and no tool took the run (the message was refused
/// in between), the run is finished as an error of class `refused`.
#[derive(Clone)]
pub struct CallSlot {
    waiting: Arc<Mutex<Option<OpenRun>>>,
}

impl CallSlot {
    /// A slot that holds `run`.
    pub fn new(run: Run) -> CallSlot {
        CallSlot { waiting: Arc::new(Mutex::new(Some(OpenRun { run: Some(run), abandoned: Abandoned::Refused }))) }
    }

    /// The run, for the one who answers the call; `None` the second time.
    pub(super) fn take(&self) -> Option<OpenRun> {
        let mut open = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        open.abandoned = Abandoned::Cancelled;
        Some(open)
    }

    /// Finishes the run as an error when no tool has taken it.
    pub fn refuse(&self, class: &str, message: &str) {
        if let Some(open) = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take() {
            open.finish_error(class, message);
        }
    }
}

/// What it means when a run is dropped.
#[derive(Clone, Copy)]
enum Abandoned {
    Refused,
    Cancelled,
}

/// A run that is being answered. Dropping it finishes the run as `cancelled`.
pub(super) struct OpenRun {
    /// `None` only while `self` is being consumed.
    run: Option<Run>,
    abandoned: Abandoned,
}

impl OpenRun {
    /// A run that did not come through HTTP.
    pub(super) fn new(run: Run) -> OpenRun {
        OpenRun { run: Some(run), abandoned: Abandoned::Cancelled }
    }

    pub(super) fn run(&self) -> &Run {
        self.run.as_ref().expect("the run is there until finish or drop, which consume self")
    }

    /// Ends the run well. `outcome` is what a report needs.
    pub(super) fn finish_ok(mut self, outcome: Json) {
        if let Some(run) = self.run.take() {
            run.succeed(outcome);
        }
    }

    /// Ends the run without an answer: nobody waits for it any more.
    pub(super) fn finish_cancelled(mut self, why: &str) {
        if let Some(run) = self.run.take() {
            run.cancel(why);
        }
    }

    /// Ends the run as failed.
    pub(super) fn finish_error(mut self, class: &str, message: &str) {
        if let Some(run) = self.run.take() {
            run.fail(class, message);
        }
    }
}

impl Drop for OpenRun {
    fn drop(&mut self) {
        let Some(run) = self.run.take() else { return };
        match self.abandoned {
            Abandoned::Cancelled => run.cancel(LEFT),
            Abandoned::Refused => run.fail("refused", "the message was refused before it reached the tool"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minted_ids_stay_in_the_callers_trace_and_are_valid() {
        let parent = telemetry::parse_trace_context("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None).unwrap();
        let ids = Ids::minted(Some(&parent));
        assert_eq!(ids.trace_id, "0af7651916cd43dd8448eb211c80319c");
        let context = telemetry::parse_trace_context(&ids.traceparent, None).unwrap();
        assert_ne!(context.span_id(), parent.span_id());
        assert!(!context.is_sampled());
        assert_ne!(Ids::minted(None), Ids::minted(None));
    }
}
