/** Small modules made by hand, for what no trainer makes: imports, and calls that never end. */

const I32 = 0x7f;

/** A module that loops for ever in one of its functions, imports something, traps, or gives its input back as the score. */
export function byHand(what: "imports" | "loops in prepare" | "loops in score" | "traps" | "echoes"): Buffer {
  const imports = what === "imports";
  const forever = [0x03, 0x40, 0x0c, 0x00, 0x0b, 0x00];
  const answer = (value: number) => [0x41, ...signed(value)];
  const scoring = { "loops in score": forever, traps: [0x00], echoes: ECHO, imports: answer(0), "loops in prepare": answer(0) };
  const bodies = [answer(1), what === "loops in prepare" ? forever : answer(LAYOUT), scoring[what]];
  const first = imports ? 1 : 0;
  const exports = [
    [...text("memory"), 2, 0],
    ...["twinge_abi", "twinge_prepare", "twinge_score"].map((name, index) => [...text(name), 0, first + index]),
  ];
  return Buffer.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, vector([type([]), type([I32, I32]), type([I32, I32, I32])])),
    ...(imports ? section(2, vector([[...text("env"), ...text("clock"), 0, 0]])) : []),
    ...section(3, vector([[0], [1], [2]])),
    ...section(5, vector([[0, 3]])),
    ...section(7, vector(exports)),
    ...section(10, vector(bodies.map((body) => sized([0, ...body, 0x0b])))),
    ...section(11, vector([[0, ...answer(LAYOUT), 0x0b, ...sized(words([1, 0, 4096, 36864, INPUTS, SCORES, SCORES, VERDICTS, 135168, 0]))]])),
    ...section(0, [...text("twinge.manifest"), ...Buffer.from(JSON.stringify(MANIFEST))]),
  ]);
}

const LAYOUT = 16;
const INPUTS = 53248;
const SCORES = 86016;
const VERDICTS = 118784;

/** The address of row `$0`'s number in an array of eight or four bytes each. */
const row = (shift: number) => [0x20, 0, 0x41, shift, 0x74];

/**
 * ```text
 * loop while rows > 0: rows -= 1
 *   scores[rows] = inputs[rows]; verdicts[rows] = inputs[rows] >= 1
 * ```
 * A score that is no number fails the call.
 */
const ECHO = [
  ...[0x02, 0x40, 0x03, 0x40],
  ...[0x20, 0, 0x45, 0x0d, 1],
  ...[0x20, 0, 0x41, 1, 0x6b, 0x21, 0],
  ...[...row(3), ...row(3), 0x2b, 3, ...unsigned(INPUTS), 0x39, 3, ...unsigned(SCORES)],
  ...[...row(2), ...row(3), 0x2b, 3, ...unsigned(INPUTS), 0x44, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x66, 0x36, 2, ...unsigned(VERDICTS)],
  ...[0x0c, 0, 0x0b, 0x0b, 0x41, 0],
];

const MANIFEST = {
  abi: 1,
  name: "by-hand",
  version: "1",
  schema: { numeric: ["x"] },
  state_bytes: 0,
  stream: {},
  detector: { kind: "none", settings: {}, features: [] },
  threshold: { false_alarm_rate: 0.01, calibration_rows: 0, raw_score: 1 },
  lineage: { data_digest: "", rows: 0, config_digest: "", seed: 0, runtime_digest: "" },
};

function type(parameters: number[]): number[] {
  return [0x60, ...vector(parameters.map((kind) => [kind])), 1, I32];
}

function section(id: number, content: number[]): number[] {
  return [id, ...sized(content)];
}

function vector(items: number[][]): number[] {
  return [...unsigned(items.length), ...items.flat()];
}

function sized(content: number[]): number[] {
  return [...unsigned(content.length), ...content];
}

function text(value: string): number[] {
  return sized([...Buffer.from(value)]);
}

function words(values: number[]): number[] {
  return [...new Uint8Array(Uint32Array.from(values).buffer)];
}

function unsigned(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...unsigned(value >>> 7)];
}

/** Small numbers only. */
function signed(value: number): number[] {
  return [value & 127];
}
