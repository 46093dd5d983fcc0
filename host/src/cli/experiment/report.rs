//! `spanloom experiment report`: what an experiment has shown so far.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::app::{self, experiments::ReadError};
use crate::cli::{Failure, print};
use crate::config::Loaded;
use crate::experiments::report;
use crate::index::data_dir::DataDir;

#[derive(Args)]
pub struct ReportArgs {
    /// The experiment's id, as its file in the folder of experiments has it
    id: String,
    /// The folder of experiments [default: as configured]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// The report's form; html is one file that needs nothing else
    #[arg(long, value_enum, default_value = "md")]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Json,
    Md,
    Html,
}

pub fn run(loaded: &Loaded, arguments: &ReportArgs) -> Result<(), Failure> {
    let folder = arguments.folder.as_ref().unwrap_or(&loaded.config.experiments.folder);
    let journal_folder = DataDir::new(&loaded.config.data_dir.0).experiments();
    let (report, passed_over) = app::experiments::report(folder, &journal_folder, &arguments.id).map_err(|error| match error {
        ReadError::Unknown { .. } | ReadError::Folder(_) => Failure::Usage(error.to_string()),
        ReadError::Journal(_) => Failure::failed(error),
    })?;
    for (path, lines) in &passed_over.damaged {
        eprintln!("{}: {lines} lines are damaged and left out", path.display());
    }
    for (action, lines) in &passed_over.unknown {
        eprintln!("{lines} events `{action}` are of another release and left out");
    }
    match arguments.format {
        Format::Json => print(&format!("{}\n", serde_json::to_string_pretty(&report).map_err(Failure::failed)?)),
        Format::Md => print(&report::markdown(&report)),
        Format::Html => print(&report::html(&report)),
    }
}
