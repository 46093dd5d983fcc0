//! `spanloom experiment offline`: every arm of an experiment answers the same queries,
//! without users.

mod bench;
mod judged;
mod recorded;

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, ValueEnum};

use super::read;
use crate::cli::{Failure, print};
use crate::config::Loaded;
use crate::eval::{Level, SetPaths};
use crate::experiments::{ExperimentFile, journal, offline};
use recorded::Wanted;

/// Recorded searches that are asked again unless it is said.
const RUNS_DEFAULT: u32 = 1_000;

#[derive(Args)]
pub struct OfflineArgs {
    /// The experiment's file, of any mode
    file: PathBuf,
    /// Queries: lines {"id", "text"}, with `relevant` places or with judgments in --qrels [default: the set of the file's section `offline`]
    #[arg(long, value_name = "FILE.jsonl")]
    queries: Option<PathBuf>,
    /// Judgments: query-id, doc-id and rel, separated by tabs
    #[arg(long, value_name = "FILE.tsv")]
    qrels: Option<PathBuf>,
    /// Documents {"id", "role"}: only those with the role `source`, or none, are ranked
    #[arg(long, value_name = "FILE.jsonl")]
    corpus: Option<PathBuf>,
    /// What is ranked and judged [default: file with judgments of documents, chunk with places]
    #[arg(long, value_enum)]
    level: Option<Level>,
    /// Ask recorded searches of the data directory again, and judge by what was used of them
    #[arg(long, conflicts_with_all = ["queries", "qrels", "corpus", "level"])]
    from_runs: bool,
    /// Only searches of the last so many days, 1 to 3650 [default: all that are kept]
    #[arg(long, value_name = "DAYS", requires = "from_runs", value_parser = clap::value_parser!(u32).range(1..=3_650))]
    since: Option<u32>,
    /// The newest so many searches, 1 to 100,000 [default: 1000]
    #[arg(long, value_name = "N", requires = "from_runs", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    runs_max: Option<u32>,
    /// The report's form; json has the figures of each query
    #[arg(long, value_enum, default_value = "md")]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Json,
    Md,
}

pub fn run(loaded: &Loaded, arguments: &OfflineArgs) -> Result<(), Failure> {
    let file = read(&arguments.file)?;
    let asked = match arguments.from_runs {
        false => {
            let (paths, level) = arguments.set(&file)?;
            judged::ask(loaded, &file, &paths, level)?
        }
        true => {
            let wanted = Wanted { days: arguments.since, runs_max: arguments.runs_max.unwrap_or(RUNS_DEFAULT) as usize };
            recorded::ask(loaded, &file, &wanted)?
        }
    };
    let report = offline::compose(&file.experiment, asked, &journal::timestamp(SystemTime::now()));
    match arguments.format {
        Format::Json => print(&format!("{}\n", serde_json::to_string_pretty(&report).map_err(Failure::failed)?))?,
        Format::Md => print(&offline::markdown(&report))?,
    }
    match report.arms.iter().map(|arm| arm.unanswered).sum::<usize>() {
        0 => Ok(()),
        some => Err(Failure::Partial(format!("{some} searches have no answer and count 0; the warnings say why"))),
    }
}

impl OfflineArgs {
    /// The set that is named, else that of the file, whose paths are from its own folder.
    /// Who names other queries names all of their set.
    fn set(&self, file: &ExperimentFile) -> Result<(SetPaths, Option<Level>), Failure> {
        let own = |queries: &PathBuf| SetPaths { queries: queries.clone(), qrels: self.qrels.clone(), corpus: self.corpus.clone() };
        if let Some(queries) = &self.queries {
            return Ok((own(queries), self.level));
        }
        let of_file = file.experiment.offline.as_ref().ok_or_else(|| {
            Failure::Usage(format!(
                "{}: `offline` is missing; allowed: a section with `queries`, or the command line's --queries FILE.jsonl",
                file.path.display()
            ))
        })?;
        let beside = |path: &PathBuf| bench::beside(&file.path, path);
        let paths = SetPaths {
            queries: beside(&of_file.queries),
            qrels: self.qrels.clone().or_else(|| of_file.qrels.as_ref().map(beside)),
            corpus: self.corpus.clone().or_else(|| of_file.corpus.as_ref().map(beside)),
        };
        Ok((paths, self.level.or(of_file.level)))
    }
}
