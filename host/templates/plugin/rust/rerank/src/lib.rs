//! Puts rows first whose symbol or path has a term of the query in it.
//! In: rows with fused scores. Out: a score for each row.
//!
//! `score = fused + boost × scale × share`, where `scale` is the largest fused score (as an
//! absolute value) and `share` how many of the query's terms are in symbol or path. So
//! `boost` means the same for every fusion.

use schemars::JsonSchema;
use serde::Deserialize;
use spanloom_plugin::{
    Call, Candidates, Documents, PluginError, Profile, Rerank, Span, check_range, explain,
};

spanloom_plugin::export_rerank!(Named);

/// What can be set.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Parameters {
    /// What a row gains that has all terms in its names, 0 to 10; 1 is as much as the
    /// best fused score.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub boost: f32,
}

impl Default for Parameters {
    fn default() -> Parameters {
        Parameters { boost: 0.5 }
    }
}

/// The plugin with checked parameters.
#[derive(Debug)]
pub struct Named(Parameters);

impl Rerank for Named {
    type Parameters = Parameters;

    fn configure(parameters: Parameters) -> Result<Named, PluginError> {
        check_range("boost", parameters.boost, 0.0..=10.0)?;
        Ok(Named(parameters))
    }

    fn rerank(
        &self,
        stage: &Span,
        call: &Call,
        query: &Profile,
        rows: &Candidates,
        documents: &Documents,
    ) -> Result<Vec<f32>, PluginError> {
        let span = stage.child("rerank.names");
        // Once for all rows: each call of the host has its price.
        let facts = documents.look_up(&rows.ids)?;
        let names = facts.symbols.iter().zip(&facts.paths);
        let shares: Vec<f32> = names
            .map(|(symbol, path)| share(&query.terms, symbol, path))
            .collect();

        let scale = rows
            .scores
            .iter()
            .fold(0.0_f32, |scale, score| scale.max(score.abs()));
        let boosts: Vec<f32> = shares
            .iter()
            .map(|share| self.0.boost * scale * share)
            .collect();
        let parts = || rows.scores.iter().zip(&boosts);
        explain::parts(call, ["fused", "names"], || {
            parts().map(|(&fused, &boost)| [fused, boost])
        });
        span.set(|| {
            [
                ("retrieval.rerank.rows", rows.ids.len().into()),
                (
                    "retrieval.rerank.rows_named",
                    shares.iter().filter(|&&share| share > 0.0).count().into(),
                ),
            ]
        });
        Ok(parts().map(|(fused, boost)| fused + boost).collect())
    }
}

/// How many of the terms are in symbol or path, 0 to 1; 0 without terms. Terms are
/// stemmed: `pars` is found in `Parser`.
fn share(terms: &[String], symbol: &str, path: &str) -> f32 {
    if terms.is_empty() {
        return 0.0;
    }
    let (symbol, path) = (symbol.to_lowercase(), path.to_lowercase());
    let named = |term: &&String| symbol.contains(term.as_str()) || path.contains(term.as_str());
    terms.iter().filter(named).count() as f32 / terms.len() as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanloom_plugin::{Document, Value, parse, testing};

    const TERMS: &[(&str, u32)] = &[("retri", 40), ("limit", 900)];

    fn documents() -> Documents {
        let document = |id, path: &str, symbol: &str| Document {
            id,
            path: path.into(),
            symbol: symbol.into(),
            ..Document::default()
        };
        Documents::in_memory(vec![
            document(1, "src/main.rs", ""),
            document(2, "src/limits.rs", "Retries::MAX"),
            document(3, "docs/LIMITS.md", ""),
        ])
    }

    fn rerank(parameters: &str, terms: &[(&str, u32)], scores: &[f32]) -> Vec<f32> {
        let plugin = parse(parameters)
            .and_then(Named::configure)
            .expect("valid parameters");
        let documents = documents();
        let rows = Candidates {
            ids: (1..=scores.len() as u64).collect(),
            scores: scores.to_vec(),
        };
        let query = testing::profile("", 10_000, terms);
        let scores = plugin.rerank(
            &Span::inert(),
            &testing::call(10),
            &query,
            &rows,
            &documents,
        );
        assert_eq!(documents.asked().look_ups, 1);
        scores.expect("scored")
    }

    #[test]
    fn rows_gain_by_the_terms_in_their_names() {
        let check = |parameters, terms, scores: &[f32], expected: &[f32]| {
            assert_eq!(
                rerank(parameters, terms, scores),
                expected,
                "{parameters} {scores:?}"
            );
        };
        check("{}", TERMS, &[4.0, 3.0, 2.0], &[4.0, 5.0, 3.0]);
        check(r#"{"boost": 1}"#, TERMS, &[4.0, 3.0, 2.0], &[4.0, 7.0, 4.0]);
        check(r#"{"boost": 0}"#, TERMS, &[4.0, 3.0, 2.0], &[4.0, 3.0, 2.0]);
        check("{}", TERMS, &[-1.0, -2.0, -4.0], &[-1.0, 0.0, -3.0]);
        check("{}", &[], &[4.0, 3.0, 2.0], &[4.0, 3.0, 2.0]);
        check("{}", TERMS, &[], &[]);
    }

    #[test]
    fn parameters_out_of_range_are_named() {
        for json in [r#"{"boost": -1}"#, r#"{"boost": 11}"#, r#"{"boost": "x"}"#] {
            match parse(json).and_then(Named::configure) {
                Err(PluginError::BadConfig(message)) => {
                    assert!(message.contains("`boost`"), "{message}")
                }
                other => panic!("{json}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_span_counts_rows_and_the_explanation_adds_up() {
        let plugin = Named::configure(Parameters::default()).expect("the defaults");
        let (stage, record) = Span::recorded();
        let mut call = testing::call(10);
        call.explain = true;
        let rows = Candidates {
            ids: vec![2, 1],
            scores: vec![4.0, 1.0],
        };
        let query = testing::profile("", 9, TERMS);
        let scores = plugin
            .rerank(&stage, &call, &query, &rows, &documents())
            .expect("scored");

        let span = record.span("rerank.names").expect("a child");
        assert!(span.ended);
        assert_eq!(
            span.attribute("retrieval.rerank.rows"),
            Some(&Value::Int(2))
        );
        assert_eq!(
            span.attribute("retrieval.rerank.rows_named"),
            Some(&Value::Int(1))
        );
        let said = explain::said();
        assert_eq!(said.part_names, ["fused", "names"]);
        let sums: Vec<f32> = said.parts.chunks(2).map(|row| row.iter().sum()).collect();
        assert_eq!(sums, scores);
    }
}
