//! The recency boost: chunks of files that changed lately count a little more.

use serde::{Deserialize, Serialize};

use crate::index::snapshot::ChunkTable;
use crate::types::{ChunkId, RankedList};

/// How much recency counts. Off by default: on code, newer is not better in general.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecencySettings {
    /// The largest share added to a score, 0 to 1; 0 switches the boost off.
    pub weight: f64,
    /// After so many days the boost is half, over 0.
    pub half_life_days: f64,
}

impl Default for RecencySettings {
    fn default() -> Self {
        RecencySettings { weight: 0.0, half_life_days: 90.0 }
    }
}

/// Multiplies each score by 1 + weight · 2^(−age / half-life) and sorts again; equal
/// scores keep their order. Age counts from the newest commit of the index, not from
/// the clock: the same index gives the same order tomorrow. Chunks without a commit,
/// and scores that are not over 0, stay as they are. Returns for each row of the new
/// order its row in the old one, and how many rows changed their score.
pub fn boost(list: &mut RankedList, chunks: &ChunkTable, settings: &RecencySettings) -> (Vec<usize>, usize) {
    let unchanged = (0..list.len()).collect();
    if settings.weight <= 0.0 {
        return (unchanged, 0);
    }
    let Some(newest) = chunks.files().filter_map(|(file, _)| file.commit_time_s).max() else { return (unchanged, 0) };
    let time_of = |id: ChunkId| chunks.file(id).and_then(|(file, _)| file.commit_time_s);
    let mut boosted = 0;
    let mut rows: Vec<(usize, ChunkId, f32)> = Vec::with_capacity(list.len());
    for (at, (&id, &score)) in list.ids.iter().zip(&list.scores).enumerate() {
        let factor = time_of(id).map_or(1.0, |time| factor(newest - time, settings));
        let score = if score > 0.0 { score * factor } else { score };
        boosted += usize::from(score != list.scores[at]);
        rows.push((at, id, score));
    }
    rows.sort_by(|a, b| b.2.total_cmp(&a.2).then(a.0.cmp(&b.0)));
    list.ids = rows.iter().map(|row| row.1).collect();
    list.scores = rows.iter().map(|row| row.2).collect();
    (rows.into_iter().map(|row| row.0).collect(), boosted)
}

fn factor(age_s: i64, settings: &RecencySettings) -> f32 {
    let days = age_s.max(0) as f64 / 86_400.0;
    (1.0 + settings.weight * (-days / settings.half_life_days.max(f64::MIN_POSITIVE)).exp2()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boost_halves_with_each_half_life() {
        let settings = RecencySettings { weight: 0.4, half_life_days: 10.0 };
        for (days, expect) in [(0, 1.4), (10, 1.2), (20, 1.1), (-5, 1.4), (100_000, 1.0)] {
            assert!((factor(days * 86_400, &settings) - expect).abs() < 1e-6, "{days}");
        }
    }
}
