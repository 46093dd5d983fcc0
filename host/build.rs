//! Builds the shipped plugins for WebAssembly, so that they are part of the binary,
//! and tells the linker where the binary finds DuckDB when it runs.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

const PLUGINS: &[&str] = &["gate-heuristic", "fusion-rrf", "rerank-code"];
const TARGET: &str = "wasm32-wasip2";

fn main() {
    let workspace = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("..");
    // The templates, because files that are new among them are embedded as well.
    for folder in ["plugins", "wit", "host/templates"] {
        println!("cargo::rerun-if-changed={}", workspace.join(folder).display());
    }
    build_plugins(&workspace);
    place_duckdb();
}

fn build_plugins(workspace: &Path) {
    let out = PathBuf::from(variable("OUT_DIR"));
    // Of its own, because the outer build holds the lock of its target folder;
    // beside it, so that clones and rebuilds share what is compiled.
    let target = profile_folder(&out).join("plugins");
    let mut cargo = Command::new(variable("CARGO"));
    cargo.current_dir(workspace).args(["build", "--release", "--target", TARGET]).arg("--target-dir").arg(&target);
    for plugin in PLUGINS {
        cargo.args(["-p", plugin]);
    }
    // Flags and wrappers of the outer build are not meant for WebAssembly.
    for name in
        ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_TARGET", "CARGO_INCREMENTAL"]
    {
        cargo.env_remove(name);
    }
    // Every engine of components has had vectors for years; texts are copied and
    // compared faster with them.
    cargo.env("RUSTFLAGS", "-C target-feature=+simd128");
    cargo.env("CARGO_PROFILE_RELEASE_LTO", "true");
    cargo.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1");
    cargo.env("CARGO_PROFILE_RELEASE_PANIC", "abort");
    cargo.env("CARGO_PROFILE_RELEASE_STRIP", "true");
    let status = cargo.status().unwrap_or_else(|error| panic!("cargo could not be started to build the plugins: {error}"));
    assert!(status.success(), "the plugins could not be built; if the target is missing: rustup target add {TARGET}");
    for plugin in PLUGINS {
        let built = target.join(TARGET).join("release").join(format!("{}.wasm", plugin.replace('-', "_")));
        let kept = out.join(format!("{plugin}.wasm"));
        std::fs::copy(&built, &kept).unwrap_or_else(|error| panic!("{}: {error}", built.display()));
        println!("cargo::rustc-env=SPANLOOM_{}={}", plugin.to_uppercase().replace('-', "_"), kept.display());
    }
}

/// Puts a copy of the DuckDB library beside the binary, which looks for it there:
/// the two can then be moved together.
fn place_duckdb() {
    println!("cargo::rerun-if-env-changed=DUCKDB_LIB_DIR");
    println!("cargo::rustc-link-arg=-Wl,-rpath,$ORIGIN");
    println!("cargo::rustc-link-arg=-Wl,-rpath,$ORIGIN/..");
    if env::var_os("CARGO_FEATURE_BUNDLED").is_some() {
        return;
    }
    let Ok(folder) = env::var("DUCKDB_LIB_DIR") else { return };
    let library = Path::new(&folder).join("libduckdb.so");
    println!("cargo::rerun-if-changed={}", library.display());
    let beside = profile_folder(Path::new(&variable("OUT_DIR"))).join("libduckdb.so");
    // Written under another name first: a running program may have the old one mapped.
    let partial = beside.with_extension("so.part");
    if let Err(error) = std::fs::copy(&library, &partial).and_then(|_| std::fs::rename(&partial, &beside)) {
        panic!("{}: {error}; `make setup` puts the DuckDB library there", library.display());
    }
}

/// `target/release` out of `target/release/build/spanloom-0123/out`.
fn profile_folder(out: &Path) -> PathBuf {
    out.ancestors().nth(3).map(Path::to_path_buf).unwrap_or_else(|| panic!("unexpected OUT_DIR {}", out.display()))
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo did not set {name}"))
}
