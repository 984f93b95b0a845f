/** What to train, as a person sets it; checked by the trainer's own code before it starts. */

import type { Schema } from "../engine/rows";

export type Role = "number" | "category" | "entity" | "time" | "label" | "ignore";

export interface Settings {
  name: string;
  roles: { column: string; role: Role }[];
  timeFormat: "rfc3339" | "epoch-s" | "epoch-ms";
  /** In per cent of normal events. */
  falseAlarmPercent: number;
  /** Share of anomalies in unlabelled data, in per cent; 0 where it is not known. */
  contaminationPercent: number;
  /** `auto`, or one kind. */
  kind: string;
  seed: number;
}

/** The kinds of detectors (docs/detectors.md); the data chooses among them unless a person does. */
export const KINDS = [
  "auto",
  "isolation-forest",
  "extended-forest",
  "neighbours",
  "trusted-neighbours",
  "mixture",
  "mahalanobis",
  "components",
  "histogram",
  "tails",
  "series",
  "wander",
  "ratio",
] as const;

const NAME_MAX = 64;

/** A detector's name made of a file's. */
export function nameOf(file: string): string {
  const stem = file.toLowerCase().replace(/\.[^.]*$/, "");
  const name = stem.replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, NAME_MAX);
  return name === "" ? "detector" : name;
}

/** The settings of a guessed schema. */
export function settingsOf(schema: Schema, columns: readonly string[], name: string): Settings {
  const roleOf = (column: string): Role => {
    if (column === schema.entity) return "entity";
    if (column === schema.time) return "time";
    if (column === schema.label) return "label";
    if (schema.numeric?.includes(column) === true) return "number";
    return schema.categorical?.includes(column) === true ? "category" : "ignore";
  };
  return {
    name,
    roles: columns.map((column) => ({ column, role: roleOf(column) })),
    timeFormat: schema.time_format ?? "rfc3339",
    falseAlarmPercent: 0.1,
    contaminationPercent: 0,
    kind: "auto",
    seed: 0,
  };
}

/** The `detector.toml` as an object. */
export function configOf(settings: Settings): object {
  const of = (role: Role) => settings.roles.filter((entry) => entry.role === role).map(({ column }) => column);
  const one = (role: Role) => of(role)[0];
  const [entity, time, label] = [one("entity"), one("time"), one("label")];
  return {
    name: settings.name,
    version: "1",
    schema: {
      ...(entity === undefined ? {} : { entity }),
      ...(time === undefined ? {} : { time, time_format: settings.timeFormat }),
      ...(label === undefined ? {} : { label }),
      numeric: of("number"),
      categorical: of("category"),
    },
    ...(settings.kind === "auto" ? {} : { detector: { kind: settings.kind } }),
    threshold: {
      false_alarm_rate: share(settings.falseAlarmPercent),
      ...(settings.contaminationPercent > 0 ? { contamination: share(settings.contaminationPercent) } : {}),
    },
  };
}

/** Per cent as the decimal that a person would write for the share: 0.1 % is 0.001, not 0.001 and a bit. */
function share(percent: number): number {
  return Number((percent / 100).toPrecision(12));
}

/** What must be set right before training, in sentences. */
export function problems({ name, roles, falseAlarmPercent, contaminationPercent, seed }: Settings): string[] {
  const count = (role: Role) => roles.filter((entry) => entry.role === role).length;
  const found: string[] = [];
  if (!/^[a-z0-9-]{1,64}$/.test(name)) found.push("The name must have 1 to 64 of a-z, 0-9 and -.");
  for (const role of ["entity", "time", "label"] as const) {
    if (count(role) > 1) found.push(`Only one column can be the ${role}.`);
  }
  if (count("number") + count("category") === 0) found.push("Choose at least one column as a number or a category.");
  if (!(falseAlarmPercent > 0 && falseAlarmPercent < 50)) found.push("The share of false alarms must lie between 0 and 50 %.");
  if (!(contaminationPercent >= 0 && contaminationPercent < 50)) found.push("The share of anomalies must lie between 0 and 50 %.");
  if (!(Number.isSafeInteger(seed) && seed >= 0)) found.push("The seed must be a whole number from 0 on.");
  return found;
}
