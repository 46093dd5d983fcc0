//! Reads the files of a test set, line by line: queries, judgments, documents. What is
//! wrong is named with file, line, value and what is allowed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Number, Value as Json};

use super::matching::Place;

/// Bytes of a line of queries or judgments.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// Bytes of a line of a corpus, which holds a whole document.
const DOCUMENT_BYTES_MAX: u64 = 256 << 20;
/// Queries of a set: each is searched, one after the other.
const QUERIES_MAX: usize = 100_000;
/// Judgments of a set, all held in memory.
const JUDGMENTS_MAX: usize = 10_000_000;
/// The largest grade; also so that sums stay exact.
const GRADE_MAX: u64 = 1_000_000;
/// Characters of a wrong value that are repeated in its error.
const CHARS_SHOWN: usize = 80;
/// The one role of documents that are ranked.
const ROLE_RANKED: &str = "source";

/// Why a test set can't be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct ReadError {
    /// File, and line where there is one.
    pub place: String,
    pub problem: String,
}

impl ReadError {
    pub(super) fn of(path: &Path, problem: impl Into<String>) -> ReadError {
        ReadError { place: path.display().to_string(), problem: problem.into() }
    }
}

/// A query, and the relevant places when its line names them.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryLine {
    pub id: String,
    pub text: String,
    pub places: Option<Vec<Place>>,
}

/// Grades by query and document.
pub type Grades = HashMap<String, BTreeMap<String, u32>>;

/// Reads `{"id", "text"}`, with or without `relevant`, in the order of the file.
///
/// # Errors
/// For the first line that is none, an id that was there, and a file without queries.
pub fn queries(path: &Path) -> Result<Vec<QueryLine>, ReadError> {
    #[derive(Deserialize)]
    struct Line {
        #[serde(alias = "_id")]
        id: Json,
        text: String,
        relevant: Option<Vec<PlaceLine>>,
    }
    let mut queries = Vec::new();
    let mut first_lines = HashMap::new();
    each_line(path, LINE_BYTES_MAX, |number, text| {
        let line: Line = json(text, "{\"id\", \"text\"}, with or without \"relevant\"")?;
        let id = id(&line.id)?;
        if line.text.trim().is_empty() {
            return Err(format!("`text` of query `{}` is empty; allowed: words to search for", shown(&id)));
        }
        if let Some(before) = first_lines.insert(id.clone(), number) {
            return Err(format!("query id `{}` stands in line {before} already; allowed: each id once", shown(&id)));
        }
        if queries.len() == QUERIES_MAX {
            return Err(format!("is one query too many; allowed: {QUERIES_MAX}"));
        }
        let places = line.relevant.map(|places| places.into_iter().filter_map(|place| place.check().transpose()).collect());
        queries.push(QueryLine { id, text: line.text, places: places.transpose()? });
        Ok(())
    })?;
    if queries.is_empty() { Err(ReadError::of(path, "holds no query; allowed: lines {\"id\", \"text\"}")) } else { Ok(queries) }
}

#[derive(Deserialize)]
struct PlaceLine {
    path: String,
    start_line: Option<u32>,
    end_line: Option<u32>,
    grade: Option<Number>,
}

impl PlaceLine {
    /// The place; nothing when it was judged and is not relevant.
    fn check(self) -> Result<Option<Place>, String> {
        if self.path.trim().is_empty() {
            return Err("`path` of a relevant place is empty; allowed: a path of the corpus".into());
        }
        let lines = match (self.start_line, self.end_line.or(self.start_line)) {
            (None, None) => None,
            (Some(first), Some(last)) if (1..=last).contains(&first) => Some((first, last)),
            (first, last) => {
                let number = |line: Option<u32>| line.map_or_else(|| "missing".to_owned(), |line| line.to_string());
                return Err(format!(
                    "lines of `{}` are {} to {}; allowed: a first line from 1 and a last one not before it, or neither",
                    shown(&self.path),
                    number(first),
                    number(last)
                ));
            }
        };
        let is_relevant = self.grade.map_or(Ok(1), |number| grade(&number.to_string()))? > 0;
        Ok(is_relevant.then_some(Place { path: self.path, lines }))
    }
}

