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

use super::conventions::attr;
use super::facts::Fact;
use super::ledger::RunLedger;
use super::line::{Body, Line, LineKind};
use super::metrics::Metrics;
use super::propagation::Outgoing;
use super::redact::Redactor;
use super::step::StepEvent;

/// Bytes of a failure's message. Longer ones quote what somebody sent.
const MESSAGE_BYTES_MAX: usize = 4_096;
/// Attributes of the host that may hold what a caller or a plugin wrote. All others
/// are identifiers and numbers, which have to stay what they are.
const PROSE: [&str; 4] = [attr::QUERY_TEXT, attr::WARNINGS, attr::REASONS, attr::CLASS];
/// Attributes of events that are identifiers.
const IDENTIFIERS: [&str; 8] =
    [attr::PART, attr::CAUSE, attr::INSTEAD, attr::CHANNEL, attr::CHANNEL_DEPTHS, attr::ERROR_TYPE, "limit", "level"];

/// A running operation. Cheap to clone: clones are handles of the same span, which
/// ends with [`Span::end`] or when the last handle is dropped, whichever is first.
#[derive(Clone)]
pub struct Span {
    shared: Arc<Shared>,
}

struct Shared {
    sinks: Arc<Sinks>,
    context: SpanContext,
    parent: Option<SpanContext>,
    name: Cow<'static, str>,
    kind: SpanKind,
    started: Instant,
    started_at: SystemTime,
    state: Mutex<State>,
}

/// Where the spans of a run go.
pub(super) struct Sinks {
    pub tracer: SdkTracer,
    pub ledger: RunLedger,
    pub metrics: Arc<Metrics>,
    /// Whether sampled spans leave the process.
    pub exporting: bool,
    /// What requests to others carry.
    pub outgoing: Outgoing,
    /// What may not be written down.
    pub redactor: Redactor,
}

