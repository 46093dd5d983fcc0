//! What is told of a guardrail that an arm's latest runs breach.

use std::fmt;

use crate::experiments::metric::Guard;

/// An arm's figure that is over its bound by more than chance.
#[derive(Clone, Debug, PartialEq)]
pub struct Breach {
    /// The arm's place in the file; 0 in interleaving.
    pub arm: usize,
    /// The arm's key; `interleave` in interleaving.
    pub variant: String,
    pub metric: Guard,
    /// A share of the runs, or milliseconds.
    pub observed: f64,
    /// The guardrail's limit, or what the control's figure of the same time allows.
    pub allowed: f64,
    /// The latest runs of the arm, that the figure is of.
    pub runs: u64,
    /// The guardrail's, if it is held against the control.
    pub increase_max: Option<f64>,
}

/// `error_rate of the latest 400 runs of arm `20` is 0.085; allowed: 0.02`.
impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Breach { variant, metric, observed, allowed, runs, increase_max, .. } = self;
        let (metric, observed, allowed) = (metric.as_str(), shown(*observed), shown(*allowed));
        write!(f, "{metric} of the latest {runs} runs of arm `{variant}` is {observed}; allowed: {allowed}")?;
        match increase_max {
            Some(increase) if *increase > 0.0 => write!(f, ", {} % over the control", shown(increase * 100.0)),
            Some(_) => f.write_str(", as the control has it"),
            None => Ok(()),
        }
    }
}

/// Three significant digits: more are noise in runs of some hundred.
fn shown(figure: f64) -> f64 {
    format!("{figure:.2e}").parse().unwrap_or(figure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_breach_is_one_sentence() {
        let check = |metric, observed, allowed, increase_max, expect: &str| {
            let breach = Breach { arm: 1, variant: "20".into(), metric, observed, allowed, runs: 400, increase_max };
            assert_eq!(breach.to_string(), expect);
        };
        check(Guard::ErrorRate, 0.085, 0.02, None, "error_rate of the latest 400 runs of arm `20` is 0.085; allowed: 0.02");
        check(
            Guard::LatencyP95Ms,
            1_312.34,
            1_100.0,
            Some(0.1),
            "latency_p95_ms of the latest 400 runs of arm `20` is 1310; allowed: 1100, 10 % over the control",
        );
        check(
            Guard::TrapRate,
            1.0 / 3.0,
            0.0,
            Some(0.0),
            "trap_rate of the latest 400 runs of arm `20` is 0.333; allowed: 0, as the control has it",
        );
    }
}
