//! What a run gave, as a table and as a page.

use super::{Arguments, BATCHES, EXPLAINING, Measured, NATIVE_BLOCK, NATIVE_LEVEL, PEERS};
use crate::run::{output, root};
use anyhow::{Context, Result};
use std::fs;
use std::process::Command;

pub(super) struct Report<'a> {
    pub(super) arguments: &'a Arguments,
    pub(super) module_bytes: usize,
    pub(super) measured: &'a Measured,
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
        for who in ["wasmtime", EXPLAINING, NATIVE_LEVEL, NATIVE_BLOCK].into_iter().chain(PEERS) {
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

    /// All of it, for docs/benchmarks.md.
    pub(super) fn page(&self, versions: &[String]) -> String {
        let Arguments { trees, features, rounds, .. } = self.arguments;
        format!(
            "An isolation forest that scikit-learn fitted ({trees} trees of 256 rows, depth 8, {features} \
             numbers), scored by each in one thread; medians of {rounds} turns in which each was measured \
             once. `wasmtime` is the linked module as a host calls it, with rows copied in, verdicts checked, \
             and a deadline on every call. `native` is the same forest in the best native layouts that we \
             know (xtask/src/bench/native.rs): `by level` walks eight rows side by side, `by block` is the \
             module's own way with the processor's vectors. The others include their call from Python. \
             `times` is how often the module's time goes into it.\n\n{}\nThe module has {} bytes. Packages: \
             {}.\n",
            self.table(),
            self.module_bytes,
            versions.join(", "),
        )
    }
}

/// Puts a part of docs/benchmarks.md in the place of what it was.
pub(super) fn put(part: &str, text: &str) -> Result<()> {
    let path = root().join("docs/benchmarks.md");
    let page =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (begin, end) = (format!("<!-- begin {part} -->"), format!("<!-- end {part} -->"));
    let (before, rest) =
        page.split_once(&begin).with_context(|| format!("docs/benchmarks.md has no {begin}"))?;
    let (_, after) =
        rest.split_once(&end).with_context(|| format!("docs/benchmarks.md has no {end}"))?;
    let text = format!("{before}{begin}\n{}\n\n{}\n{end}{after}", machine()?, text.trim());
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Where and when something was measured.
fn machine() -> Result<String> {
    let told = output(Command::new("sh").args([
        "-c",
        "grep -m1 'model name' /proc/cpuinfo | cut -d: -f2; nproc; cut -d' ' -f1 /proc/loadavg; \
         gcc -dumpfullversion; rustc --version; date +%F",
    ]))?;
    let facts: Vec<&str> = told.lines().map(str::trim).collect();
    let fact = |place: usize| facts.get(place).copied().unwrap_or("unknown");
    Ok(format!(
        "*{}, {} cores, load {} at the end, gcc {}, {}, {}.*",
        fact(0),
        fact(1),
        fact(2),
        fact(3),
        fact(4),
        fact(5)
    ))
}

/// The slope of a line through points on logarithms of both, by least squares.
pub(super) fn slope(points: &[(f64, f64)]) -> f64 {
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let count = logs.len() as f64;
    let (x, y) = logs.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
    let (x, y) = (x / count, y / count);
    let sums = logs.iter().map(|point| ((point.0 - x) * (point.1 - y), (point.0 - x).powi(2)));
    let (both, of_x) = sums.fold((0.0, 0.0), |(a, b), (c, d)| (a + c, b + d));
    both / of_x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_with_the_square_has_a_slope_of_two() {
        let points = [(1.0, 3.0), (10.0, 300.0), (100.0, 30_000.0)];
        assert!((slope(&points) - 2.0).abs() < 1e-12);
    }
}
