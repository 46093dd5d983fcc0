//! What the rules look at, and the rules for class and ambiguity.

use spanloom_plugin::Profile;

use crate::Parameters;

/// The kinds of queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Written like code, quoted, or made of a few rare words.
    Literal,
    /// Neither.
    Default,
    /// A question, a description, or only frequent words.
    Vague,
}

/// Cheap facts about a query.
#[derive(Clone, Debug)]
pub struct Features {
    /// Words of the text, by white space.
    pub words: usize,
    /// Search terms.
    pub terms: usize,
    /// The mean idf of the terms that the index knows, as a share of what a term
    /// could have at most: `idf(t) = ln((N + 1) / (df(t) + 1))`, divided by
    /// `ln(N + 1)`, so 1 for a term in no chunk and 0 for one in all of them.
    /// 0 without known terms.
    pub specificity: f32,
    /// The share of terms that no chunk holds; 1 without terms.
    pub unknown_share: f32,
    /// The share of words that are written like code or stand in quotes.
    pub code_share: f32,
    /// Whether the text opens with a question word or ends with a question mark.
    pub question: bool,
}

/// Words that open a question or a request, in English.
const QUESTION_WORDS: [&str; 19] = [
    "are", "can", "could", "describe", "do", "does", "explain", "how", "is", "should", "what", "when", "where", "which", "who", "whose",
    "why", "will", "would",
];

/// The most words of a query that a few rare terms make literal.
const RARE_WORDS_MAX: usize = 3;

impl Class {
    /// As the contract has it.
    pub fn name(self) -> &'static str {
        match self {
            Class::Literal => "literal",
            Class::Default => "default",
            Class::Vague => "vague",
        }
    }
}

impl Features {
    /// Reads them off the profile.
    pub fn of(query: &Profile) -> Features {
        let words = query.text.split_whitespace().count();
        let frequencies = &query.document_frequencies;
        let known = frequencies.iter().filter(|&&frequency| frequency > 0);
        let known_count = known.clone().count();
        let idf_sum: f64 = known.map(|&df| idf_share(df, query.documents)).sum();
        Features {
            words,
            terms: frequencies.len(),
            specificity: ratio(idf_sum, known_count, 0.0),
            unknown_share: ratio((frequencies.len() - known_count) as f64, frequencies.len(), 1.0),
            code_share: ratio(code_words(query) as f64, words, 0.0).min(1.0),
            question: is_question(&query.text),
        }
    }

    /// From 0 (one clear meaning) to 1 (could be anything):
    ///
    /// `0.6 × (1 − specificity) + 0.25 × unknown share + 0.15 × length − 0.3 × code share`,
    ///
    /// held within 0 and 1, where length grows from 0 at three words to 1 at fifteen.
    /// Terms that no chunk holds narrow nothing down; code and quotes do. A query
    /// without terms has 1.
    pub fn ambiguity(&self) -> f32 {
        if self.terms == 0 {
            return 1.0;
        }
        let length = ((self.words as f32 - 3.0) / 12.0).clamp(0.0, 1.0);
        let ambiguity = 0.6 * (1.0 - self.specificity) + 0.25 * self.unknown_share + 0.15 * length - 0.3 * self.code_share;
        ambiguity.clamp(0.0, 1.0)
    }

    /// The class, and why. The first rule that holds decides.
    pub fn class(&self, parameters: &Parameters) -> (Class, &'static str) {
        let code = self.code_share > 0.0;
        let rare = self.terms > 0 && self.unknown_share < 1.0 && self.specificity >= parameters.literal_specificity_min;
        if code && self.code_share >= parameters.literal_share_min {
            (Class::Literal, "most words are code or quoted")
        } else if self.question && !code {
            (Class::Vague, "a question in plain words")
        } else if rare && self.words <= RARE_WORDS_MAX {
            (Class::Literal, "few words, and rare ones")
        } else if self.terms == 0 {
            (Class::Vague, "no search terms")
        } else if !code && self.words >= parameters.vague_words_min as usize {
            (Class::Vague, "a long description in plain words")
        } else if !code && self.specificity < parameters.vague_specificity_max {
            (Class::Vague, "only frequent or unknown words")
        } else {
            (Class::Default, "neither code nor vague")
        }
    }

    /// What ambiguity rests on, in a few words.
    pub fn summary(&self) -> String {
        format!(
            "specificity {:.2}, {:.0}% of the terms unknown, {} words, {:.0}% code",
            self.specificity,
            self.unknown_share * 100.0,
            self.words,
            self.code_share * 100.0
        )
    }
}

