//! What was acknowledged is there: with many threads, killed processes, torn lines, full
//! disks. Processes are this program again, told by the environment what to do.

mod processes;

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use time::macros::date;

use super::*;
use crate::experiments::events::{Action, Control, Exposure, Search, Shown};

const TODAY: &str = "2026-01-31T12:00:00.000Z";

fn event(query_id: &str, timestamp: &str) -> Event {
    let search = Search { tool: "semantic_search".into(), status: "ok".into(), ..Search::default() };
    let action = Action::Search(search);
    Event { application: "spanloom".into(), query_id: query_id.into(), client_id: None, timestamp: timestamp.into(), action }
}

/// As large as that of a search with 10 findings and two experiments.
fn common(query_id: &str) -> Event {
    let exposure = |experiment: &str| Exposure {
        experiment: experiment.into(),
        version: 1,
        variant: "control".into(),
        bucket: 4_711,
        unit: "0123456789abcdef".into(),
    };
    let mut event = event(query_id, TODAY);
    if let Action::Search(search) = &mut event.action {
        search.duration_us = 41_000;
        search.findings = (1..=10).map(|ordinal| Shown { object_id: u64::MAX - u64::from(ordinal), ordinal, team: None }).collect();
        search.units = [("session", "0123456789abcdef"), ("query", "fedcba9876543210")].map(|(k, v)| (k.into(), v.into())).into();
        search.experiments = vec![exposure("fusion-dbsf"), exposure("rerank-depth")];
    }
    event
}

/// Ids of the events since a day, in order, and how many lines were damaged.
fn ids(folder: &Path, since: Option<Date>) -> (Vec<String>, u64) {
    let mut reader = read(folder, since).unwrap();
    let ids = reader.by_ref().map(|event| event.unwrap().query_id).collect();
    (ids, reader.passed_over().damaged.values().sum())
}

fn today(folder: &Path) -> PathBuf {
    folder.join("2026-01-31.jsonl")
}

fn append_raw(path: &Path, bytes: &[u8]) {
    OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(bytes).unwrap();
}

#[test]
fn what_is_written_is_read_by_days() {
    let folder = tempfile::tempdir().unwrap();
    let folder = &folder.path().join("made/on/the/way");
    assert_eq!(ids(folder, None), (vec![], 0));
    let journal = Journal::open(folder).unwrap();
    for (id, at) in [("a", "2026-01-30T23:59:59.999Z"), ("b", "2026-01-31T00:00:00.000Z"), ("late", "2026-01-30T23:59:59.998Z")] {
        journal.append(&event(id, at)).unwrap();
    }
    let both = [event("c", "2026-01-31T10:00:00.000Z"), event("d", "2026-02-01T00:00:00.000Z"), event("e", "2026-02-01T00:00:00.000Z")];
    journal.append_durably(&both).unwrap().wait().unwrap();
    journal.append_durably(&[]).unwrap().wait().unwrap();
    fs::write(folder.join("notes.jsonl"), "not ours").unwrap();
    assert_eq!(ids(folder, None).0, ["a", "late", "b", "c", "d", "e"]);
    assert_eq!(ids(folder, Some(date!(2026 - 01 - 31))).0, ["b", "c", "d", "e"]);
    assert_eq!(ids(folder, Some(date!(2026 - 02 - 02))), (vec![], 0));
    assert_eq!(read(folder, None).unwrap().last().unwrap().unwrap(), both[2]);
}

#[test]
fn times_are_those_of_utc() {
    assert_eq!(timestamp(SystemTime::UNIX_EPOCH + Duration::from_millis(1_769_860_800_007)), "2026-01-31T12:00:00.007Z");
    assert_eq!(date(&event("a", TODAY)).unwrap(), date!(2026 - 01 - 31));
    for wrong in ["", "2026-01-31", "2026-13-01T12:00:00Z", "2026-01-31T12:00:00+01:00", "2026-01-31 12:00:00Z", "ééééééééééééZ"]
    {
        let folder = tempfile::tempdir().unwrap();
        let message = Journal::open(folder.path()).unwrap().append(&event("a", wrong)).unwrap_err().to_string();
        assert!(message.starts_with(&format!("the time of an event is `{wrong}`; allowed: RFC 3339 in UTC")), "{message}");
    }
}

