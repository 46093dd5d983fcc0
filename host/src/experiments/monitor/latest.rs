//! What is kept of an arm's latest runs: counts at each 20th of them, so that those of any
//! window are a difference, and their times if a guardrail needs them.

use std::collections::VecDeque;

use super::Observation;
use crate::experiments::metric::Guard;

/// Runs between two notes of the counts, and between two looks at them.
pub(super) const BLOCK_RUNS: u64 = 20;
/// Runs that windows reach back.
pub(super) const HELD_RUNS: u64 = 10_000;

/// Runs so far, by what they were. They wrap around; differences within 2³² runs are right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    runs: u32,
    failed: u32,
    empty: u32,
    trapped: u32,
    fell_back: u32,
    /// Over the limit of latencies.
    slow: u32,
}

impl Counts {
    pub fn runs(&self) -> u64 {
        self.runs.into()
    }

    pub fn slow(&self) -> u64 {
        self.slow.into()
    }

    /// Those that a guard is about, and those that it is a share of. Of latencies there are none.
    pub fn of(&self, guard: Guard) -> (u64, u64) {
        let (those, all) = match guard {
            Guard::ErrorRate => (self.failed, self.runs),
            Guard::ZeroResultRate => (self.empty, self.runs.wrapping_sub(self.failed)),
            Guard::TrapRate => (self.trapped, self.runs),
            Guard::FallbackRate => (self.fell_back, self.runs),
            Guard::LatencyP95Ms => (0, 0),
        };
        (those.into(), all.into())
    }

    /// What came since an earlier moment.
    pub fn less(&self, earlier: &Counts) -> Counts {
        Counts {
            runs: self.runs.wrapping_sub(earlier.runs),
            failed: self.failed.wrapping_sub(earlier.failed),
            empty: self.empty.wrapping_sub(earlier.empty),
            trapped: self.trapped.wrapping_sub(earlier.trapped),
            fell_back: self.fell_back.wrapping_sub(earlier.fell_back),
            slow: self.slow.wrapping_sub(earlier.slow),
        }
    }

    fn add(&mut self, run: Observation, slow: bool) {
        for (count, holds) in [
            (&mut self.runs, true),
            (&mut self.failed, run.failed),
            (&mut self.empty, run.empty && !run.failed),
            (&mut self.trapped, run.trapped),
            (&mut self.fell_back, run.fell_back),
            (&mut self.slow, slow),
        ] {
            *count = count.wrapping_add(holds.into());
        }
    }
}

/// The latest runs of an arm, [`HELD_RUNS`] at most.
#[derive(Default)]
pub(super) struct Latest {
    runs: u64,
    counts: Counts,
    /// The arm's counts and the control's of the same moments: before the first run, then
    /// after each [`BLOCK_RUNS`]. Oldest first.
    notes: VecDeque<(Counts, Counts)>,
    /// Microseconds, as a ring: the oldest is at `runs` modulo its length once that is
    /// [`HELD_RUNS`]. Over an hour is an hour and some minutes.
    durations_us: Vec<u32>,
}

