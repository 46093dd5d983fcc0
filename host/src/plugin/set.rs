//! The plugins of one moment. A run takes one set and keeps it: it never mixes versions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value as Json;

use super::failure::{Cause, PluginFailure};
use super::instance::Configured;
use super::load::Plugin;
use crate::request::{PluginChoice, RequestError, invalid};
use crate::types::Stage;

/// Configured plugins kept for parameters that came with requests.
const AD_HOC_MAX: usize = 32;
/// Idle instances kept of each of them: the pool is for the configured ones.
const AD_HOC_INSTANCES_KEPT: usize = 1;

/// Loaded plugins by stage and name.
pub(super) type LoadedPlugins = BTreeMap<(Stage, String), Arc<Plugin>>;
/// The plugin that serves each stage.
pub(super) type ActivePlugins = BTreeMap<Stage, Arc<Configured>>;

/// The loaded plugins of one moment, and which of them serve.
pub struct PluginSet {
    /// Counts the changes since the start.
    pub revision: u64,
    pub(super) loaded: LoadedPlugins,
    pub(super) active: ActivePlugins,
    /// Oldest first.
    ad_hoc: Mutex<Vec<AdHoc>>,
}

#[derive(Clone)]
struct AdHoc {
    stage: Stage,
    configured: Arc<Configured>,
}

impl PluginSet {
    pub(super) fn new(loaded: LoadedPlugins, active: ActivePlugins) -> PluginSet {
        PluginSet { revision: 0, loaded, active, ad_hoc: Mutex::default() }
    }

    /// The set that follows this one. What requests have configured is kept as far as
    /// its plugin is still there.
    pub(super) fn followed_by(&self, loaded: LoadedPlugins, active: ActivePlugins) -> PluginSet {
        let next = PluginSet { revision: self.revision + 1, loaded, active, ad_hoc: Mutex::default() };
        let mut kept = self.lock().clone();
        kept.retain(|entry| {
            let name = &entry.configured.plugin.identity.name;
            next.plugin(entry.stage, name).is_some_and(|plugin| Arc::ptr_eq(plugin, &entry.configured.plugin))
        });
        *next.lock() = kept;
        next
    }

    /// The plugin of a stage that is configured, or the one a request asks for.
    /// May make an instance: call it where blocking is fine.
    ///
    /// # Errors
    /// [`RequestError::Invalid`] for a plugin that isn't loaded or parameters that it
    /// refuses; [`RequestError::Unavailable`] when no instance is left for it.
    pub fn choose(&self, stage: Stage, choice: Option<&PluginChoice>) -> Result<Arc<Configured>, RequestError> {
        let active = self.active.get(&stage).ok_or_else(|| RequestError::Unavailable(format!("no {stage} plugin is configured")))?;
        let Some(choice) = choice else { return Ok(active.clone()) };
        let name = choice.plugin.as_deref().unwrap_or(&active.plugin.identity.name);
        let is_active = name == active.plugin.identity.name;
        let plugin = self
            .plugin(stage, name)
            .ok_or_else(|| invalid(&format!("{stage}.plugin"), &format!("`{name}`"), &names(&self.loaded, stage).join(", ")))?;
        let parameters = match &choice.parameters {
            Some(parameters) => Json::Object(parameters.clone()).to_string(),
            None if is_active => return Ok(active.clone()),
            None => "{}".to_owned(),
        };
        let known = |entry: &&AdHoc| Arc::ptr_eq(&entry.configured.plugin, plugin) && entry.configured.parameters == parameters;
        if let Some(entry) = self.lock().iter().find(known) {
            return Ok(entry.configured.clone());
        }
        let configured =
            Configured::prepare(plugin.clone(), parameters, ad_hoc_kept(plugin)).map_err(|failure| refused(stage, name, &failure))?;
        let configured = Arc::new(configured);
        let mut ad_hoc = self.lock();
        if ad_hoc.len() >= AD_HOC_MAX {
            ad_hoc.remove(0);
        }
        ad_hoc.push(AdHoc { stage, configured: configured.clone() });
        Ok(configured)
    }

    /// The configured plugin of a stage.
    pub fn active(&self, stage: Stage) -> Option<&Arc<Configured>> {
        self.active.get(&stage)
    }

    /// Every loaded plugin, by stage and name, and whether it is its stage's own.
    pub fn list(&self) -> Vec<(Arc<Plugin>, bool)> {
        self.loaded.keys().filter_map(|(stage, name)| Some((self.plugin(*stage, name)?.clone(), self.is_active(*stage, name)))).collect()
    }

    /// A plugin under the terms of its stage when it is the active one.
    fn plugin(&self, stage: Stage, name: &str) -> Option<&Arc<Plugin>> {
        match self.active.get(&stage).filter(|_| self.is_active(stage, name)) {
            Some(active) => Some(&active.plugin),
            None => self.loaded.get(&(stage, name.to_owned())),
        }
    }

    fn is_active(&self, stage: Stage, name: &str) -> bool {
        self.active.get(&stage).is_some_and(|active| active.plugin.identity.name == name)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<AdHoc>> {
        // A list of pointers is whole whatever happened under the lock.
        self.ad_hoc.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a request can't have a plugin with its parameters.
fn refused(stage: Stage, name: &str, failure: &PluginFailure) -> RequestError {
    let message = &failure.message;
    match failure.cause {
        // Nothing is wrong with the parameters: others hold what there is.
        Cause::Instances | Cause::Instantiate => {
            RequestError::Unavailable(format!("{stage} plugin {name} can't be had now: {message}; try again later"))
        }
        _ => RequestError::Invalid(format!("`{stage}.parameters` are refused by {name}: {message}")),
    }
}

/// Idle instances count among those that may be alive: where that is few, requests'
/// own parameters must not take them from the configured ones.
fn ad_hoc_kept(plugin: &Plugin) -> usize {
    if plugin.terms.limits.instances_max >= 2 * AD_HOC_MAX { AD_HOC_INSTANCES_KEPT } else { 0 }
}

/// The names of a stage's plugins, in order.
pub(super) fn names(loaded: &LoadedPlugins, stage: Stage) -> Vec<String> {
    loaded.keys().filter(|(of, _)| *of == stage).map(|(_, name)| name.clone()).collect()
}
