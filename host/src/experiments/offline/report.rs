//! The form of a report without users: everything that `--format json` prints.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::eval::report::{IndexFacts, QueryReport, SetFacts};
use crate::eval::statistics::{Difference, Estimate};
use crate::experiments::definition::Mode;
use crate::experiments::metric::Correction;

/// Raised when a field goes or changes its meaning.
pub const SCHEMA: u32 = 1;

/// What the arms of an experiment made of the same queries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub schema: u32,
    /// RFC 3339, UTC.
    pub generated_at: String,
    pub subject: Subject,
    pub verdict: Verdict,
    /// What went otherwise than one would wish, counted.
    pub warnings: Vec<String>,
    pub source: Source,
    /// Measures that arms are compared by, the primary one first.
    pub measures: Vec<String>,
    pub statistics: Statistics,
    /// In the order in which they were asked.
    pub queries: Vec<Query>,
    /// In the order of the file.
    pub arms: Vec<ArmReport>,
    /// Every other arm against the control: by measure, then arm.
    pub comparisons: Vec<Comparison>,
    /// How figures were made, and what they don't tell.
    pub methods: Vec<String>,
}

/// The experiment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    pub id: String,
    pub version: u32,
    /// As the file has it; any mode can be tried without users.
    pub mode: Mode,
    pub hypothesis: String,
    /// Key of the arm that the others are compared with.
    pub control: String,
    /// Of all that decides what arms do.
    pub digest: String,
}

/// Where the queries come from, and what says which findings are right.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "against", rename_all = "snake_case")]
pub enum Source {
    /// Queries with judgments.
    Judgments {
        set: SetFacts,
        /// Ranks after which a ranking was cut.
        depth: usize,
        /// Findings that the stages were told are wanted.
        limit: u32,
    },
    /// Recorded searches, and what was used of their findings.
    RecordedRuns(RunFacts),
}

/// The recorded searches of a data directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFacts {
    /// Searches that were asked again.
    pub replayed: usize,
    /// Those of which a finding was used.
    pub with_used_findings: usize,
    /// Those that searched another generation than the control does now.
    pub other_generation: usize,
    /// When the first and the last of them began; RFC 3339.
    pub first_at: Option<String>,
    pub last_at: Option<String>,
    /// Searches that were not asked again, by reason.
    pub skipped: Vec<Skipped>,
}

/// Searches that were left out for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    pub reason: String,
    pub runs: usize,
    /// One of them.
    pub example: String,
}

/// How figures are compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    pub resamples: usize,
    pub flips: usize,
    pub confidence: f64,
    pub seed: u64,
    /// The chance of calling a difference real that isn't.
    pub alpha: f64,
    pub correction: Correction,
}

/// A query that every arm was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// Of a recorded search the run's id.
    pub query_id: String,
    /// Of a judged query; the words of a recorded one stay in its ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// What came of one arm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArmReport {
    pub arm: String,
    pub control: bool,
    /// Another data directory than the configured one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<String>,
    pub index: IndexFacts,
    /// Means over the queries that have the measure.
    pub measures: BTreeMap<String, Estimate>,
    /// Queries without an answer; they count 0.
    pub unanswered: usize,
    /// Queries whose answer was degraded, and those by what was.
    pub degraded: usize,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub degraded_by: BTreeMap<String, usize>,
    /// Queries whose answer has warnings.
    pub warned: usize,
    /// `None` without an answer.
    pub latency: Option<Latency>,
    /// In the order of `queries`.
    pub per_query: Vec<AskedQuery>,
}

/// A query's figures in one arm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AskedQuery {
    #[serde(flatten)]
    pub query: QueryReport,
    /// Milliseconds of a search as a client asks it, in this process.
    pub latency_ms: f64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Percentiles over the queries that have an answer, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub answers: usize,
    pub p50_ms: f64,
    pub p95_ms: f64,
    /// The ends of an interval of 95 %; `None` where the answers are too few to bound it.
    pub p95_low_ms: Option<f64>,
    pub p95_high_ms: Option<f64>,
}

/// An arm held against the control, on the queries that both have figures of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub arm: String,
    pub control: String,
    pub measure: String,
    pub primary: bool,
    /// Queries that are compared.
    pub queries: usize,
    /// The arm − the control; wins are the arm's.
    #[serde(flatten)]
    pub difference: Difference,
    /// Corrected for the number of comparisons.
    pub p_adjusted: f64,
}

/// What may be concluded, never more than the test says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Of all arms: the first of `better`, `worse` and `not_decided` that one of them has.
    pub outcome: Outcome,
    /// All of it in one sentence.
    pub sentence: String,
    /// Of every arm but the control.
    pub arms: Vec<ArmVerdict>,
}

/// What may be concluded of one arm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArmVerdict {
    pub arm: String,
    pub outcome: Outcome,
}

/// What the primary measure says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Higher than the control, by more than chance alone would give.
    Better,
    /// Lower, likewise.
    Worse,
    /// Chance alone could give as much.
    NotDecided,
    /// There is one arm only, or nothing that says what is right.
    NothingToCompare,
}
