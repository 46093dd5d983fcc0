//! How alike two rankings of chunks are. Ids of a ranking do not repeat.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

/// The depths that [`overlaps`] looks at.
pub const OVERLAP_AT: [usize; 5] = [1, 5, 10, 20, 50];
/// How far a reader goes on, as [`rbo`] has it: with 0.9 the first ten rows have 86 % of
/// the weight (Webber et al.).
pub const RBO_P: f64 = 0.9;

/// How many of the first k rows two rankings have in common.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct OverlapAt {
    pub k: usize,
    /// |A ∩ B| / k, where A and B are the first k rows; 0 to 1.
    pub overlap: f64,
}

/// The overlap at each depth of [`OVERLAP_AT`] that the longer ranking reaches. Rows that
/// the shorter one lacks are not in common.
pub fn overlaps(a: &[u64], b: &[u64]) -> Vec<OverlapAt> {
    let common = common_counts(a, b);
    let reached = OVERLAP_AT.into_iter().filter(|k| *k <= common.len());
    reached.map(|k| OverlapAt { k, overlap: common[k - 1] as f64 / k as f64 }).collect()
}

/// Rank-biased overlap, extrapolated from what is seen: from 0, nothing in common, to 1,
/// the same. Two empty rankings are the same, an empty one and another have nothing in
/// common.
///
/// With S the shorter ranking of s rows, L the longer one of l rows, and X_d the number of
/// rows that the first d of both have in common (all of S where d > s):
///
/// ```text
/// RBO_EXT = (1-p)/p × ( Σ_{d=1..l} X_d/d × p^d  +  Σ_{d=s+1..l} X_s (d-s) / (s d) × p^d )
///           + ( (X_l - X_s)/l + X_s/s ) × p^l
/// ```
///
/// Webber, Moffat and Zobel, "A similarity measure for indefinite rankings", ACM TOIS
/// 28(4), 2010, equation 32. Unseen rows count as if they agreed as far as the seen ones
/// do, so a ranking and its own beginning have 1: look at the rows that went as well.
pub fn rbo(a: &[u64], b: &[u64], p: f64) -> f64 {
    // Exactly, without what rounding makes of it.
    if a == b {
        return 1.0;
    }
    let (s, l) = (a.len().min(b.len()), a.len().max(b.len()));
    if s == 0 {
        return if l == 0 { 1.0 } else { 0.0 };
    }
    let common = common_counts(a, b);
    let x = |d: usize| common[d - 1] as f64;
    let mut sum = 0.0;
    let mut weight = 1.0;
    for d in 1..=l {
        weight *= p;
        let unseen = if d > s { x(s) * (d - s) as f64 / (s * d) as f64 } else { 0.0 };
        sum += (x(d) / d as f64 + unseen) * weight;
    }
    let rest = (x(l) - x(s)) / l as f64 + x(s) / s as f64;
    // Rounding may lead over the ends by some 1e-16.
    ((1.0 - p) / p * sum + rest * weight).clamp(0.0, 1.0)
}

/// For each depth d from 1 to the length of the longer ranking: how many rows the first d
/// of both have in common.
fn common_counts(a: &[u64], b: &[u64]) -> Vec<usize> {
    let (mut in_a, mut in_b) = (HashSet::new(), HashSet::new());
    let mut common = 0;
    (0..a.len().max(b.len()))
        .map(|at| {
            if let Some(id) = a.get(at) {
                in_a.insert(*id);
                common += usize::from(in_b.contains(id));
            }
            if let Some(id) = b.get(at) {
                in_b.insert(*id);
                common += usize::from(in_a.contains(id));
            }
            common
        })
        .collect()
}

/// Pairs of rows that stand in both rankings but in another order: the distance of
/// Kendall's tau over the common rows. Takes n log n steps.
pub fn swapped_pairs(a: &[u64], b: &[u64]) -> u64 {
    let rank_in_b: HashMap<u64, usize> = b.iter().copied().zip(0..).collect();
    let mut ranks: Vec<usize> = a.iter().filter_map(|id| rank_in_b.get(id).copied()).collect();
    inversions(&mut ranks)
}

