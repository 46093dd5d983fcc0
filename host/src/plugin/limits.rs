//! What a plugin may use, and the limiter that holds it to that.

use serde::{Deserialize, Serialize};
use wasmtime::ResourceLimiter;

/// Limits of one plugin. Each is enforced; reaching one has a [`super::Cause`] or,
/// for telemetry, is counted on the stage span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PluginLimits {
    /// Wall time of one call in milliseconds, 1 to 60,000.
    pub call_ms_max: u32,
    /// Wall time in milliseconds of each step that sets an instance up (instantiation,
    /// `describe`, `configure`), 1 to 60,000.
    pub setup_ms_max: u32,
    /// Linear memory of an instance in bytes, 1 MiB to 1 GiB.
    pub memory_bytes_max: usize,
    /// Elements of all tables of an instance, 100 to 1,000,000.
    pub table_elements_max: usize,
    /// Core instances within one component instance, 1 to 100.
    pub core_instances_max: usize,
    /// Instances of the plugin alive at once, warm ones included, 1 to 256.
    pub instances_max: usize,
    /// Units of computation of one call, as wasmtime counts them (about one an
    /// instruction); 0 doesn't count. Counting slows every plugin down, so no plugin
    /// is counted unless one has this limit.
    pub fuel_max: u64,
    /// Handles (of spans and other resources) held at once, 16 to 100,000.
    pub handles_max: usize,
    /// Bytes that may cross the boundary in one host call, 1 KiB to 1 GiB.
    pub host_call_bytes_max: usize,
    /// Child spans of one call, 0 to 1,000.
    pub spans_max: u32,
    /// Attributes of one call, on all spans and events together, 0 to 10,000.
    pub attributes_max: u32,
    /// Events of one call, 0 to 1,000.
    pub events_max: u32,
    /// Bytes of names, keys, texts and log lines of one call, 0 to 16 MiB.
    pub telemetry_bytes_max: usize,
    /// Log lines of one call, 0 to 1,000.
    pub log_lines_max: u32,
    /// Configured instances kept warm, 0 to 64.
    pub instances_kept_max: usize,
}

impl Default for PluginLimits {
    fn default() -> Self {
        PluginLimits {
            call_ms_max: 250,
            setup_ms_max: 2_000,
            memory_bytes_max: 128 << 20,
            table_elements_max: 20_000,
            core_instances_max: 20,
            instances_max: 96,
            fuel_max: 0,
            handles_max: 1_024,
            host_call_bytes_max: 32 << 20,
            spans_max: 64,
            attributes_max: 512,
            events_max: 64,
            telemetry_bytes_max: 64 << 10,
            log_lines_max: 32,
            instances_kept_max: 8,
        }
    }
}

impl PluginLimits {
    /// Checks every limit against its range.
    ///
    /// # Errors
    /// A sentence that names the limit, its value and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        let ranges: [(&str, usize, usize, usize); 14] = [
            ("call_ms_max", self.call_ms_max as usize, 1, 60_000),
            ("setup_ms_max", self.setup_ms_max as usize, 1, 60_000),
            ("memory_bytes_max", self.memory_bytes_max, 1 << 20, 1 << 30),
            ("table_elements_max", self.table_elements_max, 100, 1_000_000),
            ("core_instances_max", self.core_instances_max, 1, 100),
            ("instances_max", self.instances_max, 1, 256),
            ("handles_max", self.handles_max, 16, 100_000),
            ("host_call_bytes_max", self.host_call_bytes_max, 1 << 10, 1 << 30),
            ("spans_max", self.spans_max as usize, 0, 1_000),
            ("attributes_max", self.attributes_max as usize, 0, 10_000),
            ("events_max", self.events_max as usize, 0, 1_000),
            ("telemetry_bytes_max", self.telemetry_bytes_max, 0, 16 << 20),
            ("log_lines_max", self.log_lines_max as usize, 0, 1_000),
            ("instances_kept_max", self.instances_kept_max, 0, 64),
        ];
        match ranges.iter().find(|(_, value, low, high)| !(low..=high).contains(&value)) {
            None => Ok(()),
            Some((name, value, low, high)) => Err(format!("`{name}` is {value}; allowed: {low} to {high}")),
        }
    }
}

/// Counts what an instance has, refuses what is over, and remembers that it did:
/// the guest only sees an allocation fail and traps in its own way.
pub struct Limiter {
    memory_bytes_max: usize,
    table_elements_max: usize,
    core_instances_max: usize,
    /// Highest sum of linear memory so far.
    pub memory_bytes_peak: usize,
    pub memory_refused: bool,
    pub table_refused: bool,
    memory_bytes: usize,
    table_elements: usize,
}

impl Limiter {
    pub fn new(limits: &PluginLimits) -> Limiter {
        Limiter {
            memory_bytes_max: limits.memory_bytes_max,
            table_elements_max: limits.table_elements_max,
            core_instances_max: limits.core_instances_max,
            memory_bytes_peak: 0,
            memory_refused: false,
            table_refused: false,
            memory_bytes: 0,
            table_elements: 0,
        }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        // All memories of the component share one budget.
        // A guest may ask for any number: the sum must not wrap.
        let total = (self.memory_bytes - current.min(self.memory_bytes)).saturating_add(desired);
        if total > self.memory_bytes_max {
            self.memory_refused = true;
            return Ok(false);
        }
        self.memory_bytes = total;
        self.memory_bytes_peak = self.memory_bytes_peak.max(total);
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let total = (self.table_elements - current.min(self.table_elements)).saturating_add(desired);
        if total > self.table_elements_max {
            self.table_refused = true;
            return Ok(false);
        }
        self.table_elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.core_instances_max
    }

    fn tables(&self) -> usize {
        self.core_instances_max * 2
    }

    fn memories(&self) -> usize {
        self.core_instances_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_within_their_ranges_and_others_are_named() {
        assert_eq!(PluginLimits::default().check(), Ok(()));
        let odd = PluginLimits { memory_bytes_max: 5, ..PluginLimits::default() };
        assert_eq!(odd.check().unwrap_err(), "`memory_bytes_max` is 5; allowed: 1048576 to 1073741824");
    }

    #[test]
    fn memories_share_one_budget() {
        let mut limiter = Limiter::new(&PluginLimits { memory_bytes_max: 100, ..PluginLimits::default() });
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(limiter.memory_growing(0, 40, None).unwrap());
        assert!(!limiter.memory_growing(40, 41, None).unwrap());
        assert!(limiter.memory_refused);
        assert!(!limiter.memory_growing(40, usize::MAX - 65_535, None).unwrap());
        assert!(!limiter.table_growing(0, usize::MAX, None).unwrap());
        assert_eq!(limiter.memory_bytes_peak, 100);
    }
}
