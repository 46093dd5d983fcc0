//! Experiments of a running server: which arms a search gets, and what is written down of it.
//!
//! The folder of experiments is read again when it changes. One that can't be used leaves
//! the experiments that run as they are.

mod arms;
mod guard;
mod indexes;
mod read;
mod shadows;
mod sweep;
mod taken;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use time::OffsetDateTime;

use crate::envelope::FileSlice;
use crate::experiments::board::{Asker, Board, unit_digest, unit_name};
use crate::experiments::events::{Event, Search};
use crate::experiments::feedback::{FeedbackAnswer, FeedbackArguments, FeedbackError, RUNS_DEFAULT, RecentRuns};
use crate::experiments::journal::{self, Journal, JournalError};
use crate::experiments::report::Report;
use crate::experiments::standing::{Standing, StandingFile};
use crate::experiments::{UnitKind, read_folder};
use crate::mcp::Check;
use crate::pipeline::{adjusts_itself, first_run};
use crate::request::{RequestError, SearchRequest};
use crate::telemetry::{Run, Telemetry};
pub(crate) use arms::changes;
pub use arms::{Arms, replayed_arms};
use guard::{Monitors, Past};
use indexes::Indexes;
pub use indexes::OtherIndexes;
pub use read::{ReadError, report};
use shadows::Shadows;
pub use taken::Taken;

/// Name of this program in the journal.
const APPLICATION: &str = "spanloom";
/// How far back the journal is read at the start, for feedback on runs of before, and for
/// guardrails.
const RECENT: Duration = Duration::from_secs(86_400);

/// The experiments of a server.
pub struct Experiments {
    settings: ExperimentSettings,
    board: ArcSwap<Board>,
    /// Why the files of today are not used.
    refusal: ArcSwapOption<String>,
    seen: Mutex<Option<Seen>>,
    standing: StandingFile,
    monitors: Monitors,
    /// When the journal was looked through for days that are too old.
    swept: Mutex<Option<Instant>>,
    journal: Journal,
    recent: RecentRuns,
    shadows: Shadows,
    indexes: Indexes,
    telemetry: Arc<Telemetry>,
    this: Weak<Experiments>,
}

/// Where experiments and what is written of them are.
pub struct ExperimentSettings {
    /// Of the files; need not be there.
    pub folder: PathBuf,
    pub journal: PathBuf,
    /// Days that the journal is kept; 0 for all.
    pub journal_days_max: u32,
    /// How other indexes are opened.
    pub others: OtherIndexes,
}

/// What the board was made of.
struct Seen {
    /// Of the experiments' files, and of the standing.
    files: Vec<FileStamp>,
    standing: Standing,
}

/// Name, time and size of a file.
type FileStamp = (PathBuf, Option<SystemTime>, u64);

impl Experiments {
    /// Begins with the experiments of a folder.
    ///
    /// # Errors
    /// When the journal can't be written.
    pub fn start(settings: ExperimentSettings, telemetry: Arc<Telemetry>) -> Result<Arc<Experiments>, JournalError> {
        let journal = Journal::open(&settings.journal)?;
        let recent = RecentRuns::new(RUNS_DEFAULT);
        let since = OffsetDateTime::from(SystemTime::now() - RECENT).date();
        let mut events = journal::read(&settings.journal, Some(since))?;
        let mut past = Past::default();
        for event in events.by_ref() {
            let event = event?;
            recent.observe(&event);
            past.take(&event);
        }
        for (path, lines) in &events.passed_over().damaged {
            tracing::warn!(path = %path.display(), lines, "lines of the experiments' journal are damaged and passed over");
        }
        let experiments = Arc::new_cyclic(|this| Experiments {
            board: ArcSwap::default(),
            refusal: ArcSwapOption::empty(),
            seen: Mutex::default(),
            standing: StandingFile::new(&settings.journal),
            monitors: Monitors::default(),
            swept: Mutex::default(),
            journal,
            recent,
            shadows: Shadows::default(),
            indexes: Indexes::new(settings.others.clone()),
            telemetry,
            this: this.clone(),
            settings,
        });
        experiments.refresh();
        experiments.recall(past);
        Ok(experiments)
    }

    /// Reads the experiments again when a file has changed, or the days of one are over.
    pub fn refresh(&self) {
        self.indexes.refresh(&self.board.load());
        let now = SystemTime::now();
        let files = self.stamp();
        self.sweep(now);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let board = self.board.load();
        let is_due = |seen: &Seen| board.live().iter().any(|live| seen.standing.is_due(&live.experiment, now));
        if seen.as_ref().is_some_and(|seen| seen.files == files && !is_due(seen)) {
            return;
        }
        let standing = match self.read(now) {
            Ok(standing) => standing,
            Err(error) => {
                tracing::warn!(error, "the experiments can't be used; those before go on");
                self.refusal.store(Some(Arc::new(error)));
                Standing::default()
            }
        };
        *seen = Some(Seen { files, standing });
    }

