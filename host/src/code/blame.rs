//! Which commit each line of a file comes from. In: a root folder, a path in it, a range of
//! lines. Out: hunks of lines that came with the same commit, for the file as HEAD has it.
//!
//! Written on diffs rather than on libgit2's own blame, which can't be interrupted and has no bound
//! on the commits that it looks at.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::path::Path;
use std::rc::Rc;

use git2::{Commit, DiffOptions, Oid, Patch, Repository};

use super::error::GitError;
use super::git::Trees;
use super::renames::{FILE_BYTES_MAX, renamed_from};
use super::walk::{CommitFacts, Cut, Queue, Tracked, Version, WalkBounds, is_shallow_end, parents, version};

/// Bytes of file contents kept during a walk: a version is compared with those before and after
/// it, on a few branches at a time. Emptied when full.
const CACHED_BYTES_MAX: usize = 64 << 20;

/// Where lines of a file come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blame {
    /// 40 hex digits: the commit whose version of the file this is about.
    pub head_commit: String,
    /// The file as HEAD has it.
    pub content: Vec<u8>,
    /// Lines of `content`; a last one without a line break counts.
    pub total_lines: u32,
    /// In the order of the lines, without gaps. Empty when the range begins beyond the file.
    pub hunks: Vec<BlameHunk>,
    /// Versions of the file that were looked at; commits, but for files that came from several.
    pub commits_walked: usize,
    /// Why some hunks are [`BlameHunk::is_boundary`], in the order in which that came up.
    pub cuts: Vec<Cut>,
}

/// Lines that came with one commit and stood together in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlameHunk {
    /// First line at HEAD, from 1.
    pub start_line: u32,
    /// Last line at HEAD, inclusive.
    pub end_line: u32,
    pub facts: CommitFacts,
    /// First line in the commit's version of the file, from 1.
    pub original_start_line: u32,
    /// The file's path then, relative to the root, when it was another one.
    pub original_path: Option<String>,
    /// Whether the commit is only where the search ended: the lines are from it or older.
    pub is_boundary: bool,
}

/// The commits that lines (from 1, inclusive) of `path`, relative to `root`, come from.
///
/// Every line goes from HEAD back to the first parent whose version has it, until none does. As
/// with `git blame`, a parent's version is the file of the same path, else the one that the commit
/// renamed; a parent with the very same content takes all lines; what has it is told by a
/// line diff (Myers, with the indent heuristic). Lines that moved within or between files
/// count as new.
///
/// # Errors
/// When HEAD doesn't track the file, its version is too large, or an object that is needed is
/// missing or damaged.
pub fn blame(root: &Path, path: &str, lines: RangeInclusive<u32>, bounds: &WalkBounds<'_>) -> Result<Blame, GitError> {
    let file = Tracked::open(root, path)?;
    let read = |source| GitError::Read { root: root.to_owned(), source };
    let mut walk = Walk::new(&file, bounds);
    let Some(content) = walk.contents.get(file.version.blob).map_err(read)? else {
        let bytes = walk.contents.bytes(file.version.blob).map_err(read)?;
        return Err(GitError::TooLarge { path: path.to_owned(), bytes, bytes_max: FILE_BYTES_MAX });
    };
    let total_lines = line_count(&content);
    let first = lines.start().saturating_sub(1);
    let count = total_lines.min(*lines.end()).saturating_sub(first);
    if count > 0 {
        walk.run(Span { at: first, line: first, count }).map_err(read)?;
    }
    let hunks = walk.hunks().map_err(read)?;
    Ok(Blame {
        head_commit: file.head.to_string(),
        content: content.to_vec(),
        total_lines,
        hunks,
        commits_walked: walk.commits_walked,
        cuts: walk.cuts,
    })
}

