/** Reading files in a worker: text in pieces, and plain words for what cannot be read. */

import { CsvParser, sniffDelimiter } from "../engine/csv";

/** The largest file that the page takes. */
export const FILE_BYTES_MAX = 100 << 20;

/** A file that cannot be used; the message is for a person. */
export class FileError extends Error {
  override name = "FileError";
}

export type Format = "csv" | "ndjson";

/** The format by the file's name, else by what it begins with; as crates/fit guesses it. */
export function formatOf(name: string, start: string): Format {
  const extension = /\.([^.]*)$/.exec(name.toLowerCase())?.[1] ?? "";
  if (["csv", "tsv", "txt"].includes(extension)) return "csv";
  if (["ndjson", "jsonl", "json"].includes(extension)) return "ndjson";
  return /^\s*\{/.test(start) ? "ndjson" : "csv";
}

export function checkSize(file: Blob): void {
  if (file.size === 0) throw new FileError("The file is empty. Choose one with a header and rows, or with a JSON object a line.");
  if (file.size > FILE_BYTES_MAX) {
    const mib = Math.round(file.size / (1 << 20)).toLocaleString("en");
    throw new FileError(
      `The file has ${mib} MiB, and a page takes up to ${FILE_BYTES_MAX >> 20} MiB. The programs take files of any length: \`trainer train\`, \`trainer score\` and \`host --replay\`.`,
    );
  }
}

/** What a file begins with when it is in another encoding than UTF-8. */
const MARKS: [string, number[]][] = [
  ["UTF-16", [0xff, 0xfe]],
  ["UTF-16", [0xfe, 0xff]],
  ["a ZIP archive, such as an Excel workbook", [0x50, 0x4b, 0x03, 0x04]],
  ["a gzip archive", [0x1f, 0x8b]],
  ["a WebAssembly module", [0x00, 0x61, 0x73, 0x6d]],
];

export function checkStart(bytes: Uint8Array): void {
  const found = MARKS.find(([, mark]) => mark.every((byte, index) => bytes[index] === byte));
  if (found === undefined) {
    if (bytes.includes(0)) throw new FileError("The file is not text: it holds zero bytes. Save it as CSV in UTF-8.");
    return;
  }
  const [what] = found;
  throw new FileError(
    what === "UTF-16"
      ? "The file is encoded as UTF-16. Save it as UTF-8: in a spreadsheet, choose “CSV UTF-8”."
      : `The file is ${what}, not text. Give a CSV, or JSON with one object a line.`,
  );
}

/** Bytes that are decoded at once. */
const PIECE_BYTES = 1 << 17;

/** The text of a file, piece by piece, with how many bytes are behind it. */
export function* textOf(file: Uint8Array): Generator<{ text: string; bytes: number }> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  for (let start = 0; start < file.length; start += PIECE_BYTES) {
    const end = Math.min(start + PIECE_BYTES, file.length);
    try {
      yield { text: decoder.decode(file.subarray(start, end), { stream: end < file.length }), bytes: end };
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      throw new FileError(
        `The file is not UTF-8: something within ${start.toLocaleString("en")} to ${end.toLocaleString("en")} bytes is in another encoding. Save it as UTF-8.`,
      );
    }
  }
}

/** A file's columns and first rows. */
export interface Preview {
  name: string;
  bytes: number;
  format: Format;
  columns: string[];
  rows: string[][];
}

const PREVIEW_ROWS = 5;
const PREVIEW_BYTES = 1 << 18;

export async function preview(file: File): Promise<Preview> {
  checkSize(file);
  const bytes = new Uint8Array(await file.slice(0, PREVIEW_BYTES).arrayBuffer());
  checkStart(bytes);
  // The cut may go through a character, and what is wrong later is told when it is read.
  const text = new TextDecoder("utf-8").decode(bytes, { stream: true });
  const format = formatOf(file.name, text);
  const isCut = file.size > PREVIEW_BYTES;
  const table = format === "csv" ? csvTable(text, isCut) : jsonTable(text, isCut);
  if (table.columns.length === 0) throw new FileError("The file has no columns: it needs a header and rows, or a JSON object a line.");
  return { name: file.name, bytes: file.size, format, ...table };
}

function csvTable(text: string, isCut: boolean): { columns: string[]; rows: string[][] } {
  const parser = new CsvParser(sniffDelimiter(text));
  const rows = [...parser.push(text), ...(isCut ? [] : parser.end())];
  const columns = headerOf(rows[0] ?? []);
  if (rows.length < 2) throw new FileError("The file has a header and no rows.");
  return { columns, rows: rows.slice(1, PREVIEW_ROWS + 1) };
}

/** The names in a header, without byte order mark and blanks around them. */
export function headerOf(cells: string[]): string[] {
  const columns = cells.map((cell) => cell.replace(/^\uFEFF+/, "").trim());
  return columns.every((column) => column === "") ? [] : columns;
}

function jsonTable(text: string, isCut: boolean): { columns: string[]; rows: string[][] } {
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  const whole = isCut && lines.length > 1 ? lines.slice(0, -1) : lines;
  const objects = whole.slice(0, 50).map((line, index) => fieldsOf(line, index + 1));
  const columns = [...new Set(objects.flatMap((object) => Object.keys(object)))];
  const shown = (value: unknown) => (value === undefined || value === null ? "" : typeof value === "object" ? JSON.stringify(value) : String(value));
  return { columns, rows: objects.slice(0, PREVIEW_ROWS).map((object) => columns.map((column) => shown(object[column]))) };
}

/** The fields of an event, bare or in a CloudEvent. */
function fieldsOf(line: string, number: number): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw new FileError(`Line ${number} is not JSON. The file must hold one JSON object a line, or be a CSV with a name that ends in .csv.`);
  }
  if (!isObject(value)) throw new FileError(`Line ${number} is JSON, but not an object of fields. The file must hold one object a line.`);
  return "specversion" in value && isObject(value["data"]) ? value["data"] : value;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
