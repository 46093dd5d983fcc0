//! The path of a query. [`search`] reads like the picture in `ARCHITECTURE.md`; the
//! stages are in the folder beside it.
//!
//! A stage that is skipped, late or broken is noted and the answer goes on without
//! it; only a request that can't be understood fails.

mod answer;
mod arms;
mod collapse;
mod draft;
mod explain;
mod find;
mod judge;
mod page;
mod record;
mod teams;
mod words;

use std::sync::Arc;
use std::time::Instant;

use opentelemetry::KeyValue;
use serde::{Deserialize, Serialize};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::engines::text::Bm25Settings;
use crate::envelope::{AnswerEnvelope, Degraded};
use crate::expansion::ExpansionSettings;
use crate::faults::Faults;
use crate::index::snapshot::Snapshot;
use crate::models::scoring::Scorers;
use crate::plugin::recorder::{Recorder, RunRecording};
use crate::plugin::{CallSettings, Configured, Decision, PluginSet};
use crate::profile::QueryProfile;
use crate::recency::RecencySettings;
use crate::request::{RequestError, SearchRequest};
use crate::rm3::Rm3Settings;
use crate::telemetry::conventions::{attr, event, request_stage};
use crate::telemetry::{Fact, Run, Span, carried};
use crate::types::Stage;
use arms::Arms;
pub use arms::{Arm, Changes, PinnedChoice, adjusts_itself};
pub use find::channels;
use page::Page;
pub use page::first_run;
pub use teams::Interleave;
use teams::Teams;

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
    /// Memory for texts of chunks in MiB, 0 to 65,536: what is there needs no look-up. A
    /// server fills it when it opens an index.
    pub row_cache_mb: u64,
    /// Whether to rerank when the request doesn't say.
    pub rerank: bool,
    pub bm25: Bm25Settings,
    pub expansion: ExpansionSettings,
    pub rm3: Rm3Settings,
    pub recency: RecencySettings,
}

impl Default for SearchSettings {
    fn default() -> Self {
        SearchSettings {
            deadline_ms: 10_000,
            embed_deadline_ms: 2_000,
            channel_deadline_ms: 2_000,
            row_cache_mb: 128,
            rerank: true,
            bm25: Bm25Settings::default(),
            expansion: ExpansionSettings::default(),
            rm3: Rm3Settings::default(),
            recency: RecencySettings::default(),
        }
    }
}

/// What a search needs: one generation, the plugins of this moment, the settings.
#[derive(Clone)]
pub struct SearchHost {
    pub snapshot: Arc<Snapshot>,
    pub plugins: Arc<PluginSet>,
    pub recorder: Arc<Recorder>,
    pub scorers: Arc<Scorers>,
    pub settings: SearchSettings,
    /// Whether the text of queries may stand in spans.
    pub record_query_text: bool,
    /// What goes wrong on purpose.
    pub faults: Arc<Faults>,
    /// The arms of experiments that the run is part of, as far as the gate's class admits.
    pub arms: Vec<Arm>,
    /// The experiment whose arms share the answer, on the same condition.
    pub interleave: Option<Interleave>,
    /// What cursors call the run of the first page, where arms are drawn by run.
    pub page_run: Option<String>,
}

/// One search: what its stages have in common.
#[derive(Clone)]
struct Search<'a> {
    host: &'a SearchHost,
    run: &'a Run,
    request: &'a SearchRequest,
    page: &'a Page,
    chosen: &'a Chosen,
    /// Those in effect.
    arms: &'a Arms,
    call: CallSettings,
    /// Whoever records the calls of this run.
    recording: Option<&'a RunRecording>,
    /// Whether this is the ranking that is answered with, and not one to compare with.
    answers: bool,
}

/// What went otherwise than asked, collected along the way. It is written down at once,
/// so that a run that is cut short tells it, too.
pub(crate) struct Notes {
    warnings: Vec<String>,
    degraded: Vec<Degraded>,
    /// `None` when nobody is told.
    told: Option<Span>,
}

