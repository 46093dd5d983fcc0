//! Decides which arm of an experiment a unit gets. In: a checked plan and the unit's
//! value. Out: the arm, or why there is none, with every bucket that was drawn.
//!
//! Nothing is stored: the same plan and unit give the same answer on every machine. A
//! unit passes, in this order,
//!
//! 1. the hold-out: its units are in no experiment that names it;
//! 2. the layer: experiments of a layer own ranges of its buckets that do not overlap,
//!    so that a unit is in one of them at most;
//! 3. the coverage: the unit is in when its bucket is below coverage × buckets. Growing
//!    coverage moves nobody who is in;
//! 4. the arms: they divide all buckets by their weights, whatever the coverage is.
//!
//! Each has its own hash ([`hash`]), so that none tells anything about another. Only the
//! salts decide: a new version of a plan keeps everybody's arm as long as its salt and
//! weights stay. Other weights do move units between arms; whoever changes them in a
//! running experiment takes a new salt, which draws everybody anew.
//!
//! A plan may use [`growthbook`]'s hash instead. There, one hash decides coverage and
//! arm: an arm has the first coverage × weight of the buckets of its weight, which moves
//! nobody when coverage grows either.

mod explain;
pub mod growthbook;
pub mod hash;
mod settings;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use self::explain::{Draw, Draws, Explanation};
use self::hash::{Bucket, BucketRange, Purpose, Salted};
pub use self::settings::{
    ARMS_MAX, ArmShare, BUCKETS_DEFAULT, BUCKETS_MAX, HashChoice, Holdout, LayerRange, PlanError, PlanSettings, check_layers,
};
use self::settings::{bucket_count, check_arms, named, refused, share};

/// Buckets of every hold-out. It is the same for all plans, so that a share is the same
/// units in each of them.
pub const HOLDOUT_BUCKETS: u32 = 10_000;

/// A plan that was checked: every share is turned into buckets.
#[derive(Clone, Debug)]
pub struct Plan {
    settings: PlanSettings,
    layer: Option<Layer>,
    holdout: Option<(Salted, BucketRange)>,
    drawing: Drawing,
    /// One per arm, ascending, without overlap.
    arms: Vec<BucketRange>,
}

#[derive(Clone, Debug)]
enum Layer {
    Own { hash: Salted, buckets: u32, range: BucketRange },
    Namespace { name: String, range: BucketRange },
}

/// How coverage and arm are drawn.
#[derive(Clone, Debug)]
enum Drawing {
    Own { coverage: Salted, covered: BucketRange, arm: Salted },
    Growthbook,
}

/// What became of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    #[serde(flatten)]
    pub status: Status,
    pub buckets: Buckets,
}

/// In an arm, or the first reason why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    /// `index` counts the plan's arms from 0; [`Plan::arm_key`] names it.
    In {
        index: usize,
    },
    /// The unit's value is empty, so nothing was drawn.
    NoUnit,
    HeldOut,
    /// Another experiment may own the unit.
    OutsideLayer,
    NotCovered,
}

/// The buckets drawn, each `None` where the plan has no such step. All are drawn even
/// when the first one decides, so that an audit sees where the unit would have been.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buckets {
    pub holdout: Option<Bucket>,
    pub layer: Option<Bucket>,
    /// `None` with GrowthBook's hash, whose arm bucket decides coverage, too.
    pub coverage: Option<Bucket>,
    pub arm: Option<Bucket>,
}

impl Assignment {
    /// The arm's index, if the unit is in.
    pub fn arm(&self) -> Option<usize> {
        if let Status::In { index } = self.status { Some(index) } else { None }
    }
}

impl Plan {
    /// # Errors
    /// [`PlanError`] for the first key whose value is not allowed.
    pub fn new(settings: PlanSettings) -> Result<Plan, PlanError> {
        named("experiment", &settings.experiment)?;
        named("salt", &settings.salt)?;
        share("coverage", settings.coverage)?;
        let foreign = settings.hash == HashChoice::GrowthbookV2;
        bucket_count("buckets", settings.buckets, foreign.then_some(growthbook::BUCKETS))?;
        check_arms(&settings.arms)?;
        let weights: Vec<f64> = settings.arms.iter().map(|arm| arm.weight).collect();
        let arms = if foreign { growthbook_arms(settings.coverage, &weights)? } else { arm_ranges(&weights, settings.buckets) };
        // GrowthBook's arms are empty at a coverage of 0, which is what it says.
        if let Some(at) = arms.iter().position(|range| range.start == range.end).filter(|_| !foreign) {
            let allowed = format!("weights that give every arm at least one of {} buckets", settings.buckets);
            return Err(refused(format!("arms[{at}].weight"), settings.arms[at].weight, allowed));
        }
        let drawing = if foreign {
            Drawing::Growthbook
        } else {
            Drawing::Own {
                coverage: Salted::new(Purpose::Coverage, &settings.salt),
                covered: BucketRange { start: 0, end: boundary(settings.coverage, settings.buckets) },
                arm: Salted::new(Purpose::Arm, &settings.salt),
            }
        };
        let layer = settings.layer.as_ref().map(|range| checked_layer(range, foreign)).transpose()?;
        let holdout = settings.holdout.as_ref().map(checked_holdout).transpose()?;
        Ok(Plan { settings, layer, holdout, drawing, arms })
    }

