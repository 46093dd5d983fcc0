//! Tells which of two interleaved rankings is preferred.
//! In: for each unit, the clicks that each ranking earned. Out: shares, a test and a confidence sequence.
//!
//! A unit prefers the ranking that earned more of its clicks, whatever their number, so that busy units
//! count no more than others; Chapelle, Joachims, Radlinski and Yue, TOIS 30(1), 2012. Without
//! a difference, a unit that decides is as likely to prefer the one as the other: all that is tested is
//! a coin, and the errors hold exactly, at any size.

use serde::{Deserialize, Serialize};
use statrs::function::beta::ln_beta;

use super::{OutOfRange, checked_alpha, checked_positive, distributions::binomial_at_most, sequential::tuned_ratio};

/// Halvings that bring an end of an interval to its last digits.
const HALVINGS: u32 = 60;

/// Units by the ranking that they prefer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preferences {
    /// Units that prefer the treatment, or the control, or neither.
    pub wins: u64,
    pub losses: u64,
    pub ties: u64,
}

/// What the units' preferences say now.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Preference {
    /// Wins among the units that decide, over 0 to 1, ½ without a difference; none if no unit decides.
    pub share: Option<f64>,
    /// `(wins + ties/2) / units − ½`, from −½ to ½ (Chapelle et al.); none of no units. Ties pull
    /// it to 0.
    pub delta: Option<f64>,
    /// Of the sign test, two-sided and exact: valid for one look at a size fixed beforehand.
    pub sign_p: f64,
    /// The confidence sequence of the share, valid at all looks together: 0 to 1 at first.
    pub low: f64,
    pub high: f64,
    /// Valid at every look.
    pub p: f64,
}

/// A confidence sequence for the share of wins, with checked settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PreferenceTest {
    alpha: f64,
    /// Of the mixture Beta(a, a), at least 1.
    concentration: f64,
}

impl Preferences {
    /// Counts one more unit by the clicks that the rankings earned from it.
    pub fn push(&mut self, control_clicks: u64, treatment_clicks: u64) {
        let counted = match treatment_clicks.cmp(&control_clicks) {
            std::cmp::Ordering::Greater => &mut self.wins,
            std::cmp::Ordering::Less => &mut self.losses,
            std::cmp::Ordering::Equal => &mut self.ties,
        };
        *counted = counted.saturating_add(1);
    }

    pub fn merge(&mut self, other: &Self) {
        self.wins = self.wins.saturating_add(other.wins);
        self.losses = self.losses.saturating_add(other.losses);
        self.ties = self.ties.saturating_add(other.ties);
    }

    /// Units that decide.
    fn decided(&self) -> f64 {
        self.wins as f64 + self.losses as f64
    }

    fn share(&self) -> Option<f64> {
        (self.decided() > 0.0).then(|| self.wins as f64 / self.decided())
    }

    fn delta(&self) -> Option<f64> {
        let units = self.decided() + self.ties as f64;
        (units > 0.0).then(|| (self.wins as f64 - self.losses as f64) / (2.0 * units))
    }

    fn sign_p(&self) -> f64 {
        let fewer = self.wins.min(self.losses);
        (2.0 * binomial_at_most(fewer, self.wins.saturating_add(self.losses), 0.5)).min(1.0)
    }
}

impl PreferenceTest {
    /// After about `target_units` units that decide, the fewest wins suffice to tell the share from ½. The
    /// mixture has the variance 1/(4 (2a + 1)), which is that of the share of `2a + 1` coins, and the best
    /// ratio of the target to them is that of the [means](super::sequential). A wrong target costs units,
    /// not validity.
    pub fn new(alpha: f64, target_units: u64) -> Result<Self, OutOfRange> {
        let alpha = checked_alpha(alpha)?;
        let target = checked_positive("target_units", target_units as f64)?;
        Ok(Self { alpha, concentration: ((target / tuned_ratio(alpha) - 1.0) / 2.0).max(1.0) })
    }

    /// The same test at another level. Its mixture stays as it was, so that its p values stay, too, and agree
    /// with the intervals.
    pub fn at_level(self, alpha: f64) -> Result<Self, OutOfRange> {
        Ok(Self { alpha: checked_alpha(alpha)?, ..self })
    }

    /// The units' preferences as they are now. With w wins and l losses
    ///
    /// ```text
    /// M(q) = B(a + w, a + l) / (B(a, a) q^w (1 − q)^l)
    /// ```
    ///
    /// is a martingale if q is the true share, and exceeds 1/α at any time with probability α at most
    /// (Ville). The interval holds the q for which it does not; Robbins, Annals of Mathematical
    /// Statistics 41, 1970; Howard, Ramdas, McAuliffe and Sekhon, Annals of Statistics 49, 2021.
    /// `p = min(1, 1/M(½))`.
    pub fn look(&self, preferences: &Preferences) -> Preference {
        let (low, high) = self.interval(preferences);
        Preference {
            share: preferences.share(),
            delta: preferences.delta(),
            sign_p: preferences.sign_p(),
            low,
            high,
            p: (-self.log_evidence(preferences, 0.5)).exp().min(1.0),
        }
    }

