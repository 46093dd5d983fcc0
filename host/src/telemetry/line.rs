//! The lines of a ledger: what they hold, and how they are written as JSON.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind};
use opentelemetry::{KeyValue, Value};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::{Map, Value as Json, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::conventions::attr;
use super::step::StepEvent;

/// Version of the line format, in every `run.start`. 1 had no steps and no process.
pub const SCHEMA_VERSION: u32 = 2;

/// What a line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineKind {
    RunStart,
    SpanStart,
    Span,
    Event,
    Step,
    RunEnd,
}

impl LineKind {
    pub fn as_str(self) -> &'static str {
        match self {
            LineKind::RunStart => "run.start",
            LineKind::SpanStart => "span.start",
            LineKind::Span => "span",
            LineKind::Event => "event",
            LineKind::Step => "step",
            LineKind::RunEnd => "run.end",
        }
    }
}

/// One line before it is written. It is made where the thing happens and turned into
/// text by the writer's thread.
pub struct Line {
    pub kind: LineKind,
    pub name: Cow<'static, str>,
    /// When it happened; for a span or a step, when it began.
    pub at: SystemTime,
    pub span: Option<SpanContext>,
    pub parent: Option<SpanId>,
    pub body: Body,
}

/// What a line holds besides name, time and ids.
pub enum Body {
    None,
    Members(Map<String, Json>),
    /// Of an event.
    Attributes(Vec<KeyValue>),
    Span {
        kind: SpanKind,
        duration: Duration,
        failure: Option<String>,
        /// Shared with the line of the step.
        attributes: Arc<[KeyValue]>,
        links: Vec<SpanContext>,
    },
    Step(StepEvent),
}

impl Line {
    /// The line as JSON text with its line feed. `lost` is how many lines of the run
    /// are missing before this one; only the last line of a run says so.
    pub(super) fn render(&self, lost: u64) -> String {
        // Its keys are texts, so this can't fail; an empty line would show.
        let mut text = serde_json::to_string(&Rendered { line: self, lost }).unwrap_or_default();
        text.push('\n');
        text
    }
}

/// A line as it is written. Straight to text: a tree of values first would cost the
/// writer several times as much.
struct Rendered<'a> {
    line: &'a Line,
    lost: u64,
}

impl Serialize for Rendered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Rendered { line, lost } = self;
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("line", line.kind.as_str())?;
        object.serialize_entry("name", &line.name)?;
        object.serialize_entry("at", &OffsetDateTime::from(line.at).format(&Rfc3339).unwrap_or_default())?;
        if let Some(span) = &line.span {
            object.serialize_entry("trace_id", &span.trace_id().to_string())?;
            object.serialize_entry("span_id", &span.span_id().to_string())?;
        }
        if let Some(parent) = line.parent {
            object.serialize_entry("parent_span_id", &parent.to_string())?;
        }
        match &line.body {
            Body::None => {}
            Body::Members(members) => members.iter().try_for_each(|(key, value)| object.serialize_entry(key, value))?,
            Body::Attributes(attributes) => object.serialize_entry("attributes", &Attributes(&refs(attributes)))?,
            Body::Span { kind, duration, failure, attributes, links } => {
                object.serialize_entry("kind", kind_name(kind))?;
                object.serialize_entry("duration_us", &(duration.as_micros() as u64))?;
                object.serialize_entry("status", if failure.is_some() { "error" } else { "ok" })?;
                if let Some(failure) = failure {
                    object.serialize_entry("error", failure)?;
                }
                object.serialize_entry("attributes", &Attributes(&refs(attributes)))?;
                if !links.is_empty() {
                    let ids =
                        |link: &SpanContext| json!({ "trace_id": link.trace_id().to_string(), "span_id": link.span_id().to_string() });
                    object.serialize_entry("links", &links.iter().map(ids).collect::<Json>())?;
                }
            }
            Body::Step(step) => {
                object.serialize_entry("status", step.status.as_str())?;
                if let Some(duration) = step.duration {
                    object.serialize_entry("duration_us", &(duration.as_micros() as u64))?;
                }
                if let Some(detail) = &step.detail {
                    object.serialize_entry("detail", detail)?;
                }
                let said: Vec<&KeyValue> = step.attributes.iter().filter(|pair| is_of_step(pair.key.as_str())).collect();
                if !said.is_empty() {
                    object.serialize_entry("attributes", &Attributes(&said))?;
                }
            }
        }
        if line.kind == LineKind::RunEnd && *lost > 0 {
            object.serialize_entry("lost_lines", lost)?;
        }
        object.end()
    }
}