    /// The arm of a unit. An empty value is no unit: it would put everyone who has none
    /// into one arm.
    pub fn assign(&self, unit: &str) -> Assignment {
        if unit.is_empty() {
            return Assignment { status: Status::NoUnit, buckets: Buckets::default() };
        }
        let held_out = self.holdout.as_ref().map(|(hash, range)| within(hash.bucket(unit, HOLDOUT_BUCKETS), *range));
        let in_layer = self.layer.as_ref().map(|layer| match layer {
            Layer::Own { hash, buckets, range } => within(hash.bucket(unit, *buckets), *range),
            Layer::Namespace { name, range } => within(growthbook::namespace_bucket(name, unit), *range),
        });
        let (covered, arm) = match &self.drawing {
            Drawing::Own { coverage, covered, arm } => {
                let buckets = self.settings.buckets;
                (Some(within(coverage.bucket(unit, buckets), *covered)), arm.bucket(unit, buckets))
            }
            Drawing::Growthbook => (None, growthbook::bucket(&self.settings.salt, unit)),
        };
        let status = match (held_out, in_layer, covered, self.arms.iter().position(|range| range.contains(arm))) {
            (Some((_, true)), _, _, _) => Status::HeldOut,
            (_, Some((_, false)), _, _) => Status::OutsideLayer,
            (_, _, Some((_, false)), _) | (_, _, _, None) => Status::NotCovered,
            (_, _, _, Some(index)) => Status::In { index },
        };
        let bucket = |drawn: Option<(Bucket, bool)>| drawn.map(|(bucket, _)| bucket);
        let buckets = Buckets { holdout: bucket(held_out), layer: bucket(in_layer), coverage: bucket(covered), arm: Some(arm) };
        Assignment { status, buckets }
    }

    /// The same as [`Plan::assign`], with names, ranges and a sentence.
    pub fn explain(&self, unit: &str) -> Explanation {
        Explanation::of(self, unit)
    }

    /// The key of the arm at `index`; `None` past the last one.
    pub fn arm_key(&self, index: usize) -> Option<&str> {
        self.settings.arms.get(index).map(|arm| arm.key.as_str())
    }

    /// The buckets of each arm, in the plan's order.
    pub fn arm_ranges(&self) -> &[BucketRange] {
        &self.arms
    }

    /// What the plan was made of.
    pub fn settings(&self) -> &PlanSettings {
        &self.settings
    }
}

fn within(bucket: Bucket, range: BucketRange) -> (Bucket, bool) {
    (bucket, range.contains(bucket))
}

/// The buckets of each arm: the end of one is the start of the next, the last one ends
/// at `buckets`. An end is the sum of the weights so far over the sum of all, in the
/// order of the arms, × buckets, rounded as [`boundary`] does.
fn arm_ranges(weights: &[f64], buckets: u32) -> Vec<BucketRange> {
    let total: f64 = weights.iter().sum();
    let mut sum = 0.0;
    let mut start = 0;
    let mut ranges: Vec<BucketRange> = weights
        .iter()
        .map(|weight| {
            sum += weight;
            let end = boundary(sum / total, buckets);
            BucketRange { start: std::mem::replace(&mut start, end), end }
        })
        .collect();
    if let Some(last) = ranges.last_mut() {
        last.end = buckets;
    }
    ranges
}

/// share × buckets, rounded to the nearest whole number, halves up. Both steps are exact
/// in IEEE 754 doubles, so a boundary is the same on every machine; rounding down would
/// make 28 of 0.29 × 100. `share` lies in 0 to 1.
fn boundary(share: f64, buckets: u32) -> u32 {
    (share * f64::from(buckets)).round() as u32
}

/// GrowthBook's ranges, in buckets. It takes equal weights without a word when they do
/// not sum to 1; here that is an error.
fn growthbook_arms(coverage: f64, weights: &[f64]) -> Result<Vec<BucketRange>, PlanError> {
    let total: f64 = weights.iter().sum();
    if !growthbook::WEIGHT_SUMS.contains(&total) {
        return Err(refused("arms", format!("of weight {total} in sum"), "weights with a sum of 0.99 to 1.01 under GrowthBook's hash"));
    }
    let ranges = growthbook::bucket_ranges(weights.len(), coverage, Some(weights));
    Ok(ranges.into_iter().map(growthbook::whole_buckets).collect())
}

fn checked_layer(range: &LayerRange, foreign: bool) -> Result<Layer, PlanError> {
    named("layer.salt", &range.salt)?;
    bucket_count("layer.buckets", range.buckets, foreign.then_some(growthbook::NAMESPACE_BUCKETS))?;
    if range.start >= range.end || range.end > range.buckets {
        let allowed = format!("start below end, end at most {}", range.buckets);
        return Err(refused("layer", format!("{}..{}", range.start, range.end), allowed));
    }
    let owned = BucketRange { start: range.start, end: range.end };
    Ok(if foreign {
        Layer::Namespace { name: range.salt.clone(), range: owned }
    } else {
        Layer::Own { hash: Salted::new(Purpose::Layer, &range.salt), buckets: range.buckets, range: owned }
    })
}

fn checked_holdout(holdout: &Holdout) -> Result<(Salted, BucketRange), PlanError> {
    named("holdout.salt", &holdout.salt)?;
    share("holdout.share", holdout.share)?;
    let range = BucketRange { start: 0, end: boundary(holdout.share, HOLDOUT_BUCKETS) };
    Ok((Salted::new(Purpose::Holdout, &holdout.salt), range))
}
