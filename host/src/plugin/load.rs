//! From bytes to a plugin that may be called: sha-256 → compile → check the world →
//! instantiate → `describe`.

use std::sync::Arc;

use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, HasSelf, Linker};

use super::bindings::{documents, fusion, gate, log, rerank, scoring, telemetry, types};
use super::engine::PluginEngine;
use super::instance::Instance;
use super::limits::PluginLimits;
use super::state::{HostState, Refused};
use crate::types::Stage;

/// The package every plugin is built against.
pub const CONTRACT_PACKAGE: &str = "spanloom:search";
/// The version of that package.
pub const CONTRACT_VERSION: &str = "0.1.0";

/// Where a guest waits, in the version that `wasmtime-wasi` defines.
const WASI_POLL: &str = "wasi:io/poll@0.2.12";

/// Bytes of `describe`'s answer. Schemas are some kilobytes.
const DESCRIPTION_BYTES_MAX: usize = 256 << 10;

/// Who a plugin is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub name: String,
    pub version: String,
    /// Of the component, in hexadecimal.
    pub sha256: String,
    pub stage: Stage,
    /// `shipped`, or the path it was read from.
    pub source: String,
}

/// A loaded, checked component.
pub struct Plugin {
    pub identity: Identity,
    /// JSON Schema of the parameters, as the plugin describes them.
    pub parameters_schema: Json,
    pub size_bytes: usize,
    pub(super) engine: PluginEngine,
    pub(super) pre: StagePre,
    pub(super) limits: PluginLimits,
}

/// A component linked and checked against the world of its stage.
pub(super) enum StagePre {
    Gate(gate::GatePluginPre<HostState>),
    Fusion(fusion::FusionPluginPre<HostState>),
    Rerank(rerank::RerankPluginPre<HostState>),
}

/// Why a component is refused.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("{source_name}: can't be read: {error}")]
    Read { source_name: String, error: std::io::Error },
    #[error("{source_name}: is no WebAssembly component: {detail}")]
    NotAComponent { source_name: String, detail: String },
    #[error("{source_name}: {detail}")]
    WrongWorld { source_name: String, detail: String },
    #[error("{source_name}: `describe` failed: {detail}")]
    Describe { source_name: String, detail: String },
    #[error("{source_name}: parameters are refused: {detail}")]
    Configure { source_name: String, detail: String },
}

impl Plugin {
    /// Loads a component for a stage.
    ///
    /// # Errors
    /// [`LoadError`] names the source and what is wrong with it.
    pub fn load(engine: &PluginEngine, bytes: &[u8], source: &str, stage: Stage, limits: PluginLimits) -> Result<Arc<Plugin>, LoadError> {
        let sha256 = hex(&Sha256::digest(bytes));
        let component = Component::new(&engine.engine, bytes)
            .map_err(|error| LoadError::NotAComponent { source_name: source.into(), detail: first_line(&error) })?;
        check_exports(engine, &component, source, stage)?;
        let pre = link(engine, &component, stage).map_err(|error| LoadError::WrongWorld {
            source_name: source.into(),
            detail: format!("does not fit the {stage} world of {CONTRACT_PACKAGE}@{CONTRACT_VERSION}: {}", first_line(&error)),
        })?;
        let describe_error = |detail: String| LoadError::Describe { source_name: source.into(), detail };
        let mut plugin = Plugin {
            identity: Identity { name: String::new(), version: String::new(), sha256, stage, source: source.into() },
            parameters_schema: Json::Null,
            size_bytes: bytes.len(),
            engine: engine.clone(),
            pre,
            limits,
        };
        let text = Instance::new(&plugin)
            .and_then(|mut instance| instance.describe(&plugin.limits))
            .map_err(|(cause, message)| describe_error(format!("{}: {message}", cause.as_str())))?;
        if text.len() > DESCRIPTION_BYTES_MAX {
            return Err(describe_error(format!("answers with {} bytes; allowed: {DESCRIPTION_BYTES_MAX}", text.len())));
        }
        let description: Json = serde_json::from_str(&text).map_err(|error| describe_error(format!("is not JSON: {error}")))?;
        let field = |key: &str| description[key].as_str().filter(|text| !text.is_empty() && text.len() <= 100).map(str::to_owned);
        plugin.identity.name = field("name").ok_or_else(|| describe_error("has no `name` of 1 to 100 bytes".into()))?;
        plugin.identity.version = field("version").ok_or_else(|| describe_error("has no `version` of 1 to 100 bytes".into()))?;
        plugin.parameters_schema = description["parameters"].clone();
        Ok(Arc::new(plugin))
    }
}

