//! Judgements as WebAssembly components: loading, limits, calls, fallbacks.
//!
//! The host owns every span and checks every output; what a plugin can do wrong
//! becomes a [`PluginFailure`], and the stage goes on with its [`fallback`].

mod bindings;
mod documents;
mod engine;
mod failure;
pub mod fallback;
mod instance;
mod limits;
mod load;
mod shipped;
mod stages;
mod state;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value as Json};

pub use documents::DocumentRows;
pub use engine::PluginEngine;
pub use failure::{Cause, PluginFailure};
pub use instance::{CallSettings, Configured};
pub use limits::PluginLimits;
pub use load::{CONTRACT_VERSION, Identity, LoadError, Plugin};
pub use shipped::SHIPPED;
pub use stages::{Budget, ChannelRun, Decision, Fused};

use crate::request::{PluginChoice, RequestError};
use crate::types::Stage;

/// Configured plugins kept for parameters that came with requests.
const AD_HOC_MAX: usize = 32;
/// Idle instances kept of each of them: the pool is for the configured ones.
const AD_HOC_INSTANCES_KEPT: usize = 1;

/// Where a plugin comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginSource {
    /// Part of the binary, by name.
    Shipped(String),
    /// A component in a file.
    File(PathBuf),
}

/// A stage's plugin as the configuration has it.
#[derive(Clone, Debug)]
pub struct StageSettings {
    pub source: PluginSource,
    pub parameters: Map<String, Json>,
}

/// Which plugins to load.
#[derive(Clone, Debug)]
pub struct PluginSettings {
    pub stages: BTreeMap<Stage, StageSettings>,
    /// Files that requests may name besides the shipped and the configured ones.
    pub extra: Vec<(Stage, PathBuf)>,
    pub limits: PluginLimits,
}

/// The loaded plugins of a process.
pub struct Plugins {
    loaded: BTreeMap<(Stage, String), Arc<Plugin>>,
    active: BTreeMap<Stage, Arc<Configured>>,
    /// Oldest first.
    ad_hoc: Mutex<Vec<(AdHocKey, Arc<Configured>)>>,
}

type AdHocKey = (Stage, String, String);

impl Plugins {
    /// Loads the configured plugins, the shipped ones and the extra ones.
    ///
    /// # Errors
    /// The first plugin that is refused. A server must not start with another
    /// judgement than the one it was configured with.
    pub fn load(engine: &PluginEngine, settings: &PluginSettings) -> Result<Plugins, LoadError> {
        let mut loaded = BTreeMap::new();
        for shipped in SHIPPED {
            let plugin = Plugin::load(engine, shipped.bytes, "shipped", shipped.stage, settings.limits)?;
            loaded.insert((shipped.stage, plugin.identity.name.clone()), plugin);
        }
        for (stage, path) in &settings.extra {
            let plugin = load_file(engine, path, *stage, settings.limits)?;
            let name = plugin.identity.name.clone();
            if loaded.insert((*stage, name.clone()), plugin).is_some() {
                let detail = format!("calls itself `{name}`, as another {stage} plugin does; requests could not tell them apart");
                return Err(LoadError::WrongWorld { source_name: path.display().to_string(), detail });
            }
        }
        let mut active = BTreeMap::new();
        for (stage, choice) in &settings.stages {
            let plugin = match &choice.source {
                PluginSource::Shipped(name) => match loaded.get(&(*stage, name.clone())) {
                    Some(plugin) => plugin.clone(),
                    None => {
                        let known = names(&loaded, *stage).join(", ");
                        return Err(LoadError::WrongWorld {
                            source_name: name.clone(),
                            detail: format!("there is no {stage} plugin of this name; known: {known}"),
                        });
                    }
                },
                PluginSource::File(path) => {
                    let plugin = load_file(engine, path, *stage, settings.limits)?;
                    loaded.insert((*stage, plugin.identity.name.clone()), plugin.clone());
                    plugin
                }
            };
            let configured = Configured::new(plugin, Json::Object(choice.parameters.clone()).to_string())?;
            active.insert(*stage, Arc::new(configured));
        }
        Ok(Plugins { loaded, active, ad_hoc: Mutex::new(Vec::new()) })
    }

    /// The plugin of a stage that is configured, or the one a request asks for.
    /// May compile nothing but may make an instance: call it where blocking is fine.
    ///
    /// # Errors
    /// [`RequestError::Invalid`] for a plugin that isn't loaded or parameters that it
    /// refuses.
    pub fn choose(&self, stage: Stage, choice: Option<&PluginChoice>) -> Result<Arc<Configured>, RequestError> {
        let active = self.active.get(&stage).ok_or_else(|| RequestError::Unavailable(format!("no {stage} plugin is configured")))?;
        let Some(choice) = choice else { return Ok(active.clone()) };
        let name = choice.plugin.as_deref().unwrap_or(&active.plugin.identity.name);
        let is_active = name == active.plugin.identity.name;
        let plugin = match self.loaded.get(&(stage, name.to_owned())) {
            Some(plugin) => plugin,
            None => {
                let known = names(&self.loaded, stage).join(", ");
                return Err(crate::request::invalid(&format!("{stage}.plugin"), &format!("`{name}`"), &known));
            }
        };
        let parameters = match &choice.parameters {
            Some(parameters) => Json::Object(parameters.clone()).to_string(),
            None if is_active => return Ok(active.clone()),
            None => "{}".to_owned(),
        };
        let key = (stage, name.to_owned(), parameters.clone());
        if let Some((_, known)) = self.ad_hoc().iter().find(|(known, _)| *known == key) {
            return Ok(known.clone());
        }
        let configured = Configured::keeping(plugin.clone(), parameters, AD_HOC_INSTANCES_KEPT)
            .map_err(|error| RequestError::Invalid(format!("`{stage}.parameters` are refused by {name}: {error}")))?;
        let configured = Arc::new(configured);
        let mut ad_hoc = self.ad_hoc();
        if ad_hoc.len() >= AD_HOC_MAX {
            ad_hoc.remove(0);
        }
        ad_hoc.push((key, configured.clone()));
        Ok(configured)
    }

    /// Every loaded plugin, by stage and name, and whether it is its stage's own.
    pub fn list(&self) -> Vec<(Arc<Plugin>, bool)> {
        self.loaded
            .iter()
            .map(|((stage, _), plugin)| {
                let active = self.active.get(stage).is_some_and(|active| Arc::ptr_eq(&active.plugin, plugin));
                (plugin.clone(), active)
            })
            .collect()
    }

    fn ad_hoc(&self) -> std::sync::MutexGuard<'_, Vec<(AdHocKey, Arc<Configured>)>> {
        // A list of pointers is whole whatever happened under the lock.
        self.ad_hoc.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn names(loaded: &BTreeMap<(Stage, String), Arc<Plugin>>, stage: Stage) -> Vec<String> {
    loaded.keys().filter(|(of, _)| *of == stage).map(|(_, name)| name.clone()).collect()
}

fn load_file(engine: &PluginEngine, path: &Path, stage: Stage, limits: PluginLimits) -> Result<Arc<Plugin>, LoadError> {
    let source = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| LoadError::Read { source_name: source.clone(), error })?;
    Plugin::load(engine, &bytes, &source, stage, limits)
}
