//! The built-in dense embedding: latent semantic analysis trained on the corpus itself.
//! In: texts and a tokenizer. Out: a model that turns a text into a vector of unit length.
//!
//! Deerwester et al., JASIS 41(6), 1990: texts become tf-idf rows, the rows are projected on the
//! leading right singular vectors of their matrix. Departures, by measurement: each direction is
//! weighted with its singular value, so that what many texts share counts for more than what few do,
//! and each term's vector has the square root of its length, so that rare terms keep a say. Terms that occur in the same texts end up
//! near each other. A seed and a corpus give the same bits on any number of threads.

use std::io::{self, Read, Write};

use rayon::prelude::*;

use super::linalg::{DenseRows, RangeFinder, SparseRows, TruncatedSvd, add_scaled};
use crate::words::WordMap;

/// Calls the sink with each token of a text.
pub type Tokenizer<'a> = dyn Fn(&str, &mut dyn FnMut(&str)) + Sync + 'a;

/// Added to the inverse document frequency, so that a term of every text still counts.
const IDF_SMOOTHING: f32 = 1.0;
/// Corpora smaller than this keep terms of any document share: half of five texts says little about
/// a term.
const SHARE_DOCUMENTS_MIN: usize = 20;
/// Texts counted by one task, with a term table of its own.
const SHARD_DOCUMENTS: usize = 512;
/// A projection shorter than this share of its text's vector is rounding, not meaning.
const PROJECTION_SHARE_MIN: f32 = 1e-5;

const MAGIC: [u8; 8] = *b"SPLMLSA\0";
const VERSION: u32 = 1;
/// Limits of a file's header; far above what training makes, far below what would exhaust memory by
/// mistake.
const FILE_TERMS_MAX: u32 = 1 << 24;
const FILE_DIMENSION_MAX: u32 = 1 << 14;
/// Bytes converted at a time between floats and their file form.
const FILE_BUFFER_BYTES: usize = 1 << 16;

/// What is learned, and from how much.
#[derive(Clone, Copy, Debug)]
pub struct LsaOptions {
    /// Length of a vector; a corpus of lower rank gives shorter ones.
    pub dimension_max: usize,
    /// Seed of the randomized factorization.
    pub seed: u64,
    /// Terms kept, those in most documents first.
    pub vocabulary_terms_max: usize,
    /// Terms of fewer documents are left out.
    pub document_frequency_min: u32,
    /// Terms in more than this share of the documents are left out, from 20 documents on.
    pub document_share_max: f32,
    /// Documents learned from; of a larger corpus an evenly spaced sample.
    pub training_documents_max: usize,
    /// Multiplications by the matrix and its transpose after the first sketch.
    pub power_iterations: usize,
    /// Directions carried beyond `dimension_max` while factorizing.
    pub oversampling: usize,
}

