//! Reports of whole ledgers, held against golden files, and of ledgers nobody wrote.
//!
//! `golden/*.jsonl` are ledgers, `*.json` and `*.md` their reports. With
//! `SPANLOOM_BLESS_REPORTS=1` the reports and the published schema are written anew.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::remedy::{UNKNOWN, remedy};
use super::report::{RunOutcome, RunReport};
use super::{compose, markdown, schema, stages};
use crate::channels::ChannelError;
use crate::models::EmbedError;
use crate::plugin::Cause;
use crate::request::RequestError;
use crate::telemetry::records::RunRecord;
use crate::types::{ChunkId, NotFinite};

const GOLDEN: [&str; 10] =
    ["complete", "schema_1", "degraded_trap", "degraded_model", "crashed", "cancelled", "deadline", "bad_input", "open_file", "git_blame"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/reports/golden")
}

/// The record of a golden ledger; a last line that isn't JSON is torn.
fn record(name: &str) -> RunRecord {
    let text = std::fs::read_to_string(folder().join(format!("{name}.jsonl"))).unwrap();
    let lines: Vec<Json> = text.lines().map_while(|line| serde_json::from_str(line).ok()).collect();
    RunRecord {
        run_id: "0199e7b2-6f00-7000-8000-000000000001".into(),
        torn: lines.len() < text.lines().count(),
        lines,
        running: false,
        path: Some("runs/2026-03-01/0199e7b2-6f00-7000-8000-000000000001.jsonl".into()),
        lost: 0,
    }
}

/// Compares with a file, or writes it.
fn held_against(path: &Path, text: &str) {
    if std::env::var_os("SPANLOOM_BLESS_REPORTS").is_some() {
        std::fs::write(path, text).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == text, "{} is not what is written now; SPANLOOM_BLESS_REPORTS=1 takes over:\n{text}", path.display());
}

fn pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap() + "\n"
}

#[test]
fn golden_ledgers_have_their_reports() {
    for name in GOLDEN {
        let report = compose(&record(name));
        let json = pretty(&report);
        held_against(&folder().join(format!("{name}.json")), &json);
        held_against(&folder().join(format!("{name}.md")), &markdown(&report));
        assert!(serde_json::from_str::<RunReport>(&json).unwrap() == report, "{name} is another after writing and reading");
    }
}

