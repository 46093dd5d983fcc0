//! Reads the journal once. In: events in any order, some of them twice. Out: the runs of
//! one experiment with what became of them, each thing once.
//!
//! What is kept of a run is about 0.2 kB, and 16 bytes for each finding until the end of
//! the journal, when feedback has found its findings.

use std::collections::{BTreeMap, HashMap};

use super::moment;
use super::run::{Action, Mark, Part, Run, ShadowRun};
use crate::experiments::definition::{Experiment, Mode, UnitKind};
use crate::experiments::events::{self, Event, INTERLEAVED};

/// The journal, as far as it is about one experiment.
#[derive(Default)]
pub(super) struct Gathered {
    /// Runs of the experiment, and those that may be history; by time, then id.
    pub runs: Vec<Run>,
    /// Names of classes, by their number in [`Run`].
    pub classes: Vec<String>,
    /// Oldest first, each once.
    pub controls: Vec<(i64, events::Control)>,
    /// Runs of other versions.
    pub other_versions: BTreeMap<u32, u64>,
    /// Runs of arms that the file doesn't have.
    pub unknown_arms: BTreeMap<String, u64>,
    pub events: u64,
    pub repeated: u64,
    /// Without a moment or a run.
    pub unreadable: u64,
    /// Feedback without a run.
    pub unknown_runs: u64,
    /// Feedback for what the run didn't show.
    pub not_shown: u64,
    /// Feedback well before its run.
    pub before_run: u64,
    /// The latest moment.
    pub last_at: Option<i64>,
}

/// Keys of the arms that runs can be of.
pub(super) fn arm_keys(experiment: &Experiment) -> Vec<String> {
    match experiment.mode {
        Mode::Interleave => vec![INTERLEAVED.to_owned()],
        _ => experiment.arms.iter().map(|arm| arm.key.clone()).collect(),
    }
}

/// The kind of unit, as searches note it.
pub(super) fn unit_kind(experiment: &Experiment) -> String {
    match experiment.unit.kind {
        UnitKind::Session => "session".into(),
        UnitKind::Query => "query".into(),
        UnitKind::Run => "run".into(),
        UnitKind::Header => format!("header {}", experiment.unit.header.as_deref().unwrap_or_default()),
    }
}

/// Milliseconds that feedback may be before its run without a clock being wrong: both
/// are written by one machine, but not at once.
const SKEW_MS: i64 = 1_000;

/// A run, as long as the journal is being read.
#[derive(Default)]
struct Open {
    search: Option<Box<Seen>>,
    /// By chunk and action.
    marks: BTreeMap<(u64, Action), Noted>,
    /// By arm.
    shadows: BTreeMap<usize, ShadowRun>,
}

struct Seen {
    run: Run,
    shown: Vec<Place>,
}

/// A finding as it was shown.
#[derive(Clone, Copy)]
struct Place {
    chunk: u64,
    rank: u32,
    team: Option<u16>,
}

#[derive(Clone, Copy)]
struct Noted {
    at: i64,
    grade: u8,
}

/// Reads all events.
pub(super) fn gather(experiment: &Experiment, events: impl Iterator<Item = Event>) -> Gathered {
    let mut reader = Reader {
        experiment,
        arms: arm_keys(experiment),
        unit_kind: unit_kind(experiment),
        open: HashMap::new(),
        names: Names::default(),
        classes: Names::default(),
        gathered: Gathered::default(),
    };
    events.for_each(|event| reader.read(event));
    reader.close()
}

/// Numbers for texts, in the order in which they come.
#[derive(Default)]
struct Names(HashMap<String, u32>);

impl Names {
    fn number(&mut self, name: &str) -> u32 {
        // Fewer than 2³² texts fit into memory.
        let next = self.0.len() as u32;
        match self.0.get(name) {
            Some(number) => *number,
            None => *self.0.entry(name.to_owned()).or_insert(next),
        }
    }

