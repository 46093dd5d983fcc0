//! `spanloom eval`: how good the answers to queries with judgments are, how far another
//! configuration differs, and what each part adds.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value as Json};

use super::{Failure, print, runtime};
use crate::app::App;
use crate::config::{self, Loaded};
use crate::eval::ablation::{Ablation, Change, Parts, ablations};
use crate::eval::ask::{Answered, Asking, System, indexed};
use crate::eval::report::{Comparison, IndexFacts, Kind, QueryReport, SCHEMA, SetFacts, Settings, SystemReport};
use crate::eval::runs::{self, Format};
use crate::eval::{Cuts, Level, Report, SetPaths, TestSet, matching, merge, text};
use crate::index::snapshot::Snapshot;
use crate::pipeline;
use crate::request::LIMIT_MAX;
use crate::types::Stage;

/// The deepest cut; a ranking is held in memory whole.
const K_MAX: usize = 1_000;

#[derive(Args)]
pub struct EvalArgs {
    /// Queries: lines {"id", "text"}, with `relevant` places or with judgments in --qrels
    #[arg(long, value_name = "FILE.jsonl", required_unless_present = "merge")]
    queries: Option<PathBuf>,
    /// Judgments: query-id, doc-id and rel, separated by tabs; doc-id is a path or the id of a record
    #[arg(long, value_name = "FILE.tsv")]
    qrels: Option<PathBuf>,
    /// Documents {"id", "role"}: only those with the role `source`, or none, are ranked
    #[arg(long, value_name = "FILE.jsonl")]
    corpus: Option<PathBuf>,
    /// What is ranked and judged [default: file with --qrels, chunk without]
    #[arg(long, value_enum)]
    level: Option<Level>,
    /// Ranks that nDCG, MRR, recall and precision look at, 1 to 1000; several with commas
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "10")]
    k: Vec<usize>,
    /// Further ranks for recall, 1 to 1000; the deepest is also that of MAP
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "100")]
    recall_k: Vec<usize>,
    /// Findings that the stages are told are wanted, 1 to 100 [default: the largest --k, up to 100]
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Write the rankings: FILE.jsonl as {"query_id", "hits"}, any other name in TREC's format
    #[arg(long, value_name = "FILE")]
    runs_out: Option<PathBuf>,
    /// Measure another configuration, too, and test the difference; may be repeated
    #[arg(long = "compare", value_name = "CONFIG")]
    compare: Vec<PathBuf>,
    /// Leave out each channel, stage and rerank signal in turn
    #[arg(long)]
    ablate: bool,
    /// Write a ledger for each search of the first system, as `spanloom search` does
    #[arg(long)]
    record: bool,
    /// Search nothing: put reports of several sets that --json printed together, each set counting the same
    #[arg(long, value_name = "REPORT.json", num_args = 1.., conflicts_with_all = ["queries", "qrels", "corpus", "level", "k", "recall_k", "limit", "runs_out", "compare", "ablate", "record"])]
    merge: Vec<PathBuf>,
    /// Print everything as JSON, the figures of each query included
    #[arg(long)]
    json: bool,
}

pub fn run(loaded: &Loaded, arguments: &EvalArgs) -> Result<(), Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::Usage(error.to_string());
    let Some(queries) = &arguments.queries else {
        let merged = merge::read(&arguments.merge).and_then(|reports| merge::merge(&reports)).map_err(|error| wrong(&error))?;
        return show(arguments, &merged, text::render_merged(&merged));
    };
    let (cuts, limit) = arguments.checked()?;
    let others: Vec<(String, Loaded)> = arguments
        .compare
        .iter()
        .map(|path| Ok((path.display().to_string(), loaded.other(path, config::environment()).map_err(|error| wrong(&error))?)))
        .collect::<Result<_, Failure>>()?;
    let paths = SetPaths { queries: queries.clone(), qrels: arguments.qrels.clone(), corpus: arguments.corpus.clone() };
    let set = TestSet::read(&paths, arguments.level).map_err(|error| wrong(&error))?;
    let runs = arguments.runs_out.as_deref().map(RunsFile::create).transpose()?;
    let bench = Bench { runtime: runtime()?, paths, set, cuts, limit };
    let report = bench.report(loaded, arguments, &others, runs)?;

    show(arguments, &report, text::render(&report))?;
    let systems = std::iter::once(&report.system).chain(report.comparisons.iter().map(|comparison| &comparison.system));
    match systems.map(|system| system.unanswered).sum::<usize>() {
        0 => Ok(()),
        some => Err(Failure::Partial(format!("{some} searches have no answer and count 0; the warnings say why"))),
    }
}

