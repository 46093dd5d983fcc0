//! Instances: made, configured once, called many times, thrown away after a trap.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cpu_time::ThreadTime;
use wasmtime::Store;
use wasmtime::component::Resource;

use super::bindings::types::{Call, PluginError};
use super::bindings::{fusion, gate, rerank};
use super::engine::{PluginEngine, epochs};
use super::failure::{Cause, PluginFailure, classify};
use super::limits::PluginLimits;
use super::load::{LoadError, Plugin, StagePre};
use super::quarantine::{Quarantine, Verdict};
use super::report::{CallReport, Called};
use super::state::{CallContext, GuestSpan, HostState};
use crate::telemetry::conventions::{attr, event};
use crate::telemetry::{Fact, PluginCall, Span};

/// Bytes of a failure's message; plugins write them, and answers and spans repeat them.
const MESSAGE_BYTES_MAX: usize = 1_024;

/// A plugin with parameters that it has accepted, and its warm instances.
pub struct Configured {
    pub plugin: Arc<Plugin>,
    /// The JSON object that every instance is configured with.
    pub parameters: String,
    pub quarantine: Quarantine,
    idle: Mutex<Vec<Instance>>,
    /// Idle instances that are kept.
    kept_max: usize,
    /// Open from when another version took this one's place until its last run ends.
    drain: Mutex<Option<Span>>,
}

/// One store with one component instance in it.
pub(super) struct Instance {
    store: Store<HostState>,
    bindings: Bindings,
    engine: PluginEngine,
    calls: u64,
    _alive: Alive,
}

/// One of the instances of a plugin that may be alive at once.
struct Alive(Arc<AtomicUsize>);

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
    /// Whether the guest's spans are kept for the report.
    pub observe: bool,
}

/// What a guest's export gives.
type Returned<T> = wasmtime::Result<Result<T, PluginError>>;

impl Configured {
    /// Configures a plugin, with one instance made to see that it accepts.
    ///
    /// # Errors
    /// [`LoadError::Configure`] with the plugin's own words.
    pub fn new(plugin: Arc<Plugin>, parameters: String) -> Result<Configured, LoadError> {
        let source_name = plugin.identity.source.clone();
        Configured::try_new(plugin, parameters).map_err(|failure| LoadError::Configure { source_name, detail: failure.message })
    }

    /// As [`Configured::new`], with the class of what went wrong.
    ///
    /// # Errors
    /// [`PluginFailure`].
    pub fn try_new(plugin: Arc<Plugin>, parameters: String) -> Result<Configured, PluginFailure> {
        let kept_max = plugin.terms.limits.instances_kept_max;
        Configured::prepare(plugin, parameters, kept_max)
    }

    /// As [`Configured::try_new`], with another number of idle instances kept.
    pub(super) fn prepare(plugin: Arc<Plugin>, parameters: String, kept_max: usize) -> Result<Configured, PluginFailure> {
        let quarantine = Quarantine::new(plugin.terms.quarantine);
        let configured = Configured { plugin, parameters, quarantine, idle: Mutex::new(Vec::new()), kept_max, drain: Mutex::new(None) };
        let first = configured.instantiate()?;
        configured.give_back(first);
        Ok(configured)
    }

    /// Runs one stage call on a warm instance, or a new one, and checks what came out.
    /// Whatever the guest does, the stage span gets the facts of the call, and this
    /// returns in time.
    pub(super) fn call<T, U>(
        &self,
        stage: &Span,
        settings: CallSettings,
        context: CallContext,
        body: impl FnOnce(&mut Store<HostState>, &Bindings, Resource<GuestSpan>, Call) -> Returned<T>,
        check: impl FnOnce(T) -> Result<U, String>,
    ) -> Called<U> {
        let identity = &self.plugin.identity;
        stage.set(attr::PLUGIN_NAME, identity.name.clone());
        stage.set(attr::PLUGIN_VERSION, identity.version.clone());
        stage.set(attr::PLUGIN_SHA256, identity.sha256.clone());
        stage.set(attr::PLUGIN_STAGE, identity.stage.as_str());
        let mut report = CallReport::default();
        let began = Instant::now();
        let outcome = self.admitted(&settings, began).and_then(|left| {
            self.checked_out(stage, settings, left, context, body, &mut report)
                .and_then(|value| check(value).map_err(|message| self.failure(Cause::BadOutput, message)))
                .inspect(|_| self.quarantine.succeeded())
                .inspect_err(|failure| {
                    let cut_short = failure.cause == Cause::Deadline && left < self.plugin.call_time_max();
                    // A search that is late is no defect of the plugin.
                    if !cut_short {
                        self.count_failure(stage, failure, began);
                    }
                })
        });
        if let Err(failure) = &outcome {
            self.report(stage, failure);
        }
        for (limit, count) in report.dropped.by_limit() {
            stage.event(
                event::PLUGIN_LIMIT,
                vec![opentelemetry::KeyValue::new("limit", limit), opentelemetry::KeyValue::new("dropped", count as i64)],
            );
        }
        if report.dropped.total() > 0 {
            stage.set(attr::PLUGIN_DROPPED, report.dropped.total() as i64);
        }
        stage.record(&Fact::PluginCalled(PluginCall {
            stage: identity.stage,
            name: &identity.name,
            cause: outcome.as_ref().err().map(|failure| failure.cause.as_str()),
            seconds: report.guest_time.as_secs_f64(),
            memory_bytes: report.memory_bytes_peak as u64,
            dropped: report.dropped.by_limit().collect(),
        }));
        Called { outcome, report }
    }

