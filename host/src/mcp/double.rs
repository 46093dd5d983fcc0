//! A search service for tests that does as the query says.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::{Value as Json, json};
use tokio::sync::{Notify, Semaphore};

use super::{Check, Readiness, SearchService};
use crate::envelope::{
    AnswerEnvelope, BlameAnswer, BlamedLines, Change, Contribution, Coverage, FileSlice, Finding, HistoryAnswer, HistoryCommit, IndexStamp,
    Observability,
};
use crate::experiments::feedback::{FeedbackAnswer, FeedbackArguments};
use crate::experiments::report::Report as ExperimentReport;
use crate::explanation::{Explanation, FindingExplanation, GateExplanation, QueryExplanation};
use crate::reports::{self, ReportKey, Reported};
use crate::request::{BlameArguments, HistoryRequest, OpenFileArguments, RequestError, SearchRequest};
use crate::telemetry::{Caller, Run, Span, Telemetry, TelemetrySettings, ledger};
use crate::types::{ChannelName, ChunkId};

/// Answers every query; `wait` waits for [`Double::release`], `panic` panics, `busy`
/// and the path `missing` fail.
pub(crate) struct Double {
    telemetry: Telemetry,
    folder: tempfile::TempDir,
    /// Tool, caller and arguments of each run, in order.
    pub calls: Mutex<Vec<(String, Caller, Json)>>,
    pub run_ids: Mutex<Vec<String>>,
    /// Methods of messages that are no tool calls, in order.
    pub exchanges: Mutex<Vec<&'static str>>,
    /// Told when a call begins to wait.
    pub waiting: Notify,
    /// Permits for calls that wait.
    pub release: Semaphore,
    pub ready: AtomicBool,
}

impl Double {
    pub fn new() -> Arc<Double> {
        let folder = tempfile::tempdir().unwrap();
        let settings = TelemetrySettings { ledger_folder: Some(folder.path().into()), ..TelemetrySettings::default() };
        Arc::new(Double {
            telemetry: Telemetry::start(settings).unwrap(),
            folder,
            calls: Mutex::default(),
            run_ids: Mutex::default(),
            exchanges: Mutex::default(),
            waiting: Notify::new(),
            release: Semaphore::new(0),
            ready: AtomicBool::new(true),
        })
    }

    pub fn last_call(&self) -> (String, Caller, Json) {
        self.calls.lock().unwrap().last().cloned().expect("a call")
    }

    pub fn last_run(&self) -> String {
        self.run_ids.lock().unwrap().last().cloned().expect("a run")
    }

    /// The last line of a run's ledger, as soon as it is written.
    pub async fn run_end(&self, run_id: &str) -> Json {
        let ended = async {
            loop {
                self.telemetry.flush();
                if let Some(path) = ledger::find(self.folder.path(), run_id).unwrap()
                    && let Some(end) = ledger::read(&path).unwrap().into_iter().find(|line| line["line"] == "run.end")
                {
                    return end;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), ended).await.expect("the run ends")
    }
}

impl SearchService for Double {
    fn begin_run(&self, tool: &str, caller: &Caller, arguments: Json) -> Run {
        self.calls.lock().unwrap().push((tool.to_owned(), caller.clone(), arguments.clone()));
        let run = self.telemetry.run(tool, caller, arguments);
        self.run_ids.lock().unwrap().push(run.id.clone());
        run
    }

    fn begin_exchange(&self, method: &'static str, _: &Caller) -> Option<Span> {
        self.exchanges.lock().unwrap().push(method);
        None
    }

    fn search<'a>(&'a self, run: &'a Run, request: SearchRequest) -> BoxFuture<'a, Result<AnswerEnvelope, RequestError>> {
        Box::pin(async move {
            match request.query.as_str() {
                "panic" => panic!("as the query says"),
                "busy" => return Err(RequestError::Unavailable("the index is being built; try again in a minute".into())),
                "wait" => {
                    self.waiting.notify_one();
                    self.release.acquire().await.expect("never closed").forget();
                }
                _ => {}
            }
            let observability = Observability { trace_id: run.trace_id(), run_id: run.id.clone() };
            Ok(AnswerEnvelope { observability, ..envelope(request.limit) })
        })
    }