/// See [`Features::specificity`]; 0 for an empty index.
fn idf_share(document_frequency: u32, documents: u64) -> f64 {
    if documents == 0 {
        return 0.0;
    }
    let all = documents as f64 + 1.0;
    let held = f64::from(document_frequency) + 1.0;
    ((all / held).ln() / all.ln()).clamp(0.0, 1.0)
}

fn ratio(part: f64, of: usize, if_empty: f32) -> f32 {
    match of {
        0 => if_empty,
        of => (part / of as f64) as f32,
    }
}

/// Words that are identifiers or stand in quotes; an identifier in quotes counts once.
fn code_words(query: &Profile) -> usize {
    let quoted: usize = query.phrases.iter().map(|phrase| phrase.split_whitespace().count()).sum();
    let in_quotes = |identifier: &&String| {
        let mut phrases = query.phrases.iter();
        phrases.any(|phrase| phrase.contains(identifier.as_str()))
    };
    quoted + query.identifiers.iter().filter(|id| !in_quotes(id)).count()
}

fn is_question(text: &str) -> bool {
    let text = text.trim();
    let first = text.split(|c: char| !c.is_alphabetic()).next().unwrap_or("");
    text.ends_with('?') || QUESTION_WORDS.iter().any(|word| first.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanloom_plugin::testing;

    #[test]
    fn queries_fall_into_the_classes_people_would_expect() {
        let check = |text: &str, terms: &[(&str, u32)], identifiers: &[&str], expected: &str| {
            let mut query = testing::profile(text, 10_000, terms);
            query.identifiers = identifiers.iter().map(|id| id.to_string()).collect();
            query.phrases = text.split('"').skip(1).step_by(2).map(str::to_string).collect();
            let class = Features::of(&query).class(&Parameters::default());
            assert_eq!(class.0.name(), expected, "{text}: {}", class.1);
        };
        let frequent: &[(&str, u32)] = &[("data", 5_000), ("file", 4_000)];
        let middle: &[(&str, u32)] = &[("rate", 300), ("limit", 400)];
        check("parse_query", &[("parse", 90), ("query", 90)], &["parse_query"], "literal");
        check("src/main.rs", &[("src", 9_000), ("main", 900)], &["src/main.rs"], "literal");
        check(r#""connection refused""#, frequent, &[], "literal");
        check("zstd dictionary", &[("zstd", 3), ("dictionary", 12)], &[], "literal");
        check("rate limit", middle, &[], "default");
        check("where is parse_query used here", middle, &["parse_query"], "default");
        check("how are rate limits enforced", middle, &[], "vague");
        check("is it thread safe?", &[("thread", 90), ("safe", 20)], &[], "vague");
        check("data file", frequent, &[], "vague");
        check("unheard of", &[("unheard", 0)], &[], "vague");
        check("code that limits how many requests one client may send", middle, &[], "vague");
        check("", &[], &[], "vague");
        check("the of", &[], &[], "vague");
    }

    #[test]
    fn ambiguity_falls_with_rare_terms_and_code_and_rises_with_unknown_ones() {
        let of = |terms: &[(&str, u32)], identifiers: &[&str]| {
            let mut query = testing::profile("a b c d", 10_000, terms);
            query.identifiers = identifiers.iter().map(|id| id.to_string()).collect();
            Features::of(&query).ambiguity()
        };
        let rare = of(&[("a", 2), ("b", 3)], &[]);
        let frequent = of(&[("a", 5_000), ("b", 3_000)], &[]);
        let unknown = of(&[("a", 0), ("b", 3_000)], &[]);
        let code = of(&[("a", 5_000), ("b", 3_000)], &["a", "b"]);
        assert!(rare < frequent, "{rare} {frequent}");
        assert!(frequent < unknown, "{frequent} {unknown}");
        assert!(code < frequent, "{code} {frequent}");
        assert_eq!(of(&[], &[]), 1.0);
    }

    #[test]
    fn specificity_runs_from_everywhere_to_nearly_nowhere() {
        let of = |frequency| {
            let query = testing::profile("x", 999, &[("x", frequency)]);
            Features::of(&query).specificity
        };
        assert_eq!(of(999), 0.0);
        assert!((of(1) - (500_f32.ln() / 1_000_f32.ln())).abs() < 1e-6);
        assert_eq!(of(0), 0.0);
        // More chunks than the index has: no negative share.
        assert_eq!(of(5_000), 0.0);
    }

    #[test]
    fn an_identifier_in_quotes_counts_once() {
        let mut query = testing::profile("find `a_b` in the tree", 10, &[]);
        query.phrases = vec!["a_b".into()];
        query.identifiers = vec!["a_b".into()];
        assert_eq!(Features::of(&query).code_share, 0.2);
    }
}
