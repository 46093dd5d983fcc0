//! The reranker as a whole, over documents in memory.

use spanloom_plugin::{Document, explain, parse, testing};

use super::*;

fn document(id: u64, path: &str, symbol: &str, text: &str) -> Document {
    let language = if path.ends_with(".md") { "markdown" } else { "rust" };
    Document {
        id,
        path: path.into(),
        symbol: symbol.into(),
        definitions: symbol.into(),
        language: language.into(),
        text: text.into(),
        ..Document::default()
    }
}

fn rows(scores: &[f32]) -> Candidates {
    Candidates { ids: (1..=scores.len() as u64).collect(), scores: scores.to_vec() }
}

fn scores(parameters: &str, query: &Profile, fused: &[f32], documents: Vec<Document>) -> Vec<f32> {
    let plugin = parse(parameters).and_then(CodeReranker::configure);
    let plugin = plugin.expect("valid parameters");
    let documents = Documents::in_memory(documents);
    let scores = plugin.rerank(&Span::inert(), &testing::call(10), query, &rows(fused), &documents).expect("reranked");
    assert_eq!(scores.len(), fused.len());
    for score in &scores {
        assert!(score.is_finite() && *score > 0.0, "{scores:?}");
    }
    scores
}

fn code_query() -> Profile {
    let terms = [("parse", 90), ("query", 80), ("parse_query", 4)];
    let mut query = testing::profile("parse_query", 1_000, &terms);
    query.identifiers = vec!["parse_query".into()];
    query
}

fn plain_query() -> Profile {
    testing::profile("rate limits", 1_000, &[("rate", 50), ("limit", 60)])
}

fn with(mut document: Document, evidence: &[(&str, f32)]) -> Document {
    document.evidence = evidence.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    document
}

/// With equal fused scores, the first document must win over the second.
#[test]
fn each_signal_prefers_what_it_should() {
    let check = |query: &Profile, better: Document, worse: Document| {
        let said = format!("{better:?} over {worse:?}");
        let documents = vec![Document { id: 1, ..worse }, Document { id: 2, ..better }];
        let got = scores("{}", query, &[1.0, 1.0], documents);
        assert!(got[1] > got[0], "{said}: {got:?}");
    };
    let (code, plain) = (code_query(), plain_query());
    let of = |path: &str, symbol: &str, text: &str| document(0, path, symbol, text);
    check(&code, of("a.rs", "parse_query", ""), of("b.rs", "parse_query_all", ""));
    check(&code, of("a.rs", "", "pub use x::parse_query;"), of("b.rs", "", "x = parse_query();"));
    check(&plain, of("a.rs", "RateLimit", ""), of("b.rs", "Other", ""));
    check(&plain, of("rate_limit.rs", "", ""), of("b.rs", "", ""));
    check(&plain, of("rate_limit/mod.rs", "", ""), of("rate_limit/other.rs", "", ""));
    check(&plain, of("rate_limit.rs", "", ""), of("rate.rs", "", ""));
    check(&plain, of("a.rs", "", ""), of("notes/a.md", "", ""));
    for column in ["bm25", "files", "dense"] {
        check(&plain, with(of("a.rs", "", ""), &[(column, 5.0)]), with(of("b.rs", "", ""), &[(column, 2.0)]));
    }
    for role in ["role_test", "role_example", "role_docs", "role_benchmark", "role_generated", "role_vendored"] {
        check(&plain, of("a.rs", "", ""), with(of("b.rs", "", ""), &[(role, 1.0)]));
    }

    let mut quoted = testing::profile("\"too many requests\"", 1_000, &[("requests", 90)]);
    quoted.phrases = vec!["too many requests".into()];
    check(&quoted, of("a.rs", "", "Too many requests"), of("b.rs", "", "many requests too"));
}

#[test]
fn scores_of_channels_go_before_the_fused_one() {
    let documents = || vec![with(document(1, "a.rs", "", ""), &[("bm25", 1.0)]), with(document(2, "b.rs", "", ""), &[("bm25", 4.0)])];
    let got = scores("{}", &plain_query(), &[9.0, 1.0], documents());
    assert_eq!(got, [0.25, 1.0]);
    let without = vec![document(1, "a.rs", "", ""), document(2, "b.rs", "", "")];
    assert_eq!(scores("{}", &plain_query(), &[4.0, 1.0], without), [1.0, 0.25]);
}

