//! Sums reciprocal ranks by id: one pass over the runs with a small hash table.

/// The ids of one run, best first, and its weight; a weight not over 0 leaves it out.
pub struct Source<'a> {
    pub ids: &'a [u64],
    pub weight: f64,
}

/// Columns of equal length, rows in the order in which the ids were first seen.
pub struct Merged {
    pub ids: Vec<u64>,
    sums: Vec<f64>,
    ranks_best: Vec<u32>,
    /// Row-major, ids × runs; 0 where the run has no part.
    pub contributions: Vec<f32>,
}

/// Adds `weight / (k + rank)` for each row of each run, ranks from `rank_base`. An
/// id that a run repeats counts with its first rank there.
pub fn merge(sources: &[Source], k: f64, rank_base: u32) -> Merged {
    let weighty = || sources.iter().filter(|source| source.weight > 0.0);
    let rows_max: usize = weighty().map(|source| source.ids.len()).sum();
    let mut table = Table::for_rows(rows_max);
    let mut merged = Merged {
        ids: Vec::with_capacity(rows_max),
        sums: Vec::with_capacity(rows_max),
        ranks_best: Vec::with_capacity(rows_max),
        contributions: vec![0.0; rows_max * sources.len()],
    };

    for (run, source) in sources.iter().enumerate() {
        if source.weight <= 0.0 {
            continue;
        }
        for (&id, rank) in source.ids.iter().zip(rank_base..) {
            let row = table.row(id, &mut merged.ids);
            if row == merged.sums.len() {
                merged.sums.push(0.0);
                merged.ranks_best.push(rank);
            }
            let contribution = &mut merged.contributions[row * sources.len() + run];
            if *contribution == 0.0 {
                let part = source.weight / (k + f64::from(rank));
                *contribution = finite(part);
                merged.sums[row] += part;
                merged.ranks_best[row] = merged.ranks_best[row].min(rank);
            }
        }
    }
    merged.contributions.truncate(merged.ids.len() * sources.len());
    merged
}

impl Merged {
    /// The fused score of a row: finite, at least 0.
    pub fn score(&self, row: usize) -> f32 {
        finite(self.sums[row])
    }

    /// At most `rows_max` rows: score descending, then best rank in any one run, then id.
    pub fn best(&self, rows_max: usize) -> Vec<usize> {
        // The bits of floats that are not negative sort like the floats. One number a
        // row, score and row, sorts several times faster than the whole key; rows of
        // equal score are put in order afterwards.
        let key = |row: usize| (u64::from(!self.score(row).to_bits()) << 32) | row as u64;
        let mut keys: Vec<u64> = (0..self.ids.len()).map(key).collect();
        keys.sort_unstable();
        let mut rows: Vec<usize> = keys.iter().map(|key| (key & u64::from(u32::MAX)) as usize).collect();
        let mut start = 0;
        while start < rows.len() {
            let score = keys[start] >> 32;
            let equal = keys[start..].iter().take_while(|key| *key >> 32 == score).count();
            if equal > 1 {
                rows[start..start + equal].sort_unstable_by_key(|&row| (self.ranks_best[row], self.ids[row]));
            }
            start += equal;
            if start >= rows_max {
                break;
            }
        }
        rows.truncate(rows_max);
        rows
    }
}

/// Rounds to 32 bits; what is larger than any finite number becomes the largest.
fn finite(number: f64) -> f32 {
    number.min(f64::from(f32::MAX)) as f32
}

/// From ids to rows: open addressing with linear probing, at most half full. It is
/// only asked by id, so its order never shows. Chunk ids are the host's own, so
/// nobody can pick ids that collide; Fibonacci hashing is enough.
struct Table {
    /// Row + 1, or 0 for a free slot.
    slots: Vec<u32>,
    shift: u32,
}

impl Table {
    fn for_rows(rows_max: usize) -> Table {
        let slots = (rows_max * 2).next_power_of_two().max(2);
        Table { slots: vec![0; slots], shift: 64 - slots.trailing_zeros() }
    }

    /// The row of an id; an id not seen before is appended to `ids`.
    fn row(&mut self, id: u64, ids: &mut Vec<u64>) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = (id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift) as usize;
        loop {
            match self.slots[slot] {
                0 => {
                    ids.push(id);
                    self.slots[slot] = ids.len() as u32;
                    return ids.len() - 1;
                }
                row if ids[row as usize - 1] == id => return row as usize - 1,
                _ => slot = (slot + 1) & mask,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A linear congruential generator (Knuth's MMIX): tests with a seed.
    struct Seeded(u64);

    impl Seeded {
        fn below(&mut self, end: u64) -> u64 {
            let next = self.0.wrapping_mul(6_364_136_223_846_793_005);
            self.0 = next.wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % end
        }
    }

    fn ids(random: &mut Seeded, rows: u64, universe: u64) -> Vec<u64> {
        let mut ids: Vec<u64> = Vec::new();
        for _ in 0..rows {
            let id = random.below(universe) << 32 | 7;
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids
    }

    fn rows(lists: &[(Vec<u64>, f64)], rows_max: usize) -> Vec<(u64, f32)> {
        let sources: Vec<Source> = lists.iter().map(|(ids, weight)| Source { ids, weight: *weight }).collect();
        let merged = merge(&sources, 60.0, 1);
        let best = merged.best(rows_max).into_iter();
        best.map(|row| (merged.ids[row], merged.score(row))).collect()
    }

    #[test]
    fn agrees_with_a_plain_map_in_any_order_of_the_runs() {
        let mut random = Seeded(1);
        for case in 0..200 {
            let mut lists: Vec<(Vec<u64>, f64)> = (0..random.below(5))
                .map(|_| {
                    let rows = random.below(60);
                    let weight = random.below(4) as f64 / 2.0;
                    (ids(&mut random, rows, 100), weight)
                })
                .collect();
            let mut expected: BTreeMap<u64, (f64, u32)> = BTreeMap::new();
            for (ids, weight) in lists.iter().filter(|(_, weight)| *weight > 0.0) {
                for (rank, &id) in (1_u32..).zip(ids) {
                    let entry = expected.entry(id).or_insert((0.0, u32::MAX));
                    entry.0 += weight / (60.0 + f64::from(rank));
                    entry.1 = entry.1.min(rank);
                }
            }
            let mut order: Vec<(u64, f32, u32)> = expected.iter().map(|(&id, &(sum, rank))| (id, sum as f32, rank)).collect();
            order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.2.cmp(&b.2)).then(a.0.cmp(&b.0)));
            let expected: Vec<(u64, f32)> = order.iter().map(|row| (row.0, row.1)).collect();

            let all = rows(&lists, usize::MAX);
            assert_eq!(all, expected, "case {case}");
            let few = rows(&lists, 10);
            assert_eq!(few, expected[..expected.len().min(10)], "case {case}");
            lists.reverse();
            assert_eq!(rows(&lists, usize::MAX), expected, "case {case} reversed");
        }
    }

    #[test]
    fn a_repeated_id_counts_once() {
        let once = rows(&[(vec![5, 6], 1.0)], 10);
        let twice = rows(&[(vec![5, 6, 5], 1.0)], 10);
        assert_eq!(once, twice);
    }

    #[test]
    fn huge_weights_stay_finite() {
        let lists = [(vec![1], f64::from(f32::MAX) * 100.0), (vec![1], 1.0)];
        assert_eq!(rows(&lists, 10), [(1, f32::MAX)]);
    }
}
