//! Reads a run's record into its report.

use serde_json::{Map, Value as Json};

use super::report::{
    ErrorReport, EventReport, Identity, LedgerReport, REPORT_VERSION, RunOutcome, RunReport, StageError, StageReport, StageStatus,
};
use super::trail::Trail;
use super::{headline, parts, stop, waterfall};
use crate::telemetry::conventions::attr;
use crate::telemetry::records::RunRecord;

/// The newest line format that is told in full.
const SCHEMA_KNOWN: u64 = 2;
/// Shares are told in hundredths of a percent.
const SHARE_STEPS: f64 = 10_000.0;
/// Members of an outcome that have their own place in a report.
const TOLD_ELSEWHERE: [&str; 5] = ["findings", "warnings", "degraded", "index", "error"];

/// The report of a run. Never fails, whatever the lines hold.
pub fn compose(record: &RunRecord) -> RunReport {
    let trail = Trail::of(&record.lines);
    let (gate, skipped, degradations) = (parts::gate(&trail), parts::skipped(&trail), parts::degradations(&trail));
    let outcome = stop::outcome(&trail, record.running, record.torn, !degradations.is_empty());
    let told = stop::Told { outcome, degradations: &degradations, gate: gate.as_ref(), skipped: &skipped, torn: record.torn };
    let stopped_because = stop::find(&trail, &told);
    let duration_us = duration_us(&trail);
    let stages = stages(&trail, duration_us);
    let ledger = ledger(record, &trail);
    let mut report = RunReport {
        report_version: REPORT_VERSION,
        headline: String::new(),
        identity: identity(record, &trail),
        outcome,
        duration_us,
        request: trail.start.map_or(Json::Null, |start| start["request"].clone()),
        stopped_because,
        waterfall: waterfall::draw(&stages, duration_us),
        stages,
        channels: parts::channels(&trail, gate.as_ref(), &skipped, &degradations),
        skipped,
        gate,
        plugins: parts::plugins(&trail),
        models: parts::models(&trail),
        warnings: warnings(&trail, &ledger),
        errors: errors(&trail, outcome),
        degradations,
        index: parts::index(&trail),
        findings: parts::findings(&trail),
        answer: answer(&trail),
        ledger,
    };
    report.headline = headline::headline(&report, &headline::PLAIN);
    report
}

fn identity(record: &RunRecord, trail: &Trail) -> Identity {
    let start = trail.start.unwrap_or(&Json::Null);
    let text = |key: &str| start[key].as_str().map(str::to_owned);
    let on_root = |key: &str| trail.root_span()?.text(key).map(str::to_owned);
    let any_trace = || record.lines.iter().find_map(|line| line["trace_id"].as_str()).map(str::to_owned);
    Identity {
        run_id: if record.run_id.is_empty() { text("run_id").unwrap_or_default() } else { record.run_id.clone() },
        trace_id: text("trace_id").or_else(any_trace),
        session_id: text("session_id").or_else(|| on_root(attr::MCP_SESSION_ID)),
        tool: text("tool").or_else(|| on_root(attr::MCP_TOOL)),
        version: text("version"),
        started_at: text("at"),
        config_sha256: text("config_sha256"),
        client_run_id: text("client_run_id"),
        parent_span: text("parent_span_id"),
    }
}

fn duration_us(trail: &Trail) -> u64 {
    let told = trail.end.and_then(|end| end["duration_us"].as_u64());
    told.or_else(|| trail.root_span()?.duration_us()).unwrap_or(trail.last_us)
}

/// The spans as a tree. [`Trail`] sees to it that it is one, and not too deep.
fn stages(trail: &Trail, run_us: u64) -> Vec<StageReport> {
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); trail.spans.len()];
    let mut roots = Vec::new();
    for (place, span) in trail.spans.iter().enumerate() {
        match span.parent {
            Some(parent) => children[parent].push(place),
            None => roots.push(place),
        }
    }
    let mut events: Vec<Vec<EventReport>> = vec![Vec::new(); trail.spans.len()];
    for told in &trail.events {
        if let Some(span) = told.span {
            let attributes = told.attributes.cloned().unwrap_or_default();
            events[span].push(EventReport { name: told.name.to_owned(), at_us: told.at_us, attributes });
        }
    }
    // The run's own span leads, whatever else has no parent.
    roots.sort_by_key(|place| Some(*place) != trail.root);
    let mut tree = Tree { trail, run_us, children, events };
    roots.into_iter().map(|root| tree.stage(root)).collect()
}

struct Tree<'t, 'a> {
    trail: &'t Trail<'a>,
    run_us: u64,
    children: Vec<Vec<usize>>,
    events: Vec<Vec<EventReport>>,
}

