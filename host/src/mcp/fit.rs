//! Keeps an answer within what clients take, and says what was cut.

use serde::Serialize;
use serde_json::Value as Json;

use super::text;
use crate::envelope::{AnswerEnvelope, BlameAnswer, FileSlice, HistoryAnswer};
use crate::experiments::report::{self as experiments, Report as ExperimentReport};
use crate::reports::{ReportFormat, Reported, cut};
use crate::request::RequestError;

/// Characters of an answer, text and structured content together: clients cut at
/// about 25,000 tokens, some count both, and code has three to four characters a
/// token. Each of the two stays below 60,000.
pub const ANSWER_CHARS_MAX: usize = 80_000;
/// Kept free for the sentence that says what was cut, which is written twice.
const NOTICE_CHARS: usize = 1_000;

/// Cuts explanations, then texts, of the last findings first, until the answer fits.
/// Path, lines and provenance of every finding stay.
pub(super) fn envelope(envelope: &mut AnswerEnvelope) {
    let texts: Vec<String> = envelope.findings.iter_mut().map(|finding| std::mem::take(&mut finding.text)).collect();
    let mut frame = frame_chars(envelope, text::answer(envelope).chars().count());
    let unexplained = drop_explanations(envelope, &mut frame);
    let mut room = ANSWER_CHARS_MAX.saturating_sub(frame + NOTICE_CHARS);
    let mut cut_from = None;
    for (finding, text) in envelope.findings.iter_mut().zip(texts) {
        if cut_from.is_some() {
            continue;
        }
        let kept = whole_lines(&text, room);
        if kept < text.len() {
            cut_from = Some((finding.rank, kept > 0));
        }
        room = room.saturating_sub(cost(&text[..kept]));
        finding.text = text[..kept].to_owned();
    }
    if frame + NOTICE_CHARS > ANSWER_CHARS_MAX && envelope.explanation.take().is_some() {
        envelope.warnings.push("the explanation of the stages is left out: the answer would be too long".into());
    }
    if let Some(rank) = unexplained {
        envelope
            .warnings
            .push(format!("explanations from finding {rank} on are left out: the answer would be too long; ask for fewer findings"));
    }
    if let Some((rank, in_part)) = cut_from {
        let how = if in_part { "is cut and the text of those after it left out" } else { "and those after it is left out" };
        envelope.warnings.push(format!(
            "the text of finding {rank} {how}, to keep the answer within {ANSWER_CHARS_MAX} characters; open the files, or ask for fewer findings"
        ));
    }
}

/// Cuts a file's text at the last line that fits; `end_line` then is that line.
pub(super) fn file(slice: &mut FileSlice) {
    let text = std::mem::take(&mut slice.text);
    let frame = frame_chars(slice, text::file(slice).chars().count());
    let room = ANSWER_CHARS_MAX.saturating_sub(frame + NOTICE_CHARS);
    let kept = whole_lines(&text, room);
    if kept == text.len() {
        slice.text = text;
        return;
    }
    if kept == 0 {
        // A single line is too long, as in minified code.
        slice.text = text[..prefix(&text, room)].to_owned();
        slice.end_line = slice.start_line;
        slice.warnings.push(format!("line {} is too long for an answer and is cut", slice.start_line));
    } else {
        slice.text = text[..kept].to_owned();
        let lines = slice.text.lines().count();
        slice.end_line = slice.start_line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX)).saturating_sub(1);
    }
    slice.warnings.push(format!(
        "cut after line {} to keep the answer within {ANSWER_CHARS_MAX} characters; go on with start_line {}",
        slice.end_line,
        slice.end_line.saturating_add(1)
    ));
}

/// Drops the last hunks until the rest fits; `end_line` then is the last line told of.
pub(super) fn blame(blame: &mut BlameAnswer) {
    let kept = fitting(blame, |blame| &mut blame.hunks, text::blame);
    if kept == blame.hunks.len() {
        return;
    }
    blame.hunks.truncate(kept);
    blame.end_line = blame.hunks.last().map_or(blame.start_line, |hunk| hunk.end_line);
    blame.warnings.push(format!(
        "cut after line {} to keep the answer within {ANSWER_CHARS_MAX} characters; go on with start_line {}",
        blame.end_line,
        blame.end_line.saturating_add(1)
    ));
}

