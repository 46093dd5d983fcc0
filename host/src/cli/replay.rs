//! `spanloom replay`: a run once more, on the same generation, held against the first.

use std::sync::Arc;

use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use super::{Failure, diagnostics, print, runtime};
use crate::app::App;
use crate::app::experiments::{Arms, replayed_arms};
use crate::config::Loaded;
use crate::index::data_dir::DataDir;
use crate::index::snapshot::Snapshot;
use crate::mcp::{SearchService as _, Tool, answered_blame, answered_file, answered_history, answered_search};
use crate::pipeline;
use crate::reports::replay::{Original, compare};
use crate::reports::{self, ReportKey};
use crate::request::{HistoryRequest, RequestError, SearchRequest};
use crate::telemetry::{Caller, Run};

#[derive(Args)]
pub struct ReplayArgs {
    /// Run id, as answers and the X-Run-Id header have it; or a trace id, for its newest run
    #[arg(value_name = "RUN_ID")]
    run: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(loaded: &Loaded, arguments: &ReplayArgs) -> Result<(), Failure> {
    let key = diagnostics::key(&arguments.run)?;
    let (record, _) = reports::find(&diagnostics::records(loaded), &key).map_err(diagnostics::failure)?;
    let then = Original::of(&record.lines);
    let refused = |why: String| Failure::Failed(format!("run {} can't be replayed: {why}", record.run_id));
    then.check().map_err(refused)?;
    let tool = Tool::find(&then.tool).filter(|tool| can_be_repeated(*tool)).ok_or_else(|| {
        let names: Vec<&str> = Tool::ALL.into_iter().filter(|tool| can_be_repeated(*tool)).map(Tool::name).collect();
        refused(format!("it called `{}`; allowed: {}", then.tool, names.join(", ")))
    })?;
    let snapshot = Arc::new(open(loaded, &then).map_err(refused)?);

    let runtime = runtime()?;
    let app = {
        let _within = runtime.enter();
        App::start(loaded).map_err(Failure::failed)?
    };
    loaded_plugins(&app, &then).map_err(refused)?;
    let arms = replayed_arms(&loaded.config.experiments.folder, &then.run_id, &then.experiments).map_err(refused)?;
    let again = app.begin_run(&then.tool, &Caller::default(), then.request.clone());
    let id = again.id.clone();
    runtime.block_on(repeat(&app, snapshot, arms, again, tool, then.request.clone()));
    app.telemetry().flush();
    let (record, _) = reports::find(&app.telemetry().records(), &ReportKey::Run(id))
        .map_err(|_| refused("ledgers are switched off, so there is nothing to compare with; set `telemetry.ledger = true`".into()))?;

    let comparison = compare(&then, &Original::of(&record.lines));
    if arguments.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&comparison).map_err(Failure::failed)?))?;
    } else {
        print(&comparison.text())?;
    }
    if comparison.same { Ok(()) } else { Err(Failure::Partial("the answer differs from the first one".into())) }
}

/// The generation that was searched; for a run that never came so far, the current one.
fn open(loaded: &Loaded, then: &Original) -> Result<Snapshot, String> {
    let data = DataDir::new(&loaded.config.data_dir.0);
    let Some(name) = &then.generation else {
        return Snapshot::open_current(&data, &loaded.embedder()).map_err(|error| error.to_string());
    };
    // The name comes out of a file that anybody may have written.
    let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !plain || !data.generation(name).is_dir() {
        return Err(format!(
            "it searched the index generation {name}, which is gone: the current one and the one before are kept; \
             index the same commit again to search for the same, under another generation"
        ));
    }
    Snapshot::open_named(&data, name, &loaded.embedder()).map_err(|error| error.to_string())
}

/// Every plugin of the run has to be loaded, by its digest: with another one the
/// answer would say nothing about the first.
fn loaded_plugins(app: &App, then: &Original) -> Result<(), String> {
    let set = app.plugins().set();
    let list = set.list();
    for (stage, plugin) in &then.plugins {
        if list.iter().any(|(loaded, _)| loaded.identity.sha256 == plugin.sha256) {
            continue;
        }
        let there: Vec<String> = list
            .iter()
            .map(|(loaded, _)| &loaded.identity)
            .filter(|identity| identity.stage.as_str() == stage)
            .map(|identity| format!("{} {} (sha256 {})", identity.name, identity.version, identity.sha256))
            .collect();
        return Err(format!(
            "its {stage} plugin {} {} (sha256 {}) is not loaded; loaded: {}. Name that component in `plugins`, or build it again",
            plugin.name,
            plugin.version,
            plugin.sha256,
            there.join(", ")
        ));
    }
    Ok(())
}

/// Reports are of other runs, and feedback is given once.
fn can_be_repeated(tool: Tool) -> bool {
    !matches!(tool, Tool::RunReport | Tool::ReportFeedback | Tool::ExperimentReport)
}

/// The call as a run of its own.
async fn repeat(app: &App, snapshot: Arc<Snapshot>, arms: Arms, run: Run, tool: Tool, request: Json) {
    match answer(app, snapshot, arms, &run, tool, request).await {
        Ok(outcome) => run.succeed(outcome),
        Err(error) => run.fail(error.class(), &error.to_string()),
    }
}

async fn answer(app: &App, snapshot: Arc<Snapshot>, arms: Arms, run: &Run, tool: Tool, request: Json) -> Result<Json, RequestError> {
    let search = match tool {
        Tool::Search => SearchRequest::simple(parse(tool, request)?)?,
        Tool::SearchPro => SearchRequest::pro(parse(tool, request)?)?,
        Tool::GitBlame => {
            let mut blame = app.git_blame_in(snapshot, run, parse(tool, request)?).await?;
            return Ok(answered_blame(&mut blame)?.1);
        }
        Tool::GitHistory => {
            let mut history = app.git_history_in(snapshot, run, HistoryRequest::check(parse(tool, request)?)?).await?;
            return Ok(answered_history(&mut history)?.1);
        }
        Tool::OpenFile | Tool::RunReport | Tool::ReportFeedback | Tool::ExperimentReport => {
            let mut slice = app.open_file_in(snapshot, run, parse(tool, request)?).await?;
            return Ok(answered_file(&mut slice)?.1);
        }
    };
    let host = arms.join(app.search_host(snapshot));
    let mut envelope = pipeline::search(&host, run, &search).await?;
    Ok(answered_search(&mut envelope)?.1)
}

/// As the server reads arguments, so that what it refused is refused in the same words.
fn parse<T: DeserializeOwned>(tool: Tool, request: Json) -> Result<T, RequestError> {
    crate::mcp::arguments(tool, if request.is_null() { json!({}) } else { request })
}
