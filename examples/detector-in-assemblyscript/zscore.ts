// How many standard deviations a value lies from its entity's running mean; six are anomalous.
const ROWS: u32 = 65536, FIELDS: u32 = 4, WARM_UP: f64 = 20;
const LIMIT: f64 = 6, SLOWEST: f64 = 1.0 / 256, SCORE_MAX: f64 = 1000, INPUT_MAX: f64 = 1e15;
// A state: events seen, time of the latest, then for each field values seen, mean and variance.
const STATE_BYTES: u32 = 112;

const times = memory.data(65536 * 8, 8);
const entities = memory.data(65536 * 4, 8);
const inputs = memory.data(65536 * 4 * 8, 8);
const states = memory.data(65536 * 112, 8);
const next = memory.data(112, 8);
const scores = memory.data(65536 * 8, 8);
const verdicts = memory.data(65536 * 4, 8);
const attributions = memory.data(65536 * 5 * 4, 8);
const layout = memory.data<usize>([FIELDS, STATE_BYTES, times, entities, inputs, states, scores, verdicts, attributions, 0], 8);

export function twinge_abi(): i32 { return 1; }

export function twinge_prepare(rows: u32, count: u32): usize { return rows > ROWS || count > ROWS ? 0 : layout; }

function scoreRow(input: usize, time: f64, state: usize, score: usize, parts: usize, all: bool): u32 {
  const seen = load<f64>(state), late = seen > 0 && time < load<f64>(state, 8);
  let any = false, largest: u32 = 0, highest: f64 = 0;
  memory.copy(next, state, STATE_BYTES);
  memory.fill(parts, 0, (FIELDS + 1) * 4);
  for (let field: u32 = 0; field < FIELDS; field++) {
    const value = load<f64>(input + field * 8), past = next + 16 + field * 24;
    if (!(Math.abs(value) <= INPUT_MAX)) continue; // missing, or its square may be infinite
    const count = load<f64>(past), variance = load<f64>(past, 16);
    const distance = value - load<f64>(past, 8);
    let found: f64 = 0;
    if (count >= WARM_UP && distance != 0) found = Math.abs(distance) / (LIMIT * Math.sqrt(variance));
    if (found > SCORE_MAX) found = SCORE_MAX; // infinite where all values before were the same
    if (found > highest) { highest = found; largest = field; }
    let gain = 1 / (count + 1);
    if (gain < SLOWEST) gain = SLOWEST; // what is old fades, so that a slow change is no anomaly
    store<f64>(past, count + 1);
    store<f64>(past, load<f64>(past, 8) + gain * distance, 8);
    store<f64>(past, (1 - gain) * (variance + gain * distance * distance), 16);
    any = true;
  }
  store<f64>(score, highest);
  if (!any) return 3;
  const outcome: u32 = seen < WARM_UP ? 2 : highest >= 1 ? 1 : 0;
  if (all || outcome == 1) store<f32>(parts + largest * 4, <f32>highest);
  if (!late) { store<f64>(next, seen + 1); store<f64>(next, time, 8); memory.copy(state, next, STATE_BYTES); }
  return outcome | (late ? 256 : 0);
}

export function twinge_score(rows: u32, count: u32, flags: u32): i32 {
  if (rows > ROWS || count > ROWS) return 1;
  for (let row: u32 = 0; row < rows; row++) if (load<u32>(entities + row * 4) >= count) return 2;
  for (let row: u32 = 0; row < rows; row++) {
    const state = states + load<u32>(entities + row * 4) * STATE_BYTES;
    store<u32>(verdicts + row * 4, scoreRow(inputs + row * FIELDS * 8, load<f64>(times + row * 8), state,
      scores + row * 8, attributions + row * (FIELDS + 1) * 4, (flags & 1) != 0));
  }
  return 0;
}
