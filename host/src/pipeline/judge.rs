//! The stages that plugins do: gate, fuse, rerank. Each has a fallback.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;

use super::find::{Candidates, Gathered};
use super::{Arm, Changes, Notes, Search, blocking, in_place, record};
use crate::evidence::{Asked, IndexEvidence};
use crate::plugin::{
    Budget, CallReport, Called, Capability, Cause, ChannelRun, Configured, Decision, DocumentRows, Evidence, Explained, Fused,
    PluginFailure, Scoring, fallback,
};
use crate::profile::QueryProfile;
use crate::request::SearchRequest;
use crate::telemetry::conventions::{attr, event, span};
use crate::telemetry::{Fact, GivenUp, Span, map_value, texts};
use crate::types::{ChannelName, RankedList, Stage};

/// How much longer than a plugin's own limit the host waits for the thread that runs
/// it. Guests are interrupted at their limit; this is for a model that can't be.
const GRACE: Duration = Duration::from_millis(250);
/// Guests that may run longer have a thread of their own: a call is not given up while one
/// runs in its place.
const IN_PLACE_MAX: Duration = Duration::from_millis(250);
/// Depth of a channel that the request names and the gate left out.
const NAMED_CHANNEL_DEPTH: u32 = 100;

/// A row in its final place.
pub(super) struct Placed {
    /// Row in [`Candidates`].
    pub row: usize,
    pub score: f32,
    /// `None` when the row was not reranked.
    pub rerank_score: Option<f32>,
}

/// What came of the gate, before the arms and the request have their say.
#[derive(Clone)]
pub(super) struct Gated {
    decision: Decision,
    features: serde_json::Map<String, serde_json::Value>,
}

impl Gated {
    pub fn class(&self) -> &str {
        &self.decision.class
    }
}

/// A decision, and what the gate says of it.
pub(super) struct Decided {
    pub decision: Decision,
    pub features: serde_json::Map<String, serde_json::Value>,
}

/// What there is to rerank.
pub(super) struct Rows<'a> {
    /// The channels' lists, out of which all others came.
    pub runs: &'a [ChannelRun],
    pub asked: Asked,
    pub fused: Fused,
    pub candidates: Candidates,
}

/// A ranking: the first rows hydrated and in their final order.
pub(super) struct Ranked {
    pub fused: Fused,
    pub candidates: Candidates,
    pub placed: Vec<Placed>,
    /// What the reranker says of the first rows of `candidates`.
    pub explained: Explained,
    pub reranked: bool,
}

/// How deep to look, as the gate has it, and the stage, which [`settled`] ends.
pub(super) async fn gate(search: &Search<'_>, parent: &Span, profile: &Arc<QueryProfile>, notes: &mut Notes) -> (Gated, GateStage) {
    let (plugin, call) = (&search.chosen.gate, search.call);
    let stage = search.stage(parent, span::GATE);
    let left = GivenUp(stage.clone());
    let evidence = evidence(search, profile, &[], Asked::default());
    let (asked, given, within) = (profile.clone(), evidence.clone(), stage.clone());
    let struck = search.strike(span::GATE).await;
    let called = guarded(plugin, struck, move |plugin| plugin.decide(&within, call, &asked, given)).await;
    note_limits(plugin, &called.report, notes);
    let features = called.report.explained.features.clone();
    record::gate(search, profile, &evidence, &called);
    let decision = match called.outcome {
        Ok(decision) => decision,
        Err(failure) => {
            fell_back(Stage::Gate, &failure, "fixed budgets", &stage, notes);
            fallback::decide(&profile.channels)
        }
    };
    (Gated { decision, features }, GateStage { span: stage, _left: left })
}

/// The gate's span while it is open.
pub(super) struct GateStage {
    span: Span,
    _left: GivenUp,
}

