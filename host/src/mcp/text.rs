//! Answers as text: all that the structured answer says, in fewer words.
//!
//! Some clients show an agent only the text, others only the structured content, so
//! each has to do alone.

use std::fmt::Write as _;

use time::OffsetDateTime;
use time::macros::format_description;

use crate::envelope::{
    AnswerEnvelope, BlameAnswer, Change, Degraded, ExperimentStamp, FileSlice, Finding, HistoryAnswer, IndexStamp, Observability,
};
use crate::experiments::feedback::FeedbackAnswer;

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
    for ExperimentStamp { id, version, variant, .. } in &envelope.experiments {
        line(&mut out, &format!("experiment: {id} version {version}, arm {variant}"));
    }
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

/// What became of feedback.
pub(super) fn feedback(answer: &FeedbackAnswer) -> String {
    let FeedbackAnswer { accepted, already_known, run_id } = answer;
    format!("Written down for {accepted} findings of run {run_id}; {already_known} were known.")
}

/// One line for each hunk.
pub(super) fn blame(blame: &BlameAnswer) -> String {
    let mut out = String::new();
    let BlameAnswer { path, start_line, end_line, total_lines, head_commit, .. } = blame;
    line(&mut out, &format!("{path} L{start_line}–L{end_line} of {total_lines} at commit {}", short_commit(head_commit)));
    for hunk in &blame.hunks {
        let mut told = format!(
            "L{}–L{} {} {} {}: {}",
            hunk.start_line,
            hunk.end_line,
            short_commit(&hunk.commit),
            moment(hunk.time_s),
            hunk.author,
            hunk.summary
        );
        // Writing to a String can't fail.
        let _ = match &hunk.original_path {
            Some(path) => write!(told, " (from {path} L{})", hunk.original_start_line),
            None if hunk.original_start_line != hunk.start_line => write!(told, " (from L{})", hunk.original_start_line),
            None => Ok(()),
        };
        if hunk.boundary {
            told.push_str(" (or older)");
        }
        line(&mut out, &told);
    }
    if blame.changed_since_commit {
        line(&mut out, "the file on disk differs from the commit: its line numbers may be others");
    }
    warnings(&mut out, &blame.warnings);
    out.push_str(&ids(&blame.observability));
    out
}

/// One line for each commit.
pub(super) fn history(history: &HistoryAnswer) -> String {
    let mut out = String::new();
    let found = match history.commits.len() {
        1 => "1 commit".to_owned(),
        count => format!("{count} commits"),
    };
    let more = if history.more { ", and there may be more" } else { "" };
    line(&mut out, &format!("{}: {found}{more}, from commit {} back", history.path, short_commit(&history.head_commit)));
    for commit in &history.commits {
        let mut told = format!("{} {} {}: {}", short_commit(&commit.commit), moment(commit.time_s), commit.author, commit.summary);
        match (&commit.renamed_from, commit.change) {
            (Some(path), _) => told.push_str(&format!(" (renamed from {path})")),
            (None, Change::Added) => told.push_str(" (added)"),
            (None, Change::Deleted) => told.push_str(" (deleted)"),
            (None, Change::Modified) => {}
        }
        line(&mut out, &told);
    }
    warnings(&mut out, &history.warnings);
    out.push_str(&ids(&history.observability));
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
    if let Some(document) = &finding.document {
        let _ = write!(out, " document {document}");
    }
    let _ = write!(out, " ({}) score {}", finding.language, short(finding.score));
    if !finding.contributions.is_empty() {
        let parts: Vec<String> = finding.contributions.iter().map(|part| format!("{}#{}", part.channel, part.rank)).collect();
        let _ = write!(out, " [{}]", parts.join(" "));
    }
    if let Some(commit) = &finding.commit {
        let _ = write!(out, " commit {}", short_commit(commit));
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
        let _ = write!(out, " · commit {}", short_commit(commit));
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

fn short_commit(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}

/// In UTC, to the minute; the number itself when it is no time that a calendar has.
fn moment(time_s: i64) -> String {
    OffsetDateTime::from_unix_timestamp(time_s)
        .ok()
        .and_then(|time| time.format(format_description!("[year]-[month]-[day] [hour]:[minute]")).ok())
        .unwrap_or_else(|| time_s.to_string())
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
        envelope.findings[1].document = Some("d7".into());
        let expect = "\
2 findings, the best in src/file1.rs. Confidence 0.50.

1. src/file1.rs L1–L2 — thing1 (rust) score 0.92 [bm25#1 dense#3]
```rust
fn thing1() {
}
```

2. src/file2.rs L1–L2 — thing2 document d7 (rust) score 0.46 [bm25#1 dense#3]
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
    fn where_lines_come_from_is_a_line_each() {
        let mut told = double::blame(3);
        told.hunks[1].original_path = Some("src/old.rs".into());
        told.hunks[2].original_start_line = 9;
        told.hunks[2].boundary = true;
        told.changed_since_commit = true;
        told.warnings.push("it is late".into());
        let expect = "\
src/a.rs L1–L6 of 6 at commit 0123456789
L1–L2 0123456789 2026-01-31 00:00 Ada: change 1
L3–L4 0123456789 2026-01-31 00:00 Ada: change 2 (from src/old.rs L3)
L5–L6 0123456789 2026-01-31 00:00 Ada: change 3 (from L9) (or older)
the file on disk differs from the commit: its line numbers may be others
warning: it is late
run r trace t";
        assert_eq!(blame(&told), expect);
    }

    #[test]
    fn a_history_is_a_line_for_each_commit() {
        let mut told = double::history(4);
        told.commits[1].change = Change::Deleted;
        told.commits[2].change = Change::Added;
        told.commits[3].change = Change::Added;
        told.commits[3].renamed_from = Some("src/old.rs".into());
        told.commits[0].time_s = i64::MAX;
        told.more = true;
        let expect = "\
src/a.rs: 4 commits, and there may be more, from commit 0123456789 back
0123456789 9223372036854775807 Ada: change 1
0123456789 2026-01-31 00:00 Ada: change 2 (deleted)
0123456789 2026-01-31 00:00 Ada: change 3 (added)
0123456789 2026-01-31 00:00 Ada: change 4 (renamed from src/old.rs)
run r trace t";
        assert_eq!(history(&told), expect);
        assert!(history(&double::history(1)).starts_with("src/a.rs: 1 commit, from"));
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
