//! The BM25 channel's search against tantivy's own, on one index, asked in turn.
//!
//! `one field` has the text alone: the same sum by both. `fields` has names and path,
//! too. Tantivy's scores differ from ours by its rounded lengths, and by k1 + 1.
//!
//! `SPANLOOM_BENCH_CHUNKS=n` takes another number of chunks than 100,000.

use std::hint::black_box;
use std::time::{Duration, Instant};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use spanloom::engines::text::{Bm25Settings, TextDocument, TextIndex, TextQuery, build};
use spanloom::types::ChunkId;
use tantivy::Term;
use tantivy::collector::TopDocs;
use tantivy::query::{BooleanQuery, BoostQuery, Occur, Query, TermQuery};
use tantivy::schema::IndexRecordOption;

const CHUNKS: u64 = 100_000;
const QUERIES: usize = 300;
const ROUNDS: usize = 3;
const DEPTH: usize = 150;
/// Different words.
const WORDS: f64 = 60_000.0;
/// How much longer we may take.
const RATIO_MAX: f64 = 1.2;

fn main() {
    let count = std::env::var("SPANLOOM_BENCH_CHUNKS").ok().map_or(CHUNKS, |text| text.parse().expect("a number"));
    let folder = tempfile::tempdir().expect("a folder");
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let began = Instant::now();
    let texts: Vec<[String; 3]> = (0..count)
        .map(|_| {
            let length = (4.3 + 0.9 * normal(&mut random)).exp().clamp(3.0, 900.0) as usize;
            let names = random.random_range(0..4);
            [words(&mut random, length), words(&mut random, names), format!("src/{}/{}.rs", word(&mut random), word(&mut random))]
        })
        .collect();
    let made = began.elapsed();
    let rows = texts.iter().zip(0..).map(|([text, names, path], id)| TextDocument { id: ChunkId(id), text, names, path, comments: "" });
    build(folder.path(), rows, &|_| {}).expect("an index");
    println!("{count} chunks made in {made:.1?}, indexed in {:.1?}", began.elapsed() - made);
    let began = Instant::now();
    let ours = TextIndex::open(folder.path()).expect("the index");
    println!("opened in {:.1?}", began.elapsed());
    let theirs = Tantivy::open(folder.path());

    let queries: Vec<Vec<String>> = (0..QUERIES)
        .map(|_| {
            let count = random.random_range(1..=7);
            let mut terms: Vec<String> = (0..count).map(|_| word(&mut random)).collect();
            terms.sort();
            terms.dedup();
            terms
        })
        .collect();
    println!("{:<10} {:>10} {:>10} {:>12} {:>12} {:>7}", "", "ours p50", "ours p99", "tantivy p50", "tantivy p99", "mean");
    let fields = Bm25Settings::default();
    let body = Bm25Settings { symbol_weight: 0.0, path_weight: 0.0, ..fields };
    for (name, settings) in [("one field", body), ("fields", fields)] {
        compare(name, &ours, &theirs, settings, &queries);
    }
}

fn compare(name: &str, ours: &TextIndex, theirs: &Tantivy, settings: Bm25Settings, queries: &[Vec<String>]) {
    let (mut own, mut other) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        for (number, terms) in queries.iter().enumerate() {
            let query = TextQuery { settings, ..TextQuery::of(terms) };
            let mut both = [Duration::ZERO; 2];
            for turn in [number % 2, 1 - number % 2] {
                let began = Instant::now();
                let rows = if turn == 0 {
                    ours.search(black_box(&query), DEPTH, None).expect("rows").len()
                } else {
                    theirs.search(black_box(terms), &settings).len()
                };
                both[turn] = began.elapsed();
                black_box(rows);
            }
            // The first round warms up.
            if round > 0 {
                own.push(both[0]);
                other.push(both[1]);
            }
        }
    }
    let mean = own.iter().sum::<Duration>().as_secs_f64() / other.iter().sum::<Duration>().as_secs_f64();
    println!(
        "{name:<10} {:>7.3} ms {:>7.3} ms {:>9.3} ms {:>9.3} ms {mean:>7.2}{}",
        at(&own, 0.5),
        at(&own, 0.99),
        at(&other, 0.5),
        at(&other, 0.99),
        if mean > RATIO_MAX { "  over the bar" } else { "" },
    );
}

/// The value in milliseconds below which this share of the times lies.
fn at(times: &[Duration], share: f64) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[((sorted.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1e3
}

/// The index as whoever has tantivy alone would search it.
struct Tantivy {
    searcher: tantivy::Searcher,
    schema: tantivy::schema::Schema,
}

impl Tantivy {
    fn open(folder: &std::path::Path) -> Tantivy {
        let index = tantivy::Index::open_in_dir(folder).expect("the index");
        Tantivy { searcher: index.reader().expect("a reader").searcher(), schema: index.schema() }
    }

    fn search(&self, terms: &[String], settings: &Bm25Settings) -> Vec<u64> {
        let weights = [("body", settings.body_weight), ("names", settings.symbol_weight), ("path", settings.path_weight)];
        let clauses: Vec<(Occur, Box<dyn Query>)> = terms
            .iter()
            .flat_map(|term| {
                weights.iter().filter(|(_, weight)| *weight > 0.0).map(|(field, weight)| {
                    let term = Term::from_field_text(self.schema.get_field(field).expect("a field"), term);
                    let term = TermQuery::new(term, IndexRecordOption::WithFreqs);
                    (Occur::Should, Box::new(BoostQuery::new(Box::new(term), *weight as f32)) as Box<dyn Query>)
                })
            })
            .collect();
        let top = TopDocs::with_limit(DEPTH).order_by_score();
        let hits = self.searcher.search(&BooleanQuery::new(clauses), &top).expect("hits");
        let id = |address: tantivy::DocAddress| {
            let ids = self.searcher.segment_reader(address.segment_ord).fast_fields().u64("id").expect("ids");
            ids.first(address.doc_id).expect("an id")
        };
        hits.into_iter().map(|(_, address)| id(address)).collect()
    }
}

fn words(random: &mut ChaCha8Rng, count: usize) -> String {
    (0..count).map(|_| word(random)).collect::<Vec<_>>().join(" ")
}

/// A word by Zipf's law.
fn word(random: &mut ChaCha8Rng) -> String {
    let mut rank = WORDS.powf(random.random_range(0.0..1.0)) as u64;
    let mut word = String::from("q");
    while rank > 0 {
        word.push(char::from(b'a' + (rank % 26) as u8));
        rank /= 26;
    }
    word
}

/// By Box and Muller.
fn normal(random: &mut ChaCha8Rng) -> f64 {
    let (a, b): (f64, f64) = (random.random_range(f64::MIN_POSITIVE..1.0), random.random_range(0.0..1.0));
    (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}
