//! What a reranker may ask about its rows: of the host, or of a test's own list.

use std::cell::Cell;

use crate::bindings::rerank::spanloom::search::evidence::Column;
use crate::bindings::rerank::spanloom::search::{documents, evidence, scoring};
use crate::{Evidence, Facts, PluginError, ScoringError, columns};

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
    /// Values by the names of their columns. A name that another document has and this one
    /// doesn't is 0 here.
    pub evidence: Vec<(String, f32)>,
}

/// How often documents in memory were asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub texts: u32,
    pub look_ups: u32,
    pub evidence: u32,
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

    /// What the index knows of chunks beyond words, in the order of `ids`; the columns have
    /// its length.
    pub fn evidence(&self, ids: &[u64]) -> Result<Evidence, PluginError> {
        let columns = match &self.0 {
            Source::Host => evidence::rows(ids),
            Source::Memory { documents, asked } => {
                count(asked, |asked| asked.evidence += 1);
                let rows: Vec<&Document> = rows(documents, ids).collect();
                evidence_of(documents, &rows)
            }
        };
        Evidence::checked(columns, ids.len())
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

/// A column for each name that any of the documents has, in the order in which they come.
fn evidence_of(documents: &[Document], rows: &[&Document]) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for (name, _) in documents.iter().flat_map(|document| &document.evidence) {
        if columns.iter().all(|known| known.name != *name) {
            let value = |row: &&Document| row.evidence.iter().find(|(known, _)| known == name).map_or(0.0, |(_, value)| *value);
            columns.push(Column { name: name.clone(), values: rows.iter().map(value).collect() });
        }
    }
    columns
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
    fn evidence_has_a_column_for_each_name() {
        let with = |id, evidence: &[(&str, f32)]| Document {
            evidence: evidence.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
            ..document(id)
        };
        let documents = Documents::in_memory(vec![with(1, &[("calls", 3.0)]), with(2, &[("calls", 1.0), ("role_test", 1.0)])]);
        let evidence = documents.evidence(&[2, 1]).expect("columns of equal length");
        assert_eq!(evidence.column("calls"), Some(&[1.0, 3.0][..]));
        assert_eq!(evidence.column("role_test"), Some(&[1.0, 0.0][..]));
        assert_eq!((evidence.column("bm25"), documents.asked().evidence), (None, 1));
        let empty = documents.evidence(&[]).expect("columns of no rows");
        assert_eq!(empty.column("calls"), Some(&[][..]));
    }

    #[test]
    #[should_panic(expected = "id 9")]
    fn unknown_ids_are_refused() {
        let _ = Documents::in_memory(vec![document(1)]).texts(&[9]);
    }
}
