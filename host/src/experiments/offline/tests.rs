//! Reports of made-up answers, held against what is true of them and against golden files.
//!
//! With `SPANLOOM_BLESS_EXPERIMENTS=1` the golden files are written anew.

use std::path::Path;

use super::recorded::{OVERLAP, RANK_BIASED_OVERLAP, RECIPROCAL_RANK, SUCCESS, figures};
use super::*;
use crate::eval::Level;
use crate::eval::judgments::Layout;
use crate::eval::matching::{Hit, Place};
use crate::eval::report::{IndexFacts, QueryReport, SetFacts};
use crate::experiments::check::CheckedExperiment;
use crate::experiments::read_text;

const NOW: &str = "2026-03-20T00:00:00Z";

fn experiment(arms: &[&str], more: &str) -> CheckedExperiment {
    let arms: Vec<String> = arms.iter().map(|key| format!("{{ key = '{key}' }}")).collect();
    let text = format!(
        "id = 'rrf-k'\nversion = 3\nmode = 'offline'\nhypothesis = 'First ranks deserve <more> weight.'\narms = [{}]\n{more}",
        arms.join(", ")
    );
    read_text(Path::new("test.toml"), &text).unwrap_or_else(|error| panic!("{error}"))
}

fn index() -> IndexFacts {
    IndexFacts { generation: "g000001".into(), files: 12, chunks: 1_034 }
}

/// A query with these figures.
fn asked(id: &str, measures: &[(&str, f64)], latency_ms: f64) -> AskedQuery {
    let query = QueryReport {
        query_id: id.into(),
        ranked: 10,
        relevant: 2,
        measures: measures.iter().map(|(name, figure)| ((*name).into(), *figure)).collect(),
        run_id: None,
        degraded: Vec::new(),
        error: None,
    };
    AskedQuery { query, latency_ms, warnings: Vec::new() }
}

/// Answers to judged queries: by arm, then by query, its nDCG. MRR is half of that.
fn judged(arms: &[&[f64]]) -> Asked {
    let set = SetFacts {
        queries: "q.jsonl".into(),
        qrels: Some("r.tsv".into()),
        corpus: None,
        layout: Layout::Qrels,
        level: Level::File,
        queries_read: arms[0].len() + 1,
        queries_judged: arms[0].len(),
        relevant: 2 * arms[0].len(),
    };
    let id = |place: usize| format!("q{place:02}");
    let per_query = |figures: &&[f64]| {
        let query = |(place, figure): (usize, &f64)| {
            asked(&id(place), &[("ndcg@10", *figure), ("mrr@10", figure / 2.0)], 20.0 + (place * 7 % 10) as f64)
        };
        figures.iter().enumerate().map(query).collect()
    };
    Asked {
        source: Source::Judgments { set, depth: 10, limit: 10 },
        measures: vec!["ndcg@10".into(), "mrr@10".into()],
        described: Vec::new(),
        queries: (0..arms[0].len()).map(|place| Query { query_id: id(place), text: Some(format!("words | of {place}")) }).collect(),
        arms: arms.iter().map(|own| ArmAnswers { index: index(), data_dir: None, per_query: per_query(own) }).collect(),
        warnings: vec!["queries without a judgment, not asked: 1 (`d`)".into()],
    }
}

const METRICS: &str = "metrics = { primary = 'ndcg@10', secondary = ['mrr@10'] }";

/// Twelve queries: one arm is a little better in all, the other is no different but for two.
fn three_arms() -> Report {
    let first: Vec<f64> = (0..12).map(|place| f64::from(place % 4) / 4.0).collect();
    let better: Vec<f64> = first.iter().map(|figure| figure + 0.125).collect();
    let mut same = first.clone();
    (same[2], same[3]) = (0.75, 0.5);
    let mut asked = judged(&[&first, &better, &same]);
    asked.arms[2].data_dir = Some("/data/other".into());
    let late = &mut asked.arms[2].per_query[5];
    (late.query.degraded, late.warnings) = (vec!["dense: deadline".into()], vec!["dense was late".into()]);
    let failed = &mut asked.arms[2].per_query[4];
    failed.query.error = Some("`query` is 25000 bytes long".into());
    compose(&experiment(&["60", "20", "5"], METRICS), asked, NOW)
}

