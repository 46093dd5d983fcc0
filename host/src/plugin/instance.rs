//! Instances: made, configured once, called many times, thrown away after a trap.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cpu_time::ThreadTime;
use wasmtime::Store;
use wasmtime::component::Resource;

use super::bindings::types::{Call, PluginError};
use super::bindings::{fusion, gate, rerank};
use super::documents::DocumentRows;
use super::engine::{PluginEngine, epochs};
use super::failure::{Cause, PluginFailure, classify};
use super::limits::PluginLimits;
use super::load::{LoadError, Plugin, StagePre};
use super::state::{GuestSpan, HostState};
use crate::telemetry::Span;
use crate::telemetry::conventions::{attr, event};

/// A plugin with parameters that it has accepted, and its warm instances.
pub struct Configured {
    pub plugin: Arc<Plugin>,
    /// The JSON object that every instance is configured with.
    pub parameters: String,
    idle: Mutex<Vec<Instance>>,
    /// Idle instances that are kept.
    kept_max: usize,
}

/// One store with one component instance in it.
pub(super) struct Instance {
    store: Store<HostState>,
    bindings: Bindings,
    engine: PluginEngine,
    calls: u64,
}

/// The exports of an instance.
pub(super) enum Bindings {
    Gate(gate::GatePlugin),
    Fusion(fusion::FusionPlugin),
    Rerank(rerank::RerankPlugin),
}

/// The circumstances of a call.
#[derive(Clone, Copy, Debug)]
pub struct CallSettings {
    /// The call ends by then, or earlier when the plugin's own limit says so.
    pub deadline: Instant,
    pub limit: u32,
    pub explain: bool,
}

impl Configured {
    /// Configures a plugin, with one instance made to see that it accepts.
    ///
    /// # Errors
    /// [`LoadError::Configure`] with the plugin's own words.
    pub fn new(plugin: Arc<Plugin>, parameters: String) -> Result<Configured, LoadError> {
        let kept_max = plugin.limits.instances_kept_max;
        Configured::keeping(plugin, parameters, kept_max)
    }

    /// The same with another number of idle instances kept.
    pub(super) fn keeping(plugin: Arc<Plugin>, parameters: String, kept_max: usize) -> Result<Configured, LoadError> {
        let configured = Configured { plugin, parameters, idle: Mutex::new(Vec::new()), kept_max };
        let first = configured
            .instantiate()
            .map_err(|failure| LoadError::Configure { source_name: configured.plugin.identity.source.clone(), detail: failure.message })?;
        configured.give_back(first);
        Ok(configured)
    }

    /// Runs one stage call on a warm instance, or a new one. Whatever the guest
    /// does, the stage span gets the facts of the call, and this returns in time.
    ///
    /// # Errors
    /// [`PluginFailure`], which is also written on the stage span.
    pub(super) fn call<T>(
        &self,
        stage: &Span,
        settings: CallSettings,
        documents: Option<DocumentRows>,
        body: impl FnOnce(&mut Store<HostState>, &Bindings, Resource<GuestSpan>, Call) -> wasmtime::Result<Result<T, PluginError>>,
    ) -> Result<T, PluginFailure> {
        let identity = &self.plugin.identity;
        stage.set(attr::PLUGIN_NAME, identity.name.clone());
        stage.set(attr::PLUGIN_VERSION, identity.version.clone());
        stage.set(attr::PLUGIN_SHA256, identity.sha256.clone());
        stage.set(attr::PLUGIN_STAGE, identity.stage.as_str());
        let outcome = self.checked_out(stage, settings, documents, body);
        if let Err(failure) = &outcome {
            self.report(stage, failure);
        }
        outcome
    }

    /// Writes a failure on the stage span; also for failures found in the output.
    pub(super) fn report(&self, stage: &Span, failure: &PluginFailure) {
        stage.set(attr::PLUGIN_TRAP, failure.cause.as_str());
        stage.fail(failure.cause.as_str(), &failure.message);
        stage.event(
            event::PLUGIN_FAILED,
            vec![
                opentelemetry::KeyValue::new("cause", failure.cause.as_str()),
                opentelemetry::KeyValue::new("message", failure.message.clone()),
            ],
        );
    }

    /// A failure of this plugin.
    pub(super) fn failure(&self, cause: Cause, message: impl Into<String>) -> PluginFailure {
        let identity = &self.plugin.identity;
        PluginFailure { name: identity.name.clone(), sha256: identity.sha256.clone(), cause, message: message.into() }
    }