/// Drops the oldest commits until the rest fits.
pub(super) fn history(history: &mut HistoryAnswer) {
    let kept = fitting(history, |history| &mut history.commits, text::history);
    if kept == history.commits.len() {
        return;
    }
    history.commits.truncate(kept);
    history.more = true;
    history.warnings.push(format!("cut after {kept} commits to keep the answer within {ANSWER_CHARS_MAX} characters"));
}

/// How many of the first items an answer has room for.
fn fitting<A: Serialize + Clone, T>(answer: &A, items: fn(&mut A) -> &mut Vec<T>, text: fn(&A) -> String) -> usize {
    let all = items(&mut answer.clone()).len();
    let fits = |kept: usize| {
        let mut part = answer.clone();
        items(&mut part).truncate(kept);
        let notice = if kept == all { 0 } else { NOTICE_CHARS };
        frame_chars(&part, text(&part).chars().count()) + notice <= ANSWER_CHARS_MAX
    };
    if fits(all) {
        return all;
    }
    // Fewer items are shorter, so halving finds the last number that fits.
    let (mut fitting, mut too_many) = (0, all);
    while fitting + 1 < too_many {
        let middle = fitting.midpoint(too_many);
        if fits(middle) { fitting = middle } else { too_many = middle }
    }
    fitting
}

/// A report as text and as data, cut until both together fit; what was left out is
/// named in `left_out`, and in the text.
///
/// # Errors
/// When it can't be written as JSON.
pub(super) fn report(reported: &Reported, format: ReportFormat) -> Result<(String, Json), RequestError> {
    let failed = |error: serde_json::Error| RequestError::Unavailable(format!("the report could not be written as JSON: {error}"));
    let mut structured = serde_json::to_value(reported).map_err(failed)?;
    let half = ANSWER_CHARS_MAX / 2;
    if format == ReportFormat::Json {
        cut::json(&mut structured, half);
        return Ok((structured.to_string(), structured));
    }
    let mut text = cut::text(reported.markdown(), half);
    let left_out = cut::json(&mut structured, ANSWER_CHARS_MAX.saturating_sub(text.chars().count() + NOTICE_CHARS));
    if !left_out.is_empty() {
        text += &format!(
            "
Left out of the structured report, which would be too long: {}.
",
            left_out.join(", ")
        );
    }
    Ok((text, structured))
}

/// Leaves something out.
type LeaveOut = fn(&mut ExperimentReport);

/// What of an experiment's report may be left out, in this order, and how.
const OF_EXPERIMENTS: [(&str, LeaveOut); 4] = [
    ("the courses over time", |report| {
        report.comparisons.iter_mut().for_each(|comparison| comparison.course.clear());
        report.preferences.iter_mut().for_each(|preferred| preferred.course.clear());
    }),
    ("the classes of queries", |report| report.classes.clear()),
    ("what was done to it", |report| report.controls.clear()),
    ("the methods", |report| report.methods.clear()),
];

/// An experiment's report as text and as JSON, both together at most [`ANSWER_CHARS_MAX`]
/// as far as there is something to leave out; the text says what.
///
/// # Errors
/// When it can't be written as JSON.
pub(super) fn experiment(mut report: ExperimentReport, format: ReportFormat) -> Result<(String, Json), RequestError> {
    let failed = |error: serde_json::Error| RequestError::Unavailable(format!("the report could not be written as JSON: {error}"));
    let mut left_out = Vec::new();
    let mut more = OF_EXPERIMENTS.into_iter();
    loop {
        let structured = serde_json::to_value(&report).map_err(failed)?;
        let json = structured.to_string();
        let mut text = if format == ReportFormat::Json { json.clone() } else { experiments::markdown(&report) };
        let fits = json.chars().count() + text.chars().count() + NOTICE_CHARS <= ANSWER_CHARS_MAX;
        let Some((name, leave_out)) = (!fits).then(|| more.next()).flatten() else {
            if !left_out.is_empty() && format != ReportFormat::Json {
                text += &format!("\nLeft out, as it would be too long: {}.\n", left_out.join(", "));
            }
            return Ok((text, structured));
        };
        leave_out(&mut report);
        left_out.push(name);
    }
}

/// Takes explanations away from the end until the frame fits; gives the rank from
/// which on they are missing.
fn drop_explanations(envelope: &mut AnswerEnvelope, frame: &mut usize) -> Option<u32> {
    let mut from = None;
    for finding in envelope.findings.iter_mut().rev() {
        if *frame + NOTICE_CHARS <= ANSWER_CHARS_MAX {
            break;
        }
        if let Some(explanation) = finding.explanation.take() {
            *frame = frame.saturating_sub(frame_chars(&explanation, explanation.to_string().chars().count()));
            from = Some(finding.rank);
        }
    }
    from
}

