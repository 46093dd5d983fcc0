//! Each stage as a component against the same code compiled natively, in one run.
//!
//! `native` calls the plugin's own function. `component` is what the pipeline calls:
//! conversion to the boundary's columns, the call into a warm instance, the check of
//! the output. `component, recorded` has a ledger, so that the plugin's spans are made.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use spanloom::index::catalog::ChunkRow;
use spanloom::plugin::{CallSettings, ChannelRun, Configured, DocumentRows, Evidence, Grants, Plugin, PluginEngine, SHIPPED, Terms};
use spanloom::profile::QueryProfile;
use spanloom::telemetry::{Caller, Telemetry, TelemetrySettings};
use spanloom::types::{ChannelName, ChunkId, RankedList, Stage};
use spanloom_plugin::{Candidates, Document, Documents, Fusion as _, FusionSettings, Gate as _, Rerank as _, Span, testing};

/// Lists of a benchmark: channels × rows, half of the rows shared by neighbours.
const SHAPES: [(usize, usize); 3] = [(3, 100), (4, 100), (4, 1_000)];
const RERANKED_ROWS: u64 = 50;

struct Host {
    engine: PluginEngine,
    silent: Telemetry,
    recorded: Telemetry,
    _folder: tempfile::TempDir,
}

impl Host {
    fn new() -> Host {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let telemetry = |ledger_folder| {
            Telemetry::start(TelemetrySettings { ledger_folder, ..TelemetrySettings::default() })
                .expect("telemetry without exporters starts")
        };
        Host {
            engine: PluginEngine::new(None, false).expect("the engine starts"),
            silent: telemetry(None),
            recorded: telemetry(Some(folder.path().to_path_buf())),
            _folder: folder,
        }
    }

    fn configured(&self, stage: Stage) -> Configured {
        let shipped = SHIPPED.iter().find(|shipped| shipped.stage == stage).expect("every stage has a shipped plugin");
        let terms = Terms { grants: Grants::new(shipped.grants.iter().cloned(), |_| None), ..Terms::default() };
        let within = self.silent.operations().begin("plugin.load");
        let plugin = Plugin::load(&self.engine, shipped.bytes, "shipped", Some(stage), terms, &within).expect("shipped plugins load");
        Configured::new(plugin, "{}".into()).expect("shipped plugins take their defaults")
    }
}

fn settings() -> CallSettings {
    CallSettings { deadline: Instant::now() + Duration::from_secs(10), limit: 10, explain: false, observe: false }
}

fn lists(channels: usize, rows: usize) -> Vec<Vec<u64>> {
    (0..channels).map(|channel| (0..rows).map(|row| (row * 7_919 + channel * rows / 2 * 7_919) as u64 % 1_000_003).collect()).collect()
}

fn fusion(criterion: &mut Criterion) {
    let host = Host::new();
    let plugin = host.configured(Stage::Fusion);
    let native = fusion_rrf::Rrf::configure(Default::default()).expect("defaults are fine");
    let mut group = criterion.benchmark_group("fusion");
    for (channels, rows) in SHAPES {
        let lists = lists(channels, rows);
        let scores: Vec<f32> = (0..rows).map(|row| 1.0 / (row + 1) as f32).collect();
        let native_runs: Vec<_> = lists
            .iter()
            .map(|ids| testing::run("bm25", 1.0, &ids.iter().copied().zip(scores.iter().copied()).collect::<Vec<_>>()))
            .collect();
        let runs: Vec<ChannelRun> = lists
            .iter()
            .map(|ids| ChannelRun {
                channel: ChannelName::Bm25,
                weight: 1.0,
                list: RankedList { ids: ids.iter().copied().map(ChunkId).collect(), scores: scores.clone() },
            })
            .collect();
        let shape = format!("{channels}x{rows}");
        let call = testing::call(10);
        group.bench_function(BenchmarkId::new("native", &shape), |bencher| {
            bencher.iter(|| native.fuse(&Span::inert(), &call, &FusionSettings { rrf_k: 60.0 }, black_box(&native_runs)));
        });
        for (name, telemetry) in [("component", &host.silent), ("component, recorded", &host.recorded)] {
            let run = telemetry.run("semantic_search", &Caller::default(), serde_json::Value::Null);
            group.bench_function(BenchmarkId::new(name, &shape), |bencher| {
                bencher.iter(|| plugin.fuse(&run.root, settings(), 60.0, black_box(&runs)).outcome.expect("the plugin works"));
            });
        }
    }
    group.finish();
}

