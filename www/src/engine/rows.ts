/**
 * Rows of a file as a detector's inputs: CSV by the trainer's rules, JSON by those of host and
 * agent. What cannot be read becomes a dead letter with a reason.
 */

import { ENTITY_BYTES_MAX, EventError, EventReader, categoryCode, readTimeText } from "../../runtime/twinge.mjs";

/** The fields that a detector reads. */
export interface Schema {
  entity?: string | null;
  time?: string | null;
  time_format?: "rfc3339" | "epoch-s" | "epoch-ms";
  numeric?: string[];
  categorical?: string[];
  label?: string | null;
}

/** One row, ready to be scored. */
export interface Row {
  entity: string;
  timeMs: number | null;
  inputs: Float64Array;
}

/** The names of a schema's inputs in their order. */
export function inputsOf(schema: Schema): string[] {
  return [...(schema.numeric ?? []), ...(schema.categorical ?? [])];
}

/** The fields of a schema that a file must have, with what each is for. */
export function wantedFields(schema: Schema): { field: string; role: "entity" | "time" | "number" | "category" }[] {
  const role = <R extends string>(fields: (string | null | undefined)[], role: R) =>
    fields.flatMap((field) => (field == null ? [] : [{ field, role }]));
  return [
    ...role([schema.entity], "entity" as const),
    ...role([schema.time], "time" as const),
    ...role(schema.numeric ?? [], "number" as const),
    ...role(schema.categorical ?? [], "category" as const),
  ];
}

/** A column of the file for each field: `""` where the file has none, which is a missing value. */
export type Mapping = Record<string, string>;

/** The column of the same name, else one that differs in case, blanks or dashes only. */
export function guessMapping(schema: Schema, columns: readonly string[]): Mapping {
  const plain = (name: string) => name.toLowerCase().replace(/[^a-z0-9]/g, "");
  const find = (field: string) =>
    columns.find((column) => column === field) ?? columns.find((column) => plain(column) === plain(field)) ?? "";
  return Object.fromEntries(wantedFields(schema).map(({ field }) => [field, find(field)]));
}

/** The schema with the file's names in place of the detector's. Names nobody has are unlikely ones. */
export function mapSchema(schema: Schema, mapping: Mapping): Schema {
  const name = (field: string) => mapping[field] || `\u0000not in the file: ${field}`;
  const { entity, time, time_format, numeric, categorical } = schema;
  return {
    ...(entity == null ? {} : { entity: name(entity) }),
    ...(time == null ? {} : { time: name(time) }),
    ...(time_format === undefined ? {} : { time_format }),
    numeric: (numeric ?? []).map(name),
    categorical: (categorical ?? []).map(name),
  };
}

/** Reads rows of cells by their columns. */
export class CellReader {
  #schema: Schema;
  #places: { entity: number; time: number; numeric: number[]; categorical: number[] };
  #codes = new Map<string, number>();

  constructor(schema: Schema, header: readonly string[]) {
    const place = (field: string | null | undefined) => (field == null ? -1 : header.indexOf(field));
    this.#schema = schema;
    this.#places = {
      entity: place(schema.entity),
      time: place(schema.time),
      numeric: (schema.numeric ?? []).map(place),
      categorical: (schema.categorical ?? []).map(place),
    };
  }

  read(cells: readonly string[]): Row {
    const { numeric, categorical } = this.#places;
    const inputs = new Float64Array(numeric.length + categorical.length);
    numeric.forEach((place, index) => {
      inputs[index] = this.#number(cells[place] ?? "", this.#schema.numeric?.[index] ?? "");
    });
    categorical.forEach((place, index) => {
      inputs[numeric.length + index] = this.#code(cells[place] ?? "");
    });
    return { entity: this.#entity(cells), timeMs: this.#time(cells), inputs };
  }

  #number(cell: string, field: string): number {
    const number = readNumber(cell);
    if (number === null) throw new EventError("not-a-number", `field \`${field}\` holds "${shorten(cell)}" where a number belongs`);
    return number;
  }

  /** Texts come again and again: each is hashed once. */
  #code(cell: string): number {
    if (cell === "") return NaN;
    let code = this.#codes.get(cell);
    if (code === undefined) {
      code = categoryCode(cell);
      if (this.#codes.size < CODES_MAX) this.#codes.set(cell, code);
    }
    return code;
  }

  #entity(cells: readonly string[]): string {
    if (this.#schema.entity == null) return "all";
    const entity = cells[this.#places.entity] ?? "";
    if (entity === "") throw new EventError("no-entity", "event has no entity: its cell is empty");
    if (entity.length * 3 > ENTITY_BYTES_MAX && new TextEncoder().encode(entity).length > ENTITY_BYTES_MAX) {
      throw new EventError("entity-too-long", `event's entity has more than ${ENTITY_BYTES_MAX} bytes`);
    }
    return entity;
  }

  #time(cells: readonly string[]): number | null {
    if (this.#schema.time == null) return null;
    const cell = cells[this.#places.time] ?? "";
    const time = readTimeText(cell, this.#schema.time_format ?? "rfc3339");
    if (time === null) throw new EventError("unreadable-time", `event's time "${shorten(cell)}" cannot be read as ${this.#schema.time_format ?? "rfc3339"}`);
    return time;
  }
}

/** Distinct texts whose code is kept at most. */
const CODES_MAX = 100_000;

const MISSING = new Set(["", "na", "n/a", "null", "none", "nan", "+nan", "-nan"]);
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;

/** A number's text: NaN for a missing one, null for no number. */
export function readNumber(cell: string): number | null {
  const text = cell.trim();
  if (NUMBER.test(text)) {
    const number = Number(text);
    return Number.isFinite(number) ? number : null;
  }
  const word = text.toLowerCase();
  if (MISSING.has(word)) return NaN;
  return word === "true" ? 1 : word === "false" ? 0 : null;
}

function shorten(text: string): string {
  return text.length > 40 ? `${text.slice(0, 40)}...` : text;
}

/** Reads a line of JSON: one event, bare or as a CloudEvent. */
export function jsonReader(schema: Schema): (line: string) => Row {
  const reader = new EventReader(schema as ConstructorParameters<typeof EventReader>[0]);
  return (line) => reader.read(line);
}

/** An event further ahead of now than the manifest allows gets no verdict. */
export function checkSkew(timeMs: number | null, nowMs: number, skewMaxSeconds: number): void {
  const aheadMs = timeMs === null ? 0 : timeMs - nowMs;
  if (aheadMs > skewMaxSeconds * 1000) {
    throw new EventError("from-the-future", `event lies ${Math.trunc(aheadMs / 1000)} s in the future`);
  }
}
