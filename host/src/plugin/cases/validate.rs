//! Whether what a case says has a meaning: columns that fit, finite numbers, an
//! expectation that some output can meet.

use std::collections::{BTreeMap, HashSet};

use super::{Case, ExpectedFusion, ExpectedGate, ExpectedOutput, FusionInput, Input, LIMIT_MAX, Query, ROWS_MAX, RerankInput, SCHEMA};
use crate::types::Stage;

/// Classes of failures that a case may expect. They are those of the host's calls.
const ERRORS: [&str; 8] = ["bad_config", "unsupported", "plugin_error", "bad_output", "deadline", "contract", "denied", "instantiate"];
/// Beginnings of further classes.
const ERROR_FAMILIES: [&str; 2] = ["trap.", "limit."];

/// The first value without a meaning.
#[derive(Debug)]
pub(super) struct Problem {
    /// Its path in the JSON.
    pub at: String,
    /// What it is, and what is allowed.
    pub problem: String,
}

fn problem<T>(at: impl Into<String>, problem: String) -> Result<T, Problem> {
    Err(Problem { at: at.into(), problem })
}

pub(super) fn validate(case: &Case) -> Result<(), Problem> {
    if case.schema != SCHEMA {
        return problem("schema", format!("is {}; allowed: {SCHEMA}", case.schema));
    }
    if case.name.trim().is_empty() {
        return problem("name", "is empty; allowed: a few words that say what the case is about".into());
    }
    if !(1..=LIMIT_MAX).contains(&case.call.limit) {
        return problem("call.limit", format!("is {}; allowed: 1 to {LIMIT_MAX}", case.call.limit));
    }
    if case.input.stage() != case.stage {
        return problem("input", format!("is that of a {} call; allowed: that of `stage`, {}", case.input.stage(), case.stage));
    }
    match &case.input {
        Input::Gate(input) => query(&input.query)?,
        Input::Fusion(input) => fusion(input)?,
        Input::Rerank(input) => rerank(input)?,
    }
    expect(case)
}

fn query(query: &Query) -> Result<(), Problem> {
    same_length("input.query.document_frequencies", query.document_frequencies.len(), "input.query.terms", query.terms.len())?;
    evidence("input.query.evidence", &query.evidence, "input.query.terms", query.terms.len())
}

/// Columns of finite numbers, as long as what they are about.
fn evidence(at: &str, columns: &BTreeMap<String, Vec<f32>>, like: &str, wanted: usize) -> Result<(), Problem> {
    columns.iter().try_for_each(|(name, values)| {
        let at = format!("{at}.{name}");
        same_length(&at, values.len(), like, wanted)?;
        all_finite(&at, values)
    })
}

fn fusion(input: &FusionInput) -> Result<(), Problem> {
    finite("input.rrf_k", input.rrf_k)?;
    let rows: usize = input.runs.iter().map(|run| run.ids.len()).sum();
    if rows > ROWS_MAX {
        return problem("input.runs", format!("have {rows} rows together; allowed: {ROWS_MAX}"));
    }
    for (at, run) in input.runs.iter().enumerate() {
        let at = format!("input.runs[{at}]");
        finite(&format!("{at}.weight"), run.weight)?;
        columns(&at, &run.ids, &run.scores)?;
    }
    Ok(())
}

fn rerank(input: &RerankInput) -> Result<(), Problem> {
    query(&input.query)?;
    let rows = &input.rows.ids;
    if rows.len() > ROWS_MAX {
        return problem("input.rows", format!("has {} rows; allowed: {ROWS_MAX}", rows.len()));
    }
    columns("input.rows", rows, &input.rows.scores)?;
    evidence("input.rows.evidence", &input.rows.evidence, "input.rows.ids", rows.len())?;
    let mut known = HashSet::new();
    for (at, document) in input.documents.iter().enumerate() {
        let at = format!("input.documents[{at}]");
        if !known.insert(document.id) {
            return problem(format!("{at}.id"), format!("is {} for a second time; allowed: each id once", document.id));
        }
        for (member, score) in [("late_interaction", document.late_interaction), ("cross_encoder", document.cross_encoder)] {
            finite(&format!("{at}.{member}"), score.unwrap_or(0.0))?;
        }
    }
    match rows.iter().position(|id| !known.contains(id)) {
        None => Ok(()),
        Some(row) => {
            let what = format!("is {}, which is in no document; allowed: ids that `input.documents` has", rows[row]);
            problem(format!("input.rows.ids[{row}]"), what)
        }
    }
}

/// Ids that are there once, and a finite score for each.
fn columns(at: &str, ids: &[u64], scores: &[f32]) -> Result<(), Problem> {
    same_length(&format!("{at}.scores"), scores.len(), &format!("{at}.ids"), ids.len())?;
    all_finite(&format!("{at}.scores"), scores)?;
    once(&format!("{at}.ids"), ids)
}

