//! Tells before two rankings are interleaved how many units it will take to see which is preferred.
//! In: the test, and how likely a unit prefers either. Out: power by size.
//!
//! Only units that decide enter the test, so that the path is a walk of wins. It is watched after every
//! one of the first 4,000 of them, then at sizes in geometric steps, between which a Brownian bridge
//! may cross. How many of a number of units decide varies a little; their expected number is taken.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{
    OutOfRange, checked_alpha, checked_share,
    distributions::binomial_at_most,
    power::standard_normal,
    preference::{PreferenceTest, Preferences},
};

/// Paths; the standard error of a power is at most ½ / √4000, or 0.8 points.
const PATHS: u32 = 4_000;
/// Units that decide, each of which is drawn and looked at.
const SINGLE_LOOKS: u64 = 4_000;
/// Later looks come after so many parts more of the units. A step of 40 or more is normal enough.
const STEP_PARTS: u64 = 100;

/// How likely one unit prefers the treatment, or the control; the rest prefers neither.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chances {
    pub win: f64,
    pub loss: f64,
}

impl Chances {
    /// The share of units that decide.
    pub fn decided(&self) -> f64 {
        self.win + self.loss
    }

    fn win_share(&self) -> Result<f64, OutOfRange> {
        let possible = self.win >= 0.0 && self.loss >= 0.0 && self.decided() <= 1.0 + 1e-9;
        checked_share("share of wins", if possible { self.win / self.decided() } else { f64::NAN })
    }
}

/// The power by size of a test that is watched all the time.
#[derive(Clone, Debug, PartialEq)]
pub struct PreferencePower {
    decided: f64,
    /// Units that decide, and the share of paths that stop there.
    stops: Vec<(f64, f64)>,
}

impl PreferencePower {
    /// Up to `units` units, decided or not, with no decision before the first `units_min`.
    pub fn simulate(test: &PreferenceTest, chances: Chances, units_min: u64, units: u64, seed: u64) -> Result<Self, OutOfRange> {
        let (share, decided) = (chances.win_share()?, chances.decided());
        let first = ((units_min as f64 * decided).ceil() as u64).max(1);
        let looks = looks(first, (units as f64 * decided) as u64);
        let bounds: Vec<Bound> = looks.iter().map(|&at| Bound { at, excess: test.excess_needed(at) }).collect();
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut stopped = vec![0.0; bounds.len()];
        for _ in 0..PATHS {
            walk(&bounds, share, &mut random, &mut stopped);
        }
        let stops = looks.iter().zip(stopped).map(|(&at, count)| (at as f64, count / f64::from(PATHS))).collect();
        Ok(Self { decided, stops })
    }

    /// The probability that it is decided within `units` units.
    pub fn power_at(&self, units: f64) -> f64 {
        let at = units * self.decided;
        self.stops.iter().take_while(|(look, _)| *look <= at).map(|(_, share)| share).sum()
    }

    /// Units until it is decided or `last` units have come, on average.
    pub fn expected_units(&self, last: f64) -> f64 {
        let stops = || self.stops.iter().map(|(at, share)| (at / self.decided, share)).filter(|(units, _)| *units <= last);
        stops().map(|(units, share)| units * share).sum::<f64>() + (1.0 - stops().map(|(_, share)| share).sum::<f64>()) * last
    }
}

/// The power of the exact sign test for one look at `units` units, decided or not.
pub fn sign_test_power(alpha: f64, chances: Chances, units: u64) -> Result<f64, OutOfRange> {
    let (share, tail) = (chances.win_share()?, checked_alpha(alpha)? / 2.0);
    let trials = (units as f64 * chances.decided()) as u64;
    // The most wins that are still too few by chance; they grow with the trials.
    let (mut none, mut some) = (0, trials / 2 + 1);
    while none < some {
        let middle = u64::midpoint(none, some);
        if binomial_at_most(middle, trials, 0.5) <= tail { none = middle + 1 } else { some = middle }
    }
    let Some(most) = none.checked_sub(1) else { return Ok(0.0) };
    let lost = binomial_at_most(most, trials, share);
    Ok(lost + binomial_at_most(most, trials, 1.0 - share))
}

/// Every size from `first`, then in geometric steps, up to and with `last`.
fn looks(first: u64, last: u64) -> Vec<u64> {
    let next = |at: &u64| Some(if *at < SINGLE_LOOKS { at + 1 } else { at + at / STEP_PARTS });
    let mut looks: Vec<u64> = std::iter::successors(Some(first), next).take_while(|at| *at <= last).collect();
    if looks.last().is_some_and(|at| *at < last) {
        looks.push(last);
    }
    looks
}

/// A size, and the wins less losses, either way, at which the walk stops there; more than the size if
/// none suffice.
struct Bound {
    at: u64,
    excess: u64,
}

impl PreferenceTest {
    fn excess_needed(&self, units: u64) -> u64 {
        let suffice = |wins: u64| self.is_decided(&Preferences { wins, losses: units - wins, ties: 0 });
        let (mut few, mut enough) = (units / 2, units + 1);
        while few + 1 < enough {
            let middle = u64::midpoint(few, enough);
            if suffice(middle) { enough = middle } else { few = middle }
        }
        2 * enough - units
    }
}

