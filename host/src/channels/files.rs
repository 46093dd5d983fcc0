//! The channel of whole files: BM25 over files, answered with the best chunk of each.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Channel, ChannelError, ChannelQuery};
use crate::engines::text::TextError;
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
    /// where none holds a word by itself, by its first one.
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
        let wanted: HashMap<u32, f32> = files.iter().copied().collect();
        // All chunks of these files that hold a word.
        let depth = files.iter().map(|(file, _)| chunks.chunks_of(*file).len()).sum();
        let of_wanted = |id: u64| admits(ChunkId(id)) && chunks.file_number(ChunkId(id)).is_some_and(|file| wanted.contains_key(&file));
        let held = self.snapshot.text.search(&query.text, depth, Some(&of_wanted)).map_err(engine)?;
        let mut best: HashMap<u32, ChunkId> = HashMap::new();
        for (id, _) in held {
            if let Some(file) = chunks.file_number(id) {
                best.entry(file).or_insert(id);
            }
        }
        let first = |file: u32| chunks.chunks_of(file).iter().copied().find(|id| admits(*id));
        let rows: Vec<(ChunkId, f32)> =
            files.into_iter().filter_map(|(file, score)| Some((best.get(&file).copied().or_else(|| first(file))?, score))).collect();
        span.set(attr::HITS, rows.len() as i64);
        Ok(RankedList::from_rows(rows)?)
    }
}
