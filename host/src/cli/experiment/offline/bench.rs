//! The arms of a file as systems that can be asked: one app, and an index for each arm.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::app::App;
use crate::app::experiments::{OtherIndexes, changes};
use crate::cli::eval::index_facts;
use crate::cli::{Failure, runtime};
use crate::config::Loaded;
use crate::envelope::ExperimentStamp;
use crate::eval::ask::{Answered, System};
use crate::experiments::offline::ArmAnswers;
use crate::experiments::{Arm as FileArm, Experiment, ExperimentFile};
use crate::index::data_dir::DataDir;
use crate::index::snapshot::Snapshot;
use crate::pipeline::Arm;

/// Everything that answers.
pub(super) struct Bench {
    pub runtime: tokio::runtime::Runtime,
    app: App,
    file: PathBuf,
    /// In the order of the file.
    pub arms: Vec<BenchArm>,
}

/// An arm and the index that it searches.
pub(super) struct BenchArm {
    arm: Arm,
    pub snapshot: Arc<Snapshot>,
    /// Where that is not the configured one.
    data_dir: Option<PathBuf>,
}

impl Bench {
    /// Opens what the arms need. Searches leave no ledgers: thousands would make those of
    /// real runs go.
    ///
    /// # Errors
    /// When an index can't be opened, or hasn't the vectors that its arm asks for.
    pub fn open(loaded: &Loaded, file: &ExperimentFile) -> Result<Bench, Failure> {
        let mut loaded = loaded.clone();
        loaded.config.telemetry.ledger = false;
        let runtime = runtime()?;
        let app = {
            let _within = runtime.enter();
            App::start(&loaded).map_err(Failure::failed)?
        };
        let mut others: HashMap<PathBuf, Arc<Snapshot>> = HashMap::new();
        let mut arms = Vec::with_capacity(file.experiment.arms.len());
        for (place, arm) in file.experiment.arms.iter().enumerate() {
            let data_dir = arm.index.as_ref().map(|path| beside(&file.path, path));
            let snapshot = match &data_dir {
                None => app.snapshot().map_err(|error| Failure::NoIndex(error.to_string()))?,
                Some(path) => match others.get(path) {
                    Some(open) => open.clone(),
                    None => open_other(&loaded, path).map_err(|error| refused(&file.path, place, path, &error))?,
                },
            };
            if let Some(path) = &data_dir {
                others.insert(path.clone(), snapshot.clone());
            }
            arms.push(BenchArm { arm: pipeline_arm(&file.experiment, arm), snapshot, data_dir });
        }
        let bench = Bench { runtime, app, file: file.path.clone(), arms };
        bench.warm();
        Ok(bench)
    }

    pub fn systems(&self) -> Vec<System<'_>> {
        self.arms.iter().map(|own| System::of_arm(&self.app, own.snapshot.clone(), own.arm.clone())).collect()
    }

    /// The answers of every arm to one thing, in the order of the file. The arms are asked
    /// in turn, beginning with another one for each `turn`: what the first one loads, the
    /// others find in memory.
    ///
    /// # Errors
    /// When an arm can't be carried out: its answers would be those of the configuration.
    pub fn in_turn<T>(&self, turn: usize, mut ask: impl FnMut(usize) -> (T, Option<String>)) -> Result<Vec<T>, Failure> {
        let count = self.arms.len();
        let mut answers: Vec<(usize, T)> = Vec::with_capacity(count);
        for place in (0..count).map(|step| (turn + step) % count) {
            let (answer, refused) = ask(place);
            if let Some(why) = refused {
                return Err(Failure::Usage(format!("{}: {why}", self.file.display())));
            }
            answers.push((place, answer));
        }
        answers.sort_by_key(|(place, _)| *place);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    /// Has the first searches find all arms alike, as those of a server would: texts in
    /// memory.
    fn warm(&self) {
        let mut warmed: Vec<&Arc<Snapshot>> = Vec::new();
        for own in &self.arms {
            if warmed.iter().any(|known| Arc::ptr_eq(known, &own.snapshot)) {
                continue;
            }
            if let Err(error) = own.snapshot.catalog.warm() {
                tracing::warn!(%error, "the catalog could not be read ahead");
            }
            warmed.push(&own.snapshot);
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.app.telemetry().flush();
    }
}

impl BenchArm {
    /// Nothing answered yet.
    pub fn answers(&self) -> ArmAnswers {
        let data_dir = self.data_dir.as_ref().map(|path| path.display().to_string());
        ArmAnswers { index: index_facts(&self.snapshot), data_dir, per_query: Vec::new() }
    }

    pub fn key(&self) -> &str {
        &self.arm.stamp.variant
    }
}

/// A path of a file of an experiment, which is from the file's own folder.
pub(super) fn beside(file: &Path, path: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(path)
}

/// Milliseconds that the stages of an answer took.
pub(super) fn latency_ms(answered: &Answered) -> f64 {
    answered.took.as_micros() as f64 / 1_000.0
}

fn refused(file: &Path, place: usize, index: &Path, error: &str) -> Failure {
    Failure::NoIndex(format!("{}: `arms[{place}].index` is `{}`: {error}", file.display(), index.display()))
}

fn open_other(loaded: &Loaded, path: &Path) -> Result<Arc<Snapshot>, String> {
    OtherIndexes::of(loaded).open(&DataDir::new(path)).map(Arc::new).map_err(|error| error.to_string())
}

/// What the pipeline needs of an arm. Offline there are no units, so the bucket is none's.
fn pipeline_arm(experiment: &Experiment, arm: &FileArm) -> Arm {
    let stamp = ExperimentStamp { id: experiment.id.clone(), version: experiment.version, variant: arm.key.clone(), bucket: 0 };
    Arm { stamp, classes: None, changes: changes(arm) }
}
