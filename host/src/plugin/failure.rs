//! Why a plugin did not do its work, as classes that people can count.

use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Trap};

use super::limits::Limiter;
use super::state::Refused;

/// The class of a failure. Its text form is the value of `error.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The wall time of the call ran out.
    Deadline,
    /// The memory limit was reached.
    Memory,
    /// The table limit was reached.
    Table,
    /// The units of computation of the call ran out.
    Fuel,
    /// Too many handles were held at once.
    Handles,
    /// As many instances of the plugin are alive as may be.
    Instances,
    /// Recursion too deep.
    StackOverflow,
    /// Too many bytes in one host call.
    HostCallBytes,
    /// `unreachable`: a panic or an abort in the guest.
    Unreachable,
    /// Any other trap of the machine.
    Trap,
    /// The guest kept a borrowed handle, or used an import against its contract.
    Contract,
    /// The output can't be used: NaN, wrong length, unknown or repeated ids.
    BadOutput,
    /// The plugin answered with `bad-config`.
    BadConfig,
    /// The plugin answered with `unsupported`.
    Unsupported,
    /// The plugin answered with `internal`.
    PluginError,
    /// No instance could be made.
    Instantiate,
    /// The plugin used something that it was not granted.
    Denied,
    /// After failures in a row the plugin is not asked for a while.
    Quarantined,
}

impl Cause {
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Deadline => "deadline",
            Cause::Memory => "limit.memory",
            Cause::Table => "limit.table",
            Cause::Fuel => "limit.fuel",
            Cause::Handles => "limit.handles",
            Cause::Instances => "limit.instances",
            Cause::StackOverflow => "trap.stack_overflow",
            Cause::HostCallBytes => "limit.host_call_bytes",
            Cause::Unreachable => "trap.unreachable",
            Cause::Trap => "trap.other",
            Cause::Contract => "contract",
            Cause::BadOutput => "bad_output",
            Cause::BadConfig => "bad_config",
            Cause::Unsupported => "unsupported",
            Cause::PluginError => "plugin_error",
            Cause::Instantiate => "instantiate",
            Cause::Denied => "denied",
            Cause::Quarantined => "quarantined",
        }
    }
}

/// A failed call, with the plugin's name and digest for whoever reads the warning.
#[derive(Clone, Debug, thiserror::Error)]
#[error("plugin {name} (sha256 {}) failed with {}: {message}", &.sha256[..12.min(.sha256.len())], .cause.as_str())]
pub struct PluginFailure {
    pub name: String,
    pub sha256: String,
    pub cause: Cause,
    pub message: String,
}

/// The class and message of an error that came out of a guest call.
pub fn classify(error: &wasmtime::Error, limiter: &Limiter) -> (Cause, String) {
    let text = format!("{:#}", error.root_cause());
    if let Some(trap) = error.downcast_ref::<Trap>() {
        // A refused allocation ends in whatever the guest's allocator does then.
        let cause = match trap {
            Trap::Interrupt => Cause::Deadline,
            Trap::OutOfFuel => Cause::Fuel,
            Trap::StackOverflow => Cause::StackOverflow,
            _ if limiter.memory_refused => Cause::Memory,
            _ if limiter.table_refused => Cause::Table,
            Trap::UnreachableCodeReached => Cause::Unreachable,
            _ => Cause::Trap,
        };
        return (cause, text);
    }
    if let Some(refused) = error.downcast_ref::<Refused>() {
        return (refused.cause(), text);
    }
    if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
        return (Cause::Instances, text);
    }
    if matches!(error.downcast_ref(), Some(ResourceTableError::Full)) {
        return (Cause::Handles, "more handles were held at once than `handles_max` allows".into());
    }
    if text.contains("borrow handles still remain") {
        return (Cause::Contract, text);
    }
    if text.contains("fuel allocated for hostcalls") {
        return (Cause::HostCallBytes, text);
    }
    if limiter.memory_refused {
        return (Cause::Memory, text);
    }
    if limiter.table_refused {
        return (Cause::Table, text);
    }
    (Cause::Trap, text)
}
