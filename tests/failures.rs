//! What run reports say of failures. Each failure is brought about in the real program;
//! the report of its run has to name the stage, the cause, and what to do.
//!
//! The rows are those of `docs/failures.md`. A row's name is the id of its run.

mod cut_short;
mod index;
mod models;
mod plugins;
mod requests;
mod telemetry;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use crate::support::mcp::raw_call;
use crate::support::server::Server;
use crate::support::{Sandbox, wait_until};

/// Words that the trained embedding knows, so that every channel is asked.
const QUERY: &str = "capacity of the token bucket release";
/// The first span of a search.
const SEARCH: &str = "tools/call semantic_search";
/// Stage and cause of a run that does all of its work.
const NONE: &str = "–";

/// A failure, and what its report has to say.
struct Row {
    /// What the client calls the run.
    name: &'static str,
    /// For people.
    injected: &'static str,
    /// The span that stopped, or did not do its part.
    stage: &'static str,
    cause: &'static str,
    outcome: &'static str,
    /// Part of the message, where the cause could have had another reason.
    says: &'static str,
}

const fn row(name: &'static str, injected: &'static str, [stage, cause, outcome]: [&'static str; 3], says: &'static str) -> Row {
    Row { name, injected, stage, cause, outcome, says }
}

/// All rows, in the order of the page.
fn rows() -> impl Iterator<Item = &'static Row> {
    [models::ROWS, index::ROWS, plugins::ROWS, cut_short::ROWS, requests::ROWS, telemetry::ROWS].into_iter().flatten()
}

#[test]
fn the_table_of_failures_is_what_is_tested() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/failures.md");
    let page = std::fs::read_to_string(path).expect("the page");
    let quoted = |cell: &str| if cell == NONE { NONE.to_owned() } else { format!("`{cell}`") };
    let tested: Vec<String> = rows()
        .map(|row| {
            let [stage, cause, outcome] = [row.stage, row.cause, row.outcome].map(quoted);
            format!("| `{}` | {} | {stage} | {cause} | {outcome} |", row.name, row.injected)
        })
        .collect();
    let written: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(written, tested);
    let names: BTreeSet<&str> = rows().map(|row| row.name).collect();
    assert_eq!(names.len(), tested.len(), "two rows have one name");
}

/// The reports of what was brought about, by row.
#[derive(Default, Debug)]
struct Reports(BTreeMap<String, Vec<Json>>);

impl Reports {
    fn add(&mut self, row: &str, report: Json) {
        self.0.entry(row.to_owned()).or_default().push(report);
    }

    /// Calls a tool under the name of the row, and adds what the server reports of it.
    async fn ask(&mut self, server: &Server, row: &str, tool: &str, arguments: Json) {
        self.add(row, reported(server, row, tool, arguments).await);
    }

    /// Holds every row against its reports, all of them before it complains.
    #[track_caller]
    fn check<'a>(mut self, rows: impl IntoIterator<Item = &'a Row>) {
        let mut wrong = Vec::new();
        for row in rows {
            let reports = self.0.remove(row.name).unwrap_or_default();
            if reports.is_empty() {
                wrong.push(format!("{}: has no report", row.name));
            }
            wrong.extend(reports.iter().flat_map(|report| differences(row, report)));
        }
        wrong.extend(self.0.keys().map(|name| format!("{name}: is no row")));
        assert!(wrong.is_empty(), "{} reports are wrong:\n{}", wrong.len(), wrong.join("\n"));
    }
}

/// What a report doesn't say as the row does.
fn differences(row: &Row, report: &Json) -> Option<String> {
    let stop = &report["stopped_because"];
    let text = |value: &Json| value.as_str().unwrap_or(NONE).to_owned();
    let found = [text(&stop["stage"]), text(&stop["cause"]), text(&report["outcome"])];
    let whole = row.outcome == "complete";
    let has_remedy = stop["remedy"].as_str().is_some_and(|remedy| !remedy.trim().is_empty());
    let fits = found == [row.stage, row.cause, row.outcome]
        && ["run_id", "client_run_id"].iter().any(|key| report["identity"][key] == row.name)
        && stop.is_null() == whole
        && has_remedy != whole
        && (whole || text(&stop["message"]).contains(row.says));
    (!fits).then(|| {
        let expected = [row.stage, row.cause, row.outcome];
        format!("{}: expected {expected:?} with `{}`, found {found:?}: {stop}\n{}", row.name, row.says, text(&report["waterfall"]))
    })
}

/// Calls a tool as a run of that name, and gives what the server reports of it.
async fn reported(server: &Server, run_id: &str, tool: &str, arguments: Json) -> Json {
    let raw = raw_call(server, tool, arguments, &[("x-run-id", run_id)], json!({})).await;
    report(server, raw.header("x-run-id")).await
}

/// What a server reports of a run, once that has ended.
async fn report(server: &Server, run_id: &str) -> Json {
    let address = format!("{}/observability/run_report/{run_id}", server.base);
    wait_until("the report of a run", async || {
        let response = reqwest::get(&address).await.expect("a response");
        let text = response.text().await.expect("a body");
        let report: Json = serde_json::from_str(&text).ok()?;
        (report["outcome"].is_string() && report["outcome"] != "running").then_some(report)
    })
    .await
}

/// What the command line reports of a run.
fn report_of_command(sandbox: &Sandbox, run_id: &str) -> Json {
    sandbox.json(&["diagnostics", "report", "run", run_id, "--format", "json"])
}

/// Another sandbox with the same index and no runs.
fn copy_of(sandbox: &Sandbox) -> Sandbox {
    let copy = Sandbox::new();
    for name in ["CURRENT", "generations"] {
        let status = sandbox.other("cp").arg("-r").arg(sandbox.data().join(name)).arg(copy.data()).status();
        assert!(status.expect("cp").success());
    }
    copy
}

fn query() -> Json {
    json!({"query": QUERY})
}
