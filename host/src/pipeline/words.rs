//! What the text indexes are asked: terms, phrases and prefixes, and the terms that RM3
//! adds.

use std::sync::Arc;
use std::time::Duration;

use super::{Notes, Search, blocking};
use crate::channels::{ChannelError, ChannelQuery, widened};
use crate::engines::text::{Expansion, PREFIX_TERMS_MAX, Phrase, TextError, TextQuery};
use crate::expansion;
use crate::explanation::{PrefixExplanation, WeightedTerm};
use crate::index::snapshot::{Admitted, Snapshot};
use crate::index::tokenize::Tokenizer;
use crate::profile::QueryProfile;
use crate::rm3::Rm3Settings;
use crate::telemetry::{GivenUp, Span};

/// Words of a phrase between backticks beyond which it is a listing, not a phrase.
const PREFERRED_WORDS_MAX: usize = 16;

/// Phrases beyond which those that no chunk holds are only counted.
const MISSING_NAMED_MAX: usize = 3;

/// The words of a query.
pub(super) struct Words {
    pub query: Arc<TextQuery>,
    /// What the filters and the phrases in quotes let through; `None` is everything.
    pub admitted: Option<Admitted>,
    pub prefixes: Vec<PrefixExplanation>,
}

/// Looks up phrases and prefixes. Every phrase in double quotes has to be held, as far
/// as any chunk holds it; one in backticks only counts. What can't be looked up in time
/// is left out, and its words are searched like others.
pub(super) async fn look_up(
    search: &Search<'_>,
    profile: &Arc<QueryProfile>,
    admitted: Option<Admitted>,
    limit: Duration,
    notes: &mut Notes,
) -> Words {
    let is_name = |term: &str| Ok(search.host.snapshot.text.frequencies_in("names", &[term.to_owned()])?.iter().any(|count| *count > 0));
    let text = &profile.rest;
    let weighted = expansion::weighted(text, &profile.terms, &is_name, &search.host.settings.expansion);
    let terms = weighted.unwrap_or_else(|error| {
        notes.degraded("bm25", "engine", "searched the query's own terms alone", format!("words written as one: {error}"));
        profile.terms.iter().map(|term| (term.clone(), 1.0)).collect()
    });
    let plain = TextQuery { terms, settings: search.host.settings.bm25, ..TextQuery::default() };
    let alone = |admitted| Words { query: Arc::new(plain.clone()), admitted, prefixes: Vec::new() };
    if profile.phrases.is_empty() && profile.prefixes.is_empty() {
        return alone(admitted);
    }
    let (snapshot, asked, filter, query) = (search.host.snapshot.clone(), profile.clone(), admitted.clone(), plain.clone());
    let looked_up = blocking(move || literal(&snapshot, &asked, filter, query));
    let failure = match tokio::time::timeout(limit, looked_up).await {
        Ok(Ok(Ok((words, warnings)))) => {
            warnings.into_iter().for_each(|warning| notes.warn(warning));
            return words;
        }
        Ok(Ok(Err(error))) => ("engine", error.to_string()),
        Ok(Err(message)) => ("engine", message),
        Err(_) => ("deadline", format!("not done within {} ms", limit.as_millis())),
    };
    notes.degraded("bm25", failure.0, "searched their words alone", format!("phrases and prefixes: {}", failure.1));
    alone(admitted)
}

