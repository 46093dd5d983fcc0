//! Processes that are killed, or find the disk full.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::*;

/// What a child of this program does, and where.
const TASK: &str = "SPANLOOM_JOURNAL_TEST_TASK";
const FOLDER: &str = "SPANLOOM_JOURNAL_TEST_FOLDER";
/// Before what a child says, among what the test's own frame prints.
const SAYS: &str = "child says ";

/// This program as a child that runs [`child`] only.
fn command(program: &mut Command, task: &str, folder: &Path) -> std::process::Child {
    let name = format!("{}::child", module_path!().split_once("::").unwrap().1);
    program.args(["--exact", &name, "--nocapture", "--test-threads=1"]).env(TASK, task).env(FOLDER, folder);
    program.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// What a line of a child's output says, if anything.
fn said(line: &str) -> Option<&str> {
    line.split_once(SAYS).map(|(_, said)| said)
}

/// Everything that a child says, until it ends. What it was killed in the middle of saying
/// it did not say.
fn told(mut output: impl BufRead) -> Vec<String> {
    let mut told = Vec::new();
    let mut line = String::new();
    while output.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
        told.extend(said(&line).and_then(|said| said.strip_suffix('\n')).map(str::to_owned));
        line.clear();
    }
    told
}

/// Not a test of its own: what children do.
#[test]
fn child() {
    let (Ok(task), Ok(folder)) = (std::env::var(TASK), std::env::var(FOLDER)) else { return };
    let journal = Journal::open(Path::new(&folder)).unwrap();
    // A write of its own for each, as the parent reads while this one is killed.
    let say = |what: &str| std::io::stdout().write_all(format!("{SAYS}{what}\n").as_bytes()).unwrap();
    match task.as_str() {
        "append" => {
            for number in 0_u64.. {
                let id = format!("{}-{number}", std::process::id());
                let mut event = event(&id, TODAY);
                // Some of several pages, which a kill can cut in two.
                if let (Action::Search(search), 0) = (&mut event.action, number % 3) {
                    search.tool = "x".repeat(20_000);
                }
                match number % 50 {
                    0 => journal.append_durably(&[event]).unwrap().wait().unwrap(),
                    _ => journal.append(&event).unwrap(),
                }
                say(&id);
            }
        }
        "fill" => {
            let full = (0..).find_map(|number| {
                let id = format!("before-{number}");
                let error = journal.append(&event(&id, TODAY)).err();
                if error.is_none() {
                    say(&id);
                }
                error
            });
            say(&format!("error {}", full.unwrap()));
            assert!(journal.append(&event("while", TODAY)).is_err());
            // The limit is one of each file, so another day has room.
            journal.append(&event("tomorrow", "2026-02-01T00:00:00.000Z")).unwrap();
            say("tomorrow");
            // Room, with half a line at its beginning.
            OpenOptions::new().write(true).open(today(Path::new(&folder))).unwrap().set_len(1_000).unwrap();
            journal.append(&event("after", TODAY)).unwrap();
            say("after");
        }
        other => panic!("no task {other}"),
    }
}

#[test]
fn kill_in_the_middle_of_appending_loses_nothing_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<String> = Vec::new();
    let mut survivor = 0;
    let journal = Journal::open(folder.path()).unwrap();
    for round in 0..10 {
        // Two children and this process write the same file.
        let start = || command(&mut Command::new(std::env::current_exe().unwrap()), "append", folder.path());
        let mut children = [start(), start()];
        let outputs = children.each_mut().map(|child| {
            let output = BufReader::new(child.stdout.take().unwrap());
            std::thread::spawn(move || told(output))
        });
        let until = Instant::now() + Duration::from_millis(60 + 7 * round);
        while Instant::now() < until {
            let id = format!("survivor-{survivor}");
            journal.append(&event(&id, TODAY)).unwrap();
            acknowledged.push(id);
            survivor += 1;
            std::thread::sleep(Duration::from_micros(100));
        }
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let told: Vec<String> = outputs.into_iter().flat_map(|output| output.join().unwrap()).collect();
        assert!(!told.is_empty());
        acknowledged.extend(told);
    }
    let (ids, damaged) = ids(folder.path(), None);
    let found: BTreeSet<&String> = ids.iter().collect();
    let lost: Vec<&String> = acknowledged.iter().filter(|id| !found.contains(id)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    // One for each that was killed, at most.
    assert!(damaged <= 20, "{damaged}");
    println!("{} acknowledged, {} found, {damaged} damaged", acknowledged.len(), ids.len());
}

#[test]
fn a_full_disk_is_told_and_room_is_used_again() {
    let folder = tempfile::tempdir().unwrap();
    // A limit on the size of files answers as a full disk does: first with a part of a
    // write, then with an error. It outlives `exec`, as does that its signal is ignored.
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
    let child = command(&mut shell, "fill", folder.path());
    let output = child.wait_with_output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let told: Vec<&str> = output.lines().filter_map(said).collect();
    let error = told.iter().find_map(|said| said.strip_prefix("error ")).unwrap_or_else(|| panic!("{output}"));
    assert!(error.starts_with(&format!("{}: can't be written: ", today(folder.path()).display())), "{error}");
    assert_eq!(told[told.len() - 2..], ["tomorrow", "after"], "{output}");

    let (ids, damaged) = ids(folder.path(), None);
    let expected: Vec<&str> =
        told.iter().copied().take(1_000 / line(&event("before-0", TODAY)).unwrap().len()).chain(["after", "tomorrow"]).collect();
    assert_eq!((ids, damaged), (expected.into_iter().map(str::to_owned).collect(), 1));
    // Without the limit, other processes go on.
    Journal::open(folder.path()).unwrap().append(&event("other", TODAY)).unwrap();
    assert!(super::ids(folder.path(), None).0.contains(&"other".to_owned()));
}