    /// Makes the board of what the files say.
    fn read(&self, now: SystemTime) -> Result<Standing, String> {
        let folder = &self.settings.folder;
        let files = if folder.is_dir() { read_folder(folder).map_err(|error| error.to_string())? } else { Vec::new() };
        let board = |standing: &Standing| Board::new(files.clone(), standing, now).map_err(|error| error.to_string());
        let standing = self.standing.read().map_err(|error| error.to_string())?;
        // What is carried out from now on, or no longer, is noted first: it decides.
        let standing = self.keep_standing(standing.clone(), &files, &board(&standing)?, now).map_err(|error| error.to_string())?;
        let board = board(&standing)?;
        let running: Vec<String> =
            board.live().iter().map(|live| format!("{} version {}", live.experiment.id, live.experiment.version)).collect();
        tracing::info!(running = running.join(", "), "experiments read");
        for left_out in board.left_out() {
            tracing::warn!(experiment = left_out, "an experiment is not carried out");
        }
        self.indexes.refresh(&board);
        self.monitors.follow(&board);
        self.board.store(Arc::new(board));
        self.refusal.store(None);
        Ok(standing)
    }

    /// Of the files that the board is made of.
    fn stamp(&self) -> Vec<FileStamp> {
        let mut files = stamp(&self.settings.folder);
        files.extend(file_stamp(self.standing.path()));
        files
    }

    /// What readiness says of the experiments; nothing when there are none.
    pub fn check(&self) -> Option<Check> {
        let (board, refusal) = (self.board.load(), self.refusal.load_full());
        if board.live().is_empty() && board.left_out().is_empty() && refusal.is_none() {
            return None;
        }
        let ids: Vec<&str> = board.live().iter().map(|live| live.experiment.id.as_str()).collect();
        let mut detail = if ids.is_empty() { "none runs".to_owned() } else { format!("{} running", ids.join(", ")) };
        for live in board.live().iter().filter(|live| !live.without.is_empty()) {
            let keys: Vec<&str> = live.without.iter().filter_map(|arm| Some(live.experiment.arms.get(*arm)?.key.as_str())).collect();
            detail += &format!("; {} goes on without {}, rolled back", live.experiment.id, keys.join(", "));
        }
        for left_out in board.left_out() {
            detail += &format!("; not carried out: {left_out}");
        }
        if let Some(refusal) = &refusal {
            detail += &format!("; the files of {} can't be used: {refusal}", self.settings.folder.display());
        }
        let shut = self.indexes.refusals();
        for (path, error) in &shut {
            detail += &format!("; the index {} can't be asked: {error}", path.display());
        }
        let whole = board.left_out().is_empty() && board.live().iter().all(|live| live.without.is_empty());
        let ok = refusal.is_none() && whole && shut.is_empty();
        Some(Check { name: "experiments".into(), ok, detail })
    }

    /// A search that begins: its parts in experiments, and what will be written of it.
    pub fn begin<'a>(&'a self, run: &'a Run, request: &'a SearchRequest) -> Taken<'a> {
        // A page belongs to the run that it goes on from.
        let first = first_run(request);
        let asker = Asker {
            tool: run.tool(),
            session: run.session_id(),
            headers: run.headers(),
            query: &request.query,
            run_id: first.as_deref().unwrap_or(&run.id),
            languages: &request.languages,
        };
        let board = self.board.load_full();
        let parts = if adjusts_itself(request) { Vec::new() } else { board.parts(asker) };
        let mut units = BTreeMap::new();
        let mut unit = |kind, header: Option<&str>, value: Option<&str>| {
            let name = unit_name(kind, header);
            value.map(|value| units.insert(name.clone(), unit_digest(&name, value)))
        };
        unit(UnitKind::Session, None, run.session_id());
        unit(UnitKind::Query, None, self.telemetry.records_query_text().then_some(&request.query));
        for name in board.live().iter().filter_map(|live| live.experiment.unit.header.as_deref()) {
            unit(UnitKind::Header, Some(name), run.headers().get(name).map(String::as_str));
        }
        let search = Search { tool: run.tool().to_owned(), units, ..Search::default() };
        Taken { experiments: self, run, request, began: Instant::now(), search: Some(search), board, parts }
    }

    /// The answer of a run has been sent: who else is asked for it may be asked now.
    pub fn answer_sent(&self, run_id: &str) {
        if let Some(this) = self.this.upgrade() {
            self.shadows.begin(&this, run_id);
        }
    }

    /// What an experiment has shown so far. Reads the whole journal, and blocks.
    ///
    /// # Errors
    /// When there is no such experiment, or something can't be read.
    pub fn report(&self, id: &str) -> Result<Report, RequestError> {
        let read = report(&self.settings.folder, &self.settings.journal, id);
        let (report, _) = read.map_err(|error| match error {
            ReadError::Unknown { .. } => RequestError::NotFound(error.to_string()),
            ReadError::Folder(_) | ReadError::Journal(_) => RequestError::Unavailable(error.to_string()),
        })?;
        Ok(report)
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

/// Empty when the folder isn't there.
fn stamp(folder: &Path) -> Vec<FileStamp> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = entries.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    let mut files: Vec<FileStamp> = files.map(|path| file_stamp(path.clone()).unwrap_or((path, None, 0))).collect();
    files.sort();
    files
}

fn file_stamp(path: PathBuf) -> Option<FileStamp> {
    let about = path.metadata().ok()?;
    Some((path, about.modified().ok(), about.len()))
}
