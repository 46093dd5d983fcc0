//! Plain records beside folders, or instead of them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use crate::support::Sandbox;
use crate::support::mcp::Client;
use crate::support::repo::Repo;
use crate::support::server::Server;

/// A function of 16 lines, which calls `helper`.
fn function(name: &str) -> String {
    format!("def {name}(values):\n    \"\"\"Works on {name}.\"\"\"\n{}    return helper(values)\n", "    values.append(1)\n".repeat(13))
}

/// Ten functions in one text, longer than a chunk.
fn module() -> String {
    let names = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"];
    let functions: Vec<String> = names.iter().map(|name| function(&format!("walrus_{name}")).repeat(3)).collect();
    functions.join("\n")
}

fn records() -> Vec<Json> {
    vec![
        json!({"id": "q1", "text": "def debounce(callback):\n    \"\"\"Delays a callback.\"\"\"\n    return timer(callback)", "language": "Python"}),
        json!({"id": "q2", "text": "Release notes.\n\nThe penguin was fixed.", "title": "Notes on the seventh release", "time": "2026-01-31T12:00:00Z"}),
        json!({"id": "q3", "text": module(), "path": "zoo/walrus.py", "time": 1_700_000_000, "stars": 5}),
        json!({"id": "q4", "text": "# Install\n\nRun the installer.\n\n# Upgrade\n\nRun the upgrader.", "path": "docs/guide.md"}),
        json!({"id": "q5", "text": "Пингвины живут в Антарктиде и едят рыбу."}),
        json!({"id": "q6", "text": "fn shared() {}", "path": "src/shared.rs"}),
        json!({"id": "q7", "text": "fn shared_too() {}", "path": "src/shared.rs"}),
    ]
}

fn write(sandbox: &Sandbox, name: &str, records: &[Json]) -> String {
    let lines: Vec<String> = records.iter().map(Json::to_string).collect();
    std::fs::write(sandbox.path(name), lines.join("\n")).expect("a file");
    name.to_owned()
}

fn indexed() -> Sandbox {
    let sandbox = Sandbox::new();
    write(&sandbox, "zoo.jsonl", &records());
    sandbox.json(&["index", "--json", "--documents", "zoo.jsonl"]);
    sandbox
}

/// The findings of a search in a process of its own.
fn found(sandbox: &Sandbox, query: &str) -> Vec<Json> {
    let answer = sandbox.json(&["search", query, "--json", "--limit", "20"]);
    answer["findings"].as_array().expect("findings").clone()
}

fn first<'a>(findings: &'a [Json], member: &str) -> &'a str {
    findings.first().and_then(|finding| finding[member].as_str()).unwrap_or_default()
}