fn same_length(at: &str, got: usize, like: &str, wanted: usize) -> Result<(), Problem> {
    if got == wanted {
        return Ok(());
    }
    problem(at, format!("has {got} values; allowed: {wanted}, as many as `{like}`"))
}

fn once(at: &str, ids: &[u64]) -> Result<(), Problem> {
    let mut known = HashSet::with_capacity(ids.len());
    match ids.iter().position(|id| !known.insert(*id)) {
        None => Ok(()),
        Some(second) => problem(format!("{at}[{second}]"), format!("is {} for a second time; allowed: each id once", ids[second])),
    }
}

fn finite(at: &str, number: f32) -> Result<(), Problem> {
    if number.is_finite() { Ok(()) } else { problem(at, format!("is {number}; allowed: finite numbers of 32 bits")) }
}

fn all_finite(at: &str, numbers: &[f32]) -> Result<(), Problem> {
    match numbers.iter().position(|number| !number.is_finite()) {
        None => Ok(()),
        Some(place) => finite(&format!("{at}[{place}]"), numbers[place]),
    }
}

fn expect(case: &Case) -> Result<(), Problem> {
    let expect = &case.expect;
    if expect.output.is_none() && expect.order.is_none() && expect.top.is_none() && expect.error.is_none() && expect.spans.is_none() {
        return problem("expect", "asks for nothing; allowed: at least one of output, order, top, error, spans".into());
    }
    if let Some(tolerance) = expect.tolerance.filter(|tolerance| !(0.0..=1.0).contains(tolerance)) {
        return problem("expect.tolerance", format!("is {tolerance}; allowed: 0 to 1"));
    }
    if let Some(class) = &expect.error {
        error(class)?;
        let others = [("output", expect.output.is_some()), ("order", expect.order.is_some()), ("top", expect.top.is_some())];
        if let Some((member, _)) = others.iter().find(|(_, there)| *there) {
            return problem(
                format!("expect.{member}"),
                "stands beside `expect.error`; allowed: one of them, a failed call has no output".into(),
            );
        }
    }
    if let Some(output) = &expect.output {
        expected_output(&case.input, output)?;
    }
    let ids = ids_of(&case.input);
    for (member, order) in [("order", &expect.order), ("top", &expect.top)] {
        let Some(order) = order else { continue };
        let at = format!("expect.{member}");
        if case.stage == Stage::Gate {
            return problem(at, "is there in a gate case; allowed: in fusion and rerank cases".into());
        }
        some_of(&at, order, &ids)?;
    }
    if expect.top.as_ref().is_some_and(Vec::is_empty) {
        return problem("expect.top", "is empty; allowed: at least one id".into());
    }
    if let (Input::Rerank(input), Some(order)) = (&case.input, &expect.order) {
        same_length("expect.order", order.len(), "input.rows.ids", input.rows.ids.len())?;
    }
    spans(case)
}

fn error(class: &str) -> Result<(), Problem> {
    let of_family = |family: &str| class.strip_prefix(family).is_some_and(|rest| !rest.is_empty());
    if ERRORS.contains(&class) || ERROR_FAMILIES.into_iter().any(of_family) {
        return Ok(());
    }
    problem("expect.error", format!("is `{class}`; allowed: {}, trap.…, limit.…", ERRORS.join(", ")))
}

fn expected_output(input: &Input, output: &ExpectedOutput) -> Result<(), Problem> {
    match (input, output) {
        (Input::Gate(input), ExpectedOutput::Gate(output)) => expected_gate(&input.query, output),
        (Input::Fusion(input), ExpectedOutput::Fusion(output)) => expected_fusion(input, output),
        (Input::Rerank(input), ExpectedOutput::Rerank(output)) => {
            let Some(scores) = &output.scores else { return Ok(()) };
            same_length("expect.output.scores", scores.len(), "input.rows.ids", input.rows.ids.len())?;
            all_finite("expect.output.scores", scores)
        }
        _ => problem("expect.output", format!("is that of a {} call; allowed: that of `stage`, {}", output.stage(), input.stage())),
    }
}

fn expected_gate(query: &Query, output: &ExpectedGate) -> Result<(), Problem> {
    finite("expect.output.ambiguity", output.ambiguity.unwrap_or(0.0))?;
    finite("expect.output.rrf_k", output.rrf_k.unwrap_or(0.0))?;
    let mut known = HashSet::new();
    for (at, budget) in output.budgets.iter().flatten().enumerate() {
        let at = format!("expect.output.budgets[{at}]");
        let channel = &budget.channel;
        if !query.channels.contains(channel) {
            let what = format!("is `{channel}`; allowed: {}, as `input.query.channels` has it", query.channels.join(", "));
            return problem(format!("{at}.channel"), what);
        }
        if !known.insert(channel) {
            return problem(format!("{at}.channel"), format!("is `{channel}` for a second time; allowed: each channel once"));
        }
        finite(&format!("{at}.weight"), budget.weight.unwrap_or(0.0))?;
    }
    Ok(())
}

