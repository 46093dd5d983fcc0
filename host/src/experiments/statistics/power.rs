//! Tells before an experiment how many units it will take.
//! In: the test, and what is assumed about outcomes and effect. Out: power, units, expected stopping.
//!
//! A test that is watched all the time may stop early, but needs more units for the same power. Its
//! power is simulated: in the limit, the difference over its variance is a Brownian motion with the
//! effect as its drift, and the experiment stops when it leaves the boundary of the confidence sequence.
//! The seed is fixed unless another is set: the same assumptions give the same figures.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{
    OutOfRange, checked_positive, checked_share,
    distributions::{normal_tail, normal_upper},
    sequential::{SequentialMethod, SequentialTest, mixture_margin},
};

/// Brownian paths; the standard error of a power is at most ½ / √8000, or 0.6 points.
const PATHS: u32 = 8_000;
/// Looks at a path, at sizes in geometric steps. Between them the crossing of a line by a Brownian
/// bridge counts, so that more of them change little.
const LOOKS: i32 = 160;
const SEED: u64 = 11;
/// Beyond this an experiment is out of reach.
pub const UNITS_MAX: u64 = 1_000_000_000_000;

/// What is assumed about an experiment with two arms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Assumptions {
    /// Treatment less control, in the outcome's unit.
    pub effect: f64,
    /// Standard deviations of a unit's outcome. With CUPED, those of the adjusted outcomes.
    pub control_deviation: f64,
    pub treatment_deviation: f64,
    /// The share of units that get the treatment, over 0 to 1.
    pub treatment_share: f64,
}

/// A test and assumptions, both checked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    test: SequentialTest,
    assumptions: Assumptions,
    seed: u64,
}

/// How an experiment of a given size is expected to go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// The probability that the interval excludes 0 at some look, over 0 to 1.
    pub power: f64,
    /// Units of both arms until that look or the end, on average.
    pub expected_units: f64,
}

/// Why no size can be named.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum PowerError {
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    #[error("the power is not reached with {UNITS_MAX} units; assume a larger effect or choose another method")]
    OutOfReach,
}

impl Plan {
    /// The effect may be 0, and has to be finite; the deviations have to be positive.
    pub fn new(test: SequentialTest, assumptions: Assumptions) -> Result<Self, OutOfRange> {
        let Assumptions { effect, control_deviation, treatment_deviation, treatment_share } = assumptions;
        if !(effect * effect).is_finite() {
            return Err(OutOfRange { name: "effect", value: effect, allowed: "finite" });
        }
        checked_positive("control_deviation", control_deviation * control_deviation)?;
        checked_positive("treatment_deviation", treatment_deviation * treatment_deviation)?;
        checked_share("treatment_share", treatment_share)?;
        let plan = Self { test, assumptions, seed: SEED };
        checked_positive("variance of the difference", plan.variance_units())?;
        Ok(plan)
    }

    /// Draws other paths, to see how much the figures depend on them.
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Of the test as it is, looked at after every unit until `units` units of both arms have come. A
    /// confidence sequence looks first when the smaller arm has its burn-in, and has no power before; the
    /// test of a fixed size looks once.
    pub fn predict(&self, units: u64) -> Prediction {
        match self.test.method() {
            SequentialMethod::Fixed { units: declared } if units < declared => Prediction { power: 0.0, expected_units: units as f64 },
            SequentialMethod::Fixed { units: declared } => {
                Prediction { power: self.fixed_power(declared), expected_units: declared as f64 }
            }
            _ => self.stopping(units as f64).prediction(),
        }
    }

    /// The power by each of these sizes of an experiment that goes on to the last of them; sizes are units
    /// of both arms, ascending. All are of the same paths, so that the power never falls.
    pub fn powers(&self, sizes: &[u64]) -> Vec<f64> {
        if matches!(self.test.method(), SequentialMethod::Fixed { .. }) {
            return sizes.iter().map(|&units| self.predict(units).power).collect();
        }
        let stopping = self.stopping(sizes.last().map_or(0.0, |&last| last as f64));
        sizes.iter().map(|&units| stopping.power_at(units as f64)).collect()
    }

