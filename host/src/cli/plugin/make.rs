//! `spanloom plugin build`: the command; how is in [`super::build`].

use std::path::{Path, PathBuf};

use clap::Args;

use super::build::build;
use super::scaffold::Manifest;
use crate::cli::{Failure, print};

#[derive(Args)]
pub struct BuildArgs {
    /// The plugin's folder
    #[arg(default_value = ".")]
    folder: PathBuf,
}

pub fn run(arguments: &BuildArgs) -> Result<(), Failure> {
    let manifest = Manifest::read(&arguments.folder).map_err(|error| Failure::Usage(error.to_string()))?;
    let component = build_folder(&arguments.folder, &manifest)?;
    print(&format!("{}\n", component.display()))
}

/// Builds, with its steps on standard error.
pub(super) fn build_folder(folder: &Path, manifest: &Manifest) -> Result<PathBuf, Failure> {
    build(folder, manifest, &mut |step| eprintln!("{step}")).map_err(|error| Failure::Failed(error.to_string()))
}
