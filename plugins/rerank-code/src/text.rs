//! Signals from the text of a chunk, found in one pass over it.

use crate::query::{Query, Scratch};
use crate::words;

/// Words after which a name is defined, in the languages that have them.
const DEFINING: [&str; 28] = [
    "class",
    "const",
    "def",
    "defmodule",
    "defp",
    "enum",
    "fn",
    "fun",
    "func",
    "function",
    "interface",
    "let",
    "macro",
    "macro_rules",
    "mod",
    "module",
    "namespace",
    "object",
    "package",
    "protocol",
    "record",
    "static",
    "struct",
    "trait",
    "type",
    "union",
    "val",
    "var",
];

/// A chunk that only uses a name of the query, beside 1 for one that defines it.
const USE_FACTOR: f32 = 0.3;
/// The most terms seen in one text: what comes after them counts for nothing.
const OCCURRENCES_MAX: usize = 4_096;

/// What the text says, each 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TextSignals {
    /// The share of the query's weight in terms that occur.
    pub coverage: f32,
    /// The same within the best few lines; 0 for a query of less than two terms.
    pub proximity: f32,
    /// 1 if a name of the query stands behind a defining word, 0.3 if it stands
    /// anywhere else, 0 if nowhere.
    pub definition_over_use: f32,
    /// The share of the quoted phrases that occur, whatever their case.
    pub phrase: f32,
}

/// Reads a text; `window_lines` is at least 1.
pub fn read(query: &Query, text: &str, window_lines: u32) -> TextSignals {
    let scan = Scan::of(query, text);
    let proximity = match query.terms.len() {
        0 | 1 => 0.0,
        _ => query.share(scan.densest(query, window_lines)),
    };
    TextSignals {
        coverage: query.share(scan.found),
        proximity,
        definition_over_use: match (scan.defines, scan.uses) {
            (true, _) => 1.0,
            (false, true) => USE_FACTOR,
            (false, false) => 0.0,
        },
        phrase: phrases(query, text),
    }
}

/// What one pass over a text finds.
#[derive(Default)]
struct Scan {
    /// Terms that occur, as bits.
    found: u64,
    /// (line from 0, term) in the order of the text.
    occurrences: Vec<(u32, usize)>,
    defines: bool,
    uses: bool,
}

impl Scan {
    fn of(query: &Query, text: &str) -> Scan {
        let mut scan = Scan::default();
        let mut scratch = Scratch::default();
        let mut before = "";
        for (line, content) in (0..).zip(text.split('\n')) {
            for word in whole_words(content) {
                scan.name(query, before, word);
                let mut parts = 0;
                for part in words::parts(word) {
                    parts += 1;
                    scan.term(query, line, part, &mut scratch);
                }
                if parts > 1 {
                    scan.term(query, line, word, &mut scratch);
                }
                before = word;
            }
        }
        scan
    }

    /// Looks whether a word is a name of the query.
    fn name(&mut self, query: &Query, before: &str, word: &str) {
        let is_named = query.names.iter().any(|name| name.last().is_some_and(|n| n == word));
        if is_named {
            self.uses = true;
            self.defines |= DEFINING.contains(&before);
        }
    }

    /// Looks whether a word is a term of the query.
    fn term(&mut self, query: &Query, line: u32, word: &str, scratch: &mut Scratch) {
        if let Some(term) = query.term(word, scratch) {
            self.found |= 1 << term;
            if self.occurrences.len() < OCCURRENCES_MAX {
                self.occurrences.push((line, term));
            }
        }
    }

    /// The terms, as bits, within the window of lines that has most of the weight; the
    /// first of equals.
    fn densest(&self, query: &Query, window_lines: u32) -> u64 {
        let mut counts = vec![0_u32; query.terms.len()];
        let (mut held, mut held_weight) = (0_u64, 0.0_f32);
        let (mut best, mut best_weight) = (0, 0.0);
        let mut first = 0;
        for &(line, term) in &self.occurrences {
            while self.occurrences[first].0.saturating_add(window_lines) <= line {
                let left = self.occurrences[first].1;
                counts[left] -= 1;
                if counts[left] == 0 {
                    held &= !(1 << left);
                    held_weight -= query.terms[left].weight;
                }
                first += 1;
            }
            counts[term] += 1;
            if counts[term] == 1 {
                held |= 1 << term;
                held_weight += query.terms[term].weight;
                if held_weight > best_weight {
                    (best, best_weight) = (held, held_weight);
                }
            }
        }
        best
    }
}

