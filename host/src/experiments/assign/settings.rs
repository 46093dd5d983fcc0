//! What somebody writes of an experiment's assignment, and what of it is allowed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Plan;

/// Buckets of coverage and arms when a plan names no other number.
pub const BUCKETS_DEFAULT: u32 = 10_000;
/// Shares finer than a millionth are not told apart.
pub const BUCKETS_MAX: u32 = 1_000_000;
/// Arms of one experiment; the table of ranges is searched from its start.
pub const ARMS_MAX: usize = 64;

/// What a plan is made of, as somebody writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanSettings {
    pub experiment: String,
    /// Told in every explanation; no hash has it.
    pub version: u32,
    #[serde(default)]
    pub hash: HashChoice,
    /// Of coverage and arms. Two experiments with one salt give their arms alike.
    pub salt: String,
    /// 1 to [`BUCKETS_MAX`]; [`super::growthbook::BUCKETS`] with GrowthBook's hash.
    #[serde(default = "buckets_default")]
    pub buckets: u32,
    #[serde(default)]
    pub layer: Option<LayerRange>,
    #[serde(default)]
    pub holdout: Option<Holdout>,
    /// The share of units that take part, 0 to 1.
    pub coverage: f64,
    /// In the order of their ranges.
    pub arms: Vec<ArmShare>,
}

fn buckets_default() -> u32 {
    BUCKETS_DEFAULT
}

/// Which hash decides layer, coverage and arm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HashChoice {
    /// That of [`super::hash`].
    #[default]
    Xxh3,
    /// GrowthBook's version 2 for the arms, its namespaces for the layer.
    GrowthbookV2,
}

/// The part of a layer that an experiment owns. Everything but `start` and `end` is the
/// same for all experiments of the layer; [`check_layers`] sees to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerRange {
    /// Names the layer; with GrowthBook's hash, the namespace.
    pub salt: String,
    /// 1 to [`BUCKETS_MAX`]; [`super::growthbook::NAMESPACE_BUCKETS`] with GrowthBook's hash.
    pub buckets: u32,
    /// The first bucket.
    pub start: u32,
    /// The first bucket that is not part of it any more.
    pub end: u32,
}

/// Units kept out of all experiments that name the salt. They are found by our own hash,
/// whichever the plan chose, so that they are the same ones everywhere. A larger share
/// holds all units of a smaller one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holdout {
    pub salt: String,
    /// 0 to 1.
    pub share: f64,
}

/// An arm and its weight. Weights need not sum to 1; only their ratio counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArmShare {
    pub key: String,
    /// Above 0.
    pub weight: f64,
}

/// A key of a plan with a value that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` is {value}; allowed: {allowed}")]
pub struct PlanError {
    /// Where it stands, such as `arms[1].weight`.
    pub key: String,
    pub value: String,
    pub allowed: String,
}

pub(super) fn refused(key: impl Into<String>, value: impl ToString, allowed: impl Into<String>) -> PlanError {
    PlanError { key: key.into(), value: value.to_string(), allowed: allowed.into() }
}

/// Sees that experiments of one layer agree on the layer and own no bucket twice.
///
/// # Errors
/// [`PlanError`] that names the second of two plans which do not go together.
pub fn check_layers(plans: &[Plan]) -> Result<(), PlanError> {
    let mut layers: BTreeMap<&str, Vec<(&Plan, &LayerRange)>> = BTreeMap::new();
    for plan in plans {
        let Some(range) = &plan.settings().layer else { continue };
        let others = layers.entry(range.salt.as_str()).or_default();
        for (other, theirs) in others.iter() {
            let [own_name, name] = [plan, other].map(|plan| plan.settings().experiment.as_str());
            let key = |field: &str| format!("{own_name}.{field}");
            if plan.settings().hash != other.settings().hash {
                let allowed = format!("{:?}, the hash of {name} in layer {}", other.settings().hash, range.salt);
                return Err(refused(key("hash"), format!("{:?}", plan.settings().hash), allowed));
            }
            if range.buckets != theirs.buckets {
                let allowed = format!("{}, the buckets of {name} in layer {}", theirs.buckets, range.salt);
                return Err(refused(key("layer.buckets"), range.buckets, allowed));
            }
            if range.start < theirs.end && theirs.start < range.end {
                let allowed = format!("a range outside {}..{}, which {name} owns in layer {}", theirs.start, theirs.end, range.salt);
                return Err(refused(key("layer"), format!("{}..{}", range.start, range.end), allowed));
            }
        }
        others.push((plan, range));
    }
    Ok(())
}

pub(super) fn check_arms(arms: &[ArmShare]) -> Result<(), PlanError> {
    if !(1..=ARMS_MAX).contains(&arms.len()) {
        return Err(refused("arms", format!("{} arms", arms.len()), format!("1 to {ARMS_MAX} arms")));
    }
    for (at, arm) in arms.iter().enumerate() {
        named(&format!("arms[{at}].key"), &arm.key)?;
        if arms[..at].iter().any(|other| other.key == arm.key) {
            return Err(refused(format!("arms[{at}].key"), format!("\"{}\" again", arm.key), "a key that no other arm has"));
        }
        // Far from where a sum would overflow.
        if !(arm.weight > 0.0 && arm.weight <= 1e9) {
            return Err(refused(format!("arms[{at}].weight"), arm.weight, "a number above 0, to 1e9"));
        }
    }
    Ok(())
}

pub(super) fn named(key: &str, value: &str) -> Result<(), PlanError> {
    if value.is_empty() { Err(refused(key, "empty", "a text of one or more characters")) } else { Ok(()) }
}

pub(super) fn share(key: &str, value: f64) -> Result<(), PlanError> {
    if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(refused(key, value, "0 to 1")) }
}

pub(super) fn bucket_count(key: &str, value: u32, only: Option<u32>) -> Result<(), PlanError> {
    match only {
        Some(only) if value != only => Err(refused(key, value, format!("{only} with GrowthBook's hash"))),
        None if !(1..=BUCKETS_MAX).contains(&value) => Err(refused(key, value, format!("1 to {BUCKETS_MAX}"))),
        _ => Ok(()),
    }
}