struct State {
    otel: SdkSpan,
    attributes: Vec<(Cow<'static, str>, Value)>,
    /// What a plugin set, after which nothing of the host's may be missing.
    foreign: Vec<(Cow<'static, str>, Value)>,
    links: Vec<SpanContext>,
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
    pub(super) fn root(sinks: Arc<Sinks>, name: impl Into<Cow<'static, str>>, kind: SpanKind, origin: Origin) -> Span {
        Span::start(sinks, name.into(), kind, origin.parent, origin.links)
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
        Span::start(self.shared.sinks.clone(), self.named(name.into()), kind, Some(self.shared.context.clone()), Vec::new())
    }

    fn start(sinks: Arc<Sinks>, name: Cow<'static, str>, kind: SpanKind, parent: Option<SpanContext>, links: Vec<SpanContext>) -> Span {
        let (started, started_at) = (Instant::now(), SystemTime::now());
        let parent_context = match &parent {
            Some(parent) => Context::new().with_remote_span_context(parent.clone()),
            None => Context::new(),
        };
        let linked = links.iter().map(|context| opentelemetry::trace::Link::new(context.clone(), Vec::new(), 0)).collect();
        let builder = SpanBuilder::from_name(name.clone()).with_kind(kind.clone()).with_start_time(started_at).with_links(linked);
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
                    links,
                    failure: None,
                    is_stage: false,
                    ended: false,
                }),
            }),
        }
    }

    /// Makes the span a stage of its run. Its beginning is written down, so that a run
    /// cut short shows where it was; it is ended with [`Span::end`], and when it is only
    /// dropped it counts as given up. Plugin spans and calls inside a stage are written
    /// when they end.
    pub fn announce(self) -> Span {
        self.state().is_stage = true;
        self.announce_root()
    }

    /// The same for the run itself, whose name is the client's and no label.
    pub(super) fn announce_root(self) -> Span {
        let shared = &self.shared;
        shared.write(LineKind::SpanStart, shared.name.clone(), shared.started_at, Body::None);
        self
    }

    /// Sets an attribute; one of the same key is replaced.
    pub fn set(&self, key: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        let (key, mut value) = (key.into(), value.into());
        if PROSE.contains(&&*key) {
            value = self.shared.sinks.redactor.value(value);
        }
        let mut state = self.state();
        if !state.ended {
            put(&mut state.attributes, key, value);
        }
    }

    /// Sets an attribute for a plugin. One that the host sets, before or after, goes
    /// first, also where exporters keep only so many.
    pub fn set_foreign(&self, key: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        let mut state = self.state();
        if !state.ended {
            let value = self.shared.sinks.redactor.value(value.into());
            put(&mut state.foreign, key.into(), value);
        }
    }

    /// Adds an event that happens now, to the span and to the ledger.
    pub fn event(&self, name: impl Into<Cow<'static, str>>, attributes: Vec<KeyValue>) {
        let name = self.named(name.into());
        let redactor = &self.shared.sinks.redactor;
        let clean = |pair: KeyValue| {
            if IDENTIFIERS.contains(&pair.key.as_str()) { pair } else { KeyValue::new(pair.key, redactor.value(pair.value)) }
        };
        let attributes: Vec<KeyValue> = attributes.into_iter().map(clean).collect();
        let mut state = self.state();
        if state.ended {
            return;
        }
        if self.shared.leaves() {
            state.otel.add_event(name.clone(), attributes.clone());
        }
        drop(state);
        if self.shared.sinks.ledger.is_on() {
            self.shared.write(LineKind::Event, name, SystemTime::now(), Body::Attributes(attributes));
        }
    }

    /// Says that a stage below this one is left out, and why.
    pub fn skip(&self, stage: &'static str, reason: &str) {
        let step = StepEvent::skipped(stage, reason);
        let mut state = self.state();
        if !state.ended {
            self.shared.step(&mut state, step);
        }
    }

    /// Links another span: its work went into this one's.
    pub fn link(&self, other: &SpanContext) {
        let mut state = self.state();
        if !state.ended {
            state.otel.add_link(other.clone(), Vec::new());
            state.links.push(other.clone());
        }
    }

    /// Sets the status to error. `error_type` is a low-cardinality class.
    pub fn fail(&self, error_type: &str, message: &str) {
        self.set(attr::ERROR_TYPE, error_type.to_owned());
        let message = self.redacted(shortened(message, MESSAGE_BYTES_MAX).to_owned());
        let mut state = self.state();
        if !state.ended {
            state.otel.set_status(Status::error(message.clone()));
            state.failure = Some(message);
        }
    }

    /// A text without what of the run may not be written down.
    pub fn redacted(&self, text: String) -> String {
        self.shared.sinks.redactor.text(&text).unwrap_or(text)
    }

    /// Names that plugins make up are texts like others.
    fn named(&self, name: Cow<'static, str>) -> Cow<'static, str> {
        match name {
            Cow::Owned(name) => Cow::Owned(self.redacted(name)),
            known => known,
        }
    }

    /// Moves the meters.
    pub fn record(&self, fact: &Fact) {
        self.shared.sinks.metrics.record(fact);
    }

    /// Headers for a request that is made within this span.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        self.shared.sinks.outgoing.headers(&self.shared.context)
    }

    /// The ids, for propagation.
    pub fn context(&self) -> &SpanContext {
        &self.shared.context
    }

    /// Whether anybody keeps this span: an exporter or the run's ledger.
    pub fn is_recorded(&self) -> bool {
        self.shared.leaves() || self.shared.sinks.ledger.is_on()
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
    /// Whether an exporter takes this span.
    fn leaves(&self) -> bool {
        self.context.is_sampled() && self.sinks.exporting
    }

    fn write(&self, kind: LineKind, name: Cow<'static, str>, at: SystemTime, body: Body) {
        let parent = match kind {
            LineKind::SpanStart | LineKind::Span => self.parent.as_ref().map(SpanContext::span_id),
            _ => None,
        };
        self.sinks.ledger.write(Line { kind, name, at, span: Some(self.context.clone()), parent, body });
    }

    fn step(&self, state: &mut State, step: StepEvent) {
        if self.leaves() {
            state.otel.add_event(step.kind.clone(), step.on_span());
        }
        if self.sinks.ledger.is_on() {
            self.write(LineKind::Step, step.kind.clone(), step.at, Body::Step(step));
        }
    }

    /// Whoever runs a stage ends it: one that is only dropped was left in the middle.
    fn give_up(&self) {
        let mut state = lock(&self.state);
        if !state.is_stage || state.ended || state.failure.is_some() || self.kind == SpanKind::Server {
            return;
        }
        let (class, message) =
            if std::thread::panicking() { ("panic", "panicked before it was done") } else { ("cancelled", "given up before it was done") };
        put(&mut state.attributes, attr::ERROR_TYPE.into(), class.into());
        state.otel.set_status(Status::error(message));
        state.failure = Some(message.into());
    }

    fn finish(&self) {
        let mut state = lock(&self.state);
        if state.ended {
            return;
        }
        let duration = self.started.elapsed();
        let is_step = state.is_stage && self.kind != SpanKind::Server;
        if is_step {
            // The first span's name holds what the client wrote, and has metrics of its own.
            self.sinks.metrics.stage_finished(&self.name, duration.as_secs_f64());
        }
        let recorded = self.leaves() || self.sinks.ledger.is_on();
        if !recorded {
            state.ended = true;
            return;
        }
        let State { attributes, foreign, .. } = &mut *state;
        foreign.retain(|(key, _)| attributes.iter().all(|(known, _)| known != key));
        attributes.append(foreign);
        // Shared by the lines of the step and of the span.
        let all: Arc<[KeyValue]> = attributes.drain(..).map(|(key, value)| KeyValue::new(key, value)).collect();
        let failure = state.failure.take();
        if is_step {
            let step = StepEvent::ended(self.name.clone(), self.started_at, duration, failure.as_deref(), all.clone());
            self.step(&mut state, step);
        }
        state.ended = true;
        if self.leaves() {
            state.otel.set_attributes(all.iter().cloned());
            // The wall clock may be set meanwhile: the end is start plus measured time.
            state.otel.end_with_timestamp(self.started_at + duration);
        }
        if self.sinks.ledger.is_on() {
            let links = std::mem::take(&mut state.links);
            let body = Body::Span { kind: self.kind.clone(), duration, failure, attributes: all, links };
            self.write(LineKind::Span, self.name.clone(), self.started_at, body);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.give_up();
        self.finish();
    }
}

/// A text of at most so many bytes.
pub(super) fn shortened(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Ends a stage as given up when it is dropped before the stage has ended: a thread that
/// works for the stage may hold it for longer.
pub struct GivenUp(pub Span);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.shared.give_up();
        self.0.end();
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

/// A list as one attribute value, in the order given.
pub fn texts<I, S>(items: I) -> Value
where
    I: IntoIterator<Item = S>,
    S: Into<StringValue>,
{
    Value::String(items.into_iter().map(|item| item.into().as_str().to_owned()).collect::<Vec<_>>().join(", ").into())
}
