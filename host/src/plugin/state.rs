//! The host side of a plugin's imports: spans, logs, explanations, evidence, documents,
//! scores.
//!
//! Everything a call may touch is in its [`CallState`], made before the guest runs
//! and taken away after, so nothing of one call can reach the next.

use std::time::{Duration, Instant};

use opentelemetry::{Key, KeyValue, Value};
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::bindings::{documents, evidence, explain, log, scoring, telemetry, types};
use super::documents::DocumentRows;
use super::evidence::Evidence;
use super::failure::Cause;
use super::grants::{Capability, Grants};
use super::limits::{Limiter, PluginLimits};
use super::report::{CallReport, GuestSpanFact};
use super::scoring::{Scoring, ScoringModel};
use crate::evidence::Found;
use crate::index::catalog::ChunkRow;
use crate::telemetry::Span;
use crate::telemetry::conventions::{attr, event, span};

/// Parts of a score that an explanation may name.
const PARTS_MAX: usize = 64;

/// The stage span's name in what is observed of a call.
pub const OBSERVED_STAGE: &str = "stage";

/// The data of a store: one instance's view of the host.
pub struct HostState {
    wasi: WasiCtx,
    table: ResourceTable,
    pub limiter: Limiter,
    grants: Grants,
    call: Option<CallState>,
}

/// A span as a guest holds it. Over the limit of spans it is a dead handle.
pub struct GuestSpan {
    span: Option<Span>,
    /// Its place in the observation of the call, when there is one.
    observed: Option<usize>,
}

/// What one call may use and has used.
pub struct CallState {
    stage: Span,
    /// Children that are open, oldest first: host work belongs to the last.
    open: Vec<(u32, Span)>,
    context: CallContext,
    left: Left,
    report: CallReport,
}

/// What a call may ask the host about.
#[derive(Default)]
pub struct CallContext {
    pub documents: Option<DocumentRows>,
    pub evidence: Evidence,
    pub scores: Option<Scoring>,
    /// Rows that `explain.parts` has to tell of; `None` where it may not be used.
    pub rows: Option<usize>,
    /// Whether the client asked why.
    pub explain: bool,
    /// Whether the spans of the guest are kept for the report.
    pub observe: bool,
    /// When the call is over.
    pub deadline: Option<Instant>,
}

struct Left {
    spans: u32,
    attributes: u32,
    events: u32,
    bytes: usize,
    log_lines: u32,
}

/// A guest asked for something that it has no right to.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    cause: Cause,
    message: String,
}

impl Refused {
    fn contract(message: String) -> Refused {
        Refused { cause: Cause::Contract, message }
    }

    /// For guests that sleep or poll.
    pub fn waiting() -> Refused {
        Refused::contract("a plugin can't wait".into())
    }

    fn denied(capability: &Capability) -> Refused {
        let message = format!(
            "`{capability}` is not granted to this plugin; allow it with `grants = [\"{capability}\"]` beside it in the configuration"
        );
        Refused { cause: Cause::Denied, message }
    }

    pub fn cause(&self) -> Cause {
        self.cause
    }
}