    /// The units of both arms after which the test as it is has the given power, over 0 to 1. For the
    /// test of a fixed size see [`Plan::fixed_units`], which is what this gives.
    pub fn units_for(&self, power: f64) -> Result<u64, PowerError> {
        let fixed = self.fixed_units(power)?;
        if matches!(self.test.method(), SequentialMethod::Fixed { .. }) {
            return Ok(fixed);
        }
        let mut last = self.first_look().max(fixed as f64) * 4.0;
        while last <= UNITS_MAX as f64 {
            if let Some(units) = self.stopping(last).units_at(power) {
                return Ok(units.ceil() as u64);
            }
            last *= 4.0;
        }
        Err(PowerError::OutOfReach)
    }

    /// The power of one look after `units` units of both arms, in the normal limit and closed form:
    /// `Φ(δ/√V − z) + Φ(−δ/√V − z)`, with `z` for half of alpha. 0 of no units.
    pub fn fixed_power(&self, units: u64) -> f64 {
        if units == 0 {
            return 0.0;
        }
        let shift = self.assumptions.effect / (self.variance_units() / units as f64).sqrt();
        let z = normal_upper(self.test.alpha() / 2.0);
        normal_tail(z - shift) + normal_tail(z + shift)
    }

    /// The units of both arms after which one look has the given power, over 0 to 1:
    /// `(z + z_β)² V₁ / δ²`, without the far tail, with the variance `V₁ / units` of the difference.
    pub fn fixed_units(&self, power: f64) -> Result<u64, PowerError> {
        let power = checked_share("power", power)?;
        let z = (normal_upper(self.test.alpha() / 2.0) + normal_upper(1.0 - power)).max(0.0);
        let units = (z / self.assumptions.effect).powi(2) * self.variance_units();
        // Also of no effect.
        if units <= UNITS_MAX as f64 { Ok(units.ceil().max(2.0) as u64) } else { Err(PowerError::OutOfReach) }
    }

    /// The variance of the difference, times the units of both arms.
    fn variance_units(&self) -> f64 {
        let Assumptions { control_deviation, treatment_deviation, treatment_share, .. } = self.assumptions;
        control_deviation.powi(2) / (1.0 - treatment_share) + treatment_deviation.powi(2) / treatment_share
    }

    /// Units of both arms at which the smaller one has its burn-in.
    fn first_look(&self) -> f64 {
        let share = self.assumptions.treatment_share;
        self.test.burn_in() as f64 / share.min(1.0 - share)
    }

    /// When paths that are watched from the first look to the last one stop.
    fn stopping(&self, last: f64) -> Stopping {
        let first = self.first_look();
        if last < first {
            return Stopping { looks: vec![], stopped: vec![], last };
        }
        let looks: Vec<f64> = (0..=LOOKS).map(|look| first * (last / first).powf(f64::from(look) / f64::from(LOOKS))).collect();
        let boundary: Vec<Look> = looks.iter().map(|&units| self.boundary(units)).collect();
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let mut stopped = vec![0.0; looks.len()];
        for _ in 0..PATHS {
            self.walk(&boundary, &mut random, &mut stopped);
        }
        stopped.iter_mut().for_each(|share| *share /= f64::from(PATHS));
        Stopping { looks, stopped, last }
    }

    fn boundary(&self, units: f64) -> Look {
        let Assumptions { control_deviation, treatment_deviation, .. } = self.assumptions;
        let mixture_variance = self.test.mixture_variance(control_deviation.powi(2) + treatment_deviation.powi(2));
        let information = units / self.variance_units();
        Look { information, boundary: mixture_margin(1.0 / information, mixture_variance, self.test.alpha()) * information }
    }

