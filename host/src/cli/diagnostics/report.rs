//! `spanloom diagnostics report run`: one run's report, to the terminal or into files.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{failure, key, records};
use crate::cli::{Failure, print};
use crate::config::Loaded;
use crate::reports;

#[derive(Args)]
pub struct ReportArgs {
    /// Run id, as answers and the X-Run-Id header have it; or a trace id, for its newest run
    #[arg(value_name = "RUN_ID")]
    run: String,
    /// Form of what is printed
    #[arg(long, value_enum, default_value = "md")]
    format: Format,
    /// Write <RUN_ID>.json and <RUN_ID>.md into this folder, such as out/run_reports, instead of printing
    #[arg(long, value_name = "DIR", conflicts_with = "format")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Json,
    Md,
}

pub fn run(loaded: &Loaded, arguments: &ReportArgs) -> Result<(), Failure> {
    let reported = reports::report(&records(loaded), &key(&arguments.run)?).map_err(failure)?;
    let json = || serde_json::to_string_pretty(&reported).map(|json| json + "\n").map_err(Failure::failed);
    let Some(folder) = &arguments.out else {
        return print(&match arguments.format {
            Format::Json => json()?,
            Format::Md => reported.markdown(),
        });
    };
    let at = |path: &std::path::Path, error: std::io::Error| Failure::Failed(format!("{}: {error}", path.display()));
    std::fs::create_dir_all(folder).map_err(|error| at(folder, error))?;
    for (ending, text) in [("json", json()?), ("md", reported.markdown())] {
        let path = folder.join(format!("{}.{ending}", reported.report.identity.run_id));
        std::fs::write(&path, text).map_err(|error| at(&path, error))?;
        print(&format!("{}\n", path.display()))?;
    }
    Ok(())
}