impl Plugin {
    /// Wall time of a call, by the plugin's limits.
    pub fn call_time_max(&self) -> std::time::Duration {
        std::time::Duration::from_millis(self.limits.call_ms_max.into())
    }
}

/// Says what a stranger to the contract exports, before the linker says it in its
/// own words: another stage, another version, nothing of ours.
fn check_exports(engine: &PluginEngine, component: &Component, source: &str, stage: Stage) -> Result<(), LoadError> {
    let wanted = format!("{CONTRACT_PACKAGE}/{stage}@{CONTRACT_VERSION}");
    // Patch versions of 0.1 fit each other.
    let (compatible, _) = wanted.rsplit_once('.').unwrap_or((&wanted, ""));
    let exports: Vec<String> = component
        .component_type()
        .exports(&engine.engine)
        .filter(|(_, item)| matches!(item.ty, ComponentItem::ComponentInstance(_)))
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.starts_with(CONTRACT_PACKAGE))
        .collect();
    if exports.iter().any(|export| export.rsplit_once('.').is_some_and(|(version, _)| version == compatible)) {
        return Ok(());
    }
    let detail = match exports.first() {
        None => format!("exports nothing of {CONTRACT_PACKAGE}; a {stage} plugin exports `{wanted}`"),
        Some(other) => format!("exports `{other}`; this host asks a {stage} plugin for `{wanted}`"),
    };
    Err(LoadError::WrongWorld { source_name: source.into(), detail })
}

fn link(engine: &PluginEngine, component: &Component, stage: Stage) -> wasmtime::Result<StagePre> {
    let mut linker: Linker<HostState> = Linker::new(&engine.engine);
    // For components built with a WASI target: an empty context, nothing granted.
    wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
    forbid_waiting(&mut linker)?;
    telemetry::add_to_linker::<HostState, HasSelf<HostState>>(&mut linker, |state| state)?;
    log::add_to_linker::<HostState, HasSelf<HostState>>(&mut linker, |state| state)?;
    types::add_to_linker::<HostState, HasSelf<HostState>>(&mut linker, |state| state)?;
    if stage == Stage::Rerank {
        documents::add_to_linker::<HostState, HasSelf<HostState>>(&mut linker, |state| state)?;
        scoring::add_to_linker::<HostState, HasSelf<HostState>>(&mut linker, |state| state)?;
    }
    let pre = linker.instantiate_pre(component)?;
    Ok(match stage {
        Stage::Gate => StagePre::Gate(gate::GatePluginPre::new(pre)?),
        Stage::Fusion => StagePre::Fusion(fusion::FusionPluginPre::new(pre)?),
        Stage::Rerank => StagePre::Rerank(rerank::RerankPluginPre::new(pre)?),
    })
}

/// Lets every wait trap: a guest that sleeps is in the host, where no epoch interrupts
/// it, and would hold its thread for as long as it likes. A plugin has nothing to wait for.
fn forbid_waiting(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut poll = linker.instance(WASI_POLL)?;
    for name in ["poll", "[method]pollable.block"] {
        poll.func_new(name, |_, _, _, _| Err(Refused::waiting().into()))?;
    }
    linker.allow_shadowing(false);
    Ok(())
}

fn first_line(error: &wasmtime::Error) -> String {
    // The whole chain on one line; backtraces and byte offsets stay out.
    format!("{error:#}").lines().next().unwrap_or_default().to_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
