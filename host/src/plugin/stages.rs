//! The three stages as the pipeline calls them: host types in, checked host types
//! out. What a plugin returns is believed only after it was checked.

use super::bindings::types::Run as WireRun;
use super::bindings::{fusion, gate, rerank, types};
use super::documents::DocumentRows;
use super::evidence::Evidence;
use super::instance::{Bindings, CallSettings, Configured};
use super::ranks::{NoRank, Ranks};
use super::report::Called;
use super::scoring::Scoring;
use super::state::CallContext;
use crate::profile::QueryProfile;
use crate::request::DEPTH_MAX;
use crate::telemetry::Span;
use crate::telemetry::conventions::attr;
use crate::types::{ChannelName, ChunkId, RankedList};

/// Rows a fusion may return.
const FUSED_ROWS_MAX: usize = 10_000;
/// Reasons and words a gate may give; more are cut.
const REASONS_MAX: usize = 16;
/// Bytes of each; more are cut.
const REASON_BYTES_MAX: usize = 512;
/// Bytes of a query class: it becomes a metric label.
const CLASS_BYTES_MAX: usize = 32;

/// What the gate decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub class: String,
    /// 0 to 1.
    pub ambiguity: f32,
    /// At most one a channel, in the order of [`ChannelName`]; depths from 1.
    pub budgets: Vec<Budget>,
    /// Over 0.
    pub rrf_k: f32,
    pub rm3: bool,
    /// 0 leaves the fused order.
    pub rerank_depth: u32,
    pub reasons: Vec<String>,
}

/// What a channel may do.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    pub channel: ChannelName,
    /// 1 to [`DEPTH_MAX`].
    pub depth: u32,
    /// Finite, at least 0.
    pub weight: f32,
    pub reason: String,
}

/// A channel's list on its way into the fusion.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelRun {
    pub channel: ChannelName,
    pub weight: f32,
    pub list: RankedList,
}

/// One list out of many.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fused {
    /// Score descending, then best rank in any single run, then chunk id.
    pub list: RankedList,
    /// What each run added: row-major, rows × runs.
    pub contributions: Vec<f32>,
    /// How many runs went in.
    pub runs: usize,
}

impl Fused {
    /// What each run added to a row.
    pub fn contributions_of(&self, row: usize) -> &[f32] {
        self.contributions.get(row * self.runs..(row + 1) * self.runs).unwrap_or_default()
    }
}

impl Configured {
    /// Asks the gate. Blocks for at most the call's time; when it fails the caller goes
    /// on with its fallback.
    pub fn decide(&self, span: &Span, settings: CallSettings, profile: &QueryProfile, evidence: Evidence) -> Called<Decision> {
        span.set(attr::PLUGIN_ROWS_IN, profile.terms.len() as i64);
        let profile = wire_profile(profile);
        let called = self.call(
            span,
            settings,
            CallContext { evidence, ..CallContext::default() },
            |store, bindings, stage, call| match bindings {
                Bindings::Gate(plugin) => plugin.spanloom_search_gate().call_decide(store, stage, call, &profile),
                _ => Err(wrong_stage()),
            },
            check_decision,
        );
        rows_out(span, &called, |decision| decision.budgets.len());
        called
    }

    /// Fuses the runs. Blocks for at most the call's time; when it fails the caller goes
    /// on with its fallback.
    pub fn fuse(&self, span: &Span, settings: CallSettings, rrf_k: f32, runs: &[ChannelRun]) -> Called<Fused> {
        let wire: Vec<WireRun> = runs
            .iter()
            .map(|run| WireRun {
                channel: run.channel.as_str().to_owned(),
                weight: run.weight,
                ids: run.list.ids.iter().map(|id| id.0).collect(),
                scores: run.list.scores.clone(),
            })
            .collect();
        self.fuse_wire(span, settings, rrf_k, &wire)
    }

    /// The same with channels of any name.
    pub(super) fn fuse_wire(&self, span: &Span, settings: CallSettings, rrf_k: f32, wire: &[WireRun]) -> Called<Fused> {
        span.set(attr::PLUGIN_ROWS_IN, wire.iter().map(|run| run.ids.len()).sum::<usize>() as i64);
        let called = self.call(
            span,
            settings,
            CallContext::default(),
            |store, bindings, stage, call| match bindings {
                Bindings::Fusion(plugin) => {
                    let settings = fusion::exports::spanloom::search::fusion::Settings { rrf_k };
                    plugin.spanloom_search_fusion().call_fuse(store, stage, call, settings, wire)
                }
                _ => Err(wrong_stage()),
            },
            |fused| check_fused(fused.ids, fused.scores, fused.contributions, wire),
        );
        rows_out(span, &called, |fused| fused.list.len());
        called
    }

