//! Holds guardrails against the latest runs, while a server runs. In: how runs of arms
//! ended, one by one. Out: the first breach of a guardrail by an arm.
//!
//! ```text
//! latest   what is kept of an arm's latest 10,000 runs
//! bounds   the tests: how many runs are more than chance
//! breach   what is told of a guardrail that is breached
//! ```
//!
//! The report compares figures; this decides something by itself, so that chance has to be
//! excluded. A guardrail is breached when an exact test at [`LEVEL`] rejects that the figure is
//! within its bound, over any of a few windows of the arm's latest runs: the short ones find
//! what breaks at once, the long ones what is a little worse all the time.
//!
//! Watching 10,000 runs of an arm that is exactly at its bound ends in a false alarm in 3 % of
//! cases at most, for one guardrail; `simulations` has the figures.

mod bounds;
mod breach;
mod latest;
#[cfg(test)]
mod simulations;
#[cfg(test)]
mod tests;

use super::check::CheckedExperiment;
use super::definition::Mode;
use super::events::{INTERLEAVED, Search, Shadow};
use super::metric::{Guard, Guardrail};
use bounds::{SLOW_ONE_IN, SLOW_SHARE, least_above, over_control, over_share};
pub use breach::Breach;
use latest::{BLOCK_RUNS, Counts, HELD_RUNS, Latest};

/// The chance that one look at one window calls a guardrail breached that is kept. With 1e-4,
/// an arm at a limit of a half had false alarms in 4.9 % of cases.
const LEVEL: f64 = 5e-5;
/// Runs of the windows, shortest first. All are whole blocks.
const WINDOWS_RUNS: [u64; 5] = [100, 400, 1_600, 6_400, HELD_RUNS];
/// A window is looked at again when a tenth of its runs is new, but not within a block.
const NEW_ONE_IN: u64 = 10;

/// The guardrails of an experiment, and the latest runs of its arms: some 70 kB an arm.
/// Without guardrails it keeps nothing.
pub struct Monitor {
    rules: Vec<Rule>,
    arms: Vec<Watched>,
    control: usize,
    /// Microseconds of `limit` of latencies.
    slow_over_us: Option<f64>,
    keeps_durations: bool,
    /// Figures to choose one of; kept for its memory only.
    chosen_from: Vec<u32>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    pub duration_us: u64,
    pub failed: bool,
    /// An answer without findings.
    pub empty: bool,
    /// A plugin trapped.
    pub trapped: bool,
    /// A built-in took a plugin's place.
    pub fell_back: bool,
}

/// A guardrail and how it is looked at.
struct Rule {
    guardrail: Guardrail,
    windows: Vec<Window>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    runs: u64,
    /// Runs between two looks.
    every: u64,
}

/// An arm.
struct Watched {
    key: String,
    latest: Latest,
    /// By guardrail: whether its breach was told.
    told: Vec<bool>,
    /// Whether it takes no part.
    is_out: bool,
}

impl Observation {
    /// Of a search as the journal has it. None of one that was cancelled: how it would have
    /// ended is not known.
    pub fn of_search(search: &Search) -> Option<Observation> {
        let Search { duration_us, trapped, fell_back, ref findings, .. } = *search;
        let failed = failed(&search.status)?;
        Some(Observation { duration_us, failed, empty: !failed && findings.is_empty(), trapped, fell_back })
    }

    /// The same of an arm that nobody sees. Traps and built-ins are not noted of it.
    pub fn of_shadow(shadow: &Shadow) -> Option<Observation> {
        let failed = failed(&shadow.status)?;
        let empty = !failed && shadow.findings.is_empty();
        Some(Observation { duration_us: shadow.duration_us, failed, empty, ..Observation::default() })
    }
}

fn failed(status: &str) -> Option<bool> {
    match status {
        "ok" => Some(false),
        "error" => Some(true),
        _ => None,
    }
}

