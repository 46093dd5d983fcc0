//! What the journal says of what is done to experiments: by people, and by a server itself.

use std::time::SystemTime;

use crate::experiments::check::CheckedExperiment;
use crate::experiments::events::{Action, Control, Event};
use crate::experiments::journal::timestamp;
use crate::experiments::monitor::Breach;

/// Name of this program in the journal, also as an actor.
const APPLICATION: &str = "spanloom";
/// Characters of what is written down of a reason, or of problems.
const DETAIL_CHARS_MAX: usize = 2_000;

/// A server took an arm out of the experiment.
pub fn rolled_back(experiment: &CheckedExperiment, breach: &Breach, now: SystemTime) -> Event {
    by_server(experiment, "roll_back", &breach.to_string(), Some(&breach.variant), now)
}

/// A server saw that the experiment's days are over.
pub fn over(experiment: &CheckedExperiment, now: SystemTime) -> Event {
    let days = experiment.stop.days_max.unwrap_or_default();
    by_server(experiment, "stop", &format!("{days} days since it was first carried out are all that it may take"), None, now)
}

fn by_server(experiment: &CheckedExperiment, verb: &str, detail: &str, variant: Option<&str>, now: SystemTime) -> Event {
    let subject = Subject { experiment: &experiment.id, version: experiment.version };
    Told { verb, actor: APPLICATION, detail, now }.of(&subject, variant, None)
}

/// Whom it is done to.
pub(super) struct Subject<'a> {
    pub experiment: &'a str,
    pub version: u32,
}

/// What is done, by whom and when.
pub(super) struct Told<'a> {
    pub verb: &'a str,
    pub actor: &'a str,
    pub detail: &'a str,
    pub now: SystemTime,
}

impl Told<'_> {
    pub fn of(&self, subject: &Subject<'_>, variant: Option<&str>, coverage: Option<f64>) -> Event {
        let control = Control {
            experiment: subject.experiment.into(),
            version: subject.version,
            verb: self.verb.into(),
            actor: self.actor.into(),
            detail: self.detail.into(),
            variant: variant.map(str::to_owned),
            coverage,
        };
        Event {
            application: APPLICATION.into(),
            query_id: String::new(),
            client_id: None,
            timestamp: timestamp(self.now),
            action: Action::Experiment(control),
        }
    }
}

/// As much of a text as is written down.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(DETAIL_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
