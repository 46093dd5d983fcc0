//! Weighted reciprocal rank fusion: the sums, without the host.
//!
//! `score(d) = Σ w / (k + rank(d))` over the runs that hold `d`, ranks from 1: Cormack,
//! Clarke and Büttcher, SIGIR 2009. Departures: each run has a weight, and a run of
//! weight 0 is left out as if it were not there.

/** What can be set, as the JSON Schema that `describe` answers and `configure` checks. */
export const PARAMETERS = {
  type: 'object',
  additionalProperties: false,
  properties: {
    k: {
      type: 'number',
      minimum: 1,
      maximum: 10000,
      description: 'The constant k: the larger, the less the first ranks stand out. Without it, k is what the gate decides for each query.',
    },
  },
};

/** Rows in the order in which they first came; the host sorts them by score. */
export function fuse(runs, k) {
  // Ids are BigInts: a Map tells them apart, an object would make texts of them.
  const rows = new Map();
  // Row-major, ids × runs; 0 where the run doesn't hold the id. One list of numbers: an
  // array for each row would be garbage.
  const parts = [];
  runs.forEach((run, place) => {
    if (!(run.weight > 0)) return;
    for (let rank = 1; rank <= run.ids.length; rank++) {
      const id = run.ids[rank - 1];
      let row = rows.get(id);
      if (row === undefined) {
        row = rows.size;
        rows.set(id, row);
        for (let run = 0; run < runs.length; run++) parts.push(0);
      }
      parts[row * runs.length + place] = run.weight / (k + rank);
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
    scores[row] = sum;
  }
  return { ids: BigUint64Array.from(rows.keys()), scores, contributions: Float32Array.from(parts) };
}
