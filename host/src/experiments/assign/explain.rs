//! An assignment in words: names, buckets and ranges, and one sentence that says why.

use serde::{Deserialize, Serialize};

use super::hash::{Bucket, BucketRange};
use super::{Assignment, Drawing, HOLDOUT_BUCKETS, HashChoice, Plan, Status, growthbook};

/// Everything that decided a unit's arm; for people and for audits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    pub experiment: String,
    pub version: u32,
    pub unit: String,
    pub hash: HashChoice,
    #[serde(flatten)]
    pub status: Status,
    /// The arm's key, if the unit is in.
    pub arm: Option<String>,
    pub draws: Draws,
    /// One line.
    pub why: String,
}

/// What was drawn at each step, `None` where the plan has no such step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draws {
    /// Its range are the units held out.
    pub holdout: Option<Draw>,
    pub layer: Option<Draw>,
    pub coverage: Option<Draw>,
    /// Its range is that of the arm that has the bucket, even when the unit is out.
    pub arm: Option<Draw>,
}

/// A bucket and the range it was held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draw {
    pub bucket: Bucket,
    /// How many buckets there are.
    pub buckets: u32,
    /// `None` if no arm has the bucket, which GrowthBook's ranges allow.
    pub range: Option<BucketRange>,
}

impl Explanation {
    pub(super) fn of(plan: &Plan, unit: &str) -> Explanation {
        let assignment = plan.assign(unit);
        let draws = Draws::of(plan, &assignment);
        let settings = &plan.settings;
        let arm = assignment.arm().and_then(|index| plan.arm_key(index)).map(str::to_owned);
        Explanation {
            experiment: settings.experiment.clone(),
            version: settings.version,
            unit: unit.into(),
            hash: settings.hash,
            status: assignment.status,
            why: why(plan, assignment.status, &draws),
            arm,
            draws,
        }
    }
}

impl Draws {
    fn of(plan: &Plan, assignment: &Assignment) -> Draws {
        let drawn = assignment.buckets;
        let draw = |bucket: Option<Bucket>, buckets, range| bucket.map(|bucket| Draw { bucket, buckets, range });
        let settings = &plan.settings;
        let (layer_buckets, layer_range) =
            settings.layer.as_ref().map_or((0, None), |layer| (layer.buckets, Some(BucketRange { start: layer.start, end: layer.end })));
        let covered = if let Drawing::Own { covered, .. } = &plan.drawing { Some(*covered) } else { None };
        let arm_range = drawn.arm.and_then(|bucket| plan.arms.iter().find(|range| range.contains(bucket)).copied());
        Draws {
            holdout: draw(drawn.holdout, HOLDOUT_BUCKETS, plan.holdout.as_ref().map(|(_, range)| *range)),
            layer: draw(drawn.layer, layer_buckets, layer_range),
            coverage: draw(drawn.coverage, settings.buckets, covered),
            arm: draw(drawn.arm, settings.buckets, arm_range),
        }
    }
}

fn why(plan: &Plan, status: Status, draws: &Draws) -> String {
    let settings = &plan.settings;
    let salt_of_layer = settings.layer.as_ref().map_or("", |layer| layer.salt.as_str());
    let salt_of_holdout = settings.holdout.as_ref().map_or("", |holdout| holdout.salt.as_str());
    match status {
        Status::NoUnit => "out: the unit has no value".into(),
        Status::HeldOut => format!("out: hold-out {salt_of_holdout} has {}", told(draws.holdout)),
        Status::OutsideLayer => format!("out: in layer {salt_of_layer}, {}", told(draws.layer)),
        Status::NotCovered if settings.hash == HashChoice::GrowthbookV2 => {
            format!("out: at a coverage of {}, no arm has bucket {} of {}", settings.coverage, bucket(draws.arm), growthbook::BUCKETS)
        }
        Status::NotCovered => format!("out: at a coverage of {}, {}", settings.coverage, told(draws.coverage)),
        Status::In { index } => format!("in: arm {} has {}", plan.arm_key(index).unwrap_or_default(), told(draws.arm)),
    }
}

fn bucket(draw: Option<Draw>) -> u32 {
    draw.map_or(0, |draw| draw.bucket.0)
}

fn told(draw: Option<Draw>) -> String {
    let Some(Draw { bucket, buckets, range: Some(range) }) = draw else { return String::new() };
    let is = if range.contains(bucket) { "in" } else { "not in" };
    format!("bucket {} of {buckets}, {is} {range}", bucket.0)
}
