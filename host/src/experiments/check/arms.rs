//! The arms: each by itself, then what the mode asks of all of them.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::{Problems, is_made_of, text};
use crate::experiments::definition::{Arm, ArmPlugin, Experiment, Mode, State};
use crate::request::DEPTH_MAX;
use crate::types::{ChannelName, Stage};

/// Arms of an experiment: more divide the units too thinly.
const ARMS_MAX: usize = 8;
/// Rows that a reranker sees.
const RERANK_DEPTH_MAX: u32 = 100;

pub(super) fn check(experiment: &Experiment, problems: &mut Problems) {
    let arms = &experiment.arms;
    let (allowed, as_words) = count(experiment.mode);
    problems.require(allowed.contains(&arms.len()), "arms", format!("a list of {}", arms.len()), as_words);
    for (number, arm) in arms.iter().enumerate() {
        let at = format!("arms[{number}]");
        one(&at, arm, experiment.state == State::Running, problems);
        if let Some(first) = arms[..number].iter().position(|other| other.key == arm.key) {
            problems.require(false, &format!("{at}.key"), text(&arm.key), &format!("another key than that of arms[{first}]"));
        }
        let answers = experiment.mode == Mode::Shadow && number == 0;
        if arm.index.is_some() && (answers || matches!(experiment.mode, Mode::Ab | Mode::Interleave)) {
            let problem = "is set for an arm that answers; allowed: in modes offline and shadow, there not for the first arm, as the server \
                           answers from its own index";
            problems.add(&format!("{at}.index"), problem);
        }
    }
    match experiment.mode {
        Mode::Interleave => {
            if let [first, second] = arms.as_slice() {
                let allowed = format!("{}, that of arms[0], in mode interleave, as the arms take turns", first.weight);
                problems.require(first.weight == second.weight, "arms[1].weight", second.weight, &allowed);
            }
        }
        Mode::Ab => buckets(experiment, problems),
        Mode::Offline | Mode::Shadow => {}
    }
}

fn count(mode: Mode) -> (RangeInclusive<usize>, &'static str) {
    match mode {
        Mode::Offline => (1..=ARMS_MAX, "1 to 8 arms"),
        Mode::Shadow => (2..=ARMS_MAX, "2 to 8 arms in mode shadow: the one that answers, and those that are asked, too"),
        Mode::Ab => (2..=ARMS_MAX, "2 to 8 arms in mode ab"),
        Mode::Interleave => (2..=2, "2 arms in mode interleave"),
    }
}

/// An arm whose share is under one bucket would never be given.
fn buckets(experiment: &Experiment, problems: &mut Problems) {
    let total: f64 = experiment.arms.iter().map(|arm| arm.weight).sum();
    let covered = f64::from(experiment.hash.buckets) * experiment.coverage;
    if !(covered > 0.0 && total > 0.0 && total.is_finite()) {
        return;
    }
    for (number, arm) in experiment.arms.iter().enumerate() {
        let share = covered * arm.weight / total;
        if share > 0.0 && share < 1.0 {
            let allowed = format!(
                "a weight that is worth a bucket: of {} buckets, coverage {} leaves this arm {share:.3}",
                experiment.hash.buckets, experiment.coverage
            );
            problems.require(false, &format!("arms[{number}].weight"), arm.weight, &allowed);
        }
    }
}

