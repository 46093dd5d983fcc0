//! The channel of words: BM25 in the text index, and what widens its queries.

use std::sync::Arc;

use super::{Channel, ChannelError, ChannelQuery};
use crate::engines::text::TextQuery;
use crate::index::snapshot::{Admitted, Snapshot};
use crate::rm3::{Feedback, Rm3Settings, widen};
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
        span.set(attr::QUERY_TERMS, query.text.terms.len() as i64);
        if !query.text.groups.is_empty() {
            span.set(attr::QUERY_PREFIXES, query.text.groups.len() as i64);
        }
        if !query.text.phrases.is_empty() {
            span.set(attr::QUERY_PHRASES, query.text.phrases.len() as i64);
        }
        let rows = best(&self.snapshot, &query.text, query.depth, query.admitted.as_ref())?;
        span.set(attr::HITS, rows.len() as i64);
        Ok(RankedList::from_rows(rows)?)
    }
}

fn best(snapshot: &Snapshot, query: &TextQuery, depth: usize, admitted: Option<&Admitted>) -> Result<Vec<(ChunkId, f32)>, ChannelError> {
    let engine = |error: crate::engines::text::TextError| ChannelError::Engine(error.to_string());
    match admitted {
        None => snapshot.text.search(query, depth, None).map_err(engine),
        Some(admitted) => {
            let admitted = admitted.clone();
            snapshot.text.search(query, depth, Some(&move |id| admitted.contains(ChunkId(id)))).map_err(engine)
        }
    }
}

/// The query's terms with those of its best answers (RM3); `all_terms` are the query's
/// own with their repetitions. `span` is the step's own.
///
/// # Errors
/// When the text index or the catalog can't be read.
pub fn widened(
    snapshot: &Snapshot,
    query: &ChannelQuery,
    all_terms: &[String],
    settings: &Rm3Settings,
    span: &Span,
) -> Result<Vec<(String, f32)>, ChannelError> {
    let rows = best(snapshot, &query.text, settings.documents, query.admitted.as_ref())?;
    let ids: Vec<ChunkId> = rows.iter().map(|row| row.0).collect();
    let (chunks, _) = snapshot.catalog.hydrate(&ids).map_err(|error| ChannelError::Engine(error.to_string()))?;
    // Those that are missing in the catalog are passed over.
    let mut chunks = chunks.iter().peekable();
    let feedback: Vec<Feedback> = rows
        .iter()
        .filter_map(|(id, score)| chunks.next_if(|chunk| chunk.id == *id).map(|chunk| Feedback { text: &chunk.text, score: *score }))
        .collect();
    span.set(attr::RM3_DOCUMENTS, feedback.len() as i64);
    let frequency_of = |term: &str| snapshot.text.document_frequency(term);
    let terms = widen(all_terms, &feedback, snapshot.text.documents(), &frequency_of, settings)
        .map_err(|error| ChannelError::Engine(error.to_string()))?;
    span.set(attr::RM3_TERMS, terms.len() as i64);
    Ok(terms)
}
