import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { contributions, recordId, rfc3339, severityOf, verdictLine, type Scored } from "./verdict";

const place = { detector: "pumps", version: "1", module: "ab".repeat(32), source: "file-00" };
const scored: Scored = { entity: 'p "1"', timeMs: 120, offset: 7, outcome: "anomalous", score: 2, late: true, continues: false, attribution: [{ field: "x", share: Math.fround(0.1) }] };

test("a verdict is the line that a host writes", () => {
  const line = verdictLine(place, scored);
  expect(line).toBe(
    `{"specversion":"1.0","type":"io.twinge.verdict.v1","id":"${recordId("file-00", place.module, 7)}","source":"/twinge/pumps","subject":"p \\"1\\"","time":"1970-01-01T00:00:00.12Z",` +
      `"data":{"verdict":"anomalous","score":2.0,"severity":"high","late":true,"attribution":[{"field":"x","share":0.1}],"version":"1","module":"${place.module}","origin":{"source":"file-00","partition":"0","offset":7}}}`,
  );
  const plain = verdictLine(place, { ...scored, timeMs: null, late: false, outcome: "normal", score: 1e-7, attribution: [] });
  expect(plain).not.toContain('"time"');
  expect(plain).not.toContain('"attribution"');
  expect(plain).toContain('"score":1e-7,"severity":"none"');
});

test("an id is the hash of place, module and offset, each with its length", () => {
  const hash = createHash("sha256");
  for (const part of ["file-00", "0", "module"]) {
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(part.length));
    hash.update(length).update(part);
  }
  const offset = Buffer.alloc(8);
  offset.writeBigUInt64LE(300n);
  expect(recordId("file-00", "module", 300)).toBe(hash.update(offset).digest("hex").slice(0, 32));
});

test("contributions are the largest ones, without crumbs", () => {
  expect(contributions([0.5, 0.001, 1.5], ["a", "b", "time"])).toEqual([
    { field: "time", share: 1.5 },
    { field: "a", share: 0.5 },
  ]);
  expect(contributions(new Array<number>(12).fill(1), Array.from({ length: 12 }, (_, index) => `f${index}`))).toHaveLength(8);
});

test("severities and times are those of the contract", () => {
  expect([severityOf("anomalous", 1), severityOf("anomalous", 1.5), severityOf("anomalous", 2), severityOf("normal", 9)]).toEqual(["low", "medium", "high", "none"]);
  expect([rfc3339(0), rfc3339(1500), rfc3339(-1)]).toEqual(["1970-01-01T00:00:00Z", "1970-01-01T00:00:01.5Z", "1969-12-31T23:59:59.999Z"]);
});
