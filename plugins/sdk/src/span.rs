//! A span of the trace that the plugin runs in.
//!
//! When nobody records, a span is inert: no helper calls the host, and the closures
//! that build attributes are not run. So plugins don't have to ask.

use std::cell::RefCell;
use std::rc::Rc;

use crate::bindings::SpanHandle;
use crate::{SpanContext, Value};

/// A span. The stage span is lent by the host; children end when they are dropped.
pub struct Span<'a>(Sink<'a>);

/// Where a span's facts go.
enum Sink<'a> {
    /// Nowhere.
    Inert,
    /// To the stage span of the host.
    Lent(&'a SpanHandle),
    /// To a child span of the host.
    Owned(SpanHandle),
    /// To a test.
    Recorded { record: Record, index: usize },
}

impl<'a> Span<'a> {
    /// The stage span as the host lent it; inert unless `recording`.
    pub fn lent(handle: &'a SpanHandle, recording: bool) -> Span<'a> {
        Span(if recording { Sink::Lent(handle) } else { Sink::Inert })
    }

    /// A span that nothing is done with.
    pub fn inert() -> Span<'static> {
        Span(Sink::Inert)
    }

    /// A stage span for tests, and the record of what is done with it and below it.
    pub fn recorded() -> (Span<'static>, Record) {
        let record = Record::default();
        (record.open("stage", None), record)
    }

    /// Whether anybody sees what is done with this span.
    pub fn is_recording(&self) -> bool {
        !matches!(self.0, Sink::Inert)
    }

    /// Opens a child that starts now and ends when it is dropped.
    pub fn child(&self, name: &str) -> Span<'static> {
        match &self.0 {
            Sink::Inert => Span::inert(),
            Sink::Lent(handle) => Span(Sink::Owned(handle.child(name))),
            Sink::Owned(handle) => Span(Sink::Owned(handle.child(name))),
            Sink::Recorded { record, index } => record.open(name, Some(*index)),
        }
    }

    /// Sets attributes; a key that was set before takes the new value.
    pub fn set<K: Into<String>, A: IntoIterator<Item = (K, Value)>>(&self, attributes: impl FnOnce() -> A) {
        if !self.is_recording() {
            return;
        }
        let attributes = collect(attributes());
        match &self.0 {
            Sink::Inert => {}
            Sink::Lent(handle) => handle.set_attributes(&attributes),
            Sink::Owned(handle) => handle.set_attributes(&attributes),
            Sink::Recorded { record, index } => record.with(*index, |span| {
                for (key, value) in attributes {
                    span.attributes.retain(|(known, _)| *known != key);
                    span.attributes.push((key, value));
                }
            }),
        }
    }

    /// Adds an event that happens now.
    pub fn event<K: Into<String>, A: IntoIterator<Item = (K, Value)>>(&self, name: &str, attributes: impl FnOnce() -> A) {
        if !self.is_recording() {
            return;
        }
        let attributes = collect(attributes());
        match &self.0 {
            Sink::Inert => {}
            Sink::Lent(handle) => handle.add_event(name, &attributes),
            Sink::Owned(handle) => handle.add_event(name, &attributes),
            Sink::Recorded { record, index } => record.with(*index, |span| {
                span.events.push(RecordedEvent { name: name.into(), attributes });
            }),
        }
    }

    /// Sets the span's status to error. The call itself goes on.
    pub fn fail(&self, message: &str) {
        match &self.0 {
            Sink::Inert => {}
            Sink::Lent(handle) => handle.fail(message),
            Sink::Owned(handle) => handle.fail(message),
            Sink::Recorded { record, index } => {
                record.with(*index, |span| span.error = Some(message.into()));
            }
        }
    }

    /// The identity of this span; `None` when nobody records, and in tests.
    pub fn context(&self) -> Option<SpanContext> {
        match &self.0 {
            Sink::Inert | Sink::Recorded { .. } => None,
            Sink::Lent(handle) => Some(handle.context()),
            Sink::Owned(handle) => Some(handle.context()),
        }
    }
}

/// What was done with a recorded stage span and the spans below it.
#[derive(Clone, Debug, Default)]
pub struct Record(Rc<RefCell<Vec<RecordedSpan>>>);