    /// Scores rows again. Blocks for at most the call's time; when it fails the caller
    /// keeps the order it has.
    pub fn rerank(
        &self,
        span: &Span,
        settings: CallSettings,
        profile: &QueryProfile,
        rows: &RankedList,
        documents: DocumentRows,
        scores: Option<Scoring>,
    ) -> Called<Vec<f32>> {
        span.set(attr::PLUGIN_ROWS_IN, rows.len() as i64);
        let profile = wire_profile(profile);
        let candidates = rerank::exports::spanloom::search::rerank::Candidates {
            ids: rows.ids.iter().map(|id| id.0).collect(),
            scores: rows.scores.clone(),
        };
        let evidence = documents.evidence().clone();
        let context = CallContext { documents: Some(documents), evidence, scores, rows: Some(rows.len()), ..CallContext::default() };
        let called = self.call(
            span,
            settings,
            context,
            |store, bindings, stage, call| match bindings {
                Bindings::Rerank(plugin) => plugin.spanloom_search_rerank().call_rerank(store, stage, call, &profile, &candidates),
                _ => Err(wrong_stage()),
            },
            |scores| check_scores(&scores, rows.len()).map(|()| scores),
        );
        rows_out(span, &called, Vec::len);
        called
    }
}

fn rows_out<T>(span: &Span, called: &Called<T>, count: impl FnOnce(&T) -> usize) {
    if let Ok(value) = &called.outcome {
        span.set(attr::PLUGIN_ROWS_OUT, count(value) as i64);
    }
}

fn wrong_stage() -> wasmtime::Error {
    // `choose` hands out plugins by stage; this would be a defect of the host.
    wasmtime::Error::msg("the plugin belongs to another stage")
}

fn wire_profile(profile: &QueryProfile) -> types::Profile {
    types::Profile {
        text: profile.text.clone(),
        terms: profile.terms.clone(),
        document_frequencies: profile.document_frequencies.clone(),
        documents: profile.documents,
        identifiers: profile.identifiers.clone(),
        phrases: profile.phrases.clone(),
        channels: profile.channels.iter().map(|channel| channel.as_str().to_owned()).collect(),
    }
}

fn check_decision(decision: gate::exports::spanloom::search::gate::Decision) -> Result<Decision, String> {
    if !(0.0..=1.0).contains(&decision.ambiguity) {
        return Err(format!("ambiguity is {}; allowed: 0 to 1", decision.ambiguity));
    }
    if !(decision.rrf_k > 0.0 && decision.rrf_k.is_finite()) {
        return Err(format!("rrf-k is {}; allowed: finite and over 0", decision.rrf_k));
    }
    if decision.class.is_empty() || decision.class.len() > CLASS_BYTES_MAX {
        return Err(format!("class has {} bytes; allowed: 1 to {CLASS_BYTES_MAX}", decision.class.len()));
    }
    let mut budgets: Vec<Budget> = Vec::new();
    for budget in decision.budgets {
        let channel: ChannelName = budget.channel.parse()?;
        if !(budget.weight >= 0.0 && budget.weight.is_finite()) {
            return Err(format!("the weight of {channel} is {}; allowed: finite and at least 0", budget.weight));
        }
        if budgets.iter().any(|known| known.channel == channel) {
            return Err(format!("channel {channel} has two budgets"));
        }
        if budget.depth > 0 {
            budgets.push(Budget { channel, depth: budget.depth.min(DEPTH_MAX), weight: budget.weight, reason: cut(budget.reason) });
        }
    }
    if budgets.is_empty() {
        return Err("no channel has a budget".into());
    }
    budgets.sort_by_key(|budget| budget.channel);
    let reasons = decision.reasons.into_iter().take(REASONS_MAX).map(cut).collect();
    Ok(Decision {
        class: decision.class,
        ambiguity: decision.ambiguity,
        budgets,
        rrf_k: decision.rrf_k,
        rm3: decision.rm3,
        rerank_depth: decision.rerank_depth.min(DEPTH_MAX),
        reasons,
    })
}

fn cut(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
    reason
}

