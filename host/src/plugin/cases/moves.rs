//! What moved between two outputs of one call: the recorded one and that of a replay.

use std::collections::HashMap;

use serde::Serialize;

use super::expect::Tolerance;
use super::similarity::{OverlapAt, RBO_P, overlaps, rbo, swapped_pairs};
use super::{Budget, GateOutput, Input, Output, Ranking, TOLERANCE_DEFAULT};
use crate::types::Stage;

/// The largest moves that are told.
const MOVES_MAX: usize = 10;

/// What moved in one call.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Moves {
    Ranking(RankingMoves),
    Gate(GateMoves),
}

/// What moved in a ranking. Ranks are from 1.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RankingMoves {
    pub rows_before: usize,
    pub rows_after: usize,
    /// See [`overlaps`].
    pub overlap: Vec<OverlapAt>,
    /// See [`rbo`], with [`RBO_P`].
    pub rbo: f64,
    /// Rows of both rankings that have another rank.
    pub moved: usize,
    /// See [`swapped_pairs`].
    pub swapped_pairs: u64,
    /// Rows of both rankings that have another score, by [`TOLERANCE_DEFAULT`].
    pub rescored: usize,
    /// At most ten, those over most ranks first, then those that are higher up now.
    pub largest: Vec<Move>,
    /// Rows of the replay alone, with their rank in it.
    pub came: Vec<PlacedRow>,
    /// Rows of the recording alone, with their rank in it.
    pub went: Vec<PlacedRow>,
}

/// A row that has another rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Move {
    pub id: u64,
    pub from: usize,
    pub to: usize,
}

/// A row that is in one ranking only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PlacedRow {
    pub id: u64,
    pub rank: usize,
}

/// What changed in a decision.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct GateMoves {
    /// In words, such as `depth of bm25: 100 → 150`. Reasons are not compared: they say
    /// the same in other words.
    pub changes: Vec<String>,
}

/// Outputs of different stages, or not of this call's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an output of a {output} call can't be compared: the call is one of {call}")]
pub struct WrongStage {
    pub call: Stage,
    pub output: Stage,
}

/// Compares two outputs of the call with this input.
///
/// # Errors
/// [`WrongStage`] for an output of another stage than the input's.
pub fn compare(input: &Input, before: &Output, after: &Output) -> Result<Moves, WrongStage> {
    if let Some(other) = [before, after].into_iter().find(|output| output.stage() != input.stage()) {
        return Err(WrongStage { call: input.stage(), output: other.stage() });
    }
    if let (Output::Gate(before), Output::Gate(after)) = (before, after) {
        return Ok(Moves::Gate(gate(before, after)));
    }
    // An output of fusion or rerank has a ranking when the input is of the same stage.
    let [before, after] = [before, after].map(|output| input.ranking(output).unwrap_or_default());
    Ok(Moves::Ranking(rankings(&before, &after)))
}

impl Moves {
    /// Whether nothing is otherwise, scores included.
    pub fn unchanged(&self) -> bool {
        match self {
            Moves::Ranking(moves) => moves.same_order() && moves.rescored == 0,
            Moves::Gate(moves) => moves.changes.is_empty(),
        }
    }

    /// Whether the same rows stand in the same order, with other scores.
    pub fn only_rescored(&self) -> bool {
        matches!(self, Moves::Ranking(moves) if moves.same_order() && moves.rescored > 0)
    }
}

impl RankingMoves {
    fn same_order(&self) -> bool {
        self.moved == 0 && self.came.is_empty() && self.went.is_empty()
    }
}

