//! Names of runs that clients chose, and of processes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// Names that are remembered. Older ones are in the ledgers.
const NAMES_MAX: usize = 4_096;

/// How often each name was asked for lately: there may be no ledger yet.
#[derive(Default)]
pub(super) struct Names {
    state: Mutex<(HashMap<String, u32>, VecDeque<String>)>,
}

impl Names {
    /// The how manieth asks for this name, from 1. No two get the same number.
    pub(super) fn number(&self, name: &str) -> u32 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, order) = &mut *state;
        if let Some(last) = known.get_mut(name) {
            *last = last.saturating_add(1);
            return *last;
        }
        known.insert(name.to_owned(), 1);
        order.push_back(name.to_owned());
        if order.len() > NAMES_MAX
            && let Some(oldest) = order.pop_front()
        {
            known.remove(&oldest);
        }
        1
    }
}

/// When a process began, in clock ticks since the machine did: field 22 of
/// `/proc/PID/stat`. `None` when there is no such process, or no such file system.
pub fn start_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, which may hold anything.
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_counted_and_forgotten_in_order() {
        let names = Names::default();
        assert_eq!([names.number("a"), names.number("a"), names.number("b")], [1, 2, 1]);
        for number in 0..NAMES_MAX {
            assert_eq!(names.number(&format!("n{number}")), 1);
        }
        assert_eq!([names.number("a"), names.number("n9")], [1, 2]);
    }

    #[test]
    fn this_process_has_begun() {
        assert!(start_ticks(std::process::id()).is_some_and(|ticks| ticks > 0));
        assert_eq!(start_ticks(u32::MAX), None);
    }
}
