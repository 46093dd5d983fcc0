//! What is kept of an experiment, and the form of the file.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{DAY, Standing};
use crate::experiments::journal::timestamp;

/// Version of the file's form, in every file.
const SCHEMA_VERSION: u32 = 1;

/// What was decided of one version of an experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// When it was first carried out.
    #[serde(with = "moment")]
    pub since: SystemTime,
    /// By the arm's key; in interleaving `interleave`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rolled_back: BTreeMap<String, RolledBack>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<Over>,
}

/// Why an arm takes no part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RolledBack {
    #[serde(with = "moment")]
    pub at: SystemTime,
    pub reason: String,
}

/// It had as many days as it may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Over {
    /// When that was seen.
    #[serde(with = "moment")]
    pub at: SystemTime,
    /// As its file had it then.
    pub days_max: u32,
}

impl Entry {
    pub fn new(since: SystemTime) -> Entry {
        Entry { since, rolled_back: BTreeMap::new(), over: None }
    }

    /// Why it is over, with `days_max` as its file has it now. What was over stays so, also
    /// when a clock is set back; more days go on.
    pub fn over(&self, days_max: Option<u32>, now: SystemTime) -> Option<String> {
        let days_max = days_max?;
        let is_over = self.noted(days_max) || self.has_passed(days_max, now);
        is_over.then(|| format!("it is over: {days_max} days since {} are all that it may take", timestamp(self.since)))
    }

    /// Whether it is over and that is not noted.
    pub fn is_due(&self, days_max: Option<u32>, now: SystemTime) -> bool {
        days_max.is_some_and(|days_max| !self.noted(days_max) && self.has_passed(days_max, now))
    }

    fn noted(&self, days_max: u32) -> bool {
        self.over.as_ref().is_some_and(|over| days_max <= over.days_max)
    }

    fn has_passed(&self, days_max: u32, now: SystemTime) -> bool {
        self.since.checked_add(DAY * days_max).is_some_and(|end| now >= end)
    }
}

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileForm {
    schema_version: u32,
    /// By id, then version.
    experiments: BTreeMap<String, BTreeMap<u32, Entry>>,
}

impl FileForm {
    pub fn of(standing: &Standing) -> FileForm {
        let mut experiments: BTreeMap<String, BTreeMap<u32, Entry>> = BTreeMap::new();
        for ((id, version), entry) in &standing.entries {
            experiments.entry(id.clone()).or_default().insert(*version, entry.clone());
        }
        FileForm { schema_version: SCHEMA_VERSION, experiments }
    }

    pub fn text(&self) -> String {
        // Texts and maps with keys that are texts always serialize.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

/// The standing in a text, or what is wrong with it.
pub(super) fn read(text: &str) -> Result<Standing, String> {
    let form: FileForm = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if form.schema_version != SCHEMA_VERSION {
        return Err(format!("`schema_version` is {}; allowed: {SCHEMA_VERSION}, as this release writes it", form.schema_version));
    }
    let of_id =
        |(id, versions): (String, BTreeMap<u32, Entry>)| versions.into_iter().map(move |(version, entry)| ((id.clone(), version), entry));
    Ok(Standing { entries: form.experiments.into_iter().flat_map(of_id).collect() })
}

/// RFC 3339, UTC, with milliseconds.
mod moment {
    use std::time::SystemTime;

    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;

    pub fn serialize<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::timestamp(*at))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        let read = OffsetDateTime::parse(&text, &Rfc3339);
        read.map(SystemTime::from).map_err(|_| D::Error::custom(format!("`{text}` is no moment such as 2026-01-31T12:00:00.000Z")))
    }
}
