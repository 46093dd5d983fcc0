//! The stages of each tool, by their spans, in the order in which they begin.

pub(super) const PROFILE: &str = span::PROFILE;
pub(super) const GATE: &str = span::GATE;
pub(super) const TEAM: &str = span::TEAM;
pub(super) const EMBED: &str = span::EMBED;
pub(super) const GATHER: &str = span::GATHER;
pub(super) const BM25: &str = span::BM25;
pub(super) const RM3: &str = span::RM3;
pub(super) const FAISS: &str = span::FAISS;
pub(super) const FILES: &str = span::FILES;
pub(super) const FUSE: &str = span::FUSE;
pub(super) const RECENCY: &str = span::RECENCY;
pub(super) const HYDRATE: &str = span::HYDRATE;
pub(super) const RERANK: &str = span::RERANK;
pub(super) const EXPLAIN: &str = span::EXPLAIN;
pub(super) const ENVELOPE: &str = span::ENVELOPE;
pub(super) const OPEN_FILE: &str = span::OPEN_FILE;
pub(super) const VLLM_EMBED: &str = span::VLLM_EMBED;
pub(super) const REPORT: &str = "report.compose";
pub(super) const GIT_BLAME: &str = "git.blame";
pub(super) const GIT_HISTORY: &str = "git.history";

use crate::telemetry::SHADOW;
use crate::telemetry::conventions::span;

const SEARCH: [&str; 13] = [PROFILE, GATE, EMBED, GATHER, BM25, FAISS, FILES, FUSE, RECENCY, HYDRATE, RERANK, EXPLAIN, ENVELOPE];

/// The stages of a tool; none for one that isn't known.
pub(super) fn of_tool(tool: &str) -> &'static [&'static str] {
    match tool {
        "semantic_search" | "semantic_search_pro" | SHADOW => &SEARCH,
        "open_file" => &[OPEN_FILE],
        "git_blame" => &[GIT_BLAME],
        "git_history" => &[GIT_HISTORY],
        "run_report" => &[REPORT],
        _ => &[],
    }
}

/// Where a stage stands among those of a search; others come after all of them.
pub(super) fn place(stage: &str) -> usize {
    SEARCH.iter().position(|known| *known == stage).unwrap_or(SEARCH.len())
}

/// The stage that a part of an answer belongs to; a part that isn't known is its own.
pub(super) fn of_part(part: &str) -> &str {
    match part {
        "gate" => GATE,
        "fusion" => FUSE,
        "rerank" => RERANK,
        "hydrate" => HYDRATE,
        "rm3" => RM3,
        other => of_channel(other).unwrap_or(other),
    }
}

/// The span of a channel.
pub(super) fn of_channel(channel: &str) -> Option<&'static str> {
    match channel {
        "bm25" => Some(BM25),
        "dense" => Some(FAISS),
        "files" => Some(FILES),
        _ => None,
    }
}
