//! Asks every arm the searches that were recorded, with their arguments, and looks up what
//! was used of their findings.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use serde_json::Value as Json;
use time::OffsetDateTime;

use super::bench::{Bench, latency_ms};
use crate::cli::eval::Bar;
use crate::cli::{Failure, diagnostics};
use crate::config::Loaded;
use crate::engines::duckdb::{RunFilter, RunRow, list_runs};
use crate::eval::ask::Answered;
use crate::eval::matching::Place;
use crate::experiments::offline::recorded::{OVERLAP, RANK_BIASED_OVERLAP, figures, measures, used};
use crate::experiments::offline::{Asked, AskedQuery, Query, RunFacts, Skipped, Source};
use crate::experiments::{ExperimentFile, journal};
use crate::index::data_dir::DataDir;
use crate::mcp::{self, Tool};
use crate::pipeline::adjusts_itself;
use crate::reports::replay::Original;
use crate::request::{RequestError, SearchArguments, SearchProArguments, SearchRequest};

const DAY: Duration = Duration::from_secs(86_400);

/// Which searches are asked again.
pub(super) struct Wanted {
    /// Only those of the last so many days.
    pub days: Option<u32>,
    /// Only the newest so many.
    pub runs_max: usize,
}

/// A search that can be asked again.
struct Recorded {
    run_id: String,
    at: Option<String>,
    tool: String,
    /// As the client sent them.
    arguments: Json,
    request: SearchRequest,
    generation: Option<String>,
    /// What it showed, by chunk.
    shown: BTreeMap<u64, Place>,
}

/// What every arm answered.
///
/// # Errors
/// When ledgers or the journal can't be read, there is no search to ask again, an index
/// can't be opened, or an arm can't be carried out.
pub(super) fn ask(loaded: &Loaded, file: &ExperimentFile, wanted: &Wanted) -> Result<Asked, Failure> {
    let (runs, skipped) = select(loaded, wanted)?;
    if runs.is_empty() {
        let why = skipped.iter().map(|own| format!("{} ({})", own.reason, own.runs)).collect::<Vec<_>>().join("; ");
        let why = if why.is_empty() { "none is recorded".to_owned() } else { format!("left out: {why}") };
        let folder = DataDir::new(&loaded.config.data_dir.0).ledgers();
        return Err(Failure::Failed(format!("{} has no search that can be asked again: {why}", folder.display())));
    }
    let used = used_places(loaded, wanted, &runs)?;
    let bench = Bench::open(loaded, file)?;
    let (compared, warning) = measures(&file.experiment);
    let control = file.experiment.arms.iter().position(|arm| arm.key == file.experiment.control()).unwrap_or(0);
    let systems = bench.systems();
    let again = |place: usize, run: &Recorded| {
        let answered = bench.runtime.block_on(systems[place].answer(&run.tool, run.arguments.clone(), Ok(run.request.clone())));
        let refused = answered.refused.clone();
        (answered, refused)
    };
    // Makes instances of plugins, and tells of those that can't be had.
    bench.in_turn(0, |place| again(place, &runs[0]))?;
    let mut arms: Vec<_> = bench.arms.iter().map(|arm| arm.answers()).collect();
    let bar = Bar::new("all arms", runs.len());
    for ((turn, run), used) in runs.iter().enumerate().zip(&used) {
        let answers = bench.in_turn(turn, |place| again(place, run))?;
        for (place, (arm, answered)) in arms.iter_mut().zip(&answers).enumerate() {
            let list = (place != control && answered.error.is_none()).then(|| &answers[control]).filter(|own| own.error.is_none());
            let mut query = figures(&run.run_id, &answered.hits, used, list.map(|own| own.hits.as_slice()));
            let Answered { degraded, warnings, error, .. } = answered.clone();
            (query.degraded, query.error) = (degraded, error);
            arm.per_query.push(AskedQuery { query, latency_ms: latency_ms(answered), warnings });
        }
        bar.step();
    }
    let now = &bench.arms[control].snapshot.manifest.generation;
    let facts = RunFacts {
        replayed: runs.len(),
        with_used_findings: used.iter().filter(|places| !places.is_empty()).count(),
        other_generation: runs.iter().filter(|run| run.generation.as_ref().is_some_and(|then| then != now)).count(),
        first_at: runs.first().and_then(|run| run.at.clone()),
        last_at: runs.last().and_then(|run| run.at.clone()),
        skipped,
    };
    Ok(Asked {
        source: Source::RecordedRuns(facts),
        measures: compared,
        described: [OVERLAP, RANK_BIASED_OVERLAP].map(str::to_owned).to_vec(),
        queries: runs.iter().map(|run| Query { query_id: run.run_id.clone(), text: None }).collect(),
        arms,
        warnings: warning.into_iter().collect(),
    })
}

