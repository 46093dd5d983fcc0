"""Weighted reciprocal rank fusion: the sums, without the host.

`score(d) = Σ w / (k + rank(d))` over the runs that hold `d`, ranks from 1: Cormack,
Clarke and Büttcher, SIGIR 2009. Departures: each run has a weight, and a run of weight 0
is left out as if it were not there.
"""

from typing import NamedTuple

# What can be set, as the JSON Schema that `describe` answers and `configure` checks.
PARAMETERS = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "k": {
            "type": "number",
            "minimum": 1,
            "maximum": 10000,
            "description": "The constant k: the larger, the less the first ranks stand out. "
            "Without it, k is what the gate decides for each query.",
        },
    },
}


class Fused(NamedTuple):
    ids: list[int]
    scores: list[float]
    # What each run added: row-major, ids × runs.
    contributions: list[float]


def fuse(runs, k: float) -> Fused:
    """Rows in the order in which they first came; the host sorts them by score."""
    # One part for each run; 0 where the run doesn't hold the id.
    parts: dict[int, list[float]] = {}
    for place, run in enumerate(runs):
        if run.weight > 0:
            for rank, id in enumerate(run.ids, start=1):
                row = parts.get(id)
                if row is None:
                    row = parts[id] = [0.0] * len(runs)
                row[place] = run.weight / (k + rank)
    rows = parts.values()
    return Fused(list(parts), [sum(row) for row in rows], [part for row in rows for part in row])
