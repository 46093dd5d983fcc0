//! Tails and quantiles of the distributions that the tests need: to ten digits, for up to a million
//! units; to seven for a billion.
//!
//! The chi-square tail and the normal quantile are those of `statrs`. Its normal tail (relative error
//! 2e-9 at 8 deviations), its incomplete beta function (no more than 140 terms, too few for 1e5 units)
//! and the Student quantile built on it (1e-4 off at 1e6 degrees of freedom) are not exact enough.

use statrs::function::{erf::erfc_inv, gamma};

/// Terms of the continued fraction; it needs about the square root of its larger parameter.
const FRACTION_TERMS_MAX: u32 = 100_000;
const FRACTION_PRECISION: f64 = 1e-16;
/// Newton's method takes under 10 steps, but more in the tails of one or two degrees of freedom.
const NEWTON_STEPS_MAX: u32 = 200;
/// From here on four terms of Stirling's series are exact.
const STIRLING_MIN: f64 = 30.0;

/// P(Z ≥ z) of the standard normal law.
pub fn normal_tail(z: f64) -> f64 {
    if z < 0.0 { 1.0 - normal_tail(-z) } else { chi_square_tail(z * z, 1.0) / 2.0 }
}

/// The z that a standard normal figure stays above with probability `tail`, over 0 to 1.
pub fn normal_upper(tail: f64) -> f64 {
    std::f64::consts::SQRT_2 * erfc_inv(2.0 * tail)
}

/// P(X ≥ x) of the chi-square law, x ≥ 0.
pub fn chi_square_tail(x: f64, degrees: f64) -> f64 {
    match x {
        0.0 => 1.0,
        x if x.is_finite() => gamma::checked_gamma_ur(degrees / 2.0, x / 2.0).unwrap_or(f64::NAN),
        _ => 0.0,
    }
}

/// P(|T| ≥ |t|) of Student's law.
pub fn student_two_sided(t: f64, degrees: f64) -> f64 {
    let (x, y) = student_shares(t, degrees);
    beta_share(degrees / 2.0, 0.5, x, y)
}

/// The t > 0 with P(|T| ≥ t) = `alpha`, over 0 to 1.
///
/// The tail is convex, so that Newton's method climbs to the root from any start below it, such as the
/// normal quantile. The density is `x^(ν/2) y^(1/2) / (B(ν/2, 1/2) t)`.
pub fn student_upper(alpha: f64, degrees: f64) -> f64 {
    let mut t = normal_upper(alpha / 2.0);
    for _ in 0..NEWTON_STEPS_MAX {
        let (x, y) = student_shares(t, degrees);
        let density = beta_kernel(degrees / 2.0, 0.5, x, y) / t;
        let step = (student_two_sided(t, degrees) - alpha) / (2.0 * density);
        t += step;
        if step.abs() <= 1e-14 * t {
            break;
        }
    }
    t
}

/// `ν/(ν + t²)` and `t²/(ν + t²)`, also if the square is 0 or infinite.
fn student_shares(t: f64, degrees: f64) -> (f64, f64) {
    let ratio = t * t / degrees;
    (1.0 / (1.0 + ratio), 1.0 / (1.0 + 1.0 / ratio))
}

/// P(B ≤ successes) of the binomial law, `share` over 0 to 1.
pub fn binomial_at_most(successes: u64, trials: u64, share: f64) -> f64 {
    if successes >= trials {
        return 1.0;
    }
    beta_share((trials - successes) as f64, successes as f64 + 1.0, 1.0 - share, share)
}

/// The regularized incomplete beta function `I_x(a, b)`, where `y = 1 − x` is given too, so that
/// neither loses digits.
///
/// Continued fraction by Lentz's method; Press et al., Numerical Recipes, 3rd edition, 6.4.
fn beta_share(a: f64, b: f64, x: f64, y: f64) -> f64 {
    if x <= 0.0 || y <= 0.0 {
        return if x <= 0.0 { 0.0 } else { 1.0 };
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - beta_share(b, a, y, x);
    }
    beta_kernel(a, b, x, y) / a * beta_fraction(a, b, x)
}

fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    let away_from_zero = |value: f64| if value.abs() < f64::MIN_POSITIVE { f64::MIN_POSITIVE } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for term in 1..=FRACTION_TERMS_MAX {
        let m = f64::from(term);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut last = 1.0;
        for numerator in [even, odd] {
            d = 1.0 / away_from_zero(1.0 + numerator * d);
            c = away_from_zero(1.0 + numerator / c);
            last = c * d;
            fraction *= last;
        }
        if (last - 1.0).abs() <= FRACTION_PRECISION {
            break;
        }
    }
    fraction
}

/// `x^a y^b / B(a, b)` without the cancellation of large logarithms: the saddle-point form of Loader,
/// Fast and Accurate Computation of Binomial Probabilities, 2000.
fn beta_kernel(a: f64, b: f64, x: f64, y: f64) -> f64 {
    let sum = a + b;
    let deviance = |part: f64, share: f64| {
        let by = (sum * share - part) / part;
        // Near 0, the one form keeps the digits; near −1, the other.
        let logarithm = if by > -0.5 { by.ln_1p() } else { (sum * share / part).ln() };
        part * (by - logarithm)
    };
    let exponent = stirling_error(sum) - stirling_error(a) - stirling_error(b) - deviance(a, x) - deviance(b, y);
    (a * b / (sum * std::f64::consts::TAU)).sqrt() * exponent.exp()
}

/// `ln Γ(n + 1)` less Stirling's formula `(n + ½) ln n − n + ½ ln 2π`.
fn stirling_error(n: f64) -> f64 {
    if n < STIRLING_MIN {
        return gamma::ln_gamma(n + 1.0) - (n + 0.5) * n.ln() + n - std::f64::consts::TAU.ln() / 2.0;
    }
    let square = n * n;
    (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1260.0 - 1.0 / (1680.0 * square)) / square) / square) / n
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, ours: f64, theirs: f64) {
        assert!((ours / theirs - 1.0).abs() < 1e-10, "{name}: {ours} is not {theirs}");
    }

    // The expected figures were computed with 40 digits.
    #[test]
    fn tails_are_exact_where_they_are_small() {
        check("normal 1.96", normal_tail(1.96), 0.024_997_895_148_220_436);
        check("normal 8", normal_tail(8.0), 6.220_960_574_271_784e-16);
        check("normal -0.3", normal_tail(-0.3), 0.617_911_422_188_952_6);
        check("chi-square", chi_square_tail(200.0, 9.0), 3.312_992_393_909_553e-38);
        check("student 8", student_two_sided(8.0, 200.0), 2.0 * 4.939_600_454_665_32e-14);
        check("student of few", student_two_sided(0.3, 3.7), 2.0 * 0.390_133_743_565_731_15);
        check("student of many", student_two_sided(2.0, 1e6), 2.0 * 0.022_750_266_925_659_6);
    }

    #[test]
    fn quantiles_undo_tails() {
        for alpha in [0.5, 0.05, 0.001, 1e-9] {
            check("normal", normal_tail(normal_upper(alpha)), alpha);
            for degrees in [1.0, 2.5, 30.0, 1e4, 1e7] {
                check("student", student_two_sided(student_upper(alpha, degrees), degrees), alpha);
            }
        }
    }

    #[test]
    fn binomial_sums_are_those_of_the_terms() {
        for (trials, share) in [(1_u32, 0.5), (7, 0.25), (40, 0.9), (300, 0.01_f64)] {
            let mut term = (1.0 - share).powf(f64::from(trials));
            let mut sum = 0.0;
            for successes in 0..trials {
                sum += term;
                check("binomial", binomial_at_most(successes.into(), trials.into(), share), sum);
                term *= f64::from(trials - successes) / f64::from(successes + 1) * share / (1.0 - share);
            }
        }
        assert_eq!((binomial_at_most(0, 0, 0.5), binomial_at_most(9, 9, 0.5)), (1.0, 1.0));
    }

    #[test]
    fn edges_are_no_exception() {
        assert_eq!((student_two_sided(0.0, 5.0), student_two_sided(f64::MAX, 5.0)), (1.0, 0.0));
        assert_eq!((chi_square_tail(0.0, 3.0), chi_square_tail(f64::INFINITY, 3.0), normal_tail(0.0)), (1.0, 0.0, 0.5));
    }
}
