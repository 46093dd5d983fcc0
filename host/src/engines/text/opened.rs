//! An index opened for searching, whatever it is over.

use std::path::Path;
use std::sync::Arc;

use tantivy::postings::BlockSegmentPostings;
use tantivy::query::{EnableScoring, PhraseQuery, Query};
use tantivy::schema::IndexRecordOption;
use tantivy::{InvertedIndexReader, ReloadPolicy, Searcher, SegmentReader, Term};

use super::postings::{Cursor, Holders, Postings};
use super::rank::{self, Best, Clause, rank};
use super::schema::{self, FIELDS, Fields, Kind, NAMES, WITH_PHRASES, length_name};
use super::{Admits, Bm25Settings, Phrase, TextError, TextQuery};

/// Terms of a query that are searched, the rarest first. More only cost time.
pub const TERMS_MAX: usize = 64;

/// The index of one moment.
pub struct Opened {
    searcher: Searcher,
    fields: Fields,
    segments: Vec<Segment>,
    /// Documents, those included that were deleted and not yet merged away: tantivy
    /// counts terms that way, too.
    documents: u64,
    /// Terms of a document in each field.
    mean_lengths: [f64; FIELDS],
}

/// What is kept in memory of a segment, by document.
struct Segment {
    ids: Vec<u64>,
    /// Documents by ascending id; `None` when they stand so already.
    by_id: Option<Vec<u32>>,
    lengths: [Vec<f32>; FIELDS],
    inverted: [Arc<InvertedIndexReader>; FIELDS],
}

impl Segment {
    /// The documents with these ids, ascending, each with the place of its id.
    fn docs_of(&self, ids: &[u64]) -> Vec<(u32, usize)> {
        let mut docs = Vec::with_capacity(ids.len());
        let mut next = 0;
        for (place, id) in ids.iter().enumerate() {
            // Chunks of a file mostly stand side by side.
            let doc = if self.ids.get(next as usize) == Some(id) { Some(next) } else { self.doc_of(*id) };
            if let Some(doc) = doc {
                docs.push((doc, place));
                next = doc + 1;
            }
        }
        docs.sort_unstable();
        docs
    }

    fn doc_of(&self, id: u64) -> Option<u32> {
        match &self.by_id {
            None => self.ids.binary_search(&id).ok().map(|doc| doc as u32),
            Some(docs) => docs.binary_search_by_key(&id, |doc| self.ids[*doc as usize]).ok().map(|at| docs[at]),
        }
    }
}

/// Documents by ascending id, unless they stand so already.
fn by_id(ids: &[u64]) -> Option<Vec<u32>> {
    (!ids.is_sorted()).then(|| {
        let mut docs: Vec<u32> = (0..ids.len() as u32).collect();
        docs.sort_unstable_by_key(|doc| ids[*doc as usize]);
        docs
    })
}

/// Where documents hold something, in each segment.
enum Found {
    Term(Vec<Option<Box<BlockSegmentPostings>>>),
    Made(Vec<Holders>),
}

impl Opened {
    /// # Errors
    /// When the folder holds no index, or one of other fields.
    pub fn open(kind: Kind, folder: &Path) -> Result<Opened, TextError> {
        let index = tantivy::Index::open_in_dir(folder)?;
        schema::register(&index);
        let fields = schema::fields(kind, &index.schema())?;
        let id_name = index.schema().get_field_name(fields.id).to_owned();
        let reader: tantivy::IndexReader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        let searcher = reader.searcher();
        let segments = searcher
            .segment_readers()
            .iter()
            .map(|segment| {
                let mut lengths: [Vec<f32>; FIELDS] = Default::default();
                for (own, name) in lengths.iter_mut().zip(NAMES) {
                    *own = column(segment, &length_name(name))?.into_iter().map(|length| length as f32).collect();
                }
                let inverted = fields.texts.iter().map(|field| segment.inverted_index(*field)).collect::<Result<Vec<_>, _>>()?;
                let inverted = inverted.try_into().map_err(|_| tantivy::TantivyError::InternalError("fields went missing".into()))?;
                let ids = column(segment, &id_name)?;
                Ok(Segment { by_id: by_id(&ids), ids, lengths, inverted })
            })
            .collect::<tantivy::Result<Vec<Segment>>>()?;
        let documents = segments.iter().map(|segment| segment.ids.len() as u64).sum();
        let mean_lengths = std::array::from_fn(|field| {
            let all: f64 = segments.iter().flat_map(|segment| &segment.lengths[field]).map(|length| f64::from(*length)).sum();
            if documents == 0 { 0.0 } else { all / documents as f64 }
        });
        Ok(Opened { searcher, fields, segments, documents, mean_lengths })
    }