#[test]
fn each_record_is_found_once() {
    let sandbox = indexed();
    let status = sandbox.json(&["status", "--json"]);
    assert_eq!((&status["counts"]["files"], &status["counts"]["documents"]), (&json!(7), &json!(7)), "{status}");
    assert_eq!((&status["roots"][0]["kind"], &status["roots"][0]["name"]), (&json!("documents"), &json!("zoo.jsonl")));
    assert_eq!(status["roots"][0]["commit"], Json::Null);
    sandbox.run(&["status"]).check(0, &["records     ", "zoo.jsonl", "7 indexed (7 of them records), 0 skipped"]);

    // Whole, with what its language says of it.
    let debounce = found(&sandbox, "delay a callback");
    assert_eq!((first(&debounce, "document"), first(&debounce, "path")), ("q1", "q1"));
    assert_eq!((first(&debounce, "language"), first(&debounce, "symbol")), ("python", "debounce"));
    assert_eq!((&debounce[0]["start_line"], &debounce[0]["end_line"]), (&json!(1), &json!(3)));
    assert_eq!(debounce[0].get("commit"), None);

    // The title is part of the text, and its symbol.
    let notes = found(&sandbox, "seventh release");
    assert_eq!((first(&notes, "document"), first(&notes, "symbol")), ("q2", "Notes on the seventh release"));
    assert_eq!(first(&notes, "text"), "Notes on the seventh release\nRelease notes.\n\nThe penguin was fixed.");
    assert_eq!((&notes[0]["start_line"], &notes[0]["end_line"]), (&json!(1), &json!(4)));

    // Several headings, one finding.
    let guide = found(&sandbox, "run the upgrader");
    assert_eq!((first(&guide, "document"), first(&guide, "path"), first(&guide, "language")), ("q4", "docs/guide.md", "markdown"));
    assert!(first(&guide, "text").starts_with("# Install") && first(&guide, "text").ends_with("Run the upgrader."));

    // Another script.
    assert_eq!(first(&found(&sandbox, "пингвины"), "document"), "q5");
    assert_eq!(sandbox.run(&["search", "企鹅", "--json"]).code, Some(0));

    // Passages: as many chunks as it takes, one finding, the passage that fits best.
    let chunks = status["counts"]["chunks"].as_u64().expect("a count");
    assert!(chunks > 8, "{chunks} chunks");
    for name in ["walrus_alpha", "walrus_theta"] {
        let walrus = found(&sandbox, &format!("walrus values {name}"));
        assert_eq!((first(&walrus, "document"), first(&walrus, "path")), ("q3", "zoo/walrus.py"));
        assert!(first(&walrus, "text").contains(&format!("def {name}(")), "{}", first(&walrus, "text"));
        let documents: Vec<&str> = walrus.iter().filter_map(|finding| finding["document"].as_str()).collect();
        assert_eq!(documents.len(), walrus.len());
        assert_eq!(documents.iter().collect::<BTreeSet<_>>().len(), documents.len(), "{documents:?}");
    }
    sandbox.run(&["search", "delay a callback"]).check(0, &["q1 L1–L3 — debounce document q1 (python)"]);
}

