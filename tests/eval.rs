//! `spanloom eval`: its figures against the programs of others, and what it does with
//! test sets that are wrong.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::process::Command;

use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value as Json, json};
use spanloom::eval::matching::{Hit, Level, Truth, judge, ranking};
use spanloom::eval::runs::{Format, lines};
use spanloom::eval::{Cuts, measures::Measure};

use crate::support::Sandbox;
use crate::support::repo::{FILES, Repo};
use crate::support::tools::{or_skip, pytrec_eval};

/// How far figures may be off those of trec_eval.
const TOLERANCE: f64 = 1e-6;

/// trec_eval's measures of a run, by query: `python this qrels run k`. Reciprocal rank
/// has no cut there, so the run is cut for it.
const TREC_EVAL: &str = r#"
import json, sys, pytrec_eval
qrels, run, k = {}, {}, int(sys.argv[3])
for line in open(sys.argv[1]):
    query, document, grade = line.rstrip("\n").split("\t")
    qrels.setdefault(query, {})[document] = int(grade)
for line in open(sys.argv[2]):
    query, _, document, rank, score, _ = line.split()
    run.setdefault(query, {})[document] = float(score)
names = {f"ndcg@{k}": f"ndcg_cut_{k}", f"recall@{k}": f"recall_{k}", "recall@100": "recall_100", f"p@{k}": f"P_{k}", "map@100": "map"}
measures = {f"ndcg_cut.{k}", f"recall.{k},100", f"P.{k}", "map"}
all = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(run)
first = {query: dict(sorted(own.items(), key=lambda row: -row[1])[:k]) for query, own in run.items()}
first = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(first)
print(json.dumps({query: {**{ours: own[theirs] for ours, theirs in names.items()}, f"mrr@{k}": first[query]["recip_rank"]}
                  for query, own in all.items()}))
"#;

/// By query, then by measure.
type Figures = BTreeMap<String, BTreeMap<String, f64>>;

