import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { digestOf, hex, sha256 } from "./sha256";

test("digests are those of another implementation, at every length around a block", () => {
  for (let length = 0; length < 200; length++) {
    const bytes = Uint8Array.from({ length }, (_, index) => (index * 37 + length) & 0xff);
    expect(hex(sha256(bytes))).toBe(createHash("sha256").update(bytes).digest("hex"));
  }
});

test("the browser's own digest is the same", async () => {
  const bytes = new TextEncoder().encode("twinge");
  expect(await digestOf(bytes)).toBe(hex(sha256(bytes)));
});
