//! What the plugin commands share: an engine, silent telemetry, and plugins by name or
//! by file.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::cli::Failure;
use crate::config::Loaded;
use crate::index::data_dir::DataDir;
use crate::plugin::{Capability, Grants, Plugin, PluginEngine, Plugins, SHIPPED, Terms};
use crate::telemetry::{Operations, Span, Telemetry, TelemetrySettings};
use crate::types::Stage;

/// Loads plugins without a server.
pub(super) struct Workshop {
    pub engine: PluginEngine,
    terms: Terms,
    operations: Operations,
    _telemetry: Telemetry,
}

impl Workshop {
    /// Plugins are held to the configured limits and granted what a golden case can
    /// answer: documents and scores.
    pub fn open(loaded: &Loaded) -> Result<Workshop, Failure> {
        let engine = engine(loaded)?;
        let telemetry = silent()?;
        let grants = Grants::new([Capability::Documents, Capability::Scoring], |_| None);
        let terms = Terms { grants, ..loaded.plugins().terms };
        Ok(Workshop { engine, terms, operations: telemetry.operations(), _telemetry: telemetry })
    }

    /// A component in a file, or a shipped plugin by name.
    pub fn plugin(&self, plugin: &str, stage: Option<Stage>) -> Result<Arc<Plugin>, Failure> {
        let path = Path::new(plugin);
        let shipped = SHIPPED.iter().find(|shipped| shipped.name == plugin);
        match shipped.filter(|_| !path.is_file()) {
            Some(shipped) => self.load(shipped.bytes, shipped.name, stage),
            None => {
                let bytes = std::fs::read(path).map_err(|error| {
                    let names: Vec<&str> = SHIPPED.iter().map(|shipped| shipped.name).collect();
                    Failure::Usage(format!(
                        "`{plugin}` can't be read: {error}; allowed: a component's file, or one of {}",
                        names.join(", ")
                    ))
                })?;
                self.load(&bytes, plugin, stage)
            }
        }
    }

    pub fn load(&self, bytes: &[u8], source: &str, stage: Option<Stage>) -> Result<Arc<Plugin>, Failure> {
        let within = self.span();
        Plugin::load(&self.engine, bytes, source, stage, self.terms.clone(), &within).map_err(|error| Failure::Failed(error.to_string()))
    }

    /// A stage span for calls; nobody keeps it.
    pub fn span(&self) -> Span {
        self.operations.begin("plugin.call")
    }
}

/// The engine with the cache of the data folder, if there is one.
pub(super) fn engine(loaded: &Loaded) -> Result<PluginEngine, Failure> {
    let data = DataDir::new(&loaded.config.data_dir.0);
    let cache = data.path().exists().then(|| data.plugin_cache());
    PluginEngine::new(cache.as_deref(), loaded.counts_fuel()).map_err(|error| Failure::Failed(format!("{error:#}")))
}

/// Telemetry that nobody hears.
pub(super) fn silent() -> Result<Telemetry, Failure> {
    Telemetry::start(TelemetrySettings::default()).map_err(Failure::failed)
}

/// Everything that the configuration loads.
pub(super) fn configured(loaded: &Loaded) -> Result<Plugins, Failure> {
    let telemetry = silent()?;
    Plugins::load(engine(loaded)?, loaded.plugins(), telemetry.operations()).map_err(|error| Failure::Failed(format!("plugin {error}")))
}

/// A JSON object from the command line.
pub(super) fn object(flag: &str, text: &str) -> Result<Map<String, Json>, Failure> {
    match serde_json::from_str(text) {
        Ok(Json::Object(object)) => Ok(object),
        Ok(_) => Err(Failure::Usage(format!("{flag} is `{text}`; allowed: a JSON object, such as {{\"k\": 60}}"))),
        Err(error) => Err(Failure::Usage(format!("{flag} is `{text}`: {error}; allowed: a JSON object, such as {{\"k\": 60}}"))),
    }
}
