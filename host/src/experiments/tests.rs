//! Experiments as people write them, wrong ones, and ones that nobody wrote.
//!
//! With `SPANLOOM_BLESS_EXPERIMENTS=1` the published schema is written anew.

mod folders;
mod generated;
mod refusals;
mod schema;

use std::path::{Path, PathBuf};

use super::definition::*;
use super::metric::*;
use super::read::{ReadError, read_file, read_folder, read_text};

/// Where `docs` and `examples` are.
fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn examples() -> PathBuf {
    project().join("examples/experiments")
}

const EXAMPLES: [(&str, State, Mode, &[&str], &str); 5] = [
    (
        "custom-interleaved",
        State::Draft,
        Mode::Interleave,
        &["rrf", "custom"],
        "4279acc137342ec02d3f09e627e34bdacf4a15007468800689b3ae6c88b01035",
    ),
    (
        "embedding-shadow",
        State::Running,
        Mode::Shadow,
        &["today", "larger"],
        "e91bb82b74023c69945295dd2baffd1d38f791a243a9bdf3974dbf12705d5106",
    ),
    ("fusion-dbsf", State::Draft, Mode::Ab, &["rrf", "dbsf"], "9a836dfcdf87bcc99eec33d011068dbb90313bfd1be85552b8be13e6e05eccab"),
    ("rerank-depth", State::Running, Mode::Ab, &["20", "50", "100"], "dc4a173c25da44365b64f9dfeb1bc502a5847f044b72d817910b9eb832692acc"),
    ("rm3", State::Running, Mode::Ab, &["off", "on"], "253f201c990890707b3c75d75ee3284b3db59050046278e9e575810678e91816"),
];

#[test]
fn the_examples_can_be_carried_out_together() {
    let files = read_folder(&examples()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(files.len(), EXAMPLES.len());
    for (file, (id, state, mode, keys, digest)) in files.iter().zip(EXAMPLES) {
        let experiment = &file.experiment;
        assert_eq!(file.path, examples().join(format!("{id}.toml")));
        assert_eq!((experiment.id.as_str(), experiment.state, experiment.mode), (id, state, mode));
        assert_eq!(experiment.arms.iter().map(|arm| arm.key.as_str()).collect::<Vec<_>>(), keys, "{id}");
        // Another digest means that running experiments need a new version.
        assert_eq!(experiment.digest(), digest, "{id}");
    }
}

#[test]
fn drafts_run_once_their_plugins_are_pinned() {
    for name in ["fusion-dbsf", "custom-interleaved"] {
        let mut experiment = Experiment::clone(&read_file(&examples().join(format!("{name}.toml"))).unwrap().experiment);
        experiment.state = State::Running;
        let problems = experiment.clone().check().unwrap_err();
        let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, ["arms[0].plugins.fusion.sha256", "arms[1].plugins.fusion.sha256"]);
        for arm in &mut experiment.arms {
            arm.plugins.fusion.as_mut().unwrap().sha256 = Some("aB".repeat(32));
        }
        assert!(experiment.check().is_ok(), "{name}");
    }
}

#[test]
fn one_file_goes_from_shadow_to_offline() {
    let text = std::fs::read_to_string(examples().join("embedding-shadow.toml")).unwrap();
    let offline = text
        .replace("mode = \"shadow\"", "mode = \"offline\"")
        .replace("\"reciprocal_rank\"", "\"ndcg@10\"")
        .replace("\"ndcg\", \"latency_p95_ms\"", "");
    assert!(read_text(Path::new("offline.toml"), &offline).is_ok(), "as its comment says");
}

#[test]
fn what_isnt_said_has_its_default() {
    let text = "id = 'a'\nversion = 1\nmode = 'ab'\narms = [{ key = 'x' }, { key = 'y' }]\nmetrics.primary = 'success'";
    let experiment = read_text(Path::new("a.toml"), text).unwrap();
    assert_eq!((experiment.salt(), experiment.control(), experiment.state), ("a", "x", State::Draft));
    assert_eq!((experiment.unit.kind, experiment.hash.algorithm, experiment.hash.buckets), (UnitKind::Session, Algorithm::Xxh3, 10_000));
    assert_eq!((experiment.coverage, experiment.arms[1].weight), (1.0, 1.0));
    let Analysis { alpha, method, cuped_days, correction } = experiment.analysis;
    assert_eq!((alpha, method, cuped_days, correction), (0.05, Method::Asymptotic, 0, Correction::Holm));
    assert_eq!(experiment.stop, Stop { units_min: None, days_max: None, roll_back: true });
    assert_eq!(experiment.shadow, Shadow { share: 1.0, concurrency_max: 2, deadline_ms: 10_000 });
    assert!(experiment.eligibility == Eligibility::default() && experiment.layer.is_none());
}

#[test]
fn the_digest_is_of_what_decides() {
    let base = Experiment::clone(&read_file(&examples().join("rerank-depth.toml")).unwrap().experiment);
    let check = |change: fn(&mut Experiment), same: bool| {
        let mut changed = base.clone();
        change(&mut changed);
        assert_ne!(changed, base);
        assert_eq!(changed.digest() == base.digest(), same, "{changed:?}");
    };
    check(|e| e.state = State::Paused, true);
    check(|e| e.version = 3, true);
    check(|e| e.coverage = 0.5, true);
    check(|e| e.owner = "else".into(), true);
    check(|e| e.hypothesis = "else".into(), true);
    check(|e| e.analysis.alpha = 0.01, true);
    check(|e| e.stop.days_max = Some(7), true);
    check(|e| e.stop.roll_back = false, true);
    check(|e| e.hash.salt = Some(e.id.clone()), true);
    check(|e| e.id = "else".into(), false);
    check(|e| e.mode = Mode::Offline, false);
    check(|e| e.unit = Unit::default(), false);
    check(|e| e.hash.salt = Some("else".into()), false);
    check(|e| e.layer = Some(Layer { name: "a".into(), salt: "b".into(), buckets: [0, 1] }), false);
    check(|e| e.eligibility.tools = None, false);
    check(|e| e.arms[0].weight = 1.0, false);
    check(|e| e.arms.swap(0, 1), false);
    check(|e| e.arms[2].budgets.rerank_depth = Some(99), false);
    let pinned = |sha256: &str| {
        let mut changed = base.clone();
        changed.arms[0].plugins.gate = Some(ArmPlugin { sha256: Some(sha256.into()), ..ArmPlugin::default() });
        changed.digest()
    };
    assert_eq!(pinned("AB"), pinned("ab"));
    assert_ne!(pinned("ab"), pinned("ac"));
}

#[test]
fn metrics_are_read_by_the_names_they_have() {
    let measures = ["ndcg@10", "mrr@10", "recall@100", "p@5", "map@1000"];
    let all = Outcome::ALL.map(Outcome::as_str).into_iter().chain(Guard::ALL.map(Guard::as_str)).chain(measures);
    for name in all {
        assert_eq!(name.parse::<Metric>().unwrap().to_string(), name);
    }
    for name in ["", "@", "ndcg@", "ndcg@0", "ndcg@1001", "ndcg@010", "ndcg@+10", "ndcg@10 ", "err@10", "clicks", "Success"] {
        let message = name.parse::<Metric>().unwrap_err();
        assert!(message.starts_with(&format!("unknown metric `{name}`; allowed: success, ")), "{message}");
    }
    for outcome in Outcome::ALL {
        assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
    }
    for guard in Guard::ALL {
        assert_eq!(serde_json::to_value(guard).unwrap(), guard.as_str());
    }
}
