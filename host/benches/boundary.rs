//! What the component boundary costs: one computation natively and behind two
//! interfaces, columns and records, on the host's own engine, in one run.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;

use boundary::{Columns, WIDTH};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use spanloom::plugin::PluginEngine;
use wasmtime::Store;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

wasmtime::component::bindgen!({ path: "benches/boundary/boundary.wit", world: "boundary" });

/// Rows that are scored.
const SCORED_ROWS: usize = 100;
/// Channels × rows that are fused.
const FUSED: [(usize, usize); 2] = [(3, 100), (4, 1_000)];

struct State {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

struct Guest {
    store: Store<State>,
    bindings: Boundary,
    engine: PluginEngine,
}

impl Guest {
    fn new() -> Guest {
        let engine = PluginEngine::new(None, false).expect("the engine starts");
        let component = Component::from_file(&engine.engine, built()).expect("the component loads");
        let mut linker = Linker::new(&engine.engine);
        wasmtime_wasi::p2::add_to_linker_sync(&mut linker).expect("WASI links");
        let mut store = Store::new(&engine.engine, State { wasi: WasiCtx::builder().build(), table: ResourceTable::new() });
        store.set_epoch_deadline(u64::MAX / 2);
        let bindings = Boundary::instantiate(&mut store, &component, &linker).expect("it fits");
        Guest { store, bindings, engine }
    }

    /// Calls the guest with the epoch moving, as for every plugin.
    fn call<T>(&mut self, body: impl FnOnce(&Boundary, &mut Store<State>) -> wasmtime::Result<T>) -> T {
        let _running = self.engine.running();
        body(&self.bindings, &mut self.store).expect("the guest works")
    }
}

/// Builds the component with the settings of the shipped plugins.
fn built() -> PathBuf {
    let target = std::env::current_exe().expect("a path").ancestors().nth(2).map(|folder| folder.join("plugins")).expect("a target folder");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    cargo.args(["build", "--quiet", "--release", "-p", "boundary", "--target", "wasm32-wasip2", "--target-dir"]).arg(&target);
    for name in ["CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_TARGET", "CARGO_INCREMENTAL"] {
        cargo.env_remove(name);
    }
    cargo.env("RUSTFLAGS", "-C target-feature=+simd128");
    for (name, value) in [("LTO", "true"), ("CODEGEN_UNITS", "1"), ("PANIC", "abort"), ("STRIP", "true")] {
        cargo.env(format!("CARGO_PROFILE_RELEASE_{name}"), value);
    }
    assert!(cargo.status().expect("cargo starts").success(), "the component could not be built");
    target.join("wasm32-wasip2/release/boundary.wasm")
}

fn scored(criterion: &mut Criterion) {
    let mut guest = Guest::new();
    let ids: Vec<u64> = (0..SCORED_ROWS as u64).collect();
    let features: Vec<f32> = (0..SCORED_ROWS * WIDTH).map(|place| place as f32 / 7.0).collect();
    let rows: Vec<Row> = ids.iter().zip(features.chunks(WIDTH)).map(|(&id, features)| Row { id, features: features.to_vec() }).collect();
    let expected = boundary::score_columns(&features);
    assert_eq!(guest.call(|world, store| world.call_score_columns(store, &ids, &features)), expected);
    assert_eq!(guest.call(|world, store| world.call_score_records(store, &rows)), expected);

    let mut group = criterion.benchmark_group("score 100 rows × 8 features");
    group.bench_function("nothing", |bencher| bencher.iter(|| guest.call(|world, store| world.call_nothing(store))));
    group.bench_function("native", |bencher| bencher.iter(|| boundary::score_columns(black_box(&features))));
    group.bench_function("columns", |bencher| {
        bencher.iter(|| guest.call(|world, store| world.call_score_columns(store, black_box(&ids), black_box(&features))));
    });
    group
        .bench_function("records", |bencher| bencher.iter(|| guest.call(|world, store| world.call_score_records(store, black_box(&rows)))));
    group.finish();
}

fn fused(criterion: &mut Criterion) {
    let mut guest = Guest::new();
    let mut group = criterion.benchmark_group("fuse");
    for (channels, rows) in FUSED {
        let lists: Vec<Vec<u64>> =
            (0..channels).map(|channel| (0..rows).map(|row| ((row + channel * rows / 2) * 7_919) as u64 % 1_000_003).collect()).collect();
        let scores: Vec<f32> = (0..rows).map(|row| 1.0 / (row + 1) as f32).collect();
        let columns: Vec<Run> = lists.iter().map(|ids| Run { ids: ids.clone(), scores: scores.clone() }).collect();
        let records: Vec<Vec<Hit>> =
            lists.iter().map(|ids| ids.iter().zip(&scores).map(|(&id, &score)| Hit { id, score }).collect()).collect();
        let native = |lists: &[Vec<u64>]| boundary::fuse(lists.iter().map(|ids| ids.iter().copied()));
        let expected = native(&lists);
        let got = guest.call(|world, store| world.call_fuse_columns(store, &columns));
        assert_eq!(Columns { ids: got.ids, scores: got.scores, contributions: got.contributions }, expected);
        assert_eq!(guest.call(|world, store| world.call_fuse_records(store, &records)).len(), expected.ids.len());

        let shape = format!("{channels}x{rows}");
        group.bench_function(BenchmarkId::new("native", &shape), |bencher| bencher.iter(|| native(black_box(&lists))));
        group.bench_function(BenchmarkId::new("columns", &shape), |bencher| {
            bencher.iter(|| guest.call(|world, store| world.call_fuse_columns(store, black_box(&columns))));
        });
        group.bench_function(BenchmarkId::new("records", &shape), |bencher| {
            bencher.iter(|| guest.call(|world, store| world.call_fuse_records(store, black_box(&records))));
        });
    }
    group.finish();
}

criterion_group!(benches, scored, fused);
criterion_main!(benches);
