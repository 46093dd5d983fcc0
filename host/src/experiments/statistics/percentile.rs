//! Percentiles, such as those of latencies, with intervals that hold for every distribution.
//!
//! The interval runs from one of the sorted figures to another, and needs no more than independent
//! figures. It holds for one look at a size fixed beforehand. Several figures of the same unit, such as
//! the latencies of one session, are not independent: take one per unit, or the unit's own percentile.

use super::{NotFinite, OutOfRange, checked_alpha, checked_share, distributions::binomial_at_most};

/// Sorted figures, all of them finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    sorted: Vec<f64>,
}

/// A percentile with its interval, in the unit of the figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentile {
    pub value: f64,
    /// None where the figures are too few to bound the percentile on this side.
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// How probably the interval, open on a side without a bound, holds the true percentile: at least
    /// `1 − alpha`.
    pub coverage: f64,
}

impl Sample {
    pub fn new(mut figures: Vec<f64>) -> Result<Self, NotFinite> {
        if figures.iter().any(|figure| !figure.is_finite()) {
            return Err(NotFinite);
        }
        figures.sort_by(f64::total_cmp);
        Ok(Self { sorted: figures })
    }

    /// The percentile at `share`, over 0 to 1, with an interval that misses with probability `alpha` at
    /// most, and half of it on each side; none of no figures.
    ///
    /// Of n figures, the number B below the true percentile is binomial. The ends are the figures of
    /// ranks l and u, the largest and the smallest with `P(B < l) ≤ α/2` and `P(B ≥ u) ≤ α/2`; Hahn and
    /// Meeker, Statistical Intervals, 1991, section 5.2.
    pub fn percentile(&self, share: f64, alpha: f64) -> Result<Option<Percentile>, OutOfRange> {
        let share = checked_share("share", share)?;
        let tail = checked_alpha(alpha)? / 2.0;
        let Some(value) = self.value(share) else { return Ok(None) };
        let at_most = |rank: usize| binomial_at_most(rank as u64, self.sorted.len() as u64, share);

        // Ranks from 0: the figure at `low` has `low` figures below it.
        let low = self.first_rank(|rank| at_most(rank) > tail);
        let high = self.first_rank(|rank| at_most(rank) >= 1.0 - tail);
        let low_figure = (low > 0).then(|| self.sorted[low - 1]);
        let high_figure = self.sorted.get(high).copied();
        let below = if low > 0 { at_most(low - 1) } else { 0.0 };
        Ok(Some(Percentile { value, low: low_figure, high: high_figure, coverage: at_most(high) - below }))
    }

    /// The first number of figures, up to all of them, that satisfies a growing condition.
    fn first_rank(&self, satisfied: impl Fn(usize) -> bool) -> usize {
        let (mut below, mut above) = (0, self.sorted.len());
        while below < above {
            let middle = below.midpoint(above);
            if satisfied(middle) { above = middle } else { below = middle + 1 }
        }
        below
    }

    /// Between the ranks by linear interpolation (type 7 of Hyndman and Fan, 1996).
    fn value(&self, share: f64) -> Option<f64> {
        let at = share * self.sorted.len().checked_sub(1)? as f64;
        let (below, above) = (self.sorted[at.floor() as usize], self.sorted[at.ceil() as usize]);
        // Weighted, for the difference of two large figures may be infinite.
        Some(below * (1.0 - at.fract()) + above * at.fract())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn to(count: u32) -> Sample {
        Sample::new((1..=count).rev().map(f64::from).collect()).unwrap()
    }

    #[test]
    fn ends_are_those_of_the_tables() {
        // count, share → low, high at 95 %; the median's ranks are those of the sign test's tables.
        for (count, share, low, high) in [
            (5, 0.5, None, None),
            (6, 0.5, Some(1.0), Some(6.0)),
            (10, 0.5, Some(2.0), Some(9.0)),
            (20, 0.5, Some(6.0), Some(15.0)),
            (100, 0.5, Some(40.0), Some(61.0)),
            (100, 0.95, Some(90.0), Some(100.0)),
            (50, 0.99, Some(48.0), None),
        ] {
            let percentile = to(count).percentile(share, 0.05).unwrap().unwrap();
            assert_eq!((percentile.low, percentile.high), (low, high), "{share} of {count}: {percentile:?}");
            assert!(percentile.coverage >= 0.95, "{percentile:?}");
        }
    }

    #[test]
    fn few_equal_and_strange_figures() {
        assert_eq!(Sample::new(vec![]).unwrap().percentile(0.5, 0.05), Ok(None));
        let one = to(1).percentile(0.9, 0.05).unwrap().unwrap();
        assert_eq!((one.value, one.low, one.high, one.coverage), (1.0, None, None, 1.0));
        let same = Sample::new(vec![4.0; 300]).unwrap().percentile(0.9, 0.05).unwrap().unwrap();
        assert_eq!((same.value, same.low, same.high), (4.0, Some(4.0), Some(4.0)));
        assert_eq!(Sample::new(vec![1.0, f64::NAN]), Err(NotFinite));
        for share in [0.0, 1.0, f64::NAN] {
            assert!(to(3).percentile(share, 0.05).is_err());
        }
        let wide = Sample::new(vec![f64::MIN, f64::MAX]).unwrap().percentile(0.5, 0.05).unwrap().unwrap();
        assert_eq!(wide.value, 0.0);
    }

    proptest! {
        #[test]
        fn ends_lie_around_the_percentile(figures in prop::collection::vec(0.0_f64..9.0, 1..200), share in 0.01_f64..0.99) {
            let percentile = Sample::new(figures).unwrap().percentile(share, 0.05).unwrap().unwrap();
            prop_assert!(percentile.low.is_none_or(|low| low <= percentile.value + 1e-12));
            prop_assert!(percentile.high.is_none_or(|high| high >= percentile.value - 1e-12));
            prop_assert!(percentile.coverage >= 0.95 - 1e-12 && percentile.coverage <= 1.0);
        }
    }
}
