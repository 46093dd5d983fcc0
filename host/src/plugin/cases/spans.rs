//! Finds the spans that a case expects among those that a call opened.

use serde_json::Value as Json;

use super::ExpectedSpan;
use super::diff::{Difference, SpanProblem};
use super::expect::{ObservedSpan, Tolerance};

/// Each expected span takes the first fitting one after the span before it. What fits
/// early leaves most to the later ones, so nothing is missed that another choice would
/// have found.
pub(super) fn check(expected: &[ExpectedSpan], observed: &[ObservedSpan], tolerance: Tolerance, found: &mut Vec<Difference>) {
    let mut from = 0;
    let mut taken = vec![false; observed.len()];
    let mut last = None;
    for wanted in expected {
        let place = |fits: &dyn Fn(&ObservedSpan) -> bool| (from..observed.len()).find(|at| fits(&observed[*at]));
        let named = |span: &ObservedSpan| span.name == wanted.name;
        let placed = |span: &ObservedSpan| named(span) && wanted.parent.as_ref().is_none_or(|parent| span.parent.as_ref() == Some(parent));
        let at = place(&|span| placed(span) && problems(wanted, span, tolerance).is_empty())
            .or_else(|| place(&placed))
            .or_else(|| place(&named));
        let problems = match at {
            Some(at) if placed(&observed[at]) => problems(wanted, &observed[at], tolerance),
            Some(at) => vec![SpanProblem::Parent { expected: wanted.parent.clone().unwrap_or_default(), got: observed[at].parent.clone() }],
            None => {
                let earlier = (0..from).any(|at| !taken[at] && placed(&observed[at]));
                match &last {
                    Some(after) if earlier => vec![SpanProblem::Order { after: String::clone(after) }],
                    _ => vec![SpanProblem::Missing { there: observed.iter().map(|span| span.name.clone()).collect() }],
                }
            }
        };
        found.extend(problems.into_iter().map(|problem| Difference::Span { name: wanted.name.clone(), problem }));
        if let Some(at) = at {
            from = at + 1;
            taken[at] = true;
            last = Some(wanted.name.clone());
        }
    }
}

/// What of attributes and events is otherwise.
fn problems(expected: &ExpectedSpan, got: &ObservedSpan, tolerance: Tolerance) -> Vec<SpanProblem> {
    let mut found = Vec::new();
    for (key, wanted) in &expected.attributes {
        let value = got.attributes.get(key);
        if !value.is_some_and(|value| same(wanted, value, tolerance)) {
            found.push(SpanProblem::Attribute { key: key.clone(), expected: wanted.clone(), got: value.cloned() });
        }
    }
    let mut events = got.events.iter();
    if !expected.events.iter().all(|wanted| events.any(|event| event == wanted)) {
        found.push(SpanProblem::Events { expected: expected.events.clone(), got: got.events.clone() });
    }
    found
}

/// Whole numbers are counts and ids, which are the same or not. Others may be off.
fn same(expected: &Json, got: &Json, tolerance: Tolerance) -> bool {
    match (expected, got) {
        (Json::Number(a), Json::Number(b)) if a.is_f64() || b.is_f64() => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => tolerance.agrees(a, b),
            _ => false,
        },
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b, tolerance)),
        _ => expected == got,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn span(name: &str, parent: &str, attributes: Json, events: &[&str]) -> ObservedSpan {
        let attributes = attributes.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
        let events = events.iter().map(|event| (*event).to_owned()).collect();
        ObservedSpan { name: name.to_owned(), parent: Some(parent.to_owned()), attributes, events, failed: false }
    }

    fn check(expected: Json, expect: &[&str]) {
        let observed = [
            span("read", "stage", json!({"rows": 3, "share": 0.5, "model": "none", "ids": [1, 2.5]}), &["first", "second", "last"]),
            span("words", "read", json!({"rows": 1}), &[]),
            span("score", "stage", json!({"rows": 3}), &[]),
            span("words", "score", json!({"rows": 2}), &[]),
        ];
        let expected: Vec<ExpectedSpan> = serde_json::from_value(expected).unwrap();
        let mut found = Vec::new();
        super::check(&expected, &observed, Tolerance(1e-5), &mut found);
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn spans_are_found_in_order_with_others_between_them() {
        check(json!([{"name": "read"}, {"name": "score"}]), &[]);
        check(json!([{"name": "read", "parent": "stage"}, {"name": "words", "parent": "score"}]), &[]);
        check(json!([{"name": "words"}, {"name": "words"}]), &[]);
        // The first of the name doesn't fit, the second does.
        check(json!([{"name": "words", "attributes": {"rows": 2}}]), &[]);
        check(json!([{"name": "score"}, {"name": "read"}]), &["span `read` was opened before `score`; expected after it"]);
    }

    #[test]
    fn missing_spans_are_named_with_those_that_were_there() {
        let there = "there were: read, words, score, words";
        check(json!([{"name": "rank"}]), &[&format!("span `rank` is missing; {there}")]);
        check(json!([{"name": "read"}, {"name": "read"}]), &[&format!("span `read` is missing; {there}")]);
        check(json!([{"name": "rank"}, {"name": "read"}, {"name": "score"}]), &[&format!("span `rank` is missing; {there}")]);
        check(json!([{"name": "score", "parent": "read"}]), &["span `score` is in `stage`; expected in `read`"]);
        let mut found = Vec::new();
        super::check(&[ExpectedSpan { name: "a".into(), ..ExpectedSpan::default() }], &[], Tolerance(0.0), &mut found);
        assert_eq!(found[0].to_string(), "span `a` is missing; there were none");
    }

    #[test]
    fn attributes_and_events_are_a_part_of_what_is_there() {
        let read = |attributes: Json, events: Json| json!([{"name": "read", "attributes": attributes, "events": events}]);
        check(read(json!({"rows": 3, "share": 0.500004, "model": "none", "ids": [1, 2.50001]}), json!(["first", "last"])), &[]);
        check(read(json!({"rows": 3.00001}), json!([])), &[]);
        check(read(json!({"rows": 4}), json!([])), &["span `read`: attribute `rows`: expected 4, got 3"]);
        check(read(json!({"share": 0.51}), json!([])), &["span `read`: attribute `share`: expected 0.51, got 0.5"]);
        check(read(json!({"model": true}), json!([])), &["span `read`: attribute `model`: expected true, got \"none\""]);
        check(read(json!({"ids": [1]}), json!([])), &["span `read`: attribute `ids`: expected [1], got [1,2.5]"]);
        check(read(json!({"depth": 1}), json!([])), &["span `read`: attribute `depth`: expected 1, got none"]);
        check(
            read(json!({}), json!(["last", "first"])),
            &["span `read`: events: expected last, first in this order, got first, second, last"],
        );
    }

    #[test]
    fn large_whole_numbers_are_the_same_or_not() {
        let wide = Tolerance(0.5);
        assert!(!same(&json!(u64::MAX), &json!(u64::MAX - 1), wide));
        assert!(!same(&json!(1_000_000), &json!(1_000_001), wide));
        assert!(same(&json!(1_000_000), &json!(1_000_001.0), wide));
        assert!(same(&json!(i64::MIN), &json!(i64::MIN), wide));
    }
}
