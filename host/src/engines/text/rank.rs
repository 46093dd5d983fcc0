//! The best documents of a segment for a sum of clauses.
//!
//! Documents are taken in windows. Within one, lists are read one after the other and
//! their parts summed up per document. Lists whose bounds together can't lift a document
//! among the best ones found so far are not read; they are only asked about documents
//! that the others brought up. That is MaxScore (Turtle and Flood 1995), in windows.
//! Nothing is approximate: the rows are those that summing everything up would give.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use tantivy::TERMINATED;

use super::postings::Cursor;

/// Documents of a window: their sums fit into the first cache of a core.
const WINDOW: u32 = 4096;

/// One term in one field of one segment.
pub struct Clause<'a> {
    pub cursor: Cursor,
    /// Terms in the field, by document.
    pub lengths: &'a [f32],
    /// Factor of the field, of the term, and its idf. The bound of what the clause adds.
    pub weight: f32,
    /// k1 · (1 − b).
    pub flat: f32,
    /// k1 · b / the mean length.
    pub slope: f32,
}

impl Clause<'_> {
    /// weight · tf / (tf + k1 · (1 − b + b · length / mean length)).
    fn score(&self, doc: u32, frequency: u32) -> f32 {
        part(self.weight, self.flat, self.slope, length(self.lengths, doc), frequency)
    }

    /// Adds the parts of the documents before `end` to `sums`, which begins with
    /// document `start`.
    fn add_up_to(&mut self, start: u32, end: u32, sums: &mut [f64]) {
        let Clause { cursor, lengths, weight, flat, slope } = self;
        cursor.read_up_to(end, |doc, frequency| {
            if let Some(sum) = sums.get_mut(doc.wrapping_sub(start) as usize) {
                *sum += f64::from(part(*weight, *flat, *slope, length(lengths, doc), frequency));
            }
        });
    }
}

#[inline]
fn part(weight: f32, flat: f32, slope: f32, length: f32, frequency: u32) -> f32 {
    let frequency = frequency as f32;
    weight * (frequency / (frequency + flat + slope * length))
}

#[inline]
fn length(lengths: &[f32], doc: u32) -> f32 {
    lengths.get(doc as usize).copied().unwrap_or_default()
}

/// A row: the score and the id that it is ranked by.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Hit {
    score: f32,
    id: u64,
}

impl Eq for Hit {}

impl Ord for Hit {
    /// The better one is the greater: score descending, then id.
    fn cmp(&self, other: &Hit) -> Ordering {
        self.score.total_cmp(&other.score).then(other.id.cmp(&self.id))
    }
}

impl PartialOrd for Hit {
    fn partial_cmp(&self, other: &Hit) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The best rows so far, of all segments.
pub struct Best {
    depth: usize,
    /// The worst on top.
    heap: BinaryHeap<Reverse<Hit>>,
    /// Below this no score gets in.
    least: f32,
}

impl Best {
    pub fn new(depth: usize) -> Best {
        Best { depth, heap: BinaryHeap::new(), least: f32::NEG_INFINITY }
    }

    fn offer(&mut self, hit: Hit) {
        if self.heap.len() < self.depth {
            self.heap.push(Reverse(hit));
        } else if let Some(mut worst) = self.heap.peek_mut().filter(|worst| worst.0 < hit) {
            *worst = Reverse(hit);
        }
        if self.heap.len() >= self.depth {
            self.least = self.heap.peek().map_or(f32::INFINITY, |worst| worst.0.score);
        }
    }

