//! One sentence on what may be concluded, never more than the test of the primary measure
//! says.

use super::report::*;
use crate::experiments::metric::Correction;
use crate::experiments::report::figure::{p_value, with_sign};

/// The verdict. `primary` is the measure that decides.
pub(super) fn verdict(source: &Source, statistics: &Statistics, primary: &str, arms: &[ArmReport], comparisons: &[Comparison]) -> Verdict {
    let alone = |sentence: String| Verdict { outcome: Outcome::NothingToCompare, sentence, arms: Vec::new() };
    let by = match source {
        Source::Judgments { .. } => "By these judgments",
        Source::RecordedRuns(_) => "By what was used of what recorded runs showed",
    };
    if let [arm] = arms {
        return alone(match arm.measures.get(primary) {
            Some(own) => format!(
                "There is one arm, so nothing is compared: {primary} of `{}` is {:.4}, between {:.4} and {:.4} with {:.0} %.",
                arm.arm,
                own.mean,
                own.low,
                own.high,
                statistics.confidence * 100.0
            ),
            None => format!("There is one arm, so nothing is compared, and nothing says how good `{}` is.", arm.arm),
        });
    }
    let own: Vec<&Comparison> = comparisons.iter().filter(|row| row.primary).collect();
    if own.is_empty() {
        return alone(match source {
            Source::RecordedRuns(facts) if facts.replayed > 0 => format!(
                "No verdict: of {} nothing is known to have been used, so only the lists are compared.",
                counted(facts.replayed, "recorded run", "recorded runs")
            ),
            _ => "No verdict: there is nothing to compare.".into(),
        });
    }
    let told: Vec<(Outcome, String)> = own.iter().map(|row| of_comparison(row, source, statistics)).collect();
    let mut parts: Vec<String> = told.iter().map(|(_, sentence)| sentence.clone()).collect();
    let tested = own.iter().any(|row| row.difference.wins + row.difference.losses > 0);
    if tested && comparisons.len() > 1 {
        parts.push(format!("p {}", corrected(statistics.correction, comparisons.len())));
    }
    Verdict {
        outcome: told.iter().map(|(outcome, _)| *outcome).min().unwrap_or(Outcome::NotDecided),
        sentence: format!("{by}, {}.", parts.join("; ")),
        arms: own.iter().zip(&told).map(|(row, (outcome, _))| ArmVerdict { arm: row.arm.clone(), outcome: *outcome }).collect(),
    }
}

/// A part of a sentence.
fn of_comparison(row: &Comparison, source: &Source, statistics: &Statistics) -> (Outcome, String) {
    let Comparison { arm, control, measure, difference, p_adjusted, .. } = row;
    let over = match source {
        Source::Judgments { .. } => counted(row.queries, "query", "queries"),
        Source::RecordedRuns(_) => counted(row.queries, "run", "runs"),
    };
    if difference.wins + difference.losses == 0 {
        return (Outcome::NotDecided, format!("`{arm}` and `{control}` have the same {measure} in each of {over}"));
    }
    let mean = signed(difference.mean);
    let p = p_value(*p_adjusted);
    let p = if p.starts_with('<') { format!("p {p}") } else { format!("p = {p}") };
    let alpha = statistics.alpha;
    if *p_adjusted > alpha {
        let sentence = format!("`{arm}` against `{control}` on {measure} is not decided: {mean} on average of {over}, {p}, over {alpha}");
        return (Outcome::NotDecided, sentence);
    }
    let (outcome, word) = if difference.mean > 0.0 { (Outcome::Better, "better") } else { (Outcome::Worse, "worse") };
    (outcome, format!("`{arm}` is {word} than `{control}` on {measure}: {mean} on average of {over}, {p}, at most {alpha}"))
}

/// What was done about so many comparisons.
pub(super) fn corrected(correction: Correction, comparisons: usize) -> String {
    match correction {
        Correction::None => format!("not corrected for {comparisons} comparisons"),
        own => format!("corrected by `{}` over {comparisons} comparisons", word(&own)),
    }
}

/// A difference with its sign.
pub(super) fn signed(value: f64) -> String {
    with_sign(value, format!("{:.4}", value.abs()))
}

/// The word that a value of an enum has in JSON.
pub(super) fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

pub(super) fn counted(count: usize, one: &str, many: &str) -> String {
    crate::experiments::report::figure::counted(count as u64, one, many)
}
