//! What the host knows of a query before it is searched: the gate's evidence.

use crate::engines::text::{PREFIX_CHARS_MIN, TERMS_MAX, TextError, TextIndex};
use crate::index::tokenize::Tokenizer;
use crate::types::ChannelName;

/// Phrases and identifiers taken from a query.
const PARTS_MAX: usize = 32;
/// Prefixes taken from a query.
const PREFIXES_MAX: usize = 8;

/// Cheap features of a query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryProfile {
    pub text: String,
    /// Different terms in the order of their first place, as the text index has them.
    pub terms: Vec<String>,
    /// How many chunks hold each term.
    pub document_frequencies: Vec<u32>,
    /// How many chunks there are.
    pub documents: u64,
    /// Words written like code, as they stand in the text.
    pub identifiers: Vec<String>,
    /// What stands between double quotes or backticks.
    pub phrases: Vec<String>,
    /// Those of `phrases` that stand between double quotes: findings have to hold them.
    pub required: Vec<String>,
    /// What stands before a `*` at the end of a word.
    pub prefixes: Vec<String>,
    /// The text without what marks phrases and prefixes.
    pub rest: String,
    /// What of the text was understood otherwise than it may have been meant.
    pub warnings: Vec<String>,
    /// The channels that can be asked, in order.
    pub channels: Vec<ChannelName>,
}

impl QueryProfile {
    /// # Errors
    /// When the text index can't be asked for frequencies.
    pub fn of(text: &str, index: &TextIndex, channels: Vec<ChannelName>) -> Result<QueryProfile, TextError> {
        let literals = Literals::of(text);
        let terms = Tokenizer::default().query_terms(&literals.rest);
        let document_frequencies = index.document_frequencies(&terms)?;
        let mut warnings = literals.warnings;
        let known = document_frequencies.iter().filter(|frequency| **frequency > 0).count();
        if known > TERMS_MAX {
            warnings
                .push(format!("the query has {known} terms that are in the index; the text index was asked for the {TERMS_MAX} rarest"));
        } else if terms.is_empty() && literals.prefixes.is_empty() {
            warnings.push("the query has no terms to search for: it is made of signs, or of words such as `the` and `how`".into());
        } else if known == 0 && literals.prefixes.is_empty() {
            warnings.push("no term of the query is in the index".into());
        }
        Ok(QueryProfile {
            text: text.to_owned(),
            document_frequencies,
            terms,
            documents: index.documents(),
            identifiers: identifiers(text),
            phrases: literals.phrases,
            required: literals.required,
            prefixes: literals.prefixes,
            rest: literals.rest,
            warnings,
            channels,
        })
    }

    /// The weight of each term by rarity: ln(1 + (N − n + ½) / (n + ½)), as in BM25;
    /// Robertson and Zaragoza 2009. In the order of `terms`.
    pub fn idf(&self) -> Vec<f32> {
        let documents = self.documents as f64;
        self.document_frequencies
            .iter()
            .map(|&frequency| {
                let frequency = f64::from(frequency).min(documents);
                (1.0 + (documents - frequency + 0.5) / (frequency + 0.5)).ln() as f32
            })
            .collect()
    }
}

/// Words that look like code rather than prose: an underscore, `::`, a call, a dot
/// or slash between words, a capital within, or a digit among letters.
fn identifiers(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let word = word.trim_matches(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '(' | ')' | '.')));
        let word = word.trim_end_matches(['.', '?', '!']);
        let bare = word.trim_end_matches("()").trim_matches(|c: char| !(c.is_alphanumeric() || c == '_'));
        if looks_like_code(word, bare) && !found.iter().any(|known| known == bare) && found.len() < PARTS_MAX {
            found.push(bare.to_owned());
        }
    }
    found
}

