//! A report as tables for people.

use std::collections::BTreeMap;

use super::merge::Merged;
use super::report::{Kind, Report, SystemReport};
use super::statistics::{Difference, Estimate};

/// Differences less likely by chance than this are marked.
const NOTABLE_P: f64 = 0.05;

/// A system held against the first one, of one set or of several.
struct Other<'a> {
    kind: Kind,
    name: &'a str,
    instead: Option<&'a str>,
    /// What was searched, where that is one index.
    index: String,
    measures: &'a BTreeMap<String, Estimate>,
    differences: &'a BTreeMap<String, Difference>,
}

/// The report of one set. Columns are aligned.
pub fn render(report: &Report) -> String {
    let set = &report.set;
    let mut out = format!(
        "{} of {} queries, {} relevant, level {}{}\n\n",
        set.queries_judged,
        set.queries_read,
        set.relevant,
        serde_json::to_value(set.level).ok().and_then(|level| level.as_str().map(str::to_owned)).unwrap_or_default(),
        index(&report.system)
    );
    let order = &report.settings.measures;
    out += &table(&["measure", "mean", "95% interval"], &in_order(order, &report.system.measures).map(mean_row).collect::<Vec<_>>());
    let others: Vec<Other<'_>> = report
        .comparisons
        .iter()
        .map(|own| Other {
            kind: own.kind,
            name: &own.name,
            instead: own.instead.as_deref(),
            index: index(&own.system),
            measures: &own.system.measures,
            differences: &own.differences,
        })
        .collect();
    out += &comparisons(order, &others);
    if !report.passed_over.is_empty() {
        out += &format!("\nNot left out: {}\n", report.passed_over.join("; "));
    }
    out + &warned(&report.warnings)
}

