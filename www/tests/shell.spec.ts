import type { Page } from "@playwright/test";
import { gzipSync } from "node:zlib";
import { serious } from "./axe";
import { expect, test, visit } from "./page";

/** Bytes that the first view may take, compressed. */
const FIRST_VIEW_MAX = 300_000;

test("the first view is small", async ({ open, page }) => {
  const sizes = new Map<string, number>();
  page.on("response", (response) => {
    void response.body().then((body) => {
      const isPacked = response.url().endsWith(".woff2");
      sizes.set(new URL(response.url()).pathname, isPacked ? body.length : gzipSync(body, { level: 9 }).length);
    }, () => undefined);
  });
  await open();
  await expect(page.getByTestId("scored")).not.toHaveText("0");
  await page.waitForTimeout(1000);
  const all = [...sizes.values()].reduce((sum, size) => sum + size, 0);
  console.log(`first view: ${all} bytes compressed in ${sizes.size} files`);
  expect(sizes.size).toBeGreaterThan(5);
  expect(all).toBeLessThan(FIRST_VIEW_MAX);
});

test("the page works without a network once it was loaded", async ({ open, context }) => {
  const page = await open();
  await page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined));
  await context.setOffline(true);
  await page.reload();
  await expect(page.getByTestId("scored")).not.toHaveText("0");
  await visit(page, "Try");
  await page.getByRole("button", { name: "Take the sample" }).click();
  await page.getByRole("button", { name: "Score all rows" }).click();
  await expect(page.getByTestId("summary")).toContainText("in 4,267 rows");
  await visit(page, "Prove");
  await page.getByRole("button", { name: "Score and compare" }).click();
  await expect(page.getByText("24,267 of 24,267 bit-identical")).toBeVisible({ timeout: 60_000 });
});

test("the policy allows wasm and nothing that is inline", async ({ open }) => {
  const page = await open();
  const policy = await page.evaluate(async () => (await fetch(".")).headers.get("content-security-policy"));
  expect(policy).toContain("script-src 'self' 'wasm-unsafe-eval';");
  const meta = await page.locator("meta[http-equiv=Content-Security-Policy]").getAttribute("content");
  expect(`${meta}; frame-ancestors 'none'`).toBe(policy);
  expect(await page.locator("style, script:not([src]), [style]:not(.uplot *, .uplot)").count()).toBe(0);
});

/** The views, and what to do so that there is something to see. */
const VIEWS: Record<string, (page: Page) => Promise<void>> = {
  watch: async (page) => {
    await expect(page.getByTestId("scored")).not.toHaveText("0");
    await page.getByRole("button", { name: "Spike" }).click();
    await expect(page.locator(".finding").first()).toBeVisible();
  },
  try: async (page) => {
    await page.getByRole("button", { name: "Take the sample" }).click();
    await page.getByRole("button", { name: "Score all rows" }).click();
    await expect(page.locator(".anomaly").first()).toBeVisible();
  },
  train: async (page) => {
    const lines = Array.from({ length: 400 }, (_, row) => `${new Date(1_767_225_600_000 + row * 60_000).toISOString()},m${row % 4},${(row * 37) % 101},${(row * 11) % 13}`);
    const buffer = Buffer.from(`time,machine,pressure_kpa,flow\n${lines.join("\n")}\n`);
    await page.locator("input[type=file]").setInputFiles({ name: "pumps.csv", mimeType: "text/csv", buffer });
    await page.getByRole("button", { name: "Train", exact: true }).click({ timeout: 30_000 });
    await expect(page.getByRole("heading", { name: "pumps is trained" })).toBeVisible({ timeout: 30_000 });
  },
  prove: async (page) => {
    await page.getByRole("button", { name: "Score and compare" }).click();
    await expect(page.locator(".notice-good")).toBeVisible({ timeout: 60_000 });
  },
};

for (const [view, prepare] of Object.entries(VIEWS)) {
  for (const theme of ["light", "dark"] as const) {
    test(`${view} in ${theme}: axe finds nothing serious, at three widths`, async ({ open, page }, info) => {
      await page.emulateMedia({ colorScheme: theme, reducedMotion: "reduce" });
      await open(view);
      expect(await serious(page), "before anything was done").toEqual([]);
      await prepare(page);
      for (const width of [360, 768, 1440]) {
        await page.setViewportSize({ width, height: 900 });
        await page.waitForTimeout(150);
        expect(await page.evaluate(() => document.documentElement.scrollWidth), `width ${width}`).toBeLessThanOrEqual(width);
        expect(await serious(page), `width ${width}`).toEqual([]);
        const folder = process.env["TWINGE_SCREENSHOTS"] ?? info.outputDir;
        await page.screenshot({ path: `${folder}/${view}-${width}-${theme}.png`, fullPage: true });
      }
    });
  }
}

test("every view is reached and named by keyboard alone", async ({ open }) => {
  const page = await open();
  await page.keyboard.press("Tab");
  await expect(page.getByRole("link", { name: "Skip to content" })).toBeFocused();
  for (const view of ["Try", "Train", "Prove", "Watch"]) {
    await page.getByRole("link", { name: view, exact: true }).focus();
    await page.keyboard.press("Enter");
    await expect(page.getByRole("link", { name: view, exact: true })).toHaveAttribute("aria-current", "page");
    await expect(page).toHaveTitle(`${view} · Twinge`);
    await expect(page.locator("main")).toBeFocused();
    await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
  }
});
