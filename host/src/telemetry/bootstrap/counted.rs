//! Around exporters and batch processors: what was sent, what was not, what was dropped.
//! The bounds are kept here too: of a queue, and of the time an export may take.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use opentelemetry::logs::Severity;
use opentelemetry::{Context, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::{LogBatch, LogExporter, LogProcessor, SdkLogRecord};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};
use tokio::runtime::Handle;

use super::exporters::within;
use super::settings::Signal;

/// What became of everything that was to leave over OTLP.
#[derive(Debug, Default)]
pub struct ExportCounts {
    pub traces: SignalCounts,
    pub metrics: SignalCounts,
    pub logs: SignalCounts,
}

/// Counts of one signal, since the process began. Items are spans, log records, or
/// collections of metrics.
#[derive(Debug, Default)]
pub struct SignalCounts {
    /// Items that a receiver took.
    pub exported: AtomicU64,
    /// Items that were sent in vain.
    pub failed: AtomicU64,
    /// Items that found the queue full.
    pub dropped: AtomicU64,
    /// Exports that failed, whatever was in them.
    pub failures: AtomicU64,
    /// Items that are in a queue or being sent now.
    pub waiting: AtomicUsize,
}

impl ExportCounts {
    pub fn of(&self, signal: Signal) -> &SignalCounts {
        match signal {
            Signal::Traces => &self.traces,
            Signal::Metrics => &self.metrics,
            Signal::Logs => &self.logs,
        }
    }
}

/// What exporter and processor of one receiver share.
#[derive(Clone, Debug)]
pub struct Tally {
    counts: Arc<ExportCounts>,
    signal: Signal,
    /// Items in the queue or being sent.
    pending: Arc<AtomicUsize>,
    queue_max: usize,
}

impl Tally {
    pub fn new(counts: Arc<ExportCounts>, signal: Signal, queue_max: usize) -> Tally {
        Tally { counts, signal, pending: Arc::default(), queue_max }
    }

    /// Whether there is room for one more, which then is taken.
    fn admit(&self) -> bool {
        if self.pending.fetch_add(1, Relaxed) < self.queue_max {
            self.counts.of(self.signal).waiting.fetch_add(1, Relaxed);
            return true;
        }
        self.pending.fetch_sub(1, Relaxed);
        self.counts.of(self.signal).dropped.fetch_add(1, Relaxed);
        false
    }

    fn settle(&self, items: usize, outcome: &OTelSdkResult) {
        // What came another way than through `admit` was never pending.
        let pending = self.pending.fetch_update(Relaxed, Relaxed, |pending| Some(pending.saturating_sub(items)));
        let counts = self.counts.of(self.signal);
        counts.waiting.fetch_sub(pending.map_or(0, |pending| pending.min(items)), Relaxed);
        match outcome {
            Ok(()) => counts.exported.fetch_add(items as u64, Relaxed),
            Err(_) => {
                counts.failures.fetch_add(1, Relaxed);
                counts.failed.fetch_add(items as u64, Relaxed)
            }
        };
    }
}

/// An exporter with a clock and a tally.
#[derive(Debug)]
pub struct Counted<E> {
    exporter: E,
    tally: Tally,
    handle: Handle,
    timeout: Duration,
    /// Characters of a text in spans; longer ones are cut.
    value_length: Option<usize>,
}

impl<E> Counted<E> {
    pub fn new(exporter: E, tally: Tally, handle: Handle, timeout: Duration) -> Counted<E> {
        Counted { exporter, tally, handle, timeout, value_length: None }
    }

    pub fn with_value_length(self, value_length: Option<usize>) -> Counted<E> {
        Counted { value_length, ..self }
    }

