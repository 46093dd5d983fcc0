//! `spanloom experiment`: files of experiments, checked and explained.

mod assign;
mod check;

use clap::Subcommand;

use super::{Failure, print};
use crate::experiments::{self, ExperimentFile, read_file};

#[derive(Subcommand)]
pub enum ExperimentCommand {
    /// Say whether files can be carried out, and everything that is wrong with them
    Check(check::CheckArgs),
    /// Say which arm a unit gets, and why
    Assign(assign::AssignArgs),
    /// Print the JSON Schema of the files
    Schema,
}

pub fn run(command: &ExperimentCommand) -> Result<(), Failure> {
    match command {
        ExperimentCommand::Check(arguments) => check::run(arguments),
        ExperimentCommand::Assign(arguments) => assign::run(arguments),
        ExperimentCommand::Schema => print(&format!("{:#}\n", experiments::schema())),
    }
}

fn read(path: &std::path::Path) -> Result<ExperimentFile, Failure> {
    read_file(path).map_err(|error| Failure::Usage(error.to_string()))
}