impl GateStage {
    /// Ends a stage that decides for several rankings, each of which has changes of its own.
    pub fn end(self, search: &Search<'_>, gated: Gated, profile: &QueryProfile) {
        settled(search, gated, Some(self), &search.run.root, profile, &mut Notes::untold());
    }
}

/// The decision that holds: what the request says goes before the arms' word, and that
/// before the gate's. It is told on the gate's stage, which it ends; where that is over,
/// on `parent`.
pub(super) fn settled(
    search: &Search<'_>,
    gated: Gated,
    open: Option<GateStage>,
    parent: &Span,
    profile: &QueryProfile,
    notes: &mut Notes,
) -> Decided {
    let Gated { mut decision, features } = gated;
    settle(&mut decision, profile, search.arms.iter(), search.request, notes);
    let Some(GateStage { span: stage, _left }) = open else {
        note_decision(parent, &decision);
        return Decided { decision, features };
    };
    search.arms.mark(&stage);
    note_decision(&stage, &decision);
    stage.record(&Fact::Gated {
        class: &decision.class,
        rm3: decision.rm3,
        rrf_k: f64::from(decision.rrf_k),
        ambiguity: f64::from(decision.ambiguity),
    });
    // Not left to the last handle, which a call that hangs may hold.
    stage.end();
    Decided { decision, features }
}

/// What plugins may ask about the query, and about the rows of `runs`.
fn evidence(search: &Search<'_>, profile: &Arc<QueryProfile>, runs: &[ChannelRun], asked: Asked) -> Evidence {
    let found = runs.iter().map(|run| (run.channel, run.list.clone())).collect();
    Evidence::Index(Arc::new(IndexEvidence { snapshot: search.host.snapshot.clone(), profile: profile.clone(), found, asked }))
}

/// Brings together what the gate decided, what arms change, what the request says and what
/// this index has.
fn settle<'a>(
    decision: &mut Decision,
    profile: &QueryProfile,
    arms: impl Iterator<Item = &'a Arm>,
    request: &SearchRequest,
    notes: &mut Notes,
) {
    decision.budgets.retain(|budget| profile.channels.contains(&budget.channel));
    for Arm { stamp, changes, .. } in arms {
        let by = format!("by experiment {}, arm {}", stamp.id, stamp.variant);
        let Changes { channels, depths, weights, rerank_depth, rrf_k, rm3, .. } = changes;
        apply(decision, profile, Wish { channels: channels.as_deref(), depths, weights, by: &by }, notes);
        decision.rerank_depth = rerank_depth.unwrap_or(decision.rerank_depth);
        decision.rrf_k = rrf_k.unwrap_or(decision.rrf_k);
        decision.rm3 = rm3.unwrap_or(decision.rm3);
        if rerank_depth.is_some() || rrf_k.is_some() || rm3.is_some() {
            decision.reasons.push(format!("set {by}"));
        }
    }
    let SearchRequest { channels, depths, weights, .. } = request;
    apply(decision, profile, Wish { channels: channels.as_deref(), depths, weights, by: "as requested" }, notes);
    for budget in &mut decision.budgets {
        budget.depth = budget.depth.max(request.reach.depth_min);
    }
    if decision.budgets.is_empty() {
        decision.budgets = fallback::decide(&profile.channels).budgets;
        notes.degraded("gate", "no_channel", "fixed budgets", "no channel that was chosen is in this index; all others were asked".into());
    }
}

/// What somebody says of channels.
#[derive(Clone, Copy)]
struct Wish<'a> {
    channels: Option<&'a [ChannelName]>,
    depths: &'a BTreeMap<ChannelName, u32>,
    weights: &'a BTreeMap<ChannelName, f32>,
    /// Who says it, after “depth” or “named”.
    by: &'a str,
}

