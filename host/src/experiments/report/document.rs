//! The report as sections, the same for every format. All texts are plain: who writes
//! them down escapes them.

use super::compare::lower_is_better;
use super::figure::{counted, millis, p_value, percent, signed, value};
use super::plot::{Bar, Plot, Point};
use super::report::*;
use crate::experiments::metric::{Guard, Metric};
use crate::reports::table::Side::{self, Left, Right};

/// Rows of the table that a plot has beside it.
const PLOT_ROWS: usize = 8;
/// Rows of a table, and items of a list. The JSON has them all.
const ROWS_MAX: usize = 100;

/// What stands below a title; left out when it is empty.
pub(in crate::experiments) struct Section {
    pub title: &'static str,
    pub blocks: Vec<Block>,
}

pub(in crate::experiments) enum Block {
    Text(String),
    List(Vec<String>),
    Table(Sheet),
    /// A picture, and the table of what it shows.
    Plot(Plot, Sheet),
}

/// A table. Its first column names the rows.
pub(in crate::experiments) struct Sheet {
    pub caption: String,
    pub columns: Vec<(&'static str, Side)>,
    pub rows: Vec<Vec<String>>,
}

impl Sheet {
    pub fn new(caption: impl Into<String>, columns: &[(&'static str, Side)], rows: Vec<Vec<String>>) -> Sheet {
        Sheet { caption: caption.into(), columns: columns.to_vec(), rows }
    }

    /// As a block, and how much of it is left out.
    pub fn blocks(mut self) -> Vec<Block> {
        let more = self.rows.len().saturating_sub(ROWS_MAX);
        self.rows.truncate(ROWS_MAX);
        match (self.rows.is_empty(), more) {
            (true, _) => Vec::new(),
            (false, 0) => vec![Block::Table(self)],
            (false, more) => vec![Block::Table(self), Block::Text(format!("… and {more} more, in the report's JSON"))],
        }
    }
}

/// The title and the verdict, which stand above all sections.
pub(super) fn title(report: &Report) -> String {
    format!("Experiment {}, version {}", report.subject.id, report.subject.version)
}

/// All sections that have something to tell.
pub(super) fn sections(report: &Report) -> Vec<Section> {
    let all: [(&'static str, Vec<Block>); 12] = [
        ("Sample ratio", sample_ratio(report)),
        ("Warnings", warnings(report)),
        ("Experiment", experiment(report)),
        ("Arms", arms(report)),
        ("Differences", differences(report)),
        ("Preferences", preferences(report)),
        ("Agreement", agreement(report)),
        ("Guardrails", guardrails(report)),
        ("Latency", latency(report)),
        ("Classes of queries", classes(report)),
        ("History", controls(report)),
        ("Methods", vec![Block::List(report.methods.clone())]),
    ];
    all.into_iter().filter(|(_, blocks)| !blocks.is_empty()).map(|(title, blocks)| Section { title, blocks }).collect()
}

fn sample_ratio(report: &Report) -> Vec<Block> {
    let Some(ratio) = &report.sample_ratio else { return Vec::new() };
    let Some(p) = ratio.p else { return vec![Block::Text("Nothing to check yet.".into())] };
    let told = match ratio.mismatch {
        true => {
            format!("Failed: units are not in the shares of the arms (p {}, under 0.001). Find out why before anything else.", shown_p(p))
        }
        false => format!("Passed: units are in the shares of the arms, as far as chance goes (p {}).", shown_p(p)),
    };
    let expected = |expected: Option<f64>| expected.map(|units| format!("{units:.1}")).unwrap_or_default();
    let rows = ratio.arms.iter().map(|row| vec![row.arm.clone(), row.weight.to_string(), row.units.to_string(), expected(row.expected)]);
    let columns = [("arm", Left), ("weight", Right), ("units", Right), ("expected", Right)];
    let mut blocks = vec![Block::Text(told)];
    blocks.extend(Sheet::new("Units by arm, and those that its weight promises", &columns, rows.collect()).blocks());
    blocks
}

fn shown_p(p: f64) -> String {
    let shown = p_value(p);
    if shown.starts_with('<') { shown } else { format!("= {shown}") }
}

fn warnings(report: &Report) -> Vec<Block> {
    let list: Vec<String> = report.warnings.iter().take(ROWS_MAX).map(|warning| warning.message.clone()).collect();
    if list.is_empty() { Vec::new() } else { vec![Block::List(list)] }
}

fn experiment(report: &Report) -> Vec<Block> {
    let Report { subject, period, counts, .. } = report;
    let mut rows = Vec::new();
    let mut row = |key: &str, value: String| {
        if !value.is_empty() {
            rows.push(vec![key.to_owned(), value]);
        }
    };
    row("hypothesis", subject.hypothesis.clone());
    row("owner", subject.owner.clone());
    row("mode", word(&subject.mode));
    row("state", word(&subject.state));
    row("unit", subject.unit.clone());
    row("primary metric", metric(subject.primary));
    row("control", subject.control.clone());
    row("started", period.started_at.clone().unwrap_or_default());
    row("first run", period.first_run_at.clone().unwrap_or_default());
    row("last run", period.last_run_at.clone().unwrap_or_default());
    row("ends", period.ends_at.clone().unwrap_or_default());
    row("units", counts.units.to_string());
    row("runs", format!("{}, {} of them with feedback", counts.runs, counts.runs_with_feedback));
    row("journal", format!("{}, {} of them repeated", counted(counts.events, "event", "events"), counts.repeated));
    row("definition", subject.digest.chars().take(12).collect());
    row("report made", report.generated_at.clone());
    Sheet::new("What is compared, and on what data", &[("what", Left), ("value", Left)], rows).blocks()
}

/// The word that a value of an enum has in JSON.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default().replace('_', " ")
}

fn metric(metric: Metric) -> String {
    if lower_is_better(metric) { format!("{metric} (lower is better)") } else { metric.to_string() }
}

fn arms(report: &Report) -> Vec<Block> {
    let mut rows = Vec::new();
    for arm in &report.arms {
        let name = if arm.control { format!("{} (control)", arm.arm) } else { arm.arm.clone() };
        for own in &arm.metrics {
            let shown = own.value.map(|figure| value(own.metric, figure)).unwrap_or_else(|| "–".into());
            let deviation = own.deviation.map(|figure| value(own.metric, figure)).unwrap_or_default();
            let counts = [arm.units.to_string(), arm.runs.to_string()];
            let [units, runs] = counts;
            rows.push(vec![name.clone(), units, runs, metric(own.metric), own.units.to_string(), shown, deviation]);
        }
    }
    let columns = [
        ("arm", Left),
        ("units", Right),
        ("runs", Right),
        ("metric", Left),
        ("units with it", Right),
        ("value", Right),
        ("deviation", Right),
    ];
    Sheet::new("Arms and their metrics: means over units, or figures over all runs", &columns, rows).blocks()
}

fn differences(report: &Report) -> Vec<Block> {
    let row = |own: &Comparison| {
        let shown = |figure: Option<f64>| figure.map(|figure| signed(own.metric, figure)).unwrap_or_else(|| "–".into());
        let interval = match (own.low, own.high) {
            (Some(_), Some(_)) => format!("{} to {}", shown(own.low), shown(own.high)),
            _ => own.why_none.clone().unwrap_or_default(),
        };
        let looks = match own.holds_for {
            HoldsFor::AnyLook => "any look",
            HoldsFor::OneLook => "one look",
        };
        let history = own.history.as_ref().map(|history| {
            let less = history.variance_reduction.map(|share| format!(", {} less variance", percent(share))).unwrap_or_default();
            format!("{} of units{less}", percent(history.units_share))
        });
        vec![
            format!("{} against {}", own.arm, own.control),
            metric(own.metric),
            if own.primary { "primary".into() } else { String::new() },
            shown(own.difference),
            interval,
            format!("{}, {looks}", percent(own.level)),
            own.p.map(p_value).unwrap_or_default(),
            own.p_adjusted.map(p_value).unwrap_or_default(),
            history.unwrap_or_default(),
        ]
    };
    let columns = [
        ("arms", Left),
        ("metric", Left),
        ("role", Left),
        ("difference", Right),
        ("interval", Left),
        ("holds with", Left),
        ("p", Right),
        ("p corrected", Right),
        ("adjusted by history", Left),
    ];
    let mut blocks =
        Sheet::new("Differences of the arms from the control", &columns, report.comparisons.iter().map(row).collect()).blocks();
    blocks.extend(report.comparisons.iter().filter_map(|own| {
        let name = format!("{} against {}: {}", own.arm, own.control, metric(own.metric));
        course(&name, own.metric, &own.course)
    }));
    blocks
}

/// A course of one point is in the table above; one without any interval would only invite to
/// read what can't be read yet.
fn course(name: &str, metric: Metric, points: &[CoursePoint]) -> Option<Block> {
    let told = points.iter().filter(|point| point.difference.is_some()).count();
    if told < 2 || points.iter().all(|point| point.low.is_none()) {
        return None;
    }
    let step = points.len().div_ceil(PLOT_ROWS);
    let shown = |figure: Option<f64>| figure.map(|figure| signed(metric, figure)).unwrap_or_else(|| "–".into());
    let row =
        |point: &CoursePoint| vec![point.at.clone(), point.units.to_string(), shown(point.difference), shown(point.low), shown(point.high)];
    // From the end, so that today is in it.
    let mut rows: Vec<Vec<String>> = points.iter().rev().step_by(step.max(1)).map(row).collect();
    rows.reverse();
    let columns = [("until", Left), ("units", Right), ("difference", Right), ("from", Right), ("to", Right)];
    let sheet = Sheet::new(format!("{name}, over time"), &columns, rows);
    let place = |point: &CoursePoint| Point { at: point.at.clone(), middle: point.difference, low: point.low, high: point.high };
    let description = points.last().map(|last| {
        format!("At the end, {} units: {}, from {} to {}.", last.units, shown(last.difference), shown(last.low), shown(last.high))
    });
    let plot = Plot::Course {
        title: format!("{name}, over time"),
        description: description.unwrap_or_default(),
        points: points.iter().map(place).collect(),
        metric,
    };
    Some(Block::Plot(plot, sheet))
}

fn preferences(report: &Report) -> Vec<Block> {
    let row = |own: &Preferred| {
        vec![
            format!("{} against {}", own.arm, own.control),
            own.metric.to_string(),
            if own.primary { "primary".into() } else { String::new() },
            own.wins.to_string(),
            own.losses.to_string(),
            own.ties.to_string(),
            own.share.map(percent).unwrap_or_else(|| "–".into()),
            format!("{} to {}", percent(own.low), percent(own.high)),
            format!("{}, any look", percent(own.level)),
            p_value(own.p),
            p_value(own.p_adjusted),
        ]
    };
    let columns = [
        ("arms", Left),
        ("metric", Left),
        ("role", Left),
        ("wins", Right),
        ("losses", Right),
        ("ties", Right),
        ("share", Right),
        ("interval", Left),
        ("holds with", Left),
        ("p", Right),
        ("p corrected", Right),
    ];
    let caption = "Units that prefer the arm, the control, or neither; the share is that of wins among those that prefer one";
    let mut blocks = Sheet::new(caption, &columns, report.preferences.iter().map(row).collect()).blocks();
    blocks.extend(report.preferences.iter().filter_map(|own| {
        let name = format!("{} against {}: share of units less one half, {}", own.arm, own.control, own.metric);
        course(&name, own.metric, &own.course)
    }));
    blocks
}

fn agreement(report: &Report) -> Vec<Block> {
    let shown = |share: Option<f64>| share.map(|share| format!("{share:.4}")).unwrap_or_else(|| "–".into());
    let row = |own: &Agreement| {
        vec![
            own.arm.clone(),
            own.runs.to_string(),
            shown(own.overlap_at_10),
            shown(own.rank_biased_overlap),
            own.runs_with_warnings.to_string(),
        ]
    };
    let columns = [("arm", Left), ("runs", Right), ("overlap@10", Right), ("rank-biased overlap", Right), ("runs with warnings", Right)];
    Sheet::new("How the arms' lists agree with those that were shown", &columns, report.agreements.iter().map(row).collect()).blocks()
}

fn guardrails(report: &Report) -> Vec<Block> {
    let shown = |guard: Guard, figure: Option<f64>| figure.map(|figure| value(Metric::Guard(guard), figure)).unwrap_or_else(|| "–".into());
    let row = |own: &GuardrailReport| {
        let state = match own.state {
            GuardrailState::Ok => "ok".to_owned(),
            GuardrailState::Breached => "breached".to_owned(),
            GuardrailState::TooFewRuns => format!("too few runs, {} needed", own.runs_min),
            GuardrailState::Unknown => "not known".to_owned(),
        };
        let limit = shown(own.metric, own.limit);
        vec![
            own.arm.clone(),
            own.metric.as_str().into(),
            shown(own.metric, own.value),
            limit,
            own.rule.clone(),
            own.runs.to_string(),
            state,
        ]
    };
    let columns = [("arm", Left), ("figure", Left), ("value", Right), ("limit", Right), ("rule", Left), ("runs", Right), ("state", Left)];
    Sheet::new("Figures that an arm may not worsen", &columns, report.guardrails.iter().map(row).collect()).blocks()
}

fn latency(report: &Report) -> Vec<Block> {
    let mut rows = Vec::new();
    for arm in &report.arms {
        for own in &arm.latency {
            let end = |end: Option<f64>| end.map(millis).unwrap_or_else(|| "–".into());
            rows.push(vec![arm.arm.clone(), format!("p{:.0}", own.share * 100.0), millis(own.value_ms), end(own.low_ms), end(own.high_ms)]);
        }
    }
    let columns = [("arm", Left), ("percentile", Left), ("time", Right), ("from", Right), ("to", Right)];
    Sheet::new("Percentiles of the runs' times, with intervals for one look", &columns, rows).blocks()
}

fn classes(report: &Report) -> Vec<Block> {
    let primary = report.subject.primary;
    let mut blocks = Vec::new();
    let mut keys: Vec<&str> = report.classes.iter().map(|row| row.arm.as_str()).collect();
    keys.dedup();
    for arm in keys {
        let own: Vec<&ClassReport> = report.classes.iter().filter(|row| row.arm == arm).collect();
        let counted = match own.first().map(|row| row.counted) {
            Some(Counted::Queries) | None => "queries that both arms were asked",
            Some(Counted::Units) => "units",
            Some(Counted::Runs) => "runs",
        };
        let caption = format!("{arm} against {} by class: {}; wins and losses count {counted}", report.subject.control, metric(primary));
        let row = |row: &&ClassReport| {
            vec![
                row.class.clone(),
                row.control_runs.to_string(),
                row.arm_runs.to_string(),
                row.difference.map(|figure| signed(primary, figure)).unwrap_or_default(),
                row.wins.to_string(),
                row.losses.to_string(),
                row.ties.to_string(),
            ]
        };
        let columns = [
            ("class", Left),
            ("control's runs", Right),
            ("arm's runs", Right),
            ("difference", Right),
            ("wins", Right),
            ("losses", Right),
            ("ties", Right),
        ];
        let sheet = Sheet::new(caption.clone(), &columns, own.iter().map(row).collect());
        let bar = |row: &&ClassReport| Bar { name: row.class.clone(), wins: row.wins, losses: row.losses };
        let (wins, losses) = own.iter().fold((0, 0), |(wins, losses), row| (wins + row.wins, losses + row.losses));
        if wins + losses == 0 {
            blocks.extend(sheet.blocks());
            continue;
        }
        let description = format!("{wins} wins and {losses} losses over all classes. It describes; nothing is tested.");
        blocks.push(Block::Plot(Plot::Bars { title: caption, description, bars: own.iter().map(bar).collect() }, sheet));
    }
    blocks
}

fn controls(report: &Report) -> Vec<Block> {
    let row = |own: &ControlReport| {
        vec![
            own.at.clone(),
            own.version.to_string(),
            own.verb.clone(),
            own.variant.clone().unwrap_or_default(),
            own.coverage.map(percent).unwrap_or_default(),
            own.actor.clone(),
            own.detail.clone(),
        ]
    };
    let columns = [("when", Left), ("version", Right), ("what", Left), ("arm", Left), ("coverage", Right), ("who", Left), ("detail", Left)];
    Sheet::new("What was done to the experiment", &columns, report.controls.iter().map(row).collect()).blocks()
}
