/**
 * Runs a detector module: compiles it, reads events into its rows, keeps the states of entities and
 * scores batches, as docs/abi.md says. It shares no code with the Rust engine, so that the two can
 * be tested against each other; node 20 and browsers run it as it is.
 *
 * It knows nothing of files, networks and signatures: check where the bytes come from first. Unlike
 * the Rust engine it cannot stop a call that takes too long, and it sees only afterwards that memory
 * has grown too large; run modules that you do not know in a worker.
 */

/** The version of the interface that this file speaks. */
export const ABI_VERSION = 1;

/** Most rows of one call. */
export const ROWS_MAX = 65_536;

/** Longest entity, in bytes of UTF-8. */
export const ENTITY_BYTES_MAX = 256;

const MANIFEST_SECTION = "twinge.manifest";
const MANIFEST_BYTES_MAX = 1 << 20;
const MODULE_BYTES_MAX = 32 << 20;
const MEMORY_BYTES_MAX = 256 << 20;
const STATE_BYTES_MAX = 65_536;
const FIELDS_MAX = 255;
const LAYOUT_BYTES = 40;
const FLAG_EXPLAIN_ALL = 1;
const VERDICT_LATE = 1 << 8;
const VERDICT_CONTINUES = 1 << 9;

/** The functions that a module exports, and their numbers of parameters. */
const FUNCTIONS = { twinge_abi: 0, twinge_prepare: 2, twinge_score: 3 };

/** The verdicts by the low byte of their word. */
export const OUTCOMES = Object.freeze(/** @type {const} */ (["normal", "anomalous", "warming-up", "invalid"]));

/** The entity of events whose schema names no entity field. */
const SINGLE_ENTITY = "all";

/**
 * @typedef {object} Schema The fields that a detector reads from an event.
 * @property {string} [entity]
 * @property {string} [time]
 * @property {"rfc3339" | "epoch-s" | "epoch-ms"} [time_format]
 * @property {string[]} [numeric]
 * @property {string[]} [categorical]
 * @property {string} [label]
 *
 * @typedef {object} Manifest What a module tells about itself; docs/abi.md has every key.
 * @property {number} abi
 * @property {string} name
 * @property {string} version
 * @property {Schema} schema
 * @property {number} state_bytes
 * @property {{lateness_s?: number, skew_max_s?: number, warm_up_events?: number, entities_max?: number}} stream
 *
 * @typedef {object} Event An event as a schema sees it.
 * @property {string} entity
 * @property {number | null} timeMs Whole milliseconds since 1970; null when the schema has no time.
 * @property {Float64Array} inputs One row: numbers, category codes, NaN for what is missing.
 *
 * @typedef {object} Result
 * @property {typeof OUTCOMES[number]} outcome
 * @property {number} score At least 1 means anomalous.
 * @property {boolean} late The event came too late to change its entity's state.
 * @property {boolean} continues The event goes on with an episode that was told already.
 * @property {Float32Array} attribution What each field, and in the last place time, adds to the
 *   score; zeros where nothing was asked for.
 */

/** A module that is refused. */
export class LoadError extends Error {
  name = "LoadError";
}

/** A call that gave no verdicts. No state has changed. */
export class CallError extends Error {
  name = "CallError";
}

/** An event that cannot be scored; `reason` is a word for programs. */
export class EventError extends Error {
  name = "EventError";

  /**
   * @param {string} reason
   * @param {string} message
   */
  constructor(reason, message) {
    super(message);
    this.reason = reason;
  }
}

/**
 * Compiles a module and checks that it is one that may be run: no imports, the exports of the
 * interface, a usable manifest, and a first call that answers as the manifest says.
 *
 * @param {Uint8Array} bytes
 * @returns {Promise<Detector>}
 */
export async function loadDetector(bytes) {
  if (bytes.length > MODULE_BYTES_MAX) {
    throw new LoadError(`module has ${bytes.length} bytes: at most ${MODULE_BYTES_MAX} are accepted`);
  }
  const module = await compile(bytes);
  const manifest = readManifest(module);
  const [wanted] = WebAssembly.Module.imports(module);
  if (wanted) {
    throw new LoadError(
      `module imports \`${wanted.module}.${wanted.name}\`: a detector imports nothing, so that it can compute and do nothing else`,
    );
  }
  checkExports(module);
  const detector = new Detector(module, manifest);
  detector.start();
  return detector;
}

/** A compiled module with its manifest. It makes a new instance whenever it has none it can trust. */
export class Detector {
  #module;
  /** @type {Instance | null} */
  #instance = null;

  /**
   * @param {WebAssembly.Module} module
   * @param {Manifest} manifest
   */
  constructor(module, manifest) {
    this.#module = module;
    /** What the module tells about itself. */
    this.manifest = manifest;
  }

