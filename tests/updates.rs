//! An index that is updated step by step is the index that a build from nothing makes.

use std::collections::{BTreeMap, BTreeSet};

use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value as Json, json};
use spanloom::envelope::AnswerEnvelope;

use crate::support::mcp::Client;
use crate::support::repo::{FILES, Repo};
use crate::support::server::Server;
use crate::support::vllm::{Encoding, StandIn};
use crate::support::{Sandbox, wait_until};

/// Updates however small the index is.
const ALWAYS: &str = "[index]\nupdate_chunks_min = 0\nupdate_percent_max = 50\n";
/// More than any search of these tests finds.
const ALL: u32 = 1_000;

/// A work tree with a model of what is in it.
struct Tree {
    repo: Repo,
    files: BTreeMap<String, u64>,
    random: ChaCha8Rng,
    /// The next word that stands in no file yet.
    next: u64,
}

impl Tree {
    fn new(seed: u64) -> Tree {
        let mut tree = Tree { repo: Repo::sample(), files: BTreeMap::new(), random: ChaCha8Rng::seed_from_u64(seed), next: 0 };
        for number in 0..60 {
            tree.write(&format!("many/{}/module_{number}.py", number % 4));
        }
        tree.repo.commit("many files");
        tree
    }

    /// A file with a word of its own, twice as long every third time.
    fn write(&mut self, path: &str) {
        let word = self.next;
        self.next += 1;
        let own = own_word(word);
        let topic = ["queue", "socket", "parser", "buffer"][word as usize % 4];
        let function = |name: &str| {
            let body: String = (0..30).map(|line| format!("    value += {line} * {topic}_{line}\n")).collect();
            format!("def {name}_{topic}(value):\n    \"\"\"Moves the {topic} {own}.\"\"\"\n{body}    return value\n\n\n")
        };
        let names = ["first", "second", "third", "fourth"];
        let text: String = names.iter().take(if word.is_multiple_of(3) { 4 } else { 2 }).map(|name| function(name)).collect();
        self.repo.write(path, &text);
        self.files.insert(path.to_owned(), word);
    }

    fn remove(&mut self, path: &str) -> u64 {
        std::fs::remove_file(self.repo.path().join(path)).expect("a file");
        self.files.remove(path).expect("a known file")
    }

    /// A few edits, new files, removals and renames, committed or not.
    fn change(&mut self) {
        for _ in 0..self.random.random_range(1..5) {
            let paths: Vec<String> = self.files.keys().cloned().collect();
            let path = paths.choose(&mut self.random).expect("files").clone();
            match self.random.random_range(0..5) {
                0 | 1 => self.write(&path),
                2 => {
                    let new = format!("new/file_{}.py", self.next);
                    self.write(&new);
                }
                3 => drop(self.remove(&path)),
                _ => {
                    let (from, to) = (self.repo.path().join(&path), format!("moved/{}_{}", self.next, path.replace('/', "_")));
                    let text = std::fs::read_to_string(from).expect("a file");
                    let word = self.remove(&path);
                    self.repo.write(&to, &text);
                    self.files.insert(to, word);
                }
            }
        }
        if self.random.random_range(0..3) > 0 {
            self.repo.commit("changes");
        }
    }
}

/// A word that is its own only part and stem.
fn own_word(number: u64) -> String {
    let letters = number.to_string().bytes().map(|digit| char::from(b"bcdfghkmpt"[usize::from(digit - b'0')])).collect::<String>();
    format!("q{letters}q")
}

/// What is found, without scores, ids and order: they depend on how often an index was
/// updated. Texts are held against the files.
fn found(repo: &Repo, answer: &AnswerEnvelope) -> BTreeSet<(String, u32, u32, Option<String>)> {
    assert_eq!(answer.degraded, [], "{:?}", answer.warnings);
    assert_eq!(answer.next_cursor, None);
    for finding in &answer.findings {
        let file = std::fs::read_to_string(repo.path().join(&finding.path)).expect("an indexed file");
        let lines: Vec<&str> = file.lines().skip(finding.start_line as usize - 1).collect();
        let count = (finding.end_line - finding.start_line + 1) as usize;
        // The last texts of a long answer are cut.
        assert!(lines[..count].join("\n").starts_with(finding.text.trim_end()), "{finding:?}");
    }
    answer.findings.iter().map(|row| (row.path.clone(), row.start_line, row.end_line, row.commit.clone())).collect()
}

