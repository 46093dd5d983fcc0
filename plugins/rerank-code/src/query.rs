//! The query, made ready for comparing it with many chunks.

use spanloom_plugin::Profile;

use crate::files::Kind;
use crate::words;

/// Terms beyond this many are left out: a chunk's terms are one bit each.
pub const TERMS_MAX: usize = 64;

/// What the query asks for.
pub struct Query {
    /// Distinct by stem, in the order of the profile.
    pub terms: Vec<Term>,
    /// The sum of the weights of the terms.
    pub weight_total: f32,
    /// Names the query may mean, as the segments of their paths: `a::b()` is
    /// `["a", "b"]`. None is empty.
    pub names: Vec<Vec<String>>,
    /// Files or folders that the query names, lower case: `main.rs`, `src/app`.
    pub files: Vec<String>,
    /// What stands in quotes, lower case; none is empty.
    pub phrases: Vec<String>,
    /// Whether the query is written like code.
    pub code_like: bool,
    /// Kinds of files that the query's words ask for.
    pub asked: Vec<Kind>,
    /// Whether any key starts with this byte, in either case.
    first_bytes: [bool; 256],
}

/// A search term.
pub struct Term {
    /// As the text index has it, and stemmed: a word that equals either is this term.
    keys: [String; 2],
    /// `ln(1 + (N + 1) / (df + 1))`: over 0, the larger the rarer.
    pub weight: f32,
}

impl Query {
    /// Terms that no chunk holds are left out unless there are no others.
    pub fn of(profile: &Profile) -> Query {
        let terms = terms(profile);
        let mut first_bytes = [false; 256];
        for first in terms.iter().flat_map(|term| &term.keys).flat_map(|key| key.bytes().next()) {
            first_bytes[usize::from(first)] = true;
            first_bytes[usize::from(first.to_ascii_uppercase())] = true;
        }
        let (files, names) = names_and_files(profile);
        let phrases = profile.phrases.iter().map(|phrase| phrase.trim());
        Query {
            weight_total: terms.iter().map(|term| term.weight).sum(),
            terms,
            names,
            files,
            phrases: phrases.filter(|phrase| !phrase.is_empty()).map(str::to_lowercase).collect(),
            code_like: !profile.identifiers.is_empty(),
            asked: Kind::asked_by(&profile.text),
            first_bytes,
        }
    }

    /// The term that a word is, if any; upper-case ASCII letters count as lower-case.
    pub fn term(&self, word: &str, scratch: &mut Scratch) -> Option<usize> {
        let first = *word.as_bytes().first()?;
        if !self.first_bytes[usize::from(first)] {
            return None;
        }
        let Scratch { lower, stem } = scratch;
        lower.clear();
        lower.push_str(word);
        lower.make_ascii_lowercase();
        stem.clear();
        stem.push_str(lower);
        words::stem(stem);
        let is = |term: &Term| term.keys.iter().any(|key| key == stem || key == lower);
        self.terms.iter().position(is)
    }

    /// The terms among the words of a name, as bits, and how many of its words are
    /// terms, and how many words it has.
    pub fn terms_of_name(&self, name: &str) -> (u64, usize, usize) {
        let (mut found, mut matched, mut all) = (0, 0, 0);
        let mut scratch = Scratch::default();
        for part in words::parts(name) {
            all += 1;
            if let Some(term) = self.term(part, &mut scratch) {
                found |= 1 << term;
                matched += 1;
            }
        }
        (found, matched, all)
    }

    /// The share of the query's weight that these terms have, 0 to 1; 0 without terms.
    pub fn share(&self, found: u64) -> f32 {
        if self.weight_total <= 0.0 {
            return 0.0;
        }
        let held = self.terms.iter().enumerate();
        let weight: f32 = held.filter(|(term, _)| found & (1 << term) != 0).map(|(_, term)| term.weight).sum();
        (weight / self.weight_total).min(1.0)
    }
}

/// Space for [`Query::term`] that is used again and again.
#[derive(Default)]
pub struct Scratch {
    lower: String,
    stem: String,
}

fn terms(profile: &Profile) -> Vec<Term> {
    let frequencies = &profile.document_frequencies;
    let any_known = frequencies.iter().any(|&frequency| frequency > 0);
    let documents = profile.documents as f64 + 1.0;
    let mut terms: Vec<Term> = Vec::new();
    for (term, &frequency) in profile.terms.iter().zip(frequencies) {
        let keys = [term.to_lowercase(), words::stem_of(term)];
        let known = terms.iter().any(|term| term.keys[1] == keys[1]);
        if term.is_empty() || known || (frequency == 0 && any_known) {
            continue;
        }
        let idf = (1.0 + documents / (f64::from(frequency) + 1.0)).ln();
        terms.push(Term { keys, weight: idf as f32 });
        if terms.len() == TERMS_MAX {
            break;
        }
    }
    terms
}

