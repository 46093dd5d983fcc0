//! RM3: widens a query with terms from its best answers.
//!
//! The relevance model RM1 (Lavrenko and Croft, SIGIR 2001) of the first answers, mixed
//! with the query (Abdul-Jaleel et al., TREC 2004), in the way of Anserini's
//! `Rm3Reranker`:
//!
//! 1. of each answer the terms of 2 to 20 characters `a`–`z`, `0`–`9` that stand in at
//!    most a tenth of all chunks, of those the most frequent; their frequencies divided
//!    by their sum are P(w|d);
//! 2. P(w|R) ∝ Σ P(w|d) · score(d); the greatest are kept and divided by their sum;
//! 3. weight(w) = λ · P(w|Q) + (1 − λ) · P(w|R), where P(w|Q) is the share of w in the query.
//!
//! Where Anserini leaves the order of equal weights to a hash map, it is that of the
//! alphabet here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engines::text::TextError;
use crate::index::tokenize::Tokenizer;

/// Characters of a term that can widen a query.
const TERM_CHARS: std::ops::RangeInclusive<usize> = 2..=20;
/// The share of chunks beyond which a term says nothing.
const FREQUENT_SHARE: f64 = 0.1;

/// How much a query is widened, when the gate asks for it. The defaults are Anserini's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rm3Settings {
    /// Answers that are looked at, 1 to 100.
    pub documents: usize,
    /// Terms taken from them, 1 to 100.
    pub terms: usize,
    /// λ, 0 to 1: what the query's own terms count, 1 leaves them alone.
    pub original_weight: f64,
}

impl Default for Rm3Settings {
    fn default() -> Self {
        Rm3Settings { documents: 10, terms: 10, original_weight: 0.5 }
    }
}

/// An answer that terms are taken from.
pub struct Feedback<'a> {
    pub text: &'a str,
    /// Over 0.
    pub score: f32,
}

/// The weights of the widened query, greatest first, equal ones by the alphabet; they
/// add up to 1. `query` are its terms with all repetitions; `frequency_of` says in how
/// many of all `documents` a term stands. Without feedback the query's terms alone.
///
/// # Errors
/// What the text index says.
pub fn widen(
    query: &[String],
    feedback: &[Feedback],
    documents: u64,
    frequency_of: &dyn Fn(&str) -> Result<u32, TextError>,
    settings: &Rm3Settings,
) -> Result<Vec<(String, f32)>, TextError> {
    let mut own: Weights = BTreeMap::new();
    for term in query {
        *own.entry(term.clone()).or_default() += 1.0;
    }
    let own = shares(own);
    let mut model: Weights = BTreeMap::new();
    // Terms that were looked up before, and whether they are too frequent.
    let mut frequent: BTreeMap<String, bool> = BTreeMap::new();
    for answer in feedback.iter().take(settings.documents) {
        let mut counts: Weights = BTreeMap::new();
        for (term, count) in counted(answer.text) {
            let too_frequent = match frequent.get(&term) {
                Some(known) => *known,
                None => {
                    let share = f64::from(frequency_of(&term)?) / documents.max(1) as f64;
                    *frequent.entry(term.clone()).or_insert(share > FREQUENT_SHARE)
                }
            };
            if !too_frequent {
                counts.insert(term, count);
            }
        }
        for (term, share) in shares(greatest(counts, settings.terms)) {
            *model.entry(term).or_default() += share * f64::from(answer.score);
        }
    }
    let model = shares(greatest(model, settings.terms));
    let lambda = if model.is_empty() { 1.0 } else { settings.original_weight };
    let mut mixed: Weights = own.into_iter().map(|(term, share)| (term, lambda * share)).collect();
    for (term, share) in model {
        *mixed.entry(term).or_default() += (1.0 - lambda) * share;
    }
    mixed.retain(|_, weight| *weight > 0.0);
    Ok(sorted(mixed).into_iter().map(|(term, weight)| (term, weight as f32)).collect())
}

type Weights = BTreeMap<String, f64>;

