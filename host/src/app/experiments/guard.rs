//! Guardrails while a server runs: an arm that breaches one is taken back, an experiment
//! whose days are over ends. In: how runs ended. Out: the standing, the journal, the log
//! and the meters.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::Experiments;
use crate::experiments::board::{Board, Live};
use crate::experiments::control::record;
use crate::experiments::events::{Action, Event, Exposure, INTERLEAVED, Search, Shadow};
use crate::experiments::journal::Ticket;
use crate::experiments::monitor::{Breach, Monitor, Observation};
use crate::experiments::standing::{Standing, StandingError};
use crate::experiments::{CheckedExperiment, ExperimentFile, State};
use crate::telemetry::Fact;

/// The latest runs of each arm, by the experiment's id and version.
#[derive(Default)]
pub(super) struct Monitors(Mutex<BTreeMap<(String, u32), Monitor>>);

impl Monitors {
    /// Watches what is carried out, and nothing else.
    pub fn follow(&self, board: &Board) {
        let mut monitors = self.lock();
        let key = |experiment: &CheckedExperiment| (experiment.id.clone(), experiment.version);
        monitors.retain(|known, _| board.live().iter().any(|live| key(&live.experiment) == *known));
        for live in board.live() {
            monitors.entry(key(&live.experiment)).or_insert_with(|| Monitor::new(&live.experiment)).follow(&live.without);
        }
    }

    fn observe(&self, experiment: &CheckedExperiment, arm: usize, run: Observation) -> Option<Breach> {
        // Most have no guardrails, and need no turn.
        if experiment.metrics.guardrails.is_empty() {
            return None;
        }
        let mut monitors = self.lock();
        monitors.get_mut(&(experiment.id.clone(), experiment.version))?.observe(arm, run)
    }

    /// Forgets its runs, and what was told of them.
    fn begin_anew(&self, experiment: &CheckedExperiment) {
        self.lock().insert((experiment.id.clone(), experiment.version), Monitor::new(experiment));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, u32), Monitor>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs of before this server, oldest first, from which the guardrails go on.
#[derive(Default)]
pub(super) struct Past(VecDeque<PastRun>);

struct PastRun {
    experiment: String,
    version: u32,
    variant: String,
    run: Observation,
}

/// Runs that are kept: as many as the longest window has, of several arms.
const PAST_MAX: usize = 50_000;

impl Past {
    /// Takes an event. What came before an arm was taken back, or given again, counts no more.
    pub fn take(&mut self, event: &Event) {
        match &event.action {
            Action::Search(search) => {
                let Some(run) = Observation::of_search(search) else { return };
                for Exposure { experiment, version, variant, .. } in &search.experiments {
                    self.add(PastRun { experiment: experiment.clone(), version: *version, variant: variant.clone(), run });
                }
            }
            Action::Shadow(shadow) => {
                let Some(run) = Observation::of_shadow(shadow) else { return };
                let Shadow { experiment, version, variant, .. } = shadow.clone();
                self.add(PastRun { experiment, version, variant, run });
            }
            Action::Experiment(control) if ["roll_back", "start"].contains(&control.verb.as_str()) => {
                self.0.retain(|past| past.experiment != control.experiment || past.version != control.version);
            }
            _ => {}
        }
    }

    fn add(&mut self, past: PastRun) {
        if self.0.len() == PAST_MAX {
            self.0.pop_front();
        }
        self.0.push_back(past);
    }
}

impl Experiments {
    /// Has the guardrails know what happened before this server.
    pub(super) fn recall(&self, past: Past) {
        let board = self.board.load();
        for PastRun { experiment, version, variant, run } in past.0 {
            let same = |live: &&Live| live.experiment.id == experiment && live.experiment.version == version;
            let Some(live) = board.live().iter().find(same) else { continue };
            let place = live.experiment.arms.iter().position(|arm| arm.key == variant);
            // Runs of both arms are of none.
            if let Some(arm) = place.or((variant == INTERLEAVED).then_some(0)) {
                self.judge(&live.experiment, arm, run);
            }
        }
    }

    /// Takes a search of an arm.
    pub(super) fn saw(&self, experiment: &CheckedExperiment, arm: usize, search: &Search) {
        if let Some(run) = Observation::of_search(search) {
            self.judge(experiment, arm, run);
        }
    }

    /// The same of an arm that nobody saw.
    pub(super) fn saw_shadow(&self, experiment: &CheckedExperiment, arm: usize, shadow: &Shadow) {
        if let Some(run) = Observation::of_shadow(shadow) {
            self.judge(experiment, arm, run);
        }
    }