fn apply(decision: &mut Decision, profile: &QueryProfile, wish: Wish<'_>, notes: &mut Notes) {
    let Wish { channels, depths, weights, by } = wish;
    let named = |channel| Budget { channel, depth: NAMED_CHANNEL_DEPTH, weight: 1.0, reason: format!("named {by}") };
    if let Some(channels) = channels {
        decision.budgets.retain(|budget| channels.contains(&budget.channel));
        for &channel in channels {
            if !profile.channels.contains(&channel) {
                notes.degraded(
                    channel.as_str(),
                    "unavailable",
                    "answered without it",
                    format!("channel {channel} was asked for, but this index has none"),
                );
            } else if !decision.budgets.iter().any(|budget| budget.channel == channel) {
                decision.budgets.push(named(channel));
            }
        }
    }
    // A depth or weight asks for its channel, unless others are listed.
    for &channel in depths.keys().chain(weights.keys()) {
        let listed = channels.is_none_or(|channels| channels.contains(&channel));
        let known = decision.budgets.iter().any(|budget| budget.channel == channel);
        if listed && !known && profile.channels.contains(&channel) {
            decision.budgets.push(named(channel));
        } else if !known {
            notes.warn(format!("depth and weight of channel {channel} have no effect: it is not asked"));
        }
    }
    decision.budgets.sort_by_key(|budget| budget.channel);
    for budget in &mut decision.budgets {
        if let Some(depth) = depths.get(&budget.channel) {
            budget.depth = *depth;
            budget.reason = format!("depth {by}");
        }
        if let Some(weight) = weights.get(&budget.channel) {
            budget.weight = *weight;
        }
    }
}

fn note_decision(stage: &Span, decision: &Decision) {
    let depths: BTreeMap<&str, u32> = decision.budgets.iter().map(|budget| (budget.channel.as_str(), budget.depth)).collect();
    let weights: BTreeMap<&str, f32> = decision.budgets.iter().map(|budget| (budget.channel.as_str(), budget.weight)).collect();
    stage.set(attr::CLASS, decision.class.clone());
    stage.set(attr::AMBIGUITY, f64::from(decision.ambiguity));
    stage.set(attr::CHANNEL_DEPTHS, map_value(&depths));
    stage.set(attr::CHANNEL_WEIGHTS, map_value(&weights));
    stage.set(attr::RRF_K, f64::from(decision.rrf_k));
    stage.set(attr::RM3_ENABLED, decision.rm3);
    stage.set(attr::RERANK_DEPTH, i64::from(decision.rerank_depth));
    stage.set(attr::REASONS, texts(decision.reasons.iter().cloned()));
    stage.event(
        event::GATING_DECISION,
        vec![
            KeyValue::new(attr::CLASS, decision.class.clone()),
            KeyValue::new(attr::AMBIGUITY, f64::from(decision.ambiguity)),
            KeyValue::new(attr::CHANNEL_DEPTHS, map_value(&depths)),
            KeyValue::new(attr::RRF_K, f64::from(decision.rrf_k)),
            KeyValue::new(attr::RM3_ENABLED, decision.rm3),
            KeyValue::new(attr::REASONS, texts(decision.reasons.iter().cloned())),
        ],
    );
    for budget in &decision.budgets {
        stage.event(
            event::CHANNEL_BUDGET,
            vec![
                KeyValue::new(attr::CHANNEL, budget.channel.as_str()),
                KeyValue::new(attr::CHANNEL_DEPTH, i64::from(budget.depth)),
                KeyValue::new("reason", budget.reason.clone()),
            ],
        );
    }
}