fn looks_like_code(word: &str, bare: &str) -> bool {
    if bare.chars().count() < 2 {
        return false;
    }
    let chars: Vec<char> = bare.chars().collect();
    let inner = |mark: &str| bare.match_indices(mark).any(|(at, _)| at > 0 && at + mark.len() < bare.len());
    let capital_within = chars.windows(2).any(|pair| pair[0].is_lowercase() && pair[1].is_uppercase());
    let digit_within = chars.windows(2).any(|pair| pair[0].is_alphabetic() && pair[1].is_ascii_digit());
    word.ends_with("()") || bare.contains('_') || inner("::") || inner(".") || inner("/") || capital_within || digit_within
}

/// What of a query is meant as it is written.
#[derive(Debug, Default)]
struct Literals {
    phrases: Vec<String>,
    required: Vec<String>,
    prefixes: Vec<String>,
    warnings: Vec<String>,
    /// The text without its prefixes.
    rest: String,
}

impl Literals {
    fn of(text: &str) -> Literals {
        let mut literals = Literals::default();
        let mut open = text;
        while let Some((at, mark, end)) = next_mark(open) {
            literals.words(&open[..at]);
            let inner = &open[at + mark.len_utf8()..];
            let Some(length) = inner.find(end) else {
                if mark != '`' {
                    literals.warnings.push(format!("{mark} opens a phrase that is not closed; its words were searched as they are"));
                }
                literals.rest.push(' ');
                open = inner;
                continue;
            };
            literals.phrase(inner[..length].trim(), mark);
            open = &inner[length + end.len_utf8()..];
        }
        literals.words(open);
        literals
    }

    fn phrase(&mut self, phrase: &str, mark: char) {
        self.rest.extend([" ", phrase, " "]);
        if phrase.is_empty() || self.phrases.iter().any(|known| known == phrase) {
            return;
        }
        if self.phrases.len() >= PARTS_MAX {
            let tail = format!("the query has more than {PARTS_MAX} phrases; of the others only the words were searched");
            if self.warnings.last() != Some(&tail) {
                self.warnings.push(tail);
            }
            return;
        }
        if mark != '`' {
            self.required.push(phrase.to_owned());
        }
        self.phrases.push(phrase.to_owned());
    }

