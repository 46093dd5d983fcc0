//! The chance that an arm is told from the control by each day, given an effect.

use statrs::function::gamma::ln_gamma;

use super::outlook::{self, Outlook, Values};
use super::{PreferenceShares, figure, rules};
use crate::experiments::check::CheckedExperiment;
use crate::experiments::definition::Mode;
use crate::experiments::metric::Method;
use crate::experiments::statistics::OutOfRange;
use crate::experiments::statistics::power::{Assumptions, Plan};
use crate::experiments::statistics::preference::PreferenceTest;
use crate::experiments::statistics::preference_power::{Chances, PreferencePower, sign_test_power};

/// How near a mean may come to an end of its range, as a share of the way.
const NEAR_END: f64 = 0.999;
/// Standard deviations of a count beyond which nothing is summed.
const COUNT_SPREADS: f64 = 12.0;

/// One comparison.
pub(super) struct Design<'a> {
    experiment: &'a CheckedExperiment,
    pub arm: String,
    pub control: String,
    pub baseline: f64,
    /// Expected, in the metric's unit.
    pub effect: f64,
    values: Values,
    deviation: Option<f64>,
    runs_per_unit: f64,
    pub pair: rules::Pair,
    /// Of both arms; in interleaving of the experiment.
    pub units_per_day: f64,
    seed: u64,
}

impl Design<'_> {
    /// Each other arm with the control, in the order of the file. The outlook was checked.
    pub fn all<'a>(experiment: &'a CheckedExperiment, outlook: &Outlook) -> Vec<Design<'a>> {
        let Some(values) = outlook::values(experiment.metrics.primary) else { return Vec::new() };
        let share_of = |key: &str| experiment.arms.iter().find(|arm| arm.key == key).map_or(0.0, |arm| rules::arm_share(experiment, arm));
        let smallest = experiment.arms.iter().map(|arm| share_of(&arm.key)).fold(1.0, f64::min);
        let control = share_of(experiment.control());
        let others = experiment.arms.iter().filter(|arm| arm.key != experiment.control());
        others
            .map(|arm| {
                let pair = rules::Pair { control, arm: share_of(&arm.key), smallest };
                let of_pair = if experiment.mode == Mode::Interleave { 1.0 } else { pair.control + pair.arm };
                Design {
                    experiment,
                    arm: arm.key.clone(),
                    control: experiment.control().into(),
                    baseline: outlook.baseline,
                    effect: outlook.effect.of(outlook.baseline),
                    values,
                    deviation: outlook.deviation,
                    runs_per_unit: outlook.runs_per_unit.unwrap_or(1.0),
                    pair,
                    units_per_day: outlook.units_per_day * rules::share(experiment) * of_pair,
                    seed: outlook.seed,
                }
            })
            .collect()
    }

    /// The power by the end of each day, from the first one.
    pub fn powers(&self, effect: f64, days: u32) -> Result<Vec<f64>, OutOfRange> {
        let units: Vec<u64> = (1..=days).map(|day| (self.units_per_day * f64::from(day)).round() as u64).collect();
        if self.experiment.mode == Mode::Interleave {
            self.preference_powers(effect, &units)
        } else {
            Ok(self.plan(effect)?.powers(&units))
        }
    }

    /// The test of two means, and what is assumed of them.
    pub fn plan(&self, effect: f64) -> Result<Plan, OutOfRange> {
        let assumptions = Assumptions {
            effect,
            control_deviation: self.deviation_at(self.baseline),
            treatment_deviation: self.deviation_at(self.baseline + effect),
            treatment_share: self.pair.arm_share(),
        };
        Ok(Plan::new(rules::test(self.experiment, self.pair)?, assumptions)?.with_seed(self.seed))
    }

    /// Of a unit's figure. A share's is `√(p (1 − p) / runs)`; one that was given stays
    /// where the mean moves, as far as figures from 0 to 1 can have it.
    fn deviation_at(&self, mean: f64) -> f64 {
        match (self.deviation, self.values) {
            (None, _) => outlook::deviation_max(mean) / self.runs_per_unit.sqrt(),
            (Some(deviation), Values::Count) => deviation,
            (Some(deviation), _) => deviation.min(outlook::deviation_max(mean)),
        }
    }

    fn preference_powers(&self, effect: f64, units: &[u64]) -> Result<Vec<f64>, OutOfRange> {
        let (chances, level) = (self.chances(effect), rules::level(self.experiment));
        let units_min = self.experiment.stop.units_min.unwrap_or(1);
        if self.experiment.analysis.method == Method::Fixed {
            let power = sign_test_power(level, chances, units_min)?;
            return Ok(units.iter().map(|&units| if units >= units_min { power } else { 0.0 }).collect());
        }
        let test = PreferenceTest::new(level, rules::target_units(self.experiment))?;
        let last = units.last().copied().unwrap_or(0);
        let power = PreferencePower::simulate(&test, chances, units_min, last, self.seed)?;
        Ok(units.iter().map(|&units| power.power_at(units as f64)).collect())
    }

    /// How likely a unit prefers either arm: the one that earned more in all its runs. Used
    /// findings of an arm are Poisson, independent of the other's; of helpful ones each run
    /// has one that is judged of each arm.
    fn chances(&self, effect: f64) -> Chances {
        let runs = self.runs_per_unit;
        let counts = |mean: f64| match self.values {
            Values::Count => Counts::poisson(mean * runs),
            _ => Counts::binomial(runs.round(), mean),
        };
        let (control, arm) = (counts(self.baseline), counts(self.baseline + effect));
        Chances { win: arm.more_than(&control), loss: control.more_than(&arm) }
    }

    /// What share of units prefers which arm, in interleaving.
    pub fn preference_shares(&self) -> Option<PreferenceShares> {
        (self.experiment.mode == Mode::Interleave).then(|| {
            let chances = self.chances(self.effect);
            PreferenceShares {
                arm: figure(chances.win),
                control: figure(chances.loss),
                neither: figure((1.0 - chances.decided()).max(0.0)),
            }
        })
    }

    /// The largest effect in the expected direction that leaves a possible mean.
    pub fn effect_limit(&self) -> f64 {
        match (self.effect > 0.0, self.values) {
            (false, _) => self.baseline * NEAR_END,
            (true, Values::Count) => f64::INFINITY,
            (true, _) => (1.0 - self.baseline) * NEAR_END,
        }
    }

    /// The day by whose end every arm has so many units.
    pub fn day_of(&self, per_arm: u64) -> f64 {
        let units = if self.experiment.mode == Mode::Interleave { per_arm as f64 } else { self.pair.units(per_arm) };
        (units / self.units_per_day).ceil().max(1.0)
    }

    /// The day of the one look, with method `fixed`.
    pub fn look_day(&self) -> Option<u32> {
        let units_min = self.experiment.stop.units_min.filter(|_| self.experiment.analysis.method == Method::Fixed)?;
        Some(self.day_of(units_min) as u32)
    }
}