#[test]
fn tests_keep_their_score_when_the_query_asks_for_them() {
    let documents = || vec![with(document(1, "tests/a.rs", "", ""), &[("role_test", 1.0)]), document(2, "b.rs", "", "")];
    let asking = testing::profile("tests of the parser", 1_000, &[("parser", 90)]);
    let got = scores("{}", &asking, &[1.0, 1.0], documents());
    assert_eq!(got[0], got[1]);
    let got = scores("{}", &plain_query(), &[1.0, 1.0], documents());
    assert_eq!(got[0], got[1] * 0.5);
    let got = scores(r#"{"test_factor": 1}"#, &plain_query(), &[1.0, 1.0], documents());
    assert_eq!(got[0], got[1]);
}

#[test]
fn further_rows_of_a_file_fall_behind_other_files() {
    let documents =
        || vec![document(1, "a.rs", "", ""), document(2, "a.rs", "", ""), document(3, "a.rs", "", ""), document(4, "b.rs", "", "")];
    let query = testing::profile("", 0, &[]);
    let fused = [1.0, 0.9, 1.0, 0.5];
    let got = scores(r#"{"same_file_decay": 0.6}"#, &query, &fused, documents());
    let expected = [1.0, 0.9 * 0.36, 0.6, 0.5];
    for (got, expected) in got.iter().zip(expected) {
        assert!((got - expected).abs() < 1e-6, "{got} {expected}");
    }
    let kept = scores(r#"{"same_file_decay": 1}"#, &query, &fused, documents());
    assert_eq!(kept, fused);
}

#[test]
fn without_anything_to_go_by_the_fused_order_stays() {
    let documents = |count: u64| -> Vec<Document> { (1..=count).map(|id| document(id, &format!("{id}.rs"), "", "")).collect() };
    let query = testing::profile("", 0, &[]);
    let check = |fused: &[f32], expected: &[f32]| {
        let got = scores("{}", &query, fused, documents(fused.len() as u64));
        for (got, expected) in got.iter().zip(expected) {
            assert!((got - expected).abs() < 1e-6, "{fused:?}: {got}");
        }
    };
    check(&[], &[]);
    check(&[0.04, 0.02], &[1.0, 0.5]);
    check(&[1.0, 0.0, -1.0], &[1.0, 0.5, 0.0]);
    check(&[0.0, 0.0], &[0.0, 0.0]);
    check(&[f32::NAN, 2.0, f32::INFINITY], &[0.0, 1.0, 0.0]);
    check(&[f32::MAX, f32::MIN], &[1.0, 0.0]);
}

#[test]
fn the_host_is_asked_once_for_facts_evidence_and_the_texts_that_matter() {
    let plugin = CodeReranker::configure(Parameters::default()).expect("in range");
    let documents =
        Documents::in_memory(vec![document(1, "a.rs", "x", "y"), Document { language: "java".into(), ..document(2, "b.java", "x", "y") }]);
    let (stage, record) = Span::recorded();
    let mut call = testing::call(10);
    call.explain = true;
    let scores = plugin.rerank(&stage, &call, &code_query(), &rows(&[1.0, 0.5]), &documents).expect("reranked");
    let asked = documents.asked();
    assert_eq!((asked.look_ups, asked.evidence, asked.texts, asked.scores), (1, 1, 1, 0));
    let read = record.spans()[2].attribute("retrieval.rerank.texts").cloned();
    assert_eq!(read, Some(1_usize.into()));

    let names: Vec<String> = record.spans().into_iter().map(|span| span.name).collect();
    assert_eq!(names, ["stage", "rerank.features", "rerank.score"]);

    let said = explain::said();
    let [signals @ .., kind, same_file] = &said.parts[..said.part_names.len()] else { panic!("no parts") };
    assert_eq!(said.part_names.len() * 2, said.parts.len());
    assert_eq!(scores[0], signals.iter().sum::<f32>() * kind * same_file);
}

#[test]
fn columns_of_unequal_length_are_an_internal_error() {
    let plugin = CodeReranker::configure(Parameters::default()).expect("in range");
    let unequal = Candidates { ids: vec![1], scores: Vec::new() };
    let documents = Documents::in_memory(Vec::new());
    let result = plugin.rerank(&Span::inert(), &testing::call(10), &plain_query(), &unequal, &documents);
    assert!(matches!(result, Err(PluginError::Internal(_))));
}

#[test]
fn parameters_out_of_range_are_named() {
    let check = |json: &str, name: &str| match parse(json).and_then(CodeReranker::configure) {
        Err(PluginError::BadConfig(message)) => assert!(message.contains(name), "{message}"),
        other => panic!("{json}: {other:?}"),
    };
    check(r#"{"stem_weight": 11}"#, "`stem_weight`");
    check(r#"{"bm25_weight": -1}"#, "`bm25_weight`");
    check(r#"{"test_factor": 0}"#, "`test_factor`");
    check(r#"{"same_file_decay": 1.5}"#, "`same_file_decay`");
    check(r#"{"stemweight": 1}"#, "stemweight");
}

/// Pieces that are awkward to split, stem or compare.
const AWKWARD: [&str; 20] = [
    "",
    " ",
    "\n",
    "_",
    "::",
    "ß",
    "Ünï",
    "🦀",
    "日本語",
    "ies",
    "sses",
    "aing",
    "XMLHttp",
    "a1B2",
    "fn ",
    "parse_query",
    "../",
    ".",
    "\u{0}",
    "éd",
];

fn awkward_text(random: &mut u64) -> String {
    let mut next = || {
        // Knuth's MMIX generator.
        *random = random.wrapping_mul(6_364_136_223_846_793_005);
        *random = random.wrapping_add(1_442_695_040_888_963_407);
        (*random >> 33) as usize
    };
    let pieces = next() % 12;
    (0..pieces).map(|_| AWKWARD[next() % AWKWARD.len()]).collect()
}

#[test]
fn awkward_input_gives_the_same_finite_scores_each_time() {
    let random = &mut 1_u64;
    for _ in 0..300 {
        let terms: Vec<String> = (0..4).map(|_| awkward_text(random)).collect();
        let terms: Vec<(&str, u32)> = terms.iter().map(|term| (term.as_str(), 3)).collect();
        let mut query = testing::profile(&awkward_text(random), 2, &terms);
        query.identifiers = vec![awkward_text(random), awkward_text(random)];
        query.phrases = vec![awkward_text(random)];
        let documents: Vec<Document> = (1..=5)
            .map(|id| {
                let (path, symbol) = (awkward_text(random), awkward_text(random));
                document(id, &path, &symbol, &awkward_text(random))
            })
            .collect();
        let fused = [5.0, 4.0, 3.0, 2.0, 1.0];
        let once = scores("{}", &query, &fused, documents.clone());
        let again = scores("{}", &query, &fused, documents);
        assert_eq!(once, again);
    }
}

#[test]
fn scores_become_shares_of_their_range() {
    let check = |scores: &[f32], low: Low, expect: &[f32]| assert_eq!(normalized(scores, expect.len(), low), expect, "{scores:?}");
    check(&[2.0, 4.0, 0.0], Low::Zero, &[0.5, 1.0, 0.0]);
    check(&[2.0, 4.0, 3.0], Low::Zero, &[0.5, 1.0, 0.75]);
    check(&[2.0, 4.0, 3.0], Low::Smallest, &[0.0, 1.0, 0.5]);
    check(&[-1.0, 1.0, 3.0], Low::Zero, &[0.0, 0.5, 1.0]);
    check(&[5.0, 5.0], Low::Zero, &[1.0, 1.0]);
    check(&[5.0, 5.0], Low::Smallest, &[0.0, 0.0]);
    check(&[5e-8, -2e-8], Low::Smallest, &[0.0, 0.0]);
    check(&[0.5, 0.0, 1e-8], Low::Smallest, &[1.0, 0.0, 0.0]);
    check(&[0.0, 0.0], Low::Zero, &[0.0, 0.0]);
    check(&[f32::NAN, 2.0, f32::INFINITY, 1.0], Low::Smallest, &[0.0, 1.0, 0.0, 0.0]);
    check(&[f32::MAX, -f32::MAX], Low::Smallest, &[1.0, 0.0]);
    check(&[], Low::Zero, &[0.0, 0.0]);
}
