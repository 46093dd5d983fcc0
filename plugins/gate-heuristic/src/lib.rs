//! Decides by simple rules which channels are asked, and how deep.
//! In: the query's profile. Out: a class, an ambiguity and budgets, with reasons.
//!
//! A query that is written like code is best served by its words as they stand; one
//! that describes something needs the channels that know meanings. In between, both.

use schemars::JsonSchema;
use serde::Deserialize;
use spanloom_plugin::{Call, Decision, Gate, PluginError, Profile, Span, Value, check_range, explain};

mod budgets;
mod features;

use budgets::{Depths, PerClass, Weights};
use features::{Class, Features};

spanloom_plugin::export_gate!(Heuristic);

/// What can be set. The tables hold what departs from the built-in values; a class or
/// channel that is not named keeps them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Parameters {
    /// Rows per class and channel, 0 to 10000; 0 leaves the channel out. Built in:
    /// literal bm25 100, dense 50, files 50, others 50; default 150, 100, 100, 100;
    /// vague 150, 150, 100, 150. Twice the limit of the call is the least for a channel that is asked.
    pub depths: PerClass<Depths>,
    /// Weights in the fusion per class and channel, 0 to 100; 0 leaves the channel
    /// out. Built in: literal bm25 1, dense 0.4, files 0.3, others 0.5; default 1, 0.7,
    /// 0.5, 0.7; vague 1, 1, 0.6, 1.
    pub weights: PerClass<Weights>,
    /// The constant of reciprocal rank fusion per class, 1 to 10000. Built in:
    /// literal 20 (the first ranks decide), default 60, vague 60.
    pub rrf_k: PerClass<f32>,
    /// The most rows of any channel, 1 to 10000.
    #[schemars(range(min = 1, max = 10000))]
    pub depth_max: u32,
    /// The least rows that are reranked, 0 to 10000; three times the limit of the
    /// call if that is more.
    #[schemars(range(min = 0, max = 10000))]
    pub rerank_depth_min: u32,
    /// The most rows that are reranked, 0 to 10000; wins over the least.
    #[schemars(range(min = 0, max = 10000))]
    pub rerank_depth_max: u32,
    /// Whether vague queries are widened with terms from the best answers (RM3).
    pub rm3_enabled: bool,
    /// The share of words written like code or quoted, 0 to 1, from which a query
    /// is literal.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub literal_share_min: f32,
    /// The specificity, 0 to 1, from which a query of up to three words is literal.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub literal_specificity_min: f32,
    /// The specificity, 0 to 1, below which a query is vague.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub vague_specificity_max: f32,
    /// The number of words, 1 to 1000, from which a query without code is vague.
    #[schemars(range(min = 1, max = 1000))]
    pub vague_words_min: u32,
}

impl Default for Parameters {
    fn default() -> Parameters {
        Parameters {
            depths: PerClass::default(),
            weights: PerClass::default(),
            rrf_k: PerClass::default(),
            depth_max: 1_000,
            rerank_depth_min: 50,
            rerank_depth_max: 200,
            rm3_enabled: false,
            literal_share_min: 0.5,
            literal_specificity_min: 0.6,
            vague_specificity_max: 0.3,
            vague_words_min: 8,
        }
    }
}

/// The plugin with checked parameters.
#[derive(Debug)]
pub struct Heuristic(Parameters);

impl Gate for Heuristic {
    type Parameters = Parameters;

    fn configure(parameters: Parameters) -> Result<Heuristic, PluginError> {
        budgets::check(&parameters)?;
        check_range("depth_max", parameters.depth_max, 1..=10_000)?;
        check_range("rerank_depth_min", parameters.rerank_depth_min, 0..=10_000)?;
        check_range("rerank_depth_max", parameters.rerank_depth_max, 0..=10_000)?;
        check_range("literal_share_min", parameters.literal_share_min, 0.0..=1.0)?;
        check_range("literal_specificity_min", parameters.literal_specificity_min, 0.0..=1.0)?;
        check_range("vague_specificity_max", parameters.vague_specificity_max, 0.0..=1.0)?;
        check_range("vague_words_min", parameters.vague_words_min, 1..=1_000)?;
        Ok(Heuristic(parameters))
    }

