/**
 * Tests of twinge.mjs and score.mjs: `node --test www/runtime/twinge.test.mjs`. Those of a trained
 * module take its path from TWINGE_TEST_MODULE and are skipped without it; the others assemble
 * their modules themselves.
 */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { CallError, EventReader, LoadError, Runner, categoryCode, fnv1a, loadDetector, readTimeText, readVerdict } from "./twinge.mjs";

const MODULE = process.env.TWINGE_TEST_MODULE;
const SEED = Number(process.env.TWINGE_TEST_SEED ?? 1);

describe("category codes", () => {
  test("the hash is the published one", () => {
    // Test vectors of the FNV draft, appendix C.
    const vectors = { "": "cbf29ce484222325", a: "af63dc4c8601ec8c", b: "af63df4c8601f1a5", foobar: "85944171f73967e8" };
    for (const [text, expected] of Object.entries(vectors)) {
      assert.equal(hashOf(text), expected, text);
    }
  });

  test("a code is the upper 52 bits of the hash", () => {
    for (const text of ["", "a", "DE", "grüße", "日本", "😀", "a long category name with spaces"]) {
      assert.equal(categoryCode(text), Number(BigInt(`0x${hashOf(text)}`) >> 12n), text);
      assert.equal(BigInt(`0x${hashOf(text)}`), slowHash(text), text);
    }
  });

  function hashOf(text) {
    const { high, low } = fnv1a(new TextEncoder().encode(text));
    return high.toString(16).padStart(8, "0") + low.toString(16).padStart(8, "0");
  }

  function slowHash(text) {
    const step = (hash, byte) => BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
    return new TextEncoder().encode(text).reduce(step, 0xcbf29ce484222325n);
  }
});

describe("times", () => {
  test("are read in each format", () => {
    const cases = [
      ["rfc3339", "1970-01-01T00:00:01Z", 1000],
      ["rfc3339", "1970-01-01T01:00:01+01:00", 1000],
      ["rfc3339", "1970-01-01 00:00:01", 1000],
      ["rfc3339", " 1970-01-02 ", 86_400_000],
      ["rfc3339", "19700102T000001Z", 86_401_000],
      ["rfc3339", "2024-02-29T23:59:60Z", 1_709_251_199_000],
      ["rfc3339", "0099-12-31", -59_011_545_600_000],
      ["rfc3339", "1969-12-31T23:59:59.9999Z", 0],
      ["rfc3339", "2026-01-31T12:00:00.1239+01:00[Europe/Berlin]", 1_769_857_200_123],
      ["rfc3339", "2023-02-29", null],
      ["rfc3339", "yesterday", null],
      ["rfc3339", "1700000000", null],
      ["epoch-s", "1.5", 1500],
      ["epoch-s", "-0.0005", -1],
      ["epoch-ms", "1500", 1500],
      ["epoch-ms", "nan", null],
      ["epoch-ms", "0x10", null],
      ["epoch-s", "1e300", null],
    ];
    for (const [format, text, expected] of cases) {
      assert.equal(readTimeText(text, format), expected, `${format} ${text}`);
    }
  });
});

