/** What a host tells about itself, where the page is served by one. */

import { fileUrl } from "../modules";
import type { Contribution, Outcome, Severity } from "../engine/verdict";

/** Whether a host with a console serves the page: it says so in the document. */
export const HAS_CONSOLE = document.querySelector('meta[name="twinge-console"]') !== null;

export interface Side {
  digest: string;
  anomalies: number;
  alone: number;
  failures: number;
}

/** A detector on one partition. */
export interface RunnerStatus {
  place: { detector: string; source: string; partition: string };
  serial: number | null;
  champion: string;
  version: string;
  candidate: string | null;
  candidate_version: string | null;
  part: string | null;
  is_warm: boolean;
  comparison: { compared: number; acting: Side; other: Side } | null;
  condemned: { digest: string; reason: string }[];
  offset: number;
  entities: number;
  counts: { events: number; verdicts: number; anomalies: number; dead_letters: number; duplicates: number; swaps: number; returns: number };
}

export interface Overview {
  runners: RunnerStatus[];
  alerts: string[];
  may_send: boolean;
}

export interface LivePoint {
  number: number;
  detector: string;
  entity: string;
  score: number;
  verdict: Outcome;
}

/** An anomaly, a dead letter or a silence, as sinks get it. */
export interface LiveFinding {
  type: string;
  id: string;
  source: string;
  subject?: string;
  time?: string;
  data: {
    score?: number;
    severity?: Severity;
    attribution?: Contribution[];
    reason?: string;
    message?: string;
    original?: string;
  };
}

export interface Update {
  seen: number;
  missed: number;
  points: LivePoint[];
  findings: LiveFinding[];
  lag_ms: Record<string, number>;
}

export async function overview(): Promise<Overview> {
  const response = await fetch(fileUrl("v1/console"));
  if (!response.ok) throw new Error(`the host answered ${response.status}`);
  return (await response.json()) as Overview;
}

/** Live verdicts until the answer is called; the browser connects again by itself. */
export function listen(onUpdate: (update: Update) => void, onState: (isConnected: boolean) => void): () => void {
  const source = new EventSource(fileUrl("v1/console/verdicts"));
  source.onopen = () => onState(true);
  source.onerror = () => onState(false);
  source.onmessage = ({ data }: MessageEvent<string>) => onUpdate(JSON.parse(data) as Update);
  return () => source.close();
}

/** Sends events to the host; an error says why it would not take them. */
export async function send(events: string, token: string): Promise<number> {
  const response = await fetch(fileUrl("v1/console/events"), { method: "POST", headers: { Authorization: `Bearer ${token}` }, body: events });
  const answer = (await response.json()) as { accepted?: number; error?: string };
  if (!response.ok) throw new Error(answer.error ?? `the host answered ${response.status}`);
  return answer.accepted ?? 0;
}
