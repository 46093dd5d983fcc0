//! Experiments of a running server: which arms a search gets, and what is written down of it.
//!
//! The folder of experiments is read again when it changes. One that can't be used leaves
//! the experiments that run as they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use time::OffsetDateTime;

use crate::envelope::{AnswerEnvelope, ExperimentStamp, FileSlice};
use crate::experiments::board::{Asker, Board, Part, unit_digest, unit_name};
use crate::experiments::events::{Action, Event, Exposure, Search, Shown};
use crate::experiments::feedback::{FeedbackAnswer, FeedbackArguments, FeedbackError, FindingShown, RUNS_DEFAULT, RecentRuns, RunShown};
use crate::experiments::journal::{self, Journal, JournalError};
use crate::experiments::{Arm as FileArm, UnitKind, read_folder};
use crate::mcp::Check;
use crate::pipeline::{Arm, Changes, PinnedChoice, adjusts_itself};
use crate::request::{PluginChoice, RequestError, SearchRequest};
use crate::telemetry::Run;

/// Name of this program in the journal.
const APPLICATION: &str = "spanloom";
/// How far back the journal is read at the start, for feedback on runs of before.
const RECENT: Duration = Duration::from_secs(86_400);

/// The experiments of a server.
pub struct Experiments {
    folder: PathBuf,
    board: ArcSwap<Board>,
    /// Why the files of today are not used.
    refusal: ArcSwapOption<String>,
    seen: Mutex<Option<FolderStamp>>,
    journal: Journal,
    recent: RecentRuns,
    /// Whether digests of queries may be written down.
    records_queries: bool,
}

/// Name, time and size of each file of a folder.
type FolderStamp = Vec<(PathBuf, Option<SystemTime>, u64)>;

impl Experiments {
    /// Experiments of the files in `folder`, which need not be there, with their journal in
    /// `journal_folder`.
    ///
    /// # Errors
    /// When the journal can't be written.
    pub fn start(folder: PathBuf, journal_folder: &Path, records_queries: bool) -> Result<Experiments, JournalError> {
        let journal = Journal::open(journal_folder)?;
        let recent = RecentRuns::new(RUNS_DEFAULT);
        let since = OffsetDateTime::from(SystemTime::now() - RECENT).date();
        let mut events = journal::read(journal_folder, Some(since))?;
        for event in events.by_ref() {
            recent.observe(&event?);
        }
        for (path, lines) in &events.passed_over().damaged {
            tracing::warn!(path = %path.display(), lines, "lines of the experiments' journal are damaged and passed over");
        }
        let experiments = Experiments {
            folder,
            board: ArcSwap::default(),
            refusal: ArcSwapOption::empty(),
            seen: Mutex::default(),
            journal,
            recent,
            records_queries,
        };
        experiments.refresh();
        Ok(experiments)
    }

    /// Reads the folder again when it has changed.
    pub fn refresh(&self) {
        let now = stamp(&self.folder);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.as_ref() == Some(&now) {
            return;
        }
        let read = if now.is_empty() { Ok(Vec::new()) } else { read_folder(&self.folder).map_err(|error| error.to_string()) };
        match read.and_then(|files| Board::new(files).map_err(|error| error.to_string())) {
            Ok(board) => {
                let running: Vec<String> =
                    board.live().iter().map(|live| format!("{} version {}", live.experiment.id, live.experiment.version)).collect();
                tracing::info!(running = running.join(", "), "experiments read");
                for left_out in board.left_out() {
                    tracing::warn!(experiment = left_out, "an experiment is not carried out");
                }
                self.board.store(Arc::new(board));
                self.refusal.store(None);
            }
            Err(error) => {
                tracing::warn!(error, "the experiments can't be used; those before go on");
                self.refusal.store(Some(Arc::new(error)));
            }
        }
        *seen = Some(now);
    }

