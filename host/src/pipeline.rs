//! The path of a query. [`search`] reads like the picture in `ARCHITECTURE.md`; the
//! stages are in the folder beside it.
//!
//! A stage that is skipped, late or broken is noted and the answer goes on without
//! it; only a request that can't be understood fails.

mod answer;
mod explain;
mod find;
mod judge;
mod page;
mod record;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::envelope::{AnswerEnvelope, Degraded};
use crate::index::snapshot::Snapshot;
use crate::models::scoring::Scorers;
use crate::plugin::recorder::{Recorder, RunRecording};
use crate::plugin::{CallSettings, ChannelRun, Configured, Decision, PluginSet};
use crate::profile::QueryProfile;
use crate::recency::RecencySettings;
use crate::request::{RequestError, SearchRequest};
use crate::telemetry::conventions::attr;
use crate::telemetry::{Run, Span};
use crate::types::Stage;
use page::Page;

/// Time and judgement that are not a plugin's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SearchSettings {
    /// A whole search in milliseconds, 10 to 300,000. Stages that would begin after it are left out.
    pub deadline_ms: u64,
    /// The query's vector in milliseconds, 1 to 300,000.
    pub embed_deadline_ms: u64,
    /// Each channel in milliseconds, 1 to 300,000.
    pub channel_deadline_ms: u64,
    /// Whether to rerank when the request doesn't say.
    pub rerank: bool,
    pub recency: RecencySettings,
}

impl Default for SearchSettings {
    fn default() -> Self {
        SearchSettings {
            deadline_ms: 10_000,
            embed_deadline_ms: 2_000,
            channel_deadline_ms: 2_000,
            rerank: true,
            recency: RecencySettings::default(),
        }
    }
}

/// What a search needs: one generation, the plugins of this moment, the settings.
pub struct SearchHost {
    pub snapshot: Arc<Snapshot>,
    pub plugins: Arc<PluginSet>,
    pub recorder: Arc<Recorder>,
    pub scorers: Arc<Scorers>,
    pub settings: SearchSettings,
    /// Whether the text of queries may stand in spans.
    pub record_query_text: bool,
}

/// One search: what its stages have in common.
#[derive(Clone)]
struct Search<'a> {
    host: &'a SearchHost,
    run: &'a Run,
    request: &'a SearchRequest,
    page: &'a Page,
    chosen: &'a Chosen,
    call: CallSettings,
    /// Whoever records the calls of this run.
    recording: Option<&'a RunRecording>,
    /// Whether this is the ranking that is answered with, and not one to compare with.
    answers: bool,
}

/// What went otherwise than asked, collected along the way.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    warnings: Vec<String>,
    degraded: Vec<Degraded>,
}

/// The plugins of one search, chosen before it begins: a run never mixes versions.
struct Chosen {
    gate: Arc<Configured>,
    fusion: Arc<Configured>,
    rerank: Arc<Configured>,
}

/// Answers a search.
///
/// # Errors
/// [`RequestError`] when the request names what isn't there, or its cursor belongs to
/// another query. Nothing else fails.
pub async fn search(host: &SearchHost, run: &Run, request: &SearchRequest) -> Result<AnswerEnvelope, RequestError> {
    let root = &run.root;
    describe(host, run, request);
    let page = Page::of(request)?;
    let chosen = choose(host, request).await?;
    let recording = host.recorder.admit();
    let call = CallSettings {
        deadline: Instant::now() + Duration::from_millis(host.settings.deadline_ms),
        limit: page.first_limit,
        explain: request.explain,
        observe: recording.is_some(),
    };
    let search = Search { host, run, request, page: &page, chosen: &chosen, call, recording: recording.as_ref(), answers: true };
    let mut notes = Notes::default();

    let profile = find::profile(&search, root).await?;
    let decided = judge::gate(&search, root, &profile, &mut notes).await;
    let vector = find::embed(&search, root, &profile, &decided.decision, &mut notes).await;
    let runs = find::gather(&search, root, &profile, &decided.decision, vector, &mut notes).await;
    let ranked = rank(&search, root, &profile, &decided.decision, &runs, &mut notes).await;
    let without = explain::without_each_channel(&search, root, &profile, &decided.decision, &runs, &mut notes).await;
    Ok(answer::envelope(&search, &answer::Told { profile: &profile, decided: &decided, runs: &runs, ranked: &ranked, without }, notes))
}

/// From the channels' lists to the final order.
async fn rank(
    search: &Search<'_>,
    parent: &Span,
    profile: &Arc<QueryProfile>,
    decision: &Decision,
    runs: &[ChannelRun],
    notes: &mut Notes,
) -> judge::Ranked {
    let fused = judge::fuse(search, parent, decision, runs, notes).await;
    let boosted = find::recency_boost(search, parent, &fused);
    let candidates = find::hydrate(search, parent, boosted, search.page.needs(decision.rerank_depth), notes).await;
    judge::rerank(search, parent, profile, decision, fused, candidates, notes).await
}

fn describe(host: &SearchHost, run: &Run, request: &SearchRequest) {
    let root = &run.root;
    if host.record_query_text {
        root.set(attr::QUERY_TEXT, request.query.clone());
    }
    root.set(attr::QUERY_LEN, request.query.len() as i64);
    root.set(attr::TOP_K, i64::from(request.limit));
    root.set(attr::GENERATION, host.snapshot.manifest.generation.clone());
}

async fn choose(host: &SearchHost, request: &SearchRequest) -> Result<Chosen, RequestError> {
    let (plugins, choices) = (host.plugins.clone(), request.plugins.clone());
    blocking(move || {
        let choose = |stage| plugins.choose(stage, choices.get(&stage));
        Ok(Chosen { gate: choose(Stage::Gate)?, fusion: choose(Stage::Fusion)?, rerank: choose(Stage::Rerank)? })
    })
    .await
    .map_err(RequestError::Unavailable)?
}

impl Search<'_> {
    fn wants_rerank(&self) -> bool {
        self.request.rerank_enabled.unwrap_or(self.host.settings.rerank)
    }

    /// Opens a stage. Those of a ranking that is only compared with are no stages of
    /// the run.
    fn stage(&self, parent: &Span, name: &'static str) -> Span {
        self.announced(parent.child(name))
    }

    /// A stage that asks another system.
    fn client_stage(&self, parent: &Span, name: &'static str) -> Span {
        self.announced(parent.client(name))
    }

    fn announced(&self, span: Span) -> Span {
        if self.answers { span.announce() } else { span }
    }
}

impl Notes {
    fn degraded(&mut self, part: &str, cause: &str, instead: &str, message: String) {
        self.degraded.push(Degraded { part: part.into(), cause: cause.into(), instead: instead.into() });
        self.warnings.push(message);
    }
}

/// Runs what blocks on a thread made for it. A panic there becomes a message.
async fn blocking<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(body).await.map_err(|error| {
        tracing::error!(%error, "a stage panicked");
        "an internal error was logged".to_owned()
    })
}
