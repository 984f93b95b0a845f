/**
 * CSV as the trainer reads it (RFC 4180, quoted cells, any line ends, separated by comma, semicolon
 * or tab), in pieces as they come from a file.
 */

/** Which of the separators the first line has most of; comma wins ties. */
export function sniffDelimiter(start: string): string {
  const line = start.slice(0, 1 << 16).split("\n", 1)[0] ?? "";
  const count = (delimiter: string) => line.split(delimiter).length - 1;
  return ["\t", ";", ","].reduce((best, next) => (count(next) >= count(best) ? next : best));
}

const QUOTE = 34;
const LINE_FEED = 10;
const RETURN = 13;

/** Cuts text into rows of cells. Lines without anything in them are passed over. */
export class CsvParser {
  #delimiter: number;
  #rest = "";
  #isDone = false;

  constructor(delimiter: string) {
    this.#delimiter = delimiter.charCodeAt(0);
  }

  /** Characters of a row whose end has not come yet. */
  get pending(): number {
    return this.#rest.length;
  }

  /** The rows that are whole with this piece of text. */
  *push(text: string): Generator<string[]> {
    this.#rest += text;
    yield* this.#rows();
  }

  /** The last row, if the text ended without a line's end. */
  *end(): Generator<string[]> {
    this.#isDone = true;
    yield* this.#rows();
  }

  *#rows(): Generator<string[]> {
    const text = this.#rest;
    let start = 0;
    for (;;) {
      // Line ends between rows are nobody's.
      while (start < text.length && isLineEnd(text.charCodeAt(start))) start += 1;
      const row = this.#row(text, start);
      if (row === null) break;
      start = row.end;
      yield row.cells;
    }
    this.#rest = text.slice(start);
  }

  /** The row that begins at `start`; null if its end is not there yet. */
  #row(text: string, start: number): { cells: string[]; end: number } | null {
    const cells: string[] = [];
    let at = start;
    if (at >= text.length) return null;
    for (;;) {
      const cell = text.charCodeAt(at) === QUOTE ? this.#quoted(text, at) : this.#plain(text, at);
      if (cell === null) return null;
      cells.push(cell.value);
      at = cell.end;
      if (at >= text.length) return this.#isDone ? { cells, end: at } : null;
      if (isLineEnd(text.charCodeAt(at))) return { cells, end: at + 1 };
      at += 1;
    }
  }

  #plain(text: string, start: number): { value: string; end: number } {
    let end = start;
    while (end < text.length) {
      const code = text.charCodeAt(end);
      if (code === this.#delimiter || isLineEnd(code)) break;
      end += 1;
    }
    return { value: text.slice(start, end), end };
  }

  #quoted(text: string, start: number): { value: string; end: number } | null {
    let value = "";
    let from = start + 1;
    for (;;) {
      const quote = text.indexOf('"', from);
      if (quote < 0) return this.#isDone ? { value: value + text.slice(from), end: text.length } : null;
      value += text.slice(from, quote);
      if (quote + 1 >= text.length && !this.#isDone) return null;
      if (text.charCodeAt(quote + 1) !== QUOTE) {
        // What stands behind a closing quote belongs to the cell as it is.
        const tail = this.#plain(text, quote + 1);
        return { value: value + tail.value, end: tail.end };
      }
      value += '"';
      from = quote + 2;
    }
  }
}

function isLineEnd(code: number): boolean {
  return code === LINE_FEED || code === RETURN;
}

/** The rows of a whole text. */
export function parseCsv(text: string): string[][] {
  const parser = new CsvParser(sniffDelimiter(text));
  return [...parser.push(text), ...parser.end()];
}