fn expected_fusion(input: &FusionInput, output: &ExpectedFusion) -> Result<(), Problem> {
    let mut rows = None;
    if let Some(ids) = &output.ids {
        some_of("expect.output.ids", ids, &input.runs.iter().flat_map(|run| &run.ids).copied().collect())?;
        rows = Some(ids.len());
    }
    if let Some(scores) = &output.scores {
        same_length("expect.output.scores", scores.len(), "expect.output.ids", rows.unwrap_or(scores.len()))?;
        all_finite("expect.output.scores", scores)?;
        rows = Some(scores.len());
    }
    let Some(contributions) = &output.contributions else { return Ok(()) };
    if let Some(rows) = rows.filter(|rows| contributions.len() != rows * input.runs.len()) {
        let (got, runs) = (contributions.len(), input.runs.len());
        return problem("expect.output.contributions", format!("has {got} values; allowed: {}, {rows} rows × {runs} runs", rows * runs));
    }
    all_finite("expect.output.contributions", contributions)
}

fn ids_of(input: &Input) -> HashSet<u64> {
    match input {
        Input::Gate(_) => HashSet::new(),
        Input::Fusion(input) => input.runs.iter().flat_map(|run| &run.ids).copied().collect(),
        Input::Rerank(input) => input.rows.ids.iter().copied().collect(),
    }
}

/// Different ids out of those of the input.
fn some_of(at: &str, ids: &[u64], known: &HashSet<u64>) -> Result<(), Problem> {
    if let Some(place) = ids.iter().position(|id| !known.contains(id)) {
        return problem(format!("{at}[{place}]"), format!("is {}, which is not in the input; allowed: ids that went in", ids[place]));
    }
    once(at, ids)
}