impl HostState {
    pub fn new(limits: &PluginLimits, grants: &Grants) -> HostState {
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles_max);
        HostState { wasi: grants.wasi(), table, limiter: Limiter::new(limits), grants: grants.clone(), call: None }
    }

    /// Begins a call; returns the handle of the stage span to lend to the guest.
    pub fn begin(&mut self, limits: &PluginLimits, stage: &Span, context: CallContext) -> wasmtime::Result<Resource<GuestSpan>> {
        let mut report = CallReport::default();
        if context.observe {
            report.spans.push(GuestSpanFact { name: OBSERVED_STAGE.into(), ..GuestSpanFact::default() });
        }
        let own = self.table.push(GuestSpan { span: Some(stage.clone()), observed: context.observe.then_some(0) })?;
        self.call = Some(CallState {
            stage: stage.clone(),
            open: Vec::new(),
            context,
            left: Left {
                spans: limits.spans_max,
                attributes: limits.attributes_max,
                events: limits.events_max,
                bytes: limits.telemetry_bytes_max,
                log_lines: limits.log_lines_max,
            },
            report,
        });
        Ok(own)
    }

    /// Ends a call: takes the stage span back and ends the children that are still
    /// open, as failed when `failure` says why the guest did not finish. Returns what
    /// the guest did on the side.
    pub fn end(&mut self, stage: Resource<GuestSpan>, failure: Option<(&str, &str)>) -> CallReport {
        // A missing entry would mean that the guest dropped a borrowed handle, which
        // the component model doesn't let it.
        let _ = self.table.delete(stage);
        let Some(call) = self.call.take() else { return CallReport::default() };
        for (rep, span) in call.open.into_iter().rev() {
            if let Some((class, message)) = failure {
                span.fail(class, message);
            }
            span.end();
            // After a trap the store is dropped with its table; after a normal call
            // the guest may still hold the handle, which is dead from here on.
            if let Ok(guest) = self.table.get_mut(&Resource::<GuestSpan>::new_borrow(rep)) {
                guest.span = None;
            }
        }
        call.report
    }

    fn call(&mut self) -> wasmtime::Result<&mut CallState> {
        self.call
            .as_mut()
            .ok_or_else(|| wasmtime::Error::from(Refused::contract("this import can't be used outside of a stage call".into())))
    }

    /// The innermost span that is open, for host work done for the guest.
    fn current_span(&mut self) -> wasmtime::Result<Span> {
        let call = self.call()?;
        Ok(call.open.last().map_or(&call.stage, |(_, span)| span).clone())
    }

    /// The call of a telemetry function, which is counted.
    fn telemetry_call(&mut self) -> wasmtime::Result<&mut CallState> {
        let call = self.call()?;
        call.report.telemetry_calls += 1;
        Ok(call)
    }

    fn granted(&self, capability: Capability) -> wasmtime::Result<()> {
        if self.grants.has(&capability) { Ok(()) } else { Err(Refused::denied(&capability).into()) }
    }
}

impl CallState {
    fn take_bytes(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.left.bytes;
        if fits {
            self.left.bytes -= bytes;
        } else {
            self.report.dropped.bytes += 1;
        }
        fits
    }

    fn take_attribute(&mut self, key: String, value: telemetry::Value) -> Option<KeyValue> {
        let (key, value) = self.take_pair(key, value)?;
        // What the host says of the plugin is not the plugin's to say.
        let own = key.contains('.') && !key.starts_with(attr::PLUGIN_HOST_PREFIX);
        let key = if own { key } else { format!("{}{key}", attr::PLUGIN_GUEST_PREFIX) };
        Some(KeyValue::new(Key::new(key), value))
    }

    fn take_pair(&mut self, key: String, value: telemetry::Value) -> Option<(String, Value)> {
        if self.left.attributes == 0 {
            self.report.dropped.attributes += 1;
            return None;
        }
        let size = key.len() + if let telemetry::Value::Text(text) = &value { text.len() } else { 8 };
        if !self.take_bytes(size) {
            return None;
        }
        self.left.attributes -= 1;
        Some((key, convert(value)))
    }

    fn observe(&mut self, place: Option<usize>, note: impl FnOnce(&mut GuestSpanFact)) {
        if self.context.observe
            && let Some(fact) = place.and_then(|place| self.report.spans.get_mut(place))
        {
            note(fact);
        }
    }
}

fn convert(value: telemetry::Value) -> Value {
    match value {
        telemetry::Value::Text(text) => Value::String(text.into()),
        telemetry::Value::Flag(flag) => Value::Bool(flag),
        telemetry::Value::Int(int) => Value::I64(int),
        telemetry::Value::Real(real) if real.is_finite() => Value::F64(real),
        telemetry::Value::Real(real) => Value::String(real.to_string().into()),
    }
}

