//! Spans as the core sees them: a handle that ends when it is dropped.
//!
//! One span goes two ways at once: to OpenTelemetry, where sampling and exporters
//! decide about it, and as a line to the ledger of its run, which is complete
//! whatever the sampler said. Parents are passed on explicitly, never looked up.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use opentelemetry::trace::{Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, Tracer as _};
use opentelemetry::{Context, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::{SdkTracer, Span as SdkSpan};
use serde_json::{Map, Value as Json};

use super::conventions::attr;
use super::ledger::{Line, LineKind, RunLedger};
use super::metrics::{Metrics, PluginCallFact};
use crate::types::Stage;

/// A running operation. Cheap to clone: clones are handles of the same span, which
/// ends with [`Span::end`] or when the last handle is dropped, whichever is first.
#[derive(Clone)]
pub struct Span {
    shared: Arc<Shared>,
}

struct Shared {
    sinks: Sinks,
    context: SpanContext,
    parent: Option<SpanContext>,
    name: Cow<'static, str>,
    kind: SpanKind,
    started: Instant,
    started_at: SystemTime,
    state: Mutex<State>,
}

/// Where spans go.
#[derive(Clone)]
pub(super) struct Sinks {
    pub tracer: SdkTracer,
    pub ledger: RunLedger,
    pub metrics: Arc<Metrics>,
    /// Whether sampled spans leave the process.
    pub exporting: bool,
}

struct State {
    otel: SdkSpan,
    attributes: Vec<(Cow<'static, str>, Value)>,
    /// What a plugin set, after which nothing of the host's may be missing.
    foreign: Vec<(Cow<'static, str>, Value)>,
    failure: Option<String>,
    /// Whether this is a stage of the run, of which times are kept.
    is_stage: bool,
    ended: bool,
}

/// Where a root span comes from.
#[derive(Default)]
pub struct Origin {
    /// The caller's span, from request metadata or headers.
    pub parent: Option<SpanContext>,
    /// Further spans this one has to do with.
    pub links: Vec<SpanContext>,
}

impl Span {
    /// The first span of a run.
    pub(super) fn root(sinks: Sinks, name: impl Into<Cow<'static, str>>, kind: SpanKind, origin: Origin) -> Span {
        let links = origin.links.into_iter().map(|context| opentelemetry::trace::Link::new(context, Vec::new(), 0)).collect();
        Span::start(sinks, name.into(), kind, origin.parent, links)
    }

    /// An internal operation below this one, starting now.
    pub fn child(&self, name: impl Into<Cow<'static, str>>) -> Span {
        self.child_of_kind(name, SpanKind::Internal)
    }

    /// A call to something outside of this process, or of another system within it.
    pub fn client(&self, name: impl Into<Cow<'static, str>>) -> Span {
        self.child_of_kind(name, SpanKind::Client)
    }

    fn child_of_kind(&self, name: impl Into<Cow<'static, str>>, kind: SpanKind) -> Span {
        Span::start(self.shared.sinks.clone(), name.into(), kind, Some(self.shared.context.clone()), Vec::new())
    }

    fn start(
        sinks: Sinks,
        name: Cow<'static, str>,
        kind: SpanKind,
        parent: Option<SpanContext>,
        links: Vec<opentelemetry::trace::Link>,
    ) -> Span {
        let (started, started_at) = (Instant::now(), SystemTime::now());
        let parent_context = match &parent {
            Some(parent) => Context::new().with_remote_span_context(parent.clone()),
            None => Context::new(),
        };
        let builder = SpanBuilder::from_name(name.clone()).with_kind(kind.clone()).with_start_time(started_at).with_links(links);
        let otel = sinks.tracer.build_with_context(builder, &parent_context);
        let context = otel.span_context().clone();
        Span {
            shared: Arc::new(Shared {
                sinks,
                context,
                parent,
                name,
                kind,
                started,
                started_at,
                state: Mutex::new(State {
                    otel,
                    attributes: Vec::new(),
                    foreign: Vec::new(),
                    failure: None,
                    is_stage: false,
                    ended: false,
                }),
            }),
        }
    }

    /// Writes down that the span has begun, so that a run cut short shows where it
    /// was. Done for the stages of a run; plugin spans and calls inside a stage
    /// are written when they end.
    pub fn announce(self) -> Span {
        self.state().is_stage = true;
        self.announce_root()
    }

    /// The same for the run itself, whose name is the client's and no label.
    pub(super) fn announce_root(self) -> Span {
        let shared = &self.shared;
        shared.sinks.ledger.write(Line {
            kind: LineKind::SpanStart,
            name: &shared.name,
            at: shared.started_at,
            span: Some(&shared.context),
            parent: shared.parent.as_ref(),
            body: Map::new(),
        });
        self
    }

    /// Sets an attribute; one of the same key is replaced.
    pub fn set(&self, key: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        let mut state = self.state();
        if !state.ended {
            put(&mut state.attributes, key.into(), value.into());
        }
    }

    /// Sets an attribute for a plugin. One that the host sets, before or after, goes
    /// first, also where exporters keep only so many.
    pub fn set_foreign(&self, key: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        let mut state = self.state();
        if !state.ended {
            put(&mut state.foreign, key.into(), value.into());
        }
    }

    /// Adds an event that happens now, to the span and to the ledger.
    pub fn event(&self, name: impl Into<Cow<'static, str>>, attributes: Vec<KeyValue>) {
        let name = name.into();
        let mut state = self.state();
        if state.ended {
            return;
        }
        let mut body = Map::new();
        body.insert("attributes".into(), attributes_json(attributes.iter().map(|kv| (kv.key.as_str(), &kv.value))));
        state.otel.add_event(name.clone(), attributes);
        drop(state);
        self.shared.sinks.ledger.write(Line {
            kind: LineKind::Event,
            name: &name,
            at: SystemTime::now(),
            span: Some(&self.shared.context),
            parent: None,
            body,
        });
    }

    /// Sets the status to error. `error_type` is a low-cardinality class.
    pub fn fail(&self, error_type: &str, message: &str) {
        self.set(attr::ERROR_TYPE, error_type.to_owned());
        let mut state = self.state();
        if !state.ended {
            state.otel.set_status(Status::error(message.to_owned()));
            state.failure = Some(message.to_owned());
        }
    }

    /// Counts a plugin call.
    pub fn plugin_called(&self, fact: &PluginCallFact) {
        self.shared.sinks.metrics.plugin_called(fact);
    }

    /// Counts that a plugin was taken out.
    pub fn plugin_quarantined(&self, stage: Stage, name: &str) {
        self.shared.sinks.metrics.plugin_quarantined(stage, name);
    }

    /// Counts a plugin that was loaded while serving, or refused.
    pub fn plugin_loaded(&self, outcome: &'static str) {
        self.shared.sinks.metrics.plugin_loaded(outcome);
    }

    /// The ids, for propagation.
    pub fn context(&self) -> &SpanContext {
        &self.shared.context
    }

    /// Whether anybody keeps this span: an exporter or the run's ledger.
    pub fn is_recorded(&self) -> bool {
        (self.shared.context.is_sampled() && self.shared.sinks.exporting) || self.shared.sinks.ledger.is_on()
    }

    /// Whether both are handles of one span.
    pub fn is_same(&self, other: &Span) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Time since the span began.
    pub fn elapsed(&self) -> std::time::Duration {
        self.shared.started.elapsed()
    }

    /// Ends the span now.
    pub fn end(&self) {
        self.shared.finish();
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        lock(&self.shared.state)
    }
}

impl Shared {
    fn finish(&self) {
        let mut state = lock(&self.state);
        if state.ended {
            return;
        }
        state.ended = true;
        let State { attributes, foreign, .. } = &mut *state;
        foreign.retain(|(key, _)| attributes.iter().all(|(known, _)| known != key));
        attributes.append(foreign);
        let all: Vec<KeyValue> = attributes.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())).collect();
        state.otel.set_attributes(all);
        let duration = self.started.elapsed();
        // The wall clock may be set meanwhile: the end is start plus measured time.
        state.otel.end_with_timestamp(self.started_at + duration);
        // The first span's name holds what the client wrote, and has metrics of its own.
        if state.is_stage && self.kind != SpanKind::Server {
            self.sinks.metrics.stage_finished(&self.name, duration.as_secs_f64());
        }
        let mut body = Map::new();
        body.insert("kind".into(), Json::from(kind_name(&self.kind)));
        body.insert("duration_us".into(), Json::from(duration.as_micros() as u64));
        body.insert("status".into(), Json::from(if state.failure.is_some() { "error" } else { "ok" }));
        if let Some(failure) = &state.failure {
            body.insert("error".into(), Json::from(failure.clone()));
        }
        body.insert("attributes".into(), attributes_json(state.attributes.iter().map(|(key, value)| (&**key, value))));
        self.sinks.ledger.write(Line {
            kind: LineKind::Span,
            name: &self.name,
            at: self.started_at,
            span: Some(&self.context),
            parent: self.parent.as_ref(),
            body,
        });
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.finish();
    }
}

fn put(attributes: &mut Vec<(Cow<'static, str>, Value)>, key: Cow<'static, str>, value: Value) {
    match attributes.iter_mut().find(|(known, _)| *known == key) {
        Some((_, slot)) => *slot = value,
        None => attributes.push((key, value)),
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    // A panic while the lock was held leaves the state readable; telemetry goes on.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kind_name(kind: &SpanKind) -> &'static str {
    match kind {
        SpanKind::Client => "client",
        SpanKind::Server => "server",
        SpanKind::Producer => "producer",
        SpanKind::Consumer => "consumer",
        SpanKind::Internal => "internal",
    }
}

fn attributes_json<'a>(attributes: impl Iterator<Item = (&'a str, &'a Value)>) -> Json {
    Json::Object(attributes.map(|(key, value)| (key.to_owned(), value_json(value))).collect())
}

fn value_json(value: &Value) -> Json {
    match value {
        Value::Bool(value) => Json::from(*value),
        Value::I64(value) => Json::from(*value),
        // Numbers that JSON can't hold are written as text.
        Value::F64(value) if value.is_finite() => Json::from(*value),
        Value::String(value) => Json::from(value.as_str()),
        other => Json::from(other.to_string()),
    }
}

/// A list as one attribute value, in the order given.
pub fn texts<I, S>(items: I) -> Value
where
    I: IntoIterator<Item = S>,
    S: Into<StringValue>,
{
    Value::String(items.into_iter().map(|item| item.into().as_str().to_owned()).collect::<Vec<_>>().join(", ").into())
}
