//! From the figures of many queries to a mean, how far it can be trusted, and whether a
//! difference is more than chance.
//!
//! The randomness has a fixed seed: the same figures give the same intervals and the
//! same p, on every machine.

use rand::{Rng as _, RngCore as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Bootstrap samples.
pub const RESAMPLES: usize = 2_000;
/// Random assignments of signs in a test.
pub const FLIPS: usize = 10_000;
/// What an interval covers.
pub const CONFIDENCE: f64 = 0.95;
/// Of every random choice here.
pub const SEED: u64 = 7;
/// Figures that differ by less are the same but for rounding.
const EQUAL: f64 = 1e-12;

/// A mean over queries with its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    pub mean: f64,
    /// The interval's ends, [`CONFIDENCE`] between them.
    pub low: f64,
    pub high: f64,
}

/// How one system's figures differ from another's, query by query.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The mean of other − first.
    pub mean: f64,
    pub low: f64,
    pub high: f64,
    /// How often chance alone gives a mean difference as large, over 0 to 1.
    pub p: f64,
    /// Queries for which the other one is better, worse, the same.
    pub wins: usize,
    pub losses: usize,
    pub ties: usize,
}

/// The mean of the figures and its percentile bootstrap interval: queries are drawn
/// with replacement, [`RESAMPLES`] times; Efron and Tibshirani, An Introduction to the
/// Bootstrap, 1993, chapter 13. No figures give 0.
pub fn estimate(figures: &[f64]) -> Estimate {
    estimate_sets(&[figures.to_vec()])
}

/// The same of several sets: the mean of their means, so that each set counts the same
/// however many queries it has. Queries are drawn within their set.
pub fn estimate_sets(sets: &[Vec<f64>]) -> Estimate {
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut drawn = |figures: &Vec<f64>| {
        // 32 bits on every machine, so that the draws are the same.
        let count = u32::try_from(figures.len()).unwrap_or(u32::MAX);
        (0..count).map(|_| figures[random.random_range(0..count) as usize]).sum::<f64>() / f64::from(count.max(1))
    };
    let mut means: Vec<f64> = (0..RESAMPLES).map(|_| mean(&sets.iter().map(&mut drawn).collect::<Vec<_>>())).collect();
    means.sort_by(f64::total_cmp);
    let tail = (1.0 - CONFIDENCE) / 2.0;
    Estimate { mean: mean_of_means(sets), low: quantile(&means, tail), high: quantile(&means, 1.0 - tail) }
}

fn mean_of_means(sets: &[Vec<f64>]) -> f64 {
    mean(&sets.iter().map(|figures| mean(figures)).collect::<Vec<_>>())
}

/// Between the ranks by linear interpolation (type 7 of Hyndman and Fan, 1996).
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

/// The mean; 0 of nothing.
pub fn mean(figures: &[f64]) -> f64 {
    if figures.is_empty() { 0.0 } else { figures.iter().sum::<f64>() / figures.len() as f64 }
}

/// Holds two systems' figures for the same queries against each other. `first` and
/// `other` are equally long; what one has more is left out.
pub fn compare(first: &[f64], other: &[f64]) -> Difference {
    compare_sets(&[first.to_vec()], &[other.to_vec()])
}

/// The same over several sets, each of which counts the same.
pub fn compare_sets(first: &[Vec<f64>], other: &[Vec<f64>]) -> Difference {
    let by = |(first, other): (&f64, &f64)| if (other - first).abs() <= EQUAL { 0.0 } else { other - first };
    let sets: Vec<Vec<f64>> = first.iter().zip(other).map(|(first, other)| first.iter().zip(other).map(by).collect()).collect();
    let Estimate { mean, low, high } = estimate_sets(&sets);
    let count = |test: fn(&f64) -> bool| sets.iter().flatten().filter(|difference| test(difference)).count();
    // What a query adds to the mean of means, but for a common factor.
    let weighted: Vec<f64> = sets.iter().flat_map(|own| own.iter().map(|difference| difference / own.len() as f64)).collect();
    Difference {
        mean,
        low,
        high,
        p: randomization_p(&weighted),
        wins: count(|difference| *difference > 0.0),
        losses: count(|difference| *difference < 0.0),
        ties: count(|difference| *difference == 0.0),
    }
}