/// The searches to ask again, oldest first, and what was left out.
fn select(loaded: &Loaded, wanted: &Wanted) -> Result<(Vec<Recorded>, Vec<Skipped>), Failure> {
    let folder = DataDir::new(&loaded.config.data_dir.0).ledgers();
    let since_us = wanted.since().map(|at| (at.unix_timestamp_nanos() / 1_000) as i64);
    // Newest first. Each listing reads all ledgers.
    let filter = RunFilter { since_us, limit: u32::MAX, ..RunFilter::default() };
    let mut rows = list_runs(&folder, &filter).map_err(|error| Failure::Failed(format!("{}: {error}", folder.display())))?.runs;
    let searches = [Tool::Search, Tool::SearchPro].map(Tool::name);
    rows.retain(|row| row.tool.as_deref().is_some_and(|tool| searches.contains(&tool)));
    let records = diagnostics::records(loaded);
    let (mut runs, mut skipped) = (Vec::new(), BTreeMap::<String, (usize, String)>::new());
    for row in rows {
        if runs.len() == wanted.runs_max {
            break;
        }
        let read = records.by_run(&row.run_id).map_err(|error| Failure::Failed(format!("{}: {error}", row.path)))?;
        // Retention may have removed it since.
        let Some(record) = read else { continue };
        match recorded(&row, &Original::of(&record.lines)) {
            Ok(run) => runs.push(run),
            Err(reason) => {
                let (count, _) = skipped.entry(reason.into()).or_insert((0, row.run_id));
                *count += 1;
            }
        }
    }
    runs.reverse();
    let skipped = skipped.into_iter().map(|(reason, (runs, example))| Skipped { reason, runs, example });
    Ok((runs, skipped.collect()))
}

/// The search of a ledger, or why it can't be asked again.
fn recorded(row: &RunRow, then: &Original) -> Result<Recorded, &'static str> {
    if !then.request.get("query").is_some_and(Json::is_string) {
        return Err("the query's text was not recorded");
    }
    match then.status.as_deref() {
        Some("ok") => {}
        Some("error") => return Err("it failed"),
        _ => return Err("it did not end with an answer"),
    }
    let request = parsed(then).map_err(|_| "its arguments are not taken any more")?;
    if request.cursor.is_some() {
        return Err("it asked for a further page");
    }
    if adjusts_itself(&request) {
        return Err("it said itself what arms may change");
    }
    Ok(Recorded {
        run_id: row.run_id.clone(),
        at: row.started_at.clone(),
        tool: then.tool.clone(),
        arguments: then.request.clone(),
        request,
        generation: then.generation.clone(),
        shown: then.outcome["findings"].as_array().into_iter().flatten().filter_map(place).collect(),
    })
}

fn parsed(then: &Original) -> Result<SearchRequest, RequestError> {
    match Tool::find(&then.tool) {
        Some(tool @ Tool::Search) => SearchRequest::simple(mcp::arguments::<SearchArguments>(tool, then.request.clone())?),
        _ => SearchRequest::pro(mcp::arguments::<SearchProArguments>(Tool::SearchPro, then.request.clone())?),
    }
}

/// A finding of a ledger: its chunk, and where that is. Records are known by their ids.
fn place(finding: &Json) -> Option<(u64, Place)> {
    let line = |key: &str| finding[key].as_u64().and_then(|line| u32::try_from(line).ok());
    let path = finding["document"].as_str().or(finding["path"].as_str())?.to_owned();
    Some((finding["chunk_id"].as_u64()?, Place { path, lines: Some((line("start_line")?, line("end_line")?)) }))
}

/// What was used of each run, in their order.
fn used_places(loaded: &Loaded, wanted: &Wanted, runs: &[Recorded]) -> Result<Vec<Vec<Place>>, Failure> {
    let ids: BTreeSet<String> = runs.iter().map(|run| run.run_id.clone()).collect();
    let folder = DataDir::new(&loaded.config.data_dir.0).experiments();
    let mut events = journal::read(&folder, wanted.since().map(OffsetDateTime::date)).map_err(Failure::failed)?;
    let mut failed = None;
    let used = used(events.by_ref().filter_map(|event| event.map_err(|error| failed = Some(error)).ok()), &ids);
    if let Some(error) = failed {
        return Err(Failure::failed(error));
    }
    for (path, lines) in &events.passed_over().damaged {
        eprintln!("{}: {lines} lines are damaged and left out", path.display());
    }
    let of = |run: &Recorded| used.get(&run.run_id).into_iter().flatten().filter_map(|chunk| run.shown.get(chunk)).cloned().collect();
    Ok(runs.iter().map(of).collect())
}

impl Wanted {
    /// The first moment that counts.
    fn since(&self) -> Option<OffsetDateTime> {
        let days = self.days?;
        SystemTime::now().checked_sub(DAY * days).map(OffsetDateTime::from)
    }
}
