//! The channel of whole files: BM25 over files, answered with the best chunk of each.

use std::sync::Arc;

use super::{Channel, ChannelError, ChannelQuery};
use crate::engines::text::{Bm25Settings, TextError, TextQuery};
use crate::index::snapshot::Snapshot;
use crate::telemetry::Span;
use crate::telemetry::conventions::{attr, span};
use crate::types::{ChannelName, ChunkId, RankedList};

/// BM25 over the files of one generation.
pub struct FilesChannel {
    pub snapshot: Arc<Snapshot>,
}

impl Channel for FilesChannel {
    fn name(&self) -> ChannelName {
        ChannelName::Files
    }

    fn span_name(&self) -> &'static str {
        span::FILES
    }

    /// The best files, each with its score, by the chunk that is best for the same words;
    /// of equals, or where none holds a word by itself, by the first one.
    fn search(&self, query: &ChannelQuery, span: &Span) -> Result<RankedList, ChannelError> {
        span.set(attr::QUERY_TERMS, query.text.terms.len() as i64);
        let engine = |error: TextError| ChannelError::Engine(error.to_string());
        let chunks = &self.snapshot.chunks;
        let files = match &query.admitted {
            None => self.snapshot.best_files(&query.text, query.depth, None),
            Some(admitted) => {
                let files = chunks.files_of(admitted);
                let admits = move |file: u32| files.get(file as usize).copied().unwrap_or(false);
                self.snapshot.best_files(&query.text, query.depth, Some(&admits))
            }
        }
        .map_err(engine)?;
        let admits = |id: ChunkId| query.admitted.as_ref().is_none_or(|admitted| admitted.contains(id));
        let own: Vec<(u32, f32, Vec<ChunkId>)> = files
            .into_iter()
            .map(|(file, score)| (file, score, chunks.chunks_of(file).iter().copied().filter(|id| admits(*id)).collect()))
            .collect();
        let all: Vec<ChunkId> = own.iter().flat_map(|(_, _, ids)| ids).copied().collect();
        // The path says the same of all chunks of a file.
        let settings = Bm25Settings { path_weight: 0.0, ..query.text.settings };
        let within = TextQuery { settings, ..(*query.text).clone() };
        let mut scores = self.snapshot.text.scores_of(&within, &all).map_err(engine)?.into_iter();
        let mut rows: Vec<(ChunkId, f32)> = Vec::with_capacity(own.len());
        for (_, score, ids) in own {
            let of_chunks = scores.by_ref().take(ids.len());
            let best = ids.into_iter().zip(of_chunks).reduce(|best, next| if next.1 > best.1 { next } else { best });
            rows.extend(best.map(|(id, _)| (id, score)));
        }
        span.set(attr::HITS, rows.len() as i64);
        Ok(RankedList::from_rows(rows)?)
    }
}
