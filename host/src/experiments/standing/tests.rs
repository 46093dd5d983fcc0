//! What is carried out after which decisions, and what a file can go through.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::experiments::read_text;

fn experiment(mode: &str, arms: &str, more: &str) -> CheckedExperiment {
    let primary = if mode == "interleave" { "used_findings" } else { "reciprocal_rank" };
    let arms: Vec<String> = arms.split(' ').map(|key| format!("{{ key = '{key}' }}")).collect();
    let text = format!("id = 'x'\nversion = 3\nmode = '{mode}'\narms = [{}]\nmetrics.primary = '{primary}'\n{more}", arms.join(", "));
    read_text(Path::new("x.toml"), &text).unwrap_or_else(|error| panic!("{error}"))
}

/// 2026-05-04T08:00:00Z, and days after it.
fn day(days: f64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_777_881_600) + DAY.mul_f64(days)
}

fn out(without: &[usize]) -> Carried {
    Carried::Out { without: without.to_vec() }
}

struct Desk {
    folder: tempfile::TempDir,
    file: StandingFile,
}

fn desk() -> Desk {
    let folder = tempfile::tempdir().unwrap();
    let file = StandingFile::new(&folder.path().join("data/experiments"));
    Desk { folder, file }
}

#[test]
fn arms_that_are_rolled_back_take_no_part() {
    let check = |mode: &str, arms: &str, more: &str, rolled_back: &[&str], expect: Result<&[usize], &str>| {
        let (desk, experiment) = (desk(), experiment(mode, arms, more));
        for variant in rolled_back {
            assert!(desk.file.roll_back(&experiment, variant, "it fails", day(0.0)).unwrap());
            assert!(!desk.file.roll_back(&experiment, variant, "again", day(1.0)).unwrap());
        }
        let carried = desk.file.read().unwrap().of(&experiment, day(2.0));
        match expect {
            Ok(without) => assert_eq!(carried, out(without), "{mode} {rolled_back:?}"),
            Err(expect) => assert_eq!(carried, Carried::Not { why: expect.into() }, "{mode} {rolled_back:?}"),
        }
    };
    let back = "was rolled back at 2026-05-04T08:00:00.000Z: it fails";
    check("ab", "a b c", "", &[], Ok(&[]));
    check("ab", "a b c", "", &["b"], Ok(&[1]));
    check("ab", "a b c d", "control = 'b'", &["d", "a"], Ok(&[0, 3]));
    check("ab", "a b c", "", &["gone"], Ok(&[]));
    check("ab", "a b", "", &["b"], Err(&format!("only the control is left: `b` {back}")));
    check("ab", "a b c", "", &["c", "b"], Err(&format!("only the control is left: `b` {back}; `c` {back}")));
    check("ab", "a b c", "", &["a"], Err(&format!("the others have nothing to be compared with: the control `a` {back}")));
    check(
        "ab",
        "a b c",
        "control = 'c'",
        &["a", "c"],
        Err(&format!("the others have nothing to be compared with: the control `c` {back}")),
    );
    check("shadow", "a b c", "", &["c"], Ok(&[2]));
    check("shadow", "a b", "", &["a"], Err(&format!("the others have nothing to be compared with: the control `a` {back}")));
    check("interleave", "a b", "", &["interleave"], Err(&format!("both arms fill one list, and `interleave` {back}")));
}

