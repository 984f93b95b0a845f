import { expect, test } from "vitest";
import { loadDetector } from "../../runtime/twinge.mjs";
import { byHand } from "../../tests/modules";
import type { Schema } from "./rows";
import { Session } from "./session";

const place = { detector: "by-hand", version: "1", module: "00", source: "file-00" };

/** A module whose score is its input, and that fails on what is missing. */
async function session(): Promise<Session> {
  const detector = await loadDetector(byHand("echoes"));
  return new Session(detector, detector.manifest.schema as Schema, place);
}

const row = (x: number) => ({ entity: "all", timeMs: null, inputs: Float64Array.of(x) });

test("all rows get a verdict, however many there are, and anomalies are told", async () => {
  const current = await session();
  for (let index = 0; index < 10_000; index++) current.add(row(index % 1000 === 7 ? 1 + index / 10_000 : 0.5), index, () => "");
  current.flush();
  expect(current.counts).toMatchObject({ rows: 10_000, anomalous: 10, normal: 9990, entities: 1 });
  expect(current.list("file", 0, 2).map(({ offset }) => offset)).toEqual([7, 1007]);
  expect(current.list("score", 0, 1)).toMatchObject([{ offset: 9007, score: 1.9007, severity: "medium" }]);
  expect([...current.verdicts()].join("").trimEnd().split("\n")).toHaveLength(10_000);
  const { x, anomalous } = current.overview(100);
  expect(x).toHaveLength(100);
  expect(anomalous.filter((score) => score !== null)).toHaveLength(10);
});

test("a row that makes the module fail costs that row alone", async () => {
  const current = await session();
  for (let index = 0; index < 1000; index++) current.add(row(index === 123 || index === 456 ? NaN : 0.5), index, () => `row ${index}`);
  current.flush();
  expect(current.counts).toMatchObject({ rows: 998, deadLetters: 2 });
  expect(current.deadLetters.map(({ offset, reason, original }) => [offset, reason, original])).toEqual([
    [123, "module-failed", "row 123"],
    [456, "module-failed", "row 456"],
  ]);
  expect(current.deadLetterLines().trimEnd().split("\n")).toHaveLength(2);
});