/// Reads judgments: query, document, grade, separated by tabs, after a header or not;
/// or the four columns of TREC (query, iteration, document, grade), separated by blanks.
///
/// # Errors
/// For the first line that is none, a grade that is no whole number from 0, a document
/// judged twice for a query, and a file without judgments.
pub fn qrels(path: &Path) -> Result<Grades, ReadError> {
    let mut grades = Grades::new();
    let mut count = 0;
    each_line(path, LINE_BYTES_MAX, |number, text| {
        let columns: Vec<&str> =
            if text.contains('\t') { text.split('\t').map(str::trim).collect() } else { text.split_whitespace().collect() };
        let (query, document, value) = match columns[..] {
            [query, document, grade] | [query, _, document, grade] if !query.is_empty() && !document.is_empty() => (query, document, grade),
            _ => return Err(format!("`{}` is no judgment; allowed: query-id, doc-id and rel, separated by tabs", shown(text))),
        };
        let is_header = count == 0 && number == 1 && value.parse::<f64>().is_err();
        if is_header {
            return Ok(());
        }
        let grade = grade(value)?;
        count += 1;
        if count > JUDGMENTS_MAX {
            return Err(format!("is one judgment too many; allowed: {JUDGMENTS_MAX}"));
        }
        match grades.entry(query.to_owned()).or_default().insert(document.to_owned(), grade) {
            None => Ok(()),
            Some(_) => Err(format!("document `{}` is judged twice for query `{}`; allowed: once", shown(document), shown(query))),
        }
    })?;
    if count == 0 { Err(ReadError::of(path, "holds no judgment; allowed: lines query-id, doc-id, rel")) } else { Ok(grades) }
}

/// Reads a corpus `{"id", "role"}` for the ids of what may be ranked: documents with
/// the role `source`, or without any.
///
/// # Errors
/// For the first line that is none, an id that was there, and a corpus without such
/// documents.
pub fn ranked_documents(path: &Path) -> Result<BTreeSet<String>, ReadError> {
    #[derive(Deserialize)]
    struct Line {
        #[serde(alias = "_id")]
        id: Json,
        role: Option<String>,
    }
    let mut kept = BTreeMap::new();
    each_line(path, DOCUMENT_BYTES_MAX, |_, text| {
        let line: Line = json(text, "{\"id\"}, with or without \"role\"")?;
        let id = id(&line.id)?;
        let is_ranked = line.role.is_none_or(|role| role == ROLE_RANKED);
        match kept.insert(id.clone(), is_ranked) {
            None => Ok(()),
            Some(_) => Err(format!("document id `{}` was there before; allowed: each id once", shown(&id))),
        }
    })?;
    let kept: BTreeSet<String> = kept.into_iter().filter(|(_, is_ranked)| *is_ranked).map(|(id, _)| id).collect();
    if kept.is_empty() {
        return Err(ReadError::of(
            path,
            format!("holds no document to rank; allowed: lines {{\"id\"}} with the `role` `{ROLE_RANKED}` or none"),
        ));
    }
    Ok(kept)
}

/// Goes through the lines that aren't blank. Lines end with `\n` or `\r\n`; a byte order
/// mark is passed over.
fn each_line(path: &Path, bytes_max: u64, mut body: impl FnMut(usize, &str) -> Result<(), String>) -> Result<(), ReadError> {
    let unreadable = |error: std::io::Error| ReadError::of(path, error.to_string());
    let mut reader = BufReader::new(File::open(path).map_err(unreadable)?);
    let mut bytes = Vec::new();
    for number in 1_usize.. {
        bytes.clear();
        let read = reader.by_ref().take(bytes_max + 1).read_until(b'\n', &mut bytes).map_err(unreadable)?;
        if read == 0 {
            break;
        }
        let at = |problem: String| ReadError { place: format!("{}:{number}", path.display()), problem };
        if read as u64 > bytes_max {
            return Err(at(format!("has more than {bytes_max} bytes; allowed: {bytes_max}")));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| at("is not UTF-8; allowed: text in UTF-8".into()))?;
        let text = text.trim_end_matches(['\n', '\r']);
        let text = if number == 1 { text.trim_start_matches('\u{feff}') } else { text };
        if !text.trim().is_empty() {
            body(number, text).map_err(at)?;
        }
    }
    Ok(())
}