impl Default for LsaOptions {
    fn default() -> Self {
        LsaOptions {
            dimension_max: 256,
            seed: 0,
            vocabulary_terms_max: 60_000,
            document_frequency_min: 2,
            document_share_max: 0.5,
            training_documents_max: 30_000,
            power_iterations: 2,
            oversampling: 16,
        }
    }
}

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum LsaError {
    /// Nothing to learn from; go on without a dense channel.
    #[error("no term of the corpus can be used: too few texts share a term")]
    NoUsableTerm,
    #[error("a vector needs a dimension of at least 1")]
    NoDimension,
    /// Not written by [`LsaModel::write_to`].
    #[error("not an embedding model of this program")]
    Foreign,
    /// Written by another release; train again.
    #[error("embedding model has format version {found}, this program reads {VERSION}; build the index again")]
    Version { found: u32 },
    #[error("embedding model is truncated: it ends within its {part}; build the index again")]
    Truncated { part: &'static str },
    #[error("embedding model is damaged: {reason}; build the index again")]
    Damaged { reason: &'static str },
    #[error("embedding model can't be read")]
    Read(#[source] io::Error),
}

/// A trained embedding.
#[derive(Debug)]
pub struct LsaModel {
    /// Term → row of `idf` and `basis`. Only looked up and sorted, never iterated into an output.
    vocabulary: WordMap<Box<str>, u32>,
    /// Inverse document frequency by term, positive.
    idf: Vec<f32>,
    /// Terms × dimension: `V Σ / σ₁`, each row divided by the square root of its length.
    basis: DenseRows,
}

impl LsaModel {
    /// Learns from a corpus. Texts in which no kept term occurs are ignored.
    ///
    /// # Errors
    /// [`LsaError::NoUsableTerm`] when no term passes the limits of `options`, as for no text or a
    /// single one; [`LsaError::NoDimension`] when `dimension_max` is 0.
    pub fn train(texts: &[&str], tokenizer: &Tokenizer, options: &LsaOptions) -> Result<LsaModel, LsaError> {
        if options.dimension_max == 0 {
            return Err(LsaError::NoDimension);
        }
        let sample = evenly_spaced(texts, options.training_documents_max);
        let shards: Vec<Shard> = sample.par_chunks(SHARD_DOCUMENTS).map(|texts| Shard::count(texts, tokenizer)).collect();
        let terms = frequent_terms(&shards, sample.len(), options);
        let vocabulary: WordMap<Box<str>, u32> = terms.iter().zip(0..).map(|(term, id)| (Box::from(term.text), id)).collect();
        let idf: Vec<f32> = terms.iter().map(|term| inverse_document_frequency(sample.len(), term.documents)).collect();
        drop(terms);

        let weights = weighted_rows(shards, &vocabulary, &idf);
        let finder = RangeFinder {
            rank_max: options.dimension_max,
            oversampling: options.oversampling,
            power_iterations: options.power_iterations,
            seed: options.seed,
        };
        let TruncatedSvd { right: mut basis, values } = finder.truncated_svd(&weights);
        let Some(largest) = values.first() else {
            return Err(LsaError::NoUsableTerm);
        };
        let shares: Vec<f32> = values.iter().map(|value| value / largest).collect();
        basis.scale_columns(&shares);
        basis.dampen_rows();
        Ok(LsaModel { vocabulary, idf, basis })
    }

    /// Length of a vector, at least 1.
    pub fn dimension(&self) -> usize {
        self.basis.columns()
    }

    /// The vector of a text, of unit length: `Bᵀx / |Bᵀx|` for its tf-idf vector `x` and the basis `B`. `None` when
    /// no term of it is known.
    pub fn embed(&self, text: &str, tokenizer: &Tokenizer) -> Option<Vec<f32>> {
        let mut vector = vec![0.0; self.dimension()];
        self.embed_into(text, tokenizer, &mut Vec::new(), &mut vector).then_some(vector)
    }

    /// The vectors of many texts: n × dimension, row-major. A text without a vector has a row of
    /// zeros.
    pub fn embed_all(&self, texts: &[&str], tokenizer: &Tokenizer) -> Vec<f32> {
        let mut vectors = vec![0.0; texts.len() * self.dimension()];
        vectors.par_chunks_mut(self.dimension()).zip(texts).for_each_init(Vec::new, |ids, (vector, text)| {
            self.embed_into(text, tokenizer, ids, vector);
        });
        vectors
    }

    /// Fills a vector of zeros; false, and still zeros, when the text has none. `ids` is scratch
    /// space.
    fn embed_into(&self, text: &str, tokenizer: &Tokenizer, ids: &mut Vec<u32>, vector: &mut [f32]) -> bool {
        ids.clear();
        tokenizer(text, &mut |token| ids.extend(self.vocabulary.get(token)));
        ids.sort_unstable();
        let mut length_squared = 0.0_f32;
        for run in ids.chunk_by(|a, b| a == b) {
            let id = run[0] as usize;
            let weight = term_weight(run.len(), self.idf[id]);
            length_squared += weight * weight;
            add_scaled(vector, weight, self.basis.row(id));
        }
        let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
        let known = length > length_squared.sqrt() * PROJECTION_SHARE_MIN && length.is_finite();
        let scale = 1.0 / length;
        for value in vector {
            *value = if known { *value * scale } else { 0.0 };
        }
        known
    }

    /// Writes the model, little endian: magic, version, number of terms and dimension, then the
    /// byte length of each term, the terms, the inverse document frequencies and the basis.
    ///
    /// # Errors
    /// Those of the writer, and `InvalidInput` for more than 2²⁴ terms or a dimension above 2¹⁴.
    pub fn write_to(&self, mut w: impl Write) -> io::Result<()> {
        let mut terms: Vec<(&str, u32)> = self.vocabulary.iter().map(|(term, &id)| (&**term, id)).collect();
        terms.sort_unstable_by_key(|&(_, id)| id);
        let sized = |size: usize, size_max: u32| match u32::try_from(size) {
            Ok(size) if size <= size_max => Ok(size.to_le_bytes()),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "embedding model exceeds the limits of its file format")),
        };
        w.write_all(&MAGIC)?;
        w.write_all(&VERSION.to_le_bytes())?;
        w.write_all(&sized(terms.len(), FILE_TERMS_MAX)?)?;
        w.write_all(&sized(self.dimension(), FILE_DIMENSION_MAX)?)?;
        let mut lengths = Vec::with_capacity(terms.len() * 4);
        for (term, _) in &terms {
            lengths.extend_from_slice(&sized(term.len(), u32::MAX)?);
        }
        w.write_all(&lengths)?;
        let text: String = terms.iter().map(|&(term, _)| term).collect();
        w.write_all(text.as_bytes())?;
        write_floats(&mut w, &self.idf)?;
        write_floats(&mut w, self.basis.values())?;
        w.flush()
    }

    /// Reads what [`LsaModel::write_to`] wrote, and nothing beyond. Memory grows with the bytes
    /// that arrive, not with the sizes a file claims.
    ///
    /// # Errors
    /// [`LsaError::Foreign`], [`LsaError::Version`], [`LsaError::Truncated`] and
    /// [`LsaError::Damaged`] call for a new index; [`LsaError::Read`] passes on the reader's own
    /// error.
    pub fn read_from(mut r: impl Read) -> Result<LsaModel, LsaError> {
        let magic = read_bytes(&mut r, MAGIC.len() as u64, "header")?;
        if magic != MAGIC {
            return Err(LsaError::Foreign);
        }
        let found = read_u32(&mut r)?;
        if found != VERSION {
            return Err(LsaError::Version { found });
        }
        let (terms, dimension) = (read_u32(&mut r)?, read_u32(&mut r)?);
        if !(1..=FILE_TERMS_MAX).contains(&terms) || !(1..=FILE_DIMENSION_MAX).contains(&dimension) {
            return Err(LsaError::Damaged { reason: "impossible number of terms or dimension" });
        }
        let vocabulary = read_vocabulary(&mut r, terms)?;
        let (terms, dimension) = (terms as usize, dimension as usize);
        let idf = read_floats(&mut r, terms, "term weights")?;
        if idf.iter().any(|&idf| idf <= 0.0) {
            return Err(LsaError::Damaged { reason: "a term weight isn't positive" });
        }
        let values = read_floats(&mut r, terms * dimension, "basis")?;
        let basis = DenseRows::from_values(terms, dimension, values).ok_or(LsaError::Damaged { reason: "basis of another size" })?;
        Ok(LsaModel { vocabulary, idf, basis })
    }
}

/// `√tf · idf`, with `tf` at least 1.
fn term_weight(count: usize, idf: f32) -> f32 {
    (count as f32).sqrt() * idf
}

/// `ln((N + 1) / (df + 1)) + 1`.
fn inverse_document_frequency(documents: usize, documents_with_term: u32) -> f32 {
    ((documents as f32 + 1.0) / (documents_with_term as f32 + 1.0)).ln() + IDF_SMOOTHING
}

/// At most `count_max` of the texts, in order, at equal distances.
fn evenly_spaced<'t>(texts: &[&'t str], count_max: usize) -> Vec<&'t str> {
    let count = texts.len().min(count_max);
    (0..count).map(|place| texts[(place as u128 * texts.len() as u128 / count as u128) as usize]).collect()
}

