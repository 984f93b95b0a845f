//! `cargo xtask bench fused`: what `auto` chooses for tables, in wasmtime, batches of 64.

use super::{Ours, report};
use crate::quality::{self, Table};
use crate::run::{print, tell};
use anyhow::{Context, Result, anyhow, ensure};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use twinge_contract::schema::Schema;
use twinge_fit::config::DetectorSettings;
use twinge_fit::read::{Format, RowReader};
use twinge_fit::{Config, train};

/// Measure what `auto` chooses for tables.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Folder with tabular in it, as for `quality`.
    data: PathBuf,
    /// Times that each is measured, of which the median counts.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Leave docs/benchmarks.md as it is.
    #[arg(long)]
    dry_run: bool,
}

const BATCH: usize = 64;
/// Rows of a table that are scored at most.
const ROWS_MAX: usize = 8192;
const TIME: Duration = Duration::from_millis(100);

/// `cargo xtask bench fused`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if cfg!(debug_assertions) {
        ensure!(
            arguments.dry_run,
            "build for release, or add --dry-run: `cargo run --release -p xtask -- bench fused DATA`"
        );
    }
    let mut page =
        String::from("| table | fields | µs an event | alarms | module |\n|---|---|---|---|---|\n");
    let mut costs = Vec::new();
    for table in quality::tables(&arguments.data)? {
        tell(&format!("{} ...", table.name));
        let measured = measure(&table, arguments.rounds)?;
        let Measured { micros, alarms, bytes } = measured;
        writeln!(
            page,
            "| {} | {} | {micros:.1} | {:.1} % | {bytes} B |",
            table.name,
            table.names.len(),
            alarms * 100.0
        )?;
        costs.push(micros);
    }
    costs.sort_by(f64::total_cmp);
    let median = costs.get(costs.len() / 2).context("there are no tables")?;
    writeln!(
        page,
        "\nMedian: {median:.1} µs an event. An alarm costs two scores for each field more, since it is explained."
    )?;
    print(&page);
    if arguments.dry_run { Ok(()) } else { report::put("fused", &page) }
}

struct Measured {
    micros: f64,
    alarms: f64,
    bytes: usize,
}

/// Trains on half of the normal rows, as protocol N does, and scores all.
fn measure(table: &Table, rounds: usize) -> Result<Measured> {
    let schema = Schema { numeric: table.names.clone(), ..Schema::default() };
    let detector = DetectorSettings { clean: Some(true), ..DetectorSettings::default() };
    let config = Config { name: "bench".into(), schema, detector, ..Config::default() }.check()?;
    let csv = table.csv_of_half_of_normal();
    let reader = RowReader::new(csv.as_bytes(), Format::Csv, &config.written.schema)?;
    let rows = twinge_fit::Table::read(reader, |_| {})?;
    let trained = train(&rows, &config, 0, &mut |_| true)?;
    let bytes = trained.module.len();
    let mut ours = Ours::new(trained.module)?;
    let rows = &table.rows[..table.rows.len().min(ROWS_MAX)];
    let mut times = Vec::new();
    for _ in 0..rounds {
        let (began, mut scored) = (Instant::now(), 0);
        while began.elapsed() < TIME {
            for rows in rows.chunks(BATCH) {
                ours.score_rows(rows.iter().map(Vec::as_slice))?;
                scored += rows.len();
            }
        }
        times.push(began.elapsed().as_secs_f64() * 1e6 / scored as f64);
    }
    let mut alarms = 0;
    for rows in rows.chunks(BATCH) {
        alarms += ours.score_rows(rows.iter().map(Vec::as_slice))?;
    }
    times.sort_by(f64::total_cmp);
    let micros = *times.get(rounds / 2).ok_or_else(|| anyhow!("no rounds"))?;
    Ok(Measured { micros, alarms: alarms as f64 / rows.len() as f64, bytes })
}
