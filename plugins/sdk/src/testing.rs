//! Arguments for tests of a plugin's logic.

use crate::{Call, Profile, Run};

/// A call that asks for `limit` findings, records its spans and has a second.
pub fn call(limit: u32) -> Call {
    Call { recording: true, deadline_us: 1_000_000, limit, explain: false }
}

/// A query over an index of `documents` chunks with the channels `bm25` and `dense`.
/// `terms` come with their document frequencies; identifiers and phrases are empty.
pub fn profile(text: &str, documents: u64, terms: &[(&str, u32)]) -> Profile {
    Profile {
        text: text.into(),
        terms: terms.iter().map(|(term, _)| term.to_string()).collect(),
        document_frequencies: terms.iter().map(|&(_, frequency)| frequency).collect(),
        documents,
        identifiers: Vec::new(),
        phrases: Vec::new(),
        channels: vec!["bm25".into(), "dense".into()],
    }
}

/// A ranked list of (id, score), best first.
pub fn run(channel: &str, weight: f32, rows: &[(u64, f32)]) -> Run {
    Run {
        channel: channel.into(),
        weight,
        ids: rows.iter().map(|&(id, _)| id).collect(),
        scores: rows.iter().map(|&(_, score)| score).collect(),
    }
}