    fn judge(&self, experiment: &CheckedExperiment, arm: usize, run: Observation) {
        let Some(breach) = self.monitors.observe(experiment, arm, run) else { return };
        if !experiment.stop.roll_back {
            tracing::warn!(experiment = experiment.id, variant = breach.variant, reason = %breach, "an arm breaches a guardrail");
            return;
        }
        let Some(this) = self.this.upgrade() else { return };
        let experiment = experiment.clone();
        // The disk may be slow, and the answer isn't sent yet.
        std::thread::spawn(move || this.roll_back(&experiment, &breach));
    }

    fn roll_back(&self, experiment: &CheckedExperiment, breach: &Breach) {
        let now = SystemTime::now();
        let (id, variant) = (experiment.id.as_str(), breach.variant.as_str());
        match self.standing.roll_back(experiment, variant, &breach.to_string(), now) {
            Ok(true) => {
                self.record(&record::rolled_back(experiment, breach, now));
                tracing::warn!(experiment = id, variant, reason = %breach, "an arm breaches a guardrail and is rolled back");
                self.telemetry.record(&Fact::RolledBack { experiment: id, variant, guardrail: breach.metric.as_str() });
            }
            // Another breach came first.
            Ok(false) => {}
            Err(error) => {
                // A breach is told once; the next one shall be tried again.
                self.monitors.begin_anew(experiment);
                tracing::error!(%error, experiment = id, variant, "an arm that breaches a guardrail can't be rolled back");
            }
        }
        self.refresh();
    }

    /// Notes what begins to be carried out, and what is over; gives the standing after that.
    ///
    /// # Errors
    /// When it can't be read or written.
    pub(super) fn keep_standing(
        &self,
        standing: Standing,
        files: &[ExperimentFile],
        board: &Board,
        now: SystemTime,
    ) -> Result<Standing, StandingError> {
        let mut changed = false;
        for live in board.live() {
            let experiment = &live.experiment;
            changed |= standing.since(experiment).is_none() && self.standing.begin(experiment, now)?;
        }
        let over = files.iter().map(|file| &file.experiment).filter(|own| own.state == State::Running && standing.is_due(own, now));
        for experiment in over {
            tracing::info!(experiment = experiment.id, "the days of an experiment are over; it is no longer carried out");
            self.record(&record::over(experiment, now));
            changed |= self.standing.end(experiment, now)?;
        }
        if changed { self.standing.read() } else { Ok(standing) }
    }

    /// What is done to an experiment is on the disk when this returns.
    fn record(&self, event: &Event) {
        if let Err(error) = self.journal.append_durably(std::slice::from_ref(event)).and_then(Ticket::wait) {
            tracing::error!(%error, "what was done to an experiment is missing in the journal");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments::events::Control;

    fn event(action: Action) -> Event {
        Event { application: "spanloom".into(), query_id: "r".into(), client_id: None, timestamp: String::new(), action }
    }

    fn search(experiment: &str, status: &str) -> Event {
        let exposure = Exposure { experiment: experiment.into(), version: 1, variant: "on".into(), bucket: 0, unit: String::new() };
        event(Action::Search(Search { status: status.into(), experiments: vec![exposure], ..Search::default() }))
    }

    #[test]
    fn of_more_runs_than_are_kept_the_oldest_go() {
        let mut past = Past::default();
        past.take(&search("oldest", "ok"));
        for _ in 0..PAST_MAX {
            past.take(&search("a", "ok"));
        }
        assert_eq!((past.0.len(), past.0.front().map(|run| run.experiment.as_str())), (PAST_MAX, Some("a")));
    }

    #[test]
    fn what_came_before_a_decision_counts_no_more() {
        let mut past = Past::default();
        for (experiment, status) in [("a", "ok"), ("b", "error"), ("a", "cancelled"), ("b", "ok")] {
            past.take(&search(experiment, status));
        }
        let kept = |past: &Past| past.0.iter().map(|past| (past.experiment.clone(), past.run.failed)).collect::<Vec<_>>();
        assert_eq!(kept(&past), [("a".into(), false), ("b".into(), true), ("b".into(), false)]);
        let control = |verb: &str| Control {
            experiment: "b".into(),
            version: 1,
            verb: verb.into(),
            actor: String::new(),
            detail: String::new(),
            variant: None,
            coverage: None,
        };
        past.take(&event(Action::Experiment(control("ramp"))));
        assert_eq!(past.0.len(), 3);
        past.take(&event(Action::Experiment(control("roll_back"))));
        past.take(&search("b", "ok"));
        assert_eq!(kept(&past), [("a".into(), false), ("b".into(), false)]);
    }
}
