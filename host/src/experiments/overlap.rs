//! How much two rankings agree, from 0 to 1: overlap and Jaccard at a depth, and
//! rank-biased overlap. All take two rankings, best first, and no judgments.
//!
//! Rankings have no ties. An id that comes twice in one counts where it comes first.

use std::collections::HashSet;
use std::hash::Hash;

/// Shared ids among the first `k` of each, over the ids of the longer one's first `k`.
/// Two empty rankings, and a `k` of 0, give 1.
pub fn overlap_at<T: Copy + Eq + Hash>(one: &[T], two: &[T], k: usize) -> f64 {
    let [one, two] = [one, two].map(|ranking| first(ranking, k));
    share(one.intersection(&two).count(), one.len().max(two.len()))
}

/// Shared ids among the first `k` of each, over all ids there: |A ∩ B| / |A ∪ B|; Jaccard,
/// 1901. Two empty rankings, and a `k` of 0, give 1.
pub fn jaccard_at<T: Copy + Eq + Hash>(one: &[T], two: &[T], k: usize) -> f64 {
    let [one, two] = [one, two].map(|ranking| first(ranking, k));
    share(one.intersection(&two).count(), one.union(&two).count())
}

fn first<T: Copy + Eq + Hash>(ranking: &[T], k: usize) -> HashSet<T> {
    ranking.iter().take(k).copied().collect()
}

fn share(shared: usize, all: usize) -> f64 {
    if all == 0 { 1.0 } else { shared as f64 / all as f64 }
}

/// The chance that a reader goes on to the next rank, between 0 and 1: how much lower
/// ranks count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Persistence(f64);

/// A chance that would look at one rank only, or at all of them alike.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("a persistence of {0} is not allowed; allowed: above 0, below 1")]
pub struct PersistenceError(f64);

impl Persistence {
    /// Ten ranks have 0.86 of the weight; Webber, Moffat and Zobel 2010, section 4.
    pub const DEFAULT: Persistence = Persistence(0.9);

    /// # Errors
    /// [`PersistenceError`] for a number that is not between 0 and 1.
    pub fn new(chance: f64) -> Result<Persistence, PersistenceError> {
        if chance > 0.0 && chance < 1.0 { Ok(Persistence(chance)) } else { Err(PersistenceError(chance)) }
    }
}

impl Default for Persistence {
    fn default() -> Persistence {
        Persistence::DEFAULT
    }
}

