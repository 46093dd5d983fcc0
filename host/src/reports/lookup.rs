//! Finds the run a report is asked for, and composes it.

use schemars::JsonSchema;
use serde::Serialize;

use super::{ReportKey, RunReport, compose, markdown};
use crate::request::RequestError;
use crate::telemetry::records::{RunRecord, RunRecords};

/// The tool that gives reports; its calls are runs, too.
pub const REPORT_TOOL: &str = "run_report";

/// A run's report, and what else its trace holds.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Reported {
    #[serde(flatten)]
    pub report: RunReport,
    /// The other runs of the trace, newest first, when it was asked for by its trace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trace_runs: Vec<String>,
    /// What was left out to keep the answer short; absent when it is whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

impl Reported {
    /// The report of a run that was not asked for by its trace.
    pub fn of(report: RunReport) -> Reported {
        Reported { report, trace_runs: Vec::new(), left_out: Vec::new() }
    }

    /// The report as Markdown, the other runs of the trace below it.
    pub fn markdown(&self) -> String {
        let mut text = markdown(&self.report);
        if !self.trace_runs.is_empty() {
            let runs: Vec<String> = self.trace_runs.iter().map(|run| format!("`{run}`")).collect();
            text += &format!("\nOther runs of this trace: {}\n", runs.join(", "));
        }
        text
    }
}

/// The report of a run, or of the newest run of a trace. Whoever asks for the report of
/// a trace may do so within it: calls of `run_report` come after all others. Reads
/// files: call it where blocking is fine.
///
/// # Errors
/// [`RequestError::NotFound`] when no such run is kept, [`RequestError::Unavailable`]
/// when the ledgers can't be read.
pub fn report(records: &RunRecords, key: &ReportKey) -> Result<Reported, RequestError> {
    let (record, trace_runs) = find(records, key)?;
    Ok(Reported { trace_runs, ..Reported::of(compose(&record)) })
}

/// The record of a run, or of the newest run of a trace with the ids of the others.
///
/// # Errors
/// As [`report`].
pub fn find(records: &RunRecords, key: &ReportKey) -> Result<(RunRecord, Vec<String>), RequestError> {
    let unreadable = |error: std::io::Error| RequestError::Unavailable(format!("the run ledgers can't be read: {error}"));
    let id = match key {
        ReportKey::Run(id) => id,
        ReportKey::Trace(id) => {
            let mut runs = records.by_trace(id).map_err(unreadable)?;
            // Stable: among equals the newest stays the first.
            runs.sort_by_key(|run| run.lines.first().is_some_and(|start| start["tool"] == REPORT_TOOL));
            let mut runs = runs.into_iter();
            if let Some(newest) = runs.next() {
                return Ok((newest, runs.map(|run| run.run_id).collect()));
            }
            id
        }
    };
    match records.by_run(id).map_err(unreadable)? {
        Some(record) => Ok((record, Vec::new())),
        None => Err(not_found(key)),
    }
}

fn not_found(key: &ReportKey) -> RequestError {
    let (name, id) = match key {
        ReportKey::Run(id) => ("run_id", id),
        ReportKey::Trace(id) => ("trace_id", id),
    };
    RequestError::NotFound(format!(
        "`{name}` is `{id}`, of which there is no run; allowed: an id that an answer or its headers gave, as long as the run's ledger is kept"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn a_trace_gives_its_newest_run_that_asks_for_no_report() {
        let folder = tempfile::tempdir().unwrap();
        let day = folder.path().join("2026-01-01");
        std::fs::create_dir(&day).unwrap();
        for (second, run, tool) in [(1, "a", "open_file"), (2, "b", "semantic_search"), (3, "c", REPORT_TOOL)] {
            let start =
                json!({"line": "run.start", "at": format!("2026-01-01T00:00:0{second}Z"), "trace_id": TRACE, "run_id": run, "tool": tool});
            std::fs::write(day.join(format!("{run}.jsonl")), format!("{start}\n")).unwrap();
        }
        let records = RunRecords::of_folder(folder.path().into());
        let check = |key: ReportKey, expect: &str, others: &[&str]| {
            let reported = report(&records, &key).unwrap();
            assert_eq!(
                (reported.report.identity.run_id.as_str(), &reported.trace_runs[..]),
                (expect, &others.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>()[..])
            );
            assert_eq!(reported.markdown().contains("Other runs of this trace: `a`, `c`"), !others.is_empty());
        };
        check(ReportKey::Trace(TRACE.into()), "b", &["a", "c"]);
        check(ReportKey::Run("c".into()), "c", &[]);
    }

    #[test]
    fn a_run_may_be_called_as_a_trace_is() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("2026-01-01")).unwrap();
        std::fs::write(folder.path().join(format!("2026-01-01/{TRACE}.jsonl")), "{}\n").unwrap();
        let records = RunRecords::of_folder(folder.path().into());
        let (record, others) = find(&records, &ReportKey::of(TRACE).unwrap()).unwrap();
        assert_eq!((record.run_id.as_str(), others.len()), (TRACE, 0));
        let unknown = find(&records, &ReportKey::of("x").unwrap()).unwrap_err();
        assert!(matches!(&unknown, RequestError::NotFound(message) if message.starts_with("`run_id` is `x`")), "{unknown}");
    }
}