    /// Whether the plugin may be asked now, and for how long.
    fn admitted(&self, settings: &CallSettings, now: Instant) -> Result<Duration, PluginFailure> {
        let left = settings.deadline.saturating_duration_since(now).min(self.plugin.call_time_max());
        if left.is_zero() {
            return Err(self.failure(Cause::Deadline, "no time was left for the call"));
        }
        self.quarantine.admit(now).map_err(|rest| {
            self.failure(Cause::Quarantined, format!("after failures in a row it is not asked for {} ms more", rest.as_millis().max(1)))
        })?;
        Ok(left)
    }

    fn count_failure(&self, stage: &Span, failure: &PluginFailure, began: Instant) {
        // Too many calls at once are no defect of the plugin.
        if failure.cause == Cause::Instances {
            return;
        }
        // A plugin that says what it doesn't do is well.
        if failure.cause == Cause::Unsupported {
            self.quarantine.succeeded();
            return;
        }
        if let Verdict::TakenOut { failures, time } = self.quarantine.failed(began, Instant::now()) {
            let (name, stage_name) = (&self.plugin.identity.name, self.plugin.identity.stage);
            let for_ms = time.as_millis() as u64;
            tracing::warn!(plugin = name, stage = %stage_name, failures, for_ms, cause = failure.cause.as_str(), "a plugin is taken out");
            stage.event(
                event::PLUGIN_QUARANTINED,
                vec![opentelemetry::KeyValue::new("failures", i64::from(failures)), opentelemetry::KeyValue::new("time_ms", for_ms as i64)],
            );
            stage.record(&Fact::PluginQuarantined { stage: stage_name, name });
        }
    }

    /// Says that another version has taken this one's place. `span` ends with the last
    /// run that still uses this one.
    pub(super) fn retire(&self, span: Span) {
        *lock(&self.drain) = Some(span);
        lock(&self.idle).clear();
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
        let mut message = message.into();
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        PluginFailure { name: identity.name.clone(), sha256: identity.sha256.clone(), cause, message }
    }

