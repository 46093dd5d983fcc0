//! `spanloom plugin list`: which judgements there are.

use clap::Args;
use serde_json::json;

use super::workshop;
use crate::cli::{Failure, print};
use crate::config::Loaded;
use crate::plugin::CONTRACT_VERSION;

#[derive(Args)]
pub struct ListArgs {
    /// Print JSON, with the schema of each plugin's parameters
    #[arg(long)]
    json: bool,
}

pub fn run(loaded: &Loaded, arguments: &ListArgs) -> Result<(), Failure> {
    let plugins = workshop::configured(loaded)?;
    let list = plugins.set().list();
    if arguments.json {
        let list: Vec<_> = list
            .into_iter()
            .map(|(plugin, active)| {
                let identity = &plugin.identity;
                json!({
                    "stage": identity.stage, "name": identity.name, "version": identity.version, "sha256": identity.sha256,
                    "source": identity.source, "size_bytes": plugin.size_bytes, "active": active, "contract": CONTRACT_VERSION,
                    "grants": plugin.terms.grants.names(), "limits": plugin.terms.limits, "parameters": plugin.parameters_schema,
                })
            })
            .collect();
        return print(&format!("{}\n", serde_json::to_string_pretty(&list).map_err(Failure::failed)?));
    }
    let mut out = format!("{:<8} {:<20} {:<9} {:<14} {:>9}  {}\n", "STAGE", "NAME", "VERSION", "SHA-256", "KB", "SOURCE");
    for (plugin, active) in list {
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
    for refusal in plugins.refusals() {
        out += &format!("refused: {}\n", refusal.message);
    }
    print(&out)
}
