//! `spanloom experiment assign`: the arm of a unit, and every bucket that led there.

use std::path::PathBuf;

use clap::Args;

use super::read;
use crate::cli::{Failure, print};
use crate::experiments::State;

#[derive(Args)]
pub struct AssignArgs {
    /// The experiment's file
    file: PathBuf,
    /// A unit: a session's id, a header's value, a query or a run's id, as the file has it; may be repeated
    #[arg(long = "unit", value_name = "VALUE", required = true)]
    units: Vec<String>,
    /// Print each as a line of JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &AssignArgs) -> Result<(), Failure> {
    let file = read(&arguments.file)?;
    let plan = file.experiment.plan().map_err(|error| Failure::Usage(format!("{}: {error}", file.path.display())))?;
    let mut out = String::new();
    for unit in &arguments.units {
        let explanation = plan.explain(unit);
        match arguments.json {
            true => out += &(serde_json::to_string(&explanation).map_err(Failure::failed)? + "\n"),
            false => out += &format!("{unit}: {}\n", explanation.why),
        }
    }
    if file.experiment.state != State::Running && !arguments.json {
        out += "The experiment is not running: nobody gets an arm now.\n";
    }
    print(&out)
}
