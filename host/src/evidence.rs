//! What the index knows beyond words, offered to gates and rerankers as named columns.
//! In: one search's generation, profile and channel lists. Out: a value for each term of
//! the query, or for each row. `docs/evidence.md` says what each column means.

use std::collections::HashMap;
use std::sync::Arc;

use crate::engines::text::{TextError, TextQuery};
use crate::index::catalog::{ChunkRow, FileRow};
use crate::index::snapshot::Snapshot;
use crate::index::standing::Standing;
use crate::profile::QueryProfile;
use crate::types::{ChannelName, ChunkId, RankedList};

/// The columns of a query's terms.
pub const TERM_COLUMNS: [&str; 4] = ["documents", "symbols", "paths", "comments"];

/// The fields of the text index in which the last three count a term.
const TERM_FIELDS: [(&str, &str); 3] = [("symbols", "names"), ("paths", "path"), ("comments", COMMENTS_FIELD)];

/// The columns that the text index is asked for.
const COMMENT_SHARE: &str = "comment_share";
const COMMENT_TERMS: &str = "comment_terms";
/// Fields of the text index.
const COMMENTS_FIELD: &str = "comments";
const TEXT_FIELD: &str = "body";
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
    COMMENT_SHARE,
    COMMENT_TERMS,
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
    /// What they were asked.
    pub asked: Asked,
}

/// What the channels of one search were asked.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub bm25: Arc<TextQuery>,
    pub files: Arc<TextQuery>,
    pub dense: Option<Arc<[f32]>>,
}

