//! Reads cases out of files. What comes out was checked: its columns fit, its numbers are
//! finite, its expectation can be met.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use super::validate::{Problem, validate};
use super::{
    Case, CaseCall, Expect, ExpectedFusion, ExpectedGate, ExpectedOutput, ExpectedRerank, ExpectedSpan, FILE_BYTES_MAX, FusionInput,
    GateInput, Input, Recorded, RerankInput, SCHEMA,
};
use crate::types::Stage;

/// The end of a case's file name.
pub(super) const EXTENSION: &str = "json";
/// Files of one folder. More are no longer read by anybody.
const FILES_MAX: usize = 10_000;

/// Why a case can't be read or written. Says which file, where in it, and what is allowed.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    #[error("{file}: {error}")]
    Read { file: String, error: io::Error },
    #[error("{file} has {bytes} bytes; allowed: {FILE_BYTES_MAX}")]
    TooLarge { file: String, bytes: u64 },
    /// No JSON, or not the members and types of a case.
    #[error("{file}: {}{problem}", place(.at))]
    Shape { file: String, at: String, problem: String },
    /// A value that has no meaning here.
    #[error("{file}: `{at}` {problem}")]
    Value { file: String, at: String, problem: String },
    #[error("{folder} has no cases; looked for files named *.{EXTENSION} in this folder, not in those below it")]
    NoCases { folder: String },
    #[error("{folder} has {files} files named *.{EXTENSION}; allowed: {FILES_MAX}")]
    TooMany { folder: String, files: usize },
    #[error("`{stem}` can't be the name of a case's file; allowed: letters, digits, `-`, `_` and `.`, beginning with none of the last")]
    FileName { stem: String },
    #[error("{file} can't be written: {error}")]
    Write { file: String, error: io::Error },
}

fn place(at: &str) -> String {
    if at.is_empty() || at == "." { String::new() } else { format!("`{at}`: ") }
}

impl Case {
    /// Reads one file of at most [`FILE_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// [`CaseError`] for a file that can't be read, and what [`Case::parse`] finds.
    pub fn read(path: &Path) -> Result<Case, CaseError> {
        let file = path.display().to_string();
        let text = read_text(path).map_err(|error| CaseError::Read { file: file.clone(), error })?;
        match text {
            Ok(text) => Case::parse(&text, &file),
            Err(bytes) => Err(CaseError::TooLarge { file, bytes }),
        }
    }

    /// Reads a case out of its JSON. `file` stands in the errors.
    ///
    /// # Errors
    /// [`CaseError::Shape`] and [`CaseError::Value`], with the path of the first member
    /// that is wrong.
    pub fn parse(text: &str, file: &str) -> Result<Case, CaseError> {
        // The schema first: another one may have other members, and other stages.
        let SchemaOnly { schema } = shaped(text, file)?;
        if schema != SCHEMA {
            let problem = format!("is {schema}; allowed: {SCHEMA}");
            return Err(CaseError::Value { file: file.to_owned(), at: "schema".into(), problem });
        }
        let StageOnly { stage } = shaped(text, file)?;
        let case = match stage {
            Stage::Gate => shaped::<Shape<GateInput, ExpectedGate>>(text, file)?.case(Input::Gate, ExpectedOutput::Gate),
            Stage::Fusion => shaped::<Shape<FusionInput, ExpectedFusion>>(text, file)?.case(Input::Fusion, ExpectedOutput::Fusion),
            Stage::Rerank => shaped::<Shape<RerankInput, ExpectedRerank>>(text, file)?.case(Input::Rerank, ExpectedOutput::Rerank),
        };
        case.checked(file)?;
        Ok(case)
    }

    /// Whether everything in it has a meaning.
    pub(super) fn checked(&self, file: &str) -> Result<(), CaseError> {
        validate(self).map_err(|Problem { at, problem }| CaseError::Value { file: file.to_owned(), at, problem })
    }
}

