//! Compares what a call gave with what its case expects.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::diff::{Difference, NumberOff, TableRow};
use super::{
    Case, ExpectedBudget, ExpectedFusion, ExpectedGate, ExpectedOutput, FusionOutput, GateOutput, Input, Output, Ranking,
    TOLERANCE_DEFAULT, spans,
};

/// What came of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// The output after the host's checks; a fusion's list is sorted.
    pub outcome: Result<Output, Failure>,
    /// The plugin's spans in the order in which they were opened, the stage's own not
    /// among them.
    pub spans: Vec<ObservedSpan>,
}

/// Why a call gave no output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The class, such as `trap.unreachable`.
    pub cause: String,
    pub message: String,
}

/// A span that a plugin opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObservedSpan {
    pub name: String,
    /// The name of the span it is in, `stage` for the stage's own.
    pub parent: Option<String>,
    pub attributes: BTreeMap<String, Json>,
    /// Names, in order.
    pub events: Vec<String>,
    /// Whether its status is error.
    pub failed: bool,
}

/// How far numbers may be apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tolerance(pub f64);

impl Tolerance {
    /// The most that a number may be off from `expected`.
    pub(super) fn allowed(self, expected: f64) -> f64 {
        self.0 * expected.abs().max(1.0)
    }

    /// Never for a number that is not finite.
    pub(super) fn agrees(self, expected: f64, got: f64) -> bool {
        (got - expected).abs() <= self.allowed(expected)
    }
}

/// Everything that is otherwise than expected; nothing when the case passed.
pub fn check(case: &Case, observed: &Observed) -> Vec<Difference> {
    let tolerance = Tolerance(case.expect.tolerance.unwrap_or(TOLERANCE_DEFAULT));
    let mut found = Vec::new();
    match (&case.expect.error, &observed.outcome) {
        (None, Ok(output)) => check_output(case, output, tolerance, &mut found),
        (Some(class), Err(failure)) if *class == failure.cause => {}
        (error, outcome) => {
            let wanted = match error {
                Some(class) => format!("a failure with `{class}`"),
                None => "an output".to_owned(),
            };
            let got = match outcome {
                Ok(_) => "an output".to_owned(),
                Err(failure) => format!("a failure with `{}`: {}", failure.cause, failure.message),
            };
            found.push(Difference::Outcome { expected: wanted, got });
        }
    }
    if let Some(expected) = &case.expect.spans {
        spans::check(expected, &observed.spans, tolerance, &mut found);
    }
    found
}

fn check_output(case: &Case, output: &Output, tolerance: Tolerance, found: &mut Vec<Difference>) {
    if output.stage() != case.stage {
        let [expected, got] = [case.stage, output.stage()].map(|stage| format!("the output of a {stage} call"));
        found.push(Difference::Outcome { expected, got });
        return;
    }
    let got = case.input.ranking(output);
    if let (Some(order), Some(got)) = (&case.expect.order, &got) {
        found.extend(ranking("order", order, case, got, got.ids.len()));
    }
    if let (Some(top), Some(got)) = (&case.expect.top, &got) {
        found.extend(ranking("top", top, case, got, top.len()));
    }
    match (&case.expect.output, output) {
        (Some(ExpectedOutput::Gate(expected)), Output::Gate(got)) => gate(expected, got, tolerance, found),
        (Some(ExpectedOutput::Fusion(expected)), Output::Fusion(got)) => fusion(case, expected, got, tolerance, found),
        (Some(ExpectedOutput::Rerank(expected)), Output::Rerank(got)) => column("scores", &expected.scores, &got.scores, tolerance, found),
        _ => {}
    }
}

fn gate(expected: &ExpectedGate, got: &GateOutput, tolerance: Tolerance, found: &mut Vec<Difference>) {
    value("class", &expected.class, &got.class, found);
    number("ambiguity", expected.ambiguity, got.ambiguity, tolerance, found);
    if let Some(budgets) = &expected.budgets {
        check_budgets(budgets, got, tolerance, found);
    }
    number("rrf_k", expected.rrf_k, got.rrf_k, tolerance, found);
    value("rm3", &expected.rm3, &got.rm3, found);
    value("rerank_depth", &expected.rerank_depth, &got.rerank_depth, found);
    value("reasons", &expected.reasons, &got.reasons, found);
}

