/** Trains a module: the trainer's own code, compiled to WebAssembly. */

import init, { infer, to_toml, train } from "../../bindings/pkg/train";
import { digestOf } from "../engine/sha256";
import type { Schema } from "../engine/rows";
import { FileError, checkSize, preview } from "./files";
import { serve } from "./serve";

export interface Inferred {
  schema: Schema;
  notes: string[];
}

export interface TrainRequest {
  file: File;
  config: unknown;
  seed: number;
}

export interface TrainProgress {
  step: string;
  share: number;
}

export interface TrainResult {
  module: ArrayBuffer;
  digest: string;
  manifest: string;
  toml: string;
  tookMs: number;
}

/** Bytes that a guess is made from. */
const SAMPLE_BYTES = 4 << 20;

/** Errors of the bindings are thrown as texts. */
function inWords<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (typeof error === "string") throw new FileError(capital(error));
    // A trap of the trainer: most likely memory. Its instance is not to be used again.
    if (error instanceof WebAssembly.RuntimeError || error instanceof RangeError) {
      throw new FileError("Training needs more memory than the browser gives. Train with fewer rows, or with `trainer train`.");
    }
    throw error;
  }
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

async function guess(file: File): Promise<Inferred> {
  await init({ module_or_path: new URL("../../bindings/pkg/train_bg.wasm", import.meta.url) });
  checkSize(file);
  const bytes = new Uint8Array(await file.slice(0, SAMPLE_BYTES).arrayBuffer());
  // A row that is cut in the middle would be told as a mistake of the file.
  const end = file.size > SAMPLE_BYTES ? bytes.lastIndexOf(10) + 1 : bytes.length;
  return JSON.parse(inWords(() => infer(bytes.subarray(0, end), file.name))) as Inferred;
}

async function fit({ file, config, seed }: TrainRequest, progress: (value: TrainProgress) => void): Promise<TrainResult> {
  await init({ module_or_path: new URL("../../bindings/pkg/train_bg.wasm", import.meta.url) });
  checkSize(file);
  const data = new Uint8Array(await file.arrayBuffer());
  const began = performance.now();
  const toml = inWords(() => to_toml(JSON.stringify(config)));
  const tell = (step: string, share: number) => progress({ step, share });
  const trained = inWords(() => train(data, file.name, toml, BigInt(seed), tell));
  const tookMs = performance.now() - began;
  const module = trained.module().buffer as ArrayBuffer;
  const manifest = trained.manifest();
  trained.free();
  return { module, digest: await digestOf(module), manifest, toml, tookMs };
}

serve({ preview: (file: File) => preview(file), guess, fit });