/// Reads all cases of a folder, by file name, or the one in a file.
///
/// # Errors
/// The first case that can't be read; [`CaseError::NoCases`] for a folder without any.
pub fn read_folder(path: &Path) -> Result<Vec<(PathBuf, Case)>, CaseError> {
    let failed = |error| CaseError::Read { file: path.display().to_string(), error };
    if !std::fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![(path.to_path_buf(), Case::read(path)?)]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if file.extension().is_some_and(|extension| extension == EXTENSION) && file.is_file() {
            files.push(file);
        }
    }
    let folder = || path.display().to_string();
    match files.len() {
        0 => return Err(CaseError::NoCases { folder: folder() }),
        files if files > FILES_MAX => return Err(CaseError::TooMany { folder: folder(), files }),
        _ => {}
    }
    files.sort_unstable();
    files.into_iter().map(|file| Case::read(&file).map(|case| (file, case))).collect()
}

/// The text, or how many bytes it has when that is too many.
fn read_text(path: &Path) -> io::Result<Result<String, u64>> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    if bytes > FILE_BYTES_MAX {
        return Ok(Err(bytes));
    }
    let mut text = String::new();
    // The file may grow meanwhile.
    let read = file.by_ref().take(FILE_BYTES_MAX + 1).read_to_string(&mut text)? as u64;
    Ok(if read > FILE_BYTES_MAX { Err(read) } else { Ok(text) })
}

fn shaped<T: DeserializeOwned>(text: &str, file: &str) -> Result<T, CaseError> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let shape = |at: String, problem: String| CaseError::Shape { file: file.to_owned(), at, problem };
    let value =
        serde_path_to_error::deserialize(&mut reader).map_err(|error| shape(error.path().to_string(), error.inner().to_string()))?;
    reader.end().map_err(|error| shape(String::new(), error.to_string()))?;
    Ok(value)
}

#[derive(Deserialize)]
struct SchemaOnly {
    schema: u32,
}

#[derive(Deserialize)]
struct StageOnly {
    stage: Stage,
}

/// A case of one stage as it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape<I, O> {
    schema: u32,
    stage: Stage,
    name: String,
    #[serde(default)]
    parameters: Map<String, Json>,
    #[serde(default)]
    call: CaseCall,
    input: I,
    expect: ExpectShape<O>,
    recorded: Option<Recorded>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectShape<O> {
    output: Option<O>,
    order: Option<Vec<u64>>,
    top: Option<Vec<u64>>,
    tolerance: Option<f64>,
    error: Option<String>,
    spans: Option<Vec<ExpectedSpan>>,
}

