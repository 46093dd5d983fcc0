//! What a reranker may ask about its rows: of the host, or of a test's own list.

use std::cell::Cell;

use crate::bindings::rerank::spanloom::search::{documents, scoring};
use crate::{Facts, PluginError, ScoringError, columns};

/// Answers about the rows of one call. Each method is one call of the host, so ask
/// once for all rows. An id that is not among the rows ends the call with a trap.
pub struct Documents(Source);

enum Source {
    Host,
    Memory { documents: Vec<Document>, asked: Cell<Asked> },
}

/// A chunk for tests.
#[derive(Clone, Debug, Default)]
pub struct Document {
    pub id: u64,
    pub path: String,
    /// See `symbols` in [`Facts`].
    pub symbol: String,
    /// See `definitions` in [`Facts`].
    pub definitions: String,
    pub language: String,
    pub start_line: u32,
    pub end_line: u32,
    pub commit_time: i64,
    pub text: String,
    /// `None` for no such model.
    pub late_interaction: Option<f32>,
    /// `None` for no such model.
    pub cross_encoder: Option<f32>,
}

/// How often documents in memory were asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub texts: u32,
    pub look_ups: u32,
    pub scores: u32,
}

impl Documents {
    /// The documents of the running call.
    pub fn host() -> Documents {
        Documents(Source::Host)
    }

    /// Documents for a test.
    pub fn in_memory(documents: Vec<Document>) -> Documents {
        let asked = Cell::default();
        Documents(Source::Memory { documents, asked })
    }

    /// The texts of chunks, in the order of `ids`.
    pub fn texts(&self, ids: &[u64]) -> Result<Vec<String>, PluginError> {
        let texts = match &self.0 {
            Source::Host => documents::texts(ids),
            Source::Memory { documents, asked } => {
                count(asked, |asked| asked.texts += 1);
                rows(documents, ids).map(|row| row.text.clone()).collect()
            }
        };
        columns::check(format_args!("texts"), texts.len(), ids.len())?;
        Ok(texts)
    }

    /// Facts about chunks, in the order of `ids`; the columns have its length.
    pub fn look_up(&self, ids: &[u64]) -> Result<Facts, PluginError> {
        let facts = match &self.0 {
            Source::Host => documents::look_up(ids),
            Source::Memory { documents, asked } => {
                count(asked, |asked| asked.look_ups += 1);
                facts(rows(documents, ids))
            }
        };
        for (name, length) in [
            ("paths", facts.paths.len()),
            ("symbols", facts.symbols.len()),
            ("definitions", facts.definitions.len()),
            ("languages", facts.languages.len()),
            ("start lines", facts.start_lines.len()),
            ("end lines", facts.end_lines.len()),
            ("commit times", facts.commit_times.len()),
        ] {
            columns::check(format_args!("{name}"), length, ids.len())?;
        }
        Ok(facts)
    }

    /// Late interaction (MaxSim) of the call's query with each chunk.
    pub fn late_interaction(&self, ids: &[u64]) -> Result<Vec<f32>, ScoringError> {
        let scores = match &self.0 {
            Source::Host => scoring::late_interaction(ids),
            Source::Memory { documents, asked } => {
                count(asked, |asked| asked.scores += 1);
                scores(rows(documents, ids).map(|row| row.late_interaction))
            }
        };
        scores.and_then(|scores| aligned(scores, ids))
    }

    /// Cross-encoder relevance of each chunk to the call's query.
    pub fn cross_encoder(&self, ids: &[u64]) -> Result<Vec<f32>, ScoringError> {
        let scores = match &self.0 {
            Source::Host => scoring::cross_encoder(ids),
            Source::Memory { documents, asked } => {
                count(asked, |asked| asked.scores += 1);
                scores(rows(documents, ids).map(|row| row.cross_encoder))
            }
        };
        scores.and_then(|scores| aligned(scores, ids))
    }

    /// How often documents in memory were asked; zeros for those of the host.
    pub fn asked(&self) -> Asked {
        match &self.0 {
            Source::Host => Asked::default(),
            Source::Memory { asked, .. } => asked.get(),
        }
    }
}

fn count(asked: &Cell<Asked>, change: impl FnOnce(&mut Asked)) {
    let mut counts = asked.get();
    change(&mut counts);
    asked.set(counts);
}

/// Panics at an unknown id, where the host would trap.
fn rows<'a>(documents: &'a [Document], ids: &'a [u64]) -> impl Iterator<Item = &'a Document> {
    ids.iter().map(|&id| {
        let found = documents.iter().find(|document| document.id == id);
        found.unwrap_or_else(|| panic!("id {id} is not among the documents"))
    })
}

fn facts<'a>(rows: impl Iterator<Item = &'a Document>) -> Facts {
    let mut facts = Facts {
        paths: Vec::new(),
        symbols: Vec::new(),
        definitions: Vec::new(),
        languages: Vec::new(),
        start_lines: Vec::new(),
        end_lines: Vec::new(),
        commit_times: Vec::new(),
    };
    for row in rows {
        facts.paths.push(row.path.clone());
        facts.symbols.push(row.symbol.clone());
        facts.definitions.push(row.definitions.clone());
        facts.languages.push(row.language.clone());
        facts.start_lines.push(row.start_line);
        facts.end_lines.push(row.end_line);
        facts.commit_times.push(row.commit_time);
    }
    facts
}

fn scores(rows: impl Iterator<Item = Option<f32>>) -> Result<Vec<f32>, ScoringError> {
    let missing = || ScoringError::Unsupported("no such model among the documents".into());
    rows.map(|score| score.ok_or_else(missing)).collect()
}

fn aligned(scores: Vec<f32>, ids: &[u64]) -> Result<Vec<f32>, ScoringError> {
    columns::check(format_args!("scores"), scores.len(), ids.len()).map_err(|error| ScoringError::Unavailable(error.to_string()))?;
    Ok(scores)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(id: u64) -> Document {
        Document { id, text: format!("text {id}"), path: format!("src/{id}.rs"), cross_encoder: Some(id as f32), ..Document::default() }
    }

    #[test]
    fn answers_follow_the_ids_and_are_counted() {
        let documents = Documents::in_memory(vec![document(1), document(2)]);
        assert_eq!(documents.texts(&[2, 1]), Ok(vec!["text 2".into(), "text 1".into()]));
        let facts = documents.look_up(&[2]).expect("columns of equal length");
        assert_eq!(facts.paths, ["src/2.rs"]);
        assert_eq!(documents.cross_encoder(&[2, 1]), Ok(vec![2.0, 1.0]));
        assert!(matches!(documents.late_interaction(&[1]), Err(ScoringError::Unsupported(_))));
        let asked = documents.asked();
        assert_eq!((asked.texts, asked.look_ups, asked.scores), (1, 1, 2));
        assert_eq!(documents.texts(&[]), Ok(Vec::new()));
    }

    #[test]
    #[should_panic(expected = "id 9")]
    fn unknown_ids_are_refused() {
        let _ = Documents::in_memory(vec![document(1)]).texts(&[9]);
    }
}
