//! A gate that asks every channel alike, or does wrong.

use hostile::{Parameters, misbehave};
use spanloom_plugin::{Budget, Call, Decision, Gate, PluginError, Profile, Span, evidence};

spanloom_plugin::export_gate!(Hostile);

struct Hostile(Parameters);

impl Gate for Hostile {
    type Parameters = Parameters;

    fn configure(parameters: Parameters) -> Result<Hostile, PluginError> {
        hostile::configure(parameters).map(Hostile)
    }

    fn decide(&self, stage: &Span, _: &Call, query: &Profile) -> Result<Decision, PluginError> {
        let mode = self.0.mode.as_str();
        misbehave(mode, stage)?;
        let budget = |channel: &String| Budget { channel: channel.clone(), depth: 50, weight: 1.0, reason: "alike".into() };
        let mut decision = Decision {
            class: "hostile".into(),
            ambiguity: 0.5,
            budgets: query.channels.iter().map(budget).collect(),
            rrf_k: 60.0,
            rm3: false,
            rerank_depth: 20,
            reasons: vec!["none".into()],
        };
        match mode {
            "asks_terms" => hostile::tell_evidence(stage, &evidence::terms(query)?),
            "asks_rows" => hostile::ask_row(0),
            "unknown_channel" => decision.budgets[0].channel = "telepathy".into(),
            "same_channel_twice" => decision.budgets.push(budget(&query.channels[0])),
            "no_budgets" => decision.budgets.clear(),
            "nan_weight" => decision.budgets[0].weight = f32::NAN,
            "negative_weight" => decision.budgets[0].weight = -1.0,
            "nan_ambiguity" => decision.ambiguity = f32::NAN,
            "zero_k" => decision.rrf_k = 0.0,
            "long_class" => decision.class = "x".repeat(10_000),
            "boundless_depth" => {
                decision.budgets[0].depth = u32::MAX;
                decision.rerank_depth = u32::MAX;
            }
            "many_reasons" => decision.reasons = vec!["because".into(); 10_000],
            _ => {}
        }
        Ok(decision)
    }
}
