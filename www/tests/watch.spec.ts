import { expect, test } from "./page";

test("opens on a stream that moves, scored by the module whose digest it tells", async ({ open }) => {
  const page = await open();
  await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
  const scored = page.getByTestId("scored");
  await expect(scored).not.toHaveText("0");
  const before = Number((await scored.innerText()).replaceAll(",", ""));
  await expect.poll(async () => Number((await scored.innerText()).replaceAll(",", ""))).toBeGreaterThan(before + 20);
  const shipped = await page.evaluate(async () => {
    const [first] = (await (await fetch("detectors/index.json")).json()) as { file: string; digest: string }[];
    const bytes = await (await fetch(first?.file ?? "")).arrayBuffer();
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    return { told: first?.digest, found: [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("") };
  });
  expect(shipped.told).toBe(shipped.found);
  await expect(page.getByTitle(shipped.found)).toBeVisible();
  await expect(page.getByText(/^[\d,]+ events\/s$/)).toBeVisible();
});

for (const [label, planted] of [
  ["Spike", "spike"],
  ["Drift", "drift"],
  ["Stuck sensor", "stuck"],
  ["Vibration burst", "burst"],
] as const) {
  test(`a ${label.toLowerCase()} that is put in is found, and attributed`, async ({ open }) => {
    const page = await open();
    await page.getByRole("radio", { name: "16×" }).check({ force: true });
    await expect(page.getByTestId("scored")).not.toHaveText("0");
    await page.getByRole("button", { name: label }).click();
    const finding = page.locator(`.finding[data-planted=${planted}]`).first();
    await expect(finding).toBeVisible({ timeout: 30_000 });
    await expect(finding.locator("meter").first()).toBeVisible();
  });
}

test("a fraud burst is found among cards", async ({ open }) => {
  const page = await open();
  await page.getByRole("radio", { name: "Card payments" }).check({ force: true });
  await page.getByRole("radio", { name: "16×" }).check({ force: true });
  await page.getByRole("button", { name: "Fraud burst" }).click();
  const finding = page.locator(".finding[data-planted=card_burst]").first();
  await expect(finding).toBeVisible({ timeout: 30_000 });
  await expect(finding.getByText("amount", { exact: true })).toBeVisible();
});

test("the keyboard pauses and goes on", async ({ open }) => {
  const page = await open();
  const scored = page.getByTestId("scored");
  await expect(scored).not.toHaveText("0");
  await page.locator("main").focus();
  await page.keyboard.press("Space");
  await expect(page.getByRole("button", { name: "Go on" })).toBeVisible();
  await page.waitForTimeout(300);
  const still = await scored.innerText();
  await page.waitForTimeout(600);
  expect(await scored.innerText()).toBe(still);
  await page.keyboard.press("Space");
  await expect(scored).not.toHaveText(still);
});
