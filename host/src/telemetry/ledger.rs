//! The run ledger: one JSONL file a run, written while the run goes on.
//!
//! `<data-dir>/telemetry/runs/<YYYY-MM-DD>/<run_id>.jsonl`, one object a line, first
//! `run.start`, last `run.end`. Lines go through a bounded queue to one writer thread,
//! which writes them down, keeps the latest runs in memory, and removes ledgers that
//! are too old. A full queue or disk drops lines and counts them, and never slows a
//! query.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value as Json;
use time::OffsetDateTime;

use super::line::{Line, LineKind};
use super::retention::{Retention, sweep};
use super::store::RunStore;

pub use super::line::SCHEMA_VERSION;

/// Lines that may wait for the writer. At some 500 bytes a line this is 32 MB; the empty
/// queue has 2 MB.
const QUEUE_LINES_MAX: usize = 65_536;
/// Lines that are written together: enough to save calls, few enough to stay current.
const BURST_LINES_MAX: usize = 256;
/// How long the writer sleeps on after a first line. Waking it costs a search more than
/// queueing a line does, so most lines of a search should find it asleep. A process that
/// is killed loses the lines of so long.
const LINGER: Duration = Duration::from_millis(5);
/// Files kept open by the writer. A run over this is reopened for each burst.
const OPEN_FILES_MAX: usize = 64;
/// A flush waits no longer for a disk that hangs.
const FLUSH_MAX: Duration = Duration::from_secs(5);
/// The first sweep comes after short commands have ended, the others from time to time.
const FIRST_SWEEP: Duration = Duration::from_secs(5);
const SWEEP_INTERVAL: Duration = Duration::from_secs(600);
/// A disk that takes nothing is complained of this often.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// The writer of all ledgers of a process.
pub struct LedgerWriter {
    queue: Option<SyncSender<Message>>,
    counts: Arc<LedgerCounts>,
    store: Arc<RunStore>,
    folder: PathBuf,
    thread: Option<JoinHandle<()>>,
}

/// What the writer is asked to do, and what goes wrong on purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerSettings {
    pub retention: Retention,
    /// Writes fail as on a full disk: for drills.
    pub full_disk: bool,
}

/// What the meters want to know of the writer.
#[derive(Debug, Default)]
pub struct LedgerCounts {
    dropped: AtomicU64,
    waiting: AtomicUsize,
}

impl LedgerCounts {
    /// Lines that were lost to a full queue or a failing disk.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Lines in the queue.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

enum Message {
    /// Boxed: the queue has all of its places from the beginning.
    Line(Arc<Target>, Box<Line>),
    Flush(SyncSender<()>),
}

impl LedgerWriter {
    /// A writer below `folder` (`…/telemetry/runs`), which is made when first needed.
    ///
    /// # Errors
    /// When the thread can't be started.
    pub fn start(folder: PathBuf, settings: LedgerSettings) -> std::io::Result<LedgerWriter> {
        let (queue, messages) = sync_channel(QUEUE_LINES_MAX);
        let counts = Arc::new(LedgerCounts::default());
        let store = Arc::new(RunStore::default());
        let mut desk =
            Desk { folder: folder.clone(), settings, counts: counts.clone(), store: store.clone(), open: HashMap::new(), complained: None };
        let thread = std::thread::Builder::new().name("spanloom-ledger".into()).spawn(move || desk.work(&messages))?;
        Ok(LedgerWriter { queue: Some(queue), counts, store, folder, thread: Some(thread) })
    }

    /// The ledger of a run that starts at `at`.
    pub fn open(&self, run_id: &str, at: SystemTime) -> RunLedger {
        let date = OffsetDateTime::from(at).date();
        let path = self.folder.join(date.to_string()).join(format!("{run_id}.jsonl"));
        let target = |queue| Target { queue, run_id: run_id.into(), path, counts: self.counts.clone(), lost: AtomicU64::new(0) };
        RunLedger { target: self.queue.clone().map(|queue| Arc::new(target(queue))) }
    }

    /// What waits, and what was lost.
    pub fn counts(&self) -> Arc<LedgerCounts> {
        self.counts.clone()
    }

    /// The latest runs.
    pub fn store(&self) -> Arc<RunStore> {
        self.store.clone()
    }