    fn into_list(self) -> Vec<String> {
        let mut list: Vec<(u32, String)> = self.0.into_iter().map(|(name, number)| (number, name)).collect();
        list.sort_unstable();
        list.into_iter().map(|(_, name)| name).collect()
    }
}

struct Reader<'a> {
    experiment: &'a Experiment,
    arms: Vec<String>,
    unit_kind: String,
    open: HashMap<String, Open>,
    /// Of units and queries: both are digests.
    names: Names,
    classes: Names,
    gathered: Gathered,
}

impl Reader<'_> {
    fn read(&mut self, event: Event) {
        self.gathered.events += 1;
        let about_run = !matches!(event.action, events::Action::Experiment(_));
        let Some(at) = moment::read(&event.timestamp).filter(|_| !about_run || !event.query_id.is_empty()) else {
            self.gathered.unreadable += 1;
            return;
        };
        match event.action {
            events::Action::Experiment(control) => self.control(at, control),
            events::Action::Search(search) => self.search(event.query_id, at, &search),
            events::Action::Shadow(shadow) => self.shadow(event.query_id, at, shadow),
            events::Action::Used(mark) => self.mark(event.query_id, at, Action::Used, &mark),
            events::Action::Opened(mark) => self.mark(event.query_id, at, Action::Opened, &mark),
            events::Action::Copied(mark) => self.mark(event.query_id, at, Action::Copied, &mark),
            events::Action::Helpful(mark) => self.mark(event.query_id, at, Action::Helpful, &mark),
            events::Action::NotHelpful(mark) => self.mark(event.query_id, at, Action::NotHelpful, &mark),
            events::Action::Graded(mark) => self.mark(event.query_id, at, Action::Graded, &mark),
        }
    }

    fn control(&mut self, at: i64, control: events::Control) {
        if control.experiment == self.experiment.id {
            self.gathered.controls.push((at, control));
        }
    }

    /// Of two searches with one id, the earlier counts.
    fn search(&mut self, id: String, at: i64, search: &events::Search) {
        let known = self.open.get(&id).and_then(|open| open.search.as_ref());
        if let Some(known) = known {
            self.gathered.repeated += 1;
            if known.run.at <= at {
                return;
            }
        }
        let seen = self.seen(&id, at, search);
        self.open.entry(id).or_default().search = Some(Box::new(seen));
    }

    fn seen(&mut self, id: &str, at: i64, search: &events::Search) -> Seen {
        let exposure = search.experiments.iter().find(|exposure| exposure.experiment == self.experiment.id);
        let (mut part, mut other_version, mut unknown_arm) = (None, None, None);
        if let Some(exposure) = exposure {
            if exposure.version != self.experiment.version {
                other_version = Some(exposure.version);
            } else if let Some(arm) = self.arms.iter().position(|key| *key == exposure.variant) {
                part = Some(Part { arm, unit: self.names.number(&exposure.unit) });
            } else {
                unknown_arm = Some(exposure.variant.clone());
            }
        }
        let history = self.experiment.analysis.cuped_days > 0;
        let history_unit = search.units.get(&self.unit_kind).filter(|_| history).map(|unit| self.names.number(unit));
        // Of runs that are neither, only the id is needed: their feedback isn't lost.
        let kept = part.is_some() || history_unit.is_some();
        let place = |shown: &events::Shown| Place {
            chunk: shown.object_id,
            rank: shown.ordinal.max(1),
            team: shown.team.and_then(|team| u16::try_from(team).ok()),
        };
        Seen {
            run: Run {
                id: id.to_owned(),
                at,
                failed: search.status == "error",
                answered: search.status == "ok",
                empty: search.findings.is_empty(),
                trapped: search.trapped,
                fell_back: search.fell_back,
                duration_us: search.duration_us,
                class: self.classes.number(&search.query_class),
                query: search.units.get("query").filter(|_| kept).map(|query| self.names.number(query)),
                part,
                other_version,
                unknown_arm,
                history_unit,
                marks: Vec::new(),
                shadows: BTreeMap::new(),
            },
            shown: if kept { search.findings.iter().map(place).collect() } else { Vec::new() },
        }
    }

    fn mark(&mut self, id: String, at: i64, action: Action, mark: &events::Mark) {
        let marks = &mut self.open.entry(id).or_default().marks;
        // Grades are 0 to 3.
        let noted = Noted { at, grade: mark.grade.unwrap_or(0).min(3) };
        match marks.entry((mark.object.object_id, action)) {
            std::collections::btree_map::Entry::Vacant(free) => drop(free.insert(noted)),
            std::collections::btree_map::Entry::Occupied(mut known) => {
                self.gathered.repeated += 1;
                let old = *known.get();
                // A later grade replaces an earlier one; else the first time counts.
                let replaces = match action {
                    Action::Graded => (noted.at, noted.grade) > (old.at, old.grade),
                    _ => noted.at < old.at,
                };
                if replaces {
                    known.insert(noted);
                }
            }
        }
    }

    fn shadow(&mut self, id: String, at: i64, shadow: events::Shadow) {
        let ours = shadow.experiment == self.experiment.id && shadow.version == self.experiment.version;
        let arm = self.arms.iter().position(|key| *key == shadow.variant).filter(|arm| *arm > 0);
        let (true, Mode::Shadow, Some(arm)) = (ours, self.experiment.mode, arm) else { return };
        let run = ShadowRun {
            at,
            failed: shadow.status == "error",
            answered: shadow.status == "ok",
            duration_us: shadow.duration_us,
            findings: shadow.findings,
            overlap_at_10: shadow.overlap_at_10,
            rank_biased_overlap: shadow.rank_biased_overlap,
            warned: !shadow.warnings.is_empty(),
        };
        let shadows = &mut self.open.entry(id).or_default().shadows;
        let known = shadows.get(&arm).map(|known| known.at);
        self.gathered.repeated += u64::from(known.is_some());
        if known.is_none_or(|known| at < known) {
            shadows.insert(arm, run);
        }
    }

    fn close(self) -> Gathered {
        let Reader { open, classes, mut gathered, .. } = self;
        for (_, Open { search, marks, shadows }) in open {
            let Some(search) = search else {
                gathered.unknown_runs += marks.len() as u64;
                continue;
            };
            let Seen { mut run, shown } = *search;
            if let Some(version) = run.other_version {
                *gathered.other_versions.entry(version).or_default() += 1;
            }
            if let Some(arm) = run.unknown_arm.take() {
                *gathered.unknown_arms.entry(arm).or_default() += 1;
            }
            if run.part.is_none() && run.history_unit.is_none() {
                continue;
            }
            run.shadows = shadows;
            run.marks = Vec::with_capacity(marks.len());
            for ((chunk, action), Noted { at, grade }) in marks {
                let counted = run.part.is_some();
                let Some(place) = shown.iter().find(|place| place.chunk == chunk) else {
                    gathered.not_shown += u64::from(counted);
                    continue;
                };
                gathered.before_run += u64::from(counted && at < run.at - SKEW_MS);
                run.marks.push(Mark { chunk, action, grade, rank: place.rank, team: place.team, at: at.max(run.at) });
            }
            if run.part.is_some() {
                let last = run.marks.iter().map(|mark| mark.at).max().unwrap_or(run.at);
                gathered.last_at = gathered.last_at.max(Some(last));
            }
            gathered.runs.push(run);
        }
        gathered.runs.sort_unstable_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
        gathered.controls.sort_by(|(at, a), (other_at, b)| {
            let key = |control: &events::Control| (control.version, control.verb.clone(), control.actor.clone(), control.detail.clone());
            (at, key(a)).cmp(&(other_at, key(b)))
        });
        let all = gathered.controls.len();
        gathered.controls.dedup();
        gathered.repeated += (all - gathered.controls.len()) as u64;
        gathered.classes = classes.into_list();
        gathered
    }
}
