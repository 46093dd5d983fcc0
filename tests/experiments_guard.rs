//! What is done to a running experiment: guardrails take an arm back, commands start,
//! pause, ramp and stop it, days run out. All of it is told, and outlives a restart.

use serde_json::{Value as Json, json};

use crate::experiments::{journal, write};
use crate::experiments_population::{extra, sha256};
use crate::support::admin::Scrape;
use crate::support::components::component;
use crate::support::mcp::raw_call;
use crate::support::repo::Repo;
use crate::support::server::Server;
use crate::support::{Sandbox, wait_until};

/// An arm whose fusion traps, an arm that is asked unseen, and a server that carries both out.
pub fn guarded() -> Sandbox {
    let trapping = component("fusion");
    let sandbox = Sandbox::new().with_config(&extra(&trapping));
    sandbox.index(&Repo::sample());
    let pin = sha256(&sandbox, trapping.to_str().expect("text"));
    write(&sandbox, "traps.toml", &traps(&pin));
    write(
        &sandbox,
        "unseen.toml",
        "id = \"unseen\"\nversion = 1\nstate = \"running\"\nmode = \"shadow\"\nowner = \"search\"\nhypothesis = \"It works.\"\n\
         [unit]\nkind = \"run\"\n[[arms]]\nkey = \"today\"\n[[arms]]\nkey = \"words\"\nchannels = [\"bm25\"]\n\
         [metrics]\nprimary = \"reciprocal_rank\"\n",
    );
    sandbox
}

fn traps(pin: &str) -> String {
    format!(
        r#"# What is written here stays.
id = "traps"
version = 1
state = "running"           # for now
mode = "ab"
owner = "search"
hypothesis = "It can't be worse."

[[arms]]
key = "today"

[[arms]]
key = "trap"
plugins.fusion = {{ plugin = "hostile", sha256 = "{pin}", parameters = {{ mode = "panic" }} }}

[metrics]
primary = "success"

[[metrics.guardrails]]
metric = "fallback_rate"
limit = 0.01
runs_min = 50
"#
    )
}

/// The arm of a session's search; `None` outside of the experiment.
async fn variant(server: &Server, session: &str) -> Option<String> {
    let raw = raw_call(server, "semantic_search", json!({"query": "token bucket"}), &[("x-session-id", session)], json!({})).await;
    raw.envelope().experiments.iter().find(|stamp| stamp.id == "traps").map(|stamp| stamp.variant.clone())
}

/// A session of each arm, and searches of it until the server has taken the other back.
pub async fn until_rolled_back(server: &Server) -> String {
    let session = session_of(server, "u", |arm| arm == "trap").await;
    for _ in 0..5_000 {
        if variant(server, &session).await.is_none() {
            return session;
        }
    }
    panic!("the arm goes on, however often it traps");
}

/// A session that is in the experiment, with an arm that fits.
async fn session_of(server: &Server, name: &str, fits: impl Fn(&str) -> bool) -> String {
    for number in 0..5_000 {
        let session = format!("{name}{number}");
        if variant(server, &session).await.is_some_and(|arm| fits(&arm)) {
            return session;
        }
    }
    panic!("no session has the arm");
}