/// Fisher's paired randomization test, two-sided: were the systems the same, each
/// query's difference could as well have the other sign. p is the share of [`FLIPS`]
/// random assignments of signs whose mean is as far from 0 as the one that was
/// observed; Smucker, Allan and Carterette, CIKM 2007. The observed assignment counts as
/// one of them, so that p is never 0 (Davison and Hinkley, 1997, 4.3).
fn randomization_p(differences: &[f64]) -> f64 {
    // Flipping 0 changes nothing.
    let moved: Vec<f64> = differences.iter().copied().filter(|difference| *difference != 0.0).collect();
    let observed = moved.iter().sum::<f64>().abs();
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let as_far = (0..FLIPS)
        .filter(|_| {
            let sum: f64 = moved
                .chunks(64)
                .map(|chunk| {
                    let signs = random.next_u64();
                    chunk.iter().enumerate().map(|(bit, by)| if signs >> bit & 1 == 0 { *by } else { -by }).sum::<f64>()
                })
                .sum();
            // Sums in another order round otherwise.
            sum.abs() >= observed - EQUAL * moved.len() as f64
        })
        .count();
    (1 + as_far) as f64 / (1 + FLIPS) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_interval_is_that_of_the_normal_law_for_many_queries() {
        // Half 0 and half 1: the standard error of the mean is ½ / √400 = 0.025.
        let figures: Vec<f64> = (0..400).map(|query| f64::from(query % 2)).collect();
        let Estimate { mean, low, high } = estimate(&figures);
        assert_eq!(mean, 0.5);
        assert!((low - (0.5 - 1.96 * 0.025)).abs() < 0.005 && (high - (0.5 + 1.96 * 0.025)).abs() < 0.005, "{low} {high}");
        assert_eq!(estimate(&[0.25; 9]), Estimate { mean: 0.25, low: 0.25, high: 0.25 });
        assert_eq!(estimate(&[]), Estimate { mean: 0.0, low: 0.0, high: 0.0 });
        // A small set counts as much as a large one.
        assert_eq!(estimate_sets(&[vec![1.0; 3], vec![0.0; 97]]), Estimate { mean: 0.5, low: 0.5, high: 0.5 });
    }

    #[test]
    fn quantiles_lie_between_the_ranks() {
        let sorted = [1.0, 2.0, 3.0, 5.0];
        assert_eq!((quantile(&sorted, 0.0), quantile(&sorted, 0.5), quantile(&sorted, 1.0)), (1.0, 2.5, 5.0));
        assert!((quantile(&sorted, 0.9) - 4.4).abs() < 1e-12);
    }

    #[test]
    fn p_is_that_of_all_assignments() {
        // Of the 2^n assignments of signs to n equal differences, two are as far from 0.
        for n in [1, 3, 5, 8] {
            let p = compare(&vec![0.25; n], &vec![0.75; n]).p;
            let exact = 2.0 / f64::from(1_u32 << n);
            // Three standard errors of a share of 10,000.
            let allowed = 3.0 * (exact * (1.0 - exact) / FLIPS as f64).sqrt() + 1e-3;
            assert!((p - exact).abs() <= allowed, "{n}: {p} is not {exact}");
        }
        // 1, 2, 3 with signs: |sum| ≥ 4 (1 worse, the others better) in 4 of 8.
        let p = compare(&[1.0, 0.0, 0.0], &[0.0, 2.0, 3.0]).p;
        assert!((p - 0.5).abs() < 0.02, "{p}");
        assert_eq!(compare(&[0.5, 0.25], &[0.5, 0.25]).p, 1.0);
    }

    #[test]
    fn wins_and_losses_are_counted_and_rounding_is_no_difference() {
        let difference = compare(&[0.1 + 0.2, 0.5, 0.5, 1.0], &[0.3, 0.75, 0.25, 1.0]);
        assert_eq!((difference.wins, difference.losses, difference.ties, difference.mean), (1, 1, 2, 0.0));
    }

    #[test]
    fn a_real_difference_is_seen_and_noise_is_not() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let base: Vec<f64> = (0..200).map(|_| random.random_range(0.0..0.8)).collect();
        let mut moved = |by: f64| -> Vec<f64> { base.iter().map(|figure| figure + by + random.random_range(-0.1..0.1)).collect() };
        assert!(compare(&base, &moved(0.05)).p < 0.001);
        let noise = compare(&base, &moved(0.0));
        assert!(noise.p > 0.01 && noise.low < 0.0 && noise.high > 0.0, "{noise:?}");
    }

    proptest! {
        // Each compares several times, which is thousands of samples.
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn turning_the_comparison_round_turns_the_signs(pairs in prop::collection::vec((0.0_f64..1.0, 0.0_f64..1.0), 1..40)) {
            let (first, other): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
            let (there, back) = (compare(&first, &other), compare(&other, &first));
            prop_assert!((there.mean + back.mean).abs() < 1e-12 && (there.low + back.high).abs() < 1e-9);
            prop_assert_eq!((there.wins, there.ties, there.p), (back.losses, back.ties, back.p));
            prop_assert!(there.low <= there.mean + 1e-12 && there.mean <= there.high + 1e-12 || first.len() < 10);
            prop_assert!(there.p > 0.0 && there.p <= 1.0);
            // A set twice is no more than once, and one that changes nothing halves it.
            let twice = compare_sets(&[first.clone(), first.clone()], &[other.clone(), other.clone()]);
            prop_assert!((twice.mean - there.mean).abs() < 1e-12 && twice.wins == 2 * there.wins);
            let halved = compare_sets(&[first.clone(), vec![0.5; 7]], &[other, vec![0.5; 7]]);
            prop_assert!((halved.mean - there.mean / 2.0).abs() < 1e-12 && halved.ties == there.ties + 7);
            prop_assert_eq!(halved.p, there.p);
        }
    }
}