    /// What readiness says of the experiments; nothing when there are none.
    pub fn check(&self) -> Option<Check> {
        let (board, refusal) = (self.board.load(), self.refusal.load_full());
        if board.live().is_empty() && board.left_out().is_empty() && refusal.is_none() {
            return None;
        }
        let ids: Vec<&str> = board.live().iter().map(|live| live.experiment.id.as_str()).collect();
        let mut detail = if ids.is_empty() { "none runs".to_owned() } else { format!("{} running", ids.join(", ")) };
        for left_out in board.left_out() {
            detail += &format!("; not carried out: {left_out}");
        }
        if let Some(refusal) = &refusal {
            detail += &format!("; the files of {} can't be used: {refusal}", self.folder.display());
        }
        Some(Check { name: "experiments".into(), ok: refusal.is_none() && board.left_out().is_empty(), detail })
    }

    /// A search that begins: its arms, and what will be written of it.
    pub fn begin<'a>(&'a self, run: &'a Run, request: &SearchRequest) -> Taken<'a> {
        let asker = Asker {
            tool: run.tool(),
            session: run.session_id(),
            headers: run.headers(),
            query: &request.query,
            run_id: &run.id,
            languages: &request.languages,
        };
        let board = self.board.load_full();
        let parts = if adjusts_itself(request) { Vec::new() } else { board.parts(asker) };
        let arms = parts.iter().map(arm).collect();
        let exposures = parts.into_iter().map(|part| (part.live.experiment.eligibility.query_classes.is_none(), part.exposure)).collect();
        let mut units = BTreeMap::new();
        let mut unit = |kind, header: Option<&str>, value: Option<&str>| {
            let name = unit_name(kind, header);
            value.map(|value| units.insert(name.clone(), unit_digest(&name, value)))
        };
        unit(UnitKind::Session, None, run.session_id());
        unit(UnitKind::Query, None, self.records_queries.then_some(&request.query));
        for name in board.live().iter().filter_map(|live| live.experiment.unit.header.as_deref()) {
            unit(UnitKind::Header, Some(name), run.headers().get(name).map(String::as_str));
        }
        let search = Search { tool: run.tool().to_owned(), units, ..Search::default() };
        Taken { experiments: self, run, began: Instant::now(), search: Some(search), exposures, arms }
    }

    /// Takes feedback: it is on the disk when this returns. Blocks.
    ///
    /// # Errors
    /// When it names what the run didn't show, or can't be written.
    pub fn feedback(&self, arguments: &FeedbackArguments) -> Result<FeedbackAnswer, RequestError> {
        let report = self.recent.report(arguments, SystemTime::now()).map_err(|error| match error {
            FeedbackError::UnknownRun { .. } => RequestError::NotFound(error.to_string()),
            _ => RequestError::Invalid(error.to_string()),
        })?;
        if !report.events.is_empty() {
            let written = self.journal.append_durably(&report.events).and_then(journal::Ticket::wait);
            written.map_err(|error| RequestError::Unavailable(format!("the feedback could not be written down: {error}")))?;
            report.events.iter().for_each(|event| self.recent.observe(event));
        }
        Ok(report.answer)
    }

    /// Takes lines that a session opened: findings among them count as opened.
    pub fn opened(&self, run: &Run, slice: &FileSlice) {
        let Some(session) = run.session_id() else { return };
        for event in self.recent.opened_by(session, &slice.path, slice.start_line, slice.end_line, SystemTime::now()) {
            self.write(&event);
            self.recent.observe(&event);
        }
    }

    /// A search's answer doesn't fail for the journal; what is missing then is told.
    fn write(&self, event: &Event) {
        if let Err(error) = self.journal.append(event) {
            tracing::error!(%error, run = event.query_id, "a line of the experiments' journal is lost");
        }
    }
}

/// A search under way. Dropped, it is written down as cancelled.
pub struct Taken<'a> {
    experiments: &'a Experiments,
    run: &'a Run,
    began: Instant,
    /// `None` once it is written.
    search: Option<Search>,
    /// With whether they hold for every class of query.
    exposures: Vec<(bool, Exposure)>,
    arms: Vec<Arm>,
}

