//! `spanloom index`: builds or updates an index, with progress on standard error.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use serde_json::json;

use super::{Failure, print, runtime};
use crate::config::Loaded;
use crate::index::build::{BuildError, BuildReport, Phase, Sources, build};
use crate::index::chunk::{Language, UnknownLanguage};
use crate::index::data_dir::DataDir;
use crate::index::documents::language_named;
use crate::index::manifest::Manifest;

#[derive(Args)]
pub struct IndexArgs {
    /// Git work trees or folders to index together
    #[arg(required_unless_present = "documents", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Plain records to index as well: one JSON object a line, with `id`, `text`, and if known `title`, `path`,
    /// `language`, `time` (Unix seconds or RFC 3339); may be given several times
    #[arg(long, value_name = "FILE.jsonl")]
    documents: Vec<PathBuf>,
    /// The language of records that tell none by `language` or `path`
    #[arg(long, value_name = "NAME", requires = "documents", value_parser = language)]
    documents_language: Option<Language>,
    /// Read every file anew, whatever the last index knows
    #[arg(long)]
    rebuild: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(loaded: &Loaded, arguments: IndexArgs) -> Result<(), Failure> {
    let runtime = runtime()?;
    let data = DataDir::new(&loaded.config.data_dir.0);
    let started = Instant::now();
    let bar = Bar::new();
    let sources = Sources { folders: arguments.paths, documents: arguments.documents, documents_language: arguments.documents_language };
    let outcome =
        build(&data, &sources, &loaded.build(arguments.rebuild), runtime.handle(), &|phase, done, total| bar.show(phase, done, total));
    bar.clear();
    let report = outcome.map_err(|error| match error {
        BuildError::Scan(_) | BuildError::Documents(_) => Failure::Usage(error.to_string()),
        other => Failure::failed(other),
    })?;
    let elapsed = started.elapsed();
    if arguments.json {
        print(&format!("{}\n", as_json(&report, elapsed)))?;
    } else {
        print(&as_text(&report, elapsed, &data))?;
    }
    for warning in &report.manifest.warnings {
        eprintln!("warning: {warning}");
    }
    let wants_vectors = loaded.config.embedding.kind == crate::config::EmbeddingKind::Vllm;
    match &report.manifest.dense {
        None if wants_vectors && report.manifest.counts.chunks > 0 => {
            Err(Failure::Partial("the index has no vectors; search uses BM25 alone".into()))
        }
        Some(dense) if dense.pending > 0 => {
            Err(Failure::Partial(format!("{} chunks have no vectors; BM25 alone finds them", dense.pending)))
        }
        _ => Ok(()),
    }
}

fn language(name: &str) -> Result<Language, UnknownLanguage> {
    language_named(name).ok_or_else(|| UnknownLanguage { name: name.to_owned() })
}

fn as_text(report: &BuildReport, elapsed: Duration, data: &DataDir) -> String {
    let manifest = &report.manifest;
    if !report.built {
        return format!(
            "Nothing has changed: generation {} is up to date ({}, {} chunks).\n",
            manifest.generation,
            counted(manifest),
            HumanCount(manifest.counts.chunks)
        );
    }
    let seconds = elapsed.as_secs_f64();
    let changes = match (&manifest.base, report.chunks.kept) {
        (_, 0) => String::new(),
        (base, _) => {
            let how = if base.is_some() { "updated" } else { "written whole" };
            format!(" ({} added, {} removed; {how})", HumanCount(report.chunks.added), HumanCount(report.chunks.removed))
        }
    };
    let speed = match &manifest.base {
        Some(_) => String::new(),
        None => format!(", {:.0} chunks a second", manifest.counts.chunks as f64 / seconds.max(f64::EPSILON)),
    };
    let dense = match &manifest.dense {
        Some(dense) => format!(
            "{} vectors of {} by {} in FAISS {}",
            HumanCount(manifest.counts.embedded),
            dense.index.dimension,
            dense.model,
            dense.index.kind
        ),
        None => "no vectors".to_owned(),
    };
    format!(
        "Indexed {} ({} read, {} unchanged, {} skipped) into {} chunks{changes}, {dense}.\nGeneration {} in {} serves now; {seconds:.1} s{speed}.\n",
        counted(manifest),
        HumanCount(report.files_read),
        HumanCount(report.files_kept),
        HumanCount(manifest.counts.skipped),
        HumanCount(manifest.counts.chunks),
        manifest.generation,
        data.path().display(),
    )
}

/// How many files and records there are.
fn counted(manifest: &Manifest) -> String {
    let records = manifest.counts.documents;
    let files = manifest.counts.files - records;
    match (files, records) {
        (_, 0) => format!("{} files", HumanCount(files)),
        (0, _) => format!("{} records", HumanCount(records)),
        _ => format!("{} files and {} records", HumanCount(files), HumanCount(records)),
    }
}

fn as_json(report: &BuildReport, elapsed: Duration) -> serde_json::Value {
    let manifest = &report.manifest;
    json!({
        "generation": manifest.generation,
        "built": report.built,
        "elapsed_ms": elapsed.as_millis() as u64,
        "files": { "indexed": manifest.counts.files, "read": report.files_read, "unchanged": report.files_kept, "skipped": manifest.counts.skipped, "documents": manifest.counts.documents, "fallbacks": report.fallbacks },
        "chunks": manifest.counts.chunks,
        "chunks_kept": report.chunks.kept, "chunks_added": report.chunks.added, "chunks_removed": report.chunks.removed,
        "updated": report.built && manifest.base.is_some(),
        "chunks_embedded": manifest.counts.embedded,
        "warnings": manifest.warnings,
    })
}

/// One bar for all phases, the latest one shown. Text and vectors are made side by
/// side, so phases may alternate.
struct Bar {
    bar: ProgressBar,
    /// Those that have begun, the one that is shown last.
    begun: Mutex<Vec<Phase>>,
}

impl Bar {
    fn new() -> Bar {
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{msg:<26} {wide_bar} {human_pos:>9}/{human_len:<9} {elapsed:>4}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Bar { bar, begun: Mutex::new(Vec::new()) }
    }

    fn show(&self, phase: Phase, done: usize, total: usize) {
        let mut begun = self.begun.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if begun.last() != Some(&phase) {
            self.bar.set_message(name(phase));
            // Where no terminal draws the bar, each phase is a line.
            if self.bar.is_hidden() && !begun.contains(&phase) {
                eprintln!("{} …", name(phase));
            }
            begun.retain(|known| *known != phase);
            begun.push(phase);
        }
        drop(begun);
        self.bar.set_length(total.max(done) as u64);
        self.bar.set_position(done as u64);
    }

    fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Scan => "Looking for files",
        Phase::Read => "Reading and chunking",
        Phase::Git => "Asking git for commits",
        Phase::Catalog => "Writing the catalog",
        Phase::Text => "Indexing words",
        Phase::Train => "Training the embedding",
        Phase::Embed => "Embedding",
        Phase::Publish => "Publishing",
    }
}
