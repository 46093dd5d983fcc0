//! `spanloom status`: what is indexed, how much of it, and how fresh.

use clap::Args;
use serde_json::json;

use super::{Failure, print};
use crate::code::git::head_state;
use crate::config::Loaded;
use crate::engines::duckdb::CatalogError;
use crate::index::data_dir::DataDir;
use crate::index::manifest::{Manifest, RootKind};
use crate::index::snapshot::open_catalog;

#[derive(Args)]
pub struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(loaded: &Loaded, arguments: &StatusArgs) -> Result<(), Failure> {
    let data = DataDir::new(&loaded.config.data_dir.0);
    let no_index = |error: &dyn std::fmt::Display| Failure::NoIndex(error.to_string());
    let name = data.current().map_err(|error| no_index(&error))?;
    let checked = Manifest::open(&data.generation(&name)).map_err(|error| no_index(&error))?;
    let manifest = &checked.manifest;
    let damaged = |error: CatalogError| no_index(&format!("{name}: {error}; the index is damaged: run `spanloom index --rebuild`"));
    let catalog = open_catalog(&checked).map_err(damaged)?;
    let skipped = catalog.skipped_by_reason().map_err(damaged)?;
    let bytes: u64 = manifest.files.values().map(|file| file.bytes).sum();
    // Whether HEAD has moved on since; a root without git can't tell, and no commit is that of a file of records.
    let roots: Vec<_> = manifest
        .roots
        .iter()
        .map(|root| {
            let now = if root.kind == RootKind::Folder { head_state(&root.path).ok().flatten() } else { None };
            let moved = now.as_ref().is_some_and(|now| now.commit != root.commit);
            (root, moved, now.and_then(|now| now.commit))
        })
        .collect();
    let age_s =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.as_secs() as i64) - manifest.created_s;
    if arguments.json {
        let value = json!({
            "data_dir": data.path(), "generation": manifest.generation, "age_s": age_s, "bytes": bytes, "written_by": manifest.written_by,
            "counts": manifest.counts, "skipped": skipped.iter().map(|(reason, count)| json!({"reason": reason, "count": count})).collect::<Vec<_>>(),
            "base": manifest.base, "dense": manifest.dense, "warnings": manifest.warnings,
            "roots": roots.iter().map(|(root, moved, now)| json!({
                "path": root.path, "kind": root.kind, "name": root.name, "commit": root.commit, "branch": root.branch, "dirty": root.dirty, "commit_now": now, "moved": moved,
            })).collect::<Vec<_>>(),
        });
        return print(&format!("{}\n", serde_json::to_string_pretty(&value).map_err(Failure::failed)?));
    }
    let mut out =
        format!("generation  {} in {}, {:.1} MB, {} old\n", manifest.generation, data.path().display(), bytes as f64 / 1e6, age(age_s));
    for (root, moved, _) in &roots {
        if root.kind == RootKind::Documents {
            out += &format!("records     {}\n", root.path.display());
            continue;
        }
        let commit: String = root.commit.as_deref().unwrap_or("no commit").chars().take(12).collect();
        let dirty = if root.dirty { ", with uncommitted changes" } else { "" };
        let behind = if *moved { "; HEAD has moved since: run `spanloom index` again" } else { "" };
        out += &format!("root        {} at {commit}{dirty}{behind}\n", root.path.display());
    }
    let counts = &manifest.counts;
    let records = if counts.documents > 0 { format!(" ({} of them records)", counts.documents) } else { String::new() };
    out += &format!("files       {} indexed{records}, {} skipped", counts.files, counts.skipped);
    let reasons: Vec<String> = skipped.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    out += &if reasons.is_empty() { "\n".to_owned() } else { format!(" ({})\n", reasons.join(", ")) };
    out += &format!("chunks      {}, {} with a vector\n", counts.chunks, counts.embedded);
    out += &match &manifest.base {
        Some(base) => format!(
            "base        {} with {} chunks; since then {} added, {} removed ({:.1} %)\n",
            base.generation,
            base.chunks,
            base.added,
            base.removed,
            100.0 * (base.added + base.removed) as f64 / base.chunks.max(1) as f64
        ),
        None => "base        none: written whole\n".to_owned(),
    };
    out += &match &manifest.dense {
        Some(dense) => format!(
            "vectors     {} ({}), dimension {}, FAISS {}, nprobe {}; {} of {} in the secondary ({:.1} %)\n",
            dense.model,
            dense.embedder,
            dense.index.dimension,
            dense.index.kind,
            dense.index.nprobe,
            dense.secondary,
            counts.embedded,
            100.0 * dense.secondary as f64 / counts.embedded.max(1) as f64
        ),
        None => "vectors     none\n".to_owned(),
    };
    for warning in &manifest.warnings {
        out += &format!("warning     {warning}\n");
    }
    print(&out)
}

fn age(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{} s", seconds.max(0)),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