impl WasiView for HostState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl telemetry::HostSpan for HostState {
    fn child(&mut self, parent: Resource<GuestSpan>, name: String) -> wasmtime::Result<Resource<GuestSpan>> {
        let GuestSpan { span: parent, observed: place } = self.table.get(&parent)?;
        let (parent, place) = (parent.clone(), *place);
        let call = self.telemetry_call()?;
        let mut made = (None, None);
        if call.left.spans == 0 || parent.is_none() {
            call.report.dropped.spans += 1;
        } else if call.take_bytes(name.len()) {
            call.left.spans -= 1;
            if call.context.observe {
                made.1 = Some(call.report.spans.len());
                call.report.spans.push(GuestSpanFact { name: name.clone(), parent: place, ..GuestSpanFact::default() });
            }
            made.0 = parent.map(|parent| parent.child(name));
        }
        let handle = self.table.push(GuestSpan { span: made.0.clone(), observed: made.1 })?;
        if let Some(child) = made.0 {
            self.call()?.open.push((handle.rep(), child));
        }
        Ok(handle)
    }

    fn set_attributes(&mut self, handle: Resource<GuestSpan>, attributes: Vec<(String, telemetry::Value)>) -> wasmtime::Result<()> {
        let GuestSpan { span, observed: place } = self.table.get(&handle)?;
        let (span, place) = (span.clone(), *place);
        let call = self.telemetry_call()?;
        for (key, value) in attributes {
            if let (Some(span), Some(attribute)) = (&span, call.take_attribute(key, value)) {
                call.observe(place, |fact| fact.set(attribute.key.as_str(), &attribute.value));
                span.set_foreign(String::from(attribute.key), attribute.value);
            }
        }
        Ok(())
    }

    fn add_event(
        &mut self,
        handle: Resource<GuestSpan>,
        name: String,
        attributes: Vec<(String, telemetry::Value)>,
    ) -> wasmtime::Result<()> {
        let GuestSpan { span, observed: place } = self.table.get(&handle)?;
        let (span, place) = (span.clone(), *place);
        let call = self.telemetry_call()?;
        let Some(span) = span else { return Ok(()) };
        if call.left.events == 0 {
            call.report.dropped.events += 1;
            return Ok(());
        }
        if !call.take_bytes(name.len()) {
            return Ok(());
        }
        call.left.events -= 1;
        call.observe(place, |fact| fact.events.push(name.clone()));
        let attributes = attributes.into_iter().filter_map(|(key, value)| call.take_attribute(key, value)).collect();
        span.event(name, attributes);
        Ok(())
    }

    fn fail(&mut self, handle: Resource<GuestSpan>, message: String) -> wasmtime::Result<()> {
        let GuestSpan { span, observed: place } = self.table.get(&handle)?;
        let (span, place) = (span.clone(), *place);
        let call = self.telemetry_call()?;
        if let Some(span) = span
            && call.take_bytes(message.len())
        {
            call.observe(place, |fact| fact.failed = true);
            span.fail("plugin", &message);
        }
        Ok(())
    }

    fn context(&mut self, handle: Resource<GuestSpan>) -> wasmtime::Result<telemetry::SpanContext> {
        let span = self.table.get(&handle)?.span.clone();
        self.telemetry_call()?;
        // A dead handle stands for the stage span: it was never a span of its own.
        let span = match span {
            Some(span) => span,
            None => self.call()?.stage.clone(),
        };
        let context = span.context();
        let trace_id = u128::from_be_bytes(context.trace_id().to_bytes());
        Ok(telemetry::SpanContext {
            trace_id_high: (trace_id >> 64) as u64,
            trace_id_low: trace_id as u64,
            span_id: u64::from_be_bytes(context.span_id().to_bytes()),
            sampled: context.is_sampled(),
        })
    }

