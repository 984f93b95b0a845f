/** The streams that the page shows, and the anomalies that can be put into them. */

import type { Schema } from "../engine/rows";

export interface Injection {
  kind: string;
  label: string;
  /** What it does, for a tooltip and a screen reader. */
  hint: string;
  /** The field to look at. */
  field: string;
}

export interface World {
  id: "sensors" | "cards";
  label: string;
  module: string;
  /** What one event is called. */
  event: string;
  entities: number;
  /** Events a second, in event time. */
  rate: number;
  /** A line for each entity where there are few, else points. */
  lines: boolean;
  fields: { field: string; label: string; isLogarithmic?: boolean }[];
  injections: Injection[];
}

export const WORLDS: readonly World[] = [
  {
    id: "sensors",
    label: "Machines",
    module: "machine-sensors",
    event: "readings",
    entities: 6,
    rate: 0.1,
    lines: true,
    fields: [
      { field: "temperature_c", label: "Temperature, °C" },
      { field: "pressure_kpa", label: "Pressure, kPa" },
      { field: "vibration_mm_s", label: "Vibration, mm/s" },
      { field: "current_a", label: "Current, A" },
    ],
    injections: [
      { kind: "spike", label: "Spike", hint: "one reading far too hot", field: "temperature_c" },
      { kind: "drift", label: "Drift", hint: "the temperature climbs slowly", field: "temperature_c" },
      { kind: "stuck", label: "Stuck sensor", hint: "the pressure repeats exactly", field: "pressure_kpa" },
      { kind: "burst", label: "Vibration burst", hint: "readings in quick succession with strong vibration", field: "vibration_mm_s" },
    ],
  },
  {
    id: "cards",
    label: "Card payments",
    module: "card-payments",
    event: "payments",
    entities: 60,
    rate: 0.02,
    lines: false,
    fields: [
      { field: "amount", label: "Amount", isLogarithmic: true },
      { field: "distance_km", label: "Distance from home, km" },
      { field: "merchant_risk", label: "Merchant risk" },
    ],
    injections: [
      { kind: "card_burst", label: "Fraud burst", hint: "online payments in quick succession, each larger", field: "amount" },
      { kind: "amount_spike", label: "Huge amount", hint: "one payment many times the usual", field: "amount" },
      { kind: "far_away", label: "Far from home", hint: "a payment thousands of kilometres away", field: "distance_km" },
    ],
  },
];

/** One event as the page draws it. */
export interface Point {
  number: number;
  timeMs: number;
  entity: string;
  values: (number | null)[];
  score: number;
  outcome: string;
  /** The kind of anomaly that was planted here, if one was. */
  planted: string | null;
}

export interface WatchInfo {
  schema: Schema;
  /** Rows a second through the module here, in batches, measured when it was loaded. */
  rowsPerSecond: number;
}
