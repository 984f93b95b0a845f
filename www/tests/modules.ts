/** Small modules made by hand, for what no trainer makes: imports, and calls that never end. */

const I32 = 0x7f;

/** A module that loops for ever in one of its functions, or imports something. */
export function hostile(what: "imports" | "loops in prepare" | "loops in score" | "traps"): Buffer {
  const imports = what === "imports";
  const forever = [0x03, 0x40, 0x0c, 0x00, 0x0b, 0x00];
  const answer = (value: number) => [0x41, ...signed(value)];
  const bodies = [answer(1), what === "loops in prepare" ? forever : answer(LAYOUT), what === "traps" ? [0x00] : what === "loops in score" ? forever : answer(0)];
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
    ...section(11, vector([[0, ...answer(LAYOUT), 0x0b, ...sized(words([1, 0, 4096, 36864, 53248, 86016, 86016, 118784, 135168, 0]))]])),
    ...section(0, [...text("twinge.manifest"), ...Buffer.from(JSON.stringify(MANIFEST))]),
  ]);
}

const LAYOUT = 16;

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
