//! Merges the channels' ranked lists by reciprocal rank fusion.
//! In: ranked lists with weights. Out: one list, and what each run added to it.
//!
//! `score(d) = Σ w / (k + rank(d))` over the runs that hold `d`: Cormack, Clarke and
//! Büttcher, SIGIR 2009. Only ranks count, so the channels' own scores need no
//! normalization. Departures: each run has a weight (theirs are all 1), and a run of
//! weight 0 is left out as if it were not there.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use spanloom_plugin::{Call, Fused, Fusion, FusionSettings, PluginError, Run, Span, check_range, no_rows};

mod merge;

use merge::{Merged, Source};

spanloom_plugin::export_fusion!(Rrf);

/// What can be set.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Parameters {
    /// The constant k, 1 to 10000: the larger, the less the first ranks stand out.
    /// Without it, k is what the gate decides for each query.
    #[schemars(range(min = 1.0, max = 10000.0))]
    pub k: Option<f32>,
    /// Factors, 0 to 100, by the name of the channel. They are multiplied with the
    /// weight that the gate gives; a channel that is not named has 1.
    pub weights: BTreeMap<String, f32>,
    /// The first rank: 1 (the paper, Elasticsearch, Vespa) or 0 (Weaviate).
    #[schemars(range(min = 0, max = 1))]
    pub rank_base: u32,
    /// The most rows that go out, 1 to 100000.
    #[schemars(range(min = 1, max = 100000))]
    pub output_max: u32,
}

impl Default for Parameters {
    fn default() -> Parameters {
        Parameters { k: None, weights: BTreeMap::new(), rank_base: 1, output_max: 1_000 }
    }
}

/// The plugin with checked parameters.
#[derive(Debug)]
pub struct Rrf(Parameters);

impl Fusion for Rrf {
    type Parameters = Parameters;

    fn configure(parameters: Parameters) -> Result<Rrf, PluginError> {
        if let Some(k) = parameters.k {
            check_range("k", k, 1.0..=10_000.0)?;
        }
        for (channel, &weight) in &parameters.weights {
            check_range(&format!("weights.{channel}"), weight, 0.0..=100.0)?;
        }
        check_range("rank_base", parameters.rank_base, 0..=1)?;
        check_range("output_max", parameters.output_max, 1..=100_000)?;
        Ok(Rrf(parameters))
    }

    fn fuse(&self, stage: &Span, _: &Call, settings: &FusionSettings, runs: &[Run]) -> Result<Fused, PluginError> {
        let k = self.k(settings)?;
        let rows_in: usize = runs.iter().map(|run| run.ids.len()).sum();
        if rows_in == 0 {
            return Ok(no_rows());
        }

        let span = stage.child("fusion.rrf");
        let sources: Vec<Source> = runs.iter().map(|run| self.source(run)).collect();
        let merged = merge::merge(&sources, k, self.0.rank_base);
        let fused = self.best(&merged, runs.len());
        span.set(|| {
            [
                ("retrieval.fusion.k", k.into()),
                ("retrieval.fusion.rank_base", self.0.rank_base.into()),
                ("retrieval.fusion.runs", runs.len().into()),
                ("retrieval.fusion.rows_in", rows_in.into()),
                ("retrieval.fusion.rows_distinct", merged.ids.len().into()),
                ("retrieval.fusion.rows_out", fused.ids.len().into()),
            ]
        });
        Ok(fused)
    }
}

impl Rrf {
    /// The parameter, or else what the gate says.
    fn k(&self, settings: &FusionSettings) -> Result<f64, PluginError> {
        let k = self.0.k.unwrap_or(settings.rrf_k);
        if k.is_finite() && k > 0.0 {
            return Ok(k.into());
        }
        Err(PluginError::Internal(format!("settings.rrf-k is {k}, it must be over 0")))
    }

