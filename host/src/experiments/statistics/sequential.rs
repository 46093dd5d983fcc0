//! Compares the means of two arms, whenever one looks.
//! In: what is kept of the arms' outcomes. Out: the difference with an interval and a p value.
//!
//! An ordinary interval holds for one look at a size fixed beforehand; who looks every day and stops at
//! the first good news is wrong far more often than `alpha`. The intervals of a *confidence sequence*
//! all hold at once: the probability that any of them, at any time, misses the true difference is at
//! most `alpha`. So one may look at any time, stop for any reason, and go on after a decision.
//!
//! Both sequences rest on the same martingale. With the difference `d` of the means and its variance
//! `V = s₁²/n₁ + s₀²/n₀`, the process `d/V` is in the limit a Brownian motion at the times `1/V`, with
//! the true difference as its drift, for arms of any sizes that don't depend on the outcomes. Mixing
//! the likelihood ratio over drifts from a normal law N(0, τ²) gives
//!
//! ```text
//! Λ = √(V / (V + τ²)) · exp(τ² d² / (2 V (V + τ²)))
//! interval:  d ± √(V · (V + τ²)/τ² · (2 ln(1/α) + ln((V + τ²)/V)))
//! p = min(1, 1/Λ),  at most α just when 0 lies outside the interval
//! ```
//!
//! The methods differ in τ² alone, which decides at which sizes the interval is tight, not whether it
//! holds. It has to be chosen before the first look.
//!
//! What holds: the variances are estimated and the outcomes need not be normal, so that the error is at
//! most `alpha` in the limit of many units, for every outcome with a finite variance. [`BURN_IN_UNITS`]
//! says from where on the limit was found near enough. Bounded outcomes and shares of successes are no
//! exception: they are covered in the limit, not for certain. For ratios of sums see the
//! [module](super).

use serde::{Deserialize, Serialize};

use super::{
    OutOfRange, checked_alpha, checked_positive,
    distributions::{student_two_sided, student_upper},
    moments::Moments,
};

/// Units in each arm below which a confidence sequence gives no interval.
///
/// Rare successes in uneven arms decide: a smaller arm that has had none yet shows no variance, and what
/// is skewed no longer cancels between the arms. False positives in per cent, the worst of four settings
/// of the methods, at α = .05, of 2,000 experiments of 10,000 units that are looked at after every one,
/// by the smaller arm's units at the first look:
///
/// | outcome | smaller arm | 20 | 50 | 100 | 250 | 500 |
/// | --- | --- | --- | --- | --- | --- | --- |
/// | normal | 50 % | 4.4 | 4.0 | 3.7 | 3.0 | 2.7 |
/// | normal | 20 % | 5.1 | 4.1 | 3.6 | 3.0 | 2.5 |
/// | exponential | 50 % | 4.8 | 4.0 | 3.6 | 2.8 | 2.3 |
/// | exponential | 20 % | 7.2 | 5.7 | 4.4 | 3.4 | 2.7 |
/// | Bernoulli, 5 % | 50 % | 2.8 | 2.8 | 2.7 | 2.7 | 2.7 |
/// | Bernoulli, 5 % | 20 % | 18.0 | 11.9 | 6.8 | 4.2 | 3.3 |
/// | Bernoulli, 2 % | 50 % | 2.3 | 2.3 | 2.3 | 2.3 | 2.3 |
/// | Bernoulli, 2 % | 20 % | 15.1 | 14.9 | 12.2 | 6.1 | 3.4 |
/// | Bernoulli, 2 % | 10 % | 38.3 | 33.6 | 19.1 | 8.3 | 4.0 |
/// | Bernoulli, 0.5 % | 50 % | 1.2 | 1.2 | 1.2 | 1.2 | 1.2 |
/// | Bernoulli, 0.5 % | 20 % | 11.8 | 11.8 | 11.8 | 11.7 | 7.7 |
///
/// So 500 units suffice for even arms, and for uneven ones if the smaller arm then expects 10 successes. For
/// rarer ones in uneven arms [`SequentialTest::with_burn_in`] waits longer.
pub const BURN_IN_UNITS: u64 = 500;
/// Each step of the search for ρ² divides its error by three or more.
const TUNING_STEPS: u32 = 60;

