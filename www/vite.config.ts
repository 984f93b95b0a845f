import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { defineConfig, type Plugin } from "vite";

export default defineConfig({
  base: "./",
  build: {
    target: "es2022",
    // Nothing inline: the content security policy forbids it.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 2500,
  },
  worker: { format: "es" },
  plugins: [serviceWorker()],
  test: { include: ["src/**/*.test.ts"] },
} as Parameters<typeof defineConfig>[0]);

/** Writes the list of the page's files, and a version made of their content, into the service worker. */
function serviceWorker(): Plugin {
  let out = "dist";
  return {
    name: "service-worker",
    apply: "build",
    configResolved: (config) => void (out = join(config.root, config.build.outDir)),
    closeBundle() {
      const files = readdirSync(out, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile() && entry.name !== "sw.js")
        .map((entry) => relative(out, join(entry.parentPath, entry.name)))
        .sort();
      const hash = createHash("sha256");
      for (const file of files) hash.update(file).update(readFileSync(join(out, file)));
      const template = readFileSync(join(import.meta.dirname, "src/sw.js"), "utf8");
      const list = JSON.stringify(["./", ...files.filter((file) => file !== "index.html")]);
      writeFileSync(join(out, "sw.js"), template.replace("__FILES__", list).replace("__VERSION__", hash.digest("hex").slice(0, 16)));
    },
  };
}
