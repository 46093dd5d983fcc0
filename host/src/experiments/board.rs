//! The experiments that are carried out at a moment, and which of their arms a run gets. In:
//! files, and who asks. Out: a run's parts in experiments.
//!
//! Experiments that are asked for the same thing would each be measured with the other's
//! changes in it. So two that change the same share a layer, or the later one is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};
use xxhash_rust::xxh3::Xxh3;

use super::assign::{Plan, PlanError};
use super::check::CheckedExperiment;
use super::definition::{Mode, State, Tool, UnitKind};
use super::events::{Exposure, INTERLEAVED};
use super::read::ExperimentFile;
use super::standing::{Carried, Standing};
use crate::types::ChannelName;

/// Bytes of a digest that names a unit.
const UNIT_BYTES: usize = 8;

/// Experiments of one moment.
#[derive(Default)]
pub struct Board {
    live: Vec<Live>,
    left_out: Vec<String>,
}

/// An experiment that is carried out.
pub struct Live {
    pub experiment: CheckedExperiment,
    /// Where its file is: paths in it start there.
    pub folder: PathBuf,
    /// Arms that were rolled back, by their places: their units take no part.
    pub without: Vec<usize>,
    plan: Plan,
}

/// Who asks, and what.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    pub tool: &'a str,
    pub session: Option<&'a str>,
    /// Headers of the call, by their names in lower case.
    pub headers: &'a BTreeMap<String, String>,
    pub query: &'a str,
    pub run_id: &'a str,
    /// Those that the call filters by.
    pub languages: &'a [String],
}

/// A run's part in an experiment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which of [`Board::live`].
    pub live: usize,
    /// The arm that answers, by its place in the file; in interleaving the first of two.
    pub arm: usize,
    pub exposure: Exposure,
    /// Of the unit, for what is drawn anew for each of its queries.
    pub seed: u64,
}

impl Board {
    /// Takes the experiments that run and are not offline, as far as nothing was decided
    /// against them by `now`.
    ///
    /// # Errors
    /// [`PlanError`] where an arm has no bucket.
    pub fn new(files: impl IntoIterator<Item = ExperimentFile>, standing: &Standing, now: SystemTime) -> Result<Board, PlanError> {
        let mut board = Board::default();
        for ExperimentFile { experiment, path } in files {
            if experiment.state != State::Running || experiment.mode == Mode::Offline {
                continue;
            }
            let without = match standing.of(&experiment, now) {
                Carried::Out { without } => without,
                Carried::Not { why } => {
                    board.left_out.push(format!("{}: {why}", experiment.id));
                    continue;
                }
            };
            match board.live.iter().find(|other| interfere(&other.experiment, &experiment)) {
                Some(other) => board.left_out.push(format!(
                    "{}: it changes what {} changes, too; put both into one layer, with buckets of their own",
                    experiment.id, other.experiment.id
                )),
                None => {
                    let plan = experiment.plan()?;
                    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
                    board.live.push(Live { experiment, folder, without, plan });
                }
            }
        }
        Ok(board)
    }

    pub fn live(&self) -> &[Live] {
        &self.live
    }

    /// Experiments that are said to run and are not carried out, and why.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// A run's parts, in the order of the files.
    pub fn parts(&self, asker: Asker<'_>) -> Vec<Part> {
        self.live.iter().enumerate().filter_map(|(number, live)| live.part(number, asker)).collect()
    }
}

impl Live {
    fn part(&self, number: usize, asker: Asker<'_>) -> Option<Part> {
        let experiment = &self.experiment;
        if !self.admits(asker) {
            return None;
        }
        let value = unit_value(experiment.unit.kind, experiment.unit.header.as_deref(), asker)?;
        let assignment = self.plan.assign(value);
        let drawn = assignment.arm()?;
        // Without arms of their own, units are only in or out.
        let arm = if experiment.mode == Mode::Ab { drawn } else { 0 };
        if self.without.contains(&arm) {
            return None;
        }
        let variant = match experiment.mode {
            Mode::Interleave => INTERLEAVED,
            _ => &experiment.arms.get(arm)?.key,
        };
        let exposure = Exposure {
            experiment: experiment.id.clone(),
            version: experiment.version,
            variant: variant.to_owned(),
            bucket: assignment.buckets.arm?.0,
            unit: unit_digest(&unit_name(experiment.unit.kind, experiment.unit.header.as_deref()), value),
        };
        Some(Part { live: number, arm, seed: seed(experiment.salt(), &exposure.unit), exposure })
    }