fn controls(sandbox: &Sandbox, verb: &str) -> Vec<Json> {
    let events = journal(sandbox);
    let own = events.into_iter().filter(|event| event["action_name"] == "experiment" && event["event_attributes"]["verb"] == verb);
    own.map(|event| event["event_attributes"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_arm_that_breaches_a_guardrail_is_taken_back() {
    let sandbox = guarded();
    let server = Server::start(&sandbox);
    let session = until_rolled_back(&server).await;
    // Whoever had it is answered as configured, and nothing is degraded any more.
    let raw = raw_call(&server, "semantic_search", json!({"query": "token bucket"}), &[("x-session-id", &session)], json!({})).await;
    let answer = raw.envelope();
    assert_eq!((answer.experiments.iter().filter(|stamp| stamp.id == "traps").count(), answer.degraded), (0, Vec::new()));

    let told = controls(&sandbox, "roll_back");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&told[0]["experiment"], &told[0]["variant"], &told[0]["actor"]), (&json!("traps"), &json!("trap"), &json!("spanloom")));
    assert!(told[0]["detail"].as_str().is_some_and(|detail| detail.starts_with("fallback_rate of the latest")), "{told:?}");
    assert!(server.said().contains("an arm breaches a guardrail and is rolled back"), "{}", server.said());
    let labels = [("experiment", "traps"), ("variant", "trap"), ("guardrail", "fallback_rate")];
    assert_eq!(Scrape::of(&server).await.count("experiment_rollbacks_total", &labels), 1);
    let ready: Json = reqwest::get(format!("{}/readyz", server.base)).await.expect("an answer").json().await.expect("JSON");
    assert!(ready["ready"] == true && ready.to_string().contains("`trap` was rolled back"), "{ready}");
    let report = sandbox.json(&["experiment", "report", "traps", "--format", "json"]);
    assert!(report["verdict"].to_string().contains("rolled back"), "{}", report["verdict"]);

    // A restart changes nothing about it; a start gives it back, without a restart.
    server.kill();
    let server = Server::start(&sandbox);
    assert_eq!(variant(&server, &session).await, None);
    sandbox.run(&["experiment", "start", "traps", "--reason", "mended"]).check(0, &["trap"]);
    wait_until("the arm again", async || variant(&server, &session).await).await;
    assert!(controls(&sandbox, "start").last().is_some_and(|event| event["detail"].to_string().contains("mended")));
}

#[tokio::test(flavor = "multi_thread")]
async fn guardrails_go_on_where_a_killed_server_was() {
    let sandbox = guarded();
    let server = Server::start(&sandbox);
    let session = session_of(&server, "u", |arm| arm == "trap").await;
    // Too few to be judged.
    for _ in 0..40 {
        assert!(variant(&server, &session).await.is_some());
    }
    server.kill();
    let server = Server::start(&sandbox);
    let mut runs = 0;
    while variant(&server, &session).await.is_some() {
        runs += 1;
        assert!(runs < 40, "{runs} runs of this server, and 41 of the one before");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roll_back_that_fails_is_tried_again() {
    let sandbox = guarded();
    let server = Server::start(&sandbox);
    let session = session_of(&server, "u", |arm| arm == "trap").await;
    // A folder can't be locked.
    let lock = sandbox.data().join("experiments/standing.lock");
    std::fs::remove_file(&lock).expect("a lock");
    std::fs::create_dir(&lock).expect("a folder");
    wait_until("the failure", async || {
        assert_eq!(variant(&server, &session).await.as_deref(), Some("trap"));
        server.said().contains("can't be rolled back").then_some(())
    })
    .await;
    assert_eq!(controls(&sandbox, "roll_back"), Vec::<Json>::new());
    std::fs::remove_dir(&lock).expect("a folder");
    wait_until("the roll-back", async || variant(&server, &session).await.is_none().then_some(())).await;
    assert_eq!(controls(&sandbox, "roll_back").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_roll_back_a_breach_is_told_only() {
    let sandbox = guarded();
    let text = std::fs::read_to_string(sandbox.path("experiments/traps.toml")).expect("a file");
    write(&sandbox, "traps.toml", &format!("{text}\n[stop]\nroll_back = false\n"));
    let server = Server::start(&sandbox);
    let session = session_of(&server, "u", |arm| arm == "trap").await;
    wait_until("the breach", async || {
        variant(&server, &session).await;
        server.said().contains("an arm breaches a guardrail").then_some(())
    })
    .await;
    assert_eq!(variant(&server, &session).await.as_deref(), Some("trap"));
    assert_eq!(controls(&sandbox, "roll_back"), Vec::<Json>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn old_days_of_the_journal_go_unless_they_are_needed() {
    let old = |sandbox: &Sandbox| sandbox.data().join("experiments/2020-06-01.jsonl");
    let sandbox = guarded();
    std::fs::create_dir_all(sandbox.data().join("experiments")).expect("a folder");
    std::fs::write(old(&sandbox), "").expect("a day");
    let server = Server::start(&sandbox);
    assert!(!old(&sandbox).exists());
    server.kill();

    // An experiment that began before it needs it.
    let path = sandbox.data().join("experiments/standing.json");
    let standing = std::fs::read_to_string(&path).expect("a standing");
    let at = standing.find("20").expect("a moment");
    let today: String = standing[at..].chars().take(10).collect();
    std::fs::write(&path, standing.replace(&today, "2020-05-31")).expect("a standing");
    std::fs::write(old(&sandbox), "").expect("a day");
    let server = Server::start(&sandbox);
    assert!(old(&sandbox).exists());
    server.kill();
    std::fs::remove_dir_all(sandbox.path("experiments")).expect("a folder");
    drop(Server::start(&sandbox));
    assert!(!old(&sandbox).exists());

    // 0 keeps all.
    let sandbox = Sandbox::new().with_config("[experiments]\njournal_days_max = 0\n");
    sandbox.index(&Repo::sample());
    std::fs::create_dir_all(sandbox.data().join("experiments")).expect("a folder");
    std::fs::write(old(&sandbox), "").expect("a day");
    drop(Server::start(&sandbox));
    assert!(old(&sandbox).exists());
    let wrong = Sandbox::new().with_config("[experiments]\njournal_days_max = 36501\n");
    wrong.run(&["serve"]).check(2, &["experiments.journal_days_max", "36501", "0 to 36500"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_would_leave_out_is_told_at_the_start() {
    let sandbox = guarded();
    let text = std::fs::read_to_string(sandbox.path("experiments/traps.toml")).expect("a file");
    write(&sandbox, "zz-other.toml", &text.replace("id = \"traps\"", "id = \"zz-other\"").replace("\"running\"", "\"draft\""));
    let told = sandbox.run(&["experiment", "start", "zz-other"]);
    told.check(0, &["note: a server leaves it out: zz-other: it changes what traps changes, too"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_change_the_file_and_say_who_did_it() {
    let sandbox = guarded().with_variable("USER", "ada");
    let server = Server::start(&sandbox);
    assert!(variant(&server, "s1").await.is_some());
    let path = sandbox.path("experiments/traps.toml");
    sandbox.run(&["experiment", "pause", "traps", "--reason", "lunch"]).check(0, &["traps"]);
    wait_until("the pause", async || variant(&server, "s1").await.is_none().then_some(())).await;
    let text = std::fs::read_to_string(&path).expect("a file");
    assert!(text.starts_with("# What is written here stays.\n") && text.contains("state = \"paused\"           # for now"), "{text}");

    sandbox.run(&["experiment", "start", "traps", "--coverage", "0.4"]).check(0, &["traps"]);
    let inside = session_of(&server, "w", |_| true).await;
    sandbox.run(&["experiment", "ramp", "traps", "--coverage", "1"]).check(0, &["traps"]);
    wait_until("everybody", async || {
        let mut all = true;
        for number in 0..8 {
            all &= variant(&server, &format!("v{number}")).await.is_some();
        }
        all.then_some(())
    })
    .await;
    // Who was in stays in.
    assert!(variant(&server, &inside).await.is_some());
    sandbox.run(&["experiment", "ramp", "traps", "--coverage", "1.5"]).check(2, &["1.5", "0 to 1"]);
    sandbox.run(&["experiment", "pause", "nothing"]).check(2, &["`nothing`", "traps"]);
    sandbox.run(&["experiment", "stop", "traps"]).check(0, &["traps"]);
    wait_until("the end", async || variant(&server, &inside).await.is_none().then_some(())).await;
    sandbox.run(&["experiment", "start", "traps"]).check(2, &["stopped"]);

    for verb in ["pause", "start", "ramp", "stop"] {
        let told = controls(&sandbox, verb);
        assert_eq!((told.len(), &told[0]["actor"]), (1, &json!("ada")), "{verb}: {told:?}");
    }
    assert_eq!(controls(&sandbox, "ramp")[0]["coverage"], json!(1.0));
    assert!(!controls(&sandbox, "refused").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn days_run_out() {
    let sandbox = guarded();
    let text = std::fs::read_to_string(sandbox.path("experiments/traps.toml")).expect("a file");
    write(&sandbox, "traps.toml", &format!("{text}\n[stop]\ndays_max = 3\n"));
    let server = Server::start(&sandbox);
    assert!(variant(&server, "s1").await.is_some());
    // Four days ago, for all that the server knows.
    server.kill();
    let path = sandbox.data().join("experiments/standing.json");
    let standing = std::fs::read_to_string(&path).expect("a standing");
    let today: String = journal(&sandbox)[0]["timestamp"].as_str().expect("a moment").chars().take(10).collect();
    assert!(standing.contains(&today), "{standing}");
    std::fs::write(&path, standing.replace(&today, "2020-01-01")).expect("a standing");
    let server = Server::start(&sandbox);
    assert_eq!(variant(&server, "s1").await, None);
    let ready: Json = reqwest::get(format!("{}/readyz", server.base)).await.expect("an answer").json().await.expect("JSON");
    assert!(ready.to_string().contains("3 days since"), "{ready}");
    assert_eq!(controls(&sandbox, "stop").len(), 1);
}
