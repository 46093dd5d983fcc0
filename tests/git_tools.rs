//! Where code comes from: `git_blame` and `git_history`, as a client and a collector see them.

use serde_json::{Value as Json, json};
use spanloom::envelope::{BlameAnswer, HistoryAnswer};

use crate::support::Sandbox;
use crate::support::mcp::{Client, raw_call};
use crate::support::otlp::{Collector, Span};
use crate::support::repo::Repo;
use crate::support::server::Server;

/// A repository whose `src/rate.rs` was changed, merged and renamed.
fn told_repo() -> Repo {
    let repo = Repo::empty("told");
    let body = |name: &str| (0..12).map(|line| format!("let {name}_{line} = {line};\n")).collect::<String>();
    repo.write("src/limit.rs", &body("limit"));
    repo.write("docs/notes.md", "# Notes\n\nLimits.\n");
    repo.commit("add limits");
    repo.git(&["checkout", "--quiet", "-b", "side"]);
    repo.write("src/limit.rs", &format!("{}// the end\n", body("limit")));
    repo.commit("say where it ends");
    repo.git(&["checkout", "--quiet", "main"]);
    repo.write("src/limit.rs", &format!("// the beginning\n{}", body("limit")));
    repo.commit("say where it begins");
    repo.git(&["merge", "--quiet", "--message", "both", "side"]);
    repo.git(&["mv", "src/limit.rs", "src/rate.rs"]);
    repo.commit("limits are rates");
    repo
}

async fn answer<T: serde::de::DeserializeOwned>(client: &Client, tool: &str, arguments: Json) -> T {
    let result = client.call(tool, arguments.clone()).await.expect("an answer");
    assert_ne!(result.is_error, Some(true), "{arguments}: {:?}", result.content);
    let text: String = result.content.iter().filter_map(|content| content.as_text().map(|text| text.text.clone())).collect();
    assert!(!text.contains("@example"), "no addresses: {text}");
    serde_json::from_value(result.structured_content.expect("structured content")).expect("the tool's answer")
}