/// One span of a [`Record`].
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedSpan {
    /// `stage` for the stage span.
    pub name: String,
    /// The place of the parent in [`Record::spans`].
    pub parent: Option<usize>,
    /// In the order in which they were last set.
    pub attributes: Vec<(String, Value)>,
    /// In the order in which they happened.
    pub events: Vec<RecordedEvent>,
    /// The message of the last `fail`.
    pub error: Option<String>,
    /// Whether the span was dropped.
    pub ended: bool,
}

/// One event of a [`RecordedSpan`].
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedEvent {
    /// Its name.
    pub name: String,
    /// Its attributes.
    pub attributes: Vec<(String, Value)>,
}

impl RecordedSpan {
    /// The value of an attribute.
    pub fn attribute(&self, key: &str) -> Option<&Value> {
        let found = self.attributes.iter().find(|(known, _)| known == key);
        found.map(|(_, value)| value)
    }
}

impl Record {
    /// All spans in the order in which they were opened, the stage span first.
    pub fn spans(&self) -> Vec<RecordedSpan> {
        self.0.borrow().clone()
    }

    /// The first span of that name.
    pub fn span(&self, name: &str) -> Option<RecordedSpan> {
        let spans = self.0.borrow();
        spans.iter().find(|span| span.name == name).cloned()
    }

    fn open(&self, name: &str, parent: Option<usize>) -> Span<'static> {
        let mut spans = self.0.borrow_mut();
        spans.push(RecordedSpan { name: name.into(), parent, attributes: Vec::new(), events: Vec::new(), error: None, ended: false });
        Span(Sink::Recorded { record: self.clone(), index: spans.len() - 1 })
    }

    fn with(&self, index: usize, change: impl FnOnce(&mut RecordedSpan)) {
        if let Some(span) = self.0.borrow_mut().get_mut(index) {
            change(span);
        }
    }
}

impl Drop for Span<'_> {
    fn drop(&mut self) {
        if let Sink::Recorded { record, index } = &self.0 {
            record.with(*index, |span| span.ended = true);
        }
    }
}

fn collect<K: Into<String>>(attributes: impl IntoIterator<Item = (K, Value)>) -> Vec<(String, Value)> {
    let pairs = attributes.into_iter();
    pairs.map(|(key, value)| (key.into(), value)).collect()
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Value {
        Value::Flag(flag)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Int(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Value {
        Value::Int(number.into())
    }
}

/// What is over the largest signed number becomes that number.
impl From<u64> for Value {
    fn from(number: u64) -> Value {
        Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// What is over the largest signed number becomes that number.
impl From<usize> for Value {
    fn from(number: usize) -> Value {
        Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<f32> for Value {
    fn from(number: f32) -> Value {
        Value::Real(number.into())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Value {
        Value::Real(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inert_span_builds_no_attributes() {
        let span = Span::inert();
        let never = || -> [(&str, Value); 1] { panic!("built attributes for nobody") };
        span.set(never);
        span.event("event", never);
        span.fail("nobody hears it");
        let child = span.child("child");
        assert!(!child.is_recording());
        child.set(never);
        assert!(child.context().is_none());
    }

    #[test]
    fn a_record_keeps_the_tree() {
        let (stage, record) = Span::recorded();
        let child = stage.child("child");
        child.set(|| [("rows", Value::from(1_u32)), ("kind", "a".into())]);
        child.set(|| [("rows", Value::from(2_u32))]);
        child.child("grandchild").fail("broken");
        stage.event("decided", || [("flag", Value::from(true))]);

        let spans = record.spans();
        let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
        assert_eq!(names, ["stage", "child", "grandchild"]);
        assert_eq!(spans[1].parent, Some(0));
        assert_eq!(spans[2].parent, Some(1));
        assert_eq!(spans[1].attribute("rows"), Some(&Value::Int(2)));
        assert_eq!(spans[1].attributes.len(), 2);
        assert_eq!(spans[2].error.as_deref(), Some("broken"));
        assert!(spans[2].ended && !spans[1].ended);
        assert_eq!(spans[0].events[0].name, "decided");

        drop(child);
        assert!(record.span("child").expect("it was opened").ended);
    }
}
