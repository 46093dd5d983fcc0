//! `spanloom plugin record`: stage calls of a running server as golden cases.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::json;

use super::new::StageName;
use crate::cli::{Failure, print, runtime};
use crate::config::Loaded;
use crate::plugin::cases::{Case, CaseError};
use crate::plugin::recorder::{Progress, RecordRequest};
use crate::types::Stage;

/// Between two looks at a server.
const POLL: Duration = Duration::from_millis(200);

#[derive(Args)]
pub struct RecordArgs {
    /// How many runs, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 10)]
    runs: u32,
    /// Only calls of this stage; may be repeated [default: all]
    #[arg(long, value_enum)]
    stage: Vec<StageName>,
    /// Leave out the words of queries and the texts of documents
    #[arg(long)]
    redact: bool,
    /// Where the cases are written
    #[arg(long, value_name = "DIR", default_value = "cases")]
    out: PathBuf,
    /// The server [default: where `serve` would listen]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// The server's admin endpoints.
struct Admin {
    client: Client,
    base: String,
    token: Option<String>,
}

pub fn run(loaded: &Loaded, arguments: &RecordArgs) -> Result<(), Failure> {
    let base = arguments.url.clone().unwrap_or_else(|| format!("http://{}", loaded.config.server.bind));
    let base = base.trim_end_matches('/').trim_end_matches("/mcp").replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:");
    let admin = Admin { client: Client::new(), base, token: loaded.admin_token() };
    runtime()?.block_on(record(&admin, arguments))
}

async fn record(admin: &Admin, arguments: &RecordArgs) -> Result<(), Failure> {
    let request = RecordRequest {
        runs: arguments.runs,
        stages: arguments.stage.iter().copied().map(Stage::from).collect(),
        redact: arguments.redact,
    };
    let path = "/admin/plugins/recording";
    let begun = admin.send(admin.client.post(admin.at(path)).json(&request)).await?;
    let id = begun.json::<serde_json::Value>().await.map_err(Failure::failed)?["id"].as_u64().unwrap_or_default();
    eprintln!("Recording {} runs at {}; Ctrl-C ends it …", arguments.runs, admin.base);
    let here = format!("{path}/{id}");
    let outcome = follow(admin, &here, arguments).await;
    // It may be gone already; what was recorded is here, or can't be written.
    let _ = admin.send(admin.client.delete(admin.at(&here))).await;
    outcome
}

/// Writes cases as they come, until the recording is done or somebody ends it.
async fn follow(admin: &Admin, here: &str, arguments: &RecordArgs) -> Result<(), Failure> {
    let (mut written, mut taken, mut lost, mut stopped) = (Vec::new(), 0, 0_u64, false);
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        let answer = admin.send(admin.client.get(admin.at(&format!("{here}?after={taken}")))).await?;
        let progress: Progress = answer.json().await.map_err(Failure::failed)?;
        taken += progress.cases.len();
        for case in &progress.cases {
            match write(case, arguments) {
                Ok(path) => written.push(path),
                Err(error) => {
                    lost += 1;
                    eprintln!("a call is left out: {error}");
                }
            }
        }
        if progress.done || stopped {
            return tell(&progress, &written, lost);
        }
        tokio::select! {
            _ = tokio::time::sleep(POLL) => {}
            _ = &mut interrupted, if !stopped => stopped = true,
        }
    }
}

fn write(case: &serde_json::Value, arguments: &RecordArgs) -> Result<PathBuf, CaseError> {
    let case = Case::parse(&case.to_string(), "the server's answer")?;
    let run = case.recorded.as_ref().map(|recorded| recorded.run_id.clone()).unwrap_or_default();
    // The last group of a run's id is random; the first ones are its time.
    let stem = format!("{}-{}", case.stage, run.rsplit('-').next().unwrap_or_default());
    case.write_to(&arguments.out, &stem)
}

fn tell(progress: &Progress, written: &[PathBuf], lost: u64) -> Result<(), Failure> {
    for path in written {
        print(&format!("{}\n", path.display()))?;
    }
    eprintln!("{} calls of {} runs", written.len(), progress.runs_seen);
    match (progress.dropped, lost) {
        (0, 0) => Ok(()),
        (0, lost) => Err(Failure::Partial(format!("{lost} calls could not be written"))),
        (dropped, _) => Err(Failure::Partial(format!("{dropped} calls did not fit into the server's memory for recordings"))),
    }
}

impl Admin {
    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let response = request
            .send()
            .await
            .map_err(|error| Failure::Failed(format!("no server answers at {}: {error}; start one with `spanloom serve`", self.base)))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let words = response.text().await.unwrap_or_default();
        let words = serde_json::from_str::<serde_json::Value>(&words)
            .ok()
            .and_then(|body| body["error"].as_str().map(str::to_owned))
            .unwrap_or(words);
        let failure = if status == StatusCode::BAD_REQUEST { Failure::Usage } else { Failure::Failed };
        Err(failure(format!("the server at {} answers {}: {words}", self.base, json!(status.as_u16()))))
    }
}
