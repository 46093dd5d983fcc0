//! Leaves of each record its best passage: a record is one finding, however many of its passages were found.

use std::collections::HashSet;

use super::find::Boosted;
use crate::index::snapshot::ChunkTable;
use crate::types::RankedList;

/// The rows without those whose record has a better one, and how many those were. The chunks of files all stay.
pub(super) fn best_passages(boosted: Boosted, chunks: &ChunkTable) -> (Boosted, usize) {
    if !chunks.has_records() {
        return (boosted, 0);
    }
    let mut seen = HashSet::new();
    let stays = |row: &usize| match boosted.list.ids.get(*row).and_then(|id| chunks.record_of(*id)) {
        Some(record) => seen.insert(record),
        None => true,
    };
    let rows: Vec<usize> = (0..boosted.list.len()).filter(stays).collect();
    let collapsed = boosted.list.len() - rows.len();
    let list = RankedList {
        ids: rows.iter().map(|row| boosted.list.ids[*row]).collect(),
        scores: rows.iter().map(|row| boosted.list.scores[*row]).collect(),
    };
    let fused_rows = rows.iter().map(|row| boosted.fused_rows[*row]).collect();
    (Boosted { list, fused_rows }, collapsed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::snapshot::tests::table;
    use crate::types::ChunkId;

    /// Chunk n is of file `files[n]`; `records` says which files are records.
    fn check(records: &[bool], files: &[u32], ranked: &[u64], expect: &[(u64, usize)]) {
        let boosted = Boosted {
            list: RankedList {
                ids: ranked.iter().copied().map(ChunkId).collect(),
                scores: (0..ranked.len()).map(|row| -(row as f32)).collect(),
            },
            fused_rows: (0..ranked.len()).map(|row| row + 10).collect(),
        };
        let (left, collapsed) = best_passages(boosted, &table(records, files));
        let found: Vec<(u64, usize)> = left.list.ids.iter().map(|id| id.0).zip(left.fused_rows.iter().copied()).collect();
        assert_eq!(found, expect);
        assert_eq!(collapsed, ranked.len() - expect.len());
        assert!(left.list.scores.iter().zip(&left.fused_rows).all(|(score, row)| -score == (row - 10) as f32));
    }

    #[test]
    fn a_record_stands_once_and_a_file_as_often_as_it_is_found() {
        check(&[], &[], &[], &[]);
        check(&[false, false], &[0, 0, 1], &[2, 1, 0], &[(2, 10), (1, 11), (0, 12)]);
        check(&[true, false, true], &[0, 0, 1, 1, 2, 2], &[1, 3, 0, 5, 2, 4], &[(1, 10), (3, 11), (5, 13), (2, 14)]);
        // An id that the table doesn't know is left to those who look it up.
        check(&[true], &[0, 0], &[9, 0, 1, 9], &[(9, 10), (0, 11), (9, 13)]);
    }
}
