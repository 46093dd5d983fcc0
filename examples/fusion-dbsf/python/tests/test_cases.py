"""The golden cases of `../cases`, natively: `spanloom plugin test` runs the same against
the component. And what no case can say.
"""

import json
import math
import pathlib
import struct
import unittest
from types import SimpleNamespace

from fuse import PARAMETERS, distribution, fuse
from spanloom import BadConfig, Span, parse

CASES = pathlib.Path(__file__).parent.parent.parent / "cases"


def of_32_bits(number):
    """Numbers of runs have 32 bits when the host gives them."""
    return struct.unpack("f", struct.pack("f", number))[0]


def run(channel, weight, ids, scores):
    return SimpleNamespace(channel=channel, weight=of_32_bits(weight), ids=ids, scores=[of_32_bits(score) for score in scores])


def fused(parameters, runs):
    return fuse(runs, parse(parameters, PARAMETERS), Span())


class Cases(unittest.TestCase):
    def test_the_golden_cases(self):
        files = sorted(CASES.glob("*.json"))
        self.assertGreaterEqual(len(files), 6)
        for file in files:
            with self.subTest(case=file.name):
                self.check(json.loads(file.read_text()))

    def check(self, case):
        """Holds a fusion against the rows that a case expects, whatever their order."""
        parameters = json.dumps(case.get("parameters", {}))
        runs = [run(**row) for row in case["input"]["runs"]]
        expect = case["expect"]
        if "error" in expect:
            self.assertEqual(expect["error"], "bad_config")
            self.assertRaises(BadConfig, fused, parameters, runs)
            return
        got = fused(parameters, runs)
        if "output" not in expect:
            return
        output, width = expect["output"], len(runs)
        self.assertEqual(sorted(got.ids), sorted(output["ids"]))
        for expected, id in enumerate(output["ids"]):
            at = got.ids.index(id)
            self.near([got.scores[at]], [output["scores"][expected]])
            row = lambda all, at: all[at * width : (at + 1) * width]
            self.near(row(got.contributions, at), row(output["contributions"], expected))

    def near(self, got, expected):
        self.assertEqual(len(got), len(expected))
        for number, right in zip(got, expected):
            self.assertLessEqual(abs(number - right), 1e-5 * max(1, abs(right)))


class Odd(unittest.TestCase):
    def test_equal_scores_have_no_deviation_at_all(self):
        for count in [1, 2, 3, 7, 1000]:
            self.assertEqual(distribution([of_32_bits(0.1)] * count)[1], 0.0, count)

    def test_odd_weights_and_scores_give_finite_rows(self):
        for weight in [math.nan, math.inf, -1.0]:
            self.assertEqual(fused("{}", [run("bm25", weight, [1, 2], [2.0, 1.0])]).ids, [])
        huge = 3.4028234663852886e38
        got = fused('{"weights": {"bm25": 100}}', [run("bm25", huge, [1, 2, 3], [huge, 0.0, -huge])])
        self.assertTrue(all(abs(number) <= huge for number in got.scores + got.contributions))

    def test_refusals_name_the_parameter_its_value_and_what_is_allowed(self):
        for text, part in [
            ('{"weights": {"bm25": -1}}', "`weights.bm25`: -1 is not allowed, allowed: 0 to 100"),
            ('{"weights": {"dense": 1e999}}', "`weights.dense`"),
            ('{"weights": {"dense": NaN}}', "NaN is no JSON"),
            ('{"weights": {"dense": true}}', "`weights.dense`: true"),
            ('{"clamp": 1}', "`clamp`: 1"),
            ('{"clmap": true}', "`clmap` is unknown; known: clamp, weights"),
            ("[]", "a JSON object"),
            ("{", "parameters"),
        ]:
            with self.subTest(text=text), self.assertRaises(BadConfig) as caught:
                parse(text, PARAMETERS)
            self.assertIn(part, str(caught.exception))

    def test_a_child_is_ended_with_its_block_and_inert_spans_call_nobody(self):
        told = []

        class Handle:
            def child(self, name):
                told.append(f"open {name}")
                return self

            def fail(self, message):
                told.append(message)

            def __exit__(self, *failure):
                told.append("end")

        for recording, expected in [(False, []), (True, ["open step", "odd", "end"])]:
            told.clear()
            with self.assertRaises(RuntimeError), Span(Handle(), recording).child("step") as span:
                span.fail("odd")
                raise RuntimeError
            self.assertEqual(told, expected)
