//! Records stage calls of a running server as golden cases. Off until somebody asks; then
//! so many runs, so many bytes, so long, whichever ends first.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::cases::Case;
use crate::types::Stage;

/// Runs that one recording may ask for.
const RUNS_MAX: u32 = 1_000;
/// Bytes of JSON that one recording keeps.
const BYTES_MAX: usize = 64 << 20;
/// After this a recording ends with what it has.
const TIME_MAX: Duration = Duration::from_secs(3_600);

/// What is to be recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordRequest {
    /// How many runs, 1 to 1,000.
    pub runs: u32,
    /// Only these stages; none stands for all.
    #[serde(default)]
    pub stages: Vec<Stage>,
    /// Whether the words of queries and the texts of documents are left out.
    #[serde(default)]
    pub redact: bool,
}

/// How far a recording is, with the cases that are new.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Progress {
    pub id: u64,
    pub runs_wanted: u32,
    pub runs_seen: u32,
    /// Whether nothing more will come.
    pub done: bool,
    /// Calls that did not fit any more.
    pub dropped: u64,
    /// Those after the place asked for.
    pub cases: Vec<Json>,
}

/// The one recording of a process.
#[derive(Default)]
pub struct Recorder {
    /// Looked at by every run; the lock is for when there is something to do.
    on: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last_id: u64,
    current: Option<Recording>,
}

struct Recording {
    id: u64,
    request: RecordRequest,
    begun: Instant,
    runs_begun: u32,
    runs_ended: u32,
    bytes: usize,
    dropped: u64,
    cases: Vec<Json>,
}

/// A run that is recorded. Its end is counted when it is dropped.
pub struct RunRecording {
    recorder: Arc<dyn Fn(Option<Case>) + Send + Sync>,
    stages: Vec<Stage>,
    pub redact: bool,
}

impl Recorder {
    /// Begins a recording in the place of the one before. Returns its id.
    ///
    /// # Errors
    /// A sentence that names the field, its value and what is allowed.
    pub fn start(&self, request: RecordRequest) -> Result<u64, String> {
        if !(1..=RUNS_MAX).contains(&request.runs) {
            return Err(format!("`runs` is {}; allowed: 1 to {RUNS_MAX}", request.runs));
        }
        let mut state = self.state();
        state.last_id += 1;
        let id = state.last_id;
        state.current =
            Some(Recording { id, request, begun: Instant::now(), runs_begun: 0, runs_ended: 0, bytes: 0, dropped: 0, cases: Vec::new() });
        self.on.store(true, Ordering::Release);
        Ok(id)
    }

    /// What was recorded, from the `after`-th case on; `None` for a recording that isn't
    /// there any more.
    pub fn progress(&self, id: u64, after: usize) -> Option<Progress> {
        let state = self.state();
        let recording = state.current.as_ref().filter(|recording| recording.id == id)?;
        Some(Progress {
            id,
            runs_wanted: recording.request.runs,
            runs_seen: recording.runs_ended,
            done: recording.is_over(),
            dropped: recording.dropped,
            cases: recording.cases.get(after..).unwrap_or_default().to_vec(),
        })
    }

    /// Ends a recording and forgets what it has. Whether it was there.
    pub fn stop(&self, id: u64) -> bool {
        let mut state = self.state();
        let found = state.current.as_ref().is_some_and(|recording| recording.id == id);
        if found {
            state.current = None;
            self.on.store(false, Ordering::Release);
        }
        found
    }

    /// Whether the run that begins now is recorded.
    pub fn admit(self: &Arc<Self>) -> Option<RunRecording> {
        if !self.on.load(Ordering::Acquire) {
            return None;
        }
        let mut state = self.state();
        let recording = state.current.as_mut()?;
        if recording.runs_begun >= recording.request.runs || recording.begun.elapsed() > TIME_MAX {
            self.on.store(false, Ordering::Release);
            return None;
        }
        recording.runs_begun += 1;
        let (id, this) = (recording.id, self.clone());
        Some(RunRecording {
            stages: recording.request.stages.clone(),
            redact: recording.request.redact,
            recorder: Arc::new(move |case| this.take(id, case)),
        })
    }

    /// Takes a case, or `None` for the end of a run.
    fn take(&self, id: u64, case: Option<Case>) {
        // Cases are made of texts and finite numbers. Before the lock, which every run takes.
        let json = case.map(|case| serde_json::to_value(&case).unwrap_or_default());
        let bytes = json.as_ref().map_or(0, |json| json.to_string().len());
        let mut state = self.state();
        let Some(recording) = state.current.as_mut().filter(|recording| recording.id == id) else { return };
        let Some(json) = json else {
            recording.runs_ended += 1;
            return;
        };
        if recording.bytes + bytes > BYTES_MAX {
            recording.dropped += 1;
        } else {
            recording.bytes += bytes;
            recording.cases.push(json);
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Only whole values are stored under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recording {
    fn is_over(&self) -> bool {
        self.runs_ended >= self.request.runs || self.begun.elapsed() > TIME_MAX
    }
}

impl RunRecording {
    pub fn wants(&self, stage: Stage) -> bool {
        self.stages.is_empty() || self.stages.contains(&stage)
    }

    pub fn take(&self, case: Case) {
        (self.recorder)(Some(case));
    }
}

impl Drop for RunRecording {
    fn drop(&mut self) {
        (self.recorder)(None);
    }
}