  /** Makes an instance and prepares it for one row, as a check. */
  start() {
    try {
      const instance = new Instance(this.#module, this.manifest);
      const version = instance.version();
      if (version !== ABI_VERSION) {
        throw new LoadError(
          `module answers interface version ${version}, and this program speaks ${ABI_VERSION}`,
        );
      }
      instance.prepare(1, 1);
      this.#instance = instance;
    } catch (error) {
      if (error instanceof LoadError) throw error;
      throw new LoadError(`module does not start: ${messageOf(error)}`, { cause: error });
    }
  }

  /**
   * Scores rows in order, each seeing the state that the rows before it left.
   *
   * @param {{timeMs: number | null, inputs: ArrayLike<number>}[]} rows
   * @param {ArrayLike<number>} slots For each row, which of the states it belongs to.
   * @param {(Uint8Array | null)[]} states Null is an entity never seen. They are left as they are.
   * @param {{explainAll?: boolean}} [options] Whether rows that are not anomalous get an
   *   attribution too.
   * @returns {{results: Result[], states: Uint8Array}} The new states, one behind the other.
   */
  score(rows, slots, states, { explainAll = false } = {}) {
    if (rows.length > ROWS_MAX || states.length > ROWS_MAX) {
      throw new CallError(`batch has ${rows.length} rows and ${states.length} states: at most ${ROWS_MAX} are accepted`);
    }
    return this.#call((instance) => instance.score(rows, slots, states, explainAll));
  }

  /**
   * The same for many rows that lie in arrays already: some times faster, since no object is made
   * for a row.
   *
   * @param {Block} block At most {@link ROWS_MAX} rows.
   * @param {(Uint8Array | null)[]} states Null is an entity never seen. They are left as they are.
   * @param {{explainAll?: boolean}} [options]
   * @returns {BlockResult}
   */
  scoreBlock(block, states, { explainAll = false } = {}) {
    const rows = block.slots.length;
    if (rows > ROWS_MAX || states.length > ROWS_MAX) {
      throw new CallError(`batch has ${rows} rows and ${states.length} states: at most ${ROWS_MAX} are accepted`);
    }
    return this.#call((instance) => instance.scoreBlock(block, states, explainAll));
  }

  /**
   * @template T
   * @param {(instance: Instance) => T} score
   * @returns {T}
   */
  #call(score) {
    try {
      this.#instance ??= new Instance(this.#module, this.manifest);
      return score(this.#instance);
    } catch (error) {
      // Whatever state the failed call left in memory, nobody sees it again.
      this.#instance = null;
      if (error instanceof CallError) throw error;
      throw new CallError(`module trapped: ${messageOf(error)}`, { cause: error });
    }
  }
}

/**
 * @typedef {object} Block Rows as columns of numbers.
 * @property {Float64Array} times Milliseconds since 1970; 0 where the schema has no time.
 * @property {Uint32Array} slots For each row, which of the states it belongs to.
 * @property {Float64Array} inputs Row after row.
 *
 * @typedef {object} BlockResult
 * @property {Float64Array} scores
 * @property {Uint32Array} verdicts Words as in docs/abi.md; {@link readVerdict} reads them.
 * @property {Float32Array} attributions Row after row, one more than inputs.
 * @property {Uint8Array} states The new states, one behind the other.
 */

/** Whether numbers in this machine's memory lie as in a module's: true wherever browsers run. */
const IS_LITTLE_ENDIAN = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1;

/**
 * A verdict's word in parts; null if it is none.
 *
 * @param {number} word
 */
export function readVerdict(word) {
  const outcome = OUTCOMES[word & 0xff];
  if (outcome === undefined || !isVerdict(word)) return null;
  return { outcome, late: (word & VERDICT_LATE) !== 0, continues: (word & VERDICT_CONTINUES) !== 0 };
}

/** An instance and the room it has prepared. */
class Instance {
  #exports;
  #fields;
  #stateBytes;
  #rows = 0;
  #states = 0;
  /** @type {Layout | null} */
  #layout = null;