/// As it is asked for.
fn show(arguments: &EvalArgs, report: &impl serde::Serialize, text: String) -> Result<(), Failure> {
    match arguments.json {
        true => print(&format!("{}\n", serde_json::to_string_pretty(report).map_err(Failure::failed)?)),
        false => print(&text),
    }
}

impl EvalArgs {
    /// The cuts, and what the stages are told.
    fn checked(&self) -> Result<(Cuts, u32), Failure> {
        let allowed =
            |name: &str, value: &dyn std::fmt::Display, most: usize| Failure::Usage(format!("`{name}` is {value}; allowed: 1 to {most}"));
        for (name, list) in [("--k", &self.k), ("--recall-k", &self.recall_k)] {
            if let Some(wrong) = list.iter().find(|k| !(1..=K_MAX).contains(*k)) {
                return Err(allowed(name, wrong, K_MAX));
            }
        }
        let cuts = Cuts::new(self.k.clone(), self.recall_k.clone()).ok_or_else(|| allowed("--k", &"empty", K_MAX))?;
        let largest = cuts.k.last().map_or(LIMIT_MAX, |k| u32::try_from(*k).unwrap_or(LIMIT_MAX));
        match self.limit.unwrap_or(largest.min(LIMIT_MAX)) {
            limit if (1..=LIMIT_MAX).contains(&limit) => Ok((cuts, limit)),
            limit => Err(allowed("--limit", &limit, LIMIT_MAX as usize)),
        }
    }
}

/// Where the rankings of the first system go.
struct RunsFile {
    path: PathBuf,
    out: BufWriter<File>,
    format: Format,
}

impl RunsFile {
    fn create(path: &Path) -> Result<RunsFile, Failure> {
        let file = File::create(path).map_err(|error| Failure::Failed(format!("--runs-out {}: {error}", path.display())))?;
        Ok(RunsFile { path: path.to_path_buf(), out: BufWriter::new(file), format: Format::of(path) })
    }

    fn write(&mut self, level: Level, query: &str, ranking: &[&matching::Hit]) -> Result<(), Failure> {
        let written = self.out.write_all(runs::lines(self.format, level, query, ranking).as_bytes());
        written.map_err(|error| Failure::Failed(format!("--runs-out {}: {error}", self.path.display())))
    }

    fn finish(mut self) -> Result<(), Failure> {
        self.out.flush().map_err(|error| Failure::Failed(format!("--runs-out {}: {error}", self.path.display())))
    }
}

/// A test set, and how systems are measured with it.
struct Bench {
    runtime: tokio::runtime::Runtime,
    paths: SetPaths,
    set: TestSet,
    cuts: Cuts,
    limit: u32,
}

impl Bench {
    /// Measures the configured system and all that is to be held against it.
    fn report(
        mut self,
        loaded: &Loaded,
        arguments: &EvalArgs,
        others: &[(String, Loaded)],
        mut runs: Option<RunsFile>,
    ) -> Result<Report, Failure> {
        let settings = Settings::new(&self.cuts, self.limit);
        let opened = Opened::start(&self.runtime, loaded, arguments.record)?;
        self.set.note_missing(&indexed(&opened.snapshot));
        let system = self.measure(&opened, &Change::None, "as configured", &settings, runs.as_mut())?;
        if let Some(runs) = runs {
            runs.finish()?;
        }
        drop(opened);
        let (mut comparisons, mut passed_over) = (Vec::new(), Vec::new());
        for (name, other) in others {
            let opened = Opened::start(&self.runtime, other, false)?;
            let own = self.measure(&opened, &Change::None, name, &settings, None)?;
            comparisons.push(Comparison::new(Kind::Configuration, name.clone(), None, &system, own));
        }
        if arguments.ablate {
            let opened = Opened::start(&self.runtime, loaded, false)?;
            let (found, reasons) = opened.parts(loaded);
            passed_over = reasons;
            for Ablation { part, name, instead, change } in found {
                // A plugin may allow less than its schema says.
                match System::new(&opened.app, opened.snapshot.clone(), &change) {
                    Err(refused) => passed_over.push(format!("{name}: {refused}")),
                    Ok(_) => {
                        let own = self.measure(&opened, &change, &name, &settings, None)?;
                        comparisons.push(Comparison::new(part.into(), name, Some(instead), &system, own));
                    }
                }
            }
        }
        let mut warnings = self.set.warnings.clone();
        warnings.extend(system.warnings());
        for comparison in &comparisons {
            warnings.extend(comparison.system.warnings().into_iter().map(|warning| format!("{}: {warning}", comparison.name)));
        }
        Ok(Report { schema: SCHEMA, set: SetFacts::of(&self.paths, &self.set), settings, warnings, system, comparisons, passed_over })
    }

