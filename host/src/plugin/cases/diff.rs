//! What is otherwise than expected, and how it reads.

use std::fmt::{self, Write as _};

use serde::Serialize;
use serde_json::Value as Json;

/// Rows of a table of two rankings.
const ROWS_SHOWN: usize = 20;
/// Rows before and after one that differs.
const ROWS_AROUND: usize = 2;
/// Numbers of one column.
const NUMBERS_SHOWN: usize = 10;
/// Marks a row that differs.
const MARK: &str = "←";

/// One thing that a case expects and a call did not give. Reads as text of one or more
/// lines without a line break at its end.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Difference {
    /// Success instead of failure, the reverse, or another failure.
    Outcome { expected: String, got: String },
    /// Text, a flag, a whole number or a list of texts.
    Value { at: String, expected: Json, got: Json },
    /// A column of another length.
    Length { at: String, expected: usize, got: usize },
    /// Those of a column's `of` numbers that are too far off.
    Numbers { numbers: Vec<NumberOff>, of: usize },
    /// Other rows, or the same in another order.
    Ranking { at: String, expected: Vec<TableRow>, got: Vec<TableRow> },
    /// A span that is missing or otherwise.
    Span { name: String, problem: SpanProblem },
}

/// A number that is too far off.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NumberOff {
    /// Such as `scores[3]`.
    pub at: String,
    pub expected: f32,
    pub got: f32,
    /// `|got - expected|`
    pub off: f64,
    /// The most that it may be.
    pub allowed: f64,
}

/// A row of a ranking.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TableRow {
    pub id: u64,
    /// None where the case doesn't say.
    pub score: Option<f32>,
}

/// What is wrong with a span.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "problem", rename_all = "snake_case")]
pub enum SpanProblem {
    /// No span of this name that isn't another expected one; the names of all spans.
    Missing {
        there: Vec<String>,
    },
    /// It is there, but before the expected span `after`.
    Order {
        after: String,
    },
    Parent {
        expected: String,
        got: Option<String>,
    },
    Attribute {
        key: String,
        expected: Json,
        got: Option<Json>,
    },
    Events {
        expected: Vec<String>,
        got: Vec<String>,
    },
}

/// All differences as text, each beginning on its own line; empty for none.
pub fn render(differences: &[Difference]) -> String {
    let texts: Vec<String> = differences.iter().map(ToString::to_string).collect();
    texts.join("\n")
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Outcome { expected, got } => write!(f, "expected {expected}, got {got}"),
            Difference::Value { at, expected, got } => write!(f, "{at}: expected {expected}, got {got}"),
            Difference::Length { at, expected, got } => write!(f, "{at}: expected {expected} values, got {got}"),
            Difference::Numbers { numbers, of } => write_numbers(f, numbers, *of),
            Difference::Ranking { at, expected, got } => write_ranking(f, at, expected, got),
            Difference::Span { name, problem } => write_span(f, name, problem),
        }
    }
}

impl fmt::Display for NumberOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NumberOff { at, expected, got, off, allowed } = self;
        write!(f, "{at}: expected {expected}, got {got} (off by {}, allowed {})", two_digits(*off), two_digits(*allowed))
    }
}

/// `2.2e-4`, `1e-5`, `1`.
fn two_digits(number: f64) -> String {
    if number == 0.0 || !number.is_finite() {
        return number.to_string();
    }
    let text = format!("{number:.1e}").replace(".0e", "e");
    text.strip_suffix("e0").map(str::to_owned).unwrap_or(text)
}

fn write_numbers(f: &mut fmt::Formatter<'_>, numbers: &[NumberOff], of: usize) -> fmt::Result {
    for (at, number) in numbers.iter().take(NUMBERS_SHOWN).enumerate() {
        write!(f, "{}{number}", if at == 0 { "" } else { "\n" })?;
    }
    match numbers.len().saturating_sub(NUMBERS_SHOWN) {
        0 => Ok(()),
        more => write!(f, "\n… {more} more; {} of {of} numbers differ", numbers.len()),
    }
}

