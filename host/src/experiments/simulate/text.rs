//! A forecast for people: a table, what matters besides, the gist.

use std::fmt::Write as _;

use super::design::Design;
use super::outlook::{self, Outlook, Values};
use super::{Comparison, Outcome, POWER_WANTED, rules};
use crate::experiments::definition::{Experiment, Mode, UnitKind};
use crate::experiments::metric::{Correction, Method};
use crate::experiments::statistics::sequential::BURN_IN_UNITS;

/// Days that a table shows.
const ROWS_MAX: usize = 10;
/// Expected successes of the smaller of two uneven arms from which the errors are kept; see
/// [`BURN_IN_UNITS`].
const SUCCESSES_MIN: f64 = 10.0;

impl Outcome {
    /// Lines of at most ten days, with a line's end after the last one.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{} version {}: {} by `{}`, level {}\n",
            self.experiment,
            self.version,
            self.metric,
            name(self.method),
            short(self.level)
        );
        let _ = writeln!(
            text,
            "{} of {} {} a day take part ({})\n",
            number(self.outlook.units_per_day * self.share),
            number(self.outlook.units_per_day),
            plural(self.unit),
            percent(self.share)
        );
        text.push_str(&self.table());
        text.push('\n');
        for comparison in &self.comparisons {
            text.push_str(&self.figures(comparison));
        }
        for note in &self.notes {
            let _ = writeln!(text, "note: {note}");
        }
        let _ = writeln!(text, "\n{}", self.sentence);
        text
    }

    fn table(&self) -> String {
        let units = self.arms.iter().map(|arm| arm.key.clone());
        let powers = self.comparisons.iter().map(|comparison| format!("power of {}", comparison.arm));
        let mut rows: Vec<Vec<String>> = vec![std::iter::once("day".into()).chain(units).chain(powers).collect()];
        let shown = self.days.len().min(ROWS_MAX);
        for row in 1..=shown {
            let day = &self.days[row * self.days.len() / shown - 1];
            let units = day.units.iter().map(|units| number(*units as f64));
            let powers = day.power.iter().map(|power| percent(*power));
            rows.push(std::iter::once(day.day.to_string()).chain(units).chain(powers).collect());
        }
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
            cells.join("  ") + "\n"
        };
        rows.iter().map(line).collect()
    }

    fn figures(&self, comparison: &Comparison) -> String {
        let days = self.outlook.days;
        let relative = |effect: f64| percent(effect / comparison.control_mean);
        let detectable = comparison.effect_detectable.map_or("none".into(), |effect| format!("{} ({})", short(effect), relative(effect)));
        let to_power = comparison.days_to_power.map_or("none".into(), |days| days.to_string());
        let mut text = format!("{} against {}\n", comparison.arm, comparison.control);
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "  {name:<44} {value}");
        };
        line("expected means", format!("{} and {}", short(comparison.arm_mean), short(comparison.control_mean)));
        if let Some(shares) = comparison.preference {
            line(
                "units that prefer it, the control, neither",
                format!("{}, {}, {}", percent(shares.arm), percent(shares.control), percent(shares.neither)),
            );
        }
        line(&format!("power after {}", counted(days)), percent(comparison.power));
        line("day of decision, on average", format!("{:.1}", comparison.decision_day));
        line(&format!("days to a power of {}", percent(POWER_WANTED)), to_power);
        line(&format!("smallest effect found in {}", counted(days)), detectable);
        line("false alarms if there is no effect", percent(comparison.false_alarm_rate));
        text
    }
}

/// One sentence or two for each comparison.
pub(super) fn sentence(outcome: &Outcome) -> String {
    let each = outcome.comparisons.iter().map(|comparison| {
        let days = outcome.outlook.days;
        let told = format!(
            "If {} changes {} from {} to {}, the experiment shows it within {} with a chance of {}",
            comparison.arm,
            outcome.metric,
            short(comparison.control_mean),
            short(comparison.arm_mean),
            counted(days),
            percent(comparison.power)
        );
        let more = match comparison.days_to_power {
            Some(enough) if enough <= days => format!("; {} are reached after {}.", percent(POWER_WANTED), counted(enough)),
            Some(enough) => format!("; for {} it takes {}.", percent(POWER_WANTED), counted(enough)),
            None if outcome.method == Method::Fixed => "; more days don't help, only a larger `stop.units_min`.".into(),
            None => format!("; {} are out of reach.", percent(POWER_WANTED)),
        };
        told + &more
    });
    each.collect::<Vec<_>>().join(" ")
}