    /// How many documents there are.
    pub fn documents(&self) -> u64 {
        self.searcher.num_docs()
    }

    /// In how many documents a term stands, in body, names or path.
    pub fn document_frequency(&self, term: &str) -> Result<u32, TextError> {
        let mut most = 0;
        for field in &self.fields.texts[..WITH_PHRASES] {
            most = most.max(self.searcher.doc_freq(&Term::from_field_text(*field, term))?);
        }
        Ok(most as u32)
    }

    /// In how many documents each term stands in one field; 0 for an unknown field.
    pub fn frequencies_in(&self, field: &str, terms: &[String]) -> Result<Vec<u32>, TextError> {
        let Ok(field) = self.searcher.schema().get_field(field) else { return Ok(vec![0; terms.len()]) };
        let count = |term: &String| Ok(self.searcher.doc_freq(&Term::from_field_text(field, term))?.min(u64::from(u32::MAX)) as u32);
        terms.iter().map(count).collect()
    }

    /// Which of these documents hold a term in a field.
    pub fn held_in(&self, field: usize, term: &str, ids: &[u64]) -> Result<Vec<bool>, TextError> {
        let mut held = vec![false; ids.len()];
        let (_, Found::Term(lists)) = self.term(field, term)? else { return Ok(held) };
        for (segment, list) in self.segments.iter().zip(lists) {
            let Some(list) = list else { continue };
            let mut cursor = Cursor::new(Postings::Term(list));
            for (doc, place) in segment.docs_of(ids) {
                held[place] |= cursor.frequency_at(doc).is_some();
            }
        }
        Ok(held)
    }

    /// How many terms each of these documents has in a field; 0 for one that is not there.
    pub fn lengths_in(&self, field: usize, ids: &[u64]) -> Vec<f32> {
        let mut lengths = vec![0.0; ids.len()];
        for segment in &self.segments {
            for (doc, place) in segment.docs_of(ids) {
                lengths[place] = segment.lengths[field].get(doc as usize).copied().unwrap_or_default();
            }
        }
        lengths
    }

    /// The `depth` best documents by id, best first; equal scores by id.
    pub fn search(&self, query: &TextQuery, depth: usize, admits: Option<&Admits>) -> Result<Vec<(u64, f32)>, TextError> {
        if depth == 0 {
            return Ok(Vec::new());
        }
        let clauses = self.clauses(query)?;
        let mut best = Best::new(depth);
        for (at, clauses) in clauses.into_iter().enumerate() {
            let (ids, alive) = (&self.segments[at].ids, self.searcher.segment_reader(at as u32).alive_bitset());
            let id_of = |doc: u32| {
                let id = *ids.get(doc as usize)?;
                (alive.is_none_or(|alive| alive.is_alive(doc)) && admits.is_none_or(|admits| admits(id))).then_some(id)
            };
            rank(clauses, &id_of, &mut best);
        }
        Ok(best.into_rows())
    }

    /// The score of each of these documents, in the order of `ids`; 0 for one that holds
    /// nothing of the query or is not there. The same as [`Opened::search`] gives.
    pub fn scores_of(&self, query: &TextQuery, ids: &[u64]) -> Result<Vec<f32>, TextError> {
        let mut scores = vec![0.0; ids.len()];
        for (at, (segment, clauses)) in self.segments.iter().zip(self.clauses(query)?).enumerate() {
            let alive = self.searcher.segment_reader(at as u32).alive_bitset();
            let mut asked = segment.docs_of(ids);
            asked.retain(|(doc, _)| alive.is_none_or(|alive| alive.is_alive(*doc)));
            let docs: Vec<u32> = asked.iter().map(|(doc, _)| *doc).collect();
            for ((_, place), score) in asked.iter().zip(rank::scores(clauses, &docs)) {
                scores[*place] = score;
            }
        }
        Ok(scores)
    }

