//! What the latest runs showed, within bounds.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use lru::LruCache;

use super::opened::Sessions;
use super::{FeedbackAnswer, FeedbackArguments, FeedbackError, FeedbackKind, Report, mark, named, shown};
use crate::experiments::events::{Action, Event};
use crate::experiments::journal::timestamp;
use crate::types::ChunkId;

/// Runs that feedback may name: some days of a team. A run with 10 findings has some 700
/// bytes here.
pub const RUNS_DEFAULT: usize = 20_000;
/// Findings of all runs: runs of 100 findings must not take ten times the memory.
const FINDINGS_MAX: usize = 400_000;

/// A run that ended.
#[derive(Clone, Debug, PartialEq)]
pub struct RunShown {
    pub run_id: String,
    pub session: Option<String>,
    pub ended: SystemTime,
    pub findings: Vec<FindingShown>,
}

/// A finding as a run showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindingShown {
    pub chunk: ChunkId,
    /// From 1, over all pages.
    pub rank: u32,
    /// As the finding has it.
    pub path: String,
    /// From 1.
    pub start_line: u32,
    /// Inclusive.
    pub end_line: u32,
}

/// What the latest runs showed, and what is known of it. Those heard of least recently go
/// first.
pub struct RecentRuns {
    runs_max: usize,
    state: Mutex<State>,
}

struct State {
    runs: LruCache<String, Run>,
    findings: usize,
    sessions: Sessions,
}

#[derive(Default)]
struct Run {
    session: Option<String>,
    findings: BTreeMap<ChunkId, Known>,
}

/// A finding and what was said of it.
#[derive(Default)]
struct Known {
    rank: u32,
    marks: Vec<(FeedbackKind, Option<u8>)>,
}

impl Known {
    /// A second grade that differs corrects the first, so it is not known.
    fn has(&self, kind: FeedbackKind, grade: Option<u8>) -> bool {
        match kind {
            FeedbackKind::Grade => self.marks.iter().rfind(|(known, _)| *known == kind).is_some_and(|(_, known)| *known == grade),
            _ => self.marks.iter().any(|(known, _)| *known == kind),
        }
    }

    /// At most one of each kind.
    fn add(&mut self, kind: FeedbackKind, grade: Option<u8>) {
        self.marks.retain(|(known, _)| *known != kind);
        self.marks.push((kind, grade));
    }
}

impl RecentRuns {
    /// Room for so many runs, at least one.
    pub fn new(runs_max: usize) -> RecentRuns {
        let runs = LruCache::new(NonZeroUsize::new(runs_max).unwrap_or(NonZeroUsize::MIN));
        RecentRuns { runs_max: runs.cap().get(), state: Mutex::new(State { runs, findings: 0, sessions: Sessions::default() }) }
    }

    /// Takes a run that ended.
    pub fn remember(&self, run: &RunShown) {
        let mut state = self.lock();
        state.remember(&run.run_id, run.session.as_deref(), run.findings.iter().map(|finding| (finding.chunk, finding.rank)));
        state.sessions.remember(run);
    }

    /// Takes an event of the journal: a mark that was written, or, at the start, what runs
    /// of the last day showed. The journal has no paths: what [`RecentRuns::opened_by`]
    /// needs begins anew with the process.
    pub fn observe(&self, event: &Event) {
        let mut state = self.lock();
        if let Action::Search(search) = &event.action {
            let findings = search.findings.iter().map(|finding| (ChunkId(finding.object_id), finding.ordinal));
            state.remember(&event.query_id, event.client_id.as_deref(), findings);
        } else if let Some((kind, mark)) = FeedbackKind::of(&event.action)
            && let Some(run) = state.runs.peek_mut(&event.query_id)
            && let Some(known) = run.findings.get_mut(&ChunkId(mark.object.object_id))
        {
            known.add(kind, mark.grade);
        }
    }