    /// Whether the run is one of those that the file wants, but for the query's class.
    fn admits(&self, asker: Asker<'_>) -> bool {
        let eligibility = &self.experiment.eligibility;
        let tool = |tool: &Tool| match tool {
            Tool::SemanticSearch => asker.tool == "semantic_search",
            Tool::SemanticSearchPro => asker.tool == "semantic_search_pro",
        };
        eligibility.tools.as_ref().is_none_or(|tools| tools.iter().any(tool))
            && eligibility.languages.as_ref().is_none_or(|languages| languages.iter().any(|language| asker.languages.contains(language)))
            && eligibility
                .header
                .as_ref()
                .is_none_or(|header| asker.headers.get(&header.name).is_some_and(|value| header.values.contains(value)))
    }
}

/// What may be a unit, by the names of events: `session`, `query`, `run`, `header x-team`.
pub fn unit_name(kind: UnitKind, header: Option<&str>) -> String {
    match kind {
        UnitKind::Session => "session".into(),
        UnitKind::Query => "query".into(),
        UnitKind::Run => "run".into(),
        UnitKind::Header => format!("header {}", header.unwrap_or_default()),
    }
}

fn unit_value<'a>(kind: UnitKind, header: Option<&str>, asker: Asker<'a>) -> Option<&'a str> {
    match kind {
        UnitKind::Session => asker.session,
        UnitKind::Query => Some(asker.query),
        UnitKind::Run => Some(asker.run_id),
        UnitKind::Header => asker.headers.get(header?).map(String::as_str),
    }
}