    /// Asks every question and judges the answers.
    fn measure(
        &self,
        opened: &Opened,
        change: &Change,
        name: &str,
        settings: &Settings,
        mut runs: Option<&mut RunsFile>,
    ) -> Result<SystemReport, Failure> {
        let level = self.set.level;
        let asking = Asking { level, kept: self.set.kept.as_ref(), depth: self.cuts.depth(), limit: self.limit };
        let system = System::new(&opened.app, opened.snapshot.clone(), change).map_err(Failure::failed)?;
        let measures = self.cuts.measures();
        let bar = Bar::new(name, self.set.questions.len());
        let mut per_query = Vec::with_capacity(self.set.questions.len());
        for question in &self.set.questions {
            let Answered { hits, run_id, degraded, error, .. } = self.runtime.block_on(system.ask(question, asking));
            let ranking = matching::ranking(level, &hits, asking.kept, asking.depth);
            if let Some(runs) = runs.as_deref_mut() {
                runs.write(level, &question.id, &ranking)?;
            }
            let mut query = QueryReport::new(&question.id, &matching::judge(level, &question.truth, &ranking), &measures);
            query.run_id = opened.records.then_some(run_id).filter(|id| !id.is_empty());
            (query.degraded, query.error) = (degraded, error);
            per_query.push(query);
            bar.step();
        }
        Ok(SystemReport::new(index_facts(&opened.snapshot), per_query, &settings.measures))
    }
}

/// A configuration's app with the generation that it opened.
struct Opened {
    app: App,
    snapshot: Arc<Snapshot>,
    /// Whether searches leave ledgers.
    records: bool,
}

impl Opened {
    /// Thousands of ledgers would make those of real runs go, so there are none unless
    /// they are asked for.
    fn start(runtime: &tokio::runtime::Runtime, loaded: &Loaded, records: bool) -> Result<Opened, Failure> {
        let mut loaded = loaded.clone();
        loaded.config.telemetry.ledger &= records;
        let _within = runtime.enter();
        let app = App::start(&loaded).map_err(Failure::failed)?;
        let snapshot = app.snapshot().map_err(|error| Failure::NoIndex(error.to_string()))?;
        Ok(Opened { app, snapshot, records: loaded.config.telemetry.ledger })
    }

    /// What can be left out of this system.
    fn parts(&self, loaded: &Loaded) -> (Vec<Ablation>, Vec<String>) {
        let channels = pipeline::channels(&self.snapshot);
        let set = self.app.plugins().set();
        let reranker = set.active(Stage::Rerank);
        let parameters: Map<String, Json> = reranker.and_then(|own| serde_json::from_str(&own.parameters).ok()).unwrap_or_default();
        ablations(&Parts {
            channels: &channels,
            reranks: loaded.config.search.rerank,
            boosts_recency: loaded.config.search.recency.weight > 0.0,
            rerank_schema: reranker.map_or(&Json::Null, |own| &own.plugin.parameters_schema),
            rerank_parameters: &parameters,
        })
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.app.telemetry().flush();
    }
}

/// What reports say of a generation.
pub(super) fn index_facts(snapshot: &Snapshot) -> IndexFacts {
    let manifest = &snapshot.manifest;
    IndexFacts { generation: manifest.generation.clone(), files: manifest.counts.files, chunks: manifest.counts.chunks }
}

/// How far the questions of one system are.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new(name: &str, questions: usize) -> Bar {
        let bar = ProgressBar::new(questions as u64);
        if let Ok(style) = ProgressStyle::with_template("{msg:<26} {wide_bar} {human_pos:>7}/{human_len:<7} {elapsed:>4}") {
            bar.set_style(style);
        }
        // Where no terminal draws the bar, each system is a line.
        if bar.is_hidden() {
            eprintln!("Asking {questions} queries: {name} …");
        }
        bar.set_message(name.to_owned());
        Bar(bar)
    }

    pub(super) fn step(&self) {
        self.0.inc(1);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
