//! The commands around a plugin: recording, replaying, testing, measuring, looking into
//! it; and the explanation of an answer, held against answers.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value as Json, json};
use spanloom::envelope::AnswerEnvelope;
use spanloom::plugin::SHIPPED;
use spanloom::types::{ChannelName, ChunkId, Stage};

use crate::support::mcp::Client;
use crate::support::projects::text;
use crate::support::repo::Repo;
use crate::support::server::Server;
use crate::support::{Sandbox, wait_for};

/// Every channel finds something for each, in an order of its own.
const QUERIES: [&str; 3] = ["capacity of the token bucket", "how does the retry wait for the limit", "token_refill"];
/// What an answer may be off by after sums in 32 bits.
const TOLERANCE: f32 = 1e-5;

/// Enough files that channels find different ones: each speaks of a few of the same words.
fn library() -> Repo {
    const WORDS: [&str; 24] = [
        "token", "bucket", "capacity", "refill", "retry", "wait", "limit", "queue", "cache", "router", "socket", "timer", "buffer",
        "stream", "parser", "lexer", "index", "vector", "matrix", "ledger", "worker", "signal", "filter", "packet",
    ];
    let repo = Repo::empty("library");
    // Numerical Recipes' generator; its upper bits are even enough.
    let mut state = 7_u32;
    let mut word = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        WORDS[(state >> 16) as usize % WORDS.len()]
    };
    for file in 0..80 {
        let comment: Vec<&str> = (0..12).map(|_| word()).collect();
        let text = format!("/// The {} of it.\npub fn {}_{}() -> u32 {{\n    {file}\n}}\n", comment.join(" "), word(), word());
        repo.write(&format!("src/{}/part_{file}.rs", word()), &text);
    }
    repo.commit("a library");
    repo
}

/// A shipped plugin as a file.
fn shipped(sandbox: &Sandbox, name: &str) -> PathBuf {
    let plugin = SHIPPED.iter().find(|plugin| plugin.name == name).expect("it is shipped");
    let path = sandbox.path(&format!("{name}.wasm"));
    std::fs::write(&path, plugin.bytes).expect("a file");
    path
}

/// `plugin record`, once the server has begun to record.
fn recorder(sandbox: &Sandbox, server: &Server, arguments: &[&str]) -> Child {
    let url = ["plugin", "record", "--url", &server.base];
    let mut child = sandbox.command(&[&url, arguments].concat()).spawn().expect("the binary starts");
    let mut said = BufReader::new(child.stderr.take().expect("its standard error"));
    let mut line = String::new();
    said.read_line(&mut line).expect("a line");
    assert!(line.starts_with("Recording "), "{line}");
    // Whatever else it says may not block it.
    std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
    child
}

/// Records the runs of the queries; the files.
async fn record(sandbox: &Sandbox, server: &Server, queries: &[&str], out: &str, arguments: &[&str]) -> Vec<PathBuf> {
    let runs = queries.len().to_string();
    let mut child = recorder(sandbox, server, &[&["--runs", &runs, "--out", out], arguments].concat());
    let client = Client::connect(server).await;
    for query in queries {
        client.search(json!({"query": query})).await;
    }
    let status = wait_for("the recording to end", || child.try_wait().expect("a child of ours"));
    assert_eq!(status.code(), Some(0));
    let printed = std::io::read_to_string(child.stdout.take().expect("its output")).expect("text");
    let mut files: Vec<PathBuf> = printed.lines().map(|line| sandbox.path(line)).collect();
    files.sort();
    let mut there: Vec<PathBuf> =
        std::fs::read_dir(sandbox.path(out)).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    there.sort();
    assert_eq!(files, there, "what it names is what it wrote");
    files
}

