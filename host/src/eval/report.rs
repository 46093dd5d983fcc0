//! The form of an evaluation: everything that `--json` prints, in the order in which it
//! is told. `docs/quality.md` describes each field.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::ablation::Part;
use super::judgments::{Layout, SetPaths, TestSet};
use super::matching::Level;
use super::measures::{Cuts, Judged, Measure};
use super::statistics::{self, Difference, Estimate};

/// Raised when a field goes or changes its meaning.
pub const SCHEMA: u32 = 1;

/// An evaluation of one system, and of others held against it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub schema: u32,
    pub set: SetFacts,
    pub settings: Settings,
    /// What went otherwise than one would wish, counted.
    pub warnings: Vec<String>,
    #[serde(flatten)]
    pub system: SystemReport,
    pub comparisons: Vec<Comparison>,
    /// With `--ablate`: what could not be left out, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<String>,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetFacts {
    /// Files as they were given.
    pub queries: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qrels: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corpus: Option<String>,
    pub layout: Layout,
    pub level: Level,
    /// Queries of the file.
    pub queries_read: usize,
    /// Those with judgments: every mean is over them.
    pub queries_judged: usize,
    /// Relevant things over all of them.
    pub relevant: usize,
}

/// How it was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The measures in their order, the main one first.
    pub measures: Vec<String>,
    /// Ranks after which a ranking was cut.
    pub depth: usize,
    /// Findings that the stages were told are wanted.
    pub limit: u32,
    pub resamples: usize,
    pub flips: usize,
    pub confidence: f64,
    pub seed: u64,
}

/// A system's figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SystemReport {
    pub index: IndexFacts,
    /// Means over all judged queries, by measure.
    pub measures: BTreeMap<String, Estimate>,
    /// Queries that had no answer; they count 0.
    pub unanswered: usize,
    /// Queries whose answer was degraded.
    pub degraded: usize,
    pub per_query: Vec<QueryReport>,
}

/// The generation that was searched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IndexFacts {
    pub generation: String,
    pub files: u64,
    pub chunks: u64,
}

/// A query's figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueryReport {
    pub query_id: String,
    /// Ranks of its ranking, after the cut.
    pub ranked: usize,
    /// Things to be found.
    pub relevant: usize,
    pub measures: BTreeMap<String, f64>,
    /// Its run, when runs are recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub degraded: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Another system, held against the first one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub kind: Kind,
    /// A configuration's file, or what was left out.
    pub name: String,
    /// What was done instead of what was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead: Option<String>,
    /// This system − the first one, by measure.
    pub differences: BTreeMap<String, Difference>,
    #[serde(flatten)]
    pub system: SystemReport,
}

/// Where the other system comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `--compare`.
    Configuration,
    /// `--ablate`.
    Channel,
    Stage,
    Signal,
}

impl From<Part> for Kind {
    fn from(part: Part) -> Kind {
        match part {
            Part::Channel => Kind::Channel,
            Part::Stage => Kind::Stage,
            Part::Signal => Kind::Signal,
        }
    }
}

impl SetFacts {
    /// A set as it was read from these files.
    pub fn of(paths: &SetPaths, set: &TestSet) -> SetFacts {
        let shown = |path: &PathBuf| path.display().to_string();
        SetFacts {
            queries: shown(&paths.queries),
            qrels: paths.qrels.as_ref().map(shown),
            corpus: paths.corpus.as_ref().map(shown),
            layout: set.layout,
            level: set.level,
            queries_read: set.queries_read,
            queries_judged: set.questions.len(),
            relevant: set.relevant(),
        }
    }
}

impl Settings {
    pub fn new(cuts: &Cuts, limit: u32) -> Settings {
        Settings::of(&cuts.measures(), cuts.depth(), limit)
    }

    /// The same for measures of the caller's choice.
    pub fn of(measures: &[Measure], depth: usize, limit: u32) -> Settings {
        Settings {
            measures: measures.iter().map(ToString::to_string).collect(),
            depth,
            limit,
            resamples: statistics::RESAMPLES,
            flips: statistics::FLIPS,
            confidence: statistics::CONFIDENCE,
            seed: statistics::SEED,
        }
    }
}

impl SystemReport {
    /// Means out of the figures of each query.
    pub fn new(index: IndexFacts, per_query: Vec<QueryReport>, measures: &[String]) -> SystemReport {
        let estimates = measures.iter().map(|name| (name.clone(), statistics::estimate(&figures(&per_query, name)))).collect();
        SystemReport {
            index,
            measures: estimates,
            unanswered: per_query.iter().filter(|query| query.error.is_some()).count(),
            degraded: per_query.iter().filter(|query| !query.degraded.is_empty()).count(),
            per_query,
        }
    }

