//! The host's own stages: profile, embed, gather, recency boost, hydrate.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::trace::SpanContext;

use super::collapse::best_passages;
use super::words::{self, Widening, Words};
use super::{Notes, Search, in_place};
use crate::channels::{Bm25Channel, Channel, ChannelError, ChannelQuery, DenseChannel, FilesChannel};
use crate::engines::text::TextQuery;
use crate::evidence::Asked;
use crate::explanation::{PrefixExplanation, WeightedTerm};
use crate::index::catalog::ChunkRow;
use crate::index::snapshot::{Admitted, Snapshot};
use crate::models::EmbedError;
use crate::plugin::{ChannelRun, Decision, Fused};
use crate::profile::QueryProfile;
use crate::request::{RequestError, SearchRequest};
use crate::telemetry::conventions::{attr, span};
use crate::telemetry::{Fact, GivenUp, Span, carried, map_value, texts};
use crate::types::{ChannelName, ChunkId, RankedList};

/// The fused rows after the boost, and where each stood before.
pub(super) struct Boosted {
    pub list: RankedList,
    /// For each row, its row in the fused list.
    pub fused_rows: Vec<usize>,
}

/// What the channels found, and the spans in which they did.
#[derive(Default)]
pub(super) struct Gathered {
    pub runs: Vec<ChannelRun>,
    pub spans: Vec<SpanContext>,
    pub asked: Asked,
    /// What prefixes stood for.
    pub prefixes: Vec<PrefixExplanation>,
    /// The terms that were added to the query's own, and those of less weight.
    pub expanded: Vec<WeightedTerm>,
    /// The terms that RM3 made of the query; empty when it was not widened.
    pub widened: Vec<WeightedTerm>,
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
    let struck = search.strike(span::PROFILE).await;
    let snapshot = &search.host.snapshot;
    let profile = in_place(|| {
        let mut channels = channels(snapshot);
        channels.retain(|channel| !search.request.reach.without.contains(channel));
        QueryProfile::of(&search.request.query, &snapshot.text, channels)
    })
    .and_then(|profile| profile.map_err(|error| error.to_string()))
    .and_then(|profile| struck.map(|()| profile))
    .map_err(|message| {
        stage.fail("engine", &message);
        RequestError::Unavailable(format!("the index can't be read: {message}"))
    })?;
    stage.set(attr::QUERY_TERMS, profile.terms.len() as i64);
    stage.end();
    Ok(Arc::new(profile))
}

/// The channels that a generation has, in the order in which they are asked.
pub fn channels(snapshot: &Snapshot) -> Vec<ChannelName> {
    let mut channels = vec![ChannelName::Bm25];
    channels.extend(snapshot.dense.as_ref().map(|_| ChannelName::Dense));
    channels.push(ChannelName::Files);
    channels
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
    let Some(dense) = host.snapshot.dense.as_ref() else {
        parent.skip(span::EMBED, "the index has no vectors that can be used");
        return None;
    };
    if !decision.budgets.iter().any(|budget| budget.channel == ChannelName::Dense) {
        parent.skip(span::EMBED, "the dense channel is not asked");
        return None;
    }
    let stage = search.stage(parent, span::EMBED);
    let info = dense.embedder.info();
    let mode = if info.kind == "vllm" { "http" } else { "builtin" };
    stage.set(attr::VLLM_MODE, mode);
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
    let began = Instant::now();
    let embedded = async {
        if let Err(message) = search.strike(span::EMBED).await {
            return Err(EmbedError::Unavailable { model: info.model.clone(), detail: message });
        }
        dense.embedder.embed_query(&profile.text, &stage).await
    };
    let embedded = tokio::time::timeout(limit, embedded).await;
    stage.record(&Fact::Embedded { mode, texts: 1, seconds: began.elapsed().as_secs_f64() });
    let vector = match embedded {
        Ok(Ok(Some(vector))) if vector.len() == dense.info.index.dimension => Some(vector.into()),
        Ok(Ok(Some(vector))) => {
            without("bad_answer", format!("{} gave {} numbers; the index has {}", info.model, vector.len(), dense.info.index.dimension))
        }
        // Not a failure: the words of the query are not in the corpus.
        Ok(Ok(None)) => {
            stage.set(attr::QUERY_KNOWN, false);
            None
        }
        Ok(Err(error)) => without(error.class(), error.to_string()),
        Err(_) => without("deadline", format!("{} did not answer within {limit_ms} ms", info.model)),
    };
    stage.end();
    vector
}

