//! Kinds of files, and which of them a query asks for.

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
    pub const ALL: [Kind; 6] = [Kind::Test, Kind::Example, Kind::Docs, Kind::Benchmark, Kind::Generated, Kind::Vendored];

    /// The column of the evidence that is 1 for rows of this kind.
    pub fn column(self) -> &'static str {
        match self {
            Kind::Test => "role_test",
            Kind::Example => "role_example",
            Kind::Docs => "role_docs",
            Kind::Benchmark => "role_benchmark",
            Kind::Generated => "role_generated",
            Kind::Vendored => "role_vendored",
        }
    }

    /// The kinds that the words of a query ask for.
    pub fn asked_by(text: &str) -> Vec<Kind> {
        let stems: Vec<String> = words::parts(text).map(words::stem_of).collect();
        let asked = |asking: &[&str]| stems.iter().any(|stem| asking.contains(&stem.as_str()));
        let kinds = ASKING.iter().filter(|(_, asking)| asked(asking));
        kinds.map(|&(kind, _)| kind).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
