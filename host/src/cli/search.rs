//! `spanloom search`: one query or many, in this process or asked of a server.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::{Failure, print, runtime};
use crate::app::App;
use crate::config::Loaded;
use crate::envelope::AnswerEnvelope;
use crate::index::data_dir::DataDir;
use crate::mcp::{SearchService, answered_search, client};
use crate::request::{RequestError, SearchProArguments, SearchRequest};
use crate::telemetry::{Caller, ledger, trace_tree};

/// Bytes of a line in a batch file.
const LINE_BYTES_MAX: usize = 64 << 10;
/// How long a server may take to write down a run that it has answered.
const LEDGER_WAIT: Duration = Duration::from_secs(2);
/// Between two looks at it.
const LEDGER_POLL: Duration = Duration::from_millis(5);
/// Lines of a finding's text on a terminal.
const TEXT_LINES_SHOWN: usize = 6;

#[derive(Args)]
pub struct SearchArgs {
    /// Words, identifiers or a question
    #[arg(required_unless_present = "batch", conflicts_with = "batch")]
    query: Option<String>,
    /// How many findings, 1 to 100
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Only files that match this glob; may be repeated
    #[arg(long = "path", value_name = "GLOB")]
    paths: Vec<String>,
    /// Only files of this language; may be repeated
    #[arg(long = "language", value_name = "NAME")]
    languages: Vec<String>,
    /// Say why each finding stands where it stands
    #[arg(long)]
    explain: bool,
    /// Print the whole answer as JSON
    #[arg(long)]
    json: bool,
    /// Draw the trace of the search after its findings
    #[arg(long, conflicts_with = "batch")]
    trace: bool,
    /// Many queries: lines {"id": …, "text": …}; one JSON line {"query_id", "envelope"} is printed for each
    #[arg(long, value_name = "FILE.jsonl")]
    batch: Option<PathBuf>,
    /// Ask the server at this MCP endpoint instead of searching in this process
    #[arg(long, value_name = "URL", conflicts_with = "batch")]
    url: Option<String>,
}

impl SearchArgs {
    fn arguments(&self, query: &str) -> SearchProArguments {
        SearchProArguments {
            query: query.to_owned(),
            limit: self.limit,
            paths: (!self.paths.is_empty()).then(|| self.paths.clone()),
            languages: (!self.languages.is_empty()).then(|| self.languages.clone()),
            explain: self.explain.then_some(true),
            ..SearchProArguments::default()
        }
    }
}

pub fn run(loaded: &Loaded, arguments: SearchArgs) -> Result<(), Failure> {
    let runtime = runtime()?;
    if let Some(url) = &arguments.url {
        let answer = runtime
            .block_on(client::search(url, &arguments.arguments(arguments.query.as_deref().unwrap_or_default())))
            .map_err(Failure::failed)?;
        return show(loaded, &arguments, &answer);
    }
    let app = {
        let _within = runtime.enter();
        App::start(loaded).map_err(Failure::failed)?
    };
    app.snapshot().map_err(|error| Failure::NoIndex(error.to_string()))?;
    let outcome = match &arguments.batch {
        Some(file) => batch(&runtime, &app, &arguments, file),
        None => {
            let answer =
                runtime.block_on(one(&app, arguments.arguments(arguments.query.as_deref().unwrap_or_default()))).map_err(refused)?;
            app.telemetry().flush();
            show(loaded, &arguments, &answer)
        }
    };
    app.telemetry().flush();
    outcome
}

/// One search as a run of its own, with trace and ledger like a tool call's.
async fn one(app: &App, arguments: SearchProArguments) -> Result<AnswerEnvelope, RequestError> {
    let request = serde_json::to_value(&arguments).unwrap_or_default();
    let run = app.begin_run("semantic_search_pro", &Caller::default(), request);
    let outcome = match SearchRequest::pro(arguments) {
        Ok(request) => App::search(app, &run, &request).await,
        Err(error) => Err(error),
    };
    match &outcome {
        Ok(answer) => run.succeed(answered_search(&mut answer.clone()).map(|(_, outcome)| outcome).unwrap_or_default()),
        Err(error) => run.fail(error.class(), &error.to_string()),
    }
    outcome
}

fn refused(error: RequestError) -> Failure {
    match error {
        RequestError::Invalid(message) => Failure::Usage(message),
        RequestError::NotFound(message) | RequestError::Git { message, .. } => Failure::Failed(message),
        RequestError::Unavailable(message) => Failure::NoIndex(message),
    }
}

#[derive(Deserialize)]
struct BatchLine {
    id: Json,
    text: String,
}