    /// Text outside of phrases: takes the prefixes out of it.
    fn words(&mut self, text: &str) {
        for word in text.split_inclusive(char::is_whitespace) {
            let bare = word.trim().trim_start_matches(['(', '[']).trim_end_matches([',', ';', ':', '.', '!', '?', ')', ']']);
            let prefix = bare.strip_suffix('*').filter(|prefix| !prefix.is_empty() && prefix.chars().all(is_word));
            match prefix {
                Some(prefix) if prefix.trim_start_matches('_').chars().count() < PREFIX_CHARS_MIN => {
                    self.warnings.push(format!("`{prefix}*`: a prefix has at least {PREFIX_CHARS_MIN} letters; it was searched as a word"));
                    self.rest.push_str(word);
                }
                Some(prefix) if self.prefixes.len() >= PREFIXES_MAX => {
                    self.warnings.push(format!("`{prefix}*` was searched as a word: a query has at most {PREFIXES_MAX} prefixes"));
                    self.rest.push_str(word);
                }
                Some(prefix) => {
                    if !self.prefixes.iter().any(|known| known == prefix) {
                        self.prefixes.push(prefix.to_owned());
                    }
                    self.rest.push(' ');
                }
                None => self.rest.push_str(word),
            }
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The first mark that can open a phrase: its place, itself and what closes it. A mark
/// behind a backslash is a sign like others.
fn next_mark(text: &str) -> Option<(usize, char, char)> {
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        let end = match c {
            '"' | '`' => Some(c),
            '\u{201c}' => Some('\u{201d}'),
            _ => None,
        };
        if let Some(end) = end.filter(|_| before != '\\') {
            return Some((at, c, end));
        }
        before = c;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect_identifiers: &[&str], expect_phrases: &[&str]) {
        assert_eq!(identifiers(text), expect_identifiers, "{text}");
        assert_eq!(Literals::of(text).phrases, expect_phrases, "{text}");
    }

    #[test]
    fn code_is_told_from_prose() {
        check("how does Router::route_layer work?", &["Router::route_layer"], &[]);
        check("where is parse() called, in main.rs or src/lib.rs.", &["parse", "main.rs", "src/lib.rs"], &[]);
        check("HTTP request time-out e.g. 30 seconds", &["e.g"], &[]);
        check("getUserName utf8 snake_case", &["getUserName", "utf8", "snake_case"], &[]);
        check("say \"hello world\" and `x + y` and \"open", &[], &["hello world", "x + y"]);
        check("", &[], &[]);
        check("\u{2603} ü", &[], &[]);
    }

    #[test]
    fn quotes_ask_and_backticks_prefer() {
        let check = |text: &str, required: &[&str], phrases: &[&str], warnings: usize| {
            let literals = Literals::of(text);
            assert_eq!(literals.required, required, "{text}");
            assert_eq!(literals.phrases, phrases, "{text}");
            assert_eq!(literals.warnings.len(), warnings, "{text}: {:?}", literals.warnings);
        };
        check("\"a b\" `c d`", &["a b"], &["a b", "c d"], 0);
        check("\u{201c}a b\u{201d} c", &["a b"], &["a b"], 0);
        // Within one kind the other is text.
        check("`print(\"x\")` y", &[], &["print(\"x\")"], 0);
        check("\"a `b` c\"", &["a `b` c"], &["a `b` c"], 0);
        check("\"a \"b\" c\"", &["a", "c"], &["a", "c"], 0);
        check("\"open end", &[], &[], 1);
        check("`open end", &[], &[], 0);
        check("\"open `closed`", &[], &["closed"], 1);
        check("\\\"sign\\\"", &[], &[], 0);
        check("\"\" `` ```x```", &[], &["x"], 0);
        check(&"\"x\" ".repeat(5_000), &vec!["x"; PARTS_MAX], &vec!["x"; PARTS_MAX], 1);
        check(&"\"".repeat(8_191), &[], &[], 1);
    }

    #[test]
    fn a_star_ends_a_prefix() {
        let check = |text: &str, prefixes: &[&str], rest: &str, warnings: usize| {
            let literals = Literals::of(text);
            assert_eq!(literals.prefixes, prefixes, "{text}");
            assert_eq!(literals.rest.split_whitespace().collect::<Vec<_>>().join(" "), rest, "{text}");
            assert_eq!(literals.warnings.len(), warnings, "{text}: {:?}", literals.warnings);
        };
        check("find rout* here", &["rout"], "find here", 0);
        check("(route_*, getU*)!", &["route_", "getU"], "", 0);
        check("über* ab*", &["über", "ab"], "", 0);
        check("a* b", &[], "a* b", 1);
        check("_a* b", &[], "_a* b", 1);
        check("**bold** *args a*b src/*.rs foo::* x.* 2 * 3 *", &[], "**bold** *args a*b src/*.rs foo::* x.* 2 * 3 *", 0);
        check("\"quoted pre*\" `char* p`", &[], "quoted pre* char* p", 0);
        check("ab* ab*", &["ab"], "", 0);
        check("aa* ab* ac* ad* ae* af* ag* ah* ai*", &["aa", "ab", "ac", "ad", "ae", "af", "ag", "ah"], "ai*", 1);
    }

    #[test]
    fn rare_terms_weigh_more() {
        let profile = QueryProfile { document_frequencies: vec![0, 1, 50, 100, 200], documents: 100, ..QueryProfile::default() };
        let idf = profile.idf();
        assert!(idf.windows(2).all(|pair| pair[0] >= pair[1]) && idf.iter().all(|weight| *weight > 0.0), "{idf:?}");
    }
}
