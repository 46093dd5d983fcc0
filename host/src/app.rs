//! Puts the parts together. The only place that picks concrete types, and the one
//! that swaps generations under a running server.

pub mod experiments;
mod files;
mod git_tools;
mod records;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;
use experiments::{ExperimentSettings, Experiments, OtherIndexes};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::Value as Json;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::code::git::GitLimits;
use crate::config::{ExperimentsConfig, Loaded};
use crate::envelope::{AnswerEnvelope, BlameAnswer, FileSlice, HistoryAnswer};
use crate::experiments::feedback::{FeedbackAnswer, FeedbackArguments};
use crate::experiments::journal::JournalError;
use crate::experiments::report::Report as ExperimentReport;
use crate::faults::Faults;
use crate::index::data_dir::DataDir;
use crate::index::scan::ScanLimits;
use crate::index::snapshot::{OpenError, Snapshot};
use crate::mcp::{Check, Readiness, SearchService};
use crate::models::EmbedderSettings;
use crate::models::scoring::Scorers;
use crate::pipeline::{self, SearchHost, SearchSettings};
use crate::plugin::{LoadError, PluginEngine, Plugins};
use crate::reports::{self, ReportKey, Reported};
use crate::request::{BlameArguments, HistoryRequest, OpenFileArguments, RequestError, SearchRequest};
use crate::telemetry::conventions::{attr, span};
use crate::telemetry::{Caller, IndexFacts, Run, Span, Telemetry, TelemetryError, carried};
use crate::types::Stage;

/// How often a server looks whether a new generation was published.
const RELOAD_INTERVAL: Duration = Duration::from_millis(500);
/// How long one that could not be opened is left alone: what is wrong may pass, but
/// trying reads hundreds of megabytes.
const REOPEN_INTERVAL: Duration = Duration::from_secs(30);
/// How often a server looks whether a component has changed.
const PLUGIN_INTERVAL: Duration = Duration::from_millis(250);

/// Reports composed at once: each reads a ledger, which may have 16 MiB.
const COMPOSING_MAX: usize = 4;

/// A running Spanloom, with or without an index.
pub struct App {
    telemetry: Arc<Telemetry>,
    plugins: Arc<Plugins>,
    scorers: Arc<Scorers>,
    snapshot: ArcSwapOption<Snapshot>,
    /// Why there is no newer snapshot, when opening it failed.
    open_error: ArcSwapOption<String>,
    tried: Mutex<Option<Tried>>,
    data: DataDir,
    embedder: EmbedderSettings,
    settings: SearchSettings,
    scan: ScanLimits,
    faults: Arc<Faults>,
    /// Reports that may be composed at once.
    composing: Arc<Semaphore>,
    git: GitLimits,
    /// A server's.
    experiments: OnceLock<Arc<Experiments>>,
    others: OtherIndexes,
}

/// A generation's name, and when its manifest was written.
type Stamp = (String, Option<SystemTime>);

/// The generation that was tried last.
struct Tried {
    stamp: Stamp,
    /// When to try once more; `None` when it could be opened.
    again_at: Option<Instant>,
}

