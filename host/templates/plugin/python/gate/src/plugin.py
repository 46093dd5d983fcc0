"""Decides how deep to look by the number of query terms.
In: the query's profile. Out: a budget for each channel.
"""

from wit_world import exports
from wit_world.exports import gate
from wit_world.imports import explain

from decide import PARAMETERS, decide, is_long
from spanloom import Span, describe, pairs, parse, typed

NAME = "{{name}}"
VERSION = "0.1.0"

# Set once in the life of an instance, by `configure`. Not a member of the class below: each
# call has a new object of it.
parameters = parse("{}", PARAMETERS)


class Gate(exports.Gate):
    def describe(self):
        return describe(NAME, VERSION, "gate", PARAMETERS)

    @typed
    def configure(self, parameters_json):
        global parameters
        parameters = parse(parameters_json, PARAMETERS)

    @typed
    def decide(self, stage, call, query):
        with Span(stage, call.recording).child("gate.terms") as span:
            terms, long = len(query.terms), is_long(query, parameters)
            span.set({"retrieval.query.terms": terms, "retrieval.query.long": long})
            if call.explain:
                explain.features(pairs({"terms": terms, "long": long}))
            decision = decide(query, call.limit, parameters)
            budgets = [gate.Budget(*budget) for budget in decision.budgets]
            return gate.Decision(*decision._replace(budgets=budgets))
