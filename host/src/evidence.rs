//! What the index knows beyond words, offered to gates and rerankers as named columns.
//! In: one search's generation, profile and channel lists. Out: a value for each term of
//! the query, or for each row. `docs/evidence.md` says what each column means.

use std::collections::HashMap;
use std::sync::Arc;

use crate::engines::text::{TextError, TextQuery};
use crate::index::catalog::{ChunkRow, FileRow};
use crate::index::snapshot::Snapshot;
use crate::index::standing::Standing;
use crate::index::tokenize::Tokenizer;
use crate::profile::QueryProfile;
use crate::types::{ChannelName, ChunkId, RankedList};

/// The columns of a query's terms.
pub const TERM_COLUMNS: [&str; 4] = ["documents", "symbols", "paths", "comments"];

/// The fields of the text index in which the last three count a term.
const TERM_FIELDS: [(&str, &str); 3] = [("symbols", "names"), ("paths", "path"), ("comments", "comments")];

/// The column of rows that needs a search of its own.
const FILES_COLUMN: &str = "files_bm25";
/// Files that have a score there; what is further down says nothing.
const FILES_DEPTH: usize = 200;
/// Before the name of a role.
const ROLE_PREFIX: &str = "role_";

/// The columns of rows beside that and those of the channels. Each channel has two: its name, and
/// its name with `_rank`.
const ROW_COLUMNS: [&str; 13] = [
    "calls",
    "file_calls",
    "role_test",
    "role_example",
    "role_docs",
    "role_benchmark",
    "role_generated",
    "role_vendored",
    "file_chunks",
    "position",
    "comment_share",
    "comment_terms",
    "age_days",
];

const SECONDS_A_DAY: f64 = 86_400.0;

/// Numbers under a name, one for each thing that was asked about, all finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    pub name: String,
    pub values: Vec<f32>,
}

/// Columns, and why others are missing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    pub columns: Vec<Column>,
    /// A sentence for each column that could not be made.
    pub missing: Vec<String>,
}

/// The evidence of one search. Nothing is computed before it is asked for.
pub struct IndexEvidence {
    pub snapshot: Arc<Snapshot>,
    pub profile: Arc<QueryProfile>,
    /// What each channel found; none before the channels were asked.
    pub found: Vec<(ChannelName, RankedList)>,
}

/// The names of all columns of rows, in their order.
pub fn row_columns() -> Vec<String> {
    let of_channel = |channel: ChannelName| [channel.as_str().to_owned(), rank_column(channel)];
    ChannelName::ALL.into_iter().flat_map(of_channel).chain([FILES_COLUMN].into_iter().chain(ROW_COLUMNS).map(str::to_owned)).collect()
}

fn rank_column(channel: ChannelName) -> String {
    format!("{channel}_rank")
}

impl Found {
    fn add(&mut self, name: impl Into<String>, values: impl Iterator<Item = f32>) {
        let finite = |value: f32| if value.is_finite() { value } else { 0.0 };
        self.columns.push(Column { name: name.into(), values: values.map(finite).collect() });
    }
}

impl IndexEvidence {
    /// Of the query's terms, in the order of the profile: the columns of [`TERM_COLUMNS`].
    pub fn terms(&self) -> Found {
        let mut found = Found::default();
        found.add("documents", self.profile.document_frequencies.iter().map(|count| *count as f32));
        for (name, field) in TERM_FIELDS {
            match self.snapshot.text.frequencies_in(field, &self.profile.terms) {
                Ok(counts) => found.add(name, counts.into_iter().map(|count| count as f32)),
                Err(error) => found.missing.push(format!("column {name}: {error}")),
            }
        }
        found
    }

