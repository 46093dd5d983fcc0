//! A ledger's lines as spans with parents, whatever the lines hold. Everything a
//! report says is read off from here.

use std::collections::HashMap;

use serde_json::{Map, Value as Json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::stages;

/// Spans of one run that are told. The pipeline writes some twenty, plugins as many as
/// their limits allow.
pub(super) const SPANS_MAX: usize = 5_000;
/// Events of one run that are told.
pub(super) const EVENTS_MAX: usize = 5_000;
/// Levels of the tree. What hangs deeper is shown on the last level: whoever walks a
/// report, JSON parsers among them, may do so by recursion.
pub(super) const DEPTH_MAX: usize = 24;

/// What the lines of a run say.
pub(super) struct Trail<'a> {
    pub start: Option<&'a Json>,
    pub end: Option<&'a Json>,
    /// Nanoseconds since 1970.
    pub start_ns: i128,
    /// The last sign of life, in microseconds after the start.
    pub last_us: u64,
    /// In the order in which they began.
    pub spans: Vec<SpanFacts<'a>>,
    pub root: Option<usize>,
    pub steps: Vec<&'a Json>,
    /// In the order written.
    pub events: Vec<EventFacts<'a>>,
    /// Spans and events that were too many.
    pub left_out: u64,
}

/// A span, ended or not.
pub(super) struct SpanFacts<'a> {
    pub id: &'a str,
    pub name: &'a str,
    /// Always earlier in the tree: parents have no circles.
    pub parent: Option<usize>,
    /// As it is written, known or not.
    parent_id: Option<&'a str>,
    /// 0 for one without a parent.
    pub depth: usize,
    pub started_us: u64,
    /// Whether its begin was written down: it is a stage, or the run.
    pub announced: bool,
    pub ended: Option<EndFacts<'a>>,
}

/// What is known of a span that ended.
pub(super) struct EndFacts<'a> {
    /// Number of its line: the order in which spans ended.
    pub line: usize,
    pub kind: Option<&'a str>,
    pub duration_us: u64,
    pub failed: bool,
    pub error: Option<&'a str>,
    pub attributes: Option<&'a Map<String, Json>>,
}

pub(super) struct EventFacts<'a> {
    pub name: &'a str,
    /// Place of its span in [`Trail::spans`].
    pub span: Option<usize>,
    pub at_us: u64,
    pub attributes: Option<&'a Map<String, Json>>,
}

impl<'a> SpanFacts<'a> {
    pub fn attribute(&self, key: &str) -> Option<&'a Json> {
        self.ended.as_ref()?.attributes?.get(key)
    }

    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.attribute(key)?.as_str()
    }

    pub fn number(&self, key: &str) -> Option<u64> {
        self.attribute(key)?.as_u64()
    }

    pub fn failed(&self) -> bool {
        self.ended.as_ref().is_some_and(|end| end.failed)
    }

    /// The class of its failure; `None` when it didn't fail.
    pub fn error_class(&self) -> Option<&'a str> {
        self.failed().then(|| self.text("error.type").unwrap_or("unknown"))
    }

    pub fn duration_us(&self) -> Option<u64> {
        self.ended.as_ref().map(|end| end.duration_us)
    }

    /// When it ended; one that didn't has not ended before anything else.
    pub fn ended_us(&self) -> u64 {
        self.duration_us().map_or(u64::MAX, |duration| self.started_us.saturating_add(duration))
    }
}

impl<'a> EventFacts<'a> {
    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.attributes?.get(key)?.as_str()
    }
}

