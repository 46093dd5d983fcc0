//! How the scores of one run are spread.

/// Mean and deviation of a run's scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distribution {
    pub mean: f64,
    /// The standard deviation of a sample (n − 1), at least 0; 0 for one score.
    pub deviation: f64,
}

impl Distribution {
    /// Of finite scores; `None` without any.
    pub fn of(scores: &[f32]) -> Option<Distribution> {
        if scores.is_empty() {
            return None;
        }
        let count = scores.len() as f64;
        // Equal scores of 32 bits add up without rounding in 64, so that their mean is
        // the score itself and their deviation exactly 0.
        let mean = scores.iter().map(|&score| f64::from(score)).sum::<f64>() / count;
        let squares: f64 = scores.iter().map(|&score| (f64::from(score) - mean).powi(2)).sum();
        let variance = if scores.len() > 1 { squares / (count - 1.0) } else { 0.0 };
        Some(Distribution { mean, deviation: variance.sqrt() })
    }

    /// `(s − (μ − 3σ)) / 6σ`: ½ at the mean, 0 and 1 three deviations off. Without a
    /// deviation every score is as good as any other: ½.
    pub fn normalize(&self, score: f32) -> f64 {
        if self.deviation == 0.0 {
            return 0.5;
        }
        (f64::from(score) - (self.mean - 3.0 * self.deviation)) / (6.0 * self.deviation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_sample_deviation() {
        let check = |scores: &[f32], mean: f64, deviation: f64| {
            let distribution = Distribution::of(scores).expect("scores");
            assert!((distribution.mean - mean).abs() < 1e-12, "{scores:?}: {distribution:?}");
            assert!((distribution.deviation - deviation).abs() < 1e-12, "{scores:?}: {distribution:?}");
        };
        check(&[3.0, 2.0, 1.0], 2.0, 1.0);
        check(&[4.0, 2.0], 3.0, 2.0_f64.sqrt());
        check(&[7.0], 7.0, 0.0);
        check(&[-1.0, 1.0, 0.0, 0.0], 0.0, (2.0_f64 / 3.0).sqrt());
        check(&[f32::MAX, f32::MAX], f32::MAX.into(), 0.0);
        assert_eq!(Distribution::of(&[]), None);
    }

    #[test]
    fn equal_scores_have_no_deviation_at_all() {
        for count in [2, 3, 7, 1_000] {
            let distribution = Distribution::of(&vec![0.1; count]).expect("scores");
            assert_eq!((distribution.deviation, distribution.normalize(0.1)), (0.0, 0.5), "{count}");
        }
    }

    #[test]
    fn three_deviations_off_is_nought_or_one() {
        let distribution = Distribution { mean: 2.0, deviation: 1.0 };
        let check = |score, expected: f64| assert!((distribution.normalize(score) - expected).abs() < 1e-12, "{score}");
        check(2.0, 0.5);
        check(-1.0, 0.0);
        check(5.0, 1.0);
        check(8.0, 1.5);
    }
}