    /// What a query asks of each segment.
    fn clauses(&self, query: &TextQuery) -> Result<Vec<Vec<Clause<'_>>>, TextError> {
        let mut clauses: Vec<Vec<Clause>> = self.segments.iter().map(|_| Vec::new()).collect();
        let terms = self.rarest(query)?;
        for (field, weight) in query.settings.weights().into_iter().enumerate().filter(|(_, weight)| *weight > 0.0) {
            for (term, own) in &terms {
                self.add(&mut clauses, &query.settings, field, weight * own, self.term(field, term)?);
            }
            for group in &query.groups {
                self.add(&mut clauses, &query.settings, field, weight, self.group(field, group)?);
            }
        }
        for phrase in &query.phrases {
            self.add(&mut clauses, &query.settings, 0, 1.0, self.phrase(phrase)?.made());
        }
        Ok(clauses)
    }

    /// The ids of the documents that hold a phrase, ascending.
    pub fn holding(&self, phrase: &Phrase) -> Result<Vec<u64>, TextError> {
        let mut held = Vec::new();
        for (at, holders) in self.phrase(phrase)?.0.into_iter().enumerate() {
            let alive = self.searcher.segment_reader(at as u32).alive_bitset();
            let docs = holders.docs.into_iter().filter(|doc| alive.is_none_or(|alive| alive.is_alive(*doc)));
            held.extend(docs.filter_map(|doc| self.segments[at].ids.get(doc as usize)));
        }
        held.sort_unstable();
        Ok(held)
    }

    /// The terms of the dictionaries that begin with a prefix, each with the most
    /// documents that it has in one field, in the order of the alphabet.
    pub fn beginning_with(&self, prefix: &str) -> Result<std::collections::BTreeMap<String, u32>, TextError> {
        let mut known = std::collections::BTreeMap::new();
        for field in 0..WITH_PHRASES {
            let mut own: std::collections::BTreeMap<String, u32> = Default::default();
            for segment in &self.segments {
                let mut terms =
                    segment.inverted[field].terms().range().ge(prefix.as_bytes()).into_stream().map_err(tantivy::TantivyError::from)?;
                while terms.advance() {
                    let Some(term) = std::str::from_utf8(terms.key()).ok().filter(|term| term.starts_with(prefix)) else { break };
                    *own.entry(term.to_owned()).or_default() += terms.value().doc_freq;
                }
            }
            for (term, frequency) in own {
                let most = known.entry(term).or_insert(0);
                *most = frequency.max(*most);
            }
        }
        Ok(known)
    }

    /// The query's terms that stand somewhere, at most [`TERMS_MAX`].
    fn rarest<'a>(&self, query: &'a TextQuery) -> Result<Vec<(&'a str, f32)>, TextError> {
        let mut known = Vec::with_capacity(query.terms.len());
        for (term, weight) in &query.terms {
            let frequency = self.document_frequency(term)?;
            if frequency > 0 {
                known.push((frequency, term.as_str(), *weight));
            }
        }
        if known.len() > TERMS_MAX {
            known.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.cmp(b.1)));
            known.truncate(TERMS_MAX);
        }
        Ok(known.into_iter().map(|(_, term, weight)| (term, weight)).collect())
    }

    /// Adds a clause to each segment where something was found.
    fn add<'a>(
        &'a self,
        clauses: &mut [Vec<Clause<'a>>],
        settings: &Bm25Settings,
        field: usize,
        weight: f32,
        (count, found): (u64, Found),
    ) {
        if count == 0 {
            return;
        }
        let lists: Vec<Option<Postings>> = match found {
            Found::Term(lists) => lists.into_iter().map(|list| list.map(Postings::Term)).collect(),
            Found::Made(lists) => lists.into_iter().map(|list| Some(Postings::Made(list))).collect(),
        };
        let weight = weight * idf(self.documents, count);
        let mean = self.mean_lengths[field];
        for (at, list) in lists.into_iter().enumerate() {
            let Some(list) = list else { continue };
            clauses[at].push(Clause {
                cursor: Cursor::new(list),
                lengths: &self.segments[at].lengths[field],
                weight,
                flat: (settings.k1 * (1.0 - settings.b)) as f32,
                slope: if mean > 0.0 { (settings.k1 * settings.b / mean) as f32 } else { 0.0 },
            });
        }
    }

    fn term(&self, field: usize, term: &str) -> Result<(u64, Found), TextError> {
        let term = Term::from_field_text(self.fields.texts[field], term);
        let mut count = 0;
        let mut lists = Vec::with_capacity(self.segments.len());
        for segment in &self.segments {
            let list =
                segment.inverted[field].read_block_postings(&term, IndexRecordOption::WithFreqs).map_err(tantivy::TantivyError::from)?;
            count += list.as_ref().map_or(0, |list| u64::from(list.doc_freq()));
            lists.push(list.map(Box::new));
        }
        Ok((count, Found::Term(lists)))
    }

    /// Several terms as if they were one.
    fn group(&self, field: usize, terms: &[String]) -> Result<(u64, Found), TextError> {
        let mut sums: Vec<Vec<u32>> = self.segments.iter().map(|segment| vec![0; segment.ids.len()]).collect();
        for term in terms {
            let (_, Found::Term(lists)) = self.term(field, term)? else { continue };
            for (sums, list) in sums.iter_mut().zip(lists) {
                let Some(list) = list else { continue };
                Cursor::new(Postings::Term(list)).read_up_to(tantivy::TERMINATED, |doc, frequency| {
                    if let Some(sum) = sums.get_mut(doc as usize) {
                        *sum += frequency;
                    }
                });
            }
        }
        let lists = sums.into_iter().map(|sums| {
            let (docs, frequencies) = sums.into_iter().enumerate().filter(|(_, sum)| *sum > 0).map(|(doc, sum)| (doc as u32, sum)).unzip();
            Holders { docs, frequencies }
        });
        Ok(Everywhere(lists.collect()).made())
    }

    /// The documents in which a phrase stands, in body, names or path.
    fn phrase(&self, phrase: &Phrase) -> Result<Everywhere, TextError> {
        let mut lists = Vec::with_capacity(self.segments.len());
        for segment in self.searcher.segment_readers() {
            let mut docs: Vec<u32> = Vec::new();
            for field in &self.fields.texts[..WITH_PHRASES] {
                let terms = phrase.terms.iter().map(|(place, term)| (*place, Term::from_field_text(*field, term)));
                let query: Box<dyn Query> = match phrase.terms.as_slice() {
                    [] => continue,
                    [(_, term)] => {
                        let term = Term::from_field_text(*field, term);
                        Box::new(tantivy::query::TermQuery::new(term, IndexRecordOption::Basic))
                    }
                    _ => Box::new(PhraseQuery::new_with_offset(terms.collect())),
                };
                let weight = query.weight(EnableScoring::disabled_from_searcher(&self.searcher))?;
                weight.for_each_no_score(segment, &mut |found: &[u32]| docs.extend_from_slice(found))?;
            }
            docs.sort_unstable();
            docs.dedup();
            lists.push(Holders { frequencies: vec![1; docs.len()], docs });
        }
        Ok(Everywhere(lists))
    }
}

/// One list for each segment.
struct Everywhere(Vec<Holders>);

impl Everywhere {
    fn made(self) -> (u64, Found) {
        (self.0.iter().map(|list| list.docs.len() as u64).sum(), Found::Made(self.0))
    }
}

/// ln(1 + (N − n + ½) / (n + ½)), as Lucene has it.
fn idf(documents: u64, holding: u64) -> f32 {
    let (all, holding) = (documents as f64, holding.min(documents) as f64);
    (1.0 + (all - holding + 0.5) / (holding + 0.5)).ln() as f32
}

/// A column of numbers, one for each document.
fn column(segment: &SegmentReader, name: &str) -> tantivy::Result<Vec<u64>> {
    let column = segment.fast_fields().u64(name)?.first_or_default_col(0);
    Ok((0..segment.max_doc()).map(|doc| column.get_val(doc)).collect())
}