    /// Holds a report against its run.
    ///
    /// # Errors
    /// [`FeedbackError`] names the value and what is allowed.
    pub fn report(&self, arguments: &FeedbackArguments, now: SystemTime) -> Result<Report, FeedbackError> {
        arguments.check()?;
        let mut state = self.lock();
        let unknown = || FeedbackError::UnknownRun { run_id: shown(&arguments.run_id), runs_max: self.runs_max };
        let run = state.runs.get(&arguments.run_id).ok_or_else(unknown)?;
        let foreign: Vec<ChunkId> = arguments.chunk_ids.iter().filter(|chunk| !run.findings.contains_key(chunk)).copied().collect();
        if !foreign.is_empty() {
            let mut allowed: Vec<(u32, ChunkId)> = run.findings.iter().map(|(chunk, known)| (known.rank, *chunk)).collect();
            allowed.sort();
            let allowed = named(&allowed.into_iter().map(|(_, chunk)| chunk).collect::<Vec<_>>());
            return Err(FeedbackError::NotShown { run_id: shown(&arguments.run_id), chunks: named(&foreign), allowed });
        }
        let mut events = Vec::new();
        for (number, chunk) in arguments.chunk_ids.iter().enumerate() {
            let Some(known) = run.findings.get(chunk) else { continue };
            if known.has(arguments.kind, arguments.grade) || arguments.chunk_ids[..number].contains(chunk) {
                continue;
            }
            let action = arguments.kind.action(mark(*chunk, known.rank, arguments.grade, "tool"));
            events.push(event(&arguments.run_id, run.session.as_deref(), now, action));
        }
        // At most 100 each.
        let accepted = events.len() as u32;
        let already_known = arguments.chunk_ids.len() as u32 - accepted;
        Ok(Report { events, answer: FeedbackAnswer { accepted, already_known, run_id: arguments.run_id.clone() } })
    }

    /// What a session saw of its findings by opening a file, lines inclusive: those of the
    /// latest run that showed any of these lines, as that run led there. It may be one of
    /// the session's last 8 runs, of the last 30 minutes. What is known already is left out.
    pub fn opened_by(&self, session: &str, path: &str, start_line: u32, end_line: u32, now: SystemTime) -> Vec<Event> {
        let mut state = self.lock();
        let Some((run_id, chunks)) = state.sessions.latest(session, path, (start_line, end_line), now) else { return Vec::new() };
        // The run may have gone, with what was known of it.
        let Some(run) = state.runs.get(&run_id) else { return Vec::new() };
        let shown = chunks.iter().filter_map(|chunk| Some((chunk, run.findings.get(chunk)?)));
        shown
            .filter(|(_, known)| !known.has(FeedbackKind::Opened, None))
            .map(|(chunk, known)| {
                event(&run_id, Some(session), now, FeedbackKind::Opened.action(mark(*chunk, known.rank, None, "open_file")))
            })
            .collect()
    }

    /// Runs that are known.
    pub fn len(&self) -> usize {
        self.lock().runs.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A run that comes again gets what it showed besides, and keeps what is known of it.
    fn remember(&mut self, run_id: &str, session: Option<&str>, findings: impl Iterator<Item = (ChunkId, u32)>) {
        if run_id.is_empty() {
            return;
        }
        if !self.runs.contains(run_id)
            && let Some((_, gone)) = self.runs.push(run_id.into(), Run::default())
        {
            self.findings -= gone.findings.len();
        }
        let Some(run) = self.runs.get_mut(run_id) else { return };
        run.session = run.session.take().or_else(|| session.map(str::to_owned));
        let before = run.findings.len();
        for (chunk, rank) in findings {
            run.findings.entry(chunk).or_default().rank = rank;
        }
        self.findings += run.findings.len() - before;
        while self.findings > FINDINGS_MAX
            && self.runs.len() > 1
            && let Some((_, gone)) = self.runs.pop_lru()
        {
            self.findings -= gone.findings.len();
        }
    }
}

fn event(run_id: &str, session: Option<&str>, now: SystemTime, action: Action) -> Event {
    let client_id = session.map(str::to_owned);
    Event { application: "spanloom".into(), query_id: run_id.into(), client_id, timestamp: timestamp(now), action }
}
