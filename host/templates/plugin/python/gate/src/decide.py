"""Budgets by the number of query terms: the judgement, without the host.

A few terms are looked up as they are written, so the text index decides. Many terms
describe something, so the other channels are asked as deep as the text index.
"""

from typing import NamedTuple

# What can be set, as the JSON Schema that `describe` answers and `configure` checks.
PARAMETERS = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "long_terms_min": {
            "type": "integer",
            "minimum": 1,
            "maximum": 1000,
            "default": 4,
            "description": "The number of terms from which a query is long.",
        },
    },
}

# The channel that looks words up as they are written.
TEXT_CHANNEL = "bm25"


class Budget(NamedTuple):
    channel: str
    depth: int
    weight: float
    reason: str


class Decision(NamedTuple):
    """As in `wit/gate.wit`."""

    class_: str
    ambiguity: float
    budgets: list[Budget]
    rrf_k: float
    rm3: bool
    rerank_depth: int
    reasons: list[str]


def is_long(query, parameters: dict) -> bool:
    return len(query.terms) >= parameters["long_terms_min"]


def decide(query, limit: int, parameters: dict) -> Decision:
    """The decision for a query of which `limit` findings are asked for."""
    terms = len(query.terms)
    long = is_long(query, parameters)
    kind = "long" if long else "short"
    return Decision(
        class_=kind,
        # The fewer terms, the more a query can mean.
        ambiguity=1 / max(1, terms),
        budgets=[_budget(channel, long, limit) for channel in query.channels],
        # The smaller, the more the first ranks stand out.
        rrf_k=60.0 if long else 20.0,
        rm3=False,
        rerank_depth=max(50, min(200, limit * 3)),
        reasons=[f"{kind}: {terms} terms, long from {parameters['long_terms_min']}"],
    )


def _budget(channel: str, long: bool, limit: int) -> Budget:
    """Depth and weight of one channel: twice the findings asked for at least."""
    text = channel == TEXT_CHANNEL
    if long:
        depth, weight, reason = 150, 1.0, "long: some of the words may miss" if text else "long: every opinion counts"
    elif text:
        depth, weight, reason = 100, 1.0, "short: the words as written decide"
    else:
        depth, weight, reason = 50, 0.5, "short: a second opinion"
    return Budget(channel, max(depth, min(1000, limit * 2)), weight, reason)
