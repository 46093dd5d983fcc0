//! Log records that know their run: ids on standard error, and the way to OpenTelemetry.
//!
//! Whoever works for a run attaches [`log_context`] to the thread; what is logged
//! meanwhile has the ids of its trace, span and run. The subscriber is set up before
//! anything is exported, so the way out is a slot of the process, like the subscriber
//! itself, that [`install`] fills.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use opentelemetry::logs::LogRecord as _;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogProcessor, SdkLogRecord, SdkLogger, SdkLoggerProvider};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::Context as LayerContext;
use tracing_subscriber::registry::LookupSpan;

use super::conventions::attr;

/// The run that work is done for, as a value of its context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunId(pub Arc<str>);

/// A context to attach around work for a run, so that what it logs has the run's ids.
/// `span` is the span that log records belong to.
pub fn log_context(span: &SpanContext, run_id: &str) -> Context {
    Context::new().with_remote_span_context(span.clone()).with_value(RunId(run_id.into()))
}

/// The same work with what is attached here, for another thread.
pub fn carried<T>(work: impl FnOnce() -> T + Send + 'static) -> impl FnOnce() -> T + Send + 'static {
    let context = Context::current();
    move || {
        let _attached = context.attach();
        work()
    }
}

/// Ids of what is attached to this thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    /// Trace and span, in hexadecimal.
    pub span: Option<(String, String)>,
    pub run_id: Option<Arc<str>>,
}

impl Ids {
    pub fn current() -> Ids {
        Context::map_current(|context| {
            let span = context.span().span_context().clone();
            Ids {
                span: span.is_valid().then(|| (span.trace_id().to_string(), span.span_id().to_string())),
                run_id: context.get::<RunId>().map(|run| run.0.clone()),
            }
        })
    }
}

/// Puts the run's id on exported log records. Trace and span are put there by the SDK,
/// from the same context.
#[derive(Debug)]
pub(super) struct RunIds;

impl LogProcessor for RunIds {
    fn emit(&self, record: &mut SdkLogRecord, _: &InstrumentationScope) {
        if let Some(run) = Context::map_current(|context| context.get::<RunId>().map(|run| run.0.clone())) {
            record.add_attribute(attr::MCP_RUN_ID, run.to_string());
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: std::time::Duration) -> OTelSdkResult {
        Ok(())
    }
}

type Bridge = OpenTelemetryTracingBridge<SdkLoggerProvider, SdkLogger>;

/// Where log records go.
static EXPORT: ArcSwapOption<Bridge> = ArcSwapOption::const_empty();

/// Exports what is logged from now on through this provider.
pub(super) fn install(provider: &SdkLoggerProvider) {
    EXPORT.store(Some(Arc::new(OpenTelemetryTracingBridge::new(provider))));
}

/// Ends that.
pub(super) fn uninstall() {
    EXPORT.store(None);
}

/// The layer of the subscriber that exports, as soon as there is somewhere to export
/// to. `level` is that of the configuration.
pub fn export_layer<S: Subscriber + for<'a> LookupSpan<'a>>(level: LevelFilter) -> impl Layer<S> {
    ExportLayer.with_filter(export_filter(level))
}

/// What may leave. The exporters' own words and those of what they are built on stay
/// here: each export would give rise to the next.
fn export_filter(level: LevelFilter) -> Targets {
    // A target stands for all that begin with it: `opentelemetry` for `opentelemetry_sdk`.
    const SILENT: [&str; 6] = ["opentelemetry", "h2", "hyper", "reqwest", "tonic", "rustls"];
    let silent = SILENT.into_iter().map(|target| (target, LevelFilter::OFF));
    // The protocol library tells of each message that its service began and ended: three
    // records a call that say nothing which its span doesn't.
    Targets::new().with_default(level).with_targets(silent).with_target("rmcp", level.min(LevelFilter::WARN))
}

struct ExportLayer;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for ExportLayer {
    fn on_event(&self, event: &Event<'_>, context: LayerContext<'_, S>) {
        if let Some(export) = &*EXPORT.load() {
            export.on_event(event, context);
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::logs::AnyValue;
    use opentelemetry_sdk::logs::{LogBatch, LogExporter};
    use std::sync::Mutex;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::telemetry::parse_trace_context;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn context() -> Context {
        log_context(&parse_trace_context(PARENT, None).unwrap(), "run-1")
    }

    #[test]
    fn ids_are_those_of_the_attached_context() {
        assert_eq!(Ids::current(), Ids::default());
        let attached = context().attach();
        let ids = Ids::current();
        assert_eq!(ids.span, Some(("0af7651916cd43dd8448eb211c80319c".into(), "b7ad6b7169203331".into())));
        assert_eq!(ids.run_id.as_deref(), Some("run-1"));
        drop(attached);
        assert_eq!(Ids::current(), Ids::default());
    }

    /// What was exported: body, trace, run.
    type Record = (String, Option<String>, Option<String>);

    #[derive(Clone, Debug, Default)]
    struct Kept(Arc<Mutex<Vec<Record>>>);

    impl LogExporter for Kept {
        async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
            let text = |value: Option<&AnyValue>| match value {
                Some(AnyValue::String(text)) => Some(text.to_string()),
                _ => None,
            };
            let mut kept = self.0.lock().unwrap();
            for (record, _) in batch.iter() {
                let run = record.attributes_iter().find(|(key, _)| key.as_str() == attr::MCP_RUN_ID).map(|(_, value)| value);
                let trace = record.trace_context().map(|trace| trace.trace_id.to_string());
                kept.push((text(record.body()).unwrap_or_default(), trace, text(run)));
            }
            Ok(())
        }
    }

    #[test]
    fn records_are_exported_once_there_is_a_provider() {
        let kept = Kept::default();
        let provider = SdkLoggerProvider::builder().with_log_processor(RunIds).with_simple_exporter(kept.clone()).build();
        let subscriber = tracing_subscriber::registry().with(export_layer(LevelFilter::INFO));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("too early");
            install(&provider);
            tracing::info!("alone");
            let attached = context().attach();
            tracing::warn!("in a run");
            tracing::debug!("too fine");
            tracing::error!(target: "opentelemetry_sdk", "of the exporter");
            tracing::error!(target: "h2::proto", "of what it is built on");
            drop(attached);
            uninstall();
            tracing::info!("too late");
        });
        let trace = Some("0af7651916cd43dd8448eb211c80319c".to_owned());
        let records: Vec<Record> = kept.0.lock().unwrap().drain(..).collect();
        assert_eq!(records, [("alone".into(), None, None), ("in a run".into(), trace, Some("run-1".into()))]);
    }
}
