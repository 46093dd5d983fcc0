//! What `wit-bindgen` makes of the contract in `wit/`: one module for each world.
//! The imports of the largest world serve all three, so that a span or a run is
//! the same type everywhere. A component is linked with those imports only that
//! its own code calls, and its exports come from the macro of its one stage.

/// The world `rerank-plugin`, and the shared imports.
pub mod rerank {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "rerank-plugin",
        pub_export_macro: true,
        default_bindings_module: "spanloom_plugin::bindings::rerank",
        additional_derives: [PartialEq],
    });
}

/// The world `fusion-plugin`.
pub mod fusion {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "fusion-plugin",
        pub_export_macro: true,
        default_bindings_module: "spanloom_plugin::bindings::fusion",
        additional_derives: [PartialEq],
        with: {
            "spanloom:search/telemetry@0.1.2": crate::bindings::rerank::spanloom::search::telemetry,
            "spanloom:search/log@0.1.2": crate::bindings::rerank::spanloom::search::log,
            "spanloom:search/types@0.1.2": crate::bindings::rerank::spanloom::search::types,
            "spanloom:search/explain@0.1.2": crate::bindings::rerank::spanloom::search::explain,
        },
    });
}

/// The world `gate-plugin`.
pub mod gate {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "gate-plugin",
        pub_export_macro: true,
        default_bindings_module: "spanloom_plugin::bindings::gate",
        additional_derives: [PartialEq],
        with: {
            "spanloom:search/telemetry@0.1.2": crate::bindings::rerank::spanloom::search::telemetry,
            "spanloom:search/log@0.1.2": crate::bindings::rerank::spanloom::search::log,
            "spanloom:search/types@0.1.2": crate::bindings::rerank::spanloom::search::types,
            "spanloom:search/explain@0.1.2": crate::bindings::rerank::spanloom::search::explain,
            "spanloom:search/evidence@0.1.2": crate::bindings::rerank::spanloom::search::evidence,
        },
    });
}

/// The span handle that the host lends or gives.
pub use rerank::spanloom::search::telemetry::Span as SpanHandle;
