import { useEffect, useState } from "preact/hooks";
import type uPlot from "uplot";
import type { Anomaly } from "../engine/session";
import { Attribution } from "../parts/attribution";
import { Chart } from "../parts/chart";
import { axis, dots, scoreRange, thresholdHook } from "../parts/chart-style";
import { download } from "../parts/download";
import { Facts } from "../parts/facts";
import { Icon } from "../parts/icon";
import { Notice } from "../parts/notice";
import { Segmented } from "../parts/segmented";
import { count, duration, percent, plural, rate, sentence, time } from "../parts/words";
import { colour } from "../theme";
import type { WorkerClient } from "../workers/client";
import type { ScoreResult } from "../workers/score.worker";

const PAGE = 20;

/** What came of a file. */
export function Results({ result, worker, name }: { result: ScoreResult; worker: WorkerClient; name: string }) {
  const [error, setError] = useState<unknown>(null);
  const { counts } = result;
  const save = (method: "verdicts" | "deadLetters", file: string) =>
    worker.call<Blob>(method, null, { patienceMs: 60_000 }).then((blob) => download(blob, file), setError);
  return (
    <section class="card step results" aria-label="Results">
      <div class="results-head">
        <h2 data-testid="summary">
          {counts.anomalous === 0 ? "No anomalies" : plural(counts.anomalous, "anomaly", "anomalies")} in {plural(counts.rows, "row")}
        </h2>
        <div class="actions">
          <button type="button" onClick={() => void save("verdicts", `${name}.verdicts.ndjson`)}>
            <Icon name="download" />
            Verdicts
          </button>
          {counts.deadLetters > 0 && (
            <button type="button" onClick={() => void save("deadLetters", `${name}.dead-letters.ndjson`)}>
              <Icon name="download" />
              Dead letters
            </button>
          )}
        </div>
      </div>
      {error !== null && <Notice kind="error" title="Not saved">{sentence(error)}</Notice>}
      <Facts
        facts={[
          ["Anomalous", `${count(counts.anomalous)} (${percent(counts.rows > 0 ? counts.anomalous / counts.rows : 0)})`],
          ["Warming up", count(counts["warming-up"])],
          ["Entities", count(counts.entities)],
          ["Not readable", count(counts.deadLetters)],
          ["Took", duration(result.tookMs)],
          ["Scoring alone", `${rate(counts.rows / Math.max(result.scoringMs / 1000, 1e-6))} rows/s`],
        ]}
      />
      {counts.deadLetters > 0 && (
        <Notice kind="warning" title={`${plural(counts.deadLetters, "row")} could not be read`}>
          They have no verdict. The dead letters say why, with each row as it was.
        </Notice>
      )}
      {counts.rows > 0 && counts["warming-up"] === counts.rows && (
        <Notice kind="warning" title="Every entity was still warming up">
          This detector wants more events of an entity before its verdicts count. Check the column of the entity, or give a longer file.
        </Notice>
      )}
      <Chart options={overviewOptions} data={[result.overview.x, result.overview.score, result.overview.anomalous]} height={170} label={`Highest scores along the file; ${plural(counts.anomalous, "row")} reach the threshold of 1`} />
      {counts.anomalous > 0 && <AnomalyList worker={worker} all={counts.anomalous} />}
    </section>
  );
}

function overviewOptions(): Omit<uPlot.Options, "width" | "height"> {
  return {
    legend: { show: false },
    cursor: { show: false },
    padding: [8, 8, 0, 0],
    scales: { x: { time: false }, y: { range: scoreRange } },
    axes: [axis({ size: 28 }), axis({ size: 40 })],
    series: [{}, { stroke: colour("score"), fill: colour("score-fill"), width: 1, points: { show: false } }, dots("anomaly", 6)],
    plugins: [thresholdHook()],
  };
}

/** Anomalies a page at a time; the worker keeps them. */
function AnomalyList({ worker, all }: { worker: WorkerClient; all: number }) {
  const [order, setOrder] = useState<"score" | "file">("score");
  const [page, setPage] = useState(0);
  const [list, setList] = useState<Anomaly[]>([]);
  useEffect(() => {
    let isHere = true;
    worker.call<Anomaly[]>("anomalies", { order, from: page * PAGE, count: PAGE }).then(
      (found) => isHere && setList(found),
      () => isHere && setList([]),
    );
    return () => {
      isHere = false;
    };
  }, [worker, order, page, all]);
  const last = Math.ceil(all / PAGE) - 1;
  return (
    <div class="anomalies">
      <div class="results-head">
        <h3>Anomalies</h3>
        <Segmented
          legend="Order"
          choices={[
            { value: "score", label: "Highest first" },
            { value: "file", label: "As in the file" },
          ]}
          value={order}
          onChange={(value) => {
            setOrder(value);
            setPage(0);
          }}
        />
      </div>
      <ol class="anomaly-grid">
        {list.map((anomaly) => (
          <li key={anomaly.offset} class="anomaly">
            <div class="finding-head">
              <span class={`badge badge-${anomaly.severity}`}>{anomaly.severity}</span>
              <span class="finding-entity">{anomaly.entity === "all" ? `row ${count(anomaly.offset + 1)}` : anomaly.entity}</span>
              <span class="number finding-score">{anomaly.score.toFixed(2)}</span>
            </div>
            <p class="finding-time">
              {anomaly.timeMs !== null && <time>{time(anomaly.timeMs)}</time>}
              {anomaly.entity !== "all" && <span> · row {count(anomaly.offset + 1)}</span>}
            </p>
            <Attribution parts={anomaly.attribution} values={anomaly.shown} />
          </li>
        ))}
      </ol>
      {last > 0 && (
        <nav class="pager" aria-label="Pages of anomalies">
          <button type="button" disabled={page === 0} onClick={() => setPage(page - 1)}>
            Back
          </button>
          <span class="number">
            {count(page + 1)} of {count(last + 1)}
          </span>
          <button type="button" disabled={page === last} onClick={() => setPage(page + 1)}>
            Next
          </button>
        </nav>
      )}
    </div>
  );
}
