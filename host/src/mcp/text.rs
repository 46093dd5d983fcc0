//! Answers as text: all that the structured answer says, in fewer words.
//!
//! Some clients show an agent only the text, others only the structured content, so
//! each has to do alone.

use std::fmt::Write as _;

use crate::envelope::{AnswerEnvelope, Degraded, FileSlice, Finding, IndexStamp, Observability};

/// A search's answer: the findings, best first, then how far to trust them.
pub(super) fn answer(envelope: &AnswerEnvelope) -> String {
    let mut out = String::new();
    line(&mut out, &format!("{} Confidence {:.2}.", envelope.answer, envelope.confidence));
    for finding in &envelope.findings {
        out.push('\n');
        line(&mut out, &heading(finding));
        fence(&mut out, &finding.language, &finding.text);
        if let Some(explanation) = &finding.explanation {
            line(&mut out, &format!("explanation: {explanation}"));
        }
    }
    out.push('\n');
    if let Some(explanation) = &envelope.explanation {
        line(&mut out, &format!("explanation: {explanation}"));
    }
    warnings(&mut out, &envelope.warnings);
    for Degraded { part, cause, instead } in &envelope.degraded {
        line(&mut out, &format!("degraded: {part} ({cause}); instead: {instead}"));
    }
    if let Some(cursor) = &envelope.next_cursor {
        line(&mut out, &format!("more findings: repeat the call with cursor `{cursor}`"));
    }
    line(&mut out, &stamp(&envelope.index));
    out.push_str(&ids(&envelope.observability));
    out
}

/// A file's lines, as they are in the file.
pub(super) fn file(slice: &FileSlice) -> String {
    let mut out = String::new();
    let FileSlice { path, start_line, end_line, total_lines, language, .. } = slice;
    line(&mut out, &format!("{path} L{start_line}–L{end_line} of {total_lines} ({language})"));
    fence(&mut out, language, &slice.text);
    if slice.changed_since_indexed {
        line(&mut out, "changed since it was indexed: line numbers of findings may be off");
    }
    warnings(&mut out, &slice.warnings);
    out.push_str(&ids(&slice.observability));
    out
}

/// What went wrong, and where it is recorded.
pub(super) fn failure(message: &str, observability: &Observability) -> String {
    format!("{message}\n{}", ids(observability))
}

fn heading(finding: &Finding) -> String {
    let mut out = format!("{}. {} L{}–L{}", finding.rank, finding.path, finding.start_line, finding.end_line);
    // Writing to a String can't fail.
    if let Some(symbol) = &finding.symbol {
        let _ = write!(out, " — {symbol}");
    }
    let _ = write!(out, " ({}) score {}", finding.language, short(finding.score));
    if !finding.contributions.is_empty() {
        let parts: Vec<String> = finding.contributions.iter().map(|part| format!("{}#{}", part.channel, part.rank)).collect();
        let _ = write!(out, " [{}]", parts.join(" "));
    }
    if let Some(commit) = &finding.commit {
        let _ = write!(out, " commit {}", commit.get(..10).unwrap_or(commit));
    }
    out
}

/// Three significant digits, whatever the scale: RRF scores are near 0.03, BM25
/// scores near 30.
fn short(score: f32) -> String {
    let magnitude = if score == 0.0 { 0 } else { score.abs().log10().floor() as i32 };
    let decimals = (2 - magnitude).clamp(0, 6) as usize;
    let text = format!("{score:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn stamp(index: &IndexStamp) -> String {
    let mut out = format!("index {}", index.generation);
    if let Some(commit) = &index.commit {
        let _ = write!(out, " · commit {}", commit.get(..10).unwrap_or(commit));
    }
    if index.dirty {
        out.push_str(" with uncommitted changes");
    }
    let coverage = &index.coverage;
    let _ = write!(
        out,
        " · built {} ago · {} files ({} left out), {} chunks ({} embedded)",
        age(index.age_s),
        coverage.files_indexed,
        coverage.files_skipped,
        coverage.chunks,
        coverage.chunks_embedded,
    );
    out
}

fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn warnings(out: &mut String, warnings: &[String]) {
    for warning in warnings {
        line(out, &format!("warning: {warning}"));
    }
}

fn ids(observability: &Observability) -> String {
    format!("run {} trace {}", observability.run_id, observability.trace_id)
}

/// A fenced block with a fence longer than any in the text; nothing for no text.
fn fence(out: &mut String, language: &str, text: &str) {
    if text.is_empty() {
        return;
    }
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    line(out, &format!("{fence}{language}"));
    out.push_str(text);
    if !text.ends_with('\n') {
        out.push('\n');
    }
    line(out, &fence);
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::double;

    #[test]
    fn an_answer_reads_as_headings_with_code() {
        let mut envelope = double::envelope(2);
        envelope.warnings.push("it is late".into());
        envelope.degraded.push(Degraded { part: "dense".into(), cause: "deadline".into(), instead: "left out".into() });
        envelope.next_cursor = Some("c2".into());
        envelope.findings[1].text = "a ``` fence".into();
        let expect = "\
2 findings, the best in src/file1.rs. Confidence 0.50.

1. src/file1.rs L1–L2 — thing1 (rust) score 0.92 [bm25#1 dense#3]
```rust
fn thing1() {
}
```

2. src/file2.rs L1–L2 — thing2 (rust) score 0.46 [bm25#1 dense#3]
````rust
a ``` fence
````

warning: it is late
degraded: dense (deadline); instead: left out
more findings: repeat the call with cursor `c2`
index g000007 · commit 0123456789 · built 30 min ago · 3 files (1 left out), 9 chunks (9 embedded)
run r trace t";
        assert_eq!(answer(&envelope), expect);
    }

    #[test]
    fn scores_keep_three_digits_at_any_scale() {
        for (score, expect) in [
            (0.92, "0.92"),
            (0.032_522, "0.0325"),
            (31.415_9, "31.4"),
            (1234.5, "1234"),
            (0.0, "0"),
            (-2.0, "-2"),
            (1e-9, "0"),
            (100.0, "100"),
        ] {
            assert_eq!(short(score), expect);
        }
    }

    #[test]
    fn ages_are_told_in_the_unit_that_fits() {
        for (seconds, expect) in [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_200, "2 h"), (200_000, "2 days")] {
            assert_eq!(age(seconds), expect);
        }
    }
}