/// How two means are compared. Sizes are units of both arms together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum SequentialMethod {
    /// The asymptotic confidence sequence, tightest at `target_units`; Waudby-Smith, Arbour, Sinha,
    /// Kennedy and Ramdas, Annals of Statistics 52(6), 2024, theorem 2.2, for the difference of the arms'
    /// means (section 3). `τ² = ρ² · 2 (s₀² + s₁²)`, so that the interval is that of the theorem after
    /// `t = 2 (s₀² + s₁²) / V` units, which is the number of units of both arms if the arms are of
    /// equal size. Uneven arms count as the even arms that would be as precise.
    Asymptotic { target_units: u64 },
    /// The mixture sequential probability ratio test, `τ = effect_scale`: the differences thought likely,
    /// as a standard deviation around 0, in the outcome's unit; Johari, Koomen, Pekelis and Walsh,
    /// Operations Research 70(3), 2022.
    MixtureSprt { effect_scale: f64 },
    /// Welch's t test, Biometrika 34, 1947. It holds for one look, the first one with at least `units`
    /// units; before that there is no interval, and a second look is not covered.
    Fixed { units: u64 },
}

/// A method at a level, both checked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SequentialTest {
    method: SequentialMethod,
    alpha: f64,
    /// Units in each arm.
    burn_in: u64,
    /// See [`tuned_ratio`].
    tuned_ratio: f64,
}

/// What one look says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inference {
    /// Treatment less control, in the outcome's unit.
    pub difference: f64,
    /// The interval's ends.
    pub low: f64,
    pub high: f64,
    /// Of no difference, two-sided, over 0 to 1.
    pub p: f64,
}

/// Why a look says nothing yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoInterval {
    #[error("each arm needs {needed_per_arm} units")]
    TooFewUnits { needed_per_arm: u64 },
    #[error("the look was set for {declared} units")]
    BeforeDeclaredSize { declared: u64 },
    #[error("all outcomes are the same so far; more units are needed")]
    NoVariance,
}

impl SequentialTest {
    /// `alpha` is the probability of an error over all looks, above 0 and at most 0.5.
    pub fn new(method: SequentialMethod, alpha: f64) -> Result<Self, OutOfRange> {
        let alpha = checked_alpha(alpha)?;
        match method {
            SequentialMethod::Asymptotic { target_units } => checked_positive("target_units", target_units as f64)?,
            SequentialMethod::MixtureSprt { effect_scale } => checked_positive("effect_scale", effect_scale * effect_scale)?,
            SequentialMethod::Fixed { units } => checked_positive("units", units as f64)?,
        };
        let burn_in = match method {
            SequentialMethod::Fixed { .. } => 2,
            _ => BURN_IN_UNITS,
        };
        Ok(Self { method, alpha, burn_in, tuned_ratio: tuned_ratio(alpha) })
    }

    /// Gives no interval before each arm has `units`. Fewer than by default have no effect.
    pub fn with_burn_in(self, units: u64) -> Self {
        Self { burn_in: self.burn_in.max(units), ..self }
    }

    /// The same test at another level. What decides at which sizes it is tight stays as it was, so that its
    /// p values stay, too, and agree with the intervals: `p ≤ alpha` where the interval excludes 0.
    pub fn at_level(self, alpha: f64) -> Result<Self, OutOfRange> {
        Ok(Self { alpha: checked_alpha(alpha)?, ..self })
    }

    pub fn method(&self) -> SequentialMethod {
        self.method
    }

    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    /// Units that each arm needs before an interval is given.
    pub fn burn_in(&self) -> u64 {
        self.burn_in
    }

    /// Compares the treatment with the control as they are now.
    pub fn look(&self, control: &Moments, treatment: &Moments) -> Result<Inference, NoInterval> {
        if control.count().min(treatment.count()) < self.burn_in {
            return Err(NoInterval::TooFewUnits { needed_per_arm: self.burn_in });
        }
        self.look_at_once(control, treatment)
    }

    /// A look without the burn-in.
    pub(super) fn look_at_once(&self, control: &Moments, treatment: &Moments) -> Result<Inference, NoInterval> {
        let arms = Arms::new(control, treatment).ok_or(NoInterval::NoVariance)?;
        match self.method {
            SequentialMethod::Fixed { units } if control.count().saturating_add(treatment.count()) < units => {
                Err(NoInterval::BeforeDeclaredSize { declared: units })
            }
            SequentialMethod::Fixed { .. } => Ok(arms.welch(self.alpha)),
            _ => Ok(arms.mixture(self.mixture_variance(arms.unit_variances), self.alpha)),
        }
    }

    /// τ²; `unit_variances` is `s₀² + s₁²`. The test of a fixed size has none.
    pub(super) fn mixture_variance(&self, unit_variances: f64) -> f64 {
        match self.method {
            SequentialMethod::Asymptotic { target_units } => self.tuned_ratio / target_units as f64 * 2.0 * unit_variances,
            SequentialMethod::MixtureSprt { effect_scale } => effect_scale * effect_scale,
            SequentialMethod::Fixed { .. } => f64::NAN,
        }
    }
}

