"""Puts rows first whose symbol or path has a term of the query in it.
In: rows with fused scores. Out: a score for each row.
"""

from wit_world import exports
from wit_world.imports import documents, explain

from score import PARAMETERS, gains, share
from spanloom import Span, describe, finite, parse, typed

NAME = "{{name}}"
VERSION = "0.1.0"

# Set once in the life of an instance, by `configure`. Not a member of the class below: each
# call has a new object of it.
parameters = parse("{}", PARAMETERS)


class Rerank(exports.Rerank):
    def describe(self):
        return describe(NAME, VERSION, "rerank", PARAMETERS)

    @typed
    def configure(self, parameters_json):
        global parameters
        parameters = parse(parameters_json, PARAMETERS)

    @typed
    def rerank(self, stage, call, query, rows):
        with Span(stage, call.recording).child("rerank.names") as span:
            # Once for all rows: each call of the host has its price.
            facts = documents.look_up(rows.ids)
            shares = [share(query.terms, symbol, path) for symbol, path in zip(facts.symbols, facts.paths)]
            added = gains(shares, rows.scores, parameters)
            span.set(
                {
                    "retrieval.rerank.rows": len(rows.ids),
                    "retrieval.rerank.rows_named": sum(share > 0 for share in shares),
                }
            )
            if call.explain:
                explain.parts(["fused", "names"], [part for row in zip(rows.scores, added) for part in row])
            return [finite(score + gain) for score, gain in zip(rows.scores, added)]
