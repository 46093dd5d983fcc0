//! Whatever comes in, a clear error or a counted warning goes out.

use std::path::Path;

use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::mcp::{Client, post, raw_call};
use crate::support::repo::Repo;
use crate::support::server::Server;
use crate::support::{Sandbox, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn arguments_that_dont_fit_are_named() {
    let sandbox = Sandbox::indexed(&Repo::sample());
    let server = Server::start(&sandbox);
    let client = Client::connect(&server).await;
    let long = "x ".repeat(50_000);
    let globs = vec!["a"; 65];
    for (arguments, parts) in [
        (json!({"query": "x", "limt": 3}), &["limt", "limit"][..]),
        (json!({}), &["query"]),
        (json!({"query": 7}), &["`query`", "7"]),
        (json!({"query": null}), &["query"]),
        (json!({"query": ["x"]}), &["`query`"]),
        (json!({"query": ""}), &["`query` is empty"]),
        (json!({"query": " \n\t"}), &["`query` is empty"]),
        (json!({"query": long}), &["`query` is 100000 bytes long", "8192"]),
        (json!({"query": "x", "limit": 0}), &["`limit` is 0", "1 to 100"]),
        (json!({"query": "x", "limit": 1_000_000_000}), &["`limit` is 1000000000", "1 to 100"]),
        (json!({"query": "x", "limit": -1}), &["`limit`", "-1"]),
        (json!({"query": "x", "limit": 1e300}), &["`limit`"]),
        (json!({"query": "x", "limit": 2.5}), &["`limit`", "2.5"]),
        (json!({"query": "x", "limit": "ten"}), &["`limit`", "ten"]),
        (json!({"query": "x", "paths": ["src/[a"]}), &["`paths`", "src/[a", "does not parse"]),
        (json!({"query": "x", "paths": ["{a"]}), &["`paths`", "{a"]),
        (json!({"query": "x", "paths": "src"}), &["`paths`"]),
        (json!({"query": "x", "paths": globs}), &["`paths`", "64"]),
        (json!({"query": "x", "languages": ["klingon"]}), &["`languages`", "klingon", "rust"]),
        (json!({"query": "x", "cursor": "%%%"}), &["`cursor` is not a cursor"]),
        (json!({"query": "x", "cursor": "x".repeat(10_000)}), &["`cursor` is not a cursor"]),
    ] {
        for tool in ["semantic_search", "semantic_search_pro"] {
            let words = client.refused(tool, arguments.clone()).await;
            for part in parts {
                assert!(words.contains(part), "`{part}` is not in: {words}");
            }
            assert!(words.len() < 2_000, "an error is short: {words}");
        }
    }
    for (arguments, part) in [
        (json!({"query": "x", "channels": []}), "`channels` is an empty list"),
        (json!({"query": "x", "channels": ["fax"]}), "fax"),
        (json!({"query": "x", "depths": {"bm25": 0}}), "`depths.bm25` is 0"),
        (json!({"query": "x", "depths": {"bm25": 1_000_000}}), "1 to 1000"),
        (json!({"query": "x", "depths": {"fax": 1}}), "depths"),
        (json!({"query": "x", "weights": {"dense": -1}}), "`weights.dense` is -1"),
        (json!({"query": "x", "weights": {"dense": 1e39}}), "weights"),
        (json!({"query": "x", "fusion": {"plugn": "a"}}), "plugn"),
        (json!({"query": "x", "fusion": {"plugin": "../../etc/passwd"}}), "`fusion.plugin`"),
        (json!({"query": "x", "fusion": {"parameters": {"nonsense": 1}}}), "nonsense"),
        (json!({"query": "x", "gate": {"parameters": [1]}}), "gate.parameters"),
        (json!({"query": "x", "rerank_enabled": "no"}), "rerank_enabled"),
        (json!({"query": "x", "explain": 1}), "explain"),
    ] {
        let words = client.refused("semantic_search_pro", arguments).await;
        assert!(words.contains(part), "`{part}` is not in: {words}");
    }
    let error = client.call("made_up", json!({})).await.expect_err("no such tool").to_string();
    assert!(error.contains("made_up") && error.contains("semantic_search"), "{error}");

    // A cursor of another query, or of the same one with another filter.
    let first = client.search(json!({"query": "capacity token", "limit": 1})).await;
    let cursor = first.next_cursor.expect("more than one finding");
    for arguments in
        [json!({"query": "other", "cursor": cursor}), json!({"query": "capacity token", "languages": ["rust"], "cursor": cursor})]
    {
        assert!(client.refused("semantic_search", arguments).await.contains("another query"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_may_be_any_text() {
    let sandbox = Sandbox::indexed(&Repo::sample());
    let server = Server::start(&sandbox);
    let client = Client::connect(&server).await;
    let deep = "(".repeat(4_000);
    let many = (0..1_000).map(|n| format!("w{n}")).collect::<Vec<_>>().join(" ");
    for query in [
        "\0",
        "\u{feff}\u{202e}\u{200b}",
        "🦀🦀🦀",
        "a\"b'c;--\\",
        "'; DROP TABLE chunks; --",
        "AND OR NOT +-&&||!(){}[]^\"~*?:\\/",
        "\"unbalanced",
        "`tick",
        "text:foo^1e9 id:[* TO *]",
        &deep,
        &many,
        "Ｆｕｌｌｗｉｄｔｈ ｔｏｋｅｎ",
        "e\u{301}\u{301}\u{301}",
        "%s%n%x ${jndi:ldap://x} {{7*7}}",
    ] {
        let answer = client.search(json!({"query": query, "explain": true})).await;
        assert_eq!(answer.degraded, [], "{query}");
    }
    assert!(!client.search(json!({"query": "token bucket"})).await.findings.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_opened_within_the_roots_only() {
    let repo = Repo::sample();
    let sandbox = Sandbox::indexed(&repo);
    let outside = tempfile::tempdir().expect("a folder");
    std::fs::write(outside.path().join("matrix.cpp"), "the secret\n").expect("a file");
    std::fs::write(outside.path().join("crc32.c"), "the secret\n").expect("a file");
    let server = Server::start(&sandbox);
    let client = Client::connect(&server).await;
    for (arguments, part) in [
        (json!({"path": "../sample/docs/deploy.md"}), "`path`"),
        (json!({"path": "docs/../../x"}), "`path`"),
        (json!({"path": "/etc/passwd"}), "`path`"),
        (json!({"path": ""}), "`path`"),
        (json!({"path": "docs/deploy.md\0"}), "not in the index"),
        (json!({"path": ".git/config"}), "not in the index"),
        (json!({"path": "secret/passwords.md"}), "not in the index"),
        (json!({"path": "links/outside/bin/env"}), "not in the index"),
        (json!({"path": "legacy/latin1.txt"}), "not in the index"),
        (json!({"path": "DOCS/DEPLOY.MD"}), "not in the index"),
        (json!({"path": "docs"}), "not in the index"),
        (json!({"path": "docs/deploy.md", "start_line": 0}), "`start_line`"),
        (json!({"path": "docs/deploy.md", "start_line": 9, "end_line": 3}), "`end_line`"),
        (json!({"path": "docs/deploy.md", "start_line": 4_000_000_000_u32}), "`start_line`"),
        (json!({"path": "docs/deploy.md", "start_line": -4}), "`start_line`"),
        (json!({"path": "docs/deploy.md", "lines": 4}), "lines"),
        (json!({"path": 4}), "`path`"),
        (json!({}), "path"),
    ] {
        let words = client.refused("open_file", arguments.clone()).await;
        assert!(words.contains(part), "{arguments}: {words}");
        assert!(!words.contains("root:"), "{words}");
    }

    // A folder, then a file, replaced by a link to the outside after indexing.
    std::fs::rename(repo.path().join("lib"), repo.path().join("lib.old")).expect("renamed");
    std::os::unix::fs::symlink(outside.path(), repo.path().join("lib")).expect("a link");
    std::fs::remove_file(repo.path().join("docs/deploy.md")).expect("removed");
    std::os::unix::fs::symlink(outside.path().join("crc32.c"), repo.path().join("docs/deploy.md")).expect("a link");
    for path in ["lib/matrix.cpp", "lib/crc32.c", "docs/deploy.md"] {
        let words = client.refused("open_file", json!({"path": path})).await;
        assert!(words.contains("leads out of its root") && !words.contains("secret"), "{words}");
    }
    // A folder, and nothing, in the place of a file.
    std::fs::remove_file(repo.path().join("settings.toml")).expect("removed");
    std::fs::create_dir(repo.path().join("settings.toml")).expect("a folder");
    std::fs::remove_file(repo.path().join("web/router.ts")).expect("removed");
    // A file that has become large, and one that has become binary.
    repo.write("web/debounce.js", &"x".repeat(3 << 20));
    repo.write_bytes("app/LruCache.java", b"\0\0\0");
    for (path, part) in [
        ("settings.toml", "can't be shown"),
        ("web/router.ts", "can't be read"),
        ("web/debounce.js", "too_large"),
        ("app/LruCache.java", "binary"),
    ] {
        let words = client.refused("open_file", json!({"path": path})).await;
        assert!(words.contains(part), "{path}: {words}");
    }
    // Searching goes on with what was indexed.
    assert_eq!(client.search(json!({"query": "LruCache"})).await.findings[0].path, "app/LruCache.java");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_none_are_refused() {
    let sandbox = Sandbox::indexed(&Repo::sample()).with_config("[server]\nbody_bytes_max = 65536\n");
    let server = Server::start(&sandbox);
    let call = |name: &str| {
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": {"query": "x"}}}).to_string()
    };
    for (body, headers, status) in [
        ("{\"jsonrpc\"".to_owned(), &[][..], 400),
        (String::new(), &[], 400),
        ("x".repeat(70_000), &[], 413),
        (call("semantic_search"), &[("origin", "https://evil.example")], 403),
        (call("semantic_search"), &[("host", "evil.example")], 403),
        ("[".repeat(60_000), &[], 400),
    ] {
        let raw = post(&server, body, headers).await;
        assert_eq!(raw.status, status, "{raw:?}");
        assert_eq!(raw.header("x-trace-id").len(), 32);
    }
    assert!(endless(&server).await.starts_with("HTTP/1.1 413 "));
    for body in ["null", "7", "\"x\"", "[]", "{}", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\"}"] {
        let raw = post(&server, body, &[]).await;
        assert!((400..500).contains(&raw.status) || raw.body["error"].is_object(), "{body}: {raw:?}");
    }
    let raw = raw_call(&server, "semantic_search", json!({"query": "LruCache"}), &[], json!({})).await;
    assert!(!raw.envelope().findings.is_empty());
}

/// Posts a body that doesn't say how long it is, and goes on until there is an answer.
async fn endless(server: &Server) -> String {
    let address = server.base.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
    let head = format!("POST /mcp HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("sent");
    let (mut answers, mut questions) = stream.split();
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    let mut answer = vec![0; 1_024];
    let send = async {
        // The server stops to listen after its answer.
        while questions.write_all(chunk.as_bytes()).await.is_ok() {}
        std::future::pending().await
    };
    tokio::select! {
        read = answers.read(&mut answer) => {
            answer.truncate(read.expect("an answer"));
            String::from_utf8_lossy(&answer).into_owned()
        }
        () = send => unreachable!("it never ends"),
    }
}

/// Starts over with a whole index, damages it, and looks at what every command says.
fn check_damage(repo: &Repo, damage: impl Fn(&Path), parts: &[&str]) {
    let sandbox = Sandbox::indexed(repo);
    damage(&sandbox.generation());
    for command in [&["status"][..], &["search", "LruCache"], &["doctor"]] {
        let ended = sandbox.run(command);
        let expect = if command == ["doctor"] { 1 } else { 3 };
        // What only opening all of it can find, `status` need not.
        if command != ["status"] || ended.code != Some(0) {
            ended.check(expect, parts);
            ended.check(expect, &["spanloom index"]);
        }
    }
    // Indexing again repairs it, without the user having to remove anything.
    sandbox.json(&["index", "--json", "--rebuild", repo.text_path()]);
    sandbox.run(&["search", "LruCache"]).check(0, &["app/LruCache.java"]);
}

fn rewrite(path: &Path, change: impl Fn(&mut Json)) {
    let mut value: Json = serde_json::from_str(&std::fs::read_to_string(path).expect("a file")).expect("JSON");
    change(&mut value);
    std::fs::write(path, value.to_string()).expect("written");
}

fn truncate(path: &Path) {
    let length = std::fs::metadata(path).expect("a file").len();
    std::fs::File::options().write(true).open(path).expect("a file").set_len(length / 2).expect("cut");
}

#[test]
fn a_damaged_index_is_named_and_can_be_made_anew() {
    let repo = Repo::sample();
    let manifest = |folder: &Path| folder.join("manifest.json");
    check_damage(&repo, |folder| rewrite(&manifest(folder), |value| value["format"] = json!(0)), &["manifest.json", "format 0"]);
    check_damage(&repo, |folder| rewrite(&manifest(folder), |value| value["format"] = json!(99)), &["manifest.json", "format 99"]);
    check_damage(&repo, |folder| truncate(&manifest(folder)), &["manifest.json", "truncated or damaged"]);
    check_damage(&repo, |folder| std::fs::write(manifest(folder), "").expect("written"), &["manifest.json", "truncated or damaged"]);
    check_damage(&repo, |folder| std::fs::remove_file(manifest(folder)).expect("removed"), &["manifest.json"]);
    check_damage(&repo, |folder| std::fs::remove_dir_all(folder).expect("removed"), &["manifest.json"]);
    check_damage(&repo, |folder| truncate(&folder.join("dense/index.faiss")), &["index.faiss", "damaged"]);
    check_damage(&repo, |folder| truncate(&folder.join("catalog.duckdb")), &["catalog.duckdb", "damaged"]);
    check_damage(&repo, |folder| std::fs::remove_file(folder.join("dense/lsa.bin")).expect("removed"), &["lsa.bin", "damaged"]);
    check_damage(&repo, |folder| std::fs::remove_dir_all(folder.join("text")).expect("removed"), &["damaged"]);
    // The right size, the wrong content.
    check_damage(&repo, |folder| rewrite(&manifest(folder), |value| value["dense"]["index"]["dimension"] = json!(7)), &["dimension"]);
    check_damage(&repo, |folder| rewrite(&manifest(folder), |value| value["dense"]["index"]["rows"] = json!(7)), &["rows"]);
    for file in ["dense/index.faiss", "dense/lsa.bin", "catalog.duckdb"] {
        let name = file.rsplit('/').next().expect("a name");
        check_damage(&repo, |folder| scramble(&folder.join(file)), if file == "catalog.duckdb" { &["g0000"] } else { &[][..] });
        let sandbox = Sandbox::indexed(&repo);
        scramble(&sandbox.generation().join(file));
        sandbox.run(&["doctor"]).check(1, &[name, "sha256"]);
    }
}

/// Overwrites a file with noise of the same length.
fn scramble(path: &Path) {
    let length = std::fs::metadata(path).expect("a file").len() as usize;
    let noise: Vec<u8> = (0..length).map(|at| (at as u8).wrapping_mul(101).wrapping_add((at >> 8) as u8)).collect();
    std::fs::write(path, noise).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_generation_doesnt_replace_the_one_that_serves() {
    let repo = Repo::sample();
    let sandbox = Sandbox::indexed(&repo);
    let server = Server::start(&sandbox);
    let client = Client::connect(&server).await;
    let good = std::fs::read_to_string(sandbox.data().join("CURRENT")).expect("a pointer");
    for pointer in ["g999999\n", "", "../../etc\n", "\0"] {
        std::fs::write(sandbox.data().join("CURRENT"), pointer).expect("written");
        wait_until("a try to open it", async || {
            assert_eq!(client.search(json!({"query": "LruCache"})).await.findings[0].path, "app/LruCache.java");
            server.said().contains("can't be opened").then_some(())
        })
        .await;
        sandbox.run(&["search", "LruCache"]).check(3, &["spanloom index"]);
    }
    std::fs::write(sandbox.data().join("CURRENT"), good).expect("written");
    repo.write("src/late.rs", "pub fn latecomer() {}\n");
    sandbox.index(&repo);
    wait_until("the next generation", async || {
        let answer = client.search(json!({"query": "latecomer"})).await;
        answer.findings.iter().any(|finding| finding.path == "src/late.rs").then_some(())
    })
    .await;
}

#[test]
fn a_data_directory_without_an_index_is_code_3() {
    let sandbox = Sandbox::new();
    for command in [&["status"][..], &["search", "x"]] {
        sandbox.run(command).check(3, &["there is no index", "spanloom index PATH"]);
    }
    sandbox.run(&["doctor"]).check(0, &["spanloom index"]);
}

#[test]
fn folders_with_nothing_in_them_are_indexed() {
    let plain = tempfile::tempdir().expect("a folder");
    let text = plain.path().to_str().expect("UTF-8");
    let unborn = Repo::empty("unborn");
    let empty = Repo::empty("void");
    empty.git(&["commit", "--quiet", "--allow-empty", "--message", "nothing"]);
    for path in [text, unborn.text_path(), empty.text_path()] {
        let sandbox = Sandbox::new();
        let report = sandbox.json(&["index", "--json", path]);
        assert_eq!((&report["files"]["indexed"], &report["chunks"]), (&json!(0), &json!(0)));
        sandbox.run(&["search", "anything"]).check(0, &["Nothing was found"]);
        sandbox.run(&["status"]).check(0, &["0 indexed"]);
        assert_eq!(sandbox.json(&["index", "--json", path])["built"], false);
    }
    // Files that nobody committed yet.
    unborn.write("one.rs", "pub fn only_one() {}\n");
    let sandbox = Sandbox::indexed(&unborn);
    sandbox.run(&["search", "only_one"]).check(0, &["one.rs"]);
    // A file of nothing, and one of blanks.
    std::fs::write(plain.path().join("empty.py"), "").expect("written");
    std::fs::write(plain.path().join("blank.md"), "\n\n   \n").expect("written");
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.json(&["index", "--json", text])["files"]["indexed"], 2);
    sandbox.run(&["search", "anything"]).check(0, &["Nothing was found"]);
}

#[test]
fn odd_files_are_counted_and_indexing_goes_on() {
    let repo = Repo::sample();
    // 200 MB, without taking the room.
    let huge = std::fs::File::create(repo.path().join("huge.txt")).expect("a file");
    huge.set_len(200 << 20).expect("sparse");
    repo.write("deep.rs", &"fn a() {".repeat(50_000));
    repo.write("line.js", &format!("var x = [{}];\n", "1,".repeat(200_000)));
    repo.write("broken.py", "def (((:\n  return \u{1F980}\n\tclass\n");
    repo.write("name with blanks & ünicode.md", "# Umlaut heading\n\ncapacity\n");
    repo.write("crlf.go", "package x\r\n\r\nfunc Crlf() {}\r\n");
    repo.write("bom.java", "\u{feff}class Bom {}\n");
    repo.link("links/loop", "..");
    repo.link("links/file", "../docs/deploy.md");
    let sandbox = Sandbox::new();
    let report = sandbox.index(&repo);
    let status = sandbox.json(&["status", "--json"]);
    let count = |reason: &str| {
        status["skipped"]
            .as_array()
            .and_then(|list| list.iter().find(|entry| entry["reason"] == reason))
            .map(|entry| entry["count"].clone())
    };
    assert_eq!(count("too_large"), Some(json!(2)), "{status}");
    assert_eq!(count("broken_symlink"), Some(json!(1)));
    assert!(report["files"]["indexed"].as_u64().is_some_and(|files| files >= 19), "{report}");
    sandbox.run(&["search", "Umlaut heading"]).check(0, &["name with blanks & ünicode.md"]);
    sandbox.run(&["search", "Crlf"]).check(0, &["crlf.go"]);
}

#[test]
fn the_command_line_refuses_with_code_2() {
    let mut sandbox = Sandbox::indexed(&Repo::sample());
    let long = "x ".repeat(50_000);
    for (arguments, parts) in [
        (&["search", ""][..], &["`query` is empty"][..]),
        (&["search", &long], &["`query` is 100000 bytes long"]),
        (&["search", "x", "--limit", "0"], &["`limit` is 0", "1 to 100"]),
        (&["search", "x", "--limit", "1000000000"], &["`limit` is 1000000000"]),
        (&["search", "x", "--limit", "ten"], &["--limit"]),
        (&["search", "x", "--path", "src/[a"], &["`paths`", "src/[a"]),
        (&["search", "x", "--language", "klingon"], &["klingon", "rust"]),
        (&["search"], &["QUERY"]),
        (&["search", "--batch", "nowhere.jsonl"], &["nowhere.jsonl"]),
        (&["serch"], &["serch"]),
        (&["index"], &["PATH"]),
        (&["index", "/no/such/folder"], &["/no/such/folder does not exist"]),
        (&["index", "/etc/hostname"], &["/etc/hostname is not a folder"]),
        (&["index", "/etc", "/etc/"], &["same folder"]),
        (&["--config", "nowhere.toml", "status"], &["nowhere.toml"]),
        (&["serve", "--bind", "here"], &["server.bind", "ADDRESS:PORT"]),
    ] {
        sandbox.run(arguments).check(2, parts);
    }
    for (config, part) in [
        ("[serch]\na = 1", "serch"),
        ("[search]\ndeadline_ms = 1", "allowed: 10 to 300000"),
        ("[embedding]\nkind = \"magic\"", "magic"),
        ("[telemetry]\nlog = \"=[\"", "telemetry.log"),
        ("not toml", "spanloom.toml"),
    ] {
        sandbox.set_config(config);
        sandbox.run(&["status"]).check(2, &[part]);
    }
    sandbox.set_config("");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    sandbox.run(&["serve", "--bind", &address, "--metrics-bind", "127.0.0.1:0"]).check(1, &[&address, "--bind"]);
    sandbox.run(&["serve", "--bind", "127.0.0.1:0", "--metrics-bind", &address]).check(1, &[&address, "--metrics-bind"]);
}
