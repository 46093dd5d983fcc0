//! The path of a query. [`search`] reads like the picture in `ARCHITECTURE.md`; the
//! stages are in the folder beside it.
//!
//! A stage that is skipped, late or broken is noted and the answer goes on without
//! it; only a request that can't be understood fails.

mod answer;
mod find;
mod judge;
mod page;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::envelope::{AnswerEnvelope, Degraded};
use crate::index::snapshot::Snapshot;
use crate::plugin::{CallSettings, Configured, Plugins};
use crate::recency::RecencySettings;
use crate::request::{RequestError, SearchRequest};
use crate::telemetry::Run;
use crate::telemetry::conventions::attr;
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

/// What a search needs: one generation, the plugins, the settings.
pub struct SearchHost {
    pub snapshot: Arc<Snapshot>,
    pub plugins: Arc<Plugins>,
    pub settings: SearchSettings,
    /// Whether the text of queries may stand in spans.
    pub record_query_text: bool,
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
    let call = CallSettings {
        deadline: Instant::now() + Duration::from_millis(host.settings.deadline_ms),
        limit: page.first_limit,
        explain: request.explain,
    };
    let mut notes = Notes::default();

    let profile = find::profile(host, root, request).await?;
    let decision = judge::gate(&chosen.gate, root, call, &profile, request, &mut notes).await;
    let vector = find::embed(host, root, call, &profile, &decision, &mut notes).await;
    let runs = find::gather(host, root, call, &profile, &decision, vector, request, &mut notes).await;
    let fused = judge::fuse(&chosen.fusion, root, call, &decision, &runs, &mut notes).await;
    let boosted = find::recency_boost(host, root, &fused);
    let candidates = find::hydrate(host, root, boosted, page.needs(decision.rerank_depth), &mut notes).await;
    let ranked = judge::rerank(&chosen.rerank, root, call, &profile, &decision, candidates, host.wants_rerank(request), &mut notes).await;
    Ok(answer::envelope(host, run, request, &page, &profile, &decision, &runs, &fused, ranked, notes))
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

impl SearchHost {
    fn wants_rerank(&self, request: &SearchRequest) -> bool {
        request.rerank_enabled.unwrap_or(self.settings.rerank)
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
