import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import puppeteer from "puppeteer-core";
import { expect, served, test } from "./page";

/** Firefox, which Playwright knows only in a build of its own, through WebDriver BiDi. */
async function prove(url: string, patienceMs: number): Promise<string> {
  const browser = await puppeteer.launch({
    browser: "firefox",
    executablePath: process.env["TWINGE_FIREFOX"] ?? "/usr/bin/firefox-esr",
    headless: true,
    timeout: 60_000,
    protocolTimeout: patienceMs,
  });
  try {
    const page = await browser.newPage();
    await page.goto(`${url}#prove`, { waitUntil: "load" });
    const button = await page.waitForSelector("button.primary:not([disabled])", { timeout: 30_000 });
    await button?.click();
    const title = await page.waitForSelector(".notice-title", { timeout: patienceMs });
    return (await title?.evaluate((element) => element.textContent)) ?? "";
  } finally {
    await browser.close();
  }
}

const patienceMs = Number(process.env["TWINGE_PATIENCE_S"] ?? 100) * 1000;

test("Firefox gives the same bits", async ({ site }) => {
  test.setTimeout(patienceMs + 90_000);
  expect(await prove(site, patienceMs)).toBe("24,267 of 24,267 bit-identical");
});

test("kinds: Firefox gives the host's bits for every kind of detector", async () => {
  const kinds = process.env["TWINGE_KINDS"];
  test.skip(kinds === undefined || !existsSync(kinds), "TWINGE_KINDS names no folder: `cargo xtask page kinds` makes it");
  test.setTimeout(patienceMs + 90_000);
  const proofs = JSON.parse(readFileSync(join(kinds ?? "", "index.json"), "utf8")) as { count: number }[];
  const all = proofs.reduce((sum, { count }) => sum + count, 0).toLocaleString("en");
  await served(kinds, async (url) => {
    expect(await prove(url, patienceMs)).toBe(`${all} of ${all} bit-identical`);
  });
});