describe("events", () => {
  const schema = { entity: "card", time: "time", numeric: ["amount"], categorical: ["country"] };
  const read = (event, given = schema) => new EventReader(given).read(event);

  test("a bare event and its CloudEvent give the same row", () => {
    const bare = '{"card":"c1","time":"1970-01-01T00:00:01Z","amount":2.5,"country":"DE","other":[1,{"x":2}]}';
    const cloud = '{"specversion":"1.0","id":"7","source":"/pos","type":"t","data":{"card":"c1","time":"1970-01-01T00:00:01Z","amount":2.5,"country":"DE"}}';
    const base64 = `{"specversion":"1.0","id":"7","source":"/pos","type":"t","data_base64":"${btoa(bare)}"}`;
    const expected = { entity: "c1", timeMs: 1000, inputs: Float64Array.of(2.5, categoryCode("DE")) };
    for (const event of [bare, cloud, base64, new TextEncoder().encode(bare)]) {
      assert.deepEqual(read(event), expected);
    }
  });

  test("subject and time of a CloudEvent stand in", () => {
    const { entity, timeMs, inputs } = read(
      '{"specversion":"1.0","id":"7","source":"/pos","type":"t","subject":"c9","time":"1970-01-01T00:00:02Z","data":{"amount":1}}',
    );
    assert.deepEqual([entity, timeMs], ["c9", 2000]);
    assert.ok(Number.isNaN(inputs[1]), "a missing category is a missing value");
  });

  test("bad events are told apart", () => {
    const cases = [
      ["", "not-json"],
      ['{"card":', "not-json"],
      ["{} x", "not-json"],
      ['{"card":"c",}', "not-json"],
      ['{"card":01}', "not-json"],
      ['{"card":"\\ud800"}', "not-json"],
      ["\ufeff{}", "not-json"],
      [Uint8Array.of(0x7b, 0xff, 0x7d), "not-json"],
      ["[1,2]", "not-an-object"],
      ['"text"', "not-an-object"],
      ['{"specversion":"1.0","id":"1","source":"/","type":"t"}', "not-an-object"],
      ["{}", "no-entity"],
      ['{"card":""}', "no-entity"],
      [`{"card":"${"ü".repeat(129)}"}`, "entity-too-long"],
      ['{"card":"c"}', "no-time"],
      ['{"card":"c","time":"soon"}', "unreadable-time"],
      ['{"card":"c","time":1}', "unreadable-time"],
      ['{"card":"c","time":"1970-01-01","amount":"12"}', "not-a-number"],
      ['{"card":"c","time":"1970-01-01","amount":1e999}', "not-json"],
      ['{"card":"c","time":"1970-01-01","country":["DE"]}', "not-a-category"],
    ];
    for (const [event, reason] of cases) {
      assert.throws(() => read(event), { reason }, String(event));
    }
  });

  test("values are taken as they are meant", () => {
    const cases = [
      ['{"x":true,"c":false}', 1, "false"],
      ['{"x":false,"c":12}', 0, "12"],
      ['{"x":null,"c":null}', NaN, null],
      ['{"c":""}', NaN, null],
      ['{"x":1,"x":null,"c":1.0}', 1, "1"],
      ['{"x":9007199254740993,"c":9007199254740993}', 9007199254740992, "9007199254740993"],
      ['{"x":-0,"c":-0}', -0, "-0"],
      ['{"x":1e21,"c":1e21}', 1e21, "1000000000000000000000"],
      ['{"x":1.5e-7,"c":1.5e-7}', 1.5e-7, "0.00000015"],
      ['{"other":1e999,"c":"\\u0044E"}', NaN, "DE"],
    ];
    for (const [event, number, category] of cases) {
      const { entity, timeMs, inputs } = read(event, { numeric: ["x"], categorical: ["c"] });
      assert.deepEqual([entity, timeMs], ["all", null]);
      assert.deepEqual([...inputs], [number, category === null ? NaN : categoryCode(category)], event);
    }
  });
});