#[test]
fn threads_lose_nothing_and_tear_nothing() {
    const THREADS: usize = 8;
    const EVENTS: usize = 1_000;
    let folder = tempfile::tempdir().unwrap();
    // Two writers of one folder stand for two processes.
    let journals = [Journal::open(folder.path()).unwrap(), Journal::open(folder.path()).unwrap()];
    let barrier = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (journal, barrier) = (&journals[thread % 2], &barrier);
            scope.spawn(move || {
                barrier.wait();
                for number in 0..EVENTS {
                    let event = common(&format!("{thread}-{number}"));
                    match number % 100 {
                        0 => journal.append_durably(std::slice::from_ref(&event)).unwrap().wait().unwrap(),
                        _ => journal.append(&event).unwrap(),
                    }
                }
            });
        }
    });
    let text = fs::read_to_string(today(folder.path())).unwrap();
    assert_eq!(text.lines().count(), THREADS * EVENTS, "no line twice, none empty");
    let (ids, damaged) = ids(folder.path(), None);
    assert_eq!((ids.iter().collect::<BTreeSet<_>>().len(), damaged), (THREADS * EVENTS, 0));
    for thread in 0..THREADS {
        let of_thread = ids.iter().filter_map(|id| id.strip_prefix(&format!("{thread}-"))).map(|number| number.parse::<usize>().unwrap());
        assert!(of_thread.eq(0..EVENTS), "each thread's events are in its order");
    }
}

#[test]
fn a_torn_line_takes_no_other_with_it() {
    let folder = tempfile::tempdir().unwrap();
    append_raw(&today(folder.path()), b"{\"application\":\"spanl");
    let journal = Journal::open(folder.path()).unwrap();
    journal.append(&event("a", TODAY)).unwrap();
    // Others are cut off while this one has the file open, also between lines of its own.
    for (number, torn) in [&b"{\"appl"[..], b"}", b"\n\n{", b"\0\0\0\0", b"\xff\xfe"].into_iter().enumerate() {
        append_raw(&today(folder.path()), torn);
        journal.append(&event(&format!("b{number}"), TODAY)).unwrap();
        journal.append_durably(&[event(&format!("c{number}"), TODAY), event(&format!("d{number}"), TODAY)]).unwrap().wait().unwrap();
    }
    let (ids, damaged) = ids(folder.path(), None);
    let expected: Vec<String> = (0..5).flat_map(|number| ["b", "c", "d"].map(|id| format!("{id}{number}"))).collect();
    assert_eq!(ids, [vec!["a".to_owned()], expected].concat());
    assert_eq!(damaged, 6);
}

#[test]
fn a_file_that_was_cut_is_written_on() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path()).unwrap();
    for id in ["a", "b", "c"] {
        journal.append(&event(id, TODAY)).unwrap();
    }
    // Somebody made room in the middle of a line.
    let bytes = line(&event("a", TODAY)).unwrap().len() as u64;
    OpenOptions::new().write(true).open(today(folder.path())).unwrap().set_len(bytes * 3 / 2).unwrap();
    journal.append(&event("d", TODAY)).unwrap();
    assert_eq!(ids(folder.path(), None), (vec!["a".into(), "d".into()], 1));
}

#[test]
fn what_is_no_event_is_counted_and_its_file_named() {
    let folder = tempfile::tempdir().unwrap();
    let whole = serde_json::to_string(&event("a", TODAY)).unwrap();
    let lines = [
        &*whole,
        "",
        "[]",
        "{}",
        &whole.replace("\"tool\":\"semantic_search\",", ""),
        &whole.replace("\"search\"", "\"praised\""),
        &whole.replace("\"search\"", "\"praised\""),
        &whole.replace("\"search\"", "5"),
        &whole.replace("\"event_attributes\":{", "\"new\":1,\"event_attributes\":{\"later\":2,"),
        &"x".repeat(2 * LINE_BYTES_MAX + 1),
        &whole,
        &whole[..50],
    ];
    append_raw(&today(folder.path()), lines.join("\n").as_bytes());
    append_raw(&folder.path().join("2026-02-01.jsonl"), format!("{whole}\n").as_bytes());
    let mut reader = read(folder.path(), None).unwrap();
    assert_eq!(reader.by_ref().filter(Result::is_ok).count(), 4);
    let damaged = [(today(folder.path()), 6)].into();
    assert_eq!(*reader.passed_over(), PassedOver { damaged, unknown: [("praised".into(), 2)].into() });
    let long = event(&"x".repeat(LINE_BYTES_MAX), TODAY);
    assert!(matches!(Journal::open(folder.path()).unwrap().append(&long), Err(JournalError::TooLong { .. })));
}

