//! `spanloom doctor`: tries every part and says what to do about what is wrong.

mod telemetry;

use std::path::Path;

use clap::Args;
use serde_json::json;

use super::{Failure, print, runtime};
use crate::app::App;
use crate::config::{EmbeddingKind, Loaded};
use crate::engines::faiss::VectorIndex;
use crate::index::data_dir::{DataDir, DataDirError};
use crate::index::manifest::Manifest;
use crate::index::snapshot::Snapshot;
use crate::mcp::SearchService;
use crate::models::vllm::VllmEmbedder;
use crate::models::{Embedder as _, EmbedderSettings};
use crate::request::{SearchArguments, SearchRequest};
use crate::telemetry::Caller;

#[derive(Args)]
pub struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

struct Finding {
    part: &'static str,
    state: State,
    detail: String,
    remedy: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    /// Nothing to check, or nothing that keeps a search from working.
    Note,
    Broken,
}

pub fn run(loaded: &Loaded, arguments: &DoctorArgs) -> Result<(), Failure> {
    let runtime = runtime()?;
    let data = DataDir::new(&loaded.config.data_dir.0);
    let _within = runtime.enter();
    let mut findings = vec![processor(), faiss(), writable(data.path()), index(&data, loaded)];
    findings.extend(embedding(loaded, &runtime));
    findings.extend(telemetry::findings(loaded));
    findings.push(port("port", &loaded.config.server.bind));
    if loaded.otel().prometheus {
        findings.push(port("metrics port", &loaded.config.server.metrics_bind));
    }
    match App::start(loaded) {
        Ok(app) => {
            for (plugin, active) in app.plugins().set().list() {
                let identity = &plugin.identity;
                findings.push(Finding::ok(
                    "plugin",
                    format!("{} {} {}{}", identity.stage, identity.name, identity.version, if active { ", active" } else { "" }),
                ));
            }
            for refusal in app.plugins().refusals() {
                findings.push(Finding::broken("plugin file", refusal.message, "correct or remove the file; requests can't name it"));
            }
            findings.extend(plugin_folder(loaded));
            if app.snapshot().is_ok() {
                findings.push(runtime.block_on(search(&app)));
            }
        }
        Err(error) => {
            findings.push(Finding::broken("plugin", error.to_string(), "correct `plugins` in the configuration, or rebuild the component"))
        }
    }
    let broken = findings.iter().filter(|finding| finding.state == State::Broken).count();
    if arguments.json {
        let list: Vec<_> = findings.iter().map(|finding| json!({ "part": finding.part, "state": finding.state.name(), "detail": finding.detail, "remedy": finding.remedy })).collect();
        print(&format!("{}\n", serde_json::to_string_pretty(&list).map_err(Failure::failed)?))?;
    } else {
        let mut out = String::new();
        for finding in &findings {
            out += &format!("{:<7} {:<13} {}\n", finding.state.name(), finding.part, finding.detail);
            if !finding.remedy.is_empty() {
                out += &format!("{:<21} → {}\n", "", finding.remedy);
            }
        }
        print(&out)?;
    }
    if broken > 0 { Err(Failure::Failed(format!("{broken} of {} checks found something broken", findings.len()))) } else { Ok(()) }
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Note => "note",
            State::Broken => "broken",
        }
    }
}

impl Finding {
    fn ok(part: &'static str, detail: impl Into<String>) -> Finding {
        Finding { part, state: State::Ok, detail: detail.into(), remedy: String::new() }
    }

    fn note(part: &'static str, detail: impl Into<String>, remedy: &str) -> Finding {
        Finding { part, state: State::Note, detail: detail.into(), remedy: remedy.into() }
    }

    fn broken(part: &'static str, detail: impl Into<String>, remedy: &str) -> Finding {
        Finding { part, state: State::Broken, detail: detail.into(), remedy: remedy.into() }
    }
}

fn processor() -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    #[cfg(target_arch = "x86_64")]
    if !(std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma")) {
        return Finding::broken(
            "processor",
            "has no AVX2 and FMA, with which FAISS is built",
            "remove CXXFLAGS from .cargo/config.toml and build again",
        );
    }
    Finding::ok("processor", format!("{} with {cores} cores", std::env::consts::ARCH))
}