describe("modules", () => {
  test("one that imports is refused", async () => {
    // (module (import "env" "now" (func)))
    const bytes = [0x01, 0x04, 0x01, 0x60, 0x00, 0x00, 0x02, 0x0b, 0x01, 0x03, 0x65, 0x6e, 0x76, 0x03, 0x6e, 0x6f, 0x77, 0x00, 0x00];
    const module = [...HEADER, ...bytes, ...customSection("twinge.manifest", JSON.stringify(MANIFEST))];
    await assert.rejects(loadDetector(Uint8Array.from(module)), refusal("imports `env.now`"));
  });

  test("what is no detector module is refused", async () => {
    const cases = [
      [[1, 2, 3], "does not compile"],
      [HEADER, "no section `twinge.manifest`"],
      [counter({ manifests: 2 }), "more than one section"],
      [[...HEADER, ...customSection("twinge.manifest", "{")], "not readable"],
      [[...HEADER, ...customSection("twinge.manifest", JSON.stringify(MANIFEST))], "export `memory`"],
      [counter({ manifest: { ...MANIFEST, abi: 2 } }), "interface version 2"],
      [counter({ manifest: { ...MANIFEST, name: "Pump 1" } }), "Pump 1"],
      [counter({ manifest: { ...MANIFEST, state_bytes: 12 } }), "12 bytes"],
      [counter({ manifest: { ...MANIFEST, state_bytes: 16 } }), "contradict the manifest"],
      [counter({ manifest: { ...MANIFEST, schema: { numeric: ["x", "x"] } } }), "`x` twice"],
      [counter({ manifest: { ...MANIFEST, stream: { entities: 1 } } }), "`stream.entities` is not known"],
      [counter({ version: 2 }), "answers interface version 2"],
    ];
    for (const [bytes, part] of cases) {
      await assert.rejects(loadDetector(Uint8Array.from(bytes)), refusal(part));
    }
  });

  test("a failed call leaves all as it was", async () => {
    const runner = new Runner(await loadDetector(counter()), { entitiesMax: 2 });
    const score = (...events) => runner.score(events.map(([entity, x]) => ({ entity, timeMs: null, inputs: [x] })));
    score(["a", 1], ["b", 1], ["a", 1]);
    const before = [...runner.entities];
    // Not a number times the count is no score.
    assert.throws(() => score(["c", 1], ["b", 1], ["a", NaN]), CallError);
    assert.deepEqual([...runner.entities], before);
    assert.equal(runner.entities.evicted, 0);
    assert.deepEqual(score(["a", 1], ["c", 1], ["b", 1], ["a", 1]).map(({ score }) => score), [3, 1, 1, 1]);
  });

  test("more rows than the module has room for are an error, not a wrong result", async () => {
    const runner = new Runner(await loadDetector(counter()));
    const events = Array.from({ length: ROOM + 1 }, () => ({ entity: "a", timeMs: null, inputs: [1] }));
    assert.throws(() => runner.score(events), /no room/);
    assert.equal(runner.score(events.slice(1)).at(-1)?.score, ROOM);
  });

  test("a failed call with rows in arrays leaves all as it was", async () => {
    const runner = new Runner(await loadDetector(counter()));
    const score = (entities, inputs) =>
      runner.scoreBlock(entities, new Float64Array(entities.length), Float64Array.from(inputs)).scores;
    assert.deepEqual([...score(["a", "b", "a"], [1, 1, 1])], [1, 1, 2]);
    assert.throws(() => score(["c", "a"], [1, NaN]), CallError);
    assert.throws(() => score(["c", "a"], [1]), CallError);
    assert.deepEqual([...score(["a", "c"], [1, 1])], [3, 1]);
  });

  test("entities count as if events came one by one", async () => {
    const random = generator(SEED);
    const detector = await loadDetector(counter());
    const events = Array.from({ length: 2000 }, () => ({ entity: `e${random(9)}`, timeMs: null, inputs: [1] }));
    for (const entitiesMax of [1, 2, 5, 100]) {
      const expected = countOneByOne(events, entitiesMax);
      for (const size of [1, 2, 7, ROOM]) {
        const runner = new Runner(detector, { entitiesMax });
        const counts = chunks(events, size).flatMap((chunk) => runner.score(chunk).map(({ score }) => score));
        assert.deepEqual(counts, expected, `seed ${SEED}, ${entitiesMax} entities, batches of ${size}`);
        assert.ok(runner.entities.size <= entitiesMax);
      }
    }
  });

  /** The slow, obvious table: a list in order of last use. */
  function countOneByOne(events, entitiesMax) {
    const table = [];
    return events.map(({ entity }) => {
      const place = table.findIndex(([known]) => known === entity);
      const [, count] = place < 0 ? [entity, 0] : table.splice(place, 1)[0];
      if (table.length === entitiesMax) table.shift();
      table.push([entity, count + 1]);
      return count + 1;
    });
  }

  function refusal(part) {
    return (error) => error instanceof LoadError && error.message.includes(part);
  }
});

