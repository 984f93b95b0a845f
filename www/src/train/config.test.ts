import { expect, test } from "vitest";
import { configOf, nameOf, problems, settingsOf } from "./config";

const schema = { entity: "card", time: "at", time_format: "epoch-s" as const, numeric: ["x"], categorical: ["c"], label: "y" };
const settings = settingsOf(schema, ["at", "card", "x", "c", "y", "note"], "cards");

test("a guess becomes settings and these a configuration", () => {
  expect(settings.roles.map(({ role }) => role)).toEqual(["time", "entity", "number", "category", "label", "ignore"]);
  expect(configOf(settings)).toEqual({ name: "cards", version: "1", schema, threshold: { false_alarm_rate: 0.001 } });
  expect(configOf({ ...settings, falseAlarmPercent: 0.3, contaminationPercent: 7 })).toMatchObject({
    threshold: { false_alarm_rate: 0.003, contamination: 0.07 },
  });
});

test("names of files become names of detectors", () => {
  expect(nameOf("Pump Pressure (2026).csv")).toBe("pump-pressure-2026");
  expect(nameOf("....csv")).toBe("detector");
  expect(nameOf(`${"x".repeat(99)}.csv`)).toHaveLength(64);
});

test("what is wrong is told before training", () => {
  expect(problems(settings)).toEqual([]);
  const all = settings.roles.map(({ column }) => ({ column, role: "time" as const }));
  const wrong = problems({ ...settings, name: "No Name", roles: all, falseAlarmPercent: 0, contaminationPercent: NaN, seed: -1 });
  expect(wrong).toHaveLength(6);
});
