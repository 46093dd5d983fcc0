//! Words out of code and prose, the same for the text index, the built-in embedding
//! and queries.
//!
//! A word is a run of letters, digits and `_`. It is split where case or kind
//! changes (`parseHTTPResponse2` → parse, http, response, 2); each part is lower-cased
//! and English words are stemmed (Snowball). An identifier of several parts, stop words
//! among them, is also kept whole, lower-cased and without underscores, so that it can be
//! found exactly: `from_fn` and `FromFn` are `fromfn`.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::LazyLock;

use rust_stemmers::{Algorithm, Stemmer};

use crate::words::WordMap;

/// Version of the rules here; an index made by others is not mixed with them.
pub const TOKENIZER_VERSION: u32 = 2;

/// Bytes of a word; longer ones are data, not words.
const WORD_BYTES_MAX: usize = 128;

/// Different words whose stems a thread keeps; then it begins anew. Some 8 MB.
const STEMS_KEPT_MAX: usize = 1 << 17;

/// English words that carry no meaning in a query. Keywords of programming languages
/// that are English words (`for`, `if`, `while`) are among them.
const STOP_WORDS: &[&str] = &[
    "a", "an", "and", "are", "as", "at", "be", "been", "but", "by", "can", "could", "did", "do", "does", "for", "from", "had", "has",
    "have", "how", "i", "if", "in", "into", "is", "it", "its", "me", "my", "of", "on", "or", "our", "should", "so", "some", "such", "than",
    "that", "the", "their", "them", "then", "there", "these", "they", "this", "those", "to", "use", "used", "using", "was", "we", "were",
    "what", "when", "where", "which", "while", "who", "why", "will", "with", "would", "you", "your",
];

static STOP: LazyLock<HashSet<&'static str>> = LazyLock::new(|| STOP_WORDS.iter().copied().collect());

/// Cuts text into terms. Holds the stemmer; make one and use it for many texts.
pub struct Tokenizer {
    stemmer: Stemmer,
}

impl Default for Tokenizer {
    fn default() -> Self {
        Tokenizer { stemmer: Stemmer::create(Algorithm::English) }
    }
}

impl Clone for Tokenizer {
    fn clone(&self) -> Self {
        Tokenizer::default()
    }
}

/// What became of a lower-case word.
enum Known {
    Stop,
    /// It is a term as it stands.
    Same,
    Stem(Box<str>),
}

thread_local! {
    /// Texts repeat their words, and stemming one takes ten times as long as finding it here.
    static KNOWN: RefCell<WordMap<Box<str>, Known>> = RefCell::default();
}

/// A term as it comes out of the text.
struct Piece<'a> {
    term: &'a str,
    place: usize,
    /// How many parts an identifier as a whole has; 0 for a part or a plain word.
    parts: usize,
}

impl Tokenizer {
    /// Calls `sink` with each term and its place: parts count on, and an identifier
    /// as a whole stands at the place of its first part. Stop words have no place.
    pub fn terms(&self, text: &str, sink: &mut dyn FnMut(&str, usize)) {
        self.each(text, &mut |piece| sink(piece.term, piece.place));
    }

    /// How many terms [`Tokenizer::terms`] gives.
    pub fn count(&self, text: &str) -> u64 {
        let mut count = 0;
        self.each(text, &mut |_| count += 1);
        count
    }

    /// The different terms of a query, in the order of their first place.
    pub fn query_terms(&self, text: &str) -> Vec<String> {
        let mut terms: Vec<String> = Vec::new();
        self.terms(text, &mut |term, _| {
            if !terms.iter().any(|known| known == term) {
                terms.push(term.to_owned());
            }
        });
        terms
    }

    /// What a phrase asks of a text: terms and how far each stands behind the first. An
    /// identifier is asked for as a whole. Text without terms gives none.
    pub fn phrase_terms(&self, text: &str) -> Vec<(usize, String)> {
        let mut terms: Vec<(usize, String)> = Vec::new();
        self.each(text, &mut |piece| {
            terms.truncate(terms.len() - piece.parts);
            terms.push((piece.place, piece.term.to_owned()));
        });
        terms
    }

    /// The term of a single lower-case word.
    pub fn stem(&self, word: &str) -> String {
        if is_stemmed(word) { self.stemmer.stem(word).into_owned() } else { word.to_owned() }
    }

