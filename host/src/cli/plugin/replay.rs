//! `spanloom plugin replay`: recorded calls through another plugin or version.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value as Json};

use super::workshop::{Workshop, object};
use crate::cli::{Failure, print};
use crate::config::Loaded;
use crate::plugin::cases::{self, Case, Moves, Output, Report};
use crate::plugin::{Configured, Plugin, runner};

#[derive(Args)]
pub struct ReplayArgs {
    /// Recorded cases: a folder or a file
    cases: PathBuf,
    /// The plugin to try: a component's file or the name of a shipped one
    #[arg(long, value_name = "FILE|NAME")]
    plugin: String,
    /// Its parameters as a JSON object [default: the recorded ones for a plugin of the recorded name, else none]
    #[arg(long, value_name = "JSON")]
    parameters: Option<String>,
    /// Compare with this plugin instead of with what was recorded
    #[arg(long, value_name = "FILE|NAME")]
    baseline: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(loaded: &Loaded, arguments: &ReplayArgs) -> Result<(), Failure> {
    let workshop = Workshop::open(loaded)?;
    let plugin = workshop.plugin(&arguments.plugin, None)?;
    let stage = plugin.identity.stage;
    let baseline = arguments.baseline.as_ref().map(|name| workshop.plugin(name, Some(stage))).transpose()?;
    let parameters = arguments.parameters.as_ref().map(|text| object("--parameters", text)).transpose()?;
    let all = cases::read_folder(&arguments.cases).map_err(|error| Failure::Usage(error.to_string()))?;
    let replayed: Vec<(String, Result<Moves, String>)> = all
        .iter()
        .filter(|(_, case)| case.stage == stage)
        .map(|(path, case)| {
            let before = match &baseline {
                Some(baseline) => outcome(&workshop, baseline, case, None),
                None => recorded(case),
            };
            let moves = before.and_then(|before| {
                let after = outcome(&workshop, &plugin, case, parameters.as_ref())?;
                cases::compare(&case.input, &before, &after).map_err(|error| error.to_string())
            });
            (path.display().to_string(), moves)
        })
        .collect();
    if replayed.is_empty() {
        return Err(Failure::Usage(format!("{}: no case is for a {stage} plugin", arguments.cases.display())));
    }
    let report = Report::new(replayed);
    if arguments.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&report).map_err(Failure::failed)?))?;
    } else {
        let against = arguments.baseline.as_deref().unwrap_or("what was recorded");
        print(&format!("{} {} against {against}\n{report}\n", plugin.identity.name, plugin.identity.version))?;
    }
    match report.summary.failed {
        0 => Ok(()),
        failed => Err(Failure::Partial(format!("{failed} of {} cases could not be compared", report.summary.cases))),
    }
}

fn recorded(case: &Case) -> Result<Output, String> {
    let complete = case.expect.output.as_ref().and_then(cases::ExpectedOutput::complete);
    complete.ok_or_else(|| "the case has no complete output; compare with another plugin by --baseline".to_owned())
}

fn outcome(
    workshop: &Workshop,
    plugin: &std::sync::Arc<Plugin>,
    case: &Case,
    parameters: Option<&Map<String, Json>>,
) -> Result<Output, String> {
    let same = case.recorded.as_ref().is_none_or(|recorded| recorded.plugin == plugin.identity.name);
    let parameters = parameters.cloned().unwrap_or_else(|| if same { case.parameters.clone() } else { Map::new() });
    let configured = Configured::try_new(plugin.clone(), Json::Object(parameters).to_string()).map_err(|failure| failure.to_string())?;
    let seen = runner::call(&configured, case, &workshop.span());
    seen.outcome.map_err(|failure| format!("{}: {}", failure.cause, failure.message))
}
