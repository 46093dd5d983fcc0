import unittest
from types import SimpleNamespace

from decide import PARAMETERS, decide
from spanloom import BadConfig, parse

SHORT = ["pars", "queri"]
LONG = ["where", "retri", "limit", "set"]


def decided(json, terms, limit=10):
    return decide(SimpleNamespace(terms=terms, channels=["bm25", "dense"]), limit, parse(json, PARAMETERS))


class Decide(unittest.TestCase):
    def test_budgets_follow_the_number_of_terms(self):
        for json, terms, kind, text, dense in [
            ("{}", SHORT, "short", (100, 1.0), (50, 0.5)),
            ("{}", LONG, "long", (150, 1.0), (150, 1.0)),
            ("{}", [], "short", (100, 1.0), (50, 0.5)),
            ('{"long_terms_min": 2}', SHORT, "long", (150, 1.0), (150, 1.0)),
            ('{"long_terms_min": 5}', LONG, "short", (100, 1.0), (50, 0.5)),
        ]:
            with self.subTest(json=json, terms=terms):
                decision = decided(json, terms)
                budgets = [(budget.depth, budget.weight) for budget in decision.budgets]
                self.assertEqual((decision.class_, budgets), (kind, [text, dense]))

    def test_depths_follow_the_limit_up_to_their_cap(self):
        for limit, text, rerank in [(1, 100, 50), (60, 120, 180), (2**32 - 1, 1000, 200)]:
            decision = decided("{}", SHORT, limit)
            self.assertEqual((decision.budgets[0].depth, decision.rerank_depth), (text, rerank), limit)

    def test_ambiguity_is_between_0_and_1(self):
        self.assertEqual([decided("{}", terms).ambiguity for terms in ([], ["a"], SHORT, LONG)], [1, 1, 0.5, 0.25])

    def test_parameters_are_held_to_their_schema(self):
        for json, part in [
            ('{"long_terms_min": 0}', "`long_terms_min`: 0 is not allowed, allowed: 1 to 1000"),
            ('{"long_terms_min": 2.5}', "`long_terms_min`: 2.5"),
            ('{"long_terms_min": true}', "`long_terms_min`: true"),
            ('{"long_terms": 2}', "`long_terms` is unknown; known: long_terms_min"),
        ]:
            with self.subTest(json=json), self.assertRaises(BadConfig) as caught:
                parse(json, PARAMETERS)
            self.assertIn(part, str(caught.exception))
