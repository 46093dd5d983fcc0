//! The order of an answer: of one ranking as it is, of two as their teams draft.

use std::collections::HashMap;

use super::Ranking;
use crate::experiments::interleave::{Draft, Team};
use crate::index::snapshot::ChunkTable;
use crate::types::ChunkId;

/// What stands at a rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// The ranking it is taken from.
    pub ranking: usize,
    /// Its place there, from 0.
    pub at: usize,
    /// Whose pick it was; `None` where nobody picked.
    pub team: Option<u32>,
}

/// The ranks of an answer, the first `end` of them at most.
pub(super) struct Order {
    pub slots: Vec<Slot>,
    /// Whether more would follow.
    pub more: bool,
}

/// What counts as one finding: a chunk of a file, or a record, whichever of its passages
/// was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Item {
    Chunk(ChunkId),
    Record(u32),
}

impl Item {
    fn of(id: ChunkId, chunks: &ChunkTable) -> Item {
        chunks.record_of(id).map_or(Item::Chunk(id), Item::Record)
    }
}

/// A ranking as it is.
pub(super) fn alone(ranking: &Ranking, end: usize) -> Order {
    let placed = ranking.ranked.placed.len();
    let slots = (0..placed.min(end)).map(|at| Slot { ranking: 0, at, team: None }).collect();
    Order { slots, more: placed + ranking.ranked.candidates.beyond.len() > end }
}

/// The list that the rankings fill in turns. The first `end` rows of each have to be
/// placed, so that whatever is picked can be shown.
pub(super) fn drafted(rankings: &[Ranking], chunks: &ChunkTable, seed: u64, end: usize) -> Order {
    let items: Vec<Vec<Item>> = rankings.iter().map(|ranking| ids(ranking).map(|id| Item::of(id, chunks)).collect()).collect();
    order(&items, seed, end)
}

/// From first to last, also those that are not looked up.
fn ids(ranking: &Ranking) -> impl Iterator<Item = ChunkId> {
    let candidates = &ranking.ranked.candidates;
    let placed = ranking.ranked.placed.iter().filter_map(|placed| candidates.list.ids.get(placed.row).copied());
    placed.chain(candidates.beyond.iter().copied())
}

fn order(items: &[Vec<Item>], seed: u64, end: usize) -> Order {
    let lists: Vec<&[Item]> = items.iter().map(Vec::as_slice).collect();
    let mut draft = Draft::new(&lists, seed);
    let picks: Vec<_> = draft.by_ref().take(end).collect();
    let places: Vec<HashMap<Item, usize>> =
        lists.iter().map(|list| list.iter().enumerate().rev().map(|(at, item)| (*item, at)).collect()).collect();
    let slots = picks
        .into_iter()
        .filter_map(|pick| {
            let team = pick.team.map(|Team(team)| team);
            // What nobody picked is shown as the ranking has it that holds it highest.
            let highest =
                || (0..places.len()).filter(|list| places[*list].contains_key(&pick.id)).min_by_key(|list| places[*list][&pick.id]);
            let ranking = team.or_else(highest)?;
            let at = *places.get(ranking)?.get(&pick.id)?;
            // Experiments have eight arms at most.
            Some(Slot { ranking, at, team: team.map(|team| team as u32) })
        })
        .collect();
    Order { slots, more: draft.next().is_some() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(ids: &[u64]) -> Vec<Item> {
        ids.iter().map(|id| Item::Chunk(ChunkId(*id))).collect()
    }

    #[test]
    fn each_rank_is_taken_from_the_ranking_of_its_team() {
        let items = [chunks(&[1, 2, 3, 4]), chunks(&[3, 9, 1])];
        let (page, whole) = (order(&items, 7, 3), order(&items, 7, 99));
        assert_eq!((page.more, whole.more), (true, false));
        assert_eq!(page.slots, whole.slots[..3]);
        assert_eq!(whole.slots.len(), 5);
        for slot in &whole.slots {
            assert!(slot.team.is_none_or(|team| team as usize == slot.ranking), "{slot:?}");
            assert!(slot.at < items[slot.ranking].len());
        }
        let shown: std::collections::BTreeSet<_> = whole.slots.iter().map(|slot| format!("{:?}", items[slot.ranking][slot.at])).collect();
        assert_eq!(shown.len(), 5);
    }

    #[test]
    fn passages_of_one_record_are_one_finding() {
        let items = [vec![Item::Record(4), Item::Chunk(ChunkId(1))], vec![Item::Record(4)]];
        assert_eq!(order(&items, 1, 9).slots.len(), 2);
    }
}
