//! Holds every other arm against the control, on all metrics. In: the population. Out:
//! differences with intervals, now and as they were earlier.
//!
//! All comparisons of a report are one family: each interval is drawn at the level at
//! which the errors of all of them together stay within the file's alpha.

use super::figure::figure;
use super::guards::latency;
use super::moment;
use super::population::Population;
use super::report::{Comparison, CoursePoint, HistoryReport, HoldsFor};
use crate::experiments::definition::{Experiment, Mode};
use crate::experiments::metric::{Correction, Guard, Method, Metric, Outcome};
use crate::experiments::statistics::moments::Moments;
use crate::experiments::statistics::percentile::Percentile;
use crate::experiments::statistics::sequential::{Inference, NoInterval, SequentialMethod, SequentialTest};
use crate::experiments::statistics::{OutOfRange, cuped, multiplicity};

/// Units of both arms for which an asymptotic confidence sequence is tightest, where the
/// file has no `stop.units_min`. It has to be set before the first look, so it is the same
/// for all experiments; another one costs width, not validity.
const TARGET_UNITS_DEFAULT: u64 = 10_000;
/// The same of units that see both arms in one list, which takes far fewer.
const TARGET_UNITS_INTERLEAVED: u64 = 1_000;
/// Points of a course.
const COURSE_POINTS_MAX: i64 = 40;
/// Fewer points are looked at when runs × metrics × points are more: some seconds.
const COURSE_FIGURES_MAX: u64 = 40_000_000;
const COURSE_POINTS_MIN: i64 = 8;

/// The metrics of a file, the primary one first.
pub(super) fn metrics(experiment: &Experiment) -> Vec<Metric> {
    std::iter::once(experiment.metrics.primary).chain(experiment.metrics.secondary.iter().copied()).collect()
}

pub(super) fn lower_is_better(metric: Metric) -> bool {
    matches!(metric, Metric::Guard(_) | Metric::Outcome(Outcome::Abandonment))
}

/// Units of both arms that a method is set for; in mode interleave, units.
pub(super) fn target_units(experiment: &Experiment) -> u64 {
    match experiment.mode {
        Mode::Interleave => experiment.stop.units_min.unwrap_or(TARGET_UNITS_INTERLEAVED).max(1),
        _ => experiment.stop.units_min.map_or(TARGET_UNITS_DEFAULT, |units| units.saturating_mul(2)),
    }
}

/// A standard deviation of the differences thought likely, for the mixture test. Like the
/// target it has to be set before the first look: 5 points of a share, one finding in five.
pub(super) fn effect_scale(metric: Metric) -> f64 {
    match metric {
        Metric::Outcome(Outcome::UsedFindings) => 0.2,
        Metric::Outcome(_) | Metric::Measure(_) => 0.05,
        Metric::Guard(_) => 0.02,
    }
}

/// Corrects p values of one family. Comparisons without one count as the least certain.
pub(in crate::experiments) struct Family {
    correction: Option<multiplicity::Correction>,
    alpha: f64,
    count: usize,
}

impl Family {
    pub fn new(experiment: &Experiment, count: usize) -> Family {
        let correction = match experiment.analysis.correction {
            Correction::None => None,
            Correction::Bonferroni => Some(multiplicity::Correction::Bonferroni),
            Correction::Holm => Some(multiplicity::Correction::Holm),
            Correction::BenjaminiHochberg => Some(multiplicity::Correction::BenjaminiHochberg),
        };
        Family { correction, alpha: experiment.analysis.alpha, count }
    }

    /// The level that tests are tuned for.
    pub fn test_alpha(&self) -> f64 {
        self.interval_alpha(0)
    }

    fn interval_alpha(&self, rejected: usize) -> f64 {
        let corrected = self.correction.and_then(|own| own.interval_alpha(self.alpha, self.count, rejected).ok());
        corrected.unwrap_or(self.alpha)
    }

    /// Adjusted p values, and the error that each interval may have.
    pub fn adjust(&self, p_values: &[Option<f64>]) -> (Vec<Option<f64>>, f64) {
        let given: Vec<f64> = p_values.iter().map(|p| p.unwrap_or(1.0)).collect();
        let adjusted = self.correction.and_then(|own| own.adjust(&given).ok()).unwrap_or(given);
        let rejected = adjusted.iter().filter(|p| **p <= self.alpha).count();
        let known = p_values.iter().zip(adjusted).map(|(p, adjusted)| p.map(|_| adjusted)).collect();
        (known, self.interval_alpha(rejected))
    }
}