    fn drop(&mut self, handle: Resource<GuestSpan>) -> wasmtime::Result<()> {
        let rep = handle.rep();
        let guest = self.table.delete(handle)?;
        if let Some(call) = &mut self.call {
            call.report.telemetry_calls += 1;
            call.open.retain(|(open, _)| *open != rep);
        }
        if let Some(span) = guest.span {
            span.end();
        }
        Ok(())
    }
}

impl telemetry::Host for HostState {}
impl types::Host for HostState {}

impl log::Host for HostState {
    fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        // `describe` and `configure` have no call and no run to log to.
        let Ok(span) = self.current_span() else { return Ok(()) };
        let call = self.call()?;
        if call.left.log_lines == 0 {
            call.report.dropped.log_lines += 1;
            return Ok(());
        }
        if !call.take_bytes(message.len()) {
            return Ok(());
        }
        call.left.log_lines -= 1;
        let (name, trace_id, message) = (level_name(level), span.context().trace_id(), span.redacted(message));
        match level {
            log::Level::Debug => tracing::debug!(target: "plugin", %trace_id, "{message}"),
            log::Level::Info => tracing::info!(target: "plugin", %trace_id, "{message}"),
            log::Level::Warn => tracing::warn!(target: "plugin", %trace_id, "{message}"),
            log::Level::Error => tracing::error!(target: "plugin", %trace_id, "{message}"),
        }
        span.event(event::PLUGIN_LOG, vec![KeyValue::new("level", name), KeyValue::new("message", message)]);
        Ok(())
    }
}

fn level_name(level: log::Level) -> &'static str {
    match level {
        log::Level::Debug => "debug",
        log::Level::Info => "info",
        log::Level::Warn => "warn",
        log::Level::Error => "error",
    }
}

impl explain::Host for HostState {
    fn features(&mut self, features: Vec<(String, telemetry::Value)>) -> wasmtime::Result<()> {
        let call = self.call()?;
        if !call.context.explain {
            return Ok(());
        }
        for (name, value) in features {
            if let Some((name, value)) = call.take_pair(name, value) {
                call.report.explained.feature(name, &value);
            }
        }
        Ok(())
    }

    fn parts(&mut self, names: Vec<String>, values: Vec<f32>) -> wasmtime::Result<()> {
        let call = self.call()?;
        if !call.context.explain {
            return Ok(());
        }
        let Some(rows) = call.context.rows else {
            return Err(Refused::contract("`explain.parts` is for rerankers".into()).into());
        };
        if names.len() > PARTS_MAX {
            return Err(Refused::contract(format!("`explain.parts` was given {} names; allowed: {PARTS_MAX}", names.len())).into());
        }
        if names.len().checked_mul(rows) != Some(values.len()) {
            let message = format!("`explain.parts` was given {} values for {rows} rows × {} names", values.len(), names.len());
            return Err(Refused::contract(message).into());
        }
        if let Some(bad) = values.iter().find(|value| !value.is_finite()) {
            return Err(Refused::contract(format!("`explain.parts` was given {bad}; parts must be finite")).into());
        }
        if call.take_bytes(names.iter().map(String::len).sum()) {
            call.report.explained.part_names = names;
            call.report.explained.parts = values;
        }
        Ok(())
    }
}

impl documents::Host for HostState {
    fn texts(&mut self, ids: Vec<u64>) -> wasmtime::Result<Vec<String>> {
        self.granted(Capability::Documents)?;
        let span = self.current_span()?.child(span::DOCUMENTS_TEXTS);
        let rows = rows(self.call()?.context.documents.as_ref(), &ids, &span)?;
        Ok(rows.iter().map(|row| row.text.clone()).collect())
    }