/// Compares with a file, or writes it.
fn held_against(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/experiments/offline/golden").join(name);
    if std::env::var_os("SPANLOOM_BLESS_EXPERIMENTS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "{name} is not what is written now; SPANLOOM_BLESS_EXPERIMENTS=1 takes over:\n{text}");
}

fn pretty(report: &Report) -> String {
    serde_json::to_string_pretty(report).unwrap() + "\n"
}

#[test]
fn judged_arms_have_their_report() {
    let report = three_arms();
    held_against("judged.json", &pretty(&report));
    held_against("judged.md", &markdown(&report));
    assert_eq!(
        markdown(&serde_json::from_str::<Report>(&pretty(&report)).unwrap()),
        markdown(&report),
        "another after writing and reading"
    );
}

#[test]
fn differences_are_those_of_eval_corrected_for_their_number() {
    let report = three_arms();
    let names: Vec<(&str, &str)> = report.comparisons.iter().map(|row| (row.arm.as_str(), row.measure.as_str())).collect();
    assert_eq!(names, [("20", "ndcg@10"), ("5", "ndcg@10"), ("20", "mrr@10"), ("5", "mrr@10")]);
    let first = &report.comparisons[0];
    assert_eq!((first.difference.wins, first.difference.losses, first.difference.ties, first.queries), (12, 0, 0, 12));
    assert!((first.difference.mean - 0.125).abs() < 1e-12 && first.difference.p < 0.01, "{first:?}");
    // Holm: the smallest p four times, the next one three times, but not less.
    let second = &report.comparisons[2];
    assert!((first.p_adjusted - 4.0 * first.difference.p).abs() < 1e-12 && second.p_adjusted >= first.p_adjusted, "{second:?}");
    assert_eq!(report.comparisons[1].p_adjusted, 1.0);
    let alone =
        compose(&experiment(&["a", "b"], &format!("{METRICS}\nanalysis.correction = 'none'")), judged(&[&[0.0; 8], &[0.5; 8]]), NOW);
    assert!(alone.comparisons.iter().all(|row| row.p_adjusted == row.difference.p));
    assert!(alone.verdict.sentence.ends_with("; p not corrected for 2 comparisons."), "{}", alone.verdict.sentence);
}

#[test]
fn what_went_wrong_is_counted() {
    let report = three_arms();
    let third = &report.arms[2];
    assert_eq!((third.unanswered, third.degraded, third.warned), (1, 1, 1));
    assert_eq!(third.degraded_by.iter().map(|(part, count)| (part.as_str(), *count)).collect::<Vec<_>>(), [("dense: deadline", 1)]);
    let expect = [
        "queries without a judgment, not asked: 1 (`d`)",
        "arm `5`: queries without an answer, which count 0: 1 (`q04`: `query` is 25000 bytes long)",
        "arm `5`: queries with a degraded answer: 1 (`q05`: dense: deadline)",
    ];
    assert_eq!(report.warnings, expect);
    let latency = third.latency.as_ref().unwrap();
    assert_eq!(latency.answers, 11);
    assert!((20.0..30.0).contains(&latency.p50_ms) && latency.p95_ms > latency.p50_ms && latency.p95_high_ms.is_none(), "{latency:?}");
}

#[test]
fn the_verdict_says_no_more_than_the_test() {
    let check = |arms: &[&str], figures: &[&[f64]], outcome: Outcome, expect: &str| {
        let report = compose(&experiment(arms, METRICS), judged(figures), NOW);
        assert_eq!(report.verdict.outcome, outcome, "{}", report.verdict.sentence);
        assert!(report.verdict.sentence.starts_with(expect), "{}", report.verdict.sentence);
        assert!(markdown(&report).contains("**"), "a verdict stands above all");
    };
    let (low, high) = ([0.25; 10], [0.5; 10]);
    check(&["a", "b"], &[&low, &high], Outcome::Better, "By these judgments, `b` is better than `a` on ndcg@10: +0.2500 on average of 10");
    check(&["a", "b"], &[&high, &low], Outcome::Worse, "By these judgments, `b` is worse than `a` on ndcg@10: −0.2500");
    check(&["a", "b"], &[&low, &low], Outcome::NotDecided, "By these judgments, `b` and `a` have the same ndcg@10 in each of 10 queries.");
    // As large a difference, but of so few queries that chance alone gives it every fourth time.
    check(
        &["a", "b"],
        &[&low[..3], &high[..3]],
        Outcome::NotDecided,
        "By these judgments, `b` against `a` on ndcg@10 is not decided: +0.25",
    );
    check(&["a"], &[&low], Outcome::NothingToCompare, "There is one arm, so nothing is compared: ndcg@10 of `a` is 0.2500, between");
    check(&["a", "b", "c"], &[&low, &low, &high], Outcome::Better, "By these judgments, `b` and `a` have the same");
}

fn hit(document: &str) -> Hit {
    Hit { document: document.into(), path: document.into(), start_line: 1, end_line: 9, score: 0.5 }
}

/// Runs that showed `a` to `e` in this order; `swapped` shows `b` first. Of each, `used` is
/// the finding that was used, if any.
fn recorded(used: &[Option<&str>]) -> Asked {
    let (control, swapped) = (["a", "b", "c", "d", "e"].map(hit), ["b", "a", "c", "d", "f"].map(hit));
    let place = |path: &str| Place { path: path.into(), lines: Some((2, 3)) };
    let id = |number: usize| format!("run-{number}");
    let per_query = |hits: &[Hit], other: Option<&[Hit]>| {
        let one = |(number, used): (usize, &Option<&str>)| {
            let query = figures(&id(number), hits, &used.iter().map(|path| place(path)).collect::<Vec<_>>(), other);
            AskedQuery { query, latency_ms: 5.0, warnings: Vec::new() }
        };
        used.iter().enumerate().map(one).collect()
    };
    let answers = |per_query: Vec<AskedQuery>| ArmAnswers { index: index(), data_dir: None, per_query };
    let facts = RunFacts {
        replayed: used.len(),
        with_used_findings: used.iter().flatten().count(),
        other_generation: 1,
        first_at: Some("2026-03-01T00:00:00Z".into()),
        last_at: Some("2026-03-02T00:00:00Z".into()),
        skipped: vec![Skipped { reason: "it asked for a further page".into(), runs: 2, example: "run-9".into() }],
    };
    Asked {
        source: Source::RecordedRuns(facts),
        measures: vec![RECIPROCAL_RANK.into(), SUCCESS.into()],
        described: vec![OVERLAP.into(), RANK_BIASED_OVERLAP.into()],
        queries: (0..used.len()).map(|number| Query { query_id: id(number), text: None }).collect(),
        arms: vec![answers(per_query(&control, None)), answers(per_query(&swapped, Some(&control)))],
        warnings: Vec::new(),
    }
}

#[test]
fn recorded_runs_have_their_report() {
    let experiment = experiment(&["today", "swapped"], METRICS);
    let report = compose(&experiment, recorded(&[Some("a"), None, Some("b"), Some("e"), Some("a")]), NOW);
    held_against("recorded.json", &pretty(&report));
    held_against("recorded.md", &markdown(&report));
    assert_eq!(
        markdown(&serde_json::from_str::<Report>(&pretty(&report)).unwrap()),
        markdown(&report),
        "another after writing and reading"
    );
    // Runs without feedback say nothing of what is right.
    let row = &report.comparisons[0];
    assert_eq!((row.queries, row.difference.wins, row.difference.losses, row.difference.ties), (4, 1, 3, 0));
    assert!((row.difference.mean - (0.5 - 0.5 - 0.5 - 0.2) / 4.0).abs() < 1e-12, "{row:?}");
    assert_eq!(report.arms[1].measures[OVERLAP].mean, 0.8);
    assert!(!report.arms[0].measures.contains_key(OVERLAP) && report.warnings[0].starts_with("known bias: "));

    let silent = compose(&experiment, recorded(&[None, None]), NOW);
    assert_eq!(silent.comparisons, []);
    assert_eq!(
        silent.verdict.sentence,
        "No verdict: of 2 recorded runs nothing is known to have been used, so only the lists are compared."
    );
}
