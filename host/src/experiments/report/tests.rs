//! Reports of simulated journals, held against what is true of them and against golden
//! files, and of journals nobody wrote.
//!
//! With `SPANLOOM_BLESS_EXPERIMENTS=1` the golden files are written anew.

mod generated;
mod golden;
mod journal;
mod outcomes;

use std::path::{Path, PathBuf};

use super::*;
use crate::experiments::check::CheckedExperiment;
use crate::experiments::events::Event;
use crate::experiments::read_text;

/// After all journals.
const NOW: &str = "2026-03-20T00:00:00Z";

fn experiment(text: &str) -> CheckedExperiment {
    read_text(Path::new("test.toml"), text).unwrap_or_else(|error| panic!("{error}"))
}

/// Two arms, `off` and `on`.
fn two_arms(more: &str) -> CheckedExperiment {
    experiment(&format!(
        "id = 'rm3'\nversion = 1\nmode = 'ab'\nstate = 'running'\nowner = 'search'\nhypothesis = 'It helps.'\n\
         arms = [{{ key = 'off', rm3 = false }}, {{ key = 'on', rm3 = true }}]\n{more}"
    ))
}

fn report_of(experiment: &CheckedExperiment, events: &[Event]) -> Report {
    compose(experiment, events.iter().cloned(), NOW)
}

fn kinds(report: &Report) -> Vec<WarningKind> {
    report.warnings.iter().map(|warning| warning.kind).collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/experiments/report/golden")
}
