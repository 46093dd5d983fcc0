//! Assignment against vectors made by another implementation, and what must hold of it
//! for any plan: even shares, independence, nobody moved.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde::Deserialize;

use super::hash::{Purpose, Salted};
use super::*;

/// Units of a statistical check; their values are fixed, so a check passes always or never.
const UNITS: u32 = 100_000;
/// Of the normal law, one-sided p of about 1 in 10,000.
const Z_MAX: f64 = 3.72;

#[derive(Deserialize)]
struct Vectors {
    hashes: Vec<HashVector>,
    plans: Vec<PlanSettings>,
    assignments: Vec<AssignmentVector>,
}

#[derive(Deserialize)]
struct HashVector {
    purpose: Purpose,
    salt: String,
    unit: String,
    /// Hexadecimal.
    hash: String,
    /// By how many there are.
    buckets: BTreeMap<String, u32>,
}

#[derive(Deserialize)]
struct AssignmentVector {
    plan: String,
    unit: String,
    expect: Assignment,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../fixtures/assign_vectors.json")).unwrap()
}

#[test]
fn hashes_are_those_of_another_implementation() {
    let hashes = vectors().hashes;
    assert_eq!(hashes.len(), 140);
    for HashVector { purpose, salt, unit, hash, buckets } in hashes {
        let salted = Salted::new(purpose, &salt);
        assert_eq!(format!("{:016x}", salted.hash(&unit)), hash, "{purpose:?} {salt:?} {unit:?}");
        for (count, bucket) in buckets {
            assert_eq!(salted.bucket(&unit, count.parse().unwrap()).0, bucket, "{purpose:?} {salt:?} {unit:?} of {count}");
        }
    }
}

#[test]
fn assignments_are_those_of_another_implementation() {
    let Vectors { plans, assignments, .. } = vectors();
    assert_eq!(assignments.len(), 60);
    let plans: BTreeMap<String, Plan> =
        plans.into_iter().map(|settings| (settings.experiment.clone(), Plan::new(settings).unwrap())).collect();
    for AssignmentVector { plan, unit, expect } in assignments {
        assert_eq!(plans[&plan].assign(&unit), expect, "{plan} {unit:?}");
        assert_eq!(plans[&plan].explain(&unit).status, expect.status);
    }
}

#[test]
fn moving_a_border_between_fields_changes_the_hash() {
    let hash = |salt: &str, unit: &str| Salted::new(Purpose::Arm, salt).hash(unit);
    let all = [hash("ab", "c"), hash("a", "bc"), hash("abc", ""), hash("", "abc")];
    assert!((0..4).all(|at| all[..at].iter().all(|other| *other != all[at])), "{all:x?}");
}

fn settings(salt: &str, weights: &[f64]) -> PlanSettings {
    PlanSettings {
        experiment: salt.into(),
        version: 1,
        hash: HashChoice::Xxh3,
        salt: salt.into(),
        buckets: BUCKETS_DEFAULT,
        layer: None,
        holdout: None,
        coverage: 1.0,
        arms: weights.iter().enumerate().map(|(at, weight)| ArmShare { key: format!("arm-{at}"), weight: *weight }).collect(),
    }
}

fn plan(salt: &str, weights: &[f64]) -> Plan {
    Plan::new(settings(salt, weights)).unwrap()
}

/// Consecutive numbers, which a weak hash spreads worst.
fn units() -> impl Iterator<Item = String> {
    (0..UNITS).map(|unit| format!("user-{unit}"))
}

/// χ² of counts against what is expected of them.
fn chi_square(counts: &[(f64, f64)]) -> f64 {
    counts.iter().map(|(count, expected)| (count - expected).powi(2) / expected).sum()
}

/// The χ² that chance exceeds at [`Z_MAX`] (with `z` negative, falls below), by the cube
/// of a normal variable: Wilson and Hilferty, PNAS 1931.
fn chi_square_limit(degrees: f64, z: f64) -> f64 {
    let by = 2.0 / (9.0 * degrees);
    degrees * (1.0 - by + z * by.sqrt()).powi(3)
}

