//! How log records look on standard error: text for people, or JSON, both with the ids
//! of the run that they belong to.

use std::fmt;

use serde_json::{Map, Value as Json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::logs::Ids;

/// One line for each record.
pub enum LogFormat {
    /// `time LEVEL message field=value trace_id=… span_id=… run_id=…`
    Text { color: bool },
    /// `{"timestamp":…,"level":…,"target":…,"message":…,"fields":{…},"trace_id":…,"span_id":…,"run_id":…}`
    Json,
}

impl<S, N> FormatEvent<S, N> for LogFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let ids = Ids::current();
        match self {
            LogFormat::Text { color } => {
                let mut line = String::new();
                Format::default().with_target(false).with_ansi(*color).format_event(context, Writer::new(&mut line), event)?;
                writer.write_str(line.trim_end_matches('\n'))?;
                if let Some((trace, span)) = &ids.span {
                    write!(writer, " trace_id={trace} span_id={span}")?;
                }
                if let Some(run) = &ids.run_id {
                    write!(writer, " run_id={run}")?;
                }
                writer.write_char('\n')
            }
            LogFormat::Json => writeln!(writer, "{}", json(event, &ids)),
        }
    }
}

fn json(event: &Event<'_>, ids: &Ids) -> Json {
    let mut fields = Fields::default();
    event.record(&mut fields);
    let mut line = Map::new();
    // A clock that can't be written as RFC 3339 is set before the year 0.
    line.insert("timestamp".into(), OffsetDateTime::now_utc().format(&Rfc3339).map_or(Json::Null, Json::from));
    line.insert("level".into(), event.metadata().level().as_str().into());
    line.insert("target".into(), event.metadata().target().into());
    line.insert("message".into(), fields.message.into());
    if !fields.others.is_empty() {
        line.insert("fields".into(), Json::Object(fields.others));
    }
    if let Some((trace, span)) = &ids.span {
        line.insert("trace_id".into(), trace.as_str().into());
        line.insert("span_id".into(), span.as_str().into());
    }
    if let Some(run) = &ids.run_id {
        line.insert("run_id".into(), (&**run).into());
    }
    Json::Object(line)
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Json>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.others.insert(field.name().into(), value.into());
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.others.insert(field.name().into(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.others.insert(field.name().into(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.others.insert(field.name().into(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no number for infinity.
        let number = serde_json::Number::from_f64(value).map_or_else(|| Json::from(value.to_string()), Json::Number);
        self.others.insert(field.name().into(), number);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use serde_json::json;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::telemetry::{log_context, parse_trace_context};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn lines(format: LogFormat, log: impl FnOnce()) -> Vec<String> {
        let written = Written::default();
        let into = written.clone();
        let layer = tracing_subscriber::fmt::layer().event_format(format).with_writer(move || into.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    fn in_a_run(log: impl FnOnce()) {
        let span = parse_trace_context("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None).unwrap();
        let _attached = log_context(&span, "run-1").attach();
        log();
    }

    #[test]
    fn text_ends_with_the_ids() {
        let lines = lines(LogFormat::Text { color: false }, || {
            tracing::warn!(part = "bm25", "slow");
            in_a_run(|| tracing::info!("found"));
        });
        assert!(lines[0].ends_with(" WARN slow part=\"bm25\""), "{}", lines[0]);
        let ids = "trace_id=0af7651916cd43dd8448eb211c80319c span_id=b7ad6b7169203331 run_id=run-1";
        assert!(lines[1].ends_with(&format!(" INFO found {ids}")), "{}", lines[1]);
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn json_is_one_object_a_line() {
        let lines = lines(LogFormat::Json, || {
            tracing::warn!(part = "bm25", hits = 3, share = f64::INFINITY, late = true, "slow\n\"quoted\"");
            in_a_run(|| tracing::info!("found"));
        });
        let lines: Vec<Json> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&lines[0]["level"], &lines[0]["message"]), (&json!("WARN"), &json!("slow\n\"quoted\"")));
        assert_eq!(lines[0]["fields"], json!({"part": "bm25", "hits": 3, "share": "inf", "late": true}));
        assert_eq!(lines[0].get("trace_id"), None);
        assert_eq!(lines[1]["trace_id"], "0af7651916cd43dd8448eb211c80319c");
        assert_eq!((&lines[1]["span_id"], &lines[1]["run_id"]), (&json!("b7ad6b7169203331"), &json!("run-1")));
        assert!(lines[1]["timestamp"].as_str().unwrap().ends_with('Z'));
    }
}