#[test]
fn limits_and_pages_count_records() {
    let sandbox = Sandbox::new();
    let long: Vec<Json> = (0..12).map(|n| json!({"id": format!("d{n}"), "text": module(), "language": "python"})).collect();
    write(&sandbox, "long.jsonl", &long);
    let report = sandbox.json(&["index", "--json", "--documents", "long.jsonl"]);
    assert!(report["chunks"].as_u64() > Some(24), "{report}");
    let answer = sandbox.json(&["search", "walrus gamma", "--json", "--limit", "10", "--explain"]);
    let documents: BTreeSet<&str> =
        answer["findings"].as_array().expect("findings").iter().filter_map(|finding| finding["document"].as_str()).collect();
    assert_eq!(documents.len(), 10, "{documents:?}");
    // Had a channel not been there, another passage might stand for a record; the record has a rank all the same.
    let without = &answer["findings"][0]["explanation"]["without"];
    assert!(without.as_object().is_some_and(|ranks| !ranks.is_empty() && ranks.values().all(Json::is_u64)), "{without}");

    let run = answer["observability"]["run_id"].as_str().expect("a run id");
    let ledger = sandbox.ledger(run);
    let hydrate = ledger.iter().find(|line| line["line"] == "span" && line["name"] == "duckdb.hydrate").expect("a span");
    assert!(hydrate["attributes"]["retrieval.passages_collapsed"].as_u64() > Some(0), "{hydrate}");
    let end = ledger.last().expect("an end");
    assert_eq!(end["outcome"]["findings"][0]["document"], answer["findings"][0]["document"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_opened_as_they_were_indexed() {
    let sandbox = indexed();
    // What is on disk since does not count.
    std::fs::write(sandbox.path("zoo.jsonl"), "").expect("a file");
    let server = Server::start(&sandbox);
    let client = Client::connect(&server).await;
    let answer = client.search(json!({"query": "the penguin was fixed", "limit": 3})).await;
    assert_eq!(answer.findings[0].document.as_deref(), Some("q2"));
    let result = client.call("semantic_search", json!({"query": "the penguin was fixed", "limit": 1})).await.expect("an answer");
    let text: String = result.content.iter().filter_map(|content| content.as_text().map(|text| text.text.clone())).collect();
    assert!(text.contains("q2 L1–L4 — Notes on the seventh release document q2 (text)"), "{text}");

    let open = async |arguments: Json| -> Json {
        let result = client.call("open_file", arguments.clone()).await.expect("an answer");
        assert_ne!(result.is_error, Some(true), "{arguments}: {:?}", result.content);
        result.structured_content.expect("a slice")
    };
    let notes = open(json!({"path": "q2"})).await;
    assert_eq!(notes["text"], "Notes on the seventh release\nRelease notes.\n\nThe penguin was fixed.\n");
    assert_eq!((&notes["total_lines"], &notes["changed_since_indexed"]), (&json!(4), &json!(false)));
    let walrus = open(json!({"path": "zoo/walrus.py"})).await;
    assert_eq!(walrus["text"], module());
    assert_eq!(walrus["language"], "python");
    let part = open(json!({"path": "zoo/walrus.py", "start_line": 3, "end_line": 4})).await;
    assert_eq!(part["text"], "    values.append(1)\n    values.append(1)\n");
    // By id, also where the path is that of several.
    assert_eq!(open(json!({"path": "q7"})).await["text"], "fn shared_too() {}\n");
    let refused = client.refused("open_file", json!({"path": "src/shared.rs"})).await;
    assert!(refused.contains("2 records have; allowed: the `document` of one of them"), "{refused}");
    assert!(client.refused("open_file", json!({"path": "q8"})).await.contains("not in the index"));
    assert!(client.refused("open_file", json!({"path": "../q1"})).await.contains("relative path"));
    assert!(client.refused("open_file", json!({"path": "q2", "start_line": 9})).await.contains("1 to 4"));
    for tool in ["git_blame", "git_history"] {
        let refused = client.refused(tool, json!({"path": "docs/guide.md"})).await;
        assert!(refused.contains("which is a record and no file"), "{refused}");
    }
    // Filters hold for records as for files.
    let python = client.search(json!({"query": "helper values callback", "languages": ["python"], "limit": 20})).await;
    let found: BTreeSet<_> = python.findings.iter().filter_map(|finding| finding.document.as_deref()).collect();
    assert_eq!(found, BTreeSet::from(["q1", "q3"]));
    let docs = client.search(json!({"query": "run the installer", "paths": ["docs/**"], "limit": 20})).await;
    assert_eq!(docs.findings.iter().map(|finding| finding.path.as_str()).collect::<Vec<_>>(), ["docs/guide.md"]);
}

#[test]
fn only_records_that_changed_are_cut_again() {
    let sandbox = indexed();
    let index = || sandbox.json(&["index", "--json", "--documents", "zoo.jsonl"]);
    let again = index();
    assert_eq!((&again["built"], &again["files"]["read"], &again["files"]["unchanged"]), (&json!(false), &json!(0), &json!(7)), "{again}");
    let before = ids(&sandbox);

    let mut changed = records();
    changed[0]["text"] = json!("def throttle(callback):\n    return callback");
    changed[2]["time"] = json!(1_800_000_000);
    changed.remove(1);
    changed.insert(0, json!({"id": "q8", "text": "A new record about an ostrich."}));
    changed.reverse();
    write(&sandbox, "zoo.jsonl", &changed);
    let report = index();
    assert_eq!(
        (&report["built"], &report["files"]["read"], &report["files"]["unchanged"]),
        (&json!(true), &json!(2), &json!(5)),
        "{report}"
    );
    let after = ids(&sandbox);
    // Which of its passages stands for q3 is left to the ranking.
    for id in ["q4", "q5", "q6", "q7"] {
        assert_eq!(after.get(id), before.get(id), "{id}");
    }
    assert!(after["q8"] > *before.values().max().expect("an id"));
    assert_ne!(after["q1"], before["q1"]);
    assert!(!after.contains_key("q2"));
    assert_eq!(first(&found(&sandbox, "ostrich"), "document"), "q8");
    assert!(found(&sandbox, "penguin").iter().all(|finding| finding["document"] != "q2"));
}

/// The chunk that stands for each record.
fn ids(sandbox: &Sandbox) -> BTreeMap<String, u64> {
    let query = "walrus values callback installer пингвины shared penguin ostrich";
    let id = |finding: &Json| (finding["document"].as_str().expect("a document").to_owned(), finding["chunk_id"].as_u64().expect("an id"));
    found(sandbox, query).iter().map(id).collect()
}

#[test]
fn records_stand_beside_folders() {
    let (sandbox, repo) = (Sandbox::new(), Repo::sample());
    write(&sandbox, "zoo.jsonl", &records());
    write(
        &sandbox,
        "more.jsonl",
        &[json!({"id": "m1", "text": "def lemur(): pass"}), json!({"id": "m2", "text": "int x;", "path": "a.c"})],
    );
    let arguments =
        ["index", "--json", repo.text_path(), "--documents", "zoo.jsonl", "--documents", "more.jsonl", "--documents-language", "py"];
    let report = sandbox.json(&arguments);
    assert_eq!(report["files"]["documents"], 9, "{report}");
    assert_eq!(sandbox.json(&arguments)["built"], false);
    let lemur = found(&sandbox, "lemur");
    assert_eq!((first(&lemur, "document"), first(&lemur, "path"), first(&lemur, "language")), ("m1", "more.jsonl/m1", "python"));
    assert_eq!(first(&lemur, "symbol"), "lemur");
    let bucket = found(&sandbox, "try_acquire token bucket");
    assert_eq!(first(&bucket, "path"), "sample/src/token_bucket.rs");
    assert_eq!(bucket[0].get("document"), None);
    assert!(bucket[0]["commit"].is_string());
    // Files are found as often as before: only records collapse.
    let mut paths: BTreeMap<&str, usize> = BTreeMap::new();
    let findings = found(&sandbox, "deployment service release certificates timer");
    findings.iter().filter_map(|finding| finding["path"].as_str()).for_each(|path| *paths.entry(path).or_default() += 1);
    assert!(paths.values().any(|count| *count > 1), "{paths:?}");

    // Without the folders, only the records are left, and paths have no prefix.
    sandbox.json(&["index", "--json", "--documents", "more.jsonl"]);
    assert_eq!(first(&found(&sandbox, "lemur"), "path"), "m1");
    assert_eq!(sandbox.json(&["status", "--json"])["counts"]["files"], 2);
}

#[test]
fn files_that_are_no_records_are_refused() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("folder")).expect("a folder");
    let good = r#"{"id": "a", "text": "x"}"#;
    for (name, content, parts) in [
        ("none.jsonl", None, &["none.jsonl does not exist"][..]),
        ("folder", None, &["folder is a folder"]),
        ("csv.jsonl", Some("id,text\na,b\n".to_owned()), &["csv.jsonl:1: not a JSON object", "`id,text`"]),
        ("array.jsonl", Some(format!("{good}\n[1]\n")), &["array.jsonl:2: not a JSON object", "`[1]`"]),
        ("cut.jsonl", Some(r#"{"id": "a", "te"#.to_owned()), &["cut.jsonl:1", "EOF while parsing"]),
        ("noid.jsonl", Some(r#"{"text": "x"}"#.to_owned()), &["noid.jsonl:1: `id` is missing"]),
        ("number.jsonl", Some(r#"{"id": 7, "text": "x"}"#.to_owned()), &["number.jsonl:1: `id` is `7`"]),
        ("twice.jsonl", Some(format!("{good}\n\n{good}")), &["twice.jsonl:3: the id \"a\" is that of twice.jsonl:1"]),
        ("time.jsonl", Some(r#"{"id": "a", "text": "x", "time": "soon"}"#.to_owned()), &["time.jsonl:1: `time` is `\"soon\"`", "RFC 3339"]),
    ] {
        if let Some(content) = content {
            std::fs::write(sandbox.path(name), content).expect("a file");
        }
        let ended = sandbox.run(&["index", "--documents", name]);
        ended.check(2, parts);
    }
    std::fs::write(sandbox.path("a.jsonl"), good).expect("a file");
    sandbox.run(&["index", "--documents", "a.jsonl", "--documents", "./a.jsonl"]).check(2, &["is given twice"]);
    std::fs::write(sandbox.path("b.jsonl"), good).expect("a file");
    sandbox.run(&["index", "--documents", "a.jsonl", "--documents", "b.jsonl"]).check(2, &["b.jsonl:1", "a.jsonl:1"]);
    sandbox.run(&["index", "--documents", "a.jsonl", "--documents-language", "klingon"]).check(2, &["klingon", "rust"]);
    sandbox.run(&["index", "folder", "--documents-language", "rust"]).check(2, &["--documents"]);
    sandbox.run(&["index"]).check(2, &["PATH"]);
    // Nothing of all that became an index.
    sandbox.run(&["status"]).check(3, &[]);
}

#[test]
fn records_that_hold_nothing_are_counted() {
    let sandbox = Sandbox::new();
    let huge = "word ".repeat(10_000_000);
    let mut lines: Vec<Vec<u8>> = [
        json!({"id": "good", "text": "the only one about a heron"}),
        json!({"id": "none"}),
        json!({"id": "blank", "text": " \n "}),
        json!({"id": "nul", "text": "a\0b"}),
        json!({"id": "huge", "text": huge}),
        json!({"id": "large", "text": "word ".repeat(300_000)}),
        json!({"id": "odd", "text": "nuqneH", "language": "klingon"}),
    ]
    .iter()
    .map(|record| record.to_string().into_bytes())
    .collect();
    lines.push(b"{\"id\": \"latin\", \"text\": \"caf\xe9\"}".to_vec());
    std::fs::write(sandbox.path("mixed.jsonl"), lines.join(&b'\n')).expect("a file");
    let report = sandbox.json(&["index", "--json", "--documents", "mixed.jsonl"]);
    let expect = [
        "mixed.jsonl: left out as binary: 1, the first at line 4",
        "mixed.jsonl: left out as too_large: 2, the first at line 5",
        "mixed.jsonl: left out as not_utf8: 1, the first at line 8",
        "mixed.jsonl: left out as no_text: 2, the first at line 2",
        "mixed.jsonl: of an unknown language: 1, the first \"klingon\" at line 7; taken by their path, or as text",
    ];
    let warnings = report["warnings"].as_array().expect("warnings");
    for sentence in expect {
        assert!(warnings.contains(&json!(sentence)), "{sentence:?} is not in {warnings:?}");
    }
    assert_eq!((&report["files"]["indexed"], &report["files"]["skipped"]), (&json!(2), &json!(6)), "{report}");
    let status = sandbox.json(&["status", "--json"]);
    let skipped = status["skipped"].as_array().expect("a list");
    for (reason, count) in [("too_large", 2), ("no_text", 2), ("not_utf8", 1), ("binary", 1)] {
        assert!(skipped.contains(&json!({"reason": reason, "count": count})), "{skipped:?}");
    }
    for sentence in expect {
        sandbox.run(&["status"]).check(0, &[sentence]);
    }
    assert_eq!(first(&found(&sandbox, "heron"), "document"), "good");
}

#[test]
fn the_smallest_sets_are_searched() {
    for (text, query) in [("heron", "heron"), ("a heron on a pond", "where is the heron"), ("цапля", "цапля"), ("x", "x")] {
        let sandbox = Sandbox::new();
        write(&sandbox, "one.jsonl", &[json!({"id": "only", "text": text})]);
        sandbox.run(&["index", "--documents", "one.jsonl"]).check(0, &["Indexed 1 records"]);
        assert_eq!(first(&found(&sandbox, query), "document"), "only", "{text}");
        assert!(found(&sandbox, "что").is_empty() || text != "heron");
        assert_eq!(sandbox.json(&["search", "鷺", "--json"])["findings"], json!([]));
    }
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.path("empty.jsonl"), "\n").expect("a file");
    let ended = sandbox.run(&["index", "--documents", "empty.jsonl"]);
    ended.check(0, &["warning: empty.jsonl holds no record that can be indexed"]);
    assert_eq!(sandbox.json(&["search", "heron", "--json"])["findings"], json!([]));
}
