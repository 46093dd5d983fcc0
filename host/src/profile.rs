//! What the host knows of a query before it is searched: the gate's evidence.

use crate::engines::text::{TextError, TextIndex};
use crate::index::tokenize::Tokenizer;
use crate::types::ChannelName;

/// Phrases and identifiers taken from a query.
const PARTS_MAX: usize = 32;

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
    /// The channels that can be asked, in order.
    pub channels: Vec<ChannelName>,
}

impl QueryProfile {
    /// # Errors
    /// When the text index can't be asked for frequencies.
    pub fn of(text: &str, index: &TextIndex, channels: Vec<ChannelName>) -> Result<QueryProfile, TextError> {
        let terms = Tokenizer::default().query_terms(text);
        Ok(QueryProfile {
            text: text.to_owned(),
            document_frequencies: index.document_frequencies(&terms)?,
            terms,
            documents: index.documents(),
            identifiers: identifiers(text),
            phrases: phrases(text),
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

fn phrases(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for mark in ['"', '`'] {
        let pieces: Vec<&str> = text.split(mark).collect();
        // Odd pieces lie between two marks; a last one without its end does not.
        for piece in pieces.iter().skip(1).step_by(2).take(pieces.len().saturating_sub(1) / 2) {
            let piece = piece.trim();
            if !piece.is_empty() && found.len() < PARTS_MAX {
                found.push(piece.to_owned());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect_identifiers: &[&str], expect_phrases: &[&str]) {
        assert_eq!(identifiers(text), expect_identifiers, "{text}");
        assert_eq!(phrases(text), expect_phrases, "{text}");
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
    fn rare_terms_weigh_more() {
        let profile = QueryProfile { document_frequencies: vec![0, 1, 50, 100, 200], documents: 100, ..QueryProfile::default() };
        let idf = profile.idf();
        assert!(idf.windows(2).all(|pair| pair[0] >= pair[1]) && idf.iter().all(|weight| *weight > 0.0), "{idf:?}");
    }
}
