//! Answers `git_blame` and `git_history`: the file is found as for `open_file`, git is walked
//! within bounds, and what the bounds left open becomes a warning.

use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::App;
use super::files::{Indexed, WantedLines, observability, panicked, recorded};
use crate::code::blame::{Blame, BlameHunk, blame, has_same_lines};
use crate::code::error::GitError;
use crate::code::history::{ChangeKind, FileChange, History, Wanted, history};
use crate::code::walk::{Cut, WalkBounds};
use crate::envelope::{BlameAnswer, BlamedLines, Change, HistoryAnswer, HistoryCommit, Observability};
use crate::index::scan::{FileContent, ScanLimits};
use crate::index::snapshot::Snapshot;
use crate::request::{BlameArguments, HistoryRequest, RequestError};
use crate::telemetry::conventions::{attr, span};
use crate::telemetry::{Run, Span, carried};

/// How long a walk goes on: well below the default of `server.request_timeout_ms`, so that what was
/// found by then is still told. A step of the walk, which compares two versions of a file or
/// of all trees, is never interrupted and comes on top.
const WALK_TIME_MAX: Duration = Duration::from_secs(15);

impl App {
    /// Answers `git_blame` within a run.
    pub(super) async fn git_blame(&self, run: &Run, arguments: BlameArguments) -> Result<BlameAnswer, RequestError> {
        self.git_blame_in(self.snapshot()?, run, arguments).await
    }

    /// Answers it for a file of the given generation.
    ///
    /// # Errors
    /// When the lines can't be named, the file isn't there, or git can't tell.
    pub async fn git_blame_in(&self, snapshot: Arc<Snapshot>, run: &Run, arguments: BlameArguments) -> Result<BlameAnswer, RequestError> {
        let (scan, ids) = (self.scan.clone(), observability(run));
        let stage = stage(run, span::GIT_BLAME, "blame", &arguments.path);
        let walked = self.walk(span::GIT_BLAME, move |bounds| tell_blame(&snapshot, &scan, &arguments, bounds, ids));
        let outcome = walked.await;
        match &outcome {
            Ok((answer, walked)) => {
                stage.set(attr::GIT_LINES, format!("{}-{}", answer.start_line, answer.end_line));
                stage.set(attr::GIT_COMMIT, answer.head_commit.clone());
                stage.set(attr::GIT_HUNKS, answer.hunks.len() as i64);
                stage.set(attr::GIT_COMMITS_WALKED, *walked as i64);
            }
            Err(error) => stage.fail(error.class(), &error.to_string()),
        }
        stage.end();
        outcome.map(|(answer, _)| answer)
    }

    /// Answers `git_history` within a run.
    pub(super) async fn git_history(&self, run: &Run, request: HistoryRequest) -> Result<HistoryAnswer, RequestError> {
        self.git_history_in(self.snapshot()?, run, request).await
    }

    /// Answers it for a file of the given generation.
    ///
    /// # Errors
    /// When the file isn't there, or git can't tell.
    pub async fn git_history_in(&self, snapshot: Arc<Snapshot>, run: &Run, request: HistoryRequest) -> Result<HistoryAnswer, RequestError> {
        let ids = observability(run);
        let stage = stage(run, span::GIT_HISTORY, "history", &request.path);
        stage.set(attr::GIT_LIMIT, i64::from(request.limit));
        let outcome = self.walk(span::GIT_HISTORY, move |bounds| tell_history(&snapshot, &request, bounds, ids)).await;
        match &outcome {
            Ok((answer, walked)) => {
                stage.set(attr::GIT_COMMIT, answer.head_commit.clone());
                stage.set(attr::GIT_COMMITS, answer.commits.len() as i64);
                stage.set(attr::GIT_COMMITS_WALKED, *walked as i64);
            }
            Err(error) => stage.fail(error.class(), &error.to_string()),
        }
        stage.end();
        outcome.map(|(answer, _)| answer)
    }

    /// Runs blocking work with the bounds of a walk. It also ends when the call is dropped.
    async fn walk<T: Send + 'static>(
        &self,
        stage: &'static str,
        work: impl FnOnce(&WalkBounds<'_>) -> Result<T, RequestError> + Send + 'static,
    ) -> Result<T, RequestError> {
        self.faults.strike(stage).await.map_err(RequestError::Unavailable)?;
        let gone = CancellationToken::new();
        let _ends_with_the_call = gone.clone().drop_guard();
        let (commits_max, until) = (self.git.commits_max, Instant::now() + WALK_TIME_MAX);
        let bounded = move || work(&WalkBounds { commits_max, stop: &|| gone.is_cancelled() || Instant::now() >= until });
        tokio::task::spawn_blocking(carried(bounded)).await.unwrap_or_else(|_| Err(panicked()))
    }
}

fn stage(run: &Run, name: &'static str, operation: &'static str, path: &str) -> Span {
    let stage = run.root.client(name).announce();
    stage.set(attr::GIT_OP, operation);
    stage.set(attr::GIT_PATH, recorded(path));
    stage
}