    /// Makes the term of a lower-case word out of it; false for a stop word.
    fn look_up(&self, word: &mut String) -> bool {
        KNOWN.with_borrow_mut(|known| {
            let outcome = match known.get(word.as_str()) {
                Some(outcome) => outcome,
                None => {
                    if known.len() >= STEMS_KEPT_MAX {
                        known.clear();
                    }
                    let outcome = self.outcome(word);
                    known.entry(word.as_str().into()).or_insert(outcome)
                }
            };
            match outcome {
                Known::Stop => return false,
                Known::Same => {}
                Known::Stem(stem) => {
                    word.clear();
                    word.push_str(stem);
                }
            }
            true
        })
    }

    fn outcome(&self, word: &str) -> Known {
        if is_stop_word(word) {
            return Known::Stop;
        }
        let stem = self.stem(word);
        if stem == word { Known::Same } else { Known::Stem(stem.into()) }
    }

    fn each(&self, text: &str, sink: &mut impl FnMut(Piece)) {
        let mut place = 0;
        let mut lower = String::with_capacity(32);
        // Nearly all text is ASCII, and bytes are looked at three times as fast as characters.
        for run in runs(text) {
            if run.is_ascii() {
                if run.len() <= WORD_BYTES_MAX {
                    self.word(run, ascii_parts_of(run), &mut lower, &mut place, sink);
                }
            } else {
                words(run).for_each(|word| self.word(word, parts_of(word), &mut lower, &mut place, sink));
            }
        }
    }

    /// The terms of one word, which has these parts. `place` is the next one.
    fn word<'w>(
        &self,
        word: &str,
        parts: impl Iterator<Item = &'w str>,
        lower: &mut String,
        place: &mut usize,
        sink: &mut impl FnMut(Piece),
    ) {
        let first = *place;
        let (mut kept, mut all) = (0, 0);
        for part in parts {
            all += 1;
            lower.clear();
            push_lower(lower, part);
            if !self.look_up(lower) {
                continue;
            }
            kept += 1;
            sink(Piece { term: lower, place: *place, parts: 0 });
            *place += 1;
        }
        if all > 1 {
            lower.clear();
            word.split('_').for_each(|part| push_lower(lower, part));
            sink(Piece { term: lower, place: first, parts: kept });
            // One that is made of stop words has a place of its own.
            *place = (*place).max(first + 1);
        }
    }
}

fn push_lower(lower: &mut String, part: &str) {
    let before = lower.len();
    if part.is_ascii() {
        lower.push_str(part);
        lower[before..].make_ascii_lowercase();
    } else {
        lower.extend(part.chars().flat_map(char::to_lowercase));
    }
}

/// The parts of all words of a text in order, lower-cased, stop words among them.
pub fn lower_parts(text: &str) -> impl Iterator<Item = String> {
    words(text).flat_map(parts_of).map(str::to_lowercase)
}

/// Whether a lower-case word carries no meaning in a query.
pub fn is_stop_word(lower: &str) -> bool {
    STOP.contains(lower)
}

/// Only words of Latin letters, and not the shortest, have English endings.
fn is_stemmed(lower: &str) -> bool {
    lower.len() > 2 && lower.bytes().all(|byte| byte.is_ascii_lowercase())
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty() && word.len() <= WORD_BYTES_MAX)
}

/// The text without most of what is no word: runs of letters, digits, `_`, and anything
/// beyond ASCII, which [`words`] looks at.
fn runs(text: &str) -> impl Iterator<Item = &str> {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || !byte.is_ascii();
    let mut rest = text;
    std::iter::from_fn(move || {
        let bytes = rest.as_bytes();
        let start = bytes.iter().position(is_word)?;
        let end = bytes[start..].iter().position(|byte| !is_word(byte)).map_or(bytes.len(), |length| start + length);
        // Both stand beside an ASCII character, or at an end.
        let run = &rest[start..end];
        rest = &rest[end..];
        Some(run)
    })
}

/// [`parts_of`] for words of ASCII.
fn ascii_parts_of(word: &str) -> impl Iterator<Item = &str> {
    let bytes = word.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while bytes.get(at) == Some(&b'_') {
            at += 1;
        }
        let start = at;
        let mut before = *bytes.get(start)?;
        at += 1;
        while let Some(&byte) = bytes.get(at) {
            let small_follows = || bytes.get(at + 1).is_some_and(u8::is_ascii_lowercase);
            let boundary = byte == b'_'
                || byte.is_ascii_digit() != before.is_ascii_digit()
                || (byte.is_ascii_uppercase() && (!before.is_ascii_uppercase() || small_follows()));
            if boundary {
                break;
            }
            before = byte;
            at += 1;
        }
        Some(&word[start..at])
    })
}

