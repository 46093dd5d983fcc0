//! Merges the channels' ranked lists by weighted reciprocal rank fusion.
//! In: ranked lists with weights. Out: one list, and what each run added to it.

import { features } from 'spanloom:search/explain@0.1.2';

import { PARAMETERS, fuse } from './fuse.js';
import { Span, describe, int, pairs, parse, typed } from './spanloom.js';

const NAME = '{{name}}';
const VERSION = '0.1.0';

/** Set once in the life of an instance, by `configure`. */
let parameters = parse('{}', PARAMETERS);

export const fusion = {
  describe: () => describe(NAME, VERSION, 'fusion', PARAMETERS),

  configure: typed((json) => {
    parameters = parse(json, PARAMETERS);
  }),

  fuse: typed((stage, call, settings, runs) => {
    const k = parameters.k ?? settings.rrfK;
    if (call.explain) features(pairs({ k }));

    return new Span(stage, call).child('fusion.rrf', (span) => {
      const fused = fuse(runs, k);
      span.set({
        'retrieval.fusion.k': k,
        'retrieval.fusion.runs': int(runs.length),
        'retrieval.fusion.rows_out': int(fused.ids.length),
      });
      return fused;
    });
  }),
};
