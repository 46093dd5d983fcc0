//! Holds a ranking against judgments: what each rank is worth.
//!
//! Two ways of judging. *Files* (and plain records): a ranking of different documents,
//! each worth its grade. *Chunks*: a ranking of pieces of files; a place is found by the
//! first piece that lies in it, and further pieces of it use up ranks and gain nothing.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::measures::Judged;

/// What is ranked, and what finds what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Findings as they come; a place with lines is found by a finding that shares one
    Chunk,
    /// Different files or records, each where its best finding stands
    File,
    /// As `chunk`, only the queries whose places name lines
    Lines,
}

/// A finding, as far as judging needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// The id of the plain record, else the path.
    pub document: String,
    pub path: String,
    /// From 1.
    pub start_line: u32,
    /// Inclusive.
    pub end_line: u32,
    pub score: f32,
}

/// Something relevant: a file, or lines of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub path: String,
    /// First and last line, from 1, inclusive; `None` for the whole file.
    pub lines: Option<(u32, u32)>,
}

/// What is relevant to one query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Truth {
    /// Grades by document; 0 was judged and is not relevant.
    Grades(BTreeMap<String, u32>),
    /// All of the same worth.
    Places(Vec<Place>),
}

impl Truth {
    /// Things to be found.
    pub fn relevant(&self) -> usize {
        match self {
            Truth::Grades(grades) => grades.values().filter(|grade| **grade > 0).count(),
            Truth::Places(places) => places.len(),
        }
    }
}

/// The ranking that is judged: without documents that `kept` doesn't have, different
/// files at [`Level::File`], then cut at `depth`.
pub fn ranking<'a>(level: Level, hits: &'a [Hit], kept: Option<&BTreeSet<String>>, depth: usize) -> Vec<&'a Hit> {
    let mut seen = HashSet::new();
    let kept = hits.iter().filter(|hit| kept.is_none_or(|kept| kept.contains(&hit.document)));
    kept.filter(|hit| level != Level::File || seen.insert(hit.document.as_str())).take(depth).collect()
}

/// What each rank of a ranking is worth.
pub fn judge(level: Level, truth: &Truth, ranking: &[&Hit]) -> Judged {
    match (level, truth) {
        (Level::File, Truth::Grades(grades)) => graded(grades, ranking),
        (Level::File, Truth::Places(places)) => {
            // Several ranges of a file are one thing to find.
            let files: BTreeMap<String, Place> =
                places.iter().map(|place| (clean(&place.path), Place { path: place.path.clone(), lines: None })).collect();
            found_first(files.values(), ranking, |hit, place| same_path(&hit.path, &place.path))
        }
        (Level::Chunk | Level::Lines, Truth::Grades(grades)) => {
            let relevant = grades.iter().filter(|(_, grade)| **grade > 0).map(|(document, _)| document);
            found_first(relevant, ranking, |hit, document| hit.document == **document)
        }
        (Level::Chunk | Level::Lines, Truth::Places(places)) => found_first(places.iter(), ranking, finds),
    }
}

/// Each document is worth its grade, as trec_eval has it.
fn graded(grades: &BTreeMap<String, u32>, ranking: &[&Hit]) -> Judged {
    let gains: Vec<f64> = ranking.iter().map(|hit| f64::from(grades.get(&hit.document).copied().unwrap_or(0))).collect();
    let mut ideal: Vec<f64> = grades.values().filter(|grade| **grade > 0).map(|grade| f64::from(*grade)).collect();
    ideal.sort_by(|a, b| b.total_cmp(a));
    Judged { found: gains.iter().map(|gain| u32::from(*gain > 0.0)).collect(), gains, ideal }
}

/// Each thing counts at the first rank that finds it; a rank gains 1 however many it
/// finds. As MinishLab's semble benchmark judges.
fn found_first<T>(things: impl Iterator<Item = T>, ranking: &[&Hit], finds: impl Fn(&Hit, &T) -> bool) -> Judged {
    let mut judged = Judged { gains: vec![0.0; ranking.len()], found: vec![0; ranking.len()], ideal: Vec::new() };
    for thing in things {
        judged.ideal.push(1.0);
        if let Some(at) = ranking.iter().position(|hit| finds(hit, &thing)) {
            judged.gains[at] = 1.0;
            judged.found[at] += 1;
        }
    }
    judged
}

