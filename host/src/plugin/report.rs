//! What a call did besides its answer: what was dropped, what it said of itself, and,
//! when somebody observes it, its spans.

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry::Value;
use serde_json::{Map, Value as Json};

use super::failure::PluginFailure;

/// The outcome of a call, and what happened on the side.
#[derive(Debug)]
pub struct Called<T> {
    pub outcome: Result<T, PluginFailure>,
    pub report: CallReport,
}

/// What happened on the side of a call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallReport {
    pub dropped: Dropped,
    pub explained: Explained,
    /// Calls of `telemetry` that the guest made.
    pub telemetry_calls: u64,
    /// Processor time of the guest, with the host calls it made.
    pub guest_time: Duration,
    /// Highest sum of the guest's memory; 0 when no instance was used.
    pub memory_bytes_peak: usize,
    /// The stage span, and the guest's spans in the order in which they were opened; only
    /// of an observed call.
    pub spans: Vec<GuestSpanFact>,
}

/// Items of telemetry over a limit, by the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    pub spans: u64,
    pub attributes: u64,
    pub events: u64,
    /// Items that were too long for the bytes that were left.
    pub bytes: u64,
    pub log_lines: u64,
}

/// What a plugin said of its own judgement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explained {
    pub features: Map<String, Json>,
    pub part_names: Vec<String>,
    /// Row-major, rows × names.
    pub parts: Vec<f32>,
}

/// A span of the guest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GuestSpanFact {
    pub name: String,
    /// Its parent's place in the list; `None` for the stage span itself.
    pub parent: Option<usize>,
    pub attributes: BTreeMap<String, Json>,
    pub events: Vec<String>,
    pub failed: bool,
}

impl Dropped {
    /// The limits that were reached, as causes, with how many items each cost.
    pub fn by_limit(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("limit.spans", self.spans),
            ("limit.attributes", self.attributes),
            ("limit.events", self.events),
            ("limit.telemetry_bytes", self.bytes),
            ("limit.log_lines", self.log_lines),
        ]
        .into_iter()
        .filter(|(_, count)| *count > 0)
    }

    pub fn total(&self) -> u64 {
        self.by_limit().map(|(_, count)| count).sum()
    }
}

impl Explained {
    pub(super) fn feature(&mut self, name: String, value: &Value) {
        self.features.insert(name, json(value));
    }

    /// The parts of a row, by name, in the plugin's order.
    pub fn parts_of(&self, row: usize) -> Option<Map<String, Json>> {
        let width = self.part_names.len();
        let values = self.parts.get(row * width..(row + 1) * width).filter(|_| width > 0)?;
        Some(self.part_names.iter().cloned().zip(values.iter().map(|value| Json::from(*value))).collect())
    }
}

impl GuestSpanFact {
    pub(super) fn set(&mut self, key: &str, value: &Value) {
        self.attributes.insert(key.to_owned(), json(value));
    }
}

fn json(value: &Value) -> Json {
    match value {
        Value::Bool(value) => Json::from(*value),
        Value::I64(value) => Json::from(*value),
        Value::F64(value) if value.is_finite() => Json::from(*value),
        other => Json::from(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_belong_to_rows_and_limits_have_names() {
        let explained = Explained { part_names: vec!["a".into(), "b".into()], parts: vec![1.0, 2.0, 3.0, 4.0], ..Explained::default() };
        assert_eq!(explained.parts_of(1).map(Json::Object), Some(serde_json::json!({"a": 3.0, "b": 4.0})));
        assert_eq!(explained.parts_of(2), None);
        assert_eq!(Explained::default().parts_of(0), None);

        let dropped = Dropped { spans: 2, log_lines: 1, ..Dropped::default() };
        assert_eq!(dropped.by_limit().collect::<Vec<_>>(), [("limit.spans", 2), ("limit.log_lines", 1)]);
        assert_eq!(dropped.total(), 3);
    }
}
