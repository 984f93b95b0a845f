import { expect, test } from "vitest";
import { CsvParser, parseCsv, sniffDelimiter } from "./csv";

const CASES: [string, string[][]][] = [
  ["a,b\n1,2\n", [["a", "b"], ["1", "2"]]],
  ["a;b\r\n1;2", [["a", "b"], ["1", "2"]]],
  ["a\tb\n\n\n1\t2\n", [["a", "b"], ["1", "2"]]],
  ['a,b\n"x, ""y""\nz",2\n', [["a", "b"], ['x, "y"\nz', "2"]]],
  ["a,b\n,\n", [["a", "b"], ["", ""]]],
  ['a\n"open', [["a"], ["open"]]],
  ['a,b\n"q"x,1\n', [["a", "b"], ["qx", "1"]]],
  ["a,b\r1,2\r", [["a", "b"], ["1", "2"]]],
  ["", []],
];

test("rows are cut at line ends outside of quotes", () => {
  for (const [text, rows] of CASES) expect(parseCsv(text), JSON.stringify(text)).toEqual(rows);
});

test("how the text comes in pieces does not show", () => {
  for (const [text, rows] of CASES) {
    for (let size = 1; size < 5; size++) {
      const parser = new CsvParser(sniffDelimiter(text));
      const found: string[][] = [];
      for (let at = 0; at < text.length; at += size) found.push(...parser.push(text.slice(at, at + size)));
      found.push(...parser.end());
      expect(found, `${JSON.stringify(text)} in pieces of ${size}`).toEqual(rows);
    }
  }
});

test("comma wins ties", () => {
  expect(sniffDelimiter("a,b;c\n;;;;")).toBe(",");
  expect(sniffDelimiter("a;b;c,d")).toBe(";");
  expect(sniffDelimiter("one")).toBe(",");
});
