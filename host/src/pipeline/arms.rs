//! What experiments change about a search. In: the arms that a run is part of. Out: those
//! whose plugins can be had, and the changes of all of them together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;

use super::{Chosen, Notes, SearchHost, in_place};
use crate::envelope::ExperimentStamp;
use crate::plugin::{Configured, PluginSet};
use crate::request::{PluginChoice, RequestError, SearchRequest};
use crate::telemetry::conventions::{attr, event};
use crate::telemetry::{Span, texts};
use crate::types::{ChannelName, Stage};

/// An arm that a run is part of.
#[derive(Clone, Debug, PartialEq)]
pub struct Arm {
    pub stamp: ExperimentStamp,
    /// Only queries that the gate gives one of these classes take part; all when `None`.
    pub classes: Option<Vec<String>>,
    pub changes: Changes,
}

/// What is otherwise than configured, as far as it is set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    pub plugins: BTreeMap<Stage, PinnedChoice>,
    pub channels: Option<Vec<ChannelName>>,
    /// 1 to [`crate::request::DEPTH_MAX`] each.
    pub depths: BTreeMap<ChannelName, u32>,
    /// 0 to 100 each.
    pub weights: BTreeMap<ChannelName, f32>,
    pub rerank_depth: Option<u32>,
    /// Over 0.
    pub rrf_k: Option<f32>,
    /// Of the whole search, in milliseconds.
    pub deadline_ms: Option<u64>,
    pub rm3: Option<bool>,
    pub rerank: Option<bool>,
}

/// A plugin, and the one component that may serve.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PinnedChoice {
    pub choice: PluginChoice,
    /// 64 hexadecimal digits in lower case; any component when `None`.
    pub sha256: Option<String>,
}

/// Arms in effect, with their plugins.
#[derive(Clone, Default)]
pub(super) struct Arms(Vec<(Arm, BTreeMap<Stage, Arc<Configured>>)>);

impl Arms {
    /// The arms among `candidates` whose plugins can be had. The others are noted, and the
    /// search goes on without them.
    pub fn admit(host: &SearchHost, candidates: Vec<Arm>, notes: &mut Notes) -> Arms {
        if candidates.is_empty() {
            return Arms::default();
        }
        // The first run of an arm may make an instance of its plugin. Most arms have none.
        let has_plugins = candidates.iter().any(|arm| !arm.changes.plugins.is_empty());
        let choose = || candidates.into_iter().map(|arm| (arm.changes.chosen(&host.plugins), arm)).collect::<Vec<_>>();
        let tried = if has_plugins { in_place(choose).unwrap_or_default() } else { choose() };
        let mut admitted = Vec::new();
        for (chosen, arm) in tried {
            match chosen {
                Ok(chosen) => admitted.push((arm, chosen)),
                Err(error) => {
                    let ExperimentStamp { id, variant, .. } = &arm.stamp;
                    let message = format!("experiment {id} is not carried out in this run: arm {variant}: {error}");
                    notes.degraded("experiment", error.class(), "answered as configured", message);
                }
            }
        }
        Arms(admitted)
    }

    pub fn and(mut self, others: Arms) -> Arms {
        self.0.extend(others.0);
        self
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arm> {
        self.0.iter().map(|(arm, _)| arm)
    }

    pub fn stamps(&self) -> Vec<ExperimentStamp> {
        self.iter().map(|arm| arm.stamp.clone()).collect()
    }

    /// The plugins of a search: of two arms that set one, the later.
    pub fn over(&self, chosen: &Chosen) -> Chosen {
        let set = |stage, configured: &Arc<Configured>| {
            let of_arms = self.0.iter().rev().find_map(|(_, plugins)| plugins.get(&stage));
            of_arms.unwrap_or(configured).clone()
        };
        Chosen {
            gate: set(Stage::Gate, &chosen.gate),
            fusion: set(Stage::Fusion, &chosen.fusion),
            rerank: set(Stage::Rerank, &chosen.rerank),
        }
    }

    /// The last word of any arm on one matter.
    pub fn last<T>(&self, word: impl Fn(&Changes) -> Option<T>) -> Option<T> {
        self.iter().rev().find_map(|arm| word(&arm.changes))
    }

    /// How long the search may take.
    pub fn deadline(&self, configured_ms: u64) -> Duration {
        Duration::from_millis(self.last(|changes| changes.deadline_ms).unwrap_or(configured_ms))
    }

    /// Writes down what the run is part of.
    pub fn tell(&self, root: &Span) {
        self.iter().for_each(|arm| tell(&arm.stamp, None, root));
    }

    /// Says on a span which experiments and arms it is of.
    pub fn mark(&self, span: &Span) {
        mark(&self.stamps(), span);
    }
}

/// Writes down that the run is part of an experiment; where two arms share the answer, with
/// what decides who picks first.
pub(super) fn tell(stamp: &ExperimentStamp, seed: Option<u64>, root: &Span) {
    let ExperimentStamp { id, version, variant, bucket } = stamp;
    let mut told = vec![
        KeyValue::new(attr::EXPERIMENT, id.clone()),
        KeyValue::new(attr::EXPERIMENT_VERSION, i64::from(*version)),
        KeyValue::new(attr::VARIANT, variant.clone()),
        KeyValue::new(attr::EXPERIMENT_BUCKET, i64::from(*bucket)),
    ];
    told.extend(seed.map(|seed| KeyValue::new(attr::EXPERIMENT_SEED, format!("{seed:016x}"))));
    root.event(event::EXPOSURE, told);
}

/// Says on a span which experiments and arms it is of.
pub(super) fn mark(stamps: &[ExperimentStamp], span: &Span) {
    if !stamps.is_empty() {
        span.set(attr::EXPERIMENT, texts(stamps.iter().map(|stamp| stamp.id.clone())));
        span.set(attr::VARIANT, texts(stamps.iter().map(|stamp| stamp.variant.clone())));
    }
}

impl Changes {
    /// The plugins that are set. May make instances.
    fn chosen(&self, plugins: &PluginSet) -> Result<BTreeMap<Stage, Arc<Configured>>, RequestError> {
        let choose = |(stage, pinned): (&Stage, &PinnedChoice)| {
            let chosen = plugins.choose(*stage, Some(&pinned.choice))?;
            let identity = &chosen.plugin.identity;
            match &pinned.sha256 {
                Some(pin) if *pin != identity.sha256 => Err(RequestError::Unavailable(format!(
                    "{stage} plugin {} is the component {}, and the arm is pinned to {pin}",
                    identity.name, identity.sha256
                ))),
                _ => Ok((*stage, chosen)),
            }
        };
        self.plugins.iter().map(choose).collect()
    }
}

/// Whether a call says something itself about what arms may change. It then takes part in
/// no experiment: its answer would not be what the arm makes of it.
pub fn adjusts_itself(request: &SearchRequest) -> bool {
    let SearchRequest { channels, depths, weights, plugins, rerank_enabled, .. } = request;
    channels.is_some() || !depths.is_empty() || !weights.is_empty() || !plugins.is_empty() || rerank_enabled.is_some()
}
