//! `spanloom experiment simulate`: how long an experiment is likely to take.

use std::path::PathBuf;

use clap::Args;

use super::read;
use crate::cli::{Failure, print};
use crate::experiments::simulate::{Effect, Outlook, simulate};

#[derive(Args)]
pub struct SimulateArgs {
    /// The experiment's file
    file: PathBuf,
    /// Eligible units that are seen for the first time on a day
    #[arg(long, value_name = "N")]
    units_per_day: f64,
    /// Days to look ahead
    #[arg(long, value_name = "N", default_value_t = 28)]
    days: u32,
    /// The primary metric's mean in the control
    #[arg(long, value_name = "MEAN")]
    baseline: f64,
    /// How far the other arms are expected to differ: `5%` of the baseline, or `0.01`
    #[arg(long, value_name = "EFFECT", allow_hyphen_values = true)]
    effect: Effect,
    /// The standard deviation of a unit's figure; shares don't need it
    #[arg(long, value_name = "SD")]
    deviation: Option<f64>,
    /// Runs of a unit, on average [default: 1]
    #[arg(long, value_name = "N")]
    runs_per_unit: Option<f64>,
    /// Of the random numbers
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &SimulateArgs) -> Result<(), Failure> {
    let SimulateArgs { units_per_day, days, baseline, effect, deviation, runs_per_unit, seed, .. } = *arguments;
    let file = read(&arguments.file)?;
    let outlook = Outlook { units_per_day, days, baseline, deviation, effect, runs_per_unit, seed };
    let outcome = simulate(&file.experiment, &outlook)
        .map_err(|problems| Failure::Usage(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))?;
    match arguments.json {
        true => print(&format!("{}\n", serde_json::to_string_pretty(&outcome).map_err(Failure::failed)?)),
        false => print(&outcome.text()),
    }
}