#[test]
fn every_action_is_known() {
    let control = Control {
        experiment: "a".into(),
        version: 1,
        verb: "start".into(),
        actor: "b".into(),
        detail: "c\nd".into(),
        variant: None,
        coverage: Some(0.1),
    };
    let text = serde_json::to_string(&Action::Experiment(control)).unwrap();
    assert!(!text.contains('\n'));
    let error = serde_json::from_str::<Action>(&text.replace("\"experiment\",\"event", "\"\",\"event")).unwrap_err().to_string();
    assert!(read::ACTIONS.iter().all(|action| error.contains(&format!("`{action}`"))), "{error}");
    assert_eq!(error.matches('`').count(), 2 * (read::ACTIONS.len() + 1), "{error}");
}

#[test]
fn old_days_go_but_those_that_are_needed() {
    let folder = tempfile::tempdir().unwrap();
    for path in ["2026-01-01", "2026-01-10", "2026-01-20", "2026-01-30", "2026-01-31", "2026-09-01", "notes"] {
        fs::write(folder.path().join(format!("{path}.jsonl")), "0123456789").unwrap();
    }
    let check = |days_max, protected_from, files| {
        let swept = sweep(folder.path(), Keep { days_max, protected_from }, date!(2026 - 01 - 31)).unwrap();
        assert_eq!(swept, Swept { files, bytes: 10 * files }, "{days_max} {protected_from:?}");
    };
    check(0, None, 0);
    check(5, Some(date!(2026 - 01 - 01)), 0);
    check(30, None, 0);
    check(29, None, 1);
    check(5, Some(date!(2026 - 01 - 15)), 1);
    check(1, None, 1);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
    assert_eq!(
        sweep(&folder.path().join("none"), Keep { days_max: 1, protected_from: None }, date!(2026 - 01 - 31)).unwrap(),
        Swept::default()
    );
}

/// `cargo test --release cost_of_writing -- --ignored --nocapture`
#[test]
#[ignore = "prints measurements"]
fn cost_of_writing() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path()).unwrap();
    let event = common("0199c0de-0000-7000-8000-000000000000");
    let measured = |count: usize, act: &dyn Fn()| {
        let mut took: Vec<Duration> = (0..count)
            .map(|_| {
                let start = Instant::now();
                act();
                start.elapsed()
            })
            .collect();
        took.sort();
        [50, 95, 99].map(|share| took[count * share / 100]).map(|at| at.as_nanos() as f64 / 1e3)
    };
    let bytes = line(&event).unwrap().len();
    println!("append, {bytes} bytes, µs at 50, 95, 99 %: {:?}", measured(50_000, &|| journal.append(&event).unwrap()));
    let durable = || journal.append_durably(std::slice::from_ref(&event)).unwrap().wait().unwrap();
    println!("append_durably, µs: {:?}", measured(200, &durable));
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                durable();
            }
        });
        println!("append while another syncs without end, µs: {:?}", measured(20_000, &|| journal.append(&event).unwrap()));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| (0..10).for_each(|_| durable()));
        }
    });
    println!("320 durable events of 32 threads: {:?}", start.elapsed());
    let start = Instant::now();
    let count = read(folder.path(), None).unwrap().map(Result::unwrap).count();
    println!("read {count} events: {:?} each", start.elapsed() / count as u32);
}

proptest! {
    #[test]
    fn no_bytes_bring_the_reader_down(bytes in prop::collection::vec(any::<u8>(), 0..400), text in "\\PC{0,80}") {
        let folder = tempfile::tempdir().unwrap();
        append_raw(&today(folder.path()), &bytes);
        append_raw(&today(folder.path()), text.as_bytes());
        let journal = Journal::open(folder.path()).unwrap();
        journal.append(&event(&text, TODAY)).unwrap();
        prop_assert_eq!(ids(folder.path(), None).0, [text]);
    }
}