describe("a trained module", () => {
  const skip = MODULE === undefined && "TWINGE_TEST_MODULE is not set";
  if (skip) console.warn(`SKIPPED: ${skip}, so nothing is tested with a trained module: name one in it`);

  test("batches of any size give the same bits", { skip }, async () => {
    const detector = await loadDetector(await readFile(MODULE));
    const events = makeEvents(detector.manifest, 1500);
    for (const entitiesMax of [3, 8, 1000]) {
      const expected = scoreOneByOne(detector, events, entitiesMax);
      for (const size of [1, 7, 64, events.length]) {
        const runner = new Runner(detector, { entitiesMax });
        const results = chunks(events, size).flatMap((chunk) => runner.score(chunk, { explainAll: true }));
        const where = `seed ${SEED}, ${entitiesMax} entities, batches of ${size}`;
        results.forEach((result, row) => assert.equal(print(result), expected.results[row], `${where}, row ${row}`));
        assert.deepEqual([...runner.entities], expected.states, where);
      }
      assert.ok(new Set(expected.results).size > 1, "scores differ from row to row");
    }
  });

  test("rows in arrays get the bits of rows in objects", { skip }, async () => {
    const detector = await loadDetector(await readFile(MODULE));
    const events = makeEvents(detector.manifest, 700);
    const [objects, arrays] = [new Runner(detector, { entitiesMax: 5 }), new Runner(detector, { entitiesMax: 5 })];
    for (const explainAll of [false, true]) {
      for (const chunk of chunks(events, 97)) {
        const expected = objects.score(chunk, { explainAll }).map(print);
        const times = Float64Array.from(chunk, ({ timeMs }) => timeMs ?? 0);
        const inputs = Float64Array.from(chunk.flatMap(({ inputs }) => [...inputs]));
        const { scores, verdicts, attributions } = arrays.scoreBlock(chunk.map(({ entity }) => entity), times, inputs, { explainAll });
        const width = attributions.length / chunk.length;
        const found = chunk.map((_, row) =>
          print({ ...readVerdict(verdicts[row]), score: scores[row], attribution: attributions.subarray(row * width, (row + 1) * width) }),
        );
        assert.deepEqual(found, expected, `seed ${SEED}`);
      }
    }
    assert.deepEqual([...arrays.entities], [...objects.entities]);
  });

  test("attribution sums to the score and is left out where nobody asked", { skip }, async () => {
    const detector = await loadDetector(await readFile(MODULE));
    const events = makeEvents(detector.manifest, 300);
    const explained = new Runner(detector).score(events, { explainAll: true });
    const plain = new Runner(detector).score(events);
    plain.forEach(({ outcome, score, attribution }, row) => {
      assert.equal(score, explained[row].score);
      if (outcome === "invalid") return;
      const sum = explained[row].attribution.reduce((a, b) => a + b, 0);
      assert.ok(Math.abs(sum - score) <= 1e-4 * Math.max(1, score), `row ${row}: ${sum} is not ${score}`);
      assert.equal(attribution.some((part) => part !== 0), outcome === "anomalous" && score > 0);
    });
  });

  test("score.mjs prints the same lines for any batch", { skip }, async () => {
    const detector = await loadDetector(await readFile(MODULE));
    const { numeric = [], entity } = detector.manifest.schema;
    await inFolder(async (folder) => {
      const path = join(folder, "events.ndjson");
      const lines = makeEvents(detector.manifest, 200).map((event) => write(detector.manifest.schema, event));
      lines.splice(50, 0, "oops", "", "[1]", ...(numeric.length ? [`{"${numeric[0]}":"text"${entity ? `,"${entity}":"e"` : ""}}`] : []));
      // A character that readline would break lines at, and no newline at the end.
      lines.push(lines[0].replace("{", '{"\u2028":"\u2028",'));
      await writeFile(path, lines.join("\n"));
      const outputs = await Promise.all(
        ["1", "7", "1000"].map((batch) => run("--module", MODULE, "--events", path, "--entities-max", "5", "--batch", batch)),
      );
      for (const { code, stdout } of outputs) {
        assert.equal(code, 0);
        assert.equal(stdout, outputs[0].stdout);
      }
      const printed = outputs[0].stdout.trimEnd().split("\n");
      assert.equal(printed.length, lines.length - 1);
      assert.match(printed[0], /^0 (normal|anomalous|warming-up|invalid) [01] [0-9a-f]{16}$/);
      assert.equal(printed[50], "50 dead-letter not-json");
      assert.equal(printed[51], "52 dead-letter not-an-object");
      assert.match(printed.at(-1), new RegExp(`^${lines.length - 1} (?!dead-letter)`));
      const tail = await run("--module", MODULE, "--events", path, "--from", String(lines.length - 1));
      assert.match(tail.stdout, new RegExp(`^${lines.length - 1} \\S+ 0 [0-9a-f]{16}\\n$`));
    });
  });

  /** One row a call, and a list in order of last use for a table. */
  function scoreOneByOne(detector, events, entitiesMax) {
    const table = [];
    const results = events.map((event) => {
      const place = table.findIndex(([known]) => known === event.entity);
      const [, state] = place < 0 ? [event.entity, null] : table.splice(place, 1)[0];
      if (table.length === entitiesMax) table.shift();
      const { results, states } = detector.score([event], [0], [state], { explainAll: true });
      table.push([event.entity, states]);
      return print(results[0]);
    });
    return { results, states: table };
  }

  /** Events as the schema wants them, some late, some with values missing, extreme or unknown. */
  function makeEvents({ schema }, count) {
    const random = generator(SEED);
    const { numeric = [], categorical = [], entity, time } = schema;
    const number = () => [NaN, 0, 1e300, -1e300][random(60)] ?? (random(2000) - 900) / (1 + random(50));
    const category = () => (random(10) === 0 ? NaN : categoryCode(["DE", "IT", "FR", "red", `rare ${random(99)}`][random(5)]));
    return Array.from({ length: count }, (_, row) => ({
      entity: entity ? `e${random(10)}` : "all",
      timeMs: time ? 1_767_225_600_000 + row * 1000 - (random(20) === 0 ? 60_000 : 0) : null,
      inputs: Float64Array.from([...numeric.map(number), ...categorical.map(category)]),
    }));
  }

  function write({ entity, time, time_format, numeric = [], categorical = [] }, event) {
    const fields = {};
    if (entity) fields[entity] = event.entity;
    if (time) fields[time] = { "epoch-s": event.timeMs / 1000, "epoch-ms": event.timeMs }[time_format] ?? new Date(event.timeMs).toISOString();
    numeric.forEach((name, index) => (fields[name] = event.inputs[index]));
    categorical.forEach((name, index) => (fields[name] = `category ${event.inputs[numeric.length + index] % 4}`));
    return JSON.stringify(fields);
  }

  function print({ outcome, score, late, attribution }) {
    const bits = (value) => new BigUint64Array(Float64Array.of(value).buffer)[0].toString(16);
    return `${outcome} ${late} ${bits(score)} ${[...attribution].map(bits)}`;
  }
});

