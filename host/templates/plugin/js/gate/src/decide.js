//! Budgets by the number of query terms: the judgement, without the host.
//!
//! A few terms are looked up as they are written, so the text index decides. Many terms
//! describe something, so the other channels are asked as deep as the text index.

/** What can be set, as the JSON Schema that `describe` answers and `configure` checks. */
export const PARAMETERS = {
  type: 'object',
  additionalProperties: false,
  properties: {
    long_terms_min: {
      type: 'integer',
      minimum: 1,
      maximum: 1000,
      default: 4,
      description: 'The number of terms from which a query is long.',
    },
  },
};

/** The channel that looks words up as they are written. */
const TEXT_CHANNEL = 'bm25';

export const isLong = (query, parameters) => query.terms.length >= parameters.long_terms_min;

/** The decision for a query of which `limit` findings are asked for. */
export function decide(query, limit, parameters) {
  const terms = query.terms.length;
  const long = isLong(query, parameters);
  const kind = long ? 'long' : 'short';
  return {
    class: kind,
    // The fewer terms, the more a query can mean.
    ambiguity: 1 / Math.max(1, terms),
    budgets: query.channels.map((channel) => budget(channel, long, limit)),
    // The smaller, the more the first ranks stand out.
    rrfK: long ? 60 : 20,
    rm3: false,
    rerankDepth: clamp(limit * 3, 50, 200),
    reasons: [`${kind}: ${terms} terms, long from ${parameters.long_terms_min}`],
  };
}

/** Depth and weight of one channel: twice the findings asked for at least. */
function budget(channel, long, limit) {
  const text = channel === TEXT_CHANNEL;
  const [depth, weight, reason] = long
    ? [150, 1, text ? 'long: some of the words may miss' : 'long: every opinion counts']
    : [text ? 100 : 50, text ? 1 : 0.5, text ? 'short: the words as written decide' : 'short: a second opinion'];
  return { channel, depth: clamp(limit * 2, depth, 1000), weight, reason };
}

const clamp = (number, low, high) => Math.max(low, Math.min(high, number));
