//! The golden cases of `../cases`, natively: `spanloom plugin test` runs the same
//! against the component. And what no case can say.

use std::path::Path;

use serde::Deserialize;
use spanloom_plugin::{RecordedSpan, Value, parse, testing};

use super::*;

const SETTINGS: FusionSettings = FusionSettings { rrf_k: 60.0 };

/// As much of a case as is compared here.
#[derive(Debug, Deserialize)]
struct Case {
    #[serde(default)]
    parameters: BTreeMap<String, Parameter>,
    input: Input,
    expect: Expect,
}

/// Numbers, words and flags; a table only of numbers.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Parameter {
    Flag(bool),
    Text(String),
    Table(BTreeMap<String, f64>),
}

#[derive(Debug, Deserialize)]
struct Input {
    runs: Vec<CaseRun>,
}

#[derive(Debug, Deserialize)]
struct CaseRun {
    channel: String,
    weight: f32,
    ids: Vec<u64>,
    scores: Vec<f32>,
}

#[derive(Debug, Deserialize)]
struct Expect {
    output: Option<Output>,
    error: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Output {
    ids: Vec<u64>,
    scores: Vec<f32>,
    contributions: Vec<f32>,
}

impl Case {
    fn parameters(&self) -> String {
        let members: Vec<String> = self.parameters.iter().map(|(name, value)| format!("\"{name}\": {}", value.json())).collect();
        format!("{{{}}}", members.join(", "))
    }

    fn runs(&self) -> Vec<Run> {
        let run =
            |run: &CaseRun| Run { channel: run.channel.clone(), weight: run.weight, ids: run.ids.clone(), scores: run.scores.clone() };
        self.input.runs.iter().map(run).collect()
    }
}

impl Parameter {
    fn json(&self) -> String {
        match self {
            Parameter::Flag(flag) => flag.to_string(),
            Parameter::Text(text) => format!("{text:?}"),
            Parameter::Table(table) => {
                let members: Vec<String> = table.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
                format!("{{{}}}", members.join(", "))
            }
        }
    }
}

fn fuse(parameters: &str, runs: &[Run]) -> Result<Fused, PluginError> {
    let plugin = Dbsf::configure(parse(parameters)?)?;
    plugin.fuse(&Span::inert(), &testing::call(10), &SETTINGS, runs)
}

fn near(got: &[f32], expected: &[f32], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (got, expected) in got.iter().zip(expected) {
        assert!((got - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{what}: {got}, expected {expected}");
    }
}

#[test]
fn the_golden_cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cases");
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).expect("the folder of cases") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a text file");
        let case: Case = parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        check(&case, &path.display().to_string());
        count += 1;
    }
    assert!(count >= 6, "{count} cases in {}", folder.display());
}

/// Holds a fusion against the rows that a case expects, whatever their order.
fn check(case: &Case, name: &str) {
    let runs = case.runs();
    let got = fuse(&case.parameters(), &runs);
    if let Some(class) = &case.expect.error {
        let refused = matches!(got, Err(PluginError::BadConfig(_))) && class == "bad_config";
        return assert!(refused, "{name}: {got:?}, expected {class}");
    }
    let fused = got.unwrap_or_else(|error| panic!("{name}: {error}"));
    let Some(output) = &case.expect.output else { return };
    assert_eq!(fused.ids.len(), output.ids.len(), "{name}: {:?}", fused.ids);
    for (row, id) in output.ids.iter().enumerate() {
        let at = fused.ids.iter().position(|got| got == id).unwrap_or_else(|| panic!("{name}: {id} is missing"));
        let parts = |all: &[f32], row: usize| all[row * runs.len()..(row + 1) * runs.len()].to_vec();
        near(&[fused.scores[at]], &[output.scores[row]], name);
        near(&parts(&fused.contributions, at), &parts(&output.contributions, row), name);
    }
}

#[test]
fn refusals_name_the_parameter() {
    let check = |json: &str, name: &str| match fuse(json, &[]) {
        Err(PluginError::BadConfig(message)) => assert!(message.contains(name), "{message}"),
        other => panic!("{json}: {other:?}"),
    };
    check(r#"{"weights": {"bm25": -1}}"#, "`weights.bm25`: -1 is out of range, allowed: 0 to 100");
    check(r#"{"weights": {"dense": 101}}"#, "`weights.dense`");
    check(r#"{"clamp": 1}"#, "`clamp`");
    check(r#"{"clmap": true}"#, "clmap");
}

#[test]
fn odd_weights_and_scores_give_finite_rows() {
    for weight in [f32::NAN, f32::INFINITY, -1.0] {
        let runs = [testing::run("bm25", weight, &[(1, 2.0), (2, 1.0)])];
        assert_eq!(fuse("{}", &runs), Ok(no_rows()), "{weight}");
    }
    let huge = [testing::run("bm25", f32::MAX, &[(1, f32::MAX), (2, 0.0), (3, f32::MIN)])];
    let fused = fuse(r#"{"weights": {"bm25": 100}}"#, &huge).expect("fused");
    assert!(fused.scores.iter().chain(&fused.contributions).all(|score| score.is_finite()), "{fused:?}");
}

#[test]
fn the_span_says_what_came_and_went_and_how_each_run_is_spread() {
    let (stage, record) = Span::recorded();
    let plugin = Dbsf::configure(Parameters::default()).expect("the defaults");
    let runs = [
        testing::run("bm25", 1.0, &[(1, 3.0), (2, 2.0), (3, 1.0)]),
        testing::run("dense", 0.0, &[(9, 1.0)]),
        testing::run("symbols", 1.0, &[(2, 8.0)]),
    ];
    plugin.fuse(&stage, &testing::call(10), &SETTINGS, &runs).expect("fused");

    let span = record.span("fusion.dbsf").expect("a child");
    assert!(span.ended);
    let value = |key: &str| span.attribute(key).cloned();
    assert_eq!(value("retrieval.fusion.runs"), Some(Value::Int(3)));
    assert_eq!(value("retrieval.fusion.rows_in"), Some(Value::Int(5)));
    assert_eq!(value("retrieval.fusion.rows_out"), Some(Value::Int(3)));
    assert_eq!(spread(&span), [("bm25".to_owned(), 2.0, 1.0), ("symbols".to_owned(), 8.0, 0.0)]);
}

/// Channel, mean and deviation out of the events.
fn spread(span: &RecordedSpan) -> Vec<(String, f64, f64)> {
    let facts = |event: &spanloom_plugin::RecordedEvent| match event.attributes.as_slice() {
        [(_, Value::Text(channel)), (_, Value::Real(mean)), (_, Value::Real(deviation))] => (channel.clone(), *mean, *deviation),
        other => panic!("{other:?}"),
    };
    span.events.iter().filter(|event| event.name == "fusion.dbsf.run").map(facts).collect()
}
