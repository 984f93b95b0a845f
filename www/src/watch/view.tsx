import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { Notice } from "../parts/notice";
import { Segmented } from "../parts/segmented";
import { Digest, Facts } from "../parts/facts";
import { Icon } from "../parts/icon";
import { bytes, count, rate, sentence } from "../parts/words";
import { Findings } from "./findings";
import { StreamChart } from "./stream-chart";
import { useStream } from "./stream";
import { WORLDS, type World } from "./worlds";

const SPEEDS = [
  { value: 0.5, label: "½×" },
  { value: 1, label: "1×" },
  { value: 4, label: "4×" },
  { value: 16, label: "16×" },
];

export function View() {
  const [world, setWorld] = useState<World>(WORLDS[0] as World);
  const [field, setField] = useState(0);
  const [speed, setSpeed] = useState(1);
  const [isPaused, setPaused] = useState(false);
  const [said, setSaid] = useState("");
  const stream = useStream(world);
  const choose = (id: World["id"]) => {
    setWorld(WORLDS.find((other) => other.id === id) ?? world);
    setField(0);
  };
  const inject = useCallback(
    (kind: string, label: string, about: string) => {
      stream.inject(kind);
      setField(Math.max(0, world.fields.findIndex((other) => other.field === about)));
      setSaid(`${label} on its way`);
    },
    [stream, world],
  );
  useEffect(() => stream.setPaused(isPaused), [isPaused, stream]);
  useEffect(() => stream.setSpeed(speed), [speed, stream]);
  useSpace(() => setPaused((paused) => !paused));
  if (stream.error !== null) return <Notice kind="error" title="The stream could not be started">{sentence(stream.error)}</Notice>;
  return (
    <div class="view watch">
      <div class="lead">
        <h1>An anomaly detector, at work in this page</h1>
        <p>
          Your browser has loaded a WebAssembly module and scores these {world.event} with it, one by one. Cloud hosts and edge agents run the very same file, and get the same scores to
          the last bit.
        </p>
      </div>
      <section class="card stream" aria-label="Live stream">
        <div class="stream-head">
          <Segmented legend="Stream" choices={WORLDS.map(({ id, label }) => ({ value: id, label }))} value={world.id} onChange={choose} />
          <div class="stream-clock">
            <button type="button" class="primary" onClick={() => setPaused(!isPaused)} aria-pressed={isPaused} title="Space does the same">
              <Icon name={isPaused ? "play" : "pause"} />
              {isPaused ? "Go on" : "Pause"}
            </button>
            <Segmented legend="Speed" choices={SPEEDS} value={speed} onChange={setSpeed} />
          </div>
        </div>
        <StreamChart world={world} field={field} stream={stream} onField={setField} />
        <div class="inject" role="group" aria-label="Put an anomaly into the stream">
          <span class="inject-label">Put in</span>
          {world.injections.map(({ kind, label, hint, field: about }) => (
            <button key={kind} type="button" title={hint} onClick={() => inject(kind, label, about)}>
              {label}
            </button>
          ))}
          <span class="inject-said" role="status">
            {said}
          </span>
        </div>
      </section>
      <Findings findings={stream.findings} isReady={stream.info !== null} />
      <section class="card module" aria-label="The module shown">
        <h2>The module</h2>
        <Facts
          facts={[
            ["Detector", stream.module?.kind.replaceAll("+", " + ") ?? "…"],
            ["Digest", stream.module === null ? "…" : <Digest digest={stream.module.digest} />],
            ["Size", stream.module === null ? "…" : bytes(stream.module.bytes)],
            ["Speed in this browser", stream.info === null ? "measuring …" : `${rate(stream.info.rowsPerSecond)} events/s`],
            ["Scored so far", <span data-testid="scored">{count(stream.scored)}</span>],
            ["Planted and found", `${count(stream.found)} of ${count(stream.planted)}`],
          ]}
        />
      </section>
    </div>
  );
}

/** Space pauses, where it means nothing else. */
function useSpace(toggle: () => void): void {
  const latest = useRef(toggle);
  latest.current = toggle;
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      const isElsewhere = event.target instanceof Element && event.target.closest("button, input, select, a, summary, textarea, [role=button]") !== null;
      if (event.key !== " " || isElsewhere) return;
      event.preventDefault();
      latest.current();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);
}