    async fn watched(&self, items: usize, export: impl Future<Output = OTelSdkResult>) -> OTelSdkResult {
        let outcome = within(self.timeout, &self.handle, export).await.unwrap_or(Err(OTelSdkError::Timeout(self.timeout)));
        self.tally.settle(items, &outcome);
        outcome
    }
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        if let Some(length) = self.value_length {
            batch.iter_mut().for_each(|span| shorten_span(span, length));
        }
        self.watched(batch.len(), self.exporter.export(batch)).await
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: LogExporter> LogExporter for Counted<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let items = batch.iter().count();
        self.watched(items, self.exporter.export(batch)).await
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn event_enabled(&self, level: Severity, target: &str, name: Option<&str>) -> bool {
        self.exporter.event_enabled(level, target, name)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Counted<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.watched(1, self.exporter.export(metrics)).await
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

/// A batch processor whose queue is counted. What finds it full is dropped at once:
/// no caller waits for a collector.
#[derive(Debug)]
pub struct Bounded<P> {
    pub processor: P,
    pub tally: Tally,
}

impl<P: SpanProcessor> SpanProcessor for Bounded<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.processor.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.tally.admit() {
            self.processor.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.processor.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.processor.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.processor.set_resource(resource);
    }
}

impl<P: LogProcessor> LogProcessor for Bounded<P> {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        if self.tally.admit() {
            self.processor.emit(record, scope);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.processor.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.processor.shutdown_with_timeout(timeout)
    }

    fn event_enabled(&self, level: Severity, target: &str, name: Option<&str>) -> bool {
        self.processor.event_enabled(level, target, name)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.processor.set_resource(resource);
    }
}

/// Cuts every text of a span to so many characters.
fn shorten_span(span: &mut SpanData, length: usize) {
    let events = span.events.events.iter_mut().flat_map(|event| event.attributes.iter_mut());
    let links = span.links.links.iter_mut().flat_map(|link| link.attributes.iter_mut());
    span.attributes.iter_mut().chain(events).chain(links).for_each(|attribute| shorten(attribute, length));
}

fn shorten(attribute: &mut KeyValue, length: usize) {
    let cut = |text: &StringValue| text.as_str().char_indices().nth(length).map(|(end, _)| text.as_str()[..end].to_owned());
    match &mut attribute.value {
        Value::String(text) => {
            if let Some(short) = cut(text) {
                *text = short.into();
            }
        }
        Value::Array(opentelemetry::Array::String(texts)) => {
            for text in texts {
                if let Some(short) = cut(text) {
                    *text = short.into();
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_and_counts() {
        let counts = Arc::new(ExportCounts::default());
        let tally = Tally::new(counts.clone(), Signal::Logs, 2);
        assert_eq!([tally.admit(), tally.admit(), tally.admit()], [true, true, false]);
        tally.settle(2, &Err(OTelSdkError::AlreadyShutdown));
        assert!(tally.admit());
        tally.settle(1, &Ok(()));
        let logs = &counts.logs;
        let all = [&logs.exported, &logs.failed, &logs.dropped, &logs.failures].map(|count| count.load(Relaxed));
        assert_eq!(all, [1, 2, 1, 1]);
    }

    #[tokio::test]
    async fn an_export_that_hangs_is_ended() {
        let counts = Arc::new(ExportCounts::default());
        let tally = Tally::new(counts.clone(), Signal::Traces, 10);
        let counted = Counted::new((), tally, Handle::current(), Duration::from_millis(20));
        let outcome = counted.watched(3, std::future::pending()).await;
        assert!(matches!(outcome, Err(OTelSdkError::Timeout(_))), "{outcome:?}");
        assert_eq!((counts.traces.failed.load(Relaxed), counts.traces.failures.load(Relaxed)), (3, 1));
    }

    #[test]
    fn texts_are_cut_by_characters() {
        let check = |value: Value, expect: Value| {
            let mut attribute = KeyValue::new("a", value);
            shorten(&mut attribute, 3);
            assert_eq!(attribute.value, expect);
        };
        check("éàüö".into(), "éàü".into());
        check("abc".into(), "abc".into());
        check(12_345_i64.into(), 12_345_i64.into());
        let texts = |texts: &[&'static str]| Value::Array(texts.iter().map(|text| StringValue::from(*text)).collect::<Vec<_>>().into());
        check(texts(&["abcd", "a"]), texts(&["abc", "a"]));
    }
}
