//! `spanloom plugin bench`: what a plugin costs, against another one in the same run.
//!
//! Both are called in turn, so that a busy machine is busy for both. Figures are
//! medians of batches; compare ratios, not figures of different runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::workshop::{Workshop, object};
use crate::cli::{Failure, print};
use crate::config::Loaded;
use crate::index::catalog::ChunkRow;
use crate::plugin::{CallSettings, ChannelRun, Configured, DocumentRows, Evidence, KnownEvidence, Plugin, PluginFailure, SHIPPED};
use crate::profile::QueryProfile;
use crate::telemetry::Span;
use crate::types::{ChannelName, ChunkId, RankedList, Stage};

/// Channels × rows of the fusion calls.
const FUSIONS: [(usize, usize); 3] = [(3, 100), (4, 100), (4, 1_000)];
/// Rows of the rerank calls.
const RERANKS: [usize; 3] = [10, 50, 200];
/// Calls of one plugin before the other has its turn.
const BATCH: usize = 16;

#[derive(Args)]
pub struct BenchArgs {
    /// A component's file, or the name of a shipped plugin
    plugin: String,
    /// What it is compared with [default: the shipped plugin of the stage]
    #[arg(long, value_name = "FILE|NAME")]
    baseline: Option<String>,
    /// Parameters of the plugin as a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}")]
    parameters: String,
    /// How long each figure is measured, in milliseconds, 10 to 60000
    #[arg(long, value_name = "MS", default_value_t = 500)]
    time_ms: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One line of the table, in microseconds.
#[derive(Serialize)]
struct Figure {
    what: String,
    plugin_us: f64,
    baseline_us: f64,
    ratio: f64,
}

/// One kind of call.
enum Work {
    Decide(QueryProfile, Evidence),
    Fuse(Vec<ChannelRun>),
    Rerank(QueryProfile, RankedList, DocumentRows),
}

pub fn run(loaded: &Loaded, arguments: &BenchArgs) -> Result<(), Failure> {
    if !(10..=60_000).contains(&arguments.time_ms) {
        return Err(Failure::Usage(format!("--time-ms is {}; allowed: 10 to 60000", arguments.time_ms)));
    }
    let workshop = Workshop::open(loaded)?;
    let parameters = serde_json::Value::Object(object("--parameters", &arguments.parameters)?).to_string();
    let plugin = workshop.plugin(&arguments.plugin, None)?;
    let stage = plugin.identity.stage;
    let shipped = || SHIPPED.iter().find(|shipped| shipped.stage == stage).map_or("", |shipped| shipped.name);
    let baseline = workshop.plugin(arguments.baseline.as_deref().unwrap_or_else(shipped), Some(stage))?;
    let time = Duration::from_millis(arguments.time_ms);
    let figures = measure(&workshop, (&plugin, &parameters), (&baseline, "{}"), time)?;
    if arguments.json {
        let report = serde_json::json!({
            "plugin": plugin.identity.name, "sha256": plugin.identity.sha256,
            "baseline": baseline.identity.name, "baseline_sha256": baseline.identity.sha256, "figures": figures,
        });
        return print(&format!("{}\n", serde_json::to_string_pretty(&report).map_err(Failure::failed)?));
    }
    let (name, other) = (&plugin.identity.name, &baseline.identity.name);
    let mut out = format!("{:<34} {name:>16} {other:>16} {:>7}\n", format!("{stage}, median µs"), "ratio");
    for Figure { what, plugin_us, baseline_us, ratio } in figures {
        out += &format!("{what:<34} {plugin_us:>16.1} {baseline_us:>16.1} {ratio:>7.2}\n");
    }
    print(&out)
}

type Candidate<'a> = (&'a Arc<Plugin>, &'a str);

fn measure(workshop: &Workshop, one: Candidate, other: Candidate, time: Duration) -> Result<Vec<Figure>, Failure> {
    let failed = |failure: PluginFailure| Failure::Failed(failure.to_string());
    let new = |(plugin, parameters): Candidate| Configured::try_new(plugin.clone(), parameters.to_owned()).map_err(failed);
    let (warm, warm_other) = (new(one)?, new(other)?);
    let mut figures = vec![in_turn("fresh instance, configured", time, || new(one).map(drop), || new(other).map(drop))?];
    let span = workshop.span();
    for (name, work) in works(one.0.identity.stage) {
        for observe in [false, true] {
            let what = if observe { format!("{name}, spans made") } else { name.clone() };
            let call = |plugin: &Configured| work.call(plugin, &span, observe).map_err(failed);
            figures.push(in_turn(&what, time, || call(&warm), || call(&warm_other))?);
        }
    }
    Ok(figures)
}

/// Runs both in batches, in turn, for `time`; the median of each one's batches.
fn in_turn(
    what: &str,
    time: Duration,
    mut one: impl FnMut() -> Result<(), Failure>,
    mut other: impl FnMut() -> Result<(), Failure>,
) -> Result<Figure, Failure> {
    let batch = |work: &mut dyn FnMut() -> Result<(), Failure>| -> Result<f64, Failure> {
        let start = Instant::now();
        for _ in 0..BATCH {
            work()?;
        }
        Ok(start.elapsed().as_secs_f64() * 1e6 / BATCH as f64)
    };
    // What is only cold once stays out.
    batch(&mut one)?;
    batch(&mut other)?;
    let (mut ones, mut others) = (Vec::new(), Vec::new());
    let start = Instant::now();
    while start.elapsed() < time || ones.len() < 3 {
        ones.push(batch(&mut one)?);
        others.push(batch(&mut other)?);
    }
    let (plugin_us, baseline_us) = (median(ones), median(others));
    Ok(Figure { what: what.to_owned(), plugin_us, baseline_us, ratio: plugin_us / baseline_us })
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

fn works(stage: Stage) -> Vec<(String, Work)> {
    match stage {
        Stage::Gate => vec![("a query of 4 terms".into(), Work::Decide(profile(), evidence(0)))],
        Stage::Fusion => FUSIONS.map(|(channels, rows)| (format!("{channels} × {rows} rows"), Work::Fuse(runs(channels, rows)))).into(),
        Stage::Rerank => RERANKS
            .map(|rows| {
                let list = RankedList {
                    ids: (0..rows as u64).map(ChunkId).collect(),
                    scores: (0..rows).map(|row| 1.0 / (60 + row) as f32).collect(),
                };
                (format!("{rows} rows"), Work::Rerank(profile(), list, documents(rows)))
            })
            .into(),
    }
}

impl Work {
    fn call(&self, plugin: &Configured, span: &Span, observe: bool) -> Result<(), PluginFailure> {
        let deadline = Instant::now() + plugin.plugin.call_time_max();
        let settings = CallSettings { deadline, limit: 10, explain: false, observe };
        match self {
            Work::Decide(profile, evidence) => plugin.decide(span, settings, profile, evidence.clone()).outcome.map(drop),
            Work::Fuse(runs) => plugin.fuse(span, settings, 60.0, runs).outcome.map(drop),
            Work::Rerank(profile, rows, documents) => {
                plugin.rerank(span, settings, profile, rows, documents.clone(), None).outcome.map(drop)
            }
        }
    }
}

fn profile() -> QueryProfile {
    QueryProfile {
        text: "how does the router match a path to a layer".into(),
        terms: ["rout", "match", "path", "layer"].map(str::to_owned).into(),
        document_frequencies: vec![120, 80, 900, 300],
        documents: 20_000,
        channels: ChannelName::ALL.to_vec(),
        ..QueryProfile::default()
    }
}

/// Lists of which half is shared by neighbours.
fn runs(channels: usize, rows: usize) -> Vec<ChannelRun> {
    let id = |channel: usize, row: usize| ChunkId(((row + channel * rows / 2) * 7_919) as u64 % 1_000_003);
    (0..channels)
        .map(|channel| ChannelRun {
            channel: ChannelName::ALL[channel % ChannelName::ALL.len()],
            weight: 1.0,
            list: RankedList {
                ids: (0..rows).map(|row| id(channel, row)).collect(),
                scores: (0..rows).map(|row| 1.0 / (row + 1) as f32).collect(),
            },
        })
        .collect()
}

fn evidence(rows: usize) -> Evidence {
    let ids: Vec<ChunkId> = (0..rows as u64).map(ChunkId).collect();
    Evidence::Known(Arc::new(KnownEvidence::made_up(&profile(), &ids)))
}

fn documents(rows: usize) -> DocumentRows {
    let row = |id: usize| ChunkRow {
        id: ChunkId(id as u64),
        path: format!("src/routing/part{}.rs", id % 7),
        language: "rust".into(),
        start_line: 1,
        end_line: 33,
        symbol: Some(format!("Router::route_{id}")),
        definitions: format!("route_{id}"),
        text: format!(
            "/// Matches a path to a route.\npub fn route_{id}(path: &str) {{\n{}}}\n",
            "    let layer = self.layers.get(path)?;\n".repeat(30)
        ),
        document: None,
        commit: None,
        commit_time_s: None,
    };
    DocumentRows::new(Arc::new((0..rows).map(row).collect())).with_evidence(evidence(rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_share_half_of_their_rows_with_their_neighbours() {
        let runs = runs(3, 100);
        let shared = runs[0].list.ids.iter().filter(|id| runs[1].list.ids.contains(id)).count();
        assert_eq!((runs.len(), shared), (3, 50));
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
    }
}
