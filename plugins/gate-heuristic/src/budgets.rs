//! Depth, weight and k by class: the built-in table, and what the parameters change.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use spanloom_plugin::{Budget, PluginError, check_range};

use crate::Parameters;
use crate::features::Class;

/// Rows by channel.
pub type Depths = BTreeMap<String, u32>;
/// Weights by channel.
pub type Weights = BTreeMap<String, f32>;

/// Something for each class, as far as it is set.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PerClass<T> {
    /// For queries written like code, quoted, or made of a few rare words.
    pub literal: Option<T>,
    /// For all others.
    pub default: Option<T>,
    /// For questions, descriptions, and queries of frequent words only.
    pub vague: Option<T>,
}

impl<T> Default for PerClass<T> {
    fn default() -> PerClass<T> {
        PerClass { literal: None, default: None, vague: None }
    }
}

impl<T> PerClass<T> {
    fn of(&self, class: Class) -> Option<&T> {
        match class {
            Class::Literal => self.literal.as_ref(),
            Class::Default => self.default.as_ref(),
            Class::Vague => self.vague.as_ref(),
        }
    }
}

/// The built-in depth and weight of a channel.
fn built_in(class: Class, channel: &str) -> (u32, f32, &'static str) {
    match (class, channel) {
        (Class::Literal, "bm25") => (100, 1.0, "literal: the words as written decide"),
        (Class::Literal, "dense") => (50, 0.4, "literal: meaning only fills up"),
        (Class::Literal, "files") => (50, 0.3, "literal: the file fills up"),
        (Class::Literal, _) => (50, 0.5, "literal: a second opinion"),
        (Class::Default, "bm25") => (150, 1.0, "default: words first"),
        (Class::Default, "dense") => (100, 0.7, "default: meaning second"),
        (Class::Default, "files") => (50, 0.5, "default: the file around counts half"),
        (Class::Default, _) => (100, 0.7, "default: a second opinion"),
        (Class::Vague, "bm25") => (150, 1.0, "vague: words may miss, look deep"),
        (Class::Vague, "dense") => (150, 1.0, "vague: meaning counts as much as words"),
        (Class::Vague, "files") => (50, 0.6, "vague: words may be spread over a file"),
        (Class::Vague, _) => (150, 1.0, "vague: every opinion counts"),
    }
}

/// A budget for each channel, in the order of the channels.
pub fn of_all(parameters: &Parameters, class: Class, limit: u32, channels: &[String]) -> Vec<Budget> {
    let budget = |channel: &String| of_one(parameters, class, limit, channel);
    channels.iter().map(budget).collect()
}

fn of_one(parameters: &Parameters, class: Class, limit: u32, channel: &str) -> Budget {
    let (depth, weight, why) = built_in(class, channel);
    let own_depth = parameters.depths.of(class).and_then(|own| own.get(channel));
    let own_weight = parameters.weights.of(class).and_then(|own| own.get(channel));
    let depth = own_depth.copied().unwrap_or(depth);
    let weight = own_weight.copied().unwrap_or(weight);
    let least = limit.saturating_mul(2);

    let why = if own_depth.is_some() || own_weight.is_some() { format!("{}: set by parameters", class.name()) } else { why.to_string() };
    let (depth, reason) = match depth {
        0 => (0, format!("{why}; left out")),
        _ if weight == 0.0 => (0, format!("{why}; left out")),
        depth if depth.max(least) > parameters.depth_max => (parameters.depth_max, format!("{why}; capped by depth_max")),
        depth if depth < least => (least, format!("{why}; twice the limit")),
        depth => (depth, why),
    };
    Budget { channel: channel.into(), depth, weight, reason }
}

/// The constant of reciprocal rank fusion, and why.
pub fn rrf_k(parameters: &Parameters, class: Class) -> (f32, &'static str) {
    match (parameters.rrf_k.of(class), class) {
        (Some(&own), _) => (own, "set by parameters"),
        (None, Class::Literal) => (20.0, "the first ranks of a literal query are mostly right"),
        (None, Class::Default | Class::Vague) => (60.0, "the usual constant"),
    }
}

/// Refuses table entries out of range.
pub fn check(parameters: &Parameters) -> Result<(), PluginError> {
    for class in [Class::Literal, Class::Default, Class::Vague] {
        let name = class.name();
        for (channel, &depth) in parameters.depths.of(class).into_iter().flatten() {
            check_range(&format!("depths.{name}.{channel}"), depth, 0..=10_000)?;
        }
        for (channel, &weight) in parameters.weights.of(class).into_iter().flatten() {
            check_range(&format!("weights.{name}.{channel}"), weight, 0.0..=100.0)?;
        }
        if let Some(&k) = parameters.rrf_k.of(class) {
            check_range(&format!("rrf_k.{name}"), k, 1.0..=10_000.0)?;
        }
    }
    Ok(())
}