    /// Best first; equal scores by id.
    pub fn into_rows(self) -> Vec<(u64, f32)> {
        self.heap.into_sorted_vec().into_iter().map(|Reverse(hit)| (hit.id, hit.score)).collect()
    }
}

/// Offers every document of a segment that a clause has, and that `id_of` gives an id,
/// as far as it can be among the best. Parts are summed up in 64 bits: the order of
/// clauses leaves no trace in a score.
pub fn rank(clauses: Vec<Clause>, id_of: &dyn Fn(u32) -> Option<u64>, best: &mut Best) {
    let mut clauses = clauses;
    clauses.retain(|clause| clause.weight > 0.0 && clause.cursor.doc() != TERMINATED);
    clauses.sort_by(|a, b| a.weight.total_cmp(&b.weight));
    // What the first n clauses add at most.
    let bounds: Vec<f64> = std::iter::once(0.0)
        .chain(clauses.iter().scan(0.0, |sum, clause| {
            *sum += f64::from(clause.weight);
            Some(*sum)
        }))
        .collect();
    let mut sums = vec![0.0_f64; WINDOW as usize];
    // Clauses before this one are only asked.
    let mut asked = 0;
    loop {
        while asked < clauses.len() && (bounds[asked + 1] as f32) < best.least {
            asked += 1;
        }
        let start = clauses[asked..].iter().map(|clause| clause.cursor.doc()).min().unwrap_or(TERMINATED);
        if start == TERMINATED {
            return;
        }
        let end = start.saturating_add(WINDOW).min(TERMINATED);
        for clause in &mut clauses[asked..] {
            clause.add_up_to(start, end, &mut sums);
        }
        for (doc, sum) in (start..end).zip(&mut sums) {
            if *sum > 0.0 {
                let sum = std::mem::take(sum);
                if ((sum + bounds[asked]) as f32) < best.least {
                    continue;
                }
                let Some(id) = id_of(doc) else { continue };
                if let Some(score) = completed(&mut clauses[..asked], &bounds, doc, sum, best.least) {
                    best.offer(Hit { score, id });
                }
            }
        }
    }
}

/// What the clauses give each of these documents, which ascend: 0 where none holds it.
/// Exactly what [`rank`] would give.
pub fn scores(mut clauses: Vec<Clause>, docs: &[u32]) -> Vec<f32> {
    let mut sums = vec![0.0_f64; docs.len()];
    for clause in clauses.iter_mut().filter(|clause| clause.weight > 0.0) {
        let mut at = 0;
        loop {
            // To the first one asked for that may be in the list, then there in the list.
            let next = clause.cursor.doc();
            while docs.get(at).is_some_and(|doc| *doc < next) {
                at += 1;
            }
            let Some(doc) = docs.get(at) else { break };
            if let Some(frequency) = clause.cursor.frequency_at(*doc) {
                sums[at] += f64::from(clause.score(*doc, frequency));
                at += 1;
            }
        }
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}

/// The sum with what the clauses add that were only asked; `None` as soon as it can't
/// reach `least`.
fn completed(clauses: &mut [Clause], bounds: &[f64], doc: u32, sum: f64, least: f32) -> Option<f32> {
    let mut sum = sum;
    for (at, clause) in clauses.iter_mut().enumerate().rev() {
        if ((sum + bounds[at + 1]) as f32) < least {
            return None;
        }
        if let Some(frequency) = clause.cursor.frequency_at(doc) {
            sum += f64::from(clause.score(doc, frequency));
        }
    }
    ((sum as f32) >= least).then_some(sum as f32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engines::text::postings::{Holders, Postings};

    const DOCS: u32 = 20_000;

    fn clause<'a>(weight: f32, holders: &Holders, lengths: &'a [f32]) -> Clause<'a> {
        Clause { cursor: Cursor::new(Postings::Made(holders.clone())), lengths, weight, flat: 0.3, slope: 0.009 }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn pruning_leaves_the_rows_as_they_are(
            lists in prop::collection::vec((0.01_f32..9.0, prop::collection::btree_map(0..DOCS, 1_u32..9, 1..1_500)), 1..9),
            depth in 1_usize..40,
            every in 1_u32..4,
        ) {
            let lengths: Vec<f32> = (0..DOCS).map(|doc| ((doc * 7_919) % 301) as f32).collect();
            let holders: Vec<(f32, Holders)> = lists
                .iter()
                .map(|(weight, list)| (*weight, Holders { docs: list.keys().copied().collect(), frequencies: list.values().copied().collect() }))
                .collect();
            // Ids fall where documents rise, so that equal scores show.
            let id_of = |doc: u32| doc.is_multiple_of(every).then(|| u64::from(DOCS - doc));
            let clauses = || holders.iter().map(|(weight, list)| clause(*weight, list, &lengths)).collect::<Vec<_>>();
            let mut best = Best::new(depth);
            rank(clauses(), &id_of, &mut best);

            let mut all: std::collections::BTreeMap<u64, f64> = Default::default();
            for (one, (_, list)) in clauses().iter().zip(&holders) {
                for (doc, frequency) in list.docs.iter().zip(&list.frequencies) {
                    if let Some(id) = id_of(*doc) {
                        *all.entry(id).or_default() += f64::from(one.score(*doc, *frequency));
                    }
                }
            }
            let mut all: Vec<(u64, f32)> = all.into_iter().map(|(id, sum)| (id, sum as f32)).collect();
            all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            let asked: Vec<u32> = (0..DOCS).filter(|doc| doc.is_multiple_of(every * 3)).collect();
            let by_id: std::collections::BTreeMap<u64, f32> = all.iter().copied().collect();
            for (doc, score) in asked.iter().zip(scores(clauses(), &asked)) {
                prop_assert_eq!(score, by_id.get(&u64::from(DOCS - doc)).copied().unwrap_or(0.0));
            }
            all.truncate(depth);
            prop_assert_eq!(best.into_rows(), all);
        }
    }

    #[test]
    fn equal_scores_are_ranked_by_id_also_at_the_last_place() {
        let lengths = vec![10.0; 9_000];
        let holders = Holders { docs: (0..9_000).collect(), frequencies: vec![1; 9_000] };
        let mut best = Best::new(3);
        rank(vec![clause(1.0, &holders, &lengths)], &|doc| Some(u64::from(9_000 - doc)), &mut best);
        assert_eq!(best.into_rows().iter().map(|row| row.0).collect::<Vec<_>>(), [1, 2, 3]);
    }
}