    fn decide(&self, stage: &Span, call: &Call, query: &Profile) -> Result<Decision, PluginError> {
        let features = observe(stage, query);
        explain::features(call, || named(&features));
        let ambiguity = features.ambiguity();
        let (class, why_class) = features.class(&self.0);
        let (rrf_k, why_k) = budgets::rrf_k(&self.0, class);
        let rm3 = self.0.rm3_enabled && class == Class::Vague;
        let rerank_depth = self.rerank_depth(call);

        Ok(Decision {
            class: class.name().into(),
            ambiguity,
            budgets: budgets::of_all(&self.0, class, call.limit, &query.channels),
            rrf_k,
            rm3,
            rerank_depth,
            reasons: vec![
                format!("class {}: {why_class}", class.name()),
                format!("ambiguity {ambiguity:.2}: {}", features.summary()),
                format!("rrf-k {rrf_k}: {why_k}"),
                self.why_rm3(class),
                format!(
                    "rerank-depth {rerank_depth}: 3 × limit {}, within {} to {}",
                    call.limit, self.0.rerank_depth_min, self.0.rerank_depth_max
                ),
            ],
        })
    }
}

impl Heuristic {
    fn rerank_depth(&self, call: &Call) -> u32 {
        let wanted = call.limit.saturating_mul(3);
        wanted.max(self.0.rerank_depth_min).min(self.0.rerank_depth_max)
    }

    fn why_rm3(&self, class: Class) -> String {
        let (state, why) = match (self.0.rm3_enabled, class) {
            (false, _) => ("off", "`rm3_enabled` is not set"),
            (true, Class::Vague) => ("on", "the words of a vague query are few or frequent"),
            (true, _) => ("off", "only for vague queries"),
        };
        format!("rm3 {state}: {why}")
    }
}

/// Reads the features under a span of their own.
fn observe(stage: &Span, query: &Profile) -> Features {
    let span = stage.child("gate.features");
    let features = Features::of(query);
    span.set(|| named(&features).map(|(name, value)| (format!("retrieval.query.{name}"), value)));
    features
}

