//! What a run gave, as a table and as a page.

use super::{Arguments, BATCHES, EXPLAINING, Measured, PEERS};
use crate::run::{output, root};
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::process::Command;

pub(super) struct Report<'a> {
    pub(super) arguments: &'a Arguments,
    pub(super) module_bytes: usize,
    pub(super) measured: &'a Measured,
    /// Events a second.
    pub(super) river: f64,
}

impl Report<'_> {
    /// Medians, and how many times as long each takes as the module in wasmtime.
    pub(super) fn table(&self) -> String {
        let cells = |cell: &dyn Fn(usize) -> String| BATCHES.map(cell).join(" | ");
        let head = cells(&|batch| format!("batch {batch} | times"));
        let mut lines = vec![
            format!("| ns a row | {head} |"),
            format!("|---{}|", "|---|---".repeat(BATCHES.len())),
        ];
        for who in ["wasmtime", EXPLAINING, "native"].into_iter().chain(PEERS) {
            let row = cells(&|batch| {
                let (own, ours) = (self.median(who, batch), self.median("wasmtime", batch));
                format!("{own:.0} | {:.2}", own / ours)
            });
            lines.push(format!("| {who} | {row} |"));
        }
        lines.push(String::new());
        lines.join("\n")
    }

    fn median(&self, who: &str, batch: usize) -> f64 {
        let mut turns = self.measured.get(&(who.to_owned(), batch)).cloned().unwrap_or_default();
        turns.sort_by(f64::total_cmp);
        turns.get(turns.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// Puts it all into docs/benchmarks.md.
    pub(super) fn write(&self, versions: &[String]) -> Result<()> {
        let Arguments { trees, features, rounds, seconds, .. } = self.arguments;
        let processor = output(Command::new("sh").args([
            "-c",
            "grep -m1 'model name' /proc/cpuinfo | cut -d: -f2; nproc; cut -d' ' -f1 /proc/loadavg; gcc -dumpfullversion",
        ]))?;
        let facts: Vec<&str> = processor.lines().map(str::trim).collect();
        let mut page = String::from("# Benchmarks\n\n");
        writeln!(
            page,
            "Written by `cargo run --release -p xtask -- bench scoring --trees {trees} --features {features} \
             --rounds {rounds} --seconds {seconds}`.\n\nAn isolation forest that scikit-learn fitted ({trees} trees \
             of 256 rows, depth 8, {features} numbers), scored by each in one thread; medians of {rounds} turns in \
             which each was measured once. `wasmtime` is the linked module as a host calls it, with rows copied \
             in, scores checked, and a deadline on every call. `native` is the same forest in the best native \
             layout (xtask/src/bench/native.rs). The others include their call from Python. `times` is how often \
             the module's time goes into it.\n\n{}\nThe module has {} bytes. River's half-space trees (10 of \
             height 8, 10 numbers, JSON included): {:.0} events/s.\n\nMachine: {}; {} cores; load at the end {}; \
             gcc {}. Packages: {}.",
            self.table(),
            self.module_bytes,
            self.river,
            facts.first().unwrap_or(&"unknown"),
            facts.get(1).unwrap_or(&"?"),
            facts.get(2).unwrap_or(&"?"),
            facts.get(3).unwrap_or(&"?"),
            versions.join(", "),
        )?;
        let path = root().join("docs/benchmarks.md");
        std::fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))
    }
}
