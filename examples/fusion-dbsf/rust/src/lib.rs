//! Merges the channels' ranked lists by distribution-based score fusion (DBSF).
//! In: ranked lists with weights. Out: one list, and what each run added to it.
//!
//! `score(d) = Σ w × s'(d)` over the runs that hold `d`, with `s' = (s − (μ − 3σ)) / 6σ`:
//! each run's mean becomes ½, and what lies within three standard deviations of it falls
//! between 0 and 1. Formula: Qdrant's documentation, "Hybrid Queries". Departure: each
//! run has a weight (theirs are all 1 unless set), and a run of weight 0 is left out as
//! if it were not there.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use spanloom_plugin::{Call, Fused, Fusion, FusionSettings, PluginError, Run, Span, check_range, no_rows};

mod distribution;
#[cfg(test)]
mod tests;

use distribution::Distribution;

spanloom_plugin::export_fusion!(Dbsf);

/// What can be set.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Parameters {
    /// Whether scores beyond three standard deviations count as if they were 0 or 1.
    pub clamp: bool,
    /// Factors, 0 to 100, by the name of the channel. They are multiplied with the
    /// weight that the gate gives; a channel that is not named has 1.
    pub weights: BTreeMap<String, f32>,
}

/// The plugin with checked parameters.
#[derive(Debug)]
pub struct Dbsf(Parameters);

impl Fusion for Dbsf {
    type Parameters = Parameters;

    fn configure(parameters: Parameters) -> Result<Dbsf, PluginError> {
        for (channel, &factor) in &parameters.weights {
            check_range(&format!("weights.{channel}"), factor, 0.0..=100.0)?;
        }
        Ok(Dbsf(parameters))
    }

    fn fuse(&self, stage: &Span, _: &Call, _: &FusionSettings, runs: &[Run]) -> Result<Fused, PluginError> {
        let rows_in: usize = runs.iter().map(|run| run.ids.len()).sum();
        if rows_in == 0 {
            return Ok(no_rows());
        }

        let span = stage.child("fusion.dbsf");
        let mut sums = Sums { runs: runs.len(), parts: BTreeMap::new() };
        for (place, run) in runs.iter().enumerate() {
            self.add(&mut sums, place, run, &span);
        }
        let fused = sums.fused();
        span.set(|| {
            [
                ("retrieval.fusion.runs", runs.len().into()),
                ("retrieval.fusion.rows_in", rows_in.into()),
                ("retrieval.fusion.rows_out", fused.ids.len().into()),
            ]
        });
        Ok(fused)
    }
}

impl Dbsf {
    /// Adds what one run says, and tells the span how its scores are spread. An empty run
    /// and one without a weight say nothing.
    fn add(&self, sums: &mut Sums, place: usize, run: &Run, span: &Span) {
        let weight = self.weight(run);
        let Some(distribution) = Distribution::of(&run.scores).filter(|_| weight > 0.0) else { return };
        span.event("fusion.dbsf.run", || {
            [("channel", run.channel.as_str().into()), ("mean", distribution.mean.into()), ("deviation", distribution.deviation.into())]
        });
        for (&id, &score) in run.ids.iter().zip(&run.scores) {
            let normalized = distribution.normalize(score);
            sums.add(id, place, weight * if self.0.clamp { normalized.clamp(0.0, 1.0) } else { normalized });
        }
    }

    /// The gate's weight times the factor of the channel; 0 for what is no number over 0.
    fn weight(&self, run: &Run) -> f64 {
        let factor = self.0.weights.get(&run.channel).copied().unwrap_or(1.0);
        let weight = f64::from(run.weight) * f64::from(factor);
        if weight.is_finite() { weight.max(0.0) } else { 0.0 }
    }
}

/// What the runs added to each id so far.
struct Sums {
    runs: usize,
    /// One value for each run; 0 where the run has no part.
    parts: BTreeMap<u64, Vec<f64>>,
}

impl Sums {
    fn add(&mut self, id: u64, run: usize, part: f64) {
        self.parts.entry(id).or_insert_with(|| vec![0.0; self.runs])[run] = part;
    }

    /// Rows in the order of their ids; the host sorts them by score.
    fn fused(self) -> Fused {
        let mut fused = no_rows();
        for (id, parts) in self.parts {
            fused.ids.push(id);
            fused.scores.push(finite(parts.iter().sum()));
            fused.contributions.extend(parts.into_iter().map(finite));
        }
        fused
    }
}

/// Rounds to 32 bits; what is beyond the largest finite number becomes that number.
fn finite(number: f64) -> f32 {
    number.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
}
