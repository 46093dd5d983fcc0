//! Answers `open_file`, and finds indexed files for every tool that takes a path.
//!
//! Only paths that are in the index name a file, and links are resolved again at each call: a
//! folder may have been replaced by a link to elsewhere since it was indexed.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::App;
use super::records::IndexedRecord;
use crate::envelope::{FileSlice, Observability};
use crate::index::catalog::FileRow;
use crate::index::chunk::Language;
use crate::index::scan::{FileContent, ScanLimits, ScannedFile, content_hash, read_file};
use crate::index::snapshot::Snapshot;
use crate::request::{OPEN_LINES_MAX, OpenFileArguments, RequestError, invalid};
use crate::telemetry::conventions::{attr, span};
use crate::telemetry::{Run, carried};

/// Bytes of a path, which is what systems take.
const PATH_BYTES_MAX: usize = 4_096;
/// Characters of a path in spans and messages; none that is indexed is longer.
const PATH_CHARS_RECORDED: usize = 1_024;

impl App {
    /// Answers `open_file` within a run.
    pub(super) async fn open_file(&self, run: &Run, arguments: OpenFileArguments) -> Result<FileSlice, RequestError> {
        self.open_file_in(self.snapshot()?, run, arguments).await
    }

    /// Reads lines of a file that is in the given generation, as they are now, or of a record, as it was indexed.
    ///
    /// # Errors
    /// When the lines can't be named or the file isn't there.
    pub async fn open_file_in(&self, snapshot: Arc<Snapshot>, run: &Run, arguments: OpenFileArguments) -> Result<FileSlice, RequestError> {
        let scan = self.scan.clone();
        let stage = run.root.child(span::OPEN_FILE).announce();
        stage.set(attr::FILE_PATH, recorded(&arguments.path));
        let observability = observability(run);
        let struck = self.faults.strike(span::OPEN_FILE).await;
        let outcome = tokio::task::spawn_blocking(carried(move || read_slice(&snapshot, &scan, &arguments, observability)))
            .await
            .unwrap_or_else(|_| Err(panicked()));
        let outcome = struck.map_err(RequestError::Unavailable).and(outcome);
        match &outcome {
            Ok(slice) => stage.set(attr::FILE_LINES, format!("{}-{}", slice.start_line, slice.end_line)),
            Err(error) => stage.fail(error.class(), &error.to_string()),
        }
        stage.end();
        outcome
    }
}

/// The ids of a run, for its answer.
pub(super) fn observability(run: &Run) -> Observability {
    Observability { trace_id: run.trace_id(), run_id: run.id.clone() }
}

/// The error of work whose panic the runtime has logged.
pub(super) fn panicked() -> RequestError {
    RequestError::Unavailable("an internal error was logged".into())
}

/// An indexed file that is there and within its root.
pub(super) struct Indexed<'s> {
    pub row: &'s FileRow,
    /// As findings have it.
    pub shown: &'s str,
    pub root: &'s Path,
    on_disk: PathBuf,
}

impl Indexed<'_> {
    /// Finds the file that a call names.
    ///
    /// # Errors
    /// When the path is none, is not in the index or that of a record, or leads to nothing or out of its root.
    pub fn find<'s>(snapshot: &'s Snapshot, path: &str) -> Result<Indexed<'s>, RequestError> {
        let wanted = path.trim_start_matches("./");
        check_path(wanted)?;
        let not_there =
            || RequestError::NotFound(format!("`path` is `{wanted}`, which is not in the index; allowed: a path as findings have it"));
        let (row, shown) = snapshot.chunks.files().find(|(_, path)| *path == wanted).ok_or_else(not_there)?;
        if row.document.is_some() {
            return Err(invalid("path", &format!("`{wanted}`, which is a record and no file"), "files; `open_file` shows records"));
        }
        let root = &snapshot.manifest.roots.get(row.root as usize).ok_or_else(not_there)?.path;
        Ok(Indexed { row, shown, root, on_disk: confined(root, &row.path)? })
    }

    /// The file as it is on disk now.
    ///
    /// # Errors
    /// When nothing is there.
    pub fn read(&self, scan: &ScanLimits) -> Result<FileContent, RequestError> {
        let metadata = std::fs::metadata(&self.on_disk)
            .map_err(|error| RequestError::NotFound(format!("`path` is `{}`, which can't be read: {error}", self.shown)))?;
        let scanned = ScannedFile { root: 0, path: self.row.path.clone(), size_bytes: metadata.len(), modified_ns: 0 };
        Ok(read_file(self.root, &scanned, scan))
    }
}

/// Lines that a call asks for, checked but for the file's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WantedLines {
    /// From 1.
    start: u32,
    /// Inclusive; `None` for the end of the file.
    end: Option<u32>,
}

impl WantedLines {
    pub fn check(start: Option<u32>, end: Option<u32>) -> Result<WantedLines, RequestError> {
        let start = start.unwrap_or(1);
        if start == 0 {
            return Err(invalid("start_line", "0", "1 and up"));
        }
        match end {
            Some(end) if end < start => Err(invalid("end_line", &end.to_string(), &format!("{start} (`start_line`) and up"))),
            end => Ok(WantedLines { start, end }),
        }
    }

    /// The first line, and the last one that a call may get of a file of any length.
    pub fn bounded(self) -> (u32, u32) {
        (self.start, self.end.unwrap_or(u32::MAX).min(self.start.saturating_add(OPEN_LINES_MAX - 1)))
    }