impl Inference {
    /// The p value of all looks so far: the smallest one, which is as valid (Johari et al.).
    /// Not for the test of a fixed size, which has one look.
    pub fn running_p(&self, earlier: Option<f64>) -> f64 {
        earlier.map_or(self.p, |earlier| earlier.min(self.p))
    }

    /// Whether the interval excludes 0.
    pub fn is_significant(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

/// Half the interval's width: `√(V (V + τ²)/τ² · (2 ln(1/α) + ln((V + τ²)/V)))`.
pub(super) fn mixture_margin(variance: f64, mixture_variance: f64, alpha: f64) -> f64 {
    let ratio = mixture_variance / variance;
    (variance * (1.0 + 1.0 / ratio) * (ratio.ln_1p() - 2.0 * alpha.ln())).sqrt()
}

/// `ρ² t`, the same for all `t`, for which the sequence is tightest at `t`: `−W₋₁(−α²/e) − 1` in terms of
/// Lambert's function (Waudby-Smith et al., appendix), or the `y` with `y = ln(1 + y) − 2 ln α`.
pub(super) fn tuned_ratio(alpha: f64) -> f64 {
    let floor = -2.0 * alpha.ln();
    (0..TUNING_STEPS).fold(floor, |y, _| floor + y.ln_1p())
}

/// Two arms with a variance.
struct Arms {
    difference: f64,
    /// Of the arms' means.
    variances: [f64; 2],
    /// `s₀² + s₁²`.
    unit_variances: f64,
    counts: [u64; 2],
}

impl Arms {
    fn new(control: &Moments, treatment: &Moments) -> Option<Self> {
        let arms = Self {
            difference: treatment.mean()? - control.mean()?,
            variances: [control.mean_variance()?, treatment.mean_variance()?],
            unit_variances: control.variance()? + treatment.variance()?,
            counts: [control.count(), treatment.count()],
        };
        // So small that its square vanishes, a variance is rounding.
        (arms.variance() > f64::MIN_POSITIVE.sqrt()).then_some(arms)
    }

    /// Of the difference.
    fn variance(&self) -> f64 {
        self.variances.iter().sum()
    }

    fn mixture(&self, mixture_variance: f64, alpha: f64) -> Inference {
        let variance = self.variance();
        let ratio = mixture_variance / variance;
        let evidence = self.difference * self.difference / variance / (2.0 * (1.0 + 1.0 / ratio)) - ratio.ln_1p() / 2.0;
        self.inference(mixture_margin(variance, mixture_variance, alpha), (-evidence).exp().min(1.0))
    }

    /// The degrees of freedom are those of Welch and Satterthwaite.
    fn welch(&self, alpha: f64) -> Inference {
        let error = self.variance().sqrt();
        let shares = self.variances.map(|variance| variance / self.variance());
        let degrees = 1.0 / shares.iter().zip(self.counts).map(|(share, count)| share * share / (count - 1) as f64).sum::<f64>();
        self.inference(student_upper(alpha, degrees) * error, student_two_sided(self.difference / error, degrees))
    }

    fn inference(&self, margin: f64, p: f64) -> Inference {
        Inference { difference: self.difference, low: self.difference - margin, high: self.difference + margin, p }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ASYMPTOTIC: SequentialMethod = SequentialMethod::Asymptotic { target_units: 10_000 };
    const MIXTURE: SequentialMethod = SequentialMethod::MixtureSprt { effect_scale: 0.1 };

    fn test(method: SequentialMethod) -> SequentialTest {
        SequentialTest::new(method, 0.05).unwrap()
    }

    /// `count` outcomes of the given mean, half of them above it by `deviation` and half below.
    fn arm(count: u64, mean: f64, deviation: f64) -> Moments {
        let outcomes: Vec<f64> = (0..count).map(|unit| if unit % 2 == 0 { mean + deviation } else { mean - deviation }).collect();
        Moments::of(&outcomes).unwrap()
    }

    #[test]
    fn the_interval_is_that_of_the_paper() {
        // Theorem 2.2 with σ² = 2 (s₀² + s₁²), t = n₀ + n₁ and two even arms.
        let (control, treatment) = (arm(2_000, 0.0, 1.0), arm(2_000, 0.02, 3.0));
        let rho_squared = tuned_ratio(0.05) / 10_000.0;
        let (t, sigma) = (4_000.0, (2.0 * (control.variance().unwrap() + treatment.variance().unwrap())).sqrt());
        let margin = sigma * (2.0 * (t * rho_squared + 1.0) / (t * t * rho_squared) * ((t * rho_squared + 1.0).sqrt() / 0.05).ln()).sqrt();
        let ours = test(ASYMPTOTIC).look(&control, &treatment).unwrap();
        assert!((ours.high - ours.difference - margin).abs() < 1e-12, "{ours:?} {margin}");
        assert!((ours.difference - ours.low - margin).abs() < 1e-12);
    }

    #[test]
    fn the_tuning_minimizes_the_margin_at_the_target() {
        for alpha in [0.5, 0.05, 0.001] {
            let at = |ratio: f64| mixture_margin(1.0, ratio, alpha);
            let best = tuned_ratio(alpha);
            assert!(at(best) < at(best * 1.01) && at(best) < at(best / 1.01), "{alpha}: {best}");
        }
    }

    #[test]
    fn no_interval_without_units_or_variance() {
        let cases = [
            (ASYMPTOTIC, arm(0, 0.0, 1.0), NoInterval::TooFewUnits { needed_per_arm: BURN_IN_UNITS }),
            (MIXTURE, arm(BURN_IN_UNITS - 1, 0.0, 1.0), NoInterval::TooFewUnits { needed_per_arm: BURN_IN_UNITS }),
            (MIXTURE, arm(1_000, 2.0, 0.0), NoInterval::NoVariance),
            (SequentialMethod::Fixed { units: 100 }, arm(1, 0.0, 1.0), NoInterval::TooFewUnits { needed_per_arm: 2 }),
            (SequentialMethod::Fixed { units: 100 }, arm(49, 0.0, 1.0), NoInterval::BeforeDeclaredSize { declared: 100 }),
        ];
        for (method, arm, expected) in cases {
            assert_eq!(test(method).look(&arm, &arm), Err(expected), "{method:?}");
        }
        let patient = test(MIXTURE).with_burn_in(1_001);
        assert_eq!(patient.look(&arm(1_000, 0.0, 1.0), &arm(1_000, 0.0, 1.0)), Err(NoInterval::TooFewUnits { needed_per_arm: 1_001 }));
        assert_eq!(test(MIXTURE).with_burn_in(3), test(MIXTURE));
    }

    #[test]
    fn settings_are_checked() {
        let cases = [
            (ASYMPTOTIC, 0.0),
            (ASYMPTOTIC, 0.6),
            (ASYMPTOTIC, f64::NAN),
            (SequentialMethod::Asymptotic { target_units: 0 }, 0.05),
            (SequentialMethod::MixtureSprt { effect_scale: 0.0 }, 0.05),
            (SequentialMethod::MixtureSprt { effect_scale: f64::INFINITY }, 0.05),
            (SequentialMethod::Fixed { units: 0 }, 0.05),
        ];
        for (method, alpha) in cases {
            assert!(SequentialTest::new(method, alpha).is_err(), "{method:?} at {alpha}");
        }
    }

    #[test]
    fn methods_are_written_in_snake_case() {
        assert_eq!(serde_json::to_string(&MIXTURE).unwrap(), r#"{"method":"mixture_sprt","effect_scale":0.1}"#);
        assert_eq!(serde_json::from_str::<SequentialMethod>(r#"{"method":"asymptotic","target_units":10000}"#).unwrap(), ASYMPTOTIC);
    }

    #[test]
    fn looking_always_costs_width() {
        let (control, treatment) = (arm(5_000, 0.0, 1.0), arm(5_000, 0.1, 1.0));
        let width = |method| {
            let Inference { low, high, .. } = test(method).look(&control, &treatment).unwrap();
            high - low
        };
        let fixed = width(SequentialMethod::Fixed { units: 10_000 });
        let sequential = width(ASYMPTOTIC);
        assert!(sequential > 1.5 * fixed && sequential < 1.6 * fixed, "{sequential} and {fixed}");
    }

    proptest! {
        #[test]
        fn p_agrees_with_the_interval(mean in -0.5_f64..0.5, deviation in 0.01_f64..10.0, sizes in (500_u64..2_000, 500_u64..2_000)) {
            let (control, treatment) = (arm(sizes.0, 0.0, 1.0), arm(sizes.1, mean, deviation));
            for method in [ASYMPTOTIC, MIXTURE, SequentialMethod::Fixed { units: 2 }] {
                let there = test(method).look(&control, &treatment).unwrap();
                prop_assert!(there.p >= 0.0 && there.p <= 1.0 && there.low < there.high);
                prop_assert_eq!(there.is_significant(), there.p < 0.05, "{:?}", there);
                let back = test(method).look(&treatment, &control).unwrap();
                prop_assert!((there.low + back.high).abs() < 1e-9 && (there.p - back.p).abs() < 1e-9);
                prop_assert_eq!(there.running_p(Some(0.01)), there.p.min(0.01));
            }
        }
    }
}