impl Latest {
    /// All runs, also those from before the latest.
    pub fn runs(&self) -> u64 {
        self.runs
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    pub fn add(&mut self, run: Observation, slow: bool, control: Counts, keeps_duration: bool) {
        if self.notes.is_empty() {
            self.notes.push_back((self.counts, control));
        }
        if keeps_duration {
            let duration_us = u32::try_from(run.duration_us).unwrap_or(u32::MAX);
            match self.durations_us.get_mut((self.runs % HELD_RUNS) as usize) {
                Some(oldest) => *oldest = duration_us,
                None => self.durations_us.push(duration_us),
            }
        }
        self.runs += 1;
        self.counts.add(run, slow);
        if self.runs.is_multiple_of(BLOCK_RUNS) {
            self.notes.push_back((self.counts, control));
            if self.notes.len() as u64 > HELD_RUNS / BLOCK_RUNS + 1 {
                self.notes.pop_front();
            }
        }
    }

    /// The counts before the latest `runs`, or before all; of whole blocks, after one.
    pub fn since(&self, runs: u64) -> (Counts, Counts) {
        let back = usize::try_from(runs / BLOCK_RUNS).unwrap_or(usize::MAX);
        let at = self.notes.len().saturating_sub(1).saturating_sub(back);
        self.notes.get(at).copied().unwrap_or_default()
    }

    /// The time of the latest `runs` that `above` of them are longer than, or as long as.
    pub fn nth_longest_us(&self, runs: u64, above: u64, chosen_from: &mut Vec<u32>) -> Option<u32> {
        chosen_from.clear();
        let (newer, older) = self.durations_us(runs);
        chosen_from.extend(newer.iter().chain(older));
        let at = chosen_from.len().checked_sub(1)?.checked_sub(usize::try_from(above).ok()?)?;
        Some(*chosen_from.select_nth_unstable(at).1)
    }

    /// How many of the latest `runs` took longer.
    pub fn longer_than(&self, runs: u64, us: f64) -> u64 {
        // Times are whole microseconds.
        let us = us.floor() as u32;
        let (newer, older) = self.durations_us(runs);
        let count = |times: &[u32]| times.iter().filter(|time| **time > us).count() as u64;
        count(newer) + count(older)
    }

    /// The times of the latest `runs`, or of all that are held, in two parts.
    fn durations_us(&self, runs: u64) -> (&[u32], &[u32]) {
        let held = self.durations_us.len();
        let runs = usize::try_from(runs).unwrap_or(held).min(held);
        // Where the next one goes: behind the newest.
        let end = if held as u64 == HELD_RUNS { (self.runs % HELD_RUNS) as usize } else { held };
        let (newer, older) = (&self.durations_us[end - runs.min(end)..end], &self.durations_us[held - (runs - runs.min(end))..]);
        (newer, older)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn windows_are_of_the_latest_runs(all in 0_usize..30_000, runs in 1_u64..=HELD_RUNS, seed in any::<u64>()) {
            let runs = runs.next_multiple_of(BLOCK_RUNS);
            let all = all / BLOCK_RUNS as usize * BLOCK_RUNS as usize;
            let time = |at: usize| (at as u64 + 1).wrapping_mul(seed | 1) % 1_000_003;
            let run = |at: usize| Observation {
                duration_us: time(at), failed: time(at) % 7 == 0, empty: time(at) % 3 == 0, trapped: time(at) % 5 == 0, fell_back: time(at) % 2 == 0,
            };
            let (mut latest, mut control) = (Latest::default(), Counts::default());
            // The control has two runs for each of the arm.
            for at in 0..all {
                latest.add(run(at), time(at) > 500_000, control, true);
                control.add(Observation::default(), false);
                control.add(Observation { failed: true, ..Observation::default() }, false);
            }
            let kept: Vec<usize> = (all.saturating_sub(runs as usize)..all).collect();
            let (own, other) = latest.since(runs);
            let counts = latest.counts().less(&own);
            let count = |holds: &dyn Fn(usize) -> bool| kept.iter().filter(|at| holds(**at)).count() as u64;
            prop_assert_eq!(counts.runs(), kept.len() as u64);
            prop_assert_eq!(counts.slow(), count(&|at| time(at) > 500_000));
            prop_assert_eq!(counts.of(Guard::ErrorRate), (count(&|at| run(at).failed), counts.runs()));
            prop_assert_eq!(counts.of(Guard::ZeroResultRate), (count(&|at| run(at).empty && !run(at).failed), count(&|at| !run(at).failed)));
            prop_assert_eq!(counts.of(Guard::TrapRate).0, count(&|at| run(at).trapped));
            prop_assert_eq!(counts.of(Guard::FallbackRate).0, count(&|at| run(at).fell_back));
            if all > 0 {
                // As many as since the window's first run, but for those that came with the last one.
                let since = control.less(&other).of(Guard::ErrorRate);
                prop_assert!((kept.len() as u64..=kept.len() as u64 + 1).contains(&since.0) && since.1 == 2 * since.0, "{since:?}");
            }
            let mut times: Vec<u64> = kept.iter().map(|at| time(*at)).collect();
            times.sort_unstable_by(|a, b| b.cmp(a));
            let above = times.len() / 20;
            let chosen = latest.nth_longest_us(runs, above as u64, &mut Vec::new());
            prop_assert_eq!(chosen.map(u64::from), times.get(above).copied());
            prop_assert_eq!(latest.longer_than(runs, 500_000.5), count(&|at| time(at) > 500_000));
        }
    }

    #[test]
    fn counts_wrap_around() {
        let nearly = Counts { runs: u32::MAX, failed: u32::MAX - 1, ..Counts::default() };
        let mut after = nearly;
        (0..3).for_each(|_| after.add(Observation { failed: true, ..Observation::default() }, true));
        assert_eq!(after.less(&nearly), Counts { runs: 3, failed: 3, slow: 3, ..Counts::default() });
    }
}
