//! `cargo xtask bench scaling`: how the cost of a row grows with the trees of a forest, the numbers of
//! a row and the rows of a call.

use super::{Ours, report, timed};
use crate::run::{print, tell};
use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;
use std::time::Duration;
use twinge_fit::read::{Format, RowReader};
use twinge_fit::{Config, Table, train};

/// How the cost of a row grows.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Times that each is measured, of which the median counts.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Leave docs/benchmarks.md as it is.
    #[arg(long)]
    dry_run: bool,
}

const TREES: [u32; 6] = [25, 50, 100, 200, 400, 800];
const FEATURES: [usize; 4] = [4, 16, 32, 64];
const BATCHES: [usize; 5] = [1, 8, 64, 512, 4096];
const TIME: Duration = Duration::from_millis(60);
const ROWS: usize = 4096;

/// `cargo xtask bench scaling`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if cfg!(debug_assertions) {
        ensure!(
            arguments.dry_run,
            "build for release, or add --dry-run: docs/benchmarks.md takes no others"
        );
    }
    let mut page = String::new();
    let batches: Vec<String> = BATCHES.iter().map(|batch| format!("batch {batch}")).collect();
    writeln!(page, "| trees | numbers | {} |", batches.join(" | "))?;
    writeln!(page, "|---|---{}|", "|---".repeat(BATCHES.len()))?;
    let mut by_trees = Vec::new();
    let shapes =
        TREES.map(|trees| (trees, 16)).into_iter().chain(FEATURES.map(|width| (100, width)));
    for (trees, features) in shapes {
        tell(&format!("{trees} trees on {features} numbers ..."));
        let costs = measure(trees, features, arguments.rounds)?;
        let cells: Vec<String> = costs.iter().map(|cost| format!("{cost:.0}")).collect();
        writeln!(page, "| {trees} | {features} | {} |", cells.join(" | "))?;
        if features == 16 && by_trees.len() < TREES.len() {
            by_trees.push((f64::from(trees), costs[2]));
        }
    }
    writeln!(page, "\nNanoseconds a row. {}", slopes(&by_trees)?)?;
    print(&page);
    if arguments.dry_run { Ok(()) } else { report::put("scaling", &page) }
}

/// What more trees add, beside what a row costs without any.
fn slopes(by_trees: &[(f64, f64)]) -> Result<String> {
    let (few, many) = by_trees.first().zip(by_trees.last()).context("forests")?;
    let each = (many.1 - few.1) / (many.0 - few.0);
    let without = few.1 - few.0 * each;
    let added: Vec<(f64, f64)> =
        by_trees.iter().map(|(trees, cost)| (*trees, cost - without)).collect();
    Ok(format!(
        "In calls of 64 a tree takes {each:.1} ns and a row without trees {without:.0}, by the forests with the \
         fewest and the most; what all of them take beyond the latter grows with the {:.2}th power of their number.",
        report::slope(&added)
    ))
}

/// Nanoseconds a row, for each size of a call.
fn measure(trees: u32, features: usize, rounds: usize) -> Result<Vec<f64>> {
    let names: Vec<String> = (0..features).map(|field| format!("x{field}")).collect();
    let rows = normal_rows(features);
    let config = format!(
        "name = \"scaling\"\n[schema]\nnumeric = {names:?}\n[features]\nnumeric = [\"value\"]\n\
         [detector]\nkind = \"isolation-forest\"\ntrees = {trees}\nsample_rows = 256\n"
    );
    let config = Config::parse(&config)?.check()?;
    let mut csv = names.join(",");
    for row in rows.chunks_exact(features) {
        let cells: Vec<String> = row.iter().map(f64::to_string).collect();
        write!(csv, "\n{}", cells.join(","))?;
    }
    let reader = RowReader::new(csv.as_bytes(), Format::Csv, &config.written.schema)?;
    let table = Table::read(reader, |_| {})?;
    let mut ours = Ours::new(train(&table, &config, 0, &mut |_| true)?.module)?;
    let mut costs = Vec::new();
    for batch in BATCHES {
        let mut times = Vec::new();
        for _ in 0..rounds {
            times.push(timed(TIME, batch, |from| {
                let from = from % (ROWS - batch + 1);
                let some = &rows[from * features..(from + batch) * features];
                ours.score_rows(some.chunks_exact(features)).map(drop)
            })?);
        }
        times.sort_by(f64::total_cmp);
        costs.push(*times.get(rounds / 2).context("no rounds")?);
    }
    Ok(costs)
}

/// Rows of normal numbers: sums of twelve uniform ones (Irwin and Hall).
fn normal_rows(features: usize) -> Vec<f64> {
    let mut numbers = super::host::Numbers(features as u64);
    (0..ROWS * features).map(|_| numbers.normal()).collect()
}