fn literal(
    snapshot: &Snapshot,
    profile: &QueryProfile,
    filter: Option<Admitted>,
    mut query: TextQuery,
) -> Result<(Words, Vec<String>), TextError> {
    let mut warnings = Vec::new();
    let mut prefixes = Vec::new();
    for prefix in &profile.prefixes {
        let Expansion { terms, known } = snapshot.text.expand(prefix)?;
        if known == 0 {
            warnings.push(format!("`{prefix}*`: no term of the index begins so"));
            continue;
        }
        if known > PREFIX_TERMS_MAX {
            warnings.push(format!("`{prefix}*`: {known} terms of the index begin so; the {PREFIX_TERMS_MAX} most frequent were searched"));
        }
        query.groups.push(terms.clone());
        prefixes.push(PrefixExplanation { prefix: prefix.clone(), terms });
    }
    let mut held: Vec<Admitted> = Vec::new();
    let mut missing: Vec<&str> = Vec::new();
    for text in &profile.phrases {
        let required = profile.required.contains(text);
        let Some(phrase) = Phrase::of(text) else {
            if required {
                warnings.push(format!("the phrase “{text}” has no words that can be searched, and was left aside"));
            }
            continue;
        };
        if required {
            let holding = Admitted::of(&snapshot.text.holding(&phrase)?);
            let holding = filter.iter().fold(holding, |holding, filter| holding.and(filter));
            if holding.count() == 0 {
                missing.push(text);
                continue;
            }
            held.push(holding);
        } else if phrase.words() > PREFERRED_WORDS_MAX {
            continue;
        }
        query.phrases.push(phrase);
    }
    let among = if filter.is_some() { " that the filters let through" } else { "" };
    match missing.as_slice() {
        [first, .., _] if missing.len() > MISSING_NAMED_MAX => {
            warnings.push(format!("no chunk{among} holds any of {} phrases, such as “{first}”; their words were searched", missing.len()))
        }
        few => warnings.extend(few.iter().map(|text| format!("no chunk{among} holds the phrase “{text}”; its words were searched"))),
    }
    let all = held.iter().skip(1).fold(held.first().cloned(), |all, one| all.map(|all| all.and(one)));
    let admitted = match all {
        None => filter,
        Some(all) if all.count() > 0 => Some(all),
        Some(none) => {
            warnings.push(format!("no chunk holds all {} phrases; any of them was enough", held.len()));
            Some(held.iter().fold(none, |any, one| any.or(one)))
        }
    };
    Ok((Words { query: Arc::new(query), admitted, prefixes }, warnings))
}

/// The terms of a query that the profile doesn't have, or that count less than others.
pub(super) fn expanded(query: &TextQuery, profile: &QueryProfile) -> Vec<WeightedTerm> {
    let told = |(term, weight): &&(String, f32)| *weight != 1.0 || !profile.terms.contains(term);
    query.terms.iter().filter(told).map(|(term, weight)| WeightedTerm { term: term.clone(), weight: *weight }).collect()
}

/// The step that widens a query with terms of its best answers.
pub(super) struct Widening {
    pub snapshot: Arc<Snapshot>,
    pub settings: Rm3Settings,
    /// The query's terms with their repetitions.
    pub terms: Vec<String>,
    pub span: Span,
    /// Ends the span when this is dropped before its time.
    _left: GivenUp,
}

impl Widening {
    pub fn of(search: &Search<'_>, profile: &QueryProfile, span: Span) -> Widening {
        let mut terms = Vec::new();
        Tokenizer::default().terms(&profile.text, &mut |term, _| {
            if profile.terms.iter().any(|known| known == term) {
                terms.push(term.to_owned());
            }
        });
        let _left = GivenUp(span.clone());
        Widening { snapshot: search.host.snapshot.clone(), settings: search.host.settings.rm3, terms, span, _left }
    }

    /// Puts the widened terms into `query`; returns them, greatest weight first. Blocks.
    /// `struck` is what goes wrong on purpose.
    ///
    /// # Errors
    /// As [`widened`]; the query stays as it is.
    pub fn apply(self, struck: Result<(), String>, query: &mut ChannelQuery) -> Result<Vec<WeightedTerm>, ChannelError> {
        let terms =
            struck.map_err(ChannelError::Engine).and_then(|()| widened(&self.snapshot, query, &self.terms, &self.settings, &self.span));
        if let Err(error) = &terms {
            self.span.fail(error.class(), &error.to_string());
        }
        self.span.end();
        let terms = terms?;
        let told = terms.iter().map(|(term, weight)| WeightedTerm { term: term.clone(), weight: *weight }).collect();
        query.text = Arc::new(TextQuery { terms, ..(*query.text).clone() });
        Ok(told)
    }
}
