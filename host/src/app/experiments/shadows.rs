//! Arms that are asked what was answered already, and whose answers nobody sees. In: runs
//! and their answers. Out: runs of their own, linked to those, and how both agree.
//!
//! They begin when the answer is sent, on threads that get what the others leave, and no
//! more at once than the experiment allows: what doesn't fit in is left out and counted.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use xxhash_rust::xxh3::xxh3_64;

use super::arms::{self, changes};
use super::{APPLICATION, Experiments};
use crate::engines::priority;
use crate::envelope::{AnswerEnvelope, ExperimentStamp};
use crate::experiments::board::{Board, Part};
use crate::experiments::events::{Action, Event, Shadow};
use crate::experiments::journal;
use crate::experiments::overlap::{Persistence, overlap_at, rank_biased_overlap};
use crate::experiments::{Arm, Shadow as ShadowSettings};
use crate::mcp::answered_search;
use crate::pipeline::{self, SearchHost};
use crate::request::{RequestError, SearchRequest};
use crate::telemetry::{Caller, Fact, Run};

/// Findings that are compared by their overlap.
const OVERLAP_AT: usize = 10;
/// How much longer than its deadline a run may take before it is given up.
const GRACE: Duration = Duration::from_millis(500);
/// Threads of all shadow runs.
const THREADS: usize = 2;

/// Arms that are to be asked, and those that are being asked.
#[derive(Default)]
pub(super) struct Shadows {
    /// By the run whose answer isn't sent yet.
    waiting: Mutex<HashMap<String, Vec<Job>>>,
    /// What may run at once, by experiment and its limit.
    turns: Mutex<HashMap<(String, u32), Arc<Semaphore>>>,
    runtime: OnceLock<Option<Threads>>,
}

/// Threads of their own. Dropped, they end without being waited for.
struct Threads(Option<Runtime>);

/// A run that other arms are asked for.
pub(super) struct Shadowed<'a> {
    pub run: &'a Run,
    pub request: &'a SearchRequest,
    pub host: &'a SearchHost,
    pub board: &'a Arc<Board>,
    /// Chunks of the answer, best first.
    pub answered: Vec<u64>,
}

/// An arm to be asked.
pub(super) struct Job {
    board: Arc<Board>,
    /// Places of the experiment and the arm.
    live: usize,
    arm: usize,
    stamp: ExperimentStamp,
    index: Option<PathBuf>,
    settings: ShadowSettings,
    host: SearchHost,
    request: SearchRequest,
    caller: Caller,
    /// Run and session that it is compared with.
    query_id: String,
    client_id: Option<String>,
    answered: Vec<u64>,
}

impl Job {
    /// The arms that don't answer, when the run is one of the share that they are asked for.
    pub fn of(part: &Part, of: &Shadowed<'_>) -> Vec<Job> {
        let Shadowed { run, request, host, board, answered } = of;
        let Some(live) = board.live().get(part.live) else { return Vec::new() };
        let settings = &live.experiment.shadow;
        // The upper half of the product: a number below 1 of 2^64 parts.
        let drawn = xxh3_64(run.id.as_bytes()) as f64 / 2_f64.powi(64);
        if drawn >= settings.share {
            return Vec::new();
        }
        let caller =
            Caller { session_id: run.session_id().map(str::to_owned), link: Some(run.root.context().clone()), ..Caller::default() };
        let others = live.experiment.arms.iter().enumerate().skip(1).filter(|(place, _)| !live.without.contains(place));
        let job = |(place, arm): (usize, &Arm)| {
            let stamp = ExperimentStamp { variant: arm.key.clone(), ..arms::stamp(&part.exposure) };
            let mut changes = changes(arm);
            let own = changes.deadline_ms.unwrap_or(host.settings.deadline_ms);
            changes.deadline_ms = Some(own.min(settings.deadline_ms));
            let rest = host.arms.iter().filter(|other| other.stamp.id != stamp.id).cloned();
            let arms = rest.chain([pipeline::Arm { stamp: stamp.clone(), classes: None, changes }]).collect();
            Job {
                board: (*board).clone(),
                live: part.live,
                arm: place,
                stamp,
                index: arm.index.as_ref().map(|index| live.folder.join(index)),
                settings: settings.clone(),
                host: SearchHost { arms, interleave: None, ..(*host).clone() },
                request: SearchRequest { explain: false, ..(*request).clone() },
                caller: caller.clone(),
                query_id: run.id.clone(),
                client_id: run.session_id().map(str::to_owned),
                answered: answered.clone(),
            }
        };
        others.map(job).collect()
    }
}

impl Shadows {
    /// Keeps jobs until the run's answer is sent.
    pub fn leave(&self, run_id: &str, jobs: Vec<Job>) {
        if !jobs.is_empty() {
            lock(&self.waiting).insert(run_id.to_owned(), jobs);
        }
    }

