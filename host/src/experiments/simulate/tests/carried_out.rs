//! Experiments that are carried out, unit by unit.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::super::rules;
use super::*;
use crate::experiments::assign;
use crate::experiments::statistics::moments::Moments;
use crate::experiments::statistics::preference::{PreferenceTest, Preferences};

/// The standard error of a power is at most ½ / √800, or 1.8 points.
const EXPERIMENTS: u64 = 800;

/// When a report is looked at.
#[derive(Clone, Copy, PartialEq)]
enum Looks {
    AfterEveryUnit,
    Daily,
}

/// The assignment of a file with the hash of our own.
pub(super) fn plan(experiment: &CheckedExperiment) -> assign::Plan {
    let settings = assign::PlanSettings {
        experiment: experiment.id.clone(),
        version: experiment.version,
        hash: assign::HashChoice::Xxh3,
        salt: experiment.salt().into(),
        buckets: experiment.hash.buckets,
        layer: experiment.layer.as_ref().map(|layer| assign::LayerRange {
            salt: layer.salt.clone(),
            buckets: experiment.hash.buckets,
            start: layer.range().start,
            end: layer.range().end,
        }),
        holdout: experiment
            .eligibility
            .holdout
            .as_ref()
            .map(|holdout| assign::Holdout { salt: holdout.salt.clone(), share: holdout.share }),
        coverage: experiment.coverage,
        arms: experiment.arms.iter().map(|arm| assign::ArmShare { key: arm.key.clone(), weight: arm.weight }).collect(),
    };
    assign::Plan::new(settings).unwrap()
}

/// The share of experiments that tell the arm at `arm` from the first one, and the mean day.
fn carried_out(
    experiment: &CheckedExperiment,
    outlook: &Outlook,
    arm: usize,
    looks: Looks,
    draw: impl Fn(f64, &mut ChaCha8Rng) -> f64,
) -> (f64, f64) {
    let plan = plan(experiment);
    let share = |at: usize| rules::arm_share(experiment, &experiment.arms[at]);
    let smallest = (0..experiment.arms.len()).map(share).fold(1.0, f64::min);
    let test = rules::test(experiment, rules::Pair { control: share(0), arm: share(arm), smallest }).unwrap();
    let means = [outlook.baseline, outlook.baseline + outlook.effect.of(outlook.baseline)];
    let (mut found, mut days) = (0, 0);
    for number in 0..EXPERIMENTS {
        let mut random = ChaCha8Rng::seed_from_u64(number);
        let mut arms = [Moments::default(); 2];
        let (mut significant, mut day) = (false, 1);
        'days: while day <= outlook.days {
            for unit in 0..outlook.units_per_day as u64 {
                let Some(given) = plan.assign(&format!("{number}-{day}-{unit}")).arm() else { continue };
                if given != 0 && given != arm {
                    continue;
                }
                let side = usize::from(given == arm);
                arms[side].push(draw(means[side], &mut random)).unwrap();
                if looks == Looks::AfterEveryUnit
                    && let Ok(look) = test.look(&arms[0], &arms[1])
                {
                    significant = look.is_significant();
                    if significant || experiment.analysis.method == Method::Fixed {
                        break 'days;
                    }
                }
            }
            significant = looks == Looks::Daily && test.look(&arms[0], &arms[1]).is_ok_and(|look| look.is_significant());
            if significant {
                break;
            }
            day += 1;
        }
        found += u64::from(significant);
        days += u64::from(day.min(outlook.days));
    }
    (found as f64 / EXPERIMENTS as f64, days as f64 / EXPERIMENTS as f64)
}

/// The power is predicted within 5 points, and the day of decision within one and a half.
fn check(name: &str, forecast: &Comparison, (power, day): (f64, f64)) {
    println!("{name}: power {power} and day {day}; predicted {} and {}", forecast.power, forecast.decision_day);
    assert!((0.3..0.95).contains(&power), "{name}: says nothing");
    assert!((forecast.power - power).abs() <= 0.05, "{name}: power {power}, predicted {}", forecast.power);
    assert!((forecast.decision_day - day).abs() <= 1.5, "{name}: day {day}, predicted {}", forecast.decision_day);
}

fn bernoulli(share: f64, random: &mut ChaCha8Rng) -> f64 {
    f64::from(u8::from(random.random::<f64>() < share))
}

#[test]
fn part_of_the_units_in_even_arms() {
    let more = "metrics.secondary = ['ndcg']\ncoverage = 0.6\nstop.units_min = 800\nlayer = { name = 'l', salt = 'm', buckets = [2000, 9000] }\n\
                eligibility.holdout = { salt = 'h', share = 0.05 }";
    let experiment = experiment("ab", "reciprocal_rank", more);
    let outlook = Outlook { units_per_day: 900.0, days: 15, deviation: Some(0.2), ..outlook(0.4, "6 %") };
    // Uniform, of the given deviation.
    let draw = |mean: f64, random: &mut ChaCha8Rng| mean + 0.2 * 12_f64.sqrt() * (random.random::<f64>() - 0.5);
    let forecast = simulate(&experiment, &outlook).unwrap();
    check("even", &forecast.comparisons[0], carried_out(&experiment, &outlook, 1, Looks::AfterEveryUnit, draw));
}

