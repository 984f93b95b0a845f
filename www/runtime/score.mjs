#!/usr/bin/env node
/**
 * Scores a file of events with a detector module and prints a line for each: its number from 0, the
 * verdict, 1 if the event came late, and the bits of the score.
 *
 * Nothing of it depends on the clock, so an event from the future is scored like any other.
 */

import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { EventError, ROWS_MAX, Runner, loadDetector } from "./twinge.mjs";

const USAGE = `usage: node score.mjs --module M.wasm --events F.ndjson [options]

Prints a line for each event:
  <line> <verdict> <late: 0 or 1> <score: the 16 hexadecimal digits of its big-endian f64>
  <line> dead-letter <reason>
Lines count from 0. Blank lines are counted and print nothing.

  --batch N          events scored together, 1 to ${ROWS_MAX} (64); the output is the same for any
  --entities-max N   entities remembered, if not as many as the manifest says
  --from LINE        pass over the lines before this one, as if the file began there
  --help             print this

Exit codes: 0 done, 1 failed, 2 usage.`;

/** Largest event, in bytes: that of Event Hubs' standard tier. */
const EVENT_BYTES_MAX = 1 << 20;

/** Output gathered before it is written, in characters. */
const OUTPUT_CHARACTERS = 1 << 16;

/** A command line that cannot be followed. */
class UsageError extends Error {}

/**
 * @param {string[]} words
 * @returns {Promise<number>} The exit code.
 */
async function main(words) {
  try {
    const settings = readSettings(words);
    if (settings === null) {
      console.log(USAGE);
    } else {
      await score(settings);
    }
    return 0;
  } catch (error) {
    const isUsage = error instanceof UsageError;
    // Whoever reads has gone: nobody to tell.
    if (error instanceof Error && "code" in error && error.code === "EPIPE") return 1;
    console.error(isUsage ? `error: ${error.message}\n\n${USAGE}` : `error: ${messageOf(error)}`);
    return isUsage ? 2 : 1;
  }
}

/**
 * @typedef {{module: string, events: string, batch: number, entitiesMax: number | undefined, from: number}} Settings
 *
 * @param {string[]} words
 * @returns {Settings | null} Null when help is asked for.
 */
function readSettings(words) {
  const { values } = parse(words);
  if (values.help) return null;
  if (values.module === undefined) throw new UsageError("--module is missing: name the module to score with");
  if (values.events === undefined) throw new UsageError("--events is missing: name the file of events, one JSON object a line");
  return {
    module: values.module,
    events: values.events,
    batch: readCount("--batch", values.batch, 1, ROWS_MAX) ?? 64,
    entitiesMax: readCount("--entities-max", values["entities-max"], 1, 2 ** 32 - 1),
    from: readCount("--from", values.from, 0, Number.MAX_SAFE_INTEGER) ?? 0,
  };
}

/** @param {string[]} words */
function parse(words) {
  const options = /** @type {const} */ ({
    module: { type: "string" },
    events: { type: "string" },
    batch: { type: "string" },
    "entities-max": { type: "string" },
    from: { type: "string" },
    help: { type: "boolean" },
  });
  try {
    return parseArgs({ args: words, options, strict: true });
  } catch (error) {
    throw new UsageError(messageOf(error));
  }
}

/**
 * @param {string} flag
 * @param {string | undefined} text
 * @param {number} least
 * @param {number} most
 */
function readCount(flag, text, least, most) {
  if (text === undefined) return undefined;
  const count = /^\d+$/.test(text) ? Number(text) : NaN;
  if (!(count >= least && count <= most)) {
    throw new UsageError(`${flag} must be a whole number from ${least} to ${most}, not \`${text}\``);
  }
  return count;
}

/** @param {Settings} settings */
async function score({ module, events, batch, entitiesMax, from }) {
  const detector = await load(module);
  const runner = new Runner(detector, { entitiesMax });
  const output = new Output(process.stdout);
  try {
    let lines = new Batch();
    for await (const { number, bytes } of readLines(events)) {
      if (number < from || isBlank(bytes)) continue;
      lines.add(runner.reader, number, bytes);
      if (lines.length < batch) continue;
      await output.write(lines.score(runner));
      lines = new Batch();
    }
    await output.write(lines.score(runner));
  } finally {
    await output.end();
  }
}

/** Lines that are scored together. */
class Batch {
  /** @type {{number: number, reason: string | null}[]} */
  #lines = [];
  /** @type {import("./twinge.mjs").Event[]} */
  #events = [];

