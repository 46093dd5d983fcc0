//! Finds the files an index is built from, and reads them as text.
//!
//! In: root folders. Out: the files worth reading, and every other entry with the reason it was
//! left out, both in (root, path) order. Ignore rules (`.gitignore`, `.ignore`,
//! `.git/info/exclude`, the user's global excludes) hold in any folder, also outside a git work
//! tree; what they exclude is absent, not reported as skipped. Links are never followed, so one
//! file is never seen twice and nothing outside a root is read.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use ignore::{DirEntry, WalkBuilder, WalkState};
use sha2::{Digest, Sha256};

/// How far into a file a NUL byte makes it binary; git looks about as far (8,000).
const BINARY_PROBE_BYTES: usize = 8 * 1024;
/// Entries between two progress reports: often enough for a live display, too rare to cost
/// anything.
const PROGRESS_ENTRIES: usize = 256;
/// Folders never entered: git's own data and Spanloom's.
const FOLDERS_NEVER_ENTERED: [&str; 2] = [".git", ".spanloom"];
/// Extensions (lower case, separated by spaces) whose files are binary without a look inside.
const BINARY_EXTENSIONS: &str = "\
    7z a avi avif bin bmp br bz2 class db dex dll doc docx dylib eot exe flac gif gz heic ico \
    icns jar jpeg jpg lib lz4 mkv mov mp3 mp4 mpeg npy npz o obj ogg onnx otf parquet pdf png \
    ppt pptx psd pyc pyo rar rlib rmeta safetensors so sqlite sqlite3 tar tgz tif tiff ttf war \
    wasm wav webm webp woff woff2 xls xlsx xz zip zst\
";

/// Lists the files below `roots`, without reading any of them.
///
/// Roots are named by their position in `roots`; no roots give an empty scan. `on_progress`
/// receives the number of entries seen so far, from several threads at once (so a smaller number
/// can follow a larger one), and the total last.
///
/// # Errors
/// A root that is missing, no folder, unreadable, given twice, or inside another root; or more than
/// [`ScanLimits::files_max`] entries. Trouble below a root is not an error: it is in
/// [`Scan::skipped`].
pub fn scan(roots: &[PathBuf], limits: &ScanLimits, on_progress: &(dyn Fn(usize) + Sync)) -> Result<Scan, ScanError> {
    let folders = check_roots(roots)?;
    let walk = Walk { folders: &folders, limits, on_progress, seen: AtomicUsize::new(0), found: Mutex::default() };
    for root in 0..folders.len() {
        walk.below(root)?;
    }
    let mut scan = walk.found.into_inner().unwrap_or_else(PoisonError::into_inner);
    scan.files.sort_unstable_by(|a, b| (a.root, &a.path).cmp(&(b.root, &b.path)));
    scan.skipped.sort_by(|a, b| (a.root, &a.path, &a.detail).cmp(&(b.root, &b.path, &b.detail)));
    on_progress(walk.seen.into_inner());
    Ok(scan)
}

/// Reads a file found by [`scan`]. Never reads more than [`ScanLimits::file_bytes_max`] + 1 bytes,
/// however much the file grew since, and never waits on something that stopped being a regular
/// file.
///
/// The text is UTF-8 without its byte order mark; an empty file gives empty text. A NUL byte beyond
/// the first 8 KiB stays in the text.
pub fn read_file(root: &Path, file: &ScannedFile, limits: &ScanLimits) -> FileContent {
    match read_bytes(&root.join(&file.path), limits.file_bytes_max) {
        Ok(Some(bytes)) => decode(bytes, limits.file_bytes_max),
        Ok(None) => FileContent::Skip(SkipReason::NotAFile, "no regular file any more".to_owned()),
        Err(error) => FileContent::Skip(SkipReason::Unreadable, error.to_string()),
    }
}

/// SHA-256 of `text`, 64 lower-case hex digits.
///
/// A cryptographic hash because equal hashes let one text reuse what was computed for another: a
/// crafted collision would put wrong text behind a finding. Hashing is far cheaper than the
/// embedding it saves, and `sha256sum` can check it.
pub fn content_hash(text: &[u8]) -> String {
    format!("{:x}", Sha256::digest(text))
}