/// Counts of pairs against the product of their margins.
fn assert_independent(pairs: impl Iterator<Item = (usize, usize)>, rows: usize, columns: usize, what: &str) {
    let mut table = vec![vec![0.0; columns]; rows];
    pairs.for_each(|(row, column)| table[row][column] += 1.0);
    let total: f64 = table.iter().flatten().sum();
    let of_column: Vec<f64> = (0..columns).map(|column| table.iter().map(|row| row[column]).sum()).collect();
    let cells: Vec<(f64, f64)> = table
        .iter()
        .flat_map(|row| {
            let of_row: f64 = row.iter().sum();
            row.iter().zip(&of_column).map(move |(count, of_column)| (*count, of_row * of_column / total))
        })
        .collect();
    let limit = chi_square_limit(((rows - 1) * (columns - 1)) as f64, Z_MAX);
    assert!(chi_square(&cells) < limit, "{what}: {} is above {limit}", chi_square(&cells));
}

#[test]
fn buckets_are_even_for_every_purpose_and_salt() {
    let buckets = 1_000;
    for salt in ["fusion", "fusion2", "1", "ü", "a rather long salt that goes on beyond what is hashed at once"] {
        for purpose in [Purpose::Layer, Purpose::Coverage, Purpose::Arm, Purpose::Holdout] {
            let salted = Salted::new(purpose, salt);
            let mut counts = vec![(0.0, f64::from(UNITS) / f64::from(buckets)); buckets as usize];
            units().for_each(|unit| counts[salted.bucket(&unit, buckets).0 as usize].0 += 1.0);
            let sum = chi_square(&counts);
            let degrees = f64::from(buckets - 1);
            // More even than chance is no hash either.
            let limits = chi_square_limit(degrees, -Z_MAX)..chi_square_limit(degrees, Z_MAX);
            assert!(limits.contains(&sum), "{purpose:?} {salt}: {sum} is outside {limits:?}");
        }
    }
}

#[test]
fn arms_get_their_weights() {
    for (salt, weights) in [("a", vec![0.5, 0.5]), ("b", vec![1.0, 2.0, 3.0, 4.0]), ("c", vec![0.99, 0.01]), ("d", vec![1.0; 7])] {
        for hash in [HashChoice::Xxh3, HashChoice::GrowthbookV2] {
            let total: f64 = weights.iter().sum();
            let shares: Vec<f64> = weights.iter().map(|weight| weight / total).collect();
            let plan = Plan::new(PlanSettings { hash, ..settings(salt, &shares) }).unwrap();
            let expected = plan.arm_ranges().iter().map(|range| f64::from(range.end - range.start) / 1e4 * f64::from(UNITS));
            let mut counts: Vec<(f64, f64)> = expected.map(|expected| (0.0, expected)).collect();
            units().for_each(|unit| counts[plan.assign(&unit).arm().unwrap()].0 += 1.0);
            let limit = chi_square_limit((weights.len() - 1) as f64, Z_MAX);
            assert!(chi_square(&counts) < limit, "{hash:?} {salt}: {} is above {limit}", chi_square(&counts));
        }
    }
}

