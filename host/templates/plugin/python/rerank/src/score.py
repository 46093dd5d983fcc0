"""Scores by the names of rows: the judgement, without the host.

`score = fused + boost × scale × share`, where `scale` is the largest fused score (as an
absolute value) and `share` how many of the query's terms are in symbol or path. So
`boost` means the same for every fusion.
"""

from spanloom import finite

# What can be set, as the JSON Schema that `describe` answers and `configure` checks.
PARAMETERS = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "boost": {
            "type": "number",
            "minimum": 0,
            "maximum": 10,
            "default": 0.5,
            "description": "What a row gains that has all terms in its names; 1 is as much as the best fused score.",
        },
    },
}


def share(terms: list[str], symbol: str, path: str) -> float:
    """How many of the terms are in symbol or path, 0 to 1; 0 without terms. Terms are
    stemmed: `pars` is found in `Parser`."""
    if not terms:
        return 0.0
    symbol, path = symbol.lower(), path.lower()
    return sum(term in symbol or term in path for term in terms) / len(terms)


def gains(shares: list[float], scores: list[float], parameters: dict) -> list[float]:
    """What is added to each score."""
    scale = max(map(abs, scores), default=0.0)
    return [finite(parameters["boost"] * scale * share) for share in shares]
