//! A search under way: the arms it gets, and what is written down of how it ended.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::arms::{self, stamp};
use super::shadows::{Job, Shadowed};
use super::{APPLICATION, Experiments};
use crate::envelope::AnswerEnvelope;
use crate::experiments::board::{Board, Live, Part};
use crate::experiments::events::{Action, Event, Exposure, Search, Shown};
use crate::experiments::feedback::{FindingShown, RunShown};
use crate::experiments::journal;
use crate::experiments::{Mode, UnitKind};
use crate::pipeline::{Arm, Interleave, SearchHost};
use crate::request::{RequestError, SearchRequest};
use crate::telemetry::Run;

/// A search under way. Dropped, it is written down as cancelled.
pub struct Taken<'a> {
    pub(super) experiments: &'a Experiments,
    pub(super) run: &'a Run,
    pub(super) request: &'a SearchRequest,
    pub(super) began: Instant,
    /// `None` once it is written.
    pub(super) search: Option<Search>,
    pub(super) board: Arc<Board>,
    pub(super) parts: Vec<Part>,
}

impl Taken<'_> {
    /// The same search with the arms that it is part of.
    pub fn join(&self, host: SearchHost) -> SearchHost {
        let arms: Vec<Arm> = self.of(|mode| mode != Mode::Interleave).filter_map(|(live, part)| arms::arm(live, part)).collect();
        let interleave: Option<Interleave> =
            self.of(|mode| mode == Mode::Interleave).map(|(live, part)| arms::interleave(live, part)).next();
        let by_run = self.of(|_| true).any(|(live, _)| live.experiment.unit.kind == UnitKind::Run);
        SearchHost { arms, interleave, page_run: by_run.then(|| self.run.id.clone()), ..host }
    }

    fn of(&self, wanted: impl Fn(Mode) -> bool) -> impl Iterator<Item = (&Live, &Part)> {
        let parts = self.parts.iter().filter_map(|part| Some((self.board.live().get(part.live)?, part)));
        parts.filter(move |(live, _)| wanted(live.experiment.mode))
    }

    /// Writes down how the search ended; what an answer shows can be reported on from now on.
    /// Arms that nobody sees are asked once the answer is sent. `host` is what the search
    /// was answered with, if it got so far.
    pub fn finish(mut self, outcome: &Result<AnswerEnvelope, RequestError>, host: Option<SearchHost>) {
        let Some(mut search) = self.search.take() else { return };
        match outcome {
            Ok(answer) => {
                search.status = "ok".into();
                search.query_class.clone_from(&answer.query_class);
                search.findings = answer
                    .findings
                    .iter()
                    .map(|finding| Shown { object_id: finding.chunk_id.0, ordinal: finding.rank, team: finding.team })
                    .collect();
                let of_plugins = || answer.degraded.iter().filter(|part| ["gate", "fusion", "rerank"].contains(&part.part.as_str()));
                search.trapped = of_plugins().any(|part| part.cause.starts_with("trap"));
                search.fell_back = of_plugins().next().is_some();
                let is_in = |part: &Part| answer.experiments.contains(&stamp(&part.exposure));
                search.experiments = self.parts.iter().filter(|part| is_in(part)).map(|part| part.exposure.clone()).collect();
                self.experiments.recent.remember(&shown(self.run, answer));
                if let Some(host) = host {
                    self.leave_shadows(&search.experiments, answer, host);
                }
            }
            Err(_) => {
                search.status = "error".into();
                search.experiments = self.certain();
            }
        }
        self.write(search);
    }

    /// Has the other arms asked when the answer is sent. Further pages have been compared
    /// with their first one.
    fn leave_shadows(&self, joined: &[Exposure], answer: &AnswerEnvelope, host: SearchHost) {
        if self.request.cursor.is_some() {
            return;
        }
        let shadowed = self.of(|mode| mode == Mode::Shadow).filter(|(_, part)| joined.contains(&part.exposure));
        let answered: Vec<u64> = answer.findings.iter().map(|finding| finding.chunk_id.0).collect();
        let of = Shadowed { run: self.run, request: self.request, host: &host, board: &self.board, answered };
        let jobs: Vec<Job> = shadowed.flat_map(|(_, part)| Job::of(part, &of)).collect();
        self.experiments.shadows.leave(&self.run.id, jobs);
    }

    /// Exposures that don't wait for the gate's word.
    fn certain(&self) -> Vec<Exposure> {
        let of_all = self.of(|_| true).filter(|(live, _)| live.experiment.eligibility.query_classes.is_none());
        of_all.map(|(_, part)| part.exposure.clone()).collect()
    }

    fn write(&self, mut search: Search) {
        search.duration_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        for (live, part) in self.of(|_| true).filter(|(_, part)| search.experiments.contains(&part.exposure)) {
            self.experiments.saw(&live.experiment, part.arm, &search);
        }
        self.experiments.write(&Event {
            application: APPLICATION.into(),
            query_id: self.run.id.clone(),
            client_id: self.run.session_id().map(str::to_owned),
            timestamp: journal::timestamp(SystemTime::now()),
            action: Action::Search(search),
        });
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(search) = self.search.take() {
            let experiments = self.certain();
            self.write(Search { status: "cancelled".into(), experiments, ..search });
        }
    }
}

fn shown(run: &Run, answer: &AnswerEnvelope) -> RunShown {
    let findings = answer.findings.iter().map(|finding| FindingShown {
        chunk: finding.chunk_id,
        rank: finding.rank,
        path: finding.path.clone(),
        start_line: finding.start_line,
        end_line: finding.end_line,
    });
    RunShown {
        run_id: run.id.clone(),
        session: run.session_id().map(str::to_owned),
        ended: SystemTime::now(),
        findings: findings.collect(),
    }
}