/// The terms of a text that can widen a query, and how often they stand there.
fn counted(text: &str) -> Weights {
    let mut counts: Weights = BTreeMap::new();
    Tokenizer::default().terms(text, &mut |term, _| {
        let plain = term.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if plain && TERM_CHARS.contains(&term.len()) {
            match counts.get_mut(term) {
                Some(count) => *count += 1.0,
                None => drop(counts.insert(term.to_owned(), 1.0)),
            }
        }
    });
    counts
}

fn sorted(weights: Weights) -> Vec<(String, f64)> {
    let mut rows: Vec<(String, f64)> = weights.into_iter().collect();
    // Stable: equal ones stay in the order of the alphabet.
    rows.sort_by(|a, b| b.1.total_cmp(&a.1));
    rows
}

fn greatest(weights: Weights, count: usize) -> Weights {
    sorted(weights).into_iter().take(count).collect()
}

/// Divided by their sum.
fn shares(weights: Weights) -> Weights {
    let sum: f64 = weights.values().sum();
    weights.into_iter().map(|(term, weight)| (term, weight / sum)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worked out by hand from the formula above.
    #[test]
    fn weights_are_those_of_the_formula() {
        let feedback = [
            Feedback { text: "alpha alpha beta common x route_layer verylongtermthatisnotakenatall", score: 3.0 },
            Feedback { text: "beta beta gamma common", score: 1.0 },
            Feedback { text: "delta", score: 9.0 },
        ];
        let query = ["beta".to_owned(), "beta".to_owned(), "omega".to_owned()];
        let frequency_of = |term: &str| Ok(if term == "common" { 11 } else { 10 });
        let widened = |documents, terms, original_weight| {
            widen(&query, &feedback, 100, &frequency_of, &Rm3Settings { documents, terms, original_weight }).unwrap()
        };
        let check = |rows: Vec<(String, f32)>, expect: &[(&str, f64)]| {
            let names: Vec<&str> = rows.iter().map(|row| row.0.as_str()).collect();
            assert_eq!(names, expect.iter().map(|row| row.0).collect::<Vec<_>>());
            for ((term, weight), (_, expect)) in rows.iter().zip(expect) {
                assert!((f64::from(*weight) - expect).abs() < 1e-6, "{term}: {weight} is not {expect}");
            }
        };
        // First answer: alpha 2, beta, layer, rout, routelayer 1 of 6; second: beta 2, gamma 1 of 3.
        // alpha 3·2/6 = 1; beta 3/6 + 2/3 = 7/6; layer, rout, routelayer 3/6; gamma 1/3: of 4 in all.
        let (beta, alpha, layer, gamma) = (7.0 / 24.0, 0.25, 0.125, 1.0 / 12.0);
        let expect = [
            ("beta", 0.5 * 2.0 / 3.0 + 0.5 * beta),
            ("omega", 0.5 / 3.0),
            ("alpha", 0.5 * alpha),
            ("layer", 0.5 * layer),
            ("rout", 0.5 * layer),
            ("routelayer", 0.5 * layer),
            ("gamma", 0.5 * gamma),
        ];
        check(widened(2, 10, 0.5), &expect);
        // Two terms of each answer, then two of all: alpha 3·2/3 = 2, beta 3/3 + 2/3, gamma 1/3.
        check(widened(2, 2, 0.0), &[("alpha", 6.0 / 11.0), ("beta", 5.0 / 11.0)]);
        check(widened(2, 2, 1.0), &[("beta", 2.0 / 3.0), ("omega", 1.0 / 3.0)]);
    }

    #[test]
    fn without_feedback_the_query_stays() {
        let none = |feedback: &[Feedback]| widen(&["a".to_owned()], feedback, 10, &|_| Ok(10), &Rm3Settings::default()).unwrap();
        assert_eq!(none(&[]), [("a".to_owned(), 1.0)]);
        assert_eq!(none(&[Feedback { text: "frequent … words", score: 1.0 }]), [("a".to_owned(), 1.0)]);
        assert!(widen(&[], &[], 0, &|_| Ok(0), &Rm3Settings::default()).unwrap().is_empty());
    }
}
