/** Scores a fixed file and compares with the scores of host and agent. */

import { Runner, loadDetector } from "../../runtime/twinge.mjs";
import { compare, decodeScores, type Difference } from "../engine/compare";
import { digestOf } from "../engine/sha256";
import { serve } from "./serve";

export interface ProofRequest {
  module: ArrayBuffer;
  events: ArrayBuffer;
  scores: ArrayBuffer;
}

export interface ProofResult {
  digest: string;
  count: number;
  identical: number;
  first: Difference | null;
}

const BLOCK_ROWS = 1000;

async function prove({ module, events, scores }: ProofRequest, progress: (share: number) => void): Promise<ProofResult> {
  const runner = new Runner(await loadDetector(new Uint8Array(module)));
  const lines = new TextDecoder("utf-8", { fatal: true }).decode(events).split("\n");
  if (lines.at(-1) === "") lines.pop();
  const found = { scores: new Float64Array(lines.length), words: new Uint32Array(lines.length) };
  for (let start = 0; start < lines.length; start += BLOCK_ROWS) {
    const rows = lines.slice(start, start + BLOCK_ROWS).map((line) => runner.reader.read(line));
    const width = rows[0]?.inputs.length ?? 0;
    const inputs = new Float64Array(rows.length * width);
    rows.forEach((row, index) => inputs.set(row.inputs, index * width));
    const times = Float64Array.from(rows, ({ timeMs }) => timeMs ?? 0);
    const result = runner.scoreBlock(rows.map(({ entity }) => entity), times, inputs);
    found.scores.set(result.scores, start);
    found.words.set(result.verdicts, start);
    progress(start / lines.length);
  }
  return { digest: await digestOf(module), count: lines.length, ...compare(found, decodeScores(scores)) };
}

serve({ prove });