#[test]
fn experiments_and_steps_tell_nothing_about_each_other() {
    let salts = ["fusion-1", "fusion-2", "rerank", "gate"];
    for (at, first) in salts.iter().enumerate() {
        for other in &salts[..at] {
            let [one, two] = [plan(first, &[1.0, 1.0, 2.0]), plan(other, &[0.3, 0.7])];
            let arms = units().map(|unit| (one.assign(&unit).arm().unwrap(), two.assign(&unit).arm().unwrap()));
            assert_independent(arms, 3, 2, &format!("{first} and {other}"));
        }
    }
    // One text as every salt: only the purposes tell the hashes apart.
    let plan = Plan::new(PlanSettings {
        layer: Some(LayerRange { salt: "same".into(), buckets: 10_000, start: 0, end: 5_000 }),
        holdout: Some(Holdout { salt: "same".into(), share: 0.1 }),
        coverage: 0.5,
        ..settings("same", &[0.5, 0.5])
    })
    .unwrap();
    let tenth = |bucket: Option<Bucket>| bucket.unwrap().0 as usize / 1_000;
    let drawn: Vec<[usize; 4]> = units()
        .map(|unit| plan.assign(&unit).buckets)
        .map(|drawn| [drawn.holdout, drawn.layer, drawn.coverage, drawn.arm].map(tenth))
        .collect();
    for (one, two) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] {
        assert_independent(drawn.iter().map(|drawn| (drawn[one], drawn[two])), 10, 10, &format!("steps {one} and {two}"));
    }
}

#[test]
fn a_holdout_is_the_same_units_in_every_experiment() {
    let holdout = |share| Some(Holdout { salt: "quarter-3".into(), share });
    let with = |settings: PlanSettings, share| Plan::new(PlanSettings { holdout: holdout(share), ..settings }).unwrap();
    let one = with(settings("one", &[1.0, 1.0]), 0.05);
    let two = with(PlanSettings { buckets: 77, coverage: 0.4, ..settings("two", &[1.0, 1.0, 1.0]) }, 0.05);
    let growthbook = with(PlanSettings { hash: HashChoice::GrowthbookV2, ..settings("three", &[0.5, 0.5]) }, 0.05);
    let larger = with(settings("four", &[1.0]), 0.1);
    let mut held_out = 0;
    for unit in units() {
        let out = |plan: &Plan| plan.assign(&unit).status == Status::HeldOut;
        assert!(out(&one) == out(&two) && out(&one) == out(&growthbook) && out(&one) <= out(&larger), "{unit}");
        held_out += u32::from(out(&one));
    }
    // 5,000 expected, with a standard deviation of 69.
    assert!((4_744..5_256).contains(&held_out), "{held_out}");
}

#[test]
fn what_is_not_allowed_is_named() {
    let good = || settings("s", &[0.5, 0.5]);
    let arm = |key: &str, weight| ArmShare { key: key.into(), weight };
    let layer = |buckets, start, end| Some(LayerRange { salt: "l".into(), buckets, start, end });
    let growthbook = || PlanSettings { hash: HashChoice::GrowthbookV2, ..good() };
    let check = |settings: PlanSettings, expect: &str| assert_eq!(Plan::new(settings).unwrap_err().to_string(), expect);
    check(PlanSettings { experiment: String::new(), ..good() }, "`experiment` is empty; allowed: a text of one or more characters");
    check(PlanSettings { salt: String::new(), ..good() }, "`salt` is empty; allowed: a text of one or more characters");
    check(PlanSettings { coverage: 1.5, ..good() }, "`coverage` is 1.5; allowed: 0 to 1");
    check(PlanSettings { coverage: f64::NAN, ..good() }, "`coverage` is NaN; allowed: 0 to 1");
    check(PlanSettings { buckets: 0, ..good() }, "`buckets` is 0; allowed: 1 to 1000000");
    check(PlanSettings { arms: vec![], ..good() }, "`arms` is 0 arms; allowed: 1 to 64 arms");
    check(PlanSettings { arms: vec![arm("a", -1.0)], ..good() }, "`arms[0].weight` is -1; allowed: a number above 0, to 1e9");
    check(
        PlanSettings { arms: vec![arm("a", 1.0), arm("a", 1.0)], ..good() },
        "`arms[1].key` is \"a\" again; allowed: a key that no other arm has",
    );
    check(
        PlanSettings { arms: vec![arm("a", 1.0), arm("b", 1e-6)], buckets: 100, ..good() },
        "`arms[1].weight` is 0.000001; allowed: weights that give every arm at least one of 100 buckets",
    );
    check(PlanSettings { layer: layer(100, 5, 5), ..good() }, "`layer` is 5..5; allowed: start below end, end at most 100");
    check(PlanSettings { layer: layer(100, 5, 101), ..good() }, "`layer` is 5..101; allowed: start below end, end at most 100");
    check(PlanSettings { holdout: Some(Holdout { salt: "h".into(), share: -0.1 }), ..good() }, "`holdout.share` is -0.1; allowed: 0 to 1");
    check(PlanSettings { buckets: 100, ..growthbook() }, "`buckets` is 100; allowed: 10000 with GrowthBook's hash");
    check(PlanSettings { layer: layer(100, 0, 1), ..growthbook() }, "`layer.buckets` is 100; allowed: 1000 with GrowthBook's hash");
    check(
        PlanSettings { arms: vec![arm("a", 2.0)], ..growthbook() },
        "`arms` is of weight 2 in sum; allowed: weights with a sum of 0.99 to 1.01 under GrowthBook's hash",
    );
    let unknown = r#"{"experiment": "e", "version": 1, "salt": "s", "coverage": 1, "arms": [], "seed": 3}"#;
    assert!(serde_json::from_str::<PlanSettings>(unknown).unwrap_err().to_string().contains("unknown field `seed`"));
}

