//! What kind of file a path is, as far as its names tell.

use crate::words;

/// Kinds of files that are seldom what one looks for, unless one asks for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Test,
    Example,
    Docs,
    Benchmark,
    Generated,
    Vendored,
}

/// Folder names, lower case.
const FOLDERS: [(Kind, &[&str]); 6] = [
    (
        Kind::Test,
        &[
            "test",
            "tests",
            "testing",
            "testdata",
            "test_data",
            "__tests__",
            "__mocks__",
            "e2e",
            "fixtures",
            "mocks",
            "spec",
            "specs",
            "unittests",
        ],
    ),
    (Kind::Example, &["example", "examples", "demo", "demos", "docs_src", "sample", "samples", "tutorial", "tutorials"]),
    (Kind::Docs, &["doc", "docs", "documentation", "website"]),
    (Kind::Benchmark, &["bench", "benches", "benchmark", "benchmarks"]),
    (Kind::Generated, &["dist", "generated", "__generated__", "autogen"]),
    (Kind::Vendored, &["node_modules", "site-packages", "third_party", "thirdparty", "vendor", "vendored"]),
];

/// Beginnings and ends of file names without their last ending, lower case.
const FILES: [(Kind, &[&str], &[&str]); 4] = [
    (Kind::Test, &["test_", "tests_", "conftest"], &["_test", "_tests", "-test", ".test", "_spec", "-spec", ".spec"]),
    (Kind::Example, &["example_"], &["_example", "_demo"]),
    (Kind::Benchmark, &["bench_", "benchmark_"], &["_bench", "_benchmark", ".bench"]),
    (Kind::Generated, &["zz_generated"], &["_pb2", "_pb2_grpc", ".pb", ".min", ".generated", "_generated", ".g"]),
];

/// Names of classes end like this where the file is named for its class.
const TEST_CLASSES: [&str; 5] = ["Test", "Tests", "TestCase", "Spec", "Specs"];

/// Words, as stems, that ask for a kind.
const ASKING: [(Kind, &[&str]); 6] = [
    (Kind::Test, &["test", "spec", "fixtur", "mock"]),
    (Kind::Example, &["exampl", "demo", "sampl", "tutorial"]),
    (Kind::Docs, &["doc", "docs", "documentation", "readm", "guid", "changelog"]),
    (Kind::Benchmark, &["bench", "benchmark"]),
    (Kind::Generated, &["protobuf", "autogen"]),
    (Kind::Vendored, &["vendor", "vendored"]),
];

impl Kind {
    /// All kinds that a path has; a folder counts at any depth.
    pub fn of(path: &str) -> Vec<Kind> {
        let (folders, file) = path.rsplit_once('/').unwrap_or(("", path));
        let folders = folders.to_ascii_lowercase();
        let stem = stem(file);
        let lower = stem.to_ascii_lowercase();

        let mut kinds = Vec::new();
        for (kind, names) in FOLDERS {
            if folders.split('/').any(|folder| names.contains(&folder)) {
                kinds.push(kind);
            }
        }
        for (kind, beginnings, ends) in FILES {
            let named = beginnings.iter().any(|part| lower.starts_with(part)) || ends.iter().any(|part| lower.ends_with(part));
            if named && !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        let whole = FOLDERS[0].1.contains(&lower.as_str());
        let class = TEST_CLASSES.iter().any(|end| {
            let rest = stem.strip_suffix(end);
            rest.is_some_and(|rest| rest.ends_with(|c: char| c.is_ascii_lowercase() || c == '_'))
        });
        if (whole || class) && !kinds.contains(&Kind::Test) {
            kinds.push(Kind::Test);
        }
        kinds
    }

    /// The kinds that the words of a query ask for.
    pub fn asked_by(text: &str) -> Vec<Kind> {
        let stems: Vec<String> = words::parts(text).map(words::stem_of).collect();
        let asked = |asking: &[&str]| stems.iter().any(|stem| asking.contains(&stem.as_str()));
        let kinds = ASKING.iter().filter(|(_, asking)| asked(asking));
        kinds.map(|&(kind, _)| kind).collect()
    }
}

/// A file name without its last ending; a name that is all ending stays.
pub fn stem(file: &str) -> &str {
    match file.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => file,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_tell_their_kinds() {
        let check = |path: &str, expected: &[Kind]| assert_eq!(Kind::of(path), expected, "{path}");
        check("src/parser.rs", &[]);
        check("src/latest.rs", &[]);
        check("src/contest/attest.py", &[]);
        check("tests/parser.rs", &[Kind::Test]);
        check("src/tests.rs", &[Kind::Test]);
        check("pkg/parser_test.go", &[Kind::Test]);
        check("test_parser.py", &[Kind::Test]);
        check("web/Button.test.tsx", &[Kind::Test]);
        check("a/ParserTest.java", &[Kind::Test]);
        check("a/Latest.java", &[]);
        check("Examples/run.rs", &[Kind::Example]);
        check("examples/tests/run.rs", &[Kind::Test, Kind::Example]);
        check("docs/guide.md", &[Kind::Docs]);
        check("benches/search.rs", &[Kind::Benchmark]);
        check("api/service.pb.go", &[Kind::Generated]);
        check("static/app.min.js", &[Kind::Generated]);
        check("vendor/lib/x.c", &[Kind::Vendored]);
        check(".gitignore", &[]);
        check("", &[]);
    }

    #[test]
    fn words_of_a_query_ask_for_kinds() {
        let check = |text: &str, expected: &[Kind]| {
            assert_eq!(Kind::asked_by(text), expected, "{text}");
        };
        check("parse a query", &[]);
        check("tests for the parser", &[Kind::Test]);
        check("Testing", &[Kind::Test]);
        check("TestParser", &[Kind::Test]);
        check("example of a benchmark", &[Kind::Example, Kind::Benchmark]);
        check("the latest contest", &[]);
        check("", &[]);
    }
}
