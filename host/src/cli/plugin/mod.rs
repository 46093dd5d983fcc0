//! `spanloom plugin`: from an empty folder to a plugin that serves, step by step.

mod bench;
mod build;
mod inspect;
mod list;
mod make;
mod new;
mod record;
mod replay;
mod scaffold;
mod test;
mod workshop;

use clap::Subcommand;

use super::Failure;
use crate::config::Loaded;

#[derive(Subcommand)]
pub enum PluginCommand {
    /// List the plugins that this configuration loads
    List(list::ListArgs),
    /// Begin a new plugin in a folder of its own
    New(new::NewArgs),
    /// Build the component of a plugin's folder
    Build(make::BuildArgs),
    /// Run a plugin against its golden cases
    Test(test::TestArgs),
    /// Record stage calls of a running server as golden cases
    Record(record::RecordArgs),
    /// Run recorded calls through another plugin or version, and say what moved
    Replay(replay::ReplayArgs),
    /// Measure instances, calls and spans against another plugin
    Bench(bench::BenchArgs),
    /// Say what a component is, and what it asks for
    Inspect(inspect::InspectArgs),
}

pub fn run(loaded: &Loaded, command: &PluginCommand) -> Result<(), Failure> {
    match command {
        PluginCommand::List(arguments) => list::run(loaded, arguments),
        PluginCommand::New(arguments) => new::run(arguments),
        PluginCommand::Build(arguments) => make::run(arguments),
        PluginCommand::Test(arguments) => test::run(loaded, arguments),
        PluginCommand::Record(arguments) => record::run(loaded, arguments),
        PluginCommand::Replay(arguments) => replay::run(loaded, arguments),
        PluginCommand::Bench(arguments) => bench::run(loaded, arguments),
        PluginCommand::Inspect(arguments) => inspect::run(loaded, arguments),
    }
}
