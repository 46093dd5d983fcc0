//! Experiments and texts that nobody wrote.

use std::path::Path;

use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value as Json};

use super::*;
use crate::types::ChannelName;

/// Any value that is a TOML value and a JSON value.
fn parameters() -> impl Strategy<Value = Map<String, Json>> {
    let simple = prop_oneof![
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        (-1e300_f64..1e300).prop_map(Json::from),
        ".*".prop_map(Json::from),
    ];
    let nested = simple.prop_recursive(3, 16, 4, |inner| {
        let members = prop::collection::btree_map("\\PC{0,8}", inner.clone(), 0..4);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Json::from),
            members.prop_map(|members| Json::Object(members.into_iter().collect()))
        ]
    });
    prop::collection::btree_map("[a-z_.\" ]{0,8}", nested, 0..4).prop_map(|members| members.into_iter().collect())
}

fn plugin() -> impl Strategy<Value = ArmPlugin> {
    ("[a-z-]{1,20}", "[0-9a-fA-F]{64}", of(parameters())).prop_map(|(plugin, sha256, parameters)| ArmPlugin {
        plugin: Some(plugin),
        sha256: Some(sha256),
        parameters,
    })
}

fn arm() -> impl Strategy<Value = Arm> {
    let depths = prop::collection::btree_map(select(ChannelName::ALL.to_vec()), 1_u32..=1_000, 0..3);
    let weights = prop::collection::btree_map(select(ChannelName::ALL.to_vec()), 0.0..=100.0_f64, 0..3);
    let budgets = (depths, weights, of(1_u32..=100), of(0.001..=10_000.0_f64), of(10_u64..=300_000))
        .prop_map(|(depths, weights, rerank_depth, rrf_k, deadline_ms)| Budgets { depths, weights, rerank_depth, rrf_k, deadline_ms });
    let plugins = (of(plugin()), of(plugin()), of(plugin())).prop_map(|(gate, fusion, rerank)| ArmPlugins { gate, fusion, rerank });
    (0.5..=100.0_f64, of(any::<bool>()), of(Just(true)), plugins, budgets).prop_map(|(weight, rm3, rerank, plugins, budgets)| Arm {
        key: String::new(),
        weight,
        channels: None,
        rm3,
        rerank,
        index: None,
        plugins,
        budgets,
    })
}

fn eligibility() -> impl Strategy<Value = Eligibility> {
    let header = ("x-[a-z-]{1,20}", "\\PC{0,20}").prop_map(|(name, value)| HeaderValues { name, values: vec![format!("x{value}")] });
    let tools = subsequence(vec![Tool::SemanticSearch, Tool::SemanticSearchPro], 1..=2);
    let languages = subsequence(vec!["rust".to_owned(), "go".to_owned(), "text".to_owned()], 1..=3);
    (of(tools), of(languages), of(header), of(0.0..=0.5_f64)).prop_map(|(tools, languages, header, share)| Eligibility {
        tools,
        query_classes: None,
        languages,
        header,
        holdout: share.map(|share| Holdout { salt: "the holdout's own".into(), share }),
    })
}

fn metrics(mode: Mode) -> Metrics {
    let name = match mode {
        Mode::Offline => "ndcg@10",
        Mode::Shadow => "reciprocal_rank",
        Mode::Ab => "success",
        Mode::Interleave => "used_findings",
    };
    let guardrail = Guardrail { metric: Guard::TrapRate, limit: Some(0.25), increase_max: None, runs_min: 7 };
    Metrics { primary: name.parse().unwrap(), secondary: Vec::new(), guardrails: vec![guardrail] }
}