  /** Lines, dead letters included. */
  get length() {
    return this.#lines.length;
  }

  /**
   * @param {import("./twinge.mjs").EventReader} reader
   * @param {number} number
   * @param {Uint8Array | null} bytes Null for too many.
   */
  add(reader, number, bytes) {
    try {
      if (bytes === null) throw new EventError("too-large", `event has more than ${EVENT_BYTES_MAX} bytes`);
      this.#events.push(reader.read(bytes));
      this.#lines.push({ number, reason: null });
    } catch (error) {
      if (!(error instanceof EventError)) throw error;
      this.#lines.push({ number, reason: error.reason });
    }
  }

  /**
   * The lines to print.
   * @param {Runner} runner
   */
  score(runner) {
    const results = this.#scoreEvents(runner);
    let next = 0;
    const print = (/** @type {{number: number, reason: string | null}} */ { number, reason }) => {
      if (reason !== null) return `${number} dead-letter ${reason}\n`;
      const { outcome, late, score } = results[next++];
      return `${number} ${outcome} ${late ? 1 : 0} ${bitsOf(score)}\n`;
    };
    return this.#lines.map(print).join("");
  }

  /** @param {Runner} runner */
  #scoreEvents(runner) {
    try {
      return runner.score(this.#events);
    } catch (error) {
      const [first, last] = [this.#lines[0], this.#lines.at(-1)];
      throw new Error(`lines ${first?.number} to ${last?.number} cannot be scored: ${messageOf(error)}`, { cause: error });
    }
  }
}

/** Gathers output and waits for whoever reads it. */
class Output {
  #stream;
  #gathered = "";
  /** @type {Error | null} */
  #failure = null;

  /** @param {NodeJS.WriteStream} stream */
  constructor(stream) {
    this.#stream = stream;
    stream.on("error", (error) => (this.#failure ??= error));
  }

  /** @param {string} text */
  async write(text) {
    this.#gathered += text;
    if (this.#gathered.length >= OUTPUT_CHARACTERS) await this.end();
  }

  /** Writes what is gathered. */
  async end() {
    const text = this.#gathered;
    this.#gathered = "";
    await new Promise((done) => this.#stream.write(text, done));
    if (this.#failure) throw this.#failure;
  }
}

/** @param {string} path */
async function load(path) {
  const bytes = await readFile(path).catch((error) => {
    throw new Error(`module ${path} cannot be read: ${messageOf(error)}`, { cause: error });
  });
  try {
    return await loadDetector(bytes);
  } catch (error) {
    throw new Error(`module ${path} is refused: ${messageOf(error)}`, { cause: error });
  }
}

/**
 * The lines of a file as bytes: node's readline would break them at U+2028 too, and replace what is
 * not UTF-8. A line that is too long has null for its bytes.
 *
 * @param {string} path
 * @returns {AsyncGenerator<{number: number, bytes: Buffer | null}>}
 */
async function* readLines(path) {
  let number = 0;
  /** @type {Buffer[]} */
  let parts = [];
  let length = 0;
  const add = (/** @type {Buffer} */ part) => {
    length += part.length;
    // Of a line that is too long only the length is kept.
    if (length <= EVENT_BYTES_MAX) parts.push(part);
  };
  const take = () => {
    const bytes = length <= EVENT_BYTES_MAX ? Buffer.concat(parts) : null;
    [parts, length] = [[], 0];
    return { number: number++, bytes };
  };
  for await (const chunk of chunksOf(path)) {
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      add(chunk.subarray(start, end));
      yield take();
      start = end + 1;
    }
    add(chunk.subarray(start));
  }
  if (length > 0) yield take();
}

/**
 * @param {string} path
 * @returns {AsyncGenerator<Buffer>}
 */
async function* chunksOf(path) {
  try {
    yield* createReadStream(path, { highWaterMark: 1 << 20 });
  } catch (error) {
    throw new Error(`events ${path} cannot be read: ${messageOf(error)}`, { cause: error });
  }
}

/** @param {Uint8Array | null} bytes */
function isBlank(bytes) {
  return bytes !== null && bytes.every((byte) => byte === 32 || (byte >= 9 && byte <= 13));
}

/** @param {number} score */
function bitsOf(score) {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, score);
  return view.getBigUint64(0).toString(16).padStart(16, "0");
}

/** @param {unknown} error */
function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}

process.exitCode = await main(process.argv.slice(2));
