//! The latest runs in memory: what report endpoints look at first.
//!
//! It holds the very lines that go to the ledgers, so a run can be told while it goes
//! on, and also when the disk takes nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Runs that are kept; a client that asks for its report does so within this many.
const RUNS_MAX: usize = 512;
/// Bytes of all lines that are kept. A search writes some 20 kB.
const BYTES_MAX: usize = 32 << 20;
/// Bytes of one run: a plugin that floods its telemetry must not push all others out.
const RUN_BYTES_MAX: usize = 4 << 20;

/// Lines of the latest runs, by run id.
#[derive(Default)]
pub struct RunStore {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    runs: HashMap<Arc<str>, Stored>,
    /// In the order in which they began.
    order: VecDeque<Arc<str>>,
    bytes: usize,
}

#[derive(Default)]
struct Stored {
    trace_id: String,
    lines: Vec<Box<str>>,
    bytes: usize,
    lost: u64,
}

/// A run as it is in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRun {
    /// JSON texts, in the order written.
    pub lines: Vec<Box<str>>,
    /// Lines that did not reach the ledger or did not fit here.
    pub lost: u64,
}

impl RunStore {
    /// Adds a line; the first of a run `begins` it. `lost` is how many of the run's lines
    /// did not reach the disk. A run that had to go is not taken up again in its middle.
    pub(super) fn push(&self, run_id: &Arc<str>, trace_id: &str, line: &str, begins: bool, lost: u64) {
        let mut state = self.lock();
        if begins && !state.runs.contains_key(run_id) {
            state.runs.insert(run_id.clone(), Stored { trace_id: trace_id.to_owned(), ..Stored::default() });
            state.order.push_back(run_id.clone());
        }
        let mut added = 0;
        if let Some(run) = state.runs.get_mut(run_id) {
            run.lost = run.lost.max(lost);
            if run.bytes + line.len() <= RUN_BYTES_MAX {
                run.lines.push(line.trim_end().into());
                run.bytes += line.len();
                added = line.len();
            } else {
                run.lost += 1;
            }
        }
        state.bytes += added;
        while state.order.len() > RUNS_MAX || (state.bytes > BYTES_MAX && state.order.len() > 1) {
            let Some(oldest) = state.order.pop_front() else { break };
            if let Some(run) = state.runs.remove(&oldest) {
                state.bytes -= run.bytes;
            }
        }
    }

    /// Notes that lines of a run did not reach the disk.
    pub(super) fn note_lost(&self, run_id: &str, lost: u64) {
        if let Some(run) = self.lock().runs.get_mut(run_id) {
            run.lost = run.lost.max(lost);
        }
    }

    /// A run's lines so far; `None` when it isn't kept (any more).
    pub fn run(&self, run_id: &str) -> Option<StoredRun> {
        self.lock().runs.get(run_id).map(|run| StoredRun { lines: run.lines.clone(), lost: run.lost })
    }

    /// The runs of a trace, newest first.
    pub fn of_trace(&self, trace_id: &str) -> Vec<Arc<str>> {
        let state = self.lock();
        state.order.iter().rev().filter(|id| state.runs.get(*id).is_some_and(|run| run.trace_id == trace_id)).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(store: &RunStore) -> Vec<String> {
        store.lock().order.iter().map(|id| id.to_string()).collect()
    }

    #[test]
    fn the_oldest_runs_go_first() {
        let store = RunStore::default();
        for number in 0..RUNS_MAX + 3 {
            store.push(&Arc::from(format!("r{number}")), "t", "{}\n", true, 0);
        }
        assert_eq!(ids(&store).len(), RUNS_MAX);
        assert_eq!(ids(&store)[0], "r3");
        assert_eq!(store.run("r0"), None);
        assert_eq!(store.run("r3").unwrap().lines, ["{}".into()]);
        assert_eq!(&*store.of_trace("t")[0], format!("r{}", RUNS_MAX + 2).as_str());
    }

    #[test]
    fn bytes_are_bounded_for_each_run_and_for_all() {
        let store = RunStore::default();
        let line = "x".repeat(1 << 20);
        for run in 0..20 {
            for _ in 0..6 {
                store.push(&Arc::from(format!("r{run}")), "t", &line, true, 0);
            }
        }
        let state = store.lock();
        assert!(state.bytes <= BYTES_MAX, "{}", state.bytes);
        assert_eq!(state.bytes, state.runs.values().map(|run| run.bytes).sum::<usize>());
        assert!(state.runs.values().all(|run| run.bytes <= RUN_BYTES_MAX));
        assert!(state.runs.values().all(|run| run.lost == 2));
    }
}