/// As an object. Of pairs with the same key, which plugins can send, the last one counts.
struct Attributes<'a>(&'a [&'a KeyValue]);

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        for (at, pair) in self.0.iter().enumerate() {
            if self.0[at + 1..].iter().all(|later| later.key != pair.key) {
                object.serialize_entry(pair.key.as_str(), &Attribute(&pair.value))?;
            }
        }
        object.end()
    }
}

fn refs(attributes: &[KeyValue]) -> Vec<&KeyValue> {
    attributes.iter().collect()
}

/// Whether a step repeats an attribute of its span: sizes, and identifiers of what was
/// used. Everything else is in the span's own line.
fn is_of_step(key: &str) -> bool {
    const KEYS: [&str; 23] = [
        attr::ERROR_TYPE,
        attr::GENERATION,
        attr::CHANNEL,
        attr::HITS,
        attr::FUSED_DOCS,
        attr::RECENCY_BOOSTED,
        attr::PASSAGES_COLLAPSED,
        attr::FINDINGS,
        attr::DUCKDB_ROWS,
        attr::DUCKDB_ROWS_CACHED,
        attr::DUCKDB_SQL_BYTES,
        attr::VLLM_MODEL_NAME,
        attr::VLLM_EMBED_DIM,
        attr::VLLM_BATCH,
        attr::PLUGIN_NAME,
        attr::PLUGIN_SHA256,
        attr::PLUGIN_ROWS_IN,
        attr::PLUGIN_ROWS_OUT,
        attr::FILE_PATH,
        attr::FILE_LINES,
        attr::GIT_PATH,
        attr::GIT_LINES,
        attr::GIT_COMMIT,
    ];
    KEYS.contains(&key)
}

struct Attribute<'a>(&'a Value);

impl Serialize for Attribute<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::I64(value) => serializer.serialize_i64(*value),
            // Numbers that JSON can't hold are written as text.
            Value::F64(value) if value.is_finite() => serializer.serialize_f64(*value),
            Value::String(value) => serializer.serialize_str(value.as_str()),
            other => serializer.collect_str(other),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: Body, lost: u64, expect: Json) {
        let kind = if lost > 0 { LineKind::RunEnd } else { LineKind::Event };
        let line =
            Line { kind, name: "n\"".into(), at: SystemTime::UNIX_EPOCH, span: None, parent: SpanId::from_bytes([1; 8]).into(), body };
        let text = line.render(lost);
        assert!(text.ends_with('\n') && text.lines().count() == 1, "{text}");
        let mut object: Map<String, Json> = serde_json::from_str(&text).unwrap();
        for (key, value) in
            [("name", "n\""), ("at", "1970-01-01T00:00:00Z"), ("parent_span_id", "0101010101010101"), ("line", kind.as_str())]
        {
            assert_eq!(object.remove(key), Some(value.into()), "{text}");
        }
        assert_eq!(Json::Object(object), expect);
    }

    #[test]
    fn lines_are_json_whatever_they_hold() {
        check(Body::None, 0, json!({}));
        check(Body::None, 3, json!({"lost_lines": 3}));
        check(Body::Members(Map::from_iter([("outcome".to_owned(), json!({"a": [1, null]}))])), 0, json!({"outcome": {"a": [1, null]}}));
        let pairs = [KeyValue::new("a", 1_i64), KeyValue::new("b", f64::NAN), KeyValue::new("c\n", "\u{1}ü"), KeyValue::new("a", true)];
        let attributes = json!({"a": true, "b": "NaN", "c\n": "\u{1}ü"});
        check(Body::Attributes(pairs.to_vec()), 0, json!({"attributes": attributes}));
        let span = SpanContext::NONE;
        let (kind, duration, links) = (SpanKind::Client, Duration::from_micros(7), vec![span]);
        check(
            Body::Span { kind, duration, failure: Some("why".into()), attributes: pairs.into(), links },
            0,
            json!({"kind": "client", "duration_us": 7, "status": "error", "error": "why", "attributes": attributes,
                "links": [{"trace_id": "0".repeat(32), "span_id": "0".repeat(16)}]}),
        );
        check(Body::Step(StepEvent::skipped("embed", "not asked")), 0, json!({"status": "skipped", "detail": "not asked"}));
    }
}
