//! Makes a long report fit: first goes what is told elsewhere in it or tells least.

use serde_json::{Value as Json, json};

/// Findings that stay when not all can.
const FINDINGS_KEPT: usize = 10;
/// Characters that stay of each text when texts are all that is left to cut.
const TEXT_CHARS_KEPT: usize = 500;
/// Items that stay of each list then.
const ITEMS_KEPT: usize = 20;

/// Something that can be left out, and how.
type Step = (&'static str, fn(&mut Json));

/// What is left out, in this order, until the report fits.
const STEPS: [Step; 7] = [
    ("the waterfall", |report| report["waterfall"] = json!("")),
    ("events of stages", |report| each_stage(&mut report["stages"], &mut |stage| empty(&mut stage["events"]))),
    ("attributes of stages", |report| each_stage(&mut report["stages"], &mut |stage| empty(&mut stage["attributes"]))),
    ("findings after the tenth", |report| keep(&mut report["findings"], FINDINGS_KEPT)),
    ("stages within stages", stages_within),
    ("the request", |report| empty(&mut report["request"])),
    ("ends of long texts and lists", shorten),
];

/// Leaves things out of a report until its JSON has at most `bytes_max` bytes, and
/// names them in `left_out`; a report that fits stays as it is. Every key stays.
pub fn json(report: &mut Json, bytes_max: usize) -> Vec<&'static str> {
    let mut left_out = Vec::new();
    for (what, step) in STEPS {
        if report.to_string().len() <= bytes_max {
            break;
        }
        // Whoever indexes JSON that is no object would make it one.
        if report.is_object() {
            step(report);
            left_out.push(what);
            report["left_out"] = json!(left_out);
        }
    }
    left_out
}

/// Cuts a text at the last line that fits into `bytes_max`, and says so.
pub fn text(text: String, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text;
    }
    let mut end = 0;
    for line in text.split_inclusive('\n') {
        if end + line.len() > bytes_max {
            break;
        }
        end += line.len();
    }
    format!("{}\n… cut here: the whole report has {} bytes\n", &text[..end], text.len())
}

fn each_stage(stages: &mut Json, change: &mut dyn FnMut(&mut Json)) {
    for stage in stages.as_array_mut().into_iter().flatten().filter(|stage| stage.is_object()) {
        change(stage);
        each_stage(&mut stage["children"], change);
    }
}

/// The root holds the stages of the run; what is below those goes.
fn stages_within(report: &mut Json) {
    for root in report["stages"].as_array_mut().into_iter().flatten() {
        for stage in root["children"].as_array_mut().into_iter().flatten() {
            empty(&mut stage["children"]);
        }
    }
}

fn empty(value: &mut Json) {
    match value {
        Json::Array(items) => items.clear(),
        Json::Object(members) => members.clear(),
        _ => {}
    }
}

fn keep(list: &mut Json, items: usize) {
    if let Json::Array(list) = list {
        list.truncate(items);
    }
}

fn shorten(value: &mut Json) {
    match value {
        Json::String(text) => {
            if let Some((end, _)) = text.char_indices().nth(TEXT_CHARS_KEPT) {
                text.truncate(end);
                text.push('…');
            }
        }
        Json::Array(items) => {
            items.truncate(ITEMS_KEPT);
            items.iter_mut().for_each(shorten);
        }
        Json::Object(members) => members.values_mut().for_each(shorten),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(events: usize, findings: usize, warning: usize) -> Json {
        let stage = |children: Vec<Json>| json!({"name": "s", "attributes": {"a": "x".repeat(100)}, "events": vec![json!({"e": 1}); events], "children": children});
        json!({
            "outcome": "complete",
            "stages": [stage(vec![stage(vec![stage(Vec::new())])])],
            "findings": vec![json!({"path": "a.rs"}); findings],
            "warnings": ["é".repeat(warning)],
            "request": {"query": "q"},
            "waterfall": "w".repeat(100),
        })
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        let mut report = long(1, 20, 5);
        let before = report.clone();
        assert!(json(&mut report, before.to_string().len()).is_empty());
        assert_eq!(report, before);
        assert_eq!(text("a\nb\n".into(), 4), "a\nb\n");
    }

    #[test]
    fn the_least_goes_first_and_is_named() {
        for (report, bytes_max, expect) in [
            (long(1, 1, 1), 700, &["the waterfall"][..]),
            (long(500, 1, 1), 800, &["the waterfall", "events of stages"]),
            (long(1, 500, 1), 800, &["the waterfall", "events of stages", "attributes of stages", "findings after the tenth"]),
        ] {
            let mut cut = report.clone();
            assert_eq!(json(&mut cut, bytes_max), expect);
            assert!(cut.to_string().len() <= bytes_max, "{} bytes", cut.to_string().len());
            assert_eq!(cut["left_out"], json!(expect));
            for key in report.as_object().unwrap().keys() {
                assert!(cut.get(key).is_some(), "{key} is gone");
            }
        }
        let mut everything = long(100, 100, 100_000);
        assert_eq!(json(&mut everything, 3_000).len(), STEPS.len());
        assert!(everything.to_string().len() <= 3_000);
        assert_eq!(json(&mut json!("no report"), 1), Vec::<&str>::new());
    }

    #[test]
    fn texts_are_cut_at_lines() {
        let cut = text("one\ntwo\nthree\n".into(), 9);
        assert_eq!(cut, "one\ntwo\n\n… cut here: the whole report has 14 bytes\n");
    }
}