#[test]
fn days_are_counted_from_when_it_was_first_carried_out() {
    let (desk, month) = (desk(), experiment("ab", "a b", "stop.days_max = 28"));
    assert_eq!(desk.file.read().unwrap().of(&month, day(100.0)), out(&[]), "never carried out");
    assert!(desk.file.begin(&month, day(0.0)).unwrap());
    assert!(!desk.file.begin(&month, day(3.0)).unwrap());
    let read = || desk.file.read().unwrap();
    assert_eq!(read().since(&month), Some(day(0.0)));
    assert_eq!(read().of(&month, day(27.99)), out(&[]));
    assert!(!read().is_due(&month, day(27.99)) && !desk.file.end(&month, day(27.99)).unwrap());
    let over = Carried::Not { why: "it is over: 28 days since 2026-05-04T08:00:00.000Z are all that it may take".into() };
    assert_eq!(read().of(&month, day(28.0)), over, "before anybody notes it");
    assert!(read().is_due(&month, day(28.0)) && desk.file.end(&month, day(28.0)).unwrap());
    assert!(!read().is_due(&month, day(29.0)) && !desk.file.end(&month, day(29.0)).unwrap(), "noted once");
    assert_eq!(read().of(&month, day(1.0)), over, "a clock that is set back changes nothing");
    // More days go on from the first.
    let (longer, shorter, endless) =
        (experiment("ab", "a b", "stop.days_max = 40"), experiment("ab", "a b", "stop.days_max = 7"), experiment("ab", "a b", ""));
    assert_eq!(read().of(&longer, day(39.0)), out(&[]));
    assert!(matches!(read().of(&longer, day(40.0)), Carried::Not { .. }));
    assert!(desk.file.end(&longer, day(40.0)).unwrap(), "over once more");
    assert_eq!(read().of(&endless, day(1e5)), out(&[]));
    assert!(matches!(read().of(&shorter, day(1.0)), Carried::Not { .. }));
    // Another version has days of its own.
    let mut next = crate::experiments::Experiment::clone(&month);
    next.version = 4;
    assert_eq!(read().of(&next.check().unwrap(), day(50.0)), out(&[]));
}

#[test]
fn a_start_gives_back_what_was_taken() {
    let (desk, experiment) = (desk(), experiment("ab", "a b c", "stop.days_max = 28"));
    let lift = |days: f64| desk.file.lift(&experiment, day(days)).unwrap();
    assert!(lift(0.0).is_nothing());
    assert!(!desk.file.path().exists(), "nothing changes without being asked");
    desk.file.begin(&experiment, day(0.0)).unwrap();
    desk.file.roll_back(&experiment, "b", "it fails", day(1.0)).unwrap();
    desk.file.roll_back(&experiment, "c", "it fails", day(2.0)).unwrap();
    assert_eq!(lift(3.0), Lifted { arms: vec!["b".into(), "c".into()], over: false });
    let standing = desk.file.read().unwrap();
    assert_eq!((standing.of(&experiment, day(4.0)), standing.since(&experiment)), (out(&[]), Some(day(0.0))));
    desk.file.roll_back(&experiment, "b", "it fails", day(5.0)).unwrap();
    assert_eq!(lift(28.0), Lifted { arms: vec!["b".into()], over: true }, "also when nobody noted that it is over");
    let standing = desk.file.read().unwrap();
    assert_eq!((standing.of(&experiment, day(99.0)), standing.since(&experiment)), (out(&[]), None));
    assert!(desk.file.begin(&experiment, day(30.0)).unwrap());
    assert_eq!(desk.file.read().unwrap().of(&experiment, day(57.0)), out(&[]));
}

#[test]
fn the_file_is_as_documented() {
    let (desk, experiment) = (desk(), experiment("ab", "a b c", "stop.days_max = 2"));
    desk.file.begin(&experiment, day(0.0)).unwrap();
    desk.file.roll_back(&experiment, "b", &"ä".repeat(600), day(0.5)).unwrap();
    desk.file.end(&experiment, day(2.0)).unwrap();
    let text = std::fs::read_to_string(desk.file.path()).unwrap();
    let reason = "ä".repeat(500);
    let expect = serde_json::json!({"schema_version": 1, "experiments": {"x": {"3": {
        "since": "2026-05-04T08:00:00.000Z",
        "rolled_back": {"b": {"at": "2026-05-04T20:00:00.000Z", "reason": reason}},
        "over": {"at": "2026-05-06T08:00:00.000Z", "days_max": 2},
    }}}});
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), expect);
    let mut files: Vec<_> = std::fs::read_dir(desk.file.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["standing.json", "standing.lock"]);
    drop(desk.folder);
}