/// Bounds of a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanLimits {
    /// Largest file that is read. Larger ones are data or generated code, which bury what people
    /// wrote.
    pub file_bytes_max: u64,
    /// Most entries (files and skipped ones, over all roots) before the scan gives up; bounds
    /// memory when a root is far larger than meant, such as `/`.
    pub files_max: usize,
}

impl Default for ScanLimits {
    fn default() -> Self {
        Self { file_bytes_max: 1_048_576, files_max: 1_000_000 }
    }
}

/// What a scan found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    /// Sorted by (root, path), bytewise.
    pub files: Vec<ScannedFile>,
    /// Sorted by (root, path), bytewise.
    pub skipped: Vec<Skipped>,
}

/// A regular file that is small enough and does not look binary by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannedFile {
    /// Position in the scanned roots.
    pub root: usize,
    /// Relative to the root, `/` between parts on every platform.
    pub path: String,
    /// At the time of the scan.
    pub size_bytes: u64,
    /// Nanoseconds since 1970, negative before; 0 where the file system keeps no time.
    pub modified_ns: i64,
}

/// An entry that is not indexed, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Position in the scanned roots.
    pub root: usize,
    /// Relative to the root; bytes that are not UTF-8 are replaced by U+FFFD. Empty for the root
    /// itself.
    pub path: String,
    pub reason: SkipReason,
    /// For a person: the extension, the size, the link's target, the system's error.
    pub detail: String,
}

/// Why an entry is not indexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SkipReason {
    Binary,
    TooLarge,
    /// The name or the content is not UTF-8.
    NotUtf8,
    Unreadable,
    BrokenSymlink,
    /// A link to something below none of the roots.
    OutsideRoot,
    /// A pipe, socket or device.
    NotAFile,
    /// A record without text, or of white space.
    NoText,
}

impl SkipReason {
    /// The reason's name in reports and telemetry.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::TooLarge => "too_large",
            Self::NotUtf8 => "not_utf8",
            Self::Unreadable => "unreadable",
            Self::BrokenSymlink => "broken_symlink",
            Self::OutsideRoot => "outside_root",
            Self::NotAFile => "not_a_file",
            Self::NoText => "no_text",
        }
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The content of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileContent {
    Text(String),
    /// Not text; with the detail for [`Skipped::detail`].
    Skip(SkipReason, String),
}

/// Why nothing could be scanned.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    #[error("{} does not exist", root.display())]
    RootMissing { root: PathBuf },
    #[error("{} is not a folder", root.display())]
    RootNotAFolder { root: PathBuf },
    #[error("{} cannot be read", root.display())]
    RootUnreadable {
        root: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} and {} are the same folder: give it once", first.display(), second.display())]
    RootTwice { first: PathBuf, second: PathBuf },
    #[error("{} is inside {}: give only one of them", inner.display(), outer.display())]
    RootsNested { outer: PathBuf, inner: PathBuf },
    #[error("more than {files_max} entries up to {}: exclude folders in .ignore, or raise the limit", root.display())]
    TooManyFiles { root: PathBuf, files_max: usize },
}

/// The roots with all links resolved, in the given order; none is or contains another.
fn check_roots(roots: &[PathBuf]) -> Result<Vec<PathBuf>, ScanError> {
    let mut folders: Vec<PathBuf> = Vec::with_capacity(roots.len());
    for root in roots {
        let folder = fs::canonicalize(root).map_err(|source| root_error(root, source))?;
        let kind = fs::metadata(&folder).map_err(|source| root_error(root, source))?;
        if !kind.is_dir() {
            return Err(ScanError::RootNotAFolder { root: root.clone() });
        }
        fs::read_dir(&folder).map_err(|source| root_error(root, source))?;
        for (earlier, given) in folders.iter().zip(roots) {
            if *earlier == folder {
                return Err(ScanError::RootTwice { first: given.clone(), second: root.clone() });
            }
            if folder.starts_with(earlier) {
                return Err(ScanError::RootsNested { outer: given.clone(), inner: root.clone() });
            }
            if earlier.starts_with(&folder) {
                return Err(ScanError::RootsNested { outer: root.clone(), inner: given.clone() });
            }
        }
        folders.push(folder);
    }
    Ok(folders)
}