async fn generation(client: &Client, name: &Json) {
    let serves = async || (client.search(json!({"query": "x"})).await.index.generation == *name).then_some(());
    wait_until("the generation", serves).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_find_what_a_build_from_nothing_finds() {
    for seed in [1, 2] {
        let mut tree = Tree::new(seed);
        let updated = Sandbox::new().with_config(ALWAYS);
        updated.index(&tree.repo);
        let server = Server::start(&updated);
        let client = Client::connect(&server).await;
        let mut updates = 0;
        for round in 0..6 {
            let gone: Vec<u64> = tree.files.values().copied().collect();
            tree.change();
            let gone: Vec<u64> = gone.into_iter().filter(|word| !tree.files.values().any(|there| there == word)).collect();
            let report = updated.index(&tree.repo);
            updates += usize::from(report["updated"] == true);
            assert!(report["files"]["read"].as_u64().is_some_and(|read| read <= 8), "{report}");
            let fresh = Sandbox::indexed(&tree.repo);
            let whole = fresh.json(&["status", "--json"]);
            let status = updated.json(&["status", "--json"]);
            assert_eq!((&status["counts"], &status["roots"]), (&whole["counts"], &whole["roots"]), "round {round}: {status:#}");
            generation(&client, &report["generation"]).await;
            let other_server = Server::start(&fresh);
            let other = Client::connect(&other_server).await;
            let pick = tree.files.values().copied().step_by(17).map(own_word);
            let queries = pick.chain(["socket", "moves the parser", "LruCache", "EARTH_RADIUS_KM"].map(str::to_owned));
            for (channel, query) in queries.map(|query| ("bm25", query)).chain([("dense", "moves the queue".to_owned())]) {
                let arguments = json!({"query": query, "channels": [channel], "depths": {channel: ALL}, "limit": 100, "rerank_enabled": false, "paths": ["many/0/**", "new/**", "moved/**"]});
                let [mine, theirs] =
                    [client.search(arguments.clone()).await, other.search(arguments).await].map(|answer| found(&tree.repo, &answer));
                assert_eq!(mine, theirs, "round {round}: {channel} {query}");
            }
            // Which chunk of a file is the best depends on scores, which files are found doesn't.
            let arguments = json!({"query": "moves the socket", "channels": ["files"], "depths": {"files": ALL}, "limit": 100, "rerank_enabled": false});
            let [mine, theirs] = [client.search(arguments.clone()).await, other.search(arguments).await]
                .map(|answer| found(&tree.repo, &answer).into_iter().map(|row| row.0).collect::<BTreeSet<_>>());
            assert!(mine.len() > 5, "{mine:?}");
            assert_eq!(mine, theirs, "round {round}: files");
            for word in gone {
                let arguments = json!({"query": own_word(word), "channels": ["bm25", "files"]});
                assert_eq!(client.search(arguments).await.findings, []);
            }
        }
        // Few chunks are changed in all: most builds are updates, or this tests nothing.
        assert!(updates >= 4, "{updates} updates");
        updated.run(&["doctor"]).check(0, &["with the right SHA-256"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_costs_what_changed_and_says_so() {
    let mut tree = Tree::new(3);
    let sandbox = Sandbox::new().with_config(ALWAYS);
    let first = sandbox.index(&tree.repo);
    assert_eq!((&first["updated"], &first["chunks_kept"]), (&json!(false), &json!(0)), "{first}");
    let chunks = first["chunks"].as_u64().expect("a count");

    let path = tree.files.keys().next().expect("a file").clone();
    tree.write(&path);
    let report = sandbox.index(&tree.repo);
    let count = |name: &str| report[name].as_u64().expect("a count");
    assert_eq!((&report["updated"], &report["files"]["read"]), (&json!(true), &json!(1)), "{report}");
    assert_eq!(count("chunks_kept") + count("chunks_removed"), chunks);
    assert_eq!(count("chunks_kept") + count("chunks_added"), count("chunks"));
    assert!(count("chunks_added") > 0 && count("chunks_removed") > 0, "{report}");
    let status = sandbox.json(&["status", "--json"]);
    assert_eq!(status["base"]["generation"], first["generation"]);
    assert_eq!((&status["base"]["added"], &status["base"]["removed"]), (&report["chunks_added"], &report["chunks_removed"]));
    assert_eq!((&status["dense"]["secondary"], &status["dense"]["removed"]), (&report["chunks_added"], &report["chunks_removed"]));
    sandbox.run(&["status"]).check(0, &["in the secondary", "since then"]);

    // The large files are the same ones, under two names.
    let old = sandbox.data().join("generations").join(first["generation"].as_str().expect("a name"));
    let inode = |path: std::path::PathBuf| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).expect("a file"));
    for (before, after) in
        [("catalog.duckdb", "base/catalog.duckdb"), ("dense/index.faiss", "dense/index.faiss"), ("dense/lsa.bin", "dense/lsa.bin")]
    {
        assert_eq!(inode(old.join(before)), inode(sandbox.generation().join(after)), "{after}");
    }

    // Spans tell what was searched.
    let run = sandbox.search("moves the queue");
    let lines = sandbox.ledger(&run);
    let faiss = lines.iter().find(|line| line["line"] == "span" && line["name"] == "faiss.search").expect("a span");
    let attributes = &faiss["attributes"];
    assert_eq!(attributes["faiss.rows_secondary"], report["chunks_added"], "{faiss}");
    assert_eq!((&attributes["faiss.rows"], &attributes["faiss.rows_removed"]), (&first["chunks_embedded"], &report["chunks_removed"]));

    assert_eq!(sandbox.index(&tree.repo)["built"], false);
    let rebuilt = sandbox.json(&["index", "--json", "--rebuild", tree.repo.text_path()]);
    assert_eq!((&rebuilt["updated"], &rebuilt["files"]["unchanged"]), (&json!(false), &json!(0)), "{rebuilt}");
    assert_eq!(sandbox.json(&["status", "--json"])["base"], Json::Null);
}

#[test]
fn records_are_updated_beside_files() {
    let mut tree = Tree::new(7);
    let sandbox = Sandbox::new().with_config(ALWAYS);
    let index = |sandbox: &Sandbox, tree: &Tree, records: &[Json]| {
        let lines: Vec<String> = records.iter().map(Json::to_string).collect();
        std::fs::write(sandbox.path("notes.jsonl"), lines.join("\n")).expect("a file");
        sandbox.json(&["index", "--json", tree.repo.text_path(), "--documents", "notes.jsonl"])
    };
    let record = |number: u64, word: u64| {
        let text = format!("A note on the {}.", own_word(word));
        json!({"id": format!("n{number}"), "text": text, "path": format!("notes/{number}.txt"), "time": 1_700_000_000 + number})
    };
    // The record that a search for a word in quotes finds first, with its path, if it is one.
    let first = |sandbox: &Sandbox, word: u64| {
        let answer = sandbox.json(&["search", &format!("\"{}\"", own_word(word)), "--json"]);
        let member = |name: &str| answer["findings"][0][name].as_str().map(str::to_owned);
        member("document").zip(member("path"))
    };
    let mut records: Vec<Json> = (0..30).map(|number| record(number, 1_000 + number)).collect();
    index(&sandbox, &tree, &records);

    records[3] = record(3, 2_003);
    records[4]["time"] = json!(1_800_000_000);
    records.remove(5);
    records.push(record(99, 2_099));
    tree.write("many/0/module_0.py");
    let report = index(&sandbox, &tree, &records);
    assert_eq!((&report["updated"], &report["files"]["read"]), (&json!(true), &json!(3)), "{report}");
    assert_eq!(report["files"]["documents"], 30);
    let fresh = Sandbox::new();
    index(&fresh, &tree, &records);
    assert_eq!(sandbox.json(&["status", "--json"])["counts"], fresh.json(&["status", "--json"])["counts"]);
    for (word, number) in [(1_000, 0), (2_003, 3), (1_004, 4), (1_006, 6), (2_099, 99)] {
        let expect = Some((format!("n{number}"), format!("notes.jsonl/notes/{number}.txt")));
        assert_eq!((first(&sandbox, word), first(&fresh, word)), (expect.clone(), expect), "{word}");
    }
    // What was said is not found any more.
    for word in [1_003, 1_005].map(own_word) {
        let answer = sandbox.json(&["search", &word, "--json", "--limit", "100"]);
        let findings = answer["findings"].as_array().expect("findings");
        assert!(!findings.iter().any(|finding| finding["text"].as_str().is_some_and(|text| text.contains(&word))), "{word}");
    }
    sandbox.run(&["doctor"]).check(0, &["with the right SHA-256"]);

    // Paths stand in the text indexes: those of a record that keeps its text are written anew.
    records[0]["path"] = json!("moved/0.txt");
    let report = index(&sandbox, &tree, &records);
    assert_eq!((&report["updated"], &report["files"]["read"]), (&json!(false), &json!(0)), "{report}");
    assert_eq!(first(&sandbox, 1_000), Some(("n0".to_owned(), "notes.jsonl/moved/0.txt".to_owned())));
}

#[test]
fn much_change_and_other_roots_write_the_index_whole() {
    let mut tree = Tree::new(4);
    let sandbox = Sandbox::new().with_config("[index]\nupdate_chunks_min = 0\nupdate_percent_max = 10\n");
    sandbox.index(&tree.repo);
    let paths: Vec<String> = tree.files.keys().cloned().collect();
    let mut whole = 0;
    for path in &paths[..12] {
        tree.write(path);
        let report = sandbox.index(&tree.repo);
        assert_eq!(report["files"]["read"], 1, "{report}");
        whole += usize::from(report["updated"] == false);
    }
    // About one file in twenty may change in between.
    assert!((2..=6).contains(&whole), "{whole} of 12 builds wrote the index whole");
    // A second root changes the path of every chunk.
    let other = Repo::empty("other");
    other.write("a.md", "# Alone\n\nA file.\n");
    let both = sandbox.json(&["index", "--json", tree.repo.text_path(), other.text_path()]);
    assert_eq!((&both["updated"], &both["files"]["read"]), (&json!(false), &json!(1)), "{both}");
    sandbox.run(&["search", "LruCache"]).check(0, &["sample/app/LruCache.java"]);
    // Fewer chunks than the default asks for.
    let small = Sandbox::indexed(&tree.repo);
    tree.write(&paths[0]);
    assert_eq!(small.index(&tree.repo)["updated"], false);
}

#[test]
fn a_last_index_that_is_damaged_is_no_obstacle() {
    type Damage = fn(&std::path::Path) -> std::io::Result<()>;
    let overwrite: Damage = |path| std::fs::write(path, vec![0xa5; std::fs::metadata(path)?.len() as usize]);
    for (name, damage) in [
        ("dense/lsa.bin", overwrite),
        ("dense/secondary_ids.bin", overwrite),
        ("base/catalog.duckdb", |path| std::fs::remove_file(path)),
        ("catalog.duckdb", overwrite),
        ("text/meta.json", overwrite),
        ("files/meta.json", overwrite),
        ("standings.bin", |path| std::fs::remove_file(path)),
    ] {
        let mut tree = Tree::new(5);
        let sandbox = Sandbox::new().with_config(ALWAYS);
        sandbox.index(&tree.repo);
        for _ in 0..2 {
            tree.write("many/0/module_0.py");
            sandbox.index(&tree.repo);
        }
        damage(&sandbox.generation().join(name)).expect("damage");
        tree.write("many/0/module_0.py");
        let report = sandbox.index(&tree.repo);
        let word = tree.files["many/0/module_0.py"];
        sandbox.run(&["search", &own_word(word)]).check(0, &["many/0/module_0.py"]);
        sandbox.run(&["doctor"]).check(0, &["with the right SHA-256"]);
        let files = (FILES.len() + tree.files.len()) as u64;
        assert!(report["files"]["indexed"].as_u64().is_some_and(|indexed| indexed >= files), "{name}: {report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_model_is_asked_for_what_is_new_alone() {
    let mut tree = Tree::new(6);
    let stand_in = StandIn::start(Encoding::AsAsked);
    let mut sandbox = Sandbox::new().with_config(&format!("{ALWAYS}{}", stand_in.config()));
    sandbox.index(&tree.repo);
    let path = tree.files.keys().next().expect("a file").clone();
    let asked = |stand_in: &StandIn, sandbox: &Sandbox, tree: &mut Tree| {
        tree.write(&path);
        let before = stand_in.requests();
        let report = sandbox.index(&tree.repo);
        assert_eq!(report["chunks"], report["chunks_embedded"], "{report}");
        (report, stand_in.requests() - before)
    };
    let (report, requests) = asked(&stand_in, &sandbox, &mut tree);
    // Batches of four, and one probe.
    assert!(report["updated"] == true && requests <= 2, "{requests} requests: {report}");

    // Gone for a while: what it embedded is still searched, and the rest is asked for later.
    stand_in.stop();
    tree.write("new/alone.py");
    sandbox.run(&["index", tree.repo.text_path()]).check(4, &["no vectors for", "run `spanloom index` again"]);
    let status = sandbox.json(&["status", "--json"]);
    let pending = status["dense"]["pending"].as_u64().expect("a count");
    let counts = |name: &str| status["counts"][name].as_u64().expect("a count");
    assert!(pending > 0 && counts("embedded") + pending == counts("chunks"), "{status:#}");
    sandbox.run(&["index", tree.repo.text_path()]).check(4, &["no vectors for"]);
    let stand_in = StandIn::start(Encoding::AsAsked);
    sandbox.set_config(&format!("{ALWAYS}{}", stand_in.config()));
    let report = sandbox.index(&tree.repo);
    assert_eq!((&report["chunks"], &report["files"]["read"]), (&report["chunks_embedded"], &json!(0)), "{report}");
    assert!(stand_in.requests() <= 2, "{} requests", stand_in.requests());

    // Written whole, an index takes its vectors along.
    sandbox.set_config(&format!("[index]\nupdate_percent_max = 0\n{}", stand_in.config()));
    let (report, requests) = asked(&stand_in, &sandbox, &mut tree);
    assert!(report["updated"] == false && requests <= 2, "{requests} requests: {report}");
    let found = sandbox.run(&["search", &own_word(tree.files["new/alone.py"])]);
    found.check(0, &["new/alone.py"]);
}
