//! The host side of a plugin's imports: spans, logs, documents.
//!
//! Everything a call may touch is in its [`CallState`], made before the guest runs
//! and taken away after, so nothing of one call can reach the next.

use opentelemetry::{Key, KeyValue, Value};
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::bindings::{documents, log, scoring, telemetry, types};
use super::documents::DocumentRows;
use super::limits::{Limiter, PluginLimits};
use crate::telemetry::Span;
use crate::telemetry::conventions::{attr, event, span};

/// Resources a guest may hold at once, WASI's included. The spans of a call are
/// limited further by [`PluginLimits::spans_max`].
const TABLE_ENTRIES_MAX: usize = 4_096;

/// The data of a store: one instance's view of the host.
pub struct HostState {
    wasi: WasiCtx,
    table: ResourceTable,
    pub limiter: Limiter,
    call: Option<CallState>,
}

/// A span as a guest holds it. Over the limit of spans it is a dead handle.
pub struct GuestSpan {
    span: Option<Span>,
}

/// What one call may use and has used.
pub struct CallState {
    stage: Span,
    /// Children that are open, oldest first: host work belongs to the last.
    open: Vec<(u32, Span)>,
    documents: Option<DocumentRows>,
    left: Left,
    /// Spans, attributes, events and log lines over a limit.
    dropped: u64,
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
#[error("{0}")]
pub struct Refused(String);

impl Refused {
    /// For guests that sleep or poll.
    pub fn waiting() -> Refused {
        Refused("a plugin can't wait".into())
    }
}

impl HostState {
    pub fn new(limits: &PluginLimits) -> HostState {
        let mut table = ResourceTable::new();
        table.set_max_capacity(TABLE_ENTRIES_MAX);
        HostState {
            // Nothing is inherited: no files, no arguments, no environment, closed streams.
            wasi: WasiCtx::builder().build(),
            table,
            limiter: Limiter::new(limits),
            call: None,
        }
    }

    /// Begins a call; returns the handle of the stage span to lend to the guest.
    pub fn begin(&mut self, limits: &PluginLimits, stage: &Span, documents: Option<DocumentRows>) -> wasmtime::Result<Resource<GuestSpan>> {
        let own = self.table.push(GuestSpan { span: Some(stage.clone()) })?;
        self.call = Some(CallState {
            stage: stage.clone(),
            open: Vec::new(),
            documents,
            left: Left {
                spans: limits.spans_max,
                attributes: limits.attributes_max,
                events: limits.events_max,
                bytes: limits.telemetry_bytes_max,
                log_lines: limits.log_lines_max,
            },
            dropped: 0,
        });
        Ok(own)
    }

    /// Ends a call: takes the stage span back and ends the children that are still
    /// open, as failed when `failure` says why the guest did not finish. Returns how
    /// many items of telemetry were dropped.
    pub fn end(&mut self, stage: Resource<GuestSpan>, failure: Option<(&str, &str)>) -> u64 {
        // A missing entry would mean that the guest dropped a borrowed handle, which
        // the component model doesn't let it.
        let _ = self.table.delete(stage);
        let Some(call) = self.call.take() else { return 0 };
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
        call.dropped
    }

    fn call(&mut self) -> wasmtime::Result<&mut CallState> {
        self.call.as_mut().ok_or_else(|| wasmtime::Error::from(Refused("this import can't be used outside of a stage call".into())))
    }

    /// The innermost span that is open, for host work done for the guest.
    fn current_span(&mut self) -> wasmtime::Result<Span> {
        let call = self.call()?;
        Ok(call.open.last().map_or(&call.stage, |(_, span)| span).clone())
    }
}

impl CallState {
    fn take_bytes(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.left.bytes;
        if fits {
            self.left.bytes -= bytes;
        }
        fits
    }

    fn take_attribute(&mut self, key: String, value: telemetry::Value) -> Option<KeyValue> {
        let size = key.len() + if let telemetry::Value::Text(text) = &value { text.len() } else { 8 };
        if self.left.attributes == 0 || !self.take_bytes(size) {
            self.dropped += 1;
            return None;
        }
        self.left.attributes -= 1;
        // What the host says of the plugin is not the plugin's to say.
        let own = key.contains('.') && !key.starts_with(attr::PLUGIN_HOST_PREFIX);
        let key = if own { key } else { format!("{}{key}", attr::PLUGIN_GUEST_PREFIX) };
        Some(KeyValue::new(Key::new(key), convert(value)))
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
        let parent = self.table.get(&parent)?.span.clone();
        let call = self.call()?;
        let admitted = call.left.spans > 0 && call.take_bytes(name.len());
        let child = match parent.filter(|_| admitted) {
            Some(parent) => {
                call.left.spans -= 1;
                Some(parent.child(name))
            }
            None => {
                call.dropped += 1;
                None
            }
        };
        let handle = self.table.push(GuestSpan { span: child.clone() })?;
        if let Some(child) = child {
            self.call()?.open.push((handle.rep(), child));
        }
        Ok(handle)
    }

