import assert from 'node:assert/strict';
import { test } from 'node:test';

import { PARAMETERS, decide } from '../src/decide.js';
import { parse } from '../src/spanloom.js';

const SHORT = ['pars', 'queri'];
const LONG = ['where', 'retri', 'limit', 'set'];

const decided = (json, terms, limit = 10) => decide({ terms, channels: ['bm25', 'dense'] }, limit, parse(json, PARAMETERS));

test('budgets follow the number of terms', () => {
  const check = (json, terms, kind, text, dense) => {
    const decision = decided(json, terms);
    const budgets = decision.budgets.map(({ depth, weight }) => [depth, weight]);
    assert.deepEqual([decision.class, budgets], [kind, [text, dense]], json);
  };
  check('{}', SHORT, 'short', [100, 1], [50, 0.5]);
  check('{}', LONG, 'long', [150, 1], [150, 1]);
  check('{}', [], 'short', [100, 1], [50, 0.5]);
  check('{"long_terms_min": 2}', SHORT, 'long', [150, 1], [150, 1]);
  check('{"long_terms_min": 5}', LONG, 'short', [100, 1], [50, 0.5]);
});

test('depths follow the limit up to their cap', () => {
  const check = (limit, text, rerank) => {
    const decision = decided('{}', SHORT, limit);
    assert.deepEqual([decision.budgets[0].depth, decision.rerankDepth], [text, rerank], `${limit}`);
  };
  check(1, 100, 50);
  check(60, 120, 180);
  check(4_294_967_295, 1000, 200);
});

test('ambiguity is between 0 and 1', () => {
  const ambiguity = [[], ['a'], SHORT, LONG].map((terms) => decided('{}', terms).ambiguity);
  assert.deepEqual(ambiguity, [1, 1, 0.5, 0.25]);
});

test('parameters are held to their schema', () => {
  const refused = (json, part) => assert.throws(() => parse(json, PARAMETERS), (error) => error.message.includes(part), json);
  refused('{"long_terms_min": 0}', '`long_terms_min`: 0 is not allowed, allowed: 1 to 1000');
  refused('{"long_terms_min": 2.5}', '`long_terms_min`: 2.5');
  refused('{"long_terms": 2}', '`long_terms` is unknown; known: long_terms_min');
});
