//! The query, made ready for comparing it with many names.

use std::collections::BTreeMap;

use spanloom_plugin::Profile;

use crate::files::Kind;
use crate::words;

/// Words of a query that are compared with names; later ones are left out.
const WORDS_MAX: usize = 256;

/// What the query asks for.
pub struct Query {
    /// The stems of its words in order, stop words among them.
    sequence: Vec<String>,
    /// The same without the words that the index has no terms for.
    content: Vec<String>,
    /// The weight of each word that is a search term: `ln(1 + (N + 1) / (df + 1))`, over 0,
    /// the larger the rarer.
    weights: BTreeMap<String, f32>,
    /// The sum of the weights.
    total: f32,
    /// What stands in quotes, lower case; none is empty.
    pub phrases: Vec<String>,
    /// Kinds of files that the query's words ask for.
    pub asked: Vec<Kind>,
}

impl Query {
    pub fn of(profile: &Profile) -> Query {
        let documents = profile.documents as f64 + 1.0;
        // The index has terms stemmed its own way: one is found as it stands, or by our stem.
        let mut terms: BTreeMap<String, u32> = BTreeMap::new();
        for (term, &frequency) in profile.terms.iter().zip(&profile.document_frequencies) {
            terms.insert(term.to_lowercase(), frequency);
            terms.entry(words::stem_of(term)).or_insert(frequency);
        }
        let parts = || words::parts(&profile.text).take(WORDS_MAX);
        let frequency = |part: &str| terms.get(&words::stem_of(part)).or_else(|| terms.get(&part.to_lowercase())).copied();
        let weight = |frequency: u32| (1.0 + documents / (f64::from(frequency) + 1.0)).ln() as f32;
        let weights: BTreeMap<String, f32> =
            parts().filter_map(|part| frequency(part).map(|found| (words::stem_of(part), weight(found)))).collect();
        let sequence: Vec<String> = parts().map(words::stem_of).collect();
        Query {
            content: sequence.iter().filter(|word| weights.contains_key(*word)).cloned().collect(),
            sequence,
            total: weights.values().sum(),
            weights,
            phrases: profile.phrases.iter().map(|phrase| phrase.trim().to_lowercase()).filter(|phrase| !phrase.is_empty()).collect(),
            asked: Kind::asked_by(&profile.text),
        }
    }

    /// How many of its words are search terms, each once.
    pub fn terms(&self) -> usize {
        self.weights.len()
    }

    /// Whether the query is this name and nothing else, stop words aside.
    pub fn is(&self, name: &str) -> bool {
        !self.content.is_empty() && words::parts(name).map(words::stem_of).eq(self.content.iter().cloned())
    }

    /// The share of the query's weight in a name that the query spells out, 0 to 1: every
    /// word of the name stands in the query, side by side and in its order, where the
    /// query's stop words may be passed over. 0 for any other name.
    pub fn spelled(&self, name: &str) -> f32 {
        let parts: Vec<String> = words::parts(name).map(words::stem_of).collect();
        let within = |words: &[String]| words.windows(parts.len().max(1)).any(|window| window == parts.as_slice());
        if parts.is_empty() || self.total <= 0.0 || !(within(&self.sequence) || within(&self.content)) {
            return 0.0;
        }
        let mut held: Vec<&String> = parts.iter().collect();
        held.sort_unstable();
        held.dedup();
        let weight: f32 = held.into_iter().filter_map(|part| self.weights.get(part)).sum();
        (weight / self.total).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanloom_plugin::testing;

    #[test]
    fn names_are_spelled_out_or_not() {
        let query = Query::of(&testing::profile(
            "how does the Path Router store routes?",
            1_000,
            &[("path", 9), ("router", 9), ("store", 9), ("rout", 9)],
        ));
        let check = |name: &str, words: f32| {
            let got = query.spelled(name);
            assert!((got - words / 4.0).abs() < 1e-5, "{name}: {got}");
        };
        check("PathRouter", 2.0);
        check("path_router", 2.0);
        check("Router", 1.0);
        check("routes", 1.0);
        check("RouterPath", 0.0);
        check("PathRouterBuilder", 0.0);
        check("StoreRoutes", 2.0);
        // Stop words of the query are passed over, also where a name has them.
        check("does_the", 0.0);
        assert!(query.is("path_router_store_routes") && !query.is("PathRouter"));
        check("", 0.0);
        check("::", 0.0);
    }

    #[test]
    fn rare_words_weigh_more_and_terms_meet_by_their_stems() {
        let query = Query::of(&testing::profile("parsing queries", 1_000, &[("pars", 500), ("queri", 1)]));
        assert!(query.spelled("Query") > query.spelled("parse"));
        assert!((query.spelled("parse_query") - 1.0).abs() < 1e-6);
        assert_eq!(query.terms(), 2);
    }

    #[test]
    fn a_query_without_terms_spells_nothing() {
        let query = Query::of(&testing::profile("the of", 10, &[]));
        assert_eq!((query.spelled("the"), query.spelled("of")), (0.0, 0.0));
        assert!(!query.is("") && !query.is("the"));
        let long = "word ".repeat(100_000);
        assert_eq!(Query::of(&testing::profile(&long, 10, &[("word", 1)])).spelled("word"), 1.0);
    }
}