/// The first half of a quarter of SHA-256 over name and value, each after its length: 16
/// hexadecimal digits. A journal tells units apart by it, and doesn't tell who they are.
pub fn unit_digest(name: &str, value: &str) -> String {
    let mut hash = Sha256::new();
    for field in [name, value] {
        hash.update((field.len() as u64).to_le_bytes());
        hash.update(field.as_bytes());
    }
    hash.finalize().iter().take(UNIT_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

/// Of a unit in an experiment: the same on every machine.
fn seed(salt: &str, unit: &str) -> u64 {
    let mut hash = Xxh3::new();
    for field in ["spanloom.draft.v1", salt, unit] {
        hash.update(&(field.len() as u64).to_le_bytes());
        hash.update(field.as_bytes());
    }
    hash.digest()
}

/// Whether one run could be part of both, and both change the same.
fn interfere(one: &CheckedExperiment, other: &CheckedExperiment) -> bool {
    let apart = one.layer.as_ref().zip(other.layer.as_ref()).is_some_and(|(one, other)| one.name == other.name);
    !apart && !changed(one).is_disjoint(&changed(other))
}

/// What the arms of an experiment change about answers. Those that are asked in the shadow
/// change nothing.
fn changed(experiment: &CheckedExperiment) -> BTreeSet<String> {
    let mut changed = BTreeSet::new();
    if experiment.mode == Mode::Interleave {
        changed.insert("who fills the ranks".to_owned());
    }
    let answering = if experiment.mode == Mode::Shadow { 1 } else { experiment.arms.len() };
    for arm in experiment.arms.iter().take(answering) {
        changed.extend(arm.plugins.set().map(|(stage, _)| stage.as_str().to_owned()));
        let channels =
            |channels: &mut dyn Iterator<Item = &ChannelName>| channels.map(|channel| format!("budget of {channel}")).collect::<Vec<_>>();
        changed.extend(channels(&mut arm.budgets.depths.keys().chain(arm.budgets.weights.keys())));
        let others = [
            ("channels", arm.channels.is_some()),
            ("rm3", arm.rm3.is_some()),
            ("rerank", arm.rerank.is_some() || arm.budgets.rerank_depth.is_some()),
            ("rrf_k", arm.budgets.rrf_k.is_some()),
            ("deadline", arm.budgets.deadline_ms.is_some()),
        ];
        changed.extend(others.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name.to_owned()));
    }
    changed
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::experiments::read_text;

    fn file(id: &str, more: &str) -> ExperimentFile {
        let text = format!(
            "id = \"{id}\"\nversion = 3\nstate = \"running\"\nmode = \"ab\"\nowner = \"o\"\nhypothesis = \"h\"\n{more}\n\
             [metrics]\nprimary = \"success\"\n"
        );
        ExperimentFile { path: format!("{id}.toml").into(), experiment: read_text(Path::new("x.toml"), &text).unwrap() }
    }

    fn board<const N: usize>(files: [ExperimentFile; N]) -> Result<Board, PlanError> {
        Board::new(files, &Standing::default(), SystemTime::now())
    }

    const RM3: &str = "[[arms]]\nkey = \"off\"\nrm3 = false\n[[arms]]\nkey = \"on\"\nrm3 = true\n";

    fn asker<'a>(session: Option<&'a str>, headers: &'a BTreeMap<String, String>) -> Asker<'a> {
        Asker { tool: "semantic_search", session, headers, query: "q", run_id: "r", languages: &[] }
    }

    fn headers(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn units_get_their_arm_and_those_without_one_take_no_part() {
        let board = self::board([file("rm3", RM3)]).unwrap();
        let none = headers(&[]);
        assert!(board.parts(asker(None, &none)).is_empty());
        let of = |session: &str| board.parts(asker(Some(session), &none))[0].exposure.clone();
        let sessions: Vec<String> = (0..1_000).map(|number| format!("s{number}")).collect();
        let on = sessions.iter().filter(|session| of(session).variant == "on").count();
        assert!((430..570).contains(&on), "{on}");
        assert_eq!(of("s1"), of("s1"));
        // printf of both lengths and fields, sha256sum.
        assert_eq!(of("s1").unit, unit_digest("session", "s1"));
        assert_eq!(of("s1").unit.len(), 16);
        assert_ne!(unit_digest("ab", "c"), unit_digest("a", "bc"));
    }

    #[test]
    fn an_arm_is_assigned_where_arms_answer_by_themselves() {
        let of = |mode: &str, session: &str| {
            let mut file = file("rm3", RM3);
            let text = format!(
                "id = \"rm3\"\nversion = 1\nstate = \"running\"\nmode = \"{mode}\"\nowner = \"o\"\nhypothesis = \"h\"\n{RM3}\n\
                 [metrics]\nprimary = \"{}\"\n",
                if mode == "shadow" { "reciprocal_rank" } else { "used_findings" }
            );
            file.experiment = read_text(Path::new("x.toml"), &text).unwrap();
            let board = self::board([file]).unwrap();
            board.parts(asker(Some(session), &headers(&[]))).remove(0)
        };
        for session in ["s1", "s2", "s3", "s4", "s5"] {
            let (shadow, teams) = (of("shadow", session), of("interleave", session));
            assert_eq!((shadow.arm, shadow.exposure.variant.as_str()), (0, "off"));
            assert_eq!((teams.arm, teams.exposure.variant.as_str()), (0, "interleave"));
            assert_eq!((teams.seed, shadow.exposure.bucket), (of("interleave", session).seed, teams.exposure.bucket));
        }
        assert_ne!(of("interleave", "s1").seed, of("interleave", "s2").seed);
    }

    #[test]
    fn only_those_that_are_wanted_take_part() {
        let eligible = "[unit]\nkind = \"header\"\nheader = \"x-team\"\n[eligibility]\ntools = [\"semantic_search\"]\n\
             languages = [\"rust\"]\nheader = { name = \"x-stage\", values = [\"a\", \"b\"] }\n";
        let board = self::board([file("rm3", &format!("{eligible}{RM3}"))]).unwrap();
        let (all, none) = (headers(&[("x-team", "blue"), ("x-stage", "b")]), headers(&[]));
        let other_stage = headers(&[("x-team", "blue"), ("x-stage", "c")]);
        let rust = ["rust".to_owned()];
        let wanted = Asker { languages: &rust, ..asker(None, &all) };
        assert_eq!(board.parts(wanted)[0].exposure.unit, unit_digest("header x-team", "blue"));
        for not in [
            Asker { languages: &[], ..wanted },
            Asker { tool: "semantic_search_pro", ..wanted },
            Asker { headers: &other_stage, ..wanted },
            Asker { headers: &none, ..wanted },
        ] {
            assert!(board.parts(not).is_empty());
        }
    }

    #[test]
    fn what_changes_the_same_has_to_share_a_layer() {
        let layer = |start: u32| format!("[layer]\nname = \"l\"\nsalt = \"l\"\nbuckets = [{start}, {}]\n{RM3}", start + 5_000);
        let depth = "[[arms]]\nkey = \"20\"\nbudgets.rerank_depth = 20\n[[arms]]\nkey = \"50\"\nbudgets.rerank_depth = 50\n";
        let ids = |board: &Board| board.live().iter().map(|live| live.experiment.id.clone()).collect::<Vec<_>>();
        let board = self::board([file("a", RM3), file("b", RM3), file("c", depth)]).unwrap();
        assert_eq!(ids(&board), ["a", "c"]);
        assert!(board.left_out()[0].starts_with("b: it changes what a changes"), "{:?}", board.left_out());
        let board = self::board([file("a", &layer(0)), file("b", &layer(5_000))]).unwrap();
        assert_eq!(ids(&board), ["a", "b"]);
        let none = headers(&[]);
        for number in 0..500 {
            let session = format!("s{number}");
            assert_eq!(board.parts(asker(Some(&session), &none)).len(), 1);
        }
    }
}
