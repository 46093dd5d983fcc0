//! `spanloom plugin`: which judgements there are.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Failure, print};
use crate::config::Loaded;
use crate::index::data_dir::DataDir;
use crate::plugin::{CONTRACT_VERSION, PluginEngine, Plugins};

#[derive(Subcommand)]
pub enum PluginCommand {
    /// List the plugins that this configuration loads
    List(ListArgs),
}

#[derive(Args)]
pub struct ListArgs {
    /// Print JSON, with the schema of each plugin's parameters
    #[arg(long)]
    json: bool,
}

pub fn run(loaded: &Loaded, command: &PluginCommand) -> Result<(), Failure> {
    let PluginCommand::List(arguments) = command;
    let data = DataDir::new(&loaded.config.data_dir.0);
    let cache = data.path().exists().then(|| data.plugin_cache());
    let engine = PluginEngine::new(cache.as_deref()).map_err(|error| Failure::Failed(format!("{error:#}")))?;
    let plugins = Plugins::load(&engine, &loaded.plugins()).map_err(|error| Failure::Failed(format!("plugin {error}")))?;
    if arguments.json {
        let list: Vec<_> = plugins
            .list()
            .into_iter()
            .map(|(plugin, active)| {
                let identity = &plugin.identity;
                json!({
                    "stage": identity.stage, "name": identity.name, "version": identity.version, "sha256": identity.sha256,
                    "source": identity.source, "size_bytes": plugin.size_bytes, "active": active, "contract": CONTRACT_VERSION,
                    "parameters": plugin.parameters_schema,
                })
            })
            .collect();
        return print(&format!("{}\n", serde_json::to_string_pretty(&list).map_err(Failure::failed)?));
    }
    let mut out = format!("{:<8} {:<20} {:<9} {:<14} {:>9}  {}\n", "STAGE", "NAME", "VERSION", "SHA-256", "KB", "SOURCE");
    for (plugin, active) in plugins.list() {
        let identity = &plugin.identity;
        let digest: String = identity.sha256.chars().take(12).collect();
        let mark = if active { " (active)" } else { "" };
        out += &format!(
            "{:<8} {:<20} {:<9} {digest:<14} {:>9}  {}{mark}\n",
            identity.stage,
            identity.name,
            identity.version,
            plugin.size_bytes / 1_000,
            identity.source
        );
    }
    print(&out)
}
