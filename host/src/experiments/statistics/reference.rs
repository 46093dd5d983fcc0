//! Holds every closed form against what `scipy` and `statsmodels` make of the same inputs.
//! `reference.py` wrote `reference.json`.

use serde::Deserialize;

use super::{
    cuped::{self, Unit},
    moments::Moments,
    multiplicity::Correction,
    percentile::Sample,
    power::{Assumptions, Plan},
    preference::{PreferenceTest, Preferences},
    ratio,
    sequential::{SequentialMethod, SequentialTest},
};

#[derive(Deserialize)]
struct Reference {
    ratio: Vec<RatioCase>,
    welch: Vec<WelchCase>,
    multiplicity: Vec<MultiplicityCase>,
    sign: Vec<SignCase>,
    power: Vec<PowerCase>,
    cuped: Vec<CupedCase>,
    percentile: Vec<PercentileCase>,
}

#[derive(Deserialize)]
struct RatioCase {
    counts: Vec<u64>,
    weights: Vec<f64>,
    chi_square: f64,
    p: f64,
    expected: Vec<f64>,
}

#[derive(Deserialize)]
struct WelchCase {
    control: Vec<f64>,
    treatment: Vec<f64>,
    alpha: f64,
    p: f64,
    low: f64,
    high: f64,
}

#[derive(Deserialize)]
struct MultiplicityCase {
    p_values: Vec<f64>,
    bonferroni: Vec<f64>,
    holm: Vec<f64>,
    benjamini_hochberg: Vec<f64>,
}

#[derive(Deserialize)]
struct SignCase {
    wins: u64,
    losses: u64,
    p: f64,
}

#[derive(Deserialize)]
struct PowerCase {
    effect: f64,
    deviation: f64,
    treatment_share: f64,
    alpha: f64,
    units: u64,
    power: f64,
}

#[derive(Deserialize)]
struct CupedCase {
    arms: Vec<CupedArm>,
    theta: f64,
    all_before: Vec<f64>,
    all_theta: f64,
    all_effect: f64,
}

#[derive(Deserialize)]
struct CupedArm {
    before: Vec<Option<f64>>,
    outcome: Vec<f64>,
    mean: f64,
    variance: f64,
}

#[derive(Deserialize)]
struct PercentileCase {
    figures: Vec<f64>,
    share: f64,
    alpha: f64,
    value: f64,
    low: Option<f64>,
    high: Option<f64>,
    coverage: f64,
}

/// Relative to figures above 1e-300, or to each other for both 0.
#[track_caller]
fn check(ours: f64, theirs: f64) {
    assert!((ours - theirs).abs() <= 1e-9 * theirs.abs().max(1e-300), "{ours} is not {theirs}");
}

#[track_caller]
fn check_all(ours: &[f64], theirs: &[f64]) {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).for_each(|(&ours, &theirs)| check(ours, theirs));
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("reference.json")).unwrap()
}

#[test]
fn ratio_agrees() {
    for case in reference().ratio {
        let ours = ratio::check(&case.counts, &case.weights).unwrap();
        check(ours.chi_square, case.chi_square);
        check(ours.p, case.p);
        check_all(&ours.expected, &case.expected);
    }
}

#[test]
fn welch_agrees() {
    for case in reference().welch {
        let test = SequentialTest::new(SequentialMethod::Fixed { units: 4 }, case.alpha).unwrap();
        let ours = test.look(&Moments::of(&case.control).unwrap(), &Moments::of(&case.treatment).unwrap()).unwrap();
        check_all(&[ours.p, ours.low, ours.high], &[case.p, case.low, case.high]);
    }
}

#[test]
fn multiplicity_agrees() {
    for case in reference().multiplicity {
        check_all(&Correction::Bonferroni.adjust(&case.p_values).unwrap(), &case.bonferroni);
        check_all(&Correction::Holm.adjust(&case.p_values).unwrap(), &case.holm);
        check_all(&Correction::BenjaminiHochberg.adjust(&case.p_values).unwrap(), &case.benjamini_hochberg);
    }
}

#[test]
fn sign_test_agrees() {
    let test = PreferenceTest::new(0.05, 1_000).unwrap();
    for SignCase { wins, losses, p } in reference().sign {
        check(test.look(&Preferences { wins, losses, ties: 5 }).sign_p, p);
    }
}

#[test]
fn power_agrees() {
    for case in reference().power {
        let test = SequentialTest::new(SequentialMethod::Fixed { units: case.units }, case.alpha).unwrap();
        let assumptions = Assumptions {
            effect: case.effect,
            control_deviation: case.deviation,
            treatment_deviation: case.deviation,
            treatment_share: case.treatment_share,
        };
        check(Plan::new(test, assumptions).unwrap().predict(case.units).power, case.power);
    }
}

#[test]
fn cuped_agrees() {
    for case in reference().cuped {
        let units = |arm: &CupedArm| -> Vec<Unit> {
            arm.before.iter().zip(&arm.outcome).map(|(&before, &outcome)| Unit { before, outcome }).collect()
        };
        let some = cuped::adjust(&case.arms.iter().map(units).collect::<Vec<_>>()).unwrap();
        check(some.theta, case.theta);
        for (ours, theirs) in some.arms.iter().zip(&case.arms) {
            check(ours.moments.mean().unwrap(), theirs.mean);
            check(ours.moments.variance().unwrap(), theirs.variance);
        }

        let mut before = case.all_before.iter().copied();
        let mut known =
            |arm: &CupedArm| -> Vec<Unit> { arm.outcome.iter().map(|&outcome| Unit { before: before.next(), outcome }).collect() };
        let all = cuped::adjust(&case.arms.iter().map(&mut known).collect::<Vec<_>>()).unwrap();
        check(all.theta, case.all_theta);
        let mean = |arm: usize| all.arms[arm].moments.mean().unwrap();
        check(mean(1) - mean(0), case.all_effect);
    }
}

#[test]
fn percentiles_agree() {
    for case in reference().percentile {
        let ours = Sample::new(case.figures).unwrap().percentile(case.share, case.alpha).unwrap().unwrap();
        check_all(&[ours.value, ours.coverage], &[case.value, case.coverage]);
        assert_eq!((ours.low, ours.high), (case.low, case.high));
    }
}
