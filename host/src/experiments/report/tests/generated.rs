//! Journals nobody wrote: every one has a report, and whatever stands in it stays text.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::experiments::events::*;

/// Few ids, so that things meet; some of them hostile.
fn id() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "r1", "r2", "r3", "r4", "<img src=x>"]).prop_map(str::to_owned)
}

fn moment() -> impl Strategy<Value = String> {
    let odd = ["", "soon", "9999-12-31T23:59:59Z", "0000-01-01T00:00:00Z", "1970-01-01T00:00:00Z"];
    prop_oneof![
        4 => (0..100_u32, 0..24_u32).prop_map(|(day, hour)| format!("2026-0{}-{:02}T{hour:02}:00:00Z", 1 + day / 28, 1 + day % 28)),
        1 => prop::sample::select(odd.to_vec()).prop_map(str::to_owned),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "on", "interleave", "</script><script>alert(1)</script>", "| `x` |\n# h", "\u{202e}\u{0}\"'&"])
        .prop_map(str::to_owned)
}

fn float() -> impl Strategy<Value = f64> {
    prop_oneof![0.0_f64..1.0, prop::sample::select(vec![f64::NAN, f64::INFINITY, -1e300, 1e300])]
}

fn mark() -> impl Strategy<Value = Mark> {
    (0..6_u64, any::<u32>(), prop::option::of(any::<u8>()), text()).prop_map(|(object_id, ordinal, grade, source)| Mark {
        object: Object { object_id, object_id_field: "chunk_id".into() },
        position: Position { ordinal },
        grade,
        source,
    })
}

fn search() -> impl Strategy<Value = Search> {
    let shown = (0..6_u64, prop_oneof![0..9_u32, Just(u32::MAX)], prop::option::of(prop_oneof![0..3_u32, Just(u32::MAX)]));
    let shown = shown.prop_map(|(object_id, ordinal, team)| Shown { object_id, ordinal, team });
    let exposure = (1..4_u32, text(), 0..4_u32).prop_map(|(version, variant, unit)| Exposure {
        experiment: "rm3".into(),
        version: if version == 3 { 2 } else { 1 },
        variant,
        bucket: 1,
        unit: format!("{unit:016x}"),
    });
    let units = prop::collection::btree_map(prop::sample::select(vec!["session", "query"]).prop_map(str::to_owned), text(), 0..3);
    (
        text(),
        prop::sample::select(vec!["ok", "error", "cancelled", "?"]),
        any::<u64>(),
        prop::collection::vec(shown, 0..5),
        any::<[bool; 2]>(),
        units,
        prop::collection::vec(exposure, 0..3),
    )
        .prop_map(|(query_class, status, duration_us, findings, [trapped, fell_back], units, experiments)| Search {
            tool: "semantic_search".into(),
            query_class,
            status: status.into(),
            duration_us,
            findings,
            trapped,
            fell_back,
            units,
            experiments,
        })
}

fn shadow() -> impl Strategy<Value = Shadow> {
    (text(), text(), any::<u64>(), prop::collection::vec(0..6_u64, 0..5), float(), float()).prop_map(
        |(variant, status, duration_us, findings, overlap_at_10, rank_biased_overlap)| Shadow {
            experiment: "rm3".into(),
            version: 1,
            variant,
            status: if status == "a" { "ok".into() } else { status },
            duration_us,
            findings,
            overlap_at_10,
            rank_biased_overlap,
            warnings: vec![],
        },
    )
}

fn control() -> impl Strategy<Value = Control> {
    let verb = prop::sample::select(vec!["start", "pause", "stop", "ramp", "roll_back", "refused", "<b>"]);
    (1..3_u32, verb, text(), text(), prop::option::of(text()), prop::option::of(float())).prop_map(
        |(version, verb, actor, detail, variant, coverage)| Control {
            experiment: "rm3".into(),
            version,
            verb: verb.into(),
            actor,
            detail,
            variant,
            coverage,
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    let action = prop_oneof![
        6 => search().prop_map(Action::Search),
        2 => mark().prop_map(Action::Used),
        1 => mark().prop_map(Action::Opened),
        1 => mark().prop_map(Action::Copied),
        1 => mark().prop_map(Action::Helpful),
        1 => mark().prop_map(Action::NotHelpful),
        2 => mark().prop_map(Action::Graded),
        2 => shadow().prop_map(Action::Shadow),
        1 => control().prop_map(Action::Experiment),
    ];
    (id(), moment(), action).prop_map(|(query_id, timestamp, action)| Event {
        application: "spanloom".into(),
        query_id,
        client_id: None,
        timestamp,
        action,
    })
}

/// Elements and tables that the page itself has.
fn check_page(page: &str) {
    assert!(!page.contains("<script") && !page.contains("<img") && !page.contains("<b>"), "{page}");
    assert!(!page.contains("http://") && !page.contains("https://") && !page.contains(" src=x>"), "{page}");
    let count = |part: &str| page.matches(part).count();
    for element in ["table", "svg", "section", "tr", "caption", "title", "desc"] {
        assert_eq!(count(&format!("<{element}")), count(&format!("</{element}>")), "{element}");
    }
    assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), cases: 192, ..ProptestConfig::default() })]
    #[test]
    fn every_journal_has_a_report(events in prop::collection::vec(event(), 0..60), mode in 0..3_usize, more in 0..4_usize) {
        let (mode, metrics) = [
            ("ab", "metrics.primary = 'ndcg'\nmetrics.secondary = ['success', 'helpful_share', 'error_rate', 'latency_p95_ms']"),
            ("shadow", "metrics.primary = 'reciprocal_rank'\nmetrics.secondary = ['ndcg', 'zero_result_rate', 'latency_p95_ms']"),
            ("interleave", "metrics.primary = 'used_findings'\nmetrics.secondary = ['helpful_share']"),
        ][mode];
        let more = ["", "analysis.method = 'mixture_sprt'", "analysis.method = 'fixed'\nstop.units_min = 1", "analysis.correction = 'none'"][more];
        let cuped = if mode == "ab" { "analysis.cuped_days = 30" } else { "" };
        let experiment = experiment(&format!(
            "id = 'rm3'\nversion = 1\nmode = '{mode}'\nowner = '<b>'\narms = [{{ key = 'a' }}, {{ key = 'b' }}]\n{metrics}\n{more}\n{cuped}\n\
             [[metrics.guardrails]]\nmetric = 'error_rate'\nlimit = 0.1\nruns_min = 1"
        ));
        let report = report_of(&experiment, &events);
        let json = serde_json::to_string(&report).unwrap();
        prop_assert!(serde_json::from_str::<Report>(&json).unwrap() == report, "{}", json);
        check_page(&html(&report));
        prop_assert!(!markdown(&report).contains("<script>"));
        let mut reversed: Vec<Event> = events;
        reversed.reverse();
        let again = report_of(&experiment, &reversed);
        // Of two searches of one moment, the first that is read counts: only counts must agree.
        prop_assert_eq!(again.counts.events, report.counts.events);
    }
}