/// By channel: the host puts budgets in an order of its own, and leaves those of depth 0 out.
fn check_budgets(expected: &[ExpectedBudget], got: &GateOutput, tolerance: Tolerance, found: &mut Vec<Difference>) {
    for wanted in expected {
        let at = format!("budgets.{}", wanted.channel);
        match got.budgets.iter().find(|budget| budget.channel == wanted.channel) {
            Some(budget) => {
                value(&format!("{at}.depth"), &wanted.depth, &budget.depth, found);
                number(&format!("{at}.weight"), wanted.weight, budget.weight, tolerance, found);
                value(&format!("{at}.reason"), &wanted.reason, &budget.reason, found);
            }
            None if wanted.depth == Some(0) => {}
            None => found.push(Difference::Value { at, expected: json!("a budget"), got: json!("none") }),
        }
    }
    for budget in got.budgets.iter().filter(|budget| budget.depth > 0) {
        if !expected.iter().any(|wanted| wanted.channel == budget.channel) {
            let at = format!("budgets.{}", budget.channel);
            found.push(Difference::Value { at, expected: json!("none"), got: json!(format!("a budget of depth {}", budget.depth)) });
        }
    }
}

fn fusion(case: &Case, expected: &ExpectedFusion, got: &FusionOutput, tolerance: Tolerance, found: &mut Vec<Difference>) {
    // A recorded case has the ids twice; one table is enough.
    if let Some(ids) = expected.ids.as_ref().filter(|ids| case.expect.order.as_ref() != Some(*ids)) {
        let got = Ranking { ids: got.ids.clone(), scores: got.scores.clone() };
        found.extend(ranking("ids", ids, case, &got, got.ids.len()));
    }
    column("scores", &expected.scores, &got.scores, tolerance, found);
    column("contributions", &expected.contributions, &got.contributions, tolerance, found);
}

/// Compares with the first `rows_max` rows of what came out.
fn ranking(at: &str, expected: &[u64], case: &Case, got: &Ranking, rows_max: usize) -> Option<Difference> {
    let rows = rows_max.min(got.ids.len());
    if expected == &got.ids[..rows] {
        return None;
    }
    let scores = expected_scores(case);
    let expected = expected.iter().map(|id| TableRow { id: *id, score: scores.get(id).copied() }).collect();
    let got = got.ids.iter().zip(&got.scores).take(rows).map(|(id, score)| TableRow { id: *id, score: Some(*score) }).collect();
    Some(Difference::Ranking { at: at.to_owned(), expected, got })
}

/// The score that the case expects of each chunk, as far as it says.
fn expected_scores(case: &Case) -> BTreeMap<u64, f32> {
    let (ids, scores) = match (&case.input, &case.expect.output) {
        (Input::Fusion(_), Some(ExpectedOutput::Fusion(output))) => (output.ids.as_ref().or(case.expect.order.as_ref()), &output.scores),
        (Input::Rerank(input), Some(ExpectedOutput::Rerank(output))) => (Some(&input.rows.ids), &output.scores),
        _ => (None, &None),
    };
    match (ids, scores) {
        (Some(ids), Some(scores)) => ids.iter().copied().zip(scores.iter().copied()).collect(),
        _ => BTreeMap::new(),
    }
}

fn value<T: PartialEq + serde::Serialize>(at: &str, expected: &Option<T>, got: &T, found: &mut Vec<Difference>) {
    if let Some(expected) = expected.as_ref().filter(|expected| *expected != got) {
        found.push(Difference::Value { at: at.to_owned(), expected: json!(expected), got: json!(got) });
    }
}

fn number(at: &str, expected: Option<f32>, got: f32, tolerance: Tolerance, found: &mut Vec<Difference>) {
    if let Some(off) = expected.and_then(|expected| off(at.to_owned(), expected, got, tolerance)) {
        found.push(Difference::Numbers { numbers: vec![off], of: 1 });
    }
}

fn column(at: &str, expected: &Option<Vec<f32>>, got: &[f32], tolerance: Tolerance, found: &mut Vec<Difference>) {
    let Some(expected) = expected else { return };
    if expected.len() != got.len() {
        found.push(Difference::Length { at: at.to_owned(), expected: expected.len(), got: got.len() });
    }
    let pairs = expected.iter().zip(got).enumerate();
    let numbers: Vec<NumberOff> =
        pairs.filter_map(|(place, (expected, got))| off(format!("{at}[{place}]"), *expected, *got, tolerance)).collect();
    if !numbers.is_empty() {
        found.push(Difference::Numbers { numbers, of: expected.len() });
    }
}

