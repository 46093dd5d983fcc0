//! A fusion that takes the first run as it is, or does wrong.

use hostile::{Parameters, misbehave};
use spanloom_plugin::{Call, Fused, Fusion, FusionSettings, PluginError, Run, Span};

spanloom_plugin::export_fusion!(Hostile);

struct Hostile(Parameters);

impl Fusion for Hostile {
    type Parameters = Parameters;

    fn configure(parameters: Parameters) -> Result<Hostile, PluginError> {
        hostile::configure(parameters).map(Hostile)
    }

    fn fuse(&self, stage: &Span, _: &Call, _: &FusionSettings, runs: &[Run]) -> Result<Fused, PluginError> {
        let mode = self.0.mode.as_str();
        misbehave(mode, stage)?;
        let mut fused = first_run(runs);
        match mode {
            "nan_scores" => fused.scores[0] = f32::NAN,
            "infinite_scores" => fused.scores[0] = f32::INFINITY,
            "wrong_length" => drop(fused.scores.pop()),
            "unknown_id" => fused.ids[0] = u64::MAX,
            "duplicate_id" => fused.ids[1] = fused.ids[0],
            "short_contributions" => drop(fused.contributions.pop()),
            "nan_contributions" => fused.contributions[0] = f32::NAN,
            "no_rows" => return Ok(spanloom_plugin::no_rows()),
            "huge_output" => fused.ids = vec![0; 5 << 20],
            "many_rows" => {
                fused = Fused { ids: (0..20_000).collect(), scores: vec![1.0; 20_000], contributions: vec![0.0; 20_000 * runs.len()] };
            }
            _ => {}
        }
        Ok(fused)
    }
}

fn first_run(runs: &[Run]) -> Fused {
    let Some(first) = runs.first() else { return spanloom_plugin::no_rows() };
    let contributions = first.scores.iter().flat_map(|&score| (0..runs.len()).map(move |run| if run == 0 { score } else { 0.0 }));
    Fused { ids: first.ids.clone(), scores: first.scores.clone(), contributions: contributions.collect() }
}
