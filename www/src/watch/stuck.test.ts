import { expect, test } from "vitest";
import { StuckSensors } from "./stuck";

test("one sensor repeats a value for sixty events, the others go on", () => {
  const sensors = new StuckSensors("sensor", "pressure");
  const event = (sensor: string, pressure: number) => sensors.apply({ sensor, pressure, anomaly: null });
  expect(event("a", 1)).toEqual({ sensor: "a", pressure: 1, anomaly: null });
  sensors.ask();
  event("a", 2);
  const seen = Array.from({ length: 61 }, (_, index) => event("a", 3 + index));
  expect(seen.slice(0, 60).every(({ pressure, anomaly }) => pressure === 2 && anomaly === "stuck")).toBe(true);
  expect(seen[60]).toEqual({ sensor: "a", pressure: 63, anomaly: null });
  expect(event("b", 7)).toEqual({ sensor: "b", pressure: 7, anomaly: null });
});
