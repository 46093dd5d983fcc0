//! Puts a test set together: which layout it has, which queries can be judged, and what
//! had to be left out, counted.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::matching::{Level, Truth, same_path};
use super::read::{self, Grades, QueryLine, ReadError};

/// The files of a test set.
#[derive(Clone, Debug, Default)]
pub struct SetPaths {
    pub queries: PathBuf,
    pub qrels: Option<PathBuf>,
    pub corpus: Option<PathBuf>,
}

/// How a set says what is relevant. Seen from its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Graded documents in a file of their own.
    Qrels,
    /// Places within each query.
    Places,
}

/// A query that can be judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    pub id: String,
    pub text: String,
    pub truth: Truth,
}

/// A checked test set; it has at least one question.
#[derive(Clone, Debug)]
pub struct TestSet {
    pub layout: Layout,
    pub level: Level,
    /// In the order of the file.
    pub questions: Vec<Question>,
    /// What may be ranked; `None` for everything.
    pub kept: Option<BTreeSet<String>>,
    /// Queries of the file, those that can't be judged included.
    pub queries_read: usize,
    /// What was left out, with counts.
    pub warnings: Vec<String>,
}

impl TestSet {
    /// Reads a set. `level` is file for documents and chunk for places when it isn't
    /// given.
    ///
    /// # Errors
    /// [`ReadError`]: a file can't be read or is wrong, or no query can be judged.
    pub fn read(paths: &SetPaths, level: Option<Level>) -> Result<TestSet, ReadError> {
        let queries = read::queries(&paths.queries)?;
        let kept = paths.corpus.as_deref().map(read::ranked_documents).transpose()?;
        let has_places = queries.iter().any(|query| query.places.is_some());
        let mut set = match (&paths.qrels, has_places) {
            (Some(_), true) => {
                let problem = "its queries name `relevant` places, and --qrels is given, too; allowed: one of them";
                return Err(ReadError::of(&paths.queries, problem));
            }
            (None, false) => {
                let problem = "its queries name no `relevant` places, and --qrels isn't given; allowed: one of them";
                return Err(ReadError::of(&paths.queries, problem));
            }
            (Some(qrels), false) => TestSet::of_grades(queries, read::qrels(qrels)?, level.unwrap_or(Level::File), kept),
            (None, true) => TestSet::of_places(queries, level.unwrap_or(Level::Chunk), kept),
        };
        set.keep_lines();
        match set.questions.is_empty() {
            true => Err(ReadError::of(&paths.queries, "none of its queries has a judgment; do the ids agree?")),
            false => Ok(set),
        }
    }

    fn of_grades(queries: Vec<QueryLine>, mut grades: Grades, level: Level, kept: Option<BTreeSet<String>>) -> TestSet {
        let queries_read = queries.len();
        let mut warnings = Vec::new();
        let known: BTreeSet<&str> = queries.iter().map(|query| query.id.as_str()).collect();
        let strange: BTreeSet<&String> = grades.keys().filter(|query| !known.contains(query.as_str())).collect();
        count(&mut warnings, &strange, "judged queries that the set doesn't have, not used");
        let mut unjudged = Vec::new();
        let mut questions = Vec::new();
        for QueryLine { id, text, .. } in &queries {
            match grades.get(id) {
                Some(own) => questions.push(Question { id: id.clone(), text: text.clone(), truth: Truth::Grades(own.clone()) }),
                None => unjudged.push(id),
            }
        }
        count(&mut warnings, &unjudged, "queries without a judgment, not asked");
        let nothing: Vec<&String> =
            questions.iter().filter(|question| question.truth.relevant() == 0).map(|question| &question.id).collect();
        count(&mut warnings, &nothing, "queries with nothing relevant, which count 0");
        if let Some(kept) = &kept {
            let judged = questions.iter().filter_map(|question| grades.remove(&question.id)).flatten();
            let dropped: BTreeSet<String> =
                judged.filter(|(document, grade)| *grade > 0 && !kept.contains(document)).map(|(document, _)| document).collect();
            count(&mut warnings, &dropped, "relevant documents that --corpus keeps out of the ranking");
        }
        TestSet { layout: Layout::Qrels, level, questions, kept, queries_read, warnings }
    }