    /// First and last line of a call's answer, for a file of `total` lines (0 for the first of an
    /// empty one), and what is to be said when the bound cut them.
    pub fn within(self, total: u32, path: &str) -> Result<(u32, u32, Option<String>), RequestError> {
        if self.start > total.max(1) {
            return Err(invalid("start_line", &self.start.to_string(), &format!("1 to {total}, the lines of {path}")));
        }
        let last = self.end.unwrap_or(total).min(total);
        let bounded = last.min(self.bounded().1);
        let warning = (bounded < last)
            .then(|| format!("lines {} to {last} are left out: one call gives at most {OPEN_LINES_MAX} lines", bounded + 1));
        Ok((if total == 0 { 0 } else { self.start }, bounded, warning))
    }
}

/// Reads lines of an indexed file as it is on disk now.
fn read_slice(
    snapshot: &Snapshot,
    scan: &ScanLimits,
    arguments: &OpenFileArguments,
    observability: Observability,
) -> Result<FileSlice, RequestError> {
    let lines = WantedLines::check(arguments.start_line, arguments.end_line)?;
    if let Some(record) = IndexedRecord::find(snapshot, &arguments.path)? {
        return record_slice(&record, lines, observability);
    }
    check_path(arguments.path.trim_start_matches("./"))?;
    let file = Indexed::find(snapshot, &arguments.path)?;
    let text = match file.read(scan)? {
        FileContent::Text(text) => text,
        FileContent::Skip(reason, detail) => {
            return Err(RequestError::NotFound(format!("`path` is `{}`, which can't be shown now: {reason} {detail}", file.shown)));
        }
    };
    let language = Language::of(file.shown, &text).as_str();
    let mut slice = slice_of(&text, lines, file.shown, language, observability)?;
    if content_hash(text.as_bytes()) != file.row.content_hash {
        slice.changed_since_indexed = true;
        slice.warnings.push("the file has changed since it was indexed".into());
    }
    Ok(slice)
}

/// Lines of a record as it was indexed.
fn record_slice(record: &IndexedRecord<'_>, lines: WantedLines, observability: Observability) -> Result<FileSlice, RequestError> {
    let text = record.text().map_err(|error| RequestError::Unavailable(format!("the index can't be read: {error}")))?;
    slice_of(&text, lines, record.shown, &record.row.language, observability)
}

/// The wanted lines of a text.
fn slice_of(text: &str, lines: WantedLines, path: &str, language: &str, observability: Observability) -> Result<FileSlice, RequestError> {
    let total_lines = text.lines().count() as u32;
    let (start_line, end_line, warning) = lines.within(total_lines, path)?;
    let before = start_line.saturating_sub(1);
    Ok(FileSlice {
        path: path.to_owned(),
        language: language.into(),
        start_line,
        end_line,
        total_lines,
        text: text.split_inclusive('\n').skip(before as usize).take((end_line - before) as usize).collect(),
        changed_since_indexed: false,
        warnings: Vec::from_iter(warning),
        observability,
    })
}

/// As much of a path as is repeated and recorded.
pub(super) fn recorded(path: &str) -> String {
    path.chars().take(PATH_CHARS_RECORDED).collect()
}

fn check_path(path: &str) -> Result<(), RequestError> {
    let outside = Path::new(path).components().any(|part| !matches!(part, Component::Normal(_)));
    if path.is_empty() || outside || path.len() > PATH_BYTES_MAX {
        return Err(invalid("path", &format!("`{}`", recorded(path)), "a relative path within the indexed roots, without `..`"));
    }
    Ok(())
}

/// The file's place on disk, with every link resolved, when that is below the root:
/// a folder may have been replaced by a link since it was indexed.
fn confined(root: &Path, path: &str) -> Result<PathBuf, RequestError> {
    let full = std::fs::canonicalize(root.join(path))
        .map_err(|error| RequestError::NotFound(format!("`path` is `{path}`, which can't be read: {error}")))?;
    if full.starts_with(root) {
        Ok(full)
    } else {
        Err(invalid("path", &format!("`{path}`, which leads out of its root"), "paths within the indexed roots"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_within_the_roots_and_bounded() {
        assert!(check_path("src/lib.rs").is_ok());
        assert!(check_path(&"x".repeat(PATH_BYTES_MAX)).is_ok());
        for bad in ["", "/etc/passwd", "../secret", "a/../../b", &"x".repeat(PATH_BYTES_MAX + 1)] {
            let message = check_path(bad).unwrap_err().to_string();
            assert!(message.contains("`path`") && message.chars().count() < PATH_CHARS_RECORDED + 200, "{message}");
        }
    }

    #[test]
    fn lines_are_held_against_the_file_and_the_bound() {
        let check = |start: Option<u32>, end: Option<u32>, total: u32| {
            let lines = WantedLines::check(start, end).and_then(|lines| lines.within(total, "a"));
            lines.map(|(start, end, warning)| (start, end, warning.is_some())).map_err(|error| error.to_string())
        };
        assert_eq!(check(None, None, 10), Ok((1, 10, false)));
        assert_eq!(check(Some(3), Some(30), 10), Ok((3, 10, false)));
        assert_eq!(check(Some(10), None, 10), Ok((10, 10, false)));
        assert_eq!(check(None, None, 0), Ok((0, 0, false)));
        assert_eq!(check(None, None, 2_001), Ok((1, 2_000, true)));
        assert_eq!(check(Some(2), None, 2_001), Ok((2, 2_001, false)));
        assert_eq!(check(Some(5), Some(u32::MAX), u32::MAX), Ok((5, 2_004, true)));
        assert_eq!(check(Some(11), None, 10), Err("`start_line` is 11; allowed: 1 to 10, the lines of a".into()));
        assert_eq!(check(Some(0), None, 10), Err("`start_line` is 0; allowed: 1 and up".into()));
        assert_eq!(check(Some(4), Some(3), 10), Err("`end_line` is 3; allowed: 4 (`start_line`) and up".into()));
    }
}
