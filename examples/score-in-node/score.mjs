#!/usr/bin/env node
/**
 * Scores a file of events with a module: score.mjs MODULE.wasm EVENTS.ndjson
 *
 * Prints each event's number, its verdict, 1 if it came late, and the bits of its score.
 */

import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { EventError, Runner, loadDetector } from "../../www/runtime/twinge.mjs";

const [module, events] = process.argv.slice(2);
// The runner keeps the entities' states; the module itself remembers nothing.
const runner = new Runner(await loadDetector(await readFile(module)));

let number = 0;
for await (const line of createInterface({ input: createReadStream(events) })) {
  console.log(number++, ...judge(line));
}

/** @param {string} line */
function judge(line) {
  try {
    // Batches are faster, and any size of them gives the same bits.
    const [{ outcome, late, score }] = runner.score([runner.reader.read(line)]);
    return [outcome, late ? 1 : 0, bitsOf(score)];
  } catch (error) {
    // An event that cannot be read is no reason to end.
    if (error instanceof EventError) return ["dead-letter", error.reason];
    throw error;
  }
}

/** @param {number} score */
function bitsOf(score) {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, score);
  return view.getBigUint64(0).toString(16).padStart(16, "0");
}
