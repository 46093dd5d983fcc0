//! Writes cases to files that people compare line by line.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::read::EXTENSION;
use super::{Case, CaseError, FILE_BYTES_MAX};

/// Files of one stem in a folder. Who makes more of them has a loop.
const SAME_STEM_MAX: u32 = 10_000;

impl Case {
    /// Writes the case as `<file_stem>.json`, or `<file_stem>-2.json` and so on when that
    /// is there: nothing is overwritten. The folder is made if it is missing.
    ///
    /// # Errors
    /// [`CaseError::Value`] and [`CaseError::TooLarge`] for a case that could not be read
    /// again, [`CaseError::FileName`], [`CaseError::Write`].
    pub fn write_to(&self, folder: &Path, file_stem: &str) -> Result<PathBuf, CaseError> {
        let fits = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        if file_stem.is_empty() || file_stem.starts_with('.') || !file_stem.chars().all(fits) {
            return Err(CaseError::FileName { stem: file_stem.to_owned() });
        }
        let first = folder.join(format!("{file_stem}.{EXTENSION}"));
        let failed = |path: &Path, error| CaseError::Write { file: path.display().to_string(), error };
        let file = first.display().to_string();
        self.checked(&file)?;
        let text = self.to_text().map_err(|error| failed(&first, error))?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(CaseError::TooLarge { file, bytes: text.len() as u64 });
        }
        std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
        for number in 1..=SAME_STEM_MAX {
            let path = if number == 1 { first.clone() } else { folder.join(format!("{file_stem}-{number}.{EXTENSION}")) };
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(mut file) => match file.write_all(text.as_bytes()) {
                    Ok(()) => return Ok(path),
                    Err(error) => {
                        // Half a case is worse than none; that it can't be removed adds nothing to the error.
                        let _ = std::fs::remove_file(&path);
                        return Err(failed(&path, error));
                    }
                },
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(&path, error)),
            }
        }
        let message = format!("this name and {SAME_STEM_MAX} numbers behind it are taken");
        Err(failed(&first, io::Error::new(io::ErrorKind::AlreadyExists, message)))
    }

    fn to_text(&self) -> io::Result<String> {
        let mut text = numbers_on_one_line(&serde_json::to_string_pretty(self)?);
        text.push('\n');
        Ok(text)
    }
}

/// Indented JSON with every list of numbers on one line.
///
/// In such text a line that ends with `[` opens a list, since strings hold no line breaks
/// and end with a quotation mark.
fn numbers_on_one_line(pretty: &str) -> String {
    let lines: Vec<&str> = pretty.lines().collect();
    let mut text = String::with_capacity(pretty.len());
    let mut at = 0;
    while at < lines.len() {
        text.push_str(lines[at]);
        if lines[at].ends_with('[') {
            let numbers = lines[at + 1..].iter().take_while(|line| is_number(line)).count();
            let after = at + 1 + numbers;
            if lines.get(after).is_some_and(|line| line.trim_start().starts_with(']')) {
                let items: Vec<&str> = lines[at + 1..after].iter().map(|line| line.trim()).collect();
                text.push_str(&items.join(" "));
                text.push_str(lines[after].trim_start());
                at = after;
            }
        }
        at += 1;
        if at < lines.len() {
            text.push('\n');
        }
    }
    text
}

fn is_number(line: &str) -> bool {
    line.trim_start().starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{FUSION, GATE, RERANK, case};
    use super::super::{Expect, Input};
    use super::*;

    #[test]
    fn a_written_case_is_read_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        for text in [GATE, FUSION, RERANK] {
            let case = case(text);
            let path = case.write_to(&folder.path().join("new"), "a").unwrap();
            assert_eq!(Case::read(&path).unwrap(), case);
        }
        let mut names: Vec<_> = std::fs::read_dir(folder.path().join("new")).unwrap().map(|file| file.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["a-2.json", "a-3.json", "a.json"]);
    }

    #[test]
    fn the_text_has_numbers_on_one_line_and_no_empty_members() {
        let text = case(FUSION).to_text().unwrap();
        assert!(text.contains("\n        \"ids\": [1, 2, 3],\n        \"scores\": [9.5, 8.0, 0.1]\n"), "{text}");
        assert!(text.contains("\n    \"order\": [2, 1, 4, 3],\n"), "{text}");
        assert!(text.contains("\"scores\": [0.0325225, 0.0322664, 0.016129, 0.015873]"), "{text}");
        for absent in ["null", "parameters", "\"call\"", "recorded", "contributions", "tolerance"] {
            assert!(!text.contains(absent), "{absent} in {text}");
        }
        assert!(text.ends_with("}\n"));
    }

    #[test]
    fn only_lists_of_numbers_are_joined() {
        let check = |json: &str, expect: &str| {
            let value: serde_json::Value = serde_json::from_str(json).unwrap();
            assert_eq!(numbers_on_one_line(&serde_json::to_string_pretty(&value).unwrap()), expect);
        };
        check("[1, -2.5, 3e9]", "[1, -2.5, 3000000000.0]");
        check("[]", "[]");
        check(r#"["1", "2"]"#, "[\n  \"1\",\n  \"2\"\n]");
        check(r#"[1, "2"]"#, "[\n  1,\n  \"2\"\n]");
        check("[[1, 2], [3]]", "[\n  [1, 2],\n  [3]\n]");
        check(r#"{"a": "x[", "b": ["[\n1", "]"]}"#, "{\n  \"a\": \"x[\",\n  \"b\": [\n    \"[\\n1\",\n    \"]\"\n  ]\n}");
    }

    #[test]
    fn what_could_not_be_read_again_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        for stem in ["", ".", "..", ".a", "a/b", "a b", "ä"] {
            assert!(matches!(case(GATE).write_to(folder.path(), stem), Err(CaseError::FileName { .. })), "{stem}");
        }
        let empty = Case { expect: Expect::default(), ..case(GATE) };
        let message = empty.write_to(folder.path(), "a").unwrap_err().to_string();
        assert!(message.contains("a.json: `expect` asks for nothing"), "{message}");
        let other = Case { input: case(FUSION).input, ..case(GATE) };
        let message = other.write_to(folder.path(), "a").unwrap_err().to_string();
        assert!(message.contains("`input` is that of a fusion call; allowed: that of `stage`, gate"), "{message}");
        let mut large = case(RERANK);
        if let Input::Rerank(input) = &mut large.input {
            input.documents[0].text = Some("x".repeat(FILE_BYTES_MAX as usize));
        }
        assert!(matches!(large.write_to(folder.path(), "a"), Err(CaseError::TooLarge { .. })));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert!(matches!(case(GATE).write_to(&folder.path().join("file"), "a"), Err(CaseError::Write { .. })));
    }

    proptest! {
        #[test]
        fn numbers_come_back_as_they_were(bits in proptest::collection::vec(any::<u32>(), 1..50), id in any::<u64>()) {
            let scores: Vec<f32> = bits.into_iter().map(f32::from_bits).filter(|score| score.is_finite()).collect();
            let mut case = case(FUSION);
            let Input::Fusion(input) = &mut case.input else { unreachable!() };
            input.runs[0].ids = (0..scores.len() as u64).map(|at| id.wrapping_add(at)).collect();
            input.runs[0].scores = scores;
            case.expect.output = None;
            case.expect.order = None;
            case.expect.top = None;
            prop_assert_eq!(Case::parse(&case.to_text().unwrap(), "test").unwrap(), case);
        }
    }
}
