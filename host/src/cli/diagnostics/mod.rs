//! `spanloom diagnostics`: which runs there were, what one did, and all of it to hand over.

mod report;
mod runpack;
mod runs;

use clap::Subcommand;

use super::Failure;
use crate::config::Loaded;
use crate::index::data_dir::DataDir;
use crate::reports::ReportKey;
use crate::request::RequestError;
use crate::telemetry::records::RunRecords;

#[derive(Subcommand)]
pub enum DiagnosticsCommand {
    /// Report on a run
    #[command(subcommand)]
    Report(ReportCommand),
    /// List runs
    Runs(runs::RunsArgs),
    /// Pack a run's ledger and report, the configuration and versions into one archive to hand over
    Runpack(runpack::RunpackArgs),
}

#[derive(Subcommand)]
pub enum ReportCommand {
    /// Tell what one run did, how long it took and why it stopped
    Run(report::ReportArgs),
}

pub fn run(loaded: &Loaded, command: &DiagnosticsCommand) -> Result<(), Failure> {
    match command {
        DiagnosticsCommand::Report(ReportCommand::Run(arguments)) => report::run(loaded, arguments),
        DiagnosticsCommand::Runs(arguments) => runs::run(loaded, arguments),
        DiagnosticsCommand::Runpack(arguments) => runpack::run(loaded, arguments),
    }
}

/// The runs of the data directory.
pub(super) fn records(loaded: &Loaded) -> RunRecords {
    RunRecords::of_folder(DataDir::new(&loaded.config.data_dir.0).ledgers())
}

/// The key of an id that may be a run's or a trace's.
pub(super) fn key(id: &str) -> Result<ReportKey, Failure> {
    ReportKey::of(id).map_err(failure)
}

pub(super) fn failure(error: RequestError) -> Failure {
    match error {
        RequestError::Invalid(message) => Failure::Usage(message),
        other => Failure::Failed(other.to_string()),
    }
}
