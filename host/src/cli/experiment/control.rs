//! `spanloom experiment start`, `pause`, `stop` and `ramp`: what is done to an experiment, and who did it.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;

use crate::cli::{Failure, print};
use crate::config::Loaded;
use crate::experiments::board::Board;
use crate::experiments::control::{ControlDesk, ControlError, Request};
use crate::experiments::journal::Journal;
use crate::experiments::read_folder;
use crate::experiments::standing::StandingFile;
use crate::index::data_dir::DataDir;

#[derive(Args)]
pub struct ControlArgs {
    /// The experiment's id, as its file in the folder of experiments has it
    id: String,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// The folder of experiments [default: as configured]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

#[derive(Args)]
pub struct StartArgs {
    #[command(flatten)]
    control: ControlArgs,
    /// Share of the eligible units that take part, 0 to 1 [default: as its file has it]
    #[arg(long, value_name = "SHARE")]
    coverage: Option<f64>,
}

#[derive(Args)]
pub struct RampArgs {
    #[command(flatten)]
    control: ControlArgs,
    /// Share of the eligible units that take part, 0 to 1
    #[arg(long, value_name = "SHARE")]
    coverage: f64,
}

pub fn start(loaded: &Loaded, arguments: &StartArgs) -> Result<(), Failure> {
    run(loaded, &arguments.control, Request::Start { coverage: arguments.coverage })
}

pub fn ramp(loaded: &Loaded, arguments: &RampArgs) -> Result<(), Failure> {
    run(loaded, &arguments.control, Request::Ramp { coverage: arguments.coverage })
}

pub fn run(loaded: &Loaded, arguments: &ControlArgs, request: Request) -> Result<(), Failure> {
    let folder = arguments.folder.as_ref().unwrap_or(&loaded.config.experiments.folder);
    let data = DataDir::new(&loaded.config.data_dir.0);
    data.prepare().map_err(Failure::failed)?;
    let journal = Journal::open(&data.experiments()).map_err(Failure::failed)?;
    let standing = StandingFile::new(&data.experiments());
    let desk = ControlDesk { folder, journal: &journal, standing: &standing, actor: &actor() };
    let outcome = desk.carry_out(&arguments.id, request, arguments.reason.as_deref(), SystemTime::now()).map_err(|error| match error {
        ControlError::Unknown { .. } | ControlError::Refused { .. } | ControlError::Files(_) => Failure::Usage(error.to_string()),
        _ => Failure::failed(error),
    })?;
    print(&format!("{}\n", outcome.sentence))?;
    // A server may have its reasons, too.
    let files = read_folder(folder).map_err(|error| Failure::Usage(error.to_string()))?;
    let board = Board::new(files, &standing.read().map_err(Failure::failed)?, SystemTime::now()).map_err(Failure::failed)?;
    for left_out in board.left_out().iter().filter(|left_out| left_out.starts_with(&format!("{}: ", arguments.id))) {
        eprintln!("note: a server leaves it out: {left_out}");
    }
    Ok(())
}

fn actor() -> String {
    std::env::var("USER").ok().filter(|name| !name.trim().is_empty()).unwrap_or_else(|| "unknown".into())
}
