//! The circuit breaker of what a search waits for: queries to embed, texts to score.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Failed queries in a row after which the server is left alone.
pub const BREAKER_FAILURES_MAX: u32 = 5;
/// How long it is left alone before one query tries again: a restart takes longer than this, a
/// hiccup does not.
pub const BREAKER_OPEN: Duration = Duration::from_secs(5);

/// Leaves a server alone that fails one query after the other. Closed, it lets all pass; open, none;
/// when the time is over, one at a time, until one is answered. A query that is dropped on its way
/// counts as none.
#[derive(Default)]
pub struct Breaker {
    state: Mutex<BreakerState>,
}

#[derive(Default)]
struct BreakerState {
    failures: u32,
    open_until: Option<Instant>,
}

impl Breaker {
    /// Whether a query may pass; otherwise how long none will.
    pub fn admit(&self, now: Instant) -> Result<(), Duration> {
        let mut state = self.state();
        match state.open_until {
            Some(until) if now < until => Err(until - now),
            // The one that tries: the others wait as long again, or until it is answered.
            Some(_) => {
                state.open_until = Some(now + BREAKER_OPEN);
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub fn failed(&self, now: Instant) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= BREAKER_FAILURES_MAX {
            state.open_until = Some(now + BREAKER_OPEN);
        }
    }

    pub fn answered(&self) {
        *self.state() = BreakerState::default();
    }

    fn state(&self) -> std::sync::MutexGuard<'_, BreakerState> {
        // Nothing panics while it is held, and every state is a valid one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
