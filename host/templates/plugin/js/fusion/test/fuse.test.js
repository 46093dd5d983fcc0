import assert from 'node:assert/strict';
import { test } from 'node:test';

import { PARAMETERS, fuse } from '../src/fuse.js';
import { parse } from '../src/spanloom.js';

const run = (weight, ...ids) => ({ channel: 'any', weight, ids: BigUint64Array.from(ids, BigInt), scores: [] });

const near = (got, expected, what) => {
  assert.equal(got.length, expected.length, what);
  expected.forEach((number, at) => assert.ok(Math.abs(got[at] - number) < 1e-7, `${what}: ${[...got]}`));
};

test('parts are weight over k and rank, row by row', () => {
  const check = (runs, k, ids, contributions) => {
    const fused = fuse(runs, k);
    assert.deepEqual([...fused.ids], ids.map(BigInt));
    near(fused.contributions, contributions, 'contributions');
    const sums = ids.map((_, row) => contributions.slice(row * runs.length, (row + 1) * runs.length).reduce((a, b) => a + b, 0));
    near(fused.scores, sums, 'scores');
  };
  check([], 60, [], []);
  check([run(1), run(1)], 60, [], []);
  check([run(1, 1, 2), run(1, 2, 4)], 60, [1, 2, 4], [1 / 61, 0, 1 / 62, 1 / 61, 0, 1 / 62]);
  check([run(2, 7), run(0.5, 7)], 1, [7], [1, 0.25]);
  check([run(1, 7), run(0, 8)], 60, [7], [1 / 61, 0]);
});

test('ids of 64 bits stay apart', () => {
  const [a, b] = [2n ** 53n, 2n ** 53n + 1n];
  assert.deepEqual([...fuse([{ weight: 1, ids: BigUint64Array.of(a, b) }], 60).ids], [a, b]);
});

test('parameters are held to their schema', () => {
  assert.equal(parse('{"k": 10}', PARAMETERS).k, 10);
  assert.equal(parse('', PARAMETERS).k, undefined);
  const refused = (json, part) => assert.throws(() => parse(json, PARAMETERS), (error) => error.message.includes(part), json);
  refused('{"k": 0}', '`k`: 0 is not allowed, allowed: 1 to 10000');
  refused('{"k": "60"}', '`k`: "60"');
  refused('{"kk": 60}', '`kk` is unknown; known: k');
});
