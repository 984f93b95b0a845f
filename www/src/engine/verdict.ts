/**
 * Verdicts and dead letters as host and edge agent write them, to the byte: crates/contract has the
 * format, crates/runner what goes into an attribution.
 */

import { OUTCOMES } from "../../runtime/twinge.mjs";
import { hex, sha256 } from "./sha256";

export type Outcome = (typeof OUTCOMES)[number];
export type Severity = "none" | "low" | "medium" | "high";

/** A field and what it adds to the score. */
export interface Contribution {
  field: string;
  share: number;
}

/** Where a file's events come from: its digest names it, and it has one partition. */
export interface Place {
  detector: string;
  version: string;
  module: string;
  source: string;
}

export interface Scored {
  entity: string;
  timeMs: number | null;
  offset: number;
  outcome: Outcome;
  score: number;
  late: boolean;
  continues: boolean;
  attribution: Contribution[];
}

const PARTITION = "0";
const CONTRIBUTIONS_MAX = 8;
const CONTRIBUTION_SHARE_MIN = Math.fround(0.01);

/** How bad, for people. */
export function severityOf(outcome: Outcome, score: number): Severity {
  if (outcome !== "anomalous") return "none";
  return score >= 2 ? "high" : score >= 1.5 ? "medium" : "low";
}

/** What made a score, largest first; `names` are the inputs and, in the last place, time. */
export function contributions(shares: ArrayLike<number>, names: readonly string[]): Contribution[] {
  let sum = 0;
  for (let index = 0; index < shares.length; index++) sum = Math.fround(sum + (shares[index] ?? 0));
  const least = Math.fround(sum * CONTRIBUTION_SHARE_MIN);
  return names
    .map((field, index) => ({ field, share: shares[index] ?? 0 }))
    .filter(({ share }) => share > least)
    .sort((a, b) => b.share - a.share)
    .slice(0, CONTRIBUTIONS_MAX);
}

/** A verdict as one line of NDJSON, without its end. */
export function verdictLine(place: Place, scored: Scored): string {
  const { outcome, score, attribution } = scored;
  const parts = [
    `"verdict":"${outcome}","score":${float(score)},"severity":"${severityOf(outcome, score)}"`,
    scored.late ? '"late":true' : "",
    scored.continues ? '"continues":true' : "",
    attribution.length > 0 ? `"attribution":[${attribution.map(contribution).join(",")}]` : "",
    `"version":${quote(place.version)},"module":"${place.module}","origin":${origin(place, scored.offset)}`,
  ];
  const time = scored.timeMs === null ? "" : `"time":"${rfc3339(scored.timeMs)}",`;
  const id = recordId(place.source, place.module, scored.offset);
  return (
    `{"specversion":"1.0","type":"io.twinge.verdict.v1","id":"${id}","source":"/twinge/${place.detector}",` +
    `"subject":${quote(scored.entity)},${time}"data":{${parts.filter((part) => part !== "").join(",")}}}`
  );
}

/** An event that got no verdict, as one line of NDJSON, without its end. */
export function deadLetterLine(place: Place, offset: number, reason: string, message: string, original: string): string {
  const id = recordId(place.source, place.detector, offset);
  return (
    `{"specversion":"1.0","type":"io.twinge.dead-letter.v1","id":"${id}","source":"/twinge/${place.detector}",` +
    `"data":{"reason":"${reason}","message":${quote(message)},"origin":${origin(place, offset)},"original":${quote(original)}}}`
  );
}

function origin(place: Place, offset: number): string {
  return `{"source":"${place.source}","partition":"${PARTITION}","offset":${offset}}`;
}

const encoder = new TextEncoder();

/** Equal for all deliveries of one record: a hash of place, module (or detector) and offset. */
export function recordId(source: string, module: string, offset: number): string {
  const texts = [source, PARTITION, module].map((text) => encoder.encode(text));
  const bytes = new Uint8Array(texts.reduce((sum, text) => sum + 8 + text.length, 8));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const text of texts) {
    view.setBigUint64(at, BigInt(text.length), true);
    bytes.set(text, at + 8);
    at += 8 + text.length;
  }
  view.setBigUint64(at, BigInt(offset), true);
  return hex(sha256(bytes).subarray(0, 16));
}

function contribution({ field, share }: Contribution): string {
  return `{"field":${quote(field)},"share":${float(shortest(share))}}`;
}

/** The shortest decimal that is still this 32-bit float. */
function shortest(share: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const short = Number(share.toPrecision(digits));
    if (Math.fround(short) === share) return short;
  }
  return Number(share.toPrecision(9));
}

/** A float in JSON as Rust writes it: with a point or an exponent, so that it stays a float. */
function float(value: number): string {
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-5 || size >= 1e16) ? value.toExponential().replace("e+", "e") : String(value);
  if (/^-?\d+$/.test(text)) return Object.is(value, -0) ? "-0.0" : `${text}.0`;
  return text;
}

function quote(text: string): string {
  return JSON.stringify(text);
}

/** Milliseconds since 1970 as RFC 3339 in UTC, with only as much of a second as there is. */
export function rfc3339(milliseconds: number): string {
  const text = new Date(milliseconds).toISOString();
  return text.replace(/\.(\d*?)0*Z$/, (_, digits: string) => (digits === "" ? "Z" : `.${digits}Z`));
}
