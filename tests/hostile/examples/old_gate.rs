//! A gate built against version 0.1.0 of the contract, as it was published. It
//! asks every channel alike.

#[cfg(target_arch = "wasm32")]
mod component {
    wit_bindgen::generate!({ path: "wit-0.1.0", world: "gate-plugin" });

    use exports::spanloom::search::gate::{Budget, Call, Decision, Guest, PluginError, Profile};
    use spanloom::search::telemetry::Span;

    struct Alike;

    impl Guest for Alike {
        fn describe() -> String {
            r#"{"name": "old-gate", "version": "0.1.0", "stage": "gate", "parameters": {}}"#.to_owned()
        }

        fn configure(_: String) -> Result<(), PluginError> {
            Ok(())
        }

        fn decide(stage: &Span, call: Call, query: Profile) -> Result<Decision, PluginError> {
            if call.recording {
                stage.add_event("old.gate", &[]);
            }
            let budget = |channel: &String| Budget { channel: channel.clone(), depth: 50, weight: 1.0, reason: "alike".into() };
            Ok(Decision {
                class: "old".into(),
                ambiguity: 0.5,
                budgets: query.channels.iter().map(budget).collect(),
                rrf_k: 60.0,
                rm3: false,
                rerank_depth: 20,
                reasons: vec!["none".into()],
            })
        }
    }

    export!(Alike);
}