fn write_span(f: &mut fmt::Formatter<'_>, name: &str, problem: &SpanProblem) -> fmt::Result {
    write!(f, "span `{name}`")?;
    match problem {
        SpanProblem::Missing { there } if there.is_empty() => write!(f, " is missing; there were none"),
        SpanProblem::Missing { there } => write!(f, " is missing; there were: {}", there.join(", ")),
        SpanProblem::Order { after } => write!(f, " was opened before `{after}`; expected after it"),
        SpanProblem::Parent { expected, got } => match got {
            Some(got) => write!(f, " is in `{got}`; expected in `{expected}`"),
            None => write!(f, " is in no span; expected in `{expected}`"),
        },
        SpanProblem::Attribute { key, expected, got } => match got {
            Some(got) => write!(f, ": attribute `{key}`: expected {expected}, got {got}"),
            None => write!(f, ": attribute `{key}`: expected {expected}, got none"),
        },
        SpanProblem::Events { expected, got } => {
            let got = if got.is_empty() { "none".to_owned() } else { got.join(", ") };
            write!(f, ": events: expected {} in this order, got {got}", expected.join(", "))
        }
    }
}

/// Both rankings side by side, as far as they differ.
fn write_ranking(f: &mut fmt::Formatter<'_>, at: &str, expected: &[TableRow], got: &[TableRow]) -> fmt::Result {
    let rows = expected.len().max(got.len());
    let differs = |row: usize| expected.get(row).map(|row| row.id) != got.get(row).map(|row| row.id);
    let differing = (0..rows).filter(|row| differs(*row)).count();
    let near = |row: &usize| (row.saturating_sub(ROWS_AROUND)..rows.min(row + ROWS_AROUND + 1)).any(differs);
    let shown: Vec<usize> = (0..rows).filter(near).take(ROWS_SHOWN).collect();

    let [expected, got] = [cells(expected, &shown), cells(got, &shown)];
    let width = expected.iter().chain(&got).map(|cell| cell.chars().count()).max().unwrap_or(0).max("expected".len());
    write!(f, "{at}: {differing} of {rows} rows differ\n{:>6}  {:<width$}  got", "rank", "expected")?;
    let mut next = 0;
    for (line, &row) in shown.iter().enumerate() {
        if row > next {
            write!(f, "\n{:>6}", "…")?;
        }
        let mark = if differs(row) { format!("{:<width$}  {MARK}", got[line]) } else { got[line].clone() };
        write!(f, "\n{:>6}  {:<width$}  {mark}", row + 1, expected[line])?;
        next = row + 1;
    }
    match rows - next {
        0 => Ok(()),
        more => match (next..rows).filter(|row| differs(*row)).count() {
            0 => write!(f, "\n… {more} more, all the same"),
            others => write!(f, "\n… {more} more, {others} of them differ"),
        },
    }
}

