//! The best rank of each chunk in any single list, for ties and for checking what a
//! fusion gave back.

/// From ids to best ranks: open addressing with linear probing, at most half full. Ids
/// that are put in are the host's own, so nobody can pick ones that collide; Fibonacci
/// hashing is enough. It is asked by id only, so its order never shows.
pub(super) struct Ranks {
    /// Place in `ids` + 1, or 0 for a free slot.
    slots: Vec<u32>,
    shift: u32,
    /// In the order in which they were first seen.
    pub ids: Vec<u64>,
    /// From 1; [`TAKEN`] when it was taken.
    ranks: Vec<u32>,
}

const TAKEN: u32 = u32::MAX;

/// Why a rank can't be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRank {
    /// The id is in no list.
    Unknown,
    /// It was taken before.
    Twice,
}

impl Ranks {
    /// Of lists with the best row first.
    pub fn of<'a>(lists: impl Iterator<Item = &'a [u64]> + Clone) -> Ranks {
        let rows: usize = lists.clone().map(<[u64]>::len).sum();
        let slots = (rows * 2).next_power_of_two().max(2);
        let mut ranks = Ranks {
            slots: vec![0; slots],
            shift: 64 - slots.trailing_zeros(),
            ids: Vec::with_capacity(rows),
            ranks: Vec::with_capacity(rows),
        };
        for list in lists {
            for (&id, rank) in list.iter().zip(1_u32..) {
                match ranks.slot(id) {
                    (_, Some(place)) => ranks.ranks[place] = ranks.ranks[place].min(rank),
                    (slot, None) => {
                        ranks.ids.push(id);
                        ranks.ranks.push(rank);
                        ranks.slots[slot] = ranks.ids.len() as u32;
                    }
                }
            }
        }
        ranks
    }

    /// Gives a rank out once.
    pub fn take(&mut self, id: u64) -> Result<u32, NoRank> {
        let (_, place) = self.slot(id);
        let rank = place.and_then(|place| self.ranks.get_mut(place)).ok_or(NoRank::Unknown)?;
        match std::mem::replace(rank, TAKEN) {
            TAKEN => Err(NoRank::Twice),
            rank => Ok(rank),
        }
    }

    /// An id's slot, and its place when it is there.
    fn slot(&self, id: u64) -> (usize, Option<usize>) {
        let mask = self.slots.len() - 1;
        let mut slot = (id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift) as usize;
        loop {
            match self.slots[slot] {
                0 => return (slot, None),
                place if self.ids[place as usize - 1] == id => return (slot, Some(place as usize - 1)),
                _ => slot = (slot + 1) & mask,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_map(lists in prop::collection::vec(prop::collection::vec(0_u64..60, 0..40), 0..4), asked in prop::collection::vec(0_u64..80, 0..80)) {
            let lists: Vec<Vec<u64>> = lists.into_iter().map(|list| list.iter().map(|id| id << 40 | 3).collect()).collect();
            let mut expected: BTreeMap<u64, u32> = BTreeMap::new();
            for list in &lists {
                for (id, rank) in list.iter().zip(1_u32..) {
                    let best = expected.entry(*id).or_insert(rank);
                    *best = rank.min(*best);
                }
            }
            let mut ranks = Ranks::of(lists.iter().map(Vec::as_slice));
            prop_assert_eq!(ranks.ids.len(), expected.len());
            let mut taken = Vec::new();
            for id in asked.into_iter().map(|id| id << 40 | 3) {
                let expect = match expected.get(&id) {
                    None => Err(NoRank::Unknown),
                    Some(_) if taken.contains(&id) => Err(NoRank::Twice),
                    Some(rank) => Ok(*rank),
                };
                prop_assert_eq!(ranks.take(id), expect);
                taken.push(id);
            }
        }
    }
}