#[test]
fn the_published_schema_is_that_of_the_code_and_knows_every_key() {
    let schema = schema();
    held_against(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/run_report.schema.json"), &pretty(&schema));
    for name in GOLDEN {
        let report = serde_json::to_value(compose(&record(name))).unwrap();
        check_keys(&report, &schema, &schema, name);
    }
}

/// Whether a value has all keys that a schema requires, and no other than it describes.
fn check_keys(value: &Json, described: &Json, schema: &Json, at: &str) {
    let described = match described["$ref"].as_str().and_then(|name| name.strip_prefix('#')) {
        Some(pointer) => schema.pointer(pointer).unwrap(),
        None => described,
    };
    // Nothing, or else the other one.
    let described = match described["anyOf"].as_array() {
        Some(_) if value.is_null() => return,
        Some(either) => return check_keys(value, &either[0], schema, at),
        None => described,
    };
    match (value, &described["properties"]) {
        (Json::Object(members), Json::Object(properties)) => {
            for key in described["required"].as_array().into_iter().flatten() {
                assert!(members.contains_key(key.as_str().unwrap()), "{at}: {key} is missing");
            }
            for (key, value) in members {
                let at = format!("{at}.{key}");
                assert!(properties.contains_key(key), "{at} is not in the schema");
                check_keys(value, &properties[key], schema, &at);
            }
        }
        (Json::Array(items), _) => items.iter().for_each(|item| check_keys(item, &described["items"], schema, at)),
        _ => {}
    }
}

#[test]
fn runs_stopped_where_they_did() {
    use RunOutcome::{Cancelled, Complete, Crashed, Degraded, Failed};
    let check = |name: &str, outcome: RunOutcome, stop: Option<(&str, Option<&str>, &str)>, not_reached: &[&str]| {
        let report = compose(&record(name));
        assert_eq!(report.outcome, outcome, "{name}");
        let found = report.stopped_because.as_ref();
        assert_eq!(found.map(|stop| (stop.stage.as_str(), stop.after.as_deref(), stop.cause.as_str())), stop, "{name}");
        assert_eq!(found.map_or(Vec::new(), |stop| stop.not_reached.iter().map(String::as_str).collect()), not_reached, "{name}");
    };
    let after_fuse = Some("retrieval.recency_boost");
    check("complete", Complete, None, &[]);
    check("schema_1", Complete, None, &[]);
    check("open_file", Complete, None, &[]);
    check("degraded_trap", Degraded, Some(("retrieval.rerank", Some("duckdb.hydrate"), "trap.unreachable")), &[]);
    check("degraded_model", Degraded, Some(("embed", Some("retrieval.gate"), "unavailable")), &["faiss.search"]);
    let rest = ["retrieval.rerank", "retrieval.envelope"];
    check("crashed", Crashed, Some(("duckdb.hydrate", after_fuse, "crash")), &rest);
    check("deadline", Failed, Some(("duckdb.hydrate", after_fuse, "deadline")), &rest);
    let rest = ["retrieval.fuse", "retrieval.recency_boost", "duckdb.hydrate", "retrieval.rerank", "retrieval.envelope"];
    check("cancelled", Cancelled, Some(("faiss.search", Some("bm25.search"), "cancelled")), &rest);
    check(
        "bad_input",
        Failed,
        Some(("tools/call semantic_search", None, "invalid_argument")),
        &stages::of_tool("semantic_search").iter().copied().filter(|stage| *stage != "retrieval.explain").collect::<Vec<_>>(),
    );
    check("git_blame", Failed, Some(("git.blame", None, "git_object_missing")), &[]);
}

#[test]
fn of_channels_that_ended_with_the_run_the_stage_around_them_is_named() {
    let stop = |change: fn(&mut Json)| {
        let mut record = record("cancelled");
        let mut ended = record.lines.iter_mut().filter(|line| line["line"] == "span");
        change(ended.find(|line| line["name"] == "bm25.search").unwrap());
        let stop = compose(&record).stopped_because.unwrap();
        (stop.stage, stop.after.unwrap_or_default(), stop.not_reached.len())
    };
    let expect = |stage: &str, after: &str| (stage.to_owned(), after.to_owned(), 5);
    assert_eq!(stop(|_| {}), expect("faiss.search", "bm25.search"));
    // It ended with the other one.
    assert_eq!(stop(|bm25| bm25["duration_us"] = json!(120_270)), expect("retrieval.gather_channels", "embed"));
    // It ended long after the run, as what can't be interrupted does.
    assert_eq!(stop(|bm25| bm25["duration_us"] = json!(900_000)), expect("bm25.search", "embed"));
    // It says itself that it was cut short.
    let cut_short = |bm25: &mut Json| {
        bm25["status"] = json!("error");
        bm25["attributes"]["error.type"] = json!("cancelled");
    };
    assert_eq!(stop(cut_short), expect("bm25.search", "embed"));
}

/// A stage that was given up says so, also beside one that ended at the same time.
#[test]
fn stages_that_say_they_were_given_up_are_believed() {
    let stop = |name: &str, class: &str, said: &[(&str, &str)]| {
        let mut record = record(name);
        for line in record.lines.iter_mut().filter(|line| line["line"] == "span") {
            if let Some((_, class)) = said.iter().find(|(stage, _)| line["name"] == *stage) {
                line["status"] = json!("error");
                line["attributes"]["error.type"] = json!(class);
            }
        }
        record.lines.last_mut().unwrap()["outcome"]["error"]["class"] = json!(class);
        let stop = compose(&record).stopped_because.unwrap();
        assert_eq!(stop.cause, class, "{said:?}");
        stop.stage
    };
    let gather = "retrieval.gather_channels";
    assert_eq!(stop("cancelled", "cancelled", &[(gather, "cancelled")]), gather);
    assert_eq!(stop("cancelled", "cancelled", &[(gather, "cancelled"), ("bm25.search", "cancelled")]), "bm25.search");
    // The time was over: the run says that, the stage that it was given up.
    assert_eq!(stop("cancelled", "deadline", &[(gather, "cancelled"), ("bm25.search", "cancelled")]), "bm25.search");
    // The first one that ended panicked; what ran beside it was dropped with it.
    let all = [(gather, "panic"), ("bm25.search", "panic"), ("faiss.search", "panic")];
    assert_eq!(stop("cancelled", "panic", &all), "bm25.search");
}

#[test]
fn a_torn_ledger_was_left_by_a_crash_however_far_the_run_had_come() {
    let mut record = record("complete");
    record.lines.pop();
    record.torn = true;
    let report = compose(&record);
    let stop = report.stopped_because.expect("it crashed");
    assert_eq!((report.outcome, stop.stage.as_str(), stop.cause.as_str()), (RunOutcome::Crashed, "tools/call semantic_search", "crash"));
    assert_eq!(stop.after.as_deref(), Some("retrieval.envelope"));
}

/// A search that is cut off after each of its lines has stopped in the stage that was
/// open then.
#[test]
fn a_crash_is_found_at_every_line() {
    let whole = record("complete");
    for kept in 1..whole.lines.len() - 2 {
        let cut = RunRecord { lines: whole.lines[..kept].to_vec(), ..whole.clone() };
        let report = compose(&cut);
        let stop = report.stopped_because.expect("it was cut short");
        let begun = |line: &&Json| line["line"] == "span.start";
        let ended = |id: &Json| cut.lines.iter().any(|line| line["line"] == "span" && line["span_id"] == *id);
        let open: Vec<&str> =
            cut.lines.iter().filter(begun).filter(|line| !ended(&line["span_id"])).filter_map(|line| line["name"].as_str()).collect();
        let expect = open.last().copied().unwrap_or("tools/call semantic_search");
        assert_eq!((stop.stage.as_str(), stop.cause.as_str()), (expect, "crash"), "after {kept} lines");
        assert!(!stop.not_reached.contains(&stop.stage), "{stop:?}");
        assert_eq!(report.outcome, RunOutcome::Crashed);
        let running = compose(&RunRecord { running: true, ..cut });
        assert_eq!((running.outcome, running.stopped_because), (RunOutcome::Running, None));
        assert!(running.headline.starts_with("Still running after "), "{}", running.headline);
    }
}

#[test]
fn an_end_that_was_lost_is_told_from_the_runs_span() {
    for (name, expect) in
        [("complete", RunOutcome::Complete), ("degraded_trap", RunOutcome::Degraded), ("cancelled", RunOutcome::Cancelled)]
    {
        let mut record = record(name);
        record.lines.pop();
        record.lost = 1;
        let report = compose(&record);
        assert_eq!(report.outcome, expect, "{name}");
        let warnings = report.warnings.join("\n");
        assert!(warnings.contains("1 line of the ledger did not reach it") && warnings.contains("no last line"), "{warnings}");
    }
    assert!(compose(&record("deadline")).warnings.concat().contains("2 lines of the ledger"));
    assert!(compose(&record("crashed")).warnings.concat().contains("last line is cut short"));
}

#[test]
fn every_cause_has_a_remedy_of_its_own() {
    use Cause::*;
    let of_plugins = [
        Deadline,
        Memory,
        Table,
        Fuel,
        Handles,
        Instances,
        StackOverflow,
        HostCallBytes,
        Unreachable,
        Trap,
        Contract,
        BadOutput,
        BadConfig,
        Unsupported,
        PluginError,
        Instantiate,
        Denied,
        Quarantined,
    ];
    // A new variant doesn't compile here, and belongs into the list above.
    let listed = |cause: Cause| match cause {
        Deadline | Memory | Table | Fuel | Handles | Instances | StackOverflow | HostCallBytes | Unreachable | Trap | Contract => true,
        BadOutput | BadConfig | Unsupported | PluginError | Instantiate | Denied | Quarantined => true,
    };
    assert!(of_plugins.into_iter().all(listed));
    let text = String::new;
    let (model, detail) = (text(), text());
    let mut causes: Vec<(&str, &str)> = Vec::new();
    for stage in [stages::GATE, stages::FUSE, stages::RERANK] {
        causes.extend(of_plugins.map(|cause| (stage, cause.as_str())));
        causes.extend(
            ["limit.spans", "limit.attributes", "limit.events", "limit.telemetry_bytes", "limit.log_lines"].map(|limit| (stage, limit)),
        );
    }
    for stage in [stages::BM25, stages::FAISS, stages::FILES] {
        let not_finite = NotFinite { chunk: ChunkId(0), score: 0.0 };
        let errors = [ChannelError::DeadlinePassed { deadline_ms: 1 }, ChannelError::Engine(text()), ChannelError::NotFinite(not_finite)];
        causes.extend(errors.iter().map(|error| (stage, error.class())));
        causes.push((stage, "unavailable"));
    }
    let errors = [
        EmbedError::Unavailable { model: model.clone(), detail: detail.clone() },
        EmbedError::Refused { model: model.clone(), status: 400, detail: detail.clone() },
        EmbedError::BadAnswer { model, detail },
    ];
    causes.extend(errors.iter().map(|error| (stages::EMBED, error.class())));
    causes.extend([
        (stages::EMBED, "deadline"),
        (stages::EMBED, "rate_limited"),
        (stages::FAISS, "other_embedding"),
        (stages::GATE, "no_channel"),
    ]);
    causes.extend([(stages::HYDRATE, "engine"), (stages::PROFILE, "engine"), (stages::PROFILE, "unavailable")]);
    let errors = [RequestError::Invalid(text()), RequestError::NotFound(text()), RequestError::Unavailable(text())];
    for stage in ["run", stages::OPEN_FILE, stages::REPORT] {
        causes.extend(errors.iter().map(|error| (stage, error.class())));
    }
    for class in ["git_root", "git_open", "git_no_work_tree", "git_no_commits", "git_untracked", "git_too_large"] {
        causes.push((stages::GIT_BLAME, class));
    }
    for class in ["git_object_missing", "git_object_damaged", "git_read"] {
        causes.push((stages::GIT_HISTORY, class));
    }
    let tools = ["semantic_search", "open_file", "git_blame", "git_history", "run_report"];
    for stage in tools.into_iter().flat_map(stages::of_tool).copied().chain(["run"]) {
        causes.extend(["crash", "cancelled", "deadline", "panic", "refused", "unknown_tool"].map(|class| (stage, class)));
    }
    for (stage, cause) in causes {
        let text = remedy(stage, cause);
        assert_ne!(text, UNKNOWN, "{cause} in {stage}");
        assert!(text.ends_with('.') && !text.contains("{plugins}") && !text.contains(['\n', '|']), "{text}");
    }
    assert_eq!(remedy("embed", "never heard of"), UNKNOWN);
    assert!(remedy(stages::RERANK, "limit.memory").contains("`[plugins.rerank]`"));
}

#[test]
fn texts_of_others_change_nothing_around_them() {
    let evil = "a|b `c` ```\n## Run\n| x | y |\n\x1b[31m<script>\u{202e}\\|";
    let mut record = record("degraded_trap");
    for line in &mut record.lines {
        poison(line, evil);
    }
    let report = compose(&record);
    check_markdown(&markdown(&report));
    let titles = |text: &str| text.lines().filter(|line| line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
    let expect = titles(&markdown(&compose(&self::record("degraded_trap"))));
    assert_eq!(titles(&markdown(&report)), expect);
}

/// Puts a text in the place of every other, but for those that make it a ledger.
fn poison(value: &mut Json, evil: &str) {
    const KEPT: [&str; 9] = ["line", "at", "status", "span_id", "parent_span_id", "trace_id", "name", "part", "cause"];
    match value {
        Json::Object(members) => {
            members.iter_mut().filter(|(key, _)| !KEPT.contains(&key.as_str())).for_each(|(_, value)| poison(value, evil))
        }
        Json::Array(items) => items.iter_mut().for_each(|item| poison(item, evil)),
        Json::String(text) => *text = evil.to_owned(),
        _ => {}
    }
}

/// Whether nothing steers a terminal, and all rows of a table have the same cells.
fn check_markdown(text: &str) {
    assert!(!text.contains(|c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}')), "{text:?}");
    let (mut fence, mut cells): (Option<String>, Option<usize>) = (None, None);
    for line in text.lines() {
        let run: String = line.chars().take_while(|c| *c == '`').collect();
        match &fence {
            Some(open) if line == open => fence = None,
            None if run.len() >= 3 => fence = Some(run),
            _ => {}
        }
        if fence.is_some() || !line.starts_with('|') {
            cells = None;
            continue;
        }
        let (mut bars, mut escaped) = (0, false);
        for c in line.chars() {
            bars += usize::from(c == '|' && !escaped);
            escaped = c == '\\' && !escaped;
        }
        assert_eq!(*cells.get_or_insert(bars), bars, "{line}");
    }
    assert_eq!(fence, None, "a block of code is open");
}

/// Any JSON, with keys and values that ledgers have more often than others.
fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        ".{0,12}".prop_map(Json::from),
        prop::sample::select(vec![
            "run.start",
            "run.end",
            "span",
            "span.start",
            "event",
            "step",
            "ok",
            "error",
            "cancelled",
            "a",
            "b",
            "c"
        ])
        .prop_map(Json::from),
        prop::sample::select(vec![
            "retrieval.gate",
            "retrieval.degraded",
            "embed",
            "duckdb.hydrate",
            "2026-03-01T10:00:00Z",
            "9999-12-31T23:59:59Z"
        ])
        .prop_map(Json::from),
    ];
    let keys = vec![
        "line",
        "name",
        "at",
        "span_id",
        "parent_span_id",
        "trace_id",
        "status",
        "duration_us",
        "attributes",
        "outcome",
        "degraded",
        "findings",
        "tool",
        "request",
        "process",
        "part",
        "cause",
        "retrieval.channel_depths",
        "plugin.name",
        "error",
        "detail",
        "schema",
        "warnings",
        "index",
    ];
    leaf.prop_recursive(4, 64, 12, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
            prop::collection::vec((prop::sample::select(keys.clone()), inner), 0..12)
                .prop_map(|members| Json::Object(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())),
        ]
    })
}

