//! What requests change, refuse and write down.

use std::fs;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::experiments::events::{Action, Control};
use crate::experiments::journal;
use crate::experiments::monitor::Breach;
use crate::experiments::standing::Carried;
use crate::experiments::{Guard, read_text};

const AT: &str = "2026-05-04T08:00:00.000Z";
const START: Request = Request::Start { coverage: None };

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_777_881_600)
}

/// A folder of experiments, and all that is written of it.
struct Sandbox {
    folder: tempfile::TempDir,
    journal: Journal,
    standing: StandingFile,
}

impl Sandbox {
    fn new(files: &[(&str, &str)]) -> Sandbox {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("experiments")).unwrap();
        let data = folder.path().join("data");
        let sandbox = Sandbox { journal: Journal::open(&data).unwrap(), standing: StandingFile::new(&data), folder };
        files.iter().for_each(|(name, text)| fs::write(sandbox.path(name), text).unwrap());
        sandbox
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("experiments").join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn ask(&self, id: &str, request: Request) -> Result<Outcome, ControlError> {
        let folder = self.folder.path().join("experiments");
        let desk = ControlDesk { folder: &folder, journal: &self.journal, standing: &self.standing, actor: "ada" };
        desk.carry_out(id, request, Some("to see"), now())
    }

    /// What was written down, oldest first.
    fn events(&self) -> Vec<Control> {
        let events = journal::read(self.standing.folder(), None).unwrap().map(|event| event.unwrap());
        events
            .map(|event| {
                assert_eq!((event.application.as_str(), event.timestamp.as_str(), event.query_id.as_str()), ("spanloom", AT, ""));
                match event.action {
                    Action::Experiment(control) => control,
                    other => panic!("{other:?}"),
                }
            })
            .collect()
    }

    /// Names in the folder of experiments.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.folder.path().join("experiments"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn file(state: &str, coverage: f64) -> String {
    format!(
        "# Why: see the wiki.\nid = 'x'\nversion = 3\nstate = '{state}' # today\nmode = 'ab'\nowner = 'search'\nhypothesis = 'It helps.'\n\
         coverage = {coverage:?}\n\n# Both rerank.\narms = [{{ key = 'a' }}, {{ key = 'b' }}, {{ key = 'c' }}]\n\
         [metrics]\nprimary = 'success' # of a unit\n[stop]\ndays_max = 28\n"
    )
}

fn digest(text: &str) -> String {
    read_text(Path::new("x.toml"), text).unwrap().digest()
}

