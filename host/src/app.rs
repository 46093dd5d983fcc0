//! Puts the parts together. The only place that picks concrete types, and the one
//! that swaps generations under a running server.

use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::Value as Json;
use tokio_util::sync::CancellationToken;

use crate::config::Loaded;
use crate::envelope::{AnswerEnvelope, FileSlice, Observability};
use crate::index::chunk::Language;
use crate::index::data_dir::DataDir;
use crate::index::scan::{FileContent, ScanLimits, ScannedFile, content_hash, read_file};
use crate::index::snapshot::{OpenError, Snapshot};
use crate::mcp::{Check, Readiness, SearchService};
use crate::models::EmbedderSettings;
use crate::models::scoring::Scorers;
use crate::pipeline::{self, SearchHost, SearchSettings};
use crate::plugin::{LoadError, PluginEngine, Plugins};
use crate::request::{OPEN_LINES_MAX, OpenFileArguments, RequestError, SearchRequest, invalid};
use crate::telemetry::conventions::{attr, span};
use crate::telemetry::{Caller, Run, Span, Telemetry, TelemetryError};
use crate::types::Stage;

/// How often a server looks whether a new generation was published.
const RELOAD_INTERVAL: Duration = Duration::from_millis(500);
/// How long one that could not be opened is left alone: what is wrong may pass, but
/// trying reads hundreds of megabytes.
const REOPEN_INTERVAL: Duration = Duration::from_secs(30);
/// How often a server looks whether a component has changed.
const PLUGIN_INTERVAL: Duration = Duration::from_millis(250);

/// A running Spanloom, with or without an index.
pub struct App {
    telemetry: Telemetry,
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
        let telemetry = Telemetry::start(loaded.telemetry())?;
        let cache = data.path().exists().then(|| data.plugin_cache());
        let engine = PluginEngine::new(cache.as_deref(), loaded.counts_fuel()).map_err(|error| AppError::Engine(format!("{error:#}")))?;
        let plugins = Arc::new(Plugins::load(engine, loaded.plugins(), telemetry.operations())?);
        let scorers = Arc::new(Scorers::new(loaded.scoring()).map_err(|error| AppError::Scoring(error.to_string()))?);
        let app = App {
            telemetry,
            plugins,
            scorers,
            snapshot: ArcSwapOption::empty(),
            open_error: ArcSwapOption::empty(),
            tried: Mutex::new(None),
            embedder: loaded.embedder(),
            settings: loaded.config.search,
            scan: loaded.build(false).scan,
            data,
        };
        app.reload();
        Ok(app)
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
            Ok(snapshot) => {
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

    /// Watches for new generations until `stop`.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(RELOAD_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let app = self.clone();
            // A panic while opening is logged by the runtime; the next tick tries again.
            let _ = tokio::task::spawn_blocking(move || app.reload()).await;
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
        let host = SearchHost {
            snapshot: self.snapshot()?,
            plugins: self.plugins.set(),
            recorder: self.plugins.recorder.clone(),
            scorers: self.scorers.clone(),
            settings: self.settings,
            record_query_text: self.telemetry.records_query_text(),
        };
        pipeline::search(&host, run, request).await
    }

    async fn open_file(&self, run: &Run, arguments: OpenFileArguments) -> Result<FileSlice, RequestError> {
        let snapshot = self.snapshot()?;
        let scan = self.scan.clone();
        let stage = run.root.child(span::OPEN_FILE).announce();
        stage.set(attr::FILE_PATH, arguments.path.clone());
        let observability = Observability { trace_id: run.trace_id(), run_id: run.id.clone() };
        let outcome = tokio::task::spawn_blocking(move || read_slice(&snapshot, &scan, &arguments, observability))
            .await
            .unwrap_or_else(|_| Err(RequestError::Unavailable("an internal error was logged".into())));
        match &outcome {
            Ok(slice) => stage.set(attr::FILE_LINES, format!("{}-{}", slice.start_line, slice.end_line)),
            Err(error) => stage.fail(error.class(), &error.to_string()),
        }
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
        async move { App::search(self, run, &request).await }.boxed()
    }