fn case(path: &Path) -> Json {
    let text = std::fs::read_to_string(path).expect("a case");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_calls_are_cases_that_can_be_tested_and_replayed() {
    let sandbox = Sandbox::indexed(&library());
    let server = Server::start(&sandbox);
    let files = record(&sandbox, &server, &QUERIES, "recorded", &[]).await;
    assert_eq!(files.len(), 3 * QUERIES.len());
    for path in &files {
        let case = case(path);
        let plugin = SHIPPED.iter().find(|plugin| case["recorded"]["plugin"] == plugin.name).expect("a shipped one recorded it");
        assert_eq!(case["stage"], plugin.stage.as_str());
        assert_eq!((&case["recorded"]["redacted"], &case["recorded"]["generation"]), (&json!(false), &json!("g000001")));
        assert!(QUERIES.iter().any(|query| case["name"] == *query), "{}", case["name"]);
    }
    // Only the stages that are asked for, as many runs as asked for.
    let fusions = record(&sandbox, &server, &QUERIES[..1], "fusions", &["--stage", "fusion", "--stage", "gate"]).await;
    let stages: Vec<Json> = fusions.iter().map(|path| case(path)["stage"].clone()).collect();
    assert_eq!(stages, ["fusion", "gate"]);

    for plugin in SHIPPED {
        let component = shipped(&sandbox, plugin.name);
        let report = sandbox.json(&["plugin", "test", "--component", text(&component), "--cases", "recorded", "--json"]);
        assert_eq!((&report["passed"], &report["failed"], &report["skipped"]), (&json!(3), &json!(0), &json!(6)), "{report:#}");

        let replay = sandbox.json(&["plugin", "replay", "recorded", "--plugin", text(&component), "--json"]);
        let summary = &replay["summary"];
        assert_eq!((&summary["cases"], &summary["unchanged"], &summary["failed"]), (&json!(3), &json!(3), &json!(0)), "{replay:#}");
        if plugin.stage == Stage::Gate {
            assert_eq!((&summary["rankings"], &summary["rbo"]), (&json!(0), &Json::Null));
        } else {
            assert_eq!(summary["rankings"], 3);
            assert!(summary["rbo"].as_f64().is_some_and(|rbo| (rbo - 1.0).abs() < 1e-9), "{summary}");
        }
    }
    another_k_moves_rows(&sandbox);
}

/// The same plugin with another parameter, held against what was recorded.
fn another_k_moves_rows(sandbox: &Sandbox) {
    let replay = ["plugin", "replay", "recorded", "--plugin", "fusion-rrf", "--parameters", r#"{"k": 1}"#];
    let report = sandbox.json(&[&replay[..], &["--json"]].concat());
    let summary = &report["summary"];
    assert_eq!((&summary["changed"], &summary["unchanged"], &summary["failed"]), (&json!(3), &json!(0), &json!(0)), "{summary}");
    assert!(summary["only_rescored"].as_u64() < Some(3), "some order is another: {summary}");
    assert!(summary["rbo"].as_f64().is_some_and(|rbo| rbo > 0.0 && rbo < 1.0), "{summary}");
    let depths: Vec<u64> = summary["overlap"].as_array().expect("a list").iter().filter_map(|at| at["k"].as_u64()).collect();
    assert_eq!(depths[..3], [1, 5, 10]);
    for case in report["cases"].as_array().expect("a list") {
        let moves = &case["moves"];
        assert!(case["case"].as_str().is_some_and(|name| name.starts_with("recorded/fusion-")), "{case}");
        for member in ["moved", "rescored"] {
            assert!(moves[member].is_u64(), "{member}: {moves}");
        }
        for member in ["came", "went", "largest", "overlap"] {
            assert!(moves[member].is_array(), "{member}: {moves}");
        }
        assert!(moves["rbo"].is_f64() && moves["kind"] == "ranking", "{moves}");
    }
    let moved: u64 = report["cases"].as_array().into_iter().flatten().filter_map(|case| case["moves"]["moved"].as_u64()).sum();
    assert!(moved > 0, "{report:#}");
    // The same for people: counts, means, and rows by name.
    sandbox
        .run(&replay)
        .check(0, &["against what was recorded", "moved: ", " → ", "3 changed", "means over 3 rankings: RBO 0.", "overlap@10"]);
    // Against another plugin instead: nothing moves against itself, whatever was recorded.
    let same = sandbox.json(&["plugin", "replay", "recorded", "--plugin", "fusion-rrf", "--baseline", "fusion-rrf", "--json"]);
    assert_eq!((&same["summary"]["unchanged"], &same["summary"]["changed"]), (&json!(3), &json!(0)));

    sandbox.run(&["plugin", "replay", "nowhere", "--plugin", "fusion-rrf"]).check(2, &["nowhere"]);
    sandbox.run(&["plugin", "replay", "fusions", "--plugin", "rerank-code"]).check(2, &["no case is for a rerank plugin"]);
    sandbox.run(&["plugin", "replay", "recorded", "--plugin", "fusion-rrf", "--parameters", "[]"]).check(2, &["--parameters is `[]`"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redacted_recording_holds_no_word_of_the_query() {
    // Words of no path and no symbol: those stay.
    let query = "how often may \"mumbo jumbo\" happen, flibbertigibbet or quuxify_steadily?";
    let words = ["often", "mumbo", "jumbo", "happen", "flibbertigibbet", "quuxify", "steadily"];
    let silent = "[telemetry]\nrecord_query_text = false\n";
    for (config, arguments) in [("", &["--redact"][..]), (silent, &[])] {
        let sandbox = Sandbox::new().with_config(config);
        sandbox.index(&Repo::sample());
        let server = Server::start(&sandbox);
        let files = record(&sandbox, &server, &[query], "recorded", arguments).await;
        assert_eq!(files.len(), 3);
        for path in &files {
            let written = std::fs::read_to_string(path).expect("a case").to_lowercase();
            for word in words {
                assert!(!written.contains(word), "`{word}` is in {}: {written}", path.display());
            }
            assert_eq!(case(path)["recorded"]["redacted"], true);
        }
        for plugin in SHIPPED {
            let component = shipped(&sandbox, plugin.name);
            sandbox.run(&["plugin", "test", "--component", text(&component), "--cases", "recorded"]).check(0, &["1 of 1 cases passed"]);
        }
    }
    // What the words would be found in, so that the test can fail.
    let sandbox = Sandbox::indexed(&Repo::sample());
    let server = Server::start(&sandbox);
    let files = record(&sandbox, &server, &[query], "open", &["--stage", "gate"]).await;
    assert!(std::fs::read_to_string(&files[0]).expect("a case").contains("flibbertigibbet"));
}

#[test]
fn recording_says_what_is_wrong() {
    let sandbox = Sandbox::new();
    sandbox
        .run(&["plugin", "record", "--url", "http://127.0.0.1:9", "--runs", "1"])
        .check(1, &["no server answers at http://127.0.0.1:9", "spanloom serve"]);
    let server = Server::start(&sandbox);
    sandbox.run(&["plugin", "record", "--url", &server.base, "--runs", "0"]).check(2, &["`runs` is 0; allowed: 1 to 1000"]);
    sandbox.run(&["plugin", "record", "--url", &server.mcp(), "--runs", "1001"]).check(2, &["`runs` is 1001; allowed: 1 to 1000"]);
}

#[test]
fn a_bench_gives_ratios() {
    let sandbox = Sandbox::new();
    for (plugin, figures) in [("gate-heuristic", 3), ("fusion-rrf", 7), ("rerank-code", 7)] {
        let report = sandbox.json(&["plugin", "bench", plugin, "--time-ms", "10", "--json"]);
        let all = report["figures"].as_array().expect("a list");
        assert_eq!((all.len(), &all[0]["what"]), (figures, &json!("fresh instance, configured")), "{report:#}");
        for figure in all {
            let [own, other, ratio] = ["plugin_us", "baseline_us", "ratio"].map(|key| figure[key].as_f64().expect("a number"));
            assert!(own > 0.0 && other > 0.0 && (ratio - own / other).abs() < 1e-9 * ratio, "{figure}");
        }
        assert_eq!(report["sha256"], report["baseline_sha256"], "without --baseline the shipped one");
    }
    sandbox
        .run(&["plugin", "bench", "fusion-rrf", "--time-ms", "10"])
        .check(0, &["fusion, median µs", "ratio", "4 × 1000 rows, spans made"]);
    sandbox.run(&["plugin", "bench", "fusion-rrf", "--time-ms", "9"]).check(2, &["--time-ms is 9; allowed: 10 to 60000"]);
    sandbox.run(&["plugin", "bench", "fusion-rrf", "--parameters", r#"{"k": 0}"#, "--time-ms", "10"]).check(1, &["`k`"]);
    sandbox.run(&["plugin", "bench", "nobody"]).check(2, &["`nobody` can't be read", "fusion-rrf"]);
    sandbox.run(&["plugin", "bench", "fusion-rrf", "--baseline", "rerank-code", "--time-ms", "10"]).check(1, &["fusion"]);
}

#[test]
fn inspect_says_what_a_component_is() {
    let sandbox = Sandbox::new();
    for (name, stage, functions, host, asks) in [
        ("gate-heuristic", "gate", json!(["describe", "configure", "decide"]), "telemetry", &[][..]),
        ("fusion-rrf", "fusion", json!(["describe", "configure", "fuse"]), "telemetry", &[]),
        ("rerank-code", "rerank", json!(["describe", "configure", "rerank"]), "documents", &["documents"]),
    ] {
        let component = shipped(&sandbox, name);
        let facts = sandbox.json(&["plugin", "inspect", text(&component), "--json"]);
        let sum = Command::new("sha256sum").arg(&component).stdout(Stdio::piped()).output().expect("coreutils");
        let sum = String::from_utf8_lossy(&sum.stdout).split(' ').next().unwrap_or_default().to_owned();
        assert_eq!((&facts["sha256"], &facts["name"], &facts["refused"]), (&json!(sum), &json!(name), &Json::Null));
        assert_eq!(facts["size_bytes"].as_u64(), std::fs::metadata(&component).ok().map(|file| file.len()));
        assert_eq!((&facts["world"], &facts["contract"]), (&json!(format!("{stage}-plugin")), &facts["host_contract"]));
        let version = facts["contract"].as_str().expect("a version");
        assert_eq!(facts["exports"], json!([{"name": format!("spanloom:search/{stage}@{version}"), "functions": functions}]));
        let imports: Vec<&str> = facts["imports"].as_array().expect("a list").iter().filter_map(|import| import["name"].as_str()).collect();
        let wanted = format!("spanloom:search/{host}@{version}");
        assert!(imports.contains(&wanted.as_str()), "{imports:?}");
        let asked: Vec<&str> = facts["asks_for"].as_array().expect("a list").iter().filter_map(Json::as_str).collect();
        assert!(asks.iter().all(|grant| asked.contains(grant)), "{asked:?}");
        assert_eq!(asked.contains(&"documents"), stage == "rerank", "{asked:?}");
        assert_eq!(facts["parameters"]["type"], "object");

        let lines = sandbox.run(&["plugin", "inspect", text(&component)]).out;
        let starts = [
            format!("{name} 0.1.0"),
            format!("world      {stage}-plugin of spanloom:search {version} (this host: {version})"),
            format!("size       {} bytes", facts["size_bytes"]),
            format!("sha-256    {sum}"),
        ];
        assert_eq!(lines.lines().take(4).collect::<Vec<_>>(), starts, "{lines}");
        for part in ["\nimports    spanloom:search/", "\nexports    spanloom:search/", "\nasks for   ", "\nparameters {"] {
            assert!(lines.contains(part), "`{part}` is not in: {lines}");
        }
        // By its name it is the same.
        assert_eq!(sandbox.json(&["plugin", "inspect", name, "--json"])["sha256"], sum);
    }
}

#[test]
fn inspect_says_why_a_file_is_refused() {
    let sandbox = Sandbox::new();
    let check = |name: &str, text: &str, reason: &str| {
        std::fs::write(sandbox.path(name), text).expect("a file");
        sandbox.run(&["plugin", "inspect", name]).check(1, &[name, reason]);
        sandbox.run(&["plugin", "inspect", name, "--json"]).check(1, &[reason]);
    };
    check("notes.wasm", "Not a component.\n", "is no WebAssembly component");
    check("module.wasm", "(module)", "is no WebAssembly component");
    check("bare.wasm", "(component)", "exports no stage of spanloom:search");
    let newer = "(component (instance $empty) (export \"spanloom:search/fusion@0.2.0\" (instance $empty)))";
    check("newer.wasm", newer, "was built against spanloom:search 0.2.0");
    let facts = sandbox.run(&["plugin", "inspect", "newer.wasm", "--json"]).out;
    let facts: Json = serde_json::from_str(&facts).expect("what can be said of it is said");
    assert!(facts["refused"].as_str().is_some_and(|reason| reason.contains("fusion@0.2.0")), "{facts}");
    assert_eq!(facts["sha256"].as_str().map(str::len), Some(64));
    sandbox.run(&["plugin", "inspect", "nowhere.wasm"]).check(2, &["`nowhere.wasm` can't be read"]);
}

#[test]
fn a_new_plugin_needs_a_name_and_room() {
    let sandbox = Sandbox::new();
    let new = |name: &str| sandbox.run(&["plugin", "new", "--stage", "fusion", "--", name]);
    for (name, problem) in [
        ("", "it is empty"),
        ("My-Fusion", "it has a `M` in it"),
        ("../up", "it has a `.` in it"),
        ("2nd", "it begins with no letter"),
        ("a--b", "its dashes are not single ones"),
        ("serde", "Rust or its packages use that name"),
    ] {
        new(name).check(2, &[&format!("a plugin can't be named `{name}`"), problem, "allowed: small letters"]);
    }
    let left: Vec<String> = std::fs::read_dir(sandbox.path("."))
        .expect("a folder")
        .map(|entry| format!("{:?}", entry.expect("an entry").file_name()))
        .collect();
    assert_eq!(left, ["\"data\""], "nothing was made");

    std::fs::create_dir(sandbox.path("taken")).expect("a folder");
    std::fs::write(sandbox.path("taken/notes.txt"), "mine").expect("a file");
    new("taken").check(2, &["taken is there and not empty; allowed: a new folder, or an empty one"]);
    assert_eq!(std::fs::read_dir(sandbox.path("taken")).expect("a folder").count(), 1);
    sandbox.run(&["plugin", "new", "mine", "--stage", "ranking"]).check(2, &["ranking", "gate, fusion, rerank"]);
    sandbox.run(&["plugin", "new", "mine", "--stage", "gate", "--lang", "cobol"]).check(2, &["cobol", "rust, js, python"]);
    new("mine").check(0, &["A fusion plugin in rust: mine", "spanloom plugin build mine"]);
    sandbox.run(&["plugin", "build", "taken"]).check(2, &["taken/plugin.toml", "spanloom plugin new"]);
}

#[test]
fn a_failing_case_is_readable() {
    let sandbox = Sandbox::new();
    let component = shipped(&sandbox, "fusion-rrf");
    let runs = json!([
        {"channel": "bm25", "weight": 1, "ids": [1, 2, 3], "scores": [9.5, 8, 0.1]},
        {"channel": "dense", "weight": 1, "ids": [2, 4, 1], "scores": [0.9, 0.8, 0.7]},
    ]);
    let write = |name: &str, expect: Json| {
        let case = json!({"schema": 1, "stage": "fusion", "name": "two lists", "input": {"rrf_k": 60, "runs": runs}, "expect": expect});
        std::fs::create_dir_all(sandbox.path("cases")).expect("a folder");
        std::fs::write(sandbox.path("cases").join(name), case.to_string()).expect("a file");
    };
    let test = |more: &[&str]| sandbox.run(&[&["plugin", "test", "--component", text(&component), "--cases", "cases"], more].concat());
    write("good.json", json!({"top": [2], "spans": [{"name": "fusion.rrf", "parent": "stage"}]}));
    test(&[]).check(0, &["ok      good.json: two lists", "1 of 1 cases passed"]);

    write("order.json", json!({"order": [2, 1, 3, 4]}));
    write("output.json", json!({"output": {"ids": [2, 1, 4, 3], "scores": [0.0325225, 0.04, 0.016129, 0.015873]}}));
    write("spans.json", json!({"spans": [{"name": "fusion.mine"}]}));
    write("error.json", json!({"error": "bad_config"}));
    let failed = test(&[]);
    failed.check(1, &["4 of 5 cases failed", "1 of 5 cases passed"]);
    let lines = [
        "FAILED  error.json: two lists",
        "        expected a failure with `bad_config`, got an output",
        "FAILED  order.json: two lists",
        "        order: 2 of 4 rows differ",
        "        rank  expected  got",
        "FAILED  output.json: two lists",
        "        scores[1]: expected 0.04, got 0.032266457 (off by 7.7e-3, allowed 1e-5)",
        "FAILED  spans.json: two lists",
        "        span `fusion.mine` is missing; there were: fusion.rrf",
    ];
    let mut printed = failed.out.lines();
    for line in lines {
        assert!(printed.any(|printed| squeezed(printed) == squeezed(line)), "no line `{line}` (any more) in:\n{}", failed.out);
    }
    assert_eq!(failed.out.lines().filter(|line| line.ends_with('←')).count(), 2, "{}", failed.out);

    let json: Json = serde_json::from_str(&test(&["--json"]).out).expect("JSON");
    assert_eq!((&json["passed"], &json["failed"]), (&json!(1), &json!(4)));
    let kinds: Vec<&Json> = json["cases"].as_array().expect("a list").iter().map(|case| &case["differences"][0]["kind"]).collect();
    assert_eq!(kinds, [&json!("outcome"), &Json::Null, &json!("ranking"), &json!("numbers"), &json!("span")]);

    // What is no case is refused before anything is called.
    write("odd.json", json!({"ordre": [1]}));
    test(&[]).check(2, &["odd.json", "ordre"]);
    let other = shipped(&sandbox, "rerank-code");
    std::fs::remove_file(sandbox.path("cases/odd.json")).expect("it is there");
    sandbox.run(&["plugin", "test", "--component", text(&other), "--cases", "cases"]).check(1, &["no case is for a rerank plugin"]);
}

/// A line without its runs of spaces.
fn squeezed(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn close(a: f32, b: f32) -> bool {
    (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(1e-3)
}

/// The shares of each channel and the parts of each score add up to what was answered.
fn check_findings(answer: &AnswerEnvelope, reranked: bool) {
    for (finding, rank) in answer.findings.iter().zip(1..) {
        let why = finding.explanation.as_ref().unwrap_or_else(|| panic!("finding {rank} is explained"));
        let at = |problem: &str| format!("{problem} of {} at {rank}: {why:?}", finding.path);
        assert!(!why.channels.is_empty(), "{}", at("channels"));
        for part in &why.channels {
            let told = finding.contributions.iter().find(|told| told.channel == part.channel).expect("both name a channel");
            assert_eq!((part.rank, part.score), (told.rank, told.score), "{}", at("contribution"));
            assert!(part.weight > 0.0 && part.contribution > 0.0, "{}", at("weight"));
        }
        let sum: f32 = why.channels.iter().map(|part| part.contribution).sum();
        assert!(close(sum, why.fused_score), "{}", at("sum"));
        assert_eq!((why.final_rank, finding.rank, why.boosted_rank), (rank, rank, why.fused_rank), "{}", at("ranks"));
        assert_eq!((why.boost, why.boosted_score), (1.0, why.fused_score), "{}", at("boost"));
        assert_eq!(why.without.keys().copied().collect::<Vec<_>>(), ChannelName::ALL, "{}", at("without"));
        if reranked {
            let parts: BTreeMap<&str, f32> =
                why.rerank_parts.iter().map(|(name, value)| (name.as_str(), value.as_f64().expect("a number") as f32)).collect();
            assert_eq!(parts.len(), 11, "{}", at("parts"));
            let (factors, signals): (Vec<_>, Vec<_>) = parts.iter().partition(|(name, _)| name.ends_with("_factor"));
            let signals: f32 = signals.iter().map(|part| part.1).sum();
            let factors: f32 = factors.iter().map(|part| part.1).product();
            assert!(close(signals * factors, finding.score), "{}", at("score"));
            assert_eq!(why.rerank_score, Some(finding.score), "{}", at("rerank score"));
        } else {
            assert_eq!((why.rerank_score, why.rerank_parts.len()), (None, 0), "{}", at("no rerank"));
        }
    }
}

fn ranks(answer: &AnswerEnvelope) -> BTreeMap<ChunkId, u32> {
    answer.findings.iter().map(|finding| (finding.chunk_id, finding.rank)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_explanation_says_what_answers_show() {
    let sandbox = Sandbox::indexed(&library());
    let server = Server::start(&sandbox);
    let client = Client::connect(&server).await;
    let mut compared = 0;
    for query in QUERIES {
        for reranked in [true, false] {
            let ask = |more: Json| {
                let mut arguments = json!({"query": query, "limit": 20, "rerank_enabled": reranked});
                arguments.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
                client.search(arguments)
            };
            let answer = ask(json!({"explain": true})).await;
            assert_eq!((answer.degraded.len(), answer.warnings.len()), (0, 0), "{:?}", answer.warnings);
            check_findings(&answer, reranked);
            // To explain changes nothing else.
            let plain = ask(json!({})).await;
            assert_eq!(ranks(&plain), ranks(&answer), "{query}");
            assert!(plain.explanation.is_none() && plain.findings.iter().all(|finding| finding.explanation.is_none()));
            // The ranks without a channel are those of a search that has only the others.
            for left_out in ChannelName::ALL {
                let rest: Vec<ChannelName> = ChannelName::ALL.into_iter().filter(|channel| *channel != left_out).collect();
                let other = ranks(&ask(json!({"channels": rest})).await);
                for finding in &answer.findings {
                    let without = finding.explanation.as_ref().expect("it is explained").without[&left_out];
                    let found = other.get(&finding.chunk_id).copied();
                    let as_told = without.filter(|rank| *rank <= 20);
                    assert_eq!(found, as_told, "{query}, reranked {reranked}, without {left_out}: {} {without:?}", finding.path);
                    compared += usize::from(found.is_some());
                }
            }
            check_decision(&sandbox, &answer, reranked);
        }
    }
    assert!(compared > 50, "{compared}");
}

/// What the gate saw and decided, and who judged.
fn check_decision(sandbox: &Sandbox, answer: &AnswerEnvelope, reranked: bool) {
    let told = answer.explanation.as_ref().expect("an explanation");
    let gate = &told.gate;
    let features: Vec<&str> = gate.features.keys().map(String::as_str).collect();
    assert_eq!(features, ["code_share", "question", "specificity", "terms", "unknown_share", "words"]);
    assert_eq!(gate.features["terms"].as_u64(), Some(told.query.terms.len() as u64), "{told:?}");
    assert!(gate.reasons.len() == 5 && gate.reasons.iter().all(|reason| !reason.is_empty()), "{:?}", gate.reasons);
    assert!(gate.reasons[0].starts_with(&format!("class {}: ", gate.class)), "{:?}", gate.reasons);
    assert_eq!(gate.budgets.iter().map(|budget| budget.channel).collect::<Vec<_>>(), ChannelName::ALL);
    assert!(gate.budgets.iter().all(|budget| budget.depth > 0 && budget.weight > 0.0 && !budget.reason.is_empty()), "{gate:?}");
    assert!(told.query.documents > 0 && told.query.terms.iter().all(|term| !term.term.is_empty()));
    let listed = sandbox.json(&["plugin", "list", "--json"]);
    let judged: Vec<Stage> = told.plugins.keys().copied().collect();
    assert_eq!(judged.contains(&Stage::Rerank), reranked);
    for (stage, plugin) in &told.plugins {
        let active = listed.as_array().expect("a list").iter().find(|one| one["stage"] == stage.as_str() && one["active"] == true);
        let active = active.expect("each stage has one");
        assert_eq!((&active["name"], &active["sha256"]), (&json!(plugin.name), &json!(plugin.sha256)));
    }
}