    /// Whether the evidence against ½ suffices: `p ≤ α`.
    pub(super) fn is_decided(&self, preferences: &Preferences) -> bool {
        self.log_evidence(preferences, 0.5) >= -self.alpha.ln()
    }

    /// `ln M(q)`, q over 0 to 1.
    pub(super) fn log_evidence(&self, preferences: &Preferences, share: f64) -> f64 {
        let (wins, losses, a) = (preferences.wins as f64, preferences.losses as f64, self.concentration);
        ln_beta(a + wins, a + losses) - ln_beta(a, a) - wins * share.ln() - losses * (-share).ln_1p()
    }

    /// The evidence against q grows with the distance from the observed share.
    fn interval(&self, preferences: &Preferences) -> (f64, f64) {
        let Some(share) = preferences.share() else { return (0.0, 1.0) };
        let kept = |q: f64| self.log_evidence(preferences, q) < -self.alpha.ln();
        let end = |mut outside: f64| {
            let mut inside = share;
            for _ in 0..HALVINGS {
                let middle = inside.midpoint(outside);
                if kept(middle) { inside = middle } else { outside = middle }
            }
            outside
        };
        let low = if preferences.wins == 0 { 0.0 } else { end(0.0) };
        let high = if preferences.losses == 0 { 1.0 } else { end(1.0) };
        (low, high)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts(wins: u64, losses: u64, ties: u64) -> Preferences {
        Preferences { wins, losses, ties }
    }

    #[test]
    fn a_unit_counts_once() {
        let mut preferences = Preferences::default();
        for (control, treatment) in [(0, 0), (1, 0), (0, 7), (3, 3), (2, 5)] {
            preferences.push(control, treatment);
        }
        assert_eq!(preferences, counts(2, 1, 2));
        preferences.merge(&counts(1, 1, 1));
        assert_eq!(preferences, counts(3, 2, 3));
    }

    #[test]
    fn scores_and_sign_test() {
        let test = PreferenceTest::new(0.05, 1_000).unwrap();
        for (preferences, share, delta, sign_p) in [
            (counts(0, 0, 0), None, None, 1.0),
            (counts(0, 0, 4), None, Some(0.0), 1.0),
            (counts(6, 0, 0), Some(1.0), Some(0.5), 2.0 / 64.0),
            (counts(0, 6, 6), Some(0.0), Some(-0.25), 2.0 / 64.0),
            (counts(3, 1, 0), Some(0.75), Some(0.25), 2.0 * 5.0 / 16.0),
            (counts(5, 5, 0), Some(0.5), Some(0.0), 1.0),
        ] {
            let look = test.look(&preferences);
            assert_eq!((look.share, look.delta), (share, delta), "{preferences:?}");
            assert!((look.sign_p - sign_p).abs() < 1e-12, "{look:?}");
        }
    }

    #[test]
    fn the_uniform_mixture_is_that_of_robbins() {
        // M(q) = 1 / ((n + 1) C(n, w) q^w (1 − q)^l): 1/(11 · 210 · 2^−10) for 4 of 10.
        let test = PreferenceTest { alpha: 0.05, concentration: 1.0 };
        let evidence = test.log_evidence(&counts(4, 6, 0), 0.5);
        assert!((evidence + (11.0_f64 * 210.0 / 1_024.0).ln()).abs() < 1e-12);
        // All of 8 won: 2^8 / 9 > 20.
        let look = test.look(&counts(8, 0, 0));
        assert!((look.p - 9.0 / 256.0).abs() < 1e-12 && look.low > 0.5 && look.high == 1.0, "{look:?}");
        // 1 / (9 q^8) = 20.
        assert!((look.low - (1.0_f64 / 180.0).powf(0.125)).abs() < 1e-12, "{look:?}");
    }

    #[test]
    fn at_the_target_the_fewest_wins_suffice() {
        let wins_needed = |target_units: u64| {
            let test = PreferenceTest::new(0.05, target_units).unwrap();
            (5_000..10_000).find(|&wins| test.look(&counts(wins, 10_000 - wins, 0)).p <= 0.05).unwrap()
        };
        // 3.03 standard errors of 50 wins each, as for means.
        assert_eq!((wins_needed(10_000), wins_needed(500), wins_needed(200_000)), (5_152, 5_168, 5_234));
    }

    #[test]
    fn settings_are_checked() {
        assert!(PreferenceTest::new(0.0, 100).is_err() && PreferenceTest::new(0.05, 0).is_err());
    }

    proptest! {
        #[test]
        fn intervals_hold_the_share_and_agree_with_p(wins in 0_u64..5_000, losses in 0_u64..5_000, target in 1_u64..100_000) {
            let test = PreferenceTest::new(0.05, target).unwrap();
            let look = test.look(&counts(wins, losses, 3));
            prop_assert!(look.low >= 0.0 && look.high <= 1.0 && look.p >= 0.0 && look.p <= 1.0);
            prop_assert!(look.share.is_none_or(|share| look.low <= share && share <= look.high));
            let excluded = look.low > 0.5 || look.high < 0.5;
            prop_assert_eq!(excluded, look.p < 0.05, "{:?}", look);
            let back = test.look(&counts(losses, wins, 3));
            prop_assert!((look.low + back.high - 1.0).abs() < 1e-9 && (look.p - back.p).abs() <= 1e-9);
        }
    }
}
