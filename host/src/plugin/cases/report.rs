//! What a replay of many cases changed: one line a case, and means over all.

use std::fmt;

use serde::Serialize;

use super::moves::{Moves, PlacedRow, RankingMoves};
use super::similarity::{OVERLAP_AT, RBO_P};

/// Moves and rows of one case that the table shows.
const SHOWN: usize = 5;

/// One case after its replay.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Replayed {
    /// Names the case.
    pub case: String,
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Moves(Moves),
    /// Why there is nothing to compare.
    Failed(String),
}

/// All cases of a replay. Its text form is a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub summary: Summary,
    /// In the order in which they were replayed.
    pub cases: Vec<Replayed>,
}

/// Counts and means over the cases of a replay.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    pub cases: usize,
    /// Nothing is otherwise.
    pub unchanged: usize,
    /// Something is otherwise, with those that are only rescored.
    pub changed: usize,
    /// The same rows in the same order, with other scores.
    pub only_rescored: usize,
    /// There was no output to compare.
    pub failed: usize,
    /// Cases with a ranking.
    pub rankings: usize,
    /// For each depth that any ranking reaches.
    pub overlap: Vec<MeanOverlap>,
    /// The mean over all rankings; none without rankings.
    pub rbo: Option<f64>,
}

/// The mean overlap at a depth, over the rankings that reach it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MeanOverlap {
    pub k: usize,
    pub mean: f64,
    pub rankings: usize,
}

impl Report {
    /// Out of each case's name and what moved, or why nothing can be said.
    pub fn new(cases: impl IntoIterator<Item = (String, Result<Moves, String>)>) -> Report {
        let replayed = |(case, result): (String, Result<Moves, String>)| Replayed {
            case,
            outcome: result.map_or_else(Outcome::Failed, Outcome::Moves),
        };
        let cases: Vec<Replayed> = cases.into_iter().map(replayed).collect();
        Report { summary: Summary::of(&cases), cases }
    }
}

impl Replayed {
    fn ranking(&self) -> Option<&RankingMoves> {
        match &self.outcome {
            Outcome::Moves(Moves::Ranking(moves)) => Some(moves),
            _ => None,
        }
    }

    /// `unchanged`, `rescored`, `changed` or `failed`.
    fn state(&self) -> &'static str {
        match &self.outcome {
            Outcome::Failed(_) => "failed",
            Outcome::Moves(moves) if moves.unchanged() => "unchanged",
            Outcome::Moves(moves) if moves.only_rescored() => "rescored",
            Outcome::Moves(_) => "changed",
        }
    }
}

impl Summary {
    fn of(cases: &[Replayed]) -> Summary {
        let count = |states: &[&str]| cases.iter().filter(|case| states.contains(&case.state())).count();
        let rankings: Vec<&RankingMoves> = cases.iter().filter_map(Replayed::ranking).collect();
        let overlap = OVERLAP_AT.into_iter().filter_map(|k| {
            let at_k: Vec<f64> = rankings.iter().flat_map(|moves| &moves.overlap).filter(|at| at.k == k).map(|at| at.overlap).collect();
            mean(&at_k).map(|mean| MeanOverlap { k, mean, rankings: at_k.len() })
        });
        Summary {
            cases: cases.len(),
            unchanged: count(&["unchanged"]),
            changed: count(&["changed", "rescored"]),
            only_rescored: count(&["rescored"]),
            failed: count(&["failed"]),
            rankings: rankings.len(),
            overlap: overlap.collect(),
            rbo: mean(&rankings.iter().map(|moves| moves.rbo).collect::<Vec<f64>>()),
        }
    }
}

fn mean(numbers: &[f64]) -> Option<f64> {
    if numbers.is_empty() { None } else { Some(numbers.iter().sum::<f64>() / numbers.len() as f64) }
}