prop_compose! {
    fn experiment()(
        mode in select(vec![Mode::Offline, Mode::Shadow, Mode::Ab, Mode::Interleave]),
        state in select(vec![State::Draft, State::Running, State::Paused, State::Stopped]),
        (id, owner, hypothesis) in ("[a-z0-9][a-z0-9-]{0,63}", "x\\PC{0,20}", "x.{0,80}"),
        (version, coverage) in (1_u32.., 0.2..=1.0_f64),
        unit in prop_oneof![Just(Unit::default()), "x-[a-z]{1,9}".prop_map(|header| Unit { kind: UnitKind::Header, header: Some(header) })],
        (start, len) in (0_u32..500, 1_u32..500).prop_map(|(start, len)| (start * 10, len * 10)),
        layered in any::<bool>(),
        buckets in select(vec![10_000_u32, 1_000_000]),
        salt in of("[A-Z]{1,9}"),
        eligibility in eligibility(),
        mut arms in prop::collection::vec(arm(), 2..=8),
        (alpha, cuped_days) in (0.001..0.499_f64, 0_u32..=90),
        (units_min, days_max, roll_back) in (of(1_u64..=1_000_000_000), of(1_u32..=3_650), any::<bool>()),
        (share, concurrency_max, deadline_ms) in (0.0..=1.0_f64, 1_u32..=16, 10_u64..=300_000),
    ) -> Experiment {
        if mode == Mode::Interleave {
            arms.truncate(2);
            arms[1].weight = arms[0].weight;
        }
        for (number, arm) in arms.iter_mut().enumerate() {
            arm.key = format!("arm_{number}");
        }
        Experiment {
            id, version, state, mode, owner, hypothesis, coverage, unit, eligibility,
            control: (mode != Mode::Shadow).then(|| "arm_1".into()),
            layer: layered.then(|| Layer { name: "all".into(), salt: "the layer's own".into(), buckets: [start, start + len] }),
            hash: Hash { algorithm: if buckets == 10_000 { Algorithm::GrowthbookV2 } else { Algorithm::Xxh3 }, salt, buckets },
            arms,
            metrics: metrics(mode),
            analysis: Analysis { alpha, cuped_days: if mode == Mode::Ab { cuped_days } else { 0 }, ..Analysis::default() },
            stop: Stop { units_min, days_max, roll_back },
            offline: Some(Offline { queries: "q.jsonl".into(), qrels: None, corpus: Some("c".into()), level: None }),
            shadow: Shadow { share, concurrency_max, deadline_ms },
        }
    }
}

proptest! {
    #[test]
    fn an_experiment_survives_being_written_and_read(experiment in experiment()) {
        let checked = experiment.clone().check();
        prop_assert!(checked.is_ok(), "{checked:?}");
        let text = toml::to_string(&experiment).unwrap();
        let read = read_text(Path::new("a.toml"), &text);
        prop_assert!(read.as_ref().is_ok_and(|read| **read == experiment), "{text}\n{read:?}");
        prop_assert_eq!(read.unwrap().digest(), experiment.digest());
    }

    #[test]
    fn no_text_brings_it_down(text in "\\PC{0,300}") {
        let _ = read_text(Path::new("a.toml"), &text);
    }

    #[test]
    fn no_change_of_an_example_brings_it_down(
        example in select(EXAMPLES.map(|example| example.0).to_vec()),
        at in any::<prop::sample::Index>(),
        removed in 0_usize..40,
        inserted in "(\\PC{0,4}|nan|-inf|1e400|2026-01-01|\\[\\[|\\]\\]|\"\"\"|\\.|=|\n|-1)",
    ) {
        let text = std::fs::read_to_string(examples().join(format!("{example}.toml"))).unwrap();
        let start = at.index(text.len());
        let bytes: Vec<u8> = [&text.as_bytes()[..start], inserted.as_bytes(), text.as_bytes().get(start + removed..).unwrap_or_default()].concat();
        if let Err(error) = read_text(Path::new("a.toml"), &String::from_utf8_lossy(&bytes)) {
            let message = error.to_string();
            prop_assert!(message.lines().all(|line| line.starts_with("a.toml:")), "{message}");
        }
    }
}
