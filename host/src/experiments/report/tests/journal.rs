//! Journals out of a simulated population, from a fixed seed.

use std::collections::BTreeMap;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::experiments::events::*;
use crate::experiments::report::moment;

/// 2026-03-01T00:00:00Z.
pub const START_MS: i64 = 1_772_323_200_000;
const HOUR_MS: i64 = 3_600_000;

/// Who comes, and what the arms do to them.
pub struct Journal {
    pub seed: u64,
    pub units: u32,
    /// Keys, and how likely a run of the arm is to end with a used finding.
    pub arms: Vec<(&'static str, f64)>,
    /// Units that get the last arm, over 0 to 1; the others get the rest in equal shares.
    pub last_share: f64,
    pub runs_per_unit: u32,
    /// Runs of each unit in the week before.
    pub history: u32,
    /// How much units differ from each other: added to the arm's chance, or taken off.
    pub spread: f64,
}

impl Default for Journal {
    fn default() -> Journal {
        Journal { seed: 3, units: 1_200, arms: vec![("off", 0.4), ("on", 0.4)], last_share: 0.5, runs_per_unit: 2, history: 0, spread: 0.0 }
    }
}

pub fn event(id: &str, at: i64, action: Action) -> Event {
    Event { application: "spanloom".into(), query_id: id.into(), client_id: None, timestamp: moment::write(at), action }
}

pub fn mark(chunk: u64, rank: u32, source: &str) -> Mark {
    Mark {
        object: Object { object_id: chunk, object_id_field: "chunk_id".into() },
        position: Position { ordinal: rank },
        grade: None,
        source: source.into(),
    }
}

pub fn exposure(variant: &str, unit: u32) -> Exposure {
    Exposure { experiment: "rm3".into(), version: 1, variant: variant.into(), bucket: unit % 10_000, unit: format!("{unit:016x}") }
}

/// Five findings, chunks 1 to 5.
pub fn search(unit: u32, query: u64, exposures: Vec<Exposure>) -> Search {
    let shown = |rank: u32| Shown { object_id: u64::from(rank), ordinal: rank, team: None };
    Search {
        tool: "semantic_search".into(),
        query_class: if query.is_multiple_of(3) { "identifier" } else { "vague" }.into(),
        status: "ok".into(),
        duration_us: 40_000,
        findings: (1..=5).map(shown).collect(),
        units: BTreeMap::from([("session".into(), format!("{unit:016x}")), ("query".into(), format!("{query:016x}"))]),
        experiments: exposures,
        ..Search::default()
    }
}

pub fn control(verb: &str, at: i64, detail: &str) -> Event {
    let variant = (verb == "roll_back").then(|| "on".to_owned());
    let control = Control {
        experiment: "rm3".into(),
        version: 1,
        verb: verb.into(),
        actor: if verb == "roll_back" { "spanloom" } else { "ada" }.into(),
        detail: detail.into(),
        variant,
        coverage: (verb == "start").then_some(1.0),
    };
    event("", at, Action::Experiment(control))
}

impl Journal {
    pub fn events(&self) -> Vec<Event> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let mut events = vec![control("start", START_MS, "coverage 1")];
        for unit in 0..self.units {
            let last = random.random_bool(self.last_share);
            let arm = if last { self.arms.len() - 1 } else { random.random_range(0..self.arms.len() - 1) };
            let (key, chance) = self.arms[arm];
            let own = if random.random_bool(0.5) { self.spread } else { -self.spread };
            for run in 0..self.history {
                let at = START_MS - HOUR_MS * i64::from(1 + random.random_range(0..150_u32));
                let chance = self.arms[0].1 + own;
                self.run(
                    &format!("h-{unit}-{run}"),
                    at,
                    search(unit, random.random_range(0..60), vec![]),
                    chance,
                    &mut random,
                    &mut events,
                );
            }
            let first = START_MS + HOUR_MS * 240 * i64::from(unit) / i64::from(self.units);
            for run in 0..self.runs_per_unit {
                let at = first + i64::from(run) * HOUR_MS;
                let search = search(unit, random.random_range(0..60), vec![exposure(key, unit)]);
                self.run(&format!("r-{unit}-{run}"), at, search, chance + own, &mut random, &mut events);
            }
        }
        events
    }

    fn run(&self, id: &str, at: i64, mut search: Search, chance: f64, random: &mut ChaCha8Rng, events: &mut Vec<Event>) {
        search.duration_us = random.random_range(20_000..200_000);
        events.push(event(id, at, Action::Search(search)));
        if random.random_bool(chance) {
            let rank = random.random_range(1..=5_u32);
            events.push(event(id, at + 60_000, Action::Used(mark(u64::from(rank), rank, "tool"))));
        }
    }
}