/// Moments of time, evenly spaced, the last of them now.
pub(super) fn course_times(population: &Population, metrics: usize) -> Vec<i64> {
    let (Some(first), Some(last)) = (population.first_run_at, population.last_at) else { return Vec::new() };
    let figures = (population.runs.len() as u64).saturating_mul(metrics as u64).max(1);
    let points = i64::try_from(COURSE_FIGURES_MAX / figures).unwrap_or(i64::MAX).clamp(COURSE_POINTS_MIN, COURSE_POINTS_MAX);
    let length = last.saturating_sub(first);
    let at = |point: i64| first + (i128::from(length) * i128::from(point) / i128::from(points)) as i64;
    let mut times: Vec<i64> = (1..=points).map(at).collect();
    times.dedup();
    times
}

/// A metric of an arm and of the control, at a moment.
struct Sides {
    control: Moments,
    arm: Moments,
    history: Option<HistoryReport>,
}

struct Compare<'a> {
    experiment: &'a Experiment,
    population: &'a Population,
    control: usize,
}

/// All comparisons, by metric, then arm.
pub(super) fn comparisons(experiment: &Experiment, population: &Population, arms: &[String]) -> Vec<Comparison> {
    let control = arms.iter().position(|arm| arm == experiment.control()).unwrap_or(0);
    let others: Vec<usize> = (0..arms.len()).filter(|arm| *arm != control).collect();
    let metrics: Vec<Metric> = metrics(experiment).into_iter().filter(|metric| !matches!(metric, Metric::Measure(_))).collect();
    let family = Family::new(experiment, metrics.len() * others.len());
    let compare = Compare { experiment, population, control };
    let times = course_times(population, metrics.len());

    let cells = || metrics.iter().flat_map(|metric| others.iter().map(|arm| (*metric, *arm)));
    let now: Vec<Vec<Sides>> = metrics.iter().map(|metric| compare.sides(*metric, &others, i64::MAX)).collect();
    let earlier: Vec<Vec<Vec<Sides>>> =
        metrics.iter().map(|metric| times.iter().map(|until| compare.sides(*metric, &others, *until)).collect()).collect();
    let tests: Vec<_> = metrics.iter().map(|metric| compare.test(*metric, family.test_alpha())).collect();
    let look = |metric: usize, test: &Result<SequentialTest, OutOfRange>, sides: &Sides| compare.look(metrics[metric], test, sides);
    let p_values: Vec<Option<f64>> = cells()
        .enumerate()
        .map(|(cell, _)| {
            let (metric, arm) = (cell / others.len(), cell % others.len());
            look(metric, &tests[metric], &now[metric][arm]).ok().map(|seen| seen.p)
        })
        .collect();
    let (adjusted, alpha) = family.adjust(&p_values);

    let row = |cell: usize, (metric, arm): (Metric, usize)| {
        let (metric_place, arm_place) = (cell / others.len(), cell % others.len());
        let sides = &now[metric_place][arm_place];
        let test = tests[metric_place].and_then(|test| test.at_level(alpha));
        let seen = look(metric_place, &test, sides);
        let mut row = Comparison {
            arm: arms[arm].clone(),
            control: arms[control].clone(),
            metric,
            primary: metric_place == 0,
            lower_is_better: lower_is_better(metric),
            control_units: compare.control_units(sides, arm),
            arm_units: sides.arm.count(),
            difference: difference(sides).map(figure),
            low: None,
            high: None,
            level: figure(1.0 - alpha),
            holds_for: if experiment.analysis.method == Method::Fixed { HoldsFor::OneLook } else { HoldsFor::AnyLook },
            p: p_values[cell].map(figure),
            p_adjusted: adjusted[cell].map(figure),
            why_none: None,
            history: sides.history.clone(),
            course: Vec::new(),
        };
        if metric == Metric::Guard(Guard::LatencyP95Ms) {
            compare.latencies(&mut row, arm, alpha);
            return row;
        }
        match seen {
            Ok(seen) => (row.low, row.high) = (Some(figure(seen.low)), Some(figure(seen.high))),
            Err(why) => row.why_none = Some(why),
        }
        let points = times.iter().zip(&earlier[metric_place]).enumerate();
        row.course = points
            .map(|(point, (at, sides))| {
                let sides = &sides[arm_place];
                // The method of one look has no earlier ones.
                let last = point + 1 == times.len();
                let seen = look(metric_place, &test, sides).ok().filter(|_| last || row.holds_for == HoldsFor::AnyLook);
                CoursePoint {
                    at: moment::write(*at),
                    units: compare.control_units(sides, arm) + sides.arm.count(),
                    difference: difference(sides).map(figure),
                    low: seen.map(|seen| figure(seen.low)),
                    high: seen.map(|seen| figure(seen.high)),
                }
            })
            .collect();
        row
    };
    cells().enumerate().map(|(cell, place)| row(cell, place)).collect()
}

fn difference(sides: &Sides) -> Option<f64> {
    Some(sides.arm.mean()? - sides.control.mean()?)
}

