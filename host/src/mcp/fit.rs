//! Keeps an answer within what clients take, and says what was cut.

use serde::Serialize;

use super::text;
use crate::envelope::{AnswerEnvelope, FileSlice};

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
    fn costs_are_those_of_json() {
        let text = "a\"\\\n\r\t\u{1}\u{8}\u{c}\u{7f}é😀";
        let json = serde_json::to_string(text).unwrap();
        assert_eq!(cost(text), text.chars().count() + json.chars().count() - 2);
    }
}
