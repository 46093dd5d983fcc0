//! Where a run stopped, after what, and why.
//!
//! | the run | stopped in |
//! | --- | --- |
//! | has no end, and its process is gone | the deepest stage that began and didn't end |
//! | was cancelled, ran out of its time, or panicked | the stage that was given up then; the run itself between stages |
//! | ended with another error | the stage that failed; the run itself before the first stage and between stages |
//! | answered, with something degraded | the first stage of the path that didn't do its part |

use std::cmp::Reverse;

use serde_json::Value as Json;

use super::remedy::remedy;
use super::report::{Degradation, GateReport, RunOutcome, SkippedStep, Stop};
use super::stages as stage;
use super::trail::Trail;
use crate::telemetry::conventions::attr;

/// Stages that end within this many microseconds were ended together, by what ended
/// the run.
const TOGETHER_US: u64 = 1_000;

/// The cause of a run whose process ended before it did.
pub(super) const CRASH: &str = "crash";
/// The cause when an error gives none.
const UNKNOWN: &str = "unknown";
/// What ends a run in the middle of a stage.
const INTERRUPTIONS: [&str; 3] = ["cancelled", "deadline", PANIC];
const PANIC: &str = "panic";
/// What a stage says that was given up in the middle.
const GIVEN_UP: [&str; 2] = ["cancelled", PANIC];

/// What [`find`] looks at besides the trail.
pub(super) struct Told<'a> {
    pub outcome: RunOutcome,
    pub degradations: &'a [Degradation],
    pub gate: Option<&'a GateReport>,
    pub skipped: &'a [SkippedStep],
    pub torn: bool,
}

/// What became of the run, so far as its end says. A ledger that is `torn` without one
/// was left by a crash, however far the run had come.
pub(super) fn outcome(trail: &Trail, running: bool, torn: bool, degraded: bool) -> RunOutcome {
    let answered = if degraded { RunOutcome::Degraded } else { RunOutcome::Complete };
    let status = status(trail).filter(|_| trail.end.is_some() || !torn);
    match (status, running) {
        (Some("cancelled"), _) => RunOutcome::Cancelled,
        (Some("ok"), _) => answered,
        (Some(_), _) => RunOutcome::Failed,
        (None, true) => RunOutcome::Running,
        (None, false) => RunOutcome::Crashed,
    }
}

/// How the run ended: as its last line says, or else its own span, when that line was
/// lost.
fn status<'a>(trail: &Trail<'a>) -> Option<&'a str> {
    if let Some(end) = trail.end {
        return Some(end["status"].as_str().unwrap_or(UNKNOWN));
    }
    let root = trail.root_span()?;
    root.ended.as_ref()?;
    Some(match root.error_class() {
        None => "ok",
        Some("cancelled") => "cancelled",
        Some(_) => "error",
    })
}

/// Why the run didn't do all of its work; `None` when it did, or still may.
pub(super) fn find(trail: &Trail, told: &Told) -> Option<Stop> {
    match told.outcome {
        RunOutcome::Complete | RunOutcome::Running => None,
        RunOutcome::Degraded => told.degradations.first().map(|first| degraded(trail, told, first)),
        RunOutcome::Crashed => Some(Course { trail, told }.stop(open_stage(trail), CRASH, crash_message(trail, told.torn))),
        RunOutcome::Failed | RunOutcome::Cancelled => {
            let (class, message) = error_of(trail);
            let course = Course { trail, told };
            let at = if INTERRUPTIONS.contains(&class) { course.interrupted(class) } else { course.failed() };
            Some(course.stop(at, class, message.to_owned()))
        }
    }
}

/// The class and message of the run's own error.
pub(super) fn error_of<'a>(trail: &Trail<'a>) -> (&'a str, &'a str) {
    let root = trail.root_span();
    let told = trail.end.map(|end| &end["outcome"]["error"]);
    let class = told.and_then(|error| error["class"].as_str()).or_else(|| root?.error_class());
    let message = told.and_then(|error| error["message"].as_str()).or_else(|| root?.ended.as_ref()?.error);
    (class.unwrap_or(UNKNOWN), message.unwrap_or("the ledger does not say why"))
}