fn rankings(before: &Ranking, after: &Ranking) -> RankingMoves {
    let ranks_before = ranks(&before.ids);
    let ranks_after = ranks(&after.ids);
    let tolerance = Tolerance(TOLERANCE_DEFAULT);
    let mut all: Vec<Move> = Vec::new();
    let mut rescored = 0;
    for (&id, from) in before.ids.iter().zip(1..) {
        let Some(&to) = ranks_after.get(&id) else { continue };
        if from != to {
            all.push(Move { id, from, to });
        }
        if let (Some(a), Some(b)) = (before.scores.get(from - 1), after.scores.get(to - 1)) {
            rescored += usize::from(!tolerance.agrees(f64::from(*a), f64::from(*b)));
        }
    }
    let moved = all.len();
    all.sort_unstable_by_key(|row| (std::cmp::Reverse(row.from.abs_diff(row.to)), row.to));
    all.truncate(MOVES_MAX);
    RankingMoves {
        rows_before: before.ids.len(),
        rows_after: after.ids.len(),
        overlap: overlaps(&before.ids, &after.ids),
        rbo: rbo(&before.ids, &after.ids, RBO_P),
        moved,
        swapped_pairs: swapped_pairs(&before.ids, &after.ids),
        rescored,
        largest: all,
        came: only_in(&after.ids, &ranks_before),
        went: only_in(&before.ids, &ranks_after),
    }
}

fn ranks(ids: &[u64]) -> HashMap<u64, usize> {
    ids.iter().copied().zip(1..).collect()
}

fn only_in(ids: &[u64], others: &HashMap<u64, usize>) -> Vec<PlacedRow> {
    let rows = ids.iter().zip(1..).filter(|(id, _)| !others.contains_key(id));
    rows.map(|(id, rank)| PlacedRow { id: *id, rank }).collect()
}

fn gate(before: &GateOutput, after: &GateOutput) -> GateMoves {
    let mut changes = Vec::new();
    let tolerance = Tolerance(TOLERANCE_DEFAULT);
    let number = |what: &str, a: f32, b: f32, changes: &mut Vec<String>| {
        if !tolerance.agrees(f64::from(a), f64::from(b)) {
            changes.push(format!("{what}: {a} → {b}"));
        }
    };
    if before.class != after.class {
        changes.push(format!("class: {} → {}", before.class, after.class));
    }
    number("ambiguity", before.ambiguity, after.ambiguity, &mut changes);
    for was in asked(&before.budgets) {
        let channel = &was.channel;
        let Some(is) = asked(&after.budgets).find(|is| is.channel == *channel) else {
            changes.push(format!("{channel} is no longer asked, it had depth {} and weight {}", was.depth, was.weight));
            continue;
        };
        if was.depth != is.depth {
            changes.push(format!("depth of {channel}: {} → {}", was.depth, is.depth));
        }
        number(&format!("weight of {channel}"), was.weight, is.weight, &mut changes);
    }
    for is in asked(&after.budgets) {
        if !asked(&before.budgets).any(|was| was.channel == is.channel) {
            changes.push(format!("{} is asked now, with depth {} and weight {}", is.channel, is.depth, is.weight));
        }
    }
    number("rrf-k", before.rrf_k, after.rrf_k, &mut changes);
    if before.rm3 != after.rm3 {
        let state = |on: bool| if on { "on" } else { "off" };
        changes.push(format!("rm3: {} → {}", state(before.rm3), state(after.rm3)));
    }
    if before.rerank_depth != after.rerank_depth {
        changes.push(format!("rerank depth: {} → {}", before.rerank_depth, after.rerank_depth));
    }
    GateMoves { changes }
}

