//! Holds an experiment against the ranges of its keys and the rules between them. All
//! problems are told, in the order of the schema. What passes carries the proof.

mod arms;
mod folder;
mod metrics;

use std::collections::BTreeSet;
use std::fmt::{self, Display};
use std::ops::Deref;

use super::definition::{Algorithm, Eligibility, Experiment, Hash, Layer, Mode, Offline, Shadow, State, Unit, UnitKind};
use super::plan::NAMESPACE_SCALE;
use crate::index::chunk::Language;

pub(super) use folder::conflicts;

/// Characters of a wrong value that are repeated in its problem.
pub(super) const SHOWN_CHARS: usize = 80;
/// Bytes of names and salts.
const NAME_BYTES_MAX: usize = 128;
/// Entries of a list.
const LIST_MAX: usize = 64;
/// Headers that let somebody in: they would end in ledgers.
const SECRET_HEADERS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

/// An experiment that can be carried out as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedExperiment(Experiment);

impl Deref for CheckedExperiment {
    type Target = Experiment;

    fn deref(&self) -> &Experiment {
        &self.0
    }
}

/// A key of a file and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// As in `arms[1].plugins.fusion.sha256`; empty for the file as a whole.
    pub key: String,
    /// Follows the key in a sentence.
    pub problem: String,
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => f.write_str(&self.problem),
            key => write!(f, "`{key}` {}", self.problem),
        }
    }
}

impl Experiment {
    /// # Errors
    /// Every problem, with the key, the value and what is allowed.
    pub fn check(self) -> Result<CheckedExperiment, Vec<Problem>> {
        let mut problems = Problems(Vec::new());
        self.check_itself(&mut problems);
        unit(&self.unit, &mut problems);
        if let Some(layer) = &self.layer {
            self.check_layer(layer, &mut problems);
        }
        hash(&self.hash, &mut problems);
        self.check_eligibility(&self.eligibility, &mut problems);
        arms::check(&self, &mut problems);
        metrics::check(&self, &mut problems);
        if let Some(files) = &self.offline {
            offline(files, &mut problems);
        }
        shadow(&self.shadow, &mut problems);
        if problems.0.is_empty() { Ok(CheckedExperiment(self)) } else { Err(problems.0) }
    }

    fn check_itself(&self, problems: &mut Problems) {
        let id_allowed = "`a` to `z`, `0` to `9` and `-`, not `-` first, 1 to 64 characters";
        let id_fits = is_made_of(&self.id, 64, |byte| byte == b'-') && !self.id.starts_with('-');
        problems.require(id_fits, "id", text(&self.id), id_allowed);
        problems.range("version", self.version, 1, u32::MAX);
        if self.state == State::Running {
            for (key, value) in [("owner", &self.owner), ("hypothesis", &self.hypothesis)] {
                problems.require(!value.trim().is_empty(), key, "empty", "some text, as the experiment is running");
            }
        }
        problems.range("coverage", self.coverage, 0.0, 1.0);
        if let Some(control) = &self.control {
            if !self.arms.iter().any(|arm| arm.key == *control) {
                let keys: Vec<_> = self.arms.iter().map(|arm| text(&arm.key)).collect();
                problems.require(false, "control", text(control), &format!("the key of an arm: {}", keys.join(", ")));
            } else if self.mode == Mode::Shadow && self.arms.first().is_some_and(|arm| arm.key != *control) {
                let allowed = "the first arm in mode shadow, as it is the one that answers";
                problems.require(false, "control", text(control), allowed);
            }
        }
    }

    fn check_layer(&self, layer: &Layer, problems: &mut Problems) {
        problems.name("layer.name", &layer.name);
        problems.name("layer.salt", &layer.salt);
        // The same hash twice: units of the layer's buckets would get some arms only.
        if layer.salt == self.salt() {
            let allowed = "another one than that of the experiment's hash: with the same, the layer's part decides the arm";
            problems.require(false, "layer.salt", text(&layer.salt), allowed);
        }
        let ([start, end], all) = (layer.buckets, self.hash.buckets);
        let allowed = format!("[start, end] with start < end and end at most {all}, as `hash.buckets` has it");
        problems.require(start < end && end <= all, "layer.buckets", format!("[{start}, {end}]"), &allowed);
        if self.hash.algorithm == Algorithm::GrowthbookV2 {
            let allowed = format!("whole multiples of {NAMESPACE_SCALE} with `growthbook_v2`, whose namespaces have 1000 buckets");
            let whole = layer.buckets.iter().all(|end| end % NAMESPACE_SCALE == 0);
            problems.require(whole, "layer.buckets", format!("[{start}, {end}]"), &allowed);
        }
    }