/// Asks the channels side by side, each on its own thread with its own deadline.
pub(super) async fn gather(
    search: &Search<'_>,
    parent: &Span,
    profile: &Arc<QueryProfile>,
    decision: &Decision,
    vector: Option<Arc<[f32]>>,
    notes: &mut Notes,
) -> Gathered {
    let host = search.host;
    let stage = search.stage(parent, span::GATHER);
    let admitted = filter(&host.snapshot, search.request);
    let depths: BTreeMap<&str, u32> = decision.budgets.iter().map(|budget| (budget.channel.as_str(), budget.depth)).collect();
    stage.set(attr::CHANNEL_DEPTHS, map_value(&depths));
    let (limit, limit_ms) = bounded(host.settings.channel_deadline_ms, search.call.deadline);
    stage.set(attr::DEADLINE_MS, limit_ms as i64);
    // It can't fail, so nothing comes of this but a delay or worse.
    let _ = search.strike(span::GATHER).await;
    let Words { query, admitted, prefixes } = words::look_up(search, profile, admitted, limit, notes).await;
    if let Some(admitted) = &admitted {
        stage.set(attr::FILTER_ADMITS, admitted.count() as i64);
    }
    if decision.rm3 && !decision.budgets.iter().any(|budget| budget.channel == ChannelName::Bm25) {
        stage.skip(span::RM3, "the bm25 channel is not asked");
    }
    if vector.is_none() && decision.budgets.iter().any(|budget| budget.channel == ChannelName::Dense) {
        stage.skip(span::FAISS, "the query has no vector");
    }
    let asked = decision.budgets.iter().filter(|budget| budget.channel != ChannelName::Dense || vector.is_some()).map(|budget| {
        let channel = open(budget.channel, &host.snapshot);
        let mut query =
            ChannelQuery { text: query.clone(), vector: vector.clone(), admitted: admitted.clone(), depth: budget.depth as usize };
        let widening =
            (decision.rm3 && budget.channel == ChannelName::Bm25).then(|| Widening::of(search, profile, search.stage(&stage, span::RM3)));
        let name = channel.span_name();
        let own = stage.child(name).announce();
        own.set(attr::CHANNEL, budget.channel.as_str());
        own.set(attr::CHANNEL_DEPTH, i64::from(budget.depth));
        own.set(attr::DEADLINE_MS, limit_ms as i64);
        own.set(attr::GENERATION, host.snapshot.manifest.generation.clone());
        let within = own.clone();
        let found = async move {
            search.strike(name).await.map_err(ChannelError::Engine)?;
            let struck = if widening.is_some() { search.strike(span::RM3).await } else { Ok(()) };
            let searched = tokio::task::spawn_blocking(carried(move || {
                let widened = widening.map(|widening| widening.apply(struck, &mut query)).transpose();
                let outcome = channel.search(&query, &within);
                if let Err(error) = &outcome {
                    within.fail(error.class(), &error.to_string());
                }
                within.end();
                outcome.map(|list| (list, widened.map(Option::unwrap_or_default)))
            }));
            searched.await.unwrap_or_else(|_| Err(ChannelError::Engine("an internal error was logged".into())))
        };
        async move {
            // The thread that searches holds the span, too, and may be late.
            let _left = GivenUp(own.clone());
            let outcome = match tokio::time::timeout(limit, found).await {
                Ok(outcome) => outcome,
                Err(_) => Err(ChannelError::DeadlinePassed { deadline_ms: limit_ms }),
            };
            // One that is late, or was never begun, has not said so itself.
            if let Err(error) = &outcome {
                own.fail(error.class(), &error.to_string());
            }
            own.end();
            (budget, own, outcome)
        }
    });
    let expanded = words::expanded(&query, profile);
    let asked_for = Asked { bm25: query.clone(), files: query.clone(), dense: vector.clone() };
    let mut gathered = Gathered { asked: asked_for, prefixes, expanded, ..Gathered::default() };
    for (budget, own, outcome) in futures::future::join_all(asked).await {
        match outcome {
            Ok((list, widened)) => {
                match widened {
                    Ok(terms) if terms.is_empty() => {}
                    Ok(terms) => {
                        let weighted = terms.iter().map(|told| (told.term.clone(), told.weight)).collect();
                        gathered.asked.bm25 = Arc::new(TextQuery { terms: weighted, ..(*query).clone() });
                        gathered.widened = terms;
                    }
                    Err(error) => {
                        notes.degraded("rm3", error.class(), "the query was not widened", format!("the query was not widened: {error}"))
                    }
                }
                own.record(&Fact::ChannelAnswered { channel: budget.channel, hits: list.len() });
                gathered.spans.push(own.context().clone());
                gathered.runs.push(ChannelRun { channel: budget.channel, weight: budget.weight, list });
            }
            Err(error) => {
                let name = budget.channel.as_str();
                if matches!(error, ChannelError::DeadlinePassed { .. }) {
                    own.record(&Fact::ChannelLate { channel: budget.channel });
                }
                notes.degraded(name, error.class(), &format!("answered without the {name} channel"), format!("channel {name} {error}"));
            }
        }
    }
    let runs = &gathered.runs;
    stage.set(attr::CHANNELS_USED, texts(runs.iter().map(|run| run.channel.as_str())));
    stage.set(attr::HITS, runs.iter().map(|run| run.list.len()).sum::<usize>() as i64);
    if runs.is_empty() && notes.degraded.is_empty() {
        notes.warn("no channel could be asked: the embedding knows no word of the query".into());
    }
    // A channel that is late may still hold a handle of this span.
    stage.end();
    gathered
}