    fn look_up(&mut self, ids: Vec<u64>) -> wasmtime::Result<documents::Facts> {
        self.granted(Capability::Documents)?;
        let span = self.current_span()?.child(span::DOCUMENTS_LOOK_UP);
        let rows = rows(self.call()?.context.documents.as_ref(), &ids, &span)?;
        Ok(documents::Facts {
            paths: rows.iter().map(|row| row.path.clone()).collect(),
            symbols: rows.iter().map(|row| row.symbol.clone().unwrap_or_default()).collect(),
            definitions: rows.iter().map(|row| row.definitions.clone()).collect(),
            languages: rows.iter().map(|row| row.language.clone()).collect(),
            start_lines: rows.iter().map(|row| row.start_line).collect(),
            end_lines: rows.iter().map(|row| row.end_line).collect(),
            commit_times: rows.iter().map(|row| row.commit_time_s.unwrap_or(0)).collect(),
        })
    }
}

fn rows<'a>(documents: Option<&'a DocumentRows>, ids: &[u64], span: &Span) -> wasmtime::Result<Vec<&'a ChunkRow>> {
    span.set(attr::DOCUMENTS_ROWS, ids.len() as i64);
    let documents = documents.ok_or_else(|| wasmtime::Error::from(Refused::contract("this stage has no documents".into())))?;
    if ids.len() > documents.len() {
        // Repetitions would let a short list ask for any amount of text.
        let message = format!("{} chunks are asked for; this call has {} rows", ids.len(), documents.len());
        span.fail("too_many_ids", &message);
        return Err(Refused::contract(message).into());
    }
    ids.iter()
        .map(|id| {
            documents.get(*id).ok_or_else(|| {
                let message = format!("chunk {id} is not among the rows of this call");
                span.fail("unknown_id", &message);
                wasmtime::Error::from(Refused::contract(message))
            })
        })
        .collect()
}

impl evidence::Host for HostState {
    fn terms(&mut self) -> wasmtime::Result<Vec<evidence::Column>> {
        let span = self.current_span()?.child(span::DOCUMENTS_EVIDENCE);
        let found = self.call()?.context.evidence.terms();
        span.set(attr::DOCUMENTS_TERMS, found.columns.first().map_or(0, |column| column.values.len()) as i64);
        Ok(wire_columns(found, &span))
    }

    fn rows(&mut self, ids: Vec<u64>) -> wasmtime::Result<Vec<evidence::Column>> {
        self.granted(Capability::Documents)?;
        let span = self.current_span()?.child(span::DOCUMENTS_EVIDENCE);
        let context = &self.call()?.context;
        let found = context.evidence.rows(&rows(context.documents.as_ref(), &ids, &span)?);
        Ok(wire_columns(found, &span))
    }
}

/// What could not be found out fails the span and not the call: its columns are left out.
fn wire_columns(found: Found, span: &Span) -> Vec<evidence::Column> {
    for message in &found.missing {
        span.fail("engine", message);
    }
    found.columns.into_iter().map(|column| evidence::Column { name: column.name, values: column.values }).collect()
}

impl scoring::Host for HostState {
    fn late_interaction(&mut self, ids: Vec<u64>) -> wasmtime::Result<Result<Vec<f32>, scoring::ScoringError>> {
        self.score(ScoringModel::LateInteraction, &ids)
    }

    fn cross_encoder(&mut self, ids: Vec<u64>) -> wasmtime::Result<Result<Vec<f32>, scoring::ScoringError>> {
        self.score(ScoringModel::CrossEncoder, &ids)
    }
}

impl HostState {
    /// Asks a model of the host, for no longer than the call has left.
    fn score(&mut self, model: ScoringModel, ids: &[u64]) -> wasmtime::Result<Result<Vec<f32>, scoring::ScoringError>> {
        self.granted(Capability::Scoring)?;
        let span = self.current_span()?;
        let context = &self.call()?.context;
        let texts: Vec<String> = rows(context.documents.as_ref(), ids, &span)?.iter().map(|row| row.text.clone()).collect();
        let Some(scores) = &context.scores else {
            return Ok(Err(scoring::ScoringError::Unsupported(format!("no {} model is configured", model.name()))));
        };
        let left = context.deadline.map_or(Duration::ZERO, |deadline| deadline.saturating_duration_since(Instant::now()));
        Ok(scores.ask(model, ids, &texts, &span, left))
    }
}