fn spans(case: &Case) -> Result<(), Problem> {
    let Some(spans) = &case.expect.spans else { return Ok(()) };
    if spans.is_empty() {
        return problem("expect.spans", "is empty; allowed: at least one span".into());
    }
    match spans.iter().position(|span| span.name.is_empty()) {
        None => Ok(()),
        Some(at) => problem(format!("expect.spans[{at}].name"), "is empty; allowed: the name of a span".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{FUSION, GATE, RERANK, with};
    use super::*;

    /// What is said of a case with one value replaced; nothing for an empty `part`.
    fn check(text: &str, pointer: &str, value: &str, part: &str) {
        match Case::parse(&with(text, pointer, value), "a.json") {
            Ok(_) => assert_eq!(part, "", "{pointer} {value} was taken"),
            Err(error) => {
                let message = error.to_string();
                assert!(!part.is_empty() && message.contains(part), "`{part}` is not in: {message}");
                assert!(message.starts_with("a.json: `") && message.contains("allowed: "), "{message}");
            }
        }
    }

    #[test]
    fn the_call_and_its_query() {
        check(GATE, "/name", "\" \"", "`name` is empty");
        check(GATE, "/call/limit", "0", "`call.limit` is 0; allowed: 1 to 100");
        check(GATE, "/call/limit", "101", "`call.limit` is 101; allowed: 1 to 100");
        check(GATE, "/call/limit", "100", "");
        check(
            GATE,
            "/input/query/document_frequencies",
            "[1, 2]",
            "`input.query.document_frequencies` has 2 values; allowed: 3, as many as `input.query.terms`",
        );
        check(RERANK, "/input/query/terms", "[]", "has 1 values; allowed: 0");
        check(GATE, "/input/query/evidence", r#"{"symbols": [1, 0, 2.5]}"#, "");
        check(
            GATE,
            "/input/query/evidence",
            r#"{"symbols": [1]}"#,
            "`input.query.evidence.symbols` has 1 values; allowed: 3, as many as `input.query.terms`",
        );
        check(RERANK, "/input/rows/evidence", r#"{"calls": [1, 2, 3], "position": [1, 1, 4]}"#, "");
        check(
            RERANK,
            "/input/rows/evidence",
            r#"{"calls": [1, 2, 3], "position": []}"#,
            "`input.rows.evidence.position` has 0 values; allowed: 3, as many as `input.rows.ids`",
        );
    }

    #[test]
    fn the_runs_of_a_fusion() {
        check(FUSION, "/input/rrf_k", "1e39", "`input.rrf_k` is inf; allowed: finite");
        check(FUSION, "/input/runs/0/weight", "-1e39", "`input.runs[0].weight` is -inf");
        check(FUSION, "/input/runs/1/scores", "[1, 2]", "`input.runs[1].scores` has 2 values; allowed: 3, as many as `input.runs[1].ids`");
        check(FUSION, "/input/runs/1/scores", "[1, 1e39, 2]", "`input.runs[1].scores[1]` is inf");
        check(FUSION, "/input/runs/0/ids", "[1, 2, 1]", "`input.runs[0].ids[2]` is 1 for a second time");
        let ids: Vec<usize> = (0..60_000).collect();
        let run = serde_json::json!({"channel": "a", "weight": 1, "ids": ids, "scores": vec![0; ids.len()]});
        check(FUSION, "/input/runs", &format!("[{run}, {run}]"), "`input.runs` have 120000 rows together; allowed: 100000");
    }

    #[test]
    fn the_rows_and_documents_of_a_rerank() {
        check(RERANK, "/input/rows/ids", "[7, 5, 8]", "`input.rows.ids[2]` is 8, which is in no document");
        check(RERANK, "/input/rows/ids", "[7, 5, 5]", "`input.rows.ids[2]` is 5 for a second time");
        check(RERANK, "/input/rows/scores", "[7]", "`input.rows.scores` has 1 values; allowed: 3");
        check(RERANK, "/input/documents/1/id", "5", "`input.documents[1].id` is 5 for a second time");
        check(RERANK, "/input/documents/1/cross_encoder", "1e40", "`input.documents[1].cross_encoder` is inf");
    }

    #[test]
    fn expectations_that_nothing_could_meet() {
        check(GATE, "/expect", r#"{"tolerance": 0.1}"#, "`expect` asks for nothing; allowed: at least one of output, order");
        check(GATE, "/expect", r#"{"output": {}}"#, "");
        check(GATE, "/expect/tolerance", "-0.1", "`expect.tolerance` is -0.1; allowed: 0 to 1");
        check(GATE, "/expect/order", "[1]", "`expect.order` is there in a gate case; allowed: in fusion and rerank");
        check(GATE, "/expect/top", "[]", "`expect.top` is there in a gate case");
        check(GATE, "/expect/output/budgets/0/channel", "\"bm26\"", "`expect.output.budgets[0].channel` is `bm26`; allowed: bm25, dense");
        check(GATE, "/expect/output/budgets/0/channel", "\"bm25\"", "`expect.output.budgets[1].channel` is `bm25` for a second time");
        check(GATE, "/expect/output/rrf_k", "1e39", "`expect.output.rrf_k` is inf");
        check(FUSION, "/expect/order", "[2, 9]", "`expect.order[1]` is 9, which is not in the input");
        check(FUSION, "/expect/order", "[2, 2]", "`expect.order[1]` is 2 for a second time");
        check(FUSION, "/expect/order", "[2]", "");
        check(FUSION, "/expect/top", "[]", "`expect.top` is empty");
        check(FUSION, "/expect/output/ids", "[2, 1, 4, 9]", "`expect.output.ids[3]` is 9");
        check(FUSION, "/expect/output/scores", "[1]", "`expect.output.scores` has 1 values; allowed: 4, as many as `expect.output.ids`");
        check(FUSION, "/expect/output/contributions", "[1, 2]", "has 2 values; allowed: 8, 4 rows × 2 runs");
        check(FUSION, "/expect/output/contributions", "[1,2,3,4,5,6,7,1e39]", "`expect.output.contributions[7]` is inf");
        check(RERANK, "/expect/order", "[6, 7]", "`expect.order` has 2 values; allowed: 3, as many as `input.rows.ids`");
        check(RERANK, "/expect/top", "[6, 7]", "");
        check(RERANK, "/expect/output/scores", "[1]", "`expect.output.scores` has 1 values; allowed: 3");
        check(RERANK, "/expect/spans", "[]", "`expect.spans` is empty");
        check(RERANK, "/expect/spans/1/name", "\"\"", "`expect.spans[1].name` is empty");
    }

    #[test]
    fn classes_of_failures() {
        let check = |class: &str, part: &str| check(GATE, "/expect", &format!(r#"{{"error": "{class}"}}"#), part);
        for class in ["bad_config", "deadline", "denied", "contract", "trap.unreachable", "limit.memory"] {
            check(class, "");
        }
        check("trap", "`expect.error` is `trap`; allowed: bad_config, unsupported, plugin_error, bad_output, deadline");
        check("trap.", "trap.…, limit.…");
        check("bad-config", "`bad-config`");
        super::tests::check(GATE, "/expect/error", "\"deadline\"", "`expect.output` stands beside `expect.error`");
    }
}
