/** What all charts of the page have in common. */

import type uPlot from "uplot";
import { colour } from "../theme";

export const FONT = '11px "Inter Variable", system-ui, sans-serif';

export function axis(more: Partial<uPlot.Axis> = {}): uPlot.Axis {
  return {
    stroke: colour("ink-3"),
    font: FONT,
    grid: { stroke: colour("line"), width: 1 },
    ticks: { show: false },
    ...more,
  };
}

/** A dashed line where scores become anomalies. */
export function thresholdHook(): uPlot.Plugin {
  return {
    hooks: {
      drawClear: (plot) => {
        const y = plot.valToPos(1, "y", true);
        const { left, top, width, height } = plot.bbox;
        if (y < top || y > top + height) return;
        const { ctx } = plot;
        ctx.save();
        ctx.strokeStyle = colour("threshold");
        ctx.setLineDash([5 * devicePixelRatio, 4 * devicePixelRatio]);
        ctx.lineWidth = devicePixelRatio;
        ctx.beginPath();
        ctx.moveTo(left, y);
        ctx.lineTo(left + width, y);
        ctx.stroke();
        ctx.restore();
      },
    },
  };
}

/** Scores from nothing up to the highest, and the threshold always in view. */
export const scoreRange: uPlot.Range.Function = (_, __, highest) => [0, Math.max(1.6, (Number.isFinite(highest) ? highest : 0) * 1.12)];

/** Dots without a line between them. */
export function dots(name: string, size: number): uPlot.Series {
  const fill = colour(name);
  return { stroke: fill, paths: () => null, points: { show: true, size, stroke: fill, fill, width: 0 } };
}
