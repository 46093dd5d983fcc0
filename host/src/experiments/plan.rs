//! From the words of a file to a plan of assignment.

use super::assign::{ArmShare, HashChoice, Holdout, LayerRange, Plan, PlanError, PlanSettings};
use super::check::CheckedExperiment;
use super::definition::Algorithm;

/// Buckets of a file's layer in one of GrowthBook's namespace, which has 1,000.
pub(super) const NAMESPACE_SCALE: u32 = 10;

impl CheckedExperiment {
    /// How units are assigned to the arms. Of the weights only the ratio counts.
    ///
    /// # Errors
    /// [`PlanError`] where shares leave an arm without a bucket.
    pub fn plan(&self) -> Result<Plan, PlanError> {
        let total: f64 = self.arms.iter().map(|arm| arm.weight).sum();
        let (hash, scale) = match self.hash.algorithm {
            Algorithm::Xxh3 => (HashChoice::Xxh3, 1),
            Algorithm::GrowthbookV2 => (HashChoice::GrowthbookV2, NAMESPACE_SCALE),
        };
        Plan::new(PlanSettings {
            experiment: self.id.clone(),
            version: self.version,
            hash,
            salt: self.salt().to_owned(),
            buckets: self.hash.buckets,
            layer: self.layer.as_ref().map(|layer| LayerRange {
                salt: layer.salt.clone(),
                buckets: self.hash.buckets / scale,
                start: layer.buckets[0] / scale,
                end: layer.buckets[1] / scale,
            }),
            holdout: self.eligibility.holdout.as_ref().map(|holdout| Holdout { salt: holdout.salt.clone(), share: holdout.share }),
            coverage: self.coverage,
            arms: self.arms.iter().map(|arm| ArmShare { key: arm.key.clone(), weight: arm.weight / total }).collect(),
        })
    }
}