fn batch(runtime: &tokio::runtime::Runtime, app: &App, arguments: &SearchArgs, file: &Path) -> Result<(), Failure> {
    let reader = std::fs::File::open(file).map_err(|error| Failure::Usage(format!("--batch {}: {error}", file.display())))?;
    let mut failed = 0_usize;
    for (number, line) in BufReader::new(reader).lines().enumerate() {
        let line = line.map_err(|error| Failure::Failed(format!("{}, line {}: {error}", file.display(), number + 1)))?;
        if line.trim().is_empty() {
            continue;
        }
        let parsed = if line.len() > LINE_BYTES_MAX {
            Err(format!("has {} bytes; allowed: {LINE_BYTES_MAX}", line.len()))
        } else {
            serde_json::from_str::<BatchLine>(&line).map_err(|error| format!("is not {{\"id\", \"text\"}}: {error}"))
        };
        let out = match parsed {
            Err(problem) => json!({ "query_id": null, "error": format!("line {} {problem}", number + 1) }),
            Ok(query) => match runtime.block_on(one(app, arguments.arguments(&query.text))) {
                Ok(envelope) => json!({ "query_id": query.id, "envelope": envelope }),
                Err(error) => json!({ "query_id": query.id, "error": error.to_string() }),
            },
        };
        failed += usize::from(out.get("error").is_some());
        print(&format!("{out}\n"))?;
    }
    if failed > 0 { Err(Failure::Partial(format!("{failed} lines have no answer; their `error` says why"))) } else { Ok(()) }
}

fn show(loaded: &Loaded, arguments: &SearchArgs, answer: &AnswerEnvelope) -> Result<(), Failure> {
    if arguments.json {
        print(&format!("{}\n", serde_json::to_string_pretty(answer).map_err(Failure::failed)?))?;
    } else {
        print(&as_text(answer))?;
    }
    if arguments.trace {
        let folder = DataDir::new(&loaded.config.data_dir.0).ledgers();
        let run = &answer.observability.run_id;
        let (path, lines) = whole_ledger(&folder, run)?
            .ok_or_else(|| Failure::Failed(format!("there is no ledger of run {run} in {}", folder.display())))?;
        print(&format!("\n{}ledger: {}\n", trace_tree::render(&lines), path.display()))?;
    }
    Ok(())
}

/// A run's ledger, once its last line is there or it was waited for long enough: a
/// server writes it a moment after the answer.
fn whole_ledger(folder: &Path, run: &str) -> Result<Option<(PathBuf, Vec<Json>)>, Failure> {
    let until = Instant::now() + LEDGER_WAIT;
    loop {
        let found = match ledger::find(folder, run).map_err(Failure::failed)? {
            Some(path) => Some(ledger::read(&path).map(|lines| (path, lines)).map_err(Failure::failed)?),
            None => None,
        };
        let whole = found.as_ref().is_some_and(|(_, lines)| lines.last().is_some_and(|line| line["line"] == "run.end"));
        if whole || Instant::now() >= until {
            return Ok(found);
        }
        std::thread::sleep(LEDGER_POLL);
    }
}

fn as_text(answer: &AnswerEnvelope) -> String {
    let mut out = format!("{}\n", answer.answer);
    for finding in &answer.findings {
        let symbol = finding.symbol.as_ref().map(|symbol| format!(" — {symbol}")).unwrap_or_default();
        let document = finding.document.as_ref().map(|id| format!(" document {id}")).unwrap_or_default();
        let channels: Vec<String> =
            finding.contributions.iter().map(|part| format!("{}#{} {:.0}%", part.channel, part.rank, part.share * 100.0)).collect();
        out += &format!(
            "\n{:>3}. {} L{}–L{}{symbol}{document} ({})  score {:.4}  {}\n",
            finding.rank,
            finding.path,
            finding.start_line,
            finding.end_line,
            finding.language,
            finding.score,
            channels.join(", ")
        );
        for line in finding.text.lines().filter(|line| !line.trim().is_empty()).take(TEXT_LINES_SHOWN) {
            let line: String = line.chars().take(110).collect();
            out += &format!("       {line}\n");
        }
        if let Some(explanation) = &finding.explanation {
            out += &format!("       why: {explanation}\n");
        }
    }
    if let Some(explanation) = &answer.explanation {
        out += &format!("\nhow: {explanation}\n");
    }
    for warning in &answer.warnings {
        out += &format!("\nwarning: {warning}\n");
    }
    let commit: String = answer.index.commit.as_deref().unwrap_or("no commit").chars().take(12).collect();
    out + &format!(
        "\nindex {} at {commit}{}, {} s old; run {} trace {}\n",
        answer.index.generation,
        if answer.index.dirty { " (dirty)" } else { "" },
        answer.index.age_s,
        answer.observability.run_id,
        answer.observability.trace_id
    )
}
