//! Words: scores held against a reference, phrases, prefixes, whole files, widened
//! queries, and queries that are none.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use spanloom::engines::text::{Bm25Settings, TextDocument, TextIndex, TextQuery, build};
use spanloom::index::tokenize::Tokenizer;
use spanloom::rm3::{Feedback, Rm3Settings, widen};
use spanloom::types::{ChannelName, ChunkId};

use crate::support::Sandbox;
use crate::support::mcp::Client;
use crate::support::repo::Repo;
use crate::support::server::Server;
use crate::support::tools::{bm25_reference, or_skip};

/// Numbers may differ by so much: the reference counts in 32 bits, too.
const TOLERANCE: f64 = 1e-4;

/// What the reference says of each query.
#[derive(Deserialize)]
struct Reference {
    scores: Vec<BTreeMap<String, f64>>,
    widened: Vec<Vec<(String, f64)>>,
    widened_scores: Vec<BTreeMap<String, f64>>,
}

/// Texts of very different lengths, from one word to over a thousand, by Zipf's law.
fn corpus(count: usize) -> Vec<String> {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    (0..count)
        .map(|_| {
            let words = 2_f64.powf(random.random_range(0.0..10.5)) as usize;
            let word = |random: &mut ChaCha8Rng| {
                let rank = (3_000_f64.powf(random.random_range(0.0..1.0))) as usize;
                match rank % 7 {
                    0 => format!("get_value_{rank}"),
                    1 => format!("readWord{}", letters(rank)),
                    _ => letters(rank),
                }
            };
            (0..words).map(|_| word(&mut random)).collect::<Vec<_>>().join(" ")
        })
        .collect()
}

fn letters(mut number: usize) -> String {
    let mut word = String::from("w");
    while number > 0 {
        word.push(char::from(b'a' + (number % 26) as u8));
        number /= 26;
    }
    word
}

fn terms_of(text: &str) -> Vec<String> {
    let mut terms = Vec::new();
    Tokenizer::default().terms(text, &mut |term, _| terms.push(term.to_owned()));
    terms
}

