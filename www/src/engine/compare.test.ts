import { expect, test } from "vitest";
import { compare, decodeScores } from "./compare";

const scores = (...values: number[]) => ({ scores: Float64Array.from(values), words: Uint32Array.from(values, (value) => (value >= 1 ? 1 : 0)) });

test("equal bits are equal, and nothing else is", () => {
  expect(compare(scores(0.5, 2), scores(0.5, 2))).toEqual({ identical: 2, first: null });
  const other = compare(scores(0.5, 2, 0.1), scores(0.5, 2.0000000000000004, 0.1));
  expect(other.identical).toBe(2);
  expect(other.first?.event).toBe(1);
  expect(other.first?.expected).toContain("4000000000000001");
  // Equal as numbers, and yet not the same bits.
  expect(compare(scores(0), scores(-0)).identical).toBe(0);
});

test("a verdict counts too, and so does one too few", () => {
  const [a, b] = [scores(0.5), scores(0.5)];
  b.words[0] = 2;
  expect(compare(a, b).identical).toBe(0);
  expect(compare(scores(0.5), scores(0.5, 0.6)).first).toMatchObject({ event: 1, found: "nothing" });
  expect(compare(scores(0.5, 0.6), scores(0.5)).first).toMatchObject({ event: 1, expected: "nothing" });
});

test("scores are read as they are written", () => {
  const bytes = new Uint8Array(24);
  new Float64Array(bytes.buffer, 0, 2).set([1.5, 0.25]);
  new Uint32Array(bytes.buffer, 16, 2).set([1, 0]);
  expect(decodeScores(bytes.buffer)).toEqual({ scores: Float64Array.of(1.5, 0.25), words: Uint32Array.of(1, 0) });
  expect(() => decodeScores(new ArrayBuffer(13))).toThrow("13 bytes");
});
