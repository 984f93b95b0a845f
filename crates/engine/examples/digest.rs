//! One module on this machine: a digest of all that comes of some rows, which is the same on every
//! machine and however the module is run, and what it took.
//!
//! ```sh
//! cargo run --release -p twinge-engine --features interpreter --example digest -- MODULE.wasm
//! ```
//!
//! A second argument, `compile` or `interpret`, chooses where both are built in, and a third gives
//! the number of rows, each scored without and with an explanation. The rows are noise; detectors
//! judge them all the same.
#![expect(clippy::print_stdout, reason = "figures are what it prints")]

use std::time::{Duration, Instant};
use twinge_engine::{Batch, Budget, Engine, Limits, Scorer, Strategy};
use twinge_trust::{Digest, VerifiedModule};

const ENTITIES: usize = 20;
const BATCH_ROWS: usize = 64;
/// Emulated machines are slow, and what is looked for here is not how slow.
const PATIENCE: Duration = Duration::from_mins(1);

const MINUTE_MS: f64 = 60_000.0;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().expect("usage: digest MODULE.wasm [compile|interpret] [ROWS]");
    let strategy = match arguments.next().as_deref() {
        None => Strategy::default(),
        Some("compile") => Strategy::Compile,
        Some("interpret") => Strategy::Interpret,
        Some(other) => panic!("`{other}` is neither compile nor interpret"),
    };
    let rows = arguments.next().map_or(1000, |rows| rows.parse().expect("rows are a number"));
    let module = VerifiedModule::allow_unsigned(std::fs::read(path).expect("the module is there"));

    let began = Instant::now();
    let limits = Limits { deadline: PATIENCE, ..Limits::default() };
    let engine = Engine::with_strategy(limits, strategy).expect("the engine starts");
    let module = engine.load(&module).expect("the module loads");
    println!("{strategy:?}: loaded in {:?}", began.elapsed());
    let mut run = Run::new(Scorer::new(&module));
    run.score(1, false);
    println!("first verdict after {:?}", began.elapsed());

    let began = Instant::now();
    run.score_all(rows, false);
    println!("{:.2} us a row", began.elapsed().as_secs_f64() * 1e6 / rows as f64);
    let began = Instant::now();
    run.score_all(rows, true);
    println!(
        "{:.2} us a row with its explanation",
        began.elapsed().as_secs_f64() * 1e6 / rows as f64
    );
    if let Some(peak) = peak_memory() {
        println!("{peak} at most resident");
    }
    println!("{rows} rows twice {}", Digest::of(&run.seen));
}

/// A stream of noise and what came of it.
struct Run {
    scorer: Scorer,
    batch: Batch,
    states: Vec<Option<Vec<u8>>>,
    noise: Noise,
    time_ms: f64,
    /// Scores, outcomes, attributions and states, as bytes.
    seen: Vec<u8>,
}

impl Run {
    fn new(scorer: Scorer) -> Self {
        let (batch, states) = (scorer.batch(), vec![None; ENTITIES]);
        let time_ms = 1_767_225_600_000.0;
        Self { scorer, batch, states, noise: Noise(0x5eed), time_ms, seen: vec![] }
    }

    fn score_all(&mut self, rows: usize, explain_all: bool) {
        let mut rest = rows;
        while rest > 0 {
            let now = rest.min(BATCH_ROWS);
            self.score(now, explain_all);
            rest -= now;
        }
    }

    fn score(&mut self, rows: usize, explain_all: bool) {
        let width = self.scorer.module().manifest().schema.width();
        self.batch.clear();
        for state in &self.states {
            self.batch.push_state(state.as_deref());
        }
        for _ in 0..rows {
            let inputs: Vec<f64> = (0..width).map(|_| self.noise.next_value()).collect();
            let entity = self.noise.next_bits() % ENTITIES as u64;
            self.time_ms += MINUTE_MS;
            self.batch.push(self.time_ms, entity as u32, &inputs);
        }
        self.scorer
            .score(&mut self.batch, explain_all, Budget::Retry)
            .expect("the rows are scored");
        for row in 0..rows {
            self.seen.extend(self.batch.score(row).to_le_bytes());
            self.seen.extend(self.batch.outcome(row).code().to_le_bytes());
            self.seen
                .extend(self.batch.attribution(row).iter().flat_map(|share| share.to_le_bytes()));
        }
        for (place, state) in self.states.iter_mut().enumerate() {
            let after = self.batch.state(place as u32).to_vec();
            self.seen.extend(&after);
            *state = Some(after);
        }
    }
}

/// Marsaglia's xorshift64: the same numbers everywhere.
struct Noise(u64);

impl Noise {
    fn next_bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Between -1 and 1, and now and then missing.
    fn next_value(&mut self) -> f64 {
        let bits = self.next_bits() >> 11;
        if bits.is_multiple_of(50) {
            f64::NAN
        } else {
            bits as f64 * (2.0 / (1u64 << 53) as f64) - 1.0
        }
    }
}

/// Most memory that was resident at once, where Linux tells it.
fn peak_memory() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().to_owned())
}
