//! The index, online: ways of finding chunks, asked side by side.

mod bm25;
mod dense;
mod files;

use std::sync::Arc;

pub use bm25::{Bm25Channel, widened};
pub use dense::DenseChannel;
pub use files::FilesChannel;

use crate::engines::text::TextQuery;
use crate::index::snapshot::Admitted;
use crate::telemetry::Span;
use crate::types::{ChannelName, NotFinite, RankedList};

/// What a channel is asked.
#[derive(Clone, Debug)]
pub struct ChannelQuery {
    /// What the text indexes are asked for.
    pub text: Arc<TextQuery>,
    /// Unit length; `None` when there is none for this query.
    pub vector: Option<Arc<[f32]>>,
    /// `None` admits every chunk.
    pub admitted: Option<Admitted>,
    /// Rows wanted, at least 1.
    pub depth: usize,
}

/// Finds chunks. Blocks; the caller gives it a thread and a deadline.
pub trait Channel: Send + Sync {
    fn name(&self) -> ChannelName;

    /// What its span is called.
    fn span_name(&self) -> &'static str;

    /// The best chunks, best first, at most `depth`. A query that has nothing for
    /// this channel gives no rows. `span` is the channel's own, on which it says what it
    /// did.
    ///
    /// # Errors
    /// [`ChannelError`]; the search goes on with the other channels.
    fn search(&self, query: &ChannelQuery, span: &Span) -> Result<RankedList, ChannelError>;
}

/// Why a channel has no list.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// It did not answer in its time.
    #[error("did not answer within {deadline_ms} ms")]
    DeadlinePassed { deadline_ms: u64 },
    /// Its engine failed.
    #[error("{0}")]
    Engine(String),
    /// A score can't be ranked.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
}

impl ChannelError {
    /// The value of `error.type`, and the cause in the envelope.
    pub fn class(&self) -> &'static str {
        match self {
            ChannelError::DeadlinePassed { .. } => "deadline",
            ChannelError::Engine(_) => "engine",
            ChannelError::NotFinite(_) => "not_finite",
        }
    }
}
