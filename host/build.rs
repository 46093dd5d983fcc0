//! Builds the shipped plugins for WebAssembly, so that they are part of the binary,
//! tells the linker where the binary finds DuckDB when it runs, and keeps the versions
//! of what it was built with.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

const PLUGINS: &[&str] = &["gate-heuristic", "fusion-rrf", "rerank-code"];
/// Libraries whose versions tell one build from another when something goes wrong.
const LIBRARIES: &[&str] = &["duckdb", "faiss", "faiss-sys", "git2", "opentelemetry_sdk", "rmcp", "tantivy", "wasmtime"];
const TARGET: &str = "wasm32-wasip2";

fn main() {
    let workspace = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("..");
    // The templates, because files that are new among them are embedded as well.
    for folder in ["plugins", "wit", "host/templates"] {
        println!("cargo::rerun-if-changed={}", workspace.join(folder).display());
    }
    describe_build();
    build_plugins(&workspace);
    place_duckdb();
    keep_versions(&workspace);
}

/// What the exported resource says about the binary.
fn describe_build() {
    println!("cargo::rustc-env=SPANLOOM_BUILD_PROFILE={}", variable("PROFILE"));
    println!("cargo::rustc-env=SPANLOOM_BUILD_TARGET={}", variable("TARGET"));
    let version = Command::new(variable("RUSTC")).arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    // `rustc 1.95.0 (…)`: the number alone.
    println!("cargo::rustc-env=SPANLOOM_BUILD_RUSTC={}", version.split_whitespace().nth(1).unwrap_or("unknown"));
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

/// `SPANLOOM_RUSTC` is what the compiler says of itself, `SPANLOOM_LIBRARIES` a list
/// such as `duckdb=1.2.3 wasmtime=48.0.0` out of the lock file.
fn keep_versions(workspace: &Path) {
    let lock = workspace.join("Cargo.lock");
    println!("cargo::rerun-if-changed={}", lock.display());
    let compiler = Command::new(variable("RUSTC")).arg("--version").output().ok();
    if let Some(said) = compiler.and_then(|output| String::from_utf8(output.stdout).ok()) {
        println!("cargo::rustc-env=SPANLOOM_RUSTC={}", said.trim());
    }
    // The file may be missing where the sources are packaged otherwise.
    let text = std::fs::read_to_string(&lock).unwrap_or_default();
    let packages = text.split("[[package]]").filter_map(|package| {
        let value = |key: &str| package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"'));
        Some((value("name")?, value("version")?)).filter(|(name, _)| LIBRARIES.contains(name))
    });
    let list: Vec<String> = packages.map(|(name, version)| format!("{name}={version}")).collect();
    println!("cargo::rustc-env=SPANLOOM_LIBRARIES={}", list.join(" "));
}

/// `target/release` out of `target/release/build/spanloom-0123/out`.
fn profile_folder(out: &Path) -> PathBuf {
    out.ancestors().nth(3).map(Path::to_path_buf).unwrap_or_else(|| panic!("unexpected OUT_DIR {}", out.display()))
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo did not set {name}"))
}
