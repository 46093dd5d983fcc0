//! From bytes to a plugin that may be called: compile → check the world → link →
//! `describe`. Each step is a span.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use wasmtime::component::{Component, HasSelf, Linker};

use super::bindings::{documents, evidence, explain, fusion, gate, log, rerank, scoring, telemetry, types};
use super::contract::{CONTRACT_PACKAGE, CONTRACT_VERSION, Surface};
use super::engine::PluginEngine;
use super::grants::Grants;
use super::instance::Instance;
use super::limits::PluginLimits;
use super::quarantine::QuarantineSettings;
use super::state::{HostState, Refused};
use crate::telemetry::Span;
use crate::telemetry::conventions::{attr, span};
use crate::types::Stage;

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

/// What a plugin may do and use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Terms {
    pub limits: PluginLimits,
    pub grants: Grants,
    pub quarantine: QuarantineSettings,
}

/// A loaded, checked component.
pub struct Plugin {
    pub identity: Identity,
    /// JSON Schema of the parameters, as the plugin describes them.
    pub parameters_schema: Json,
    pub surface: Surface,
    pub size_bytes: usize,
    pub terms: Terms,
    pub(super) engine: PluginEngine,
    pub(super) pre: StagePre,
    /// Instances of this plugin that are alive.
    pub(super) alive: Arc<AtomicUsize>,
}

/// A component linked and checked against the world of its stage.
#[derive(Clone)]
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
    #[error("{source_name}: is not the pinned component: its sha-256 is {found}, pinned is {pinned}")]
    Pin { source_name: String, found: String, pinned: String },
    #[error("{source_name}: calls itself `{name}`, as the {stage} plugin of {other} does; requests could not tell them apart")]
    NameTaken { source_name: String, name: String, stage: Stage, other: String },
    #[error("{source_name}: the self-test failed: {detail}")]
    SelfTest { source_name: String, detail: String },
    #[error("there is no {stage} plugin `{name}`; known: {known}")]
    Unknown { stage: Stage, name: String, known: String },
}

impl LoadError {
    /// The value of `error.type`.
    pub fn class(&self) -> &'static str {
        match self {
            LoadError::Read { .. } => "read",
            LoadError::NotAComponent { .. } => "not_a_component",
            LoadError::WrongWorld { .. } => "wrong_world",
            LoadError::Describe { .. } => "describe",
            LoadError::Configure { .. } => "configure",
            LoadError::Pin { .. } => "pin",
            LoadError::NameTaken { .. } => "name_taken",
            LoadError::SelfTest { .. } => "self_test",
            LoadError::Unknown { .. } => "unknown_plugin",
        }
    }
}

impl Plugin {
    /// Loads a component. `stage` is the one it has to be for; `None` takes the one that
    /// it exports. The steps are children of `within`.
    ///
    /// # Errors
    /// [`LoadError`] names the source and what is wrong with it.
    pub fn load(
        engine: &PluginEngine,
        bytes: &[u8],
        source: &str,
        stage: Option<Stage>,
        terms: Terms,
        within: &Span,
    ) -> Result<Arc<Plugin>, LoadError> {
        let sha256 = digest(bytes);
        within.set(attr::PLUGIN_SHA256, sha256.clone());
        let wrong_world = |detail: String| LoadError::WrongWorld { source_name: source.into(), detail };
        let component = step(within, span::PLUGIN_COMPILE, |_| {
            Component::new(&engine.engine, bytes)
                .map_err(|error| LoadError::NotAComponent { source_name: source.into(), detail: first_line(&error) })
        })?;
        let surface = Surface::of(&engine.engine, &component);
        let (stage, pre) = step(within, span::PLUGIN_LINK, |_| {
            let stage = stage.or_else(|| surface.stage()).ok_or_else(|| {
                wrong_world(format!("exports no stage of {CONTRACT_PACKAGE}; a plugin exports one of gate, fusion, rerank"))
            })?;
            surface.check(stage).map_err(wrong_world)?;
            let pre = link(engine, &component, stage).map_err(|error| {
                let newer = surface.newer().map(|newer| format!("; {newer}")).unwrap_or_default();
                wrong_world(format!(
                    "does not fit the {stage} world of {CONTRACT_PACKAGE}@{CONTRACT_VERSION}: {}{newer}",
                    first_line(&error)
                ))
            })?;
            Ok((stage, pre))
        })?;
        let mut plugin = Plugin {
            identity: Identity { name: String::new(), version: String::new(), sha256, stage, source: source.into() },
            parameters_schema: Json::Null,
            surface,
            size_bytes: bytes.len(),
            terms,
            engine: engine.clone(),
            pre,
            alive: Arc::default(),
        };
        step(within, span::PLUGIN_DESCRIBE, |_| {
            plugin.describe().map_err(|detail| LoadError::Describe { source_name: source.into(), detail })
        })?;
        within.set(attr::PLUGIN_NAME, plugin.identity.name.clone());
        within.set(attr::PLUGIN_VERSION, plugin.identity.version.clone());
        within.set(attr::PLUGIN_STAGE, stage.as_str());
        Ok(Arc::new(plugin))
    }

