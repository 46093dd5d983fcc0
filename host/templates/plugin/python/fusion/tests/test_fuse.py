import unittest
from types import SimpleNamespace

from fuse import PARAMETERS, fuse
from spanloom import BadConfig, parse


def run(weight, *ids):
    return SimpleNamespace(channel="any", weight=weight, ids=list(ids), scores=[])


class Fuse(unittest.TestCase):
    def test_parts_are_weight_over_k_and_rank_row_by_row(self):
        for runs, k, ids, contributions in [
            ([], 60, [], []),
            ([run(1), run(1)], 60, [], []),
            ([run(1, 1, 2), run(1, 2, 4)], 60, [1, 2, 4], [1 / 61, 0, 1 / 62, 1 / 61, 0, 1 / 62]),
            ([run(2, 7), run(0.5, 7)], 1, [7], [1, 0.25]),
            ([run(1, 7), run(0, 8)], 60, [7], [1 / 61, 0]),
        ]:
            with self.subTest(runs=runs):
                fused = fuse(runs, k)
                width = len(runs)
                scores = [sum(contributions[row * width : (row + 1) * width]) for row in range(len(ids))]
                self.assertEqual(fused, (ids, scores, contributions))

    def test_parameters_are_held_to_their_schema(self):
        self.assertEqual(parse('{"k": 10}', PARAMETERS), {"k": 10})
        self.assertEqual(parse("", PARAMETERS), {})
        for json, part in [
            ('{"k": 0}', "`k`: 0 is not allowed, allowed: 1 to 10000"),
            ('{"k": "60"}', '`k`: "60"'),
            ('{"k": NaN}', "NaN is no JSON"),
            ('{"k": 1e999}', "`k`: Infinity"),
            ('{"kk": 60}', "`kk` is unknown; known: k"),
        ]:
            with self.subTest(json=json), self.assertRaises(BadConfig) as caught:
                parse(json, PARAMETERS)
            self.assertIn(part, str(caught.exception))
