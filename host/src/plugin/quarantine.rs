//! Takes a plugin out that fails again and again, for a growing time; its stage's
//! fallback serves meanwhile.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// When a plugin is taken out, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuarantineSettings {
    /// Failures in a row after which it is taken out, 0 to 1,000; 0 never does. An
    /// answer of `unsupported` is none.
    pub failures_max: u32,
    /// How long the first time, in milliseconds, 1 to 3,600,000. Each further time in a
    /// row is twice as long.
    pub first_ms: u64,
    /// The longest time in milliseconds, 1 to 86,400,000.
    pub longest_ms: u64,
}

impl Default for QuarantineSettings {
    fn default() -> QuarantineSettings {
        QuarantineSettings { failures_max: 5, first_ms: 1_000, longest_ms: 300_000 }
    }
}

impl QuarantineSettings {
    /// # Errors
    /// A sentence that names the setting, its value and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        let ranges = [
            ("failures_max", u64::from(self.failures_max), 0, 1_000),
            ("first_ms", self.first_ms, 1, 3_600_000),
            ("longest_ms", self.longest_ms, self.first_ms, 86_400_000),
        ];
        match ranges.iter().find(|(_, value, low, high)| !(low..=high).contains(&value)) {
            None => Ok(()),
            Some((name, value, low, high)) => Err(format!("`{name}` is {value}; allowed: {low} to {high}")),
        }
    }
}

/// The record of one configured plugin.
pub struct Quarantine {
    settings: QuarantineSettings,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    failures: u32,
    /// How often in a row it was taken out.
    times: u32,
    /// When it was taken out last.
    since: Option<Instant>,
    until: Option<Instant>,
}

/// What a failure led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Stays,
    /// Taken out now, after so many failures in a row, for so long.
    TakenOut {
        failures: u32,
        time: Duration,
    },
}

impl Quarantine {
    pub fn new(settings: QuarantineSettings) -> Quarantine {
        Quarantine { settings, state: Mutex::default() }
    }

    /// Whether a call may go ahead. When its time is over one call is let through to
    /// try; others wait for another such time or until that one went well.
    ///
    /// # Errors
    /// How much longer it is out.
    pub fn admit(&self, now: Instant) -> Result<(), Duration> {
        let mut state = self.state();
        match state.until {
            Some(until) if now < until => Err(until - now),
            Some(_) => {
                state.until = Some(now + self.time(state.times.saturating_sub(1)));
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Writes down that a call went well.
    pub fn succeeded(&self) {
        let mut state = self.state();
        if state.failures > 0 {
            *state = State::default();
        }
    }

    /// Writes down that a call failed which began at `began`. One that was under way
    /// already when the plugin was taken out adds nothing: many at once are one reason.
    pub fn failed(&self, began: Instant, now: Instant) -> Verdict {
        let mut state = self.state();
        if state.since.is_some_and(|since| began < since) {
            return Verdict::Stays;
        }
        state.failures = state.failures.saturating_add(1);
        if self.settings.failures_max == 0 || state.failures < self.settings.failures_max {
            return Verdict::Stays;
        }
        let time = self.time(state.times);
        state.times = state.times.saturating_add(1);
        state.since = Some(now);
        state.until = Some(now + time);
        Verdict::TakenOut { failures: state.failures, time }
    }

    /// How much longer it is out; `None` while it serves.
    pub fn left(&self, now: Instant) -> Option<Duration> {
        self.state().until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    fn time(&self, times: u32) -> Duration {
        let doubled = self.settings.first_ms.saturating_mul(1_u64.checked_shl(times).unwrap_or(u64::MAX));
        Duration::from_millis(doubled.min(self.settings.longest_ms))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Numbers are whole whatever happened under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn failures_in_a_row_take_a_plugin_out_for_a_growing_time() {
        let quarantine = Quarantine::new(QuarantineSettings { failures_max: 2, first_ms: 10, longest_ms: 35 });
        let start = Instant::now();
        let failed = |at| quarantine.failed(start + at * MS, start + at * MS);
        assert_eq!(failed(0), Verdict::Stays);
        assert_eq!(quarantine.admit(start), Ok(()));
        assert_eq!(failed(0), Verdict::TakenOut { failures: 2, time: 10 * MS });
        assert_eq!(quarantine.admit(start + 4 * MS), Err(6 * MS));
        assert_eq!(quarantine.left(start + 4 * MS), Some(6 * MS));
        // One tries; the next must wait; the try fails.
        assert_eq!(quarantine.admit(start + 10 * MS), Ok(()));
        assert_eq!(quarantine.admit(start + 11 * MS), Err(9 * MS));
        for (at, time) in [(12, 20), (40, 35), (90, 35)] {
            let verdict = failed(at);
            assert!(matches!(verdict, Verdict::TakenOut { time: got, .. } if got == time * MS), "{verdict:?}");
        }
        // A call that goes well ends it.
        quarantine.succeeded();
        assert_eq!((quarantine.admit(start + 91 * MS), quarantine.left(start)), (Ok(()), None));
        assert_eq!(failed(92), Verdict::Stays);
    }

    #[test]
    fn calls_that_were_under_way_do_not_lengthen_the_time() {
        let quarantine = Quarantine::new(QuarantineSettings { failures_max: 1, first_ms: 10, longest_ms: 1_000 });
        let start = Instant::now();
        assert_eq!(quarantine.failed(start, start + 5 * MS), Verdict::TakenOut { failures: 1, time: 10 * MS });
        for late in 6..12 {
            assert_eq!(quarantine.failed(start + 4 * MS, start + late * MS), Verdict::Stays);
        }
        assert_eq!(quarantine.left(start + 12 * MS), Some(3 * MS));
        // The one that was let through to try counts.
        assert_eq!(quarantine.admit(start + 15 * MS), Ok(()));
        assert_eq!(quarantine.failed(start + 15 * MS, start + 16 * MS), Verdict::TakenOut { failures: 2, time: 20 * MS });
    }

    #[test]
    fn a_success_between_failures_starts_the_count_anew_and_0_never_takes_out() {
        let quarantine = Quarantine::new(QuarantineSettings { failures_max: 2, ..QuarantineSettings::default() });
        let now = Instant::now();
        for _ in 0..5 {
            assert_eq!(quarantine.failed(now, now), Verdict::Stays);
            quarantine.succeeded();
        }
        let never = Quarantine::new(QuarantineSettings { failures_max: 0, ..QuarantineSettings::default() });
        assert!((0..100).all(|_| never.failed(now, now) == Verdict::Stays));
    }

    #[test]
    fn settings_out_of_range_are_named() {
        assert_eq!(QuarantineSettings::default().check(), Ok(()));
        let odd = QuarantineSettings { longest_ms: 5, ..QuarantineSettings::default() };
        assert_eq!(odd.check().unwrap_err(), "`longest_ms` is 5; allowed: 1000 to 86400000");
    }
}
