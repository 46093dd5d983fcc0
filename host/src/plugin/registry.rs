//! Where plugins come from, and how one version takes the place of another under a
//! running server: the new one is loaded and tested beside the old one, then one
//! pointer is switched. Whatever goes wrong before leaves the old one serving.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use serde_json::{Map, Value as Json};

use super::engine::PluginEngine;
use super::grants::Grants;
use super::instance::Configured;
use super::load::{LoadError, Plugin, Terms, digest, step};
use super::recorder::Recorder;
use super::selftest;
use super::set::{ActivePlugins, LoadedPlugins, PluginSet, names};
use super::shipped::SHIPPED;
use crate::telemetry::conventions::{attr, span};
use crate::telemetry::{Fact, Operations, Span};
use crate::types::Stage;

/// Bytes of a component's file. Interpreters in components have some tens of megabytes.
const COMPONENT_BYTES_MAX: u64 = 256 << 20;
/// After this a refused file is tried again, changed or not: what it needed may be there.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// Where a plugin comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginSource {
    /// A loaded one, by name: part of the binary, of the folder, or an extra one.
    Named(String),
    /// A component in a file.
    File(PathBuf),
}

/// A stage's plugin as the configuration has it.
#[derive(Clone, Debug)]
pub struct StageSettings {
    pub source: PluginSource,
    pub parameters: Map<String, Json>,
    /// The only component that may serve, in hexadecimal.
    pub sha256: Option<String>,
    /// `None` grants shipped plugins what they need and others nothing.
    pub terms: Option<Terms>,
    /// Golden cases of the self-test: a folder or a file.
    pub cases: Option<PathBuf>,
}

/// A component that requests may name.
#[derive(Clone, Debug)]
pub struct ExtraSettings {
    pub stage: Stage,
    pub path: PathBuf,
    pub sha256: Option<String>,
    pub terms: Terms,
    pub cases: Option<PathBuf>,
}

/// Which plugins to load.
#[derive(Clone, Debug)]
pub struct PluginSettings {
    pub stages: BTreeMap<Stage, StageSettings>,
    /// Files that requests may name besides the shipped and the configured ones.
    pub extra: Vec<ExtraSettings>,
    /// A folder whose components (`*.wasm`) are all loaded.
    pub folder: Option<PathBuf>,
    /// Terms of plugins that have none of their own. They grant nothing.
    pub terms: Terms,
}

/// A plugin that somebody wants for a stage instead of the configured one, until the
/// server ends.
#[derive(Clone, Debug)]
pub struct Choice {
    pub stage: Stage,
    /// A loaded plugin.
    pub plugin: String,
    pub parameters: Map<String, Json>,
    pub sha256: Option<String>,
}

/// A file that was refused, and why. The version before it goes on serving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub source: String,
    pub class: &'static str,
    pub message: String,
}

/// The plugins of a process.
pub struct Plugins {
    engine: PluginEngine,
    settings: PluginSettings,
    operations: Operations,
    set: ArcSwap<PluginSet>,
    /// One change at a time.
    control: Mutex<Control>,
    pub recorder: Arc<Recorder>,
    refusals: ArcSwap<Vec<Refusal>>,
}

struct Control {
    /// What each stage is to run.
    stages: BTreeMap<Stage, StageSettings>,
    files: BTreeMap<PathBuf, FileState>,
}

#[derive(Default)]
struct FileState {
    stamp: Option<Stamp>,
    refusal: Option<Refusal>,
    refused_at: Option<Instant>,
}

/// What tells a file's version without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    #[cfg(unix)]
    inode: u64,
}

/// Why a file is loaded, and under which terms.
struct Slot<'a> {
    /// `None` takes what the component is for.
    stage: Option<Stage>,
    sha256: Option<&'a str>,
    terms: Terms,
    cases: Option<&'a Path>,
    /// Whether it may take the name of another plugin: the stage's own may.
    own: bool,
}

