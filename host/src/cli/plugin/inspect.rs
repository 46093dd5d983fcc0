//! `spanloom plugin inspect`: what a component is, and what it asks for.

use clap::Args;
use serde_json::{Value as Json, json};

use super::workshop::{self, Workshop};
use crate::cli::{Failure, print};
use crate::config::Loaded;
use crate::plugin::{CONTRACT_PACKAGE, CONTRACT_VERSION, Interface, SHIPPED, Surface, digest};

#[derive(Args)]
pub struct InspectArgs {
    /// A component's file, or the name of a shipped plugin
    plugin: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(loaded: &Loaded, arguments: &InspectArgs) -> Result<(), Failure> {
    let name = &arguments.plugin;
    let shipped = SHIPPED.iter().find(|shipped| shipped.name == name).filter(|_| !std::path::Path::new(name).is_file());
    let bytes = match shipped {
        Some(shipped) => shipped.bytes.to_vec(),
        None => std::fs::read(name).map_err(|error| Failure::Usage(format!("`{name}` can't be read: {error}")))?,
    };
    let engine = workshop::engine(loaded)?;
    let surface =
        Surface::read(&engine, &bytes).map_err(|error| Failure::Failed(format!("{name}: is no WebAssembly component: {error}")))?;
    // What the host would say of it, by really loading it.
    let verdict = Workshop::open(loaded)?.load(&bytes, name, None);
    let plugin = verdict.as_ref().ok();
    let refused = match &verdict {
        Err(Failure::Failed(message) | Failure::Usage(message)) => Some(message.clone()),
        _ => None,
    };
    let facts = json!({
        "file": name,
        "size_bytes": bytes.len(),
        "sha256": digest(&bytes),
        "world": surface.stage().map(|stage| format!("{stage}-plugin")),
        "contract": surface.version(),
        "host_contract": CONTRACT_VERSION,
        "name": plugin.map(|plugin| plugin.identity.name.clone()),
        "version": plugin.map(|plugin| plugin.identity.version.clone()),
        "imports": interfaces(&surface.imports),
        "exports": interfaces(&surface.exports),
        "asks_for": surface.authority(),
        "parameters": plugin.map(|plugin| plugin.parameters_schema.clone()),
        "refused": refused,
    });
    if arguments.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&facts).map_err(Failure::failed)?))?;
    } else {
        print(&text(&facts, &surface))?;
    }
    match refused {
        Some(message) => Err(Failure::Failed(format!("this host refuses it: {message}"))),
        None => Ok(()),
    }
}

fn interfaces(interfaces: &[Interface]) -> Vec<Json> {
    interfaces.iter().map(|interface| json!({ "name": interface.name, "functions": interface.functions })).collect()
}

fn text(facts: &Json, surface: &Surface) -> String {
    let word = |key: &str| facts[key].as_str().unwrap_or("-").to_owned();
    let mut out = format!(
        "{} {}\nworld      {} of {CONTRACT_PACKAGE} {} (this host: {CONTRACT_VERSION})\nsize       {} bytes\nsha-256    {}\n",
        word("name"),
        word("version"),
        word("world"),
        word("contract"),
        facts["size_bytes"],
        word("sha256")
    );
    for (label, side) in [("imports", &surface.imports), ("exports", &surface.exports)] {
        for (number, interface) in side.iter().enumerate() {
            let label = if number == 0 { label } else { "" };
            let functions = if interface.functions.is_empty() { String::new() } else { format!(": {}", interface.functions.join(", ")) };
            out += &format!("{label:<10} {}{functions}\n", interface.name);
        }
    }
    let asks = surface.authority();
    let asks = if asks.is_empty() { "nothing".to_owned() } else { asks.join(", ") };
    out += &format!("asks for   {asks} (denied unless granted in the configuration)\n");
    if !facts["parameters"].is_null() {
        // The schema is JSON already.
        out += &format!("parameters {}\n", serde_json::to_string_pretty(&facts["parameters"]).unwrap_or_default());
    }
    out
}
