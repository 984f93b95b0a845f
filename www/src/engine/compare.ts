/** Compares scores and verdicts with others, bit by bit. */

import { OUTCOMES } from "../../runtime/twinge.mjs";

export interface Scores {
  scores: Float64Array;
  words: Uint32Array;
}

export interface Difference {
  event: number;
  found: string;
  expected: string;
}

/** Scores as `cargo xtask page build` writes them: all `f64`, then all `u32`, little-endian. */
export function decodeScores(bytes: ArrayBuffer): Scores {
  const count = Math.floor(bytes.byteLength / 12);
  if (count * 12 !== bytes.byteLength) throw new Error(`the file of scores has ${bytes.byteLength} bytes, which is no whole number of them`);
  return { scores: new Float64Array(bytes, 0, count), words: new Uint32Array(bytes, count * 8, count) };
}

/** How many agree, and the first that does not. */
export function compare(found: Scores, expected: Scores): { identical: number; first: Difference | null } {
  const count = Math.max(found.scores.length, expected.scores.length);
  const [a, b] = [bitsOf(found), bitsOf(expected)];
  let [identical, first] = [0, null as Difference | null];
  for (let event = 0; event < count; event++) {
    const isSame =
      a[2 * event] !== undefined && a[2 * event] === b[2 * event] && a[2 * event + 1] === b[2 * event + 1] && found.words[event] === expected.words[event];
    if (isSame) identical += 1;
    else first ??= { event, found: shown(found, event), expected: shown(expected, event) };
  }
  return { identical, first };
}

function bitsOf({ scores }: Scores): Uint32Array {
  return new Uint32Array(scores.buffer, scores.byteOffset, scores.length * 2);
}

function shown({ scores, words }: Scores, event: number): string {
  const [score, word] = [scores[event], words[event]];
  if (score === undefined || word === undefined) return "nothing";
  const bits = new DataView(new ArrayBuffer(8));
  bits.setFloat64(0, score);
  return `${OUTCOMES[word & 0xff] ?? word} ${score} (bits ${bits.getBigUint64(0).toString(16).padStart(16, "0")})`;
}
