//! What the host does when a plugin doesn't: simple, fixed, and never failing.

use super::ranks::Ranks;
use super::stages::{Budget, ChannelRun, Decision, Fused, sorted};
use crate::types::ChannelName;

/// Rows each channel is asked for without a gate.
const DEPTH: u32 = 100;
/// The constant of the paper.
const RRF_K: f32 = 60.0;
/// Rows reranked without a gate.
const RERANK_DEPTH: u32 = 50;

/// Fixed budgets: every channel alike.
pub fn decide(channels: &[ChannelName]) -> Decision {
    Decision {
        class: "default".into(),
        ambiguity: 0.5,
        budgets: channels
            .iter()
            .map(|&channel| Budget { channel, depth: DEPTH, weight: 1.0, reason: "fixed: the gate did not decide".into() })
            .collect(),
        rrf_k: RRF_K,
        rm3: false,
        rerank_depth: RERANK_DEPTH,
        reasons: vec!["fixed defaults: the gate did not decide".into()],
    }
}

/// Reciprocal rank fusion: Σ weight / (k + rank), ranks from 1; Cormack, Clarke and
/// Büttcher, SIGIR 2009. A run without the document adds nothing.
pub fn fuse(runs: &[ChannelRun], rrf_k: f32) -> Fused {
    let lists: Vec<Vec<u64>> = runs.iter().map(|run| run.list.ids.iter().map(|id| id.0).collect()).collect();
    let mut ranks = Ranks::of(lists.iter().map(Vec::as_slice));
    let mut ids = ranks.ids.clone();
    ids.sort_unstable();
    let mut contributions = vec![0.0_f32; ids.len() * runs.len()];
    for (column, (run, list)) in runs.iter().zip(&lists).enumerate() {
        for (id, rank) in list.iter().zip(1_u32..) {
            if let Ok(row) = ids.binary_search(id) {
                contributions[row * runs.len() + column] = run.weight / (rrf_k + rank as f32);
            }
        }
    }
    let rows = ids
        .iter()
        .enumerate()
        .filter_map(|(row, &id)| {
            let score = contributions[row * runs.len()..(row + 1) * runs.len()].iter().sum();
            // Every id came out of the same lists.
            Some((score, ranks.take(id).ok()?, id, row))
        })
        .collect();
    sorted(rows, contributions, runs.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ChunkId, RankedList};

    #[test]
    fn agrees_with_a_reference_implementation() {
        // a = 1, b = 2, c = 3, d = 4; scores by ranx 0.3.21, rrf, k = 60.
        let run = |channel, ids: &[u64]| ChannelRun {
            channel,
            weight: 1.0,
            list: RankedList { ids: ids.iter().copied().map(ChunkId).collect(), scores: vec![0.0; ids.len()] },
        };
        let fused = fuse(&[run(ChannelName::Bm25, &[1, 2, 3]), run(ChannelName::Dense, &[2, 4, 1])], 60.0);
        let expect = [(2, 0.032522), (1, 0.032266), (4, 0.016129), (3, 0.015873)];
        assert_eq!(fused.list.len(), expect.len());
        for (at, (id, score)) in expect.into_iter().enumerate() {
            assert_eq!(fused.list.ids[at], ChunkId(id));
            assert!((fused.list.scores[at] - score).abs() < 1e-6, "{at}");
        }
        assert!(fuse(&[], 60.0).list.is_empty());
    }
}