#[test]
fn a_layer_is_owned_once_and_agreed_upon() {
    let owner = |name: &str, buckets, start, end| {
        let layer = Some(LayerRange { salt: "ranking".into(), buckets, start, end });
        Plan::new(PlanSettings { layer, ..settings(name, &[1.0]) }).unwrap()
    };
    assert_eq!(check_layers(&[owner("a", 1_000, 0, 500), owner("b", 1_000, 500, 1_000), plan("c", &[1.0])]), Ok(()));
    let refusal = |plans: &[Plan]| check_layers(plans).unwrap_err().to_string();
    assert_eq!(
        refusal(&[owner("a", 1_000, 0, 501), owner("b", 1_000, 500, 1_000)]),
        "`b.layer` is 500..1000; allowed: a range outside 0..501, which a owns in layer ranking"
    );
    assert_eq!(
        refusal(&[owner("a", 1_000, 0, 500), owner("b", 2_000, 500, 1_000)]),
        "`b.layer.buckets` is 2000; allowed: 1000, the buckets of a in layer ranking"
    );
    let layer = Some(LayerRange { salt: "ranking".into(), buckets: 1_000, start: 900, end: 1_000 });
    let other_hash = Plan::new(PlanSettings { layer, hash: HashChoice::GrowthbookV2, ..settings("b", &[1.0]) }).unwrap();
    assert_eq!(
        refusal(&[owner("a", 1_000, 0, 500), other_hash]),
        "`b.hash` is GrowthbookV2; allowed: Xxh3, the hash of a in layer ranking"
    );
}

#[test]
fn an_explanation_says_why() {
    let own = Plan::new(PlanSettings {
        layer: Some(LayerRange { salt: "ranking".into(), buckets: 1_000, start: 0, end: 800 }),
        holdout: Some(Holdout { salt: "all".into(), share: 0.1 }),
        coverage: 0.5,
        ..settings("fusion", &[0.5, 0.5])
    })
    .unwrap();
    let growthbook = Plan::new(PlanSettings { hash: HashChoice::GrowthbookV2, coverage: 0.5, ..settings("fusion", &[0.5, 0.5]) }).unwrap();
    for (plan, unit, expect) in [
        (&own, "", "out: the unit has no value"),
        (&own, "u13", "out: hold-out all has bucket 377 of 10000, in 0..1000"),
        (&own, "u20", "out: in layer ranking, bucket 970 of 1000, not in 0..800"),
        (&own, "u0", "out: at a coverage of 0.5, bucket 5870 of 10000, not in 0..5000"),
        (&own, "u3", "in: arm arm-0 has bucket 1774 of 10000, in 0..5000"),
        (&own, "u4", "in: arm arm-1 has bucket 5005 of 10000, in 5000..10000"),
        (&growthbook, "u3", "out: at a coverage of 0.5, no arm has bucket 4048 of 10000"),
        (&growthbook, "u4", "in: arm arm-1 has bucket 6965 of 10000, in 5000..7500"),
    ] {
        assert_eq!(plan.explain(unit).why, expect);
    }

    let explained = own.explain("u4");
    let written = serde_json::to_value(&explained).unwrap();
    assert_eq!(written["status"], "in");
    assert_eq!((&written["index"], &written["arm"]), (&1.into(), &"arm-1".into()));
    assert_eq!(serde_json::from_value::<Explanation>(written).unwrap(), explained);
}

