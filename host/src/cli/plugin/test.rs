//! `spanloom plugin test`: a plugin against its golden cases.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::make::build_folder;
use super::scaffold::Manifest;
use super::workshop::Workshop;
use crate::cli::{Failure, print};
use crate::config::Loaded;
use crate::plugin::cases;
use crate::plugin::runner;

#[derive(Args)]
pub struct TestArgs {
    /// The plugin's folder
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Test this component instead of building the folder's
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// Cases: a folder or a file [default: as plugin.toml says]
    #[arg(long, value_name = "PATH")]
    cases: Option<PathBuf>,
    /// Test what is built already
    #[arg(long)]
    no_build: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(loaded: &Loaded, arguments: &TestArgs) -> Result<(), Failure> {
    let (component, folder) = match (&arguments.component, &arguments.cases) {
        (Some(component), Some(cases)) => (component.clone(), cases.clone()),
        (component, cases) => {
            let manifest = Manifest::read(&arguments.folder).map_err(|error| Failure::Usage(error.to_string()))?;
            let component = match component {
                Some(component) => component.clone(),
                None if arguments.no_build => arguments.folder.join(&manifest.component),
                None => build_folder(&arguments.folder, &manifest)?,
            };
            (component, cases.clone().unwrap_or_else(|| arguments.folder.join(&manifest.cases)))
        }
    };
    let workshop = Workshop::open(loaded)?;
    let plugin = workshop.plugin(&component.to_string_lossy(), None)?;
    let all = cases::read_folder(&folder).map_err(|error| Failure::Usage(error.to_string()))?;
    let mut lines = String::new();
    let mut results = Vec::new();
    let (mut passed, mut skipped) = (0, 0);
    for (path, case) in &all {
        let file = short(path);
        if case.stage != plugin.identity.stage {
            skipped += 1;
            lines += &format!("skipped {file}: it is for a {} plugin\n", case.stage);
            continue;
        }
        let seen = runner::run(&plugin, case, &workshop.span());
        let differences = cases::check(case, &seen);
        results.push(json!({ "file": path, "name": case.name, "passed": differences.is_empty(), "differences": differences }));
        if differences.is_empty() {
            passed += 1;
            lines += &format!("ok      {file}: {}\n", case.name);
        } else {
            lines += &format!("FAILED  {file}: {}\n{}\n", case.name, indented(&cases::render(&differences)));
        }
    }
    let run = results.len();
    let identity = &plugin.identity;
    if arguments.json {
        let report = json!({
            "plugin": identity.name, "version": identity.version, "sha256": identity.sha256, "stage": identity.stage,
            "passed": passed, "failed": run - passed, "skipped": skipped, "cases": results,
        });
        print(&format!("{}\n", serde_json::to_string_pretty(&report).map_err(Failure::failed)?))?;
    } else {
        let digest: String = identity.sha256.chars().take(12).collect();
        print(&format!(
            "{} {} ({}, sha256 {digest})\n{lines}{passed} of {run} cases passed\n",
            identity.name, identity.version, identity.stage
        ))?;
    }
    match run {
        0 => Err(Failure::Failed(format!("{}: no case is for a {} plugin", folder.display(), identity.stage))),
        _ if passed < run => Err(Failure::Failed(format!("{} of {run} cases failed", run - passed))),
        _ => Ok(()),
    }
}

fn short(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("        {line}")).collect::<Vec<_>>().join("\n")
}