impl<'a> Trail<'a> {
    pub fn of(lines: &'a [Json]) -> Trail<'a> {
        let kind = |line: &Json, kind: &str| line["line"] == kind;
        let start = lines.iter().find(|line| kind(line, "run.start"));
        let times = lines.iter().filter_map(at_ns);
        let start_ns = start.and_then(at_ns).or_else(|| times.clone().min()).unwrap_or(0);
        let mut trail = Trail {
            start,
            end: lines.iter().rev().find(|line| kind(line, "run.end")),
            start_ns,
            last_us: times.max().map_or(0, |last| micros(last - start_ns)),
            spans: Vec::new(),
            root: None,
            steps: lines.iter().filter(|line| kind(line, "step")).collect(),
            events: Vec::new(),
            left_out: 0,
        };
        trail.read_spans(lines);
        let places: HashMap<&str, usize> = trail.spans.iter().enumerate().map(|(place, span)| (span.id, place)).collect();
        trail.hang(&places);
        trail.read_events(lines, &places);
        trail.root = trail.find_root(&places);
        let ends = trail.spans.iter().filter_map(|span| Some(span.started_us.saturating_add(span.duration_us()?)));
        trail.last_us = ends.max().unwrap_or(0).max(trail.last_us);
        trail
    }

    pub fn root_span(&self) -> Option<&SpanFacts<'a>> {
        self.spans.get(self.root?)
    }

    /// Spans of a name, in the order in which they began.
    pub fn named<'t>(&'t self, name: &str) -> impl Iterator<Item = &'t SpanFacts<'a>> {
        self.spans.iter().filter(move |span| span.name == name)
    }

    /// Whether a span is right below the run, or below an arm that shares the run's answer:
    /// other stages are parts of one, or of a comparison.
    pub fn is_of_run(&self, span: &SpanFacts<'_>) -> bool {
        let of_team = |parent: usize| self.spans[parent].name == stages::TEAM && self.spans[parent].parent == self.root;
        span.parent == self.root || span.parent.is_some_and(of_team)
    }

    fn read_spans(&mut self, lines: &'a [Json]) {
        let mut places: HashMap<&str, usize> = HashMap::new();
        for (number, line) in lines.iter().enumerate() {
            let ends = line["line"] == "span";
            // The run itself has begun with its first line, announced or not.
            let begins = line["line"] == "span.start" || line["line"] == "run.start";
            let (Some(id), true) = (line["span_id"].as_str(), ends || begins) else { continue };
            let place = match places.get(id) {
                Some(place) => *place,
                None if self.spans.len() >= SPANS_MAX => {
                    self.left_out += 1;
                    continue;
                }
                None => {
                    places.insert(id, self.spans.len());
                    self.spans.push(SpanFacts {
                        id,
                        name: line["name"].as_str().unwrap_or("unnamed"),
                        parent: None,
                        parent_id: line["parent_span_id"].as_str(),
                        depth: 0,
                        started_us: at_ns(line).map_or(0, |at| micros(at - self.start_ns)),
                        announced: false,
                        ended: None,
                    });
                    self.spans.len() - 1
                }
            };
            let span = &mut self.spans[place];
            span.announced |= begins;
            if ends && span.ended.is_none() {
                span.ended = Some(EndFacts {
                    line: number,
                    kind: line["kind"].as_str(),
                    duration_us: line["duration_us"].as_u64().unwrap_or(0),
                    failed: line["status"] == "error",
                    error: line["error"].as_str(),
                    attributes: line["attributes"].as_object(),
                });
            }
        }
        // Of those that began at once, the one that was mentioned first stays first.
        self.spans.sort_by_key(|span| span.started_us);
    }

    /// Finds parents. Circles are cut open, and what is too deep is hung higher.
    fn hang(&mut self, places: &HashMap<&str, usize>) {
        #[derive(Clone, Copy, PartialEq)]
        enum Seen {
            No,
            OnTheWay,
            Done,
        }
        let mut seen = vec![Seen::No; self.spans.len()];
        let mut parents: Vec<Option<usize>> = self.spans.iter().map(|span| span.parent_id.and_then(|id| places.get(id).copied())).collect();
        for place in 0..self.spans.len() {
            let mut way = Vec::new();
            let mut next = Some(place);
            while let Some(at) = next.filter(|at| seen[*at] == Seen::No) {
                seen[at] = Seen::OnTheWay;
                way.push(at);
                next = parents[at];
                if next.is_some_and(|parent| seen[parent] == Seen::OnTheWay) {
                    parents[at] = None;
                    next = None;
                }
            }
            // From the top down: each parent has its depth before its children.
            for at in way.into_iter().rev() {
                seen[at] = Seen::Done;
                let parent = parents[at].map(|parent| {
                    let too_deep = self.spans[parent].depth + 1 >= DEPTH_MAX;
                    if too_deep { self.spans[parent].parent.unwrap_or(parent) } else { parent }
                });
                self.spans[at].parent = parent;
                self.spans[at].depth = parent.map_or(0, |parent| self.spans[parent].depth + 1);
            }
        }
    }

    fn read_events(&mut self, lines: &'a [Json], places: &HashMap<&str, usize>) {
        for line in lines.iter().filter(|line| line["line"] == "event") {
            if self.events.len() >= EVENTS_MAX {
                self.left_out += 1;
                continue;
            }
            self.events.push(EventFacts {
                name: line["name"].as_str().unwrap_or("unnamed"),
                span: line["span_id"].as_str().and_then(|id| places.get(id).copied()),
                at_us: at_ns(line).map_or(0, |at| micros(at - self.start_ns)),
                attributes: line["attributes"].as_object(),
            });
        }
    }

    fn find_root(&self, places: &HashMap<&str, usize>) -> Option<usize> {
        let named = self.start.and_then(|start| places.get(start["span_id"].as_str()?).copied());
        let server = || self.spans.iter().position(|span| span.ended.as_ref().is_some_and(|end| end.kind == Some("server")));
        named.or_else(server)
    }
}