    fn check_eligibility(&self, eligibility: &Eligibility, problems: &mut Problems) {
        let Eligibility { tools, query_classes, languages, header, holdout } = eligibility;
        if let Some(tools) = tools {
            problems.list("eligibility.tools", tools, |tool| format!("{tool:?}"));
        }
        if let Some(classes) = query_classes {
            problems.list("eligibility.query_classes", classes, Clone::clone);
            for (number, class) in classes.iter().enumerate() {
                problems.name(&format!("eligibility.query_classes[{number}]"), class);
            }
            if self.arms.iter().any(|arm| arm.plugins.gate.is_some()) {
                let problem = "is set while arms change the gate; allowed: one of the two, as a query's class is the gate's own word";
                problems.add("eligibility.query_classes", problem);
            }
        }
        if let Some(languages) = languages {
            problems.list("eligibility.languages", languages, Clone::clone);
            for (number, language) in languages.iter().enumerate() {
                let known = Language::ALL.map(Language::as_str);
                let key = format!("eligibility.languages[{number}]");
                problems.require(known.contains(&language.as_str()), &key, text(language), &known.join(", "));
            }
        }
        if let Some(header) = header {
            problems.header("eligibility.header.name", &header.name);
            problems.list("eligibility.header.values", &header.values, Clone::clone);
            for (number, value) in header.values.iter().enumerate() {
                problems.name(&format!("eligibility.header.values[{number}]"), value);
            }
        }
        if let Some(holdout) = holdout {
            problems.name("eligibility.holdout.salt", &holdout.salt);
            let taken = [("the experiment's hash", Some(self.salt())), ("the layer", self.layer.as_ref().map(|layer| layer.salt.as_str()))];
            for (owner, _) in taken.into_iter().filter(|(_, salt)| *salt == Some(holdout.salt.as_str())) {
                let allowed = format!("another one than that of {owner}: with the same, those kept out are not chosen independently");
                problems.require(false, "eligibility.holdout.salt", text(&holdout.salt), &allowed);
            }
            problems.range("eligibility.holdout.share", holdout.share, 0.0, 0.5);
            if self.unit.kind == UnitKind::Run {
                let problem = "is set with unit `run`; allowed: units that come back, as nothing is kept out by leaving out single runs";
                problems.add("eligibility.holdout", problem);
            }
        }
    }
}

fn unit(unit: &Unit, problems: &mut Problems) {
    match (&unit.header, unit.kind) {
        (Some(name), UnitKind::Header) => problems.header("unit.header", name),
        (None, UnitKind::Header) => problems.add("unit.header", "is missing; allowed: the name of a header, as the unit is one"),
        (Some(name), _) => problems.require(false, "unit.header", text(name), "only with kind `header`"),
        (None, _) => {}
    }
}

fn hash(hash: &Hash, problems: &mut Problems) {
    if let Some(salt) = &hash.salt {
        problems.name("hash.salt", salt);
    }
    match hash.algorithm {
        Algorithm::Xxh3 => problems.range("hash.buckets", hash.buckets, 100, 1_000_000),
        Algorithm::GrowthbookV2 => {
            problems.require(hash.buckets == 10_000, "hash.buckets", hash.buckets, "10000, as `growthbook_v2` has them");
        }
    }
}

fn offline(offline: &Offline, problems: &mut Problems) {
    let paths = [("queries", Some(&offline.queries)), ("qrels", offline.qrels.as_ref()), ("corpus", offline.corpus.as_ref())];
    for (name, path) in paths {
        let empty = path.is_some_and(|path| path.as_os_str().is_empty());
        problems.require(!empty, &format!("offline.{name}"), "empty", "the path of a file");
    }
}

fn shadow(shadow: &Shadow, problems: &mut Problems) {
    problems.range("shadow.share", shadow.share, 0.0, 1.0);
    problems.range("shadow.concurrency_max", shadow.concurrency_max, 1, 16);
    problems.range("shadow.deadline_ms", shadow.deadline_ms, 10, 300_000);
}

/// What was found so far.
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, key: &str, problem: impl Into<String>) {
        self.0.push(Problem { key: key.into(), problem: problem.into() });
    }

    fn require(&mut self, holds: bool, key: &str, value: impl Display, allowed: &str) {
        if !holds {
            self.add(key, format!("is {value}; allowed: {allowed}"));
        }
    }

    /// A number that isn't one is in no range.
    fn range<N: PartialOrd + Display>(&mut self, key: &str, value: N, low: N, high: N) {
        let holds = low <= value && value <= high;
        self.require(holds, key, value, &format!("{low} to {high}"));
    }

    fn over_zero(&mut self, key: &str, value: f64, high: f64) {
        self.require(value > 0.0 && value <= high, key, value, &format!("over 0, at most {high}"));
    }

    fn name(&mut self, key: &str, name: &str) {
        let fits = !name.trim().is_empty() && name.len() <= NAME_BYTES_MAX && !name.contains(char::is_control);
        self.require(fits, key, text(name), &format!("1 to {NAME_BYTES_MAX} bytes of text on one line"));
    }

    fn header(&mut self, key: &str, name: &str) {
        let token = is_made_of(name, NAME_BYTES_MAX, |byte| b"!#$%&'*+-.^_`|~".contains(&byte));
        self.require(token, key, text(name), "the name of a header, in lower case, such as `x-user`");
        let secret = SECRET_HEADERS.contains(&name);
        self.require(!secret, key, text(name), "a header that is no secret, as its values are recorded");
    }

    /// A list that is there has entries, and none of them twice.
    fn list<T>(&mut self, key: &str, list: &[T], name: impl Fn(&T) -> String) {
        self.require(!list.is_empty(), key, "an empty list", "at least one entry; leave it out for no restriction");
        self.require(list.len() <= LIST_MAX, key, format!("a list of {}", list.len()), &format!("at most {LIST_MAX} entries"));
        let mut seen = BTreeSet::new();
        for (number, entry) in list.iter().enumerate() {
            if !seen.insert(name(entry)) {
                self.add(&format!("{key}[{number}]"), "repeats an earlier entry; allowed: every one once");
            }
        }
    }
}

/// A text of a file as problems show it: whole, or its beginning.
fn text(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        _ if text.is_empty() => "empty".into(),
        Some((end, _)) => format!("`{}…`", &text[..end]),
        None => format!("`{text}`"),
    }
}

/// 1 to `bytes_max` bytes: `a`–`z`, `0`–`9` and what else is `allowed`.
fn is_made_of(text: &str, bytes_max: usize, allowed: impl Fn(u8) -> bool) -> bool {
    (1..=bytes_max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || allowed(byte))
}