/// The parts of an identifier, in their own case. `_` alone has none.
pub fn parts_of(word: &str) -> impl Iterator<Item = &str> {
    let mut rest = word;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches('_');
        let mut chars = rest.char_indices().peekable();
        let (_, first) = chars.next()?;
        let mut before = first;
        let mut end = rest.len();
        while let Some((at, c)) = chars.next() {
            let after = chars.peek().map(|(_, c)| *c);
            // An upper-case run ends before its last letter when a lower-case one
            // follows: HTTPResponse → HTTP, Response.
            let boundary = c == '_'
                || c.is_numeric() != before.is_numeric()
                || (c.is_uppercase() && !before.is_uppercase())
                || (c.is_uppercase() && before.is_uppercase() && after.is_some_and(char::is_lowercase));
            if boundary {
                end = at;
                break;
            }
            before = c;
        }
        let (part, tail) = rest.split_at(end);
        rest = tail;
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expect: &[&str]) {
        let mut terms = Vec::new();
        Tokenizer::default().terms(text, &mut |term, _| terms.push(term.to_owned()));
        assert_eq!(terms, expect, "{text}");
        assert_eq!(Tokenizer::default().count(text), expect.len() as u64, "{text}");
    }

    #[test]
    fn identifiers_are_split_and_kept_whole() {
        check("parseHTTPResponse2", &["pars", "http", "respons", "2", "parsehttpresponse2"]);
        check("snake_case_name", &["snake", "case", "name", "snakecasename"]);
        check("__init__", &["init"]);
        check("MAX_SIZE", &["max", "size", "maxsize"]);
        check("sha256sum", &["sha", "256", "sum", "sha256sum"]);
        check("from_fn toIt", &["fn", "fromfn", "toit"]);
        check("getURLs", &["get", "ur", "ls", "geturls"]);
        check("Größe größenWert", &["größe", "größen", "wert", "größenwert"]);
        check("a.b(c) -> d::e", &["b", "c", "d", "e"]);
        check("how does the router match routes", &["router", "match", "rout"]);
        check("_ __ \u{1F600}", &[]);
        check("", &[]);
    }

    #[test]
    fn parts_cover_the_word() {
        for word in ["aB", "ABc", "a1b2", "___", "x", "HTTP", "éÉ", "日本語", "a_b__c"] {
            let joined: String = parts_of(word).collect();
            assert_eq!(joined, word.replace('_', ""), "{word}");
        }
    }

    proptest! {
        /// The quick way through ASCII cuts as the other one does.
        #[test]
        fn bytes_are_cut_as_characters_are(text in "([a-zA-Z0-9_ .é–Ü²]|getURLs2_){0,60}") {
            let quick: Vec<&str> = runs(&text).flat_map(words).collect();
            prop_assert_eq!(&quick, &words(&text).collect::<Vec<_>>());
            for word in quick.into_iter().filter(|word| word.is_ascii()) {
                prop_assert_eq!(ascii_parts_of(word).collect::<Vec<_>>(), parts_of(word).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn the_longest_words_are_data() {
        check(&format!("a1 {} b2", "x".repeat(WORD_BYTES_MAX + 1)), &["1", "a1", "b", "2", "b2"]);
        check(&"x".repeat(WORD_BYTES_MAX), &[&"x".repeat(WORD_BYTES_MAX)]);
    }

    #[test]
    fn query_terms_are_different_and_in_order() {
        assert_eq!(Tokenizer::default().query_terms("Route route_layer route"), ["rout", "layer", "routelayer"]);
    }

    #[test]
    fn phrases_ask_for_identifiers_as_a_whole() {
        let check = |text: &str, expect: &[(usize, &str)]| {
            let terms = Tokenizer::default().phrase_terms(text);
            let terms: Vec<(usize, &str)> = terms.iter().map(|(place, term)| (*place, term.as_str())).collect();
            assert_eq!(terms, expect, "{text}");
        };
        check("match the Routes", &[(0, "match"), (1, "rout")]);
        check("call route_layer here twice", &[(0, "call"), (1, "routelayer"), (3, "here"), (4, "twice")]);
        check("is_empty", &[(0, "isempty")]);
        check("… the", &[]);
    }
}