    /// What is wrong with the answers, each with a count and an example.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some((query, error)) = self.per_query.iter().find_map(|query| Some((&query.query_id, query.error.as_ref()?))) {
            warnings.push(format!("queries without an answer, which count 0: {} (`{query}`: {error})", self.unanswered));
        }
        if let Some((query, part)) = self.per_query.iter().find_map(|query| Some((&query.query_id, query.degraded.first()?))) {
            warnings.push(format!("queries with a degraded answer: {} (`{query}`: {part})", self.degraded));
        }
        warnings
    }
}

impl Comparison {
    /// Holds `system` against `first`, query by query; both have the same queries in the
    /// same order.
    pub fn new(kind: Kind, name: String, instead: Option<String>, first: &SystemReport, system: SystemReport) -> Comparison {
        let compare = |name: &String| statistics::compare(&figures(&first.per_query, name), &figures(&system.per_query, name));
        let differences = first.measures.keys().map(|name| (name.clone(), compare(name))).collect();
        Comparison { kind, name, instead, differences, system }
    }
}

impl QueryReport {
    /// The figures of one query; of one without an answer with an empty ranking.
    pub fn new(query_id: &str, judged: &Judged, measures: &[Measure]) -> QueryReport {
        QueryReport {
            query_id: query_id.to_owned(),
            ranked: judged.gains.len(),
            relevant: judged.ideal.len(),
            measures: measures.iter().map(|measure| (measure.to_string(), measure.of(judged))).collect(),
            run_id: None,
            degraded: Vec::new(),
            error: None,
        }
    }
}

/// One measure of all queries, in their order.
pub fn figures(per_query: &[QueryReport], measure: &str) -> Vec<f64> {
    per_query.iter().map(|query| query.measures.get(measure).copied().unwrap_or(0.0)).collect()
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// A report of three queries with made-up figures, and one comparison.
    pub fn sample() -> Report {
        let cuts = Cuts::new(vec![10], vec![100]).unwrap();
        let settings = Settings::new(&cuts, 10);
        let query = |id: &str, figure: f64| QueryReport {
            query_id: id.into(),
            ranked: 100,
            relevant: 2,
            measures: settings.measures.iter().map(|name| (name.clone(), figure)).collect(),
            run_id: None,
            degraded: Vec::new(),
            error: None,
        };
        let system = |figures: [f64; 3]| {
            let index = IndexFacts { generation: "g000001".into(), files: 12, chunks: 1_034 };
            let queries = ["a", "b", "c"].into_iter().zip(figures).map(|(id, figure)| query(id, figure)).collect();
            SystemReport::new(index, queries, &settings.measures)
        };
        let first = system([0.5, 0.25, 1.0]);
        let other = Comparison::new(Kind::Configuration, "other.toml".into(), None, &first, system([0.75, 0.25, 0.5]));
        let left_out =
            Comparison::new(Kind::Channel, "channel dense".into(), Some("the other channels".into()), &first, system([0.5, 0.25, 1.0]));
        let set = SetFacts {
            queries: "q.jsonl".into(),
            qrels: Some("r.tsv".into()),
            corpus: None,
            layout: Layout::Qrels,
            level: Level::File,
            queries_read: 4,
            queries_judged: 3,
            relevant: 6,
        };
        Report {
            schema: SCHEMA,
            set,
            settings,
            warnings: vec!["queries without a judgment, not asked: 1 (`d`)".into()],
            system: first,
            comparisons: vec![other, left_out],
            passed_over: vec!["stage rerank: it is switched off".into()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_one_object_that_can_be_read_back() {
        let report = testing::sample();
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!((&json["set"]["level"], &json["index"]["generation"]), (&"file".into(), &"g000001".into()));
        assert_eq!(json["per_query"][1]["measures"]["mrr@10"], 0.25);
        assert_eq!(json["comparisons"][0]["kind"], "configuration");
        let difference = &json["comparisons"][0]["differences"]["ndcg@10"];
        assert_eq!((&difference["wins"], &difference["losses"], &difference["ties"]), (&1.into(), &1.into(), &1.into()));
        assert!((difference["mean"].as_f64().unwrap() + 0.25 / 3.0).abs() < 1e-12);
        assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
    }

    #[test]
    fn queries_that_went_wrong_are_counted_with_an_example() {
        let mut system = testing::sample().system;
        assert!(system.warnings().is_empty());
        system.per_query[1].error = Some("no".into());
        system.per_query[2].degraded = vec!["dense: deadline".into()];
        let system = SystemReport::new(system.index, system.per_query, &["ndcg@10".into()]);
        assert_eq!(
            system.warnings(),
            ["queries without an answer, which count 0: 1 (`b`: no)", "queries with a degraded answer: 1 (`c`: dense: deadline)"]
        );
    }
}
