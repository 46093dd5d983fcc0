//! The run ledger: one JSONL file a run, written while the run goes on.
//!
//! `<data-dir>/telemetry/runs/<YYYY-MM-DD>/<run_id>.jsonl`, one object a line, first
//! `run.start`, last `run.end`. Lines go through a bounded queue to one writer
//! thread; a full queue or disk drops lines and counts them, and never slows a query.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::SystemTime;

use opentelemetry::trace::SpanContext;
use serde_json::{Map, Value as Json, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Version of the line format, in every `run.start`.
pub const SCHEMA_VERSION: u32 = 1;

/// Lines that may wait for the writer. At some 300 bytes a line this is 20 MB.
const QUEUE_LINES_MAX: usize = 65_536;

/// Files kept open by the writer. A run over this is reopened for each burst.
const OPEN_FILES_MAX: usize = 64;

/// What a line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineKind {
    RunStart,
    SpanStart,
    Span,
    Event,
    RunEnd,
}

impl LineKind {
    pub fn as_str(self) -> &'static str {
        match self {
            LineKind::RunStart => "run.start",
            LineKind::SpanStart => "span.start",
            LineKind::Span => "span",
            LineKind::Event => "event",
            LineKind::RunEnd => "run.end",
        }
    }
}

/// One line before it is written.
pub struct Line<'a> {
    pub kind: LineKind,
    pub name: &'a str,
    /// When it happened; for a span, when it began.
    pub at: SystemTime,
    pub span: Option<&'a SpanContext>,
    pub parent: Option<&'a SpanContext>,
    pub body: Map<String, Json>,
}

/// The writer of all ledgers of a process.
pub struct LedgerWriter {
    queue: Option<SyncSender<Message>>,
    dropped: Arc<AtomicU64>,
    folder: PathBuf,
    thread: Option<JoinHandle<()>>,
}

enum Message {
    Line { path: Arc<Path>, text: String, last: bool },
    Flush(SyncSender<()>),
}

impl LedgerWriter {
    /// A writer below `folder` (`…/telemetry/runs`), which is made when first needed.
    ///
    /// # Errors
    /// When the thread can't be started.
    pub fn start(folder: PathBuf) -> std::io::Result<LedgerWriter> {
        let (queue, messages) = sync_channel(QUEUE_LINES_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = dropped.clone();
        let thread = std::thread::Builder::new().name("spanloom-ledger".into()).spawn(move || write_lines(&messages, &counter))?;
        Ok(LedgerWriter { queue: Some(queue), dropped, folder, thread: Some(thread) })
    }

    /// The ledger of a run that starts at `at`.
    pub fn open(&self, run_id: &str, at: SystemTime) -> RunLedger {
        let date = OffsetDateTime::from(at).date();
        let path = self.folder.join(date.to_string()).join(format!("{run_id}.jsonl"));
        RunLedger { target: self.queue.clone().map(|queue| Arc::new(Target { queue, path: path.into(), dropped: self.dropped.clone() })) }
    }

    /// How many lines were lost to a full queue or a failing disk.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything written before is on its way to disk.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if let Some(queue) = &self.queue
            && queue.send(Message::Flush(done)).is_ok()
        {
            // An error means that the writer is gone, and with it what could be waited for.
            let _ = wait.recv();
        }
    }
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
    path: Arc<Path>,
    dropped: Arc<AtomicU64>,
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
        let last = line.kind == LineKind::RunEnd;
        let text = render(line);
        match target.queue.try_send(Message::Line { path: target.path.clone(), text, last }) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                target.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn render(line: Line) -> String {
    let mut object = Map::new();
    object.insert("line".into(), json!(line.kind.as_str()));
    object.insert("name".into(), json!(line.name));
    let at = OffsetDateTime::from(line.at).format(&Rfc3339).unwrap_or_default();
    object.insert("at".into(), json!(at));
    if let Some(span) = line.span {
        object.insert("trace_id".into(), json!(span.trace_id().to_string()));
        object.insert("span_id".into(), json!(span.span_id().to_string()));
    }
    if let Some(parent) = line.parent {
        object.insert("parent_span_id".into(), json!(parent.span_id().to_string()));
    }
    object.extend(line.body);
    let mut text = Json::Object(object).to_string();
    text.push('\n');
    text
}

fn write_lines(messages: &Receiver<Message>, dropped: &AtomicU64) {
    let mut open: HashMap<Arc<Path>, File> = HashMap::new();
    while let Ok(message) = messages.recv() {
        match message {
            Message::Flush(done) => drop(done.send(())),
            Message::Line { path, text, last } => {
                if append(&mut open, &path, &text).is_err() {
                    dropped.fetch_add(1, Ordering::Relaxed);
                }
                if last {
                    open.remove(&path);
                }
            }
        }
    }
}

fn append(open: &mut HashMap<Arc<Path>, File>, path: &Arc<Path>, text: &str) -> std::io::Result<()> {
    if !open.contains_key(path) {
        if open.len() >= OPEN_FILES_MAX {
            open.clear();
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = File::options().create(true).append(true).open(path)?;
        open.insert(path.clone(), file);
    }
    match open.get_mut(path) {
        Some(file) => file.write_all(text.as_bytes()),
        None => Ok(()),
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
    for (number, line) in BufReader::new(File::open(path)?).split(b'\n').enumerate() {
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
    use super::*;

    fn line(kind: LineKind, name: &str) -> Line<'_> {
        Line { kind, name, at: SystemTime::UNIX_EPOCH, span: None, parent: None, body: Map::new() }
    }

    #[test]
    fn lines_arrive_in_order_and_a_torn_last_line_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let writer = LedgerWriter::start(folder.path().into()).unwrap();
        let ledger = writer.open("run-1", SystemTime::UNIX_EPOCH);
        for name in ["a", "b", "c"] {
            ledger.write(line(LineKind::Event, name));
        }
        ledger.write(line(LineKind::RunEnd, "run"));
        writer.flush();
        let path = find(folder.path(), "run-1").unwrap().unwrap();
        assert_eq!(path, folder.path().join("1970-01-01/run-1.jsonl"));
        let names = |lines: Vec<Json>| lines.iter().map(|l| l["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(names(read(&path).unwrap()), ["a", "b", "c", "run"]);

        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        assert_eq!(names(read(&path).unwrap()), ["a", "b", "c"]);

        let mut middle = whole.clone();
        middle[3] = b'\n';
        fs::write(&path, &middle).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("line 1"));
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
    fn a_folder_that_cannot_be_made_drops_lines_and_counts_them() {
        let folder = tempfile::tempdir().unwrap();
        let blocked = folder.path().join("file");
        fs::write(&blocked, "").unwrap();
        let writer = LedgerWriter::start(blocked).unwrap();
        writer.open("r", SystemTime::UNIX_EPOCH).write(line(LineKind::Event, "a"));
        writer.flush();
        assert_eq!(writer.dropped(), 1);
    }
}
