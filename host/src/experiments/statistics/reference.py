"""Writes reference.json: inputs and what other libraries make of them.

    python -m venv venv && venv/bin/pip install numpy==2.4.6 scipy==1.17.1 statsmodels==0.15.0
    venv/bin/python reference.py

Standard output is the file's content, reproducible with these versions.
"""

import json

import numpy as np
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import NormalIndPower

random = np.random.default_rng(3)


def ratio(counts, weights):
    counts, weights = np.array(counts), np.array(weights, float)
    expected = counts.sum() * weights / weights.sum()
    test = stats.chisquare(counts, expected)
    return dict(counts=counts.tolist(), weights=weights.tolist(), chi_square=test.statistic, p=test.pvalue, expected=expected.tolist())


def welch(control, treatment, alpha):
    test = stats.ttest_ind(treatment, control, equal_var=False)
    interval = test.confidence_interval(1 - alpha)
    return dict(control=control.tolist(), treatment=treatment.tolist(), alpha=alpha, p=test.pvalue, low=interval.low, high=interval.high)


def multiplicity(p_values):
    def adjusted(method):
        return multipletests(p_values, method=method)[1].tolist()

    return dict(
        p_values=list(map(float, p_values)),
        bonferroni=adjusted("bonferroni"),
        holm=adjusted("holm"),
        benjamini_hochberg=adjusted("fdr_bh"),
    )


def sign(wins, losses):
    return dict(wins=wins, losses=losses, p=stats.binomtest(wins, wins + losses, 0.5).pvalue)


def power(effect, deviation, treatment_share, alpha, units):
    treated = units * treatment_share
    control = units - treated
    found = NormalIndPower().power(effect / deviation, control, alpha, ratio=treated / control)
    return dict(effect=effect, deviation=deviation, treatment_share=treatment_share, alpha=alpha, units=units, power=found)


def cuped(sizes, effect):
    """Every third unit has no history; theta and effect are those of a regression of the others."""
    arm = np.repeat([0.0, 1.0], sizes)
    before = random.normal(5, 2, arm.size)
    outcome = 0.7 * before + effect * arm + random.normal(0, 1, arm.size)
    known = np.arange(arm.size) % 3 != 0
    fit = sm.OLS(outcome[known], np.column_stack([np.ones(known.sum()), arm[known], before[known]])).fit()
    theta = fit.params[2]
    adjusted = outcome - np.where(known, theta * (before - before[known].mean()), 0.0)
    arms = [dict(before=[float(b) if k else None for b, k in zip(before[arm == a], known[arm == a])],
                 outcome=outcome[arm == a].tolist(), mean=adjusted[arm == a].mean(), variance=adjusted[arm == a].var(ddof=1))
            for a in (0, 1)]
    # With history for all, the difference of the adjusted means is the regression's effect.
    whole = sm.OLS(outcome, np.column_stack([np.ones(arm.size), arm, before])).fit()
    return dict(arms=arms, theta=theta, all_before=before.tolist(), all_theta=whole.params[2], all_effect=whole.params[1])


def percentile(figures, share, alpha):
    """The value is numpy's; the ranks of the ends are quantiles of the binomial law, open where there is none."""
    ordered, count = np.sort(figures), len(figures)
    low = int(stats.binom.ppf(alpha / 2, count, share))
    high = int(stats.binom.ppf(1 - alpha / 2, count, share)) + 1
    coverage = stats.binom.cdf(high - 1, count, share) - (stats.binom.cdf(low - 1, count, share) if low > 0 else 0.0)
    return dict(figures=figures.tolist(), share=share, alpha=alpha, value=np.percentile(figures, share * 100),
                low=ordered[low - 1] if low > 0 else None, high=ordered[high - 1] if high <= count else None, coverage=coverage)


reference = dict(
    ratio=[ratio([25_500, 24_500], [1, 1]), ratio([503, 497], [1, 1]), ratio([100, 210, 95], [1, 2, 1]),
           ratio([90_400, 4_900, 4_700, 12], [90, 5, 5, 0.01]), ratio([40, 0], [0.5, 0.5]), ratio([60_000, 40_000], [1, 1])],
    welch=[welch(random.normal(0, 1, 12), random.normal(1, 3, 7), 0.05), welch(random.normal(10, 1, 400), random.normal(10.1, 1.5, 300), 0.01),
           welch(random.exponential(1, 50), random.exponential(2, 200), 0.001), welch(random.normal(0, 1, 2), random.normal(1, 1, 2), 0.05)],
    multiplicity=[multiplicity([0.01, 0.04, 0.03, 0.5]), multiplicity([0.02]), multiplicity([0.001, 0.001, 0.2, 1.0, 0.0]),
                  multiplicity(random.uniform(0, 1, 30) ** 3)],
    sign=[sign(3, 7), sign(0, 12), sign(60, 40), sign(5_100, 4_900), sign(1_010_000, 1_000_000), sign(9, 9)],
    power=[power(0.1, 1, 0.5, 0.05, 3_140), power(0.02, 0.3, 0.1, 0.01, 10_000), power(-0.5, 4, 0.7, 0.05, 900), power(0.0, 1, 0.5, 0.05, 100)],
    cuped=[cuped([40, 50], 0.3), cuped([15, 200], 0.0)],
    percentile=[percentile(random.lognormal(0, 1, 200), 0.5, 0.05), percentile(random.lognormal(0, 1, 200), 0.95, 0.05),
                percentile(random.lognormal(0, 1, 200), 0.99, 0.05), percentile(random.lognormal(0, 1, 30), 0.1, 0.2)],
)

if __name__ == "__main__":
    print(json.dumps(reference, indent=1))
