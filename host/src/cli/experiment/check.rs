//! `spanloom experiment check`: everything that is wrong with files, or what they say.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value as Json, json};

use crate::cli::{Failure, print};
use crate::experiments::{ExperimentFile, ReadError, read_files, read_folder};

#[derive(Args)]
pub struct CheckArgs {
    /// Files, or a folder of `*.toml`; those named together must go together
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &CheckArgs) -> Result<(), Failure> {
    let files = read(&arguments.files).map_err(|error| Failure::Usage(error.to_string()))?;
    for file in &files {
        let plan = file.experiment.plan();
        plan.map_err(|error| Failure::Usage(format!("{}: {error}", file.path.display())))?;
    }
    if arguments.json {
        let all: Vec<Json> = files.iter().map(facts).collect();
        return print(&format!("{:#}\n", Json::from(all)));
    }
    print(&files.iter().map(line).collect::<String>())
}

fn read(paths: &[PathBuf]) -> Result<Vec<ExperimentFile>, ReadError> {
    match paths {
        [folder] if folder.is_dir() => read_folder(folder),
        files => read_files(files.iter().cloned()),
    }
}

fn facts(file: &ExperimentFile) -> Json {
    let experiment = &file.experiment;
    json!({
        "file": file.path,
        "id": experiment.id,
        "version": experiment.version,
        "state": experiment.state,
        "mode": experiment.mode,
        "arms": experiment.arms.iter().map(|arm| &arm.key).collect::<Vec<_>>(),
        "control": experiment.control(),
        "digest": experiment.digest(),
    })
}

/// `examples/rm3.toml: rm3 version 1, running, ab: off (control), on; digest 3b1f…`
fn line(file: &ExperimentFile) -> String {
    let experiment = &file.experiment;
    let arm = |key: &str| if key == experiment.control() { format!("{key} (control)") } else { key.to_owned() };
    let arms: Vec<String> = experiment.arms.iter().map(|arm_of| arm(&arm_of.key)).collect();
    let facts = facts(file);
    let word = |key: &str| facts[key].as_str().unwrap_or_default().to_owned();
    format!(
        "{}: {} version {}, {}, {}: {}; digest {}\n",
        file.path.display(),
        experiment.id,
        experiment.version,
        word("state"),
        word("mode"),
        arms.join(", "),
        word("digest"),
    )
}
