//! Tantivy: BM25 over the text of chunks, the names they define and their paths.

mod update;

use std::path::Path;
use std::sync::Arc;

use tantivy::collector::{FilterCollector, TopDocs};
use tantivy::query::{BooleanQuery, BoostQuery, Occur, Query, TermQuery};
use tantivy::schema::{FAST, Field, INDEXED, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::tokenizer::{TextAnalyzer, Token, TokenStream};
use tantivy::{Index, IndexReader, ReloadPolicy, TantivyDocument, Term};

use crate::index::tokenize::Tokenizer;
use crate::types::ChunkId;

pub use update::update;

/// What a match counts in each field, beside 1 in the text. Found with the names and
/// paths of the development sets; see the README's figures.
const NAMES_WEIGHT: f32 = 0.5;
const PATH_WEIGHT: f32 = 0.3;

/// Terms of a query that are searched, the rarest first. More only cost time.
const TERMS_MAX: usize = 64;
/// Memory of the writer.
const WRITER_BYTES: usize = 128 << 20;
const TOKENIZER: &str = "spanloom";

/// What tantivy said.
#[derive(Debug, thiserror::Error)]
#[error("text index: {0}")]
pub struct TextError(#[from] tantivy::TantivyError);

/// What the text index gets of a chunk.
pub struct TextDocument<'a> {
    pub id: ChunkId,
    pub text: &'a str,
    /// Symbol and definitions.
    pub names: &'a str,
    pub path: &'a str,
}

struct Fields {
    id: Field,
    body: Field,
    names: Field,
    path: Field,
}

impl Fields {
    /// Those of an index that is there.
    fn of(schema: &Schema) -> Result<Fields, TextError> {
        Ok(Fields {
            id: schema.get_field("id")?,
            body: schema.get_field("body")?,
            names: schema.get_field("names")?,
            path: schema.get_field("path")?,
        })
    }

    fn row(&self, document: &TextDocument) -> TantivyDocument {
        let mut row = TantivyDocument::default();
        row.add_u64(self.id, document.id.0);
        row.add_text(self.body, document.text);
        row.add_text(self.names, document.names);
        row.add_text(self.path, document.path);
        row
    }
}

/// A text index that is only searched.
pub struct TextIndex {
    reader: IndexReader,
    fields: Fields,
}

/// Writes a new index into an empty folder that exists. `on_progress` gets the number
/// of documents added.
///
/// # Errors
/// What tantivy says.
pub fn build<'a>(folder: &Path, documents: impl Iterator<Item = TextDocument<'a>>, on_progress: &dyn Fn(usize)) -> Result<(), TextError> {
    let (schema, fields) = schema();
    let index = Index::create_in_dir(folder, schema)?;
    register(&index);
    // One thread: documents keep their order, and equal scores their place.
    let mut writer = index.writer_with_num_threads::<TantivyDocument>(1, WRITER_BYTES)?;
    for (count, document) in documents.enumerate() {
        writer.add_document(fields.row(&document))?;
        on_progress(count + 1);
    }
    writer.commit()?;
    writer.wait_merging_threads()?;
    Ok(())
}

impl TextIndex {
    /// # Errors
    /// When the folder holds no index, or one of other fields.
    pub fn open(folder: &Path) -> Result<TextIndex, TextError> {
        let index = Index::open_in_dir(folder)?;
        register(&index);
        let fields = Fields::of(&index.schema())?;
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        Ok(TextIndex { reader, fields })
    }

    /// In how many chunks each term stands, whichever field.
    ///
    /// # Errors
    /// What tantivy says.
    pub fn document_frequencies(&self, terms: &[String]) -> Result<Vec<u32>, TextError> {
        let searcher = self.reader.searcher();
        terms
            .iter()
            .map(|term| {
                let in_body = searcher.doc_freq(&Term::from_field_text(self.fields.body, term))?;
                let in_path = searcher.doc_freq(&Term::from_field_text(self.fields.path, term))?;
                Ok(in_body.max(in_path) as u32)
            })
            .collect()
    }

    /// How many chunks there are.
    pub fn documents(&self) -> u64 {
        self.reader.searcher().num_docs()
    }