/// One list out of the channels'.
pub(super) async fn fuse(search: &Search<'_>, parent: &Span, decision: &Decision, gathered: &Gathered, notes: &mut Notes) -> Fused {
    let (plugin, call) = (&search.chosen.fusion, search.call);
    let runs = &gathered.runs[..];
    let stage = search.stage(parent, span::FUSE);
    let _left = GivenUp(stage.clone());
    // What was fanned out comes together here.
    gathered.spans.iter().for_each(|span| stage.link(span));
    stage.set(attr::RRF_K, f64::from(decision.rrf_k));
    stage.set(attr::CHANNELS_USED, texts(runs.iter().map(|run| run.channel.as_str())));
    let (wire, rrf_k, within) = (runs.to_vec(), decision.rrf_k, stage.clone());
    let struck = search.strike(span::FUSE).await;
    let called = guarded(plugin, struck, move |plugin| plugin.fuse(&within, call, rrf_k, &wire)).await;
    note_limits(plugin, &called.report, notes);
    record::fusion(search, rrf_k, runs, &called);
    let fused = called.outcome.unwrap_or_else(|failure| {
        fell_back(Stage::Fusion, &failure, "the host's reciprocal rank fusion", &stage, notes);
        fallback::fuse(runs, decision.rrf_k)
    });
    stage.set(attr::FUSED_DOCS, fused.list.len() as i64);
    stage.end();
    fused
}

/// The first rows in a new order. Rows beyond the rerank depth follow in the order
/// they had, their scores scaled to go on from the last one reranked.
pub(super) async fn rerank(
    search: &Search<'_>,
    parent: &Span,
    profile: &Arc<QueryProfile>,
    decision: &Decision,
    rows: Rows<'_>,
    notes: &mut Notes,
) -> Ranked {
    let Rows { runs, asked, fused, candidates } = rows;
    let depth = (decision.rerank_depth as usize).min(candidates.list.len());
    let wanted = search.wants_rerank() && depth > 0;
    if search.answers {
        parent.set(attr::RERANK, wanted);
    }
    if !wanted {
        if search.answers {
            parent.skip(span::RERANK, if depth == 0 { "there are no rows to rerank" } else { "reranking is switched off" });
        }
        let placed = as_they_are(&candidates.list, 0);
        return Ranked { placed, candidates, fused, explained: Explained::default(), reranked: false };
    }
    let (plugin, call) = (&search.chosen.rerank, search.call);
    let stage = search.stage(parent, span::RERANK);
    let _left = GivenUp(stage.clone());
    stage.set(attr::RERANK_DEPTH, depth as i64);
    let rows = RankedList { ids: candidates.list.ids[..depth].to_vec(), scores: candidates.list.scores[..depth].to_vec() };
    let documents = DocumentRows::new(candidates.rows.clone()).with_evidence(evidence(search, profile, runs, asked));
    let scores = Scoring::Models {
        scorers: search.host.scorers.clone(),
        query: profile.text.as_str().into(),
        runtime: tokio::runtime::Handle::current(),
    };
    let (asked, given, held, within) = (profile.clone(), rows.clone(), documents.clone(), stage.clone());
    let struck = search.strike(span::RERANK).await;
    let called = guarded(plugin, struck, move |plugin| plugin.rerank(&within, call, &asked, &given, held, Some(scores))).await;
    note_limits(plugin, &called.report, notes);
    record::rerank(search, profile, &rows, &documents, &called);
    let placed = match called.outcome {
        Ok(scores) => reordered(&candidates.list, &scores),
        Err(failure) => {
            fell_back(Stage::Rerank, &failure, "the fused order", &stage, notes);
            as_they_are(&candidates.list, 0)
        }
    };
    stage.end();
    Ranked { placed, candidates, fused, explained: called.report.explained, reranked: true }
}

/// Says in the answer which limits cost the plugin some of its telemetry.
fn note_limits(plugin: &Arc<Configured>, report: &CallReport, notes: &mut Notes) {
    let identity = &plugin.plugin.identity;
    for (limit, count) in report.dropped.by_limit() {
        notes.warn(format!("{} plugin {} reached {limit}: {count} items of its telemetry were dropped", identity.stage, identity.name));
    }
}

fn as_they_are(list: &RankedList, from: usize) -> Vec<Placed> {
    list.scores.iter().enumerate().skip(from).map(|(row, &score)| Placed { row, score, rerank_score: None }).collect()
}