impl Plugins {
    /// Loads the configured plugins, the shipped ones, the extra ones and the folder's.
    ///
    /// # Errors
    /// The first configured plugin that is refused: a server must not start with
    /// another judgement than the one it was configured with. Files of the folder that
    /// are refused are left out and listed in [`Plugins::refusals`].
    pub fn load(engine: PluginEngine, settings: PluginSettings, operations: Operations) -> Result<Plugins, LoadError> {
        let mut loaded = LoadedPlugins::new();
        for shipped in SHIPPED {
            let grants = Grants::new(shipped.grants.iter().cloned(), |_| None);
            let terms = Terms { grants, ..settings.terms.clone() };
            let within = operations.begin(span::PLUGIN_LOAD);
            let plugin = Plugin::load(&engine, shipped.bytes, "shipped", Some(shipped.stage), terms, &within)?;
            loaded.insert((shipped.stage, plugin.identity.name.clone()), plugin);
        }
        let control = Control { stages: settings.stages.clone(), files: BTreeMap::new() };
        let plugins = Plugins {
            set: ArcSwap::from_pointee(PluginSet::new(loaded, ActivePlugins::new())),
            control: Mutex::new(control),
            recorder: Arc::default(),
            refusals: ArcSwap::default(),
            engine,
            settings,
            operations,
        };
        plugins.first_load()?;
        Ok(plugins)
    }

    fn first_load(&self) -> Result<(), LoadError> {
        let mut control = self.control();
        let mut loaded = self.set.load().loaded.clone();
        for path in self.files() {
            let stamp = stamp(&path);
            let slot = self.slot(&path);
            let within = self.operations.begin(span::PLUGIN_LOAD);
            within.set(attr::PLUGIN_SOURCE, path.display().to_string());
            let from_folder = slot.stage.is_none();
            let outcome = self.read(&path, &slot, &within).and_then(|plugin| insert(&mut loaded, plugin, &slot));
            let refusal = match outcome {
                Ok(()) => None,
                Err(error) if from_folder => {
                    tracing::warn!(%error, "a plugin of the folder is left out");
                    within.fail(error.class(), &error.to_string());
                    Some(refusal(&path, &error))
                }
                Err(error) => return Err(error),
            };
            let refused_at = refusal.as_ref().map(|_| Instant::now());
            control.files.insert(path, FileState { stamp, refusal, refused_at });
        }
        let within = self.operations.begin(span::PLUGIN_LOAD);
        let active = self.activate(&loaded, &ActivePlugins::new(), &control.stages, &within)?;
        self.set.store(Arc::new(PluginSet::new(loaded, active)));
        self.tell_refusals(&control);
        Ok(())
    }

    /// The plugins of this moment.
    pub fn set(&self) -> Arc<PluginSet> {
        self.set.load_full()
    }

    /// Files whose newest version is not served, and why.
    pub fn refusals(&self) -> Vec<Refusal> {
        self.refusals.load().to_vec()
    }

    /// Loads files that have changed since they were looked at last; with `all`, also
    /// those that have not. Returns how many plugins were exchanged. Blocks while
    /// components compile.
    pub fn refresh(&self, all: bool) -> usize {
        let mut control = self.control();
        let files = self.files();
        // First, so that a component which was renamed doesn't find its name taken.
        let mut changed = self.forget_missing(&mut control, &files);
        for path in &files {
            let stamp = stamp(path);
            let known = control.files.entry(path.clone()).or_default();
            let again = known.refused_at.is_some_and(|at| at.elapsed() >= RETRY_INTERVAL);
            if !all && !again && known.stamp == stamp {
                continue;
            }
            known.stamp = stamp;
            let within = self.operations.begin(span::PLUGIN_LOAD);
            within.set(attr::PLUGIN_SOURCE, path.display().to_string());
            let outcome = self.replace(path, &control.stages, &within);
            let refused = match outcome {
                Ok(new) => {
                    changed += usize::from(new);
                    within.set(attr::PLUGIN_CHANGED, new);
                    within.record(&Fact::PluginLoaded { outcome: if new { "switched" } else { "unchanged" } });
                    None
                }
                Err(error) => {
                    tracing::warn!(%error, "a plugin is refused; the version before it goes on serving");
                    within.fail(error.class(), &error.to_string());
                    within.record(&Fact::PluginLoaded { outcome: "refused" });
                    Some(refusal(path, &error))
                }
            };
            if let Some(known) = control.files.get_mut(path) {
                known.refused_at = refused.as_ref().map(|_| Instant::now());
                known.refusal = refused;
            }
        }
        self.tell_refusals(&control);
        changed
    }