fn named(features: &Features) -> [(&'static str, Value); 6] {
    [
        ("words", features.words.into()),
        ("terms", features.terms.into()),
        ("specificity", features.specificity.into()),
        ("unknown_share", features.unknown_share.into()),
        ("code_share", features.code_share.into()),
        ("question", features.question.into()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanloom_plugin::{parse, testing};

    fn decide(parameters: &str, limit: u32, query: &Profile) -> Decision {
        let plugin = parse(parameters).and_then(Heuristic::configure);
        let plugin = plugin.expect("valid parameters");
        plugin.decide(&Span::inert(), &testing::call(limit), query).expect("decided")
    }

    fn literal() -> Profile {
        let mut query = testing::profile("parse_query", 10_000, &[("parse", 300), ("query", 700), ("parse_query", 4)]);
        query.identifiers.push("parse_query".into());
        query
    }

    fn budget(decision: &Decision, channel: &str) -> (u32, f32) {
        let found = decision.budgets.iter().find(|b| b.channel == channel);
        let found = found.expect("a budget");
        (found.depth, found.weight)
    }

    #[test]
    fn a_literal_query_trusts_its_words() {
        let decision = decide("{}", 10, &literal());
        assert_eq!(decision.class, "literal");
        assert_eq!(budget(&decision, "bm25"), (100, 1.0));
        assert_eq!(budget(&decision, "dense"), (50, 0.4));
        assert_eq!((decision.rrf_k, decision.rm3), (20.0, false));
        assert_eq!(decision.rerank_depth, 50);
        assert_eq!(decision.reasons.len(), 5);
        assert!(decision.budgets.iter().all(|budget| !budget.reason.is_empty()));
    }

    #[test]
    fn rm3_is_for_vague_queries_and_only_when_enabled() {
        let vague = testing::profile("how does it work?", 10_000, &[("work", 2_000)]);
        let enabled = r#"{"rm3_enabled": true}"#;
        let check = |parameters, query: &Profile, expected| {
            assert_eq!(decide(parameters, 10, query).rm3, expected);
        };
        check("{}", &vague, false);
        check(enabled, &vague, true);
        check(enabled, &literal(), false);
    }

    #[test]
    fn depths_follow_the_limit_up_to_their_caps() {
        let check = |limit, bm25, rerank| {
            let decision = decide("{}", limit, &literal());
            assert_eq!(budget(&decision, "bm25").0, bm25, "limit {limit}");
            assert_eq!(decision.rerank_depth, rerank, "limit {limit}");
        };
        check(1, 100, 50);
        check(40, 100, 120);
        check(80, 160, 200);
        check(900, 1_000, 200);
        check(u32::MAX, 1_000, 200);
    }

    #[test]
    fn channels_that_are_not_known_have_a_budget_and_absent_ones_have_none() {
        let mut query = literal();
        query.channels = vec!["symbols".into(), "bm25".into()];
        let decision = decide("{}", 10, &query);
        let names: Vec<&str> = decision.budgets.iter().map(|b| b.channel.as_str()).collect();
        assert_eq!(names, ["symbols", "bm25"]);
        assert_eq!(budget(&decision, "symbols"), (50, 0.5));
        query.channels.clear();
        assert!(decide("{}", 10, &query).budgets.is_empty());
    }

    #[test]
    fn tables_change_only_what_they_name() {
        let parameters = r#"{
            "depths": {"literal": {"dense": 0}}, "weights": {"literal": {"bm25": 2}},
            "rrf_k": {"literal": 5}
        }"#;
        let decision = decide(parameters, 10, &literal());
        assert_eq!(budget(&decision, "bm25"), (100, 2.0));
        assert_eq!(budget(&decision, "dense"), (0, 0.4));
        assert_eq!(decision.rrf_k, 5.0);
        let vague = testing::profile("how?", 10, &[]);
        assert_eq!(budget(&decide(parameters, 10, &vague), "dense"), (150, 1.0));
    }

    #[test]
    fn odd_profiles_give_finite_decisions() {
        let mut profiles = vec![
            testing::profile("", 0, &[]),
            testing::profile("   ", 0, &[("x", 0)]),
            testing::profile("a", 1, &[("a", 1)]),
            testing::profile("a b", 1, &[("a", 50), ("b", 0)]),
            testing::profile("x", u64::MAX, &[("x", u32::MAX)]),
        ];
        profiles[2].phrases = vec!["".into(), "a b c d".into()];
        for query in profiles {
            let decision = decide("{}", 0, &query);
            assert!((0.0..=1.0).contains(&decision.ambiguity), "{query:?}");
            assert!(["literal", "default", "vague"].contains(&decision.class.as_str()));
            assert_eq!(decision.budgets.len(), 2);
        }
    }

    #[test]
    fn parameters_out_of_range_are_named() {
        let check = |json: &str, name: &str| match parse(json).and_then(Heuristic::configure) {
            Err(PluginError::BadConfig(message)) => assert!(message.contains(name), "{message}"),
            other => panic!("{json}: {other:?}"),
        };
        check(r#"{"depth_max": 0}"#, "`depth_max`");
        check(r#"{"literal_share_min": 1.5}"#, "`literal_share_min`");
        check(r#"{"weights": {"vague": {"bm25": -1}}}"#, "`weights.vague.bm25`");
        check(r#"{"depths": {"vague": {"bm25": 10001}}}"#, "`depths.vague.bm25`");
        check(r#"{"rrf_k": {"default": 0}}"#, "`rrf_k.default`");
        check(r#"{"rrf_k": {"vage": 60}}"#, "vage");
        check(r#"{"rm3": true}"#, "rm3");
    }

    #[test]
    fn the_span_tells_the_features() {
        let (stage, record) = Span::recorded();
        let plugin = Heuristic::configure(Parameters::default()).expect("in range");
        plugin.decide(&stage, &testing::call(10), &literal()).expect("decided");
        let spans = record.spans();
        assert_eq!(spans[1].name, "gate.features");
        assert!(spans[1].ended);
        let share = spans[1].attribute("retrieval.query.code_share");
        assert_eq!(share, Some(&Value::Real(1.0)));
    }
}
