//! Rows of a catalog that are kept in memory: what was looked up, or read ahead, costs no
//! second statement. Bounded by bytes; what was not asked for the longest goes first.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use crate::index::catalog::NewChunk;
use crate::types::ChunkId;

/// What a row takes beside its texts: itself, its place in the table, its allocations.
const ROW_BYTES: usize = size_of::<NewChunk>() + 128;

pub(super) struct RowCache {
    bytes_max: usize,
    kept: Mutex<Kept>,
}

struct Kept {
    rows: LruCache<ChunkId, Arc<NewChunk>>,
    bytes: usize,
}

impl RowCache {
    pub fn new(bytes_max: usize) -> RowCache {
        RowCache { bytes_max, kept: Mutex::new(Kept { rows: LruCache::unbounded(), bytes: 0 }) }
    }

    /// Those of the rows that are there, in the order of `ids`.
    pub fn get(&self, ids: &[ChunkId]) -> Vec<Arc<NewChunk>> {
        let mut kept = self.lock();
        ids.iter().filter_map(|id| kept.rows.get(id).cloned()).collect()
    }

    pub fn keep(&self, row: Arc<NewChunk>) {
        let mut kept = self.lock();
        kept.bytes += bytes(&row);
        if let Some(before) = kept.rows.put(row.id, row) {
            kept.bytes -= bytes(&before);
        }
        while kept.bytes > self.bytes_max
            && let Some((_, oldest)) = kept.rows.pop_lru()
        {
            kept.bytes -= bytes(&oldest);
        }
    }

    /// Whether another row like those there would drive one out.
    pub fn is_full(&self) -> bool {
        let kept = self.lock();
        self.bytes_max == 0 || kept.bytes + kept.bytes / kept.rows.len().max(1) > self.bytes_max
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // A panic between the lines above could only make the count of bytes wrong.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bytes(row: &NewChunk) -> usize {
    ROW_BYTES + row.symbol.as_ref().map_or(0, String::len) + row.definitions.len() + row.text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_within_its_bytes_and_keeps_what_was_asked_for_last() {
        let row = |id| NewChunk { id: ChunkId(id), text: "x".repeat(2_000), ..NewChunk::default() };
        let cache = RowCache::new(10 * bytes(&row(0)));
        for id in 0..10 {
            assert!(!cache.is_full());
            cache.keep(Arc::new(row(id)));
        }
        assert!(cache.is_full());
        cache.keep(Arc::new(row(9)));
        assert_eq!(*cache.get(&[ChunkId(0)])[0], row(0));
        (10..15).for_each(|id| cache.keep(Arc::new(row(id))));
        let all: Vec<ChunkId> = (0..15).map(ChunkId).collect();
        let kept: Vec<u64> = cache.get(&all).iter().map(|row| row.id.0).collect();
        assert_eq!(kept, [0, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
        assert!(RowCache::new(0).is_full());
        // One that is larger than all there is room for is not kept.
        cache.keep(Arc::new(NewChunk { text: "x".repeat(50_000), ..row(99) }));
        assert!(cache.get(&[ChunkId(99)]).is_empty());
    }
}
