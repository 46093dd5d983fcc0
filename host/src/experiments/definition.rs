//! What a file of an experiment can say: every key with its range and default. `check`
//! holds values against the ranges.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::metric::{Analysis, Metrics, Stop};
use crate::eval::matching::Level;
use crate::types::{ChannelName, Stage};

/// An experiment: arms that rank differently, who gets which, and how they are compared.
/// Sections that another mode needs may stay, so that one file can go from offline over
/// shadow to ab.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// The experiment's name in runs and reports: `a`–`z`, `0`–`9` and `-`, not `-` first,
    /// at most 64.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9-]{0,63}$"))]
    pub id: String,
    /// From 1. Has to grow when anything changes that decides who gets what.
    #[schemars(range(min = 1))]
    pub version: u32,
    /// Whether it is carried out.
    #[serde(default)]
    pub state: State,
    /// How arms are compared.
    pub mode: Mode,
    /// Who answers for it. Has to be there when it runs.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// What is expected, and why. Has to be there when it runs.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hypothesis: String,
    /// Share of the eligible units that take part, 0 to 1. Raising it moves nobody who
    /// takes part already. Without effect offline.
    #[serde(default = "one")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub coverage: f64,
    /// Key of the arm that the others are compared with. Default: the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<String>,
    /// What is assigned to an arm. Without effect offline.
    #[serde(default)]
    pub unit: Unit,
    /// Experiments of one layer share no units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<Layer>,
    /// How units are assigned. Without effect offline.
    #[serde(default)]
    pub hash: Hash,
    /// Which runs take part. Without effect offline.
    #[serde(default)]
    pub eligibility: Eligibility,
    /// What is compared, 1 to 8: two or more in shadow and ab, two in interleave.
    #[schemars(length(min = 1, max = 8))]
    pub arms: Vec<Arm>,
    /// What is measured.
    pub metrics: Metrics,
    /// How figures are compared.
    #[serde(default)]
    pub analysis: Analysis,
    /// When it ends.
    #[serde(default)]
    pub stop: Stop,
    /// The judgments, in mode offline. Default: those that the command line names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offline: Option<Offline>,
    /// What the other arms may cost, in mode shadow.
    #[serde(default)]
    pub shadow: Shadow,
}

/// Whether an experiment is carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Being written: checked, not carried out.
    #[default]
    Draft,
    /// Carried out.
    Running,
    /// Everybody gets what the server is configured for, for now.
    Paused,
    /// Over. Its buckets are free for others of its layer.
    Stopped,
}

/// How arms are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Every arm answers queries with known judgments.
    Offline,
    /// The first arm answers; the others are asked the same, and nobody sees it.
    Shadow,
    /// Each unit gets one arm.
    Ab,
    /// Two arms fill one list in turns, by team draft: Radlinski et al., CIKM 2008.
    Interleave,
}

/// What is assigned to an arm: all its runs go there. A run without it takes no part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unit {
    /// The kind of unit.
    pub kind: UnitKind,
    /// The header whose value is the unit, in lower case. With kind `header` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
}

/// The kinds of units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnitKind {
    /// The session of a client.
    #[default]
    Session,
    /// The value of a header, such as that of a user or team.
    Header,
    /// The text of a query: whoever asks the same gets the same arm.
    Query,
    /// A single run.
    Run,
}

/// A space of buckets that experiments divide among them. All experiments of a layer have
/// the same unit, salt, algorithm and number of buckets: otherwise one unit could fall
/// into the buckets of two of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Shared by the experiments that exclude each other.
    pub name: String,
    /// Mixed into the hash that gives a unit its bucket of the layer; another one than
    /// the experiment's own.
    pub salt: String,
    /// `[start, end]`: buckets from `start` up to, not including, `end`, of `hash.buckets`.
    pub buckets: [u32; 2],
}

impl Layer {
    /// The buckets as a range.
    pub fn range(&self) -> Range<u32> {
        self.buckets[0]..self.buckets[1]
    }
}

/// How units are assigned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Hash {
    /// The hash of salt and unit.
    pub algorithm: Algorithm,
    /// Mixed into the hash. Default: the id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// How finely units are divided, 100 to 1,000,000. `growthbook_v2` has 10,000.
    #[schemars(range(min = 100, max = 1_000_000))]
    pub buckets: u32,
}

impl Default for Hash {
    fn default() -> Self {
        Hash { algorithm: Algorithm::default(), salt: None, buckets: 10_000 }
    }
}

/// The hashes that assign units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Algorithm {
    /// XXH3, 64 bits.
    #[default]
    #[serde(rename = "xxh3")]
    Xxh3,
    /// FNV-1a twice, 32 bits, as GrowthBook's SDKs have it in hash version 2: both assign
    /// a unit alike.
    #[serde(rename = "growthbook_v2")]
    GrowthbookV2,
}

/// Which runs take part: those for which everything that is set holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Eligibility {
    /// Only calls of these tools. Default: both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<Tool>>,
    /// Only queries of these classes, as the configured gate names them, such as `vague`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_classes: Option<Vec<String>>,
    /// Only calls that filter by one of these languages, such as `rust`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub languages: Option<Vec<String>>,
    /// Only calls with a header of these values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<HeaderValues>,
    /// Units kept out of experiments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holdout: Option<Holdout>,
}

