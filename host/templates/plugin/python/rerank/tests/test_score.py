import unittest

from score import PARAMETERS, gains, share
from spanloom import BadConfig, parse


class Score(unittest.TestCase):
    def test_terms_are_found_in_symbol_or_path(self):
        for terms, symbol, path, expected in [
            (["retri", "limit"], "Retries::MAX", "src/limits.rs", 1),
            (["retri", "limit"], "", "docs/LIMITS.md", 0.5),
            (["retri", "limit"], "", "src/main.rs", 0),
            ([], "Retries", "src/limits.rs", 0),
        ]:
            self.assertEqual(share(terms, symbol, path), expected, (terms, symbol, path))

    def test_a_boost_of_1_is_as_much_as_the_best_score(self):
        for json, scores, expected in [
            ("{}", [4, 3, 2], [0, 2, 1]),
            ('{"boost": 1}', [4, 3, 2], [0, 4, 2]),
            ('{"boost": 0}', [4, 3, 2], [0, 0, 0]),
            ('{"boost": 1}', [-1, -2, -4], [0, 4, 2]),
        ]:
            self.assertEqual(gains([0, 1, 0.5], scores, parse(json, PARAMETERS)), expected, json)
        self.assertEqual(gains([], [], {"boost": 1}), [])

    def test_parameters_are_held_to_their_schema(self):
        for json, part in [
            ('{"boost": 11}', "`boost`: 11 is not allowed, allowed: 0 to 10"),
            ('{"boost": true}', "`boost`: true"),
            ('{"bost": 1}', "`bost` is unknown; known: boost"),
        ]:
            with self.subTest(json=json), self.assertRaises(BadConfig) as caught:
                parse(json, PARAMETERS)
            self.assertIn(part, str(caught.exception))
