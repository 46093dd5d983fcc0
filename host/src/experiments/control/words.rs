//! What a request changed, in words: for the journal, and for who made it.

use super::Request;
use super::edit::word;
use super::record::cut;
use crate::experiments::check::CheckedExperiment;
use crate::experiments::definition::State;
use crate::experiments::standing::Lifted;

/// A request that changes something.
pub(super) struct Change<'a> {
    pub request: Request,
    /// Of before. None of a state that isn't one.
    pub state: Option<State>,
    /// Of before.
    pub coverage: f64,
    pub after: &'a CheckedExperiment,
    pub lifted: &'a Lifted,
}

impl Change<'_> {
    /// What changed and why, for the journal. A start names the definition's digest, by which
    /// a report sees that it changed under the same version.
    pub fn detail(&self, reason: Option<&str>) -> String {
        let mut parts = Vec::new();
        if let Some(state) = self.state.filter(|state| *state != self.after.state) {
            parts.push(format!("{} → {}", word(state), word(self.after.state)));
        }
        if self.coverage != self.after.coverage {
            parts.push(format!("coverage {} → {}", self.coverage, self.after.coverage));
        }
        if !self.lifted.arms.is_empty() {
            parts.push(format!("gives back {}", arms(&self.lifted.arms)));
        }
        if self.lifted.over {
            parts.push("its days count anew".into());
        }
        if matches!(self.request, Request::Start { .. }) {
            parts.push(format!("digest {}", self.after.digest()));
        }
        parts.extend(reason.map(|reason| format!("reason: {}", cut(reason))));
        parts.join("; ")
    }

    /// One sentence for who asked.
    pub fn sentence(&self) -> String {
        let (name, coverage) = (name(self.after), percent(self.after.coverage));
        let was_out = matches!(self.state, Some(State::Running | State::Paused));
        let mut told = match self.request {
            Request::Start { .. } if self.state == Some(State::Running) && self.coverage == self.after.coverage => {
                format!("{name} runs on")
            }
            Request::Start { .. } => format!("{name} is running with a coverage of {coverage}"),
            Request::Pause => format!("{name} is paused: everybody gets what the server is configured for"),
            Request::Stop => format!("{name} is stopped for good: everybody gets what the server is configured for"),
            Request::Ramp { .. } => format!("the coverage of {name} is {coverage}, after {}", percent(self.coverage)),
        };
        if matches!(self.request, Request::Ramp { .. }) && self.after.state == State::Paused {
            told += ", and it is paused still";
        }
        if was_out && self.after.coverage < self.coverage {
            told += ": units leave that were in, and their runs from now on don't count";
        }
        match self.lifted.arms.len() {
            0 => {}
            1 => told += &format!("; {} is given again", arms(&self.lifted.arms)),
            _ => told += &format!("; {} are given again", arms(&self.lifted.arms)),
        }
        if self.lifted.over {
            told += "; its days count anew";
        }
        told + "; running servers take it up by themselves."
    }
}

/// That there is nothing to change.
pub(super) fn same(request: Request, after: &CheckedExperiment) -> String {
    let name = name(after);
    match request {
        Request::Ramp { .. } => format!("the coverage of {name} is {} already; nothing was changed.", percent(after.coverage)),
        _ => format!("{name} is {} already; nothing was changed.", word(after.state)),
    }
}

fn name(experiment: &CheckedExperiment) -> String {
    format!("{} version {}", experiment.id, experiment.version)
}

fn arms(keys: &[String]) -> String {
    let names: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
    format!("{} {}", if keys.len() == 1 { "arm" } else { "arms" }, names.join(", "))
}

fn percent(share: f64) -> String {
    // Without what a float adds to a share times a hundred.
    let figure: f64 = format!("{:.6}", share * 100.0).parse().unwrap_or(share * 100.0);
    format!("{figure} %")
}