    /// Adds to each look the probability that this path stops there, given its values at all looks.
    /// Between two looks a Brownian bridge crosses a line that is `a` and `b` away from its ends with
    /// probability `exp(−2ab/Δ)`; Siegmund, Sequential Analysis, 1985, chapter 3.
    fn walk(&self, boundary: &[Look], random: &mut ChaCha8Rng, stopped: &mut [f64]) {
        let (mut value, mut running) = (0.0, 1.0);
        let mut before: Option<&Look> = None;
        for (look, stopped) in boundary.iter().zip(stopped) {
            let start = value;
            let step = look.information - before.map_or(0.0, |before| before.information);
            value += self.assumptions.effect * step + step.sqrt() * standard_normal(random);
            if value.abs() >= look.boundary {
                *stopped += running;
                return;
            }
            let crosses = before.map_or(0.0, |before| {
                let bridge = |sign: f64| (-2.0 * (before.boundary - sign * start) * (look.boundary - sign * value) / step).exp();
                (bridge(1.0) + bridge(-1.0)).min(1.0)
            });
            *stopped += running * crosses;
            running *= 1.0 - crosses;
            before = Some(look);
        }
    }
}

/// A time of the Brownian motion, and the value at which it stops.
struct Look {
    information: f64,
    boundary: f64,
}

/// The share of paths that stop at each look.
struct Stopping {
    /// Units of both arms.
    looks: Vec<f64>,
    stopped: Vec<f64>,
    /// Units at which the experiment ends.
    last: f64,
}

impl Stopping {
    fn prediction(&self) -> Prediction {
        let power: f64 = self.stopped.iter().sum();
        // Who stops between two looks does so halfway, on average.
        let before = self.looks.first().into_iter().chain(&self.looks);
        let stopped_units: f64 =
            self.looks.iter().zip(before).zip(&self.stopped).map(|((to, from), share)| (from + to) / 2.0 * share).sum();
        Prediction { power, expected_units: stopped_units + (1.0 - power) * self.last }
    }

    /// Paths that stop within `units`; between two looks by linear interpolation.
    fn power_at(&self, units: f64) -> f64 {
        let (mut sum, mut before) = (0.0, 0.0);
        for (&look, &share) in self.looks.iter().zip(&self.stopped) {
            if look > units {
                // Before the first look nothing stops.
                return if before > 0.0 { sum + share * (units - before) / (look - before) } else { 0.0 };
            }
            sum += share;
            before = look;
        }
        sum
    }

    /// Between two looks by linear interpolation; none if so many paths never stop.
    fn units_at(&self, power: f64) -> Option<f64> {
        let (mut sum, mut before) = (0.0, *self.looks.first()?);
        for (&units, &share) in self.looks.iter().zip(&self.stopped) {
            if sum + share >= power {
                return Some(before + (units - before) * (power - sum) / share);
            }
            sum += share;
            before = units;
        }
        None
    }
}

/// Box and Muller, Annals of Mathematical Statistics 29, 1958; one figure of the two.
pub(super) fn standard_normal(random: &mut ChaCha8Rng) -> f64 {
    let (radius, turn) = (1.0 - random.random::<f64>(), random.random::<f64>());
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * turn).cos()
}

#[cfg(test)]
mod tests {
    use super::{super::sequential::BURN_IN_UNITS, *};

    const EVEN: Assumptions = Assumptions { effect: 0.1, control_deviation: 1.0, treatment_deviation: 1.0, treatment_share: 0.5 };
    const ASYMPTOTIC: SequentialMethod = SequentialMethod::Asymptotic { target_units: 5_000 };

    fn plan(method: SequentialMethod, assumptions: Assumptions) -> Plan {
        Plan::new(SequentialTest::new(method, 0.05).unwrap(), assumptions).unwrap()
    }

    #[test]
    fn one_look_has_the_power_of_the_textbook() {
        // 16 σ²/δ² units per arm for a power of 80 %, a little less.
        let plan = plan(ASYMPTOTIC, EVEN);
        let units = plan.fixed_units(0.8).unwrap();
        assert!((3_130..=3_150).contains(&units), "{units}");
        assert!(plan.fixed_power(units) >= 0.8 && plan.fixed_power(units - 2) < 0.8);
        assert_eq!(plan.fixed_power(0), 0.0);
    }