/// The plugins of one search, chosen before it begins: a run never mixes versions.
#[derive(Clone)]
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
    let configured = choose(host, request).await?;
    let recording = host.recorder.admit();
    let mut notes = Notes::of(root);
    let began = Instant::now();
    let (of_class, of_all): (Vec<Arm>, Vec<Arm>) = host.arms.iter().cloned().partition(|arm| arm.classes.is_some());
    let arms = Arms::admit(host, of_all, &mut notes);
    arms.tell(root);
    arms.mark(root);
    let chosen = arms.over(&configured);
    let call = CallSettings {
        deadline: began + arms.deadline(host.settings.deadline_ms),
        limit: page.first_limit,
        explain: request.explain,
        observe: recording.is_some(),
    };
    let search =
        Search { host, run, request, page: &page, chosen: &chosen, arms: &arms, call, recording: recording.as_ref(), answers: true };

    let profile = find::profile(&search, root).await?;
    profile.warnings.iter().for_each(|warning| notes.warn(warning.clone()));
    // Where arms have gates of their own, each begins there.
    if let Some(interleave) = host.interleave.as_ref().filter(|interleave| interleave.changes_gate())
        && let Some(teams) = Teams::admit(interleave, &search, began, &mut notes)
    {
        let rankings = teams.rankings(&search, &profile, None, &mut notes).await;
        return Ok(answer::envelope(&search, &profile, &rankings, Some(&teams), notes).await);
    }
    let (gated, gate) = judge::gate(&search, root, &profile, &mut notes).await;
    // The gate's class may bring in more.
    let wanted = |classes: &Option<Vec<String>>| classes.as_ref().is_none_or(|classes| classes.iter().any(|class| *class == gated.class()));
    let of_class = Arms::admit(host, of_class.into_iter().filter(|arm| wanted(&arm.classes)).collect(), &mut notes);
    of_class.tell(root);
    let arms = arms.clone().and(of_class);
    arms.mark(root);
    let chosen = arms.over(&configured);
    let call = CallSettings { deadline: began + arms.deadline(host.settings.deadline_ms), ..call };
    let search = Search { chosen: &chosen, arms: &arms, call, ..search.clone() };
    if let Some(interleave) = host.interleave.as_ref().filter(|interleave| !interleave.changes_gate() && wanted(&interleave.classes))
        && let Some(teams) = Teams::admit(interleave, &search, began, &mut notes)
    {
        gate.end(&search, gated.clone(), &profile);
        let rankings = teams.rankings(&search, &profile, Some(gated), &mut notes).await;
        return Ok(answer::envelope(&search, &profile, &rankings, Some(&teams), notes).await);
    }
    let ranking = ranking(&search, root, &profile, gated, Some(gate), &mut notes).await;
    Ok(answer::envelope(&search, &profile, &[ranking], None, notes).await)
}

/// What the stages made of one way to rank.
struct Ranking {
    decided: judge::Decided,
    gathered: find::Gathered,
    ranked: judge::Ranked,
    without: explain::Without,
    /// Who judged.
    chosen: Chosen,
}

/// From the gate's decision to the final order. `gate` is the stage that is still open,
/// when it is of this ranking alone.
async fn ranking(
    search: &Search<'_>,
    parent: &Span,
    profile: &Arc<QueryProfile>,
    gated: judge::Gated,
    gate: Option<judge::GateStage>,
    notes: &mut Notes,
) -> Ranking {
    let decided = judge::settled(search, gated, gate, parent, profile, notes);
    let vector = find::embed(search, parent, profile, &decided.decision, notes).await;
    let gathered = find::gather(search, parent, profile, &decided.decision, vector, notes).await;
    let ranked = rank(search, parent, profile, &decided.decision, &gathered, notes).await;
    let without = explain::without_each_channel(search, parent, profile, &decided.decision, &gathered, notes).await;
    Ranking { decided, gathered, ranked, without, chosen: search.chosen.clone() }
}

/// From the channels' lists to the final order.
async fn rank(
    search: &Search<'_>,
    parent: &Span,
    profile: &Arc<QueryProfile>,
    decision: &Decision,
    gathered: &find::Gathered,
    notes: &mut Notes,
) -> judge::Ranked {
    let fused = judge::fuse(search, parent, decision, gathered, notes).await;
    let boosted = find::recency_boost(search, parent, &fused).await;
    let candidates = find::hydrate(search, parent, boosted, search.page.needs(decision.rerank_depth), notes).await;
    let rows = judge::Rows { runs: &gathered.runs, asked: gathered.asked.clone(), fused, candidates };
    judge::rerank(search, parent, profile, decision, rows, notes).await
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
    let choose = move || {
        let choose = |stage| plugins.choose(stage, choices.get(&stage));
        Ok(Chosen { gate: choose(Stage::Gate)?, fusion: choose(Stage::Fusion)?, rerank: choose(Stage::Rerank)? })
    };
    // Only plugins that the request names may have to be made.
    if request.plugins.is_empty() { choose() } else { blocking(choose).await.map_err(RequestError::Unavailable)? }
}