/// Identifiers, quoted words, and a text of one word. What has a slash or the ending
/// of a source file is a file, everything else a name.
fn names_and_files(profile: &Profile) -> (Vec<String>, Vec<Vec<String>>) {
    let one_word = |text: &&str| !text.is_empty() && !text.contains(char::is_whitespace);
    let identifiers = profile.identifiers.iter().map(String::as_str);
    let phrases = profile.phrases.iter().map(|phrase| phrase.trim());
    let whole = std::iter::once(profile.text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '`' | '\'' | '?')));

    let (mut files, mut names) = (Vec::new(), Vec::new());
    for word in identifiers.chain(phrases).chain(whole).filter(one_word) {
        if is_file(word) {
            push_new(&mut files, word.trim_start_matches("./").to_lowercase());
        } else {
            let segments: Vec<String> = segments(word).map(str::to_string).collect();
            if !segments.is_empty() {
                push_new(&mut names, segments);
            }
        }
    }
    (files, names)
}

fn push_new<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

/// The segments of a qualified name, whatever separates them.
pub fn segments(name: &str) -> impl DoubleEndedIterator<Item = &str> {
    name.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '$').filter(|segment| !segment.is_empty())
}

const FILE_ENDINGS: [&str; 33] = [
    "c", "cc", "cfg", "cpp", "cs", "css", "ex", "go", "h", "hpp", "html", "ini", "java", "js", "json", "jsx", "kt", "lua", "md", "php",
    "py", "rb", "rs", "rst", "scala", "sh", "sql", "swift", "toml", "ts", "tsx", "yaml", "yml",
];

fn is_file(word: &str) -> bool {
    let has_ending = || {
        let (stem, ending) = word.rsplit_once('.')?;
        Some(!stem.is_empty() && FILE_ENDINGS.contains(&ending))
    };
    word.contains('/') || has_ending().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanloom_plugin::testing;

    #[test]
    fn terms_are_distinct_known_and_rarer_ones_weigh_more() {
        let terms = [("parse", 90), ("parsing", 80), ("gone", 0), ("file", 900)];
        let query = Query::of(&testing::profile("parse file", 1_000, &terms));
        assert_eq!(query.terms.len(), 2);
        assert!(query.terms[0].weight > query.terms[1].weight);
        let mut scratch = Scratch::default();
        assert_eq!(query.term("parsed", &mut scratch), Some(0));
        assert_eq!(query.term("files", &mut scratch), Some(1));
        assert_eq!(query.term("gone", &mut scratch), None);
        assert!((query.share(0b11) - 1.0).abs() < 1e-6);
        assert_eq!(query.share(0), 0.0);
    }

    #[test]
    fn terms_that_the_index_stemmed_its_own_way_are_found() {
        let query = Query::of(&testing::profile("", 10, &[("pars", 1), ("queri", 1)]));
        let mut scratch = Scratch::default();
        assert_eq!(query.term("parse", &mut scratch), Some(0));
        assert_eq!(query.term("query", &mut scratch), Some(1));
    }

    #[test]
    fn names_and_files_are_told_apart() {
        let mut profile = testing::profile("text of several words", 10, &[]);
        profile.identifiers = ["a::b()", "main.rs", "self.run", "src/app", "::"].map(String::from).to_vec();
        profile.phrases = ["Router", "two words", " ", "Router"].map(String::from).to_vec();
        let query = Query::of(&profile);
        assert_eq!(query.files, ["main.rs", "src/app"]);
        let names: Vec<String> = query.names.iter().map(|name| name.join(" ")).collect();
        assert_eq!(names, ["a b", "self run", "Router"]);
        assert_eq!(query.phrases, ["router", "two words", "router"]);

        let one_word = Query::of(&testing::profile("Router?", 10, &[]));
        assert_eq!(one_word.names, [["Router"]]);
    }

    #[test]
    fn more_terms_than_bits_are_cut() {
        let names: Vec<String> = (0..100).map(|n| format!("x{n}x")).collect();
        let terms: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), 1)).collect();
        let query = Query::of(&testing::profile("", 10, &terms));
        assert_eq!(query.terms.len(), TERMS_MAX);
        assert!((query.share(u64::MAX) - 1.0).abs() < 1e-5);
    }
}