/// Sorts by merging and counts the pairs that stood the wrong way round.
fn inversions(ranks: &mut [usize]) -> u64 {
    if ranks.len() < 2 {
        return 0;
    }
    let (left, right) = ranks.split_at_mut(ranks.len() / 2);
    let mut count = inversions(left) + inversions(right);
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut i, mut j) = (0, 0);
    while i < left.len() || j < right.len() {
        if j == right.len() || (i < left.len() && left[i] <= right[j]) {
            merged.push(left[i]);
            i += 1;
        } else {
            count += (left.len() - i) as u64;
            merged.push(right[j]);
            j += 1;
        }
    }
    ranks.copy_from_slice(&merged);
    count
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(got: f64, expect: f64) {
        assert!((got - expect).abs() < 1e-9, "{got} instead of {expect}");
    }

    #[test]
    fn overlap_is_the_share_of_common_rows() {
        let check = |a: &[u64], b: &[u64], expect: &[(usize, f64)]| {
            let got: Vec<(usize, f64)> = overlaps(a, b).iter().map(|at| (at.k, at.overlap)).collect();
            assert_eq!(got, expect);
        };
        check(&[1, 2, 3, 4, 5], &[2, 1, 3, 6, 4], &[(1, 0.0), (5, 0.8)]);
        check(&[1, 2, 3, 4, 5], &[1, 2], &[(1, 1.0), (5, 0.4)]);
        check(&[1, 2, 3, 4], &[1], &[(1, 1.0)]);
        check(&[], &[1], &[(1, 0.0)]);
        check(&[], &[], &[]);
    }

    #[test]
    fn pairs_that_were_swapped_are_counted() {
        let check = |a: &[u64], b: &[u64], expect| assert_eq!((swapped_pairs(a, b), swapped_pairs(b, a)), (expect, expect));
        check(&[1, 2, 3, 4], &[1, 2, 3, 4], 0);
        check(&[1, 2, 3, 4], &[4, 3, 2, 1], 6);
        check(&[1, 2, 3, 4], &[2, 3, 4, 1], 3);
        // Rows of one ranking alone don't count.
        check(&[9, 1, 2, 8], &[2, 7, 1], 1);
        check(&[], &[1], 0);
    }

    #[test]
    fn rank_biased_overlap_by_hand() {
        // X is 0, 1, 2: 1/9 × (0.405 + 0.486) + 2/3 × 0.729.
        close(rbo(&[1, 2, 3], &[2, 4, 1], 0.9), 0.585);
        // s = 1, X is 0, 1: 1/9 × 1/2 × 0.81 + 1/2 × 0.81.
        close(rbo(&[1], &[2, 1], 0.9), 0.45);
        // s = 2, X is 1, 2, 2: 1/9 × (0.9 + 0.81 + (2/3 + 2/6) × 0.729) + 0.729.
        close(rbo(&[1, 2], &[1, 2, 3], 0.9), 1.0);
        assert_eq!((rbo(&[], &[], 0.9), rbo(&[], &[1], 0.9)), (1.0, 0.0));
    }

    #[test]
    fn rank_biased_overlap_agrees_with_another_implementation() {
        // By the Python package rbo 0.1.3, `RankingSimilarity(a, b).rbo_ext(p=0.9)`.
        let up: Vec<u64> = (1..=30).collect();
        let down: Vec<u64> = (1..=30).rev().collect();
        close(rbo(&[1, 2, 3, 4, 5], &[2, 1, 3, 6, 4], 0.9), 0.750555);
        close(rbo(&up[..7], &[5, 1, 9, 3], 0.9), 0.5353836428571428);
        close(rbo(&up[..10], &[10, 3, 12, 1, 5], 0.9), 0.49585204890000006);
        close(rbo(&up, &down, 0.9), 0.12872776551185622);
    }

    /// The definition itself, (1-p) Σ p^(d-1) A_d, far into the rows that nobody has seen.
    fn by_definition(a: &[u64], b: &[u64], p: f64) -> f64 {
        let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
        let common = |d: usize| long.iter().take(d).filter(|id| short.iter().take(d).any(|other| other == *id)).count() as f64;
        let (s, l) = (short.len(), long.len());
        let agreement = |d: usize| {
            let seen = common(d);
            // Beyond its end the short ranking goes on to agree as it did.
            let assumed = common(s) / s as f64 * d.saturating_sub(s) as f64;
            (seen + assumed) / d as f64
        };
        let last = agreement(l);
        (1..=l).chain(l + 1..1_000).map(|d| (1.0 - p) * p.powi(d as i32 - 1) * if d <= l { agreement(d) } else { last }).sum()
    }

    fn ids(seeds: &[u8]) -> Vec<u64> {
        let mut known = HashSet::new();
        seeds.iter().map(|id| u64::from(*id)).filter(|id| known.insert(*id)).collect()
    }

    proptest! {
        #[test]
        fn rank_biased_overlap_keeps_its_promises(a in proptest::collection::vec(0_u8..40, 1..40), b in proptest::collection::vec(0_u8..40, 1..40)) {
            let (a, b) = (ids(&a), ids(&b));
            let got = rbo(&a, &b, RBO_P);
            prop_assert!((0.0..=1.0).contains(&got));
            prop_assert_eq!(got, rbo(&b, &a, RBO_P));
            prop_assert!((rbo(&a, &a, RBO_P) - 1.0).abs() < 1e-12);
            prop_assert!((got - by_definition(&a, &b, RBO_P)).abs() < 1e-9, "{} {}", got, by_definition(&a, &b, RBO_P));
            let apart: Vec<u64> = b.iter().map(|id| id + 100).collect();
            prop_assert_eq!(rbo(&a, &apart, RBO_P), 0.0);
        }

        #[test]
        fn overlaps_and_swaps_agree_with_counting(a in proptest::collection::vec(0_u8..40, 0..60), b in proptest::collection::vec(0_u8..40, 0..60)) {
            let (a, b) = (ids(&a), ids(&b));
            for at in overlaps(&a, &b) {
                let common = a.iter().take(at.k).filter(|id| b.iter().take(at.k).any(|other| other == *id)).count();
                prop_assert_eq!(at.overlap, common as f64 / at.k as f64);
            }
            let rank = |id: &u64| b.iter().position(|other| other == id);
            let common: Vec<usize> = a.iter().filter_map(rank).collect();
            let swapped = (0..common.len()).flat_map(|i| (i + 1..common.len()).map(move |j| (i, j))).filter(|(i, j)| common[*i] > common[*j]).count();
            prop_assert_eq!(swapped_pairs(&a, &b), swapped as u64);
        }
    }
}