    /// Begins with what waits for a run's answer, as far as there is a turn.
    pub fn begin(&self, experiments: &Arc<Experiments>, run_id: &str) {
        let Some(jobs) = lock(&self.waiting).remove(run_id) else { return };
        for job in jobs {
            let id = job.stamp.id.clone();
            let turn = self.turns(&id, job.settings.concurrency_max).try_acquire_owned();
            let runtime = self.runtime.get_or_init(Threads::start).as_ref().and_then(|threads| threads.0.as_ref());
            let (Ok(turn), Some(runtime)) = (turn, runtime) else {
                experiments.telemetry.record(&Fact::ShadowAsked { experiment: &id, outcome: "left_out" });
                continue;
            };
            let experiments = Arc::downgrade(experiments);
            runtime.spawn(async move {
                // A server that has stopped asks nobody.
                if let Some(experiments) = experiments.upgrade() {
                    job.ask(&experiments).await;
                }
                drop(turn);
            });
        }
    }

    fn turns(&self, id: &str, at_once: u32) -> Arc<Semaphore> {
        let turns = &mut *lock(&self.turns);
        turns.entry((id.to_owned(), at_once)).or_insert_with(|| Arc::new(Semaphore::new(at_once as usize))).clone()
    }
}

impl Threads {
    fn start() -> Option<Threads> {
        let started = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("shadow")
            .on_thread_start(priority::yield_to_others)
            .enable_all()
            .build();
        match started {
            Ok(runtime) => Some(Threads(Some(runtime))),
            Err(error) => {
                tracing::error!(%error, "no thread for arms in the shadow; they are left out");
                None
            }
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A run that is ended as cancelled when its thread is taken away.
struct Open(Option<Run>);

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(run) = self.0.take() {
            run.cancel("the server was stopped");
        }
    }
}

impl Job {
    async fn ask(mut self, experiments: &Experiments) {
        let asked = json!({
            "query": self.request.query,
            "limit": self.request.limit,
            "paths": self.request.path_globs,
            "languages": self.request.languages,
        });
        let mut open = Open(Some(experiments.telemetry.shadow(&self.caller, asked)));
        let began = Instant::now();
        let outcome = match &open.0 {
            Some(run) => self.search(experiments, run).await,
            None => return,
        };
        let duration_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let told = self.told(&outcome, duration_us);
        if let Some(run) = open.0.take() {
            match outcome {
                Ok(mut answer) => {
                    let mut recorded = answered_search(&mut answer).map(|(_, outcome)| outcome).unwrap_or_default();
                    recorded["shadow_of"] = json!(self.query_id);
                    recorded["overlap_at_10"] = json!(told.overlap_at_10);
                    recorded["rank_biased_overlap"] = json!(told.rank_biased_overlap);
                    run.succeed(recorded);
                }
                Err(error) => run.fail(error.class(), &error.to_string()),
            }
        }
        if let Some(live) = self.board.live().get(self.live) {
            experiments.saw_shadow(&live.experiment, self.arm, &told);
        }
        let outcome = if told.status == "ok" { "ok" } else { "error" };
        experiments.telemetry.record(&Fact::ShadowAsked { experiment: &self.stamp.id, outcome });
        experiments.write(&Event {
            application: APPLICATION.into(),
            query_id: self.query_id,
            client_id: self.client_id,
            timestamp: journal::timestamp(SystemTime::now()),
            action: Action::Shadow(told),
        });
    }

    async fn search(&mut self, experiments: &Experiments, run: &Run) -> Result<AnswerEnvelope, RequestError> {
        if let Some(path) = &self.index {
            let shut = || RequestError::Unavailable(format!("the index {} can't be asked; `/readyz` says why", path.display()));
            self.host.snapshot = experiments.indexes.get(path).ok_or_else(shut)?;
        }
        let limit_ms = self.settings.deadline_ms;
        let limit = Duration::from_millis(limit_ms) + GRACE;
        let answer = tokio::time::timeout(limit, pipeline::search(&self.host, run, &self.request)).await;
        let answer = answer.map_err(|_| RequestError::Unavailable(format!("no answer within {limit_ms} ms")))??;
        // As configured is not what the arm would have answered.
        if answer.experiments.contains(&self.stamp) {
            Ok(answer)
        } else {
            Err(RequestError::Unavailable(answer.warnings.first().cloned().unwrap_or_else(|| "the arm could not be carried out".into())))
        }
    }

    fn told(&self, outcome: &Result<AnswerEnvelope, RequestError>, duration_us: u64) -> Shadow {
        let ExperimentStamp { id, version, variant, .. } = self.stamp.clone();
        let mut told = Shadow {
            experiment: id,
            version,
            variant,
            status: "error".into(),
            duration_us,
            findings: Vec::new(),
            overlap_at_10: 0.0,
            rank_biased_overlap: 0.0,
            warnings: Vec::new(),
        };
        match outcome {
            Ok(answer) => {
                told.status = "ok".into();
                told.findings = answer.findings.iter().map(|finding| finding.chunk_id.0).collect();
                told.overlap_at_10 = overlap_at(&told.findings, &self.answered, OVERLAP_AT);
                told.rank_biased_overlap = rank_biased_overlap(&told.findings, &self.answered, Persistence::DEFAULT);
                told.warnings.clone_from(&answer.warnings);
            }
            Err(error) => told.warnings.push(error.to_string()),
        }
        told
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
