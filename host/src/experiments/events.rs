//! What is written down of searches and of what became of them: one JSON object a line, in
//! the shape of User Behavior Insights events (<https://ubisearch.dev>, schema 1.3): a query
//! id, a client id, an action, and the object with its position.
//!
//! The query id is the run's, the client id the session's. Objects are chunks, by
//! `chunk_id`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The variant of runs in mode interleave, which are of both arms.
pub const INTERLEAVED: &str = "interleave";

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Always `spanloom`.
    pub application: String,
    /// The run that this is about; empty for what is done to an experiment.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub query_id: String,
    /// The session of the client, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// RFC 3339, UTC.
    pub timestamp: String,
    #[serde(flatten)]
    pub action: Action,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action_name", content = "event_attributes", rename_all = "snake_case")]
pub enum Action {
    /// A search was answered, or failed.
    Search(Search),
    /// Somebody did something with a finding, or said something of it.
    Used(Mark),
    Opened(Mark),
    Copied(Mark),
    Helpful(Mark),
    NotHelpful(Mark),
    /// A grade was given.
    Graded(Mark),
    /// Another arm was asked the same, and nobody saw it.
    Shadow(Shadow),
    /// Something was done to an experiment.
    Experiment(Control),
}

/// How a search ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Search {
    pub tool: String,
    /// As the gate named it; empty when it was not asked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub query_class: String,
    /// `ok`, `error` or `cancelled`.
    pub status: String,
    pub duration_us: u64,
    /// The findings of this page, best first, with their ranks over all pages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Shown>,
    /// Whether a plugin trapped.
    #[serde(default, skip_serializing_if = "is_false")]
    pub trapped: bool,
    /// Whether a built-in took a plugin's place.
    #[serde(default, skip_serializing_if = "is_false")]
    pub fell_back: bool,
    /// Digests of what may be a unit, by its kind: `session`, `query`, `header x-team`. For
    /// the history of units.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub units: BTreeMap<String, String>,
    /// The experiments that the run was part of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub experiments: Vec<Exposure>,
}

/// A finding as it was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// The chunk.
    pub object_id: u64,
    /// Its rank, from 1.
    pub ordinal: u32,
    /// In interleaving, the place of the arm that picked it among the experiment's arms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<u32>,
}

/// A run's part in an experiment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exposure {
    /// The experiment's id.
    pub experiment: String,
    pub version: u32,
    /// Key of the arm; in interleaving `interleave`.
    pub variant: String,
    /// The bucket that decided on the arm.
    pub bucket: u32,
    /// Digest of the unit: 16 hexadecimal digits.
    pub unit: String,
}

/// Something done with a finding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    pub object: Object,
    pub position: Position,
    /// With `graded`: 0 to 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grade: Option<u8>,
    /// `tool` when it was reported, `open_file` when a later call of the session showed it.
    pub source: String,
}

/// UBI's object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    pub object_id: u64,
    /// Always `chunk_id`.
    pub object_id_field: String,
}

/// UBI's position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The finding's rank, from 1.
    pub ordinal: u32,
}

/// How another arm would have answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shadow {
    pub experiment: String,
    pub version: u32,
    pub variant: String,
    pub status: String,
    pub duration_us: u64,
    /// Chunks, best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<u64>,
    /// Share of the first 10 that both have, 0 to 1.
    pub overlap_at_10: f64,
    /// Rank-biased overlap, 0 to 1.
    pub rank_biased_overlap: f64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Something done to an experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Control {
    pub experiment: String,
    pub version: u32,
    /// `start`, `pause`, `stop`, `ramp`, `roll_back`, `refused`.
    pub verb: String,
    /// Who did it: a user's name, or `spanloom` for what it did by itself.
    pub actor: String,
    /// What changed and why, in words.
    pub detail: String,
    /// With `roll_back`: the arm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// With `ramp` and `start`: the coverage from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<f64>,
}

fn is_false(value: &bool) -> bool {
    !value
}