/// The answer, and how many commits were looked at.
fn tell_blame(
    snapshot: &Snapshot,
    scan: &ScanLimits,
    arguments: &BlameArguments,
    bounds: &WalkBounds<'_>,
    observability: Observability,
) -> Result<(BlameAnswer, usize), RequestError> {
    let wanted = WantedLines::check(arguments.start_line, arguments.end_line)?;
    let file = Indexed::find(snapshot, &arguments.path)?;
    let (first, last) = wanted.bounded();
    let found = blame(file.root, &file.row.path, first..=last, bounds).map_err(|error| refused(&file, &error))?;
    let Blame { head_commit, content, total_lines, hunks, commits_walked, cuts } = found;
    let (start_line, end_line, warning) = wanted.within(total_lines, file.shown)?;
    let mut warnings = Vec::from_iter(warning);
    warnings.extend(cuts.iter().map(|cut| left_open(*cut, bounds, "lines marked `boundary` may be older")));
    let changed_since_commit = match file.read(scan)? {
        FileContent::Text(text) => !has_same_lines(&content, text.as_bytes()),
        FileContent::Skip(..) => true,
    };
    if changed_since_commit {
        warnings.push("the file on disk differs from HEAD; line numbers are those of the commit and may not match".into());
    }
    let hunk = |BlameHunk { start_line, end_line, facts, original_start_line, original_path, is_boundary }| BlamedLines {
        start_line,
        end_line,
        commit: facts.commit,
        author: facts.author,
        time_s: facts.time_s,
        summary: facts.summary,
        original_start_line,
        original_path: original_path.map(|path| shown(&file, &path)),
        boundary: is_boundary,
    };
    let answer = BlameAnswer {
        path: file.shown.to_owned(),
        head_commit,
        start_line,
        end_line,
        total_lines,
        hunks: hunks.into_iter().map(hunk).collect(),
        changed_since_commit,
        warnings,
        observability,
    };
    Ok((answer, commits_walked))
}

/// The answer, and how many commits were looked at.
fn tell_history(
    snapshot: &Snapshot,
    request: &HistoryRequest,
    bounds: &WalkBounds<'_>,
    observability: Observability,
) -> Result<(HistoryAnswer, usize), RequestError> {
    let file = Indexed::find(snapshot, &request.path)?;
    let wanted = Wanted { limit: request.limit as usize, since_s: request.since_s };
    let found = history(file.root, &file.row.path, wanted, bounds).map_err(|error| refused(&file, &error))?;
    let History { head_commit, commits, more, commits_walked, cuts } = found;
    let commit = |FileChange { facts, kind, renamed_from }| HistoryCommit {
        commit: facts.commit,
        author: facts.author,
        time_s: facts.time_s,
        summary: facts.summary,
        change: match kind {
            ChangeKind::Added => Change::Added,
            ChangeKind::Modified => Change::Modified,
            ChangeKind::Deleted => Change::Deleted,
        },
        renamed_from: renamed_from.map(|path| shown(&file, &path)),
    };
    let answer = HistoryAnswer {
        path: file.shown.to_owned(),
        head_commit,
        commits: commits.into_iter().map(commit).collect(),
        more,
        warnings: cuts.iter().map(|cut| left_open(*cut, bounds, "older commits may be missing")).collect(),
        observability,
    };
    Ok((answer, commits_walked))
}

/// A path of the file's root as findings have it: with the root's name when there are several.
fn shown(file: &Indexed<'_>, path: &str) -> String {
    format!("{}{path}", file.shown.strip_suffix(file.row.path.as_str()).unwrap_or_default())
}

fn left_open(cut: Cut, bounds: &WalkBounds<'_>, what: &str) -> String {
    match cut {
        Cut::Commits => format!("the search ended after {} commits (`index.commits_max`): {what}", bounds.commits_max),
        Cut::Stopped => format!("the search ended after {} s: {what}", WALK_TIME_MAX.as_secs()),
        Cut::Shallow => format!("the clone is shallow and its history ends early: {what}; `git fetch --unshallow` gets the rest"),
        Cut::TooLarge => format!("a version of the file is too large to be compared: {what}"),
    }
}

/// What git couldn't tell, and what can be done about it.
fn refused(file: &Indexed<'_>, error: &GitError) -> RequestError {
    let class = error.class();
    let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    let remedy = match class {
        "git_no_work_tree" => "only files of a git work tree have commits; `open_file` reads it",
        "git_no_commits" | "git_untracked" => "commit it first; `open_file` reads it",
        "git_object_missing" => "`git fsck` names what is missing; `git fetch --refetch` gets it again",
        "git_object_damaged" => "`git fsck` names what is damaged; a fresh clone has it whole",
        "git_too_large" => "`git_history` has no such bound",
        _ => "see whether `git status` works there",
    };
    RequestError::Git { class, message: format!("git can't tell about `{}`: {error}{cause}; {remedy}", file.shown) }
}