/// Term counts of consecutive texts, with term ids of their own.
struct Shard {
    /// By id, that is by first occurrence.
    terms: Vec<ShardTerm>,
    /// Row `r` is `counts[offsets[r]..offsets[r + 1]]`.
    offsets: Vec<usize>,
    /// Id and number of occurrences.
    counts: Vec<(u32, u32)>,
}

struct ShardTerm {
    text: Box<str>,
    documents: u32,
}

impl Shard {
    fn count(texts: &[&str], tokenizer: &Tokenizer) -> Shard {
        let mut ids: WordMap<Box<str>, u32> = WordMap::default();
        let (mut documents, mut offsets, mut counts) = (Vec::<u32>::new(), vec![0], Vec::new());
        let mut row = Vec::new();
        for text in texts {
            row.clear();
            tokenizer(text, &mut |token| {
                let id = ids.get(token).copied().unwrap_or_else(|| {
                    let id = documents.len() as u32;
                    ids.insert(Box::from(token), id);
                    documents.push(0);
                    id
                });
                row.push(id);
            });
            row.sort_unstable();
            for run in row.chunk_by(|a, b| a == b) {
                counts.push((run[0], run.len() as u32));
                documents[run[0] as usize] += 1;
            }
            offsets.push(counts.len());
        }
        let mut terms: Vec<(Box<str>, u32)> = ids.into_iter().collect();
        terms.sort_unstable_by_key(|&(_, id)| id);
        let terms = terms.into_iter().zip(documents).map(|((text, _), documents)| ShardTerm { text, documents }).collect();
        Shard { terms, offsets, counts }
    }

