/** Scores a whole file and keeps what came out in columns, small enough for two million rows. */

import { CallError, Runner, readVerdict, type Detector } from "../../runtime/twinge.mjs";
import { inputsOf, type Row, type Schema } from "./rows";
import { contributions, deadLetterLine, severityOf, verdictLine, type Contribution, type Place, type Scored, type Severity } from "./verdict";

export const ROWS_MAX = 2_000_000;
export const ANOMALIES_MAX = 300_000;
export const DEAD_LETTERS_MAX = 100_000;

/** Rows of a call: enough that what each costs does not show, and few enough that slow modules show progress. */
const BLOCK_ROWS = 4096;

/** A file that is too much for a page; the message says what to do instead. */
export class TooMuchError extends Error {
  override name = "TooMuchError";
}

export interface DeadLetter {
  offset: number;
  reason: string;
  message: string;
  original: string;
}

export interface Counts {
  rows: number;
  normal: number;
  anomalous: number;
  "warming-up": number;
  invalid: number;
  late: number;
  deadLetters: number;
  entities: number;
}

/** An anomaly with all that a person wants to see of it. */
export interface Anomaly extends Scored {
  severity: Severity;
  /** Numbers by their field; a category is known by its code alone. */
  shown: Record<string, string>;
}

export class Session {
  readonly deadLetters: DeadLetter[] = [];
  readonly counts: Counts = { rows: 0, normal: 0, anomalous: 0, "warming-up": 0, invalid: 0, late: 0, deadLetters: 0, entities: 0 };
  /** Milliseconds spent in the module and with the states of entities, without reading and keeping. */
  scoringMs = 0;

  #runner: Runner;
  #place: Place;
  #width: number;
  #names: string[];
  #numbers: number;
  #hasTime: boolean;
  #block: Block;
  #scores = new Column(Float64Array);
  #times = new Column(Float64Array);
  #offsets = new Column(Uint32Array);
  #words = new Column(Uint32Array);
  #entities = new Column(Uint32Array);
  #entityNumbers = new Map<string, number>();
  #entityNames: string[] = [];
  #anomalies: number[] = [];
  #details: { attribution: Contribution[]; inputs: Float64Array }[] = [];

  constructor(detector: Detector, schema: Schema, place: Place) {
    this.#runner = new Runner(detector);
    this.#place = place;
    this.#names = inputsOf(schema);
    this.#width = this.#names.length;
    this.#numbers = schema.numeric?.length ?? 0;
    this.#hasTime = schema.time != null;
    this.#block = new Block(this.#width);
  }

