//! Time a row takes in each kind of detector, for each way to run modules that is built in.
//!
//! ```sh
//! cargo run --release -p twinge-engine --features interpreter --example speed
//! ```
#![expect(clippy::print_stdout, reason = "figures are what it prints")]

#[path = "../tests/common/mod.rs"]
mod common;

use common::{PATIENCE, Row, STRATEGIES, TrainedWorld, all_detectors, engine, load, stream};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use twinge_engine::{Batch, Budget, Scorer, Strategy};

const BATCHES: [usize; 3] = [1, 64, 1024];

/// Rows for each figure; a multiple of each batch.
const ROWS: usize = 8192;

/// Of so many tries, the fastest counts: what else the machine does only ever adds.
const TRIES: usize = 5;

fn main() {
    println!("us a row in batches of {BATCHES:?}, and ms to load and give the first verdict");
    for world in all_detectors() {
        let rows = world.rows(&mut stream(world.world, 1, 0.05), ROWS);
        let kind = &world.trained.manifest.detector.kind;
        let bytes = world.trained.module.len();
        println!("{} {kind}, {bytes} bytes", world.world);
        for strategy in STRATEGIES {
            let figures =
                BATCHES.map(|batch| format!("{:7.2}", us_a_row(world, *strategy, &rows, batch)));
            let first = first_verdict(world, *strategy, &rows[..1]);
            println!("  {strategy:?}: {} {:7.2}", figures.join(" "), first.as_secs_f64() * 1e3);
        }
    }
}

fn us_a_row(world: &TrainedWorld, strategy: Strategy, rows: &[Row], batch: usize) -> f64 {
    let fastest = best_of(|| {
        let mut scorer = Scorer::new(world.module(strategy));
        // Batches are made before the clock starts, and the first call makes the instance.
        let mut batches: Vec<Batch> =
            rows.chunks(batch).map(|rows| batch_of(&scorer, rows)).collect();
        score(&mut scorer, &mut batches[0].clone());
        let began = Instant::now();
        for batch in &mut batches {
            score(&mut scorer, batch);
        }
        began.elapsed()
    });
    fastest.as_secs_f64() * 1e6 / rows.len() as f64
}

fn first_verdict(world: &TrainedWorld, strategy: Strategy, rows: &[Row]) -> Duration {
    best_of(|| {
        let began = Instant::now();
        let module = load(&engine(strategy, PATIENCE), world.trained.module.clone());
        let mut scorer = Scorer::new(&module.expect("it loads"));
        let mut batch = batch_of(&scorer, rows);
        score(&mut scorer, &mut batch);
        began.elapsed()
    })
}

fn best_of(mut try_once: impl FnMut() -> Duration) -> Duration {
    (0..TRIES).map(|_| try_once()).min().expect("there are tries")
}

/// Every batch begins with new states: what a row takes hardly depends on them.
fn batch_of(scorer: &Scorer, rows: &[Row]) -> Batch {
    let (mut batch, mut places) = (scorer.batch(), BTreeMap::new());
    for row in rows {
        let place = *places.entry(row.entity.as_str()).or_insert_with(|| batch.push_state(None));
        batch.push(row.time_ms, place, &row.inputs);
    }
    batch
}

fn score(scorer: &mut Scorer, batch: &mut Batch) {
    scorer.score(batch, false, Budget::Retry).expect("the batch is scored");
}