    #[test]
    fn units_and_power_agree() {
        for method in [ASYMPTOTIC, SequentialMethod::MixtureSprt { effect_scale: 0.1 }] {
            for share in [0.5, 0.2] {
                let plan = plan(method, Assumptions { treatment_share: share, ..EVEN });
                let units = plan.units_for(0.8).unwrap();
                let Prediction { power, expected_units } = plan.predict(units);
                assert!((power - 0.8).abs() < 0.015, "{method:?} {share}: {power}");
                assert!(units > plan.fixed_units(0.8).unwrap(), "watching costs units");
                assert!(expected_units < units as f64 * 0.8, "but stops early: {expected_units} of {units}");
            }
        }
        let fixed = plan(SequentialMethod::Fixed { units: 3_140 }, EVEN);
        assert!((fixed.predict(3_140).power - 0.8).abs() < 0.001);
        assert_eq!(fixed.predict(9_999).expected_units, 3_140.0);
        assert_eq!(fixed.predict(3_139), Prediction { power: 0.0, expected_units: 3_139.0 });
        assert_eq!(fixed.units_for(0.8), fixed.fixed_units(0.8));
    }

    #[test]
    fn without_an_effect_power_is_the_error() {
        let idle = plan(ASYMPTOTIC, Assumptions { effect: 0.0, ..EVEN });
        let Prediction { power, .. } = idle.predict(1_000_000);
        assert!(power > 0.01 && power < 0.05, "{power}");
        assert_eq!(idle.units_for(0.8), Err(PowerError::OutOfReach));
    }

    #[test]
    fn looks_begin_after_the_burn_in() {
        let plan = plan(ASYMPTOTIC, Assumptions { effect: 5.0, ..EVEN });
        assert_eq!(plan.predict(2 * BURN_IN_UNITS - 1).power, 0.0);
        assert!(plan.predict(2 * BURN_IN_UNITS).power > 0.999);
        assert_eq!(plan.units_for(0.9), Ok(2 * BURN_IN_UNITS));
        assert_eq!(plan.predict(0), Prediction { power: 0.0, expected_units: 0.0 });
    }

    #[test]
    fn one_simulation_tells_the_power_by_every_size() {
        let fixed = plan(SequentialMethod::Fixed { units: 3_000 }, EVEN);
        assert_eq!(fixed.powers(&[2_999, 3_000, 9_000]), [0.0, fixed.fixed_power(3_000), fixed.fixed_power(3_000)]);
        let plan = plan(ASYMPTOTIC, EVEN);
        let sizes = [0, 999, 1_000, 2_500, 5_000, 7_500];
        let powers = plan.powers(&sizes);
        assert!(powers.is_sorted() && powers[1] == 0.0 && powers[2] > 0.0, "{powers:?}");
        for (size, power) in sizes.into_iter().zip(&powers) {
            assert!((plan.predict(size).power - power).abs() < 0.02, "{size}: {powers:?}");
        }
        let other = plan.with_seed(12).powers(&sizes);
        assert!(other != powers && other.iter().zip(&powers).all(|(other, power)| (other - power).abs() < 0.03), "{other:?}");
        assert_eq!(plan.powers(&[]), Vec::<f64>::new());
    }

    #[test]
    fn assumptions_are_checked() {
        let test = SequentialTest::new(ASYMPTOTIC, 0.05).unwrap();
        for bad in [
            Assumptions { effect: f64::NAN, ..EVEN },
            Assumptions { control_deviation: 0.0, ..EVEN },
            Assumptions { treatment_deviation: f64::INFINITY, ..EVEN },
            Assumptions { treatment_share: 1.0, ..EVEN },
        ] {
            assert!(Plan::new(test, bad).is_err(), "{bad:?}");
        }
        for power in [0.0, 1.0, f64::NAN] {
            assert!(matches!(Plan::new(test, EVEN).unwrap().units_for(power), Err(PowerError::OutOfRange(_))), "{power}");
        }
    }
}