/// Whether both have the same lines, whatever ends them (a work tree may have `\r\n` where the
/// repository has `\n`) and whether or not a byte order mark begins them.
pub fn has_same_lines(committed: &[u8], on_disk: &[u8]) -> bool {
    fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
        text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
    }
    let [committed, on_disk] = [committed, on_disk].map(|text| text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text));
    committed == on_disk || lines(committed).eq(lines(on_disk))
}

/// Lines that stand together in some version of the file, all counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    /// First line in that version.
    at: u32,
    /// The same line at HEAD.
    line: u32,
    count: u32,
}

/// A version of the file: of which commit, under which path.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Suspect {
    commit: Oid,
    path: Rc<[u8]>,
}

/// Lines whose commit is known.
struct Settled {
    span: Span,
    suspect: Suspect,
    is_boundary: bool,
}

impl Settled {
    /// Whether the other's lines, the next ones at HEAD, are also the next ones where they came from.
    fn is_followed_by(&self, other: &Settled) -> bool {
        let is_next = self.span.at + self.span.count == other.span.at;
        is_next && self.suspect == other.suspect && self.is_boundary == other.is_boundary
    }
}

struct Walk<'a> {
    file: &'a Tracked,
    bounds: &'a WalkBounds<'a>,
    trees: Trees<'a>,
    contents: Contents<'a>,
    queue: Queue<(Suspect, Version)>,
    waiting: HashMap<Suspect, Vec<Span>>,
    settled: Vec<Settled>,
    commits_walked: usize,
    cuts: Vec<Cut>,
}

impl<'a> Walk<'a> {
    fn new(file: &'a Tracked, bounds: &'a WalkBounds<'a>) -> Self {
        let repository = &file.place.repository;
        Walk {
            file,
            bounds,
            trees: Trees::new(repository),
            contents: Contents { repository, cached: HashMap::new(), bytes: 0 },
            queue: Queue::new(),
            waiting: HashMap::new(),
            settled: Vec::new(),
            commits_walked: 0,
            cuts: Vec::new(),
        }
    }

    /// Brings every line of the span to its commit. The order in which versions are looked at
    /// changes the cost, never the result (except what a bound leaves open).
    fn run(&mut self, span: Span) -> Result<(), git2::Error> {
        let repository = &self.file.place.repository;
        let head = repository.find_commit(self.file.head)?;
        let suspect = Suspect { commit: head.id(), path: self.file.path.as_slice().into() };
        self.pass(&head, suspect.path, self.file.version, vec![span]);
        while let Some((suspect, version)) = self.queue.pop() {
            let Some(mut spans) = self.waiting.remove(&suspect) else {
                continue;
            };
            if let Some(cut) = self.bounds.reached(self.commits_walked) {
                self.cut(cut);
                self.settle(&suspect, spans, true);
                let left: Vec<_> = self.waiting.drain().collect();
                left.into_iter().for_each(|(suspect, spans)| self.settle(&suspect, spans, true));
                break;
            }
            self.commits_walked += 1;
            let commit = repository.find_commit(suspect.commit)?;
            spans.sort_unstable_by_key(|span| (span.at, span.line));
            let mut is_boundary = false;
            let origins = self.origins(&commit, &suspect, version)?;
            for Origin { parent, path, version: there } in origins {
                if there.blob == version.blob {
                    self.pass(&parent, path, there, std::mem::take(&mut spans));
                    break;
                }
                let (Some(old), Some(new)) = (self.contents.get(there.blob)?, self.contents.get(version.blob)?) else {
                    self.cut(Cut::TooLarge);
                    is_boundary = true;
                    continue;
                };
                let (kept, rest) = split(&spans, &unchanged(&old, &new)?);
                self.pass(&parent, path, there, kept);
                spans = rest;
                if spans.is_empty() {
                    break;
                }
            }
            if !spans.is_empty() {
                if is_shallow_end(&commit) {
                    self.cut(Cut::Shallow);
                    is_boundary = true;
                }
                self.settle(&suspect, spans, is_boundary);
            }
        }
        Ok(())
    }