    /// Where ledgers are written.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Waits until everything written before is in the store and on its way to disk, or
    /// for five seconds.
    pub fn flush(&self) {
        self.flusher().flush();
    }

    /// Does the same from elsewhere.
    pub fn flusher(&self) -> Flusher {
        Flusher { queue: self.queue.clone(), writer: self.thread.as_ref().map(|thread| thread.thread().clone()) }
    }
}

/// Waits for the writer.
#[derive(Clone)]
pub struct Flusher {
    queue: Option<SyncSender<Message>>,
    writer: Option<Thread>,
}

impl Flusher {
    /// See [`LedgerWriter::flush`].
    pub fn flush(&self) {
        if let Some(queue) = &self.queue {
            flush(queue, self.writer.as_ref());
        }
    }
}

fn flush(queue: &SyncSender<Message>, writer: Option<&Thread>) {
    let until = Instant::now() + FLUSH_MAX;
    let (done, wait) = sync_channel(1);
    let mut message = Message::Flush(done);
    loop {
        match queue.try_send(message) {
            Ok(()) => break,
            Err(TrySendError::Full(back)) if Instant::now() < until => {
                message = back;
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(_) => return,
        }
    }
    // It may sleep on after a line.
    if let Some(writer) = writer {
        writer.unpark();
    }
    // An error means that the disk hangs or the writer is gone: nothing to wait for.
    let _ = wait.recv_timeout(until.saturating_duration_since(Instant::now()));
}

impl Drop for LedgerWriter {
    fn drop(&mut self) {
        self.flush();
        self.queue = None;
        // Ledgers of unfinished runs hold senders: don't wait for the thread then.
        if let Some(thread) = self.thread.take()
            && thread.is_finished()
        {
            let _ = thread.join();
        }
    }
}

/// One run's end of the writer's queue; off when nothing is to be written.
#[derive(Clone)]
pub struct RunLedger {
    target: Option<Arc<Target>>,
}

struct Target {
    queue: SyncSender<Message>,
    run_id: Arc<str>,
    path: PathBuf,
    counts: Arc<LedgerCounts>,
    /// Lines of this run that are missing in its file.
    lost: AtomicU64,
}

impl RunLedger {
    /// A ledger that writes nothing.
    pub fn off() -> RunLedger {
        RunLedger { target: None }
    }

    pub fn is_on(&self) -> bool {
        self.target.is_some()
    }

    /// Where the file is or will be.
    pub fn path(&self) -> Option<&Path> {
        self.target.as_ref().map(|target| &*target.path)
    }

    /// Queues a line. Never waits.
    pub fn write(&self, line: Line) {
        let Some(target) = &self.target else { return };
        target.counts.waiting.fetch_add(1, Ordering::Relaxed);
        if target.queue.try_send(Message::Line(target.clone(), Box::new(line))).is_err() {
            target.counts.waiting.fetch_sub(1, Ordering::Relaxed);
            target.lose(1);
        }
    }
}

impl Target {
    fn lose(&self, lines: u64) {
        self.lost.fetch_add(lines, Ordering::Relaxed);
        self.counts.dropped.fetch_add(lines, Ordering::Relaxed);
    }
}

/// What the writer's thread works with.
struct Desk {
    folder: PathBuf,
    settings: LedgerSettings,
    counts: Arc<LedgerCounts>,
    store: Arc<RunStore>,
    open: HashMap<Arc<str>, File>,
    complained: Option<Instant>,
}

/// Lines of one run that are written together.
struct Burst {
    target: Arc<Target>,
    text: String,
    lines: u64,
    ends: bool,
}

impl Desk {
    fn work(&mut self, messages: &Receiver<Message>) {
        let mut sweep_at = Instant::now() + FIRST_SWEEP;
        loop {
            let first = match messages.recv_timeout(sweep_at.saturating_duration_since(Instant::now())) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if let Some(first) = first {
                // With a burst waiting there is nothing to linger for.
                if matches!(first, Message::Line(..)) && self.counts.waiting() < BURST_LINES_MAX {
                    std::thread::park_timeout(LINGER);
                }
                self.burst(first, messages);
            }
            if Instant::now() >= sweep_at {
                sweep_at = Instant::now() + SWEEP_INTERVAL;
                self.sweep();
            }
        }
    }

    /// Takes what waits, up to a bound, and writes it run by run.
    fn burst(&mut self, first: Message, messages: &Receiver<Message>) {
        let mut bursts: Vec<Burst> = Vec::new();
        let mut flushes = Vec::new();
        let mut next = Some(first);
        for _ in 0..BURST_LINES_MAX {
            match next.take() {
                Some(Message::Line(target, line)) => self.take(target, *line, &mut bursts),
                // Answered when everything before it is written.
                Some(Message::Flush(done)) => {
                    flushes.push(done);
                    break;
                }
                None => break,
            }
            next = messages.try_recv().ok();
        }
        // The loop leaves a message over when its bound is reached.
        match next {
            Some(Message::Line(target, line)) => self.take(target, *line, &mut bursts),
            Some(Message::Flush(done)) => flushes.push(done),
            None => {}
        }
        for burst in bursts {
            self.append(&burst);
        }
        for done in flushes {
            // Whoever asked may have given up.
            let _ = done.send(());
        }
    }

    fn take(&mut self, target: Arc<Target>, line: Line, bursts: &mut Vec<Burst>) {
        self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
        let (begins, ends) = (line.kind == LineKind::RunStart, line.kind == LineKind::RunEnd);
        let trace_id = line.span.as_ref().map(|span| span.trace_id().to_string()).unwrap_or_default();
        let lost = target.lost.load(Ordering::Relaxed);
        let text = line.render(lost);
        self.store.push(&target.run_id, &trace_id, &text, begins, lost);
        match bursts.iter_mut().find(|burst| Arc::ptr_eq(&burst.target, &target)) {
            Some(burst) => {
                burst.text.push_str(&text);
                burst.lines += 1;
                burst.ends |= ends;
            }
            None => bursts.push(Burst { target, text, lines: 1, ends }),
        }
    }

    fn append(&mut self, burst: &Burst) {
        if let Err(error) = self.write(burst) {
            burst.target.lose(burst.lines);
            self.store.note_lost(&burst.target.run_id, burst.target.lost.load(Ordering::Relaxed));
            if self.complained.is_none_or(|at| at.elapsed() >= COMPLAINT_INTERVAL) {
                self.complained = Some(Instant::now());
                tracing::warn!(%error, path = %burst.target.path.display(), "a run ledger can't be written; reports of the latest runs are in memory");
            }
        }
        if burst.ends {
            self.open.remove(&burst.target.run_id);
        }
    }

    fn write(&mut self, burst: &Burst) -> std::io::Result<()> {
        if self.settings.full_disk {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        let target = &burst.target;
        if !self.open.contains_key(&target.run_id) {
            if self.open.len() >= OPEN_FILES_MAX {
                self.open.clear();
            }
            if let Some(folder) = target.path.parent() {
                fs::create_dir_all(folder)?;
            }
            let file = File::options().create(true).append(true).open(&target.path)?;
            self.open.insert(target.run_id.clone(), file);
        }
        match self.open.get_mut(&target.run_id) {
            Some(file) => file.write_all(burst.text.as_bytes()),
            None => Ok(()),
        }
    }

    fn sweep(&self) {
        match sweep(&self.folder, self.settings.retention, SystemTime::now()) {
            Ok(swept) if swept.files > 0 => tracing::info!(files = swept.files, bytes = swept.bytes, "old run ledgers were removed"),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "old run ledgers can't be removed"),
        }
    }
}

/// Reads a ledger. A torn last line, left by a crash, is left out; a torn line
/// anywhere else is an error that names it.
///
/// # Errors
/// When the file can't be read, or holds something else than JSON lines.
pub fn read(path: &Path) -> std::io::Result<Vec<Json>> {
    let mut lines = Vec::new();
    let mut torn: Option<(usize, serde_json::Error)> = None;
    // All at once: what a writer adds meanwhile would follow a line that was torn before.
    let bytes = fs::read(path)?;
    for (number, line) in BufRead::split(&bytes[..], b'\n').enumerate() {
        if let Some((number, error)) = torn.take() {
            let message = format!("{}, line {}: {error}", path.display(), number + 1);
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, message));
        }
        match serde_json::from_slice(&line?) {
            Ok(object) => lines.push(object),
            Err(error) => torn = Some((number, error)),
        }
    }
    Ok(lines)
}

