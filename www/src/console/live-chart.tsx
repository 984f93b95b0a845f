import { useMemo } from "preact/hooks";
import type uPlot from "uplot";
import { Chart } from "../parts/chart";
import { axis, dots, scoreRange, thresholdHook } from "../parts/chart-style";
import { plural } from "../parts/words";
import { colour } from "../theme";
import type { LivePoint } from "./api";

/** The latest scores of all detectors, one behind the other. */
export function LiveChart({ points }: { points: LivePoint[] }) {
  const data = useMemo(
    () =>
      [points.map(({ number }) => number), points.map(({ score }) => score), points.map(({ score, verdict }) => (verdict === "anomalous" ? score : null))] as uPlot.AlignedData,
    [points],
  );
  const anomalies = points.filter(({ verdict }) => verdict === "anomalous").length;
  return <Chart options={options} data={data} height={230} label={`Score of the latest ${plural(points.length, "verdict")}; ${anomalies} reach the threshold of 1`} />;
}

function options(): Omit<uPlot.Options, "width" | "height"> {
  return {
    legend: { show: false },
    cursor: { show: false },
    padding: [8, 8, 8, 0],
    scales: { x: { time: false }, y: { range: scoreRange } },
    axes: [axis({ show: false }), axis({ size: 40 })],
    series: [{}, { stroke: colour("score"), fill: colour("score-fill"), width: 1.2, points: { show: false } }, dots("anomaly", 7)],
    plugins: [thresholdHook()],
  };
}
