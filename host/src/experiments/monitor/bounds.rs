//! The tests: whether so many runs are more than chance. In: counts and a bound. Out: whether
//! a figure within the bound would show as many with a probability of at most `level`.

use std::sync::LazyLock;

use super::LEVEL;
use super::latest::HELD_RUNS;
use crate::experiments::statistics::binomial_at_most;

/// One in so many runs may be longer than the 95th percentile.
pub(super) const SLOW_ONE_IN: u64 = 20;
pub(super) const SLOW_SHARE: f64 = 1.0 / SLOW_ONE_IN as f64;
/// Runs of the control by which [`least_above`] is tabled.
const TABLED_RUNS: u64 = 20;

/// Whether `those` of `all` are too many for a share of `limit` (0 to 1) at most.
///
/// Exact binomial test: P(X ≥ those) ≤ level, X of `all` runs that each are one of those with
/// probability `limit`. Of no runs none are too many.
pub(super) fn over_share(those: u64, all: u64, limit: f64, level: f64) -> bool {
    // Half of the probability lies from the mean on, so that up to it nothing is computed.
    if those > all || those as f64 <= all as f64 * limit {
        return false;
    }
    // X ≥ those is all − X ≤ all − those. With a limit of 0, one is too many.
    limit <= 0.0 || binomial_at_most(all - those, all, 1.0 - limit) <= level
}

/// Whether the share of an arm's runs, (those, all), is too high for at most 1 + `increase`
/// times that of the control's.
///
/// Given the sum of both counts, the arm's is binomial with probability n r / (n r + m): n
/// runs of the arm, m of the control, r the ratio. Przyborowski and Wilenski, Homogeneity of
/// results in testing samples from Poisson series, Biometrika 1940. Exact for counts of rare
/// runs; those of frequent ones vary less, so that it is too careful then.
pub(super) fn over_control((those, all): (u64, u64), (base, control): (u64, u64), increase: f64, level: f64) -> bool {
    let expected = all as f64 * (1.0 + increase);
    // Without runs of the control, nothing is too many.
    control > 0 && all > 0 && over_share(those, those + base, expected / (expected + control as f64), level)
}

/// How many of this many runs are above the true 95th percentile, but for a probability of
/// [`LEVEL`]: the run that has so many above it is at least as long as the percentile. None
/// of fewer than 200 runs, which tell no such bound.
///
/// Runs above are binomial with a share of 5 % at most; Hahn and Meeker, Statistical
/// Intervals, 1991, section 5.2. The table is of each twentieth number of runs; in between it
/// gives the bound of fewer runs, which is higher.
pub(super) fn least_above(runs: u64) -> Option<u64> {
    *LEAST_ABOVE.get(usize::try_from(runs.min(HELD_RUNS) / TABLED_RUNS).ok()?)?
}

/// Makes the table of [`least_above`], in a few milliseconds, before the first run needs it.
pub(super) fn prepare() {
    LazyLock::force(&LEAST_ABOVE);
}

