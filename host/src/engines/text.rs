//! Words: BM25 over chunks and over whole files, on indexes that tantivy keeps.
//!
//! Tantivy writes the indexes and reads their dictionaries and lists. Scores are made
//! here ([`rank`]): tantivy keeps the length of a text in one byte, has k1 and b built
//! in, and takes longer when a query has many terms in several fields.

mod opened;
mod postings;
mod rank;
mod schema;
mod update;
mod write;

use std::borrow::Cow;
use std::collections::btree_map::Entry;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::index::tokenize::Tokenizer;
use crate::types::ChunkId;
use opened::Opened;
use schema::{FIELDS, Kind, NAMES};

pub use opened::TERMS_MAX;
pub use update::{update, update_files};
pub use write::{FileDocument, TextDocument, build, build_files};

/// Terms that a prefix stands for at most, the most frequent first.
pub const PREFIX_TERMS_MAX: usize = 64;
/// Letters of the shortest prefix.
pub const PREFIX_CHARS_MIN: usize = 2;

/// What tantivy said.
#[derive(Debug, thiserror::Error)]
#[error("text index: {0}")]
pub struct TextError(#[from] tantivy::TantivyError);

/// Decides by id what may be found.
pub type Admits<'a> = dyn Fn(u64) -> bool + Send + Sync + 'a;

/// How BM25 counts. With one field of weight 1 the scores are those of Lucene's variant.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bm25Settings {
    /// Weight of a match in the names that a chunk defines, 0 to 100; 0 leaves the
    /// field out, here and below.
    pub symbol_weight: f64,
    /// In the path.
    pub path_weight: f64,
    /// In the text.
    pub body_weight: f64,
    /// In comments and documentation, on top of their match in the text.
    pub comments_weight: f64,
    /// How slowly a term that stands there again and again stops counting more, 0 to 10.
    pub k1: f64,
    /// How far long texts count less, 0 (not at all) to 1.
    pub b: f64,
}

impl Default for Bm25Settings {
    /// Weights found with the names and paths of the development sets; see the README's
    /// figures. k1 and b are Lucene's.
    fn default() -> Self {
        Bm25Settings { symbol_weight: 0.4, path_weight: 0.5, body_weight: 1.0, comments_weight: 0.0, k1: 1.2, b: 0.75 }
    }
}

impl Bm25Settings {
    /// In the order of the index's fields.
    fn weights(&self) -> [f32; FIELDS] {
        [self.body_weight, self.symbol_weight, self.path_weight, self.comments_weight].map(|weight| weight as f32)
    }
}

/// Words that have to follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phrase {
    /// As the caller wrote it.
    pub text: String,
    /// Terms, and how far each stands behind the first; at least one.
    terms: Vec<(usize, String)>,
}

impl Phrase {
    /// `None` when the text has no terms.
    pub fn of(text: &str) -> Option<Phrase> {
        let terms = Tokenizer::default().phrase_terms(text);
        (!terms.is_empty()).then(|| Phrase { text: text.to_owned(), terms })
    }

    /// How many words it has; stop words are none.
    pub fn words(&self) -> usize {
        self.terms.len()
    }
}

/// What is searched.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TextQuery {
    /// Different terms as the index has them, each with a factor.
    pub terms: Vec<(String, f32)>,
    /// Terms that count as one, such as those that a prefix stands for.
    pub groups: Vec<Vec<String>>,
    /// Each counts like a term that stands once wherever the phrase does.
    pub phrases: Vec<Phrase>,
    pub settings: Bm25Settings,
}

impl TextQuery {
    /// Terms that all count alike.
    pub fn of(terms: &[String]) -> TextQuery {
        TextQuery { terms: terms.iter().map(|term| (term.clone(), 1.0)).collect(), ..TextQuery::default() }
    }
}

/// What a prefix stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expansion {
    /// At most [`PREFIX_TERMS_MAX`], in the order of the alphabet.
    pub terms: Vec<String>,
    /// How many there are.
    pub known: usize,
}

/// The index of chunks, opened for searching.
pub struct TextIndex(Opened);

impl TextIndex {
    /// # Errors
    /// When the folder holds no index, or one of other fields.
    pub fn open(folder: &Path) -> Result<TextIndex, TextError> {
        Opened::open(Kind::Chunks, folder).map(TextIndex)
    }

    /// In how many chunks each term stands, whichever field.
    ///
    /// # Errors
    /// What tantivy says.
    pub fn document_frequencies(&self, terms: &[String]) -> Result<Vec<u32>, TextError> {
        terms.iter().map(|term| self.0.document_frequency(term)).collect()
    }

    /// In how many chunks a term stands, whichever field.
    ///
    /// # Errors
    /// What tantivy says.
    pub fn document_frequency(&self, term: &str) -> Result<u32, TextError> {
        self.0.document_frequency(term)
    }

    /// In how many chunks each term stands in one field, by its name; 0 for a field that
    /// this index doesn't have.
    ///
    /// # Errors
    /// What tantivy says.
    pub fn frequencies_in(&self, field: &str, terms: &[String]) -> Result<Vec<u32>, TextError> {
        self.0.frequencies_in(field, terms)
    }