impl Monitor {
    /// Watches nothing yet: no run has been seen.
    pub fn new(experiment: &CheckedExperiment) -> Monitor {
        let rules: Vec<Rule> = experiment.metrics.guardrails.iter().map(Rule::new).collect();
        let keys = match experiment.mode {
            Mode::Interleave => vec![INTERLEAVED.to_owned()],
            _ => experiment.arms.iter().map(|arm| arm.key.clone()).collect(),
        };
        let of_latency = || rules.iter().map(|rule| &rule.guardrail).filter(|own| own.metric == Guard::LatencyP95Ms);
        let slow_over_us = of_latency().find_map(|own| own.limit).map(|limit_ms| limit_ms * 1_000.0);
        if of_latency().any(|own| own.increase_max.is_some()) {
            bounds::prepare();
        }
        Monitor {
            control: keys.iter().position(|key| key == experiment.control()).unwrap_or(0),
            slow_over_us,
            keeps_durations: of_latency().next().is_some(),
            arms: keys.into_iter().map(|key| Watched::new(key, rules.len())).collect(),
            rules,
            chosen_from: Vec::new(),
        }
    }

    /// Says which arms take no part now, by their places in the file. One that takes part again
    /// begins anew: runs from before it was mended say nothing of it, and a breach is told again.
    pub fn follow(&mut self, without: &[usize]) {
        let mut anew = Vec::new();
        for (place, arm) in self.arms.iter_mut().enumerate() {
            let was_out = std::mem::replace(&mut arm.is_out, without.contains(&place));
            anew.push(was_out && !arm.is_out);
        }
        // The others count the control's runs from where theirs began.
        let all = anew.get(self.control).is_some_and(|control| *control);
        for (arm, _) in self.arms.iter_mut().zip(anew).filter(|(_, anew)| *anew || all) {
            arm.latest = Latest::default();
            arm.told.fill(false);
        }
    }

    /// Takes a run of the arm that has this place in the file, and looks whether a guardrail
    /// is breached now. In interleaving all runs are of both arms: the place doesn't matter,
    /// and a breach names the arm `interleave`.
    ///
    /// A breach of an arm is told once for each guardrail, until [`Monitor::follow`] says that
    /// the arm was out meanwhile. A run of no arm changes nothing.
    pub fn observe(&mut self, arm: usize, run: Observation) -> Option<Breach> {
        let arm = if self.arms.len() == 1 { 0 } else { arm };
        if self.rules.is_empty() {
            return None;
        }
        let slow = self.slow_over_us.is_some_and(|over_us| run.duration_us as f64 > over_us);
        let control = self.arms.get(self.control)?.latest.counts();
        let watched = self.arms.get_mut(arm)?;
        watched.latest.add(run, slow, control, self.keeps_durations);
        if !watched.latest.runs().is_multiple_of(BLOCK_RUNS) {
            return None;
        }
        let mut chosen_from = std::mem::take(&mut self.chosen_from);
        let breach = (0..self.rules.len()).find_map(|rule| self.look(arm, rule, &mut chosen_from));
        self.chosen_from = chosen_from;
        let (rule, breach) = breach?;
        self.arms[arm].told[rule] = true;
        Some(breach)
    }

    /// Looks at those windows of an arm whose turn it is.
    fn look(&self, arm: usize, number: usize, chosen_from: &mut Vec<u32>) -> Option<(usize, Breach)> {
        let (rule, watched) = (self.rules.get(number)?, self.arms.get(arm)?);
        let (own, control) = (&watched.latest, &self.arms.get(self.control)?.latest);
        let compared = rule.guardrail.increase_max.is_some();
        let enough = |latest: &Latest| latest.runs() >= rule.guardrail.runs_min;
        if watched.told[number] || !enough(own) || compared && (arm == self.control || !enough(control)) {
            return None;
        }
        // Of the windows that hold all runs so far, the first is enough.
        let shorter = rule.windows.iter().take_while(|window| window.runs < own.runs()).count();
        let due = rule.windows.iter().take(shorter + 1).filter(|window| own.runs().is_multiple_of(window.every));
        for window in due {
            let span = Span { own, control, since: own.since(window.runs), shortest: *window == rule.windows[0] };
            if let Some((observed, allowed)) = span.over(&rule.guardrail, chosen_from) {
                let Guardrail { metric, increase_max, .. } = rule.guardrail;
                let runs = window.runs.min(own.runs());
                return Some((number, Breach { arm, variant: watched.key.clone(), metric, observed, allowed, runs, increase_max }));
            }
        }
        None
    }
}