    fn open_file<'a>(&'a self, run: &'a Run, arguments: OpenFileArguments) -> BoxFuture<'a, Result<FileSlice, RequestError>> {
        Box::pin(async move {
            if arguments.path == "missing" {
                return Err(RequestError::NotFound("`missing` is not in the index".into()));
            }
            let observability = Observability { trace_id: run.trace_id(), run_id: run.id.clone() };
            Ok(FileSlice { path: arguments.path, observability, ..slice("one\ntwo\n") })
        })
    }

    fn git_blame<'a>(&'a self, run: &'a Run, arguments: BlameArguments) -> BoxFuture<'a, Result<BlameAnswer, RequestError>> {
        Box::pin(async move {
            if arguments.path == "missing" {
                return Err(RequestError::Git { class: "git_untracked", message: "`missing` is no file that HEAD tracks".into() });
            }
            let observability = Observability { trace_id: run.trace_id(), run_id: run.id.clone() };
            Ok(BlameAnswer { path: arguments.path, observability, ..blame(2) })
        })
    }

    fn git_history<'a>(&'a self, run: &'a Run, request: HistoryRequest) -> BoxFuture<'a, Result<HistoryAnswer, RequestError>> {
        Box::pin(async move {
            let observability = Observability { trace_id: run.trace_id(), run_id: run.id.clone() };
            Ok(HistoryAnswer { path: request.path, observability, ..history(request.limit) })
        })
    }

    fn experiment_report<'a>(&'a self, _: Option<&'a Run>, id: String) -> BoxFuture<'a, Result<ExperimentReport, RequestError>> {
        Box::pin(async move { Err(RequestError::NotFound(format!("`{id}` is no experiment of the folder"))) })
    }

    fn run_report<'a>(&'a self, _: Option<&'a Run>, key: ReportKey) -> BoxFuture<'a, Result<Reported, RequestError>> {
        Box::pin(async move { reports::report(&self.telemetry.records(), &key) })
    }

    fn report_feedback<'a>(&'a self, _: &'a Run, arguments: FeedbackArguments) -> BoxFuture<'a, Result<FeedbackAnswer, RequestError>> {
        let accepted = arguments.chunk_ids.len() as u32;
        Box::pin(async move { Ok(FeedbackAnswer { accepted, already_known: 0, run_id: arguments.run_id }) })
    }

    fn readiness(&self) -> Readiness {
        let ready = self.ready.load(Ordering::Relaxed);
        let check = Check { name: "index".into(), ok: ready, detail: "generation g000007".into() };
        Readiness { ready, checks: vec![check] }
    }

