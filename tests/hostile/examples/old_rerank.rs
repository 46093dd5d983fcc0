//! A reranker built against version 0.1.0 of the contract, as it was published. It
//! prefers short texts and asks for scores, so that it imports all there was.

#[cfg(target_arch = "wasm32")]
mod component {
    wit_bindgen::generate!({ path: "wit-0.1.0", world: "rerank-plugin" });

    use exports::spanloom::search::rerank::{Call, Candidates, Guest, PluginError, Profile};
    use spanloom::search::documents;
    use spanloom::search::scoring::{self, ScoringError};
    use spanloom::search::telemetry::Span;

    struct ShortFirst;

    impl Guest for ShortFirst {
        fn describe() -> String {
            r#"{"name": "old-rerank", "version": "0.1.0", "stage": "rerank", "parameters": {}}"#.to_owned()
        }

        fn configure(_: String) -> Result<(), PluginError> {
            Ok(())
        }

        fn rerank(stage: &Span, call: Call, _: Profile, rows: Candidates) -> Result<Vec<f32>, PluginError> {
            let lines = documents::look_up(&rows.ids).end_lines.len();
            if call.recording {
                stage.add_event(&format!("old.rerank {lines}"), &[]);
            }
            match scoring::cross_encoder(&rows.ids) {
                Ok(scores) => Ok(scores),
                Err(ScoringError::Unsupported(_) | ScoringError::Unavailable(_)) => {
                    Ok(documents::texts(&rows.ids).iter().map(|text| 1.0 / (1.0 + text.len() as f32)).collect())
                }
            }
        }
    }

    export!(ShortFirst);
}
