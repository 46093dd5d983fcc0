//! The host's own stages: profile, embed, gather, recency boost, hydrate.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;

use super::{Notes, Search, blocking};
use crate::channels::{Bm25Channel, Channel, ChannelError, ChannelQuery, DenseChannel};
use crate::index::catalog::ChunkRow;
use crate::index::snapshot::{Admitted, Snapshot};
use crate::plugin::{ChannelRun, Decision, Fused};
use crate::profile::QueryProfile;
use crate::request::{RequestError, SearchRequest};
use crate::telemetry::conventions::{attr, event, span};
use crate::telemetry::{Span, map_value, texts};
use crate::types::{ChannelName, ChunkId, RankedList};

/// The fused rows after the boost, and where each stood before.
pub(super) struct Boosted {
    pub list: RankedList,
    /// For each row, its row in the fused list.
    pub fused_rows: Vec<usize>,
}

/// Rows with all that is known of them, best first.
pub(super) struct Candidates {
    /// As long as `rows` and `list`.
    pub fused_rows: Vec<usize>,
    pub list: RankedList,
    pub rows: Arc<Vec<ChunkRow>>,
    /// Rows that were ranked and are not hydrated, further down.
    pub beyond: Vec<ChunkId>,
}

/// Looks at the query. Fails only when the text index does, without which nothing
/// can be found at all.
pub(super) async fn profile(search: &Search<'_>, parent: &Span) -> Result<Arc<QueryProfile>, RequestError> {
    let stage = search.stage(parent, span::PROFILE);
    let (snapshot, text) = (search.host.snapshot.clone(), search.request.query.clone());
    let profile = blocking(move || {
        let mut channels = vec![ChannelName::Bm25];
        channels.extend(snapshot.dense.as_ref().map(|_| ChannelName::Dense));
        QueryProfile::of(&text, &snapshot.text, channels)
    })
    .await
    .and_then(|profile| profile.map_err(|error| error.to_string()))
    .map_err(|message| {
        stage.fail("engine", &message);
        RequestError::Unavailable(format!("the index can't be read: {message}"))
    })?;
    stage.set(attr::QUERY_TERMS, profile.terms.len() as i64);
    Ok(Arc::new(profile))
}

/// The query's vector, when a channel wants one. Without an answer in time the dense
/// channel is left out.
pub(super) async fn embed(
    search: &Search<'_>,
    parent: &Span,
    profile: &QueryProfile,
    decision: &Decision,
    notes: &mut Notes,
) -> Option<Arc<[f32]>> {
    let host = search.host;
    if let Some(reason) = host.snapshot.dense_off.as_ref().filter(|reason| !reason.is_empty()) {
        notes.degraded("dense", "other_embedding", "answered without the dense channel", reason.clone());
    }
    let dense = host.snapshot.dense.as_ref()?;
    decision.budgets.iter().find(|budget| budget.channel == ChannelName::Dense)?;
    let stage = search.stage(parent, span::EMBED);
    let info = dense.embedder.info();
    stage.set(attr::VLLM_MODE, if info.kind == "vllm" { "http" } else { "builtin" });
    stage.set(attr::VLLM_MODEL_NAME, info.model.clone());
    stage.set(attr::VLLM_EMBED_DIM, info.dimension as i64);
    stage.set(attr::VLLM_BATCH, 1_i64);
    let (limit, limit_ms) = bounded(host.settings.embed_deadline_ms, search.call.deadline);
    stage.set(attr::DEADLINE_MS, limit_ms as i64);
    let mut without = |cause: &str, message: String| {
        stage.fail(cause, &message);
        notes.degraded("dense", cause, "answered without the dense channel", format!("no query vector: {message}"));
        None
    };
    match tokio::time::timeout(limit, dense.embedder.embed_query(&profile.text, &stage)).await {
        Ok(Ok(Some(vector))) if vector.len() == dense.index.info().dimension => Some(vector.into()),
        Ok(Ok(Some(vector))) => {
            without("bad_answer", format!("{} gave {} numbers; the index has {}", info.model, vector.len(), dense.index.info().dimension))
        }
        // Not a failure: the words of the query are not in the corpus.
        Ok(Ok(None)) => {
            stage.set(attr::QUERY_KNOWN, false);
            None
        }
        Ok(Err(error)) => without(error.class(), error.to_string()),
        Err(_) => without("deadline", format!("{} did not answer within {limit_ms} ms", info.model)),
    }
}

