//! The channel of words: BM25 in the text index.

use std::sync::Arc;

use super::{Channel, ChannelError, ChannelQuery};
use crate::index::snapshot::Snapshot;
use crate::telemetry::Span;
use crate::telemetry::conventions::{attr, span};
use crate::types::{ChannelName, ChunkId, RankedList};

/// BM25 over one generation.
pub struct Bm25Channel {
    pub snapshot: Arc<Snapshot>,
}

impl Channel for Bm25Channel {
    fn name(&self) -> ChannelName {
        ChannelName::Bm25
    }

    fn span_name(&self) -> &'static str {
        span::BM25
    }

    fn search(&self, query: &ChannelQuery, span: &Span) -> Result<RankedList, ChannelError> {
        span.set(attr::QUERY_TERMS, query.terms.len() as i64);
        let admitted = query
            .admitted
            .clone()
            .map(|admitted| Arc::new(move |id: u64| admitted.contains(ChunkId(id))) as Arc<dyn Fn(u64) -> bool + Send + Sync>);
        let rows =
            self.snapshot.text.search(&query.terms, query.depth, admitted).map_err(|error| ChannelError::Engine(error.to_string()))?;
        span.set(attr::HITS, rows.len() as i64);
        Ok(RankedList::from_rows(rows)?)
    }
}
