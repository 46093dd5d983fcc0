//! The three stages a plugin can be, a trait and a macro each.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::{Call, Candidates, Decision, Documents, Fused, FusionSettings, PluginError, Profile, Run, Span};

/// Decides which channels are asked, how deep, and what the later stages do.
pub trait Gate: Sized {
    /// What `configure` takes. Give it `#[serde(default, deny_unknown_fields)]`,
    /// so that a part can be left out and a misspelt name is an error.
    type Parameters: DeserializeOwned + JsonSchema + Default;

    /// Checks the parameters; values out of range are [`PluginError::BadConfig`]
    /// (see [`crate::check_range`]). The default parameters must be accepted.
    fn configure(parameters: Self::Parameters) -> Result<Self, PluginError>;

    /// Decides for one query. A channel without a budget is not asked.
    fn decide(&self, stage: &Span, call: &Call, query: &Profile) -> Result<Decision, PluginError>;
}

/// Merges the ranked lists of the channels into one.
pub trait Fusion: Sized {
    /// See [`Gate::Parameters`].
    type Parameters: DeserializeOwned + JsonSchema + Default;

    /// See [`Gate::configure`].
    fn configure(parameters: Self::Parameters) -> Result<Self, PluginError>;

    /// Fuses. `runs` are best first and hold each id once; no rows at all give
    /// [`no_rows`]. The host sorts the answer.
    fn fuse(&self, stage: &Span, call: &Call, settings: &FusionSettings, runs: &[Run]) -> Result<Fused, PluginError>;
}

/// Scores the best rows again.
pub trait Rerank: Sized {
    /// See [`Gate::Parameters`].
    type Parameters: DeserializeOwned + JsonSchema + Default;

    /// See [`Gate::configure`].
    fn configure(parameters: Self::Parameters) -> Result<Self, PluginError>;

    /// A finite score for each row, in the order of the rows; no rows give no
    /// scores. `documents` answers for the ids in `rows` and no others.
    fn rerank(&self, stage: &Span, call: &Call, query: &Profile, rows: &Candidates, documents: &Documents)
    -> Result<Vec<f32>, PluginError>;
}

/// The answer of a fusion that was given no rows.
pub fn no_rows() -> Fused {
    Fused { ids: Vec::new(), scores: Vec::new(), contributions: Vec::new() }
}

/// Makes the crate a gate component: `export_gate!(MyGate);`, once per crate, with
/// a type that implements [`Gate`]. Name and version are those of the package.
#[macro_export]
macro_rules! export_gate {
    ($plugin:ty) => {
        $crate::export_stage! { gate, $plugin, Gate, {
            fn decide(
                stage: &$crate::bindings::SpanHandle,
                call: $crate::Call,
                query: $crate::Profile,
            ) -> ::core::result::Result<$crate::Decision, $crate::PluginError> {
                $crate::check_profile(&query)?;
                let stage = $crate::Span::lent(stage, call.recording);
                INSTANCE.with(|instance| {
                    instance.run(<$plugin as $crate::Gate>::configure, |plugin| {
                        $crate::Gate::decide(plugin, &stage, &call, &query)
                    })
                })
            }
        } }
    };
}

/// Makes the crate a fusion component: `export_fusion!(MyFusion);`, once per crate,
/// with a type that implements [`Fusion`]. Name and version are those of the package.
#[macro_export]
macro_rules! export_fusion {
    ($plugin:ty) => {
        $crate::export_stage! { fusion, $plugin, Fusion, {
            fn fuse(
                stage: &$crate::bindings::SpanHandle,
                call: $crate::Call,
                settings: $crate::FusionSettings,
                runs: ::std::vec::Vec<$crate::Run>,
            ) -> ::core::result::Result<$crate::Fused, $crate::PluginError> {
                $crate::check_runs(&runs)?;
                let stage = $crate::Span::lent(stage, call.recording);
                INSTANCE.with(|instance| {
                    instance.run(<$plugin as $crate::Fusion>::configure, |plugin| {
                        $crate::Fusion::fuse(plugin, &stage, &call, &settings, &runs)
                    })
                })
            }
        } }
    };
}

/// Makes the crate a rerank component: `export_rerank!(MyRerank);`, once per crate,
/// with a type that implements [`Rerank`]. Name and version are those of the package.
#[macro_export]
macro_rules! export_rerank {
    ($plugin:ty) => {
        $crate::export_stage! { rerank, $plugin, Rerank, {
            fn rerank(
                stage: &$crate::bindings::SpanHandle,
                call: $crate::Call,
                query: $crate::Profile,
                rows: $crate::Candidates,
            ) -> ::core::result::Result<::std::vec::Vec<f32>, $crate::PluginError> {
                $crate::check_profile(&query)?;
                $crate::check_rows(&rows)?;
                let stage = $crate::Span::lent(stage, call.recording);
                INSTANCE.with(|instance| {
                    instance.run(<$plugin as $crate::Rerank>::configure, |plugin| {
                        let documents = $crate::Documents::host();
                        $crate::Rerank::rerank(plugin, &stage, &call, &query, &rows, &documents)
                    })
                })
            }
        } }
    };
}

/// What the three macros have in common: the one instance of the plugin, and
/// `describe` and `configure`. Outside WebAssembly it only checks the type.
#[doc(hidden)]
#[macro_export]
macro_rules! export_stage {
    ($stage:ident, $plugin:ty, $trait:ident, { $($call:item)* }) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::bindings::$stage as world;

            struct Component;

            ::std::thread_local! {
                static INSTANCE: $crate::instance::Instance<$plugin> =
                    const { $crate::instance::Instance::new() };
            }

            impl world::exports::spanloom::search::$stage::Guest for Component {
                fn describe() -> ::std::string::String {
                    $crate::describe::<<$plugin as $crate::$trait>::Parameters>(
                        env!("CARGO_PKG_NAME"),
                        env!("CARGO_PKG_VERSION"),
                        stringify!($stage),
                    )
                }

                fn configure(
                    parameters_json: ::std::string::String,
                ) -> ::core::result::Result<(), $crate::PluginError> {
                    let parameters = $crate::parse(&parameters_json)?;
                    let plugin = <$plugin as $crate::$trait>::configure(parameters)?;
                    INSTANCE.with(|instance| instance.set(plugin));
                    Ok(())
                }

                $($call)*
            }

            $crate::bindings::$stage::export!(Component with_types_in $crate::bindings::$stage);
        };

        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            const fn implements_the_stage<T: $crate::$trait>() {}
            implements_the_stage::<$plugin>()
        };
    };
}
