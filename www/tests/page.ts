/** What the tests of the page share: its server, its programs, and a watch over what must not happen. */

import { test as base, expect, type Page } from "@playwright/test";
import { execFileSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import type { Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { serve } from "../tools/serve.mjs";

interface Served {
  server: Server;
  url: string;
}

/** Serves the built page for as long as `work` takes. */
export async function served(prove: string | undefined, work: (url: string) => Promise<void>): Promise<void> {
  const { server, url } = (await serve({ port: 0, ...(prove === undefined ? {} : { prove }) })) as Served;
  try {
    await work(url);
  } finally {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  }
}

/** A page that breaks no rule: no error, nothing that the content security policy refused. */
export const test = base.extend<{ open: (view?: string) => Promise<Page> }, { site: string }>({
  site: [
    // Playwright wants a pattern there.
    // eslint-disable-next-line no-empty-pattern
    async ({}, use) => served(undefined, use),
    { scope: "worker" },
  ],
  open: async ({ page, site }, use) => {
    const wrong = watchFor(page);
    await use(async (view = "watch") => {
      await page.goto(`${site}#${view}`);
      return page;
    });
    expect(wrong).toEqual([]);
  },
});

export { expect };

/** Errors of a page as they come. */
export function watchFor(page: Page): string[] {
  const wrong: string[] = [];
  page.on("pageerror", (error) => wrong.push(`error: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error") wrong.push(`console: ${message.text()}`);
  });
  return wrong;
}

/** An empty folder. */
export function workshop(): string {
  return mkdtempSync(join(tmpdir(), "twinge page "));
}

/** Runs one of the programs. */
export function run(program: string, ...args: string[]): string {
  const bin = process.env["TWINGE_BIN"] ?? join(import.meta.dirname, "../../target/debug");
  return execFileSync(join(bin, program), args, {
    encoding: "utf8",
    timeout: 120_000,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, RUST_LOG: "warn" },
  });
}

/** Longest task of the page's own thread so far, in milliseconds. Call `watchTasks` before the page is opened. */
export async function longestTask(page: Page): Promise<number> {
  return page.evaluate(() => Math.max(0, ...((window as unknown as { longTasks?: number[] }).longTasks ?? [])));
}

export async function watchTasks(page: Page): Promise<void> {
  await page.addInitScript(() => {
    const tasks: number[] = [];
    (window as unknown as { longTasks: number[] }).longTasks = tasks;
    new PerformanceObserver((list) => tasks.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: "longtask", buffered: true });
  });
}

/** Goes to another view. The one before is there until its link is no longer the current one, and would take a file. */
export async function visit(page: Page, view: string): Promise<void> {
  const link = page.getByRole("link", { name: view, exact: true });
  await link.click();
  await expect(link).toHaveAttribute("aria-current", "page");
}

/** Chooses a file where a person would drop it. */
export async function give(page: Page, region: string, file: string | { name: string; mimeType: string; buffer: Buffer }): Promise<void> {
  await page.getByRole("region", { name: region, exact: true }).locator("input[type=file]").setInputFiles(file);
}
