//! Tells which of two interleaved arms units prefer: the one that earned more of what
//! they used, over all of a unit's runs.

use super::compare::{Family, course_times, metrics, target_units};
use super::figure::figure;
use super::moment;
use super::population::Population;
use super::report::{CoursePoint, Preferred};
use super::run::{Action, Run};
use crate::experiments::definition::Experiment;
use crate::experiments::metric::{Metric, Outcome};
use crate::experiments::statistics::preference::{Preference, PreferenceTest, Preferences};

/// The teams of the control and of the other arm.
#[derive(Clone, Copy)]
pub(super) struct Teams {
    pub control: u16,
    pub arm: u16,
}

/// The first arm that isn't the control is the other one: files of this mode have two.
pub(super) fn teams(experiment: &Experiment) -> Option<Teams> {
    let control = experiment.arms.iter().position(|arm| arm.key == experiment.control())?;
    let arm = (0..experiment.arms.len()).find(|arm| *arm != control)?;
    Some(Teams { control: u16::try_from(control).ok()?, arm: u16::try_from(arm).ok()? })
}

/// The preferences on all metrics, the primary one first.
pub(super) fn preferences(experiment: &Experiment, population: &Population) -> Vec<Preferred> {
    let Some(teams) = teams(experiment) else { return Vec::new() };
    let metrics = metrics(experiment);
    let family = Family::new(experiment, metrics.len());
    let Ok(test) = PreferenceTest::new(family.test_alpha(), target_units(experiment)) else { return Vec::new() };
    let now: Vec<Preferences> = metrics.iter().map(|metric| counted(population, *metric, teams, i64::MAX)).collect();
    let p_values: Vec<Option<f64>> = now.iter().map(|counts| Some(test.look(counts).p)).collect();
    let (adjusted, alpha) = family.adjust(&p_values);
    let Ok(test) = test.at_level(alpha) else { return Vec::new() };
    let times = course_times(population, metrics.len());
    let point = |at: i64, metric: Metric| {
        let counts = counted(population, metric, teams, at);
        let Preference { share, low, high, .. } = test.look(&counts);
        CoursePoint {
            at: moment::write(at),
            units: counts.wins + counts.losses + counts.ties,
            difference: share.map(|share| figure(share - 0.5)),
            low: share.map(|_| figure(low - 0.5)),
            high: share.map(|_| figure(high - 0.5)),
        }
    };
    let key = |team: u16| experiment.arms[usize::from(team)].key.clone();
    let row = |(place, (metric, counts)): (usize, (&Metric, &Preferences))| {
        let seen = test.look(counts);
        let p = p_values[place].unwrap_or(1.0);
        Preferred {
            arm: key(teams.arm),
            control: key(teams.control),
            metric: *metric,
            primary: place == 0,
            wins: counts.wins,
            losses: counts.losses,
            ties: counts.ties,
            share: seen.share.map(figure),
            low: figure(seen.low),
            high: figure(seen.high),
            level: figure(1.0 - alpha),
            p: figure(p),
            p_adjusted: figure(adjusted[place].unwrap_or(1.0)),
            delta: seen.delta.map(figure),
            course: times.iter().map(|at| point(*at, *metric)).collect(),
        }
    };
    metrics.iter().zip(&now).enumerate().map(row).collect()
}

fn counted(population: &Population, metric: Metric, teams: Teams, until: i64) -> Preferences {
    let mut counts = Preferences::default();
    for unit in &population.units {
        let mut runs = population.runs_by(unit, until).peekable();
        if runs.peek().is_some() {
            let [control, arm] = earned(runs, metric, teams, until);
            counts.push(control, arm);
        }
    }
    counts
}

/// What both arms earned of some runs, so that the larger one is preferred: findings that
/// were used; for `helpful_share`, the shares of findings called helpful, brought to one
/// denominator. An arm of which nothing was judged has no share, and nothing is decided.
pub(super) fn earned<'a>(runs: impl Iterator<Item = &'a Run>, metric: Metric, teams: Teams, until: i64) -> [u64; 2] {
    let (mut liked, mut judged) = ([0_u64; 2], [0_u64; 2]);
    let helpful = metric == Metric::Outcome(Outcome::HelpfulShare);
    for run in runs {
        for (place, team) in [teams.control, teams.arm].into_iter().enumerate() {
            if helpful {
                liked[place] += run.credits(team, until, |action| action == Action::Helpful);
                judged[place] += run.credits(team, until, |action| matches!(action, Action::Helpful | Action::NotHelpful));
            } else {
                liked[place] += run.credits(team, until, Action::is_use);
            }
        }
    }
    match helpful {
        false => liked,
        true if judged.contains(&0) => [0, 0],
        true => [liked[0].saturating_mul(judged[1]), liked[1].saturating_mul(judged[0])],
    }
}