    fn rows(&self) -> impl Iterator<Item = &[(u32, u32)]> {
        self.offsets.windows(2).map(|bounds| &self.counts[bounds[0]..bounds[1]])
    }
}

struct Term<'s> {
    text: &'s str,
    documents: u32,
}

/// The terms to keep, in the order of their ids: most documents first, then by text.
fn frequent_terms<'s>(shards: &'s [Shard], documents: usize, options: &LsaOptions) -> Vec<Term<'s>> {
    let mut frequencies: WordMap<&str, u32> = WordMap::default();
    for term in shards.iter().flat_map(|shard| &shard.terms) {
        *frequencies.entry(&term.text).or_default() += term.documents;
    }
    let share_counts = documents >= SHARE_DOCUMENTS_MIN;
    let too_common = |count: u32| share_counts && count as f32 > options.document_share_max * documents as f32;
    let mut terms: Vec<Term> = frequencies
        .into_iter()
        .filter(|&(_, documents)| documents >= options.document_frequency_min && !too_common(documents))
        .map(|(text, documents)| Term { text, documents })
        .collect();
    terms.sort_unstable_by(|a, b| b.documents.cmp(&a.documents).then_with(|| a.text.cmp(b.text)));
    terms.truncate(options.vocabulary_terms_max);
    terms
}

/// The tf-idf rows, of unit length; a text without a kept term has no row.
fn weighted_rows(shards: Vec<Shard>, vocabulary: &WordMap<Box<str>, u32>, idf: &[f32]) -> SparseRows {
    let parts: Vec<Vec<Vec<(u32, f32)>>> = shards
        .into_par_iter()
        .map(|shard| {
            let ids: Vec<Option<u32>> = shard.terms.iter().map(|term| vocabulary.get(&term.text).copied()).collect();
            shard.rows().map(|row| weighted_row(row, &ids, idf)).filter(|row| !row.is_empty()).collect()
        })
        .collect();
    let mut rows = SparseRows::new(idf.len());
    for row in parts.iter().flatten() {
        rows.push_row(row);
    }
    rows
}

/// One tf-idf row by ascending term id, empty when no term of it is kept.
fn weighted_row(counts: &[(u32, u32)], ids: &[Option<u32>], idf: &[f32]) -> Vec<(u32, f32)> {
    let mut row: Vec<(u32, f32)> = counts
        .iter()
        .filter_map(|&(local, count)| ids[local as usize].map(|id| (id, term_weight(count as usize, idf[id as usize]))))
        .collect();
    row.sort_unstable_by_key(|&(id, _)| id);
    let length = row.iter().map(|(_, weight)| weight * weight).sum::<f32>().sqrt();
    for (_, weight) in &mut row {
        *weight /= length;
    }
    row
}

fn write_floats(w: &mut impl Write, values: &[f32]) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(FILE_BUFFER_BYTES);
    for block in values.chunks(FILE_BUFFER_BYTES / 4) {
        buffer.clear();
        buffer.extend(block.iter().flat_map(|value| value.to_le_bytes()));
        w.write_all(&buffer)?;
    }
    Ok(())
}

fn read_floats(r: &mut impl Read, count: usize, part: &'static str) -> Result<Vec<f32>, LsaError> {
    let mut values = Vec::new();
    while values.len() < count {
        let wanted = (count - values.len()).min(FILE_BUFFER_BYTES / 4);
        let bytes = read_bytes(r, wanted as u64 * 4, part)?;
        values.extend(bytes.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)));
    }
    if values.iter().any(|value| !value.is_finite()) {
        return Err(LsaError::Damaged { reason: "a value isn't finite" });
    }
    Ok(values)
}