fn off(at: String, expected: f32, got: f32, tolerance: Tolerance) -> Option<NumberOff> {
    let [wanted, given] = [expected, got].map(f64::from);
    if tolerance.agrees(wanted, given) {
        return None;
    }
    Some(NumberOff { at, expected, got, off: (given - wanted).abs(), allowed: tolerance.allowed(wanted) })
}

#[cfg(test)]
mod tests {
    use super::super::render;
    use super::super::testing::{FUSION, GATE, RERANK, case, failed, gave, with};
    use super::*;

    const DECISION: &str = r#"{"class": "literal", "ambiguity": 0.25, "rrf_k": 20, "rm3": false, "rerank_depth": 60,
        "budgets": [{"channel": "bm25", "depth": 100, "weight": 1, "reason": "words"},
                    {"channel": "dense", "depth": 50, "weight": 0.4, "reason": "any"}],
        "reasons": ["one word"]}"#;
    const FUSED: &str = r#"{"ids": [2, 1, 4, 3], "scores": [0.032522473, 0.032266458, 0.016129032, 0.015873017],
        "contributions": [0, 0, 0, 0, 0, 0, 0, 0]}"#;
    const SCORES: &str = r#"{"scores": [0.5, 0.25, 0.75]}"#;

    /// A case without its spans, checked against an output with one value replaced.
    fn check(text: &str, output: &str, pointer: &str, value: &str, expect: &[&str]) {
        let output = if pointer.is_empty() { output.to_owned() } else { with(output, pointer, value) };
        let found = super::check(&case(&with(text, "/expect/spans", "null")), &gave(&output));
        let text = render(&found);
        assert_eq!(found.len(), expect.len(), "{text}");
        for (difference, part) in found.iter().zip(expect) {
            assert!(difference.to_string().contains(part), "`{part}` is not in: {difference}");
        }
    }

    #[test]
    fn a_gate_is_compared_member_by_member() {
        check(GATE, DECISION, "", "", &[]);
        check(GATE, DECISION, "/class", "\"vague\"", &["class: expected \"literal\", got \"vague\""]);
        check(GATE, DECISION, "/ambiguity", "0.251", &["ambiguity: expected 0.25, got 0.251 (off by 1e-3, allowed 1e-5)"]);
        check(GATE, DECISION, "/ambiguity", "0.250009", &[]);
        // Of 20 the tolerance is a share.
        check(GATE, DECISION, "/rrf_k", "20.00019", &[]);
        check(GATE, DECISION, "/rrf_k", "20.00022", &["rrf_k: expected 20, got 20.00022 (off by 2.2e-4, allowed 2e-4)"]);
        check(GATE, DECISION, "/rm3", "true", &["rm3: expected false, got true"]);
        check(GATE, DECISION, "/rerank_depth", "61", &["rerank_depth: expected 60, got 61"]);
        check(GATE, DECISION, "/reasons", "[]", &["reasons: expected [\"one word\"], got []"]);
        // Dense has no depth and no reason in the case.
        check(GATE, DECISION, "/budgets/1/depth", "70", &[]);
        check(GATE, DECISION, "/budgets/0/depth", "70", &["budgets.bm25.depth: expected 100, got 70"]);
        check(GATE, DECISION, "/budgets/1/weight", "0.5", &["budgets.dense.weight: expected 0.4, got 0.5"]);
        check(GATE, DECISION, "/budgets/0/reason", "\"\"", &["budgets.bm25.reason: expected \"words\", got \"\""]);
        check(GATE, DECISION, "/budgets", "[]", &["budgets.dense: expected \"a budget\"", "budgets.bm25: expected \"a budget\""]);
        check(&with(GATE, "/expect", r#"{"output": {}}"#), DECISION, "/class", "\"vague\"", &[]);
    }

    #[test]
    fn channels_that_are_not_expected_are_found_and_depth_0_means_not_asked() {
        let only = |depth: u32| with(GATE, "/expect/output/budgets", &format!(r#"[{{"channel": "dense", "depth": {depth}}}]"#));
        let lacks = "budgets.bm25: expected \"none\", got \"a budget of depth 100\"";
        check(&only(50), DECISION, "", "", &[lacks]);
        check(&only(0), DECISION, "", "", &["budgets.dense.depth: expected 0, got 50", lacks]);
        check(&only(0), DECISION, "/budgets", "[]", &[]);
        let left_out =
            r#"[{"channel": "bm25", "depth": 0, "weight": 1, "reason": ""}, {"channel": "dense", "depth": 50, "weight": 1, "reason": ""}]"#;
        check(&only(50), DECISION, "/budgets", left_out, &[]);
    }

    #[test]
    fn a_fusion_is_compared_by_order_and_scores() {
        check(FUSION, FUSED, "", "", &[]);
        check(FUSION, FUSED, "/ids", "[2, 1, 3, 4]", &["order: 2 of 4 rows differ"]);
        check(FUSION, FUSED, "/ids", "[1, 2, 4, 3]", &["order: 2 of 4 rows differ", "top: 2 of 2 rows differ"]);
        check(FUSION, FUSED, "/scores", "[0.0331, 0.0322664, 0.016129, 0.015873]", &["scores[0]: expected 0.0325225, got 0.0331 (off by"]);
        let other = with(FUSION, "/expect/order", "null");
        check(&other, FUSED, "/ids", "[2, 1, 3, 4]", &["ids: 2 of 4 rows differ"]);
        let longer = r#"{"ids": [2, 1, 4], "scores": [0.032522473, 0.032266458, 0.016129032], "contributions": []}"#;
        check(FUSION, longer, "", "", &["order: 1 of 4 rows differ", "scores: expected 4 values, got 3"]);
        let contributions = with(FUSION, "/expect/output/contributions", "[0, 0, 0, 0, 0, 0, 0, 1]");
        check(&contributions, FUSED, "", "", &["contributions[7]: expected 1, got 0 (off by 1, allowed 1e-5)"]);
    }

    #[test]
    fn a_rerank_is_compared_by_the_order_that_its_scores_make() {
        check(RERANK, SCORES, "", "", &[]);
        check(RERANK, SCORES, "/scores", "[0.5, 0.5, 0.75]", &["scores[1]: expected 0.25, got 0.5"]);
        check(RERANK, SCORES, "/scores", "[0.25, 0.5, 0.75]", &["order: 2 of 3 rows differ", "scores[0]: "]);
        check(RERANK, SCORES, "/scores", "[0.5, 0.25]", &["order: 3 of 3 rows differ", "scores: expected 3 values, got 2"]);
        let wide = with(RERANK, "/expect/tolerance", "0.3");
        check(&wide, SCORES, "/scores", "[0.6, 0.1, 0.8]", &[]);
        let top = with(RERANK, "/expect", r#"{"top": [6]}"#);
        check(&top, SCORES, "/scores", "[0.25, 0.5, 0.75]", &[]);
        check(&top, SCORES, "/scores", "[0.9, 0.5, 0.75]", &["top: 1 of 1 rows differ"]);
    }

    #[test]
    fn numbers_that_are_not_finite_never_agree() {
        let wide = Tolerance(1.0);
        assert!(wide.agrees(0.0, 1.0) && !wide.agrees(0.0, 1.1));
        assert!(wide.agrees(10.0, 20.0) && !wide.agrees(10.0, 20.5));
        assert!(!wide.agrees(0.0, f64::NAN) && !wide.agrees(0.0, f64::INFINITY));
    }

    #[test]
    fn failures_are_compared_by_their_class() {
        let check = |expect: &str, observed: &Observed, part: &str| {
            let found = render(&super::check(&case(&with(GATE, "/expect", expect)), observed));
            assert!(if part.is_empty() { found.is_empty() } else { found.contains(part) }, "{found}");
        };
        let wanted = r#"{"error": "trap.unreachable"}"#;
        check(wanted, &failed("trap.unreachable"), "");
        check(wanted, &failed("deadline"), "expected a failure with `trap.unreachable`, got a failure with `deadline`: it went wrong");
        check(wanted, &gave(DECISION), "expected a failure with `trap.unreachable`, got an output");
        check(r#"{"output": {}}"#, &failed("deadline"), "expected an output, got a failure with `deadline`");
        // Spans alone ask for success, too.
        check(r#"{"spans": [{"name": "a"}]}"#, &failed("deadline"), "expected an output, got a failure");
        check(r#"{"output": {}}"#, &gave(SCORES), "expected the output of a gate call, got the output of a rerank call");
    }
}