  /**
   * @param {WebAssembly.Module} module
   * @param {Manifest} manifest
   */
  constructor(module, manifest) {
    this.#exports = /** @type {any} */ (new WebAssembly.Instance(module).exports);
    this.#fields = fieldsOf(manifest.schema).length;
    this.#stateBytes = manifest.state_bytes;
    // Types of parameters cannot be seen from here, their number can.
    for (const [name, parameters] of Object.entries(FUNCTIONS)) {
      if (this.#exports[name].length !== parameters) throw wrongExport(name);
    }
    if (!(this.#exports.memory.buffer instanceof ArrayBuffer)) throw wrongExport("memory");
    this.#checkMemory();
  }

  version() {
    return this.#exports.twinge_abi();
  }

  /**
   * Makes room, growing by doubling so that batches of changing size seldom ask.
   *
   * @param {number} rows
   * @param {number} states
   * @returns {Layout}
   */
  prepare(rows, states) {
    if (this.#layout && rows <= this.#rows && states <= this.#states) return this.#layout;
    // A module may take it that there are no more states than rows.
    const roomRows = Math.max(nextPowerOfTwo(Math.max(rows, states)), this.#rows);
    const roomStates = Math.max(nextPowerOfTwo(states), this.#states);
    const address = this.#exports.twinge_prepare(roomRows, roomStates) >>> 0;
    this.#checkMemory();
    if (address === 0) throw new CallError(`module has no room for ${rows} rows and ${states} states`);
    const layout = this.#readLayout(address);
    this.#checkLayout(layout, roomRows, roomStates);
    [this.#rows, this.#states, this.#layout] = [roomRows, roomStates, layout];
    return layout;
  }

  /**
   * @param {{timeMs: number | null, inputs: ArrayLike<number>}[]} rows
   * @param {ArrayLike<number>} slots
   * @param {(Uint8Array | null)[]} states
   * @param {boolean} explainAll
   */
  score(rows, slots, states, explainAll) {
    const layout = this.prepare(rows.length, states.length);
    this.#write(layout, rows, slots, states);
    const flags = explainAll ? FLAG_EXPLAIN_ALL : 0;
    const code = this.#exports.twinge_score(rows.length, states.length, flags);
    if (code !== 0) throw new CallError(`module answered error ${code} of docs/abi.md`);
    this.#checkMemory();
    return this.#read(layout, rows.length, states.length);
  }

  /**
   * @param {Block} block
   * @param {(Uint8Array | null)[]} states
   * @param {boolean} explainAll
   * @returns {BlockResult}
   */
  scoreBlock({ times, slots, inputs }, states, explainAll) {
    if (!IS_LITTLE_ENDIAN) throw new CallError("this machine's numbers lie the other way around: score rows one by one");
    const rows = slots.length;
    if (times.length !== rows || inputs.length !== rows * this.#fields) {
      throw new CallError(`block has ${rows} rows, ${times.length} times and ${inputs.length} inputs: they do not fit`);
    }
    const layout = this.prepare(rows, states.length);
    let memory = this.#exports.memory.buffer;
    new Float64Array(memory, layout.times, rows).set(times);
    new Uint32Array(memory, layout.entities, rows).set(slots);
    new Float64Array(memory, layout.inputs, inputs.length).set(inputs);
    this.#writeStates(layout, states);
    const code = this.#exports.twinge_score(rows, states.length, explainAll ? FLAG_EXPLAIN_ALL : 0);
    if (code !== 0) throw new CallError(`module answered error ${code} of docs/abi.md`);
    this.#checkMemory();
    memory = this.#exports.memory.buffer;
    const result = {
      scores: new Float64Array(memory, layout.scores, rows).slice(),
      verdicts: new Uint32Array(memory, layout.verdicts, rows).slice(),
      attributions: new Float32Array(memory, layout.attributions, rows * (this.#fields + 1)).slice(),
      states: new Uint8Array(memory, layout.states, states.length * this.#stateBytes).slice(),
    };
    checkBlock(result, this.#fields + 1);
    return result;
  }

  // A view is made for every use: the buffer is another one whenever memory has grown.
  #view() {
    return new DataView(this.#exports.memory.buffer);
  }

  #checkMemory() {
    const bytes = this.#exports.memory.buffer.byteLength;
    if (bytes > MEMORY_BYTES_MAX) {
      throw new CallError(`module uses ${bytes} bytes of memory: at most ${MEMORY_BYTES_MAX} are accepted`);
    }
  }

  /** @param {number} address */
  #readLayout(address) {
    const view = this.#view();
    if (address + LAYOUT_BYTES > view.byteLength) {
      throw new CallError("module placed its batch wrongly: layout lies outside memory");
    }
    const word = (/** @type {number} */ index) => view.getUint32(address + index * 4, true);
    return layoutOf(Array.from({ length: LAYOUT_BYTES / 4 }, (_, index) => word(index)));
  }

  /**
   * @param {Layout} layout
   * @param {number} rows
   * @param {number} states
   */
  #checkLayout(layout, rows, states) {
    const wrong = (/** @type {string} */ what) => new CallError(`module placed its batch wrongly: ${what}`);
    if (layout.fields !== this.#fields || layout.stateBytes !== this.#stateBytes) {
      throw wrong("its fields or state size contradict the manifest");
    }
    const arrays = [
      [layout.times, rows * 8],
      [layout.entities, rows * 4],
      [layout.inputs, rows * this.#fields * 8],
      [layout.states, states * this.#stateBytes],
      [layout.scores, rows * 8],
      [layout.verdicts, rows * 4],
      [layout.attributions, rows * (this.#fields + 1) * 4],
    ];
    for (const [address, bytes] of arrays) {
      if (address % 8 !== 0) throw wrong("an address is not a multiple of eight");
      if (address + bytes > this.#view().byteLength) throw wrong("an array reaches beyond memory");
    }
  }

  /**
   * @param {Layout} layout
   * @param {{timeMs: number | null, inputs: ArrayLike<number>}[]} rows
   * @param {ArrayLike<number>} slots
   * @param {(Uint8Array | null)[]} states
   */
  #write(layout, rows, slots, states) {
    const view = this.#view();
    rows.forEach(({ timeMs, inputs }, row) => {
      view.setFloat64(layout.times + row * 8, timeMs ?? 0, true);
      view.setUint32(layout.entities + row * 4, slots[row], true);
      for (let field = 0; field < this.#fields; field++) {
        view.setFloat64(layout.inputs + (row * this.#fields + field) * 8, inputs[field], true);
      }
    });
    this.#writeStates(layout, states);
  }

  /**
   * @param {Layout} layout
   * @param {(Uint8Array | null)[]} states
   */
  #writeStates(layout, states) {
    const bytes = new Uint8Array(this.#exports.memory.buffer);
    states.forEach((state, slot) => {
      const address = layout.states + slot * this.#stateBytes;
      if (state === null) {
        bytes.fill(0, address, address + this.#stateBytes);
      } else if (state.length === this.#stateBytes) {
        bytes.set(state, address);
      } else {
        throw new CallError(`state has ${state.length} bytes, and the module's have ${this.#stateBytes}`);
      }
    });
  }

  /**
   * @param {Layout} layout
   * @param {number} rows
   * @param {number} states
   */
  #read(layout, rows, states) {
    const view = this.#view();
    const width = this.#fields + 1;
    const attributions = new Float32Array(rows * width);
    for (let place = 0; place < attributions.length; place++) {
      attributions[place] = view.getFloat32(layout.attributions + place * 4, true);
    }
    /** @type {Result[]} */
    const results = Array.from({ length: rows }, (_, row) => {
      const score = view.getFloat64(layout.scores + row * 8, true);
      const verdict = readVerdict(view.getUint32(layout.verdicts + row * 4, true));
      const attribution = attributions.subarray(row * width, (row + 1) * width);
      if (verdict === null || !Number.isFinite(score) || !attribution.every(Number.isFinite)) {
        throw noVerdict(row);
      }
      return { ...verdict, score, attribution };
    });
    const bytes = new Uint8Array(view.buffer, layout.states, states * this.#stateBytes);
    return { results, states: bytes.slice() };
  }
}

/** @param {number} word */
function isVerdict(word) {
  return (word & 0xff) < OUTCOMES.length && (word & ~(0xff | VERDICT_LATE | VERDICT_CONTINUES)) === 0;
}

/**
 * @typedef {ReturnType<typeof layoutOf>} Layout Where a batch lies in the module's memory.
 *
 * @param {number[]} words
 */
function layoutOf(words) {
  const [fields, stateBytes, times, entities, inputs, states, scores, verdicts, attributions] = words;
  return { fields, stateBytes, times, entities, inputs, states, scores, verdicts, attributions };
}

/**
 * @param {BlockResult} result
 * @param {number} width
 */
function checkBlock({ scores, verdicts, attributions }, width) {
  for (let row = 0; row < scores.length; row++) {
    // Of what is not finite, zero times it is no zero; sums of such products stay so.
    let zero = scores[row] * 0;
    for (let place = row * width; place < (row + 1) * width; place++) zero += attributions[place] * 0;
    if (zero !== 0 || !isVerdict(verdicts[row])) throw noVerdict(row);
  }
}

/** @param {number} row */
function noVerdict(row) {
  return new CallError(`module answered row ${row} with what is no verdict`);
}

/** A detector with its entities: events in, results out, states kept in between. */
export class Runner {
  #detector;

  /**
   * @param {Detector} detector
   * @param {{entitiesMax?: number}} [options] Entities remembered, if not as many as the manifest
   *   says.
   */
  constructor(detector, { entitiesMax = detector.manifest.stream.entities_max ?? 100_000 } = {}) {
    this.#detector = detector;
    /** The entities remembered. */
    this.entities = new EntityTable(detector.manifest.state_bytes, entitiesMax);
    /** Reads events for this runner. */
    this.reader = new EventReader(detector.manifest.schema);
  }

  /**
   * Scores events in order; the results are those of scoring them one by one. On an error all is as
   * it was before.
   *
   * @param {Event[]} events At most {@link ROWS_MAX}.
   * @param {{explainAll?: boolean}} [options]
   * @returns {Result[]}
   */
  score(events, options) {
    const visit = this.entities.visit();
    try {
      const slots = events.map((event) => visit.admit(event.entity));
      const { results, states } = this.#detector.score(events, slots, visit.states(), options);
      visit.keep(states);
      return results;
    } catch (error) {
      visit.undo();
      throw error;
    }
  }

  /**
   * The same for rows that lie in arrays, as {@link Detector.scoreBlock} takes them.
   *
   * @param {string[]} entities The entity of each row.
   * @param {Float64Array} times
   * @param {Float64Array} inputs
   * @param {{explainAll?: boolean}} [options]
   * @returns {Omit<BlockResult, "states">}
   */
  scoreBlock(entities, times, inputs, options) {
    const visit = this.entities.visit();
    try {
      const slots = new Uint32Array(entities.length);
      for (let row = 0; row < slots.length; row++) slots[row] = visit.admit(entities[row]);
      const { states, ...result } = this.#detector.scoreBlock({ times, slots, inputs }, visit.states(), options);
      visit.keep(states);
      return result;
    } catch (error) {
      visit.undo();
      throw error;
    }
  }
}

/**
 * @typedef {object} Entry An entity from admission to eviction; one that comes back is another.
 * @property {Uint8Array | null} state Null until its first batch is done.
 * @property {number} lastSeen Number of its latest event.
 */

/** A bounded table from entity to state; the least recently seen, by event order, makes room. */
export class EntityTable {
  /** @type {Map<string, Entry>} Least recently seen first: a map keeps the order of insertion. */
  #entries = new Map();
  #stateBytes;
  #entitiesMax;
  #events = 0;
  #evicted = 0;

  /**
   * @param {number} stateBytes
   * @param {number} entitiesMax
   */
  constructor(stateBytes, entitiesMax) {
    if (!Number.isSafeInteger(entitiesMax) || entitiesMax < 1) {
      throw new RangeError(`entities must be bounded by a whole number of at least 1, not ${entitiesMax}`);
    }
    this.#stateBytes = stateBytes;
    this.#entitiesMax = entitiesMax;
  }

  /** Number of entities. */
  get size() {
    return this.#entries.size;
  }

  /** Entities evicted so far. */
  get evicted() {
    return this.#evicted;
  }

  /**
   * Entities and copies of their states, least recently seen first.
   * @returns {Generator<[string, Uint8Array]>}
   */
  *[Symbol.iterator]() {
    for (const [entity, { state }] of this.#entries) {
      yield [entity, state?.slice() ?? new Uint8Array(this.#stateBytes)];
    }
  }

  /** Begins a batch: one at a time, ended by `keep` or `undo`. */
  visit() {
    const table = this;
    const [events, evicted] = [this.#events, this.#evicted];
    /** @type {Map<Entry, {entity: string, slot: number}>} Slots in their order. */
    const working = new Map();
    /** @type {Map<string, Entry | null>} What an entity was when the batch began. */
    const before = new Map();
    /** @type {{entity: string, entry: Entry, slot: number} | null} Many events come in runs of one entity. */
    let latest = null;

    const remember = (/** @type {string} */ entity) => {
      if (before.has(entity)) return;
      const entry = table.#entries.get(entity);
      // A copy: the entry itself is about to change.
      before.set(entity, entry ? { ...entry } : null);
    };

    return {
      /**
       * Counts an event of `entity` and tells which of the batch's states is its own.
       * @param {string} entity
       */
      admit(entity) {
        if (latest !== null && latest.entity === entity) {
          latest.entry.lastSeen = ++table.#events;
          return latest.slot;
        }
        remember(entity);
        let entry = table.#entries.get(entity);
        if (entry) {
          table.#entries.delete(entity);
        } else {
          if (table.#entries.size >= table.#entitiesMax) {
            const [oldest] = table.#entries.keys();
            remember(oldest);
            table.#entries.delete(oldest);
            table.#evicted += 1;
          }
          entry = { state: null, lastSeen: 0 };
        }
        entry.lastSeen = ++table.#events;
        table.#entries.set(entity, entry);
        const slot = working.get(entry)?.slot ?? working.size;
        if (slot === working.size) working.set(entry, { entity, slot });
        latest = { entity, entry, slot };
        return slot;
      },

      /** The states that the batch begins with. */
      states() {
        return Array.from(working.keys(), (entry) => entry.state);
      },

      /**
       * Takes over the new states of the entities that are still in the table. A slot whose entity
       * was evicted belongs to nobody, also when that entity came back.
       * @param {Uint8Array} states
       */
      keep(states) {
        for (const [entry, { entity, slot }] of working) {
          if (table.#entries.get(entity) !== entry) continue;
          entry.state = states.slice(slot * table.#stateBytes, (slot + 1) * table.#stateBytes);
        }
      },

      /** Puts the table back as it was when the batch began. */
      undo() {
        for (const [entity, entry] of before) {
          if (entry) table.#entries.set(entity, entry);
          else table.#entries.delete(entity);
        }
        const inOrder = [...table.#entries].sort(([, a], [, b]) => a.lastSeen - b.lastSeen);
        table.#entries = new Map(inOrder);
        [table.#events, table.#evicted] = [events, evicted];
      },
    };
  }
}

/** Reads events by one schema: JSON objects, bare or as structured CloudEvents. */
export class EventReader {
  #schema;
  /** @type {Map<string, {kind: "entity" | "time" | "number" | "category", index: number}>} */
  #roles = new Map();
  #width;

  /** @param {Schema} schema */
  constructor(schema) {
    this.#schema = { ...schema, entity: schema.entity ?? undefined, time: schema.time ?? undefined };
    this.#width = fieldsOf(schema).length;
    if (this.#schema.entity !== undefined) this.#roles.set(this.#schema.entity, { kind: "entity", index: 0 });
    if (this.#schema.time !== undefined) this.#roles.set(this.#schema.time, { kind: "time", index: 0 });
    const numbers = schema.numeric?.length ?? 0;
    fieldsOf(schema).forEach((name, index) => {
      this.#roles.set(name, { kind: index < numbers ? "number" : "category", index });
    });
  }

  /**
   * Reads one event.
   *
   * @param {Uint8Array | string} event Bytes of UTF-8, or text.
   * @returns {Event}
   */
  read(event) {
    const text = typeof event === "string" ? event : decodeUtf8(event);
    const envelope = text.includes('"specversion"') ? readEnvelope(text) : null;
    if (envelope === null) return this.#readFields(text, {});
    if (envelope.data !== null) return this.#readFields(envelope.data, envelope);
    if (envelope.dataBase64 === null) throw notAnObject();
    return this.#readFields(decodeUtf8(decodeBase64(envelope.dataBase64)), envelope);
  }

  /**
   * @param {string} text
   * @param {{subject?: string | null, time?: string | null}} attributes What stands in for fields
   *   that are not there.
   * @returns {Event}
   */
  #readFields(text, attributes) {
    /** @type {Draft} */
    const draft = { entity: null, timeMs: null, inputs: new Float64Array(this.#width).fill(NaN) };
    const scanner = new Scanner(text);
    scanner.object((name) => {
      const role = this.#roles.get(name);
      if (role === undefined) scanner.skip();
      else this.#set(draft, name, role, scanner.scalar());
    });
    scanner.end();
    return {
      entity: this.#entity(draft.entity ?? attributes.subject ?? ""),
      timeMs: this.#time(draft.timeMs, attributes.time ?? null),
      inputs: draft.inputs,
    };
  }

  /**
   * @typedef {{entity: string | null, timeMs: number | null, inputs: Float64Array}} Draft
   *
   * @param {Draft} draft
   * @param {string} name
   * @param {{kind: string, index: number}} role
   * @param {Scalar} value
   */
  #set(draft, name, { kind, index }, value) {
    if (value === null) return;
    if (kind === "entity") {
      draft.entity = textOf(value);
    } else if (kind === "time") {
      draft.timeMs = this.#readTime(name, value);
    } else if (kind === "number") {
      const number = numberOf(value);
      if (number === null) {
        throw new EventError("not-a-number", `field \`${name}\` holds ${describe(value)} where a number belongs`);
      }
      draft.inputs[index] = number;
    } else {
      const category = textOf(value);
      if (category === null) {
        throw new EventError("not-a-category", `field \`${name}\` holds a list or an object where a category belongs`);
      }
      // The empty text is a missing value.
      if (category !== "") draft.inputs[index] = categoryCode(category);
    }
  }

  /**
   * @param {string} name
   * @param {Exclude<Scalar, null>} value
   */
  #readTime(name, value) {
    const format = this.#schema.time_format ?? "rfc3339";
    const number = typeof value === "boolean" ? null : numberOf(value);
    const time =
      typeof value === "string" ? readTimeText(value, format)
      : number === null ? null
      : readTimeNumber(number, format);
    if (time === null) throw unreadableTime(name, describe(value), format);
    return time;
  }

  /** @param {string} found */
  #entity(found) {
    if (this.#schema.entity === undefined) return SINGLE_ENTITY;
    if (found === "") {
      throw new EventError("no-entity", `event has no entity: field \`${this.#schema.entity}\` is missing or empty`);
    }
    const bytes = encoder.encode(found).length;
    if (bytes > ENTITY_BYTES_MAX) {
      throw new EventError("entity-too-long", `event's entity has ${bytes} bytes: at most ${ENTITY_BYTES_MAX} are accepted`);
    }
    return found;
  }

  /**
   * @param {number | null} found
   * @param {string | null} attribute
   */
  #time(found, attribute) {
    if (found !== null || this.#schema.time === undefined) return found;
    if (attribute === null) {
      throw new EventError("no-time", `event has no time: field \`${this.#schema.time}\` is missing`);
    }
    const time = readTimeText(attribute, "rfc3339");
    if (time === null) throw unreadableTime("time", shorten(attribute), "rfc3339");
    return time;
  }
}

/**
 * The code of a category's text: the upper 52 bits of the 64-bit FNV-1a hash of its UTF-8 bytes, a
 * whole number that a Number holds exactly.
 *
 * @param {string} text
 */
export function categoryCode(text) {
  const { high, low } = fnv1a(encoder.encode(text));
  return high * 2 ** 20 + (low >>> 12);
}

/**
 * The 64-bit FNV-1a hash as two words of 32 bits. A BigInt would be shorter, and slower by far.
 *
 * @param {Uint8Array} bytes
 */
export function fnv1a(bytes) {
  let [high, low] = [0xcbf29ce4, 0x84222325];
  for (const byte of bytes) {
    low = (low ^ byte) >>> 0;
    // Times 2^40 + 0x1b3: no term reaches 2^53.
    const product = low * 0x1b3;
    high = (high * 0x1b3 + Math.floor(product / 2 ** 32) + ((low << 8) >>> 0)) >>> 0;
    low = product >>> 0;
  }
  return { high, low };
}

/**
 * Milliseconds since 1970 of a time written as text, or null.
 *
 * @param {string} text
 * @param {"rfc3339" | "epoch-s" | "epoch-ms"} format
 */
export function readTimeText(text, format) {
  const trimmed = trim(text);
  if (format === "rfc3339") return readRfc3339(trimmed);
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(trimmed) ? readTimeNumber(Number(trimmed), format) : null;
}

/**
 * Milliseconds since 1970 of a time given as a number, or null.
 *
 * @param {number} number
 * @param {"rfc3339" | "epoch-s" | "epoch-ms"} format
 */
export function readTimeNumber(number, format) {
  if (format === "rfc3339") return null;
  const milliseconds = format === "epoch-s" ? number * 1000 : number;
  if (!(Math.abs(milliseconds) <= 253_402_200_000_000)) return null;
  // Halves go away from zero; adding zero makes a negative zero positive.
  return Math.sign(milliseconds) * Math.round(Math.abs(milliseconds)) + 0;
}

const DATE = /([+-]\d{6}|\d{4})(?:-(\d\d)-(\d\d)|(\d\d)(\d\d))/;
const FRACTION = /[.,](\d{1,9})/;
const CLOCK = either(
  `(\\d\\d)(?::(\\d\\d)(?::(\\d\\d)(?:${FRACTION.source})?)?)?`,
  `(\\d\\d)(\\d\\d)(?:(\\d\\d)(?:${FRACTION.source})?)?`,
);
const OFFSET = either("([Zz])", `([+-])${CLOCK}`);
const ZONE_NAME = "[A-Za-z._][A-Za-z0-9._+-]*";
const ZONE = `\\[!?(?:${ZONE_NAME}(?:/${ZONE_NAME})*|[+-](?:[01]\\d|2[0-5])(?::?[0-5]\\d)?)\\]`;
const NOTE = "\\[[a-z_][a-z0-9_-]*=[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*\\]";
const RFC3339 = new RegExp(`^${DATE.source}(?:[Tt ]${CLOCK}(?:${OFFSET}(?:${ZONE})?(?:${NOTE})*)?)?$`);

/** Seconds since 1970 that a time may be at least and at most, in the years -9999 and 9999. */
const SECONDS = { least: -377_705_023_201, most: 253_402_207_200 };

/**
 * RFC 3339 and what is near it: no zone is UTC, a blank may stand for the T, a date alone is its
 * midnight, dates and times may come without separators, and zones and notes in brackets
 * (RFC 9557) are passed over behind an offset.
 *
 * @param {string} text
 */
function readRfc3339(text) {
  const found = RFC3339.exec(text);
  if (!found) return null;
  const [year, month, day] = [found[1], found[2] ?? found[4], found[3] ?? found[5]].map(Number);
  const clock = readClock(found.slice(6, 14), 23);
  const offset = readClock(found.slice(16, 24), 25);
  if (found[1] === "-000000" || !isDate(year, month, day) || !clock || !offset) return null;
  const sign = found[15] === "-" ? -1 : 1;
  // Offsets have whole seconds; a fraction is rounded.
  const offsetSeconds = offset.seconds + (offset.nanoseconds >= 500_000_000 ? 1 : 0);
  const seconds = daysSince1970(year, month, day) * 86_400 + clock.seconds - sign * offsetSeconds;
  if (offsetSeconds > 93_599 || seconds < SECONDS.least || seconds > SECONDS.most) return null;
  // What is finer than a millisecond is cut off towards 1970.
  const rest = clock.nanoseconds / 1e6;
  return seconds * 1000 + (seconds < 0 ? Math.ceil(rest) : Math.floor(rest)) + 0;
}

/**
 * @param {(string | undefined)[]} groups Those of {@link CLOCK}.
 * @param {number} hoursMax
 */
function readClock(groups, hoursMax) {
  const [hour, minute, second, fraction] = groups[0] === undefined ? groups.slice(4) : groups;
  if (Number(hour ?? 0) > hoursMax || Number(minute ?? 0) > 59) return null;
  // A leap second is the second before it; offsets have none.
  if (Number(second ?? 0) > (hoursMax === 23 ? 60 : 59)) return null;
  const seconds = Number(hour ?? 0) * 3600 + Number(minute ?? 0) * 60 + Math.min(Number(second ?? 0), 59);
  return { seconds, nanoseconds: Number((fraction ?? "").padEnd(9, "0")) };
}

/**
 * @param {number} year
 * @param {number} month
 * @param {number} day
 */
function isDate(year, month, day) {
  const isLeap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  const days = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
  return Math.abs(year) <= 9999 && month >= 1 && month <= 12 && day >= 1 && day <= days[month - 1];
}

/**
 * Days of the proleptic Gregorian calendar; `Date.UTC` takes the years 0 to 99 for others.
 *
 * @param {number} year
 * @param {number} month
 * @param {number} day
 */
function daysSince1970(year, month, day) {
  // Years that begin in March have their leap day last.
  const marchYear = month > 2 ? year : year - 1;
  const era = Math.floor(marchYear / 400);
  const yearOfEra = marchYear - era * 400;
  const dayOfYear = Math.floor((153 * ((month + 9) % 12) + 2) / 5) + day - 1;
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear;
  return era * 146_097 + dayOfEra - 719_468;
}

/**
 * Without the white space of Unicode at both ends; `trim` also takes byte order marks off, and
 * leaves U+0085 on.
 *
 * @param {string} text
 */
function trim(text) {
  const isBlank = (/** @type {number} */ at) => /^\p{White_Space}$/u.test(text.charAt(at));
  let [start, end] = [0, text.length];
  while (isBlank(start)) start += 1;
  while (end > start && isBlank(end - 1)) end -= 1;
  return text.slice(start, end);
}

/** @param {string[]} sources */
function either(...sources) {
  return `(?:${sources.join("|")})`;
}

/** A number as it is written: an entity or a category may have more digits than a Number. */
class JsonNumber {
  /** @param {string} source */
  constructor(source) {
    this.source = source;
    this.value = Number(source);
  }

  /** As it is written if it is an integer of 64 bits, else as the shortest decimal without exponent. */
  text() {
    if (/^-?\d+$/.test(this.source) && this.source !== "-0") {
      const integer = BigInt(this.source);
      if (integer >= -(2n ** 63n) && integer < 2n ** 64n) return this.source;
    }
    if (Object.is(this.value, -0)) return "-0";
    const [mantissa, exponent] = String(this.value).split("e");
    if (exponent === undefined) return mantissa;
    const [sign, digits] = mantissa.startsWith("-") ? ["-", mantissa.slice(1)] : ["", mantissa];
    const [whole, fraction = ""] = digits.split(".");
    const point = whole.length + Number(exponent);
    if (point <= 0) return `${sign}0.${"0".repeat(-point)}${whole}${fraction}`;
    return sign + (whole + fraction).padEnd(point, "0");
  }
}

const NESTED = Symbol("a list or an object");

/** @typedef {null | boolean | string | JsonNumber | typeof NESTED} Scalar A JSON value without its inside. */

/** @param {Scalar} value */
function numberOf(value) {
  if (typeof value === "boolean") return value ? 1 : 0;
  return value instanceof JsonNumber ? value.value : null;
}

/** @param {Scalar} value */
function textOf(value) {
  if (value instanceof JsonNumber) return value.text();
  return value === null || value === NESTED ? null : String(value);
}

/** @param {Scalar} value */
function describe(value) {
  if (value === NESTED) return "a list or an object";
  return typeof value === "string" ? `"${shorten(value)}"` : String(textOf(value));
}

/** @param {string} text */
function shorten(text) {
  const characters = Array.from(text.slice(0, 90));
  return characters.length > 40 ? `${characters.slice(0, 40).join("")}...` : text;
}

/**
 * Walks over one JSON text. `JSON.parse` would lose the digits of long integers and the order of
 * errors, keep a null behind a value, and let numbers become infinite.
 */
class Scanner {
  #text;
  #at = 0;

  /** @param {string} text */
  constructor(text) {
    this.#text = text;
  }

  /**
   * Walks over an object; `visit` must take each value with `scalar`, `skip` or `raw`.
   * @param {(name: string) => void} visit
   */
  object(visit) {
    if (this.#peek() !== "{") {
      // A number must be one before it can be called no object.
      if (this.#peek() !== "[") this.scalar();
      throw notAnObject();
    }
    this.#at += 1;
    for (let isFirst = true; this.#peek() !== "}"; isFirst = false) {
      if (!isFirst) this.#expect(",");
      if (this.#peek() !== '"') throw this.#broken();
      const name = this.#string();
      this.#expect(":");
      visit(name);
    }
    this.#at += 1;
  }

  /** Nothing but blanks may follow. */
  end() {
    if (this.#peek() !== "") throw this.#broken();
  }

  /** @returns {Scalar} */
  scalar() {
    const next = this.#peek();
    if (next === "[" || next === "{") {
      this.skip();
      return NESTED;
    }
    if (next === '"') return this.#string();
    if (next !== "-" && !isDigit(next)) return this.#word();
    const number = new JsonNumber(this.#number());
    if (!Number.isFinite(number.value)) throw this.#broken();
    return number;
  }

  /** The text of the next value. */
  raw() {
    this.#peek();
    const start = this.#at;
    this.skip();
    return this.#text.slice(start, this.#at);
  }

  /** Passes over the next value, however deep it is. */
  skip() {
    /** @type {string[]} The closing brackets that are awaited. */
    const open = [];
    for (;;) {
      const next = this.#peek();
      if (next === "[" || next === "{") {
        const close = next === "[" ? "]" : "}";
        this.#at += 1;
        open.push(close);
        if (this.#peek() !== close) {
          if (next === "{") this.#skipName();
          continue;
        }
      } else if (next === '"') {
        this.#skipString();
      } else if (next === "-" || isDigit(next)) {
        this.#number();
      } else {
        this.#word();
      }
      while (open.length > 0 && this.#peek() === open.at(-1)) {
        this.#at += 1;
        open.pop();
      }
      if (open.length === 0) return;
      this.#expect(",");
      if (open.at(-1) === "}") this.#skipName();
    }
  }

  #skipName() {
    if (this.#peek() !== '"') throw this.#broken();
    this.#skipString();
    this.#expect(":");
  }

  /** The next character behind blanks; the empty text at the end. */
  #peek() {
    let character = this.#text.charAt(this.#at);
    while (character === " " || character === "\n" || character === "\r" || character === "\t") {
      character = this.#text.charAt(++this.#at);
    }
    return character;
  }

  /** @param {string} character */
  #expect(character) {
    if (this.#peek() !== character) throw this.#broken();
    this.#at += 1;
  }

  /** true, false or null. */
  #word() {
    for (const [word, value] of WORDS) {
      if (this.#text.startsWith(word, this.#at)) {
        this.#at += word.length;
        return value;
      }
    }
    throw this.#broken();
  }

  #number() {
    const start = this.#at;
    if (this.#text[this.#at] === "-") this.#at += 1;
    const whole = this.#digits();
    if (whole.length > 1 && whole.startsWith("0")) throw this.#broken();
    if (this.#text[this.#at] === ".") {
      this.#at += 1;
      this.#digits();
    }
    if (this.#text[this.#at] === "e" || this.#text[this.#at] === "E") {
      this.#at += 1;
      if (this.#text[this.#at] === "+" || this.#text[this.#at] === "-") this.#at += 1;
      this.#digits();
    }
    return this.#text.slice(start, this.#at);
  }

  /** At least one. */
  #digits() {
    const start = this.#at;
    while (isDigit(this.#text.charAt(this.#at))) this.#at += 1;
    if (this.#at === start) throw this.#broken();
    return this.#text.slice(start, this.#at);
  }

  #string() {
    const start = this.#at;
    const hasEscapes = this.#skipString();
    if (!hasEscapes) return this.#text.slice(start + 1, this.#at - 1);
    const text = JSON.parse(this.#text.slice(start, this.#at));
    // Half of a surrogate pair is no character.
    if (!text.isWellFormed()) throw this.#broken();
    return text;
  }

  /** Passes over a string and tells whether it has escapes. */
  #skipString() {
    let hasEscapes = false;
    for (this.#at += 1; this.#text[this.#at] !== '"'; this.#at += 1) {
      // At the end of the text the code is NaN, which is not at least 0x20 either.
      if (!(this.#text.charCodeAt(this.#at) >= 0x20)) throw this.#broken();
      if (this.#text[this.#at] !== "\\") continue;
      hasEscapes = true;
      this.#at += 1;
      const escape = this.#text.charAt(this.#at);
      if (escape === "u" && /^[0-9A-Fa-f]{4}$/.test(this.#text.slice(this.#at + 1, this.#at + 5))) this.#at += 4;
      else if (escape === "" || !'"\\/bfnrt'.includes(escape)) throw this.#broken();
    }
    this.#at += 1;
    return hasEscapes;
  }

  #broken() {
    const what = this.#at < this.#text.length ? "unexpected character" : "unexpected end";
    return notJson(`${what} at character ${this.#at + 1}`);
  }
}

/** @type {[string, null | boolean][]} */
const WORDS = [["null", null], ["true", true], ["false", false]];

/** @param {string} character One or none. */
function isDigit(character) {
  return character >= "0" && character <= "9";
}

/**
 * The parts of a CloudEvent that matter, or null when the text is none.
 *
 * @param {string} text
 */
function readEnvelope(text) {
  /** @type {Map<string, string | null>} */
  const found = new Map();
  try {
    const scanner = new Scanner(text);
    scanner.object((name) => {
      if (!ENVELOPE.has(name)) return scanner.skip();
      if (found.has(name)) throw notJson("an attribute is there twice");
      found.set(name, name === "data" ? nullable(scanner.raw()) : attribute(scanner.scalar()));
    });
    scanner.end();
  } catch (error) {
    if (!(error instanceof EventError)) throw error;
    // One that says it is a CloudEvent and is none must not pass for a bare event.
    if (saysCloudEvent(text)) throw error;
    return null;
  }
  const value = (/** @type {string} */ name) => found.get(name) ?? null;
  if (value("specversion") === null) return null;
  return { subject: value("subject"), time: value("time"), data: value("data"), dataBase64: value("data_base64") };
}

/** @param {string} text */
function saysCloudEvent(text) {
  let says = false;
  try {
    const scanner = new Scanner(text);
    scanner.object((name) => {
      if (name === "specversion") says ||= scanner.raw() !== "null";
      else scanner.skip();
    });
  } catch (error) {
    if (!(error instanceof EventError)) throw error;
  }
  return says;
}

const ENVELOPE = new Set(["specversion", "id", "source", "subject", "time", "data", "data_base64"]);

/** @param {string} raw */
function nullable(raw) {
  return raw === "null" ? null : raw;
}

/** @param {Scalar} value */
function attribute(value) {
  if (value === null || typeof value === "string") return value;
  throw notJson("an attribute is no text");
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** @param {Uint8Array} bytes */
function decodeUtf8(bytes) {
  try {
    return decoder.decode(bytes);
  } catch {
    throw notJson("it is not UTF-8");
  }
}

/** @param {string} text */
function decodeBase64(text) {
  try {
    const binary = atob(text);
    // `atob` also takes what is not quite base64: blanks, missing or crooked endings.
    if (btoa(binary) === text) return Uint8Array.from(binary, (byte) => byte.charCodeAt(0));
  } catch {
    // Told below.
  }
  throw notJson("data_base64 is not base64");
}

/** @param {string} why */
function notJson(why) {
  return new EventError("not-json", `event is not JSON: ${why}`);
}

function notAnObject() {
  return new EventError(
    "not-an-object",
    "event is not a JSON object: send one object of fields, bare or as a CloudEvent with data",
  );
}

/**
 * @param {string} field
 * @param {string} value
 * @param {string} format
 */
function unreadableTime(field, value, format) {
  return new EventError("unreadable-time", `event's time \`${value}\` in field \`${field}\` cannot be read as ${format}`);
}

/** @param {Uint8Array} bytes */
async function compile(bytes) {
  try {
    return await WebAssembly.compile(/** @type {BufferSource} */ (bytes));
  } catch (error) {
    throw new LoadError(`module does not compile: ${messageOf(error)}`, { cause: error });
  }
}

/**
 * @param {WebAssembly.Module} module
 * @returns {Manifest}
 */
function readManifest(module) {
  const sections = WebAssembly.Module.customSections(module, MANIFEST_SECTION);
  if (sections.length === 0) {
    throw new LoadError(`module has no section \`${MANIFEST_SECTION}\`: it is not a detector module`);
  }
  if (sections.length > 1) {
    throw new LoadError(`module has more than one section \`${MANIFEST_SECTION}\`: it was not made by a trainer`);
  }
  if (sections[0].byteLength > MANIFEST_BYTES_MAX) {
    throw new LoadError(`module's manifest has ${sections[0].byteLength} bytes: at most ${MANIFEST_BYTES_MAX} are accepted`);
  }
  try {
    const manifest = JSON.parse(decoder.decode(sections[0]));
    checkManifest(manifest);
    return deepFreeze(manifest);
  } catch (error) {
    if (error instanceof LoadError) throw error;
    throw new LoadError(`module's manifest is not readable: ${messageOf(error)}`, { cause: error });
  }
}

/** @param {any} manifest */
function checkManifest(manifest) {
  const refuse = (/** @type {string} */ why) => new LoadError(`module's manifest is not usable: ${why}`);
  const isObject = (/** @type {unknown} */ value) => typeof value === "object" && value !== null && !Array.isArray(value);
  if (!isObject(manifest)) throw refuse("it is not an object");
  if (manifest.abi !== ABI_VERSION) {
    throw refuse(`it speaks interface version ${manifest.abi}, and this program ${ABI_VERSION}`);
  }
  for (const key of ["schema", "stream", "detector", "threshold", "lineage"]) {
    if (!isObject(manifest[key])) throw refuse(`key \`${key}\` is missing or no object`);
  }
  if (typeof manifest.version !== "string") throw refuse("key `version` is missing or no text");
  if (typeof manifest.name !== "string" || !/^[a-z0-9-]{1,64}$/.test(manifest.name)) {
    throw refuse(`detector name \`${manifest.name}\` is not 1 to 64 of a-z, 0-9 and -`);
  }
  const bytes = manifest.state_bytes;
  if (!Number.isInteger(bytes) || bytes < 0 || bytes > STATE_BYTES_MAX || bytes % 8 !== 0) {
    throw refuse(`${bytes} bytes of state an entity are not a multiple of 8 of at most ${STATE_BYTES_MAX}`);
  }
  checkStream(manifest.stream, refuse);
  checkSchema(manifest.schema, refuse);
}

/**
 * @param {Record<string, unknown>} stream
 * @param {(why: string) => LoadError} refuse
 */
function checkStream(stream, refuse) {
  const { lateness_s = 0, skew_max_s = 0, warm_up_events = 0, entities_max = 1, ...others } = stream;
  const isWord = (/** @type {unknown} */ value) => Number.isInteger(value) && Number(value) >= 0 && Number(value) < 2 ** 32;
  const isSpan = (/** @type {unknown} */ value) => Number.isFinite(value) && Number(value) >= 0;
  if (!isSpan(lateness_s) || !isSpan(skew_max_s) || !isWord(warm_up_events) || !isWord(entities_max) || entities_max === 0) {
    throw refuse("its stream rules are out of range");
  }
  refuseOthers("stream", others, refuse);
}

/**
 * @param {any} schema
 * @param {(why: string) => LoadError} refuse
 */
function checkSchema(schema, refuse) {
  const { entity, time, time_format = "rfc3339", numeric = [], categorical = [], label, ...others } = schema;
  refuseOthers("schema", others, refuse);
  if (!["rfc3339", "epoch-s", "epoch-ms"].includes(time_format)) throw refuse(`time format \`${time_format}\` is not known`);
  if (!Array.isArray(numeric) || !Array.isArray(categorical)) throw refuse("its inputs are no lists");
  const width = numeric.length + categorical.length;
  if (width === 0 || width > FIELDS_MAX) throw refuse(`its schema names ${width} inputs, and a module has 1 to ${FIELDS_MAX}`);
  const names = [entity, time, label].filter((name) => name != null).concat(numeric, categorical);
  if (names.some((name) => typeof name !== "string" || name === "")) throw refuse("its schema has a field without a name");
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw refuse(`its schema names field \`${twice}\` twice`);
}

/**
 * @param {string} key
 * @param {object} others
 * @param {(why: string) => LoadError} refuse
 */
function refuseOthers(key, others, refuse) {
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) throw refuse(`key \`${key}.${unknown}\` is not known`);
}

/** @param {WebAssembly.Module} module */
function checkExports(module) {
  const kinds = new Map(WebAssembly.Module.exports(module).map(({ name, kind }) => [name, kind]));
  if (kinds.get("memory") !== "memory") throw wrongExport("memory");
  const missing = Object.keys(FUNCTIONS).find((name) => kinds.get(name) !== "function");
  if (missing !== undefined) throw wrongExport(missing);
}

/** @param {string} name */
function wrongExport(name) {
  return new LoadError(`module's export \`${name}\` is missing or not as docs/abi.md says`);
}

/** @param {Schema} schema */
function fieldsOf(schema) {
  return [...(schema.numeric ?? []), ...(schema.categorical ?? [])];
}

/** @param {number} number */
function nextPowerOfTwo(number) {
  return number <= 1 ? 1 : 2 ** (32 - Math.clz32(number - 1));
}

/**
 * @template T
 * @param {T} value
 * @returns {T}
 */
function deepFreeze(value) {
  if (typeof value === "object" && value !== null) {
    Object.values(value).forEach(deepFreeze);
    Object.freeze(value);
  }
  return value;
}

/** @param {unknown} error */
function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}