/// The tools that rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tool {
    /// Search with the server's own judgement.
    SemanticSearch,
    /// Search with control over the stages.
    SemanticSearchPro,
}

/// A header and what it may say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeaderValues {
    /// The header, in lower case.
    pub name: String,
    /// One of these, to the letter.
    #[schemars(length(min = 1))]
    pub values: Vec<String>,
}

/// Units kept out. Experiments with the same salt, algorithm and unit keep out the same ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Holdout {
    /// Mixed into the hash; another one than the experiment's and the layer's.
    pub salt: String,
    /// Share of units kept out, 0 to 0.5.
    #[schemars(range(min = 0.0, max = 0.5))]
    pub share: f64,
}

/// One way to rank: what differs from the server's configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    /// The arm's name: `a`–`z`, `0`–`9`, `_` and `-`, at most 32.
    #[schemars(regex(pattern = r"^[a-z0-9_-]{1,32}$"))]
    pub key: String,
    /// Its share of the units is this over the sum of all weights; over 0, at most 1,000,000.
    #[serde(default = "one")]
    #[schemars(range(max = 1_000_000.0), extend("exclusiveMinimum" = 0))]
    pub weight: f64,
    /// The channels that are asked. Default: those that the gate chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub channels: Option<Vec<ChannelName>>,
    /// Whether queries are widened by RM3. Default: as the gate decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rm3: Option<bool>,
    /// Whether findings are reranked. Default: as the server is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerank: Option<bool>,
    /// Data directory of another index, such as one of another embedding; in modes
    /// offline and shadow, there not for the arm that answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<PathBuf>,
    /// Plugins in place of the configured ones.
    #[serde(default)]
    pub plugins: ArmPlugins,
    /// Budgets in place of the gate's.
    #[serde(default)]
    pub budgets: Budgets,
}

/// Plugins by stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ArmPlugins {
    /// Decides channels and budgets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<ArmPlugin>,
    /// Merges the channels' rankings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fusion: Option<ArmPlugin>,
    /// Orders the first findings anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerank: Option<ArmPlugin>,
}

impl ArmPlugins {
    /// The plugins that are set, in the order of the stages.
    pub fn set(&self) -> impl Iterator<Item = (Stage, &ArmPlugin)> {
        let all = [(Stage::Gate, &self.gate), (Stage::Fusion, &self.fusion), (Stage::Rerank, &self.rerank)];
        all.into_iter().filter_map(|(stage, plugin)| Some((stage, plugin.as_ref()?)))
    }
}

/// A plugin, or other parameters for the configured one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ArmPlugin {
    /// A plugin that the server has loaded, by name. Default: the configured one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// The one component that may serve, by its digest in hexadecimal. A named plugin has
    /// to have it when the experiment runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9a-fA-F]{64}$"))]
    pub sha256: Option<String>,
    /// As the plugin's schema has them. Default: the configured ones for the configured
    /// plugin, none for another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Map<String, Json>>,
}

/// Budgets in place of the gate's, as far as they are set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Budgets {
    /// Rows to ask of a channel, 1 to 1000.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub depths: BTreeMap<ChannelName, u32>,
    /// Weight of a channel in the fusion, 0 to 100.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<ChannelName, f64>,
    /// Rows that the reranker sees, 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 100))]
    pub rerank_depth: Option<u32>,
    /// The constant of reciprocal rank fusion, over 0, at most 10,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 10_000.0), extend("exclusiveMinimum" = 0))]
    pub rrf_k: Option<f64>,
    /// Milliseconds of a run, 10 to 300,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 300_000))]
    pub deadline_ms: Option<u64>,
}

/// Queries and judgments, as `spanloom eval` reads them; paths from the file's own folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Offline {
    /// Queries, with relevant places or with judgments in `qrels`.
    pub queries: PathBuf,
    /// Judgments of documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qrels: Option<PathBuf>,
    /// The documents that count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corpus: Option<PathBuf>,
    /// What is ranked and judged. Default: `file` with `qrels`, `chunk` without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
}

/// What asking the other arms may cost. What doesn't fit in is left out and counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Shadow {
    /// Share of the covered runs that the other arms are asked for, too, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub share: f64,
    /// Runs of other arms at once, 1 to 16.
    #[schemars(range(min = 1, max = 16))]
    pub concurrency_max: u32,
    /// Milliseconds of a run of another arm, 10 to 300,000.
    #[schemars(range(min = 10, max = 300_000))]
    pub deadline_ms: u64,
}

impl Default for Shadow {
    fn default() -> Self {
        Shadow { share: 1.0, concurrency_max: 2, deadline_ms: 10_000 }
    }
}

impl Experiment {
    /// What is mixed into the hash of units.
    pub fn salt(&self) -> &str {
        self.hash.salt.as_deref().unwrap_or(&self.id)
    }

    /// Key of the arm that the others are compared with. Empty without arms.
    pub fn control(&self) -> &str {
        let first = || self.arms.first().map_or("", |arm| &arm.key);
        self.control.as_deref().unwrap_or_else(first)
    }
}

fn one() -> f64 {
    1.0
}
