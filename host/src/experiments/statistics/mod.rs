//! The statistics of online experiments: is one arm better than another, by how much, and may the
//! answer be read today.
//!
//! | question | file |
//! | --- | --- |
//! | what is kept of the units' outcomes | [`moments`] |
//! | how do two means differ, whenever one looks | [`sequential`] |
//! | how much noise does the time before the experiment explain | [`cuped`] |
//! | did the units arrive in the shares they were promised | [`ratio`] |
//! | what remains of many p values | [`multiplicity`] |
//! | how many units will it take | [`power`] |
//! | where does a latency percentile lie | [`percentile`] |
//! | which of two interleaved rankings is preferred | [`preference`] |
//! | how many units will that take | [`preference_power`] |
//!
//! The unit is what was assigned to an arm: a user or a session, not a click. Every test here takes
//! one outcome per unit, independent of the other units', final when it is counted, and counts all
//! units that were assigned. Units that are left out because of what the arm did to them, or outcomes
//! that go on growing, void what is promised about errors.
//!
//! A ratio of two sums over units, such as clicks per query, is no mean over units. It becomes one,
//! to first order, by giving each unit the outcome `clicks − R · queries` with the same `R`, the ratio
//! in the control arm, for all units (the delta method; Deng, Knoblich and Lu, KDD 2018;
//! Budylin et al., WSDM 2018).
//!
//! Nothing here panics on empty, constant or non-finite figures. Random numbers have fixed seeds.

pub mod cuped;
mod distributions;
pub mod moments;
pub mod multiplicity;
pub mod percentile;
pub mod power;
pub mod preference;
pub mod preference_power;
pub mod ratio;
#[cfg(test)]
mod reference;
pub mod sequential;
#[cfg(test)]
mod simulations;

pub(super) use distributions::binomial_at_most;

/// A setting lies outside its range; it has to be changed.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{name} is {value}, but has to be {allowed}")]
pub struct OutOfRange {
    pub name: &'static str,
    pub value: f64,
    pub allowed: &'static str,
}

/// A figure is infinite or not a number, or too large to be squared. It has to be left out or mended
/// where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a figure is not finite, or too large to compute with")]
pub struct NotFinite;

/// Above one half an error is no exception any more.
fn checked_alpha(alpha: f64) -> Result<f64, OutOfRange> {
    let allowed = alpha > 0.0 && alpha <= 0.5;
    if allowed { Ok(alpha) } else { Err(OutOfRange { name: "alpha", value: alpha, allowed: "above 0 and at most 0.5" }) }
}

fn checked_share(name: &'static str, share: f64) -> Result<f64, OutOfRange> {
    let allowed = share > 0.0 && share < 1.0;
    if allowed { Ok(share) } else { Err(OutOfRange { name, value: share, allowed: "between 0 and 1" }) }
}

fn checked_positive(name: &'static str, value: f64) -> Result<f64, OutOfRange> {
    let allowed = value > 0.0 && value.is_finite();
    if allowed { Ok(value) } else { Err(OutOfRange { name, value, allowed: "positive and finite" }) }
}