    fn roots_description(&self) -> String {
        "the repository double".into()
    }
}

/// An answer with that many findings.
pub(crate) fn envelope(findings: u32) -> AnswerEnvelope {
    let finding = |rank: u32| Finding {
        rank,
        chunk_id: ChunkId(u64::from(rank)),
        path: format!("src/file{rank}.rs"),
        document: None,
        start_line: 1,
        end_line: 2,
        symbol: Some(format!("thing{rank}")),
        language: "rust".into(),
        score: 0.92 / rank as f32,
        text: format!("fn thing{rank}() {{\n}}\n"),
        contributions: vec![
            Contribution { channel: ChannelName::Bm25, rank: 1, score: 12.5, share: 0.6 },
            Contribution { channel: ChannelName::Dense, rank: 3, score: 0.7, share: 0.4 },
        ],
        commit: None,
        team: None,
        explanation: None,
    };
    AnswerEnvelope {
        answer: format!("{findings} findings, the best in src/file1.rs."),
        confidence: 0.5,
        findings: (1..=findings).map(finding).collect(),
        warnings: Vec::new(),
        degraded: Vec::new(),
        index: IndexStamp {
            generation: "g000007".into(),
            commit: Some("0123456789abcdef".into()),
            dirty: false,
            age_s: 1_800,
            coverage: Coverage { files_indexed: 3, files_skipped: 1, chunks: 9, chunks_embedded: 9 },
        },
        observability: Observability { trace_id: "t".into(), run_id: "r".into() },
        experiments: Vec::new(),
        query_class: String::new(),
        next_cursor: None,
        explanation: None,
    }
}

/// A file with that text.
pub(crate) fn slice(text: &str) -> FileSlice {
    let lines = text.lines().count() as u32;
    FileSlice {
        path: "src/a.rs".into(),
        language: "rust".into(),
        start_line: 1,
        end_line: lines,
        total_lines: lines,
        text: text.into(),
        changed_since_indexed: false,
        warnings: Vec::new(),
        observability: Observability { trace_id: "t".into(), run_id: "r".into() },
    }
}

/// A commit, for blame and history.
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// 2026-01-31.
const TIME_S: i64 = 1_769_817_600;

/// A blame of that many hunks, two lines each.
pub(crate) fn blame(hunks: u32) -> BlameAnswer {
    let hunk = |number: u32| BlamedLines {
        start_line: 2 * number - 1,
        end_line: 2 * number,
        commit: COMMIT.into(),
        author: "Ada".into(),
        time_s: TIME_S,
        summary: format!("change {number}"),
        original_start_line: 2 * number - 1,
        original_path: None,
        boundary: false,
    };
    BlameAnswer {
        path: "src/a.rs".into(),
        head_commit: COMMIT.into(),
        start_line: 1,
        end_line: 2 * hunks,
        total_lines: 2 * hunks,
        hunks: (1..=hunks).map(hunk).collect(),
        changed_since_commit: false,
        warnings: Vec::new(),
        observability: Observability { trace_id: "t".into(), run_id: "r".into() },
    }
}

/// A history of that many commits.
pub(crate) fn history(commits: u32) -> HistoryAnswer {
    let commit = |number: u32| HistoryCommit {
        commit: COMMIT.into(),
        author: "Ada".into(),
        time_s: TIME_S,
        summary: format!("change {number}"),
        change: Change::Modified,
        renamed_from: None,
    };
    HistoryAnswer {
        path: "src/a.rs".into(),
        head_commit: COMMIT.into(),
        commits: (1..=commits).map(commit).collect(),
        more: false,
        warnings: Vec::new(),
        observability: Observability { trace_id: "t".into(), run_id: "r".into() },
    }
}

/// Arguments of a search.
pub(crate) fn query(text: &str) -> Json {
    json!({"query": text, "limit": 2})
}

/// A finding's way through the stages.
pub fn explanation() -> FindingExplanation {
    FindingExplanation {
        channels: Vec::new(),
        fused_rank: 1,
        fused_score: 0.5,
        boosted_rank: 1,
        boosted_score: 0.5,
        boost: 1.0,
        rerank_score: Some(0.75),
        rerank_parts: serde_json::Map::new(),
        team: None,
        final_rank: 1,
        without: std::collections::BTreeMap::new(),
    }
}

/// How the stages decided, the gate for one reason.
pub fn stages_explanation(reason: String) -> Explanation {
    let gate = GateExplanation {
        features: serde_json::Map::new(),
        class: "default".into(),
        ambiguity: 0.5,
        budgets: Vec::new(),
        rrf_k: 60.0,
        rm3: false,
        rerank_depth: 50,
        reasons: vec![reason],
    };
    let query = QueryExplanation {
        terms: Vec::new(),
        documents: 1,
        identifiers: Vec::new(),
        phrases: Vec::new(),
        prefixes: Vec::new(),
        expanded: Vec::new(),
        widened: Vec::new(),
    };
    Explanation { query, gate, plugins: std::collections::BTreeMap::new(), teams: std::collections::BTreeMap::new() }
}
