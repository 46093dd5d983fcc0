use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use serde_json::json;

use super::opened::Sessions;
use super::*;
use crate::experiments::events::{Search, Shown};

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_769_860_800 + seconds)
}

/// A run of session `s` that showed chunks, each with ten lines of a file of its own:
/// chunk 3 is `f3` from 30 to 39.
fn run(run_id: &str, seconds: u64, chunks: &[u64]) -> RunShown {
    let finding = |(number, chunk): (usize, &u64)| FindingShown {
        chunk: ChunkId(*chunk),
        rank: number as u32 + 1,
        path: format!("f{chunk}"),
        start_line: *chunk as u32 * 10,
        end_line: *chunk as u32 * 10 + 9,
    };
    let findings = chunks.iter().enumerate().map(finding).collect();
    RunShown { run_id: run_id.into(), session: Some("s".into()), ended: at(seconds), findings }
}

fn arguments(run_id: &str, chunks: &[u64], kind: FeedbackKind, grade: Option<u8>) -> FeedbackArguments {
    FeedbackArguments { run_id: run_id.into(), chunk_ids: chunks.iter().copied().map(ChunkId).collect(), kind, grade }
}

/// As a host does it: reports, writes, observes. Gives how many were accepted and known.
fn report(runs: &RecentRuns, arguments: &FeedbackArguments) -> (u32, u32) {
    let report = runs.report(arguments, at(9)).unwrap();
    assert_eq!(report.events.len(), report.answer.accepted as usize);
    report.events.iter().for_each(|event| runs.observe(event));
    (report.answer.accepted, report.answer.already_known)
}

#[test]
fn a_report_becomes_events() {
    let runs = RecentRuns::new(RUNS_DEFAULT);
    runs.remember(&run("r", 0, &[7, 8]));
    let report = runs.report(&arguments("r", &[8], FeedbackKind::Grade, Some(2)), at(9)).unwrap();
    assert_eq!(
        serde_json::to_value(&report.events).unwrap(),
        json!([{
            "application": "spanloom",
            "query_id": "r",
            "client_id": "s",
            "timestamp": "2026-01-31T12:00:09.000Z",
            "action_name": "graded",
            "event_attributes": {
                "object": { "object_id": 8, "object_id_field": "chunk_id" },
                "position": { "ordinal": 2 },
                "grade": 2,
                "source": "tool",
            },
        }])
    );
    assert_eq!(report.answer, FeedbackAnswer { accepted: 1, already_known: 0, run_id: "r".into() });
}

#[test]
fn the_same_again_is_known() {
    use FeedbackKind::*;
    let runs = RecentRuns::new(9);
    runs.remember(&run("r", 0, &[1, 2, 3]));
    runs.remember(&run("other", 0, &[1]));
    for (run_id, chunks, kind, grade, expected) in [
        ("r", &[1, 2][..], Used, None, (2, 0)),
        ("r", &[1, 2], Used, None, (0, 2)),
        ("r", &[3, 1, 3], Used, None, (1, 2)),
        ("r", &[1], Helpful, None, (1, 0)),
        ("r", &[1], NotHelpful, None, (1, 0)),
        ("other", &[1], Used, None, (1, 0)),
        ("r", &[1], Grade, Some(2), (1, 0)),
        ("r", &[1], Grade, Some(2), (0, 1)),
        // A correction, and back again.
        ("r", &[1], Grade, Some(3), (1, 0)),
        ("r", &[1], Grade, Some(2), (1, 0)),
    ] {
        assert_eq!(report(&runs, &arguments(run_id, chunks, kind, grade)), expected, "{run_id} {chunks:?} {kind:?}");
    }
    // What was not written isn't known.
    let copied = arguments("r", &[1], Copied, None);
    assert_eq!(runs.report(&copied, at(1)).unwrap(), runs.report(&copied, at(1)).unwrap());
}

