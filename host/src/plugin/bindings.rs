//! Host bindings, generated from `wit/`: one module a world. What the worlds share is
//! generated once, for the rerank world, which imports everything.

/// The rerank world, and the interfaces all worlds share.
pub mod rerank {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "rerank-plugin",
        imports: { default: trappable },
        with: { "spanloom:search/telemetry.span": crate::plugin::state::GuestSpan },
    });
}

/// The fusion world.
pub mod fusion {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "fusion-plugin",
        with: {
            "spanloom:search/telemetry": super::rerank::spanloom::search::telemetry,
            "spanloom:search/log": super::rerank::spanloom::search::log,
            "spanloom:search/types": super::rerank::spanloom::search::types,
            "spanloom:search/explain": super::rerank::spanloom::search::explain,
        },
    });
}

/// The gate world.
pub mod gate {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "gate-plugin",
        with: {
            "spanloom:search/telemetry": super::rerank::spanloom::search::telemetry,
            "spanloom:search/log": super::rerank::spanloom::search::log,
            "spanloom:search/types": super::rerank::spanloom::search::types,
            "spanloom:search/explain": super::rerank::spanloom::search::explain,
            "spanloom:search/evidence": super::rerank::spanloom::search::evidence,
        },
    });
}

pub use rerank::spanloom::search::{documents, evidence, explain, log, scoring, telemetry, types};
