//! The report as Markdown: the verdict, then what it rests on. Everything from outside is
//! escaped on the way.

use super::compose::paired;
use super::recorded::{OVERLAP, RANK_BIASED_OVERLAP};
use super::report::*;
use super::verdict::{counted, signed, word};
use crate::experiments::report::document::{Block, Section, Sheet};
use crate::experiments::report::figure::{millis, p_value};
use crate::experiments::report::markdown::write;
use crate::reports::table::Side::{Left, Right};

/// Queries with the largest gains, and as many with the largest losses, that are named.
const EXTREMES: usize = 5;
/// Figures that differ by less are the same.
const ROUNDING: f64 = 1e-12;

/// The report as Markdown.
pub fn markdown(report: &Report) -> String {
    let title = format!("Experiment {}, version {}: offline", report.subject.id, report.subject.version);
    write(&title, &report.verdict.sentence, &sections(report))
}

fn sections(report: &Report) -> Vec<Section> {
    let all: [(&'static str, Vec<Block>); 8] = [
        ("Warnings", list(&report.warnings)),
        ("What was asked", asked(report)),
        ("Arms", arms(report)),
        ("Differences", differences(report)),
        ("Agreement", agreement(report)),
        ("Latency and failures", conduct(report)),
        ("Wins and losses", extremes(report)),
        ("Methods", list(&report.methods)),
    ];
    all.into_iter().filter(|(_, blocks)| !blocks.is_empty()).map(|(title, blocks)| Section { title, blocks }).collect()
}

fn list(items: &[String]) -> Vec<Block> {
    if items.is_empty() { Vec::new() } else { vec![Block::List(items.to_vec())] }
}

fn asked(report: &Report) -> Vec<Block> {
    let Report { subject, source, .. } = report;
    let mut rows = Vec::new();
    let mut row = |key: &str, value: String| {
        if !value.is_empty() {
            rows.push(vec![key.to_owned(), value]);
        }
    };
    row("hypothesis", subject.hypothesis.clone());
    row("mode of the file", word(&subject.mode));
    row("control", subject.control.clone());
    row("primary measure", report.measures.first().cloned().unwrap_or_default());
    let mut skipped = Vec::new();
    match source {
        Source::Judgments { set, depth, limit } => {
            row("queries", format!("{} of {} in {}", set.queries_judged, set.queries_read, set.queries));
            row("judgments", set.qrels.clone().unwrap_or_else(|| "places, with the queries".into()));
            row("corpus", set.corpus.clone().unwrap_or_default());
            row("level", word(&set.level));
            row("relevant", set.relevant.to_string());
            row("ranks", format!("{depth}, of searches for {}", counted(*limit as usize, "finding", "findings")));
        }
        Source::RecordedRuns(facts) => {
            row("recorded runs", format!("{}, {} of them with a finding that was used", facts.replayed, facts.with_used_findings));
            row("first run", facts.first_at.clone().unwrap_or_default());
            row("last run", facts.last_at.clone().unwrap_or_default());
            let other = counted(facts.other_generation, "run", "runs");
            row("of another index generation", if facts.other_generation > 0 { other } else { String::new() });
            skipped = facts.skipped.iter().map(|own| vec![own.reason.clone(), own.runs.to_string(), own.example.clone()]).collect();
        }
    }
    row("definition", subject.digest.chars().take(12).collect());
    row("report made", report.generated_at.clone());
    let mut blocks = Sheet::new("What was asked of every arm", &[("what", Left), ("value", Left)], rows).blocks();
    let columns = [("reason", Left), ("runs", Right), ("such as", Left)];
    blocks.extend(Sheet::new("Recorded searches that were not asked again", &columns, skipped).blocks());
    blocks
}

fn arms(report: &Report) -> Vec<Block> {
    let mut rows = Vec::new();
    for arm in &report.arms {
        let name = if arm.control { format!("{} (control)", arm.arm) } else { arm.arm.clone() };
        let index = format!("{}{}", arm.data_dir.as_ref().map(|path| format!("{path}: ")).unwrap_or_default(), arm.index.generation);
        for measure in &report.measures {
            let Some(own) = arm.measures.get(measure) else { continue };
            let of = arm.per_query.iter().filter(|asked| asked.query.measures.contains_key(measure)).count();
            let interval = format!("{:.4} to {:.4}", own.low, own.high);
            rows.push(vec![name.clone(), index.clone(), measure.clone(), of.to_string(), format!("{:.4}", own.mean), interval]);
        }
    }
    let columns = [("arm", Left), ("index", Left), ("measure", Left), ("queries", Right), ("mean", Right), ("95 % interval", Left)];
    Sheet::new("Means over queries", &columns, rows).blocks()
}

fn differences(report: &Report) -> Vec<Block> {
    let row = |own: &Comparison| {
        let difference = &own.difference;
        vec![
            format!("{} against {}", own.arm, own.control),
            own.measure.clone(),
            if own.primary { "primary".into() } else { String::new() },
            signed(difference.mean),
            format!("{} to {}", signed(difference.low), signed(difference.high)),
            p_value(difference.p),
            p_value(own.p_adjusted),
            format!("{}/{}/{}", difference.wins, difference.losses, difference.ties),
        ]
    };
    let columns = [
        ("arms", Left),
        ("measure", Left),
        ("role", Left),
        ("difference", Right),
        ("95 % interval", Left),
        ("p", Right),
        ("p corrected", Right),
        ("won/lost/same", Right),
    ];
    Sheet::new("Differences of the arms from the control, query by query", &columns, report.comparisons.iter().map(row).collect()).blocks()
}

fn agreement(report: &Report) -> Vec<Block> {
    let shown = |arm: &ArmReport, measure: &str| Some(format!("{:.4}", arm.measures.get(measure)?.mean));
    let row = |arm: &ArmReport| Some(vec![arm.arm.clone(), shown(arm, OVERLAP)?, shown(arm, RANK_BIASED_OVERLAP)?]);
    let columns = [("arm", Left), ("overlap@10", Right), ("rank-biased overlap", Right)];
    Sheet::new("How the arms' lists agree with the control's", &columns, report.arms.iter().filter_map(row).collect()).blocks()
}

fn conduct(report: &Report) -> Vec<Block> {
    let row = |arm: &ArmReport| {
        let latency = arm.latency.as_ref();
        let ms = |of: fn(&Latency) -> f64| latency.map(|own| millis(of(own))).unwrap_or_else(|| "–".into());
        let interval = match latency.map(|own| (own.p95_low_ms, own.p95_high_ms)) {
            Some((Some(low), Some(high))) => format!("{} to {}", millis(low), millis(high)),
            Some((Some(low), None)) => format!("over {}", millis(low)),
            _ => String::new(),
        };
        let counts = [arm.unanswered, arm.degraded, arm.warned].map(|count| count.to_string());
        let by = arm.degraded_by.iter().map(|(part, count)| format!("{part} ({count})")).collect::<Vec<_>>().join(", ");
        [vec![arm.arm.clone(), ms(|own| own.p50_ms), ms(|own| own.p95_ms), interval], counts.to_vec(), vec![by]].concat()
    };
    let columns = [
        ("arm", Left),
        ("p50", Right),
        ("p95", Right),
        ("95 % interval of p95", Left),
        ("without answer", Right),
        ("degraded", Right),
        ("with warnings", Right),
        ("what was degraded", Left),
    ];
    Sheet::new("Latency of an answer, and queries that went otherwise than one would wish", &columns, report.arms.iter().map(row).collect())
        .blocks()
}

/// The queries in which each arm gains and loses most against the control.
fn extremes(report: &Report) -> Vec<Block> {
    let (Some(primary), Some(control)) = (report.measures.first(), report.arms.iter().find(|arm| arm.control)) else { return Vec::new() };
    let mut blocks = Vec::new();
    for arm in report.arms.iter().filter(|arm| !arm.control) {
        let queries = report.queries.iter().zip(&arm.per_query).filter(|(_, asked)| asked.query.measures.contains_key(primary));
        let (first, other) = paired(control, arm, primary);
        let mut all: Vec<(&Query, f64, f64)> =
            queries.zip(first.into_iter().zip(other)).map(|((query, _), (a, b))| (query, a, b)).collect();
        let gain = |(_, first, other): &(&Query, f64, f64)| other - first;
        // Stable: of equal differences the earlier query is the first.
        all.sort_by(|a, b| gain(b).total_cmp(&gain(a)));
        let wins: Vec<_> = all.iter().copied().filter(|own| gain(own) > ROUNDING).take(EXTREMES).collect();
        all.sort_by(|a, b| gain(a).total_cmp(&gain(b)));
        let losses = all.iter().copied().filter(|own| gain(own) < -ROUNDING).take(EXTREMES);
        let row = |(query, first, other): &(&Query, f64, f64)| {
            let figures = [format!("{first:.4}"), format!("{other:.4}"), signed(other - first)];
            [vec![query.query_id.clone(), query.text.clone().unwrap_or_default()], figures.to_vec()].concat()
        };
        let rows = wins.into_iter().chain(losses).map(|own| row(&own)).collect();
        let columns = [("query", Left), ("text", Left), ("control", Right), ("arm", Right), ("difference", Right)];
        let caption = format!("{primary} of {} against {}, where they differ most", arm.arm, control.arm);
        blocks.extend(Sheet::new(caption, &columns, rows).blocks());
    }
    blocks
}