fn at_ns(line: &Json) -> Option<i128> {
    Some(OffsetDateTime::parse(line["at"].as_str()?, &Rfc3339).ok()?.unix_timestamp_nanos())
}

/// 0 for times before the start, which a clock that is set back gives.
fn micros(ns: i128) -> u64 {
    u64::try_from((ns / 1_000).max(0)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn span(id: &str, parent: Option<&str>) -> Json {
        json!({"line": "span", "name": id, "span_id": id, "parent_span_id": parent, "at": "2026-01-01T00:00:00Z"})
    }

    #[test]
    fn circles_are_cut_and_deep_chains_are_hung_higher() {
        let circle = [span("a", Some("c")), span("b", Some("a")), span("c", Some("b")), span("d", Some("d")), span("e", Some("b"))];
        let trail = Trail::of(&circle);
        let parents: Vec<Option<&str>> = trail.spans.iter().map(|span| span.parent.map(|parent| trail.spans[parent].name)).collect();
        // Going up from `a`, the way closes at `b`.
        assert_eq!(parents, [Some("c"), None, Some("b"), None, Some("b")]);

        let names: Vec<String> = (0..10_000).map(|number| format!("{number}")).collect();
        let chain: Vec<Json> = (0..names.len()).map(|at| span(&names[at], names.get(at + 1).map(String::as_str))).collect();
        let trail = Trail::of(&chain);
        assert_eq!((trail.spans.len(), trail.left_out), (SPANS_MAX, (names.len() - SPANS_MAX) as u64));
        assert_eq!(trail.spans.iter().map(|span| span.depth).max(), Some(DEPTH_MAX - 1));
    }

    #[test]
    fn times_count_from_the_start_and_never_run_over() {
        let lines = [
            json!({"line": "run.start", "name": "r", "span_id": "r", "at": "2026-01-01T00:00:01Z"}),
            json!({"line": "span.start", "name": "early", "span_id": "a", "parent_span_id": "r", "at": "2026-01-01T00:00:00Z"}),
            json!({"line": "span", "name": "late", "span_id": "b", "at": "2026-01-01T00:00:01.5Z", "duration_us": u64::MAX}),
            json!({"line": "span", "name": "timeless", "span_id": "c", "at": "never", "duration_us": -1}),
        ];
        let trail = Trail::of(&lines);
        let times: Vec<_> = trail.spans.iter().map(|span| (span.name, span.started_us, span.ended_us())).collect();
        assert_eq!(times, [("r", 0, u64::MAX), ("early", 0, u64::MAX), ("timeless", 0, 0), ("late", 500_000, u64::MAX)]);
        assert_eq!(trail.root_span().map(|span| span.name), Some("r"));
        assert_eq!(trail.last_us, u64::MAX);
        assert_eq!(Trail::of(&[]).last_us, 0);
    }
}
