use super::*;

fn chunk<'a>(id: u64, text: &'a str, names: &'a str, path: &'a str) -> TextDocument<'a> {
    TextDocument { id: ChunkId(id), text, names, path, comments: "" }
}

fn index_of<'a>(documents: impl IntoIterator<Item = TextDocument<'a>>) -> (tempfile::TempDir, TextIndex) {
    let folder = tempfile::tempdir().unwrap();
    build(folder.path(), documents.into_iter(), &|_| {}).unwrap();
    let index = TextIndex::open(folder.path()).unwrap();
    (folder, index)
}

fn sample() -> (tempfile::TempDir, TextIndex) {
    index_of([
        chunk(0, "fn route_layer() { layer }", "Router::route_layer Gadget", "src/routing.rs"),
        chunk(1, "calls route_layer here and there and everywhere", "", "src/main.rs"),
        chunk(2, "nothing of interest", "", "docs/layer.md"),
    ])
}

fn strings(terms: &[&str]) -> Vec<String> {
    terms.iter().map(|term| (*term).to_owned()).collect()
}

fn ids(rows: Vec<(ChunkId, f32)>) -> Vec<u64> {
    rows.into_iter().map(|(id, _)| id.0).collect()
}

#[test]
fn names_and_paths_count_and_filters_hold() {
    let (_folder, index) = sample();
    assert_eq!(index.documents(), 3);
    let find = |terms: &[&str], depth, admits: Option<&Admits>| ids(index.search(&TextQuery::of(&strings(terms)), depth, admits).unwrap());
    assert_eq!(find(&["layer"], 10, None), [0, 2, 1]);
    assert_eq!(find(&["routelayer"], 10, None), [0, 1]);
    assert_eq!(find(&["layer"], 10, Some(&|id| id != 0)), [2, 1]);
    assert_eq!(find(&["layer"], 1, None), [0]);
    assert_eq!(find(&["unheard"], 10, None), [] as [u64; 0]);
    assert_eq!(find(&[], 10, None), [] as [u64; 0]);
    assert_eq!(index.document_frequencies(&strings(&["layer", "unheard"])).unwrap(), [2, 0]);
}

#[test]
fn weights_decide_about_fields_and_terms() {
    let documents = [
        chunk(0, "alpha beta", "", "x"),
        chunk(1, "gamma delta", "alpha", "x"),
        chunk(2, "gamma delta", "", "alpha"),
        TextDocument { comments: "alpha", ..chunk(3, "gamma delta", "", "x") },
    ];
    let (_folder, index) = index_of(documents);
    let none = Bm25Settings { symbol_weight: 0.0, path_weight: 0.0, body_weight: 0.0, comments_weight: 0.0, ..Bm25Settings::default() };
    let find = |settings| ids(index.search(&TextQuery { settings, ..TextQuery::of(&strings(&["alpha"])) }, 10, None).unwrap());
    assert_eq!(find(none), [] as [u64; 0]);
    assert_eq!(find(Bm25Settings { body_weight: 1.0, ..none }), [0]);
    assert_eq!(find(Bm25Settings { symbol_weight: 1.0, ..none }), [1]);
    assert_eq!(find(Bm25Settings { path_weight: 1.0, ..none }), [2]);
    assert_eq!(find(Bm25Settings { comments_weight: 1.0, ..none }), [3]);
    let terms = |weights: [f32; 2]| vec![("beta".to_owned(), weights[0]), ("gamma".to_owned(), weights[1])];
    let first = |weights| ids(index.search(&TextQuery { terms: terms(weights), ..TextQuery::default() }, 1, None).unwrap());
    assert_eq!((first([1.0, 0.1]), first([0.1, 1.0])), (vec![0], vec![1]));
}

#[test]
fn k1_and_b_are_the_formula_s() {
    let (_folder, index) = index_of([chunk(0, "word word word tail", "", ""), chunk(1, "word", "", ""), chunk(2, "other", "", "")]);
    let check = |k1: f64, b: f64| {
        let only_body = Bm25Settings { symbol_weight: 0.0, path_weight: 0.0, k1, b, ..Bm25Settings::default() };
        let rows = index.search(&TextQuery { settings: only_body, ..TextQuery::of(&strings(&["word"])) }, 10, None).unwrap();
        let idf = (1.0_f64 + 1.5 / 2.5).ln();
        for (id, tf, length) in [(0, 3.0, 4.0), (1, 1.0, 1.0)] {
            let expect = idf * tf / (tf + k1 * (1.0 - b + b * length / 2.0));
            let score = f64::from(rows.iter().find(|row| row.0.0 == id).unwrap().1);
            assert!((score - expect).abs() < 1e-6, "k1 {k1}, b {b}: {score} is not {expect}");
        }
    };
    for (k1, b) in [(1.2, 0.75), (0.0, 0.0), (0.9, 0.4), (2.0, 1.0), (10.0, 0.0)] {
        check(k1, b);
    }
}

