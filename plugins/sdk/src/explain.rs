//! What a plugin says of its own judgement when the client asked why. In a component
//! it goes to the host and stands in the answer; natively it is kept for [`said`].
//!
//! Unless `call.explain` is set nothing is built and no host call made.

use crate::{Call, Value};

/// Says what the plugin saw: for a gate the features of the query.
pub fn features<K: Into<String>, A: IntoIterator<Item = (K, Value)>>(call: &Call, features: impl FnOnce() -> A) {
    if call.explain {
        let features: Vec<(String, Value)> = features().into_iter().map(|(name, value)| (name.into(), value)).collect();
        tell_features(features);
    }
}

/// Says what each row's score is made of; one array for each row of the call, in
/// their order. Only a reranker may. Values that are not finite are told as 0.
pub fn parts<const N: usize, R: IntoIterator<Item = [f32; N]>>(call: &Call, names: [&str; N], rows: impl FnOnce() -> R) {
    if call.explain {
        let finite = |value: f32| if value.is_finite() { value } else { 0.0 };
        let values: Vec<f32> = rows().into_iter().flatten().map(finite).collect();
        tell_parts(names.iter().map(|name| (*name).to_owned()).collect(), values);
    }
}

#[cfg(target_arch = "wasm32")]
fn tell_features(features: Vec<(String, Value)>) {
    crate::bindings::rerank::spanloom::search::explain::features(&features);
}

#[cfg(target_arch = "wasm32")]
fn tell_parts(names: Vec<String>, values: Vec<f32>) {
    crate::bindings::rerank::spanloom::search::explain::parts(&names, &values);
}

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::cell::RefCell;

    use crate::Value;

    /// What was said on this thread.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct Said {
        /// Names and values, later ones in the place of earlier ones.
        pub features: Vec<(String, Value)>,
        /// Names of the parts.
        pub part_names: Vec<String>,
        /// Row-major, rows × names.
        pub parts: Vec<f32>,
    }

    std::thread_local! {
        static SAID: RefCell<Said> = RefCell::default();
    }

    /// Takes what was said on this thread since it was asked last; for tests.
    pub fn said() -> Said {
        SAID.take()
    }

    pub(super) fn tell_features(features: Vec<(String, Value)>) {
        SAID.with_borrow_mut(|said| {
            for (name, value) in features {
                said.features.retain(|(known, _)| *known != name);
                said.features.push((name, value));
            }
        });
    }

    pub(super) fn tell_parts(names: Vec<String>, values: Vec<f32>) {
        SAID.with_borrow_mut(|said| (said.part_names, said.parts) = (names, values));
    }
}

#[cfg(not(target_arch = "wasm32"))]
pub use native::{Said, said};
#[cfg(not(target_arch = "wasm32"))]
use native::{tell_features, tell_parts};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn nothing_is_built_unless_somebody_asked() {
        let mut call = testing::call(10);
        features(&call, || -> Vec<(String, Value)> { panic!("built") });
        parts(&call, ["a"], || -> Vec<[f32; 1]> { panic!("built") });
        assert_eq!(said(), Said::default());

        call.explain = true;
        features(&call, || [("words", Value::Int(3)), ("code", Value::Flag(true))]);
        features(&call, || [("words", Value::Int(4))]);
        parts(&call, ["a", "b"], || [[1.0, 2.0], [3.0, f32::NAN]]);
        let told = said();
        assert_eq!(told.features, [("code".to_owned(), Value::Flag(true)), ("words".to_owned(), Value::Int(4))]);
        assert_eq!((told.part_names, told.parts), (vec!["a".to_owned(), "b".to_owned()], vec![1.0, 2.0, 3.0, 0.0]));
        assert_eq!(said(), Said::default());
    }
}