/// Runs of letters, digits and underscores. Everything beyond ASCII counts as a letter
/// here; [`words::parts`] tells.
fn whole_words(line: &str) -> impl Iterator<Item = &str> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii();
    let mut at = 0;
    std::iter::from_fn(move || {
        let bytes = line.as_bytes();
        while at < bytes.len() && !is_word(bytes[at]) {
            at += 1;
        }
        let start = at;
        while at < bytes.len() && is_word(bytes[at]) {
            at += 1;
        }
        (start < at).then(|| &line[start..at])
    })
}

fn phrases(query: &Query, text: &str) -> f32 {
    if query.phrases.is_empty() {
        return 0.0;
    }
    let text = text.to_lowercase();
    let occur = query.phrases.iter().filter(|phrase| text.contains(phrase.as_str()));
    occur.count() as f32 / query.phrases.len() as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanloom_plugin::testing;

    fn query(terms: &[(&str, u32)], identifiers: &[&str], phrases: &[&str]) -> Query {
        let mut profile = testing::profile("words of a text", 1_000, terms);
        profile.identifiers = identifiers.iter().map(|id| id.to_string()).collect();
        profile.phrases = phrases.iter().map(|phrase| phrase.to_string()).collect();
        Query::of(&profile)
    }

    #[test]
    fn coverage_and_proximity_follow_the_terms() {
        let query = query(&[("rate", 9), ("limit", 9)], &[], &[]);
        let check = |text: &str, coverage: f32, proximity: f32| {
            let got = read(&query, text, 2);
            assert!((got.coverage - coverage).abs() < 1e-6, "{text}: {got:?}");
            assert!((got.proximity - proximity).abs() < 1e-6, "{text}: {got:?}");
        };
        check("", 0.0, 0.0);
        check("nothing of it", 0.0, 0.0);
        check("fn rateLimited() {}", 1.0, 1.0);
        check("rates\nand LIMITS", 1.0, 1.0);
        check("rate\n\nlimit", 1.0, 0.5);
        check("rate\n\n\nrate", 0.5, 0.5);
        check("rate\n\n\nrate\nlimit\n\n\nlimit", 1.0, 1.0);
    }

    #[test]
    fn names_that_are_identifiers_and_terms_are_found_whole() {
        let query = query(&[("parse_query", 3)], &[], &[]);
        assert_eq!(read(&query, "let x = parse_query(y);", 5).coverage, 1.0);
        assert_eq!(read(&query, "query parse", 5).coverage, 0.0);
    }

    #[test]
    fn defining_a_name_beats_using_it() {
        let query = query(&[], &["Parser::parse"], &[]);
        let check = |text: &str, expected: f32| {
            let got = read(&query, text, 5).definition_over_use;
            assert_eq!(got, expected, "{text}");
        };
        check("pub fn parse(&self)", 1.0);
        check("def parse(self):", 1.0);
        check("let x = y.parse();", 0.3);
        check("parse_all()", 0.0);
        check("x.parse();\nfn parse() {}", 1.0);
    }

    #[test]
    fn phrases_occur_or_not() {
        let query = query(&[], &[], &["connection refused", "TimeOut"]);
        let check = |text: &str, expected: f32| assert_eq!(read(&query, text, 5).phrase, expected);
        check("Err(\"Connection refused\")", 0.5);
        check("connection refused after timeout", 1.0);
        check("connection was refused", 0.0);
    }

    #[test]
    fn long_texts_of_nothing_but_terms_are_read_to_the_end() {
        let query = query(&[("a1b", 1), ("zz", 1)], &[], &[]);
        let text = format!("{}zz", "a1b\n".repeat(10_000));
        assert_eq!(read(&query, &text, u32::MAX).coverage, 1.0);
    }
}