/// Why the parts don't fit together.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error("plugin {0}")]
    Plugin(#[from] LoadError),
    #[error("the plugin engine can't start: {0}")]
    Engine(String),
    #[error("the scoring models can't be set up: {0}")]
    Scoring(String),
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl App {
    /// Starts telemetry and plugins, and opens the index if there is one that can be
    /// opened. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// When a plugin is refused or telemetry can't start.
    pub fn start(loaded: &Loaded) -> Result<App, AppError> {
        let data = DataDir::new(&loaded.config.data_dir.0);
        let telemetry = Arc::new(Telemetry::start(loaded.telemetry())?);
        let cache = data.path().exists().then(|| data.plugin_cache());
        let engine = PluginEngine::new(cache.as_deref(), loaded.counts_fuel()).map_err(|error| AppError::Engine(format!("{error:#}")))?;
        let plugins = Arc::new(Plugins::load(engine, loaded.plugins(), telemetry.operations())?);
        let scorers = Arc::new(Scorers::new(loaded.scoring()).map_err(|error| AppError::Scoring(error.to_string()))?);
        let build = loaded.build(false);
        let app = App {
            telemetry,
            plugins,
            scorers,
            snapshot: ArcSwapOption::empty(),
            open_error: ArcSwapOption::empty(),
            tried: Mutex::new(None),
            embedder: loaded.embedder(),
            settings: loaded.config.search,
            faults: Arc::new(loaded.config.faults.clone()),
            composing: Arc::new(Semaphore::new(COMPOSING_MAX)),
            scan: build.scan,
            git: build.git,
            experiments: OnceLock::new(),
            others: OtherIndexes::of(loaded),
            data,
        };
        app.reload();
        Ok(app)
    }

    /// Begins with experiments: searches that clients ask for take part in them, and are
    /// written down.
    ///
    /// # Errors
    /// When the journal can't be written.
    pub fn start_experiments(&self, config: &ExperimentsConfig) -> Result<(), JournalError> {
        let settings = ExperimentSettings {
            folder: config.folder.clone(),
            journal: self.data.experiments(),
            journal_days_max: config.journal_days_max,
            others: self.others.clone(),
        };
        let started = Experiments::start(settings, self.telemetry.clone())?;
        self.experiments.get_or_init(|| started);
        Ok(())
    }

    /// The index, or why there is none.
    ///
    /// # Errors
    /// [`RequestError::Unavailable`] with what to do.
    pub fn snapshot(&self) -> Result<Arc<Snapshot>, RequestError> {
        self.snapshot.load_full().ok_or_else(|| {
            let why = self.open_error.load_full().map_or_else(|| "no index is open yet".to_owned(), |why| (*why).clone());
            RequestError::Unavailable(why)
        })
    }

    pub fn plugins(&self) -> &Arc<Plugins> {
        &self.plugins
    }

    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// Opens the current generation when it isn't the one that is open. When it can't
    /// be opened the old one goes on serving. Returns whether there was a change.
    pub fn reload(&self) -> bool {
        let serving = self.snapshot.load().as_ref().map(|snapshot| snapshot.manifest.generation.clone());
        // One that could not be opened is left alone for a while, unless it changes.
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.data.current_stamp().ok();
        if let (Some(tried), Some(current)) = (&*tried, &current)
            && tried.stamp == *current
            && tried.again_at.is_none_or(|at| Instant::now() < at)
        {
            return false;
        }
        let outcome = Snapshot::open_current(&self.data, &self.embedder);
        let again_at = outcome.is_err().then(|| Instant::now() + REOPEN_INTERVAL);
        *tried = current.map(|stamp| Tried { stamp, again_at });
        match outcome {
            Ok(mut snapshot) => {
                // 64 GiB at most, which a pointer's size holds.
                snapshot.catalog.keep_rows((self.settings.row_cache_mb << 20) as usize);
                self.telemetry.index_opened(index_facts(&snapshot));
                tracing::info!(generation = snapshot.manifest.generation, chunks = snapshot.chunks.len(), "index opened");
                self.snapshot.store(Some(Arc::new(snapshot)));
                self.open_error.store(None);
                true
            }
            Err(error) => {
                let message = error.to_string();
                if self.open_error.load().as_deref() != Some(&message) {
                    tracing::warn!(error = message, ?serving, "the current index can't be opened");
                    self.open_error.store(Some(Arc::new(message)));
                }
                false
            }
        }
    }

    /// Watches for new generations until `stop`, and warms each that is opened.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(RELOAD_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut is_warm = false;
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let app = self.clone();
            let look = move || {
                app.experiments.get().into_iter().for_each(|experiments| experiments.refresh());
                let changed = app.reload();
                if changed || !is_warm {
                    app.warm();
                }
            };
            // A panic while opening is logged by the runtime; the next tick tries again.
            let _ = tokio::task::spawn_blocking(look).await;
            is_warm = true;
        }
    }

    /// Has the first searches of a generation find it in memory.
    fn warm(&self) {
        if let Some(snapshot) = self.snapshot.load_full()
            && let Err(error) = snapshot.catalog.warm()
        {
            tracing::warn!(%error, "the catalog could not be read ahead");
        }
    }

    /// Watches the files of the plugins until `stop`.
    pub async fn watch_plugins(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(PLUGIN_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let plugins = self.plugins.clone();
            let _ = tokio::task::spawn_blocking(move || plugins.refresh(false)).await;
        }
    }

    /// Answers a search within a run.
    ///
    /// # Errors
    /// See [`pipeline::search`].
    pub async fn search(&self, run: &Run, request: &SearchRequest) -> Result<AnswerEnvelope, RequestError> {
        self.search_in(self.snapshot()?, run, request).await
    }

    /// The same in a generation of the caller's choice.
    ///
    /// # Errors
    /// See [`pipeline::search`].
    pub async fn search_in(&self, snapshot: Arc<Snapshot>, run: &Run, request: &SearchRequest) -> Result<AnswerEnvelope, RequestError> {
        pipeline::search(&self.search_host(snapshot), run, request).await
    }

    /// What a search of that generation needs, as it is configured at this moment.
    pub fn search_host(&self, snapshot: Arc<Snapshot>) -> SearchHost {
        SearchHost {
            snapshot,
            plugins: self.plugins.set(),
            recorder: self.plugins.recorder.clone(),
            scorers: self.scorers.clone(),
            settings: self.settings,
            record_query_text: self.telemetry.records_query_text(),
            faults: self.faults.clone(),
            arms: Vec::new(),
            interleave: None,
            page_run: None,
        }
    }

    async fn run_report(&self, run: Option<&Run>, key: ReportKey) -> Result<Reported, RequestError> {
        let (ReportKey::Run(id) | ReportKey::Trace(id)) = &key;
        let (id, records) = (id.clone(), self.telemetry.records());
        self.composed(run, id, move || reports::report(&records, &key)).await
    }

    /// What an experiment has shown so far.
    async fn experiment_report(&self, run: Option<&Run>, id: String) -> Result<ExperimentReport, RequestError> {
        let Some(experiments) = self.experiments.get().cloned() else {
            return Err(RequestError::Unavailable("reports of experiments are given by a server".into()));
        };
        self.composed(run, id.clone(), move || experiments.report(&id)).await
    }

    /// A report as a stage of the run that asks for it, on a thread of its own.
    async fn composed<T: Send + 'static>(
        &self,
        run: Option<&Run>,
        id: String,
        compose: impl FnOnce() -> Result<T, RequestError> + Send + 'static,
    ) -> Result<T, RequestError> {
        let stage = run.map(|run| run.root.child(span::REPORT_COMPOSE).announce());
        if let Some(stage) = &stage {
            stage.set(attr::REPORT_ID, id);
        }
        // Never closed; without a permit the call waits within its own time.
        let permit = self.composing.clone().acquire_owned().await;
        let outcome = tokio::task::spawn_blocking(carried(move || {
            let _permit = permit;
            compose()
        }))
        .await
        .unwrap_or_else(|_| Err(RequestError::Unavailable("an internal error was logged".into())));
        if let (Some(stage), Err(error)) = (&stage, &outcome) {
            stage.fail(error.class(), &error.to_string());
        }
        stage.iter().for_each(Span::end);
        outcome
    }
}