    fn checked_out<T>(
        &self,
        stage: &Span,
        settings: CallSettings,
        documents: Option<DocumentRows>,
        body: impl FnOnce(&mut Store<HostState>, &Bindings, Resource<GuestSpan>, Call) -> wasmtime::Result<Result<T, PluginError>>,
    ) -> Result<T, PluginFailure> {
        let limits = &self.plugin.limits;
        let left = settings.deadline.saturating_duration_since(Instant::now()).min(Duration::from_millis(limits.call_ms_max.into()));
        if left.is_zero() {
            return Err(self.failure(Cause::Deadline, "no time was left for the call"));
        }
        let kept = lock(&self.idle).pop();
        let mut instance = match kept {
            Some(instance) => instance,
            None => self.instantiate()?,
        };
        stage.set(attr::PLUGIN_REUSE, instance.calls as i64);
        instance.calls += 1;
        let call =
            Call { recording: stage.is_recorded(), deadline_us: left.as_micros() as u64, limit: settings.limit, explain: settings.explain };
        let Instance { store, bindings, .. } = &mut instance;
        store.set_epoch_deadline(epochs(left));
        let own = store.data_mut().begin(limits, stage, documents).map_err(|error| self.failure(Cause::Contract, error.to_string()))?;
        let lent = Resource::new_borrow(own.rep());
        let running = self.plugin.engine.running();
        let cpu = ThreadTime::now();
        let returned = body(store, bindings, lent, call);
        drop(running);
        stage.set(attr::PLUGIN_GUEST_US, cpu.elapsed().as_micros() as i64);
        stage.set(attr::PLUGIN_MEMORY, store.data().limiter.memory_bytes_peak as i64);
        let failure = match &returned {
            Ok(_) => None,
            Err(error) => Some(classify(error, &store.data().limiter)),
        };
        let dropped = store.data_mut().end(own, failure.as_ref().map(|(cause, message)| (cause.as_str(), message.as_str())));
        if dropped > 0 {
            stage.set(attr::PLUGIN_DROPPED, dropped as i64);
        }
        if let Some((cause, message)) = failure {
            // The store, and with it everything the guest had, ends here.
            return Err(self.failure(cause, message));
        }
        self.give_back(instance);
        match returned {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(PluginError::BadConfig(message))) => Err(self.failure(Cause::BadConfig, message)),
            Ok(Err(PluginError::Unsupported(message))) => Err(self.failure(Cause::Unsupported, message)),
            Ok(Err(PluginError::Internal(message))) => Err(self.failure(Cause::PluginError, message)),
            Err(error) => Err(self.failure(Cause::Trap, error.to_string())),
        }
    }

    fn instantiate(&self) -> Result<Instance, PluginFailure> {
        let mut instance = Instance::new(&self.plugin).map_err(|(cause, message)| self.failure(cause, message))?;
        match instance.configure(&self.plugin.limits, &self.parameters) {
            Ok(Ok(())) => Ok(instance),
            Ok(Err(PluginError::BadConfig(message) | PluginError::Unsupported(message) | PluginError::Internal(message))) => {
                Err(self.failure(Cause::BadConfig, message))
            }
            Err((cause, message)) => Err(self.failure(cause, format!("`configure` failed: {}: {message}", cause.as_str()))),
        }
    }

    fn give_back(&self, instance: Instance) {
        let mut idle = lock(&self.idle);
        if idle.len() < self.kept_max {
            idle.push(instance);
        }
    }
}

fn lock(idle: &Mutex<Vec<Instance>>) -> std::sync::MutexGuard<'_, Vec<Instance>> {
    // Only pushes and pops happen under the lock: the list is whole after a panic.
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Instance {
    pub(super) fn new(plugin: &Plugin) -> Result<Instance, (Cause, String)> {
        let mut store = Store::new(&plugin.engine.engine, HostState::new(&plugin.limits));
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(plugin.limits.host_call_bytes_max);
        // A component's start code runs while it is instantiated.
        store.set_epoch_deadline(epochs(Duration::from_millis(plugin.limits.setup_ms_max.into())));
        let _running = plugin.engine.running();
        let made = match &plugin.pre {
            StagePre::Gate(pre) => pre.instantiate(&mut store).map(Bindings::Gate),
            StagePre::Fusion(pre) => pre.instantiate(&mut store).map(Bindings::Fusion),
            StagePre::Rerank(pre) => pre.instantiate(&mut store).map(Bindings::Rerank),
        };
        match made {
            Ok(bindings) => Ok(Instance { store, bindings, engine: plugin.engine.clone(), calls: 0 }),
            Err(error) => {
                let (cause, message) = classify(&error, &store.data().limiter);
                Err((if cause == Cause::Trap { Cause::Instantiate } else { cause }, message))
            }
        }
    }

    pub(super) fn describe(&mut self, limits: &PluginLimits) -> Result<String, (Cause, String)> {
        self.store.set_epoch_deadline(epochs(Duration::from_millis(limits.setup_ms_max.into())));
        let _running = self.engine.running();
        let answer = match &self.bindings {
            Bindings::Gate(plugin) => plugin.spanloom_search_gate().call_describe(&mut self.store),
            Bindings::Fusion(plugin) => plugin.spanloom_search_fusion().call_describe(&mut self.store),
            Bindings::Rerank(plugin) => plugin.spanloom_search_rerank().call_describe(&mut self.store),
        };
        answer.map_err(|error| classify(&error, &self.store.data().limiter))
    }

    fn configure(&mut self, limits: &PluginLimits, parameters: &str) -> Result<Result<(), PluginError>, (Cause, String)> {
        self.store.set_epoch_deadline(epochs(Duration::from_millis(limits.setup_ms_max.into())));
        let _running = self.engine.running();
        let answer = match &self.bindings {
            Bindings::Gate(plugin) => plugin.spanloom_search_gate().call_configure(&mut self.store, parameters),
            Bindings::Fusion(plugin) => plugin.spanloom_search_fusion().call_configure(&mut self.store, parameters),
            Bindings::Rerank(plugin) => plugin.spanloom_search_rerank().call_configure(&mut self.store, parameters),
        };
        answer.map_err(|error| classify(&error, &self.store.data().limiter))
    }
}
