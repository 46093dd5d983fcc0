"""Merges the channels' ranked lists by weighted reciprocal rank fusion.
In: ranked lists with weights. Out: one list, and what each run added to it.
"""

from wit_world import exports
from wit_world.exports import fusion
from wit_world.imports import explain

from fuse import PARAMETERS, fuse
from spanloom import Span, describe, pairs, parse, typed

NAME = "{{name}}"
VERSION = "0.1.0"

# Set once in the life of an instance, by `configure`. Not a member of the class below: each
# call has a new object of it.
parameters = parse("{}", PARAMETERS)


class Fusion(exports.Fusion):
    def describe(self):
        return describe(NAME, VERSION, "fusion", PARAMETERS)

    @typed
    def configure(self, parameters_json):
        global parameters
        parameters = parse(parameters_json, PARAMETERS)

    @typed
    def fuse(self, stage, call, settings, runs):
        k = float(parameters.get("k", settings.rrf_k))
        if call.explain:
            explain.features(pairs({"k": k}))

        with Span(stage, call.recording).child("fusion.rrf") as span:
            fused = fuse(runs, k)
            span.set(
                {
                    "retrieval.fusion.k": k,
                    "retrieval.fusion.runs": len(runs),
                    "retrieval.fusion.rows_out": len(fused.ids),
                }
            )
        return fusion.Fused(*fused)
