//! Decides how deep to look by the number of query terms.
//! In: the query's profile. Out: a budget for each channel.

import { features } from 'spanloom:search/explain@0.1.2';

import { PARAMETERS, decide, isLong } from './decide.js';
import { Span, describe, int, pairs, parse, typed } from './spanloom.js';

const NAME = '{{name}}';
const VERSION = '0.1.0';

/** Set once in the life of an instance, by `configure`. */
let parameters = parse('{}', PARAMETERS);

export const gate = {
  describe: () => describe(NAME, VERSION, 'gate', PARAMETERS),

  configure: typed((json) => {
    parameters = parse(json, PARAMETERS);
  }),

  decide: typed((stage, call, query) =>
    new Span(stage, call).child('gate.terms', (span) => {
      const terms = int(query.terms.length);
      const long = isLong(query, parameters);
      span.set({ 'retrieval.query.terms': terms, 'retrieval.query.long': long });
      if (call.explain) features(pairs({ terms, long }));
      return decide(query, call.limit, parameters);
    }),
  ),
};