impl Search<'_> {
    fn wants_rerank(&self) -> bool {
        let of_arms = || self.arms.last(|changes| changes.rerank);
        self.request.rerank_enabled.or_else(of_arms).unwrap_or(self.host.settings.rerank)
    }

    /// Opens a stage. Those of a ranking that is only compared with are no stages of
    /// the run.
    fn stage(&self, parent: &Span, name: &'static str) -> Span {
        self.announced(parent.child(name), name)
    }

    /// A stage that asks another system.
    fn client_stage(&self, parent: &Span, name: &'static str) -> Span {
        self.announced(parent.client(name), name)
    }

    /// Has a stage go wrong when that is configured.
    async fn strike(&self, stage: &'static str) -> Result<(), String> {
        if self.answers { self.host.faults.strike(stage).await } else { Ok(()) }
    }

    fn announced(&self, span: Span, name: &'static str) -> Span {
        span.set(attr::REQUEST_STAGE, request_stage(name));
        self.arms.mark(&span);
        if self.answers { span.announce() } else { span }
    }
}

impl Notes {
    /// Notes that are told on `span` as they come.
    fn of(span: &Span) -> Notes {
        Notes { warnings: Vec::new(), degraded: Vec::new(), told: Some(span.clone()) }
    }

    fn untold() -> Notes {
        Notes { warnings: Vec::new(), degraded: Vec::new(), told: None }
    }

    /// Takes over what each of some rankings noted, by its name: what they have in common
    /// once, the rest with who says it. It is told already.
    fn take_over(&mut self, others: Vec<(String, Notes)>) {
        let everywhere = |warning: &String| others.iter().all(|(_, notes)| notes.warnings.contains(warning));
        for (at, (name, notes)) in others.iter().enumerate() {
            for warning in &notes.warnings {
                match everywhere(warning) {
                    true if at == 0 => self.warnings.push(warning.clone()),
                    true => {}
                    false => self.warnings.push(format!("arm {name}: {warning}")),
                }
            }
            for part in &notes.degraded {
                if !self.degraded.contains(part) {
                    self.degraded.push(part.clone());
                }
            }
        }
    }

    fn warn(&mut self, message: String) {
        if let Some(span) = &self.told {
            span.event(event::WARNING, vec![KeyValue::new(attr::MESSAGE, message.clone())]);
        }
        self.warnings.push(message);
    }

    /// `part` is a stage or a channel, `cause` a class.
    fn degraded(&mut self, part: &str, cause: &str, instead: &str, message: String) {
        if let Some(span) = &self.told {
            span.record(&Fact::Degraded { part, cause });
            let texts = [(attr::PART, part), (attr::CAUSE, cause), (attr::INSTEAD, instead), (attr::MESSAGE, &message)];
            span.event(event::DEGRADED, texts.map(|(key, text)| KeyValue::new(key, text.to_owned())).into());
        }
        self.degraded.push(Degraded { part: part.into(), cause: cause.into(), instead: instead.into() });
        self.warnings.push(message);
    }
}

/// Runs what blocks on a thread made for it. A panic there becomes a message.
async fn blocking<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(carried(body)).await.map_err(|error| panicked(&error))
}

/// Runs what blocks for a few milliseconds, and has no deadline of its own, on this thread,
/// whose other tasks go to another one meanwhile. To hand it over and back would take some
/// 0.2 ms. A panic becomes a message.
fn in_place<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    let caught = || std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
    let is_alone = Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread;
    let outcome = if is_alone { caught() } else { tokio::task::block_in_place(caught) };
    outcome.map_err(|_| panicked(&"where it stands"))
}

fn panicked(error: &dyn std::fmt::Display) -> String {
    tracing::error!(%error, "a stage panicked");
    "an internal error was logged".to_owned()
}