    fn open_file<'a>(&'a self, run: &'a Run, arguments: OpenFileArguments) -> BoxFuture<'a, Result<FileSlice, RequestError>> {
        App::open_file(self, run, arguments).boxed()
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
        Readiness { ready: index.ok, checks: std::iter::once(index.clone()).chain(serving).chain(refused).collect() }
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

/// Reads lines of an indexed file as it is on disk now.
fn read_slice(
    snapshot: &Snapshot,
    scan: &ScanLimits,
    arguments: &OpenFileArguments,
    observability: Observability,
) -> Result<FileSlice, RequestError> {
    let wanted = arguments.path.trim_start_matches("./");
    check_path(wanted)?;
    let (start, end) = (arguments.start_line.unwrap_or(1), arguments.end_line);
    if start == 0 {
        return Err(invalid("start_line", "0", "1 and up"));
    }
    if end.is_some_and(|end| end < start) {
        return Err(invalid("end_line", &end.unwrap_or_default().to_string(), &format!("{start} (`start_line`) and up")));
    }
    let not_there =
        || RequestError::NotFound(format!("`path` is `{wanted}`, which is not in the index; allowed: a path as findings have it"));
    let (file, path) = snapshot.chunks.files().find(|(_, path)| *path == wanted).ok_or_else(not_there)?;
    let root = &snapshot.manifest.roots.get(file.root as usize).ok_or_else(not_there)?.path;
    let on_disk = confined(root, &file.path)?;
    let metadata = std::fs::metadata(&on_disk)
        .map_err(|error| RequestError::NotFound(format!("`path` is `{wanted}`, which can't be read: {error}")))?;
    let scanned = ScannedFile { root: 0, path: file.path.clone(), size_bytes: metadata.len(), modified_ns: 0 };
    let text = match read_file(root, &scanned, scan) {
        FileContent::Text(text) => text,
        FileContent::Skip(reason, detail) => {
            return Err(RequestError::NotFound(format!("`path` is `{wanted}`, which can't be shown now: {reason} {detail}")));
        }
    };
    let total_lines = text.lines().count() as u32;
    if start > total_lines.max(1) {
        return Err(invalid("start_line", &start.to_string(), &format!("1 to {total_lines}, the lines of {wanted}")));
    }
    let mut warnings = Vec::new();
    let last = end.unwrap_or(total_lines).min(total_lines);
    let bounded = last.min(start.saturating_add(OPEN_LINES_MAX - 1));
    if bounded < last {
        warnings.push(format!("lines {} to {last} are left out: one call gives at most {OPEN_LINES_MAX} lines", bounded + 1));
    }
    let changed = content_hash(text.as_bytes()) != file.content_hash;
    if changed {
        warnings.push("the file has changed since it was indexed".into());
    }
    let slice: String = text.split_inclusive('\n').skip(start as usize - 1).take((bounded + 1).saturating_sub(start) as usize).collect();
    Ok(FileSlice {
        path: path.to_owned(),
        language: Language::of_path(path).as_str().into(),
        start_line: if total_lines == 0 { 0 } else { start },
        end_line: bounded,
        total_lines,
        text: slice,
        changed_since_indexed: changed,
        warnings,
        observability,
    })
}

fn check_path(path: &str) -> Result<(), RequestError> {
    let outside = Path::new(path).components().any(|part| !matches!(part, Component::Normal(_)));
    if path.is_empty() || outside {
        return Err(invalid("path", &format!("`{path}`"), "a relative path within the indexed roots, without `..`"));
    }
    Ok(())
}

/// The file's place on disk, with every link resolved, when that is below the root:
/// a folder may have been replaced by a link since it was indexed.
fn confined(root: &Path, path: &str) -> Result<PathBuf, RequestError> {
    let full = std::fs::canonicalize(root.join(path))
        .map_err(|error| RequestError::NotFound(format!("`path` is `{path}`, which can't be read: {error}")))?;
    if full.starts_with(root) {
        Ok(full)
    } else {
        Err(invalid("path", &format!("`{path}`, which leads out of its root"), "paths within the indexed roots"))
    }
}