/// Several sets as one: the mean of their means, then each.
pub fn render_merged(merged: &Merged) -> String {
    let mut out = format!("{} sets, each counts the same\n\n", merged.sets.len());
    let names: Vec<String> = merged.sets.iter().map(|set| format!("{} ({})", set.report, set.queries_judged)).collect();
    let header: Vec<&str> = ["measure", "mean", "95% interval"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let order = &merged.settings.measures;
    let rows: Vec<Vec<String>> = in_order(order, &merged.measures)
        .map(|(name, estimate)| {
            let own = merged.sets.iter().map(|set| set.measures.get(name).map(|mean| figure(*mean)).unwrap_or_default());
            mean_row((name, estimate)).into_iter().chain(own).collect()
        })
        .collect();
    out += &table(&header, &rows);
    let others: Vec<Other<'_>> = merged
        .comparisons
        .iter()
        .map(|own| Other {
            kind: own.kind,
            name: &own.name,
            instead: own.instead.as_deref(),
            index: String::new(),
            measures: &own.measures,
            differences: &own.differences,
        })
        .collect();
    out + &comparisons(order, &others) + &warned(&merged.warnings)
}

/// A table for each configuration, and one for all that was left out.
fn comparisons(order: &[String], others: &[Other<'_>]) -> String {
    let mut out = String::new();
    let (configurations, parts): (Vec<&Other<'_>>, Vec<&Other<'_>>) = others.iter().partition(|other| other.kind == Kind::Configuration);
    for other in configurations {
        out += &format!("\n{} (other − first){}\n\n", other.name, other.index);
        let header = ["measure", "mean", "difference", "95% interval", "p ", "won/lost/same"];
        let rows: Vec<Vec<String>> = in_order(order, other.differences)
            .map(|(name, difference)| [vec![name.clone(), mean_of(other, name)], difference_columns(difference)].concat())
            .collect();
        out += &table(&header, &rows);
    }
    if let (false, Some(main)) = (parts.is_empty(), order.first()) {
        out += &format!("\nLeft out in turn, {main}:\n\n");
        let header = ["without", "instead", "mean", "difference", "95% interval", "p ", "won/lost/same"];
        let rows: Vec<Vec<String>> = parts
            .iter()
            .filter_map(|part| {
                let names = vec![part.name.to_owned(), part.instead.unwrap_or_default().to_owned(), mean_of(part, main)];
                Some([names, difference_columns(part.differences.get(main)?)].concat())
            })
            .collect();
        out += &table(&header, &rows);
    }
    if !others.is_empty() {
        out += "\np: two-sided paired randomization test; * under 0.05, which chance alone gives once in twenty.\n";
    }
    out
}

fn warned(warnings: &[String]) -> String {
    warnings.iter().map(|warning| format!("\nwarning: {warning}\n")).collect()
}

fn index(system: &SystemReport) -> String {
    let index = &system.index;
    format!("; index {}, {} files, {} chunks", index.generation, index.files, index.chunks)
}

fn mean_row((name, estimate): (&String, &Estimate)) -> Vec<String> {
    vec![name.clone(), figure(estimate.mean), format!("{} – {}", figure(estimate.low), figure(estimate.high))]
}

fn mean_of(other: &Other<'_>, measure: &str) -> String {
    other.measures.get(measure).map(|estimate| figure(estimate.mean)).unwrap_or_default()
}

fn difference_columns(difference: &Difference) -> Vec<String> {
    vec![
        signed(difference.mean),
        format!("{} – {}", signed(difference.low), signed(difference.high)),
        format!("{}{}", figure(difference.p), if difference.p < NOTABLE_P { '*' } else { ' ' }),
        format!("{}/{}/{}", difference.wins, difference.losses, difference.ties),
    ]
}

fn in_order<'a, T>(order: &'a [String], by_name: &'a BTreeMap<String, T>) -> impl Iterator<Item = (&'a String, &'a T)> {
    order.iter().filter_map(|name| Some((name, by_name.get(name)?)))
}

fn figure(value: f64) -> String {
    format!("{value:.4}")
}

fn signed(value: f64) -> String {
    // Adding 0 takes the sign from −0.
    format!("{:+.4}", value + 0.0)
}

/// Names to the left, numbers to the right.
fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
    let all = || std::iter::once(&header).chain(rows);
    let width = |column: usize| all().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let is_number = |column: usize| {
        let mut cells = rows.iter().filter_map(|row| row.get(column)).peekable();
        cells.peek().is_some() && cells.all(|cell| cell.starts_with(|first: char| first.is_ascii_digit() || "+-".contains(first)))
    };
    let mut out = String::new();
    for row in all() {
        let cells: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(column, cell)| match is_number(column) {
                true => format!("{cell:>width$}", width = width(column)),
                false => format!("{cell:<width$}", width = width(column)),
            })
            .collect();
        out += cells.join("  ").trim_end();
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::merge::merge;
    use super::super::report::testing::sample;
    use super::*;

    #[test]
    fn tables_are_aligned() {
        let text = render(&sample());
        let expect = "3 of 4 queries, 6 relevant, level file; index g000001, 12 files, 1034 chunks\n\n\
                      measure       mean     95% interval\n\
                      ndcg@10     0.5833  0.2500 – 1.0000\n";
        assert!(text.starts_with(expect), "{text}");
        for line in [
            "other.toml (other − first); index g000001, 12 files, 1034 chunks",
            "without        instead               mean  difference       95% interval       p   won/lost/same",
            "channel dense  the other channels  0.5833     +0.0000  +0.0000 – +0.0000  1.0000           0/0/3",
            "Not left out: stage rerank: it is switched off",
            "warning: queries without a judgment, not asked: 1 (`d`)",
        ] {
            assert!(text.lines().any(|own| own == line), "`{line}` is not in:\n{text}");
        }
    }

    #[test]
    fn sets_stand_side_by_side() {
        let merged = merge(&[("a.json".into(), sample()), ("b.json".into(), sample())]).unwrap();
        let text = render_merged(&merged);
        for line in [
            "2 sets, each counts the same",
            "measure       mean     95% interval  a.json (3)  b.json (3)",
            "other.toml (other − first)",
            "warning: b.json: queries without a judgment, not asked: 1 (`d`)",
        ] {
            assert!(text.lines().any(|own| own == line), "`{line}` is not in:\n{text}");
        }
    }
}