fn root_error(root: &Path, source: io::Error) -> ScanError {
    match source.kind() {
        io::ErrorKind::NotFound => ScanError::RootMissing { root: root.to_owned() },
        io::ErrorKind::NotADirectory => ScanError::RootNotAFolder { root: root.to_owned() },
        _ => ScanError::RootUnreadable { root: root.to_owned(), source },
    }
}

/// One scan under way, shared by the walking threads.
struct Walk<'a> {
    folders: &'a [PathBuf],
    limits: &'a ScanLimits,
    on_progress: &'a (dyn Fn(usize) + Sync),
    seen: AtomicUsize,
    /// Unordered.
    found: Mutex<Scan>,
}

enum Judged {
    File(ScannedFile),
    Skip(Skipped),
}

impl Walk<'_> {
    /// Collects what lies below one root.
    fn below(&self, root: usize) -> Result<(), ScanError> {
        let folder = self.folders[root].as_path();
        WalkBuilder::new(folder)
            .hidden(false)
            .require_git(false)
            .follow_links(false)
            .filter_entry(|entry| entry.depth() == 0 || !is_never_entered(entry.file_name()))
            .build_parallel()
            .run(|| {
                Box::new(|entry| match entry {
                    Ok(entry) => self.collect(self.judge(root, &entry)),
                    Err(error) => self.collect(Some(Judged::Skip(unreadable(root, folder, &error)))),
                })
            });
        if self.seen.load(Ordering::Relaxed) > self.limits.files_max {
            let files_max = self.limits.files_max;
            return Err(ScanError::TooManyFiles { root: folder.to_owned(), files_max });
        }
        Ok(())
    }

    fn collect(&self, judged: Option<Judged>) -> WalkState {
        let Some(judged) = judged else {
            return WalkState::Continue;
        };
        let count = self.seen.fetch_add(1, Ordering::Relaxed) + 1;
        if count > self.limits.files_max {
            return WalkState::Quit;
        }
        if count.is_multiple_of(PROGRESS_ENTRIES) {
            (self.on_progress)(count);
        }
        // A poisoned lock means another thread panicked while pushing; the lists are still whole.
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        match judged {
            Judged::File(file) => found.files.push(file),
            Judged::Skip(skipped) => found.skipped.push(skipped),
        }
        WalkState::Continue
    }

    /// Decides about one entry; `None` for folders and for links to what is found under its own
    /// name anyway.
    fn judge(&self, root: usize, entry: &DirEntry) -> Option<Judged> {
        let kind = entry.file_type()?;
        if kind.is_dir() {
            return None;
        }
        let (path, is_utf8) = relative_path(&self.folders[root], entry.path());
        let skip = |path, reason, detail| Some(Judged::Skip(Skipped { root, path, reason, detail }));
        if kind.is_symlink() {
            let (reason, detail) = judge_link(entry.path(), self.folders)?;
            return skip(path, reason, detail);
        }
        if !kind.is_file() {
            return skip(path, SkipReason::NotAFile, "pipe, socket or device".to_owned());
        }
        if !is_utf8 {
            return skip(path, SkipReason::NotUtf8, "the name is not UTF-8".to_owned());
        }
        if let Some(extension) = binary_extension(entry.path()) {
            return skip(path, SkipReason::Binary, format!("extension .{extension}"));
        }
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            Err(error) => return skip(path, SkipReason::Unreadable, error.to_string()),
        };
        let (size_bytes, bytes_max) = (metadata.len(), self.limits.file_bytes_max);
        if size_bytes > bytes_max {
            let detail = format!("{size_bytes} bytes, limit {bytes_max}");
            return skip(path, SkipReason::TooLarge, detail);
        }
        let modified_ns = modified_ns(&metadata);
        Some(Judged::File(ScannedFile { root, path, size_bytes, modified_ns }))
    }
}

