//! What experiments of one folder may not do to each other.

use super::{CheckedExperiment, Problem, text};
use crate::experiments::definition::State;

/// Problems that an experiment has with an earlier one, which `file` names.
pub fn conflicts(earlier: &CheckedExperiment, file: &str, later: &CheckedExperiment) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut add = |key: &str, problem: String| problems.push(Problem { key: key.into(), problem });
    if earlier.id == later.id {
        add("id", format!("is {}, as in {file}; allowed: an id of its own", text(&later.id)));
    }
    let layers = earlier.layer.as_ref().zip(later.layer.as_ref()).filter(|(one, other)| one.name == other.name);
    if let Some((one, other)) = layers
        && earlier.state != State::Stopped
        && later.state != State::Stopped
    {
        let shared = format!("in {file}; allowed: the same in all experiments of layer {}", text(&other.name));
        if one.salt != other.salt {
            add("layer.salt", format!("is {}, but {} {shared}", text(&other.salt), text(&one.salt)));
        }
        if earlier.unit != later.unit {
            add("unit", format!("is not that {shared}"));
        }
        if earlier.hash.algorithm != later.hash.algorithm {
            add("hash.algorithm", format!("is not that {shared}"));
        }
        if earlier.hash.buckets != later.hash.buckets {
            add("hash.buckets", format!("is {}, but {} {shared}", later.hash.buckets, earlier.hash.buckets));
        }
        if one.range().start < other.range().end && other.range().start < one.range().end {
            let ([a, b], [c, d]) = (other.buckets, one.buckets);
            let allowed = format!("buckets that no other experiment of layer {} has", text(&other.name));
            add(
                "layer.buckets",
                format!("is [{a}, {b}], which overlaps [{c}, {d}] of {} in {file}; allowed: {allowed}", text(&earlier.id)),
            );
        }
    }
    problems
}
