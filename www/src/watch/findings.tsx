import { Attribution } from "../parts/attribution";
import { time } from "../parts/words";
import type { Finding } from "../workers/watch.worker";

/** The anomalies found lately, newest first. */
export function Findings({ findings, isReady }: { findings: Finding[]; isReady: boolean }) {
  const [newest] = findings;
  return (
    <section class="card findings" aria-label="Anomalies found">
      <div class="findings-head">
        <h2>Anomalies</h2>
        <p class="hidden" role="status">
          {newest === undefined ? "" : `${newest.severity} anomaly of ${newest.entity}, score ${newest.score.toFixed(2)}`}
        </p>
      </div>
      {findings.length === 0 && (
        <p class="empty">{isReady ? "Nothing unusual lately. Put an anomaly into the stream and see what the detector makes of it." : "Loading the module …"}</p>
      )}
      {/* It scrolls, so the keyboard must reach it. */}
      <ol class="findings-list" tabIndex={0} aria-label="Newest first">
        {findings.map((finding) => (
          <FindingItem key={finding.number} finding={finding} />
        ))}
      </ol>
    </section>
  );
}

function FindingItem({ finding }: { finding: Finding }) {
  const { entity, timeMs, score, severity, attribution, values, planted } = finding;
  return (
    <li class="finding" data-planted={planted ?? ""}>
      <div class="finding-head">
        <span class={`badge badge-${severity}`}>{severity}</span>
        <span class="finding-entity">{entity}</span>
        <span class="number finding-score" title="Score: at least 1 is anomalous">
          {score.toFixed(2)}
        </span>
      </div>
      <p class="finding-time">
        <time>{time(timeMs)}</time>
        {planted !== null && <span> · planted: {planted.replaceAll("_", " ")}</span>}
      </p>
      <Attribution parts={attribution} values={values} />
    </li>
  );
}
