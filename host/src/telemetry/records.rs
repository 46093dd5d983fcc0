//! Runs as they were written down: looked up by run id or trace id, and read with what
//! is missing counted.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value as Json;

use super::ledger::{self, Flusher};
use super::names::start_ticks;
use super::store::RunStore;

/// Bytes of a ledger that are read. A search writes some 20 kB; of a longer ledger only
/// the last line is kept beyond this, which says how the run ended.
const LEDGER_BYTES_MAX: usize = 16 << 20;
/// Bytes of a first line. It holds the request, which the server bounds to less.
const FIRST_LINE_BYTES_MAX: u64 = 2 << 20;
/// Ledgers whose first lines are read to find a trace: at some 30 µs a file, a third of
/// a second.
const SCANNED_FILES_MAX: usize = 10_000;
/// Runs of one trace that are given.
const TRACE_RUNS_MAX: usize = 100;

/// A run as it was written down.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunRecord {
    pub run_id: String,
    /// In the order in which they were written.
    pub lines: Vec<Json>,
    /// Whether the last line is cut short, as a crash leaves it.
    pub torn: bool,
    /// Whether it has no end and the process that began it lives.
    pub running: bool,
    /// `None` when it comes from memory.
    pub path: Option<PathBuf>,
    /// Lines that are known to be missing.
    pub lost: u64,
}

/// Where runs are looked up: first in this process, where they are whole though the
/// disk takes nothing, then in the ledgers.
#[derive(Clone)]
pub struct RunRecords {
    folder: Option<PathBuf>,
    memory: Option<Memory>,
}

/// The latest runs of this process.
#[derive(Clone)]
struct Memory {
    store: Arc<RunStore>,
    flusher: Flusher,
}

impl RunRecords {
    /// The runs of a folder of ledgers (`…/telemetry/runs`), which may not be there.
    pub fn of_folder(folder: PathBuf) -> RunRecords {
        RunRecords { folder: Some(folder), memory: None }
    }

    /// Those of this process as well; what is queued is waited for at each look.
    pub(super) fn with_memory(self, store: Arc<RunStore>, flusher: Flusher) -> RunRecords {
        RunRecords { memory: Some(Memory { store, flusher }), ..self }
    }

    /// Where nothing is written down.
    pub(super) fn none() -> RunRecords {
        RunRecords { folder: None, memory: None }
    }

    /// A run; `None` when there is none of that id.
    ///
    /// # Errors
    /// When the folder can't be listed or the ledger can't be read. What isn't JSON in
    /// it is counted as lost.
    pub fn by_run(&self, run_id: &str) -> io::Result<Option<RunRecord>> {
        let remembered = self.memory.as_ref().and_then(|memory| {
            memory.flusher.flush();
            memory.run(run_id)
        });
        let Some(folder) = &self.folder else { return Ok(remembered) };
        if let Some(record) = remembered {
            // The file is named where it is; that it can't be looked for is no matter here.
            let path = ledger::find(folder, run_id).ok().flatten();
            // Memory is bounded: of a long run the file may hold more.
            let file = path.clone().filter(|_| record.lost > 0).and_then(|path| read(path).ok());
            if let Some(file) = file.filter(|file| file.lines.len() > record.lines.len()) {
                return Ok(Some(file));
            }
            return Ok(Some(RunRecord { path, ..record }));
        }
        match ledger::find(folder, run_id)? {
            None => Ok(None),
            // Retention may have removed it since.
            Some(path) => gone(read(path)),
        }
    }

    /// The runs of a trace, newest first, at most 100, looked for among the 10,000
    /// newest.
    ///
    /// # Errors
    /// When the folder can't be listed.
    pub fn by_trace(&self, trace_id: &str) -> io::Result<Vec<RunRecord>> {
        if trace_id.is_empty() {
            return Ok(Vec::new());
        }
        let mut remembered = Vec::new();
        if let Some(memory) = &self.memory {
            memory.flusher.flush();
            for id in memory.store.of_trace(trace_id).into_iter().take(TRACE_RUNS_MAX) {
                remembered.extend(memory.run(&id));
            }
        }
        let Some(folder) = &self.folder else { return Ok(remembered) };
        let mut found = Vec::new();
        let mut left = SCANNED_FILES_MAX;
        let known: HashSet<&str> = remembered.iter().map(|record| record.run_id.as_str()).collect();
        let is_known = |path: &Path| path.file_stem().and_then(|name| name.to_str()).is_some_and(|name| known.contains(name));
        for day in newest_days(folder)? {
            if left == 0 {
                break;
            }
            for path in newest_files(&day).into_iter().take(left) {
                left -= 1;
                if is_known(&path) {
                    continue;
                }
                let first = first_line(&path).unwrap_or_default();
                if first["trace_id"] == trace_id {
                    found.push((first["at"].as_str().unwrap_or_default().to_owned(), path));
                }
            }
        }
        // Files are in the order of their last lines; runs are in that of their first.
        found.sort_by(|a, b| b.cmp(a));
        found.truncate(TRACE_RUNS_MAX);
        let mut runs = remembered;
        for (_, path) in found {
            runs.extend(gone(read(path))?);
        }
        runs.sort_by(|a, b| b.began().cmp(a.began()));
        runs.truncate(TRACE_RUNS_MAX);
        Ok(runs)
    }
}