    fn tell_refusals(&self, control: &Control) {
        self.refusals.store(Arc::new(control.files.values().filter_map(|file| file.refusal.clone()).collect()));
    }

    /// Has a stage served by another loaded plugin or with other parameters, until the
    /// server ends or is told otherwise.
    ///
    /// # Errors
    /// When there is no such plugin, it isn't the pinned one, or it refuses the
    /// parameters or fails its self-test. What served before goes on.
    pub fn choose(&self, choice: Choice) -> Result<(), LoadError> {
        let mut control = self.control();
        let within = self.operations.begin(span::PLUGIN_LOAD);
        let loaded = self.set.load().loaded.clone();
        // Pin, terms and cases are those of the configuration, if it is the same plugin,
        // whichever served in between.
        let same =
            self.settings.stages.get(&choice.stage).filter(|configured| {
                find(&loaded, choice.stage, &configured.source).is_ok_and(|plugin| plugin.identity.name == choice.plugin)
            });
        if let (Some(asked), Some(pinned)) = (&choice.sha256, same.and_then(|configured| configured.sha256.as_deref())) {
            check_pin(&choice.plugin, asked, Some(pinned))?;
        }
        let settings = StageSettings {
            source: PluginSource::Named(choice.plugin),
            parameters: choice.parameters,
            sha256: choice.sha256.or_else(|| same?.sha256.clone()),
            terms: same.and_then(|configured| configured.terms.clone()),
            cases: same.and_then(|configured| configured.cases.clone()),
        };
        let mut stages = control.stages.clone();
        stages.insert(choice.stage, settings);
        let outcome = self.activate(&loaded, &self.set.load().active, &stages, &within);
        match outcome {
            Ok(active) => {
                self.switch(loaded, active, &within);
                within.record(&Fact::PluginLoaded { outcome: "switched" });
                control.stages = stages;
                Ok(())
            }
            Err(error) => {
                within.fail(error.class(), &error.to_string());
                within.record(&Fact::PluginLoaded { outcome: "refused" });
                Err(error)
            }
        }
    }

    /// Whether another version serves now.
    fn replace(&self, path: &Path, stages: &BTreeMap<Stage, StageSettings>, within: &Span) -> Result<bool, LoadError> {
        let slot = self.slot(path);
        let before = self.set.load_full();
        let source = path.display().to_string();
        let old = before.loaded.values().find(|plugin| plugin.identity.source == source);
        let bytes = read_file(path, slot.sha256, within)?;
        if old.is_some_and(|old| old.identity.sha256 == digest(&bytes)) {
            return Ok(false);
        }
        let plugin = self.check(&bytes, path, &slot, within)?;
        let mut loaded = before.loaded.clone();
        loaded.retain(|_, plugin| plugin.identity.source != source);
        insert(&mut loaded, plugin.clone(), &slot)?;
        let active = self.activate(&loaded, &before.active, stages, within)?;
        let serves = active.values().any(|active| active.plugin.identity == plugin.identity);
        if let Some(stage) = self.of_stage(&plugin).filter(|_| !serves) {
            // Its stage was given to another plugin, so it has not been tested yet.
            test(&under(plugin, stage), stage.cases.as_deref(), within)?;
        }
        self.switch(loaded, active, within);
        Ok(true)
    }

    fn read(&self, path: &Path, slot: &Slot, within: &Span) -> Result<Arc<Plugin>, LoadError> {
        let bytes = read_file(path, slot.sha256, within)?;
        self.check(&bytes, path, slot, within)
    }

    /// A plugin that works with its default parameters; one that a stage is configured
    /// with is tested as the stage has it, when it is activated.
    fn check(&self, bytes: &[u8], path: &Path, slot: &Slot, within: &Span) -> Result<Arc<Plugin>, LoadError> {
        let plugin = Plugin::load(&self.engine, bytes, &path.display().to_string(), slot.stage, slot.terms.clone(), within)?;
        if self.of_stage(&plugin).is_none() {
            test(&plugin, slot.cases, within)?;
        }
        Ok(plugin)
    }

    /// The stage that is configured with this plugin, by its file or by its name.
    fn of_stage(&self, plugin: &Plugin) -> Option<&StageSettings> {
        self.settings.stages.get(&plugin.identity.stage).filter(|stage| match &stage.source {
            PluginSource::File(path) => path.display().to_string() == plugin.identity.source,
            PluginSource::Named(name) => *name == plugin.identity.name,
        })
    }

