//! Merges the channels' ranked lists by distribution-based score fusion.
//! In: ranked lists with weights. Out: one list, and what each run added to it.

import { PARAMETERS, fuse } from './fuse.js';
import { Span, describe, int, parse, typed } from './spanloom.js';

const NAME = 'fusion-dbsf';
const VERSION = '0.1.0';

/** Set once in the life of an instance, by `configure`. */
let parameters = parse('{}', PARAMETERS);

export const fusion = {
  describe: () => describe(NAME, VERSION, 'fusion', PARAMETERS),

  configure: typed((json) => {
    parameters = parse(json, PARAMETERS);
  }),

  fuse: typed((stage, call, _settings, runs) => {
    const rowsIn = runs.reduce((rows, run) => rows + run.ids.length, 0);
    if (rowsIn === 0) return fuse([], parameters);

    return new Span(stage, call).child('fusion.dbsf', (span) => {
      const fused = fuse(runs, parameters, (channel, mean, deviation) =>
        span.event('fusion.dbsf.run', { channel, mean, deviation }),
      );
      span.set({
        'retrieval.fusion.runs': int(runs.length),
        'retrieval.fusion.rows_in': int(rowsIn),
        'retrieval.fusion.rows_out': int(fused.ids.length),
      });
      return fused;
    });
  }),
};