impl RunRecord {
    /// When the run began, as its first line has it.
    fn began(&self) -> &str {
        self.lines.first().and_then(|line| line["at"].as_str()).unwrap_or_default()
    }
}

impl Memory {
    fn run(&self, run_id: &str) -> Option<RunRecord> {
        let stored = self.store.run(run_id)?;
        let lines: Vec<Json> = stored.lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let running = !lines.iter().any(|line| line["line"] == "run.end");
        Some(RunRecord { run_id: run_id.to_owned(), lines, torn: false, running, path: None, lost: stored.lost })
    }
}

/// Whether the process that wrote these lines lives and has not ended the run.
pub fn is_running(lines: &[Json]) -> bool {
    let ended = |line: &Json| line["line"] == "run.end";
    let process = lines.iter().find(|line| line["line"] == "run.start").map(|line| &line["process"]);
    let (Some(process), false) = (process, lines.iter().any(ended)) else { return false };
    match (process["pid"].as_u64(), process["start_ticks"].as_u64()) {
        (Some(pid), Some(ticks)) => u32::try_from(pid).is_ok_and(|pid| start_ticks(pid) == Some(ticks)),
        // Without its start a process can't be told from another of its number.
        _ => false,
    }
}

fn read(path: PathBuf) -> io::Result<RunRecord> {
    let Lines { lines, torn, lost } = read_lines(BufReader::new(File::open(&path)?), LEDGER_BYTES_MAX)?;
    let run_id = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let running = is_running(&lines);
    Ok(RunRecord { run_id, running, lines, torn: torn && !running, path: Some(path), lost })
}

fn gone<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[derive(Debug, PartialEq)]
struct Lines {
    lines: Vec<Json>,
    torn: bool,
    lost: u64,
}

/// Reads JSON lines. One in the middle that isn't JSON, as a disk that was full for a
/// while leaves it, is counted and not an error.
fn read_lines(mut from: impl BufRead, bytes_max: usize) -> io::Result<Lines> {
    let (mut lines, mut lost, mut bytes) = (Vec::new(), 0, 0);
    let (mut last, mut next): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
    let mut keep = |line: &[u8], is_last: bool| -> bool {
        bytes += line.len();
        let parsed = if bytes <= bytes_max || is_last { serde_json::from_slice(line).ok() } else { None };
        let fits = parsed.is_some();
        lines.extend(parsed);
        fits
    };
    loop {
        next.clear();
        // A line that never ends must not fill the memory.
        let taken = (&mut from).take(bytes_max as u64).read_until(b'\n', &mut next)?;
        if !last.is_empty() && !keep(&last, taken == 0) {
            lost += 1;
        }
        if taken == 0 {
            break;
        }
        std::mem::swap(&mut last, &mut next);
    }
    // The last one that couldn't be read was torn rather than lost, if it was cut short.
    let torn =
        lost > 0 && !last.is_empty() && last.last() != Some(&b'\n') && serde_json::from_slice::<serde::de::IgnoredAny>(&last).is_err();
    Ok(Lines { lines, torn, lost: lost - u64::from(torn) })
}

fn first_line(path: &Path) -> Option<Json> {
    let mut line = Vec::new();
    BufReader::new(File::open(path).ok()?.take(FIRST_LINE_BYTES_MAX)).read_until(b'\n', &mut line).ok()?;
    serde_json::from_slice(&line).ok()
}

fn newest_days(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut days: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    days.sort_by(|a, b| b.cmp(a));
    Ok(days)
}

