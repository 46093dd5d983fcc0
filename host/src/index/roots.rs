//! What is known of the roots: their names, and what git says of them and their files.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;

use super::documents::DocumentsFile;
use super::manifest::{RootInfo, RootKind};
use super::previous::Before;
use super::read::Reading;
use crate::code::error::GitError;
use crate::code::git::{GitLimits, HeadState, History, head_state, last_commits};

/// What git says of a root; `None` outside of a work tree. The history is there when it
/// was asked for before the files were read.
pub(super) type Asked = Result<Option<(HeadState, Option<History>)>, GitError>;

/// Asks git about each root. With the paths that were scanned (root, path), if any come, the
/// history is walked at once: that of a first build is long, and goes on beside the reading.
pub(super) fn ask_git(roots: &[PathBuf], scanned: Receiver<Vec<(usize, String)>>, limits: &GitLimits) -> Vec<Asked> {
    let heads: Vec<_> = roots.iter().map(|root| head_state(root)).collect();
    let scanned = scanned.recv().ok();
    let ask = |number: usize, head: HeadState| {
        let Some(scanned) = &scanned else { return Ok((head, None)) };
        let paths: Vec<&str> = scanned.iter().filter(|(root, _)| *root == number).map(|(_, path)| path.as_str()).collect();
        let history = last_commits(&roots[number], &head, &paths, limits, None)?;
        Ok((head, Some(history)))
    };
    heads.into_iter().enumerate().map(|(number, head)| head.and_then(|head| head.map(|head| ask(number, head)).transpose())).collect()
}

/// Puts each file's last commit into its row. Without git, or when its facts can't be
/// had, files have no commit and a warning says so. Git is not asked about records.
pub(super) fn describe_roots(
    roots: &[PathBuf],
    documents: &[DocumentsFile],
    asked: Vec<Asked>,
    before: Option<&Before>,
    reading: &mut Reading,
    limits: &GitLimits,
    warnings: &mut Vec<String>,
) -> Vec<RootInfo> {
    let mut names = root_names(roots.iter().chain(documents.iter().map(|file| &file.path)));
    let of_documents = names.split_off(roots.len());
    let bare = |path: &Path, kind, name| RootInfo {
        path: path.to_owned(),
        kind,
        name,
        commit: None,
        branch: None,
        dirty: false,
        commits_max: None,
    };
    let records = documents.iter().zip(of_documents).map(|(file, name)| bare(&file.path, RootKind::Documents, name));
    roots
        .iter()
        .zip(asked)
        .zip(names)
        .enumerate()
        .map(|(number, ((root, asked), name))| {
            let mut info = bare(root, RootKind::Folder, name);
            let paths: Vec<&str> =
                reading.files.iter().filter(|file| file.row.root == number as u32).map(|file| file.row.path.as_str()).collect();
            let known = before.and_then(|before| before.known_commits(root, limits));
            let facts = asked.and_then(|asked| match asked {
                None => Ok(None),
                Some((head, Some(history))) => Ok(Some((head, history))),
                Some((head, None)) => last_commits(root, &head, &paths, limits, known.as_ref()).map(|history| Some((head, history))),
            });
            let (head, facts) = match facts {
                Ok(Some(found)) => found,
                Ok(None) => return info,
                Err(error) => {
                    warnings.push(format!("no git facts for {}: {}", root.display(), chain(&error)));
                    return info;
                }
            };
            let indexed: HashSet<&str> = if facts.unresolved.is_empty() { HashSet::new() } else { paths.into_iter().collect() };
            let unresolved = facts.unresolved.iter().filter(|path| indexed.contains(path.as_str())).count();
            if unresolved > 0 {
                warnings.push(format!(
                    "{unresolved} files of {} were last changed more than {} commits ago; their commit is not known",
                    root.display(),
                    limits.commits_max
                ));
            }
            for file in reading.files.iter_mut().filter(|file| file.row.root == number as u32) {
                let commit = facts.commits.get(&file.row.path);
                file.row.commit = commit.map(|commit| commit.commit.clone());
                file.row.commit_time_s = commit.map(|commit| commit.time_s);
            }
            (info.commit, info.branch, info.dirty) = (head.commit, head.branch, head.dirty);
            info.commits_max = facts.is_lasting.then_some(limits.commits_max as u64);
            info
        })
        .chain(records)
        .collect()
}

/// The last part of each root's path, made different where two are the same.
fn root_names<'a>(roots: impl Iterator<Item = &'a PathBuf>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for root in roots {
        let base = root.file_name().map_or_else(|| "root".to_owned(), |name| name.to_string_lossy().into_owned());
        let mut name = base.clone();
        let mut number = 2;
        while names.contains(&name) {
            name = format!("{base}-{number}");
            number += 1;
        }
        names.push(name);
    }
    names
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}
