//! Decides how deep to look by the number of query terms.
//! In: the query's profile. Out: a budget for each channel.
//!
//! A few terms are looked up as they are written, so the text index decides. Many terms
//! describe something, so the other channels are asked as deep as the text index.

use schemars::JsonSchema;
use serde::Deserialize;
use spanloom_plugin::{
    Budget, Call, Decision, Gate, PluginError, Profile, Span, check_range, explain,
};

spanloom_plugin::export_gate!(ByTerms);

/// The channel that looks words up as they are written.
const TEXT_CHANNEL: &str = "bm25";

/// What can be set.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Parameters {
    /// The number of terms, 1 to 1000, from which a query is long.
    #[schemars(range(min = 1, max = 1000))]
    pub long_terms_min: u32,
}

impl Default for Parameters {
    fn default() -> Parameters {
        Parameters { long_terms_min: 4 }
    }
}

/// The plugin with checked parameters.
#[derive(Debug)]
pub struct ByTerms(Parameters);

impl Gate for ByTerms {
    type Parameters = Parameters;

    fn configure(parameters: Parameters) -> Result<ByTerms, PluginError> {
        check_range("long_terms_min", parameters.long_terms_min, 1..=1_000)?;
        Ok(ByTerms(parameters))
    }

    fn decide(&self, stage: &Span, call: &Call, query: &Profile) -> Result<Decision, PluginError> {
        let span = stage.child("gate.terms");
        let terms = query.terms.len();
        let long = terms >= self.0.long_terms_min as usize;
        span.set(|| {
            [
                ("retrieval.query.terms", terms.into()),
                ("retrieval.query.long", long.into()),
            ]
        });
        explain::features(call, || [("terms", terms.into()), ("long", long.into())]);

        let class = if long { "long" } else { "short" };
        let budget = |channel: &String| budget(channel, long, call.limit);
        Ok(Decision {
            class: class.into(),
            // The fewer terms, the more a query can mean.
            ambiguity: 1.0 / terms.max(1) as f32,
            budgets: query.channels.iter().map(budget).collect(),
            // The smaller, the more the first ranks stand out.
            rrf_k: if long { 60.0 } else { 20.0 },
            rm3: false,
            rerank_depth: call.limit.saturating_mul(3).clamp(50, 200),
            reasons: vec![format!(
                "{class}: {terms} terms, long from {}",
                self.0.long_terms_min
            )],
        })
    }
}

/// Depth and weight of one channel: twice the findings asked for at least.
fn budget(channel: &str, long: bool, limit: u32) -> Budget {
    let (depth, weight, reason) = match (long, channel == TEXT_CHANNEL) {
        (false, true) => (100, 1.0, "short: the words as written decide"),
        (false, false) => (50, 0.5, "short: a second opinion"),
        (true, true) => (150, 1.0, "long: some of the words may miss"),
        (true, false) => (150, 1.0, "long: every opinion counts"),
    };
    Budget {
        channel: channel.into(),
        depth: limit.saturating_mul(2).clamp(depth, 1_000),
        weight,
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanloom_plugin::{Value, parse, testing};

    const SHORT: &[(&str, u32)] = &[("pars", 300), ("queri", 700)];
    const LONG: &[(&str, u32)] = &[("where", 90), ("retri", 40), ("limit", 900), ("set", 500)];

    fn decide(parameters: &str, limit: u32, terms: &[(&str, u32)]) -> Decision {
        let plugin = parse(parameters)
            .and_then(ByTerms::configure)
            .expect("valid parameters");
        let query = testing::profile("the text", 10_000, terms);
        plugin
            .decide(&Span::inert(), &testing::call(limit), &query)
            .expect("decided")
    }

    #[test]
    fn budgets_follow_the_number_of_terms() {
        let check = |parameters, terms, class: &str, text: (u32, f32), dense: (u32, f32)| {
            let decision = decide(parameters, 10, terms);
            assert_eq!(decision.class, class, "{parameters}");
            let budgets: Vec<_> = decision
                .budgets
                .iter()
                .map(|b| (b.depth, b.weight))
                .collect();
            assert_eq!(budgets, [text, dense], "{parameters} {class}");
        };
        check("{}", SHORT, "short", (100, 1.0), (50, 0.5));
        check("{}", LONG, "long", (150, 1.0), (150, 1.0));
        check("{}", &[], "short", (100, 1.0), (50, 0.5));
        check(
            r#"{"long_terms_min": 2}"#,
            SHORT,
            "long",
            (150, 1.0),
            (150, 1.0),
        );
        check(
            r#"{"long_terms_min": 5}"#,
            LONG,
            "short",
            (100, 1.0),
            (50, 0.5),
        );
    }

    #[test]
    fn depths_follow_the_limit_up_to_their_cap() {
        let check = |limit, text, rerank| {
            let decision = decide("{}", limit, SHORT);
            assert_eq!(
                (decision.budgets[0].depth, decision.rerank_depth),
                (text, rerank),
                "{limit}"
            );
        };
        check(1, 100, 50);
        check(60, 120, 180);
        check(u32::MAX, 1_000, 200);
    }

    #[test]
    fn parameters_out_of_range_are_named() {
        for json in [
            r#"{"long_terms_min": 0}"#,
            r#"{"long_terms_min": 1001}"#,
            r#"{"long": 3}"#,
        ] {
            match parse(json).and_then(ByTerms::configure) {
                Err(PluginError::BadConfig(message)) => {
                    assert!(message.contains("`long"), "{message}")
                }
                other => panic!("{json}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_span_and_the_explanation_tell_the_number_of_terms() {
        let plugin = ByTerms::configure(Parameters::default()).expect("the defaults");
        let (stage, record) = Span::recorded();
        let mut call = testing::call(10);
        call.explain = true;
        plugin
            .decide(&stage, &call, &testing::profile("", 9, SHORT))
            .expect("decided");
        let span = record.span("gate.terms").expect("a child");
        assert!(span.ended);
        assert_eq!(
            span.attribute("retrieval.query.terms"),
            Some(&Value::Int(2))
        );
        assert_eq!(
            explain::said().features[0],
            ("terms".to_owned(), Value::Int(2))
        );
    }
}
