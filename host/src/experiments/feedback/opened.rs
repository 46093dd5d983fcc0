//! Which run of a session led to a file that it opens.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};

use lru::LruCache;

use super::recent::{FindingShown, RunShown};
use crate::types::ChunkId;

/// Sessions that are kept: clients at once, many times over.
const SESSIONS_MAX: NonZeroUsize = NonZeroUsize::new(2_000).unwrap();
/// Runs of a session. Who searched 8 times since has left that run behind.
const RUNS_MAX: usize = 8;
/// How long a run counts as what led to a file.
const AGE_MAX: Duration = Duration::from_secs(30 * 60);

/// The latest runs of sessions, with the places that they showed.
pub struct Sessions {
    /// Runs by age, the latest last.
    sessions: LruCache<String, VecDeque<RunShown>>,
}

impl Default for Sessions {
    fn default() -> Self {
        Sessions { sessions: LruCache::new(SESSIONS_MAX) }
    }
}

impl Sessions {
    /// Takes a run, if it has a session and showed anything.
    pub fn remember(&mut self, run: &RunShown) {
        let Some(session) = run.session.as_ref().filter(|_| !run.findings.is_empty()) else { return };
        let runs = self.sessions.get_or_insert_mut(session.clone(), VecDeque::new);
        runs.retain(|earlier| earlier.run_id != run.run_id);
        if runs.len() == RUNS_MAX {
            runs.pop_front();
        }
        runs.push_back(run.clone());
    }

    /// The latest run that showed any of these lines, first and last, and the chunks of it
    /// that have some, best first.
    pub fn latest(&mut self, session: &str, path: &str, lines: (u32, u32), now: SystemTime) -> Option<(String, Vec<ChunkId>)> {
        let runs = self.sessions.get(session)?;
        // One from the future ended before the clock was set back.
        let recent = |run: &&RunShown| now.duration_since(run.ended).map_or(true, |age| age <= AGE_MAX);
        let opened = |finding: &&FindingShown| finding.path == path && finding.start_line <= lines.1 && lines.0 <= finding.end_line;
        runs.iter().rev().filter(recent).find_map(|run| {
            let mut chunks: Vec<(u32, ChunkId)> = run.findings.iter().filter(opened).map(|finding| (finding.rank, finding.chunk)).collect();
            chunks.sort();
            (!chunks.is_empty()).then(|| (run.run_id.clone(), chunks.into_iter().map(|(_, chunk)| chunk).collect()))
        })
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }
}