/// `id score` of the rows that are shown, ids to the right.
fn cells(rows: &[TableRow], shown: &[usize]) -> Vec<String> {
    let there = || shown.iter().map(|row| rows.get(*row));
    let width = there().flatten().map(|row| row.id.to_string().len()).max().unwrap_or(1);
    there()
        .map(|row| {
            let mut cell = String::new();
            // Writing into a string can't fail.
            let _ = match row {
                Some(TableRow { id, score: Some(score) }) => write!(cell, "{id:>width$} {score}"),
                Some(TableRow { id, score: None }) => write!(cell, "{id:>width$}"),
                None => write!(cell, "{:>width$}", "-"),
            };
            cell
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranking(expected: &[(u64, Option<f32>)], got: &[(u64, f32)]) -> Difference {
        let expected = expected.iter().map(|&(id, score)| TableRow { id, score }).collect();
        let got = got.iter().map(|&(id, score)| TableRow { id, score: Some(score) }).collect();
        Difference::Ranking { at: "order".into(), expected, got }
    }

    #[test]
    fn rankings_stand_side_by_side() {
        let short =
            ranking(&[(12, Some(0.0325)), (7, Some(0.0323)), (104, Some(0.016))], &[(12, 0.0325), (104, 0.0324), (7, 0.01), (9, 0.0)]);
        let lines = [
            "order: 3 of 4 rows differ",
            "  rank  expected    got",
            "     1   12 0.0325   12 0.0325",
            "     2    7 0.0323  104 0.0324  ←",
            "     3  104 0.016     7 0.01    ←",
            "     4    -           9 0       ←",
        ];
        assert_eq!(short.to_string(), lines.join("\n"));
        let bare = ranking(&[(1, None), (2, None)], &[(2, 1.0), (1, 0.5)]);
        assert_eq!(
            bare.to_string(),
            "order: 2 of 2 rows differ\n  rank  expected  got\n     1  1         2 1       ←\n     2  2         1 0.5     ←"
        );
        let nothing = ranking(&[(1, None)], &[]);
        assert_eq!(nothing.to_string(), "order: 1 of 1 rows differ\n  rank  expected  got\n     1  1         -         ←");
    }

    #[test]
    fn only_rows_around_differences_are_shown() {
        let expected: Vec<(u64, Option<f32>)> = (100..200).map(|id| (id, None)).collect();
        let mut got: Vec<(u64, f32)> = (100..200).map(|id| (id, 1.0)).collect();
        got.swap(10, 11);
        let text = ranking(&expected, &got).to_string();
        let ranks: Vec<&str> = text.lines().skip(2).filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(ranks, ["…", "9", "10", "11", "12", "13", "14", "…"]);
        assert!(text.ends_with("… 86 more, all the same"), "{text}");
        got.rotate_left(1);
        let text = ranking(&expected, &got).to_string();
        assert_eq!(text.lines().count(), 2 + ROWS_SHOWN + 1);
        assert!(text.ends_with("… 80 more, 80 of them differ"), "{text}");
        // Two places far from each other.
        got.rotate_right(1);
        got.swap(98, 99);
        let text = ranking(&expected, &got).to_string();
        assert_eq!(text.matches('…').count(), 2, "{text}");
        assert!(text.ends_with("   100  199       198 1     ←"), "{text}");
    }

    #[test]
    fn numbers_are_listed_up_to_a_limit() {
        let off = |at: usize| NumberOff { at: format!("scores[{at}]"), expected: 0.0325, got: 0.0331, off: 0.0006, allowed: 1e-5 };
        let few = Difference::Numbers { numbers: vec![off(3), off(4)], of: 5 };
        let line = |at: usize| format!("scores[{at}]: expected 0.0325, got 0.0331 (off by 6e-4, allowed 1e-5)");
        assert_eq!(few.to_string(), format!("{}\n{}", line(3), line(4)));
        let many = Difference::Numbers { numbers: (0..25).map(off).collect(), of: 30 };
        assert!(many.to_string().ends_with(&format!("{}\n… 15 more; 25 of 30 numbers differ", line(9))), "{many}");
    }

    #[test]
    fn distances_have_two_digits() {
        let check = |number: f64, expect: &str| assert_eq!(two_digits(number), expect);
        check(1e-5, "1e-5");
        check(0.000223, "2.2e-4");
        check(1.0, "1");
        check(35.2, "3.5e1");
        check(0.0, "0");
        check(f64::NAN, "NaN");
    }

    #[test]
    fn every_difference_is_json_too() {
        let json = |difference: &Difference| serde_json::to_value(difference).unwrap();
        let span = Difference::Span { name: "a".into(), problem: SpanProblem::Order { after: "b".into() } };
        assert_eq!(json(&span), serde_json::json!({"kind": "span", "name": "a", "problem": {"problem": "order", "after": "b"}}));
        assert_eq!(json(&ranking(&[(1, None)], &[]))["expected"][0], serde_json::json!({"id": 1, "score": null}));
        assert_eq!(render(&[span, Difference::Length { at: "scores".into(), expected: 1, got: 2 }]).lines().count(), 2);
        assert_eq!(render(&[]), "");
    }
}
