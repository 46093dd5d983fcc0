//! Keeps the error of many comparisons together where that of one was.
//! In: p values of one family, such as all metrics of an experiment. Out: adjusted ones.
//!
//! An adjusted p value of at most `alpha` rejects. The p values may come from looks at any time, since a
//! p value that is always valid is a valid one whenever the experiment stops; Johari, Koomen, Pekelis
//! and Walsh, Operations Research 70(3), 2022.

use serde::{Deserialize, Serialize};

use super::{OutOfRange, checked_alpha};

/// What is controlled, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Correction {
    /// The probability of any false rejection, for any dependence: `m p`.
    Bonferroni,
    /// The same and never weaker: `max over j ≤ i of (m − j + 1) p₍ⱼ₎`; Holm, Scandinavian Journal of
    /// Statistics 6, 1979.
    Holm,
    /// The expected share of false ones among the rejections, for independent or positively dependent p
    /// values: `min over j ≥ i of m p₍ⱼ₎ / j`; Benjamini and Hochberg, JRSS B 57, 1995; Benjamini and
    /// Yekutieli, Annals of Statistics 29, 2001.
    BenjaminiHochberg,
}

impl Correction {
    /// Adjusted p values in the order of the given ones, over 0 to 1; none of none. A p value outside 0 to
    /// 1 is refused.
    pub fn adjust(self, p_values: &[f64]) -> Result<Vec<f64>, OutOfRange> {
        if let Some(&value) = p_values.iter().find(|p| !(0.0..=1.0).contains(*p)) {
            return Err(OutOfRange { name: "p value", value, allowed: "0 to 1" });
        }
        let count = p_values.len();
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));

        let scaled = order.iter().enumerate().map(|(before, &index)| p_values[index] * self.factor(before, count));
        let mut sorted: Vec<f64> = scaled.map(|p| p.min(1.0)).collect();
        match self {
            Self::Bonferroni => {}
            Self::Holm => (1..count).for_each(|at| sorted[at] = sorted[at].max(sorted[at - 1])),
            Self::BenjaminiHochberg => (1..count).rev().for_each(|at| sorted[at - 1] = sorted[at - 1].min(sorted[at])),
        }

        let mut adjusted = vec![0.0; count];
        order.into_iter().zip(sorted).for_each(|(index, p)| adjusted[index] = p);
        Ok(adjusted)
    }

    /// `before` p values are smaller, or equal and given first.
    fn factor(self, before: usize, count: usize) -> f64 {
        match self {
            Self::Bonferroni => count as f64,
            Self::Holm => (count - before) as f64,
            Self::BenjaminiHochberg => count as f64 / (before + 1) as f64,
        }
    }

    /// The level at which each comparison's interval is to be drawn, of `comparisons` of which `rejected`
    /// were rejected.
    ///
    /// Bonferroni and Holm: `alpha / m`; all intervals hold at once with probability `1 − alpha`. For Holm
    /// that is conservative: a rejected comparison's interval may still hold 0, for Holm has no simple
    /// intervals of its own.
    ///
    /// Benjamini–Hochberg: `alpha R / m` with R rejections, to be drawn for these alone. Of the intervals
    /// drawn, an expected share of at most `alpha` misses; Benjamini and Yekutieli, JASA 100, 2005.
    /// They exclude 0. Without rejections it is `alpha / m`. The same level holds for
    /// confidence sequences of normal mixtures, whatever their dependence and whenever the experiments
    /// stop; Xu, Wang and Ramdas, Post-selection Inference for e-Value Based Confidence Intervals, 2024.
    ///
    /// No comparisons count as one, and more rejections than comparisons as all.
    pub fn interval_alpha(self, alpha: f64, comparisons: usize, rejected: usize) -> Result<f64, OutOfRange> {
        let alpha = checked_alpha(alpha)?;
        let count = comparisons.max(1);
        let drawn = match self {
            Self::Bonferroni | Self::Holm => 1,
            Self::BenjaminiHochberg => rejected.clamp(1, count),
        };
        Ok(alpha * drawn as f64 / count as f64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Correction; 3] = [Correction::Bonferroni, Correction::Holm, Correction::BenjaminiHochberg];

    #[test]
    fn p_values_are_adjusted_in_place() {
        let p_values = [0.04, 0.01, 0.5, 0.01];
        let expected = [[0.16, 0.04, 1.0, 0.04], [0.08, 0.04, 0.5, 0.04], [0.04 * 4.0 / 3.0, 0.02, 0.5, 0.02]];
        for (correction, expected) in ALL.into_iter().zip(expected) {
            let ours = correction.adjust(&p_values).unwrap();
            assert!(ours.iter().zip(expected).all(|(ours, theirs)| (ours - theirs).abs() < 1e-15), "{correction:?}: {ours:?}");
            assert_eq!(correction.adjust(&[]).unwrap(), Vec::<f64>::new());
            assert_eq!(correction.adjust(&[0.03]).unwrap(), [0.03]);
        }
    }

    #[test]
    fn what_is_no_p_value_is_refused() {
        for correction in ALL {
            for p in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
                assert!(correction.adjust(&[0.5, p]).is_err(), "{correction:?} {p}");
            }
            assert!(correction.interval_alpha(0.0, 3, 1).is_err());
        }
    }

    #[test]
    fn intervals_share_the_error() {
        for (correction, rejected, expected) in [
            (Correction::Bonferroni, 3, 0.01),
            (Correction::Holm, 3, 0.01),
            (Correction::BenjaminiHochberg, 3, 0.03),
            (Correction::BenjaminiHochberg, 0, 0.01),
            (Correction::BenjaminiHochberg, 9, 0.05),
        ] {
            let alpha = correction.interval_alpha(0.05, 5, rejected).unwrap();
            assert!((alpha - expected).abs() < 1e-15, "{correction:?} {rejected}: {alpha}");
        }
        assert_eq!(Correction::Holm.interval_alpha(0.05, 0, 0).unwrap(), 0.05);
    }

    proptest! {
        #[test]
        fn stronger_corrections_reject_more(p_values in prop::collection::vec(0.0_f64..=1.0, 1..30)) {
            let [bonferroni, holm, hochberg] = ALL.map(|correction| correction.adjust(&p_values).unwrap());
            for index in 0..p_values.len() {
                prop_assert!(bonferroni[index] >= holm[index] && holm[index] >= hochberg[index] - 1e-15);
                prop_assert!(hochberg[index] >= p_values[index] - 1e-15);
                for other in 0..p_values.len() {
                    let kept = |adjusted: &[f64]| p_values[index] > p_values[other] || adjusted[index] <= adjusted[other];
                    prop_assert!(kept(&bonferroni) && kept(&holm) && kept(&hochberg));
                }
            }
        }
    }
}