    /// Of rows, in their order: the columns of [`row_columns`].
    pub fn rows(&self, rows: &[&ChunkRow]) -> Found {
        let mut found = Found::default();
        for channel in ChannelName::ALL {
            self.add_channel(channel, rows, &mut found);
        }
        let known: Vec<Row<'_>> = rows.iter().map(|row| self.row(row)).collect();
        match best_files(&self.snapshot, &self.profile.terms) {
            Ok(best) => {
                found.add(FILES_COLUMN, known.iter().map(|row| row.file.and_then(|file| best.get(&file.id)).copied().unwrap_or(0.0)))
            }
            Err(error) => found.missing.push(format!("column {FILES_COLUMN}: {error}")),
        }
        let newest_s = self.snapshot.chunks.newest_commit_s();
        let comments = CommentTerms::of(&self.profile);
        let value = |name: &str, row: &Row<'_>| match name {
            "calls" => row.standing.calls,
            "file_calls" => row.standing.file_calls,
            "file_chunks" => row.standing.file_chunks as f32,
            "position" => row.standing.position as f32,
            "comment_share" => share(row.chunk.comments.len(), row.chunk.text.len()),
            "comment_terms" => comments.share(&row.chunk.comments),
            "age_days" => age_days(row.file.and_then(|file| file.commit_time_s), newest_s),
            role => f32::from(row.file.is_some_and(|file| role.strip_prefix(ROLE_PREFIX) == Some(file.role.as_str()))),
        };
        for name in ROW_COLUMNS {
            found.add(name, known.iter().map(|row| value(name, row)));
        }
        found
    }

    /// The row's own score and rank in a channel's list; 0 for both where it isn't in it.
    fn add_channel(&self, channel: ChannelName, rows: &[&ChunkRow], found: &mut Found) {
        let lists = self.found.iter().filter(|(name, _)| *name == channel).map(|(_, list)| list);
        let places: HashMap<ChunkId, (f32, usize)> = lists
            .flat_map(|list| list.ids.iter().zip(list.scores.iter().zip(1..)))
            .map(|(id, (score, rank))| (*id, (*score, rank)))
            .collect();
        let place = |row: &&ChunkRow| places.get(&row.id).copied().unwrap_or_default();
        found.add(channel.as_str(), rows.iter().map(|row| place(row).0));
        found.add(rank_column(channel), rows.iter().map(|row| place(row).1 as f32));
    }

    fn row<'a>(&'a self, chunk: &'a ChunkRow) -> Row<'a> {
        let place = self.snapshot.chunks.place(chunk.id);
        let standing = place.map(|(at, file)| self.snapshot.standings.of(at, file.id)).unwrap_or_default();
        Row { chunk, file: place.map(|(_, file)| file), standing }
    }
}

/// A row with what the index keeps of it in memory.
struct Row<'a> {
    chunk: &'a ChunkRow,
    file: Option<&'a FileRow>,
    standing: Standing,
}

/// The score of whole files for the query's terms, by file id; a file that isn't among the
/// best has none.
fn best_files(snapshot: &Snapshot, terms: &[String]) -> Result<HashMap<u32, f32>, TextError> {
    Ok(snapshot.best_files(&TextQuery::of(terms), FILES_DEPTH, None)?.into_iter().collect())
}

fn share(part: usize, whole: usize) -> f32 {
    if whole == 0 { 0.0 } else { (part as f32 / whole as f32).min(1.0) }
}

/// Days between two commits, at least 0; 0 where either isn't known.
fn age_days(commit_s: Option<i64>, newest_s: Option<i64>) -> f32 {
    let Some((commit_s, newest_s)) = commit_s.zip(newest_s) else { return 0.0 };
    (newest_s.saturating_sub(commit_s).max(0) as f64 / SECONDS_A_DAY) as f32
}

/// How much of a query stands in comments: the share of its terms, each weighted by its
/// rarity ([`QueryProfile::idf`]).
struct CommentTerms<'a> {
    tokenizer: Tokenizer,
    /// Terms and weights.
    terms: HashMap<&'a str, (usize, f32)>,
    weight_total: f32,
    /// The first characters of the terms.
    initials: Vec<char>,
}

impl CommentTerms<'_> {
    fn of(profile: &QueryProfile) -> CommentTerms<'_> {
        let weights = profile.idf();
        let mut initials: Vec<char> = profile.terms.iter().filter_map(|term| term.chars().next()).collect();
        initials.sort_unstable();
        initials.dedup();
        CommentTerms {
            tokenizer: Tokenizer::default(),
            weight_total: weights.iter().sum(),
            terms: profile.terms.iter().zip(weights).enumerate().map(|(at, (term, weight))| (term.as_str(), (at, weight))).collect(),
            initials,
        }
    }

    /// 0 to 1; 0 for a query without terms.
    fn share(&self, comments: &str) -> f32 {
        let mut seen = vec![false; self.terms.len()];
        let mut weight = 0.0;
        for word in comments.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| self.may_match(word)) {
            self.tokenizer.terms(word, &mut |term, _| {
                if let Some((at, own)) = self.terms.get(term)
                    && !std::mem::replace(&mut seen[*at], true)
                {
                    weight += own;
                }
            });
        }
        if self.weight_total > 0.0 { (weight / self.weight_total).min(1.0) } else { 0.0 }
    }

    /// Stemming is what costs, and keeps the first letter: a word of one part that begins
    /// otherwise than all terms is none of them.
    fn may_match(&self, word: &str) -> bool {
        let mut chars = word.chars();
        let Some(first) = chars.next() else { return false };
        let plain = first.is_ascii_alphabetic() && chars.all(|c| c.is_ascii_lowercase());
        !plain || self.initials.binary_search(&first.to_ascii_lowercase()).is_ok()
    }
}

#[cfg(test)]
mod tests;