    /// The versions that this one may have its lines from, at most one for each parent, in their
    /// order. One with the same content stands alone.
    fn origins(&mut self, commit: &Commit<'a>, suspect: &Suspect, here: Version) -> Result<Vec<Origin<'a>>, git2::Error> {
        let mut origins: Vec<Option<Origin<'a>>> = Vec::new();
        for parent in parents(commit) {
            let parent = parent?;
            let there = version(&mut self.trees, parent.tree_id(), &suspect.path)?.filter(|version| version.is_file());
            let origin = there.map(|version| Origin { parent, path: suspect.path.clone(), version });
            match origin {
                Some(origin) if origin.version.blob == here.blob => return Ok(vec![origin]),
                origin => origins.push(origin),
            }
        }
        for (number, parent) in parents(commit).enumerate() {
            if origins[number].is_some() {
                continue;
            }
            let parent = parent?;
            let trees = (parent.tree_id(), commit.tree_id());
            if let Some((path, version)) = renamed_from(&self.file.place.repository, trees, &suspect.path, here, self.bounds)? {
                let origin = Origin { parent, path: path.into(), version };
                if version.blob == here.blob {
                    return Ok(vec![origin]);
                }
                origins[number] = Some(origin);
            }
        }
        let mut seen: Vec<Oid> = Vec::new();
        let mut distinct: Vec<Origin<'a>> = origins.into_iter().flatten().collect();
        distinct.retain(|origin| {
            let is_new = !seen.contains(&origin.version.blob);
            seen.push(origin.version.blob);
            is_new
        });
        Ok(distinct)
    }

    /// Lets lines wait at a version.
    fn pass(&mut self, commit: &Commit<'_>, path: Rc<[u8]>, version: Version, spans: Vec<Span>) {
        if spans.is_empty() {
            return;
        }
        let suspect = Suspect { commit: commit.id(), path };
        let waiting = self.waiting.entry(suspect.clone()).or_default();
        if waiting.is_empty() {
            self.queue.push(commit.time().seconds(), (suspect, version));
        }
        waiting.extend(spans);
    }

    fn settle(&mut self, suspect: &Suspect, spans: Vec<Span>, is_boundary: bool) {
        self.settled.extend(spans.into_iter().map(|span| Settled { span, suspect: suspect.clone(), is_boundary }));
    }

    fn cut(&mut self, cut: Cut) {
        if !self.cuts.contains(&cut) {
            self.cuts.push(cut);
        }
    }

    /// What was settled, in the order of lines, neighbours joined.
    fn hunks(&mut self) -> Result<Vec<BlameHunk>, git2::Error> {
        self.settled.sort_unstable_by_key(|settled| settled.span.line);
        let mut joined: Vec<Settled> = Vec::new();
        for settled in std::mem::take(&mut self.settled) {
            match joined.last_mut() {
                Some(last) if last.is_followed_by(&settled) => last.span.count += settled.span.count,
                _ => joined.push(settled),
            }
        }
        let mut facts: BTreeMap<Oid, CommitFacts> = BTreeMap::new();
        let hunk = |Settled { span, suspect, is_boundary }: Settled| {
            let facts = match facts.get(&suspect.commit) {
                Some(facts) => facts.clone(),
                None => {
                    let new = CommitFacts::of(&self.file.place.repository.find_commit(suspect.commit)?);
                    facts.entry(suspect.commit).or_insert(new).clone()
                }
            };
            Ok(BlameHunk {
                start_line: span.line + 1,
                end_line: span.line + span.count,
                facts,
                original_start_line: span.at + 1,
                original_path: (*suspect.path != *self.file.path).then(|| self.file.relative(&suspect.path)),
                is_boundary,
            })
        };
        joined.into_iter().map(hunk).collect()
    }
}

/// A parent's version of the file.
struct Origin<'r> {
    parent: Commit<'r>,
    path: Rc<[u8]>,
    version: Version,
}