    fn set_attributes(&mut self, handle: Resource<GuestSpan>, attributes: Vec<(String, telemetry::Value)>) -> wasmtime::Result<()> {
        let span = self.table.get(&handle)?.span.clone();
        let call = self.call()?;
        for (key, value) in attributes {
            if let (Some(span), Some(attribute)) = (&span, call.take_attribute(key, value)) {
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
        let span = self.table.get(&handle)?.span.clone();
        let call = self.call()?;
        let Some(span) = span else { return Ok(()) };
        if call.left.events == 0 || !call.take_bytes(name.len()) {
            call.dropped += 1;
            return Ok(());
        }
        call.left.events -= 1;
        let attributes = attributes.into_iter().filter_map(|(key, value)| call.take_attribute(key, value)).collect();
        span.event(name, attributes);
        Ok(())
    }

    fn fail(&mut self, handle: Resource<GuestSpan>, message: String) -> wasmtime::Result<()> {
        let span = self.table.get(&handle)?.span.clone();
        let call = self.call()?;
        match span {
            Some(span) if call.take_bytes(message.len()) => span.fail("plugin", &message),
            _ => call.dropped += 1,
        }
        Ok(())
    }

    fn context(&mut self, handle: Resource<GuestSpan>) -> wasmtime::Result<telemetry::SpanContext> {
        let span = self.table.get(&handle)?.span.clone();
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
        if call.left.log_lines == 0 || !call.take_bytes(message.len()) {
            call.dropped += 1;
            return Ok(());
        }
        call.left.log_lines -= 1;
        let (name, trace_id) = (level_name(level), span.context().trace_id());
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

impl documents::Host for HostState {
    fn texts(&mut self, ids: Vec<u64>) -> wasmtime::Result<Vec<String>> {
        let span = self.current_span()?.child(span::DOCUMENTS_TEXTS);
        let rows = rows(self.call()?.documents.as_ref(), &ids, &span)?;
        Ok(rows.iter().map(|row| row.text.clone()).collect())
    }

    fn look_up(&mut self, ids: Vec<u64>) -> wasmtime::Result<documents::Facts> {
        let span = self.current_span()?.child(span::DOCUMENTS_LOOK_UP);
        let rows = rows(self.call()?.documents.as_ref(), &ids, &span)?;
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

fn rows<'a>(documents: Option<&'a DocumentRows>, ids: &[u64], span: &Span) -> wasmtime::Result<Vec<&'a crate::index::catalog::ChunkRow>> {
    span.set(attr::DOCUMENTS_ROWS, ids.len() as i64);
    let documents = documents.ok_or_else(|| wasmtime::Error::from(Refused("this stage has no documents".into())))?;
    if ids.len() > documents.len() {
        // Repetitions would let a short list ask for any amount of text.
        let message = format!("{} chunks are asked for; this call has {} rows", ids.len(), documents.len());
        span.fail("too_many_ids", &message);
        return Err(Refused(message).into());
    }
    ids.iter()
        .map(|id| {
            documents.get(*id).ok_or_else(|| {
                let message = format!("chunk {id} is not among the rows of this call");
                span.fail("unknown_id", &message);
                wasmtime::Error::from(Refused(message))
            })
        })
        .collect()
}

impl scoring::Host for HostState {
    fn late_interaction(&mut self, _ids: Vec<u64>) -> wasmtime::Result<Result<Vec<f32>, scoring::ScoringError>> {
        Ok(Err(scoring::ScoringError::Unsupported("no late-interaction model is configured".into())))
    }

    fn cross_encoder(&mut self, _ids: Vec<u64>) -> wasmtime::Result<Result<Vec<f32>, scoring::ScoringError>> {
        Ok(Err(scoring::ScoringError::Unsupported("no cross-encoder is configured".into())))
    }
}