fn one(at: &str, arm: &Arm, running: bool, problems: &mut Problems) {
    let key_fits = is_made_of(&arm.key, 32, |byte| b"_-".contains(&byte));
    problems.require(key_fits, &format!("{at}.key"), text(&arm.key), "`a` to `z`, `0` to `9`, `_` and `-`, 1 to 32 characters");
    problems.over_zero(&format!("{at}.weight"), arm.weight, 1_000_000.0);
    if let Some(channels) = &arm.channels {
        problems.list(&format!("{at}.channels"), channels, ChannelName::to_string);
        if arm.rm3 == Some(true) && channels.iter().all(|channel| *channel == ChannelName::Dense) && !channels.is_empty() {
            problems.require(false, &format!("{at}.rm3"), true, "with a channel of words, bm25 or files, which RM3 widens the query of");
        }
    }
    if arm.index.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
        problems.require(false, &format!("{at}.index"), "empty", "the path of a data directory");
    }
    for (stage, choice) in arm.plugins.set() {
        plugin(&format!("{at}.plugins.{stage}"), choice, running, problems);
        if stage == Stage::Rerank && arm.rerank == Some(false) {
            problems
                .add(&format!("{at}.plugins.rerank"), "is set while `rerank` is false; allowed: one of the two, as nothing is reranked");
        }
    }
    budgets(at, arm, problems);
}

fn plugin(at: &str, choice: &ArmPlugin, running: bool, problems: &mut Problems) {
    let ArmPlugin { plugin, sha256, parameters } = choice;
    if plugin.is_none() && sha256.is_none() && parameters.is_none() {
        problems.add(at, "is empty; allowed: a plugin, or parameters for the configured one");
    }
    if let Some(name) = plugin {
        problems.name(&format!("{at}.plugin"), name);
    }
    match sha256 {
        Some(digest) => {
            let digits = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
            let allowed = "the 64 hexadecimal digits of a sha-256, as `spanloom plugin inspect` prints them";
            problems.require(digits, &format!("{at}.sha256"), text(digest), allowed);
            if plugin.is_none() {
                problems.add(&format!("{at}.sha256"), "is set without a plugin; allowed: together with the name of the plugin it pins");
            }
        }
        None if running && plugin.is_some() => {
            let problem = "is missing; allowed: the sha-256 of the plugin, as the experiment is running and has to stay the same";
            problems.add(&format!("{at}.sha256"), problem);
        }
        None => {}
    }
}

fn budgets(at: &str, arm: &Arm, problems: &mut Problems) {
    let budgets = &arm.budgets;
    for (channel, depth) in &budgets.depths {
        problems.range(&format!("{at}.budgets.depths.{channel}"), *depth, 1, DEPTH_MAX);
    }
    for (channel, weight) in &budgets.weights {
        problems.range(&format!("{at}.budgets.weights.{channel}"), *weight, 0.0, 100.0);
    }
    if let Some(channels) = &arm.channels {
        let named = [("depths", keys(&budgets.depths)), ("weights", keys(&budgets.weights))];
        for (table, names) in named {
            for channel in names.iter().filter(|channel| !channels.contains(channel)) {
                let problem = format!("is set for a channel that isn't asked; allowed: those of `{at}.channels`");
                problems.add(&format!("{at}.budgets.{table}.{channel}"), problem);
            }
        }
        if !channels.is_empty() && channels.iter().all(|channel| budgets.weights.get(channel) == Some(&0.0)) {
            problems
                .add(&format!("{at}.budgets.weights"), "are 0 for every channel of the arm; allowed: one over 0, as nothing is found else");
        }
    }
    if let Some(depth) = budgets.rerank_depth {
        problems.range(&format!("{at}.budgets.rerank_depth"), depth, 0, RERANK_DEPTH_MAX);
        match arm.rerank {
            Some(true) if depth == 0 => {
                problems.require(false, &format!("{at}.budgets.rerank_depth"), 0, "1 to 100 while `rerank` is true");
            }
            Some(false) if depth > 0 => {
                problems.require(false, &format!("{at}.budgets.rerank_depth"), depth, "0 while `rerank` is false, or none");
            }
            _ => {}
        }
    }
    if let Some(k) = budgets.rrf_k {
        problems.over_zero(&format!("{at}.budgets.rrf_k"), k, 10_000.0);
    }
    if let Some(deadline_ms) = budgets.deadline_ms {
        problems.range(&format!("{at}.budgets.deadline_ms"), deadline_ms, 10, 300_000);
    }
}

fn keys<V>(table: &BTreeMap<ChannelName, V>) -> Vec<ChannelName> {
    table.keys().copied().collect()
}
