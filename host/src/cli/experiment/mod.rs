//! `spanloom experiment`: files of experiments, checked, explained and carried out.

mod assign;
mod check;
mod control;
mod offline;
mod report;
mod simulate;

use clap::Subcommand;

use super::{Failure, print};
use crate::config::Loaded;
use crate::experiments::control::Request;
use crate::experiments::{self, ExperimentFile, read_file};

#[derive(Subcommand)]
pub enum ExperimentCommand {
    /// Say whether files can be carried out, and everything that is wrong with them
    Check(check::CheckArgs),
    /// Say which arm a unit gets, and why
    Assign(assign::AssignArgs),
    /// Carry out a draft or what was paused; gives back arms that a server rolled back
    Start(control::StartArgs),
    /// Give everybody what the server is configured for, for now
    Pause(control::ControlArgs),
    /// End an experiment for good
    Stop(control::ControlArgs),
    /// Let another share of the units in
    Ramp(control::RampArgs),
    /// Have every arm answer the same queries, held against judgments or what was used of recorded searches
    Offline(offline::OfflineArgs),
    /// Say what an experiment has shown so far, and how far it can be trusted
    Report(report::ReportArgs),
    /// Say how long an experiment is likely to take
    Simulate(simulate::SimulateArgs),
    /// Print the JSON Schema of the files
    Schema,
}

pub fn run(loaded: &Loaded, command: &ExperimentCommand) -> Result<(), Failure> {
    match command {
        ExperimentCommand::Check(arguments) => check::run(arguments),
        ExperimentCommand::Assign(arguments) => assign::run(arguments),
        ExperimentCommand::Start(arguments) => control::start(loaded, arguments),
        ExperimentCommand::Pause(arguments) => control::run(loaded, arguments, Request::Pause),
        ExperimentCommand::Stop(arguments) => control::run(loaded, arguments, Request::Stop),
        ExperimentCommand::Ramp(arguments) => control::ramp(loaded, arguments),
        ExperimentCommand::Offline(arguments) => offline::run(loaded, arguments),
        ExperimentCommand::Report(arguments) => report::run(loaded, arguments),
        ExperimentCommand::Simulate(arguments) => simulate::run(arguments),
        ExperimentCommand::Schema => print(&format!("{:#}\n", experiments::schema())),
    }
}

fn read(path: &std::path::Path) -> Result<ExperimentFile, Failure> {
    read_file(path).map_err(|error| Failure::Usage(error.to_string()))
}
