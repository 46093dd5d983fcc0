//! Scores by the names of rows: the judgement, without the host.
//!
//! `score = fused + boost × scale × share`, where `scale` is the largest fused score (as an
//! absolute value) and `share` how many of the query's terms are in symbol or path. So
//! `boost` means the same for every fusion.

import { finite } from './spanloom.js';

/** What can be set, as the JSON Schema that `describe` answers and `configure` checks. */
export const PARAMETERS = {
  type: 'object',
  additionalProperties: false,
  properties: {
    boost: {
      type: 'number',
      minimum: 0,
      maximum: 10,
      default: 0.5,
      description: 'What a row gains that has all terms in its names; 1 is as much as the best fused score.',
    },
  },
};

/**
 * How many of the terms are in symbol or path, 0 to 1; 0 without terms. Terms are
 * stemmed: `pars` is found in `Parser`.
 */
export function share(terms, symbol, path) {
  if (terms.length === 0) return 0;
  const names = [symbol.toLowerCase(), path.toLowerCase()];
  return terms.filter((term) => names.some((name) => name.includes(term))).length / terms.length;
}

/** What is added to each score. */
export function gains(shares, scores, { boost }) {
  const scale = scores.reduce((scale, score) => Math.max(scale, Math.abs(score)), 0);
  return shares.map((share) => finite(boost * scale * share));
}
