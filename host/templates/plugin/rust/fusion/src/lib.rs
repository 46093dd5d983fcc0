//! Merges the channels' ranked lists by weighted reciprocal rank fusion.
//! In: ranked lists with weights. Out: one list, and what each run added to it.
//!
//! `score(d) = Σ w / (k + rank(d))` over the runs that hold `d`, ranks from 1: Cormack,
//! Clarke and Büttcher, SIGIR 2009. Departures: each run has a weight, and a run of
//! weight 0 is left out as if it were not there.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use spanloom_plugin::{
    Call, Fused, Fusion, FusionSettings, PluginError, Run, Span, check_range, explain, no_rows,
};

spanloom_plugin::export_fusion!(Rrf);

/// What can be set.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Parameters {
    /// The constant k, 1 to 10000: the larger, the less the first ranks stand out.
    /// Without it, k is what the gate decides for each query.
    #[schemars(range(min = 1.0, max = 10000.0))]
    pub k: Option<f32>,
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
        Ok(Rrf(parameters))
    }

    fn fuse(
        &self,
        stage: &Span,
        call: &Call,
        settings: &FusionSettings,
        runs: &[Run],
    ) -> Result<Fused, PluginError> {
        let k = f64::from(self.0.k.unwrap_or(settings.rrf_k));
        explain::features(call, || [("k", k.into())]);

        let span = stage.child("fusion.rrf");
        let fused = fuse(runs, k);
        span.set(|| {
            [
                ("retrieval.fusion.k", k.into()),
                ("retrieval.fusion.runs", runs.len().into()),
                ("retrieval.fusion.rows_out", fused.ids.len().into()),
            ]
        });
        Ok(fused)
    }
}

/// Rows in the order of their ids; the host sorts them by score.
fn fuse(runs: &[Run], k: f64) -> Fused {
    // One part for each run; 0 where the run doesn't hold the id.
    let mut parts: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for (place, run) in runs.iter().enumerate() {
        if run.weight > 0.0 {
            for (&id, rank) in run.ids.iter().zip(1_u32..) {
                let row = parts.entry(id).or_insert_with(|| vec![0.0; runs.len()]);
                row[place] = f64::from(run.weight) / (k + f64::from(rank));
            }
        }
    }

    let mut fused = no_rows();
    for (id, row) in parts {
        fused.ids.push(id);
        fused.scores.push(row.iter().sum::<f64>() as f32);
        fused
            .contributions
            .extend(row.iter().map(|&part| part as f32));
    }
    fused
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanloom_plugin::{Value, parse, testing};

    const SETTINGS: FusionSettings = FusionSettings { rrf_k: 60.0 };

    fn fuse(parameters: &str, runs: &[Run]) -> Fused {
        let plugin = parse(parameters)
            .and_then(Rrf::configure)
            .expect("valid parameters");
        plugin
            .fuse(&Span::inert(), &testing::call(10), &SETTINGS, runs)
            .expect("fused")
    }

    fn runs(weight: f32) -> Vec<Run> {
        vec![
            testing::run("bm25", 1.0, &[(1, 3.0), (2, 2.0), (3, 1.0)]),
            testing::run("dense", weight, &[(2, 0.9), (4, 0.8), (1, 0.7)]),
        ]
    }

    #[test]
    fn scores_are_weighted_reciprocal_ranks() {
        let check = |parameters: &str, weight: f32, expected: &[(u64, f64)]| {
            let fused = fuse(parameters, &runs(weight));
            let ids: Vec<u64> = expected.iter().map(|row| row.0).collect();
            assert_eq!(fused.ids, ids, "{parameters} {weight}");
            for (got, (id, score)) in fused.scores.iter().zip(expected) {
                assert!(
                    (f64::from(*got) - score).abs() < 1e-6,
                    "{parameters} {weight} {id}: {got}"
                );
            }
        };
        let both = [
            (1, 1.0 / 61.0 + 1.0 / 63.0),
            (2, 1.0 / 62.0 + 1.0 / 61.0),
            (3, 1.0 / 63.0),
            (4, 1.0 / 62.0),
        ];
        check("{}", 1.0, &both);
        check(r#"{"k": 60}"#, 1.0, &both);
        check(
            "{}",
            0.0,
            &[(1, 1.0 / 61.0), (2, 1.0 / 62.0), (3, 1.0 / 63.0)],
        );
        check(
            r#"{"k": 1}"#,
            2.0,
            &[
                (1, 1.0 / 2.0 + 2.0 / 4.0),
                (2, 1.0 / 3.0 + 2.0 / 2.0),
                (3, 1.0 / 4.0),
                (4, 2.0 / 3.0),
            ],
        );
    }

    #[test]
    fn contributions_are_rows_by_runs_and_add_up() {
        let fused = fuse("{}", &runs(0.5));
        assert_eq!(fused.contributions.len(), fused.ids.len() * 2);
        for (row, score) in fused.contributions.chunks(2).zip(&fused.scores) {
            assert!((row.iter().sum::<f32>() - score).abs() < 1e-7);
        }
    }

    #[test]
    fn nothing_in_gives_nothing_out() {
        for runs in [vec![], vec![testing::run("bm25", 1.0, &[])]] {
            assert_eq!(fuse("{}", &runs), no_rows());
        }
    }

    #[test]
    fn parameters_out_of_range_are_named() {
        for json in [r#"{"k": 0}"#, r#"{"k": 10001}"#, r#"{"k": "x"}"#] {
            match parse(json).and_then(Rrf::configure) {
                Err(PluginError::BadConfig(message)) => {
                    assert!(message.contains("`k`"), "{message}")
                }
                other => panic!("{json}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_span_and_the_explanation_tell_k() {
        let plugin = Rrf::configure(Parameters { k: Some(7.0) }).expect("in range");
        let (stage, record) = Span::recorded();
        let mut call = testing::call(10);
        call.explain = true;
        plugin
            .fuse(&stage, &call, &SETTINGS, &runs(1.0))
            .expect("fused");
        let span = record.span("fusion.rrf").expect("a child");
        assert!(span.ended);
        assert_eq!(
            span.attribute("retrieval.fusion.k"),
            Some(&Value::Real(7.0))
        );
        assert_eq!(
            span.attribute("retrieval.fusion.rows_out"),
            Some(&Value::Int(4))
        );
        assert_eq!(
            explain::said().features,
            [("k".to_owned(), Value::Real(7.0))]
        );
    }
}
