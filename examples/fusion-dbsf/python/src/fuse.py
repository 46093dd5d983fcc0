"""Distribution-based score fusion (DBSF): the sums, without the host.

`score(d) = Σ w × s'(d)` over the runs that hold `d`, with `s' = (s − (μ − 3σ)) / 6σ`:
each run's mean becomes ½, and what lies within three standard deviations of it falls
between 0 and 1. Formula: Qdrant's documentation, "Hybrid Queries". Departure: each run
has a weight (theirs are all 1 unless set), and a run of weight 0 is left out as if it
were not there.
"""

import math
from typing import NamedTuple

from spanloom import Span, finite

# What can be set, as the JSON Schema that `describe` answers and `configure` checks.
PARAMETERS = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "clamp": {
            "type": "boolean",
            "default": False,
            "description": "Whether scores beyond three standard deviations count as if they were 0 or 1.",
        },
        "weights": {
            "type": "object",
            "default": {},
            "additionalProperties": {"type": "number", "minimum": 0, "maximum": 100},
            "description": "Factors by the name of the channel, multiplied with the weight that the gate gives; "
            "a channel that is not named has 1.",
        },
    },
}


class Fused(NamedTuple):
    ids: list[int]
    scores: list[float]
    # What each run added: row-major, ids × runs.
    contributions: list[float]


def fuse(runs, parameters: dict, span: Span) -> Fused:
    """Rows in the order in which they first came; the host sorts them by score. The span is
    told how the scores of each run that counts are spread."""
    clamp, weights = parameters["clamp"], parameters["weights"]
    parts: dict[int, list[float]] = {}
    for place, run in enumerate(runs):
        weight = _weight(run, weights)
        if weight == 0 or not run.ids:
            continue
        mean, deviation = distribution(run.scores)
        span.event("fusion.dbsf.run", {"channel": run.channel, "mean": mean, "deviation": deviation})
        for id, score in zip(run.ids, run.scores):
            normal = (score - (mean - 3 * deviation)) / (6 * deviation) if deviation else 0.5
            row = parts.get(id)
            if row is None:
                row = parts[id] = [0.0] * len(runs)
            row[place] = weight * (max(0.0, min(1.0, normal)) if clamp else normal)
    rows = parts.values()
    return Fused(list(parts), [finite(sum(row)) for row in rows], [finite(part) for row in rows for part in row])


def distribution(scores: list[float]) -> tuple[float, float]:
    """Mean and standard deviation of a sample (n − 1); the deviation of one score is 0."""
    # Equal scores of 32 bits add up without rounding in 64, so that their mean is the score
    # itself and their deviation exactly 0.
    mean = sum(scores) / len(scores)
    squares = sum((score - mean) ** 2 for score in scores)
    return mean, math.sqrt(squares / (len(scores) - 1)) if len(scores) > 1 else 0.0


def _weight(run, weights: dict[str, float]) -> float:
    """The gate's weight times the factor of the channel; 0 for what is no number over 0."""
    weight = run.weight * weights.get(run.channel, 1.0)
    return weight if 0.0 < weight < math.inf else 0.0