fn read_vocabulary(r: &mut impl Read, terms: u32) -> Result<WordMap<Box<str>, u32>, LsaError> {
    let lengths = read_bytes(r, u64::from(terms) * 4, "term lengths")?;
    let lengths = lengths.as_chunks::<4>().0.iter().map(|&bytes| u32::from_le_bytes(bytes));
    let text = read_bytes(r, lengths.clone().map(u64::from).sum(), "terms")?;
    let text = std::str::from_utf8(&text).map_err(|_| LsaError::Damaged { reason: "terms aren't UTF-8" })?;
    let mut vocabulary = WordMap::with_capacity_and_hasher(terms as usize, Default::default());
    let mut rest = text;
    for (length, id) in lengths.zip(0..) {
        let (term, after) = rest.split_at_checked(length as usize).ok_or(LsaError::Damaged { reason: "a term ends within a character" })?;
        if vocabulary.insert(Box::from(term), id).is_some() {
            return Err(LsaError::Damaged { reason: "a term occurs twice" });
        }
        rest = after;
    }
    Ok(vocabulary)
}

fn read_u32(r: &mut impl Read) -> Result<u32, LsaError> {
    let bytes = read_bytes(r, 4, "header")?;
    let bytes = <[u8; 4]>::try_from(bytes).map_err(|_| LsaError::Truncated { part: "header" })?;
    Ok(u32::from_le_bytes(bytes))
}