#[test]
fn phrases_follow_each_other_in_one_field() {
    let (_folder, index) = sample();
    let check = |text: &str, expect: &[u64]| {
        let phrase = Phrase::of(text).unwrap();
        assert_eq!(index.holding(&phrase).unwrap().iter().map(|id| id.0).collect::<Vec<_>>(), expect, "{text}");
    };
    check("calls route_layer", &[1]);
    check("Calls  ROUTE_LAYER, here!", &[1]);
    check("route_layer here", &[1]);
    check("here route_layer", &[]);
    // Stop words have no place, endings are cut off.
    check("here there", &[1]);
    check("nothing interesting", &[2]);
    check("route_layer", &[0, 1]);
    // By parts it is two words, as a whole it is another identifier.
    check("route layer", &[0, 1]);
    check("layer_route", &[]);
    // In the path, in the names, but not over their border.
    check("src/main.rs", &[1]);
    check("Router::route_layer", &[0]);
    check("everywhere src", &[]);
    // One name after the other is no phrase.
    check("Router::route_layer Gadget", &[]);
    assert_eq!(Phrase::of("… the of"), None);
}

#[test]
fn a_phrase_counts_like_a_rare_term() {
    let (_folder, index) = index_of([chunk(0, "beta alpha", "", ""), chunk(1, "alpha beta", "", ""), chunk(2, "beta", "", "")]);
    let query = TextQuery { phrases: Phrase::of("alpha beta").into_iter().collect(), ..TextQuery::of(&strings(&["alpha", "beta"])) };
    assert_eq!(ids(index.search(&query, 10, None).unwrap()), [1, 0, 2]);
}

#[test]
fn prefixes_stand_for_terms_whatever_their_case() {
    let words: Vec<String> =
        (0..200).map(|number| format!("zeta{}q", char::from(b'a' + number / 8)) + &"x".repeat(number as usize % 8)).collect();
    let all = words.join(" ");
    let (_folder, index) = index_of([
        chunk(0, "parse parser parseHTTP unparsed", "", ""),
        chunk(1, "PARSING zetaaq", "", "src/parsed.rs"),
        chunk(2, &all, "", ""),
    ]);
    let terms = |prefix: &str| index.expand(prefix).unwrap().terms;
    assert_eq!(terms("parse"), ["pars", "parsehttp", "parser"]);
    assert_eq!(terms("PARSEh"), ["parsehttp"]);
    assert_eq!(terms("unheard"), [] as [&str; 0]);
    let many = index.expand("zeta").unwrap();
    assert_eq!((many.terms.len(), many.known), (PREFIX_TERMS_MAX, words.len()));
    // The most frequent one is among them.
    assert!(many.terms.contains(&"zetaaq".to_owned()));
    let group = |prefix: &str| TextQuery { groups: vec![terms(prefix)], ..TextQuery::default() };
    // A path that holds it weighs more than a text does.
    assert_eq!(ids(index.search(&group("parse"), 10, None).unwrap()), [1, 0]);
    // As one term that stands four times, not as four terms.
    let (_, score) = index.search(&group("parse"), 2, None).unwrap()[1];
    assert!(score < 1.0, "{score}");
}

#[test]
fn files_are_ranked_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let file = |first, text: &str, path| FileDocument {
        first: ChunkId(first),
        text: String::from(text),
        names: String::new(),
        path,
        comments: String::new(),
    };
    let documents = [file(0, "alpha", "a.rs"), file(7, "alpha alpha beta", "b.rs"), file(9, "gamma", "alpha.rs")];
    build_files(folder.path(), documents.into_iter()).unwrap();
    let index = FileIndex::open(folder.path()).unwrap();
    let files = |terms: &[&str], admits: Option<&Admits>| ids(index.search(&TextQuery::of(&strings(terms)), 10, admits).unwrap());
    assert_eq!(files(&["alpha", "beta"], None), [7, 0, 9]);
    assert_eq!(files(&["alpha"], Some(&|first| first != 7)), [0, 9]);
    assert_eq!(files(&[], None), [] as [u64; 0]);
    assert!(TextIndex::open(folder.path()).is_err());
}

#[test]
fn of_too_many_terms_the_rarest_that_are_known_are_searched() {
    let frequent: Vec<String> = (0..TERMS_MAX).map(|number| format!("frequent{number}x")).collect();
    let all = frequent.join(" ");
    let (_folder, index) = index_of([chunk(0, &all, "", ""), chunk(1, &all, "", ""), chunk(2, "rare", "", "")]);
    let unknown = (0..200).map(|number| format!("unknown{number}"));
    let terms: Vec<String> = unknown.chain(frequent.iter().map(|word| word.to_lowercase())).chain(["rare".to_owned()]).collect();
    // The rare one stands last in the query, and is the only one that the third chunk has.
    assert_eq!(ids(index.search(&TextQuery::of(&terms), 10, None).unwrap()), [0, 1, 2]);
}
