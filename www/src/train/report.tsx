import { Digest, Facts } from "../parts/facts";
import { download } from "../parts/download";
import { Icon } from "../parts/icon";
import { Notice } from "../parts/notice";
import { bytes, count, duration, percent, sentence } from "../parts/words";
import type { TrainResult } from "../workers/train.worker";

interface Told {
  name: string;
  detector: { kind: string; features: string[]; why?: string[] };
  threshold: { false_alarm_rate: number; calibration_rows: number };
  metrics?: Record<string, number>;
  lineage: { rows: number };
  notes?: string[];
}

/** How good the detector is, as far as its data can tell, and the way to take it away. */
export function Report({ result }: { result: TrainResult }) {
  const told = JSON.parse(result.manifest) as Told;
  const metrics = told.metrics ?? {};
  const save = () => download(new Blob([result.module], { type: "application/wasm" }), "detector.wasm");
  const saveToml = () => download(new Blob([result.toml], { type: "application/toml" }), "detector.toml");
  return (
    <section class="card step results" aria-label="Quality report">
      <div class="results-head">
        <h2>{told.name} is trained</h2>
        <div class="actions">
          <button type="button" onClick={saveToml}>
            <Icon name="download" />
            detector.toml
          </button>
          <button type="button" class="primary" onClick={save}>
            <Icon name="download" />
            detector.wasm
          </button>
        </div>
      </div>
      <Facts
        facts={[
          ["Detector", told.detector.kind.replaceAll("+", " + ")],
          ["Features", count(told.detector.features.length)],
          ["Rows", count(told.lineage.rows)],
          ["Took", duration(result.tookMs)],
          ["Size", bytes(result.module.byteLength)],
          ["Digest", <Digest digest={result.digest} />],
        ]}
      />
      <h3>Quality</h3>
      <Facts facts={[["False alarms promised", `at most ${percent(told.threshold.false_alarm_rate)} of normal events`], ["Threshold rests on", `${count(told.threshold.calibration_rows)} rows that were not fitted`], ...figures(metrics)]} />
      {(told.detector.why?.length ?? 0) > 0 && (
        <>
          <h3>Why it is made like this</h3>
          <ul class="why">
            {told.detector.why?.map((reason) => (
              <li key={reason}>{sentence(reason)}</li>
            ))}
          </ul>
        </>
      )}
      {(told.notes?.length ?? 0) > 0 && (
        <Notice kind="plain" title="Worth knowing">
          <ul class="why">
            {told.notes?.map((note) => (
              <li key={note}>{sentence(note)}</li>
            ))}
          </ul>
        </Notice>
      )}
      <Notice kind="warning" title="This module is unsigned">
        A page has no key. Hosts and agents run it only where that is allowed in so many words: <code>edge-agent run --module detector.wasm --allow-unsigned</code>. To sign it, train with{" "}
        <code>trainer train --config detector.toml</code>: the digest is the same.
      </Notice>
    </section>
  );
}

/** Figures that depend on labels, and the rest by their names. */
function figures(metrics: Record<string, number>): [string, string][] {
  const names: Record<string, [string, (value: number) => string]> = {
    auc_roc: ["AUC-ROC, by the labels", (value) => value.toFixed(3)],
    average_precision: ["Average precision, by the labels", (value) => value.toFixed(3)],
    recall: ["Labelled anomalies found", percent],
    held_back_alarm_share: ["Alarms among held-back rows", percent],
  };
  return Object.entries(names).flatMap(([key, [label, shown]]) => {
    const value = metrics[key];
    return value === undefined ? [] : [[label, shown(value)] as [string, string]];
  });
}
