import { spawn, type ChildProcess } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { serious } from "./axe";
import { expect, run, test as base, visit, watchFor, workshop } from "./page";

const TOKEN = "a token for the tests";
const MODULE = join(import.meta.dirname, "../public/detectors/machine-sensors.wasm");

interface Host {
  url: string;
  send: (lines: string) => Promise<void>;
  events: string;
}

async function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}

async function answers(url: string): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    if (await fetch(url).then((response) => response.ok, () => false)) return;
    await new Promise((done) => setTimeout(done, 50));
  }
  throw new Error(`${url} does not answer`);
}

/** A host with a console, stopped by its process id. */
const test = base.extend<{ host: (token: boolean) => Promise<Host> }>({
  // eslint-disable-next-line no-empty-pattern
  host: async ({}, use) => {
    const started: ChildProcess[] = [];
    await use(async (hasToken) => {
      const folder = workshop();
      const file = (name: string) => join(folder, name);
      writeFileSync(file("token"), TOKEN);
      run("trainer", "generate", "--world", "sensors", "--seed", "8", "--events", "3000", "--entities", "6", "--rate", "0.1", "--anomalies", "0.02", "--no-labels", "--out", file("events.ndjson"));
      const [port, listen] = [await freePort(), await freePort()];
      const args = ["--module", MODULE, "--allow-unsigned", "--listen", `127.0.0.1:${listen}`, "--console", `127.0.0.1:${port}`, "--page", join(import.meta.dirname, "../dist")];
      const outputs = ["--state", file("state"), "--verdicts", file("verdicts.ndjson"), "--dead-letters", file("dead.ndjson")];
      const bin = process.env["TWINGE_BIN"] ?? join(import.meta.dirname, "../../target/debug");
      const host = spawn(join(bin, "host"), [...args, ...outputs, ...(hasToken ? ["--console-token-file", file("token")] : [])], { stdio: "ignore" });
      started.push(host);
      const url = `http://127.0.0.1:${port}/`;
      await answers(`${url}v1/console`);
      await answers(`http://127.0.0.1:${listen}/livez`);
      const send = async (lines: string) => {
        const response = await fetch(`http://127.0.0.1:${listen}/v1/events`, { method: "POST", headers: { "Content-Type": "application/x-ndjson" }, body: lines });
        expect(response.status).toBe(202);
      };
      return { url, send, events: file("events.ndjson") };
    });
    for (const host of started) host.kill("SIGTERM");
    await Promise.all(started.map((host) => new Promise((done) => (host.exitCode === null ? host.once("exit", done) : done(null)))));
  },
});

test("verdicts arrive live, with detectors, lag, findings and alerts", async ({ host, page }) => {
  const { url, send, events } = await host(false);
  const wrong = watchFor(page);
  await page.goto(url);
  await expect(page.getByRole("heading", { name: "Console", level: 1 })).toBeVisible();
  await expect(page.getByText("It is read-only here.")).toBeVisible();
  await expect(page.getByText("No verdict yet.")).toBeVisible();
  await send(readFileSync(events, "utf8"));
  const detector = page.getByRole("region", { name: "machine-sensors, partition" });
  await expect(detector.getByText("3,000", { exact: true })).toBeVisible();
  await expect(page.getByRole("img", { name: /Score of the latest 480 verdicts/ })).toBeVisible();
  await expect(page.locator(".finding meter").first()).toBeVisible();
  await expect(page.getByText("Nothing to look after")).toBeVisible();
  await send("oops\n".repeat(600));
  await expect(page.getByText(/17 % of the events are dead letters/)).toBeVisible();
  await expect(page.locator(".finding").getByText("dead letter").first()).toBeVisible();
  for (const theme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme: theme });
    for (const width of [360, 768, 1440]) {
      await page.setViewportSize({ width, height: 900 });
      await page.waitForTimeout(150);
      expect(await page.evaluate(() => document.documentElement.scrollWidth), `width ${width}`).toBeLessThanOrEqual(width);
      expect(await serious(page), `${theme}, width ${width}`).toEqual([]);
      const folder = process.env["TWINGE_SCREENSHOTS"];
      if (folder !== undefined) await page.screenshot({ path: `${folder}/console-${width}-${theme}.png`, fullPage: true });
    }
  }
  // The other views are there too, under the host's own policy.
  await visit(page, "Prove");
  await page.getByRole("button", { name: "Score and compare" }).click();
  await expect(page.getByText("24,267 of 24,267 bit-identical")).toBeVisible({ timeout: 60_000 });
  expect(wrong).toEqual([]);
});

test("with the token, and only with it, events are sent from the console", async ({ host, page }) => {
  const { url } = await host(true);
  await page.goto(url);
  const event = '{"sensor":"s1","time":"2026-01-01T00:00:00Z","temperature_c":40,"vibration_mm_s":2,"pressure_kpa":300,"current_a":8,"mode":"run"}';
  await page.getByLabel("One JSON object a line").fill(event);
  await page.getByLabel("Token").fill("not the right token");
  await page.getByRole("button", { name: "Send" }).click();
  await expect(page.getByText("This needs the console's token.")).toBeVisible();
  await page.getByLabel("Token").fill(TOKEN);
  await page.getByRole("button", { name: "Send" }).click();
  await expect(page.getByText("1 event taken.")).toBeVisible();
  await expect(page.getByRole("img", { name: "Score of the latest 1 verdict; 0 reach the threshold of 1" })).toBeVisible();
});
