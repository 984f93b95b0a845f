import { defineConfig } from "@playwright/test";

const patience = Number(process.env["TWINGE_PATIENCE_S"] ?? 60) * 1000;

/** The browser is Debian's: Playwright's own builds are downloads of their own. */
export default defineConfig({
  testDir: "tests",
  outputDir: "../target/page-browse",
  workers: 2,
  fullyParallel: false,
  forbidOnly: process.env["CI"] === "true",
  retries: 0,
  timeout: patience,
  expect: { timeout: 15_000 },
  reporter: [["list"]],
  use: {
    launchOptions: {
      executablePath: process.env["TWINGE_CHROMIUM"] ?? "/usr/bin/chromium",
      // Root has no sandbox of its own.
      args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
      timeout: 30_000,
    },
    viewport: { width: 1280, height: 860 },
    actionTimeout: 15_000,
  },
  projects: [
    { name: "tests", testMatch: /.*\.spec\.ts/ },
    { name: "bench", testMatch: /.*\.bench\.ts/, timeout: 600_000 },
  ],
});
