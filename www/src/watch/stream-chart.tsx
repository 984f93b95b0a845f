import { useMemo } from "preact/hooks";
import uPlot from "uplot";
import { Chart } from "../parts/chart";
import { axis, dots, scoreRange, thresholdHook } from "../parts/chart-style";
import { plural } from "../parts/words";
import { colour } from "../theme";
import type { Stream } from "./stream";
import type { Point, World } from "./worlds";

const LEFT = 46;

/** Two charts over the same events: a field, and the score with its threshold. */
export function StreamChart({ world, field, stream, onField }: { world: World; field: number; stream: Stream; onField: (field: number) => void }) {
  const { points } = stream;
  const entities = useMemo(() => (world.lines ? [...new Set(points.map(({ entity }) => entity))].sort() : []), [points, world]);
  const shape = `${world.id} ${field} ${entities.join()}`;
  const data = useMemo(() => fieldData(points, field, entities), [points, shape]);
  const scores = useMemo(() => scoreData(points), [points]);
  const anomalies = points.filter(({ outcome }) => outcome === "anomalous").length;
  const label = world.fields[field]?.label ?? "";
  return (
    <div class="stream-charts">
      <div class="chart-head">
        <label class="select">
          <span class="hidden">Field shown</span>
          <select value={field} onChange={(event) => onField(Number(event.currentTarget.value))}>
            {world.fields.map(({ field: name, label: text }, index) => (
              <option key={name} value={index}>
                {text}
              </option>
            ))}
          </select>
        </label>
        <ul class="legend">
          <li>
            <span class="key key-anomaly" /> anomalous
          </li>
          {world.lines && (
            <li>
              <span class="key key-line" /> a line for each machine
            </li>
          )}
        </ul>
      </div>
      <Chart options={() => fieldOptions(world, field, entities)} data={data} height={190} version={shape} label={`${label} of the latest ${plural(points.length, "event")}, ${anomalies} of them anomalous`} />
      <div class="chart-head">
        <h3>Score</h3>
        <ul class="legend">
          <li>
            <span class="key key-threshold" /> threshold: from 1 on, an event is anomalous
          </li>
        </ul>
      </div>
      <Chart options={scoreOptions} data={scores} height={150} label={`Score of the latest ${plural(points.length, "event")}; ${anomalies} reach the threshold of 1`} />
    </div>
  );
}

/** Event numbers; then a series an entity, or one for all; then those that are anomalous. */
function fieldData(points: Point[], field: number, entities: string[]): uPlot.AlignedData {
  const x = points.map(({ number }) => number);
  const value = ({ values }: Point) => values[field] ?? null;
  const lines = entities.length > 0 ? entities.map((entity) => points.map((point) => (point.entity === entity ? value(point) : undefined))) : [points.map(value)];
  const anomalous = points.map((point) => (point.outcome === "anomalous" ? value(point) : null));
  return [x, ...lines, anomalous] as uPlot.AlignedData;
}

function scoreData(points: Point[]): uPlot.AlignedData {
  return [
    points.map(({ number }) => number),
    points.map(({ score }) => score),
    points.map(({ score, outcome }) => (outcome === "anomalous" ? score : null)),
  ];
}

const common = (): Pick<uPlot.Options, "legend" | "cursor" | "padding"> => ({
  legend: { show: false },
  cursor: { show: false },
  padding: [8, 8, 8, 0],
});

function fieldOptions(world: World, field: number, entities: string[]): Omit<uPlot.Options, "width" | "height"> {
  const isLogarithmic = world.fields[field]?.isLogarithmic === true;
  const line = (_: string, index: number): uPlot.Series => ({ stroke: colour(`line-${(index % 6) + 1}`), width: 1.4, spanGaps: true, points: { show: false } });
  return {
    ...common(),
    scales: { x: { time: false }, y: isLogarithmic ? { distr: 3 } : {} },
    axes: [axis({ show: false }), axis({ size: LEFT })],
    series: [{}, ...(entities.length > 0 ? entities.map(line) : [dots("dot", 4)]), dots("anomaly", 7)],
  };
}

function scoreOptions(): Omit<uPlot.Options, "width" | "height"> {
  return {
    ...common(),
    scales: { x: { time: false }, y: { range: scoreRange } },
    axes: [axis({ show: false }), axis({ size: LEFT })],
    series: [{}, { stroke: colour("score"), fill: colour("score-fill"), width: 1.2, points: { show: false } }, dots("anomaly", 7)],
    plugins: [thresholdHook()],
  };
}