/// Adds to each look the probability that this path stops there. A bridge as in [`super::power`], with
/// the variance 4 q (1 − q) of one unit's ±1.
fn walk(bounds: &[Bound], share: f64, random: &mut ChaCha8Rng, stopped: &mut [f64]) {
    let variance = 4.0 * share * (1.0 - share);
    let (mut at, mut value, mut running) = (0, 0.0, 1.0);
    let mut bound_before = None;
    for (bound, stopped) in bounds.iter().zip(stopped) {
        let (start, step) = (value, bound.at - at);
        let crossable = bound_before.filter(|_| step > 1);
        value += excess(step, share, random);
        at = bound.at;
        let limit = bound.excess as f64;
        bound_before = Some(limit);
        if value.abs() >= limit {
            *stopped += running;
            return;
        }
        let Some(before) = crossable else { continue };
        let bridge = |sign: f64| (-2.0 * (before - sign * start) * (limit - sign * value) / (step as f64 * variance)).exp();
        let crosses = (bridge(1.0) + bridge(-1.0)).min(1.0);
        *stopped += running * crosses;
        running *= 1.0 - crosses;
    }
}

/// Wins less losses of so many units.
fn excess(units: u64, share: f64, random: &mut ChaCha8Rng) -> f64 {
    if units < SINGLE_LOOKS / STEP_PARTS {
        return (0..units).map(|_| if random.random::<f64>() < share { 1.0 } else { -1.0 }).sum();
    }
    let (units, mean) = (units as f64, 2.0 * share - 1.0);
    units * mean + (units * (1.0 - mean * mean)).sqrt() * standard_normal(random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coin_is_seldom_called_unfair_and_an_unfair_one_is() {
        let test = PreferenceTest::new(0.05, 1_000).unwrap();
        for (win, loss, low, high) in [(0.4, 0.4, 0.01, 0.05), (0.45, 0.35, 0.8, 1.0), (0.35, 0.45, 0.8, 1.0)] {
            let power = PreferencePower::simulate(&test, Chances { win, loss }, 0, 3_000, 1).unwrap();
            assert!((low..=high).contains(&power.power_at(3_000.0)), "{win}: {}", power.power_at(3_000.0));
            assert!(power.power_at(500.0) < power.power_at(3_000.0) && power.power_at(0.0) == 0.0);
            let expected = power.expected_units(3_000.0);
            assert!(expected > 100.0 && expected < 3_000.0, "{expected}");
        }
    }

    #[test]
    fn geometric_looks_tell_what_single_ones_do() {
        // Units that never tie, one by one, to beyond the first coarse looks.
        let test = PreferenceTest::new(0.05, 5_000).unwrap();
        let units: u64 = 20_000;
        let bounds: Vec<u64> = (0..=units).map(|at| test.excess_needed(at)).collect();
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let found = (0..2_000).filter(|_| {
            let mut value = 0_i64;
            (1..=units as usize).any(|at| {
                value += if random.random::<f64>() < 0.512 { 1 } else { -1 };
                value.unsigned_abs() >= bounds[at]
            })
        });
        let found = found.count() as f64 / 2_000.0;
        let power = PreferencePower::simulate(&test, Chances { win: 0.512, loss: 0.488 }, 0, units, 1).unwrap().power_at(units as f64);
        assert!((found - power).abs() < 0.03, "{found} and {power}");
    }

    #[test]
    fn nothing_is_decided_before_its_time() {
        let test = PreferenceTest::new(0.05, 1_000).unwrap();
        let sure = Chances { win: 0.5, loss: 0.0001 };
        let power = PreferencePower::simulate(&test, sure, 800, 1_000, 1).unwrap();
        assert_eq!(power.power_at(799.0), 0.0);
        assert!(power.power_at(802.0) > 0.999 && (power.expected_units(1_000.0) - 801.0).abs() < 2.0);
        let none = PreferencePower::simulate(&test, sure, 2_000, 1_000, 1).unwrap();
        assert_eq!((none.power_at(1_000.0), none.expected_units(1_000.0)), (0.0, 1_000.0));
    }

    #[test]
    fn the_sign_test_has_the_power_of_its_terms() {
        // Six of six, or none: 2/64 under 0.05; with seven there is no more room.
        let sure = |share: f64| Chances { win: share, loss: 1.0 - share };
        let power = sign_test_power(0.05, sure(0.9), 6).unwrap();
        assert!((power - (0.9_f64.powi(6) + 0.1_f64.powi(6))).abs() < 1e-12, "{power}");
        assert_eq!(sign_test_power(0.05, sure(0.9), 5), Ok(0.0));
        assert!(sign_test_power(0.05, Chances { win: 0.5, loss: 0.7 }, 6).is_err());
        assert!(sign_test_power(0.05, Chances { win: 0.0, loss: 0.0 }, 6).is_err());
    }
}
