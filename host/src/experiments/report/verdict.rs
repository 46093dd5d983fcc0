//! One sentence on what may be concluded, never more than the interval of the primary
//! metric says.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::figure::{millis, percent, signed, value};
use super::moment;
use super::quality::RolledBack;
use super::report::{Comparison, GuardrailReport, GuardrailState, HoldsFor, Preferred, SampleRatio, Warning, WarningKind};
use crate::experiments::definition::{Experiment, Mode};
use crate::experiments::metric::{Guard, Metric};

/// What may be concluded, never more than the intervals say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// Of all arms: the first of `better`, `worse`, `not_decided` and `too_few_units` that
    /// one of them has.
    pub outcome: Outcome,
    /// All of it in one sentence.
    pub sentence: String,
    /// Of every arm but the control.
    pub arms: Vec<ArmVerdict>,
}

/// What may be concluded of one arm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArmVerdict {
    pub arm: String,
    pub outcome: Outcome,
    /// A part of a sentence.
    pub sentence: String,
}

/// What the primary metric says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// There is no run yet.
    NothingYet,
    /// Units did not arrive in the shares of the arms: nothing can be concluded.
    RatioMismatch,
    /// The interval lies on the good side of no difference.
    Better,
    /// The interval lies on the bad side of no difference.
    Worse,
    /// The interval holds no difference, too.
    NotDecided,
    /// There is no interval yet, or it is not to be used yet.
    TooFewUnits,
}

/// What a verdict rests on.
pub(super) struct Evidence<'a> {
    pub experiment: &'a Experiment,
    pub runs: u64,
    pub ratio: Option<&'a SampleRatio>,
    pub comparisons: &'a [Comparison],
    pub preferences: &'a [Preferred],
    pub guardrails: &'a [GuardrailReport],
    pub rolled_back: &'a [RolledBack],
    pub warnings: &'a [Warning],
}

/// The verdict.
pub(super) fn verdict(evidence: &Evidence<'_>) -> Verdict {
    let alone = |outcome: Outcome, sentence: String| Verdict { outcome, sentence, arms: Vec::new() };
    if evidence.runs == 0 {
        return alone(Outcome::NothingYet, format!("There is nothing yet: {}.", nothing(evidence.experiment)));
    }
    if evidence.ratio.is_some_and(|ratio| ratio.mismatch) {
        let why = "units did not come in the shares of the arms (p < 0.001), so that the arms can't be compared";
        return alone(Outcome::RatioMismatch, format!("No verdict: {why}{}{}.", rolled_back(evidence), breaches(evidence)));
    }
    let units_min = evidence.experiment.stop.units_min.unwrap_or(0);
    let primary = evidence.comparisons.iter().filter(|comparison| comparison.primary);
    let mut arms: Vec<ArmVerdict> = primary.map(|comparison| of_comparison(comparison, units_min, evidence.experiment.mode)).collect();
    arms.extend(evidence.preferences.iter().filter(|own| own.primary).map(|own| of_preference(own, units_min)));
    let outcome = arms.iter().map(|arm| arm.outcome).min().unwrap_or(Outcome::NotDecided);
    let parts: Vec<&str> = arms.iter().map(|arm| arm.sentence.as_str()).collect();
    let sentence = if parts.is_empty() { "there is nothing to compare".into() } else { parts.join("; ") };
    let caution = match evidence.warnings.iter().any(|warning| warning.kind == WarningKind::DefinitionChanged) {
        true => "; but the definition was changed under the same version",
        false => "",
    };
    let sentence = format!("{}{}{}{caution}.", capital(&sentence), rolled_back(evidence), breaches(evidence));
    Verdict { outcome, sentence, arms }
}

fn nothing(experiment: &Experiment) -> String {
    let Experiment { id, version, mode, .. } = experiment;
    match mode {
        Mode::Offline => "in mode offline, arms are compared by judgments, not by runs".into(),
        _ => format!("the journal has no run of `{id}`, version {version}"),
    }
}

