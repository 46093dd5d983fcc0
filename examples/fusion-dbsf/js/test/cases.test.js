//! The golden cases of `../cases`, in node: `spanloom plugin test` runs the same against
//! the component. And what no case can say.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';

import { PARAMETERS, distribution, fuse } from '../src/fuse.js';
import { Span, int, parse } from '../src/spanloom.js';

const CASES = new URL('../../cases/', import.meta.url);

/** As the host gives them: ids of 64 bits, numbers of 32. */
const run = ({ channel, weight, ids, scores }) => ({
  channel,
  weight: Math.fround(weight),
  ids: BigUint64Array.from(ids, BigInt),
  scores: Float32Array.from(scores),
});

const near = (got, expected, what) => {
  assert.equal(got.length, expected.length, what);
  expected.forEach((number, at) => {
    const allowed = 1e-5 * Math.max(1, Math.abs(number));
    assert.ok(Math.abs(got[at] - number) <= allowed, `${what}: ${got[at]}, expected ${number}`);
  });
};

/** Holds a fusion against the rows that a case expects, whatever their order. */
function check({ name, parameters = {}, input, expect }) {
  const configured = () => parse(JSON.stringify(parameters), PARAMETERS);
  if (expect.error !== undefined) {
    assert.throws(configured, (error) => error.payload.tag === 'bad-config' && expect.error === 'bad_config', name);
    return;
  }
  const fused = fuse(input.runs.map(run), configured());
  if (expect.output === undefined) return;
  const { ids, scores, contributions } = expect.output;
  const width = input.runs.length;
  const row = (all, at) => [...all.slice(at * width, (at + 1) * width)];
  assert.equal(fused.ids.length, ids.length, name);
  ids.forEach((id, expected) => {
    const at = fused.ids.indexOf(BigInt(id));
    assert.ok(at >= 0, `${name}: ${id} is missing`);
    near([fused.scores[at]], [scores[expected]], name);
    near(row(fused.contributions, at), row(contributions, expected), name);
  });
}

test('the golden cases', () => {
  const files = readdirSync(CASES).filter((file) => file.endsWith('.json'));
  assert.ok(files.length >= 6, `${files.length} cases`);
  files.forEach((file) => check(JSON.parse(readFileSync(new URL(file, CASES), 'utf8'))));
});

test('equal scores have no deviation at all', () => {
  for (const count of [1, 2, 3, 7, 1000]) {
    assert.equal(distribution(new Float32Array(count).fill(0.1)).deviation, 0, `${count}`);
  }
});

test('odd weights and scores give finite rows', () => {
  const parameters = parse('{"weights": {"bm25": 100}}', PARAMETERS);
  const fused = (weight, scores) => fuse([run({ channel: 'bm25', weight, ids: [1, 2, 3], scores })], parameters);
  for (const weight of [NaN, Infinity, -1]) assert.equal(fused(weight, [3, 2, 1]).ids.length, 0, `${weight}`);
  const huge = 3.4028234663852886e38;
  const { scores, contributions } = fused(huge, [huge, 0, -huge]);
  assert.ok([...scores, ...contributions].every(Number.isFinite));
});

test('ids of 64 bits stay apart, and channels may have any name', () => {
  const [a, b] = [2n ** 53n, 2n ** 53n + 1n];
  const runs = [{ channel: 'constructor', weight: 1, ids: BigUint64Array.of(a, b), scores: Float32Array.of(2, 1) }];
  assert.deepEqual([...fuse(runs, parse('{}', PARAMETERS)).ids], [a, b]);
});

test('refusals name the parameter, its value, and what is allowed', () => {
  const refused = (json, part) => assert.throws(() => parse(json, PARAMETERS), (error) => error.message.includes(part), json);
  refused('{"weights": {"bm25": -1}}', '`weights.bm25`: -1 is not allowed, allowed: 0 to 100');
  refused('{"weights": {"dense": 1e999}}', '`weights.dense`');
  refused('{"clamp": 1}', '`clamp`: 1');
  refused('{"clmap": true}', '`clmap` is unknown; known: clamp, weights');
  refused('{"__proto__": 1}', '`__proto__` is unknown');
  refused('[]', 'a JSON object');
  refused('{', 'parameters');
});

test('a span calls the host only while somebody records, and a child is ended', () => {
  const told = [];
  const handle = (name) => ({
    child: (child) => (told.push(`open ${child}`), handle(child)),
    setAttributes: (pairs) => told.push([name, pairs]),
    addEvent: (event, pairs) => told.push([name, event, pairs]),
    [Symbol.dispose ?? Symbol.for('dispose')]: () => told.push(`end ${name}`),
  });
  const use = (span) => {
    span.set({ rows: int(2), mean: 2, channel: 'bm25', clamp: false });
    span.event('met');
    throw new Error('stop');
  };
  assert.throws(() => new Span(handle('stage'), { recording: false }).child('step', use), /stop/);
  assert.deepEqual(told, []);
  assert.throws(() => new Span(handle('stage'), { recording: true }).child('step', use), /stop/);
  const variants = [
    ['rows', { tag: 'int', val: 2n }],
    ['mean', { tag: 'real', val: 2 }],
    ['channel', { tag: 'text', val: 'bm25' }],
    ['clamp', { tag: 'flag', val: false }],
  ];
  assert.deepEqual(told, ['open step', ['step', variants], ['step', 'met', []], 'end step']);
});
