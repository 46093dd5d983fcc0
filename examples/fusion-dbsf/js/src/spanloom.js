//! What every plugin needs: parameters, typed errors, spans. Imports nothing of the
//! host, so that tests run in node as well.

/** An error of the contract. The tool that builds the component returns `payload` to the host. */
export class PluginError extends Error {
  /** `kind` is `bad-config`, `unsupported` or `internal`. */
  constructor(kind, message) {
    super(message);
    this.payload = { tag: kind, val: message };
  }
}

/**
 * An export that throws only errors of the contract. Anything else that is thrown would
 * trap: the instance would be lost, and the message with it.
 */
export function typed(work) {
  return (...given) => {
    try {
      return work(...given);
    } catch (error) {
      if (error instanceof PluginError) throw error;
      throw new PluginError('internal', `${error}`);
    }
  };
}

/** The answer to `describe`; `parameters` is a JSON Schema. */
export function describe(name, version, stage, parameters) {
  return JSON.stringify({ name, version, stage, parameters });
}

/**
 * Reads parameters and holds them against their schema; what is left out takes its
 * `default`. Blank text counts as `{}`. Of JSON Schema this knows `type` (`object`,
 * `number`, `integer`, `boolean`, `string`), `minimum`, `maximum`, `enum`, `properties`
 * and `additionalProperties`.
 *
 * Throws `bad-config` with the parameter, its value, and what is allowed.
 */
export function parse(json, schema) {
  let value;
  try {
    value = JSON.parse(json.trim() === '' ? '{}' : json);
  } catch (error) {
    throw new PluginError('bad-config', `parameters: ${error.message}`);
  }
  return checked(value, schema, '');
}

const KEYWORDS = ['type', 'minimum', 'maximum', 'enum', 'properties', 'additionalProperties', 'default', 'title', 'description'];

const TYPES = {
  object: (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
  // `1e999` is JSON, and infinite.
  number: Number.isFinite,
  integer: Number.isInteger,
  boolean: (value) => typeof value === 'boolean',
  string: (value) => typeof value === 'string',
};

function checked(value, schema, path) {
  const strange = Object.keys(schema).find((keyword) => !KEYWORDS.includes(keyword));
  if (strange !== undefined || !Object.hasOwn(TYPES, schema.type)) {
    throw new Error(`the schema of \`${path}\` has something that is not checked: ${strange ?? schema.type}`);
  }
  const where = path === '' ? 'parameters' : `parameter \`${path}\``;
  const bad = (allowed) => new PluginError('bad-config', `${where}: ${shown(value)} is not allowed, allowed: ${allowed}`);
  if (!TYPES[schema.type](value)) throw bad(path === '' ? 'a JSON object' : `a value of type ${schema.type}`);
  if (schema.enum !== undefined && !schema.enum.includes(value)) throw bad(schema.enum.join(', '));
  const { minimum = -Infinity, maximum = Infinity } = schema;
  if (value < minimum || value > maximum) throw bad(`${minimum} to ${maximum}`);
  return schema.type === 'object' ? members(value, schema, path) : value;
}

function members(value, schema, path) {
  const named = schema.properties ?? {};
  // Without a prototype: a channel may be called `constructor`.
  const read = Object.create(null);
  for (const [name, member] of Object.entries(named)) {
    if (member.default !== undefined) read[name] = checked(member.default, member, joined(path, name));
  }
  for (const [name, given] of Object.entries(value)) {
    const member = Object.hasOwn(named, name) ? named[name] : schema.additionalProperties;
    if (typeof member !== 'object') {
      const known = Object.keys(named).join(', ');
      throw new PluginError('bad-config', `parameter \`${joined(path, name)}\` is unknown; known: ${known}`);
    }
    read[name] = checked(given, member, joined(path, name));
  }
  return read;
}

const joined = (path, name) => (path === '' ? name : `${path}.${name}`);
const shown = (value) => JSON.stringify(value) ?? `${value}`;

/** A count as an attribute: numbers of JavaScript are reals. */
export const int = (count) => BigInt(Math.trunc(count));

/** Names and values as the host takes them: strings, booleans, bigints, numbers. */
export function pairs(values) {
  return Object.entries(values).map(([name, value]) => [name, variant(value)]);
}

const INT_MIN = -(2n ** 63n);
const INT_MAX = 2n ** 63n - 1n;

function variant(value) {
  switch (typeof value) {
    case 'string':
      return { tag: 'text', val: value };
    case 'boolean':
      return { tag: 'flag', val: value };
    case 'bigint':
      return { tag: 'int', val: value < INT_MIN ? INT_MIN : value > INT_MAX ? INT_MAX : value };
    case 'number':
      return { tag: 'real', val: value };
    default:
      throw new TypeError(`${shown(value)} can't be an attribute`);
  }
}

/** A span that calls the host only while somebody records. */
export class Span {
  #handle;

  /** The stage span of a call; `new Span()` is one that nothing is done with. */
  constructor(handle, call) {
    this.#handle = call?.recording ? handle : undefined;
  }

  get recording() {
    return this.#handle !== undefined;
  }

  /**
   * Opens a child, hands it to `work`, and ends it when that returns or throws. A handle
   * that is only forgotten would stay open until the garbage collector finds it.
   */
  child(name, work) {
    if (!this.recording) return work(this);
    const handle = this.#handle.child(name);
    try {
      return work(new Span(handle, { recording: true }));
    } finally {
      handle[Symbol.dispose]();
    }
  }

  /** Sets attributes: `{ 'retrieval.fusion.rows_in': int(6) }`. */
  set(values) {
    this.#handle?.setAttributes(pairs(values));
  }

  /** Adds an event that happens now. */
  event(name, values = {}) {
    this.#handle?.addEvent(name, pairs(values));
  }

  /** Sets the status to error; the call goes on. */
  fail(message) {
    this.#handle?.fail(message);
  }
}

const F32_MAX = 3.4028234663852886e38;

/** Rounds to 32 bits; what is beyond the largest finite number becomes that number. */
export const finite = (number) => Math.fround(Math.max(-F32_MAX, Math.min(F32_MAX, number)));
