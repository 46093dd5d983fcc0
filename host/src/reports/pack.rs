//! A runpack: all that is known of a run in one archive, to hand over.
//!
//! | entry | what it is |
//! | --- | --- |
//! | `manifest.json` | the other entries with sizes and sums, and when the pack was made |
//! | `ledger.jsonl` | the run's ledger |
//! | `report.json`, `report.md` | its report |
//! | `config.toml` | the configuration in effect now, with origins; secrets are not in it |
//! | `index.json` | the manifest of the generation that was searched, when it is still there |
//! | `versions.json` | this program, its libraries, the machine, the run's plugins by digest |
//!
//! Entries are in this order, without times or owners. Names and passwords within
//! URLs are taken out of every entry.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use serde::Serialize;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::replay::Original;
use super::{Reported, compose};
use crate::index::data_dir::DataDir;
use crate::index::manifest::MANIFEST_FILE;
use crate::telemetry::records::RunRecord;

/// What a pack is made of besides the run's record.
pub struct PackSource {
    /// The effective configuration as TOML lines.
    pub config: String,
    pub data: DataDir,
}

/// A file in a pack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    pub name: &'static str,
    pub bytes: u64,
    /// Of the entry as it is in the pack, in hexadecimal.
    pub sha256: String,
    /// Whether something was taken out of it.
    pub redacted: bool,
}

/// Writes the pack of a run to `path`, for its owner's eyes only. A file that is there
/// is only written over when `force` says so, and never in part.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`], or why something can't be read or written.
pub fn write(record: &RunRecord, source: &PackSource, path: &Path, force: bool) -> io::Result<Vec<Entry>> {
    if !force && path.exists() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let contents = contents(record, source)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Made with mode 0600, which it keeps.
    let mut partial = tempfile::Builder::new().prefix(".runpack-").tempfile_in(folder)?;
    let entries = archive(&contents, partial.as_file_mut())?;
    partial.as_file().sync_all()?;
    let kept = if force { partial.persist(path) } else { partial.persist_noclobber(path) };
    kept.map_err(|error| error.error)?;
    Ok(entries)
}

/// The entries but for the manifest, in order.
fn contents(record: &RunRecord, source: &PackSource) -> io::Result<Vec<(&'static str, String)>> {
    let ledger = match &record.path {
        // As it was written, torn lines and all.
        Some(path) => String::from_utf8_lossy(&std::fs::read(path)?).into_owned(),
        None => record.lines.iter().map(|line| format!("{line}\n")).collect(),
    };
    let reported = Reported::of(compose(record));
    let original = Original::of(&record.lines);
    let mut contents = vec![
        ("ledger.jsonl", ledger),
        ("report.json", pretty(&reported)?),
        ("report.md", reported.markdown()),
        ("config.toml", source.config.clone()),
    ];
    // A generation's name comes out of a file that anybody may have written.
    let named = original.generation.as_deref().filter(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    if let Some(manifest) = named.and_then(|name| std::fs::read_to_string(source.data.generation(name).join(MANIFEST_FILE)).ok()) {
        contents.push(("index.json", manifest));
    }
    contents.push(("versions.json", pretty(&versions(&original))?));
    Ok(contents)
}

fn versions(original: &Original) -> Json {
    let plugins: Vec<Json> = original
        .plugins
        .iter()
        .map(|(stage, plugin)| json!({"stage": stage, "name": plugin.name, "version": plugin.version, "sha256": plugin.sha256}))
        .collect();
    json!({
        "spanloom": env!("CARGO_PKG_VERSION"),
        "spanloom_of_the_run": original.version,
        "rustc": option_env!("SPANLOOM_RUSTC"),
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
        "libraries": libraries(),
        "plugins_of_the_run": plugins,
    })
}

/// Versions of the libraries that search and run plugins, out of the lock file.
fn libraries() -> Json {
    let list = option_env!("SPANLOOM_LIBRARIES").unwrap_or_default();
    let pairs = list.split(' ').filter_map(|pair| pair.split_once('='));
    Json::Object(pairs.map(|(name, version)| (name.to_owned(), json!(version))).collect())
}

fn archive(contents: &[(&'static str, String)], file: &mut File) -> io::Result<Vec<Entry>> {
    let clean: Vec<String> = contents.iter().map(|(_, text)| without_userinfo(text)).collect();
    let entry = |((name, text), clean): (&(&'static str, String), &String)| Entry {
        name,
        bytes: clean.len() as u64,
        sha256: Sha256::digest(clean).iter().map(|byte| format!("{byte:02x}")).collect(),
        redacted: clean != text,
    };
    let entries: Vec<Entry> = contents.iter().zip(&clean).map(entry).collect();
    let made_at = OffsetDateTime::now_utc().format(&Rfc3339).map_err(io::Error::other)?;
    let manifest = pretty(&json!({ "made_at": made_at, "files": entries }))?;
    // No name and no time in the header: the same entries give the same bytes.
    let gzip = GzBuilder::new().mtime(0).write(file, Compression::default());
    let mut archive = tar::Builder::new(gzip);
    append(&mut archive, "manifest.json", &manifest)?;
    for (entry, text) in entries.iter().zip(&clean) {
        append(&mut archive, entry.name, text)?;
    }
    archive.into_inner()?.finish()?.flush()?;
    Ok(entries)
}

fn append(archive: &mut tar::Builder<GzEncoder<&mut File>>, name: &str, text: &str) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o600);
    header.set_mtime(0);
    archive.append_data(&mut header, name, text.as_bytes())
}

fn pretty(value: &impl Serialize) -> io::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// The text with `…@` for every `user:password@` of a URL.
fn without_userinfo(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out += before;
        // Quotes of JSON and Markdown end it too; what else may end one may be in a password.
        let end = after.find(|c: char| c.is_whitespace() || "/?#\"`<>\\".contains(c)).unwrap_or(after.len());
        let (authority, following) = after.split_at(end);
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                out += "…@";
                out += host;
            }
            None => out += authority,
        }
        rest = following;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords_leave_urls() {
        for (text, expect) in [
            ("url = \"http://me:p,w;'@host:8001/v1?a=b@c\"  # default", "url = \"http://…@host:8001/v1?a=b@c\"  # default"),
            ("{\"m\":\"http://a@b\\nhttps://c:d@e@f\"}", "{\"m\":\"http://…@b\\nhttps://…@f\"}"),
            (
                "`http://u@h`, http://plain.example/a@b, mail@example.com ://@",
                "`http://…@h`, http://plain.example/a@b, mail@example.com ://…@",
            ),
            ("nothing here", "nothing here"),
        ] {
            assert_eq!(without_userinfo(text), expect);
        }
    }
}