/// State before, request, state after with what is told and written down; or why not.
#[test]
fn requests_change_the_state_and_say_so() {
    let check = |before: &str, request: Request, expect: Result<(&str, &str, &str), &str>| {
        let text = file(before, 0.5);
        let sandbox = Sandbox::new(&[("x.toml", &text), ("README.md", "# x")]);
        let answer = sandbox.ask("x", request);
        let events = sandbox.events();
        match expect {
            Ok((after, sentence, detail)) => {
                let outcome = answer.unwrap_or_else(|error| panic!("{before} {request:?}: {error}"));
                assert_eq!(outcome.sentence, sentence, "{before} {request:?}");
                // All but the state is as it was.
                let expect = text.replace(&format!("state = '{before}'"), &format!("state = \"{after}\""));
                assert_eq!(sandbox.text("x.toml"), if outcome.changed { expect } else { text.clone() });
                assert_eq!(events.len(), usize::from(outcome.changed));
                for event in events {
                    let coverage = (event.verb == "start").then_some(0.5);
                    let detail = detail.replace("DIGEST", &digest(&text));
                    let expect = Control {
                        experiment: "x".into(),
                        version: 3,
                        verb: request.verb().into(),
                        actor: "ada".into(),
                        detail,
                        variant: None,
                        coverage,
                    };
                    assert_eq!(event, expect);
                }
            }
            Err(why) => {
                let error = answer.unwrap_err();
                assert!(matches!(error, ControlError::Refused { .. }), "{error:?}");
                assert_eq!(error.to_string(), format!("refused to {} x: {why}", request.verb()));
                assert_eq!(sandbox.text("x.toml"), text);
                assert_eq!((events.len(), events[0].verb.as_str(), events[0].version), (1, "refused", 3));
                assert_eq!(events[0].detail, format!("{}: {why}", request.verb()));
            }
        }
        assert_eq!(sandbox.names(), ["README.md", "x.toml"]);
    };
    let servers = "running servers take it up by themselves.";
    let started = format!("x version 3 is running with a coverage of 50 %; {servers}");
    check("draft", START, Ok(("running", &started, "draft → running; digest DIGEST; reason: to see")));
    check("paused", START, Ok(("running", &started, "paused → running; digest DIGEST; reason: to see")));
    check("running", START, Ok(("", "x version 3 is running already; nothing was changed.", "")));
    let paused = format!("x version 3 is paused: everybody gets what the server is configured for; {servers}");
    check("running", Request::Pause, Ok(("paused", &paused, "running → paused; reason: to see")));
    check("paused", Request::Pause, Ok(("", "x version 3 is paused already; nothing was changed.", "")));
    let stopped = format!("x version 3 is stopped for good: everybody gets what the server is configured for; {servers}");
    for before in ["draft", "running", "paused"] {
        check(before, Request::Stop, Ok(("stopped", &stopped, &format!("{before} → stopped; reason: to see"))));
    }
    check("stopped", Request::Stop, Ok(("", "x version 3 is stopped already; nothing was changed.", "")));
    let new = "it is stopped; what is measured anew needs a new `version` and state `draft` in its file, or a file of its own";
    check("stopped", START, Err(new));
    check("stopped", Request::Ramp { coverage: 0.5 }, Err(new));
    check("stopped", Request::Pause, Err("it is stopped; only what is running can be paused"));
    check("draft", Request::Pause, Err("it is a draft; only what is running can be paused"));
    check("draft", Request::Ramp { coverage: 0.7 }, Err("it is a draft; start it with this coverage"));
    for (coverage, shown) in [(1.5, "1.5"), (-0.1, "-0.1"), (f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
        check("running", Request::Ramp { coverage }, Err(&format!("the coverage is {shown}; allowed: 0 to 1")));
        check("draft", Request::Start { coverage: Some(coverage) }, Err(&format!("the coverage is {shown}; allowed: 0 to 1")));
    }
}

#[test]
fn coverage_goes_up_and_down() {
    let check = |state: &str, request: Request, after: (&str, f64), sentence: &str, detail: &str| {
        let text = file(state, 0.5);
        let sandbox = Sandbox::new(&[("x.toml", &text)]);
        let outcome = sandbox.ask("x", request).unwrap();
        assert_eq!(outcome.sentence, sentence);
        let state = if after.0 == state { format!("'{state}'") } else { format!("\"{}\"", after.0) };
        let expect = file("S", after.1).replace("'S'", &state);
        assert_eq!(sandbox.text("x.toml"), if outcome.changed { expect } else { text.clone() });
        let events = sandbox.events();
        assert_eq!(events.len(), usize::from(outcome.changed));
        for event in events {
            assert_eq!((event.detail.replace(&digest(&text), "DIGEST").as_str(), event.coverage), (detail, Some(after.1)));
        }
    };
    let ramp = |coverage: f64| Request::Ramp { coverage };
    let servers = "running servers take it up by themselves.";
    let leave = "units leave that were in, and their runs from now on don't count";
    check(
        "running",
        ramp(0.7),
        ("running", 0.7),
        &format!("the coverage of x version 3 is 70 %, after 50 %; {servers}"),
        "coverage 0.5 → 0.7; reason: to see",
    );
    check(
        "running",
        ramp(0.07),
        ("running", 0.07),
        &format!("the coverage of x version 3 is 7 %, after 50 %: {leave}; {servers}"),
        "coverage 0.5 → 0.07; reason: to see",
    );
    check(
        "running",
        ramp(0.0),
        ("running", 0.0),
        &format!("the coverage of x version 3 is 0 %, after 50 %: {leave}; {servers}"),
        "coverage 0.5 → 0; reason: to see",
    );
    check(
        "paused",
        ramp(1.0),
        ("paused", 1.0),
        &format!("the coverage of x version 3 is 100 %, after 50 %, and it is paused still; {servers}"),
        "coverage 0.5 → 1; reason: to see",
    );
    check("running", ramp(0.5), ("running", 0.5), "the coverage of x version 3 is 50 % already; nothing was changed.", "");
    let start = |coverage: f64| Request::Start { coverage: Some(coverage) };
    check(
        "draft",
        start(0.1),
        ("running", 0.1),
        &format!("x version 3 is running with a coverage of 10 %; {servers}"),
        "draft → running; coverage 0.5 → 0.1; digest DIGEST; reason: to see",
    );
    check(
        "running",
        start(0.1),
        ("running", 0.1),
        &format!("x version 3 is running with a coverage of 10 %: {leave}; {servers}"),
        "coverage 0.5 → 0.1; digest DIGEST; reason: to see",
    );
    check("running", start(0.5), ("running", 0.5), "x version 3 is running already; nothing was changed.", "");
}

/// What a server would not take up is refused, with all that it would say.
#[test]
fn what_a_server_would_refuse_is_refused() {
    let check = |files: &[(&str, &str)], request: Request, expect: &[&str]| {
        let sandbox = Sandbox::new(files);
        let message = sandbox.ask("x", request).unwrap_err().to_string();
        for expect in expect {
            assert!(message.contains(expect), "{message}");
        }
        for (name, text) in files {
            assert_eq!(sandbox.text(name), *text);
        }
        let events = sandbox.events();
        assert!(events.len() == 1 && events[0].verb == "refused" && events[0].actor == "ada", "{events:?}");
        assert!(events[0].detail.starts_with(&format!("{}: ", request.verb())) && events[0].detail.contains(expect[0]), "{events:?}");
    };
    let draft = file("draft", 1.0);
    let nobody = draft.replace("'search'", "''");
    check(&[("x.toml", &nobody)], START, &["x.toml: `owner` is empty; allowed: some text, as the experiment is running"]);
    let unpinned = draft.replace("{ key = 'b' }", "{ key = 'b', plugins.fusion.plugin = 'rrf' }");
    check(&[("x.toml", &unpinned)], START, &["`arms[1].plugins.fusion.sha256` is missing"]);
    let layer = |from: u32, text: &str| {
        text.replace("[metrics]", &format!("[layer]\nname = 'l'\nsalt = 's'\nbuckets = [{from}, {}]\n[metrics]", from + 600))
    };
    let other = layer(500, &file("running", 1.0)).replace("id = 'x'", "id = 'y'");
    check(
        &[("a.toml", &other), ("x.toml", &layer(0, &draft))],
        START,
        &["`layer.buckets` is [0, 600], which overlaps [500, 1100] of `y` in a.toml"],
    );
    check(&[("a.toml", &draft), ("x.toml", &draft)], START, &["x.toml: `id` is `x`, as in a.toml"]);
    check(&[("a.toml", "id = "), ("x.toml", &file("running", 1.0))], Request::Pause, &["a.toml:1:6: "]);
    check(&[("x.toml", &file("on", 1.0))], START, &["`state` can't be read: unknown variant `on`"]);
    check(&[("x.toml", &draft.replace("'c' }", "'c', weight = 0.0001 }"))], START, &["`arms[2].weight` is 0.0001"]);
    let small = draft.replace("'c' }", "'c', weight = 0.001 }");
    check(
        &[("x.toml", &small.replace("draft", "running"))],
        Request::Ramp { coverage: 0.01 },
        &["`arms[2].weight` is 0.001; allowed: a weight that is worth a bucket"],
    );
}

/// A file that is wrong only because it runs can be paused.
#[test]
fn what_a_request_mends_is_carried_out() {
    let text = file("running", 1.0).replace("'search'", "''");
    let sandbox = Sandbox::new(&[("x.toml", &text)]);
    assert!(sandbox.ask("x", START).is_err());
    assert!(sandbox.ask("x", Request::Pause).unwrap().changed);
    assert!(read_folder(&sandbox.folder.path().join("experiments")).is_ok());
}

#[test]
fn who_asks_for_nothing_is_told_what_there_is() {
    let sandbox = Sandbox::new(&[("x.toml", &file("draft", 1.0)), ("y.toml", &file("draft", 1.0).replace("'x'", "'y'"))]);
    let message = sandbox.ask("z", START).unwrap_err().to_string();
    assert!(message.starts_with("`z` is no experiment of ") && message.ends_with("; allowed: x, y"), "{message}");
    assert!(Sandbox::new(&[]).ask("z", START).unwrap_err().to_string().ends_with("allowed: none, as the folder has no experiment"));
    fs::write(sandbox.path("w.toml"), "id = 'z'\nnonsense").unwrap();
    let message = sandbox.ask("z", START).unwrap_err().to_string();
    assert!(message.contains("w.toml:2:"), "it may be that one: {message}");
    assert!(sandbox.events().is_empty());
}

#[test]
fn a_start_gives_back_arms_and_days() {
    let text = file("running", 1.0);
    let sandbox = Sandbox::new(&[("x.toml", &text)]);
    let experiment = read_text(Path::new("x.toml"), &text).unwrap();
    let breach = |arm: usize, variant: &str| Breach {
        arm,
        variant: variant.into(),
        metric: Guard::ErrorRate,
        observed: 0.085,
        allowed: 0.02,
        runs: 400,
        increase_max: None,
    };
    let roll_back = |breach: &Breach| sandbox.standing.roll_back(&experiment, &breach.variant, &breach.to_string(), now()).unwrap();
    assert!(roll_back(&breach(1, "b")));
    let servers = "running servers take it up by themselves.";
    assert!(sandbox.ask("x", Request::Pause).unwrap().changed);
    assert!(!sandbox.standing.read().unwrap().would_lift(&experiment, now()).is_nothing(), "only a start gives back");
    let outcome = sandbox.ask("x", START).unwrap();
    assert_eq!(outcome.sentence, format!("x version 3 is running with a coverage of 100 %; arm `b` is given again; {servers}"));
    let restarted = sandbox.text("x.toml");
    // Without a change of the file.
    assert!(roll_back(&breach(1, "b")) && roll_back(&breach(2, "c")));
    let outcome = sandbox.ask("x", START).unwrap();
    assert_eq!(outcome.sentence, format!("x version 3 runs on; arms `b`, `c` are given again; {servers}"));
    assert_eq!(sandbox.text("x.toml"), restarted);
    assert_eq!(sandbox.standing.read().unwrap().of(&experiment, now()), Carried::Out { without: vec![] });
    assert!(!sandbox.ask("x", START).unwrap().changed);
    let month = Duration::from_secs(28 * 86_400);
    sandbox.standing.lift(&experiment, now()).unwrap();
    let early = Sandbox::new(&[("x.toml", &text)]);
    early.standing.begin(&experiment, now() - month).unwrap();
    let outcome = early.ask("x", START).unwrap();
    assert_eq!(outcome.sentence, format!("x version 3 runs on; its days count anew; {servers}"));
    let details: Vec<String> =
        sandbox.events().into_iter().chain(early.events()).map(|event| event.detail.replace(&digest(&text), "DIGEST")).collect();
    assert_eq!(
        details,
        [
            "running → paused; reason: to see",
            "paused → running; gives back arm `b`; digest DIGEST; reason: to see",
            "gives back arms `b`, `c`; digest DIGEST; reason: to see",
            "its days count anew; digest DIGEST; reason: to see",
        ]
    );
    // What can't be read keeps nobody from pausing.
    fs::write(sandbox.standing.path(), "{").unwrap();
    assert!(matches!(sandbox.ask("x", START), Err(ControlError::Standing(StandingError::Damaged { .. }))));
    assert!(sandbox.ask("x", Request::Pause).unwrap().changed);
}

#[test]
fn what_a_server_does_by_itself_is_an_event_of_its_own() {
    let experiment = read_text(Path::new("x.toml"), &file("running", 1.0)).unwrap();
    let breach =
        Breach { arm: 1, variant: "b".into(), metric: Guard::ErrorRate, observed: 0.085, allowed: 0.02, runs: 400, increase_max: None };
    let [back, over] = [record::rolled_back(&experiment, &breach, now()), record::over(&experiment, now())]
        .map(|event| serde_json::to_value(event).unwrap());
    assert_eq!(
        back,
        serde_json::json!({"application": "spanloom", "timestamp": AT, "action_name": "experiment", "event_attributes": {
            "experiment": "x", "version": 3, "verb": "roll_back", "actor": "spanloom", "variant": "b",
            "detail": "error_rate of the latest 400 runs of arm `b` is 0.085; allowed: 0.02",
        }})
    );
    assert_eq!(
        over["event_attributes"],
        serde_json::json!({"experiment": "x", "version": 3, "verb": "stop", "actor": "spanloom", "detail": "28 days since it was first carried out are all that it may take"})
    );
}

/// The file stays as it is when the event can't be written, or somebody else was faster.
#[test]
fn nothing_changes_that_isnt_written_down() {
    let text = file("running", 1.0);
    let sandbox = Sandbox::new(&[("x.toml", &text)]);
    let folder = sandbox.folder.path().join("experiments");
    let desk = ControlDesk { folder: &folder, journal: &sandbox.journal, standing: &sandbox.standing, actor: "ada" };
    let found = find(&folder, "x").unwrap();
    let too_long = || Err(JournalError::TooLong { bytes: 9 });
    assert!(matches!(desk.replace(&found, "other", too_long), Err(ControlError::Journal(_))));
    assert_eq!((sandbox.text("x.toml"), sandbox.names()), (text.clone(), vec!["x.toml".to_owned()]));
    fs::write(&found.path, "id = 'x' # edited").unwrap();
    assert!(matches!(desk.replace(&found, "other", || Ok(())), Err(ControlError::Changed { .. })));
    assert_eq!(sandbox.text("x.toml"), "id = 'x' # edited");
}

#[test]
fn commands_at_once_are_carried_out_one_by_one() {
    let sandbox = Sandbox::new(&[("x.toml", &file("running", 1.0))]);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let sandbox = &sandbox;
            scope.spawn(move || sandbox.ask("x", Request::Ramp { coverage: f64::from(number) / 10.0 }).unwrap());
        }
    });
    let events = sandbox.events();
    assert_eq!(events.len(), 8);
    let last = events.last().unwrap().coverage.unwrap();
    assert!(sandbox.text("x.toml").contains(&format!("coverage = {last:?}\n")), "the last event is what holds");
    assert!(events.windows(2).all(|pair| pair[1].detail.starts_with(&format!("coverage {} → ", pair[0].coverage.unwrap()))), "{events:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is asked of the examples: only state and coverage change, and not a line else.
    #[test]
    fn only_state_and_coverage_of_a_file_change(
        name in select(vec!["embedding-shadow", "rerank-depth", "rm3", "fusion-dbsf", "custom-interleaved"]),
        requests in prop::collection::vec(
            prop_oneof![
                prop::option::of(0.2..=1.0_f64).prop_map(|coverage| Request::Start { coverage }),
                Just(Request::Pause),
                Just(Request::Stop),
                (0.0..=1.0_f64).prop_map(|coverage| Request::Ramp { coverage }),
            ],
            1..5,
        ),
    ) {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/experiments").join(format!("{name}.toml"))).unwrap();
        let sandbox = Sandbox::new(&[("x.toml", &text)]);
        for request in requests {
            let _ = sandbox.ask(name, request);
        }
        let after = sandbox.text("x.toml");
        let without = |text: &str| {
            let mut table: Table = text.parse().unwrap();
            ["state", "coverage"].iter().for_each(|key| drop(table.remove(*key)));
            table
        };
        prop_assert_eq!(without(&after), without(&text));
        let other_lines = |text: &str| text.lines().filter(|line| !line.starts_with("state =") && !line.starts_with("coverage =")).map(str::to_owned).collect::<Vec<_>>();
        prop_assert_eq!(other_lines(&after), other_lines(&text));
        let checked = read_text(Path::new("x.toml"), &after);
        prop_assert!(checked.is_ok());
    }
}
