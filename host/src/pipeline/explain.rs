//! What an answer would have been without each of its channels: the ranking is made
//! again, from fusion to rerank, with that channel's list left out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::find::Gathered;
use super::judge::Ranked;
use super::{Notes, Search, rank};
use crate::plugin::{CallSettings, ChannelRun, Decision};
use crate::profile::QueryProfile;
use crate::telemetry::Span;
use crate::telemetry::conventions::{attr, span};
use crate::types::{ChannelName, ChunkId};

/// The rank of each chunk, from 1, had a channel not been there.
pub(super) type Without = BTreeMap<ChannelName, HashMap<ChunkId, u32>>;

/// Ranks without each channel in turn, when the request asked why. Stages that fail on
/// the way use their fallbacks, which is noted.
pub(super) async fn without_each_channel(
    search: &Search<'_>,
    parent: &Span,
    profile: &Arc<QueryProfile>,
    decision: &Decision,
    gathered: &Gathered,
    notes: &mut Notes,
) -> Without {
    let mut without = Without::new();
    if !search.request.explain {
        return without;
    }
    let stage = search.stage(parent, span::EXPLAIN);
    let call = CallSettings { explain: false, observe: false, ..search.call };
    let compared = Search { call, recording: None, answers: false, ..search.clone() };
    for left_out in &gathered.runs {
        let rest: Vec<ChannelRun> = gathered.runs.iter().filter(|run| run.channel != left_out.channel).cloned().collect();
        let mut ranks = HashMap::new();
        if !rest.is_empty() {
            let within = stage.child(span::EXPLAIN);
            within.set(attr::WITHOUT_CHANNEL, left_out.channel.as_str());
            let mut failures = Notes::untold();
            let rest = Gathered { runs: rest, asked: gathered.asked.clone(), ..Gathered::default() };
            ranks = ranks_of(&rank(&compared, &within, profile, decision, &rest, &mut failures).await);
            if let Some(first) = failures.degraded.first() {
                notes.warn(format!("the ranks without {} are not exact: {} ({})", left_out.channel, first.part, first.cause));
            }
        }
        without.insert(left_out.channel, ranks);
    }
    stage.end();
    without
}

fn ranks_of(ranked: &Ranked) -> HashMap<ChunkId, u32> {
    let placed = ranked.placed.iter().filter_map(|placed| ranked.candidates.list.ids.get(placed.row).copied());
    placed.chain(ranked.candidates.beyond.iter().copied()).zip(1..).collect()
}
