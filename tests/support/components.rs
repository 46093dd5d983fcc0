//! The components of `tests/hostile`, built once, and odd files that are no plugins.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const TARGET: &str = "wasm32-wasip2";

/// The path of a component, by the name of its example.
pub fn component(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(build).join(format!("{name}.wasm"))
}

/// The path of a component that is written as text, which the host reads too.
pub fn text_component(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/hostile/wat").join(format!("{name}.wat"))
}

/// A component that has the exports of a fusion by name, after `code` as its one module.
/// It never gets as far as a call.
macro_rules! shell {
    ($code:literal) => {
        concat!(
            "(component (core module $code ",
            $code,
            " (func (export \"f\")))",
            " (core instance $guest (instantiate $code)) (func $f (canon lift (core func $guest \"f\")))",
            " (instance $fusion (export \"describe\" (func $f)) (export \"configure\" (func $f)) (export \"fuse\" (func $f)))",
            " (export \"spanloom:search/fusion@0.1.2\" (instance $fusion)))"
        )
    };
}

/// Builds all of them, in the folder and with the settings of the shipped plugins, so
/// that what these depend on is compiled already.
fn build() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = Path::new(env!("CARGO_BIN_EXE_spanloom")).with_file_name("plugins");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace).args(["build", "--quiet", "--release", "--examples", "-p", "hostile", "--target", TARGET]);
    cargo.arg("--target-dir").arg(&target);
    for name in
        ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_TARGET", "CARGO_INCREMENTAL"]
    {
        cargo.env_remove(name);
    }
    for (name, value) in [("LTO", "true"), ("CODEGEN_UNITS", "1"), ("PANIC", "abort"), ("STRIP", "true")] {
        cargo.env(format!("CARGO_PROFILE_RELEASE_{name}"), value);
    }
    let status = cargo.status().expect("cargo starts");
    assert!(status.success(), "the hostile components could not be built; if the target is missing: rustup target add {TARGET}");
    target.join(TARGET).join("release").join("examples")
}

/// Files that stand where a fusion plugin should, with what the refusal has to say.
/// The host reads components as text too, which keeps them readable here.
pub const NO_PLUGINS: &[(&str, &str, &str)] = &[
    ("text.wasm", "This is a text file.\n", "is no WebAssembly component"),
    ("empty.wasm", "", "is no WebAssembly component"),
    ("module.wasm", "(module (func (export \"fuse\")))", "is no WebAssembly component"),
    ("broken.wasm", "\0asm\u{d}\0\u{1}\0 and then nothing of use", "is no WebAssembly component"),
    ("bare.wasm", "(component)", "exports nothing of spanloom:search; a fusion plugin exports `spanloom:search/fusion@0.1.2`"),
    (
        "stage.wasm",
        "(component (instance $empty) (export \"spanloom:search/gate@0.1.0\" (instance $empty)))",
        "exports `spanloom:search/gate@0.1.0`; this host asks a fusion plugin for `spanloom:search/fusion@0.1.2`",
    ),
    (
        "hollow.wasm",
        "(component (instance $empty) (export \"spanloom:search/fusion@0.1.0\" (instance $empty)))",
        "does not fit the fusion world of spanloom:search@0.1.2",
    ),
    (
        "greedy.wasm",
        "(component (import \"spanloom:secrets/keys@0.1.0\" (instance)) (instance $empty) (export \"spanloom:search/fusion@0.1.0\" (instance $empty)))",
        "does not fit the fusion world of spanloom:search@0.1.2",
    ),
    ("huge_table.wasm", shell!("(table 500000 funcref)"), "limit.table"),
    ("impossible_table.wasm", shell!("(table 2000000 funcref)"), "is no WebAssembly component"),
    (
        "growing_table.wasm",
        shell!(
            "(table $t 1 funcref) (func $grow (if (i32.eq (table.grow $t (ref.null func) (i32.const 500000)) (i32.const -1)) (then unreachable))) (start $grow)"
        ),
        "limit.table",
    ),
    ("huge_memory.wasm", shell!("(memory 16000)"), "limit.memory"),
    ("endless_start.wasm", shell!("(func $spin (loop (br 0))) (start $spin)"), "deadline"),
    ("odd_types.wasm", shell!(""), "`describe` failed"),
];
