import type { Page } from "@playwright/test";
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, give, run, test, workshop } from "./page";

const CARDS = join(import.meta.dirname, "../public/detectors/card-payments.wasm");

async function save(page: Page, button: string): Promise<string> {
  const waiting = page.waitForEvent("download");
  await page.getByRole("button", { name: button, exact: true }).click();
  return readFileSync(await (await waiting).path(), "utf8");
}

/** What the host writes for a file. */
function host(folder: string, events: string): { verdicts: string; deadLetters: string } {
  const file = (name: string) => join(folder, name);
  run("host", "--module", CARDS, "--allow-unsigned", "--replay", events, "--state", file("state"), "--verdicts", file("v.ndjson"), "--dead-letters", file("d.ndjson"));
  return { verdicts: readFileSync(file("v.ndjson"), "utf8"), deadLetters: readFileSync(file("d.ndjson"), "utf8") };
}

test("NDJSON: verdicts and dead letters are those of the host, to the byte", async ({ open, page }) => {
  const folder = workshop();
  const events = join(folder, "events.ndjson");
  run("trainer", "generate", "--world", "cards", "--seed", "5", "--events", "6000", "--entities", "90", "--rate", "0.02", "--anomalies", "0.03", "--missing", "0.05", "--no-labels", "--out", events);
  appendFileSync(events, '\n{"card":"c","time":"2026-01-01T00:00:00Z","amount":"much"}\nnonsense\n{"time":"2026-01-01T00:00:00Z"}\n{"card":"grüße \\u0001","time":"2026-01-02T00:00:00.120Z"}\n');
  await open("try");
  await give(page, "Module", CARDS);
  await expect(page.getByRole("region", { name: "Module" }).getByText("isolation-forest + tails + ratio")).toBeVisible();
  await give(page, "Data", events);
  await expect(page.getByRole("columnheader", { name: "merchant_risk" })).toBeVisible();
  await page.getByRole("button", { name: "Score all rows" }).click();
  await expect(page.getByTestId("summary")).toContainText("in 6,001 rows");
  const expected = host(folder, events);
  expect(await save(page, "Verdicts")).toBe(expected.verdicts);
  // Two readers of JSON find other words for what is wrong with a text.
  const letters = (text: string) => text.trimEnd().split("\n").map((line) => JSON.parse(line.replace(/event is not JSON: [^"]*/, "event is not JSON")) as object);
  const [found, wanted] = [letters(await save(page, "Dead letters")), letters(expected.deadLetters)];
  expect(found).toEqual(wanted);
});

test("CSV: columns are mapped, and scores are those of `trainer score`", async ({ open }) => {
  const folder = workshop();
  const data = join(folder, "cards.csv");
  run("trainer", "generate", "--world", "cards", "--seed", "6", "--events", "3000", "--entities", "40", "--rate", "0.02", "--anomalies", "0.03", "--missing", "0.05", "--out", data);
  const page = await open("try");
  // Another name for a column: the page must ask.
  const renamed = join(folder, "renamed.csv");
  writeFileSync(renamed, readFileSync(data, "utf8").replace("time,card,amount", "when,Card,amount"));
  await give(page, "Module", CARDS);
  await give(page, "Data", renamed);
  await expect(page.getByText("Choose the column for the time, `time`.")).toBeVisible();
  await expect(page.getByRole("button", { name: "Score all rows" })).toBeDisabled();
  await expect(page.getByLabel("card entity")).toHaveValue("Card");
  await page.getByLabel("time time").selectOption("when");
  await page.getByRole("button", { name: "Score all rows" }).click();
  await expect(page.getByTestId("summary")).toContainText("in 3,000 rows");
  const verdicts = (await save(page, "Verdicts")).trimEnd().split("\n").map((line) => JSON.parse(line) as { data: { verdict: string; score: number } });
  const scores = run("trainer", "score", "--module", CARDS, "--allow-unsigned", "--data", data).trimEnd().split("\n").slice(1).map((line) => line.split(","));
  expect(verdicts.map(({ data }) => [data.verdict, data.score])).toEqual(scores.map(([, score, verdict]) => [verdict, Number(score)]));
});

test("anomalies are looked through a page at a time", async ({ open }) => {
  const page = await open("try");
  await page.getByRole("button", { name: "Take the sample" }).click();
  await page.getByRole("button", { name: "Score all rows" }).click();
  await expect(page.getByTestId("summary")).toHaveText(/\d+ anomal(y|ies) in 4,267 rows/);
  const scores = page.locator(".anomaly .finding-score");
  const highest = (await scores.allInnerTexts()).map(Number);
  expect(highest).toEqual(highest.toSorted((a, b) => b - a));
  await page.getByRole("radio", { name: "As in the file" }).check({ force: true });
  await expect.poll(async () => {
    const times = await page.locator(".anomaly time").allInnerTexts();
    return times.length > 1 && times.join() === times.toSorted().join();
  }).toBe(true);
});

test("a run can be cancelled, and the next one works", async ({ open }) => {
  const folder = workshop();
  const data = join(folder, "many.ndjson");
  run("trainer", "generate", "--world", "cards", "--seed", "5", "--events", "200000", "--entities", "90", "--no-labels", "--out", data);
  const page = await open("try");
  await give(page, "Module", CARDS);
  await give(page, "Data", data);
  await page.getByRole("button", { name: "Score all rows" }).click();
  await expect(page.getByText(/[1-9][\d,]* rows scored/)).toBeVisible();
  await page.getByRole("button", { name: "Cancel" }).click();
  await expect(page.getByRole("button", { name: "Score all rows" })).toBeVisible();
  await page.getByRole("button", { name: "Score all rows" }).click();
  await expect(page.getByTestId("summary")).toContainText("in 200,000 rows", { timeout: 50_000 });
});