/// Runs the reference; nothing where there is no Python with `bm25s`.
fn reference(texts: &[String], queries: &[Vec<String>], settings: &Bm25Settings, rm3: &Rm3Settings) -> Option<Reference> {
    let python = or_skip(bm25_reference())?;
    let asked = json!({
        "documents": texts.iter().map(|text| terms_of(text)).collect::<Vec<_>>(), "queries": queries, "k1": settings.k1, "b": settings.b,
        "rm3": {"documents": rm3.documents, "terms": rm3.terms, "original_weight": rm3.original_weight},
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/support/bm25_reference.py");
    let mut child = Command::new(python).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python starts");
    child.stdin.take().expect("a pipe").write_all(asked.to_string().as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "the reference fails");
    Some(serde_json::from_slice(&output.stdout).expect("its answer"))
}

#[track_caller]
fn same_scores(what: &str, rows: &[(ChunkId, f32)], expect: &BTreeMap<String, f64>) {
    assert_eq!(rows.len(), expect.len(), "{what}: as many documents");
    for (id, score) in rows {
        let expected = expect[&id.to_string()];
        assert!((f64::from(*score) - expected).abs() < TOLERANCE, "{what}: document {id} has {score}, the reference says {expected}");
    }
}

#[test]
fn one_field_gives_the_scores_of_bm25s_and_rm3_those_of_its_formula() {
    let texts = corpus(600);
    let folder = tempfile::tempdir().expect("a folder");
    let documents = texts.iter().zip(0..).map(|(text, id)| TextDocument { id: ChunkId(id), text, names: "", path: "", comments: "" });
    build(folder.path(), documents, &|_| {}).expect("an index");
    let index = TextIndex::open(folder.path()).expect("the index");
    let queries: Vec<Vec<String>> =
        ["wb", "wb wc wd", "get_value_7 wcb", "wd wd wzz unheard", "readWordwi wj wk wl wm wn wo wp wq wr", "wxc wbbb wcd get_value_700"]
            .iter()
            .map(|text| terms_of(text))
            .collect();
    for (k1, b) in [(1.2, 0.75), (0.9, 0.4), (2.0, 1.0)] {
        let settings = Bm25Settings { symbol_weight: 0.0, path_weight: 0.0, body_weight: 1.0, comments_weight: 0.0, k1, b };
        let rm3 = Rm3Settings::default();
        let Some(reference) = reference(&texts, &queries, &settings, &rm3) else { return };
        for (at, query) in queries.iter().enumerate() {
            let what = format!("k1 {k1}, b {b}, {query:?}");
            let mut different = query.clone();
            different.sort();
            different.dedup();
            let search = |terms: Vec<(String, f32)>, depth| {
                index.search(&TextQuery { terms, settings, ..TextQuery::default() }, depth, None).expect("rows")
            };
            let plain: Vec<(String, f32)> = different.into_iter().map(|term| (term, 1.0)).collect();
            let rows = search(plain.clone(), texts.len());
            same_scores(&what, &rows, &reference.scores[at]);
            // What is cut off changes nothing of what stays.
            assert_eq!(search(plain, 10), rows[..10.min(rows.len())], "{what}");

            let feedback: Vec<Feedback> =
                rows.iter().map(|(id, score)| Feedback { text: &texts[id.0 as usize], score: *score }).take(rm3.documents).collect();
            let frequency_of = |term: &str| index.document_frequency(term);
            let widened = widen(query, &feedback, index.documents(), &frequency_of, &rm3).expect("terms");
            let expected = &reference.widened[at];
            assert_eq!(widened.len(), expected.len(), "{what}: {widened:?} against {expected:?}");
            let expected: BTreeMap<&str, f64> = expected.iter().map(|(term, weight)| (term.as_str(), *weight)).collect();
            for (term, weight) in &widened {
                let known = expected.get(term.as_str()).unwrap_or_else(|| panic!("{what}: {term} is not among {expected:?}"));
                assert!((f64::from(*weight) - known).abs() < TOLERANCE, "{what}: {term} weighs {weight}, the reference says {known}");
            }
            same_scores(&format!("{what}, widened"), &search(widened, texts.len()), &reference.widened_scores[at]);
        }
    }
}

fn library() -> Repo {
    let repo = Repo::empty("library");
    repo.write("src/bucket.rs", "/// A token bucket.\npub struct TokenBucket {\n    capacity: u32,\n}\n\nimpl TokenBucket {\n    pub fn refill_tokens(&mut self) {\n        self.capacity += 1;\n    }\n}\n");
    repo.write("src/lease.rs", "/// Gives a bucket of tokens back.\npub fn release_lease(token: u32) -> u32 {\n    token\n}\n");
    repo.write("docs/limits.md", "# Limits\n\nEvery client has a token bucket. Refilling it takes a second.\n");
    repo.write("docs/other.md", "# Other\n\nNothing about that.\n");
    repo.commit("a library");
    repo
}

fn paths(answer: &spanloom::envelope::AnswerEnvelope) -> Vec<&str> {
    answer.findings.iter().map(|finding| finding.path.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn phrases_and_prefixes_are_asked_for_as_written() {
    let sandbox = Sandbox::indexed(&library());
    let server = Server::start(&sandbox);
    let client = Client::connect(&server).await;
    let check = async |arguments: Json, expect: &[&str], warning: Option<&str>| {
        let answer = client.search(arguments.clone()).await;
        let mut found = paths(&answer);
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, expect, "{arguments}: {:?}", answer.warnings);
        match warning {
            None => assert_eq!(answer.warnings, [] as [&str; 0], "{arguments}"),
            Some(part) => assert!(answer.warnings.iter().any(|warning| warning.contains(part)), "{arguments}: {:?}", answer.warnings),
        }
        assert!(answer.degraded.is_empty(), "{arguments}: {:?}", answer.degraded);
    };
    // Every channel keeps to it, the one of vectors, too.
    check(json!({"query": "where is the \"token bucket\""}), &["docs/limits.md", "src/bucket.rs"], None).await;
    check(json!({"query": "\"bucket of tokens\" refilling"}), &["src/lease.rs"], None).await;
    check(json!({"query": "\"refill_tokens\""}), &["src/bucket.rs"], None).await;
    check(json!({"query": "\"token bucket\" \"takes a second\""}), &["docs/limits.md"], None).await;
    check(json!({"query": "\"takes a second\" \"release_lease\""}), &["docs/limits.md", "src/lease.rs"], Some("any of them was enough"))
        .await;
    check(json!({"query": "\"token bucket\"", "paths": ["src/**"]}), &["src/bucket.rs"], None).await;
    check(
        json!({"query": "\"takes a second\" lease", "paths": ["src/**"], "channels": ["bm25"]}),
        &["src/lease.rs"],
        Some("no chunk that the filters let through holds the phrase “takes a second”"),
    )
    .await;
    check(json!({"query": "\"second takes\" lease", "channels": ["bm25"]}), &["docs/limits.md", "src/lease.rs"], Some("no chunk holds"))
        .await;
    check(
        json!({"query": "\"a lot\" \"of things\" \"nobody says\" \"here\" lease", "channels": ["bm25"]}),
        &["src/lease.rs"],
        Some("no chunk holds any of 4 phrases, such as “a lot”; their words were searched"),
    )
    .await;
    check(json!({"query": "relea*", "channels": ["bm25"]}), &["src/lease.rs"], None).await;
    check(json!({"query": "REFILL*", "channels": ["bm25"]}), &["docs/limits.md", "src/bucket.rs"], None).await;
    check(json!({"query": "qwert* lease", "channels": ["bm25"]}), &["src/lease.rs"], Some("`qwert*`: no term of the index begins so"))
        .await;
    check(json!({"query": "r* lease", "channels": ["bm25"]}), &["src/lease.rs"], Some("`r*`: a prefix has at least 2 letters")).await;
    check(json!({"query": "\"lease", "channels": ["bm25"]}), &["src/lease.rs"], Some("a phrase that is not closed")).await;
    check(json!({"query": "\"…\" lease", "channels": ["bm25"]}), &["src/lease.rs"], Some("has no words that can be searched")).await;

    let explained = client.search(json!({"query": "relea*", "explain": true})).await;
    let told = explained.explanation.expect("asked for").query;
    assert_eq!(
        (told.prefixes[0].prefix.as_str(), told.prefixes[0].terms.as_slice()),
        ("relea", &["releas".to_owned(), "releaselease".into()][..])
    );
    assert_eq!((told.terms.len(), told.widened.len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_that_are_none_are_answered_with_a_word() {
    let sandbox = Sandbox::indexed(&library());
    let server = Server::start(&sandbox);
    let client = Client::connect(&server).await;
    for (query, warning) in [
        ("?!… -- \u{1F600}".to_owned(), "no terms to search for"),
        ("how is it".to_owned(), "no terms to search for"),
        ("где выдаётся токен 令牌桶在哪里".to_owned(), "no term of the query is in the index"),
        ("\"".repeat(8_191), "not closed"),
        ("`\"`\"`\" \\\" ` token".to_owned(), "no words that can be searched"),
        ("\"\"\"\" \"a \"b\" c\" token".to_owned(), "no words that can be searched"),
        ("** a* *b* ** token*".to_owned(), "`a*`: a prefix has at least 2 letters"),
        ((0..600).map(|number| format!("\"x{number}\" ")).collect(), "more than 32 phrases"),
        ("ab* ac* ad* ae* af* ag* ah* ai* aj*".to_owned(), "`aj*` was searched as a word"),
    ] {
        let answer = client.search(json!({"query": query})).await;
        let short: String = query.chars().take(40).collect();
        assert!(answer.warnings.iter().any(|told| told.contains(warning)), "{short}: {:?}", answer.warnings);
        assert!(answer.degraded.is_empty(), "{short}: {:?}", answer.degraded);
        assert!(answer.warnings.len() < 12, "{short}: {:?}", answer.warnings);
    }
    // As many words as a query can have, none of them a stop word.
    let words: String = (0..2_700).map(|number| format!("{} ", letters(number % 600 + 26))).collect();
    let answer = client.search(json!({"query": format!("token {}", &words[..8_000])})).await;
    assert!(paths(&answer).contains(&"src/bucket.rs"), "{:?}", answer.warnings);
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_are_expanded_as_far_as_the_configuration_says() {
    let repo = library();
    repo.write("src/argument.rs", "/// Takes an argument.\npub fn take(argument: u32) {}\n");
    repo.commit("arguments");
    let mut sandbox = Sandbox::indexed(&repo);
    let question = json!({"query": "rust param release lease", "channels": ["bm25"], "explain": true, "rerank_enabled": false});
    let server = Server::start(&sandbox);
    let answer = Client::connect(&server).await.search(question.clone()).await;
    let told = answer.explanation.as_ref().expect("asked for").to_string();
    for part in ["; searched rust × 0.25", "; searched releaselease × 0.5", "; searched argument × 0.25"] {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert!(paths(&answer).contains(&"src/argument.rs"), "{:?}", paths(&answer));
    let score = |answer: &spanloom::envelope::AnswerEnvelope| {
        let found = answer.findings.iter().find(|finding| finding.path == "src/lease.rs").expect("it is found");
        found.contributions[0].score
    };
    server.stop();

    sandbox.set_config("[search.expansion]\nlanguage_weight = 1\njoined_weight = 0\nrelated_weight = 0\n");
    let server = Server::start(&sandbox);
    let plain = Client::connect(&server).await.search(question.clone()).await;
    assert!(plain.explanation.as_ref().expect("asked for").query.expanded.is_empty());
    assert!(!paths(&plain).contains(&"src/argument.rs"), "{:?}", paths(&plain));
    assert!(score(&plain) < score(&answer), "the name as one word counts");
}

/// A chunk that defines all of the query, and one that hands it on, are lifted for it.
#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_the_whole_query_and_names_handed_on_count() {
    let repo = library();
    repo.write("src/lib.rs", "pub use crate::bucket::TokenBucket;\n");
    repo.write("src/uses.rs", &"fn user(bucket: TokenBucket) {\n    TokenBucket::refill_tokens(bucket);\n}\n".repeat(3));
    repo.commit("uses");
    let sandbox = Sandbox::indexed(&repo);
    let server = Server::start(&sandbox);
    let client = Client::connect(&server).await;
    let parts = async |query: &str, path: &str| {
        let answer = client.search(json!({"query": query, "explain": true})).await;
        let found = answer.findings.iter().find(|finding| finding.path == path).unwrap_or_else(|| panic!("{path} for {query}"));
        let why = found.explanation.as_ref().expect("asked for");
        let part = |name: &str| why.rerank_parts[name].as_f64().expect("a number");
        (part("exact"), part("reexport"))
    };
    let (exact, reexport) = parts("TokenBucket", "src/bucket.rs").await;
    assert!(exact > 0.4 && reexport == 0.0, "{exact} {reexport}");
    let (exact, reexport) = parts("TokenBucket", "src/lib.rs").await;
    assert!(exact == 0.0 && reexport > 0.3, "{exact} {reexport}");
    let (exact, reexport) = parts("token bucket of clients", "src/bucket.rs").await;
    assert_eq!((exact, reexport), (0.0, 0.0));
    assert_eq!(parts("TokenBucket", "src/uses.rs").await, (0.0, 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_files_are_a_channel_of_their_own() {
    let repo = library();
    // Each word in another chunk: none of them holds both.
    let filler = "fn filler() {\n    other();\n}\n\n".repeat(40);
    repo.write("src/spread.rs", &format!("fn first() {{\n    marmalade();\n}}\n\n{filler}fn last() {{\n    zeppelin();\n}}\n"));
    repo.write("src/first.rs", "fn one() {\n    marmalade();\n}\n");
    repo.write("src/last.rs", "fn two() {\n    zeppelin();\n}\n");
    repo.commit("spread words");
    let sandbox = Sandbox::indexed(&repo);
    let server = Server::start(&sandbox);
    let client = Client::connect(&server).await;
    let ask = async |arguments: Json| client.search(arguments).await;
    let answer = ask(json!({"query": "marmalade zeppelin", "channels": ["files"], "rerank_enabled": false})).await;
    assert_eq!(answer.findings.len(), 3, "one chunk of each file: {:?}", paths(&answer));
    assert_eq!(answer.findings.iter().filter(|finding| finding.path == "src/spread.rs").count(), 1);
    for finding in &answer.findings {
        assert!(finding.text.contains("marmalade") || finding.text.contains("zeppelin"), "the best chunk: {}", finding.text);
        assert!(finding.contributions.iter().all(|part| part.channel == ChannelName::Files && part.score > 0.0));
    }
    let filtered = ask(json!({"query": "marmalade zeppelin", "channels": ["files"], "paths": ["src/last.rs"]})).await;
    assert_eq!(paths(&filtered), ["src/last.rs"]);
    // A file that is found by its path alone is answered with its first chunk.
    let by_path = ask(json!({"query": "limits.md", "channels": ["files"], "rerank_enabled": false, "paths": ["docs/**"]})).await;
    assert_eq!((by_path.findings[0].path.as_str(), by_path.findings[0].start_line), ("docs/limits.md", 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vague_query_is_widened_when_the_gate_may() {
    let repo = library();
    repo.write("docs/quota.md", "# Quota\n\nA throttle with a quota. The throttle refuses beyond the quota.\n");
    repo.write("docs/gauge.md", "# Gauge\n\nThe quota of everybody in one gauge.\n");
    for number in 0..30 {
        repo.write(
            &format!("docs/more_{number}.md"),
            &format!("# More {}\n\nText {} of no meaning.\n", letters(number + 700), letters(number + 26)),
        );
    }
    repo.commit("quotas");
    let mut sandbox = Sandbox::indexed(&repo);
    let question = json!({"query": "where does the throttle sit?", "channels": ["bm25"], "explain": true, "rerank_enabled": false});
    let plain = Server::start(&sandbox);
    let answer = Client::connect(&plain).await.search(question.clone()).await;
    assert_eq!(paths(&answer), ["docs/quota.md"]);
    assert!(answer.explanation.expect("asked for").query.widened.is_empty());
    plain.stop();

    sandbox.set_config("[plugins.gate.parameters]\nrm3_enabled = true\n[search.rm3]\nterms = 3\n");
    let server = Server::start(&sandbox);
    let answer = Client::connect(&server).await.search(question.clone()).await;
    let told = answer.explanation.as_ref().expect("asked for");
    assert!(told.gate.rm3);
    let weights: f32 = told.query.widened.iter().map(|term| term.weight).sum();
    assert!((weights - 1.0).abs() < 1e-5, "{:?}", told.query.widened);
    assert!(told.query.widened.iter().any(|term| term.term == "quota") && told.query.widened.len() <= 5, "{:?}", told.query.widened);
    // Found by a word that the query doesn't have, behind the one that it has.
    assert_eq!(paths(&answer)[..2], ["docs/quota.md", "docs/gauge.md"]);
    assert_eq!((answer.degraded.len(), answer.warnings.len()), (0, 0), "{:?}", answer.warnings);
    let report = sandbox.json(&["diagnostics", "report", "run", &answer.observability.run_id, "--format", "json"]);
    assert!(report.to_string().contains("bm25.rm3"), "{report}");
}
