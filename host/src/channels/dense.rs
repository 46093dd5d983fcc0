//! The channel of meaning: nearest vectors in FAISS.

use std::sync::Arc;
use std::time::Instant;

use super::{Channel, ChannelError, ChannelQuery};
use crate::index::snapshot::Snapshot;
use crate::telemetry::conventions::{attr, span};
use crate::telemetry::{Fact, Span};
use crate::types::{ChannelName, RankedList};

/// FAISS over one generation.
pub struct DenseChannel {
    pub snapshot: Arc<Snapshot>,
}

impl Channel for DenseChannel {
    fn name(&self) -> ChannelName {
        ChannelName::Dense
    }

    fn span_name(&self) -> &'static str {
        span::FAISS
    }

    fn search(&self, query: &ChannelQuery, span: &Span) -> Result<RankedList, ChannelError> {
        let (Some(dense), Some(vector)) = (&self.snapshot.dense, &query.vector) else { return Ok(RankedList::default()) };
        let info = dense.index.info();
        span.set(attr::FAISS_INDEX_KIND, info.kind.clone());
        span.set(attr::FAISS_METRIC, info.metric.clone());
        span.set(attr::FAISS_DIM, info.dimension as i64);
        span.set(attr::FAISS_K, query.depth as i64);
        span.set(attr::FAISS_NPROBE, info.nprobe as i64);
        span.set(attr::FAISS_GPU, false);
        let bitmap = query.admitted.as_ref().map(|admitted| {
            let mut bits = vec![0_u8; dense.ids.len().div_ceil(8)];
            for (row, _) in dense.ids.iter().enumerate().filter(|(_, id)| admitted.contains(**id)) {
                bits[row / 8] |= 1 << (row % 8);
            }
            bits
        });
        let began = Instant::now();
        let hits = dense.index.search(vector, query.depth, bitmap.as_deref()).map_err(|error| ChannelError::Engine(error.to_string()))?;
        span.record(&Fact::FaissSearched { kind: &info.kind, seconds: began.elapsed().as_secs_f64() });
        let rows: Vec<_> = hits.into_iter().filter_map(|(row, score)| Some((*dense.ids.get(row)?, score))).collect();
        span.set(attr::HITS, rows.len() as i64);
        Ok(RankedList::from_rows(rows)?)
    }
}
