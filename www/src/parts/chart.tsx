import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { onTheme } from "../theme";

export interface ChartProps {
  /** Makes the options anew whenever the colours change. */
  options: () => Omit<uPlot.Options, "width" | "height">;
  data: uPlot.AlignedData;
  height: number;
  /** What the picture shows, for those who cannot see it. */
  label: string;
  /** Changes when the options do. */
  version?: string;
}

/** A chart as wide as its place. */
export function Chart({ options, data, height, label, version }: ChartProps) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const [theme, setTheme] = useState(0);
  useEffect(() => onTheme(() => setTheme((number) => number + 1)), []);
  useEffect(() => {
    const element = place.current;
    if (element === null) return;
    const width = () => Math.max(element.clientWidth, 120);
    const made = new uPlot({ ...options(), width: width(), height }, data, element);
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: width(), height }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
    // New data goes in below; only new options need a new chart.
  }, [theme, version, height]);
  useEffect(() => plot.current?.setData(data), [data]);
  return <div class="chart" ref={place} role="img" aria-label={label} />;
}