fn is_never_entered(name: &OsStr) -> bool {
    FOLDERS_NEVER_ENTERED.iter().any(|never| name == *never)
}

/// Why a link is reported; `None` when its target lies below one of the roots.
fn judge_link(link: &Path, folders: &[PathBuf]) -> Option<(SkipReason, String)> {
    match fs::canonicalize(link) {
        Ok(target) if folders.iter().any(|folder| target.starts_with(folder)) => None,
        Ok(target) => Some((SkipReason::OutsideRoot, format!("link to {}", target.display()))),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Some((SkipReason::Unreadable, error.to_string())),
        Err(error) => {
            let target = fs::read_link(link).map_or_else(|_| "?".to_owned(), |target| target.display().to_string());
            Some((SkipReason::BrokenSymlink, format!("link to {target}: {error}")))
        }
    }
}

/// The relative path with `/` between parts, and whether all of it was UTF-8.
fn relative_path(folder: &Path, path: &Path) -> (String, bool) {
    let relative = path.strip_prefix(folder).unwrap_or(path);
    let mut text = String::with_capacity(relative.as_os_str().len());
    let mut is_utf8 = true;
    for part in relative.components() {
        if !text.is_empty() {
            text.push('/');
        }
        is_utf8 &= part.as_os_str().to_str().is_some();
        text.push_str(&part.as_os_str().to_string_lossy());
    }
    (text, is_utf8)
}

fn unreadable(root: usize, folder: &Path, error: &ignore::Error) -> Skipped {
    let path = error_path(error).map(|path| relative_path(folder, path).0).unwrap_or_default();
    Skipped { root, path, reason: SkipReason::Unreadable, detail: error.to_string() }
}

fn error_path(error: &ignore::Error) -> Option<&Path> {
    match error {
        ignore::Error::WithPath { path, .. } => Some(path),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => error_path(err),
        ignore::Error::Loop { child, .. } => Some(child),
        _ => None,
    }
}

fn binary_extension(path: &Path) -> Option<String> {
    let extension = path.extension().and_then(OsStr::to_str)?.to_ascii_lowercase();
    BINARY_EXTENSIONS.split(' ').any(|binary| binary == extension).then_some(extension)
}

fn modified_ns(metadata: &Metadata) -> i64 {
    let Ok(modified) = metadata.modified() else {
        return 0;
    };
    match modified.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
    }
}

/// At most `bytes_max` + 1 bytes, so that the caller can tell a longer file; `None` when it is no
/// regular file.
fn read_bytes(path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    // Asked before opening, because opening a pipe waits for its writer.
    if !fs::symlink_metadata(path)?.is_file() {
        return Ok(None);
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(None);
    }
    let read_max = bytes_max.saturating_add(1);
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(read_max)).unwrap_or(0));
    file.take(read_max).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn decode(mut bytes: Vec<u8>, bytes_max: u64) -> FileContent {
    if u64::try_from(bytes.len()).is_ok_and(|len| len > bytes_max) {
        return FileContent::Skip(SkipReason::TooLarge, format!("grew, limit {bytes_max} bytes"));
    }
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return FileContent::Skip(SkipReason::NotUtf8, "UTF-16 byte order mark".to_owned());
    }
    if let Some(at) = bytes.iter().take(BINARY_PROBE_BYTES).position(|byte| *byte == 0) {
        return FileContent::Skip(SkipReason::Binary, format!("NUL at byte {at}"));
    }
    if bytes.starts_with(&[0xEF, 0xBB, 0xBF]) {
        bytes.drain(..3);
    }
    match String::from_utf8(bytes) {
        Ok(text) => FileContent::Text(text),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            FileContent::Skip(SkipReason::NotUtf8, format!("invalid UTF-8 at byte {at}"))
        }
    }
}

#[cfg(test)]
mod tests;