/// Exactly `count` bytes.
fn read_bytes(r: &mut impl Read, count: u64, part: &'static str) -> Result<Vec<u8>, LsaError> {
    let mut bytes = Vec::new();
    r.take(count).read_to_end(&mut bytes).map_err(LsaError::Read)?;
    if bytes.len() as u64 == count { Ok(bytes) } else { Err(LsaError::Truncated { part }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str, sink: &mut dyn FnMut(&str)) {
        text.split_whitespace().for_each(sink);
    }

    /// Texts of three topics. Within a topic each text takes one of two synonyms beside the words
    /// all of them share.
    fn topics(texts_per_topic: usize) -> Vec<String> {
        let topics = [
            ["lock mutex guard poison thread", "acquire", "obtain"],
            ["parse token grammar syntax tree", "lexer", "scanner"],
            ["socket packet listen accept peer", "network", "wire"],
        ];
        let mut texts = Vec::new();
        for place in 0..texts_per_topic {
            for [shared, first, second] in topics {
                let skipped = place / 2 % 5;
                let shared = shared.split(' ').enumerate().filter(|&(at, _)| at != skipped).map(|(_, word)| word);
                let synonym = if place % 2 == 0 { first } else { second };
                texts.push(shared.chain([synonym, "fn"]).collect::<Vec<_>>().join(" "));
            }
        }
        texts
    }

    fn train(texts: &[impl AsRef<str>], options: &LsaOptions) -> Result<LsaModel, LsaError> {
        let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
        LsaModel::train(&texts, &words, options)
    }

    fn small() -> LsaOptions {
        LsaOptions { dimension_max: 3, ..LsaOptions::default() }
    }

    fn cosine(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn synonyms_meet_without_a_common_text() {
        let model = train(&topics(20), &small()).expect("trains");
        assert_eq!(model.dimension(), 3);
        let vector = |text| model.embed(text, &words).expect("known");
        for (a, b, other) in [("acquire", "obtain", "lexer"), ("lexer", "scanner", "wire"), ("network", "wire", "obtain")] {
            let (near, far) = (cosine(&vector(a), &vector(b)), cosine(&vector(a), &vector(other)));
            assert!(near > 0.9 && far < 0.3, "{a}: {b} {near}, {other} {far}");
            assert!((cosine(&vector(a), &vector(a)) - 1.0).abs() < 1e-5);
        }
        // In more than half of the texts, and in none.
        assert_eq!(model.embed("fn", &words), None);
        assert_eq!(model.embed("", &words), None);
        let vectors = model.embed_all(&["acquire", "unheard", "lexer"], &words);
        assert_eq!(vectors, [vector("acquire"), vec![0.0; 3], vector("lexer")].concat());
    }

    #[test]
    fn degenerate_corpora() {
        let once = LsaOptions { document_frequency_min: 1, ..small() };
        let check = |texts: &[&str], options: &LsaOptions, dimension: Option<usize>| {
            let model = train(texts, options);
            match (&model, dimension) {
                (Ok(model), Some(dimension)) => {
                    assert_eq!(model.dimension(), dimension, "{texts:?}")
                }
                (Err(LsaError::NoUsableTerm), None) => {}
                _ => panic!("{texts:?}: {model:?}"),
            }
        };
        check(&[], &small(), None);
        check(&["", " ", ""], &small(), None);
        check(&["one document"], &small(), None);
        check(&["one document"], &once, Some(1));
        check(&["word", "word"], &small(), Some(1));
        check(&["word"; 30], &small(), None); // in every text
        check(&["a b", "b c", "c a", ""], &small(), Some(3));
        check(&["a b", "b c", "c a"], &LsaOptions { training_documents_max: 0, ..small() }, None);
        check(&["a b", "b c", "c a"], &LsaOptions { vocabulary_terms_max: 0, ..small() }, None);
        check(&["a b", "b c", "c a"], &LsaOptions { vocabulary_terms_max: 2, ..small() }, Some(2));
        check(&["a b", "b c", "c a"], &LsaOptions { oversampling: usize::MAX, ..small() }, Some(3));
        let no_dimension = train(&["a b", "a b"], &LsaOptions { dimension_max: 0, ..small() });
        assert!(matches!(no_dimension, Err(LsaError::NoDimension)));
    }

    /// Texts over a skewed vocabulary, enough for several shards and blocks.
    fn skewed(count: usize) -> Vec<String> {
        let mut state = 9_u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        (0..count)
            .map(|_| {
                (0..30)
                    .map(|_| {
                        let range = next(900) + 1;
                        format!("w{} ", next(range))
                    })
                    .collect()
            })
            .collect()
    }

    fn bytes(model: &LsaModel) -> Vec<u8> {
        let mut out = Vec::new();
        model.write_to(&mut out).expect("memory takes it");
        out
    }

    #[test]
    fn threads_leave_no_trace() {
        let texts = skewed(1_500);
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let options = LsaOptions { dimension_max: 40, training_documents_max: 1_300, ..LsaOptions::default() };
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| {
                let model = LsaModel::train(&texts, &words, &options).expect("trains");
                let vectors: Vec<u32> = model.embed_all(&texts, &words).iter().map(|value| value.to_bits()).collect();
                (bytes(&model), vectors)
            })
        };
        let (one, four) = (run(1), run(4));
        assert!(one == four);
        let other_seed = LsaModel::train(&texts, &words, &LsaOptions { seed: 1, ..options }).expect("trains");
        assert!(one.0 != bytes(&other_seed));
    }

    #[test]
    fn a_file_gives_the_same_model_and_says_what_is_wrong() {
        let model = train(&topics(20), &small()).expect("trains");
        let file = bytes(&model);
        let again = LsaModel::read_from(file.as_slice()).expect("reads");
        assert_eq!((&again.vocabulary, &again.idf, &again.basis), (&model.vocabulary, &model.idf, &model.basis));
        assert_eq!(bytes(&again), file);
        let columns = FILE_DIMENSION_MAX as usize + 1;
        let wide = LsaModel {
            vocabulary: [(Box::from("a"), 0)].into_iter().collect(),
            idf: vec![1.0],
            basis: DenseRows::from_values(1, columns, vec![0.0; columns]).expect("its size"),
        };
        let error = wide.write_to(Vec::new()).expect_err("could not be read back");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);

        for length in 0..file.len() {
            let error = LsaModel::read_from(&file[..length]);
            assert!(matches!(error, Err(LsaError::Truncated { .. })), "{length}: {error:?}");
        }
        let check = |at: usize, with: &[u8], message: &str| {
            let mut damaged = file.clone();
            damaged[at..at + with.len()].copy_from_slice(with);
            let error = LsaModel::read_from(damaged.as_slice()).expect_err("damaged").to_string();
            assert!(error.contains(message), "{error}");
        };
        check(0, b"GIF89a", "not an embedding model");
        check(8, &[9], "format version 9");
        check(12, &[0; 4], "impossible number");
        check(12, &[255; 4], "impossible number");
        check(12, &[255, 255, 255, 0], "ends within its term lengths");
        check(16, &[255; 4], "impossible number");
        check(20, &[255; 4], "ends within its terms");
        check(file.len() - 4, &f32::NAN.to_le_bytes(), "isn't finite");
    }
}
