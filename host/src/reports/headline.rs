//! What happened, in one sentence.

use super::escape::{cut, visible};
use super::report::{Degradation, RunOutcome, RunReport, StageReport, StageStatus, Stop};

/// Characters of a message within the sentence.
const MESSAGE_CHARS_MAX: usize = 300;
/// Characters of a name within the sentence.
const NAME_CHARS_MAX: usize = 120;
/// Degradations that the sentence tells; more are counted.
const DEGRADATIONS_MAX: usize = 3;

/// How names and words of others are written.
pub(super) struct Style {
    pub name: fn(&str, usize) -> String,
    pub words: fn(&str, usize) -> String,
}

/// For programs and terminals.
pub(super) const PLAIN: Style =
    Style { name: |text, most| format!("`{}`", cut(&visible(text), most)), words: |text, most| cut(visible(text).trim(), most) };

/// The sentence. It ends with a full stop.
pub(super) fn headline(report: &RunReport, style: &Style) -> String {
    let time = duration(report.duration_us);
    let name = |text: &str| (style.name)(text, NAME_CHARS_MAX);
    match (report.outcome, &report.stopped_because) {
        (RunOutcome::Running, _) => match open(&report.stages) {
            Some(stage) => format!("Still running after {time}, now in {}.", name(stage)),
            None => format!("Still running after {time}."),
        },
        (RunOutcome::Failed, Some(stop)) => format!("Failed {}: {}.", place(report, stop, style), message(stop, style, true)),
        (RunOutcome::Cancelled, Some(stop)) => format!("Cancelled {}: {}.", place(report, stop, style), message(stop, style, false)),
        (RunOutcome::Crashed, Some(stop)) => format!("Stopped {}: {}.", place(report, stop, style), message(stop, style, false)),
        _ => {
            let mut text = format!("{} in {time}", answered(report));
            let parts: Vec<String> = report.degradations.iter().take(DEGRADATIONS_MAX).map(|part| phrase(part, style)).collect();
            if !parts.is_empty() {
                text += &format!(", degraded: {}", parts.join("; "));
            }
            if let more @ 1.. = report.degradations.len().saturating_sub(DEGRADATIONS_MAX) {
                text += &format!("; and {more} more");
            }
            let path = report.answer.get("path").and_then(|path| path.as_str());
            let line = |key: &str| report.answer.get(key).and_then(|line| line.as_u64());
            match (path, line("start_line"), line("end_line")) {
                (Some(path), Some(first), Some(last)) => text += &format!(": lines {first} to {last} of {}", name(path)),
                (Some(path), ..) => text += &format!(": {}", name(path)),
                _ => {}
            }
            text + "."
        }
    }
}

fn answered(report: &RunReport) -> String {
    let searched = report.identity.tool.as_deref().is_some_and(|tool| tool.starts_with("semantic_search"));
    match report.findings.len() {
        0 if !searched => "Answered".into(),
        0 => "Answered without findings".into(),
        1 => "Answered with 1 finding".into(),
        many => format!("Answered with {many} findings"),
    }
}

/// "in `duckdb.hydrate` after `retrieval.fuse`, 12 ms in"
fn place(report: &RunReport, stop: &Stop, style: &Style) -> String {
    let name = |text: &str| (style.name)(text, NAME_CHARS_MAX);
    let time = duration(report.duration_us);
    let in_stage = report.stages.first().is_none_or(|root| root.name != stop.stage) && !report.stages.is_empty();
    match (in_stage, &stop.after) {
        (true, Some(after)) => format!("in {} after {}, {time} in", name(&stop.stage), name(after)),
        (true, None) => format!("in {}, {time} in", name(&stop.stage)),
        (false, Some(after)) => format!("after {}, {time} in", name(after)),
        (false, None) => format!("before the first stage, {time} in"),
    }
}

fn message(stop: &Stop, style: &Style, with_class: bool) -> String {
    let message = (style.words)(stop.message.trim_end_matches('.'), MESSAGE_CHARS_MAX);
    if with_class { format!("{message} ({})", (style.words)(&stop.cause, NAME_CHARS_MAX)) } else { message }
}

/// "rerank trapped (trap.unreachable), used the fused order instead"
fn phrase(part: &Degradation, style: &Style) -> String {
    let words = |text: &str| (style.words)(text, NAME_CHARS_MAX);
    let (name, cause) = (words(&part.part), words(&part.cause));
    let what = match part.cause.as_str() {
        "deadline" => format!("{name} missed its deadline"),
        "unavailable" => format!("{name} was unavailable"),
        "quarantined" => format!("{name} is in quarantine"),
        trap if trap.starts_with("trap.") => format!("{name} trapped ({cause})"),
        limit if limit.starts_with("limit.") => format!("{name} reached {cause}"),
        _ => format!("{name} failed ({cause})"),
    };
    match words(&part.instead) {
        instead if instead.is_empty() => what,
        instead if instead.starts_with("answered ") => format!("{what}, {instead}"),
        instead => format!("{what}, used {instead} instead"),
    }
}

/// The deepest stage that has not ended, the latest of them.
fn open(stages: &[StageReport]) -> Option<&str> {
    let open = stages.iter().rev().find(|stage| stage.status == StageStatus::Unfinished)?;
    Some(self::open(&open.children).unwrap_or(&open.name))
}

/// A time as people say it: `0.42 ms`, `12.3 ms`, `1.25 s`, `2 min 5 s`.
pub(super) fn duration(us: u64) -> String {
    match us {
        0..1_000 => format!("{:.2} ms", us as f64 / 1e3),
        1_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        1_000_000..60_000_000 => format!("{:.2} s", us as f64 / 1e6),
        _ => format!("{} min {} s", us / 60_000_000, us / 1_000_000 % 60),
    }
}