static LEAST_ABOVE: LazyLock<Vec<Option<u64>>> = LazyLock::new(|| {
    let mut above: Option<u64> = None;
    let entry = |block: u64| {
        let runs = block * TABLED_RUNS;
        // Grows with the runs, by no more than one of `TABLED_RUNS`.
        let more = above.map_or(0, |above| above + 1);
        if runs > 0 && binomial_at_most(more, runs, SLOW_SHARE) <= LEVEL {
            above = Some(more);
        }
        above
    };
    (0..=HELD_RUNS / TABLED_RUNS).map(entry).collect()
});

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// P(X = k) for k from 0 to n, 0 < p < 1.
    fn binomial(n: u64, p: f64) -> Vec<f64> {
        // From the largest on, as the ends may be too small for a number.
        let (mode, odds) = (((n + 1) as f64 * p) as usize, p / (1.0 - p));
        let mut terms = vec![1.0; n as usize + 1];
        for k in mode..n as usize {
            terms[k + 1] = terms[k] * (n as usize - k) as f64 / (k + 1) as f64 * odds;
        }
        for k in (0..mode).rev() {
            terms[k] = terms[k + 1] * (k + 1) as f64 / (n as usize - k) as f64 / odds;
        }
        let sum: f64 = terms.iter().sum();
        terms.iter().map(|term| term / sum).collect()
    }

    #[test]
    fn bounds_are_those_of_the_tables() {
        // The least count over a limit, by adding up the terms.
        for (all, limit, least) in [(100, 0.01, 8), (100, 0.05, 16), (400, 0.02, 22), (1_600, 0.05, 117), (10_000, 0.2, 2_158)] {
            assert!(over_share(least, all, limit, LEVEL) && !over_share(least - 1, all, limit, LEVEL), "{all} {limit}");
        }
        for (those, all, limit, expect) in [(0, 0, 0.0, false), (0, 50, 0.0, false), (1, 50, 0.0, true), (50, 50, 1.0, false)] {
            assert_eq!(over_share(those, all, limit, LEVEL), expect, "{those} {all} {limit}");
        }
        assert!(!over_control((100, 100), (0, 0), 0.1, LEVEL) && !over_control((0, 0), (0, 9), 0.1, LEVEL));
        assert!(over_control((15, 100), (0, 100), 0.0, LEVEL) && !over_control((14, 100), (0, 100), 0.0, LEVEL), "2^-15 < 5e-5 < 2^-14");
    }

    #[test]
    fn the_table_is_of_the_binomial_law() {
        // 0.95^194 < 5e-5 < 0.95^193.
        assert_eq!([0, 19, 199, 200, 219].map(least_above), [None, None, None, Some(0), Some(0)]);
        for runs in (200..=HELD_RUNS).step_by(TABLED_RUNS as usize) {
            let above = least_above(runs).unwrap();
            assert!(binomial_at_most(above, runs, SLOW_SHARE) <= LEVEL && binomial_at_most(above + 1, runs, SLOW_SHARE) > LEVEL, "{runs}");
            assert_eq!(least_above(runs + 19), if runs == HELD_RUNS { least_above(runs) } else { Some(above) });
        }
    }

    proptest! {
        #[test]
        fn a_share_at_its_limit_is_over_it_as_seldom_as_promised(all in 1_u64..400, limit in 0.001_f64..0.999, level in 1e-6_f64..0.1) {
            let terms = binomial(all, limit);
            let rejected: f64 = (0..=all).filter(|those| over_share(*those, all, limit, level)).map(|those| terms[those as usize]).sum();
            prop_assert!(rejected <= level * (1.0 + 1e-9), "{rejected}");
            // The next count is no more too many: its tail is over the level.
            let least = (0..=all).find(|those| over_share(*those, all, limit, level)).unwrap_or(all + 1);
            let tail: f64 = terms[least as usize - 1..].iter().sum();
            prop_assert!(tail > level * (1.0 - 1e-9), "{least} {tail}");
        }

        #[test]
        fn shares_at_the_controls_bound_are_over_it_as_seldom_as_promised(
            all in 1_u64..60, control in 1_u64..60, share in 0.001_f64..0.9, increase in 0.0_f64..2.0, level in 1e-5_f64..0.05,
        ) {
            prop_assume!(share * (1.0 + increase) < 0.95);
            let (own, base) = (binomial(all, share * (1.0 + increase)), binomial(control, share));
            let mut rejected = 0.0;
            for (those, probability) in (0_u64..).zip(&own) {
                for (of_control, other) in (0_u64..).zip(&base) {
                    rejected += if over_control((those, all), (of_control, control), increase, level) { probability * other } else { 0.0 };
                }
            }
            prop_assert!(rejected <= level, "{rejected}");
        }

        #[test]
        fn more_of_those_are_never_less_over(all in 1_u64..2_000, those in 0_u64..2_000, limit in 0.0_f64..=1.0) {
            let those = those.min(all);
            prop_assert!(!over_share(those, all, limit, LEVEL) || those == all || over_share(those + 1, all, limit, LEVEL));
            prop_assert!(!over_share(those, all, limit, LEVEL) || !over_share(those, all, (limit * 2.0 + 0.1).min(1.0), LEVEL) || limit < 1.0);
        }
    }
}