fn trec_eval(python: &Path, qrels: &Path, run: &Path, k: usize) -> Figures {
    let output = Command::new(python).args(["-c", TREC_EVAL]).args([qrels, run]).arg(k.to_string()).output().expect("python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Queries that trec_eval doesn't know, as the run has nothing for them, have to be 0.
fn agree(ours: &Figures, theirs: &Figures) {
    assert!(theirs.keys().all(|query| ours.contains_key(query)));
    for (query, own) in ours {
        for (measure, figure) in own {
            let expect = theirs.get(query).map_or(0.0, |figures| figures[measure]);
            assert!((figure - expect).abs() < TOLERANCE, "{measure} of {query} is {figure}, trec_eval has {expect}");
        }
    }
}

#[test]
fn figures_are_those_of_trec_eval() {
    let Some(python) = or_skip(pytrec_eval()) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (seed, k) in [(1, 10), (2, 5), (3, 1), (4, 20)] {
        let cuts = Cuts::new(vec![k], vec![100]).expect("cuts");
        let (qrels, run, ours) = random_set(seed, &cuts);
        let (qrels_file, run_file) = (folder.path().join("qrels"), folder.path().join("run"));
        std::fs::write(&qrels_file, qrels).expect("judgments");
        std::fs::write(&run_file, run).expect("a run");
        let theirs = trec_eval(&python, &qrels_file, &run_file, k);
        assert!(theirs.len() > 30 && ours.len() > theirs.len(), "{} of {} queries have an answer", theirs.len(), ours.len());
        agree(&ours, &theirs);
    }
}

/// Judgments, a TREC run, and our figures: graded and not, with equal scores, several
/// chunks of a document, queries without an answer and such with nothing relevant.
fn random_set(seed: u64, cuts: &Cuts) -> (String, String, Figures) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (mut qrels, mut run, mut ours) = (String::new(), String::new(), Figures::new());
    for query in 0..60 {
        let query = format!("q{query}");
        let mut documents: Vec<u32> = (0..300).collect();
        documents.shuffle(&mut random);
        let judged = random.random_range(1..40);
        let worth = random.random_range(1..5);
        let grades: BTreeMap<String, u32> =
            documents[..judged].iter().map(|document| (format!("d{document}"), random.random_range(0..worth))).collect();
        for (document, grade) in &grades {
            qrels += &format!("{query}\t{document}\t{grade}\n");
        }
        let found = if random.random_bool(0.15) { 0 } else { random.random_range(1..250) };
        // Relevant documents are found more often than others.
        documents.sort_by_cached_key(|document| {
            random.random_range(0..300) - if grades.contains_key(&format!("d{document}")) { 150 } else { 0 }
        });
        let mut hits: Vec<Hit> = Vec::new();
        for document in &documents[..found] {
            let document = format!("d{document}");
            for chunk in 0..random.random_range(1..3) {
                let score = random.random_range(0..20) as f32;
                hits.push(Hit { document: document.clone(), path: document.clone(), start_line: chunk + 1, end_line: chunk + 1, score });
            }
        }
        // Stable: equal scores stay in the order in which they were ranked.
        hits.sort_by(|a, b| b.score.total_cmp(&a.score));
        let ranked = ranking(Level::File, &hits, None, cuts.depth());
        run += &lines(Format::Trec, Level::File, &query, &ranked);
        let judged = judge(Level::File, &Truth::Grades(grades), &ranked);
        ours.insert(query, cuts.measures().into_iter().map(|measure: Measure| (measure.to_string(), measure.of(&judged))).collect());
    }
    (qrels, run, ours)
}

/// Questions to [`Repo::sample`] and the files that answer them; the last one has two.
pub const QUESTIONS: [(&str, &str, &[&str]); 6] = [
    ("limit", "how is the rate of requests limited", &["src/token_bucket.rs"]),
    ("globe", "great circle distance", &["geo/haversine.py"]),
    ("cache", "LruCache", &["app/LruCache.java"]),
    ("retry", "exponential backoff with jitter", &["server/retry.go"]),
    ("release", "undo a deployment", &["docs/deploy.md"]),
    ("sum", "checksum of bytes", &["src/checksum.rs", "lib/crc32.c"]),
];

pub fn write(sandbox: &Sandbox, name: &str, lines: impl IntoIterator<Item = String>) {
    let text: String = lines.into_iter().map(|line| line + "\n").collect();
    std::fs::write(sandbox.path(name), text).expect("a file");
}

/// An index of the sample, and both layouts of a test set beside it.
pub fn bench() -> Sandbox {
    let sandbox = Sandbox::indexed(&Repo::sample());
    write(&sandbox, "queries.jsonl", QUESTIONS.iter().map(|(id, text, _)| json!({"id": id, "text": text, "more": 1}).to_string()));
    let judgments =
        QUESTIONS.iter().flat_map(|(id, _, files)| files.iter().map(move |file| format!("{id}\t{file}\t{}", 1 + file.len() % 2)));
    write(&sandbox, "qrels.tsv", std::iter::once("query-id\tdoc-id\trel".to_owned()).chain(judgments));
    let places = QUESTIONS.iter().map(|(id, text, files)| {
        let places: Vec<Json> = files.iter().map(|path| json!({"path": path, "grade": 2})).collect();
        json!({"id": id, "text": text, "category": "semantic", "relevant": places}).to_string()
    });
    write(&sandbox, "places.jsonl", places);
    sandbox
}

/// The figures of a report's queries.
fn figures(report: &Json) -> Figures {
    let queries = report["per_query"].as_array().expect("queries");
    let own = |query: &Json| serde_json::from_value(query["measures"].clone()).expect("figures");
    queries.iter().map(|query| (query["query_id"].as_str().expect("an id").to_owned(), own(query))).collect()
}

#[test]
fn files_are_measured_as_trec_eval_measures_the_run() {
    let sandbox = bench();
    let set = ["eval", "--queries", "queries.jsonl", "--qrels", "qrels.tsv"];
    let with = |more: &[&'static str]| [&set[..], more].concat();
    let report = sandbox.json(&with(&["--json", "--runs-out", "out.run"]));
    assert_eq!((&report["set"]["layout"], &report["set"]["level"]), (&json!("qrels"), &json!("file")));
    assert_eq!(report["settings"]["measures"], json!(["ndcg@10", "mrr@10", "recall@10", "recall@100", "p@10", "map@100"]));
    assert_eq!((&report["warnings"], &report["unanswered"], &report["degraded"]), (&json!([]), &json!(0), &json!(0)));
    let ndcg = &report["measures"]["ndcg@10"];
    let [mean, low, high] = ["mean", "low", "high"].map(|part| ndcg[part].as_f64().expect("a number"));
    assert!(mean > 0.6 && low <= mean && mean <= high && high <= 1.0, "{ndcg}");
    // The same again, to the last digit.
    assert_eq!(sandbox.json(&with(&["--json"])), report);
    // Nothing is left behind that would push out the ledgers of real runs.
    assert!(!sandbox.data().join("telemetry/runs").exists());

    if let Some(python) = or_skip(pytrec_eval()) {
        let without_header = std::fs::read_to_string(sandbox.path("qrels.tsv")).expect("judgments");
        std::fs::write(sandbox.path("bare.tsv"), without_header.split_once('\n').expect("a header").1).expect("a file");
        agree(&figures(&report), &trec_eval(&python, &sandbox.path("bare.tsv"), &sandbox.path("out.run"), 10));
    }
    // Each file once, as many as can be found, scores that fall.
    let run = std::fs::read_to_string(sandbox.path("out.run")).expect("a run");
    let rows: Vec<Vec<&str>> = run.lines().map(|line| line.split(' ').collect()).collect();
    let of_limit: Vec<&Vec<&str>> = rows.iter().filter(|row| row[0] == "limit").collect();
    assert_eq!(of_limit.iter().map(|row| row[2]).collect::<BTreeSet<_>>().len(), of_limit.len());
    assert!(of_limit.windows(2).all(|pair| pair[0][4].parse::<u32>().unwrap() > pair[1][4].parse::<u32>().unwrap()));

    let table = sandbox.run(&with(&["--k", "1,10"]));
    table.check(0, &["6 of 6 queries, 7 relevant, level file", "ndcg@1 ", "ndcg@10", "map@100", "95% interval", "Asking 6 queries"]);
}

#[test]
fn only_documents_of_the_corpus_are_ranked() {
    let sandbox = bench();
    let corpus = FILES
        .iter()
        .map(|(path, _)| json!({"id": path, "role": if path.ends_with(".c") { "test" } else { "source" }, "text": ""}).to_string());
    write(&sandbox, "corpus.jsonl", corpus.filter(|line| !line.contains("settings.toml")));
    let set = ["eval", "--queries", "queries.jsonl", "--qrels", "qrels.tsv", "--corpus", "corpus.jsonl", "--json", "--runs-out", "out.run"];
    let report = sandbox.json(&set);
    assert_eq!(report["warnings"], json!(["relevant documents that --corpus keeps out of the ranking: 1 (`lib/crc32.c`)"]));
    let run = std::fs::read_to_string(sandbox.path("out.run")).expect("a run");
    assert!(!run.contains("lib/crc32.c") && !run.contains("settings.toml") && run.contains("src/checksum.rs"), "{run}");
    assert_eq!(figures(&report)["sum"]["recall@100"], 0.5);
}

/// What the benchmark's own scorer gives for a line of a run: nDCG, reciprocal rank,
/// recall, written down independently of the program.
fn semble(places: &[&str], hits: &[Json], k: usize) -> [f64; 3] {
    let gain = |rank: usize| 1.0 / (1.0 + rank as f64).log2();
    let ranks: Vec<usize> =
        places.iter().filter_map(|place| hits.iter().take(k).position(|hit| hit["path"] == **place)).map(|at| at + 1).collect();
    let different: BTreeSet<usize> = ranks.iter().copied().collect();
    let ideal: f64 = (1..=places.len().min(k)).map(gain).sum();
    let first = ranks.iter().min().map_or(0.0, |rank| 1.0 / *rank as f64);
    [different.into_iter().map(gain).sum::<f64>() / ideal, first, ranks.len() as f64 / places.len() as f64]
}

#[test]
fn chunks_are_measured_as_semble_does_and_are_those_of_a_search() {
    let sandbox = bench();
    let report = sandbox.json(&["eval", "--queries", "places.jsonl", "--json", "--runs-out", "out.jsonl", "--record"]);
    assert_eq!((&report["set"]["layout"], &report["set"]["level"]), (&json!("places"), &json!("chunk")));
    let run = std::fs::read_to_string(sandbox.path("out.jsonl")).expect("a run");
    let answers: HashMap<String, Vec<Json>> = run
        .lines()
        .map(|line| serde_json::from_str::<Json>(line).expect("JSON"))
        .map(|line| (line["query_id"].as_str().expect("an id").to_owned(), line["hits"].as_array().expect("hits").clone()))
        .collect();
    let ours = figures(&report);
    for (id, text, files) in QUESTIONS {
        let expect = semble(files, &answers[id], 10);
        for (measure, expect) in ["ndcg@10", "mrr@10", "recall@10"].into_iter().zip(expect) {
            assert!((ours[id][measure] - expect).abs() < 1e-12, "{measure} of {id} is {}, not {expect}", ours[id][measure]);
        }
        let found = sandbox.json(&["search", text, "--json"]);
        for (finding, hit) in found["findings"].as_array().expect("findings").iter().zip(&answers[id]) {
            for part in ["path", "start_line", "end_line", "score"] {
                assert_eq!(finding[part], hit[part], "{id}");
            }
        }
    }
    // Asked for, each search is a run that can be looked at.
    let run_id = report["per_query"][0]["run_id"].as_str().expect("a run");
    assert!(!sandbox.ledger(run_id).is_empty());

    // File by file nothing is found later than chunk by chunk.
    let by_file = figures(&sandbox.json(&["eval", "--queries", "places.jsonl", "--level", "file", "--json"]));
    assert!(by_file.iter().all(|(id, own)| own["ndcg@10"] >= ours[id]["ndcg@10"]));
    let lines = sandbox.json(&["eval", "--queries", "places.jsonl", "--level", "lines", "--json"]);
    assert_eq!(lines["warnings"], json!(["no judgment names lines: judged as at level chunk"]));
    assert_eq!(figures(&lines), ours);
}

#[test]
fn systems_are_held_against_each_other() {
    let sandbox = bench();
    write(&sandbox, "plain.toml", ["[search]".to_owned(), "rerank = false".to_owned()]);
    let report =
        sandbox.json(&["eval", "--queries", "queries.jsonl", "--qrels", "qrels.tsv", "--json", "--compare", "plain.toml", "--ablate"]);
    let comparisons = report["comparisons"].as_array().expect("comparisons");
    let named = |name: &str| comparisons.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("no {name}: {comparisons:#?}"));
    for name in ["channel bm25", "channel dense", "stage gate", "stage fusion", "stage rerank", "signal fused_weight", "signal test_factor"]
    {
        let difference = &named(name)["differences"]["ndcg@10"];
        let count = |part: &str| difference[part].as_u64().expect("a count");
        assert_eq!(count("wins") + count("losses") + count("ties"), 6, "{name}: {difference}");
        assert!((0.0..=1.0).contains(&difference["p"].as_f64().expect("a number")), "{name}: {difference}");
        assert_eq!(named(name)["degraded"], 0, "{name}: what is left out on purpose is no failure");
    }
    // Two ways to the same system.
    let (configured, left_out) = (named("plain.toml"), named("stage rerank"));
    assert_eq!((&configured["kind"], &left_out["kind"]), (&json!("configuration"), &json!("stage")));
    assert_eq!(configured["per_query"], left_out["per_query"]);
    assert_eq!(configured["differences"], left_out["differences"]);
    let mean = |system: &Json| system["measures"]["ndcg@10"]["mean"].as_f64().expect("a number");
    let difference = configured["differences"]["ndcg@10"]["mean"].as_f64().expect("a number");
    assert!((mean(configured) - mean(&report) - difference).abs() < 1e-12);
    // Another way to the index without vectors.
    write(&sandbox, "words.toml", ["[embedding]".to_owned(), "kind = \"off\"".to_owned()]);
    let words = sandbox.json(&["eval", "--queries", "queries.jsonl", "--qrels", "qrels.tsv", "--json", "--compare", "words.toml"]);
    assert_eq!(words["comparisons"][0]["per_query"], named("channel dense")["per_query"]);

    // Reports of several sets make one.
    for (name, report) in [("one.json", &words), ("two.json", &words)] {
        write(&sandbox, name, [report.to_string()]);
    }
    let merged = sandbox.json(&["eval", "--merge", "one.json", "two.json", "--json"]);
    assert_eq!(merged["measures"]["ndcg@10"]["mean"], words["measures"]["ndcg@10"]["mean"]);
    assert_eq!(
        merged["comparisons"][0]["differences"]["ndcg@10"]["ties"].as_u64(),
        words["comparisons"][0]["differences"]["ndcg@10"]["ties"].as_u64().map(|ties| 2 * ties)
    );
    sandbox.run(&["eval", "--merge", "one.json", "qrels.tsv"]).check(2, &["qrels.tsv: is no report"]);

    let table = sandbox.run(&["eval", "--queries", "places.jsonl", "--compare", "plain.toml", "--ablate"]);
    table.check(
        0,
        &["plain.toml (other − first)", "Left out in turn, ndcg@10", "channel dense", "the host's reciprocal rank fusion", "won/lost/same"],
    );
}

#[test]
fn test_sets_that_are_wrong_are_named() {
    let sandbox = bench();
    let good = "{\"id\": \"a\", \"text\": \"token\"}";
    let check = |name: &str, content: &[&str], arguments: &[&str], parts: &[&str]| {
        write(&sandbox, name, content.iter().map(|line| (*line).to_owned()));
        let ended = sandbox.run(&[&["eval"], arguments].concat());
        ended.check(2, parts);
        assert!(ended.out.is_empty() && ended.err.len() < 1_000, "{}{}", ended.out, ended.err);
    };
    let qrels = ["--queries", "queries.jsonl", "--qrels", "bad"];
    check("bad", &[], &["--queries", "bad", "--qrels", "qrels.tsv"], &["bad: holds no query"]);
    check("bad", &[good, "{\"id\": 1"], &["--queries", "bad", "--qrels", "qrels.tsv"], &["bad:2: ", "allowed: {\"id\", \"text\"}"]);
    check("bad", &[good, good], &["--queries", "bad", "--qrels", "qrels.tsv"], &["bad:2: query id `a` stands in line 1 already"]);
    check("bad", &[good], &["--queries", "bad", "--qrels", "qrels.tsv"], &["bad: none of its queries has a judgment"]);
    check("bad", &[good], &["--queries", "bad"], &["name no `relevant` places", "--qrels"]);
    check("bad", &[], &qrels, &["bad: holds no judgment"]);
    check("bad", &["h\th\trel", "limit\tsrc/checksum.rs\t-1"], &qrels, &["bad:2: the grade is `-1`; allowed: whole numbers from 0"]);
    check("bad", &["limit\tx\t1", "limit\tx\t2"], &qrels, &["bad:2: document `x` is judged twice for query `limit`"]);
    check("bad", &["limit x"], &qrels, &["bad:1: `limit x` is no judgment"]);
    check("bad", &[], &["--queries", "places.jsonl", "--qrels", "qrels.tsv"], &["allowed: one of them"]);
    check("bad", &[], &["--queries", "none.jsonl"], &["none.jsonl: "]);
    check("bad", &[], &["--queries", "places.jsonl", "--corpus", "bad"], &["bad: holds no document to rank"]);
    check("bad", &[], &["--queries", "places.jsonl", "--k", "0"], &["`--k` is 0; allowed: 1 to 1000"]);
    check("bad", &[], &["--queries", "places.jsonl", "--limit", "101"], &["`--limit` is 101; allowed: 1 to 100"]);
    check("bad", &["[serch]"], &["--queries", "places.jsonl", "--compare", "bad"], &["serch"]);
    check("bad", &[], &["--queries", "places.jsonl", "--level", "page"], &["page", "chunk", "file", "lines"]);

    // What can be gone on with is counted.
    write(&sandbox, "more.tsv", ["limit\tsrc/token_bucket.rs\t1".to_owned(), "limit\tgone.rs\t1".to_owned(), "who\tx\t1".to_owned()]);
    let report = sandbox.json(&["eval", "--queries", "queries.jsonl", "--qrels", "more.tsv", "--json"]);
    assert_eq!(
        report["warnings"],
        json!([
            "judged queries that the set doesn't have, not used: 1 (`who`)",
            "queries without a judgment, not asked: 5 (`globe`, …)",
            "relevant documents that are not in the index: 1 (`gone.rs`)",
        ])
    );
    assert_eq!((&report["set"]["queries_read"], &report["set"]["queries_judged"]), (&json!(6), &json!(1)));

    // A query that no search takes counts 0, and the exit code says so.
    let long = "long ".repeat(5_000);
    write(&sandbox, "long.jsonl", [json!({"id": "l", "text": long, "relevant": [{"path": "src/checksum.rs"}]}).to_string()]);
    let ended = sandbox.run(&["eval", "--queries", "long.jsonl"]);
    ended.check(4, &["queries without an answer, which count 0: 1 (`l`: `query` is 25000 bytes long", "ndcg@10     0.0000"]);

    let empty = Sandbox::new();
    std::fs::copy(sandbox.path("places.jsonl"), empty.path("places.jsonl")).expect("a copy");
    empty.run(&["eval", "--queries", "places.jsonl"]).check(3, &["spanloom index"]);
}
