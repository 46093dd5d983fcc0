//! `spanloom plugin new`: a folder that builds as it is.

use std::path::PathBuf;

use clap::Args;

use super::scaffold::{self, Language, ScaffoldError};
use crate::cli::{Failure, print};
use crate::types::Stage;

#[derive(Args)]
pub struct NewArgs {
    /// Name of the plugin, such as my-fusion
    name: String,
    /// What it judges
    #[arg(long, value_enum)]
    stage: StageName,
    /// What it is written in
    #[arg(long = "lang", value_enum, default_value = "rust")]
    language: Language,
    /// Folder to make [default: NAME]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// A stage on the command line.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum StageName {
    Gate,
    Fusion,
    Rerank,
}

impl From<StageName> for Stage {
    fn from(name: StageName) -> Stage {
        match name {
            StageName::Gate => Stage::Gate,
            StageName::Fusion => Stage::Fusion,
            StageName::Rerank => Stage::Rerank,
        }
    }
}

pub fn run(arguments: &NewArgs) -> Result<(), Failure> {
    let stage = Stage::from(arguments.stage);
    let files = scaffold::files(&arguments.name, stage, arguments.language).map_err(|error| Failure::Usage(error.to_string()))?;
    let folder = arguments.folder.clone().unwrap_or_else(|| PathBuf::from(&arguments.name));
    scaffold::write(&files, &folder).map_err(|error| match error {
        ScaffoldError::Write { .. } => Failure::Failed(error.to_string()),
        _ => Failure::Usage(error.to_string()),
    })?;
    let shown = folder.display();
    print(&format!(
        "A {stage} plugin in {}: {shown} ({} files)\n\nspanloom plugin build {shown}\nspanloom plugin test {shown}\n",
        arguments.language.as_str(),
        files.len()
    ))
}