    fn of_places(queries: Vec<QueryLine>, level: Level, kept: Option<BTreeSet<String>>) -> TestSet {
        let queries_read = queries.len();
        let mut warnings = Vec::new();
        let (judged, unjudged): (Vec<QueryLine>, Vec<QueryLine>) =
            queries.into_iter().partition(|query| query.places.as_ref().is_some_and(|places| !places.is_empty()));
        let unjudged: Vec<String> = unjudged.into_iter().map(|query| query.id).collect();
        count(&mut warnings, &unjudged, "queries without a relevant place, not asked");
        let questions: Vec<Question> = judged
            .into_iter()
            .map(|query| Question { id: query.id, text: query.text, truth: Truth::Places(query.places.unwrap_or_default()) })
            .collect();
        let twice: Vec<&String> = questions.iter().filter(|question| repeats(&question.truth)).map(|question| &question.id).collect();
        count(&mut warnings, &twice, "queries that name a place twice, which counts twice");
        TestSet { layout: Layout::Places, level, questions, kept, queries_read, warnings }
    }

    /// At [`Level::Lines`] only queries whose places have lines are judged.
    fn keep_lines(&mut self) {
        if self.level != Level::Lines {
            return;
        }
        let has_lines = |question: &Question| match &question.truth {
            Truth::Places(places) => places.iter().any(|place| place.lines.is_some()),
            Truth::Grades(_) => false,
        };
        let (with, without): (Vec<Question>, Vec<Question>) = std::mem::take(&mut self.questions).into_iter().partition(has_lines);
        if with.is_empty() {
            self.warnings.push("no judgment names lines: judged as at level chunk".into());
            self.questions = without;
            return;
        }
        let without: Vec<&String> = without.iter().map(|question| &question.id).collect();
        count(&mut self.warnings, &without, "queries without a place that has lines, not asked");
        self.questions = with;
    }

    /// Adds how many relevant documents `indexed` doesn't have: whatever is measured,
    /// they can't be found. `indexed` has the ids, or paths, of everything in the index.
    pub fn note_missing(&mut self, indexed: &BTreeSet<&str>) {
        let there = |path: &str| indexed.contains(path) || indexed.iter().any(|known| same_path(known, path));
        let mut missing = BTreeSet::new();
        for question in &self.questions {
            match &question.truth {
                Truth::Grades(grades) => {
                    let relevant = grades.iter().filter(|(_, grade)| **grade > 0).map(|(document, _)| document.as_str());
                    missing.extend(relevant.filter(|document| !indexed.contains(document)));
                }
                Truth::Places(places) => missing.extend(places.iter().map(|place| place.path.as_str()).filter(|path| !there(path))),
            }
        }
        let missing: Vec<String> = missing.into_iter().map(str::to_owned).collect();
        count(&mut self.warnings, &missing, "relevant documents that are not in the index");
    }

    /// Things to be found, over all questions.
    pub fn relevant(&self) -> usize {
        self.questions.iter().map(|question| question.truth.relevant()).sum()
    }
}

fn repeats(truth: &Truth) -> bool {
    let Truth::Places(places) = truth else { return false };
    let different: BTreeSet<_> = places.iter().collect();
    different.len() < places.len()
}

