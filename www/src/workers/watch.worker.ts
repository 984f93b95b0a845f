/** A live stream: makes events, runs the module on them, and tells the page what came out. */

import init, { EventStream } from "../../bindings/pkg/stream";
import { Runner, loadDetector, type Detector } from "../../runtime/twinge.mjs";
import { contributions, severityOf, type Contribution, type Severity } from "../engine/verdict";
import { inputsOf, type Schema } from "../engine/rows";
import { StuckSensors } from "../watch/stuck";
import { WORLDS, type Point, type WatchInfo, type World } from "../watch/worlds";
import { serve } from "./serve";

export interface Finding {
  number: number;
  timeMs: number;
  entity: string;
  score: number;
  severity: Severity;
  continues: boolean;
  attribution: Contribution[];
  values: Record<string, string>;
  planted: string | null;
}

export interface Tick {
  points: Point[];
  findings: Finding[];
  scored: number;
}

/** Events at speed 1, in each second of the clock. */
const EVENTS_PER_SECOND = 24;
const TICK_MS = 80;
/** Events of a tick at most: a tab that slept must not catch up all at once. */
const TICK_EVENTS_MAX = 400;
/** Events before the page opens, so that entities are past warm-up. */
const WARM_UP_EVENTS = 2400;
/** How many of those are shown. */
const SHOWN_EVENTS = 480;

class Live {
  #world: World;
  #fields: string[];
  #stream: EventStream;
  #stuck: StuckSensors;
  #runner: Runner;
  #names: string[];
  #number = 0;

  constructor(world: World, detector: Detector, seed: number) {
    const schema = detector.manifest.schema as Schema;
    this.#world = world;
    this.#fields = world.fields.map(({ field }) => field);
    this.#stream = new EventStream(world.id, seed, world.entities, world.rate, 0.002);
    this.#stuck = new StuckSensors(schema.entity ?? "", "pressure_kpa");
    this.#runner = new Runner(detector);
    this.#names = [...inputsOf(schema), "time"];
  }

  inject(kind: string): void {
    if (kind === "stuck") this.#stuck.ask();
    else this.#stream.inject(kind);
  }

  next(count: number): Tick {
    const events = this.#stream
      .take(count)
      .split("\n")
      .map((line) => this.#stuck.apply(JSON.parse(line) as Record<string, unknown>));
    const read = events.map((event) => this.#runner.reader.read(JSON.stringify(event)));
    const results = this.#runner.score(read);
    const tick: Tick = { points: [], findings: [], scored: 0 };
    results.forEach((result, index) => {
      const [event, { entity, timeMs }] = [events[index] ?? {}, read[index] ?? { entity: "", timeMs: 0 }];
      const planted = (event["anomaly"] as string | null | undefined) ?? null;
      const at = { number: this.#number++, timeMs: timeMs ?? 0, entity, planted };
      const number = (field: string) => (typeof event[field] === "number" ? event[field] : null);
      tick.points.push({ ...at, values: this.#fields.map(number), score: result.score, outcome: result.outcome });
      if (result.outcome !== "anomalous") return;
      tick.findings.push({
        ...at,
        score: result.score,
        severity: severityOf(result.outcome, result.score),
        continues: result.continues,
        attribution: contributions(result.attribution, this.#names),
        values: Object.fromEntries(this.#names.map((name) => [name, String(event[name] ?? "missing")])),
      });
    });
    tick.scored = this.#number;
    return tick;
  }

  /** Rows a second through the module: a stream of its own, read before the clock starts. */
  measure(detector: Detector): number {
    const stream = new EventStream(this.#world.id, 99, this.#world.entities, this.#world.rate, 0.002);
    const rows = stream.take(2048).split("\n").map((line) => this.#runner.reader.read(line));
    stream.free();
    const width = rows[0]?.inputs.length ?? 0;
    const inputs = new Float64Array(rows.length * width);
    rows.forEach((row, index) => inputs.set(row.inputs, index * width));
    const times = Float64Array.from(rows, (row) => row.timeMs ?? 0);
    const entities = rows.map(({ entity }) => entity);
    const runs = Array.from({ length: 4 }, () => {
      const runner = new Runner(detector);
      const began = performance.now();
      runner.scoreBlock(entities, times, inputs);
      return performance.now() - began;
    });
    return (rows.length / Math.min(...runs)) * 1000;
  }
}

let live: Live | null = null;
let speed = 1;
let isPaused = false;
let owed = 0;
let last = 0;

interface Start {
  world: World["id"];
  module: ArrayBuffer;
  seed: number;
}

async function start({ world: id, module, seed }: Start): Promise<{ info: WatchInfo; tick: Tick }> {
  live = null;
  const world = WORLDS.find((world) => world.id === id);
  if (world === undefined) throw new Error(`there is no stream ${id}`);
  await init({ module_or_path: new URL("../../bindings/pkg/stream_bg.wasm", import.meta.url) });
  const detector = await loadDetector(new Uint8Array(module));
  const next = new Live(world, detector, seed);
  const rowsPerSecond = next.measure(detector);
  const tick = next.next(WARM_UP_EVENTS);
  const from = WARM_UP_EVENTS - SHOWN_EVENTS;
  [live, last, owed] = [next, performance.now(), 0];
  return {
    info: { schema: detector.manifest.schema as Schema, rowsPerSecond },
    tick: { points: tick.points.slice(-SHOWN_EVENTS), findings: tick.findings.filter(({ number }) => number >= from), scored: tick.scored },
  };
}

/** Events are due by the clock, whatever the timer does. */
setInterval(() => {
  const now = performance.now();
  const passed = now - last;
  last = now;
  if (live === null || isPaused) return;
  owed = Math.min(owed + (passed / 1000) * EVENTS_PER_SECOND * speed, TICK_EVENTS_MAX);
  const count = Math.floor(owed);
  if (count === 0) return;
  owed -= count;
  postMessage({ kind: "tick", tick: live.next(count) });
}, TICK_MS);

serve({
  start,
  pause: (value: boolean) => void (isPaused = value),
  speed: (value: number) => void (speed = value),
  inject: (kind: string) => live?.inject(kind),
});