fn reordered(list: &RankedList, scores: &[f32]) -> Vec<Placed> {
    let mut placed: Vec<Placed> = scores.iter().enumerate().map(|(row, &score)| Placed { row, score, rerank_score: Some(score) }).collect();
    placed.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.row.cmp(&b.row)));
    let lowest = placed.last().map_or(0.0, |last| last.score);
    let border = list.scores.get(scores.len().wrapping_sub(1)).copied().unwrap_or(0.0);
    let mut tail = as_they_are(list, scores.len());
    for row in &mut tail {
        let ratio = if border > 0.0 { (row.score / border).clamp(0.0, 1.0) } else { 1.0 };
        row.score = if lowest > 0.0 { lowest * ratio } else { lowest };
    }
    placed.extend(tail);
    placed
}

/// Runs a plugin call. One that may wait for a model, or run for long, has a thread of its
/// own, and isn't waited for for ever; all others end soon, as the guest is interrupted at
/// its limit. `struck` is what was done to the stage on purpose.
async fn guarded<T: Send + 'static>(
    plugin: &Arc<Configured>,
    struck: Result<(), String>,
    body: impl FnOnce(&Configured) -> Called<T> + Send + 'static,
) -> Called<T> {
    let identity = &plugin.plugin.identity;
    let failed = |cause, message| Called {
        outcome: Err(PluginFailure { name: identity.name.clone(), sha256: identity.sha256.clone(), cause, message }),
        report: CallReport::default(),
    };
    if let Err(message) = struck {
        return failed(Cause::Trap, message);
    }
    if !plugin.plugin.terms.grants.has(&Capability::Scoring) && plugin.plugin.call_time_max() <= IN_PLACE_MAX {
        return in_place(|| body(plugin)).unwrap_or_else(|message| failed(Cause::Trap, message));
    }
    let limit = plugin.plugin.call_time_max() + GRACE;
    let plugin = plugin.clone();
    match tokio::time::timeout(limit, blocking(move || body(&plugin))).await {
        Ok(Ok(called)) => called,
        Ok(Err(message)) => failed(Cause::Trap, message),
        Err(_) => failed(Cause::Deadline, format!("the call did not come back within {} ms", limit.as_millis())),
    }
}

