//! Draws the spans of a ledger as a tree with times, for people.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use serde_json::Value as Json;

/// Width of the waterfall in characters.
const BAR_WIDTH: usize = 30;

/// Attributes worth a place on the line, in this order.
const SHOWN: &[&str] = &[
    "plugin.name",
    "retrieval.query_class",
    "retrieval.rrf_k",
    "retrieval.hits",
    "retrieval.fused_docs",
    "retrieval.findings",
    "faiss.index_kind",
    "duckdb.rows",
    "plugin.fallback",
    "error.type",
];

/// The tree of a run: one line a span with start, duration, bar and chosen
/// attributes; children in order of their start. Spans whose parent is not in the
/// ledger are roots. A ledger without spans gives an empty text.
pub fn render(lines: &[Json]) -> String {
    let mut spans: Vec<Node> = lines.iter().filter(|line| line["line"] == "span").filter_map(Node::read).collect();
    // Stages that began and never ended are part of the story.
    let ended: Vec<String> = spans.iter().map(|span| span.id.clone()).collect();
    for line in lines.iter().filter(|line| line["line"] == "span.start") {
        if let Some(node) = Node::read(line).filter(|node| !ended.contains(&node.id)) {
            spans.push(Node { unfinished: true, ..node });
        }
    }
    spans.sort_by(|a, b| (a.start_ns, &a.id).cmp(&(b.start_ns, &b.id)));
    let known: HashMap<&str, usize> = spans.iter().enumerate().map(|(at, span)| (span.id.as_str(), at)).collect();
    let mut children: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
    for (at, span) in spans.iter().enumerate() {
        let parent = span.parent.as_deref().and_then(|id| known.get(id).copied()).filter(|parent| *parent != at);
        children.entry(parent).or_default().push(at);
    }
    let start = spans.iter().map(|span| span.start_ns).min().unwrap_or(0);
    let end = spans.iter().map(|span| span.start_ns + i128::from(span.duration_us) * 1_000).max().unwrap_or(0);
    let mut out = String::new();
    let scale = Scale { start, total_ns: (end - start).max(1) };
    for root in children.get(&None).cloned().unwrap_or_default() {
        draw(&mut out, &spans, &children, &scale, root, "", None);
    }
    out
}

/// One line of a waterfall.
pub struct Bar<'a> {
    /// With the lines of the tree before it.
    pub label: &'a str,
    /// From the begin of the whole.
    pub offset_ns: i128,
    /// `None` for what did not end.
    pub duration_us: Option<u64>,
    /// How long it is drawn when it did not end.
    pub open_us: u64,
    pub failed: bool,
    pub notes: &'a [String],
}

impl Bar<'_> {
    /// Adds the line to `out`. `total_ns`, at least 1, is as wide as the waterfall.
    pub fn draw(&self, out: &mut String, total_ns: i128) {
        let cell = |ns: i128| ((ns * BAR_WIDTH as i128) / total_ns).clamp(0, BAR_WIDTH as i128 - 1) as usize;
        let first = cell(self.offset_ns);
        let last = cell(self.offset_ns + i128::from(self.duration_us.unwrap_or(self.open_us)) * 1_000);
        let bar: String = (0..BAR_WIDTH).map(|x| if (first..=last).contains(&x) { '█' } else { '·' }).collect();
        let time = self.duration_us.map_or_else(|| "unfinished".to_owned(), |us| format!("{:.3} ms", us as f64 / 1_000.0));
        let mark = if self.failed { " ✗" } else { "" };
        let notes = if self.notes.is_empty() { String::new() } else { format!("  {}", self.notes.join(", ")) };
        // Writing to a String can't fail.
        let _ = writeln!(out, "{:<46} {time:>12}  {bar}{mark}{notes}", self.label);
    }
}

/// What of a span's attributes is worth a place on its line.
pub fn notes(attributes: &Json) -> Vec<String> {
    SHOWN
        .iter()
        .filter_map(|key| match &attributes[*key] {
            Json::Null => None,
            Json::String(text) => Some(text.clone()),
            other => Some(format!("{}={other}", key.rsplit('.').next().unwrap_or(key))),
        })
        .collect()
}

struct Node {
    id: String,
    parent: Option<String>,
    name: String,
    start_ns: i128,
    duration_us: u64,
    failed: bool,
    unfinished: bool,
    notes: Vec<String>,
}

struct Scale {
    start: i128,
    total_ns: i128,
}

impl Node {
    fn read(line: &Json) -> Option<Node> {
        let at = time::OffsetDateTime::parse(line["at"].as_str()?, &time::format_description::well_known::Rfc3339).ok()?;
        Some(Node {
            id: line["span_id"].as_str()?.to_owned(),
            parent: line["parent_span_id"].as_str().map(str::to_owned),
            name: line["name"].as_str()?.to_owned(),
            start_ns: at.unix_timestamp_nanos(),
            duration_us: line["duration_us"].as_u64().unwrap_or(0),
            failed: line["status"] == "error",
            unfinished: false,
            notes: notes(&line["attributes"]),
        })
    }
}

/// `branch` is `None` for a root, else whether this is its parent's last child.
fn draw(
    out: &mut String,
    spans: &[Node],
    children: &BTreeMap<Option<usize>, Vec<usize>>,
    scale: &Scale,
    at: usize,
    indent: &str,
    branch: Option<bool>,
) {
    let span = &spans[at];
    let (elbow, below) = match branch {
        None => ("", ""),
        Some(true) => ("└─ ", "   "),
        Some(false) => ("├─ ", "│  "),
    };
    let bar = Bar {
        label: &format!("{indent}{elbow}{}", span.name),
        offset_ns: span.start_ns - scale.start,
        duration_us: (!span.unfinished).then_some(span.duration_us),
        open_us: 0,
        failed: span.failed,
        notes: &span.notes,
    };
    bar.draw(out, scale.total_ns);
    let below = format!("{indent}{below}");
    let mine = children.get(&Some(at)).map_or(&[][..], Vec::as_slice);
    for (number, child) in mine.iter().enumerate() {
        draw(out, spans, children, scale, *child, &below, Some(number + 1 == mine.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn children_stand_below_their_parent_in_order_of_start() {
        let span = |id: &str, parent: Option<&str>, name: &str, ms: u32, duration: u64| {
            json!({"line": "span", "span_id": id, "parent_span_id": parent, "name": name, "status": "ok",
                   "at": format!("2026-01-01T00:00:00.{ms:03}Z"), "duration_us": duration, "attributes": {}})
        };
        let lines = [
            span("c", Some("a"), "second", 5, 4_000),
            span("b", Some("a"), "first", 1, 2_000),
            span("a", Some("elsewhere"), "root", 0, 10_000),
            json!({"line": "span.start", "span_id": "d", "parent_span_id": "c", "name": "cut short", "at": "2026-01-01T00:00:00.006Z"}),
        ];
        let text = render(&lines);
        let names: Vec<&str> = text.lines().map(|line| line[..40].trim_end()).map(|line| line.split("  ").next().unwrap_or(line)).collect();
        assert_eq!(names.len(), 4, "{text}");
        assert!(text.lines().nth(1).unwrap().starts_with("├─ first"), "{text}");
        assert!(text.lines().nth(2).unwrap().starts_with("└─ second"), "{text}");
        assert!(text.lines().nth(3).unwrap().contains("cut short") && text.contains("unfinished"), "{text}");
        assert_eq!(render(&[]), "");
    }
}
