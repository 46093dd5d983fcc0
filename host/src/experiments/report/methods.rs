//! Names how the figures were made, and where that comes from.

use super::compare::{effect_scale, metrics, target_units};
use super::figure::percent;
use crate::experiments::definition::{Experiment, Mode};
use crate::experiments::metric::{Correction, Guard, Method, Metric};
use crate::experiments::statistics::ratio::MISMATCH_P;
use crate::experiments::statistics::sequential::BURN_IN_UNITS;

/// A sentence each.
pub(super) fn methods(experiment: &Experiment) -> Vec<String> {
    let analysis = &experiment.analysis;
    let mut told = Vec::new();
    match experiment.mode {
        Mode::Interleave => told.push(preferences(experiment)),
        mode => {
            told.push(intervals(experiment));
            if mode == Mode::Shadow {
                told.push("A unit's outcome is the mean of its runs' differences, held against no difference.".into());
            }
        }
    }
    told.push(correction(analysis.correction, analysis.alpha));
    if experiment.mode == Mode::Ab {
        told.push(format!(
            "Sample ratio: chi-square test of the arms' units against their weights; a mismatch below p = {MISMATCH_P}. Fabijan et al., KDD 2019."
        ));
    }
    if analysis.cuped_days > 0 {
        told.push(format!(
            "CUPED: outcomes are adjusted by the same metric of the unit's runs in the {} days before the start. Deng et al., WSDM 2013.",
            analysis.cuped_days
        ));
    }
    let shares = metrics(experiment).iter().any(|metric| matches!(metric, Metric::Guard(guard) if *guard != Guard::LatencyP95Ms));
    if shares && experiment.mode == Mode::Ab {
        told.push(
            "Shares of runs are compared by the delta method, with the unit as what is independent. Deng, Knoblich and Lu, KDD 2018."
                .into(),
        );
    }
    if !experiment.metrics.guardrails.is_empty() {
        told.push(
            "Guardrails: the report holds the figures of all runs against their bounds; a server rolls an arm back only when its latest \
             runs are over a bound by more than chance, by exact binomial tests."
                .into(),
        );
    }
    told.push(
        "Percentiles: by linear interpolation (type 7 of Hyndman and Fan, 1996), with intervals from ranks (Hahn and Meeker, 1991) that \
         take runs as independent and hold for one look; the difference of two lies between those of their intervals' ends."
            .into(),
    );
    told
}

fn intervals(experiment: &Experiment) -> String {
    let units = target_units(experiment);
    match experiment.analysis.method {
        Method::Asymptotic => format!(
            "Intervals: asymptotic confidence sequences, valid at all looks together, tightest at {units} units of both arms, from \
             {BURN_IN_UNITS} units of every arm on. Waudby-Smith et al., Annals of Statistics 52(6), 2024."
        ),
        Method::MixtureSprt => format!(
            "Intervals: the mixture sequential probability ratio test, valid at all looks together, for differences around {} on the \
             primary metric, from {BURN_IN_UNITS} units of every arm on. Johari et al., Operations Research 70(3), 2022.",
            effect_scale(experiment.metrics.primary)
        ),
        Method::Fixed => format!(
            "Intervals: Welch's t test, for one look, the first with {} units of every arm. Welch, Biometrika 34, 1947.",
            experiment.stop.units_min.unwrap_or(units / 2)
        ),
    }
}

fn preferences(experiment: &Experiment) -> String {
    let earned = "the arm that earned more of what a unit used is preferred by it (Chapelle et al., TOIS 30(1), 2012)";
    let mixture = "a beta mixture (Robbins, Annals of Mathematical Statistics 41, 1970; Howard et al., Annals of Statistics 49, 2021)";
    format!(
        "Preferences: {earned}; the share of units that prefer an arm is told with the confidence sequence of {mixture}, which is exact, \
         valid at all looks together, and tightest at {} units that prefer one. The file's method has no part in it.",
        target_units(experiment)
    )
}

fn correction(correction: Correction, alpha: f64) -> String {
    let error = percent(alpha);
    match correction {
        Correction::None => format!("Many comparisons: not corrected; each errs with {error}."),
        Correction::Bonferroni => format!("Many comparisons: Bonferroni; all intervals hold together but for {error}."),
        Correction::Holm => format!(
            "Many comparisons: p values by Holm, Scandinavian Journal of Statistics 6, 1979; intervals by Bonferroni; all hold together but \
             for {error}."
        ),
        Correction::BenjaminiHochberg => format!(
            "Many comparisons: Benjamini and Hochberg, JRSS B 57, 1995; of the intervals without 0, a share of {error} at most is expected \
             to miss."
        ),
    }
}