/// A warning of so many things with the first of them, if there are any.
fn count<'a, T: std::fmt::Display + 'a>(
    warnings: &mut Vec<String>,
    things: impl IntoIterator<Item = &'a T, IntoIter: ExactSizeIterator>,
    what: &str,
) {
    let mut things = things.into_iter();
    let number = things.len();
    if let Some(first) = things.next() {
        warnings.push(format!("{what}: {number} (`{first}`{})", if number > 1 { ", …" } else { "" }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a set out of texts. Errors without the folder.
    fn set(queries: &str, qrels: Option<&str>, corpus: Option<&str>, level: Option<Level>) -> Result<TestSet, String> {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let paths = SetPaths {
            queries: write("q", queries),
            qrels: qrels.map(|text| write("r", text)),
            corpus: corpus.map(|text| write("c", text)),
        };
        TestSet::read(&paths, level).map_err(|error| error.to_string().replace(&format!("{}/", folder.path().display()), ""))
    }

    const QUERIES: &str = "{\"id\": \"a\", \"text\": \"x\"}\n{\"id\": \"b\", \"text\": \"y\"}\n{\"id\": \"c\", \"text\": \"z\"}\n";
    const PLACES: &str = "{\"id\": \"a\", \"text\": \"x\", \"relevant\": [{\"path\": \"p\", \"start_line\": 2}]}\n\
                          {\"id\": \"b\", \"text\": \"y\", \"relevant\": [{\"path\": \"p\"}, {\"path\": \"p\"}]}\n\
                          {\"id\": \"c\", \"text\": \"z\", \"relevant\": []}\n{\"id\": \"d\", \"text\": \"z\"}\n";

    #[test]
    fn the_layout_is_seen_from_the_content() {
        let grades = set(QUERIES, Some("a\tp\t1\nb\tp\t1\nc\tp\t1\n"), None, None).unwrap();
        assert_eq!((grades.layout, grades.level, grades.questions.len(), grades.warnings.len()), (Layout::Qrels, Level::File, 3, 0));
        let places = set(PLACES, None, None, None).unwrap();
        assert_eq!((places.layout, places.level, places.questions.len(), places.queries_read), (Layout::Places, Level::Chunk, 2, 4));
        assert_eq!(places.relevant(), 3);
        assert!(set(PLACES, Some("a\tp\t1\n"), None, None).unwrap_err().starts_with("q: its queries name `relevant` places, and --qrels"));
        assert!(set(QUERIES, None, None, None).unwrap_err().starts_with("q: its queries name no `relevant` places"));
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let mut grades = set(
            QUERIES,
            Some("x\tp\t1\ny\tp\t1\na\tp\t1\na\tt\t2\nb\tp\t0\n"),
            Some("{\"id\": \"p\"}\n{\"id\": \"t\", \"role\": \"test\"}\n"),
            None,
        )
        .unwrap();
        grades.note_missing(&BTreeSet::from(["t"]));
        assert_eq!(
            grades.warnings,
            [
                "judged queries that the set doesn't have, not used: 2 (`x`, …)",
                "queries without a judgment, not asked: 1 (`c`)",
                "queries with nothing relevant, which count 0: 1 (`b`)",
                "relevant documents that --corpus keeps out of the ranking: 1 (`t`)",
                "relevant documents that are not in the index: 1 (`p`)",
            ]
        );
        let places = set(PLACES, None, None, None).unwrap();
        assert_eq!(
            places.warnings,
            ["queries without a relevant place, not asked: 2 (`c`, …)", "queries that name a place twice, which counts twice: 1 (`b`)"]
        );
        assert!(set(QUERIES, Some("x\tp\t1\n"), None, None).unwrap_err().starts_with("q: none of its queries has a judgment"));
    }

    #[test]
    fn lines_are_judged_where_there_are_some() {
        let lines = set(PLACES, None, None, Some(Level::Lines)).unwrap();
        assert_eq!(lines.questions.iter().map(|question| question.id.as_str()).collect::<Vec<_>>(), ["a"]);
        assert!(lines.warnings.iter().any(|warning| warning.starts_with("queries without a place that has lines, not asked: ")));
        let none = set(QUERIES, Some("a\tp\t1\n"), None, Some(Level::Lines)).unwrap();
        assert!(none.questions.len() == 1 && none.warnings.iter().any(|warning| warning.starts_with("no judgment names lines")));
    }

    #[test]
    fn places_may_be_named_from_further_up() {
        let mut places = set(PLACES, None, None, None).unwrap();
        let before = places.warnings.len();
        places.note_missing(&BTreeSet::from(["folder/p"]));
        assert_eq!(places.warnings.len(), before);
        places.note_missing(&BTreeSet::from(["q"]));
        assert!(places.warnings[before].starts_with("relevant documents that are not in the index: 1"));
    }
}