impl Taken<'_> {
    /// The arms that the search is part of.
    pub fn arms(&self) -> Vec<Arm> {
        self.arms.clone()
    }

    /// Writes down how the search ended; what an answer shows can be reported on from now on.
    pub fn finish(mut self, outcome: &Result<AnswerEnvelope, RequestError>) {
        let Some(mut search) = self.search.take() else { return };
        match outcome {
            Ok(answer) => {
                search.status = "ok".into();
                search.query_class.clone_from(&answer.query_class);
                search.findings = answer
                    .findings
                    .iter()
                    .map(|finding| Shown { object_id: finding.chunk_id.0, ordinal: finding.rank, team: None })
                    .collect();
                let of_plugins = || answer.degraded.iter().filter(|part| ["gate", "fusion", "rerank"].contains(&part.part.as_str()));
                search.trapped = of_plugins().any(|part| part.cause.starts_with("trap"));
                search.fell_back = of_plugins().next().is_some();
                let is_in = |exposure: &Exposure| answer.experiments.iter().any(|stamp| stamp.id == exposure.experiment);
                search.experiments = self.exposures.iter().map(|(_, exposure)| exposure).filter(|one| is_in(one)).cloned().collect();
                self.experiments.recent.remember(&shown(self.run, answer));
            }
            Err(_) => {
                search.status = "error".into();
                search.experiments = self.certain();
            }
        }
        self.write(search);
    }

    /// Exposures that don't wait for the gate's word.
    fn certain(&self) -> Vec<Exposure> {
        self.exposures.iter().filter(|(of_all, _)| *of_all).map(|(_, exposure)| exposure.clone()).collect()
    }

    fn write(&self, mut search: Search) {
        search.duration_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.experiments.write(&Event {
            application: APPLICATION.into(),
            query_id: self.run.id.clone(),
            client_id: self.run.session_id().map(str::to_owned),
            timestamp: journal::timestamp(SystemTime::now()),
            action: Action::Search(search),
        });
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(search) = self.search.take() {
            let experiments = self.certain();
            self.write(Search { status: "cancelled".into(), experiments, ..search });
        }
    }
}

fn shown(run: &Run, answer: &AnswerEnvelope) -> RunShown {
    let findings = answer.findings.iter().map(|finding| FindingShown {
        chunk: finding.chunk_id,
        rank: finding.rank,
        path: finding.path.clone(),
        start_line: finding.start_line,
        end_line: finding.end_line,
    });
    RunShown {
        run_id: run.id.clone(),
        session: run.session_id().map(str::to_owned),
        ended: SystemTime::now(),
        findings: findings.collect(),
    }
}

/// What the pipeline needs of an arm.
fn arm(part: &Part<'_>) -> Arm {
    let Exposure { experiment, version, variant, bucket, .. } = part.exposure.clone();
    Arm {
        stamp: ExperimentStamp { id: experiment, version, variant, bucket },
        classes: part.live.experiment.eligibility.query_classes.clone(),
        changes: changes(part.arm),
    }
}

/// What an arm of a file changes about a search. Its index is not among it.
pub(crate) fn changes(arm: &FileArm) -> Changes {
    let plugins = arm.plugins.set().map(|(stage, plugin)| {
        let choice = PluginChoice { plugin: plugin.plugin.clone(), parameters: plugin.parameters.clone() };
        (stage, PinnedChoice { choice, sha256: plugin.sha256.as_ref().map(|pin| pin.to_ascii_lowercase()) })
    });
    Changes {
        plugins: plugins.collect(),
        channels: arm.channels.clone(),
        depths: arm.budgets.depths.clone(),
        weights: arm.budgets.weights.iter().map(|(channel, weight)| (*channel, *weight as f32)).collect(),
        rerank_depth: arm.budgets.rerank_depth,
        rrf_k: arm.budgets.rrf_k.map(|k| k as f32),
        deadline_ms: arm.budgets.deadline_ms,
        rm3: arm.rm3,
        rerank: arm.rerank,
    }
}

/// Empty when the folder isn't there.
fn stamp(folder: &Path) -> FolderStamp {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: FolderStamp = entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| {
            let about = path.metadata().ok();
            (path, about.as_ref().and_then(|about| about.modified().ok()), about.map_or(0, |about| about.len()))
        })
        .collect();
    files.sort();
    files
}
