//! A fusion built against version 0.1.0 of the contract, as it was published. It takes
//! the first run as it is.

#[cfg(target_arch = "wasm32")]
mod component {
    wit_bindgen::generate!({ path: "wit-0.1.0", world: "fusion-plugin" });

    use exports::spanloom::search::fusion::{Call, Fused, Guest, PluginError, Run, Settings};
    use spanloom::search::log;
    use spanloom::search::telemetry::{Span, Value};

    struct FirstRun;

    impl Guest for FirstRun {
        fn describe() -> String {
            r#"{"name": "old-fusion", "version": "0.1.0", "stage": "fusion", "parameters": {}}"#.to_owned()
        }

        fn configure(_: String) -> Result<(), PluginError> {
            Ok(())
        }

        fn fuse(stage: &Span, call: Call, settings: Settings, runs: Vec<Run>) -> Result<Fused, PluginError> {
            if call.recording {
                let child = stage.child("old.fusion");
                child.set_attributes(&[("old.k".to_owned(), Value::Real(settings.rrf_k.into()))]);
                log::write(log::Level::Info, "an old plugin at work");
            }
            let Some(first) = runs.first() else { return Ok(Fused { ids: vec![], scores: vec![], contributions: vec![] }) };
            let contributions = first.scores.iter().flat_map(|&score| (0..runs.len()).map(move |run| if run == 0 { score } else { 0.0 }));
            Ok(Fused { ids: first.ids.clone(), scores: first.scores.clone(), contributions: contributions.collect() })
        }
    }

    export!(FirstRun);
}