/// A time that an arm's window reaches back, and what was counted in it.
struct Span<'a> {
    own: &'a Latest,
    control: &'a Latest,
    /// The arm's counts in it, and those of the control in the same time: what happens to
    /// both at once, such as a slow disk, is no difference.
    since: (Counts, Counts),
    shortest: bool,
}

impl Span<'_> {
    /// The figure and its bound, when it is over that by more than chance.
    fn over(&self, guardrail: &Guardrail, chosen_from: &mut Vec<u32>) -> Option<(f64, f64)> {
        let (own, control) = (self.own.counts().less(&self.since.0), self.control.counts().less(&self.since.1));
        let share = |(those, all): (u64, u64)| those as f64 / all.max(1) as f64;
        match (guardrail.metric, guardrail.limit, guardrail.increase_max) {
            (Guard::LatencyP95Ms, Some(limit_ms), _) => {
                let over = over_share(own.slow(), own.runs(), SLOW_SHARE, LEVEL);
                over.then(|| (self.p95_ms(own.runs(), self.own, chosen_from), limit_ms))
            }
            (guard, Some(limit), _) => {
                let (those, all) = own.of(guard);
                over_share(those, all, limit, LEVEL).then(|| (share((those, all)), limit))
            }
            (Guard::LatencyP95Ms, None, increase) => self.slower(own.runs(), control.runs(), increase?, chosen_from),
            (guard, None, increase) => {
                let (those, base, increase) = (own.of(guard), control.of(guard), increase?);
                over_control(those, base, increase, LEVEL).then(|| (share(those), share(base) * (1.0 + increase)))
            }
        }
    }

    /// More than 5 % of the arm's runs took longer than the control's p95 does at most, plus
    /// the increase. The control's p95 is at most the figure of its runs that so few are above
    /// as are above the true one with probability [`LEVEL`]; both tests together err with twice
    /// that at most, whatever the distributions are.
    ///
    /// Of the control, only the latest [`HELD_RUNS`] are known. Of longer windows in which it
    /// had more, nothing is said.
    fn slower(&self, own: u64, control: u64, increase: f64, chosen_from: &mut Vec<u32>) -> Option<(f64, f64)> {
        if control > HELD_RUNS && !self.shortest {
            return None;
        }
        let control = control.min(HELD_RUNS);
        let above = least_above(control)?;
        let most_us = f64::from(self.control.nth_longest_us(control, above, chosen_from)?) * (1.0 + increase);
        let slow = self.own.longer_than(own, most_us);
        let over = over_share(slow, own, SLOW_SHARE, LEVEL);
        over.then(|| (self.p95_ms(own, self.own, chosen_from), self.p95_ms(control, self.control, chosen_from) * (1.0 + increase)))
    }

    /// The shortest time that 95 % of the latest runs didn't exceed.
    fn p95_ms(&self, runs: u64, latest: &Latest, chosen_from: &mut Vec<u32>) -> f64 {
        latest.nth_longest_us(runs, runs / SLOW_ONE_IN, chosen_from).map_or(0.0, |us| f64::from(us) / 1_000.0)
    }
}

impl Rule {
    /// The shortest window has as many runs as the arm needs to be judged at all.
    fn new(guardrail: &Guardrail) -> Rule {
        let shortest = WINDOWS_RUNS[0].max(guardrail.runs_min).next_multiple_of(BLOCK_RUNS).min(HELD_RUNS);
        let longer = WINDOWS_RUNS.into_iter().filter(|runs| *runs > shortest);
        let every = |runs: u64| (runs / NEW_ONE_IN / BLOCK_RUNS * BLOCK_RUNS).max(BLOCK_RUNS);
        let windows = std::iter::once(shortest).chain(longer).map(|runs| Window { runs, every: every(runs) }).collect();
        Rule { guardrail: guardrail.clone(), windows }
    }
}

impl Watched {
    fn new(key: String, rules: usize) -> Watched {
        Watched { key, latest: Latest::default(), told: vec![false; rules], is_out: false }
    }
}
