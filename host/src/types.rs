//! The few types that every stage of a query shares.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A chunk of an indexed file. Kept over generations while its file is unchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ChunkId(pub u64);

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A way of finding chunks. The order here is the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChannelName {
    /// BM25 over the text index.
    Bm25,
    /// Nearest vectors in FAISS.
    Dense,
    /// BM25 over whole files, by the best chunk of each.
    Files,
}

impl ChannelName {
    pub const ALL: [ChannelName; 3] = [ChannelName::Bm25, ChannelName::Dense, ChannelName::Files];

    pub fn as_str(self) -> &'static str {
        match self {
            ChannelName::Bm25 => "bm25",
            ChannelName::Dense => "dense",
            ChannelName::Files => "files",
        }
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ChannelName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        ChannelName::ALL
            .into_iter()
            .find(|channel| channel.as_str() == name)
            .ok_or_else(|| format!("unknown channel `{name}`: it is one of bm25, dense, files"))
    }
}

/// One judgement stage, done by a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Gate,
    Fusion,
    Rerank,
}

impl Stage {
    pub const ALL: [Stage; 3] = [Stage::Gate, Stage::Fusion, Stage::Rerank];

    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Gate => "gate",
            Stage::Fusion => "fusion",
            Stage::Rerank => "rerank",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A ranked list of chunks, best first; ids don't repeat, scores are finite.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RankedList {
    pub ids: Vec<ChunkId>,
    /// As long as `ids`.
    pub scores: Vec<f32>,
}

impl RankedList {
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// A list out of rows, put in order: score descending, then id. Scores that
    /// are not finite are refused.
    ///
    /// # Errors
    /// [`NotFinite`] names the first chunk with such a score.
    pub fn from_rows(mut rows: Vec<(ChunkId, f32)>) -> Result<RankedList, NotFinite> {
        if let Some((chunk, score)) = rows.iter().find(|(_, score)| !score.is_finite()) {
            return Err(NotFinite { chunk: *chunk, score: *score });
        }
        rows.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let (ids, scores) = rows.into_iter().unzip();
        Ok(RankedList { ids, scores })
    }
}

/// A score that can't be ranked.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("chunk {chunk} has the score {score}; scores must be finite")]
pub struct NotFinite {
    pub chunk: ChunkId,
    pub score: f32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_ordered_by_score_then_id_and_nan_is_named() {
        let rows = vec![(ChunkId(3), 1.0), (ChunkId(1), 1.0), (ChunkId(2), 2.0)];
        assert_eq!(RankedList::from_rows(rows).unwrap().ids, [ChunkId(2), ChunkId(1), ChunkId(3)]);
        let bad = RankedList::from_rows(vec![(ChunkId(1), 0.0), (ChunkId(9), f32::NAN)]).unwrap_err();
        assert_eq!(bad.chunk, ChunkId(9));
    }
}
