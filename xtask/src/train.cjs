// Trains with the wasm32 build of the trainer and prints the module's SHA-256.
const { createHash } = require("node:crypto");
const { readFileSync } = require("node:fs");
const { basename, join } = require("node:path");

const [bindings, data, config, seed] = process.argv.slice(2);
const { train } = require(join(bindings, "twinge_bindings.js"));
const trained = train(readFileSync(data), basename(data), readFileSync(config, "utf8"), BigInt(seed), undefined);
console.log(createHash("sha256").update(trained.module()).digest("hex"));