impl SearchService for App {
    fn begin_run(&self, tool: &str, caller: &Caller, arguments: Json) -> Run {
        self.telemetry.run(tool, caller, arguments)
    }

    fn begin_exchange(&self, method: &'static str, caller: &Caller) -> Option<Span> {
        Some(self.telemetry.exchange(method, caller))
    }

    fn search<'a>(&'a self, run: &'a Run, request: SearchRequest) -> BoxFuture<'a, Result<AnswerEnvelope, RequestError>> {
        let answered = async move {
            let Some(experiments) = self.experiments.get() else { return App::search(self, run, &request).await };
            let taken = experiments.begin(run, &request);
            let (outcome, host) = match self.snapshot() {
                Ok(snapshot) => {
                    let host = taken.join(self.search_host(snapshot));
                    (pipeline::search(&host, run, &request).await, Some(host))
                }
                Err(error) => (Err(error), None),
            };
            taken.finish(&outcome, host);
            outcome
        };
        answered.boxed()
    }

    fn open_file<'a>(&'a self, run: &'a Run, arguments: OpenFileArguments) -> BoxFuture<'a, Result<FileSlice, RequestError>> {
        let opened = async move {
            let outcome = App::open_file(self, run, arguments).await;
            if let (Some(experiments), Ok(slice)) = (self.experiments.get(), &outcome) {
                experiments.opened(run, slice);
            }
            outcome
        };
        opened.boxed()
    }

