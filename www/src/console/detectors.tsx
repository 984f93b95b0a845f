import { Digest, Facts } from "../parts/facts";
import { count, duration, percent } from "../parts/words";
import type { RunnerStatus } from "./api";

/** Each detector on each partition: what acts, what stands beside it, and how they compare. */
export function Detectors({ runners, lagMs }: { runners: RunnerStatus[]; lagMs: Record<string, number> }) {
  if (runners.length === 0) return <p class="card empty">No detector runs on a partition yet.</p>;
  return (
    <div class="detectors">
      {runners.map((runner) => (
        <section key={`${runner.place.detector} ${runner.place.partition}`} class="card step" aria-label={`${runner.place.detector}, partition ${runner.place.partition}`}>
          <div class="results-head">
            <h2>{runner.place.detector}</h2>
            <span class="aside">partition {runner.place.partition}</span>
          </div>
          <Facts
            facts={[
              ["Acting module", <Digest digest={runner.champion} />],
              ["Version", runner.version],
              ["Channel serial", runner.serial === null ? "from a file" : count(runner.serial)],
              ["Events", count(runner.counts.events)],
              ["Anomalous", alarmShare(runner)],
              ["Dead letters", count(runner.counts.dead_letters)],
              ["Lag", lagMs[runner.place.detector] === undefined ? "no verdict yet" : duration(Math.max(0, lagMs[runner.place.detector] ?? 0))],
              ["Entities", count(runner.entities)],
            ]}
          />
          <Rollout runner={runner} />
        </section>
      ))}
    </div>
  );
}

function alarmShare({ counts }: RunnerStatus): string {
  return `${count(counts.anomalies)} (${percent(counts.verdicts > 0 ? counts.anomalies / counts.verdicts : 0)})`;
}

/** The module beside the acting one, if there is one, and what both said of the same events. */
function Rollout({ runner }: { runner: RunnerStatus }) {
  const { candidate, comparison } = runner;
  if (candidate === null) return null;
  return (
    <>
      <h3>Beside it</h3>
      <Facts
        facts={[
          ["Module", <Digest digest={candidate} />],
          ["Version", runner.candidate_version ?? "unknown"],
          ["Stage", runner.part ?? "unknown"],
          ["Warm", runner.is_warm ? "yes" : "not yet"],
          ...(comparison === null
            ? []
            : ([
                ["Events compared", count(comparison.compared)],
                ["Only the acting one alarmed", count(comparison.acting.alone)],
                ["Only the other alarmed", count(comparison.other.alone)],
                ["Failures of the other", count(comparison.other.failures)],
              ] as [string, string][])),
        ]}
      />
    </>
  );
}
