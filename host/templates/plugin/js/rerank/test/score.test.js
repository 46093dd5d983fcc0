import assert from 'node:assert/strict';
import { test } from 'node:test';

import { PARAMETERS, gains, share } from '../src/score.js';
import { parse } from '../src/spanloom.js';

test('terms are found in symbol or path', () => {
  const check = (terms, symbol, path, expected) => assert.equal(share(terms, symbol, path), expected, `${terms} ${symbol} ${path}`);
  check(['retri', 'limit'], 'Retries::MAX', 'src/limits.rs', 1);
  check(['retri', 'limit'], '', 'docs/LIMITS.md', 0.5);
  check(['retri', 'limit'], '', 'src/main.rs', 0);
  check([], 'Retries', 'src/limits.rs', 0);
});

test('a boost of 1 is as much as the best score', () => {
  const check = (json, scores, expected) =>
    assert.deepEqual(gains([0, 1, 0.5], Float32Array.from(scores), parse(json, PARAMETERS)), expected, json);
  check('{}', [4, 3, 2], [0, 2, 1]);
  check('{"boost": 1}', [4, 3, 2], [0, 4, 2]);
  check('{"boost": 0}', [4, 3, 2], [0, 0, 0]);
  check('{"boost": 1}', [-1, -2, -4], [0, 4, 2]);
  assert.deepEqual(gains([], new Float32Array(), { boost: 1 }), []);
});

test('parameters are held to their schema', () => {
  const refused = (json, part) => assert.throws(() => parse(json, PARAMETERS), (error) => error.message.includes(part), json);
  refused('{"boost": 11}', '`boost`: 11 is not allowed, allowed: 0 to 10');
  refused('{"boost": true}', '`boost`: true');
  refused('{"bost": 1}', '`bost` is unknown; known: boost');
});
