//! Takes out of the outcomes what the time before the experiment explains.
//! In: each unit's outcome, and the same or another figure of it from before. Out: adjusted outcomes.
//!
//! CUPED; Deng, Xu, Kohavi and Walker, WSDM 2013, section 3. The expected difference between arms
//! stays the same, because what happened before cannot depend on the arm, and the variance falls by the
//! squared correlation of the two figures among units that have both.

use super::{NotFinite, moments::Moments};

/// A covariate whose spread is a smaller share of its size is constant but for rounding.
const CONSTANT_SHARE: f64 = 1e-24;

/// What is known of one unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unit {
    /// The covariate, from before the experiment began; none of a unit that was not there.
    pub before: Option<f64>,
    pub outcome: f64,
}

/// Adjusted outcomes and what the adjustment was worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Adjustment {
    /// Outcome per covariate; 0 if nothing is known from before, or the covariate is constant.
    pub theta: f64,
    /// Units with a covariate, over 0 to 1; 0 of no units.
    pub history_share: f64,
    /// `1 − V(adjusted) / V(raw)`, where `V = Σ s²/n` over the arms is the variance of their difference.
    /// At most 1; a covariate that explains nothing may leave it just below 0. None if an arm has fewer
    /// than two units, or no outcome varies.
    pub variance_reduction: Option<f64>,
    /// In the order of the arms.
    pub arms: Vec<AdjustedArm>,
}

/// One arm after the adjustment.
#[derive(Clone, Debug, PartialEq)]
pub struct AdjustedArm {
    /// In the order of the units.
    pub outcomes: Vec<f64>,
    pub moments: Moments,
}

/// Adjusts the outcomes of all arms with one theta: `y − θ (x − x̄)`, with the mean `x̄` over all units
/// that have a covariate. A unit without one counts as if it had that mean, which leaves its outcome as
/// it is.
///
/// `θ = Σ cov(x, y) / Σ var(x)` sums over the arms, each about its own means, so that a difference
/// between the arms doesn't enter. It is the coefficient of `x` in a regression of `y` on the arm and
/// `x`. Estimating theta from the same units costs no more than a share 1/n of the variance.
pub fn adjust(arms: &[Vec<Unit>]) -> Result<Adjustment, NotFinite> {
    let raw = arms.iter().map(|arm| outcomes(arm)).collect::<Vec<_>>();
    let covariates = Moments::of(&arms.iter().flatten().filter_map(|unit| unit.before).collect::<Vec<_>>())?;
    let theta = theta(arms)?;
    let center = covariates.mean().unwrap_or(0.0);

    let adjust_unit = |unit: &Unit| unit.outcome - unit.before.map_or(0.0, |before| theta * (before - center));
    let adjusted = arms.iter().map(|arm| AdjustedArm::new(arm.iter().map(adjust_unit).collect())).collect::<Result<Vec<_>, _>>()?;
    let raw = raw.iter().map(|outcomes| Moments::of(outcomes)).collect::<Result<Vec<_>, _>>()?;

    let units: usize = arms.iter().map(Vec::len).sum();
    Ok(Adjustment {
        theta,
        history_share: covariates.count() as f64 / units.max(1) as f64,
        variance_reduction: variance_reduction(&raw, &adjusted),
        arms: adjusted,
    })
}

impl AdjustedArm {
    fn new(outcomes: Vec<f64>) -> Result<Self, NotFinite> {
        let moments = Moments::of(&outcomes)?;
        Ok(Self { outcomes, moments })
    }
}

fn outcomes(arm: &[Unit]) -> Vec<f64> {
    arm.iter().map(|unit| unit.outcome).collect()
}

fn theta(arms: &[Vec<Unit>]) -> Result<f64, NotFinite> {
    let (mut products, mut squares, mut size) = (0.0, 0.0, 0.0);
    for arm in arms {
        let known: Vec<(f64, f64)> = arm.iter().filter_map(|unit| Some((unit.before?, unit.outcome))).collect();
        let count = known.len().max(1) as f64;
        let x_mean = known.iter().map(|(x, _)| x).sum::<f64>() / count;
        let y_mean = known.iter().map(|(_, y)| y).sum::<f64>() / count;
        for (x, y) in known {
            products += (x - x_mean) * (y - y_mean);
            squares += (x - x_mean) * (x - x_mean);
            size += x * x;
        }
    }
    if squares <= size * CONSTANT_SHARE {
        return Ok(0.0);
    }
    let theta = products / squares;
    if theta.is_finite() { Ok(theta) } else { Err(NotFinite) }
}

