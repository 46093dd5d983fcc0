//! The rows a reranker may ask about: those of its call, already hydrated.

use std::sync::Arc;

use super::evidence::Evidence;
use crate::index::catalog::ChunkRow;

/// Hydrated rows, found by chunk id. Cheap to clone.
#[derive(Clone)]
pub struct DocumentRows {
    rows: Arc<Vec<ChunkRow>>,
    /// (chunk id, place in `rows`), sorted by id.
    by_id: Arc<Vec<(u64, u32)>>,
    evidence: Evidence,
}

impl DocumentRows {
    /// Rows without any evidence.
    pub fn new(rows: Arc<Vec<ChunkRow>>) -> DocumentRows {
        let mut by_id: Vec<(u64, u32)> = rows.iter().zip(0..).map(|(row, place)| (row.id.0, place)).collect();
        by_id.sort_unstable();
        DocumentRows { rows, by_id: Arc::new(by_id), evidence: Evidence::None }
    }

    /// The same rows, with what the index knows of them and of the query.
    pub fn with_evidence(self, evidence: Evidence) -> DocumentRows {
        DocumentRows { evidence, ..self }
    }

    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// In the order in which they were given.
    pub fn rows(&self) -> &[ChunkRow] {
        &self.rows
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn get(&self, id: u64) -> Option<&ChunkRow> {
        let place = self.by_id.binary_search_by_key(&id, |(known, _)| *known).ok()?;
        self.rows.get(self.by_id[place].1 as usize)
    }
}