fn open(name: ChannelName, snapshot: &Arc<Snapshot>) -> Box<dyn Channel> {
    match name {
        ChannelName::Bm25 => Box::new(Bm25Channel { snapshot: snapshot.clone() }),
        ChannelName::Dense => Box::new(DenseChannel { snapshot: snapshot.clone() }),
        ChannelName::Files => Box::new(FilesChannel { snapshot: snapshot.clone() }),
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
pub(super) async fn recency_boost(search: &Search<'_>, parent: &Span, fused: &Fused) -> Boosted {
    let host = search.host;
    let stage = search.stage(parent, span::RECENCY);
    // It can't fail, so nothing comes of this but a delay or worse.
    let _ = search.strike(span::RECENCY).await;
    let mut list = fused.list.clone();
    let (fused_rows, boosted) = crate::recency::boost(&mut list, &host.snapshot.chunks, &host.settings.recency);
    stage.set(attr::RECENCY_WEIGHT, host.settings.recency.weight);
    stage.set(attr::RECENCY_BOOSTED, boosted as i64);
    if boosted > 0 && search.answers {
        stage.record(&Fact::RecencyBoosted(boosted as u64));
    }
    stage.end();
    Boosted { list, fused_rows }
}

/// Fetches the first `needed` rows from the catalog, of each record the best passage only.
pub(super) async fn hydrate(search: &Search<'_>, parent: &Span, boosted: Boosted, needed: usize, notes: &mut Notes) -> Candidates {
    let host = search.host;
    let stage = search.client_stage(parent, span::HYDRATE);
    stage.set(attr::DB_SYSTEM, "duckdb");
    stage.set(attr::DB_OPERATION, "SELECT");
    stage.set(attr::GENERATION, host.snapshot.manifest.generation.clone());
    let (boosted, collapsed) = best_passages(boosted, &host.snapshot.chunks);
    if host.snapshot.chunks.has_records() {
        stage.set(attr::PASSAGES_COLLAPSED, collapsed as i64);
    }
    let wanted: Vec<ChunkId> = boosted.list.ids.iter().copied().take(needed).collect();
    let beyond = boosted.list.ids[wanted.len()..].to_vec();
    let struck = search.strike(span::HYDRATE).await;
    let hydrated = in_place(|| {
        let began = Instant::now();
        (host.snapshot.catalog.hydrate(&wanted), began.elapsed())
    });
    let outcome = hydrated.and_then(|(outcome, time)| {
        if outcome.as_ref().is_ok_and(|(_, facts)| facts.statement.is_some()) {
            stage.record(&Fact::DuckdbExecuted { operation: "SELECT", seconds: time.as_secs_f64() });
        }
        outcome.map_err(|error| error.to_string())
    });
    let outcome = outcome.and_then(|rows| struck.map(|()| rows));
    let rows = match outcome {
        Ok((rows, facts)) => {
            stage.set(attr::DUCKDB_ROWS_CACHED, facts.cached as i64);
            if let Some(statement) = facts.statement {
                stage.set(attr::DB_QUERY_TEXT, statement);
                stage.set(attr::DUCKDB_SQL_BYTES, facts.statement_bytes as i64);
            }
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
    stage.end();
    if rows.len() < wanted.len() && !rows.is_empty() {
        notes.warn(format!("{} chunks were found but are not in the catalog", wanted.len() - rows.len()));
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