/// The budgets of channels that are asked.
fn asked(budgets: &[Budget]) -> impl Iterator<Item = &Budget> {
    budgets.iter().filter(|budget| budget.depth > 0)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{FUSION, GATE, RERANK, case, output, with};
    use super::*;

    const DECISION: &str = r#"{"class": "default", "ambiguity": 0.5, "rrf_k": 60, "rm3": false, "rerank_depth": 50,
        "budgets": [{"channel": "bm25", "depth": 100, "weight": 1, "reason": "a"},
                    {"channel": "dense", "depth": 50, "weight": 0.4, "reason": "b"}], "reasons": ["c"]}"#;

    fn fused(ids: &[u64]) -> Output {
        let scores = ids.iter().map(|id| 1.0 / *id as f32).collect();
        Output::Fusion(super::super::FusionOutput { ids: ids.to_vec(), scores, contributions: Vec::new() })
    }

    fn moves(before: &[u64], after: &[u64]) -> RankingMoves {
        match compare(&case(FUSION).input, &fused(before), &fused(after)) {
            Ok(Moves::Ranking(moves)) => moves,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn moves_of_a_ranking_are_counted_and_the_largest_named() {
        let got = moves(&[1, 2, 3, 4, 5, 6], &[6, 1, 2, 3, 4, 7]);
        assert_eq!((got.rows_before, got.rows_after, got.moved, got.rescored), (6, 6, 5, 0));
        assert_eq!(got.swapped_pairs, 4);
        assert_eq!(got.largest[..2], [Move { id: 6, from: 6, to: 1 }, Move { id: 1, from: 1, to: 2 }]);
        assert_eq!(got.came, [PlacedRow { id: 7, rank: 6 }]);
        assert_eq!(got.went, [PlacedRow { id: 5, rank: 5 }]);
        assert_eq!(got.overlap, [OverlapAt { k: 1, overlap: 0.0 }, OverlapAt { k: 5, overlap: 0.8 }]);
        let backwards: Vec<u64> = (1..=30).rev().collect();
        let got = moves(&(1..=30).collect::<Vec<u64>>(), &backwards);
        assert_eq!((got.moved, got.swapped_pairs, got.largest.len()), (30, 435, MOVES_MAX));
        assert_eq!(got.largest[..2], [Move { id: 30, from: 30, to: 1 }, Move { id: 1, from: 1, to: 30 }]);
    }

    #[test]
    fn unchanged_means_the_scores_too() {
        let same = Moves::Ranking(moves(&[1, 2], &[1, 2]));
        assert!(same.unchanged() && !same.only_rescored());
        let other = Moves::Ranking(moves(&[1, 2], &[2, 1]));
        assert!(!other.unchanged() && !other.only_rescored());
        // The seen rows agree, so the overlap is 1; the row that went tells it.
        let shorter = moves(&[1, 2, 3], &[1, 2]);
        assert!((shorter.rbo - 1.0).abs() < 1e-12 && shorter.went.len() == 1);
        assert!(!Moves::Ranking(shorter).unchanged());
        let [before, after] = ["[0.5, 0.25, 0.75]", "[0.6, 0.25, 0.75]"].map(|scores| output(&format!(r#"{{"scores": {scores}}}"#)));
        let rescored = compare(&case(RERANK).input, &before, &after).unwrap();
        assert!(!rescored.unchanged() && rescored.only_rescored(), "{rescored:?}");
    }

    #[test]
    fn changes_of_a_decision_are_told_in_words() {
        let check = |pointer: &str, value: &str, expect: &[&str]| {
            let after = output(&with(DECISION, pointer, value));
            match compare(&case(GATE).input, &output(DECISION), &after) {
                Ok(Moves::Gate(moves)) => assert_eq!(moves.changes, expect),
                other => panic!("{other:?}"),
            }
        };
        check("/class", "\"vague\"", &["class: default → vague"]);
        check("/ambiguity", "0.75", &["ambiguity: 0.5 → 0.75"]);
        check("/budgets/0/depth", "150", &["depth of bm25: 100 → 150"]);
        check("/budgets/1/weight", "0.7", &["weight of dense: 0.4 → 0.7"]);
        check("/budgets/1/depth", "0", &["dense is no longer asked, it had depth 50 and weight 0.4"]);
        let other = r#"{"channel": "symbols", "depth": 5, "weight": 1, "reason": ""}"#;
        let gone = "dense is no longer asked, it had depth 50 and weight 0.4";
        check("/budgets/1", other, &[gone, "symbols is asked now, with depth 5 and weight 1"]);
        check("/rrf_k", "20", &["rrf-k: 60 → 20"]);
        check("/rm3", "true", &["rm3: off → on"]);
        check("/rerank_depth", "0", &["rerank depth: 50 → 0"]);
        check("/reasons", "[]", &[]);
    }

    #[test]
    fn outputs_of_other_stages_are_refused() {
        let check = |text: &str, before: &Output, after: &Output, part: &str| {
            let message = compare(&case(text).input, before, after).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        };
        let decision = output(DECISION);
        check(FUSION, &fused(&[1]), &decision, "an output of a gate call can't be compared: the call is one of fusion");
        check(GATE, &decision, &fused(&[1]), "an output of a fusion call can't be compared: the call is one of gate");
        check(RERANK, &fused(&[1]), &fused(&[1]), "of a fusion call can't be compared: the call is one of rerank");
    }
}
