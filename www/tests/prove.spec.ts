import { readFileSync, existsSync } from "node:fs";
import { join } from "node:path";
import { expect, served, test, watchFor } from "./page";

test("all scores and verdicts are those of host and agent", async ({ open }) => {
  const page = await open("prove");
  await page.getByRole("button", { name: "Score and compare" }).click();
  await expect(page.getByText("24,267 of 24,267 bit-identical")).toBeVisible({ timeout: 60_000 });
  await expect(page.locator(".proof[data-state=same]")).toHaveCount(3);
});

test("one bit that differs is found and told", async ({ open, page }) => {
  await page.route("**/prove/card-payments.scores", async (route) => {
    const response = await route.fetch();
    const body = Buffer.from(await response.body());
    body[8 * 1234] = (body[8 * 1234] ?? 0) ^ 1;
    await route.fulfill({ response, body });
  });
  await open("prove");
  await page.getByRole("button", { name: "Score and compare" }).click();
  await expect(page.getByText("24,266 of 24,267 bit-identical")).toBeVisible({ timeout: 60_000 });
  await expect(page.getByText("Event 1,234: here")).toBeVisible();
});

test("kinds: every kind of detector gives the host's bits", async ({ page }) => {
  const kinds = process.env["TWINGE_KINDS"];
  test.skip(kinds === undefined || !existsSync(kinds), "TWINGE_KINDS names no folder: `cargo xtask page kinds` makes it");
  const proofs = JSON.parse(readFileSync(join(kinds ?? "", "index.json"), "utf8")) as { count: number }[];
  expect(proofs.length).toBeGreaterThanOrEqual(12);
  const all = proofs.reduce((sum, { count }) => sum + count, 0).toLocaleString("en");
  const wrong = watchFor(page);
  await served(kinds, async (url) => {
    await page.goto(`${url}#prove`);
    await page.getByRole("button", { name: "Score and compare" }).click();
    await expect(page.getByText(`${all} of ${all} bit-identical`)).toBeVisible({ timeout: Number(process.env["TWINGE_PATIENCE_S"] ?? 60) * 1000 });
  });
  expect(wrong).toEqual([]);
});