impl Compare<'_> {
    fn test(&self, metric: Metric, alpha: f64) -> Result<SequentialTest, OutOfRange> {
        let units = target_units(self.experiment);
        let method = match self.experiment.analysis.method {
            Method::Asymptotic => SequentialMethod::Asymptotic { target_units: units },
            Method::MixtureSprt => SequentialMethod::MixtureSprt { effect_scale: effect_scale(metric) },
            Method::Fixed => SequentialMethod::Fixed { units },
        };
        SequentialTest::new(method, alpha)
    }

    fn look(&self, metric: Metric, test: &Result<SequentialTest, OutOfRange>, sides: &Sides) -> Result<Inference, String> {
        if metric == Metric::Guard(Guard::LatencyP95Ms) {
            return Err("percentiles have no p value".into());
        }
        let test = test.as_ref().map_err(OutOfRange::to_string)?;
        let fewest = sides.control.count().min(sides.arm.count());
        if let (Method::Fixed, Some(units_min)) = (self.experiment.analysis.method, self.experiment.stop.units_min)
            && fewest < units_min
        {
            return Err(format!("the look was set for {units_min} units of every arm"));
        }
        let seen = test.look(&sides.control, &sides.arm).map_err(|why| match why {
            NoInterval::TooFewUnits { needed_per_arm } => format!("every arm needs {needed_per_arm} units"),
            other => other.to_string(),
        })?;
        let finite = [seen.difference, seen.low, seen.high, seen.p].iter().all(|figure| figure.is_finite());
        finite.then_some(seen).ok_or_else(|| "the figures are too large to compute with".into())
    }

    /// The metric of each of the other arms and of the control.
    fn sides(&self, metric: Metric, others: &[usize], until: i64) -> Vec<Sides> {
        if self.population.mode == Mode::Shadow {
            return others.iter().map(|arm| self.paired(metric, *arm, until)).collect();
        }
        let mut outcomes = self.population.outcomes(metric, self.control, until);
        // Without runs there may be no arms at all.
        outcomes.resize_with(outcomes.len().max(self.control + 1), Vec::new);
        let adjustment = cuped::adjust(&outcomes).ok();
        let worth = adjustment.as_ref().filter(|own| own.history_share > 0.0 && own.theta != 0.0);
        let moments = |arm: usize| match (worth, outcomes.get(arm)) {
            (Some(own), _) => own.arms.get(arm).map(|arm| arm.moments).unwrap_or_default(),
            (None, Some(units)) => Moments::of(&units.iter().map(|unit| unit.outcome).collect::<Vec<_>>()).unwrap_or_default(),
            (None, None) => Moments::default(),
        };
        let history = worth.map(|own| HistoryReport {
            units_share: figure(own.history_share),
            theta: figure(own.theta),
            variance_reduction: own.variance_reduction.map(figure),
        });
        others.iter().map(|arm| Sides { control: moments(self.control), arm: moments(*arm), history: history.clone() }).collect()
    }

    /// Both arms were asked for the same runs: the units' differences are held against as
    /// many outcomes that are 0.
    fn paired(&self, metric: Metric, arm: usize, until: i64) -> Sides {
        let gains = self.population.paired(metric, arm, until);
        let zeros = Moments::of(&vec![0.0; gains.len()]).unwrap_or_default();
        Sides { control: zeros, arm: Moments::of(&gains).unwrap_or_default(), history: None }
    }

    /// The same units have both arms in mode shadow, and count once.
    fn control_units(&self, sides: &Sides, arm: usize) -> u64 {
        if self.population.mode == Mode::Shadow && arm != self.control { 0 } else { sides.control.count() }
    }

    /// The percentiles' own intervals, each with half of the error: the difference lies
    /// between those of their ends. It holds for one look.
    fn latencies(&self, row: &mut Comparison, arm: usize, alpha: f64) {
        row.holds_for = HoldsFor::OneLook;
        row.arm_units = self.population.units_of(arm);
        row.control_units = if self.population.mode == Mode::Shadow { 0 } else { self.population.units_of(self.control) };
        let of = |arm: usize| latency(self.population, arm).and_then(|sample| sample.percentile(0.95, alpha / 2.0).ok()?);
        let (Some(control), Some(arm)) = (of(self.control), of(arm)) else {
            row.why_none = Some("an arm has no runs".into());
            return;
        };
        row.difference = Some(figure(arm.value - control.value));
        let ends = |low: &Percentile, high: &Percentile| Some(low.low? - high.high?);
        match (ends(&arm, &control), ends(&control, &arm)) {
            (Some(low), Some(below)) => (row.low, row.high) = (Some(figure(low)), Some(figure(-below))),
            _ => row.why_none = Some("the runs are too few to bound the percentiles".into()),
        }
    }
}