    /// The same plugin under other terms. Nothing is compiled again.
    pub fn under(&self, terms: Terms) -> Arc<Plugin> {
        Arc::new(Plugin {
            identity: self.identity.clone(),
            parameters_schema: self.parameters_schema.clone(),
            surface: self.surface.clone(),
            size_bytes: self.size_bytes,
            terms,
            engine: self.engine.clone(),
            pre: self.pre.clone(),
            alive: Arc::default(),
        })
    }

    /// Wall time of a call, by the plugin's limits.
    pub fn call_time_max(&self) -> Duration {
        Duration::from_millis(self.terms.limits.call_ms_max.into())
    }

    fn describe(&mut self) -> Result<(), String> {
        let text = Instance::new(self)
            .and_then(|mut instance| instance.describe(&self.terms.limits))
            .map_err(|(cause, message)| format!("{}: {message}", cause.as_str()))?;
        if text.len() > DESCRIPTION_BYTES_MAX {
            return Err(format!("answers with {} bytes; allowed: {DESCRIPTION_BYTES_MAX}", text.len()));
        }
        let description: Json = serde_json::from_str(&text).map_err(|error| format!("is not JSON: {error}"))?;
        let field = |key: &str| description[key].as_str().filter(|text| !text.is_empty() && text.len() <= 100).map(str::to_owned);
        self.identity.name = field("name").ok_or("has no `name` of 1 to 100 bytes")?;
        self.identity.version = field("version").ok_or("has no `version` of 1 to 100 bytes")?;
        self.parameters_schema = description["parameters"].clone();
        Ok(())
    }
}

/// Runs one step of loading under a span of its own.
pub(super) fn step<T>(within: &Span, name: &'static str, work: impl FnOnce(&Span) -> Result<T, LoadError>) -> Result<T, LoadError> {
    let span = within.child(name);
    work(&span).inspect_err(|error| span.fail(error.class(), &error.to_string()))
}

fn link(engine: &PluginEngine, component: &Component, stage: Stage) -> wasmtime::Result<StagePre> {
    let mut linker: Linker<HostState> = Linker::new(&engine.engine);
    // For components built with a WASI target: an empty context, nothing granted.
    wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
    forbid_waiting(&mut linker)?;
    telemetry::add_to_linker::<HostState, HasSelf<HostState>>(&mut linker, |state| state)?;
    log::add_to_linker::<HostState, HasSelf<HostState>>(&mut linker, |state| state)?;
    types::add_to_linker::<HostState, HasSelf<HostState>>(&mut linker, |state| state)?;
    explain::add_to_linker::<HostState, HasSelf<HostState>>(&mut linker, |state| state)?;
    if stage != Stage::Fusion {
        evidence::add_to_linker::<HostState, HasSelf<HostState>>(&mut linker, |state| state)?;
    }
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

/// The sha-256 of a component, in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