impl Tree<'_, '_> {
    fn stage(&mut self, place: usize) -> StageReport {
        let span = &self.trail.spans[place];
        let ended = span.ended.as_ref();
        let error = span
            .error_class()
            .map(|class| ErrorReport { class: class.to_owned(), message: ended.and_then(|end| end.error).unwrap_or_default().to_owned() });
        let share = |us: u64| (us as f64 / self.run_us as f64 * SHARE_STEPS).round().clamp(0.0, SHARE_STEPS) / SHARE_STEPS;
        StageReport {
            name: span.name.to_owned(),
            span_id: span.id.to_owned(),
            kind: ended.and_then(|end| end.kind).map(str::to_owned),
            started_us: span.started_us,
            duration_us: span.duration_us(),
            share: span.duration_us().filter(|_| self.run_us > 0).map(share),
            status: match (ended, &error) {
                (None, _) => StageStatus::Unfinished,
                (Some(_), None) => StageStatus::Ok,
                (Some(_), Some(_)) => StageStatus::Failed,
            },
            error,
            attributes: ended.and_then(|end| end.attributes).cloned().unwrap_or_default(),
            events: std::mem::take(&mut self.events[place]),
            children: std::mem::take(&mut self.children[place]).into_iter().map(|child| self.stage(child)).collect(),
        }
    }
}

/// Failures in the order of their ends, the run's own last.
fn errors(trail: &Trail, outcome: RunOutcome) -> Vec<StageError> {
    let mut failed: Vec<_> = trail
        .spans
        .iter()
        .enumerate()
        .filter(|(place, _)| Some(*place) != trail.root)
        .filter_map(|(_, span)| Some((span.ended.as_ref()?, span, span.error_class()?)))
        .collect();
    failed.sort_by_key(|(end, ..)| end.line);
    let mut errors: Vec<StageError> = failed
        .into_iter()
        .map(|(end, span, class)| StageError {
            stage: span.name.to_owned(),
            class: class.to_owned(),
            message: end.error.unwrap_or_default().to_owned(),
        })
        .collect();
    if matches!(outcome, RunOutcome::Failed | RunOutcome::Cancelled) {
        let (class, message) = stop::error_of(trail);
        let stage = trail.root_span().map_or("run", |root| root.name).to_owned();
        errors.push(StageError { stage, class: class.to_owned(), message: message.to_owned() });
    }
    errors
}

/// The answer's warnings, or those that were told before there was one, and what this
/// report itself has to be warned of.
fn warnings(trail: &Trail, ledger: &LedgerReport) -> Vec<String> {
    let answered = trail.end.and_then(|end| end["outcome"]["warnings"].as_array());
    let mut warnings: Vec<String> = match answered {
        Some(warnings) => warnings.iter().filter_map(Json::as_str).map(str::to_owned).collect(),
        None => {
            let told = trail.events.iter().filter(|told| told.name == "retrieval.warning");
            told.filter_map(|told| told.text("message")).map(str::to_owned).collect()
        }
    };
    let lines = |count: u64| if count == 1 { "1 line".to_owned() } else { format!("{count} lines") };
    if ledger.lost_lines > 0 {
        warnings.push(format!(
            "{} of the ledger did not reach it or can't be read: parts of this report may be missing",
            lines(ledger.lost_lines)
        ));
    }
    if ledger.torn {
        warnings.push("the ledger's last line is cut short, as a process leaves it that ends while it writes".into());
    }
    if trail.start.is_none() {
        warnings.push("the ledger has no first line: tool, request and version are not known".into());
    }
    if trail.end.is_none() && trail.root_span().is_some_and(|root| root.ended.is_some()) {
        warnings.push("the ledger has no last line, though the run has ended: findings and warnings of the answer are not known".into());
    }
    if trail.left_out > 0 {
        warnings.push(format!("{} spans and events were too many for this report; the ledger has them", trail.left_out));
    }
    if ledger.schema.is_some_and(|schema| schema > SCHEMA_KNOWN) {
        warnings.push("the ledger is of a newer version than this program: what is new in it is not told".into());
    }
    warnings
}

fn answer(trail: &Trail) -> Map<String, Json> {
    let outcome = trail.end.and_then(|end| end["outcome"].as_object());
    let rest = outcome.into_iter().flatten().filter(|(key, _)| !TOLD_ELSEWHERE.contains(&key.as_str()));
    rest.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn ledger(record: &RunRecord, trail: &Trail) -> LedgerReport {
    let told_lost = trail.end.and_then(|end| end["lost_lines"].as_u64()).unwrap_or(0);
    LedgerReport {
        path: record.path.as_ref().map(|path| path.display().to_string()),
        schema: trail.start.and_then(|start| start["schema"].as_u64()),
        lines: record.lines.len() as u64,
        torn: record.torn,
        lost_lines: record.lost.max(told_lost),
    }
}
