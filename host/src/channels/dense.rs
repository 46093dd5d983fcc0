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
        let info = &dense.info.index;
        span.set(attr::FAISS_INDEX_KIND, info.kind.clone());
        span.set(attr::FAISS_METRIC, info.metric.clone());
        span.set(attr::FAISS_DIM, info.dimension as i64);
        span.set(attr::FAISS_K, query.depth as i64);
        span.set(attr::FAISS_NPROBE, info.nprobe as i64);
        span.set(attr::FAISS_GPU, false);
        span.set(attr::FAISS_ROWS, info.rows as i64);
        span.set(attr::FAISS_ROWS_REMOVED, dense.info.removed as i64);
        span.set(attr::FAISS_ROWS_SECONDARY, dense.info.secondary as i64);
        let began = Instant::now();
        let rows = dense.search(vector, query.depth, query.admitted.as_ref()).map_err(|error| ChannelError::Engine(error.to_string()))?;
        span.record(&Fact::FaissSearched { kind: &info.kind, seconds: began.elapsed().as_secs_f64() });
        span.set(attr::HITS, rows.len() as i64);
        Ok(RankedList::from_rows(rows)?)
    }
}
