//! A run of the experiment and what became of it: the metrics of one run, as
//! `metric.rs` defines them.

use std::collections::BTreeMap;

use crate::experiments::metric::{Guard, Metric, Outcome};

/// The place of the arm that answers in mode shadow.
pub(super) const ANSWERING: usize = 0;

/// A run, each of its marks once.
pub(super) struct Run {
    pub id: String,
    pub at: i64,
    pub failed: bool,
    pub answered: bool,
    /// No findings.
    pub empty: bool,
    pub trapped: bool,
    pub fell_back: bool,
    pub duration_us: u64,
    pub class: u32,
    pub query: Option<u32>,
    /// None of a run that is history only.
    pub part: Option<Part>,
    pub other_version: Option<u32>,
    pub unknown_arm: Option<String>,
    /// The unit that it may be the history of.
    pub history_unit: Option<u32>,
    /// Of findings that were shown, by chunk and action.
    pub marks: Vec<Mark>,
    /// By arm.
    pub shadows: BTreeMap<usize, ShadowRun>,
}

/// Its part in the experiment.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub arm: usize,
    pub unit: u32,
}

/// What was done with a finding.
pub(super) struct Mark {
    pub chunk: u64,
    pub action: Action,
    pub grade: u8,
    /// As it was shown, from 1.
    pub rank: u32,
    pub team: Option<u16>,
    /// Not before the run.
    pub at: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Action {
    Used,
    Opened,
    Copied,
    Helpful,
    NotHelpful,
    Graded,
}

/// How another arm would have answered.
pub(super) struct ShadowRun {
    pub at: i64,
    pub failed: bool,
    pub answered: bool,
    pub duration_us: u64,
    pub findings: Vec<u64>,
    pub overlap_at_10: f64,
    pub rank_biased_overlap: f64,
    pub warned: bool,
}

impl Action {
    /// Whether a finding with it counts as used.
    pub fn is_use(self) -> bool {
        matches!(self, Action::Used | Action::Opened | Action::Copied | Action::Helpful)
    }
}

impl Run {
    /// A figure of the run by what was known at `until`, of the arm that answered or, in
    /// mode shadow, of another one. None where the run doesn't count for the metric.
    pub fn figure(&self, metric: Metric, arm: usize, until: i64) -> Option<f64> {
        let shadow = match arm {
            ANSWERING => None,
            arm => self.shadows.get(&arm),
        };
        match metric {
            Metric::Outcome(outcome) => match shadow {
                None => self.outcome(outcome, until, |mark| Some(mark.rank)),
                Some(shadow) => self.outcome(outcome, until, |mark| {
                    let at = shadow.findings.iter().position(|chunk| *chunk == mark.chunk)?;
                    u32::try_from(at + 1).ok()
                }),
            },
            Metric::Guard(guard) => {
                let counted = shadow.map_or_else(|| self.counted(guard), |shadow| shadow.counted(guard))?;
                Some(f64::from(u8::from(counted)))
            }
            Metric::Measure(_) => None,
        }
    }

    fn outcome(&self, outcome: Outcome, until: i64, rank: impl Fn(&Mark) -> Option<u32>) -> Option<f64> {
        let known = || self.marks.iter().filter(|mark| mark.at <= until);
        let used = || known().filter(|mark| mark.action.is_use());
        let yes = |holds: bool| Some(f64::from(u8::from(holds)));
        match outcome {
            Outcome::Success => yes(used().next().is_some()),
            Outcome::ReciprocalRank => Some(used().filter_map(&rank).min().map_or(0.0, |rank| 1.0 / f64::from(rank))),
            Outcome::UsedFindings => Some(different(used()) as f64),
            Outcome::Abandonment => yes(known().next().is_none()),
            Outcome::HelpfulShare => {
                let helpful = known().filter(|mark| mark.action == Action::Helpful).count();
                let judged = different(known().filter(|mark| matches!(mark.action, Action::Helpful | Action::NotHelpful)));
                (judged > 0).then(|| helpful as f64 / judged as f64)
            }
            Outcome::Ndcg => ndcg(known().filter(|mark| mark.action == Action::Graded), rank),
        }
    }

    /// Whether the run counts as one of those that a guard is about; none if it isn't
    /// even among those it is a share of, or the guard is no share.
    pub fn counted(&self, guard: Guard) -> Option<bool> {
        match guard {
            Guard::LatencyP95Ms => None,
            Guard::ErrorRate => Some(self.failed),
            Guard::ZeroResultRate => self.answered.then_some(self.empty),
            Guard::TrapRate => Some(self.trapped),
            Guard::FallbackRate => Some(self.fell_back),
        }
    }

    /// Whether there is any feedback.
    pub fn has_feedback(&self) -> bool {
        !self.marks.is_empty()
    }