/// What the figures leave open.
pub(super) fn notes(experiment: &Experiment, outlook: &Outlook, designs: &[Design]) -> Vec<String> {
    let mut notes = Vec::new();
    let count = rules::comparisons(experiment);
    if count > 1 && experiment.analysis.correction != Correction::None {
        notes.push(format!(
            "{count} comparisons share an error of {}, so each is held to {}; some corrections grant more once others are decided, which isn't counted",
            short(experiment.analysis.alpha),
            short(rules::level(experiment))
        ));
    }
    if experiment.analysis.cuped_days > 0 {
        notes.push("what CUPED will save isn't known before, and isn't counted".into());
    }
    if outlook.deviation.is_some() && outlook.runs_per_unit.is_some_and(|runs| runs != 1.0) {
        notes.push("`runs_per_unit` is without effect, as the deviation given is that of units".into());
    }
    let per_arm = match (experiment.mode, experiment.analysis.method) {
        (Mode::Ab, Method::Asymptotic | Method::MixtureSprt) => experiment.stop.units_min.unwrap_or(0).max(BURN_IN_UNITS),
        _ => experiment.stop.units_min.unwrap_or(0),
    };
    if let Some(late) = designs.iter().map(|design| design.day_of(per_arm)).find(|day| *day > f64::from(outlook.days)) {
        notes.push(format!("nothing is decided before every arm has {} units, on day {}", number(per_arm as f64), number(late)));
    }
    for design in designs.iter().filter(|_| experiment.mode == Mode::Ab) {
        fixed_size(experiment, design, &mut notes);
        rare(experiment, design, per_arm, &mut notes);
    }
    notes
}

/// The size that the one look would need.
fn fixed_size(experiment: &Experiment, design: &Design, notes: &mut Vec<String>) {
    let needed = || design.plan(design.effect).ok()?.fixed_units(POWER_WANTED).ok();
    if experiment.analysis.method == Method::Fixed
        && let Some(needed) = needed()
    {
        let per_arm = needed as f64 / design.pair.units(1);
        notes.push(format!(
            "for a power of {} of {}, `stop.units_min` has to be {}",
            percent(POWER_WANTED),
            design.arm,
            number(per_arm.ceil())
        ));
    }
}

fn rare(experiment: &Experiment, design: &Design, per_arm: u64, notes: &mut Vec<String>) {
    let share = outlook::values(experiment.metrics.primary) == Some(Values::Share);
    let uneven = design.pair.arm != design.pair.control;
    let rarer = design.baseline.min(1.0 - design.baseline);
    let successes = rarer * per_arm as f64 * design.pair.arm.min(design.pair.control) / design.pair.smallest;
    if share && uneven && experiment.analysis.method != Method::Fixed && successes < SUCCESSES_MIN {
        notes.push(format!(
            "the smaller of {} and {} expects {successes:.1} runs that count at the first look: with fewer than {SUCCESSES_MIN} false alarms are more than told; raise `stop.units_min` to {} or make the arms even",
            design.arm,
            design.control,
            number((SUCCESSES_MIN / rarer).ceil())
        ));
    }
}

fn name(method: Method) -> &'static str {
    match method {
        Method::Asymptotic => "asymptotic",
        Method::MixtureSprt => "mixture_sprt",
        Method::Fixed => "fixed",
    }
}

fn plural(unit: UnitKind) -> &'static str {
    match unit {
        UnitKind::Session => "sessions",
        UnitKind::Header => "units",
        UnitKind::Query => "queries",
        UnitKind::Run => "runs",
    }
}

fn counted(days: u32) -> String {
    if days == 1 { "1 day".into() } else { format!("{} days", number(f64::from(days))) }
}

/// Four significant digits, without zeros at the end.
fn short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    format!("{value:.3e}").parse::<f64>().unwrap_or(value).to_string()
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let places = if percent.abs() < 9.95 && percent != 0.0 { 1 } else { 0 };
    format!("{percent:.places$} %")
}

/// A whole number in groups of three digits; a decimal below 100.
fn number(value: f64) -> String {
    if value < 100.0 && value.fract() != 0.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{:.0}", value);
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