    /// The plugin of each stage; those that nothing has changed for are kept, warm as
    /// they are.
    fn activate(
        &self,
        loaded: &LoadedPlugins,
        before: &ActivePlugins,
        stages: &BTreeMap<Stage, StageSettings>,
        within: &Span,
    ) -> Result<ActivePlugins, LoadError> {
        let mut active = ActivePlugins::new();
        for (&stage, settings) in stages {
            let plugin = find(loaded, stage, &settings.source)?;
            check_pin(&plugin.identity.source, &plugin.identity.sha256, settings.sha256.as_deref())?;
            let plugin = under(plugin, settings);
            let parameters = Json::Object(settings.parameters.clone()).to_string();
            let unchanged = before.get(&stage).filter(|old| {
                let same = old.plugin.identity == plugin.identity && old.plugin.terms == plugin.terms;
                same && old.parameters == parameters
            });
            let configured = match unchanged {
                Some(old) => old.clone(),
                None => {
                    let configured = step(within, span::PLUGIN_CONFIGURE, |_| Configured::new(plugin, parameters))?;
                    selftest::run(&configured, settings.cases.as_deref(), within)?;
                    Arc::new(configured)
                }
            };
            active.insert(stage, configured);
        }
        Ok(active)
    }

    /// Puts a new set in the place of the old one. Runs that began before end with the
    /// plugins they began with.
    fn switch(&self, loaded: LoadedPlugins, active: ActivePlugins, within: &Span) {
        let span = within.child(span::PLUGIN_SWITCH);
        let old = self.set.load_full();
        let next = Arc::new(old.followed_by(loaded, active));
        span.set(attr::PLUGIN_REVISION, next.revision as i64);
        self.set.store(next.clone());
        for (stage, replaced) in &old.active {
            let serving = next.active.get(stage);
            if serving.is_some_and(|serving| Arc::ptr_eq(serving, replaced)) {
                continue;
            }
            let drain = within.child(span::PLUGIN_DRAIN);
            drain.set(attr::PLUGIN_SHA256, replaced.plugin.identity.sha256.clone());
            replaced.retire(drain);
            if let Some(serving) = serving {
                let (old, new) = (&replaced.plugin.identity, &serving.plugin.identity);
                tracing::info!(%stage, from = old.sha256, to = new.sha256, name = new.name, version = new.version, "another plugin serves");
            }
        }
    }

    /// Leaves out plugins of the folder whose file is gone, unless they serve a stage.
    fn forget_missing(&self, control: &mut Control, files: &[PathBuf]) -> usize {
        control.files.retain(|path, _| files.contains(path));
        let set = self.set.load_full();
        let Some(folder) = &self.settings.folder else { return 0 };
        let gone = |plugin: &Plugin| {
            let path = Path::new(&plugin.identity.source);
            path.parent() == Some(folder) && !files.iter().any(|file| file == path)
        };
        let serves = |plugin: &Plugin| set.active.values().any(|active| active.plugin.identity == plugin.identity);
        let mut loaded = set.loaded.clone();
        loaded.retain(|_, plugin| !gone(plugin) || serves(plugin));
        let count = set.loaded.len() - loaded.len();
        if count > 0 {
            let within = self.operations.begin(span::PLUGIN_LOAD);
            self.switch(loaded, set.active.clone(), &within);
        }
        count
    }

    /// Every file that plugins come from: configured ones, then the folder's by name.
    fn files(&self) -> Vec<PathBuf> {
        let stages = self.settings.stages.values().filter_map(|stage| match &stage.source {
            PluginSource::File(path) => Some(path.clone()),
            PluginSource::Named(_) => None,
        });
        let mut files: Vec<PathBuf> = self.settings.extra.iter().map(|extra| extra.path.clone()).chain(stages).collect();
        if let Some(folder) = &self.settings.folder {
            // A folder that can't be read has no components; `doctor` says so.
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
            let mut components: Vec<PathBuf> =
                entries.filter(|path| path.extension().is_some_and(|kind| kind == "wasm") && !files.contains(path)).collect();
            components.sort();
            files.extend(components);
        }
        files
    }

