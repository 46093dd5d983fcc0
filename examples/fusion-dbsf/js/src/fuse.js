//! Distribution-based score fusion (DBSF): the sums, without the host.
//!
//! `score(d) = Σ w × s'(d)` over the runs that hold `d`, with `s' = (s − (μ − 3σ)) / 6σ`:
//! each run's mean becomes ½, and what lies within three standard deviations of it falls
//! between 0 and 1. Formula: Qdrant's documentation, "Hybrid Queries". Departure: each run
//! has a weight (theirs are all 1 unless set), and a run of weight 0 is left out as if it
//! were not there.

import { finite } from './spanloom.js';

/** What can be set, as the JSON Schema that `describe` answers and `configure` checks. */
export const PARAMETERS = {
  type: 'object',
  additionalProperties: false,
  properties: {
    clamp: {
      type: 'boolean',
      default: false,
      description: 'Whether scores beyond three standard deviations count as if they were 0 or 1.',
    },
    weights: {
      type: 'object',
      default: {},
      additionalProperties: { type: 'number', minimum: 0, maximum: 100 },
      description: 'Factors by the name of the channel, multiplied with the weight that the gate gives; a channel that is not named has 1.',
    },
  },
};

/**
 * Rows in the order in which they first came; the host sorts them by score. `tell` is
 * given each run that counts: its channel, mean and deviation.
 */
export function fuse(runs, { clamp, weights }, tell = () => {}) {
  // Ids are BigInts: a Map tells them apart, an object would make texts of them.
  const rows = new Map();
  // Row-major, ids × runs. One list of numbers: an array for each row would be garbage.
  const parts = [];
  runs.forEach((run, place) => {
    const weight = weightOf(run, weights);
    if (weight === 0 || run.ids.length === 0) return;
    const { mean, deviation } = distribution(run.scores);
    tell(run.channel, mean, deviation);
    for (let rank = 0; rank < run.ids.length; rank++) {
      const id = run.ids[rank];
      const normal = deviation === 0 ? 0.5 : (run.scores[rank] - (mean - 3 * deviation)) / (6 * deviation);
      let row = rows.get(id);
      if (row === undefined) {
        row = rows.size;
        rows.set(id, row);
        for (let run = 0; run < runs.length; run++) parts.push(0);
      }
      parts[row * runs.length + place] = weight * (clamp ? Math.max(0, Math.min(1, normal)) : normal);
    }
  });
  return fused(rows, parts, runs.length);
}

/** The answer in the arrays of the contract, rounded to 32 bits after the sums are made. */
function fused(rows, parts, width) {
  const scores = new Float32Array(rows.size);
  for (let row = 0; row < rows.size; row++) {
    let sum = 0;
    for (let run = 0; run < width; run++) sum += parts[row * width + run];
    scores[row] = finite(sum);
  }
  return { ids: BigUint64Array.from(rows.keys()), scores, contributions: Float32Array.from(parts, finite) };
}

/** Mean and standard deviation of a sample (n − 1); the deviation of one score is 0. */
export function distribution(scores) {
  // Equal scores of 32 bits add up without rounding in 64, so that their mean is the
  // score itself and their deviation exactly 0.
  const mean = scores.reduce((sum, score) => sum + score, 0) / scores.length;
  const squares = scores.reduce((sum, score) => sum + (score - mean) ** 2, 0);
  return { mean, deviation: scores.length > 1 ? Math.sqrt(squares / (scores.length - 1)) : 0 };
}

/** The gate's weight times the factor of the channel; 0 for what is no number over 0. */
function weightOf(run, weights) {
  const weight = run.weight * (weights[run.channel] ?? 1);
  return Number.isFinite(weight) && weight > 0 ? weight : 0;
}
