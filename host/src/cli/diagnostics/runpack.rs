//! `spanloom diagnostics runpack`: everything about a run in one archive.

use std::path::PathBuf;

use clap::Args;

use super::{failure, key, records};
use crate::cli::{Failure, print};
use crate::config::Loaded;
use crate::index::data_dir::DataDir;
use crate::reports::pack::{self, PackSource};

#[derive(Args)]
pub struct RunpackArgs {
    /// Run id, as answers and the X-Run-Id header have it; or a trace id, for its newest run
    #[arg(value_name = "RUN_ID")]
    run: String,
    /// The archive [default: runpack-<RUN_ID>.tar.gz]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
}

pub fn run(loaded: &Loaded, arguments: &RunpackArgs) -> Result<(), Failure> {
    let (record, _) = crate::reports::find(&records(loaded), &key(&arguments.run)?).map_err(failure)?;
    let path = arguments.out.clone().unwrap_or_else(|| PathBuf::from(format!("runpack-{}.tar.gz", record.run_id)));
    let source = PackSource { config: loaded.show(), data: DataDir::new(&loaded.config.data_dir.0) };
    let entries = pack::write(&record, &source, &path, arguments.force).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::Failed(format!("{} is there already; name another file with --out, or write over it with --force", path.display()))
        }
        _ => Failure::Failed(format!("{}: {error}", path.display())),
    })?;
    let mut out = format!("{}\n", path.display());
    for entry in entries {
        out += &format!("  {:<24} {:>9} bytes\n", entry.name, entry.bytes);
    }
    print(&out)
}