/// Asks the channels side by side, each on its own thread with its own deadline.
pub(super) async fn gather(
    search: &Search<'_>,
    parent: &Span,
    profile: &QueryProfile,
    decision: &Decision,
    vector: Option<Arc<[f32]>>,
    notes: &mut Notes,
) -> Vec<ChannelRun> {
    let host = search.host;
    let stage = search.stage(parent, span::GATHER);
    let admitted = filter(&host.snapshot, search.request);
    let terms: Arc<[String]> = profile.terms.clone().into();
    let depths: BTreeMap<&str, u32> = decision.budgets.iter().map(|budget| (budget.channel.as_str(), budget.depth)).collect();
    stage.set(attr::CHANNEL_DEPTHS, map_value(&depths));
    if let Some(admitted) = &admitted {
        stage.set(attr::FILTER_ADMITS, admitted.count() as i64);
    }
    let (limit, limit_ms) = bounded(host.settings.channel_deadline_ms, search.call.deadline);
    stage.set(attr::DEADLINE_MS, limit_ms as i64);
    let asked = decision.budgets.iter().filter(|budget| budget.channel != ChannelName::Dense || vector.is_some()).map(|budget| {
        let channel = open(budget.channel, &host.snapshot);
        let query = ChannelQuery { terms: terms.clone(), vector: vector.clone(), admitted: admitted.clone(), depth: budget.depth as usize };
        let within = stage.clone();
        let found = tokio::task::spawn_blocking(move || channel.search(&query, &within));
        async move {
            let outcome = match tokio::time::timeout(limit, found).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Err(ChannelError::Engine("an internal error was logged".into())),
                Err(_) => Err(ChannelError::DeadlinePassed { deadline_ms: limit_ms }),
            };
            (budget, outcome)
        }
    });
    let mut runs = Vec::new();
    for (budget, outcome) in futures::future::join_all(asked).await {
        match outcome {
            Ok(list) => runs.push(ChannelRun { channel: budget.channel, weight: budget.weight, list }),
            Err(error) => {
                let name = budget.channel.as_str();
                stage.event(event::DEGRADED, vec![KeyValue::new(attr::CHANNEL, name), KeyValue::new(attr::ERROR_TYPE, error.class())]);
                notes.degraded(name, error.class(), &format!("answered without the {name} channel"), format!("channel {name} {error}"));
            }
        }
    }
    stage.set(attr::CHANNELS_USED, texts(runs.iter().map(|run| run.channel.as_str())));
    stage.set(attr::HITS, runs.iter().map(|run| run.list.len()).sum::<usize>() as i64);
    if runs.is_empty() && notes.degraded.is_empty() {
        notes.warnings.push("no channel could be asked: the embedding knows no word of the query".into());
    }
    // A channel that is late may still hold a handle of this span.
    stage.end();
    runs
}

fn open(name: ChannelName, snapshot: &Arc<Snapshot>) -> Box<dyn Channel> {
    match name {
        ChannelName::Bm25 => Box::new(Bm25Channel { snapshot: snapshot.clone() }),
        ChannelName::Dense => Box::new(DenseChannel { snapshot: snapshot.clone() }),
    }
}

fn filter(snapshot: &Snapshot, request: &SearchRequest) -> Option<Admitted> {
    if request.paths.is_none() && request.languages.is_empty() {
        return None;
    }
    Some(snapshot.chunks.admitted(|file, path| {
        let path_fits = request.paths.as_ref().is_none_or(|globs| globs.is_match(path) || globs.is_match(&file.path));
        path_fits && (request.languages.is_empty() || request.languages.contains(&file.language))
    }))
}

/// The shorter of a setting and what is left of the whole.
fn bounded(setting_ms: u64, deadline: Instant) -> (Duration, u64) {
    let limit = Duration::from_millis(setting_ms).min(deadline.saturating_duration_since(Instant::now()));
    (limit, limit.as_millis() as u64)
}

/// Moves what changed lately up, when configured.
pub(super) fn recency_boost(search: &Search<'_>, parent: &Span, fused: &Fused) -> Boosted {
    let host = search.host;
    let stage = search.stage(parent, span::RECENCY);
    let mut list = fused.list.clone();
    let (fused_rows, boosted) = crate::recency::boost(&mut list, &host.snapshot.chunks, &host.settings.recency);
    stage.set(attr::RECENCY_WEIGHT, host.settings.recency.weight);
    stage.set(attr::RECENCY_BOOSTED, boosted as i64);
    Boosted { list, fused_rows }
}

/// Fetches the first `needed` rows from the catalog.
pub(super) async fn hydrate(search: &Search<'_>, parent: &Span, boosted: Boosted, needed: usize, notes: &mut Notes) -> Candidates {
    let host = search.host;
    let stage = search.client_stage(parent, span::HYDRATE);
    stage.set(attr::DB_SYSTEM, "duckdb");
    stage.set(attr::DB_OPERATION, "SELECT");
    let wanted: Vec<ChunkId> = boosted.list.ids.iter().copied().take(needed).collect();
    let beyond = boosted.list.ids[wanted.len()..].to_vec();
    let (snapshot, ids) = (host.snapshot.clone(), wanted.clone());
    let outcome = blocking(move || snapshot.catalog.hydrate(&ids)).await.and_then(|outcome| outcome.map_err(|error| error.to_string()));
    let rows = match outcome {
        Ok((rows, facts)) => {
            stage.set(attr::DB_QUERY_TEXT, facts.text);
            stage.set(attr::DUCKDB_SQL_BYTES, facts.bytes as i64);
            rows
        }
        Err(message) => {
            stage.fail("engine", &message);
            notes.degraded("hydrate", "engine", "answered without findings", format!("the catalog can't be read: {message}"));
            Vec::new()
        }
    };
    stage.set(attr::DUCKDB_ROWS, rows.len() as i64);
    stage.set(attr::DB_ROWS, rows.len() as i64);
    if rows.len() < wanted.len() && !rows.is_empty() {
        notes.warnings.push(format!("{} chunks were found but are not in the catalog", wanted.len() - rows.len()));
    }
    // Rows come in the order asked for; those that are missing are passed over.
    let mut candidates = Candidates { fused_rows: Vec::new(), list: RankedList::default(), rows: Arc::new(Vec::new()), beyond };
    let mut kept = Vec::with_capacity(rows.len());
    let mut rows = rows.into_iter().peekable();
    for (at, id) in wanted.iter().enumerate() {
        if let Some(row) = rows.next_if(|row| row.id == *id).and_then(|chunk| host.snapshot.chunks.row(chunk)) {
            candidates.list.ids.push(*id);
            candidates.list.scores.push(boosted.list.scores[at]);
            candidates.fused_rows.push(boosted.fused_rows[at]);
            kept.push(row);
        }
    }
    candidates.rows = Arc::new(kept);
    candidates
}
