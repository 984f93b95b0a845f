import { useEffect, useState } from "preact/hooks";
import { Attribution } from "../parts/attribution";
import { Notice } from "../parts/notice";
import { count, sentence, time } from "../parts/words";
import { listen, overview, type LiveFinding, type LivePoint, type Overview, type Update } from "./api";
import { Detectors } from "./detectors";
import { LiveChart } from "./live-chart";
import { SendForm } from "./send-form";

const POINTS_MAX = 480;
const FINDINGS_MAX = 40;
const LOOK_EVERY_MS = 2000;

interface Live {
  points: LivePoint[];
  findings: LiveFinding[];
  lagMs: Record<string, number>;
  seen: number;
}

const NOTHING: Live = { points: [], findings: [], lagMs: {}, seen: 0 };

function after(before: Live, { points, findings, lag_ms, seen }: Update): Live {
  // A host that was started anew begins to count anew.
  const { points: known, findings: found } = seen < before.seen ? NOTHING : before;
  return {
    points: [...known, ...points].slice(-POINTS_MAX),
    findings: [...findings.reverse(), ...found].slice(0, FINDINGS_MAX),
    lagMs: lag_ms,
    seen,
  };
}

export function View() {
  const [state, setState] = useState<Overview | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [live, setLive] = useState<Live>(NOTHING);
  const [isConnected, setConnected] = useState(true);
  useEffect(() => {
    let isHere = true;
    const look = () =>
      overview().then(
        (found) => isHere && (setState(found), setError(null)),
        (problem: unknown) => isHere && setError(problem),
      );
    void look();
    const timer = setInterval(() => void look(), LOOK_EVERY_MS);
    const close = listen((update) => setLive((before) => after(before, update)), setConnected);
    return () => {
      isHere = false;
      clearInterval(timer);
      close();
    };
  }, []);
  return (
    <div class="view console">
      <div class="lead">
        <h1>Console</h1>
        <p>What this host is doing now. {state?.may_send === true ? "Events can be sent with the token." : "It is read-only here."}</p>
      </div>
      {(error !== null || !isConnected) && (
        <Notice kind="error" title="The host does not answer">
          {error === null ? "The stream of verdicts ended; the page tries again by itself." : sentence(error)}
        </Notice>
      )}
      {state !== null && <Alerts alerts={state.alerts} />}
      {state !== null && <Detectors runners={state.runners} lagMs={live.lagMs} />}
      <div class="console-pair">
        <section class="card step" aria-label="Live scores">
          <h2>Live scores</h2>
          {live.points.length === 0 ? <p class="empty">No verdict yet. Scores appear as soon as events come in.</p> : <LiveChart points={live.points} />}
          {state?.may_send === true && <SendForm />}
        </section>
        <Findings findings={live.findings} />
      </div>
    </div>
  );
}

function Alerts({ alerts }: { alerts: string[] }) {
  if (alerts.length === 0) return <Notice kind="good" title="Nothing to look after" />;
  return (
    <Notice kind="warning" title={alerts.length === 1 ? "One thing to look after" : `${count(alerts.length)} things to look after`}>
      <ul class="why">
        {alerts.map((alert) => (
          <li key={alert}>{alert}</li>
        ))}
      </ul>
    </Notice>
  );
}

/** Anomalies, dead letters and silences, newest first. */
function Findings({ findings }: { findings: LiveFinding[] }) {
  return (
    <section class="card findings" aria-label="Findings">
      <h2>Findings</h2>
      {findings.length === 0 && <p class="empty">No anomaly and no dead letter lately.</p>}
      <ol class="findings-list" tabIndex={0} aria-label="Newest first">
        {findings.map((finding) => (
          <li key={finding.id} class="finding">
            <div class="finding-head">
              <span class={`badge badge-${finding.data.severity ?? "low"}`}>{kindOf(finding)}</span>
              <span class="finding-entity">{finding.subject ?? finding.data.reason ?? ""}</span>
              {finding.data.score !== undefined && <span class="number finding-score">{finding.data.score.toFixed(2)}</span>}
            </div>
            <p class="finding-time">
              {finding.source.split("/").at(-1)}
              {finding.time !== undefined && <> · {time(Date.parse(finding.time))}</>}
            </p>
            {finding.data.attribution !== undefined && <Attribution parts={finding.data.attribution} />}
            {finding.data.message !== undefined && <p class="aside">{sentence(finding.data.message)}</p>}
          </li>
        ))}
      </ol>
    </section>
  );
}

function kindOf(finding: LiveFinding): string {
  if (finding.type === "io.twinge.dead-letter.v1") return "dead letter";
  return finding.type === "io.twinge.verdict.v1" ? (finding.data.severity ?? "anomaly") : "silence";
}
