import type { Page } from "@playwright/test";
import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { byHand } from "./modules";
import { expect, give, test, visit, workshop } from "./page";

const rows = { name: "rows.csv", mimeType: "text/csv", buffer: Buffer.from(`x\n${"1\n2\n3\n".repeat(50)}`) };
const wasm = (buffer: Buffer) => ({ name: "hostile.wasm", mimeType: "application/wasm", buffer });

/** Whatever happened, the page scores the sample afterwards. */
async function goesOn(page: Page): Promise<void> {
  await visit(page, "Watch");
  await visit(page, "Try");
  await page.getByRole("button", { name: "Take the sample" }).click();
  await page.getByRole("button", { name: "Score all rows" }).click();
  await expect(page.getByTestId("summary")).toContainText("in 4,267 rows");
}

test("a module that imports is refused", async ({ open }) => {
  const page = await open("try");
  await give(page, "Module", wasm(byHand("imports")));
  await expect(page.getByRole("alert")).toContainText("imports `env.clock`: a detector imports nothing");
  await goesOn(page);
});

test("what is no module is refused", async ({ open }) => {
  const page = await open("try");
  await give(page, "Module", wasm(Buffer.from("MZ no module at all")));
  await expect(page.getByRole("alert")).toContainText("Module does not compile");
  await give(page, "Module", wasm(Buffer.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0])));
  await expect(page.getByRole("alert")).toContainText("it is not a detector module");
  await goesOn(page);
});

test("a module that loops for ever while loading is stopped", async ({ open }) => {
  const page = await open("try");
  await give(page, "Module", wasm(byHand("loops in prepare")));
  await expect(page.getByRole("alert")).toContainText("did not answer within 10 seconds and was stopped", { timeout: 20_000 });
  await goesOn(page);
});

test("a module that loops for ever while scoring is stopped", async ({ open }) => {
  const page = await open("try");
  await give(page, "Module", wasm(byHand("loops in score")));
  await give(page, "Data", rows);
  await page.getByRole("button", { name: "Score all rows" }).click();
  await expect(page.getByRole("alert")).toContainText("did not answer within 10 seconds and was stopped", { timeout: 20_000 });
  await goesOn(page);
});

test("a module that traps on every row gives dead letters", async ({ open }) => {
  const page = await open("try");
  await give(page, "Module", wasm(byHand("traps")));
  await give(page, "Data", rows);
  await page.getByRole("button", { name: "Score all rows" }).click();
  await expect(page.getByText("150 rows could not be read")).toBeVisible();
  await goesOn(page);
});

test("a CSV of 200 MB is refused at once, for scoring and for training", async ({ open }) => {
  const path = join(workshop(), "large.csv");
  const file = openSync(path, "w");
  writeSync(file, "x,y\n");
  const block = Buffer.from("123.456,789.012\n".repeat(65_536));
  for (let written = 0; written < 200 << 20; written += block.length) writeSync(file, block);
  closeSync(file);
  const page = await open("train");
  await give(page, "Data", path);
  await expect(page.getByRole("alert")).toContainText("The file has 200 MiB, and a page takes up to 100 MiB");
  await visit(page, "Try");
  await give(page, "Data", path);
  await expect(page.getByRole("alert")).toContainText("The file has 200 MiB, and a page takes up to 100 MiB");
  await goesOn(page);
});

const FILES: [string, Buffer, RegExp][] = [
  ["utf16.csv", Buffer.from("\uFEFFx,y\n1,2\n", "utf16le"), /encoded as UTF-16/],
  ["book.xlsx.csv", Buffer.from([0x50, 0x4b, 3, 4, 20, 0]), /ZIP archive/],
  ["binary.csv", Buffer.from([0x78, 0x2c, 0, 1, 2, 3]), /not text/],
  ["empty.csv", Buffer.alloc(0), /file is empty/],
  ["header.csv", Buffer.from("x,y\n"), /header and no rows/],
  ["list.ndjson", Buffer.from("[1,2]\n"), /not an object of fields/],
  ["broken.ndjson", Buffer.from("{oops\n"), /Line 1 is not JSON/],
];

test("files in a wrong encoding or of a wrong kind are told apart", async ({ open }) => {
  const page = await open("try");
  for (const [name, buffer, words] of FILES) {
    await give(page, "Data", { name, mimeType: "text/csv", buffer });
    await expect(page.getByRole("alert")).toContainText(words);
  }
  // Latin-1 shows only where the first letter beyond ASCII stands.
  const latin = { name: "latin.csv", mimeType: "text/csv", buffer: Buffer.concat([Buffer.from(`x\n${"1\n".repeat(20)}`), Buffer.from([0xe9, 10])]) };
  await give(page, "Module", wasm(byHand("traps")));
  await give(page, "Data", latin);
  await page.getByRole("button", { name: "Score all rows" }).click();
  await expect(page.getByRole("alert")).toContainText("not UTF-8");
  // A quote that is never closed makes one row of all that follows.
  const unclosed = { name: "quote.csv", mimeType: "text/csv", buffer: Buffer.from(`x\n1\n"${"2\n".repeat(2 << 20)}`) };
  await give(page, "Data", unclosed);
  await page.getByRole("button", { name: "Score all rows" }).click();
  await expect(page.getByRole("alert")).toContainText("Is a quote left open?");
  await visit(page, "Train");
  await give(page, "Data", latin);
  await expect(page.getByRole("alert")).toContainText("not UTF-8");
  await goesOn(page);
});
