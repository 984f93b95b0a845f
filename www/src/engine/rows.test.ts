import { expect, test } from "vitest";
import { CellReader, guessMapping, jsonReader, mapSchema, readNumber, wantedFields, type Schema } from "./rows";

const schema: Schema = { entity: "card", time: "time", numeric: ["amount"], categorical: ["country"] };

test("numbers are read by the trainer's rules", () => {
  const cases: [string, number | null][] = [
    ["1.5", 1.5],
    [" -2e3 ", -2000],
    [".5", 0.5],
    ["5.", 5],
    ["+7", 7],
    ["", NaN],
    ["NA", NaN],
    ["n/a", NaN],
    ["NaN", NaN],
    ["None", NaN],
    ["true", 1],
    ["FALSE", 0],
    ["1e999", null],
    ["inf", null],
    ["0x10", null],
    ["1,5", null],
    ["one", null],
  ];
  for (const [text, expected] of cases) expect(readNumber(text), JSON.stringify(text)).toEqual(expected);
});

test("columns are found by their names, however these are written", () => {
  expect(guessMapping(schema, ["Time", "CARD", "amount", "Amount"])).toEqual({ card: "CARD", time: "Time", amount: "amount", country: "" });
  expect(wantedFields(schema).map(({ role }) => role)).toEqual(["entity", "time", "number", "category"]);
});

test("a row of cells and an event give the same inputs", () => {
  const mapped = mapSchema(schema, { card: "who", time: "when", amount: "how much", country: "" });
  const cells = new CellReader(mapped, ["when", "who", "how much"]).read(["2026-01-01", "c1", "2.5"]);
  const event = jsonReader(mapped)('{"when":"2026-01-01","who":"c1","how much":2.5,"country":"DE"}');
  expect(cells).toEqual({ entity: "c1", timeMs: 1_767_225_600_000, inputs: Float64Array.of(2.5, NaN) });
  expect(event).toEqual(cells);
});

test("a category has the code of its text, as an event's has", () => {
  const cells = new CellReader(schema, ["card", "time", "amount", "country"]).read(["c", "2026-01-01", "", "grüße"]);
  expect(cells.inputs).toEqual(Float64Array.of(NaN, 1554909639503059));
});

test("cells that cannot be read say why", () => {
  const reader = new CellReader(schema, ["card", "time", "amount", "country"]);
  const check = (cells: string[], reason: string) => expect(() => reader.read(cells)).toThrow(expect.objectContaining({ reason }));
  check(["", "2026-01-01", "1", ""], "no-entity");
  check(["c", "soon", "1", ""], "unreadable-time");
  check(["c", "2026-01-01", "much", ""], "not-a-number");
  check(["x".repeat(257), "2026-01-01", "1", ""], "entity-too-long");
});
