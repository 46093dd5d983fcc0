//! Tells whether units arrived in the shares in which they were to be assigned.
//!
//! A sample ratio mismatch says that assignment, logging or filtering favours an arm, so that the arms
//! no longer hold the same kind of units and no result of the experiment can be believed; Fabijan et
//! al., Diagnosing Sample Ratio Mismatch in Online Controlled Experiments, KDD 2019.

use super::distributions::chi_square_tail;

/// Below this p the shares are wrong. Far below .05, since every experiment is checked, again and again,
/// and since a true mismatch leaves no doubt.
pub const MISMATCH_P: f64 = 0.001;
/// Expected units in an arm from which the chi-square law is close enough; Cochran, Biometrics 10, 1954.
pub const EXPECTED_UNITS_MIN: f64 = 5.0;

/// How the units of k arms compare with what was to be expected.
#[derive(Clone, Debug, PartialEq)]
pub struct RatioCheck {
    /// `Σ (observed − expected)² / expected`.
    pub chi_square: f64,
    /// From the chi-square law with k − 1 degrees of freedom.
    pub p: f64,
    /// Units that each arm should have had.
    pub expected: Vec<f64>,
    /// Whether p is below [`MISMATCH_P`], and each arm was to get [`EXPECTED_UNITS_MIN`].
    pub mismatch: bool,
}

/// Why there is nothing to check.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum RatioError {
    #[error("there are {counts} counts and {weights} weights; each arm needs one of both")]
    Lengths { counts: usize, weights: usize },
    #[error("a ratio needs two arms")]
    OneArm,
    #[error("a weight is {weight}, but has to be positive and finite")]
    Weight { weight: f64 },
    #[error("no unit was assigned yet")]
    NoUnits,
}

/// Checks the arms' counts of units against the weights with which units are assigned. Weights need not
/// sum to 1. They must not have changed while the units were counted.
pub fn check(counts: &[u64], weights: &[f64]) -> Result<RatioCheck, RatioError> {
    if counts.len() != weights.len() {
        return Err(RatioError::Lengths { counts: counts.len(), weights: weights.len() });
    }
    if counts.len() < 2 {
        return Err(RatioError::OneArm);
    }
    if let Some(&weight) = weights.iter().find(|weight| !(weight.is_finite() && **weight > 0.0)) {
        return Err(RatioError::Weight { weight });
    }
    let units: f64 = counts.iter().map(|&count| count as f64).sum();
    if units == 0.0 {
        return Err(RatioError::NoUnits);
    }
    // By the largest one first, so that the sum stays finite.
    let largest = weights.iter().copied().fold(0.0, f64::max);
    let sum: f64 = weights.iter().map(|weight| weight / largest).sum();
    let expected: Vec<f64> = weights.iter().map(|weight| units * (weight / largest / sum)).collect();
    Ok(compare(counts, expected))
}

fn compare(counts: &[u64], expected: Vec<f64>) -> RatioCheck {
    let chi_square: f64 = counts.iter().zip(&expected).map(|(&count, expected)| (count as f64 - expected).powi(2) / expected).sum();
    let p = chi_square_tail(chi_square, (counts.len() - 1) as f64);
    let enough = expected.iter().all(|&expected| expected >= EXPECTED_UNITS_MIN);
    RatioCheck { chi_square, p, expected, mismatch: enough && p < MISMATCH_P }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_held_against_their_weights() {
        let holds = |counts: &[u64], weights: &[f64], expected: &[f64], mismatch: bool| {
            let check = check(counts, weights).unwrap();
            assert!(check.expected.iter().zip(expected).all(|(ours, theirs)| (ours - theirs).abs() < 1e-9), "{check:?}");
            assert_eq!(check.mismatch, mismatch, "{check:?}");
            assert!(check.p >= 0.0 && check.p <= 1.0);
        };
        holds(&[500, 500], &[1.0, 1.0], &[500.0, 500.0], false);
        holds(&[25_500, 24_500], &[0.5, 0.5], &[25_000.0, 25_000.0], true);
        holds(&[9_000, 1_000], &[9.0, 1.0], &[9_000.0, 1_000.0], false);
        holds(&[9_000, 1_000], &[1.0, 1.0], &[5_000.0, 5_000.0], true);
        holds(&[100, 200, 100, 0], &[1.0, 2.0, 1.0, 1.0], &[80.0, 160.0, 80.0, 80.0], true);
        // Impossible by chance, but too few to tell by this law.
        holds(&[0, 6], &[1e9, 1.0], &[6e9 / (1e9 + 1.0), 6.0 / (1e9 + 1.0)], false);
        assert_eq!(check(&[7, 7, 7], &[3.0; 3]).unwrap().p, 1.0);
    }

    #[test]
    fn impossible_inputs_are_refused() {
        assert_eq!(check(&[1, 2], &[1.0]), Err(RatioError::Lengths { counts: 2, weights: 1 }));
        assert_eq!(check(&[1], &[1.0]), Err(RatioError::OneArm));
        assert_eq!(check(&[], &[]), Err(RatioError::OneArm));
        assert_eq!(check(&[0, 0], &[1.0, 1.0]), Err(RatioError::NoUnits));
        for weight in [0.0, -1.0, f64::INFINITY] {
            assert_eq!(check(&[1, 2], &[1.0, weight]), Err(RatioError::Weight { weight }));
        }
        assert!(matches!(check(&[1, 2], &[1.0, f64::NAN]), Err(RatioError::Weight { .. })));
        assert_eq!(check(&[500, 500], &[f64::MAX, f64::MAX]).unwrap().p, 1.0);
    }
}
