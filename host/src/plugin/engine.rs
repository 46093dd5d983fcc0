//! The one wasmtime engine of the process, and the thread that moves its epoch.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::Duration;

use wasmtime::{Cache, CacheConfig, Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};

use super::limits::PluginLimits;

/// How long an epoch is. A guest that doesn't return is interrupted at most this
/// much after its time; each tick costs one atomic store.
pub const EPOCH: Duration = Duration::from_millis(1);

/// Component instances alive at once in the process: warm ones of every plugin and
/// those in use. Over it, instantiation fails and the stage's fallback serves.
const INSTANCES_MAX: u32 = 256;

/// Largest linear memory the pool can hand out; each plugin's own limit is lower. The
/// pool reserves 4 GiB of addresses for each all the same: then the processor's page
/// tables check the bounds, and compiled code need not.
const MEMORY_BYTES_MAX: usize = 1 << 30;

/// Stack of a guest. Deep recursion traps here, well before the host's own stack
/// of 2 MiB a blocking thread ends.
const STACK_BYTES_MAX: usize = 512 << 10;

/// Engine and ticker. Cheap to clone; the ticker stops with the last clone.
#[derive(Clone)]
pub struct PluginEngine {
    pub engine: Engine,
    ticker: Arc<Ticker>,
    /// Whether computation is counted.
    metered: bool,
}

/// Moves the epoch while a guest runs, and rests while none does.
struct Ticker {
    shared: Arc<TickerState>,
    thread: Thread,
}

#[derive(Default)]
struct TickerState {
    stop: AtomicBool,
    /// Guests that run now.
    running: AtomicUsize,
}

/// As long as this lives, the epoch moves. Held around every entry into a guest.
pub struct Running {
    shared: Arc<TickerState>,
}

impl PluginEngine {
    /// An engine that keeps compiled code below `cache_folder`, when given. A cache
    /// that can't be used is left out with a warning. `metered` counts what guests
    /// compute, which slows all of them down and is needed for `fuel_max` only.
    ///
    /// # Errors
    /// When the engine's settings don't suit this machine or no thread can start.
    pub fn new(cache_folder: Option<&Path>, metered: bool) -> wasmtime::Result<PluginEngine> {
        let mut config = Config::new();
        config.wasm_component_model(true);
        config.concurrency_support(false);
        config.epoch_interruption(true);
        // Components address 32 bits, and the limits count in them.
        config.wasm_memory64(false);
        config.consume_fuel(metered);
        config.max_wasm_stack(STACK_BYTES_MAX);
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(INSTANCES_MAX)
            .total_core_instances(INSTANCES_MAX * 8)
            .total_memories(INSTANCES_MAX)
            .total_tables(INSTANCES_MAX * 4)
            .max_core_instances_per_component(100)
            .max_memories_per_component(8)
            .max_tables_per_component(200)
            .table_elements(1_000_000)
            .max_component_instance_size(4 << 20)
            .max_core_instance_size(4 << 20)
            .max_memory_size(MEMORY_BYTES_MAX)
            .linear_memory_keep_resident(1 << 20)
            .table_keep_resident(64 << 10);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        if let Some(folder) = cache_folder {
            let mut settings = CacheConfig::new();
            match std::path::absolute(folder).map_err(wasmtime::Error::from).and_then(|folder| {
                settings.with_directory(folder);
                Cache::new(settings)
            }) {
                Ok(cache) => drop(config.cache(Some(cache))),
                Err(error) => tracing::warn!(%error, "compiled plugins are not cached"),
            }
        }
        let engine = Engine::new(&config)?;
        let shared = Arc::new(TickerState::default());
        let (state, ticking) = (shared.clone(), engine.clone());
        let thread = std::thread::Builder::new().name("spanloom-epoch".into()).spawn(move || {
            while !state.stop.load(Ordering::Acquire) {
                if state.running.load(Ordering::Acquire) == 0 {
                    // A guest that begins right now has left a token, and this returns.
                    std::thread::park();
                } else {
                    std::thread::sleep(EPOCH);
                    ticking.increment_epoch();
                }
            }
        })?;
        Ok(PluginEngine { engine, ticker: Arc::new(Ticker { shared, thread: thread.thread().clone() }), metered })
    }

    /// Gives a store the computation of one call; what was given, where it is counted.
    pub(super) fn refuel<T>(&self, store: &mut Store<T>, limits: &PluginLimits) -> Option<u64> {
        let fuel = if limits.fuel_max == 0 { u64::MAX } else { limits.fuel_max };
        // Fails only where nothing is counted.
        self.metered.then(|| store.set_fuel(fuel).is_ok().then_some(fuel)).flatten()
    }

    /// Setting up is bounded by its time alone.
    pub(super) fn refuel_setup<T>(&self, store: &mut Store<T>) {
        let _ = self.metered.then(|| store.set_fuel(u64::MAX));
    }

    /// Says that a guest is about to run.
    pub fn running(&self) -> Running {
        if self.ticker.shared.running.fetch_add(1, Ordering::AcqRel) == 0 {
            self.ticker.thread.unpark();
        }
        Running { shared: self.ticker.shared.clone() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.running.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Epochs for a time, rounded up, and one more because the current one has begun.
pub fn epochs(time: Duration) -> u64 {
    time.as_micros().div_ceil(EPOCH.as_micros()) as u64 + 1
}