/// Lines that two versions share, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    old: u32,
    new: u32,
    count: u32,
}

/// What a diff leaves as it was, in the order of lines.
fn unchanged(old: &[u8], new: &[u8]) -> Result<Vec<Block>, git2::Error> {
    let mut options = DiffOptions::new();
    options.context_lines(0).interhunk_lines(0).indent_heuristic(true).force_text(true);
    let patch = Patch::from_buffers(old, None, new, None, Some(&mut options))?;
    let mut blocks = Vec::new();
    let mut push = |from: (u32, u32), to: u32| {
        if to > from.1 {
            blocks.push(Block { old: from.0, new: from.1, count: to - from.1 });
        }
    };
    let mut after = (0, 0);
    for number in 0..patch.num_hunks() {
        let (hunk, _) = patch.hunk(number)?;
        // A side without lines is given by the line before it.
        let first = |start: u32, lines: u32| if lines == 0 { start } else { start.saturating_sub(1) };
        let (old_first, new_first) = (first(hunk.old_start(), hunk.old_lines()), first(hunk.new_start(), hunk.new_lines()));
        push(after, new_first);
        after = (old_first + hunk.old_lines(), new_first + hunk.new_lines());
    }
    push(after, line_count(new));
    Ok(blocks)
}

/// The parts of spans (sorted) that lie in blocks, with their place in the old version, and the
/// parts that don't.
fn split(spans: &[Span], blocks: &[Block]) -> (Vec<Span>, Vec<Span>) {
    let (mut kept, mut rest) = (Vec::new(), Vec::new());
    for span in spans {
        let (mut at, end) = (span.at, span.at + span.count);
        let part = |from: u32, to: u32| Span { at: from, line: span.line + (from - span.at), count: to - from };
        let first = blocks.partition_point(|block| block.new + block.count <= at);
        for block in blocks[first..].iter().take_while(|block| block.new < end) {
            let (from, to) = (block.new.max(at), (block.new + block.count).min(end));
            if from > at {
                rest.push(part(at, from));
            }
            kept.push(Span { at: block.old + (from - block.new), ..part(from, to) });
            at = to;
        }
        if at < end {
            rest.push(part(at, end));
        }
    }
    (kept, rest)
}

/// File contents by blob.
struct Contents<'r> {
    repository: &'r Repository,
    cached: HashMap<Oid, Rc<[u8]>>,
    bytes: usize,
}

impl Contents<'_> {
    fn bytes(&self, blob: Oid) -> Result<usize, git2::Error> {
        self.repository.odb()?.read_header(blob).map(|(bytes, _)| bytes)
    }

    /// `None` when there are more than [`FILE_BYTES_MAX`].
    fn get(&mut self, blob: Oid) -> Result<Option<Rc<[u8]>>, git2::Error> {
        if let Some(content) = self.cached.get(&blob) {
            return Ok(Some(content.clone()));
        }
        let bytes = self.bytes(blob)?;
        if bytes > FILE_BYTES_MAX {
            return Ok(None);
        }
        if self.bytes + bytes > CACHED_BYTES_MAX {
            self.cached.clear();
            self.bytes = 0;
        }
        let content: Rc<[u8]> = self.repository.find_blob(blob)?.content().into();
        self.bytes += content.len();
        self.cached.insert(blob, content.clone());
        Ok(Some(content))
    }
}

/// A last line without a line break counts. [`FILE_BYTES_MAX`] keeps the number small.
fn line_count(text: &[u8]) -> u32 {
    let breaks = text.iter().filter(|byte| **byte == b'\n').count();
    let open_end = text.last().is_some_and(|byte| *byte != b'\n');
    u32::try_from(breaks).unwrap_or(u32::MAX).saturating_add(u32::from(open_end))
}

#[cfg(test)]
mod tests;