/// What everything but the texts takes, in both forms.
fn frame_chars(structured: &impl Serialize, text_chars: usize) -> usize {
    // These types can't fail to serialize; if one did, no room is the safe answer.
    text_chars + serde_json::to_string(structured).map_or(ANSWER_CHARS_MAX, |json| json.chars().count())
}

/// Bytes of the longest prefix of whole lines that costs at most `room`.
fn whole_lines(text: &str, mut room: usize) -> usize {
    let mut kept = 0;
    for line in text.split_inclusive('\n') {
        let cost = cost(line);
        if cost > room {
            break;
        }
        room -= cost;
        kept += line.len();
    }
    kept
}

/// Bytes of the longest prefix that costs at most `room`.
fn prefix(text: &str, mut room: usize) -> usize {
    for (at, c) in text.char_indices() {
        let cost = char_cost(c);
        if cost > room {
            return at;
        }
        room -= cost;
    }
    text.len()
}

fn cost(text: &str) -> usize {
    text.chars().map(char_cost).sum()
}

/// Once as it is, once as JSON writes it.
fn char_cost(c: char) -> usize {
    1 + match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        c if c < ' ' => 6,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::double;

    fn chars(envelope: &AnswerEnvelope) -> usize {
        frame_chars(envelope, text::answer(envelope).chars().count())
    }

    #[test]
    fn small_answers_stay_as_they_are() {
        for findings in [0, 1, 10] {
            let before = double::envelope(findings);
            let mut after = before.clone();
            envelope(&mut after);
            assert_eq!(after, before);
        }
    }

    #[test]
    fn texts_are_cut_from_the_end_and_the_cut_is_told() {
        let mut long = double::envelope(100);
        for finding in &mut long.findings {
            finding.text = "let \"x\" = 1;\n".repeat(100);
        }
        let before = long.clone();
        envelope(&mut long);
        assert!(chars(&long) <= ANSWER_CHARS_MAX && chars(&long) > ANSWER_CHARS_MAX * 9 / 10, "{}", chars(&long));
        assert!(text::answer(&long).chars().count() <= 60_000);
        assert_eq!(long.findings.len(), 100);
        assert_eq!(long.findings[0].text, before.findings[0].text);
        assert_eq!(long.findings[99].text, "");
        assert!(long.warnings[0].contains("the text of finding "), "{:?}", long.warnings);
    }

    #[test]
    fn explanations_give_way_before_texts() {
        let mut explained = double::envelope(50);
        for finding in &mut explained.findings {
            let mut why = double::explanation();
            why.rerank_parts.insert("why".into(), "x".repeat(2_000).into());
            finding.explanation = Some(why);
        }
        envelope(&mut explained);
        assert!(chars(&explained) <= ANSWER_CHARS_MAX, "{}", chars(&explained));
        assert!(explained.findings[0].explanation.is_some() && explained.findings[49].explanation.is_none());
        assert!(explained.warnings[0].starts_with("explanations from finding "));
    }

    #[test]
    fn the_explanation_of_the_stages_goes_when_nothing_else_is_left() {
        let mut explained = double::envelope(1);
        explained.explanation = Some(double::stages_explanation("x".repeat(ANSWER_CHARS_MAX)));
        envelope(&mut explained);
        assert!(explained.explanation.is_none());
        assert!(chars(&explained) <= ANSWER_CHARS_MAX, "{}", chars(&explained));
        assert!(explained.warnings.iter().any(|warning| warning.contains("explanation of the stages")), "{:?}", explained.warnings);
    }

    #[test]
    fn files_are_cut_at_a_line_from_which_one_can_go_on() {
        let mut slice = double::slice(&"0123456789\n".repeat(20_000));
        slice.start_line = 11;
        file(&mut slice);
        let lines = slice.text.lines().count() as u32;
        assert_eq!(slice.end_line, 10 + lines);
        assert!(slice.warnings[0].ends_with(&format!("start_line {}", 11 + lines)), "{:?}", slice.warnings);
        let mut minified = double::slice(&"é\"".repeat(100_000));
        file(&mut minified);
        assert!(!minified.text.is_empty() && minified.text.len() < 100_000);
        assert_eq!(minified.end_line, 1);
        for slice in [&slice, &minified] {
            assert!(frame_chars(slice, text::file(slice).chars().count()) <= ANSWER_CHARS_MAX);
        }
    }

    #[test]
    fn commits_are_left_out_from_the_end_and_that_is_told() {
        let mut small = double::blame(5);
        blame(&mut small);
        assert_eq!(small, double::blame(5));
        let mut long = double::blame(1_000);
        blame(&mut long);
        let last = long.hunks.last().unwrap().end_line;
        assert!(long.hunks.len() > 100 && long.hunks.len() < 1_000);
        assert_eq!((long.end_line, last % 2), (last, 0));
        assert!(long.warnings[0].ends_with(&format!("go on with start_line {}", last + 1)), "{:?}", long.warnings);
        let chars = frame_chars(&long, text::blame(&long).chars().count());
        assert!(chars <= ANSWER_CHARS_MAX && chars > ANSWER_CHARS_MAX * 9 / 10, "{chars}");
        let mut told = double::history(100);
        history(&mut told);
        assert_eq!(told, double::history(100));
        for commit in &mut told.commits {
            commit.renamed_from = Some("deep/".repeat(300));
        }
        history(&mut told);
        assert!(told.more && told.commits.len() < 100 && told.warnings[0].starts_with("cut after "), "{:?}", told.warnings);
        assert!(frame_chars(&told, text::history(&told).chars().count()) <= ANSWER_CHARS_MAX);
    }

    #[test]
    fn reports_fit_and_name_what_is_missing() {
        let lines: Vec<Json> = std::iter::once(
            serde_json::json!({"line": "run.start", "run_id": "r", "tool": "semantic_search", "span_id": "00"}),
        )
        .chain((1..2_000).map(|number| {
            serde_json::json!({
                "line": "span", "name": format!("plugin.span.{number}"), "at": "2026-01-01T00:00:00Z", "duration_us": 5, "status": "ok",
                "span_id": format!("{number:016x}"), "parent_span_id": "00", "attributes": {"what": "x".repeat(50)},
            })
        }))
        .collect();
        let record = crate::telemetry::records::RunRecord { run_id: "r".into(), lines, ..Default::default() };
        let reported = Reported::of(crate::reports::compose(&record));
        for format in [ReportFormat::Markdown, ReportFormat::Json] {
            let (text, structured) = report(&reported, format).unwrap();
            let chars = text.chars().count() + structured.to_string().chars().count();
            assert!(chars <= ANSWER_CHARS_MAX, "{format:?}: {chars}");
            assert_eq!(structured["identity"]["run_id"], "r");
            assert_eq!(structured["left_out"][0], "the waterfall");
            assert!(text.contains("the waterfall"), "{format:?}");
        }
    }

    #[test]
    fn a_long_report_of_an_experiment_says_what_it_leaves_out() {
        let whole: ExperimentReport = serde_json::from_str(include_str!("../experiments/report/golden/ab.json")).unwrap();
        let (text, structured) = experiment(whole.clone(), ReportFormat::Markdown).unwrap();
        assert!(!text.contains("Left out") && structured == serde_json::to_value(&whole).unwrap());
        let mut long = whole.clone();
        let course = long.comparisons[0].course.clone();
        long.comparisons[0].course = course.into_iter().cycle().take(2_000).collect();
        let methods = long.methods.clone();
        for (format, more) in [(ReportFormat::Markdown, 0), (ReportFormat::Json, 0), (ReportFormat::Markdown, 2_000)] {
            let mut long = long.clone();
            long.methods = methods.iter().cycle().take(methods.len() + more).cloned().collect();
            let (text, structured) = experiment(long, format).unwrap();
            let chars = text.chars().count() + structured.to_string().chars().count();
            assert!(chars <= ANSWER_CHARS_MAX, "{chars}");
            assert_eq!(structured["verdict"], serde_json::to_value(&whole.verdict).unwrap());
            let left_out = if more > 0 {
                "the courses over time, the classes of queries, what was done to it, the methods"
            } else {
                "the courses over time."
            };
            assert!(format == ReportFormat::Json || text.contains(&format!("Left out, as it would be too long: {left_out}")), "{text}");
        }
    }

    #[test]
    fn costs_are_those_of_json() {
        let text = "a\"\\\n\r\t\u{1}\u{8}\u{c}\u{7f}é😀";
        let json = serde_json::to_string(text).unwrap();
        assert_eq!(cost(text), text.chars().count() + json.chars().count() - 2);
    }
}