impl<I, O> Shape<I, O> {
    fn case(self, input: fn(I) -> Input, output: fn(O) -> ExpectedOutput) -> Case {
        let expect = Expect {
            output: self.expect.output.map(output),
            order: self.expect.order,
            top: self.expect.top,
            tolerance: self.expect.tolerance,
            error: self.expect.error,
            spans: self.expect.spans,
        };
        Case {
            schema: self.schema,
            stage: self.stage,
            name: self.name,
            parameters: self.parameters,
            call: self.call,
            input: input(self.input),
            expect,
            recorded: self.recorded,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{FUSION, GATE, RERANK, with};
    use super::*;

    /// What is said of a case with one value replaced.
    fn check(text: &str, pointer: &str, value: &str, expect: &[&str]) {
        let message = Case::parse(&with(text, pointer, value), "cases/a.json").unwrap_err().to_string();
        assert!(message.starts_with("cases/a.json: "), "{message}");
        for part in expect {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
    }

    #[test]
    fn the_cases_of_all_stages_are_read() {
        let gate = Case::parse(GATE, "a").unwrap();
        assert_eq!((gate.stage, gate.call.limit, gate.call.explain), (Stage::Gate, 20, true));
        assert_eq!(gate.parameters["depth_max"], 500);
        let fusion = Case::parse(FUSION, "a").unwrap();
        assert_eq!((fusion.call, fusion.parameters.len()), (CaseCall::default(), 0));
        assert_eq!(fusion.expect.top, Some(vec![2, 1]));
        let rerank = Case::parse(RERANK, "a").unwrap();
        let Input::Rerank(input) = &rerank.input else { panic!("{rerank:?}") };
        assert_eq!(input.documents[1].cross_encoder, Some(0.75));
        assert!(rerank.recorded.is_some_and(|recorded| !recorded.redacted));
    }

    #[test]
    fn members_of_another_shape_are_named_with_their_path_and_line() {
        check(GATE, "/schema", "2", &["`schema` is 2; allowed: 1"]);
        check(GATE, "/schema", "\"1\"", &["`schema`: invalid type: string \"1\"", "expected u32 at line "]);
        check(GATE, "/stage", "\"gat\"", &["`stage`: unknown variant `gat`", "`gate`, `fusion`, `rerank`"]);
        check(GATE, "/nane", "1", &["`nane`: unknown field", "`name`", "`parameters`"]);
        check(GATE, "/call/limits", "1", &["`call.limits`: unknown field", "`limit` or `explain`"]);
        check(GATE, "/input/query/documents", "-1", &["`input.query.documents`: invalid value: integer `-1`"]);
        check(GATE, "/expect/output/scores", "[1]", &["`expect.output.scores`: unknown field", "`class`", "`rerank_depth`"]);
        check(GATE, "/expect/output/budgets/0/dept", "1", &["`expect.output.budgets[0].dept`: unknown field", "`depth`"]);
        check(FUSION, "/input/runs/1/ids", "[1, -2]", &["`input.runs[1].ids[1]`: invalid value: integer `-2`"]);
        check(FUSION, "/expect/output/class", "\"a\"", &["`expect.output.class`", "`ids`, `scores`, `contributions`"]);
        check(RERANK, "/expect/output/ids", "[1]", &["`expect.output.ids`: unknown field", "`scores`"]);
        check(RERANK, "/input/documents/0/line", "3", &["`input.documents[0].line`: unknown field", "`start_line`"]);
        check(RERANK, "/recorded/redacted", "\"no\"", &["`recorded.redacted`: invalid type"]);
        check(RERANK, "/expect/spans/0/attribute", "{}", &["`expect.spans[0].attribute`: unknown field", "`attributes`"]);
    }

    #[test]
    fn what_is_no_json_or_lacks_members_is_refused() {
        let check = |text: &str, part: &str| {
            let message = Case::parse(text, "b.json").unwrap_err().to_string();
            assert!(message.starts_with("b.json: ") && message.contains(part), "{message}");
        };
        check("", "EOF while parsing");
        check("[]", "invalid");
        check("{}", "missing field `schema`");
        check(r#"{"schema": 1}"#, "missing field `stage`");
        check(r#"{"schema": 1, "schema": 1}"#, "duplicate field `schema`");
        check(r#"{"schema": 1, "stage": "gate"}"#, "missing field `name`");
        check(&format!("{GATE} x"), "trailing characters");
        let other = GATE.replace("\"stage\": \"gate\"", "\"stage\": \"fusion\"");
        check(&other, "`input.query`: unknown field `query`, expected `rrf_k` or `runs` at line 8");
        check(&GATE.replace("\"text\"", "\"text\": \"\", \"text\""), "`input.query`: duplicate field `text` at line 9");
    }

    #[test]
    fn a_folder_is_read_by_file_name_and_an_empty_one_says_what_was_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("notes.md"), "no case").unwrap();
        std::fs::create_dir(folder.path().join("old.json")).unwrap();
        let message = read_folder(folder.path()).unwrap_err().to_string();
        assert!(message.contains("*.json") && message.starts_with(&folder.path().display().to_string()), "{message}");
        for (name, text) in [("b.json", GATE), ("a.json", FUSION), ("c.json", RERANK)] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let cases = read_folder(folder.path()).unwrap();
        let names: Vec<String> = cases.iter().map(|(path, case)| format!("{} {}", path.display(), case.stage)).collect();
        assert!(names[0].ends_with("a.json fusion") && names[1].ends_with("b.json gate") && names[2].ends_with("c.json rerank"));
        let one = read_folder(&folder.path().join("b.json")).unwrap();
        assert_eq!(one, cases[1..2]);
        std::fs::write(folder.path().join("d.json"), "{").unwrap();
        assert!(read_folder(folder.path()).unwrap_err().to_string().contains("d.json: "));
        let missing = read_folder(&folder.path().join("e.json")).unwrap_err();
        assert!(matches!(&missing, CaseError::Read { file, .. } if file.ends_with("e.json")), "{missing}");
    }

    #[test]
    fn files_of_no_case_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large.json");
        File::create(&path).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
        let message = Case::read(&path).unwrap_err().to_string();
        assert!(message.contains("has 16777217 bytes; allowed: 16777216"), "{message}");
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(matches!(Case::read(&path).unwrap_err(), CaseError::Read { .. }));
    }
}
