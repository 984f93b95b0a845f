//! `trainer score`: a file through a module.

use crate::data::{DataFile, Trust, load_module};
use crate::output::tell;
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use twinge_contract::abi::Outcome;
use twinge_contract::category;
use twinge_contract::event::Event;
use twinge_engine::Module;
use twinge_fit::read::Row;
use twinge_runner::{Judgement, Slot};

/// Rows scored in one call.
pub(crate) const BATCH_ROWS: usize = 1024;

/// Score a file with a module.
///
/// Writes a CSV with a header and a line for each row, in order: its number from 0, the score (at
/// least 1 is anomalous), the verdict (normal, anomalous, warming-up, invalid), and for anomalies
/// the features behind it with what each adds to the score.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The module.
    #[arg(long)]
    module: PathBuf,
    /// CSV or NDJSON to score.
    #[arg(long)]
    data: PathBuf,
    /// Where the scores go; - is standard output.
    #[arg(long, default_value = "-")]
    out: PathBuf,
    #[command(flatten)]
    trust: Trust,
}

/// `trainer score`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let began = Instant::now();
    let module = load_module(&arguments.module, &arguments.trust)?;
    let file = DataFile::open(&arguments.data)?;
    let mut out = output(&arguments.out)?;
    let cannot = || format!("cannot write {}", arguments.out.display());
    writeln!(out, "row,score,verdict,features").with_context(cannot)?;
    let mut rows = 0u32;
    let mut anomalies = 0;
    let in_module = score_rows(&module, &file, |scored| {
        anomalies += u64::from(scored.outcome == Outcome::Anomalous);
        writeln!(out, "{rows},{},{},{}", scored.score, scored.outcome.as_str(), scored.features)
            .with_context(cannot)?;
        rows += 1;
        Ok(())
    })?;
    out.flush().with_context(cannot)?;
    tell(&format!(
        "{rows} rows scored, {anomalies} anomalous, in {:.1} s; {:.2} us a row in the module",
        began.elapsed().as_secs_f64(),
        in_module.as_secs_f64() * 1e6 / f64::from(rows.max(1))
    ));
    Ok(())
}

/// A row's score.
#[derive(Debug)]
pub(crate) struct Scored {
    pub(crate) score: f64,
    pub(crate) outcome: Outcome,
    /// `amount=0.81;country=0.40`, largest first; empty unless anomalous.
    pub(crate) features: String,
    pub(crate) label: Option<bool>,
}

/// Scores all rows of a file in order; answers with the time spent on batches.
pub(crate) fn score_rows(
    module: &Module,
    file: &DataFile,
    mut take: impl FnMut(Scored) -> Result<()>,
) -> Result<Duration> {
    let manifest = module.manifest();
    let mut rows = file.rows(&manifest.schema)?;
    let mut slot = Slot::new(module, None);
    let mut events = Vec::new();
    let mut labels = Vec::new();
    let mut in_module = Duration::ZERO;
    loop {
        let row = rows.next_row().with_context(|| file.name())?;
        if let Some(row) = row {
            labels.push(row.anomalous);
            events.push(Ok(event(row)));
        }
        let at_end = row.is_none();
        if events.len() == BATCH_ROWS || (at_end && !events.is_empty()) {
            let began = Instant::now();
            let judgements = slot.score(std::mem::take(&mut events));
            in_module += began.elapsed();
            for (judgement, label) in judgements.iter().zip(labels.drain(..)) {
                take(scored(&slot, judgement, label))?;
            }
        }
        if at_end {
            return Ok(in_module);
        }
    }
}

pub(crate) fn event(row: &Row) -> Event {
    let category = |text: &String| if text.is_empty() { f64::NAN } else { category::code(text) };
    let inputs = row.numeric.iter().copied().chain(row.categorical.iter().map(category)).collect();
    Event { entity: row.entity.clone(), time_ms: row.time_ms, inputs, identity: None }
}

fn scored(slot: &Slot, judgement: &Judgement, label: Option<bool>) -> Scored {
    let Judgement::Scored { row, .. } = judgement else {
        return Scored { score: 0.0, outcome: Outcome::Invalid, features: String::new(), label };
    };
    let outcome = slot.outcome(*row);
    let mut features = String::new();
    if outcome == Outcome::Anomalous {
        for contribution in slot.attribution(*row) {
            let separator = if features.is_empty() { "" } else { ";" };
            write!(features, "{separator}{}={:.3}", contribution.field, contribution.share)
                .expect("a string takes all");
        }
    }
    Scored { score: slot.score_of(*row), outcome, features: quoted(features), label }
}

/// A CSV cell: field names may hold commas and quotes.
fn quoted(cell: String) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell
    }
}

fn output(path: &Path) -> Result<BufWriter<Box<dyn Write>>> {
    let out: Box<dyn Write> = if path == Path::new("-") {
        Box::new(std::io::stdout())
    } else {
        Box::new(File::create(path).with_context(|| format!("cannot create {}", path.display()))?)
    };
    Ok(BufWriter::new(out))
}
