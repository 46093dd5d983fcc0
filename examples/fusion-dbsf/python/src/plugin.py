"""Merges the channels' ranked lists by distribution-based score fusion.
In: ranked lists with weights. Out: one list, and what each run added to it.
"""

from wit_world import exports
from wit_world.exports import fusion

from fuse import PARAMETERS, fuse
from spanloom import Span, describe, parse, typed

NAME = "fusion-dbsf"
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
        rows_in = sum(len(run.ids) for run in runs)
        if rows_in == 0:
            return fusion.Fused([], [], [])

        with Span(stage, call.recording).child("fusion.dbsf") as span:
            fused = fuse(runs, parameters, span)
            span.set(
                {
                    "retrieval.fusion.runs": len(runs),
                    "retrieval.fusion.rows_in": rows_in,
                    "retrieval.fusion.rows_out": len(fused.ids),
                }
            )
        return fusion.Fused(*fused)
