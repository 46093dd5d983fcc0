//! Puts rows first whose symbol or path has a term of the query in it.
//! In: rows with fused scores. Out: a score for each row.

import { lookUp } from 'spanloom:search/documents@0.1.2';
import { parts } from 'spanloom:search/explain@0.1.2';

import { PARAMETERS, gains, share } from './score.js';
import { Span, describe, finite, int, parse, typed } from './spanloom.js';

const NAME = '{{name}}';
const VERSION = '0.1.0';

/** Set once in the life of an instance, by `configure`. */
let parameters = parse('{}', PARAMETERS);

export const rerank = {
  describe: () => describe(NAME, VERSION, 'rerank', PARAMETERS),

  configure: typed((json) => {
    parameters = parse(json, PARAMETERS);
  }),

  rerank: typed((stage, call, query, rows) =>
    new Span(stage, call).child('rerank.names', (span) => {
      // Once for all rows: each call of the host has its price.
      const { symbols, paths } = lookUp(rows.ids);
      const shares = symbols.map((symbol, row) => share(query.terms, symbol, paths[row]));
      const added = gains(shares, rows.scores, parameters);
      span.set({
        'retrieval.rerank.rows': int(rows.ids.length),
        'retrieval.rerank.rows_named': int(shares.filter((share) => share > 0).length),
      });
      const fused = [...rows.scores];
      if (call.explain) parts(['fused', 'names'], Float32Array.from(fused.flatMap((score, row) => [score, added[row]])));
      return Float32Array.from(fused, (score, row) => finite(score + added[row]));
    }),
  ),
};