#[test]
fn successes_in_three_uneven_arms() {
    let more = "analysis.method = 'mixture_sprt'\narms = [{ key = 'x', weight = 2 }, { key = 'y' }, { key = 'z' }]";
    let experiment = experiment("ab", "success", more);
    let outlook = Outlook { days: 20, ..outlook(0.15, "5 %") };
    let outlook = Outlook { effect: Effect::Absolute(0.035), ..outlook };
    let forecast = simulate(&experiment, &outlook).unwrap();
    check("uneven", &forecast.comparisons[1], carried_out(&experiment, &outlook, 2, Looks::AfterEveryUnit, bernoulli));
}

#[test]
fn skewed_counts_in_uneven_arms() {
    let experiment = experiment("ab", "used_findings", "arms = [{ key = 'x', weight = 3 }, { key = 'y' }]");
    let outlook = Outlook { units_per_day: 300.0, days: 30, deviation: Some(0.8), ..outlook(0.8, "8 %") };
    // Exponential, moved to the mean: the deviation stays.
    let draw = |mean: f64, random: &mut ChaCha8Rng| mean - 0.8 - 0.8 * (1.0 - random.random::<f64>()).ln();
    let forecast = &simulate(&experiment, &outlook).unwrap().comparisons[0];
    check("skewed", forecast, carried_out(&experiment, &outlook, 1, Looks::AfterEveryUnit, draw));
    let (power, day) = carried_out(&experiment, &outlook, 1, Looks::Daily, draw);
    println!("once a day: power {power} and day {day}");
    assert!((0.0..0.08).contains(&(forecast.power - power)), "{power}");
}

#[test]
fn one_look_at_a_size() {
    let experiment = experiment("ab", "success", "analysis.method = 'fixed'\nstop.units_min = 1500");
    let outlook = Outlook { days: 9, ..outlook(0.3, "0.045") };
    let forecast = simulate(&experiment, &outlook).unwrap();
    check("one look", &forecast.comparisons[0], carried_out(&experiment, &outlook, 1, Looks::AfterEveryUnit, bernoulli));
}

#[test]
fn preferences_of_interleaved_arms() {
    let experiment = experiment("interleave", "used_findings", "stop.units_min = 500\ncoverage = 0.5");
    let outlook = Outlook { units_per_day: 200.0, days: 30, runs_per_unit: Some(2.0), ..outlook(0.5, "8 %") };
    let forecast = &simulate(&experiment, &outlook).unwrap().comparisons[0];
    let plan = plan(&experiment);
    let test = PreferenceTest::new(rules::level(&experiment), rules::target_units(&experiment)).unwrap();
    // Knuth's: as many events as fit, one after the other, into the time of 1.
    let poisson = |mean: f64, random: &mut ChaCha8Rng| {
        let mut left = mean;
        std::iter::from_fn(|| {
            left += (1.0 - random.random::<f64>()).ln();
            (left > 0.0).then_some(())
        })
        .count() as u64
    };
    let (mut found, mut days, mut all) = (0, 0, Preferences::default());
    for number in 0..EXPERIMENTS {
        let mut random = ChaCha8Rng::seed_from_u64(number);
        let mut preferences = Preferences::default();
        let decided = (1..=outlook.days).find(|day| {
            for unit in 0..outlook.units_per_day as u64 {
                if plan.assign(&format!("{number}-{day}-{unit}")).arm().is_some() {
                    let control = poisson(2.0 * 0.5, &mut random);
                    preferences.push(control, poisson(2.0 * 0.54, &mut random));
                }
            }
            let units = preferences.wins + preferences.losses + preferences.ties;
            units >= 500 && test.look(&preferences).p <= rules::level(&experiment)
        });
        all.merge(&preferences);
        found += u64::from(decided.is_some());
        days += u64::from(decided.unwrap_or(outlook.days));
    }
    let units = (all.wins + all.losses + all.ties) as f64;
    let shares = forecast.preference.unwrap();
    println!("{shares:?}; wins {}, ties {}", all.wins as f64 / units, all.ties as f64 / units);
    // Who is found early had more wins by chance, which moves the share of wins up a little.
    assert!((shares.neither - all.ties as f64 / units).abs() < 0.01 && (shares.arm - all.wins as f64 / units).abs() < 0.02);
    check("interleaved", forecast, (found as f64 / EXPERIMENTS as f64, days as f64 / EXPERIMENTS as f64));
}
