//! `spanloom trace`: a run's spans as a tree, out of its ledger.

use clap::Args;

use super::{Failure, print};
use crate::config::Loaded;
use crate::index::data_dir::DataDir;
use crate::telemetry::{ledger, trace_tree};

#[derive(Args)]
pub struct TraceArgs {
    /// Run id, as answers and the X-Run-Id header have it
    #[arg(value_name = "RUN_ID")]
    run: String,
}

pub fn run(loaded: &Loaded, arguments: &TraceArgs) -> Result<(), Failure> {
    let folder = DataDir::new(&loaded.config.data_dir.0).ledgers();
    let path = ledger::find(&folder, &arguments.run)
        .map_err(|error| Failure::Failed(format!("{}: {error}", folder.display())))?
        .ok_or_else(|| Failure::Failed(format!("there is no ledger of run `{}` in {}", arguments.run, folder.display())))?;
    let lines = ledger::read(&path).map_err(Failure::failed)?;
    print(&format!("{}ledger: {}\n", trace_tree::render(&lines), path.display()))
}