    /// A run with its weight; a weight that is no positive number leaves it out.
    fn source<'a>(&self, run: &'a Run) -> Source<'a> {
        let factor = self.0.weights.get(&run.channel).copied().unwrap_or(1.0);
        let weight = f64::from(run.weight) * f64::from(factor);
        Source { ids: &run.ids, weight: if weight.is_finite() { weight } else { 0.0 } }
    }

    /// The best rows in the project's order, at most `output_max`.
    fn best(&self, merged: &Merged, runs: usize) -> Fused {
        let rows = merged.best(self.0.output_max as usize);
        let mut fused = Fused {
            ids: Vec::with_capacity(rows.len()),
            scores: Vec::with_capacity(rows.len()),
            contributions: Vec::with_capacity(rows.len() * runs),
        };
        for row in rows {
            let contributions = row * runs..(row + 1) * runs;
            fused.ids.push(merged.ids[row]);
            fused.scores.push(merged.score(row));
            fused.contributions.extend_from_slice(&merged.contributions[contributions]);
        }
        fused
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanloom_plugin::{Value, parse, testing};

    const SETTINGS: FusionSettings = FusionSettings { rrf_k: 60.0 };

    fn fuse(parameters: &str, runs: &[Run]) -> Fused {
        let plugin = Rrf::configure(parse(parameters).expect("valid JSON")).expect("in range");
        plugin.fuse(&Span::inert(), &testing::call(10), &SETTINGS, runs).expect("fused")
    }

    /// A = {a: 3, b: 2, c: 1}, B = {b: 10, d: 9, a: 1} with a = 1 … d = 4.
    fn oracle_runs() -> Vec<Run> {
        vec![testing::run("bm25", 1.0, &[(1, 3.0), (2, 2.0), (3, 1.0)]), testing::run("dense", 1.0, &[(2, 10.0), (4, 9.0), (1, 1.0)])]
    }

    #[test]
    fn scores_agree_with_other_implementations() {
        let check = |parameters: &str, expected: &[(u64, f64)]| {
            let fused = fuse(parameters, &oracle_runs());
            let ids: Vec<u64> = expected.iter().map(|row| row.0).collect();
            assert_eq!(fused.ids, ids, "{parameters}");
            for (got, (id, score)) in fused.scores.iter().zip(expected) {
                assert!((f64::from(*got) - score).abs() < 1e-6, "{parameters} {id}: {got}");
            }
        };
        // ranx 0.3.21, k = 60.
        let ranx = [(2, 0.032522), (1, 0.032266), (4, 0.016129), (3, 0.015873)];
        check("{}", &ranx);
        check(r#"{"k": 60}"#, &ranx);
        check(r#"{"output_max": 2}"#, &ranx[..2]);
        // Weaviate's dialect by hand: 1/(60 + i), i from 0.
        check(r#"{"rank_base": 0}"#, &[(2, 1.0 / 61.0 + 1.0 / 60.0), (1, 1.0 / 60.0 + 1.0 / 62.0), (4, 1.0 / 61.0), (3, 1.0 / 62.0)]);
        // Twice the weight for one channel; k small.
        check(
            r#"{"k": 1, "weights": {"bm25": 2}}"#,
            &[(1, 2.0 / 2.0 + 1.0 / 4.0), (2, 2.0 / 3.0 + 1.0 / 2.0), (3, 2.0 / 4.0), (4, 1.0 / 3.0)],
        );
    }

    #[test]
    fn contributions_are_rows_by_runs_and_add_up() {
        let fused = fuse("{}", &oracle_runs());
        assert_eq!(fused.contributions.len(), fused.ids.len() * 2);
        for (row, score) in fused.contributions.chunks(2).zip(&fused.scores) {
            assert!((row.iter().sum::<f32>() - score).abs() < 1e-7);
        }
        let d = &fused.contributions[4..6];
        assert_eq!(d[0], 0.0);
        assert!((d[1] - 1.0 / 62.0).abs() < 1e-7);
    }

    #[test]
    fn a_run_of_weight_0_counts_as_absent() {
        let mut runs = oracle_runs();
        let alone = fuse("{}", &runs[..1]);
        for (weight, parameters) in [(0.0, "{}"), (1.0, r#"{"weights": {"dense": 0}}"#)] {
            runs[1].weight = weight;
            let fused = fuse(parameters, &runs);
            assert_eq!(fused.ids, alone.ids);
            assert_eq!(fused.scores, alone.scores);
            assert!(fused.contributions.chunks(2).all(|row| row[1] == 0.0));
        }
    }

    #[test]
    fn ties_go_to_the_best_rank_and_then_to_the_smaller_id() {
        // 7 and 3 at rank 1 of one run each; weights make row 9 equal at rank 2.
        let runs = [
            testing::run("a", 1.0, &[(7, 1.0)]),
            testing::run("b", 1.0, &[(3, 1.0)]),
            testing::run("c", 62.0 / 61.0, &[(1, 1.0), (9, 1.0)]),
        ];
        let fused = fuse("{}", &runs);
        assert_eq!(fused.ids, [1, 3, 7, 9]);
    }

    #[test]
    fn nothing_in_gives_nothing_out() {
        for runs in [vec![], vec![testing::run("bm25", 1.0, &[])]] {
            assert_eq!(fuse("{}", &runs), no_rows());
        }
        let weightless = [testing::run("bm25", f32::NAN, &[(1, 1.0)])];
        assert_eq!(fuse("{}", &weightless), no_rows());
    }

    #[test]
    fn a_gate_without_k_is_an_error_unless_the_parameter_says_it() {
        let call = testing::call(10);
        for rrf_k in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            let settings = FusionSettings { rrf_k };
            let fuse = |parameters: Parameters| {
                let plugin = Rrf::configure(parameters).expect("in range");
                plugin.fuse(&Span::inert(), &call, &settings, &oracle_runs())
            };
            assert!(matches!(fuse(Parameters::default()), Err(PluginError::Internal(_))));
            let own_k = Parameters { k: Some(60.0), ..Parameters::default() };
            assert!(fuse(own_k).is_ok());
        }
    }

    #[test]
    fn parameters_out_of_range_are_named() {
        let check = |json: &str, name: &str| match parse(json).and_then(Rrf::configure) {
            Err(PluginError::BadConfig(message)) => assert!(message.contains(name), "{message}"),
            other => panic!("{json}: {other:?}"),
        };
        check(r#"{"k": 0}"#, "`k`");
        check(r#"{"k": 1e300}"#, "`k`");
        check(r#"{"rank_base": 2}"#, "`rank_base`");
        check(r#"{"output_max": 0}"#, "`output_max`");
        check(r#"{"weights": {"bm25": -1}}"#, "`weights.bm25`");
        check(r#"{"kk": 1}"#, "kk");
        assert!(Rrf::configure(Parameters::default()).is_ok());
    }

    #[test]
    fn the_span_says_how_many_rows_came_and_went() {
        let (stage, record) = Span::recorded();
        let plugin = Rrf::configure(Parameters::default()).expect("in range");
        plugin.fuse(&stage, &testing::call(10), &SETTINGS, &oracle_runs()).expect("fused");
        let span = record.span("fusion.rrf").expect("a child");
        assert!(span.ended);
        let value = |key: &str| span.attribute(key).cloned();
        assert_eq!(value("retrieval.fusion.k"), Some(Value::Real(60.0)));
        assert_eq!(value("retrieval.fusion.rows_in"), Some(Value::Int(6)));
        assert_eq!(value("retrieval.fusion.rows_out"), Some(Value::Int(4)));
    }
}