/// Chances of the counts from `first` on; what lies beyond is as good as impossible.
struct Counts {
    first: u64,
    chances: Vec<f64>,
}

impl Counts {
    fn poisson(mean: f64) -> Counts {
        Counts::of(mean, mean.sqrt(), f64::INFINITY, |k| k * mean.ln() - mean - ln_gamma(k + 1.0))
    }

    fn binomial(trials: f64, share: f64) -> Counts {
        let spread = (trials * share * (1.0 - share)).sqrt();
        let choose = |k: f64| ln_gamma(trials + 1.0) - ln_gamma(k + 1.0) - ln_gamma(trials - k + 1.0);
        Counts::of(trials * share, spread, trials, |k| choose(k) + k * share.ln() + (trials - k) * (-share).ln_1p())
    }

    fn of(mean: f64, spread: f64, last: f64, ln_chance: impl Fn(f64) -> f64) -> Counts {
        let first = (mean - COUNT_SPREADS * spread).floor().max(0.0);
        // Small means have long tails for their spread.
        let last = (mean + COUNT_SPREADS * spread + COUNT_SPREADS).ceil().min(last);
        Counts { first: first as u64, chances: (first as u64..=last as u64).map(|k| ln_chance(k as f64).exp()).collect() }
    }

    fn more_than(&self, other: &Counts) -> f64 {
        let mut below = 0.0;
        let mut others = (other.first..).zip(&other.chances).peekable();
        let each = (self.first..).zip(&self.chances).map(|(count, chance)| {
            while let Some((_, chance)) = others.next_if(|(other, _)| *other < count) {
                below += chance;
            }
            chance * below
        });
        each.sum()
    }
}