/// The commit of each line, by git.
fn blamed(repo: &Repo, path: &str) -> Vec<String> {
    let out = repo.git(&["blame", "--line-porcelain", "--", path]);
    let ids = out.lines().filter_map(|line| line.split(' ').next().filter(|word| word.len() == 40 && !line.starts_with('\t')));
    ids.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_agree_with_git_at_a_root_below_the_work_tree_and_beside_another() {
    let (repo, other) = (told_repo(), Repo::sample());
    let sandbox = Sandbox::new();
    let below = repo.path().join("src");
    sandbox.json(&["index", "--json", below.to_str().expect("UTF-8"), other.text_path()]);
    let server = Server::start(&sandbox);
    let client = Client::connect(&server).await;

    let blame: BlameAnswer = answer(&client, "git_blame", json!({"path": "src/rate.rs"})).await;
    let lines = blame.hunks.iter().flat_map(|hunk| (hunk.start_line..=hunk.end_line).map(|_| hunk.commit.clone()));
    assert_eq!(lines.collect::<Vec<_>>(), blamed(&repo, "src/rate.rs"));
    assert_eq!((blame.start_line, blame.end_line, blame.total_lines), (1, 14, 14));
    assert_eq!(blame.head_commit, repo.git(&["rev-parse", "HEAD"]).trim());
    let summaries: Vec<&str> = blame.hunks.iter().map(|hunk| hunk.summary.as_str()).collect();
    assert_eq!(summaries, ["say where it begins", "add limits", "say where it ends"]);
    assert!(blame.hunks.iter().all(|hunk| hunk.original_path.as_deref() == Some("src/limit.rs") && !hunk.boundary));
    assert!(!blame.changed_since_commit && blame.warnings.is_empty(), "{:?}", blame.warnings);
    let part: BlameAnswer = answer(&client, "git_blame", json!({"path": "src/rate.rs", "start_line": 13, "end_line": 99})).await;
    let hunks: Vec<_> = part.hunks.iter().map(|hunk| (hunk.start_line, hunk.end_line, hunk.original_start_line)).collect();
    assert_eq!((part.end_line, hunks), (14, vec![(13, 13, 12), (14, 14, 13)]));

    for (path, folder) in [("src/rate.rs", &repo), ("sample/docs/deploy.md", &other)] {
        let history: HistoryAnswer = answer(&client, "git_history", json!({"path": path})).await;
        let in_repo = path.strip_prefix("sample/").unwrap_or(path);
        let log = folder.git(&["log", "--format=%H %ct %an %s", "--", in_repo]);
        let told: Vec<String> =
            history.commits.iter().map(|one| format!("{} {} {} {}", one.commit, one.time_s, one.author, one.summary)).collect();
        assert_eq!(told, log.lines().collect::<Vec<_>>());
        assert!(!history.more && history.warnings.is_empty());
    }
    let history: HistoryAnswer = answer(&client, "git_history", json!({"path": "src/rate.rs"})).await;
    assert_eq!(history.commits[0].renamed_from.as_deref(), Some("src/limit.rs"));

    // On disk it is another file by now.
    repo.write("src/rate.rs", "changed\n");
    let blame: BlameAnswer = answer(&client, "git_blame", json!({"path": "src/rate.rs"})).await;
    assert!(blame.changed_since_commit && blame.total_lines == 14);
    assert!(blame.warnings[0].contains("differs from HEAD"), "{:?}", blame.warnings);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_out_is_told() {
    let repo = Repo::empty("long");
    repo.write("long.txt", &(0..2_500).map(|line| format!("line {line}\n")).collect::<String>());
    for number in 0..5 {
        repo.write("counter.txt", &format!("{number}\n"));
        repo.commit(&format!("count {number}"));
    }
    let sandbox = Sandbox::new().with_config("[index]\ncommits_max = 3\n");
    sandbox.index(&repo);
    let server = Server::start(&sandbox);
    let client = Client::connect(&server).await;
    let blame: BlameAnswer = answer(&client, "git_blame", json!({"path": "long.txt"})).await;
    assert_eq!((blame.start_line, blame.end_line, blame.total_lines), (1, 2_000, 2_500));
    assert!(blame.warnings[0].contains("lines 2001 to 2500 are left out"), "{:?}", blame.warnings);
    assert!(blame.warnings[1].contains("ended after 3 commits") && blame.hunks[0].boundary, "{:?}", blame.warnings);
    let history: HistoryAnswer = answer(&client, "git_history", json!({"path": "counter.txt", "limit": 2})).await;
    let summaries: Vec<&str> = history.commits.iter().map(|commit| commit.summary.as_str()).collect();
    assert_eq!((summaries, history.more, history.warnings.len()), (vec!["count 4", "count 3"], true, 0));
    let history: HistoryAnswer = answer(&client, "git_history", json!({"path": "counter.txt"})).await;
    assert_eq!((history.commits.len(), history.more), (3, true));
    assert!(history.warnings[0].contains("ended after 3 commits"), "{:?}", history.warnings);
    let since = repo.git(&["log", "-1", "--format=%cI", "HEAD~1"]);
    let history: HistoryAnswer = answer(&client, "git_history", json!({"path": "counter.txt", "since": since.trim()})).await;
    assert_eq!((history.commits.len(), history.more), (2, false));
}

#[track_caller]
fn check(span: &Span, expect: Json) {
    for (key, value) in expect.as_object().expect("attributes") {
        assert_eq!(span.attributes.get(key), Some(value), "{key} of {}: {:#?}", span.name, span.attributes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_is_one_client_span_below_the_run() {
    let repo = told_repo();
    let head = repo.git(&["rev-parse", "HEAD"]);
    let collector = Collector::start().await;
    let sandbox = Sandbox::new().with_variable("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.http);
    sandbox.index(&repo);
    let server = Server::start(&sandbox);
    let blame = json!({"path": "src/rate.rs", "start_line": 2, "end_line": 14});
    let history = json!({"path": "src/rate.rs", "limit": 7});
    for (tool, span, arguments, expect) in [
        ("git_blame", "git.blame", blame, json!({"git.op": "blame", "git.line_range": "2-14", "git.hunks": 2})),
        ("git_history", "git.history", history, json!({"git.op": "history", "git.limit": 7, "git.commits": 1})),
    ] {
        let raw = raw_call(&server, tool, arguments.clone(), &[], json!({})).await;
        assert_ne!(raw.body["result"]["isError"], true, "{}", raw.body);
        let trace = collector.trace(raw.header("x-trace-id")).await;
        assert_eq!(trace.tree(), format!("tools/call {tool} SERVER\n  {span} CLIENT\n"));
        check(trace.span(span), expect);
        check(trace.span(span), json!({"git.path": "src/rate.rs", "git.commit": head.trim()}));
        assert!(trace.span(span).attributes["git.commits_walked"].as_i64() > Some(0));
        let ledger = sandbox.ledger(raw.header("x-run-id"));
        let names: Vec<&str> = ledger.iter().filter(|line| line["line"] == "span.start").filter_map(|line| line["name"].as_str()).collect();
        assert!(names.contains(&span), "{names:?}");
        assert_eq!(ledger.last().expect("an end")["outcome"]["path"], "src/rate.rs");
    }
    let text = reqwest::get(&server.metrics).await.expect("a scrape").text().await.expect("text");
    for label in ["tool=\"git_blame\"", "tool=\"git_history\"", "stage=\"git.blame\"", "stage=\"git.history\""] {
        assert!(text.contains(label), "{label} is not in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_that_dont_fit_are_named() {
    let repo = told_repo();
    let sandbox = Sandbox::indexed(&repo);
    let server = Server::start(&sandbox);
    let client = Client::connect(&server).await;
    let path = "src/rate.rs";
    for (tool, arguments, part) in [
        ("git_blame", json!({"path": path, "start_line": 0}), "`start_line` is 0; allowed: 1 and up"),
        ("git_blame", json!({"path": path, "start_line": 9, "end_line": 3}), "`end_line` is 3; allowed: 9"),
        ("git_blame", json!({"path": path, "end_line": 0}), "`end_line` is 0"),
        ("git_blame", json!({"path": path, "start_line": 15}), "`start_line` is 15; allowed: 1 to 14"),
        ("git_blame", json!({"path": path, "start_line": u32::MAX}), "`start_line` is 4294967295"),
        ("git_blame", json!({"path": path, "start_line": 1u64 << 40}), "`start_line` is 1099511627776"),
        ("git_blame", json!({"path": path, "line": 1}), "line"),
        ("git_history", json!({"path": path, "limit": 0}), "`limit` is 0; allowed: 1 to 100"),
        ("git_history", json!({"path": path, "limit": 101}), "`limit` is 101; allowed: 1 to 100"),
        ("git_history", json!({"path": path, "since": "30d"}), "`since` is `30d`; allowed: a day such as"),
        ("git_history", json!({"path": path, "since": 7}), "`since` is 7"),
    ] {
        let words = client.refused(tool, arguments.clone()).await;
        assert!(words.contains(part), "{arguments}: {words}");
    }
    for tool in ["git_blame", "git_history"] {
        for (bad, part) in [
            ("../told/src/rate.rs", "without `..`"),
            ("src/../../x", "without `..`"),
            ("/etc/passwd", "without `..`"),
            ("", "without `..`"),
            (".git/config", "not in the index"),
            ("src/limit.rs", "not in the index"),
            ("src", "not in the index"),
            ("src/rate.rs\0", "not in the index"),
        ] {
            let words = client.refused(tool, json!({"path": bad})).await;
            assert!(words.contains("`path`") && words.contains(part), "{tool} {bad}: {words}");
        }
        assert!(client.refused(tool, json!({})).await.contains("path"));
    }
    // Replaced by a link to the outside after indexing.
    std::fs::remove_file(repo.path().join(path)).expect("removed");
    std::os::unix::fs::symlink("/etc/passwd", repo.path().join(path)).expect("a link");
    for tool in ["git_blame", "git_history"] {
        assert!(client.refused(tool, json!({"path": path})).await.contains("leads out of its root"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_git_cant_tell_has_a_class_and_a_remedy() {
    let repo = told_repo();
    let plain = tempfile::tempdir().expect("a folder");
    let loose = std::fs::canonicalize(plain.path()).expect("its path").join("loose");
    std::fs::create_dir(&loose).expect("a folder");
    std::fs::write(loose.join("notes.md"), "# Loose notes\n").expect("a file");
    repo.write("new.md", "# Not committed yet\n");
    let collector = Collector::start().await;
    let sandbox = Sandbox::new().with_variable("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.http);
    sandbox.json(&["index", "--json", repo.text_path(), loose.to_str().expect("UTF-8")]);
    let first = repo.git(&["rev-list", "--max-parents=0", "HEAD"]);
    let object = repo.path().join(".git/objects").join(&first[..2]).join(first[2..].trim());
    std::fs::remove_file(object).expect("a loose object");
    let server = Server::start(&sandbox);
    for (tool, span) in [("git_blame", "git.blame"), ("git_history", "git.history")] {
        for (path, class, part) in [
            ("loose/notes.md", "git_no_work_tree", "is in no git work tree"),
            ("told/new.md", "git_untracked", "commit it first"),
            ("told/docs/notes.md", "git_object_missing", "`git fsck`"),
        ] {
            let raw = raw_call(&server, tool, json!({"path": path}), &[], json!({})).await;
            let result = &raw.body["result"];
            assert_eq!(result["_meta"]["spanloom/error"]["class"], class, "{}", raw.body);
            let words = result["content"][0]["text"].as_str().expect("words");
            assert!(words.contains(path) && words.contains(part), "{words}");
            if class == "git_object_missing" {
                assert!(words.contains(first.trim()), "the object is named: {words}");
            }
            let trace = collector.trace(raw.header("x-trace-id")).await;
            assert_eq!(trace.tree(), format!("tools/call {tool} SERVER FAILED\n  {span} CLIENT FAILED\n"));
            check(trace.span(span), json!({"error.type": class, "git.path": path}));
            check(trace.root(), json!({"error.type": class}));
        }
    }
}