fn faiss() -> Finding {
    let vectors = [1.0, 0.0, 0.0, 1.0];
    match VectorIndex::build(&vectors, 2).and_then(|index| index.search(&[0.1, 0.9], 1, None)) {
        Ok(hits) if hits.first().is_some_and(|hit| hit.0 == 1) => Finding::ok("FAISS", "builds and searches"),
        Ok(hits) => Finding::broken("FAISS", format!("finds {hits:?} where row 1 is nearest"), "build again from a clean target folder"),
        Err(error) => Finding::broken("FAISS", error.to_string(), "build again from a clean target folder"),
    }
}

fn writable(path: &Path) -> Finding {
    if !path.exists() {
        return Finding::note("data folder", format!("{} does not exist yet", path.display()), "spanloom index PATH makes it");
    }
    match tempfile::tempfile_in(path) {
        Ok(_) => Finding::ok("data folder", path.display().to_string()),
        Err(error) => Finding::broken(
            "data folder",
            format!("{}: {error}", path.display()),
            "give this user the right to write there, or name another --data-dir",
        ),
    }
}

fn index(data: &DataDir, loaded: &Loaded) -> Finding {
    let name = match data.current() {
        Ok(name) => name,
        Err(error @ DataDirError::NoIndex(_)) => return Finding::note("index", error.to_string(), "spanloom index PATH"),
        Err(error) => return Finding::broken("index", error.to_string(), "spanloom index PATH"),
    };
    let outcome = Manifest::open(&data.generation(&name)).and_then(|checked| checked.verify_sums().map(|()| checked.manifest));
    let manifest = match outcome {
        Ok(manifest) => manifest,
        Err(error) => return Finding::broken("index", error.to_string(), "spanloom index --rebuild PATH"),
    };
    match Snapshot::open_current(data, &loaded.embedder()) {
        Ok(_) => Finding::ok(
            "index",
            format!("{name}: {} chunks, {} files with the right SHA-256", manifest.counts.chunks, manifest.files.len()),
        ),
        Err(error) => Finding::broken("index", error.to_string(), "spanloom index --rebuild PATH"),
    }
}

fn embedding(loaded: &Loaded, runtime: &tokio::runtime::Runtime) -> Option<Finding> {
    let EmbedderSettings::Vllm(settings) = loaded.embedder() else {
        let builtin = loaded.config.embedding.kind == EmbeddingKind::Builtin;
        return Some(Finding::ok("embedding", if builtin { "built in, trained on the corpus" } else { "off: BM25 alone" }));
    };
    let url = settings.base_url.clone();
    Some(match runtime.block_on(VllmEmbedder::connect(settings)) {
        Ok(embedder) => Finding::ok("embedding", format!("{} at {url}, dimension {}", embedder.info().model, embedder.info().dimension)),
        Err(error) => Finding::broken(
            "embedding",
            error.to_string(),
            "start vLLM there, or correct `embedding.vllm`; until then search uses BM25 alone",
        ),
    })
}

/// A folder of plugins that can't be read has none.
fn plugin_folder(loaded: &Loaded) -> Option<Finding> {
    let folder = loaded.config.plugins.folder.as_ref()?;
    let error = std::fs::read_dir(folder).err()?;
    Some(Finding::broken("plugin folder", format!("{}: {error}", folder.display()), "make the folder, or correct `plugins.folder`"))
}

fn port(part: &'static str, address: &str) -> Finding {
    match std::net::TcpListener::bind(address) {
        Ok(_) => Finding::ok(part, format!("{address} is free")),
        Err(error) => Finding::note(
            part,
            format!("{address}: {error}"),
            "a server may already run there; another address can be given to `spanloom serve`",
        ),
    }
}

async fn search(app: &App) -> Finding {
    let run = app.begin_run("semantic_search", &Caller::default(), json!({ "query": "main" }));
    let outcome = match SearchRequest::simple(SearchArguments { query: "main".into(), ..SearchArguments::default() }) {
        Ok(request) => App::search(app, &run, &request).await,
        Err(error) => Err(error),
    };
    match &outcome {
        Ok(_) => run.succeed(json!({})),
        Err(error) => run.fail(error.class(), &error.to_string()),
    }
    match outcome {
        Ok(answer) if answer.degraded.is_empty() => {
            Finding::ok("search", format!("a query went through every stage, {} findings", answer.findings.len()))
        }
        Ok(answer) => Finding::broken("search", answer.warnings.join("; "), "see the parts above"),
        Err(error) => Finding::broken("search", error.to_string(), "see the parts above"),
    }
}