/// The deepest stage that has begun and not ended, the latest of them.
pub(super) fn open_stage(trail: &Trail) -> Option<usize> {
    stages(trail).filter(|place| trail.spans[*place].ended.is_none()).max_by_key(|place| (trail.spans[*place].depth, *place))
}

/// Places of the spans that are stages of the run: announced, or known to be one, and
/// not part of a comparison.
fn stages<'t>(trail: &'t Trail) -> impl Iterator<Item = usize> + 't {
    let known = stage::of_tool(tool(trail));
    trail.spans.iter().enumerate().filter_map(move |(place, span)| {
        let below_run = trail.is_of_run(span) || span.parent.is_some_and(|parent| trail.spans[parent].name == stage::GATHER);
        (Some(place) != trail.root && below_run && (span.announced || known.contains(&span.name))).then_some(place)
    })
}

fn tool<'a>(trail: &Trail<'a>) -> &'a str {
    trail.start.and_then(|start| start["tool"].as_str()).unwrap_or_default()
}

fn degraded(trail: &Trail, told: &Told, first: &Degradation) -> Stop {
    let course = Course { trail, told };
    let place = stages(trail).find(|place| trail.spans[*place].name == first.stage);
    // Everything ran but for what lives on the stage that failed.
    let waits = match first.stage.as_str() {
        stage::EMBED => Some(stage::FAISS),
        stage::HYDRATE => Some(stage::RERANK),
        _ => None,
    };
    let not_reached = waits.filter(|name| course.wanted(name) && !course.has_begun(name)).map(str::to_owned).into_iter().collect();
    Stop {
        stage: first.stage.clone(),
        after: course.after(place, &first.stage),
        not_reached,
        cause: first.cause.clone(),
        message: first.message.clone(),
        remedy: first.remedy.clone(),
    }
}

fn crash_message(trail: &Trail, torn: bool) -> String {
    let process = trail.start.and_then(|start| start["process"]["pid"].as_u64());
    let mut message = match process {
        Some(pid) => format!("the process ({pid}) ended before the run did"),
        None => "the process ended before the run did".to_owned(),
    };
    if torn {
        message += ", in the middle of a line of the ledger";
    }
    message
}

/// The run's way through its stages.
struct Course<'t, 'a> {
    trail: &'t Trail<'a>,
    told: &'t Told<'t>,
}

impl Course<'_, '_> {
    /// `at` is a place in the trail; `None` stands for the run itself.
    fn stop(&self, at: Option<usize>, cause: &str, message: String) -> Stop {
        let name = |place: usize| self.trail.spans[place].name;
        let stage = at.or(self.trail.root).map_or("run", name);
        Stop {
            stage: stage.to_owned(),
            after: self.after(at, stage),
            not_reached: self.not_reached(at.map(name)),
            cause: cause.to_owned(),
            message,
            remedy: remedy(stage, cause),
        }
    }

    /// The stage that was open when the run was ended, and was ended with it.
    fn interrupted(&self, class: &str) -> Option<usize> {
        let spans = &self.trail.spans;
        let given_up = || {
            stages(self.trail)
                .filter(|place| spans[*place].ended.is_none() || spans[*place].error_class().is_some_and(|own| GIVEN_UP.contains(&own)))
        };
        if class == PANIC {
            // Whatever is dropped by a panic says so, first the one that panicked.
            let panicked = given_up().filter(|place| spans[*place].error_class() == Some(PANIC));
            if let Some(first) = panicked.min_by_key(|place| spans[*place].ended.as_ref().map(|end| end.line)) {
                return Some(first);
            }
        }
        let innermost = given_up().max_by_key(|place| (spans[*place].depth, spans[*place].ended_us(), *place));
        innermost.or_else(|| self.ended_with_the_run())
    }