/// Rank-biased overlap, extrapolated: Webber, Moffat and Zobel, A Similarity Measure for
/// Indefinite Rankings, TOIS 2010, equation 32. With s and l the lengths, s ≤ l, and X_d
/// the ids shared by the first d of each,
///
/// (1 − p)/p · (Σ_{d=1..l} X_d/d · p^d + Σ_{d=s+1..l} X_s (d − s)/(s d) · p^d)
///   + ((X_l − X_s)/l + X_s/s) · p^l
///
/// Both sums are one sum of agreements A_d · p^d here, and the last bracket is A_l: what
/// is seen of the shorter ranking is assumed to go on below its end, and the agreement at
/// l below the longer one's. So a ranking and its own beginning give 1. Two empty
/// rankings give 1, one of them 0.
pub fn rank_biased_overlap<T: Copy + Eq + Hash>(one: &[T], two: &[T], Persistence(p): Persistence) -> f64 {
    let (short, long) = if one.len() <= two.len() { (one, two) } else { (two, one) };
    if short.is_empty() {
        return if long.is_empty() { 1.0 } else { 0.0 };
    }
    let (mut in_short, mut in_long) = (HashSet::new(), HashSet::new());
    // X_d, and X_s once the shorter ranking has ended.
    let (mut shared, mut shared_short) = (0_u32, 0_u32);
    let (mut sum, mut agreement, mut weight) = (0.0, 0.0, 1.0);
    let s = short.len() as f64;
    for (at, id) in long.iter().enumerate() {
        shared += u32::from(in_long.insert(*id) && in_short.contains(id));
        if let Some(id) = short.get(at) {
            shared += u32::from(in_short.insert(*id) && in_long.contains(id));
            shared_short = shared;
        }
        let d = (at + 1) as f64;
        let beyond = f64::from(shared_short) * (d - s).max(0.0) / s;
        agreement = (f64::from(shared) + beyond) / d;
        weight *= p;
        sum += agreement * weight;
    }
    (1.0 - p) / p * sum + agreement * weight
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;
    use serde::Deserialize;

    use super::*;

    /// Values of the definitions, written down directly elsewhere.
    #[derive(Deserialize)]
    struct Reference {
        one: Vec<u64>,
        two: Vec<u64>,
        k: usize,
        p: f64,
        overlap: f64,
        jaccard: f64,
        rank_biased_overlap: f64,
    }

    #[test]
    fn values_are_those_of_another_implementation() {
        let references: Vec<Reference> = serde_json::from_str(include_str!("fixtures/overlap_reference.json")).unwrap();
        assert_eq!(references.len(), 60);
        for Reference { one, two, k, p, overlap, jaccard, rank_biased_overlap: expect } in references {
            let close =
                |value: f64, expect: f64| assert!((value - expect).abs() < 1e-9, "{one:?} {two:?} {k} {p}: {value} is not {expect}");
            close(overlap_at(&one, &two, k), overlap);
            close(jaccard_at(&one, &two, k), jaccard);
            close(rank_biased_overlap(&one, &two, Persistence::new(p).unwrap()), expect);
        }
    }

    #[test]
    fn empty_rankings_agree_with_each_other_only() {
        for (one, two, expect) in [(&[][..], &[][..], 1.0), (&[1], &[], 0.0), (&[], &[1], 0.0)] {
            assert_eq!(overlap_at(one, two, 5), expect);
            assert_eq!(jaccard_at(one, two, 5), expect);
            assert_eq!(rank_biased_overlap(one, two, Persistence::DEFAULT), expect);
        }
        assert_eq!(overlap_at(&[1], &[2], 0), 1.0);
    }

    #[test]
    fn persistence_lies_between_0_and_1() {
        for chance in [0.0, 1.0, -0.5, 1.5, f64::NAN] {
            assert!(Persistence::new(chance).unwrap_err().to_string().contains("above 0, below 1"));
        }
        assert_eq!(Persistence::new(0.9), Ok(Persistence::default()));
    }

    fn ranking() -> impl Strategy<Value = Vec<u64>> {
        (Just((0..40).collect::<Vec<u64>>()).prop_shuffle(), 0..30_usize).prop_map(|(ids, len)| ids[..len].to_vec())
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]
        #[test]
        fn agreement_is_symmetric_and_from_0_to_1(one in ranking(), two in ranking(), k in 0..35_usize, p in 0.01_f64..0.99) {
            let p = Persistence::new(p).unwrap();
            let apart: Vec<u64> = two.iter().map(|id| id + 100).collect();
            for measure in [&|a: &[u64], b: &[u64]| overlap_at(a, b, k), &|a: &[u64], b: &[u64]| jaccard_at(a, b, k),
                &|a: &[u64], b: &[u64]| rank_biased_overlap(a, b, p)] as [&dyn Fn(&[u64], &[u64]) -> f64; 3]
            {
                let value = measure(&one, &two);
                prop_assert_eq!(value, measure(&two, &one));
                prop_assert!((0.0..=1.0 + 1e-12).contains(&value), "{}", value);
                prop_assert!((measure(&one, &one) - 1.0).abs() < 1e-12);
                if k > 0 && !(one.is_empty() && two.is_empty()) {
                    prop_assert_eq!(measure(&one, &apart), 0.0);
                }
            }
        }

        #[test]
        fn a_ranking_agrees_with_its_beginning(one in ranking(), cut in 1..30_usize, p in 0.01_f64..0.99) {
            let beginning = &one[..cut.min(one.len())];
            prop_assert!((rank_biased_overlap(&one, beginning, Persistence::new(p).unwrap()) - 1.0).abs() < 1e-12);
        }

        #[test]
        fn a_change_higher_up_matters_more(len in 2..30_u64, one in 0..29_usize, two in 0..29_usize) {
            let (high, low) = (one.min(two) % len as usize, one.max(two) % len as usize);
            prop_assume!(high < low);
            let ids: Vec<u64> = (0..len).collect();
            let replaced = |at: usize| ids.iter().enumerate().map(|(rank, id)| if rank == at { 100 } else { *id }).collect::<Vec<_>>();
            let value = |at| rank_biased_overlap(&ids, &replaced(at), Persistence::DEFAULT);
            prop_assert!(value(high) < value(low));
        }
    }
}