fn of_comparison(own: &Comparison, units_min: u64, mode: Mode) -> ArmVerdict {
    let Comparison { arm, control, metric, .. } = own;
    let shadow = mode == Mode::Shadow;
    let units = if shadow { own.arm_units } else { own.arm_units.min(own.control_units) };
    let told = |outcome: Outcome, sentence: String| ArmVerdict { arm: arm.clone(), outcome, sentence };
    let pair = format!("`{arm}` against `{control}` on {}", name(*metric, own.lower_is_better));
    let (Some(low), Some(high), Some(difference)) = (own.low, own.high, own.difference) else {
        let why = own.why_none.as_deref().unwrap_or("there are no figures");
        let far = if shadow { format!("{} units", own.arm_units) } else { format!("{} and {} units", own.arm_units, own.control_units) };
        return told(Outcome::TooFewUnits, format!("{pair}: not decided, with {far} – {why}"));
    };
    let between = format!("between {} and {}", signed(*metric, low), signed(*metric, high));
    if units < units_min {
        let sentence = format!("{pair}: not decided before {units_min} units of every arm; so far {between}");
        return told(Outcome::TooFewUnits, sentence);
    }
    if low <= 0.0 && high >= 0.0 {
        return told(Outcome::NotDecided, format!("{pair}: {between}: not decided"));
    }
    let better = (low > 0.0) != own.lower_is_better;
    let (outcome, word) = if better { (Outcome::Better, "better") } else { (Outcome::Worse, "worse") };
    let looks = match own.holds_for {
        HoldsFor::AnyLook => "at any look",
        HoldsFor::OneLook => "at one look",
    };
    let held = format!("{} with {} {looks}", between, percent(own.level));
    let difference = signed(*metric, difference);
    let named = name(*metric, own.lower_is_better);
    let sentence = match (mode, better) {
        (Mode::Shadow, false) => format!(
            "`{arm}` is {word} than `{control}` on {named}, of what `{control}` showed: {difference}, {held}; this favours `{control}`"
        ),
        (Mode::Shadow, true) => format!("`{arm}` is {word} than `{control}` on {named}, of what `{control}` showed: {difference}, {held}"),
        _ => format!("`{arm}` is {word} than `{control}` on {named}: {difference}, {held}"),
    };
    told(outcome, sentence)
}

fn of_preference(own: &Preferred, units_min: u64) -> ArmVerdict {
    let Preferred { arm, control, metric, .. } = own;
    let told = |outcome: Outcome, sentence: String| ArmVerdict { arm: arm.clone(), outcome, sentence };
    let units = own.wins + own.losses + own.ties;
    let pair = format!("`{arm}` against `{control}` on {metric}");
    let Some(share) = own.share else {
        return told(Outcome::TooFewUnits, format!("{pair}: not decided, none of {units} units prefers one"));
    };
    let between = format!("between {} and {} of the units that prefer one", percent(own.low), percent(own.high));
    if units < units_min {
        return told(Outcome::TooFewUnits, format!("{pair}: not decided before {units_min} units; so far {between} prefer `{arm}`"));
    }
    if own.low <= 0.5 && own.high >= 0.5 {
        return told(Outcome::NotDecided, format!("{pair}: {between} prefer `{arm}`: not decided"));
    }
    let (outcome, word) = if own.low > 0.5 { (Outcome::Better, "preferred to") } else { (Outcome::Worse, "less preferred than") };
    let held = format!("{}, {between}, with {} at any look", percent(share), percent(own.level));
    told(outcome, format!("`{arm}` is {word} `{control}` on {metric}: {held}"))
}

fn name(metric: Metric, lower_is_better: bool) -> String {
    if lower_is_better { format!("{metric} (lower is better)") } else { metric.to_string() }
}

/// The arms that take no part any more, as the end of a sentence.
fn rolled_back(evidence: &Evidence<'_>) -> String {
    let told = |RolledBack { arm, at, why }: &RolledBack| format!("; `{arm}` was rolled back at {} ({why})", moment::write(*at));
    evidence.rolled_back.iter().map(told).collect()
}

/// The guardrails that are broken, as the end of a sentence.
fn breaches(evidence: &Evidence<'_>) -> String {
    let broken = evidence.guardrails.iter().filter(|own| own.state == GuardrailState::Breached);
    let words: Vec<String> = broken
        .filter_map(|own| {
            let shown = |figure: f64| match own.metric {
                Guard::LatencyP95Ms => millis(figure),
                guard => value(Metric::Guard(guard), figure),
            };
            Some(format!("{} of `{}` is {}, over {}", own.metric.as_str(), own.arm, shown(own.value?), shown(own.limit?)))
        })
        .collect();
    match words.len() {
        0 => String::new(),
        1 => format!("; a guardrail is breached: {}", words[0]),
        count => format!("; {count} guardrails are breached: {}", words.join(", ")),
    }
}

fn capital(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map(|first| first.to_uppercase().chain(rest).collect()).unwrap_or_default()
}
