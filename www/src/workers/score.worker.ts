/** Loads a module, scores a file with it, and answers questions about what came out. */

import { EventError, LoadError, loadDetector, type Detector } from "../../runtime/twinge.mjs";
import { CsvParser, sniffDelimiter } from "../engine/csv";
import { CellReader, checkSkew, inputsOf, jsonReader, mapSchema, type Mapping, type Row, type Schema } from "../engine/rows";
import { Session, TooMuchError, type Anomaly, type Counts } from "../engine/session";
import { digestOf } from "../engine/sha256";
import { FileError, checkSize, headerOf, preview, textOf, type Format } from "./files";
import { serve } from "./serve";

/** What a module says about itself, beside its bytes. */
export interface ModuleInfo {
  digest: string;
  bytes: number;
  manifest: Detector["manifest"] & Record<string, unknown>;
}

export interface ScoreProgress {
  rows: number;
  anomalous: number;
  bytes: number;
  bytesAll: number;
}

export interface ScoreResult {
  counts: Counts;
  /** Whole time, and the part that was scoring. */
  tookMs: number;
  scoringMs: number;
  overview: { x: number[]; score: number[]; anomalous: (number | null)[] };
}

export interface ScoreRequest {
  file: File;
  format: Format;
  mapping: Mapping;
}

let loaded: { detector: Detector; info: ModuleInfo } | null = null;
let session: Session | null = null;

async function load(bytes: ArrayBuffer): Promise<ModuleInfo> {
  [loaded, session] = [null, null];
  const detector = await loadDetector(new Uint8Array(bytes));
  const info = { digest: await digestOf(bytes), bytes: bytes.byteLength, manifest: detector.manifest as ModuleInfo["manifest"] };
  loaded = { detector, info };
  return info;
}

async function score({ file, format, mapping }: ScoreRequest, progress: (value: ScoreProgress) => void): Promise<ScoreResult> {
  if (loaded === null) throw new LoadError("no module is loaded");
  const { detector, info } = loaded;
  checkSize(file);
  const began = performance.now();
  // Read whole, since its digest names the events; at most 100 MiB.
  const data = await file.arrayBuffer();
  const schema = mapSchema(info.manifest.schema as Schema, mapping);
  const place = {
    detector: info.manifest.name,
    version: info.manifest.version,
    module: info.digest,
    source: `file-${await digestOf(data)}`,
  };
  const current = new Session(detector, info.manifest.schema as Schema, place);
  const skew = info.manifest.stream.skew_max_s ?? 3600;
  const now = Date.now();
  const take = (offset: number, read: () => Row, original: () => string) => {
    try {
      const row = read();
      checkSkew(row.timeMs, now, skew);
      current.add(row, offset, original);
    } catch (error) {
      if (!(error instanceof EventError)) throw error;
      current.refuse({ offset, reason: error.reason, message: error.message, original: original() });
    }
  };
  const takeText = format === "csv" ? csvTaker(schema, take) : jsonTaker(schema, take);
  for (const { text, bytes } of textOf(new Uint8Array(data))) {
    takeText.push(text);
    progress({ rows: current.counts.rows, anomalous: current.counts.anomalous, bytes, bytesAll: file.size });
  }
  takeText.end();
  current.flush();
  if (current.counts.rows + current.counts.deadLetters === 0) throw new FileError("The file has no rows.");
  session = current;
  return { counts: current.counts, tookMs: performance.now() - began, scoringMs: current.scoringMs, overview: current.overview(1600) };
}

type Take = (offset: number, read: () => Row, original: () => string) => void;

interface Taker {
  push(text: string): void;
  end(): void;
}

function csvTaker(schema: Schema, take: Take): Taker {
  let parser: CsvParser | null = null;
  let reader: CellReader | null = null;
  let header: string[] = [];
  let offset = 0;
  const takeRow = (cells: string[]) => {
    if (reader === null) {
      header = headerOf(cells);
      reader = new CellReader(schema, header);
      return;
    }
    const current = reader;
    const read = () => {
      if (cells.length !== header.length) {
        throw new EventError("ragged", `row has ${cells.length} cells where the header has ${header.length}`);
      }
      return current.read(cells);
    };
    take(offset++, read, () => JSON.stringify(Object.fromEntries(header.map((name, index) => [name, cells[index] ?? ""]))));
  };
  return {
    push(text) {
      parser ??= new CsvParser(sniffDelimiter(text));
      for (const cells of parser.push(text)) takeRow(cells);
      if (parser.pending > LINE_MAX) throw new FileError("The file has a row of more than 1 MiB, which is no event. Is a quote left open?");
    },
    end() {
      for (const cells of parser?.end() ?? []) takeRow(cells);
    },
  };
}

function jsonTaker(schema: Schema, take: Take): Taker {
  const read = jsonReader(schema);
  let rest = "";
  let offset = 0;
  const takeLine = (line: string) => {
    const place = offset++;
    if (line.trim() !== "") take(place, () => read(line), () => line);
  };
  return {
    push(text) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      if (rest.length > LINE_MAX) throw new FileError("The file has a line of more than 1 MiB, which is no event.");
      lines.forEach(takeLine);
    },
    end() {
      if (rest !== "") takeLine(rest);
    },
  };
}

const LINE_MAX = 1 << 20;

function need(): Session {
  if (session === null) throw new Error("nothing has been scored yet");
  return session;
}

/** Downloads above this would be more than a browser holds well. */
const DOWNLOAD_MAX = 1 << 30;

function verdictFile(_: null, progress: (value: number) => void): Blob {
  const current = need();
  const parts: Blob[] = [];
  let size = 0;
  for (const text of current.verdicts()) {
    const part = new Blob([text]);
    size += part.size;
    if (size > DOWNLOAD_MAX) throw new TooMuchError("The verdicts would be larger than 1 GiB. `host --replay FILE` writes files of any length.");
    parts.push(part);
    progress(size);
  }
  return new Blob(parts, { type: "application/x-ndjson" });
}


serve({
  preview: (file: File) => preview(file),
  load,
  score,
  anomalies: ({ order, from, count }: { order: "file" | "score"; from: number; count: number }): Anomaly[] => need().list(order, from, count),
  verdicts: verdictFile,
  deadLetters: () => new Blob([need().deadLetterLines()], { type: "application/x-ndjson" }),
  raw: () => need().raw,
  inputs: () => inputsOf((loaded?.info.manifest.schema ?? {}) as Schema),
});
