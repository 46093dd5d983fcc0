//! `spanloom experiment report`: what an experiment has shown so far.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, ValueEnum};

use crate::cli::{Failure, print};
use crate::config::Loaded;
use crate::experiments::events::Event;
use crate::experiments::{ExperimentFile, journal, read_folder, report};
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
    let file = find(read_folder(folder).map_err(|error| Failure::Usage(error.to_string()))?, &arguments.id)?;
    let journal_folder = DataDir::new(&loaded.config.data_dir.0).experiments();
    let mut events = journal::read(&journal_folder, None).map_err(Failure::failed)?;
    let (mut read, mut failed) = (Vec::<Event>::new(), None);
    for event in events.by_ref() {
        match event {
            Ok(event) => read.push(event),
            Err(error) => failed = Some(error),
        }
    }
    if let Some(error) = failed {
        return Err(Failure::failed(error));
    }
    let passed_over = events.passed_over();
    for (path, lines) in &passed_over.damaged {
        eprintln!("{}: {lines} lines are damaged and left out", path.display());
    }
    for (action, lines) in &passed_over.unknown {
        eprintln!("{lines} events `{action}` are of another release and left out");
    }
    let report = report::compose(&file.experiment, read.into_iter(), &journal::timestamp(SystemTime::now()));
    match arguments.format {
        Format::Json => print(&format!("{}\n", serde_json::to_string_pretty(&report).map_err(Failure::failed)?)),
        Format::Md => print(&report::markdown(&report)),
        Format::Html => print(&report::html(&report)),
    }
}

fn find(files: Vec<ExperimentFile>, id: &str) -> Result<ExperimentFile, Failure> {
    let ids: Vec<String> = files.iter().map(|file| file.experiment.id.clone()).collect();
    files.into_iter().find(|file| file.experiment.id == id).ok_or_else(|| {
        let allowed = if ids.is_empty() { "none, as the folder has no experiment".to_owned() } else { ids.join(", ") };
        Failure::Usage(format!("`{id}` is no experiment of the folder; allowed: {allowed}"))
    })
}
