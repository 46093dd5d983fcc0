//! Words out of code and prose, the same for the text index, the built-in embedding
//! and queries.
//!
//! A word is a run of letters, digits and `_`. It is split where case or kind
//! changes (`parseHTTPResponse2` → parse, http, response, 2); each part is lower-cased
//! and English words are stemmed (Snowball). An identifier of several parts, stop words
//! among them, is also kept whole, lower-cased and without underscores, so that it can be
//! found exactly: `from_fn` and `FromFn` are `fromfn`.

use std::collections::HashSet;
use std::sync::LazyLock;

use rust_stemmers::{Algorithm, Stemmer};

/// Version of the rules here; an index made by others is not mixed with them.
pub const TOKENIZER_VERSION: u32 = 2;

/// Bytes of a word; longer ones are data, not words.
const WORD_BYTES_MAX: usize = 128;

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
        self.each::<true>(text, &mut |piece| sink(piece.term, piece.place));
    }

    /// How many terms [`Tokenizer::terms`] gives, without making them.
    pub fn count(&self, text: &str) -> u64 {
        let mut count = 0;
        self.each::<false>(text, &mut |_| count += 1);
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
        self.each::<true>(text, &mut |piece| {
            terms.truncate(terms.len() - piece.parts);
            terms.push((piece.place, piece.term.to_owned()));
        });
        terms
    }

    /// The term of a single lower-case word.
    pub fn stem(&self, word: &str) -> String {
        if is_stemmed(word) { self.stemmer.stem(word).into_owned() } else { word.to_owned() }
    }

    fn each<const STEMMED: bool>(&self, text: &str, sink: &mut impl FnMut(Piece)) {
        let mut place = 0;
        let mut lower = String::with_capacity(32);
        for word in words(text) {
            let first = place;
            let (mut parts, mut all) = (0, 0);
            for part in parts_of(word) {
                all += 1;
                lower.clear();
                lower.extend(part.chars().flat_map(char::to_lowercase));
                if STOP.contains(lower.as_str()) {
                    continue;
                }
                parts += 1;
                if STEMMED && is_stemmed(&lower) {
                    sink(Piece { term: &self.stemmer.stem(&lower), place, parts: 0 });
                } else {
                    sink(Piece { term: &lower, place, parts: 0 });
                }
                place += 1;
            }
            if all > 1 {
                lower.clear();
                lower.extend(word.chars().filter(|c| *c != '_').flat_map(char::to_lowercase));
                sink(Piece { term: &lower, place: first, parts });
                // One that is made of stop words has a place of its own.
                place = place.max(first + 1);
            }
        }
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
