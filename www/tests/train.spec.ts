import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, give, run, test, workshop } from "./page";

const TRAINED = { timeout: 50_000 };

test("the module is the one that native training gives, and the agent runs it", async ({ open, page }) => {
  const folder = workshop();
  const data = join(folder, "pump sensors.csv");
  run("trainer", "generate", "--world", "sensors", "--seed", "3", "--events", "6000", "--entities", "8", "--rate", "0.1", "--anomalies", "0.02", "--out", data);
  await open("train");
  await give(page, "Data", data);
  await expect(page.getByText("Column `anomaly` looks like a label and is left out.")).toBeVisible(TRAINED);
  await expect(page.getByLabel("Name of the detector")).toHaveValue("pump-sensors");
  await expect(page.getByRole("combobox", { name: "sensor", exact: true })).toHaveValue("entity");
  await page.getByLabel("False alarms, % of normal events").fill("0.3");
  await page.getByLabel("Seed").fill("7");
  await page.getByRole("button", { name: "Train", exact: true }).click();
  await expect(page.getByRole("heading", { name: "pump-sensors is trained" })).toBeVisible(TRAINED);
  await expect(page.getByText("AUC-ROC, by the labels")).toBeVisible();
  await expect(page.getByText("This module is unsigned")).toBeVisible();

  const files: Record<string, string> = {};
  for (const name of ["detector.wasm", "detector.toml"]) {
    const waiting = page.waitForEvent("download");
    await page.getByRole("button", { name }).click();
    files[name] = join(folder, name);
    await (await waiting).saveAs(files[name]);
  }
  const native = join(folder, "native.wasm");
  run("trainer", "train", "--unsigned", "--seed", "7", "--data", data, "--config", files["detector.toml"] ?? "", "--out", native);
  const digest = (file: string) => createHash("sha256").update(readFileSync(file)).digest("hex");
  expect(digest(files["detector.wasm"] ?? "")).toBe(digest(native));
  await expect(page.getByTitle(digest(native))).toBeVisible();

  const events = join(folder, "events.ndjson");
  run("trainer", "generate", "--world", "sensors", "--seed", "4", "--events", "500", "--entities", "8", "--rate", "0.1", "--no-labels", "--out", events);
  const verdicts = run("edge-agent", "run", "--module", files["detector.wasm"] ?? "", "--allow-unsigned", "--replay", events, "--state", join(folder, "state"), "--verdicts", "-", "--dead-letters", join(folder, "dead.ndjson"));
  expect(verdicts.trimEnd().split("\n")).toHaveLength(500);
});

test("training is cancelled at once, and begins again", async ({ open }) => {
  const folder = workshop();
  const data = join(folder, "cards.csv");
  run("trainer", "generate", "--world", "cards", "--seed", "3", "--events", "60000", "--entities", "300", "--out", data);
  const page = await open("train");
  await give(page, "Data", data);
  await page.getByRole("button", { name: "Train", exact: true }).click(TRAINED);
  await expect(page.getByRole("progressbar")).toBeVisible();
  await page.getByRole("button", { name: "Cancel" }).click();
  await expect(page.getByRole("button", { name: "Train", exact: true })).toBeVisible({ timeout: 2000 });
  await page.getByRole("combobox", { name: "Detector", exact: true }).selectOption("histogram");
  await page.getByRole("button", { name: "Train", exact: true }).click();
  await expect(page.getByRole("heading", { name: "cards is trained" })).toBeVisible(TRAINED);
});

test("what is wrong with a file or a setting is told in words", async ({ open }) => {
  const folder = workshop();
  const page = await open("train");
  const file = (name: string, text: string | Buffer) => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const rows = Array.from({ length: 300 }, (_, row) => `${row % 7},${(row * 31) % 11}`);
  await give(page, "Data", file("few.csv", `x,y\n${rows.slice(0, 5).join("\n")}\n`));
  await page.getByRole("button", { name: "Train", exact: true }).click(TRAINED);
  await expect(page.getByRole("alert")).toContainText("rows");
  await give(page, "Data", file("bad.csv", `x,y\n${rows.join("\n")}\n1,oops\n`));
  await page.getByRole("combobox", { name: "y", exact: true }).selectOption("number");
  await page.getByRole("button", { name: "Train", exact: true }).click(TRAINED);
  await expect(page.getByRole("alert")).toContainText("Line 302, column `y`: `oops` is not a number");
  await page.getByLabel("Name of the detector").fill("Not A Name");
  await expect(page.getByText("The name must have 1 to 64 of a-z, 0-9 and -.")).toBeVisible();
  await expect(page.getByRole("button", { name: "Train", exact: true })).toBeDisabled();
});
