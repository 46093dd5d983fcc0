//! What is kept of an arm's outcomes: their number, mean and variance.

use serde::{Deserialize, Serialize};

use super::NotFinite;

/// Means beyond this are refused, and sums of squares beyond its square, so that what is computed from
/// them stays finite.
const MEAN_MAX: f64 = 1e150;
const SQUARES_MAX: f64 = 1e300;

/// Count, mean and variance of outcomes that come one at a time or in parts.
///
/// Welford, Technometrics 4(3), 1962, for one; Chan, Golub and LeVeque, Updating Formulae and a
/// Pairwise Algorithm for Computing Sample Variances, 1979, for parts. Neither subtracts large sums of
/// squares, so that outcomes far from 0 keep their digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Moments {
    count: u64,
    mean: f64,
    /// Σ (x − mean)².
    squares: f64,
}

impl Moments {
    /// Of all outcomes; refused if one of them is not finite, or beyond 1e150.
    pub fn of(outcomes: &[f64]) -> Result<Self, NotFinite> {
        let mut moments = Self::default();
        outcomes.iter().try_for_each(|&outcome| moments.push(outcome))?;
        Ok(moments)
    }

    /// Counts one more unit. An outcome that isn't finite, or beyond 1e150, changes nothing.
    pub fn push(&mut self, outcome: f64) -> Result<(), NotFinite> {
        self.merge(&Self { count: 1, mean: outcome, squares: 0.0 })
    }

    /// Adds the units of another part. It changes nothing if a sum becomes too large.
    pub fn merge(&mut self, other: &Self) -> Result<(), NotFinite> {
        let count = self.count.saturating_add(other.count);
        if count == 0 {
            return Ok(());
        }
        let by = other.mean - self.mean;
        let share = other.count as f64 / count as f64;
        let mean = self.mean + by * share;
        let squares = self.squares + other.squares + by * by * share * self.count as f64;
        let finite = mean.abs() <= MEAN_MAX && squares <= SQUARES_MAX;
        if finite {
            *self = Self { count, mean, squares };
            Ok(())
        } else {
            Err(NotFinite)
        }
    }

    /// Units.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// None of no units.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then_some(self.mean)
    }

    /// Of one unit, `Σ (x − mean)² / (n − 1)`; none of fewer than two units.
    pub fn variance(&self) -> Option<f64> {
        (self.count > 1).then(|| self.squares / (self.count - 1) as f64)
    }

    /// Of the mean, the square of its standard error; none of fewer than two units.
    pub fn mean_variance(&self) -> Option<f64> {
        self.variance().map(|variance| variance / self.count as f64)
    }
}

/// As written down, before it is checked.
#[derive(Deserialize)]
struct Stored {
    count: u64,
    mean: f64,
    squares: f64,
}

#[derive(Debug, thiserror::Error)]
#[error("no outcomes have count {count}, mean {mean} and sum of squares {squares}")]
struct Impossible {
    count: u64,
    mean: f64,
    squares: f64,
}

impl TryFrom<Stored> for Moments {
    type Error = Impossible;

    fn try_from(Stored { count, mean, squares }: Stored) -> Result<Self, Impossible> {
        let possible = match count {
            0 => mean == 0.0 && squares == 0.0,
            1 => mean.abs() <= MEAN_MAX && squares == 0.0,
            _ => mean.abs() <= MEAN_MAX && (0.0..=SQUARES_MAX).contains(&squares),
        };
        if possible { Ok(Self { count, mean, squares }) } else { Err(Impossible { count, mean, squares }) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn few_outcomes_have_no_variance() {
        let cases: [(&[f64], Option<f64>, Option<f64>); 4] =
            [(&[], None, None), (&[3.0], Some(3.0), None), (&[2.0, 2.0], Some(2.0), Some(0.0)), (&[1.0, 2.0, 6.0], Some(3.0), Some(7.0))];
        for (outcomes, mean, variance) in cases {
            let moments = Moments::of(outcomes).unwrap();
            assert_eq!((moments.mean(), moments.variance()), (mean, variance), "{outcomes:?}");
        }
    }

    #[test]
    fn digits_far_from_zero_are_kept() {
        let variance = Moments::of(&[1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0]).unwrap().variance();
        assert_eq!(variance, Some(30.0));
    }

    #[test]
    fn what_is_not_finite_is_refused_and_changes_nothing() {
        let mut moments = Moments::of(&[1.0, 2.0]).unwrap();
        let before = moments;
        for outcome in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX] {
            assert_eq!(moments.push(outcome), Err(NotFinite));
        }
        assert_eq!(moments, before);
    }

    #[test]
    fn stored_moments_are_checked() {
        let moments = Moments::of(&[0.5, 2.0]).unwrap();
        let text = serde_json::to_string(&moments).unwrap();
        assert_eq!(serde_json::from_str::<Moments>(&text).unwrap(), moments);
        for text in [r#"{"count":0,"mean":1,"squares":0}"#, r#"{"count":1,"mean":1,"squares":2}"#, r#"{"count":4,"mean":1,"squares":-2}"#] {
            assert!(serde_json::from_str::<Moments>(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parts_are_as_good_as_the_whole(outcomes in prop::collection::vec(-1e3_f64..1e3, 2..60), at in 0_usize..60) {
            let (first, other) = outcomes.split_at(at.min(outcomes.len()));
            let mut merged = Moments::of(first).unwrap();
            merged.merge(&Moments::of(other).unwrap()).unwrap();
            let mean = outcomes.iter().sum::<f64>() / outcomes.len() as f64;
            let variance = outcomes.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (outcomes.len() - 1) as f64;
            prop_assert_eq!(merged.count(), outcomes.len() as u64);
            prop_assert!((merged.mean().unwrap() - mean).abs() < 1e-9);
            prop_assert!((merged.variance().unwrap() - variance).abs() <= 1e-9 * variance.max(1.0));
        }
    }
}