impl fmt::Display for Summary {
    /// One line, and a second one when there are rankings; no line break at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { cases, unchanged, changed, only_rescored, failed, rankings, .. } = self;
        write!(f, "{cases} cases: {unchanged} unchanged, {changed} changed")?;
        if *only_rescored > 0 {
            write!(f, " ({only_rescored} in scores only)")?;
        }
        write!(f, ", {failed} failed")?;
        let Some(rbo) = self.rbo else { return Ok(()) };
        write!(f, "\nmeans over {rankings} rankings: RBO {rbo:.3} (p = {RBO_P})")?;
        for at in &self.overlap {
            write!(f, ", overlap@{} {:.3}", at.k, at.mean)?;
            if at.rankings < *rankings {
                write!(f, " (of {})", at.rankings)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    /// A line for each case, what changed below it, and the summary at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.cases.iter().map(|case| case.case.chars().count()).max().unwrap_or(0).max("case".len());
        writeln!(f, "{:<width$}  {:<9}  {:>5}  {:>7}  {:>5}  {:>5}  {:>5}", "case", "state", "RBO", "over@10", "moved", "came", "went")?;
        for case in &self.cases {
            write!(f, "{:<width$}  ", case.case)?;
            let Some(moves) = case.ranking() else {
                writeln!(f, "{}", case.state())?;
                write_words(f, &case.outcome)?;
                continue;
            };
            let at_10 = moves.overlap.iter().find(|at| at.k == 10).map_or("-".to_owned(), |at| format!("{:.3}", at.overlap));
            let (came, went) = (moves.came.len(), moves.went.len());
            writeln!(f, "{:<9}  {:>5.3}  {at_10:>7}  {:>5}  {came:>5}  {went:>5}", case.state(), moves.rbo, moves.moved)?;
            write_moves(f, moves)?;
        }
        write!(f, "{}", self.summary)
    }
}

fn write_words(f: &mut fmt::Formatter<'_>, outcome: &Outcome) -> fmt::Result {
    match outcome {
        Outcome::Failed(reason) => writeln!(f, "    {reason}"),
        Outcome::Moves(Moves::Gate(moves)) => moves.changes.iter().try_for_each(|change| writeln!(f, "    {change}")),
        Outcome::Moves(Moves::Ranking(_)) => Ok(()),
    }
}

fn write_moves(f: &mut fmt::Formatter<'_>, moves: &RankingMoves) -> fmt::Result {
    if !moves.largest.is_empty() {
        let largest: Vec<String> = moves.largest.iter().take(SHOWN).map(|row| format!("{}: {} → {}", row.id, row.from, row.to)).collect();
        writeln!(f, "    moved: {}{}", largest.join(", "), more(moves.moved))?;
    }
    for (what, rows) in [("came", &moves.came), ("went", &moves.went)] {
        if !rows.is_empty() {
            let names: Vec<String> = rows.iter().take(SHOWN).map(|PlacedRow { id, rank }| format!("{id} (rank {rank})")).collect();
            writeln!(f, "    {what}: {}{}", names.join(", "), more(rows.len()))?;
        }
    }
    if moves.rescored > 0 {
        writeln!(f, "    other scores: {} rows", moves.rescored)?;
    }
    Ok(())
}

fn more(all: usize) -> String {
    match all.saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(", … {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::moves::{GateMoves, compare};
    use super::super::testing::{RERANK, case, output};
    use super::super::{FusionInput, FusionOutput, Input, Output};
    use super::*;

    fn fused(before: &[u64], after: &[u64]) -> Result<Moves, String> {
        let output =
            |ids: &[u64]| Output::Fusion(FusionOutput { ids: ids.to_vec(), scores: vec![0.5; ids.len()], contributions: Vec::new() });
        let input = Input::Fusion(FusionInput { rrf_k: 60.0, runs: Vec::new() });
        compare(&input, &output(before), &output(after)).map_err(|error| error.to_string())
    }

    fn report() -> Report {
        let [before, after] = ["[0.5, 0.25, 0.75]", "[0.6, 0.25, 0.75]"].map(|scores| output(&format!(r#"{{"scores": {scores}}}"#)));
        let rescored = compare(&case(RERANK).input, &before, &after).map_err(|error| error.to_string());
        let ten: Vec<u64> = (1..=10).collect();
        let other: Vec<u64> = [2, 1].into_iter().chain(4..=10).chain([11]).collect();
        let gate = GateMoves { changes: vec!["class: default → vague".into(), "rm3: off → on".into()] };
        Report::new([
            ("same".to_owned(), fused(&ten, &ten)),
            ("other".to_owned(), fused(&ten, &other)),
            ("scores".to_owned(), rescored),
            ("gate".to_owned(), Ok(Moves::Gate(gate))),
            ("the same gate".to_owned(), Ok(Moves::Gate(GateMoves::default()))),
            ("broken".to_owned(), Err("a failure with `deadline`: too slow".to_owned())),
        ])
    }

    #[test]
    fn cases_are_counted_and_rankings_averaged() {
        let Summary { cases, unchanged, changed, only_rescored, failed, rankings, overlap, rbo } = report().summary;
        assert_eq!((cases, unchanged, changed, only_rescored, failed, rankings), (6, 2, 3, 1, 1, 3));
        // Rankings of 10, 10 and 3 rows: all reach 1, two reach 5 and 10.
        assert_eq!(overlap.iter().map(|at| (at.k, at.rankings)).collect::<Vec<_>>(), [(1, 3), (5, 2), (10, 2)]);
        let means: Vec<f64> = overlap.iter().map(|at| at.mean).collect();
        assert!((means[0] - 2.0 / 3.0).abs() < 1e-12 && (means[1] - 0.9).abs() < 1e-12 && (means[2] - 0.95).abs() < 1e-12, "{means:?}");
        assert!(rbo.is_some_and(|rbo| (0.8..1.0).contains(&rbo)), "{rbo:?}");
        let nothing = Report::new([]);
        assert_eq!((nothing.summary.rbo, nothing.summary.overlap.len()), (None, 0));
        assert!(nothing.to_string().ends_with("0 cases: 0 unchanged, 0 changed, 0 failed"));
    }

    #[test]
    fn the_table_tells_what_changed_below_each_case() {
        let text = report().to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "case           state        RBO  over@10  moved   came   went");
        assert_eq!(lines[1], "same           unchanged  1.000    1.000      0      0      0");
        assert!(lines[2].starts_with("other          changed    0.") && lines[2].ends_with("    0.900      9      1      1"), "{text}");
        assert_eq!(lines[3], "    moved: 2: 2 → 1, 1: 1 → 2, 4: 4 → 3, 5: 5 → 4, 6: 6 → 5, … 4 more");
        assert_eq!(lines[4..6], ["    came: 11 (rank 10)", "    went: 3 (rank 3)"]);
        assert_eq!(lines[6..8], ["scores         rescored   1.000        -      0      0      0", "    other scores: 1 rows"]);
        assert_eq!(lines[8..11], ["gate           changed", "    class: default → vague", "    rm3: off → on"]);
        assert_eq!(lines[11..14], ["the same gate  unchanged", "broken         failed", "    a failure with `deadline`: too slow"]);
        assert_eq!(lines[14], "6 cases: 2 unchanged, 3 changed (1 in scores only), 1 failed");
        assert!(lines[15].starts_with("means over 3 rankings: RBO 0.") && lines[15].contains("overlap@10 0.950 (of 2)"), "{text}");
        assert_eq!(lines.len(), 16);
    }

    #[test]
    fn the_report_is_json_too() {
        let json = serde_json::to_value(report()).unwrap();
        assert_eq!(json["summary"]["overlap"][1], json!({"k": 5, "mean": 0.9, "rankings": 2}));
        assert_eq!(json["cases"][1]["moves"]["came"], json!([{"id": 11, "rank": 10}]));
        assert_eq!(json["cases"][3]["moves"]["kind"], "gate");
        assert_eq!(json["cases"][5], json!({"case": "broken", "failed": "a failure with `deadline`: too slow"}));
    }
}