describe("score.mjs", () => {
  test("tells what is wrong, with the right exit code", async () => {
    await inFolder(async (folder) => {
      const module = join(folder, "counter.wasm");
      await writeFile(module, counter());
      const cases = [
        [["--help"], 0, ""],
        [[], 2, "--module is missing"],
        [["--module", module], 2, "--events is missing"],
        [["--module", module, "--events", "x", "--batch", "0"], 2, "--batch must be a whole number"],
        [["--module", module, "--events", "x", "--bach", "1"], 2, "--bach"],
        [["--module", join(folder, "none.wasm"), "--events", "x"], 1, "none.wasm cannot be read"],
        [["--module", fileURLToPath(import.meta.url), "--events", "x"], 1, "is refused: module does not compile"],
        [["--module", module, "--events", join(folder, "none.ndjson")], 1, "none.ndjson cannot be read"],
      ];
      for (const [words, code, part] of cases) {
        const result = await run(...words);
        assert.equal(result.code, code, words.join(" "));
        assert.ok(result.stderr.includes(part), `${words.join(" ")}: ${result.stderr}`);
      }
    });
  });

  test("names the lines that a module fails on", async () => {
    await inFolder(async (folder) => {
      const [module, events] = [join(folder, "counter.wasm"), join(folder, "events.ndjson")];
      await writeFile(module, counter());
      await writeFile(events, '{"x":1}\n{"x":2}\n{}\n');
      const result = await run("--module", module, "--events", events, "--batch", "2");
      assert.deepEqual([result.code, result.stdout], [1, "0 anomalous 0 3ff0000000000000\n1 anomalous 0 4010000000000000\n"]);
      assert.ok(result.stderr.includes("lines 2 to 2 cannot be scored"), result.stderr);
    });
  });
});

function run(...words) {
  const script = fileURLToPath(new URL("score.mjs", import.meta.url));
  return new Promise((done) => {
    execFile(process.execPath, [script, ...words], { maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      done({ code: error ? error.code : 0, stdout, stderr });
    });
  });
}