    /// The `depth` best chunks for any of the terms: Σ over terms and fields of
    /// weight × BM25 (k1 = 1.2, b = 0.75; Robertson and Zaragoza 2009). `admitted`
    /// decides by chunk id. No terms give no rows.
    ///
    /// # Errors
    /// What tantivy says.
    pub fn search(
        &self,
        terms: &[String],
        depth: usize,
        admitted: Option<Arc<dyn Fn(u64) -> bool + Send + Sync>>,
    ) -> Result<Vec<(ChunkId, f32)>, TextError> {
        if terms.is_empty() || depth == 0 {
            return Ok(Vec::new());
        }
        let searcher = self.reader.searcher();
        let query = self.query(terms)?;
        let top = TopDocs::with_limit(depth).order_by_score();
        let hits = match admitted {
            None => searcher.search(&query, &top)?,
            Some(admitted) => searcher.search(&query, &FilterCollector::new("id".into(), move |id: u64| admitted(id), top))?,
        };
        hits.into_iter()
            .map(|(score, address)| {
                let ids = searcher.segment_reader(address.segment_ord).fast_fields().u64("id")?;
                Ok((ChunkId(ids.first(address.doc_id).unwrap_or_default()), score))
            })
            .collect()
    }

    fn query(&self, terms: &[String]) -> Result<BooleanQuery, TextError> {
        let mut terms: Vec<(u32, &String)> = self.document_frequencies(terms)?.into_iter().zip(terms).collect();
        if terms.len() > TERMS_MAX {
            terms.sort();
            terms.truncate(TERMS_MAX);
        }
        let weights = [(self.fields.body, 1.0), (self.fields.names, NAMES_WEIGHT), (self.fields.path, PATH_WEIGHT)];
        let clauses = terms
            .iter()
            .flat_map(|(_, term)| {
                weights.iter().map(move |(field, weight)| {
                    let term = TermQuery::new(Term::from_field_text(*field, term), IndexRecordOption::WithFreqs);
                    (Occur::Should, Box::new(BoostQuery::new(Box::new(term), *weight)) as Box<dyn Query>)
                })
            })
            .collect();
        Ok(BooleanQuery::new(clauses))
    }
}

fn schema() -> (Schema, Fields) {
    let mut builder = Schema::builder();
    let words = || {
        TextOptions::default()
            .set_indexing_options(TextFieldIndexing::default().set_tokenizer(TOKENIZER).set_index_option(IndexRecordOption::WithFreqs))
    };
    let fields = Fields {
        id: builder.add_u64_field("id", FAST | INDEXED),
        body: builder.add_text_field("body", words()),
        names: builder.add_text_field("names", words()),
        path: builder.add_text_field("path", words()),
    };
    (builder.build(), fields)
}

fn register(index: &Index) {
    index.tokenizers().register(TOKENIZER, TextAnalyzer::builder(Adapter::default()).build());
}

/// Our tokenizer in tantivy's terms.
#[derive(Clone, Default)]
struct Adapter {
    tokens: Vec<Token>,
    tokenizer: Tokenizer,
}

struct Stream<'a> {
    tokens: &'a mut Vec<Token>,
    at: usize,
}

impl tantivy::tokenizer::Tokenizer for Adapter {
    type TokenStream<'a> = Stream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Stream<'a> {
        self.tokens.clear();
        let tokens = &mut self.tokens;
        self.tokenizer.terms(text, &mut |term, position| {
            tokens.push(Token { position, text: term.to_owned(), ..Token::default() });
        });
        Stream { tokens, at: 0 }
    }
}

impl TokenStream for Stream<'_> {
    fn advance(&mut self) -> bool {
        self.at += 1;
        self.at <= self.tokens.len()
    }

    fn token(&self) -> &Token {
        &self.tokens[self.at - 1]
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.tokens[self.at - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_count_and_filters_hold() {
        let folder = tempfile::tempdir().unwrap();
        let document = |id, text, names, path| TextDocument { id: ChunkId(id), text, names, path };
        let documents = [
            document(0, "fn route_layer() { layer }", "Router::route_layer", "src/routing.rs"),
            document(1, "calls route_layer here and there and everywhere", "", "src/main.rs"),
            document(2, "nothing of interest", "", "docs/layer.md"),
        ];
        build(folder.path(), documents.into_iter(), &|_| {}).unwrap();
        let index = TextIndex::open(folder.path()).unwrap();
        assert_eq!(index.documents(), 3);
        let ids = |terms: &[&str], depth, admitted| {
            let terms: Vec<String> = terms.iter().map(|term| (*term).to_owned()).collect();
            index.search(&terms, depth, admitted).unwrap().into_iter().map(|(id, _)| id.0).collect::<Vec<_>>()
        };
        assert_eq!(ids(&["layer"], 10, None), [0, 1, 2]);
        assert_eq!(ids(&["route_layer"], 10, None), [0, 1]);
        assert_eq!(ids(&["layer"], 10, Some(Arc::new(|id| id != 0))), [1, 2]);
        assert_eq!(ids(&["layer"], 1, None), [0]);
        assert_eq!(ids(&["unheard"], 10, None), [] as [u64; 0]);
        assert_eq!(ids(&[], 10, None), [] as [u64; 0]);
        assert_eq!(index.document_frequencies(&["layer".into(), "unheard".into()]).unwrap(), [2, 0]);
    }
}