    fn checked_out<T>(
        &self,
        stage: &Span,
        settings: CallSettings,
        left: Duration,
        context: CallContext,
        body: impl FnOnce(&mut Store<HostState>, &Bindings, Resource<GuestSpan>, Call) -> Returned<T>,
        report: &mut CallReport,
    ) -> Result<T, PluginFailure> {
        let limits = &self.plugin.terms.limits;
        let kept = lock(&self.idle).pop();
        let mut instance = match kept {
            Some(instance) => instance,
            None => self.instantiate()?,
        };
        // Setting up took its part of the search's time.
        let left = left.min(settings.deadline.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            self.give_back(instance);
            return Err(self.failure(Cause::Deadline, "no time was left for the call after its instance was made"));
        }
        stage.set(attr::PLUGIN_REUSE, instance.calls as i64);
        instance.calls += 1;
        let call = Call {
            recording: stage.is_recorded() || settings.observe,
            deadline_us: left.as_micros() as u64,
            limit: settings.limit,
            explain: settings.explain,
        };
        let Instance { store, bindings, .. } = &mut instance;
        store.set_epoch_deadline(epochs(left));
        let fuel = self.plugin.engine.refuel(store, limits);
        let context =
            CallContext { explain: settings.explain, observe: settings.observe, deadline: Some(Instant::now() + left), ..context };
        let own = store.data_mut().begin(limits, stage, context).map_err(|error| {
            let (cause, message) = classify(&error, &store.data().limiter);
            self.failure(cause, message)
        })?;
        let lent = Resource::new_borrow(own.rep());
        let running = self.plugin.engine.running();
        let cpu = ThreadTime::now();
        let returned = body(store, bindings, lent, call);
        drop(running);
        let guest_time = cpu.elapsed();
        stage.set(attr::PLUGIN_GUEST_US, guest_time.as_micros() as i64);
        let memory_bytes_peak = store.data().limiter.memory_bytes_peak;
        stage.set(attr::PLUGIN_MEMORY, memory_bytes_peak as i64);
        if let Some(given) = fuel {
            stage.set(attr::PLUGIN_FUEL, given.saturating_sub(store.get_fuel().unwrap_or(0)) as i64);
        }
        let failure = match &returned {
            Ok(_) => None,
            Err(error) => Some(classify(error, &store.data().limiter)),
        };
        *report = store.data_mut().end(own, failure.as_ref().map(|(cause, message)| (cause.as_str(), message.as_str())));
        report.guest_time = guest_time;
        report.memory_bytes_peak = memory_bytes_peak;
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
        match instance.configure(&self.plugin.terms.limits, &self.parameters) {
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

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Only pushes, pops and moves happen under the locks: what they guard is whole
    // after a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Alive {
    /// `None` when there are as many as may be.
    fn one(count: &Arc<AtomicUsize>, most: usize) -> Option<Alive> {
        let admitted = count.fetch_update(Ordering::AcqRel, Ordering::Acquire, |alive| (alive < most).then_some(alive + 1));
        admitted.ok().map(|_| Alive(count.clone()))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Instance {
    pub(super) fn new(plugin: &Plugin) -> Result<Instance, (Cause, String)> {
        let limits = &plugin.terms.limits;
        let alive = Alive::one(&plugin.alive, limits.instances_max).ok_or_else(|| {
            (Cause::Instances, format!("{} instances are alive, as many as `instances_max` allows", limits.instances_max))
        })?;
        let mut store = Store::new(&plugin.engine.engine, HostState::new(limits, &plugin.terms.grants));
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(limits.host_call_bytes_max);
        plugin.engine.refuel_setup(&mut store);
        // A component's start code runs while it is instantiated.
        store.set_epoch_deadline(epochs(Duration::from_millis(limits.setup_ms_max.into())));
        let _running = plugin.engine.running();
        let made = match &plugin.pre {
            StagePre::Gate(pre) => pre.instantiate(&mut store).map(Bindings::Gate),
            StagePre::Fusion(pre) => pre.instantiate(&mut store).map(Bindings::Fusion),
            StagePre::Rerank(pre) => pre.instantiate(&mut store).map(Bindings::Rerank),
        };
        match made {
            Ok(bindings) => Ok(Instance { store, bindings, engine: plugin.engine.clone(), calls: 0, _alive: alive }),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::{ChannelRun, SHIPPED, Terms};
    use crate::telemetry::{Caller, Telemetry, TelemetrySettings};
    use crate::types::{ChannelName, ChunkId, RankedList, Stage};

    #[test]
    fn a_call_that_nobody_records_calls_no_telemetry() {
        let folder = tempfile::tempdir().unwrap();
        let telemetry = |ledger_folder| Telemetry::start(TelemetrySettings { ledger_folder, ..TelemetrySettings::default() }).unwrap();
        let (silent, kept) = (telemetry(None), telemetry(Some(folder.path().into())));
        let engine = PluginEngine::new(None, false).unwrap();
        let shipped = SHIPPED.iter().find(|shipped| shipped.stage == Stage::Fusion).unwrap();
        let within = silent.operations().begin("plugin.load");
        let plugin = Plugin::load(&engine, shipped.bytes, "shipped", None, Terms::default(), &within).unwrap();
        let configured = Configured::new(plugin, "{}".into()).unwrap();
        let runs = [ChannelRun {
            channel: ChannelName::Bm25,
            weight: 1.0,
            list: RankedList { ids: vec![ChunkId(1), ChunkId(2)], scores: vec![2.0, 1.0] },
        }];
        let check = |telemetry: &Telemetry, observe: bool, expect: bool| {
            let run = telemetry.run("semantic_search", &Caller::default(), serde_json::json!({}));
            let settings = CallSettings { deadline: Instant::now() + Duration::from_secs(10), limit: 10, explain: false, observe };
            let called = configured.fuse(&run.root, settings, 60.0, &runs);
            assert_eq!(called.outcome.unwrap().list.len(), 2);
            assert_eq!(called.report.telemetry_calls > 0, expect, "{} calls", called.report.telemetry_calls);
        };
        check(&silent, false, false);
        check(&kept, false, true);
        check(&silent, true, true);
        check(&silent, false, false);
        // What a plugin says of a failure is repeated in spans and answers.
        let long = configured.failure(Cause::PluginError, format!("a{}", "é".repeat(MESSAGE_BYTES_MAX)));
        assert_eq!(long.message.len(), MESSAGE_BYTES_MAX - 1);
    }
}
