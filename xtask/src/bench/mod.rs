//! `cargo xtask bench scoring`: a forest in wasmtime, beside the same forest in other programs.
//!
//! All are measured in one run, in turns, so that what else the machine does falls on all alike; what
//! counts are ratios of medians. Writes its part of docs/benchmarks.md, as the other files here do theirs.

mod forest;
pub(crate) mod fused;
pub(crate) mod host;
mod native;
mod peers;
mod report;
pub(crate) mod scaling;
mod stream;

use crate::run::{print, root, tell};
use anyhow::{Context, Result, ensure};
use forest::{Queries, SharedForest};
use native::NativeForest;
use native::blocks::BlockForest;
use peers::Peers;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};
use twinge_contract::abi::Outcome;
use twinge_engine::{Budget, Engine, Limits, Scorer};
use twinge_trust::VerifiedModule;

/// Rows of a call.
const BATCHES: [usize; 3] = [1, 64, 4096];
/// Others that score the same forest.
const PEERS: [&str; 5] = ["sklearn", "onnxruntime", "onnxruntime-ensemble", "gtil", "tl2cgen"];

/// The same with the alarms of the queries, one row in fifty, explained.
const EXPLAINING: &str = "wasmtime, alarms explained";

/// The same natively, in two ways.
const NATIVE_LEVEL: &str = "native, by level";
const NATIVE_BLOCK: &str = "native, by block";

/// A forest in wasmtime, beside the same forest in other programs.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Trees.
    #[arg(long, default_value_t = 100)]
    trees: u32,
    /// Features.
    #[arg(long, default_value_t = 16)]
    features: u32,
    /// Turns in which each is measured once.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of a measurement.
    #[arg(long, default_value_t = 0.3)]
    seconds: f64,
    /// Leave docs/benchmarks.md as it is.
    #[arg(long)]
    dry_run: bool,
}

/// Nanoseconds a row, by who and batch, one for each turn.
pub(crate) type Measured = BTreeMap<(String, usize), Vec<f64>>;

/// `cargo xtask bench scoring`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if cfg!(debug_assertions) {
        tell(
            "built with debug assertions, so what is native is slower than it would be: `cargo run --release -p xtask -- bench scoring`",
        );
        ensure!(
            arguments.dry_run,
            "docs/benchmarks.md takes figures of a release build only: add --dry-run"
        );
    }
    let place =
        root().join(format!("target/bench-peers/f{}-{}", arguments.trees, arguments.features));
    let mut peers =
        Peers::start(&place, arguments.trees, arguments.features)?.map_err(anyhow::Error::msg)?;
    let shared = SharedForest::read(&place)?;
    let queries = Queries::read(&place, shared.features)?;
    let module = shared.module(&queries, false)?;
    let mut explaining = Ours::new(shared.module(&queries, true)?)?;
    tell(&format!("the module of this forest has {} bytes", module.len()));
    let mut ours = Ours::new(module.clone())?;
    let native = NativeForest::new(&shared);
    let mut blocks = BlockForest::new(&shared)?;
    ours.agree_with(&native, &queries)?;
    let mut measured = Measured::new();
    let time = Duration::from_secs_f64(arguments.seconds);
    for round in 0..arguments.rounds {
        tell(&format!("turn {} of {}", round + 1, arguments.rounds));
        for batch in BATCHES {
            let mut note =
                |who: &str, ns: f64| measured.entry((who.to_owned(), batch)).or_default().push(ns);
            note("wasmtime", timed(time, batch, |from| ours.score(&queries, from, batch))?);
            note(EXPLAINING, timed(time, batch, |from| explaining.score(&queries, from, batch))?);
            let by_level = timed(time, batch, |from| {
                native.score(&queries, from, batch);
                Ok(())
            });
            note(NATIVE_LEVEL, by_level?);
            let by_block = timed(time, batch, |from| {
                blocks.score(&queries, from, batch);
                Ok(())
            });
            note(NATIVE_BLOCK, by_block?);
            for peer in PEERS {
                note(peer, peers.measure(peer, batch, arguments.seconds)?);
            }
        }
    }
    let report = report::Report { arguments, module_bytes: module.len(), measured: &measured };
    print(&report.table());
    if arguments.dry_run {
        return Ok(());
    }
    report::put("scoring", &report.page(&peers.versions))
}

/// Nanoseconds a row of calls that follow each other; each gets the number of its first row.
fn timed(time: Duration, rows: usize, mut call: impl FnMut(usize) -> Result<()>) -> Result<f64> {
    let (mut calls, mut from) = (0_u64, 0);
    // What is done once is done by now.
    (0..3).try_for_each(|_| call(0))?;
    let began = Instant::now();
    while began.elapsed() < time {
        // A clock that is asked after every call of one row would be measured too.
        for _ in 0..(64 / rows).max(1) {
            call(from)?;
            from = (from + rows) % (Queries::ROWS - rows + 1);
            calls += 1;
        }
    }
    Ok(began.elapsed().as_secs_f64() * 1e9 / (calls * rows as u64) as f64)
}

/// The module in wasmtime, as a host calls it: rows copied in, scores checked and copied out, a
/// deadline on every call.
struct Ours {
    scorer: Scorer,
    batch: twinge_engine::Batch,
}

impl Ours {
    fn new(module: Vec<u8>) -> Result<Self> {
        let engine = Engine::new(Limits::default())?;
        let module = engine.load(&VerifiedModule::allow_unsigned(module))?;
        let scorer = Scorer::new(&module);
        let batch = scorer.batch();
        Ok(Self { scorer, batch })
    }

    fn score(&mut self, queries: &Queries, from: usize, rows: usize) -> Result<()> {
        self.call((from..from + rows).map(|row| queries.wide(row)))?;
        black_box(self.batch.score(0));
        Ok(())
    }

    /// Scores rows and tells how many alarms there were.
    fn score_rows<'r>(&mut self, rows: impl Iterator<Item = &'r [f64]>) -> Result<usize> {
        self.call(rows)?;
        let is_alarm = |row: &usize| self.batch.outcome(*row) == Outcome::Anomalous;
        Ok((0..self.batch.rows()).filter(is_alarm).count())
    }

    fn call<'r>(&mut self, rows: impl Iterator<Item = &'r [f64]>) -> Result<()> {
        self.batch.clear();
        let state = self.batch.push_state(None);
        for row in rows {
            self.batch.push(0.0, state, row);
        }
        self.scorer.score(&mut self.batch, false, Budget::Usual)?;
        Ok(())
    }

    /// The same order of scores as natively: whoever is faster must not be so by doing less.
    fn agree_with(&mut self, native: &NativeForest, queries: &Queries) -> Result<()> {
        const ROWS: usize = 512;
        self.score(queries, 0, ROWS)?;
        let mut pairs: Vec<(f64, f64)> =
            (0..ROWS).map(|row| (native.of(queries.row(row)), self.batch.score(row))).collect();
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let is_ordered = pairs.windows(2).all(|pair| pair[0].1 <= pair[1].1);
        ensure!(is_ordered, "the module orders rows otherwise than the forest does");
        let (first, last) = (pairs.first().context("rows")?, pairs.last().context("rows")?);
        ensure!(first.1 < last.1, "the module gives all rows one score");
        Ok(())
    }
}