    fn slot(&self, path: &Path) -> Slot<'_> {
        let own = self.settings.stages.iter().find(|(_, stage)| stage.source == PluginSource::File(path.to_owned()));
        if let Some((stage, settings)) = own {
            let terms = settings.terms.clone().unwrap_or_else(|| self.settings.terms.clone());
            return Slot { stage: Some(*stage), sha256: settings.sha256.as_deref(), terms, cases: settings.cases.as_deref(), own: true };
        }
        if let Some(extra) = self.settings.extra.iter().find(|extra| extra.path == path) {
            let (sha256, cases) = (extra.sha256.as_deref(), extra.cases.as_deref());
            return Slot { stage: Some(extra.stage), sha256, terms: extra.terms.clone(), cases, own: false };
        }
        Slot { stage: None, sha256: None, terms: self.settings.terms.clone(), cases: None, own: false }
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        // Changes are built aside and stored whole: a panic leaves the state before.
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A plugin under the terms of a stage, where it has its own.
fn under(plugin: Arc<Plugin>, stage: &StageSettings) -> Arc<Plugin> {
    match &stage.terms {
        Some(terms) if *terms != plugin.terms => plugin.under(terms.clone()),
        _ => plugin,
    }
}

/// Tests a plugin with its default parameters.
fn test(plugin: &Arc<Plugin>, cases: Option<&Path>, within: &Span) -> Result<(), LoadError> {
    let configured = step(within, span::PLUGIN_CONFIGURE, |_| Configured::new(plugin.clone(), "{}".into()))?;
    selftest::run(&configured, cases, within)
}

fn insert(loaded: &mut LoadedPlugins, plugin: Arc<Plugin>, slot: &Slot) -> Result<(), LoadError> {
    let key = (plugin.identity.stage, plugin.identity.name.clone());
    if let Some(other) = loaded.get(&key).filter(|_| !slot.own) {
        return Err(LoadError::NameTaken {
            source_name: plugin.identity.source.clone(),
            name: key.1,
            stage: key.0,
            other: other.identity.source.clone(),
        });
    }
    loaded.insert(key, plugin);
    Ok(())
}

fn find(loaded: &LoadedPlugins, stage: Stage, source: &PluginSource) -> Result<Arc<Plugin>, LoadError> {
    let found = match source {
        PluginSource::Named(name) => loaded.get(&(stage, name.clone())),
        PluginSource::File(path) => {
            let source = path.display().to_string();
            loaded.values().find(|plugin| plugin.identity.source == source && plugin.identity.stage == stage)
        }
    };
    found.cloned().ok_or_else(|| {
        let name = match source {
            PluginSource::Named(name) => name.clone(),
            PluginSource::File(path) => path.display().to_string(),
        };
        LoadError::Unknown { stage, name, known: names(loaded, stage).join(", ") }
    })
}

fn read_file(path: &Path, pin: Option<&str>, within: &Span) -> Result<Vec<u8>, LoadError> {
    let source_name = path.display().to_string();
    step(within, span::PLUGIN_READ, |_| {
        let bytes = read_bounded(path).map_err(|error| LoadError::Read { source_name: source_name.clone(), error })?;
        check_pin(&source_name, &digest(&bytes), pin)?;
        Ok(bytes)
    })
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let metadata = std::fs::metadata(path)?;
    let bytes = metadata.len();
    // Reading a pipe would wait for whoever writes to it.
    if !metadata.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    if bytes > COMPONENT_BYTES_MAX {
        return Err(std::io::Error::other(format!("it has {bytes} bytes; allowed: {COMPONENT_BYTES_MAX}")));
    }
    std::fs::read(path)
}

fn check_pin(source_name: &str, found: &str, pin: Option<&str>) -> Result<(), LoadError> {
    match pin {
        Some(pinned) if !pinned.eq_ignore_ascii_case(found) => {
            Err(LoadError::Pin { source_name: source_name.into(), found: found.into(), pinned: pinned.into() })
        }
        _ => Ok(()),
    }
}

fn refusal(path: &Path, error: &LoadError) -> Refusal {
    Refusal { source: path.display().to_string(), class: error.class(), message: error.to_string() }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some(Stamp {
        modified: metadata.modified().ok(),
        bytes: metadata.len(),
        #[cfg(unix)]
        inode: std::os::unix::fs::MetadataExt::ino(&metadata),
    })
}
