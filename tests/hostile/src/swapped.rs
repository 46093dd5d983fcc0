//! Versions of one fusion, `swapped`: reciprocal rank fusion, each with a constant of its
//! own, which writes its version on the span and in an event.

use spanloom_plugin::bindings::SpanHandle;
use spanloom_plugin::{Call, Fused, Run, Span};

/// What makes a version.
pub struct Version {
    pub version: &'static str,
    /// The constant of the formula.
    pub k: f32,
    /// Whether other parameters than `{}` are taken.
    pub takes_parameters: bool,
    /// Whether all scores are NaN.
    pub broken: bool,
}

impl Version {
    pub fn describe(&self) -> String {
        format!(r#"{{"name": "swapped", "version": "{}", "stage": "fusion", "parameters": {{"type": "object"}}}}"#, self.version)
    }

    pub fn takes(&self, parameters: &str) -> bool {
        self.takes_parameters || parameters == "{}"
    }

    /// Σ 1 / (k + rank), ranks from 1.
    pub fn fuse(&self, stage: &SpanHandle, call: &Call, runs: &[Run]) -> Fused {
        let span = Span::lent(stage, call.recording);
        span.set(|| [("swapped.version", self.version.into())]);
        span.event("swapped.fused", || [("swapped.version", self.version.into())]);
        let mut ids: Vec<u64> = runs.iter().flat_map(|run| run.ids.iter().copied()).collect();
        ids.sort_unstable();
        ids.dedup();
        let part = |run: &Run, id: u64| run.ids.iter().position(|known| *known == id).map_or(0.0, |at| 1.0 / (self.k + at as f32 + 1.0));
        let contributions: Vec<f32> = ids.iter().flat_map(|&id| runs.iter().map(move |run| part(run, id))).collect();
        let mut scores: Vec<f32> =
            ids.iter().enumerate().map(|(row, _)| contributions[row * runs.len()..(row + 1) * runs.len()].iter().sum()).collect();
        if self.broken {
            scores.fill(f32::NAN);
        }
        Fused { ids, scores, contributions }
    }
}

/// Makes the crate such a version, out of an expression of type [`Version`].
#[macro_export]
macro_rules! swapped_version {
    ($version:expr) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use spanloom_plugin::bindings::SpanHandle;
            use spanloom_plugin::bindings::fusion as world;
            use spanloom_plugin::{Call, Fused, FusionSettings, PluginError, Run};

            struct Component;

            impl world::exports::spanloom::search::fusion::Guest for Component {
                fn describe() -> String {
                    $version.describe()
                }

                fn configure(parameters: String) -> Result<(), PluginError> {
                    if $version.takes(&parameters) {
                        Ok(())
                    } else {
                        Err(PluginError::BadConfig(format!("version {} takes no parameters", $version.version)))
                    }
                }

                fn fuse(stage: &SpanHandle, call: Call, _: FusionSettings, runs: Vec<Run>) -> Result<Fused, PluginError> {
                    Ok($version.fuse(stage, &call, &runs))
                }
            }

    world::export!(Component with_types_in spanloom_plugin::bindings::fusion);
        };
    };
}