    fn report_feedback<'a>(&'a self, _: &'a Run, arguments: FeedbackArguments) -> BoxFuture<'a, Result<FeedbackAnswer, RequestError>> {
        let taken = async move {
            let Some(experiments) = self.experiments.get() else {
                return Err(RequestError::Unavailable("feedback is taken by a server".into()));
            };
            // The disk may be slow; nothing else of this call runs meanwhile.
            tokio::task::block_in_place(|| experiments.feedback(&arguments))
        };
        taken.boxed()
    }

    fn answer_sent(&self, run_id: &str) {
        if let Some(experiments) = self.experiments.get() {
            experiments.answer_sent(run_id);
        }
    }

    fn experiment_report<'a>(&'a self, run: Option<&'a Run>, id: String) -> BoxFuture<'a, Result<ExperimentReport, RequestError>> {
        App::experiment_report(self, run, id).boxed()
    }

    fn run_report<'a>(&'a self, run: Option<&'a Run>, key: ReportKey) -> BoxFuture<'a, Result<Reported, RequestError>> {
        App::run_report(self, run, key).boxed()
    }

    fn git_blame<'a>(&'a self, run: &'a Run, arguments: BlameArguments) -> BoxFuture<'a, Result<BlameAnswer, RequestError>> {
        App::git_blame(self, run, arguments).boxed()
    }

    fn git_history<'a>(&'a self, run: &'a Run, request: HistoryRequest) -> BoxFuture<'a, Result<HistoryAnswer, RequestError>> {
        App::git_history(self, run, request).boxed()
    }

    fn readiness(&self) -> Readiness {
        let index = match self.snapshot.load().as_ref() {
            Some(snapshot) => Check {
                name: "index".into(),
                ok: true,
                detail: format!("generation {}, {} chunks", snapshot.manifest.generation, snapshot.chunks.len()),
            },
            None => Check {
                name: "index".into(),
                ok: false,
                detail: self.open_error.load_full().map_or_else(|| "not open yet".into(), |why| (*why).clone()),
            },
        };
        let set = self.plugins.set();
        let serving = Stage::ALL.into_iter().filter_map(|stage| set.active(stage)).map(|active| {
            let identity = &active.plugin.identity;
            let out = active.quarantine.left(Instant::now());
            let rest =
                out.map(|left| format!("; taken out for {} s more after failures in a row, the fallback serves", left.as_secs() + 1));
            let detail = format!("{} {} (sha256 {}){}", identity.name, identity.version, identity.sha256, rest.unwrap_or_default());
            Check { name: format!("plugin {}", identity.stage), ok: out.is_none(), detail }
        });
        let refused = self.plugins.refusals().into_iter().map(|refusal| Check {
            name: format!("plugin file {}", refusal.source),
            ok: false,
            detail: format!("{}; the version before it goes on serving", refusal.message),
        });
        let faults = (!self.faults.is_empty()).then(|| Check {
            name: "faults".into(),
            ok: false,
            detail: format!("go wrong on purpose: {}; remove `[faults]` from the configuration to end it", self.faults.stages().join(", ")),
        });
        let experiments = self.experiments.get().and_then(|experiments| experiments.check());
        let others = serving.chain(refused).chain(experiments).chain(faults);
        Readiness { ready: index.ok, checks: std::iter::once(index.clone()).chain(others).collect() }
    }

    fn roots_description(&self) -> String {
        let names: Vec<String> = self
            .snapshot
            .load()
            .as_ref()
            .map(|snapshot| snapshot.manifest.roots.iter().map(|root| root.name.clone()).collect())
            .unwrap_or_default();
        names.join(", ")
    }
}

fn index_facts(snapshot: &Snapshot) -> IndexFacts {
    let manifest = &snapshot.manifest;
    IndexFacts {
        created_s: manifest.created_s,
        files_indexed: manifest.counts.files,
        files_skipped: manifest.counts.skipped,
        chunks: manifest.counts.chunks,
        chunks_embedded: manifest.counts.embedded,
    }
}
