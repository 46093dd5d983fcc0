//! What hostile components of all stages have in common: their one parameter, and
//! what can go wrong in any of them. [`swapped`] has what the versions of one fusion
//! have in common, [`world`] what a component can see of the outside.

pub mod swapped;
mod world;

use std::hint::black_box;

use schemars::JsonSchema;
use serde::Deserialize;
use spanloom_plugin::{Evidence, PluginError, Span, log};

/// The behaviour.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Parameters {
    /// `honest`, or what to do wrong.
    pub mode: String,
}

impl Default for Parameters {
    fn default() -> Parameters {
        Parameters { mode: "honest".into() }
    }
}

/// What can go wrong while parameters are taken.
pub fn configure(parameters: Parameters) -> Result<Parameters, PluginError> {
    match parameters.mode.as_str() {
        "configure_spins" => spin(),
        "configure_traps" => panic!("configured to panic"),
        "configure_refuses" => Err(PluginError::BadConfig("this mode is refused".into())),
        _ => Ok(parameters),
    }
}

/// Does what the mode says, when it says something that any stage can do; otherwise
/// nothing.
pub fn misbehave(mode: &str, stage: &Span) -> Result<(), PluginError> {
    match mode {
        "spin" => spin(),
        "spin_in_host_calls" => loop {
            black_box(stage.context());
        },
        "sleep" => std::thread::sleep(std::time::Duration::from_secs(3600)),
        "memory_bomb" => {
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            loop {
                hoard.push(black_box(vec![1; 1 << 20]));
            }
        }
        "deep_recursion" => drop(black_box(recurse(black_box(1)))),
        "exit" => std::process::exit(0),
        "abort" => std::process::abort(),
        "panic" => panic!("a panic"),
        "panic_in_child_span" => {
            let outer = stage.child("hostile.outer");
            let _inner = outer.child("hostile.inner");
            panic!("a panic with two open spans");
        }
        "spin_in_child_span" => {
            let _open = stage.child("hostile.outer");
            spin()
        }
        "keep_span" => std::mem::forget(stage.child("hostile.kept")),
        "span_flood" => {
            for _ in 0..10_000 {
                stage.child("hostile.flood").set(|| [("n", 1_i64.into())]);
            }
        }
        "span_hoard" => {
            let hoard: Vec<Span> = (0..10_000).map(|_| stage.child("hostile.hoard")).collect();
            black_box(hoard);
        }
        "attribute_flood" => {
            for n in 0..100 {
                stage.set(|| (0..1_000).map(move |m| (format!("flood.{n}.{m}"), 1_i64.into())));
            }
        }
        "event_flood" => {
            for _ in 0..10_000 {
                stage.event("hostile.event", || [("n", 1_i64.into())]);
            }
        }
        "log_flood" => {
            for n in 0..10_000 {
                log::error(&format!("line {n}"));
            }
        }
        "long_attribute" => stage.set(|| [("long", "x".repeat(1 << 20).into())]),
        "huge_attribute" => stage.set(|| [("huge", "x".repeat(40 << 20).into())]),
        "forged_attributes" => stage.set(|| [("plugin.name", "somebody-else".into()), ("plugin.sha256", "0000".into())]),
        "peek" => peek()?,
        "look_around" => world::look_around(stage),
        "tell_parts" => tell_parts(&["part"], &[1.0]),
        "bad_config" => return Err(PluginError::BadConfig("wrong after all".into())),
        "unsupported" => return Err(PluginError::Unsupported("not this one".into())),
        "internal" => return Err(PluginError::Internal("something inside".into())),
        _ => {}
    }
    Ok(())
}

/// Says what scores are made of without the checks of the SDK.
pub fn tell_parts(names: &[&str], values: &[f32]) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    spanloom_plugin::bindings::rerank::spanloom::search::explain::parts(&names, values);
}

/// Writes the first value of each column on the span.
pub fn tell_evidence(stage: &Span, evidence: &Evidence) {
    stage.set(|| {
        evidence.names().map(|name| (format!("hostile.evidence.{name}"), f64::from(evidence.value(name, 0)).into())).collect::<Vec<_>>()
    });
}

/// Asks for evidence of a row without the checks of the SDK.
pub fn ask_row(id: u64) {
    black_box(spanloom_plugin::bindings::rerank::spanloom::search::evidence::rows(&[id]));
}

/// Fails when anything of the outside can be seen.
fn peek() -> Result<(), PluginError> {
    let seen = |what: &str| Err(PluginError::Internal(format!("the plugin sees {what}")));
    if std::env::vars().next().is_some() {
        return seen("the environment");
    }
    if std::env::args().next().is_some() {
        return seen("arguments");
    }
    if std::fs::read_dir("/").is_ok() || std::fs::read("/etc/passwd").is_ok() {
        return seen("files");
    }
    if std::net::TcpStream::connect("127.0.0.1:80").is_ok() || std::net::TcpListener::bind("127.0.0.1:0").is_ok() {
        return seen("the network");
    }
    println!("nobody reads this");
    Ok(())
}

pub fn spin() -> ! {
    let mut n = 0_u64;
    loop {
        n = black_box(n.wrapping_add(1));
    }
}

#[inline(never)]
fn recurse(n: u64) -> u64 {
    if n == 0 {
        return 1;
    }
    // Neither a tail call nor something an optimizer can accumulate.
    recurse(black_box(n + 1)).wrapping_mul(3) ^ n
}

/// A fusion whose `describe` is an expression of type `String`.
#[macro_export]
macro_rules! odd_describe {
    ($describe:expr) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use spanloom_plugin::bindings::SpanHandle;
            use spanloom_plugin::bindings::fusion as world;
            use spanloom_plugin::{Call, Fused, FusionSettings, PluginError, Run};

            struct Component;

            impl world::exports::spanloom::search::fusion::Guest for Component {
                fn describe() -> String {
                    $describe
                }

                fn configure(_: String) -> Result<(), PluginError> {
                    Ok(())
                }

                fn fuse(_: &SpanHandle, _: Call, _: FusionSettings, _: Vec<Run>) -> Result<Fused, PluginError> {
                    Ok(spanloom_plugin::no_rows())
                }
            }

    world::export!(Component with_types_in spanloom_plugin::bindings::fusion);
        };
    };
}