fn check_fused(ids: Vec<u64>, scores: Vec<f32>, contributions: Vec<f32>, runs: &[WireRun]) -> Result<Fused, String> {
    check_scores(&scores, ids.len())?;
    if ids.len() > FUSED_ROWS_MAX {
        return Err(format!("{} rows; allowed: {FUSED_ROWS_MAX}", ids.len()));
    }
    if contributions.len() != ids.len() * runs.len() {
        return Err(format!("{} contributions for {} ids × {} runs", contributions.len(), ids.len(), runs.len()));
    }
    if let Some(bad) = contributions.iter().find(|part| !part.is_finite()) {
        return Err(format!("a contribution is {bad}; contributions must be finite"));
    }
    let mut ranks = Ranks::of(runs.iter().map(|run| run.ids.as_slice()));
    let mut rows = Vec::with_capacity(ids.len());
    for (at, (id, score)) in ids.into_iter().zip(scores).enumerate() {
        match ranks.take(id) {
            Ok(rank) => rows.push((score, rank, id, at)),
            Err(NoRank::Unknown) => return Err(format!("chunk {id} was in no run")),
            Err(NoRank::Twice) => return Err(format!("chunk {id} is there twice")),
        }
    }
    Ok(sorted(rows, contributions, runs.len()))
}

/// Puts rows of (score, best rank, id, row of contributions) in the one order. Ids
/// are different.
pub(super) fn sorted(mut rows: Vec<(f32, u32, u64, usize)>, contributions: Vec<f32>, runs: usize) -> Fused {
    type Row = (f32, u32, u64, usize);
    let order = |a: &Row, b: &Row| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2));
    let mut fused = Fused { runs, ..Fused::default() };
    // Most fusions answer in this order already.
    if rows.is_sorted_by(|a, b| order(a, b).is_lt()) {
        fused.contributions = contributions;
    } else {
        rows.sort_unstable_by(order);
        fused.contributions.reserve(contributions.len());
        for (_, _, _, at) in &rows {
            fused.contributions.extend_from_slice(&contributions[at * runs..(at + 1) * runs]);
        }
    }
    fused.list.ids = rows.iter().map(|row| ChunkId(row.2)).collect();
    fused.list.scores = rows.iter().map(|row| row.0).collect();
    fused
}

fn check_scores(scores: &[f32], rows: usize) -> Result<(), String> {
    if scores.len() != rows {
        return Err(format!("{} scores for {rows} rows", scores.len()));
    }
    match scores.iter().position(|score| !score.is_finite()) {
        None => Ok(()),
        Some(at) => Err(format!("score {} of row {at} is not finite", scores[at])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(channel: &str, ids: &[u64]) -> WireRun {
        WireRun { channel: channel.into(), weight: 1.0, ids: ids.to_vec(), scores: vec![1.0; ids.len()] }
    }

    fn check(ids: &[u64], scores: &[f32], contributions: &[f32], expect: Result<&[u64], &str>) {
        let runs = [run("bm25", &[5, 6, 7]), run("dense", &[7, 8])];
        let got = check_fused(ids.to_vec(), scores.to_vec(), contributions.to_vec(), &runs);
        match (got, expect) {
            (Ok(fused), Ok(order)) => assert_eq!(fused.list.ids, order.iter().copied().map(ChunkId).collect::<Vec<_>>()),
            (Err(message), Err(part)) => assert!(message.contains(part), "{message}"),
            (got, expect) => panic!("{got:?} instead of {expect:?}"),
        }
    }

    #[test]
    fn fused_rows_are_ordered_and_bad_output_is_refused() {
        let nothing = [0.0; 6];
        check(&[5, 7, 8], &[1.0, 1.0, 2.0], &nothing, Ok(&[8, 5, 7]));
        // 6 and 8 have rank 2; 8 is larger.
        check(&[8, 6, 5], &[1.0, 1.0, 0.5], &nothing, Ok(&[6, 8, 5]));
        check(&[], &[], &[], Ok(&[]));
        check(&[5, 6, 7], &[1.0, f32::NAN, 0.0], &nothing, Err("row 1 is not finite"));
        check(&[5, 6, 7], &[1.0, 1.0], &nothing, Err("2 scores for 3 rows"));
        check(&[5, 6, 99], &[1.0, 1.0, 1.0], &nothing, Err("chunk 99 was in no run"));
        check(&[5, 6, 5], &[1.0, 0.9, 0.8], &nothing, Err("chunk 5 is there twice"));
        check(&[5, 6, 7], &[1.0, 0.9, 0.8], &[0.0; 5], Err("5 contributions"));
        check(&[5], &[1.0], &[f32::INFINITY, 0.0], Err("must be finite"));
    }

    #[test]
    fn what_a_gate_says_is_cut() {
        assert_eq!(cut(format!("a{}", "é".repeat(REASON_BYTES_MAX))).len(), REASON_BYTES_MAX - 1);
        assert_eq!(cut("short".into()), "short");
    }
}