/// The ledgers of a day by when they were last written, newest first. A folder that
/// can't be listed has none: it may be going.
fn newest_files(day: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(day) else { return Vec::new() };
    let mut files: Vec<(SystemTime, PathBuf)> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .map(|path| (path.metadata().and_then(|facts| facts.modified()).unwrap_or(SystemTime::UNIX_EPOCH), path))
        .collect();
    files.sort_by(|a, b| b.cmp(a));
    files.into_iter().map(|(_, path)| path).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn start(run: &str, trace: &str, at: &str) -> Json {
        json!({"line": "run.start", "name": "tools/call x", "at": at, "trace_id": trace, "span_id": "01", "run_id": run})
    }

    fn write(folder: &Path, day: &str, run: &str, lines: &[Json]) -> PathBuf {
        std::fs::create_dir_all(folder.join(day)).unwrap();
        let path = folder.join(day).join(format!("{run}.jsonl"));
        std::fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        path
    }

    #[test]
    fn runs_are_found_by_id_and_by_trace_newest_first() {
        let folder = tempfile::tempdir().unwrap();
        let records = RunRecords::of_folder(folder.path().join("not there"));
        assert_eq!((records.by_run("a").unwrap(), records.by_trace("t1").unwrap()), (None, Vec::new()));

        let records = RunRecords::of_folder(folder.path().into());
        let path = write(folder.path(), "2026-01-01", "a", &[start("a", "t1", "2026-01-01T10:00:00Z"), json!({"line": "run.end"})]);
        write(folder.path(), "2026-01-02", "c", &[start("c", "t1", "2026-01-02T10:00:02Z")]);
        write(folder.path(), "2026-01-02", "b", &[start("b", "t1", "2026-01-02T10:00:01Z")]);
        write(folder.path(), "2026-01-02", "d", &[start("d", "t2", "2026-01-02T10:00:03Z")]);
        std::fs::write(folder.path().join("2026-01-02/broken.jsonl"), "{").unwrap();
        std::fs::write(folder.path().join("stray"), "").unwrap();

        let run = records.by_run("a").unwrap().unwrap();
        assert_eq!((run.run_id.as_str(), run.lines.len(), run.torn, run.running, run.lost), ("a", 2, false, false, 0));
        assert_eq!(run.path, Some(path));
        assert_eq!(records.by_run("../a").unwrap(), None);
        let of_trace = |trace: &str| records.by_trace(trace).unwrap().into_iter().map(|run| run.run_id).collect::<Vec<_>>();
        assert_eq!(of_trace("t1"), ["c", "b", "a"]);
        assert_eq!(of_trace("t2"), ["d"]);
        assert!(of_trace("t3").is_empty() && of_trace("").is_empty());
    }

    #[test]
    fn what_is_cut_short_is_torn_and_what_is_broken_is_lost() {
        let check = |text: &str, lines: usize, torn: bool, lost: u64| {
            let read = read_lines(text.as_bytes(), 1_000).unwrap();
            assert_eq!((read.lines.len(), read.torn, read.lost), (lines, torn, lost), "{text:?}");
        };
        check("", 0, false, 0);
        check("{}\n{}\n", 2, false, 0);
        // Whole, though without its line feed.
        check("{}\n{}", 2, false, 0);
        check("{}\n{\"a\":", 1, true, 0);
        check("{\"a\":", 0, true, 0);
        check("{}\n{\"a\":\n{}\n", 2, false, 1);
        check("{}\n\0\0\n{\"a\":\n{\"b", 1, true, 2);
        check("{}\n{\"a\":\n", 1, false, 1);
    }

    #[test]
    fn a_ledger_that_is_too_long_keeps_its_head_and_its_last_line() {
        let text: String = (0..100).map(|number| format!("{{\"n\":{number:03}}}\n")).collect();
        let read = read_lines(text.replace("00", "").replace(":0", ":").as_bytes(), 200).unwrap();
        assert_eq!(read.lines.last(), Some(&json!({"n": 99})));
        assert!(!read.torn && read.lost > 50 && read.lines.len() as u64 + read.lost == 100, "{read:?}");
        // One line without an end is read in parts, none of which is JSON.
        assert_eq!(read_lines("x".repeat(1_000).as_bytes(), 100).unwrap().lines, Vec::<Json>::new());
    }

    #[test]
    fn a_run_runs_while_its_process_does() {
        let own = std::process::id();
        let ticks = start_ticks(own).unwrap();
        let begun = |process: Json| json!({"line": "run.start", "process": process});
        assert!(is_running(&[begun(json!({"pid": own, "start_ticks": ticks}))]));
        assert!(!is_running(&[begun(json!({"pid": own, "start_ticks": ticks})), json!({"line": "run.end"})]));
        // Another process of that number, one that is not told, older ledgers, nonsense.
        for process in [json!({"pid": own, "start_ticks": ticks + 1}), json!({"pid": own, "start_ticks": null}), json!(null), json!([1])] {
            assert!(!is_running(&[begun(process)]));
        }
        assert!(!is_running(&[]));
    }
}
