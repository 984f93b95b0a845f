import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { moduleBytes, shipped, type Shipped } from "../modules";
import { WorkerClient } from "../workers/client";
import type { Finding, Tick } from "../workers/watch.worker";
import { Tally } from "./tally";
import type { Point, WatchInfo, World } from "./worlds";

/** Events that the chart shows. */
export const WINDOW = 480;
const FINDINGS_MAX = 40;

export interface Stream {
  points: Point[];
  findings: Finding[];
  scored: number;
  planted: number;
  found: number;
  info: WatchInfo | null;
  module: Shipped | null;
  error: unknown;
  inject: (kind: string) => void;
  setPaused: (isPaused: boolean) => void;
  setSpeed: (speed: number) => void;
}

interface Shown {
  points: Point[];
  findings: Finding[];
  scored: number;
  planted: number;
  found: number;
}

const NOTHING: Shown = { points: [], findings: [], scored: 0, planted: 0, found: 0 };

/** A live stream of a world; it runs as long as its view is there. */
export function useStream(world: World): Stream {
  const [shown, setShown] = useState<Shown>(NOTHING);
  const [info, setInfo] = useState<WatchInfo | null>(null);
  const [module, setModule] = useState<Shipped | null>(null);
  const [error, setError] = useState<unknown>(null);
  const tally = useRef(new Tally());
  const worker = useMemo(() => new StreamWorker((tick) => setShown((before) => after(before, tick, tally.current))), []);
  useEffect(() => () => worker.client.cancel(), [worker]);
  useEffect(() => {
    let isHere = true;
    setShown(NOTHING);
    setInfo(null);
    tally.current = new Tally();
    const begin = async () => {
      const found = (await shipped()).find(({ name }) => name === world.module);
      if (found === undefined) throw new Error(`the page has no module ${world.module}`);
      const bytes = await moduleBytes(found);
      if (!isHere) return;
      setModule(found);
      const started = await worker.client.call<{ info: WatchInfo; tick: Tick }>("start", { world: world.id, module: bytes, seed: 20 });
      if (!isHere) return;
      setInfo(started.info);
      setShown(after(NOTHING, started.tick, tally.current));
    };
    begin().catch((error: unknown) => isHere && setError(error));
    return () => {
      isHere = false;
    };
  }, [world, worker]);
  const controls = useMemo(() => {
    const call = (method: string, argument: unknown) => void worker.client.call(method, argument).catch(() => undefined);
    return {
      inject: (kind: string) => call("inject", kind),
      setPaused: (isPaused: boolean) => call("pause", isPaused),
      setSpeed: (speed: number) => call("speed", speed),
    };
  }, [worker]);
  return useMemo(() => ({ ...shown, info, module, error, ...controls }), [shown, info, module, error, controls]);
}

function after(before: Shown, tick: Tick, tally: Tally): Shown {
  for (const point of tick.points) tally.add(point);
  return {
    points: [...before.points, ...tick.points].slice(-WINDOW),
    findings: tick.findings.length === 0 ? before.findings : [...tick.findings.reverse(), ...before.findings].slice(0, FINDINGS_MAX),
    scored: tick.scored,
    planted: tally.planted,
    found: tally.found,
  };
}

/** The worker also speaks without being asked: a tick, several times a second. */
class StreamWorker {
  client: WorkerClient;

  constructor(onTick: (tick: Tick) => void) {
    this.client = new WorkerClient(() => {
      const worker = new Worker(new URL("../workers/watch.worker.ts", import.meta.url), { type: "module" });
      worker.addEventListener("message", ({ data }: MessageEvent<{ kind: string; tick: Tick }>) => {
        if (data.kind === "tick") onTick(data.tick);
      });
      return worker;
    });
  }
}
