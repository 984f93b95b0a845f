#!/usr/bin/env node
/**
 * Serves the built page on this machine, with the headers that it is meant to have.
 *
 * usage: node serve.mjs [--port N] [--prove FOLDER]
 *   --port   port on 127.0.0.1; 0, which is the default, takes a free one, and it is printed
 *   --prove  another folder of proofs than the page's own
 */

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize, sep } from "node:path";
import { pipeline } from "node:stream";
import { parseArgs } from "node:util";
import { createGzip } from "node:zlib";

const TYPES = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".ndjson": "application/x-ndjson",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
  ".webmanifest": "application/manifest+json",
  ".woff2": "font/woff2",
};

export const POLICY =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; font-src 'self'; " +
  "connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const DIST = new URL("../dist/", import.meta.url).pathname;

/** The file that an address means; null if it lies outside. */
function fileOf(url, prove) {
  const path = normalize(decodeURIComponent(new URL(url, "http://localhost").pathname));
  if (path.split(sep).includes("..")) return null;
  if (prove !== undefined && path.startsWith("/prove/")) return join(prove, path.slice("/prove/".length));
  return join(DIST, path.endsWith("/") ? `${path}index.html` : path);
}

/** @param {{port?: number, prove?: string}} settings */
export function serve({ port = 0, prove } = {}) {
  const server = createServer(async (request, response) => {
    const headers = { "Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache" };
    const refuse = (status) => response.writeHead(status, headers).end();
    if (request.method !== "GET" && request.method !== "HEAD") return refuse(405);
    const file = fileOf(request.url ?? "/", prove);
    const found = file === null ? null : await stat(file).catch(() => null);
    if (file === null || !found?.isFile()) return refuse(404);
    const isPacked = (request.headers["accept-encoding"] ?? "").includes("gzip") && extname(file) !== ".woff2";
    response.writeHead(200, {
      ...headers,
      "Content-Type": TYPES[extname(file)] ?? "application/octet-stream",
      ...(isPacked ? { "Content-Encoding": "gzip" } : { "Content-Length": found.size }),
    });
    if (request.method === "HEAD") return response.end();
    const source = createReadStream(file);
    // Whoever went away before the end needs no answer.
    const done = () => undefined;
    if (isPacked) pipeline(source, createGzip({ level: 9 }), response, done);
    else pipeline(source, response, done);
  });
  return new Promise((resolve) => {
    server.listen(port, "127.0.0.1", () => resolve({ server, url: `http://127.0.0.1:${server.address().port}/` }));
  });
}

if (process.argv[1] !== undefined && import.meta.url.endsWith(process.argv[1].split(sep).at(-1) ?? "")) {
  const { values } = parseArgs({ options: { port: { type: "string", default: "0" }, prove: { type: "string" } } });
  const { url } = await serve({ port: Number(values.port), prove: values.prove });
  console.log(url);
}