#[test]
fn errors_name_the_value_and_what_is_allowed() {
    let runs = RecentRuns::new(5);
    runs.remember(&run("r", 0, &(1..=12).rev().collect::<Vec<_>>()));
    runs.remember(&run("empty", 0, &[]));
    let check = |run_id: &str, chunks: &[u64], kind, grade, expected: &str| {
        let error = runs.report(&arguments(run_id, chunks, kind, grade), at(0)).unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    use FeedbackKind::*;
    let allowed = "12, 11, 10, 9, 8, 7, 6, 5, 4, 3 and 2 more";
    check("x", &[1], Used, None, "`run_id` is `x`; allowed: the `run_id` of a search answer of this server, one of its last 5 runs");
    let long = "é".repeat(81);
    let cut = format!("`run_id` is `{}…`; allowed: the `run_id` of a search answer of this server, one of its last 5 runs", "é".repeat(80));
    check(&long, &[1], Used, None, &cut);
    check("r", &[1, 99, 98], Used, None, &format!("`chunk_ids` has 99, 98, not among what run `r` showed; allowed: {allowed}"));
    check("empty", &[1], Used, None, "`chunk_ids` has 1, not among what run `empty` showed; allowed: none, as it showed nothing");
    check("r", &[], Used, None, "`chunk_ids` has 0 entries; allowed: 1 to 100");
    check("r", &[1; 101], Used, None, "`chunk_ids` has 101 entries; allowed: 1 to 100");
    check("r", &[1], Grade, None, "`grade` is missing; allowed: 0 to 3 with kind `grade`");
    check("r", &[1], Grade, Some(4), "`grade` is 4; allowed: 0 to 3");
    check("r", &[1], Opened, Some(0), "`grade` is 0 with another kind than `grade`; allowed: a grade with kind `grade` only");
}

#[test]
fn arguments_are_read_as_they_are_described() {
    for (text, fits) in [
        (json!({"run_id": "r", "chunk_ids": [1], "kind": "not_helpful"}), true),
        (json!({"run_id": "r", "chunk_ids": [1], "kind": "grade", "grade": 3}), true),
        (json!({"run_id": "r", "chunk_ids": [1], "kind": "liked"}), false),
        (json!({"run_id": "r", "chunk_ids": [-1], "kind": "used"}), false),
        (json!({"run_id": "r", "chunk_ids": [1], "kind": "used", "note": "x"}), false),
        (json!({"chunk_ids": [1], "kind": "used"}), false),
    ] {
        assert_eq!(serde_json::from_value::<FeedbackArguments>(text.clone()).is_ok(), fits, "{text}");
    }
}

#[test]
fn runs_of_the_journal_can_be_reported_on() {
    let runs = RecentRuns::new(5);
    let findings = vec![Shown { object_id: 4, ordinal: 11, team: Some(1) }];
    let action = Action::Search(Search { status: "ok".into(), findings, ..Search::default() });
    let searched = Event {
        application: "spanloom".into(),
        query_id: "r".into(),
        client_id: Some("s".into()),
        timestamp: "2026-01-31T12:00:00Z".into(),
        action,
    };
    let used = arguments("r", &[4], FeedbackKind::Used, None);
    runs.observe(&searched);
    let marked = runs.report(&used, at(1)).unwrap().events.remove(0);
    assert_eq!(FeedbackKind::of(&marked.action).unwrap().1.position.ordinal, 11);
    runs.observe(&marked);
    runs.observe(&searched);
    assert_eq!(report(&runs, &used), (0, 1), "a run that comes again keeps what is known of it");
    runs.observe(&Event { query_id: "gone".into(), ..marked });
    assert_eq!(runs.len(), 1);
}

#[test]
fn an_opened_file_marks_the_latest_run_that_led_there() {
    let runs = RecentRuns::new(50);
    let mut both = run("old", 0, &[1, 2]);
    both.findings[1].path = "f1".into();
    runs.remember(&both);
    runs.remember(&run("new", 60, &[5, 1]));
    let opened = |session: &str, path: &str, start: u32, end: u32, seconds: u64| {
        let events = runs.opened_by(session, path, start, end, at(seconds));
        let told = |event: &Event| match &event.action {
            Action::Opened(mark) if mark.source == "open_file" => (event.query_id.clone(), mark.object.object_id, mark.position.ordinal),
            other => panic!("{other:?}"),
        };
        (events.iter().map(told).collect::<Vec<_>>(), events)
    };
    let new = vec![("new".to_owned(), 1, 2)];
    for (path, start, end, expected) in [
        ("f1", 1, 9, vec![]),
        ("f1", 1, 10, new.clone()),
        ("f1", 19, 2_000, new.clone()),
        ("f1", 20, 29, vec![("old".to_owned(), 2, 2)]),
        ("f9", 1, 2_000, vec![]),
        ("f1", 30, 10, vec![]),
    ] {
        assert_eq!(opened("s", path, start, end, 61).0, expected, "{path} {start} {end}");
    }
    assert_eq!(opened("t", "f1", 1, 99, 61).0, []);
    assert_eq!(opened("s", "f1", 1, 99, 60 + 30 * 60).0, new);
    assert_eq!(opened("s", "f1", 1, 99, 61 + 30 * 60).0, []);
    assert_eq!(opened("s", "f1", 1, 99, 0).0, new, "the clock was set back");
    // Once; the run before doesn't get it instead.
    opened("s", "f1", 1, 99, 61).1.iter().for_each(|event| runs.observe(event));
    assert_eq!(opened("s", "f1", 1, 99, 62).0, []);
    assert_eq!(report(&runs, &arguments("new", &[1], FeedbackKind::Opened, None)), (0, 1));
    // Eight runs later it is left behind.
    (0..8).for_each(|number| runs.remember(&run(&format!("later-{number}"), 70, &[7])));
    assert_eq!(opened("s", "f5", 1, 99, 80).0, []);
    assert_eq!(opened("s", "f7", 1, 99, 80).0, [("later-7".to_owned(), 7, 1)]);
}

#[test]
fn memory_is_bounded() {
    let runs = RecentRuns::new(3);
    for number in 0..9 {
        runs.remember(&run(&format!("r{number}"), number, &[number]));
        // One that is asked for stays.
        assert!(runs.report(&arguments("r0", &[0], FeedbackKind::Used, None), at(0)).is_ok());
    }
    assert_eq!(runs.len(), 3);
    assert!(runs.report(&arguments("r6", &[6], FeedbackKind::Used, None), at(0)).is_err());

    let many = RecentRuns::new(100_000);
    let chunks: Vec<u64> = (0..1_000).collect();
    (0..500).for_each(|number| many.remember(&RunShown { session: None, ..run(&format!("r{number}"), 0, &chunks) }));
    assert_eq!(many.len(), 400);

    let mut sessions = Sessions::default();
    (0..3_000).for_each(|number| sessions.remember(&RunShown { session: Some(format!("s{number}")), ..run("r", 0, &[1]) }));
    assert_eq!(sessions.len(), 2_000);
}

proptest! {
    #[test]
    fn no_report_brings_it_down(text in "\\PC{0,200}", ids in prop::collection::vec(any::<u64>(), 0..120), grade in any::<Option<u8>>()) {
        let runs = RecentRuns::new(2);
        runs.remember(&run(&text, 0, &[1]));
        for kind in [FeedbackKind::Used, FeedbackKind::Grade] {
            let _ = runs.report(&arguments(&text, &ids, kind, grade), at(0)).map_err(|error| error.to_string());
        }
        prop_assert!(runs.opened_by(&text, &text, u32::MAX, 0, SystemTime::UNIX_EPOCH).is_empty());
    }
}