fn json<T: DeserializeOwned>(text: &str, allowed: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        // The line is the file's, not that of this text.
        let cause = message.rsplit_once(" at line ").map_or(message.as_str(), |(cause, _)| cause);
        format!("`{}` does not fit (column {}: {cause}); allowed: {allowed}", shown(text), error.column())
    })
}

/// Texts and numbers are ids.
fn id(value: &Json) -> Result<String, String> {
    match value {
        Json::String(text) if !text.trim().is_empty() => Ok(text.clone()),
        Json::Number(number) => Ok(number.to_string()),
        other => Err(format!("`id` is {}; allowed: a text that isn't blank, or a number", shown(&other.to_string()))),
    }
}

fn grade(text: &str) -> Result<u32, String> {
    let number = text.parse::<u64>().ok().filter(|number| *number <= GRADE_MAX);
    let grade = number.and_then(|number| u32::try_from(number).ok());
    grade.ok_or_else(|| format!("the grade is `{}`; allowed: whole numbers from 0 (not relevant) to {GRADE_MAX}", shown(text)))
}

fn shown(text: &str) -> String {
    let mut cut: String = text.chars().take(CHARS_SHOWN).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a text as a file; of an error what comes after the file's name.
    fn read<T>(text: &str, reader: impl Fn(&Path) -> Result<T, ReadError>) -> Result<T, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, text).unwrap();
        reader(&path).map_err(|error| error.to_string().split_once("/f").unwrap().1.to_owned())
    }

    #[test]
    fn both_layouts_of_queries_are_read() {
        let text = "\u{feff}{\"id\": \"a\", \"text\": \"one\", \"kind\": \"fix\"}\r\n\n{\"_id\": 7, \"text\": \"two\", \"relevant\": [{\"path\": \"x\", \"grade\": 2}, \
                    {\"path\": \"y\", \"start_line\": 3, \"end_line\": 5}, {\"path\": \"z\", \"grade\": 0}]}";
        let queries = read(text, queries).unwrap();
        let place = |path: &str, lines| Place { path: path.into(), lines };
        assert_eq!(queries[0], QueryLine { id: "a".into(), text: "one".into(), places: None });
        assert_eq!(queries[1].places, Some(vec![place("x", None), place("y", Some((3, 5)))]));
        assert_eq!(queries[1].id, "7");
    }

    #[test]
    fn queries_that_are_wrong_are_named() {
        let check = |text: &str, expect: &str| {
            let message = read(text, queries).unwrap_err();
            assert!(message.starts_with(expect), "{message}");
        };
        let good = "{\"id\": \"a\", \"text\": \"one\"}\n";
        check("", ": holds no query");
        check("\n \n", ": holds no query");
        check(&format!("{good}{{\"id\": \"b\""), ":2: `{\"id\": \"b\"` does not fit (column ");
        check(&format!("{good}{good}"), ":2: query id `a` stands in line 1 already");
        check("{\"id\": \"a\", \"text\": \" \"}", ":1: `text` of query `a` is empty");
        check("{\"id\": null, \"text\": \"x\"}", ":1: `id` is null; allowed: ");
        check("{\"text\": \"x\"}", ":1: `{\"text\": \"x\"}` does not fit (column 13: missing field `id`); allowed: {\"id\", \"text\"}");
        let with = |place: &str| format!("{good}{{\"id\": \"b\", \"text\": \"x\", \"relevant\": [{place}]}}");
        check(&with("{\"path\": \"p\", \"grade\": -1}"), ":2: the grade is `-1`; allowed: whole numbers from 0");
        check(&with("{\"path\": \"p\", \"grade\": 1.5}"), ":2: the grade is `1.5`");
        check(&with("{\"path\": \"p\", \"start_line\": 0, \"end_line\": 3}"), ":2: lines of `p` are 0 to 3");
        check(&with("{\"path\": \"p\", \"start_line\": 5, \"end_line\": 3}"), ":2: lines of `p` are 5 to 3");
        check(&with("{\"path\": \"p\", \"end_line\": 3}"), ":2: lines of `p` are missing to 3");
        check(&with("{\"path\": \"\"}"), ":2: `path` of a relevant place is empty");
        let long = format!("{{\"id\": \"a\", \"text\": \"{}\"}}", "x".repeat(LINE_BYTES_MAX as usize));
        check(&long, ":1: has more than 1048576 bytes");
        let message = read("{\"id\": \"a\", \"text\": 5}", queries).unwrap_err();
        assert!(message.contains("expected a string") && !message.contains("at line"), "{message}");
    }

    #[test]
    fn judgments_are_read_with_or_without_header_and_as_trec_has_them() {
        let expect = Grades::from([("q 1".into(), BTreeMap::from([("d 1".into(), 1), ("d2".into(), 0)]))]);
        assert_eq!(read("query-id\tdoc-id\trel\nq 1\td 1\t1\nq 1\td2\t0\n", qrels), Ok(expect.clone()));
        assert_eq!(read("q 1\td 1\t1\r\nq 1\td2\t0", qrels), Ok(expect));
        let expect = Grades::from([("q1".into(), BTreeMap::from([("d1".into(), 3)]))]);
        assert_eq!(read("q1 0 d1 3\n", qrels), Ok(expect));
    }

    #[test]
    fn judgments_that_are_wrong_are_named() {
        let check = |text: &str, expect: &str| {
            let message = read(text, qrels).unwrap_err();
            assert!(message.starts_with(expect), "{message}");
        };
        check("", ": holds no judgment");
        check("query-id\tdoc-id\trel\n", ": holds no judgment");
        check("h\td\tr\nq\td\tr\n", ":2: the grade is `r`; allowed: whole numbers from 0 (not relevant)");
        check("q\td\t-1\n", ":1: the grade is `-1`");
        check("q\td\t0.5\n", ":1: the grade is `0.5`");
        check("q\td\t99999999999999999999\n", ":1: the grade is `99999999999999999999`");
        check("q\td\t1\nq\td\n", ":2: `q\td` is no judgment; allowed: query-id, doc-id and rel");
        check("q\t\t1\n", ":1: `q\t\t1` is no judgment");
        check("q\td\t1\nq\td\t1\n", ":2: document `d` is judged twice for query `q`");
    }

    #[test]
    fn only_sources_are_ranked() {
        let text = "{\"id\": \"a\", \"role\": \"source\", \"text\": \"\"}\n{\"id\": \"b\", \"role\": \"test\"}\n{\"id\": \"c\"}\n";
        assert_eq!(read(text, ranked_documents), Ok(["a", "c"].map(str::to_owned).into()));
        assert!(read("{\"id\": \"a\"}\n{\"id\": \"a\"}\n", ranked_documents).unwrap_err().starts_with(":2: document id `a` was there"));
        assert!(read("{\"id\": \"b\", \"role\": \"test\"}\n", ranked_documents).unwrap_err().starts_with(": holds no document to rank"));
        assert!(read("{\"id\": \"b\", \"role\": 3}\n", ranked_documents).unwrap_err().starts_with(":1: "));
    }

    #[test]
    fn a_file_that_is_missing_or_no_text_is_named() {
        let missing = queries(Path::new("/none/such.jsonl")).unwrap_err().to_string();
        assert!(missing.starts_with("/none/such.jsonl: "), "{missing}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, b"q\td\t1\nq\t\xff\t1\n").unwrap();
        assert!(qrels(&path).unwrap_err().to_string().ends_with("f:2: is not UTF-8; allowed: text in UTF-8"));
    }
}