#[test]
fn a_damaged_file_is_named_and_left_as_it_is() {
    let (desk, experiment) = (desk(), experiment("ab", "a b", ""));
    desk.file.begin(&experiment, day(0.0)).unwrap();
    let whole = std::fs::read_to_string(desk.file.path()).unwrap();
    let half = &whole[..whole.len() / 2];
    for (text, expect) in [
        ("", "EOF while parsing"),
        (half, "EOF while parsing"),
        ("[]", "invalid length 0"),
        ("{\"schema_version\":2,\"experiments\":{}}", "`schema_version` is 2; allowed: 1"),
        (&whole.replace("2026", "2O26"), "is no moment such as"),
        (&whole.replace("since", "until"), "unknown field `until`"),
    ] {
        std::fs::write(desk.file.path(), text).unwrap();
        for message in [
            desk.file.read().unwrap_err().to_string(),
            desk.file.roll_back(&experiment, "b", "", day(1.0)).unwrap_err().to_string(),
            desk.file.lift(&experiment, day(1.0)).unwrap_err().to_string(),
        ] {
            assert!(message.starts_with(&format!("{}: is damaged: ", desk.file.path().display())), "{message}");
            assert!(message.contains(expect) && message.ends_with("which gives back all arms that were rolled back"), "{message}");
        }
        assert_eq!(std::fs::read_to_string(desk.file.path()).unwrap(), text);
    }
    std::fs::write(desk.file.path(), [0xff, 0xfe]).unwrap();
    assert!(matches!(desk.file.read(), Err(StandingError::Damaged { .. })));
    std::fs::remove_file(desk.file.path()).unwrap();
    assert_eq!(desk.file.read().unwrap(), Standing::default());
}

#[test]
fn servers_that_share_it_lose_nothing() {
    let (desk, all) = (desk(), experiment("ab", "a b c d e f g h", ""));
    let news: usize = std::thread::scope(|scope| {
        let servers: Vec<_> = (0..4)
            .map(|_| {
                let (file, all) = (desk.file.clone(), &all);
                scope.spawn(move || {
                    ["b", "c", "d", "e"].into_iter().filter(|key| file.roll_back(all, key, "it fails", day(0.0)).unwrap()).count()
                })
            })
            .collect();
        servers.into_iter().map(|server| server.join().unwrap()).sum()
    });
    assert_eq!(news, 4, "each roll-back is new to one of them");
    assert_eq!(desk.file.read().unwrap().of(&all, day(0.0)), out(&[1, 2, 3, 4]));
}

proptest! {
    #[test]
    fn a_standing_survives_being_written_and_read(
        entries in prop::collection::btree_map(
            ("[a-z]{1,9}", any::<u32>()),
            (0_u64..4_000_000_000_000, prop::collection::btree_map("[a-z_-]{1,9}", (0_u64..4_000_000_000_000, ".{0,40}"), 0..3), prop::option::of((0_u64..4_000_000_000_000, any::<u32>()))),
            0..5,
        ),
    ) {
        let at = |millis: u64| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        let entries = entries.into_iter().map(|(key, (since, rolled_back, over))| {
            let rolled_back = rolled_back.into_iter().map(|(key, (when, reason))| (key, RolledBack { at: at(when), reason })).collect();
            (key, Entry { since: at(since), rolled_back, over: over.map(|(when, days_max)| Over { at: at(when), days_max }) })
        });
        let standing = Standing { entries: entries.collect() };
        prop_assert_eq!(entry::read(&FileForm::of(&standing).text()).unwrap(), standing);
    }

    #[test]
    fn no_text_brings_it_down(text in "\\PC{0,200}") {
        let _ = entry::read(&text);
    }
}
