//! What the file of an experiment says of its test, in numbers.

use crate::experiments::definition::{Arm, Experiment};
use crate::experiments::metric::{self, Correction, Method, Metric};
use crate::experiments::statistics::sequential::{SequentialMethod, SequentialTest};
use crate::experiments::statistics::{OutOfRange, multiplicity};

/// Units of both arms for which a confidence sequence is tightest, where the file has no
/// `stop.units_min`. Another one costs width, not validity.
const TARGET_UNITS_DEFAULT: u64 = 10_000;

/// The share of the units that take part.
pub(super) fn share(experiment: &Experiment) -> f64 {
    let kept_out = experiment.eligibility.holdout.as_ref().map_or(0.0, |holdout| holdout.share);
    let layer = experiment.layer.as_ref().map_or(1.0, |layer| layer.range().len() as f64 / f64::from(experiment.hash.buckets));
    (1.0 - kept_out) * layer * experiment.coverage
}

/// An arm's share of the units that take part.
pub(super) fn arm_share(experiment: &Experiment, arm: &Arm) -> f64 {
    arm.weight / experiment.arms.iter().map(|arm| arm.weight).sum::<f64>()
}

/// Comparisons of a report: each metric in each arm but the control. They are one family.
pub(super) fn comparisons(experiment: &Experiment) -> usize {
    (1 + experiment.metrics.secondary.len()) * (experiment.arms.len() - 1)
}

/// The error that one comparison may have when none of the others is decided: what every
/// correction grants at least.
pub(super) fn level(experiment: &Experiment) -> f64 {
    let alpha = experiment.analysis.alpha;
    let correction = match experiment.analysis.correction {
        Correction::None => return alpha,
        Correction::Bonferroni => multiplicity::Correction::Bonferroni,
        Correction::Holm => multiplicity::Correction::Holm,
        Correction::BenjaminiHochberg => multiplicity::Correction::BenjaminiHochberg,
    };
    // A checked alpha is one that it takes.
    correction.interval_alpha(alpha, comparisons(experiment), 0).unwrap_or(alpha)
}

/// Units of both arms that a method is set for; of a preference, units that decide.
pub(super) fn target_units(experiment: &Experiment) -> u64 {
    experiment.stop.units_min.map_or(TARGET_UNITS_DEFAULT, |units| units.saturating_mul(2))
}

/// A standard deviation of the differences thought likely, for the mixture test: 5 points of
/// a share, one finding in five.
fn effect_scale(metric: Metric) -> f64 {
    match metric {
        Metric::Outcome(metric::Outcome::UsedFindings) => 0.2,
        Metric::Outcome(_) | Metric::Measure(_) => 0.05,
        Metric::Guard(_) => 0.02,
    }
}

/// Two arms of several, by the shares of all units that they have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    pub control: f64,
    pub arm: f64,
    /// That of the smallest arm of the experiment.
    pub smallest: f64,
}

impl Pair {
    /// The arm's share of the two.
    pub fn arm_share(self) -> f64 {
        self.arm / (self.arm + self.control)
    }

    /// Units of the two when every arm of the experiment has so many.
    pub fn units(self, per_arm: u64) -> f64 {
        per_arm as f64 * (self.arm + self.control) / self.smallest
    }

    /// Units of the smaller of the two then.
    fn smaller_units(self, per_arm: u64) -> u64 {
        (per_arm as f64 * self.arm.min(self.control) / self.smallest).ceil() as u64
    }
}

/// The test that the report makes of the primary metric. Nothing is decided before every
/// arm has `stop.units_min`; `fixed` looks just then.
pub(super) fn test(experiment: &Experiment, pair: Pair) -> Result<SequentialTest, OutOfRange> {
    let units_min = experiment.stop.units_min.unwrap_or(1);
    let method = match experiment.analysis.method {
        Method::Asymptotic => SequentialMethod::Asymptotic { target_units: target_units(experiment) },
        Method::MixtureSprt => SequentialMethod::MixtureSprt { effect_scale: effect_scale(experiment.metrics.primary) },
        Method::Fixed => SequentialMethod::Fixed { units: pair.units(units_min).round() as u64 },
    };
    Ok(SequentialTest::new(method, level(experiment))?.with_burn_in(pair.smaller_units(units_min)))
}