fn finds(hit: &Hit, place: &&Place) -> bool {
    let shares_a_line = place.lines.is_none_or(|(first, last)| hit.start_line <= last && hit.end_line >= first);
    shares_a_line && same_path(&hit.path, &place.path)
}

/// Whether two paths are one: equal, or one the end of the other after a slash, so that
/// it doesn't matter which folder of a repository is indexed.
pub fn same_path(one: &str, other: &str) -> bool {
    let (one, other) = (clean(one), clean(other));
    let ends = |long: &str, short: &str| long.strip_suffix(short).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'));
    ends(&one, &other) || ends(&other, &one)
}

fn clean(path: &str) -> String {
    let slashes = path.replace('\\', "/");
    slashes.trim_start_matches("./").to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::measures::{Kind, Measure};
    use super::*;

    fn hit(path: &str, start_line: u32, end_line: u32) -> Hit {
        Hit { document: path.into(), path: path.into(), start_line, end_line, score: 1.0 }
    }

    fn place(path: &str, lines: Option<(u32, u32)>) -> Place {
        Place { path: path.into(), lines }
    }

    /// nDCG, MRR and recall at 10.
    fn figures(level: Level, truth: &Truth, hits: &[Hit]) -> [f64; 3] {
        let judged = judge(level, truth, &ranking(level, hits, None, 10));
        [Kind::Ndcg, Kind::Mrr, Kind::Recall].map(|kind| Measure { kind, k: 10 }.of(&judged))
    }

    /// The rules of the benchmark's own scorer written down once more, on paths without
    /// `./` and backslashes: ranks of places, a set of ranks, an ideal by numbers.
    fn by_the_book(places: &[Place], hits: &[Hit]) -> [f64; 3] {
        let hits = &hits[..hits.len().min(10)];
        let mut ranks = Vec::new();
        for place in places {
            for (at, hit) in hits.iter().enumerate() {
                let tail = |a: &str, b: &str| a.ends_with(&format!("/{b}"));
                let path = hit.path == place.path || tail(&hit.path, &place.path) || tail(&place.path, &hit.path);
                if path && place.lines.is_none_or(|(first, last)| hit.start_line <= last && hit.end_line >= first) {
                    ranks.push(at + 1);
                    break;
                }
            }
        }
        let gain = |rank: usize| 1.0 / (1.0 + rank as f64).log2();
        let different: BTreeSet<usize> = ranks.iter().copied().collect();
        let gained: f64 = different.into_iter().map(gain).sum();
        let ideal: f64 = (1..=places.len().min(10)).map(gain).sum();
        [gained / ideal, ranks.iter().min().map_or(0.0, |rank| 1.0 / *rank as f64), ranks.len() as f64 / places.len() as f64]
    }

    fn close(one: [f64; 3], other: [f64; 3]) {
        assert!(one.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-12), "{one:?} is not {other:?}");
    }

    #[test]
    fn chunks_are_judged_as_the_benchmark_does() {
        let places = vec![place("src/a.rs", None), place("src/b.rs", Some((10, 20))), place("src/missing.rs", None)];
        let hits =
            [hit("src/a.rs", 1, 9), hit("src/b.rs", 1, 9), hit("src/a.rs", 10, 30), hit("src/b.rs", 20, 25), hit("other/b.rs", 12, 13)];
        let truth = Truth::Places(places.clone());
        // a.rs at 1, its second chunk uses up rank 3; the first chunk of b.rs lies before the
        // place, the one at rank 4 shares its last line.
        let ideal = 1.0 + 1.0 / 3_f64.log2() + 0.5;
        let expect = [(1.0 + 1.0 / 5_f64.log2()) / ideal, 1.0, 2.0 / 3.0];
        close(figures(Level::Chunk, &truth, &hits), expect);
        close(figures(Level::Lines, &truth, &hits), expect);
        close(by_the_book(&places, &hits), expect);
    }

    #[test]
    fn a_finding_may_find_several_places_and_paths_may_begin_further_down() {
        let places = vec![place("repo/src/a.rs", Some((1, 5))), place("repo/src/a.rs", Some((8, 9))), place("./src\\c.rs", None)];
        let hits = [hit("b.rs", 1, 2), hit("src/a.rs", 4, 8), hit("deep/src/c.rs", 1, 1)];
        let truth = Truth::Places(places);
        let ideal = 1.0 + 1.0 / 3_f64.log2() + 0.5;
        close(figures(Level::Chunk, &truth, &hits), [(1.0 / 3_f64.log2() + 0.5) / ideal, 0.5, 1.0]);
        assert!(!same_path("src/ab.rs", "b.rs") && same_path("b.rs", "b.rs") && !same_path("a/b.rs", "c/b.rs"));
    }

    #[test]
    fn random_chunks_agree_with_the_book() {
        use rand::{Rng as _, SeedableRng as _};
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        for _ in 0..500 {
            let path = |random: &mut rand_chacha::ChaCha8Rng| {
                let folder = ["", "src/", "deep/src/"][random.random_range(0..3)];
                format!("{folder}f{}.rs", random.random_range(0..6))
            };
            let places: Vec<Place> = (0..random.random_range(1..14))
                .map(|_| {
                    let (path, first) = (path(&mut random), random.random_range(1..40_u32));
                    let lines = random.random_bool(0.5).then(|| (first, first + random.random_range(0..10)));
                    Place { path, lines }
                })
                .collect();
            let hits: Vec<Hit> = (0..random.random_range(0..25))
                .map(|_| {
                    let (path, first) = (path(&mut random), random.random_range(1..40_u32));
                    hit(&path, first, first + random.random_range(0..10))
                })
                .collect();
            close(figures(Level::Chunk, &Truth::Places(places.clone()), &hits), by_the_book(&places, &hits));
        }
    }

    #[test]
    fn a_file_stands_where_its_best_finding_stands() {
        let hits = [hit("a", 1, 2), hit("a", 3, 4), hit("t", 1, 1), hit("b", 1, 2), hit("a", 5, 6), hit("c", 1, 2)];
        let kept: BTreeSet<String> = ["a", "b", "c"].map(str::to_owned).into();
        let names = |level, depth| -> Vec<String> {
            ranking(level, &hits, Some(&kept), depth).iter().map(|hit| format!("{}{}", hit.path, hit.start_line)).collect()
        };
        assert_eq!(names(Level::File, 2), ["a1", "b1"]);
        assert_eq!(names(Level::File, 10), ["a1", "b1", "c1"]);
        assert_eq!(names(Level::Chunk, 4), ["a1", "a3", "b1", "a5"]);
    }

    #[test]
    fn files_are_worth_their_grade_and_places_of_a_file_are_one() {
        let hits = [hit("b", 1, 2), hit("a", 1, 2), hit("b", 3, 4)];
        let grades = Truth::Grades(BTreeMap::from([("a".to_owned(), 3), ("b".to_owned(), 0), ("z".to_owned(), 1)]));
        let judged = judge(Level::File, &grades, &ranking(Level::File, &hits, None, 10));
        assert_eq!(judged, Judged { gains: vec![0.0, 3.0], found: vec![0, 1], ideal: vec![3.0, 1.0] });
        let judged = judge(Level::Chunk, &grades, &ranking(Level::Chunk, &hits, None, 10));
        assert_eq!(judged, Judged { gains: vec![0.0, 1.0, 0.0], found: vec![0, 1, 0], ideal: vec![1.0, 1.0] });
        let places = Truth::Places(vec![place("x/b", Some((7, 8))), place("x/b", Some((1, 2))), place("q", None)]);
        let judged = judge(Level::File, &places, &ranking(Level::File, &hits, None, 10));
        assert_eq!(judged, Judged { gains: vec![1.0, 0.0], found: vec![1, 0], ideal: vec![1.0, 1.0] });
    }
}