    /// Which of these chunks hold a term in one field, by its name; none for a field that
    /// this index doesn't have.
    ///
    /// # Errors
    /// What tantivy says.
    pub fn held_in(&self, field: &str, term: &str, ids: &[ChunkId]) -> Result<Vec<bool>, TextError> {
        match place_of(field) {
            Some(field) => self.0.held_in(field, term, &numbers(ids)),
            None => Ok(vec![false; ids.len()]),
        }
    }

    /// How many terms each of these chunks has in one field, by its name; 0 for a field
    /// or a chunk that is not there.
    pub fn lengths_in(&self, field: &str, ids: &[ChunkId]) -> Vec<f32> {
        place_of(field).map_or_else(|| vec![0.0; ids.len()], |field| self.0.lengths_in(field, &numbers(ids)))
    }

    /// How many chunks there are.
    pub fn documents(&self) -> u64 {
        self.0.documents()
    }

    /// The `depth` best chunks, best first, equal scores by id:
    ///
    /// Σ over fields, terms, groups and phrases of
    /// weight × ln(1 + (N − n + ½) / (n + ½)) × tf / (tf + k1 · (1 − b + b · length / mean length)),
    ///
    /// BM25 as Lucene has it (Robertson and Zaragoza 2009; Kamphuis et al. 2020), with
    /// exact lengths, summed over the fields. `admits` decides by chunk id. Nothing to
    /// search gives no rows. Of more than [`TERMS_MAX`] terms the rarest are searched.
    ///
    /// # Errors
    /// What tantivy says.
    pub fn search(&self, query: &TextQuery, depth: usize, admits: Option<&Admits>) -> Result<Vec<(ChunkId, f32)>, TextError> {
        Ok(self.0.search(query, depth, admits)?.into_iter().map(|(id, score)| (ChunkId(id), score)).collect())
    }

    /// The score of each of these chunks, in the order of `ids`, as [`TextIndex::search`]
    /// would give it; 0 for one that holds nothing of the query or is not there.
    ///
    /// # Errors
    /// What tantivy says.
    pub fn scores_of(&self, query: &TextQuery, ids: &[ChunkId]) -> Result<Vec<f32>, TextError> {
        self.0.scores_of(query, &numbers(ids))
    }

    /// The chunks that hold a phrase in text, names or path, ascending.
    ///
    /// # Errors
    /// What tantivy says.
    pub fn holding(&self, phrase: &Phrase) -> Result<Vec<ChunkId>, TextError> {
        Ok(self.0.holding(phrase)?.into_iter().map(ChunkId).collect())
    }

    /// The terms that begin with `prefix`, whatever its case. English words are in the
    /// index without their endings: the stem of the prefix belongs to them, so that
    /// `parse*` finds `parse`.
    ///
    /// # Errors
    /// What tantivy says.
    pub fn expand(&self, prefix: &str) -> Result<Expansion, TextError> {
        let lower = prefix.trim_start_matches('_').to_lowercase();
        let mut known = self.0.beginning_with(&lower)?;
        let stem = Tokenizer::default().stem(&lower);
        if let Entry::Vacant(entry) = known.entry(stem) {
            let frequency = self.0.document_frequency(entry.key())?;
            if frequency > 0 {
                entry.insert(frequency);
            }
        }
        let all = known.len();
        let mut terms: Vec<(u32, String)> = known.into_iter().map(|(term, frequency)| (frequency, term)).collect();
        if all > PREFIX_TERMS_MAX {
            terms.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
            terms.truncate(PREFIX_TERMS_MAX);
        }
        let mut terms: Vec<String> = terms.into_iter().map(|(_, term)| term).collect();
        terms.sort_unstable();
        Ok(Expansion { terms, known: all })
    }
}

/// The index of whole files, opened for searching.
pub struct FileIndex(Opened);

impl FileIndex {
    /// # Errors
    /// When the folder holds no index, or one of other fields.
    pub fn open(folder: &Path) -> Result<FileIndex, TextError> {
        Opened::open(Kind::Files, folder).map(FileIndex)
    }

    /// The `depth` best files by their first chunk, best first, equal scores by its id;
    /// scored as [`TextIndex::search`] scores chunks. `admits` decides by that id. Phrases
    /// are left aside.
    ///
    /// # Errors
    /// What tantivy says.
    pub fn search(&self, query: &TextQuery, depth: usize, admits: Option<&Admits>) -> Result<Vec<(ChunkId, f32)>, TextError> {
        let rows = self.0.search(&without_phrases(query), depth, admits)?;
        Ok(rows.into_iter().map(|(first, score)| (ChunkId(first), score)).collect())
    }

    /// The score of each of these files by its first chunk, in the order of `firsts`; 0
    /// for one that holds nothing of the query or is not there.
    ///
    /// # Errors
    /// What tantivy says.
    pub fn scores_of(&self, query: &TextQuery, firsts: &[ChunkId]) -> Result<Vec<f32>, TextError> {
        self.0.scores_of(&without_phrases(query), &numbers(firsts))
    }
}

fn place_of(field: &str) -> Option<usize> {
    NAMES.iter().position(|name| *name == field)
}

fn numbers(ids: &[ChunkId]) -> Vec<u64> {
    ids.iter().map(|id| id.0).collect()
}

/// Files are indexed without places.
fn without_phrases(query: &TextQuery) -> Cow<'_, TextQuery> {
    if query.phrases.is_empty() { Cow::Borrowed(query) } else { Cow::Owned(TextQuery { phrases: Vec::new(), ..query.clone() }) }
}

#[cfg(test)]
mod tests;