/// The names of all columns of rows, in their order.
pub fn row_columns() -> Vec<String> {
    let of_channel = |channel: ChannelName| [channel.as_str().to_owned(), rank_column(channel)];
    ChannelName::ALL.into_iter().flat_map(of_channel).chain(ROW_COLUMNS.map(str::to_owned)).collect()
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
        let ids: Vec<ChunkId> = rows.iter().map(|row| row.id).collect();
        let newest_s = self.snapshot.chunks.newest_commit_s();
        let value = |name: &str, row: &Row<'_>| match name {
            "calls" => row.standing.calls,
            "file_calls" => row.standing.file_calls,
            "file_chunks" => row.standing.file_chunks as f32,
            "position" => row.standing.position as f32,
            "age_days" => age_days(row.file.and_then(|file| file.commit_time_s), newest_s),
            role => f32::from(row.file.is_some_and(|file| role.strip_prefix(ROLE_PREFIX) == Some(file.role.as_str()))),
        };
        for name in ROW_COLUMNS {
            match name {
                COMMENT_SHARE => found.add(name, self.comment_shares(&ids).into_iter()),
                COMMENT_TERMS => match self.comment_terms(&ids) {
                    Ok(shares) => found.add(name, shares.into_iter()),
                    Err(error) => found.missing.push(format!("column {name}: {error}")),
                },
                other => found.add(name, known.iter().map(|row| value(other, row))),
            }
        }
        found
    }

    /// How many of a row's words stand in comments, as a share.
    fn comment_shares(&self, ids: &[ChunkId]) -> Vec<f32> {
        let lengths = |field| self.snapshot.text.lengths_in(field, ids);
        lengths(COMMENTS_FIELD).into_iter().zip(lengths(TEXT_FIELD)).map(|(part, whole)| share(part, whole)).collect()
    }

    /// How much of the query stands in the comments of each row: the share of its terms, each
    /// weighted by its rarity ([`QueryProfile::idf`]). 0 for a query without terms.
    fn comment_terms(&self, ids: &[ChunkId]) -> Result<Vec<f32>, TextError> {
        let mut weights = vec![0.0_f32; ids.len()];
        let idf = self.profile.idf();
        for (term, own) in self.profile.terms.iter().zip(&idf) {
            for (weight, held) in weights.iter_mut().zip(self.snapshot.text.held_in(COMMENTS_FIELD, term, ids)?) {
                *weight += if held { *own } else { 0.0 };
            }
        }
        let all: f32 = idf.iter().sum();
        Ok(weights.into_iter().map(|weight| share(weight, all)).collect())
    }

    /// The score that a channel gives each row, and the row's rank in the channel's list. A
    /// row beyond the list has a score, too, but no rank. Both are 0 for all rows when the
    /// channel has no list.
    fn add_channel(&self, channel: ChannelName, rows: &[&ChunkRow], found: &mut Found) {
        let Some((_, list)) = self.found.iter().find(|(name, _)| *name == channel) else {
            found.add(channel.as_str(), rows.iter().map(|_| 0.0));
            found.add(rank_column(channel), rows.iter().map(|_| 0.0));
            return;
        };
        let places: HashMap<ChunkId, (f32, usize)> =
            list.ids.iter().zip(list.scores.iter().zip(1..)).map(|(id, (score, rank))| (*id, (*score, rank))).collect();
        let beyond: Vec<ChunkId> = rows.iter().map(|row| row.id).filter(|id| !places.contains_key(id)).collect();
        let beyond: HashMap<ChunkId, f32> = match self.scores_beyond(channel, &beyond) {
            Ok(scores) => beyond.into_iter().zip(scores).collect(),
            Err(error) => {
                found.missing.push(format!("column {channel}, of rows beyond its list: {error}"));
                HashMap::new()
            }
        };
        let score = |row: &&ChunkRow| places.get(&row.id).map(|place| place.0).or_else(|| beyond.get(&row.id).copied()).unwrap_or(0.0);
        found.add(channel.as_str(), rows.iter().map(score));
        found.add(rank_column(channel), rows.iter().map(|row| places.get(&row.id).map_or(0.0, |place| place.1 as f32)));
    }

    fn scores_beyond(&self, channel: ChannelName, ids: &[ChunkId]) -> Result<Vec<f32>, String> {
        let nothing = || vec![0.0; ids.len()];
        match channel {
            ChannelName::Bm25 => self.snapshot.text.scores_of(&self.asked.bm25, ids).map_err(|error| error.to_string()),
            ChannelName::Files => self.of_files(&self.asked.files, ids).map_err(|error| error.to_string()),
            ChannelName::Dense => match (&self.snapshot.dense, &self.asked.dense) {
                (Some(dense), Some(vector)) => dense.scores_of(vector, ids).map_err(|error| error.to_string()),
                _ => Ok(nothing()),
            },
        }
    }

    /// The score of each chunk's whole file.
    fn of_files(&self, query: &TextQuery, ids: &[ChunkId]) -> Result<Vec<f32>, TextError> {
        let chunks = &self.snapshot.chunks;
        let first = |id: &ChunkId| chunks.chunks_of(chunks.file_number(*id)?).first().copied();
        let firsts: Vec<Option<ChunkId>> = ids.iter().map(first).collect();
        let mut asked: Vec<ChunkId> = firsts.iter().flatten().copied().collect();
        asked.sort_unstable();
        asked.dedup();
        let scores = self.snapshot.files_text.scores_of(query, &asked)?;
        let score = |first: ChunkId| asked.binary_search(&first).ok().map(|at| scores[at]);
        Ok(firsts.into_iter().map(|first| first.and_then(score).unwrap_or(0.0)).collect())
    }

    fn row(&self, chunk: &ChunkRow) -> Row<'_> {
        let place = self.snapshot.chunks.place(chunk.id);
        let standing = place.map(|(at, file)| self.snapshot.standings.of(at, file.id)).unwrap_or_default();
        Row { file: place.map(|(_, file)| file), standing }
    }
}

/// What the index keeps of a row in memory.
struct Row<'a> {
    file: Option<&'a FileRow>,
    standing: Standing,
}

fn share(part: f32, whole: f32) -> f32 {
    if whole > 0.0 { (part / whole).min(1.0) } else { 0.0 }
}

/// Days between two commits, at least 0; 0 where either isn't known.
fn age_days(commit_s: Option<i64>, newest_s: Option<i64>) -> f32 {
    let Some((commit_s, newest_s)) = commit_s.zip(newest_s) else { return 0.0 };
    (newest_s.saturating_sub(commit_s).max(0) as f64 / SECONDS_A_DAY) as f32
}

#[cfg(test)]
mod tests;