async function inFolder(use) {
  const folder = await mkdtemp(join(tmpdir(), "twinge-"));
  try {
    await use(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

function chunks(items, size) {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, chunk) => items.slice(chunk * size, (chunk + 1) * size));
}

/** Whole numbers below a bound (mulberry32). */
function generator(seed) {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

const HEADER = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];

/** Rows that the hand-made module has room for. */
const ROOM = 64;

const MANIFEST = {
  abi: 1,
  name: "counter",
  version: "1",
  schema: { numeric: ["x"] },
  state_bytes: 8,
  stream: {},
  detector: { kind: "counter", settings: {}, features: [] },
  threshold: { false_alarm_rate: 0.01, calibration_rows: 0, raw_score: 1 },
  lineage: { data_digest: "", rows: 0, config_digest: "", seed: 0, runtime_digest: "" },
};

/**
 * A detector by hand: it counts an entity's events, and the score is the count times the input.
 *
 * @returns {Uint8Array}
 */
function counter({ version = 1, manifest = MANIFEST, manifests = 1 } = {}) {
  const [layout, times, entities, inputs, states, scores, verdicts, attributions] = [8, 1024, 2048, 3072, 4096, 5120, 6144, 7168];
  const words = [1, 8, times, entities, inputs, states, scores, verdicts, attributions, 0];
  const [I32, F64] = [0x7f, 0x7c];
  const [rows, row, state, count] = [0, 3, 4, 5];
  const get = (local) => [0x20, local];
  const set = (local) => [0x21, local];
  const constant = (value) => [0x41, ...signed(value)];
  // base + index * 2^shift
  const at = (base, index, shift) => [...index, ...constant(shift), 0x74, ...constant(base), 0x6a];
  const loadF64 = [0x2b, 3, 0];
  const storeF64 = [0x39, 3, 0];
  const abi = body([], [...constant(version)]);
  // Too many rows: 0, else the layout.
  const prepare = body([], [...constant(0), ...constant(layout), ...get(0), ...constant(ROOM), 0x4b, 0x1b]);
  const score = body([[2, I32], [2, F64]], [
    0x02, 0x40, 0x03, 0x40, // block, loop
    ...get(row), ...get(rows), 0x4f, 0x0d, 1, // leave when row >= rows
    ...at(states, [...at(entities, get(row), 2), 0x28, 2, 0], 3), ...set(state),
    ...get(state), ...loadF64, 0x44, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0xa0, ...set(count), // + 1.0
    ...get(state), ...get(count), ...storeF64,
    ...get(count), ...at(inputs, get(row), 3), ...loadF64, 0xa2, ...set(count + 1),
    ...at(scores, get(row), 3), ...get(count + 1), ...storeF64,
    ...at(verdicts, get(row), 2), ...get(count + 1), 0x44, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x66, 0x36, 2, 0, // >= 1.0
    ...get(row), ...constant(1), 0x6a, ...set(row),
    0x0c, 0, 0x0b, 0x0b, // again, end, end
    ...constant(0),
  ]);
  const types = [[0x60, 0, 1, I32], [0x60, 2, I32, I32, 1, I32], [0x60, 3, I32, I32, I32, 1, I32]];
  const functions = ["twinge_abi", "twinge_prepare", "twinge_score"].map((name, index) => [...text(name), 0, index]);
  const data = [0, ...constant(layout), 0x0b, ...vector(new Uint8Array(Uint32Array.from(words).buffer))];
  return Uint8Array.from([
    ...HEADER,
    ...section(1, vector(types, true)),
    ...section(3, vector([0, 1, 2])),
    ...section(5, [1, 0, 1]),
    ...section(7, vector([[...text("memory"), 2, 0], ...functions], true)),
    ...section(10, vector([abi, prepare, score], true)),
    ...section(11, vector([data], true)),
    ...Array.from({ length: manifests }, () => customSection("twinge.manifest", JSON.stringify(manifest))).flat(),
  ]);
}

function body(locals, code) {
  return vector([...vector(locals, true), ...code, 0x0b]);
}

function customSection(name, content) {
  return section(0, [...text(name), ...new TextEncoder().encode(content)]);
}

function section(id, content) {
  return [id, ...vector(content)];
}

function text(words) {
  return vector(new TextEncoder().encode(words));
}

/** Items behind their number. */
function vector(items, areLists = false) {
  return [...unsigned(items.length), ...(areLists ? items.flat() : items)];
}

/** LEB128. */
function unsigned(value) {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)];
}

/** LEB128 of a number that is not negative. */
function signed(value) {
  return value < 0x40 ? [value] : [(value & 0x7f) | 0x80, ...signed(value >>> 7)];
}