/// The ledger of a run, looked for among all days, newest first.
///
/// # Errors
/// When the folder can't be listed.
pub fn find(folder: &Path, run_id: &str) -> std::io::Result<Option<PathBuf>> {
    if run_id.is_empty() || !run_id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
        return Ok(None);
    }
    let mut days: Vec<PathBuf> = match fs::read_dir(folder) {
        Ok(entries) => entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    days.sort();
    Ok(days.into_iter().rev().map(|day| day.join(format!("{run_id}.jsonl"))).find(|path| path.is_file()))
}

#[cfg(test)]
mod tests {
    use super::super::line::Body;
    use super::*;

    fn line(kind: LineKind, name: &'static str) -> Line {
        Line { kind, name: name.into(), at: SystemTime::UNIX_EPOCH, span: None, parent: None, body: Body::None }
    }

    fn writer(folder: &Path) -> LedgerWriter {
        LedgerWriter::start(folder.into(), LedgerSettings::default()).unwrap()
    }

    #[test]
    fn lines_arrive_in_order_and_a_torn_last_line_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(folder.path());
        let ledger = writer.open("run-1", SystemTime::UNIX_EPOCH);
        ledger.write(line(LineKind::RunStart, "a"));
        for name in ["b", "c"] {
            ledger.write(line(LineKind::Event, name));
        }
        ledger.write(line(LineKind::RunEnd, "run"));
        writer.flush();
        let path = find(folder.path(), "run-1").unwrap().unwrap();
        assert_eq!(path, folder.path().join("1970-01-01/run-1.jsonl"));
        let names = |lines: Vec<Json>| lines.iter().map(|l| l["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(names(read(&path).unwrap()), ["a", "b", "c", "run"]);
        assert_eq!(writer.store().run("run-1").unwrap().lines.len(), 4);
        assert_eq!((writer.counts().waiting(), writer.counts().dropped()), (0, 0));

        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        assert_eq!(names(read(&path).unwrap()), ["a", "b", "c"]);

        let mut middle = whole.clone();
        middle[3] = b'\n';
        fs::write(&path, &middle).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("line 1"));
    }