    /// Findings that were used, or called helpful, by the team that picked them.
    pub fn credits(&self, team: u16, until: i64, counts: impl Fn(Action) -> bool) -> u64 {
        different(self.marks.iter().filter(|mark| mark.team == Some(team) && mark.at <= until && counts(mark.action))) as u64
    }
}

impl ShadowRun {
    /// As [`Run::counted`]. Traps and built-ins are not noted of arms that nobody sees.
    pub fn counted(&self, guard: Guard) -> Option<bool> {
        match guard {
            Guard::ErrorRate => Some(self.failed),
            Guard::ZeroResultRate => self.answered.then_some(self.findings.is_empty()),
            Guard::LatencyP95Ms | Guard::TrapRate | Guard::FallbackRate => None,
        }
    }
}

/// Different chunks; marks stand by chunk.
fn different<'a>(marks: impl Iterator<Item = &'a Mark>) -> usize {
    let mut last = None;
    marks.filter(|mark| last.replace(mark.chunk) != Some(mark.chunk)).count()
}

/// Σ grade / log2(1 + rank), over the same sum of the best order of the grades given.
fn ndcg<'a>(marks: impl Iterator<Item = &'a Mark>, rank: impl Fn(&Mark) -> Option<u32>) -> Option<f64> {
    let discount = |rank: u32| (1.0 + f64::from(rank)).log2();
    let mut grades = Vec::new();
    let mut sum = 0.0;
    for mark in marks.filter(|mark| mark.grade > 0) {
        grades.push(mark.grade);
        sum += rank(mark).map_or(0.0, |rank| f64::from(mark.grade) / discount(rank));
    }
    grades.sort_unstable_by(|a, b| b.cmp(a));
    let best: f64 = grades.iter().zip(1_u32..).map(|(grade, rank)| f64::from(*grade) / discount(rank)).sum();
    (best > 0.0).then(|| sum / best)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(marks: &[(u64, Action, u8, u32)]) -> Run {
        let mark = |&(chunk, action, grade, rank): &(u64, Action, u8, u32)| Mark { chunk, action, grade, rank, team: None, at: 5 };
        Run {
            id: "r".into(),
            at: 1,
            failed: false,
            answered: true,
            empty: false,
            trapped: false,
            fell_back: false,
            duration_us: 1_000,
            class: 0,
            query: None,
            part: None,
            other_version: None,
            unknown_arm: None,
            history_unit: None,
            marks: marks.iter().map(mark).collect(),
            shadows: BTreeMap::from([(
                1,
                ShadowRun {
                    at: 2,
                    failed: false,
                    answered: true,
                    duration_us: 7,
                    findings: vec![9, 12, 11],
                    overlap_at_10: 0.2,
                    rank_biased_overlap: 0.3,
                    warned: false,
                },
            )]),
        }
    }

    #[test]
    fn runs_have_the_figures_of_their_marks() {
        use Action::*;
        let nothing = run(&[]);
        let used = run(&[(11, Used, 0, 2), (11, Opened, 0, 2), (12, Copied, 0, 4), (13, NotHelpful, 0, 1)]);
        let judged = run(&[(11, Helpful, 0, 3), (12, NotHelpful, 0, 1), (12, Graded, 1, 1), (13, Graded, 3, 2), (14, Graded, 0, 7)]);
        let ideal = 3.0 + 1.0 / 3.0_f64.log2();
        let ndcg = (1.0 + 3.0 / 3.0_f64.log2()) / ideal;
        for (outcome, expect) in [
            (Outcome::Success, [Some(0.0), Some(1.0), Some(1.0)]),
            (Outcome::ReciprocalRank, [Some(0.0), Some(0.5), Some(1.0 / 3.0)]),
            (Outcome::UsedFindings, [Some(0.0), Some(2.0), Some(1.0)]),
            (Outcome::Abandonment, [Some(1.0), Some(0.0), Some(0.0)]),
            (Outcome::HelpfulShare, [None, Some(0.0), Some(0.5)]),
            (Outcome::Ndcg, [None, None, Some(ndcg)]),
        ] {
            for (run, expect) in [&nothing, &used, &judged].into_iter().zip(expect) {
                assert_eq!(run.figure(Metric::Outcome(outcome), ANSWERING, 9), expect, "{outcome:?}");
            }
            let early = used.figure(Metric::Outcome(outcome), ANSWERING, 4);
            assert_eq!(early, nothing.figure(Metric::Outcome(outcome), ANSWERING, 9), "{outcome:?} before the feedback");
        }
        // The other arm had 12 second and 11 third, and 13 and 14 not at all.
        assert_eq!(used.figure(Metric::Outcome(Outcome::ReciprocalRank), 1, 9), Some(0.5));
        assert_eq!(judged.figure(Metric::Outcome(Outcome::ReciprocalRank), 1, 9), Some(1.0 / 3.0));
        assert_eq!(judged.figure(Metric::Outcome(Outcome::Ndcg), 1, 9), Some(1.0 / 3.0_f64.log2() / ideal));
        assert_eq!(judged.figure(Metric::Guard(Guard::TrapRate), 1, 9), None);
        assert_eq!(judged.figure(Metric::Guard(Guard::ZeroResultRate), 1, 9), Some(0.0));
    }
}