fn fell_back(stage: Stage, failure: &PluginFailure, instead: &str, span: &Span, notes: &mut Notes) {
    // A call that didn't come back has not written this itself.
    span.set(attr::PLUGIN_TRAP, failure.cause.as_str());
    span.fail(failure.cause.as_str(), &failure.message);
    span.set(attr::PLUGIN_FALLBACK, instead.to_owned());
    notes.degraded(stage.as_str(), failure.cause.as_str(), instead, format!("{stage}: {failure}; used {instead} instead"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::SearchProArguments;
    use crate::types::ChunkId;

    const BM25: ChannelName = ChannelName::Bm25;
    const DENSE: ChannelName = ChannelName::Dense;

    /// The budgets as (channel, depth, weight), the causes of what is degraded, and all
    /// warnings in one text.
    type Settled = (Vec<(ChannelName, u32, f32)>, Vec<String>, String);

    /// `index` has the channels there are, `gate` those the gate chose, at depth 50 and
    /// weight ½.
    fn settled(index: &[ChannelName], gate: &[ChannelName], arguments: SearchProArguments) -> Settled {
        let mut decision = fallback::decide(&[]);
        decision.budgets = gate.iter().map(|&channel| Budget { channel, depth: 50, weight: 0.5, reason: "the gate's".into() }).collect();
        let profile = QueryProfile { channels: index.to_vec(), ..QueryProfile::default() };
        let request = SearchRequest::pro(SearchProArguments { query: "x".into(), ..arguments }).unwrap();
        let mut notes = Notes::untold();
        settle(&mut decision, &profile, std::iter::empty(), &request, &mut notes);
        let budgets = decision.budgets.iter().map(|budget| (budget.channel, budget.depth, budget.weight)).collect();
        (budgets, notes.degraded.iter().map(|part| part.cause.clone()).collect(), notes.warnings.join("; "))
    }

    #[test]
    fn the_request_goes_before_the_gate_and_the_index_before_both() {
        let none = SearchProArguments::default;
        let channels = |channels: &[ChannelName]| SearchProArguments { channels: Some(channels.to_vec()), ..none() };
        let depth = |channel, depth| SearchProArguments { depths: Some(BTreeMap::from([(channel, depth)])), ..none() };
        let both = [BM25, DENSE];
        assert_eq!(settled(&both, &[BM25], none()), (vec![(BM25, 50, 0.5)], vec![], String::new()));
        // Named channels that the gate left out are asked; others that it chose are not.
        assert_eq!(settled(&both, &[BM25], channels(&[DENSE])), (vec![(DENSE, 100, 1.0)], vec![], String::new()));
        // A depth asks for its channel.
        assert_eq!(settled(&both, &[BM25], depth(DENSE, 7)), (vec![(BM25, 50, 0.5), (DENSE, 7, 1.0)], vec![], String::new()));
        assert_eq!(settled(&both, &[BM25], depth(BM25, 7)).0, [(BM25, 7, 0.5)]);
        // What the index doesn't have can't be asked.
        let (budgets, causes, warnings) = settled(&[BM25], &both, channels(&[BM25, DENSE]));
        assert_eq!((budgets, causes), (vec![(BM25, 50, 0.5)], vec!["unavailable".to_owned()]));
        assert!(warnings.contains("dense was asked for, but this index has none"), "{warnings}");
        let (budgets, _, warnings) = settled(&[BM25], &both, depth(DENSE, 7));
        assert_eq!(budgets, [(BM25, 50, 0.5)]);
        assert!(warnings.contains("dense have no effect"), "{warnings}");
    }

    #[test]
    fn a_search_can_be_made_to_look_deeper() {
        let mut decision = fallback::decide(&[BM25, DENSE]);
        let profile = QueryProfile { channels: vec![BM25, DENSE], ..QueryProfile::default() };
        let mut request = SearchRequest::pro(SearchProArguments { query: "x".into(), ..SearchProArguments::default() }).unwrap();
        request.depths.insert(DENSE, 700);
        request.reach.depth_min = 500;
        settle(&mut decision, &profile, std::iter::empty(), &request, &mut Notes::untold());
        assert_eq!(decision.budgets.iter().map(|budget| budget.depth).collect::<Vec<_>>(), [500, 700]);
    }

    #[test]
    fn without_a_channel_all_are_asked() {
        let (budgets, causes, _) = settled(&[BM25], &[], SearchProArguments::default());
        assert_eq!((budgets, causes), (vec![(BM25, 100, 1.0)], vec!["no_channel".to_owned()]));
        let only_dense = SearchProArguments { channels: Some(vec![DENSE]), ..SearchProArguments::default() };
        let (budgets, causes, _) = settled(&[BM25], &[BM25], only_dense);
        assert_eq!((budgets, causes), (vec![(BM25, 100, 1.0)], vec!["unavailable".to_owned(), "no_channel".to_owned()]));
    }

    #[test]
    fn rows_beyond_the_depth_follow_with_falling_scores() {
        let list = RankedList { ids: (0..5).map(ChunkId).collect(), scores: vec![0.5, 0.4, 0.2, 0.1, 0.05] };
        let placed = reordered(&list, &[1.0, 3.0, 1.0]);
        assert_eq!(placed.iter().map(|row| row.row).collect::<Vec<_>>(), [1, 0, 2, 3, 4]);
        assert!(placed.windows(2).all(|pair| pair[0].score >= pair[1].score));
        assert_eq!(placed[3].rerank_score, None);
    }
}