  /** Takes a row; it is scored with others. */
  add(row: Row, offset: number, original: () => string): void {
    this.#block.add(row, offset, original);
    if (this.#block.length === BLOCK_ROWS) this.flush();
  }

  /** Takes what could not be read. */
  refuse(letter: DeadLetter): void {
    this.counts.deadLetters += 1;
    if (this.deadLetters.length >= DEAD_LETTERS_MAX) {
      throw new TooMuchError(
        `More than ${DEAD_LETTERS_MAX.toLocaleString("en")} rows cannot be read by this detector. The first says: ${this.deadLetters[0]?.message}. Check the columns.`,
      );
    }
    this.deadLetters.push(letter);
  }

  /** Scores the rows that wait. */
  flush(): void {
    if (this.#block.length > 0) this.#score(0, this.#block.length);
    this.#block.clear();
  }

  /** A row that makes the module fail costs that row alone, as on a host. */
  #score(from: number, to: number): void {
    const { entities, times, inputs, offsets, originals } = this.#block;
    const began = performance.now();
    let result: ReturnType<Runner["scoreBlock"]>;
    try {
      result = this.#runner.scoreBlock(entities.slice(from, to), times.subarray(from, to), inputs.subarray(from * this.#width, to * this.#width));
    } catch (error) {
      if (!(error instanceof CallError)) throw error;
      if (to - from > 1) {
        const middle = (from + to) >> 1;
        this.#score(from, middle);
        this.#score(middle, to);
      } else {
        this.refuse({ offset: offsets[from] ?? 0, reason: "module-failed", message: error.message, original: originals[from]?.() ?? "" });
      }
      return;
    }
    this.scoringMs += performance.now() - began;
    for (let row = from; row < to; row++) this.#keep(row, row - from, result);
  }

  /** Keeps what came out for a row of the block; `index` is its place in the result. */
  #keep(row: number, index: number, result: ReturnType<Runner["scoreBlock"]>): void {
    if (this.counts.rows >= ROWS_MAX) {
      throw new TooMuchError(`The file has more than ${ROWS_MAX.toLocaleString("en")} rows, more than this page keeps. \`host --replay FILE\` scores files of any length.`);
    }
    const block = this.#block;
    const [score, word] = [result.scores[index] as number, result.verdicts[index] as number];
    const verdict = readVerdict(word);
    if (verdict === null) throw new CallError("module answered with what is no verdict");
    if (verdict.outcome === "anomalous") {
      if (this.#anomalies.length >= ANOMALIES_MAX) {
        throw new TooMuchError(`The detector calls more than ${ANOMALIES_MAX.toLocaleString("en")} rows anomalous: it was trained on other data than this.`);
      }
      const start = index * (this.#width + 1);
      const shares = result.attributions.subarray(start, start + this.#width + 1);
      const inputs = block.inputs.slice(row * this.#width, (row + 1) * this.#width);
      this.#anomalies.push(this.#scores.length);
      this.#details.push({ attribution: contributions(shares, [...this.#names, "time"]), inputs });
    }
    this.counts.rows += 1;
    this.counts[verdict.outcome] += 1;
    if (verdict.late) this.counts.late += 1;
    this.#scores.push(score);
    this.#words.push(word);
    this.#times.push(block.times[row] as number);
    this.#offsets.push(block.offsets[row] as number);
    this.#entities.push(this.#entityNumber(block.entities[row] ?? ""));
  }

  #entityNumber(entity: string): number {
    let number = this.#entityNumbers.get(entity);
    if (number === undefined) {
      number = this.#entityNames.push(entity) - 1;
      this.#entityNumbers.set(entity, number);
      this.counts.entities = this.#entityNames.length;
    }
    return number;
  }

  get anomalies(): number {
    return this.#anomalies.length;
  }

  /** Bits of scores and words of verdicts, for comparing. */
  get raw(): { scores: Float64Array; words: Uint32Array; offsets: Uint32Array } {
    return { scores: this.#scores.values(), words: this.#words.values(), offsets: this.#offsets.values() };
  }

  /** Anomalies, in the order of the file or the highest scores first. */
  list(order: "file" | "score", from: number, count: number): Anomaly[] {
    const places = this.#anomalies.map((_, index) => index);
    if (order === "score") {
      places.sort((a, b) => this.#scores.at(this.#anomalies[b] ?? 0) - this.#scores.at(this.#anomalies[a] ?? 0));
    }
    return places.slice(from, from + count).map((place) => this.#anomaly(place));
  }

  #anomaly(place: number): Anomaly {
    const scored = this.#scored(this.#anomalies[place] ?? 0, place);
    const inputs = this.#details[place]?.inputs ?? new Float64Array();
    const numbers = this.#names.slice(0, this.#numbers).map((field, index) => [field, shownNumber(inputs[index] ?? NaN)]);
    return { ...scored, severity: severityOf(scored.outcome, scored.score), shown: Object.fromEntries(numbers) as Record<string, string> };
  }

  #scored(row: number, anomaly: number | undefined): Scored {
    const verdict = readVerdict(this.#words.at(row)) ?? { outcome: "invalid" as const, late: false, continues: false };
    return {
      ...verdict,
      entity: this.#entityNames[this.#entities.at(row)] ?? "",
      timeMs: this.#hasTime ? this.#times.at(row) : null,
      offset: this.#offsets.at(row),
      score: this.#scores.at(row),
      attribution: anomaly === undefined ? [] : (this.#details[anomaly]?.attribution ?? []),
    };
  }

  /** All verdicts as NDJSON, in pieces of a few thousand lines. */
  *verdicts(): Generator<string> {
    let [lines, anomaly] = [[] as string[], 0];
    for (let row = 0; row < this.#scores.length; row++) {
      const isAnomaly = this.#anomalies[anomaly] === row;
      lines.push(verdictLine(this.#place, this.#scored(row, isAnomaly ? anomaly++ : undefined)));
      if (lines.length === 4096) {
        yield `${lines.join("\n")}\n`;
        lines = [];
      }
    }
    if (lines.length > 0) yield `${lines.join("\n")}\n`;
  }

  /** All dead letters as NDJSON. */
  deadLetterLines(): string {
    const line = ({ offset, reason, message, original }: DeadLetter) => deadLetterLine(this.#place, offset, reason, message, original);
    return this.deadLetters.map((letter) => `${line(letter)}\n`).join("");
  }

  /** The highest score of each of at most `buckets` stretches of the file, for a chart. */
  overview(buckets: number): { x: number[]; score: number[]; anomalous: (number | null)[] } {
    const rows = this.#scores.length;
    const size = Math.max(1, Math.ceil(rows / buckets));
    const [x, score, anomalous]: [number[], number[], (number | null)[]] = [[], [], []];
    for (let start = 0; start < rows; start += size) {
      let best = start;
      for (let row = start; row < Math.min(rows, start + size); row++) {
        const beats = this.#rank(row) > this.#rank(best);
        if (beats) best = row;
      }
      x.push(this.#offsets.at(best));
      score.push(this.#scores.at(best));
      anomalous.push((this.#words.at(best) & 0xff) === 1 ? this.#scores.at(best) : null);
    }
    return { x, score, anomalous };
  }

  /** Anomalies before all others, for they must not vanish between two points. */
  #rank(row: number): number {
    const outcome = this.#words.at(row) & 0xff;
    return (outcome === 1 ? 1e9 : 0) + this.#scores.at(row);
  }
}

function shownNumber(value: number): string {
  return Number.isNaN(value) ? "missing" : String(Number(value.toPrecision(6)));
}

/** Rows that wait to be scored, as the module wants them. */
class Block {
  length = 0;
  readonly entities: string[] = [];
  readonly times = new Float64Array(BLOCK_ROWS);
  readonly offsets = new Float64Array(BLOCK_ROWS);
  readonly inputs: Float64Array;
  originals: (() => string)[] = [];
  #width: number;

  constructor(width: number) {
    this.#width = width;
    this.inputs = new Float64Array(BLOCK_ROWS * width);
  }

  add(row: Row, offset: number, original: () => string): void {
    this.entities[this.length] = row.entity;
    this.times[this.length] = row.timeMs ?? 0;
    this.offsets[this.length] = offset;
    this.inputs.set(row.inputs, this.length * this.#width);
    this.originals[this.length] = original;
    this.length += 1;
  }

  /** Texts of rows that were scored are not held any longer. */
  clear(): void {
    this.length = 0;
    this.originals = [];
  }
}

type Numbers = Float64Array | Uint32Array;

/** A list of numbers that grows by doubling. */
class Column<A extends Numbers> {
  length = 0;
  #kind: new (length: number) => A;
  #values: A;

  constructor(kind: new (length: number) => A) {
    this.#kind = kind;
    this.#values = new kind(1024);
  }

  push(value: number): void {
    if (this.length === this.#values.length) {
      const larger = new this.#kind(this.length * 2);
      larger.set(this.#values);
      this.#values = larger;
    }
    this.#values[this.length++] = value;
  }

  at(index: number): number {
    return this.#values[index] ?? 0;
  }

  values(): A {
    return this.#values.subarray(0, this.length) as A;
  }
}