fn weights() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(0.01_f64..10.0, 1..9)
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]
    #[test]
    fn every_bucket_is_one_arms(weights in weights(), buckets in 2_000_u32..=BUCKETS_MAX) {
        let ranges = arm_ranges(&weights, buckets);
        prop_assert_eq!((ranges[0].start, ranges[ranges.len() - 1].end), (0, buckets));
        prop_assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
        let total: f64 = weights.iter().sum();
        for (range, weight) in ranges.iter().zip(&weights) {
            // Both ends are rounded.
            prop_assert!((f64::from(range.end - range.start) - weight / total * f64::from(buckets)).abs() <= 1.0 + 1e-6);
        }
    }

    #[test]
    fn growing_coverage_moves_nobody_who_is_in(
        weights in weights(), one in 0.0_f64..=1.0, two in 0.0_f64..=1.0, growthbook in any::<bool>(), salt in "[a-z]{1,8}"
    ) {
        let total: f64 = weights.iter().sum();
        let weights: Vec<f64> = weights.iter().map(|weight| weight / total).collect();
        let hash = if growthbook { HashChoice::GrowthbookV2 } else { HashChoice::Xxh3 };
        let [few, many] = [one.min(two), one.max(two)]
            .map(|coverage| Plan::new(PlanSettings { hash, coverage, ..settings(&salt, &weights) }).unwrap());
        let mut more = 0;
        for unit in 0..500 {
            let [before, after] = [&few, &many].map(|plan| plan.assign(&format!("{unit}")).arm());
            prop_assert!(before.is_none() || before == after, "{unit}: {before:?} {after:?}");
            more += i32::from(after.is_some()) - i32::from(before.is_some());
        }
        // Five standard deviations of a share of 500; GrowthBook's hash is less even.
        let expected = 500.0 * (one - two).abs();
        prop_assert!(growthbook || (f64::from(more) - expected).abs() < 56.0, "{more} is not {expected}");
    }

    #[test]
    fn a_unit_is_in_one_experiment_of_a_layer(
        mut cuts in prop::collection::btree_set(1_u32..1_000, 0..6), growthbook in any::<bool>(), unit in "\\PC{1,12}"
    ) {
        cuts.extend([0, 1_000]);
        let cuts: Vec<u32> = cuts.into_iter().collect();
        let hash = if growthbook { HashChoice::GrowthbookV2 } else { HashChoice::Xxh3 };
        let plans: Vec<Plan> = cuts
            .windows(2)
            .map(|ends| {
                let layer = Some(LayerRange { salt: "layer".into(), buckets: 1_000, start: ends[0], end: ends[1] });
                Plan::new(PlanSettings { layer, hash, ..settings(&format!("from-{}", ends[0]), &[1.0]) }).unwrap()
            })
            .collect();
        prop_assert_eq!(check_layers(&plans), Ok(()));
        prop_assert_eq!(plans.iter().filter(|plan| plan.assign(&unit).arm().is_some()).count(), 1);
    }
}