fn variance_reduction(raw: &[Moments], adjusted: &[AdjustedArm]) -> Option<f64> {
    let before = raw.iter().map(Moments::mean_variance).sum::<Option<f64>>()?;
    let after = adjusted.iter().map(|arm| arm.moments.mean_variance()).sum::<Option<f64>>()?;
    (before > 0.0).then(|| 1.0 - after / before)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn unit(before: impl Into<Option<f64>>, outcome: f64) -> Unit {
        Unit { before: before.into(), outcome }
    }

    #[test]
    fn a_covariate_that_explains_all_leaves_the_effect() {
        // y = 2x, and 1 more in the treatment.
        let control = (0..10).map(|x| unit(f64::from(x), 2.0 * f64::from(x))).collect();
        let treatment = (5..15).map(|x| unit(f64::from(x), 2.0 * f64::from(x) + 1.0)).collect();
        let adjustment = adjust(&[control, treatment]).unwrap();
        assert!((adjustment.theta - 2.0).abs() < 1e-12);
        assert_eq!(adjustment.history_share, 1.0);
        assert!((adjustment.variance_reduction.unwrap() - 1.0).abs() < 1e-12);
        let mean = |arm: usize| adjustment.arms[arm].moments.mean().unwrap();
        assert!((mean(1) - mean(0) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn without_history_nothing_changes() {
        let cases: [(Vec<Unit>, f64); 4] = [
            (vec![], 0.0),
            (vec![unit(None, 1.0), unit(None, 4.0)], 0.0),
            (vec![unit(0.1, 1.0), unit(0.1, 4.0), unit(0.1, 5.0)], 1.0),
            (vec![unit(7.0, 1.0), unit(None, 4.0)], 0.5),
        ];
        for (arm, history_share) in cases {
            let adjustment = adjust(&[arm.clone(), arm.clone()]).unwrap();
            assert_eq!((adjustment.theta, adjustment.history_share), (0.0, history_share), "{arm:?}");
            assert_eq!(adjustment.arms[0].outcomes, outcomes(&arm));
            assert_eq!(adjustment.variance_reduction, (arm.len() > 1).then_some(0.0));
        }
        assert_eq!(adjust(&[]).unwrap().arms, vec![]);
    }

    #[test]
    fn what_is_not_finite_is_refused() {
        for bad in [unit(f64::NAN, 1.0), unit(1.0, f64::INFINITY), unit(None, f64::NAN), unit(f64::MAX, 1.0)] {
            assert_eq!(adjust(&[vec![bad, unit(2.0, 3.0), unit(5.0, 3.0)]]), Err(NotFinite), "{bad:?}");
        }
    }

    #[test]
    fn the_variance_falls_by_the_squared_correlation() {
        // x uniform over ±1 has variance 1/3; y = x + noise of the same variance, so that r² = 1/2. With
        // history for four units in five the reduction is 2/5.
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let mut arm = |effect: f64| -> Vec<Unit> {
            (0..20_000)
                .map(|index| {
                    let x = random.random_range(-1.0..1.0);
                    let outcome = x + random.random_range(-1.0..1.0) + effect;
                    unit((index % 5 != 0).then_some(x), outcome)
                })
                .collect()
        };
        let adjustment = adjust(&[arm(0.0), arm(0.5)]).unwrap();
        assert!((adjustment.theta - 1.0).abs() < 0.02, "{}", adjustment.theta);
        assert!((adjustment.variance_reduction.unwrap() - 0.4).abs() < 0.02, "{:?}", adjustment.variance_reduction);
        assert_eq!(adjustment.history_share, 0.8);
    }

    proptest! {
        #[test]
        fn the_mean_of_all_outcomes_stays(units in prop::collection::vec((prop::option::of(-9.0_f64..9.0), -9.0_f64..9.0), 4..40)) {
            let arm: Vec<Unit> = units.iter().map(|&(before, outcome)| unit(before, outcome)).collect();
            let adjustment = adjust(std::slice::from_ref(&arm)).unwrap();
            let raw = Moments::of(&outcomes(&arm)).unwrap();
            prop_assert!((adjustment.arms[0].moments.mean().unwrap() - raw.mean().unwrap()).abs() < 1e-9);
            // One arm's theta is the best there is.
            prop_assert!(adjustment.variance_reduction.unwrap_or(0.0) >= -1e-9);
        }
    }
}
