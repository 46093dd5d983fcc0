//! Makes a call's outcome the expectation of its case.

use super::{Case, Expect, ExpectedOutput, ExpectedSpan, Observed};

/// The class of a call that ran out of time.
const DEADLINE: &str = "deadline";

impl Case {
    /// The case with what was observed as its expectation; the tolerance stays.
    ///
    /// - An output is expected in full, and after fusion and rerank its order. Spans are
    ///   expected by name and parent: attributes hold counts that change with every
    ///   improvement of a plugin.
    /// - A failure is expected by its class. How far a call came that ran out of time
    ///   depends on the machine, so it expects no spans.
    /// - When the query's words are left out of the input (`recorded.redacted`), a gate or
    ///   rerank call can't give again what was observed, and its reasons could tell the
    ///   words. So it has to succeed and take the same steps, no more. A plugin whose
    ///   steps depend on the words needs a case that is edited by hand; so does a failure
    ///   that came from the words. A fusion doesn't see the query and is expected in full.
    pub fn expecting(self, observed: &Observed) -> Case {
        let redacted = self.recorded.as_ref().is_some_and(|recorded| recorded.redacted);
        let mut expect = Expect { tolerance: self.expect.tolerance, ..Expect::default() };
        let mut steps_are_known = true;
        match &observed.outcome {
            Ok(output) if redacted && self.input.depends_on_query_text() => expect.output = Some(ExpectedOutput::any(output.stage())),
            Ok(output) => {
                expect.output = Some(ExpectedOutput::all_of(output));
                expect.order = self.input.ranking(output).map(|ranking| ranking.ids);
            }
            Err(failure) => {
                steps_are_known = failure.cause != DEADLINE;
                expect.error = Some(failure.cause.clone());
            }
        }
        if steps_are_known && !observed.spans.is_empty() {
            let span = |span: &super::ObservedSpan| ExpectedSpan {
                name: span.name.clone(),
                parent: span.parent.clone(),
                ..ExpectedSpan::default()
            };
            expect.spans = Some(observed.spans.iter().map(span).collect());
        }
        Case { expect, ..self }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::super::testing::{FUSION, GATE, RERANK, case, failed, gave};
    use super::super::{ObservedSpan, check};
    use super::*;

    const DECISION: &str = r#"{"class": "literal", "ambiguity": 0.1, "rrf_k": 20, "rm3": false, "rerank_depth": 60,
        "budgets": [{"channel": "bm25", "depth": 100, "weight": 1, "reason": "words"}], "reasons": ["open"]}"#;

    fn spans() -> Vec<ObservedSpan> {
        let inner = |name: &str, parent: &str| ObservedSpan { name: name.into(), parent: Some(parent.into()), ..ObservedSpan::default() };
        let mut spans = vec![inner("a", "stage"), inner("b", "a")];
        spans[0].attributes.insert("words".into(), json!("open"));
        spans[0].events.push("read".into());
        spans
    }

    /// What is expected, as JSON; the case must hold for what it was made from.
    fn recorded(text: &str, redacted: bool, observed: Observed) -> Json {
        let mut case = case(text);
        case.recorded = super::super::testing::case(RERANK).recorded;
        case.recorded.as_mut().unwrap().redacted = redacted;
        case.expect.tolerance = Some(0.001);
        let case = case.expecting(&observed);
        case.checked("test").unwrap();
        assert_eq!(check(&case, &observed), []);
        serde_json::to_value(&case.expect).unwrap()
    }

    #[test]
    fn an_output_is_expected_in_full_and_spans_by_name() {
        let steps = json!([{"name": "a", "parent": "stage"}, {"name": "b", "parent": "a"}]);
        let seen = |output: &str| Observed { spans: spans(), ..gave(output) };
        let gate = recorded(GATE, false, seen(DECISION));
        assert_eq!(gate["output"].as_object().unwrap().len(), 7);
        assert_eq!((&gate["spans"], &gate["tolerance"], gate.get("order")), (&steps, &json!(0.001), None));
        let fused = r#"{"ids": [3, 1], "scores": [0.5, 0.25], "contributions": [0.5, 0, 0.25, 0]}"#;
        for redacted in [false, true] {
            let fusion = recorded(FUSION, redacted, seen(fused));
            let output = json!({"ids": [3, 1], "scores": [0.5, 0.25], "contributions": [0.5, 0.0, 0.25, 0.0]});
            assert_eq!(fusion, json!({"output": output, "order": [3, 1], "spans": steps, "tolerance": 0.001}));
        }
        let rerank = recorded(RERANK, false, gave(r#"{"scores": [0, 1, 1]}"#));
        assert_eq!(rerank, json!({"output": {"scores": [0.0, 1.0, 1.0]}, "order": [5, 6, 7], "tolerance": 0.001}));
    }

    #[test]
    fn without_the_querys_words_only_success_and_steps_are_expected() {
        let gate = recorded(GATE, true, Observed { spans: spans(), ..gave(DECISION) });
        assert_eq!(gate["output"], json!({}));
        assert!(!gate.to_string().contains("open"), "{gate}");
        assert_eq!(gate["spans"][1], json!({"name": "b", "parent": "a"}));
        assert_eq!(recorded(RERANK, true, gave(r#"{"scores": [0, 1, 1]}"#)), json!({"output": {}, "tolerance": 0.001}));
    }

    #[test]
    fn a_failure_is_expected_by_its_class() {
        let seen = |cause: &str| Observed { spans: spans(), ..failed(cause) };
        let trap = recorded(GATE, false, seen("trap.unreachable"));
        assert_eq!((&trap["error"], trap["spans"].as_array().unwrap().len()), (&json!("trap.unreachable"), 2));
        assert_eq!(recorded(RERANK, true, seen("deadline")), json!({"error": "deadline", "tolerance": 0.001}));
    }
}