    #[test]
    fn bursts_of_many_runs_are_whole() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(folder.path());
        let ledgers: Vec<RunLedger> = (0..100).map(|run| writer.open(&format!("run-{run}"), SystemTime::UNIX_EPOCH)).collect();
        for _ in 0..50 {
            ledgers.iter().for_each(|ledger| ledger.write(line(LineKind::Event, "a")));
        }
        ledgers.iter().for_each(|ledger| ledger.write(line(LineKind::RunEnd, "run")));
        writer.flush();
        for ledger in &ledgers {
            assert_eq!(read(ledger.path().unwrap()).unwrap().len(), 51);
        }
    }

    #[test]
    fn run_ids_that_are_no_file_names_are_not_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("secret.jsonl"), "{}").unwrap();
        fs::create_dir(folder.path().join("2026-01-01")).unwrap();
        assert_eq!(find(folder.path(), "../secret").unwrap(), None);
        assert_eq!(find(folder.path(), "").unwrap(), None);
    }

    #[test]
    fn what_a_disk_does_not_take_is_counted_and_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let blocked = folder.path().join("file");
        fs::write(&blocked, "").unwrap();
        let blocked = writer(&blocked);
        let full =
            LedgerWriter::start(folder.path().join("full"), LedgerSettings { full_disk: true, ..LedgerSettings::default() }).unwrap();
        for writer in [blocked, full] {
            let ledger = writer.open("r", SystemTime::UNIX_EPOCH);
            ledger.write(line(LineKind::RunStart, "a"));
            writer.flush();
            ledger.write(line(LineKind::RunEnd, "run"));
            writer.flush();
            assert_eq!(writer.counts().dropped(), 2);
            let stored = writer.store().run("r").unwrap();
            assert_eq!((stored.lines.len(), stored.lost), (2, 2));
            assert!(stored.lines[1].contains("\"lost_lines\":1"), "{:?}", stored.lines);
        }
    }
}