    /// The same by times alone: in older ledgers a stage that was given up ended like one
    /// that was done.
    fn ended_with_the_run(&self) -> Option<usize> {
        let spans = &self.trail.spans;
        let last = stages(self.trail)
            .filter(|place| spans[*place].parent == self.trail.root)
            .max_by_key(|place| (spans[*place].started_us, *place))?;
        // Its last deed is to count what it has: it was done.
        if spans[last].name == stage::ENVELOPE && spans[last].attribute(attr::FINDINGS).is_some() {
            return None;
        }
        let mut within: Vec<usize> = stages(self.trail).filter(|place| spans[*place].parent == Some(last)).collect();
        // Side by side, the one that ended with the run was open; of several, none more than
        // the stage around them.
        within.sort_by_key(|place| Reverse(spans[*place].ended_us()));
        match within[..] {
            [] => Some(last),
            [one, other, ..] if spans[one].ended_us().abs_diff(spans[other].ended_us()) <= TOGETHER_US => Some(last),
            [one, ..] => Some(one),
        }
    }

    /// The stage whose failure ended the run: nothing comes after it.
    fn failed(&self) -> Option<usize> {
        let spans = &self.trail.spans;
        let last = stages(self.trail).max_by_key(|place| (spans[*place].started_us, *place));
        last.filter(|place| spans[*place].failed() || spans[*place].ended.is_none())
    }

    /// The stage that ended last before the one at `at`, whose name is `stage`.
    fn after(&self, at: Option<usize>, stage: &str) -> Option<String> {
        let spans = &self.trail.spans;
        let around = |place: usize| at.is_some_and(|at| place == at || spans[at].parent == Some(place));
        let together = |place: usize| {
            at.is_some_and(|at| {
                spans[at].ended.is_some()
                    && spans[at].parent == spans[place].parent
                    && spans[at].parent != self.trail.root
                    && spans[at].ended_us().abs_diff(spans[place].ended_us()) <= TOGETHER_US
            })
        };
        let limit = if at.is_some() || stage::place(stage) < stage::place("") { stage::place(stage) } else { usize::MAX };
        let before = |place: usize| {
            let own = stage::place(spans[place].name);
            own < limit || (own == limit && at.is_some_and(|at| place < at))
        };
        stages(self.trail)
            .filter(|place| spans[*place].ended.is_some() && before(*place) && !around(*place) && !together(*place))
            .max_by_key(|place| (spans[*place].ended_us(), Reverse(spans[*place].depth), *place))
            .map(|place| spans[place].name.to_owned())
    }

    /// The stages that would have come after the one of that name, or at all.
    fn not_reached(&self, stopped_in: Option<&str>) -> Vec<String> {
        let known = stage::of_tool(tool(self.trail));
        let from = stopped_in.and_then(|name| known.iter().position(|stage| *stage == name)).map_or(0, |at| at + 1);
        let skipped = |name: &str| self.told.skipped.iter().any(|step| step.stage == name);
        known[from..]
            .iter()
            .filter(|name| self.wanted(name) && !skipped(name) && !self.has_begun(name))
            .map(|name| (*name).to_owned())
            .collect()
    }

    fn has_begun(&self, name: &str) -> bool {
        stages(self.trail).any(|place| self.trail.spans[place].name == name)
    }

    /// Whether this run was to have the stage, as far as is known.
    fn wanted(&self, name: &str) -> bool {
        let request = self.trail.start.map_or(&Json::Null, |start| &start["request"]);
        let budgets = self.told.gate.map(|gate| &gate.budgets).filter(|budgets| !budgets.is_empty());
        let has_budget = |channel: &str| budgets.is_none_or(|budgets| budgets.iter().any(|budget| budget.channel == channel));
        match name {
            stage::EMBED | stage::FAISS => has_budget("dense"),
            stage::BM25 => has_budget("bm25"),
            stage::FILES => has_budget("files"),
            stage::RERANK => request["rerank_enabled"] != false,
            stage::EXPLAIN => request["explain"] == true,
            _ => true,
        }
    }
}