fn check_any(lines: Vec<Json>, torn: bool, running: bool) {
    let record = RunRecord { run_id: "r|`\n".into(), lines, torn, running, path: None, lost: 3 };
    let report = compose(&record);
    check_markdown(&markdown(&report));
    let json = serde_json::to_string(&report).unwrap();
    // Numbers that JSON writes and reads again may differ in their last digit.
    let again: RunReport = serde_json::from_str(&json).unwrap();
    assert_eq!((again.outcome, again.stopped_because, again.errors), (report.outcome, report.stopped_because, report.errors));
    assert!(report.headline.ends_with('.') && !report.headline.contains('\n'), "{}", report.headline);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_lines_have_a_report(lines in prop::collection::vec(any_json(), 0..30), torn: bool, running: bool) {
        check_any(lines, torn, running);
    }

    /// A ledger whose lines are left out, doubled, put elsewhere, given other parents,
    /// and changed in one member.
    #[test]
    fn a_ledger_in_disorder_has_a_report(
        name in prop::sample::select(GOLDEN.to_vec()),
        picks in prop::collection::vec((any::<prop::sample::Index>(), any::<Option<prop::sample::Index>>()), 0..80),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any_json()), 0..8),
        torn: bool,
        running: bool,
    ) {
        let whole = record(name).lines;
        let mut lines: Vec<Json> = Vec::new();
        for (pick, parent) in picks {
            let mut line = pick.get(&whole).clone();
            if let Some(parent) = parent {
                line["parent_span_id"] = parent.get(&whole)["span_id"].clone();
                line["duration_us"] = json!(u64::MAX);
            }
            lines.push(line);
        }
        for (at, key, value) in changes {
            if lines.is_empty() {
                break;
            }
            let line = at.index(lines.len());
            let members = lines[line].as_object_mut().unwrap();
            let key = key.get(&members.keys().cloned().collect::<Vec<_>>()).clone();
            members.insert(key, value);
        }
        check_any(lines, torn, running);
    }
}