fn gate(criterion: &mut Criterion) {
    let host = Host::new();
    let plugin = host.configured(Stage::Gate);
    let native = gate_heuristic::Heuristic::configure(Default::default()).expect("defaults are fine");
    let terms = [("rout", 120), ("layer", 300), ("match", 80), ("path", 900)];
    let profile = testing::profile("how does the router match a path to a layer", 20_000, &terms);
    let asked = QueryProfile {
        text: profile.text.clone(),
        terms: profile.terms.clone(),
        document_frequencies: profile.document_frequencies.clone(),
        documents: profile.documents,
        channels: ChannelName::ALL.to_vec(),
        ..QueryProfile::default()
    };
    let mut group = criterion.benchmark_group("gate");
    let call = testing::call(10);
    group.bench_function("native", |bencher| bencher.iter(|| native.decide(&Span::inert(), &call, black_box(&profile))));
    for (name, telemetry) in [("component", &host.silent), ("component, recorded", &host.recorded)] {
        let run = telemetry.run("semantic_search", &Caller::default(), serde_json::Value::Null);
        group.bench_function(name, |bencher| {
            bencher.iter(|| plugin.decide(&run.root, settings(), black_box(&asked), Evidence::None).outcome.expect("the plugin works"));
        });
    }
    group.finish();
}

fn rerank(criterion: &mut Criterion) {
    let host = Host::new();
    let plugin = host.configured(Stage::Rerank);
    let native = rerank_code::CodeReranker::configure(Default::default()).expect("defaults are fine");
    let text = |id: u64| {
        format!(
            "/// Matches a path to a route.\npub fn route_{id}(path: &str) -> Option<Layer> {{\n{}}}\n",
            "    let layer = self.layers.get(path)?;\n".repeat(30)
        )
    };
    let ids: Vec<u64> = (0..RERANKED_ROWS).collect();
    let scores: Vec<f32> = ids.iter().map(|id| 1.0 / (60.0 + *id as f32)).collect();
    let documents = Documents::in_memory(
        ids.iter()
            .map(|&id| Document {
                id,
                text: text(id),
                path: format!("src/routing/part{}.rs", id % 7),
                symbol: format!("Router::route_{id}"),
                definitions: format!("route_{id}"),
                language: "rust".into(),
                start_line: 1,
                end_line: 33,
                ..Document::default()
            })
            .collect(),
    );
    let rows: Vec<ChunkRow> = ids
        .iter()
        .map(|&id| ChunkRow {
            id: ChunkId(id),
            path: format!("src/routing/part{}.rs", id % 7),
            language: "rust".into(),
            start_line: 1,
            end_line: 33,
            symbol: Some(format!("Router::route_{id}")),
            definitions: format!("route_{id}"),
            text: text(id),
            document: None,
            commit: None,
            commit_time_s: None,
        })
        .collect();
    let held = DocumentRows::new(Arc::new(rows));
    let list = RankedList { ids: ids.iter().copied().map(ChunkId).collect(), scores: scores.clone() };
    let terms = [("rout", 120), ("layer", 300), ("match", 80), ("path", 900)];
    let profile = testing::profile("how does the router match a path to a layer", 20_000, &terms);
    let asked = QueryProfile {
        text: profile.text.clone(),
        terms: profile.terms.clone(),
        document_frequencies: profile.document_frequencies.clone(),
        documents: profile.documents,
        ..QueryProfile::default()
    };
    let mut group = criterion.benchmark_group("rerank 50 rows");
    let call = testing::call(10);
    let candidates = Candidates { ids, scores };
    group.bench_function("native", |bencher| {
        bencher.iter(|| native.rerank(&Span::inert(), &call, &profile, black_box(&candidates), &documents));
    });
    for (name, telemetry) in [("component", &host.silent), ("component, recorded", &host.recorded)] {
        let run = telemetry.run("semantic_search", &Caller::default(), serde_json::Value::Null);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                plugin.rerank(&run.root, settings(), &asked, black_box(&list), held.clone(), None).outcome.expect("the plugin works")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, fusion, gate, rerank);
criterion_main!(benches);
