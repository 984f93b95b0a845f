//! `cargo xtask quality`: how well detectors do on public data sets.
//!
//! It does what a user would: `trainer train` on the rows that a protocol allows, `trainer score` on
//! the file, through the compiled module. The scores are written as an evaluator reads them, one a
//! row. Labels go into training only where the protocol says that they are known.

mod nab;
mod numpy;

use crate::run::{cargo, print, root, succeed, tell};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use twinge_fit::Config;
use twinge_fit::config::ThresholdSettings;
use twinge_fit::evaluate::{auc_roc, average_precision};
use twinge_fit::infer::infer;
use twinge_fit::read::Format;

/// Train and score public data sets.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Folder with tabular, extra, nab, skab and streams in it.
    data: PathBuf,
    /// Tables: T fits on all rows without labels, N on the half of the normal rows that a seeded
    /// permutation chooses.
    #[arg(long, default_value = "T")]
    protocol: Protocol,
    /// Where scores go, a file a data set.
    #[arg(long, default_value = "target/quality")]
    out: PathBuf,
    /// Only data sets whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Seed of training.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Instead of scores, the false-alarm rate of each table at a nominal one per cent: trained on
    /// half of the normal rows, counted on the other half, over five splits.
    #[arg(long, conflicts_with = "streams")]
    false_positives: bool,
    /// Only the streams, with the average precision of their first and third scenario.
    #[arg(long)]
    streams: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "UPPER")]
enum Protocol {
    T,
    N,
}

/// False-alarm rate of the tables' check, and splits that it is taken over.
const NOMINAL_RATE: f64 = 0.01;
const SPLITS: u64 = 5;

/// Rows of a sensor file that are known to be normal, and the false alarms that are accepted there:
/// what is asked for is at most 15 %.
const SENSOR_ROWS: usize = 400;
const SENSOR_RATE: f64 = 0.1;

/// Share of a series that a detector may learn from.
const SERIES_SHARE: f64 = 0.15;

/// Days of a stream that a detector may learn from.
const STREAM_DAYS: i64 = 7;

/// Columns that tell the answer.
const LABELS: [&str; 3] = ["label", "changepoint", "scenario"];

/// `cargo xtask quality`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    ensure!(arguments.data.is_dir(), "{} is no folder", arguments.data.display());
    succeed(&mut cargo(["build", "--quiet", "--release", "--package", "trainer"]))?;
    fs::create_dir_all(&arguments.out)
        .with_context(|| format!("cannot create {}", arguments.out.display()))?;
    print(&format!(
        "{:<52} {:>8} {:>8} {:>8} {:>8}",
        "data set", "rows", "train s", "bytes", "us/row"
    ));
    if arguments.false_positives {
        return false_positives(arguments);
    }
    let kinds: &[&str] = match (arguments.streams, arguments.protocol) {
        (true, _) => &["streams"],
        (false, Protocol::T) => &["tabular", "extra", "nab", "skab", "streams"],
        (false, Protocol::N) => &["tabular", "extra"],
    };
    let mut most = Figures::default();
    for kind in kinds {
        let mut scored = Vec::new();
        for file in files(arguments, kind)? {
            let (figures, data) = one(arguments, kind, &file)?;
            print(&figures.line(&name_of(&file)));
            most = most.at_least(&figures);
            scored.push(data);
        }
        if !scored.is_empty() {
            report(arguments, kind, &scored)?;
        }
    }
    print(&most.line("most"));
    Ok(())
}

/// A data set with its scores.
struct ScoredSet {
    name: String,
    data: Csv,
    /// Score, and whether it alarms.
    scores: Vec<(f64, bool)>,
    /// Rows that count.
    judged: Vec<usize>,
}

impl ScoredSet {
    /// Area under the ROC curve and average precision of the rows that count.
    fn figures(&self) -> Result<(f64, f64)> {
        let labels = self.data.labels()?;
        let labels: Vec<bool> = self.judged.iter().map(|row| labels[*row]).collect();
        let scores: Vec<f64> = self.judged.iter().map(|row| self.scores[*row].0).collect();
        Ok((
            auc_roc(&scores, &labels).unwrap_or(f64::NAN),
            average_precision(&scores, &labels).unwrap_or(f64::NAN),
        ))
    }
}

fn report(arguments: &Arguments, kind: &str, scored: &[ScoredSet]) -> Result<()> {
    match kind {
        "nab" => report_series(arguments, scored),
        "skab" => report_sensors(scored),
        "streams" => scored.iter().try_for_each(report_stream),
        _ => report_tables(scored),
    }
}

fn report_tables(scored: &[ScoredSet]) -> Result<()> {
    let (mut auc, mut precision) = (0.0, 0.0);
    for set in scored {
        let (set_auc, set_precision) = set.figures()?;
        print(&format!("{:<52} AUC-ROC {set_auc:.4}  AP {set_precision:.4}", set.name));
        (auc, precision) = (auc + set_auc, precision + set_precision);
    }
    let count = scored.len() as f64;
    print(&format!(
        "mean of {count} tables: AUC-ROC {:.4}, AP {:.4}",
        auc / count,
        precision / count
    ));
    Ok(())
}

fn report_series(arguments: &Arguments, scored: &[ScoredSet]) -> Result<()> {
    let windows = nab::windows(&arguments.data.join("nab"))?;
    let mut series = Vec::new();
    for set in scored {
        let times = set.data.column("timestamp")?;
        let times: Vec<String> = set.data.rows.iter().map(|row| row[times].clone()).collect();
        let scores: Vec<f64> = set.scores.iter().map(|score| score.0).collect();
        let windows = windows.get(&set.name).map_or(&[][..], Vec::as_slice);
        series.push(nab::Series::new(&times, &scores, windows)?);
    }
    let nab::Score { tuned, threshold, cross_validated } = nab::score(&series);
    print(&format!(
        "NAB, standard profile, {} series: {cross_validated:.1} in four-fold cross-validation; {tuned:.1} tuned on all (threshold {threshold:.3})",
        series.len()
    ));
    Ok(())
}

fn report_sensors(scored: &[ScoredSet]) -> Result<()> {
    let (mut hits, mut false_alarms, mut misses, mut quiet, mut auc) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for set in scored {
        let labels = set.data.labels()?;
        auc += set.figures()?.0;
        for row in &set.judged {
            let cell = match (set.scores[*row].1, labels[*row]) {
                (true, true) => &mut hits,
                (true, false) => &mut false_alarms,
                (false, true) => &mut misses,
                (false, false) => &mut quiet,
            };
            *cell += 1.0;
        }
    }
    print(&format!(
        "SKAB, {} files: pooled F1 {:.3} at a false-alarm rate of {:.1} %, mean AUC-ROC {:.4}",
        scored.len(),
        2.0 * hits / (2.0 * hits + false_alarms + misses),
        100.0 * false_alarms / (false_alarms + quiet),
        auc / scored.len() as f64
    ));
    Ok(())
}

/// What a data set cost.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    rows: usize,
    train_s: f64,
    bytes: u64,
    row_us: f64,
}

impl Figures {
    fn line(&self, name: &str) -> String {
        let Self { rows, train_s, bytes, row_us } = self;
        format!("{name:<52} {rows:>8} {train_s:>8.1} {bytes:>8} {row_us:>8.2}")
    }

    fn at_least(self, other: &Self) -> Self {
        Self {
            rows: self.rows.max(other.rows),
            train_s: self.train_s.max(other.train_s),
            bytes: self.bytes.max(other.bytes),
            row_us: self.row_us.max(other.row_us),
        }
    }
}

fn files(arguments: &Arguments, kind: &str) -> Result<Vec<PathBuf>> {
    files_of(&arguments.data.join(kind), arguments.only.as_deref())
}

fn files_of(folder: &Path, only: Option<&str>) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let path = entry?.path();
        let wanted = only.is_none_or(|only| name_of(&path).contains(only));
        if path.extension().is_some_and(|extension| extension == "csv") && wanted {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn name_of(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// A table, for whoever measures something else than quality.
pub(crate) struct Table {
    pub(crate) name: String,
    /// Names of its numbers.
    pub(crate) names: Vec<String>,
    pub(crate) rows: Vec<Vec<f64>>,
    labels: Vec<bool>,
}

/// The tables of a folder of data.
pub(crate) fn tables(data: &Path) -> Result<Vec<Table>> {
    files_of(&data.join("tabular"), None)?.iter().map(|file| Table::read(file)).collect()
}

impl Table {
    fn read(file: &Path) -> Result<Self> {
        let data = Csv::read(file)?;
        let label = data.column("label")?;
        let is_number = |(column, _): &(usize, &String)| *column != label;
        let names = data
            .header
            .iter()
            .enumerate()
            .filter(is_number)
            .map(|(_, name)| name.clone())
            .collect();
        let row = |row: &Vec<String>| {
            let cells = row.iter().enumerate().filter(is_number);
            cells.map(|(_, cell)| cell.parse().with_context(|| format!("`{cell}`"))).collect()
        };
        let rows = data.rows.iter().map(row).collect::<Result<_>>()?;
        Ok(Self { name: name_of(file), names, rows, labels: data.labels()? })
    }

    /// The rows that protocol N fits to, as CSV.
    pub(crate) fn csv_of_half_of_normal(&self) -> String {
        let mut lines = vec![self.names.join(",")];
        for row in numpy::half_of_normal(&self.labels, 0) {
            let cells: Vec<String> = self.rows[row].iter().map(f64::to_string).collect();
            lines.push(cells.join(","));
        }
        lines.join("\n")
    }
}

/// One data set by its protocol.
fn one(arguments: &Arguments, kind: &str, file: &Path) -> Result<(Figures, ScoredSet)> {
    let data = Csv::read(file)?;
    let (rows, keeps_label) = match (kind, arguments.protocol) {
        ("tabular" | "extra", Protocol::T) => ((0..data.rows.len()).collect(), false),
        ("tabular" | "extra", Protocol::N) => (numpy::half_of_normal(&data.labels()?, 0), true),
        ("nab", _) => {
            let rows = (data.rows.len() as f64 * SERIES_SHARE) as usize;
            ((0..rows).collect(), false)
        }
        ("skab", _) => ((0..SENSOR_ROWS.min(data.rows.len())).collect(), false),
        _ => (data.first_days(STREAM_DAYS)?, false),
    };
    let (rows, keeps_label): (Vec<usize>, bool) = (rows, keeps_label);
    // Tables of protocol T are scored on the rows they were fitted to.
    let fits_apart = keeps_label || !matches!(kind, "tabular" | "extra");
    let threshold = match kind {
        "skab" => {
            ThresholdSettings { false_alarm_rate: SENSOR_RATE, ..ThresholdSettings::default() }
        }
        _ => ThresholdSettings::default(),
    };
    let mut work = Work::new(&arguments.out, file)?;
    let figures = work.train(&data, &rows, keeps_label, threshold, arguments.seed)?;
    let (scores, row_us) = work.score(file)?;
    ensure!(scores.len() == data.rows.len(), "{}: {} scores", name_of(file), scores.len());
    let text: Vec<String> = scores.iter().map(|(score, _)| score.to_string()).collect();
    fs::write(arguments.out.join(format!("{}.scores.csv", name_of(file))), text.join("\n") + "\n")?;
    work.remove()?;
    let is_learned = |row: &usize| rows.binary_search(row).is_ok();
    let judged = (0..data.rows.len()).filter(|row| !fits_apart || !is_learned(row)).collect();
    let figures = Figures { rows: data.rows.len(), row_us, ..figures };
    Ok((figures, ScoredSet { name: name_of(file), data, scores, judged }))
}

/// Average precision of the scenarios that have a signal, after the days of learning.
fn report_stream(set: &ScoredSet) -> Result<()> {
    let scenarios = set.data.column("scenario")?;
    let (mut kept, mut labels) = (Vec::new(), Vec::new());
    for row in &set.judged {
        let scenario = &set.data.rows[*row][scenarios];
        if scenario != "2" {
            kept.push(set.scores[*row].0);
            labels.push(scenario != "0");
        }
    }
    print(&format!(
        "{}, scenarios 1 and 3: AUC-ROC {:.4}, AP {:.4}",
        set.name,
        auc_roc(&kept, &labels).unwrap_or(f64::NAN),
        average_precision(&kept, &labels).unwrap_or(f64::NAN)
    ));
    Ok(())
}

/// The share of fresh normal rows that alarm, over several splits of each table.
fn false_positives(arguments: &Arguments) -> Result<()> {
    let mut rates: BTreeMap<String, f64> = BTreeMap::new();
    for file in files(arguments, "tabular")? {
        let data = Csv::read(&file)?;
        let labels = data.labels()?;
        let mut shares = Vec::new();
        for split in 0..SPLITS {
            let fit = numpy::half_of_normal(&labels, split as u32);
            let threshold = ThresholdSettings {
                false_alarm_rate: NOMINAL_RATE,
                ..ThresholdSettings::default()
            };
            let mut work = Work::new(&arguments.out, &file)?;
            work.train(&data, &fit, true, threshold, arguments.seed + split)?;
            let (scores, _) = work.score(&file)?;
            let fresh: Vec<usize> = (0..labels.len())
                .filter(|row| !labels[*row] && fit.binary_search(row).is_err())
                .collect();
            let alarms = fresh.iter().filter(|row| scores[**row].1).count();
            shares.push(alarms as f64 / fresh.len() as f64);
            work.remove()?;
        }
        let rate = shares.iter().sum::<f64>() / shares.len() as f64;
        print(&format!("{:<52} {rate:.4}  {shares:.4?}", name_of(&file)));
        rates.insert(name_of(&file), rate);
    }
    let mean = rates.values().sum::<f64>() / rates.len().max(1) as f64;
    let worst = rates.iter().max_by(|a, b| a.1.total_cmp(b.1));
    if let Some((name, worst)) = worst {
        print(&format!("mean {mean:.4}, worst {worst:.4} ({name})"));
    }
    Ok(())
}

/// A CSV file in memory.
struct Csv {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Csv {
    fn read(path: &Path) -> Result<Self> {
        let mut reader = csv::Reader::from_path(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let texts = |record: &csv::StringRecord| record.iter().map(str::to_owned).collect();
        let header = texts(reader.headers()?);
        let rows: Result<Vec<Vec<String>>, _> =
            reader.records().map(|record| record.map(|record| texts(&record))).collect();
        Ok(Self { header, rows: rows? })
    }

    fn column(&self, name: &str) -> Result<usize> {
        let found = self.header.iter().position(|column| column == name);
        found.with_context(|| format!("there is no column {name}"))
    }

    fn labels(&self) -> Result<Vec<bool>> {
        let column = self.column("label")?;
        Ok(self.rows.iter().map(|row| row[column].trim().parse() != Ok(0.0)).collect())
    }

    /// Rows of the first days, by the dates at the beginning of the time stamps.
    fn first_days(&self, days: i64) -> Result<Vec<usize>> {
        let column = self.column("timestamp")?;
        let mut dates: Vec<&str> =
            self.rows.iter().map(|row| row[column].get(..10).unwrap_or_default()).collect();
        dates.dedup();
        let Some(end) = dates.get(days as usize) else { bail!("fewer than {days} days") };
        Ok((0..self.rows.len()).filter(|row| &self.rows[*row][column][..10] < *end).collect())
    }

    /// The chosen rows as a file's text, without the columns that tell the answer.
    fn text(&self, rows: &[usize], keeps_label: bool) -> Result<Vec<u8>> {
        let kept: Vec<usize> = (0..self.header.len())
            .filter(|column| {
                let name = self.header[*column].as_str();
                !LABELS.contains(&name) || (keeps_label && name == "label")
            })
            .collect();
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(kept.iter().map(|column| &self.header[*column]))?;
        for row in rows {
            writer.write_record(kept.iter().map(|column| &self.rows[*row][*column]))?;
        }
        Ok(writer.into_inner()?)
    }
}

/// The files of one data set in the making.
struct Work {
    folder: PathBuf,
}

impl Work {
    fn new(out: &Path, file: &Path) -> Result<Self> {
        let folder = out.join(format!("work-{}", name_of(file)));
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(Self { folder })
    }

    fn train(
        &mut self,
        data: &Csv,
        rows: &[usize],
        keeps_label: bool,
        threshold: ThresholdSettings,
        seed: u64,
    ) -> Result<Figures> {
        let text = data.text(rows, keeps_label)?;
        let mut schema = infer(text.as_slice(), Format::Csv)?.schema;
        // A terminal's number is a name, not a quantity.
        schema.numeric.retain(|column| column != "terminal");
        let config = Config {
            name: "quality".into(),
            version: "1".into(),
            schema,
            threshold,
            ..Config::default()
        };
        fs::write(self.folder.join("train.csv"), text)?;
        fs::write(self.folder.join("detector.toml"), config.to_toml())?;
        let began = Instant::now();
        let mut train = self.trainer("train");
        train.args([
            "--unsigned",
            "--data",
            "train.csv",
            "--config",
            "detector.toml",
            "--out",
            "m.wasm",
        ]);
        output(train.args(["--seed", &seed.to_string()]))?;
        let train_s = began.elapsed().as_secs_f64();
        let bytes = fs::metadata(self.folder.join("m.wasm"))?.len();
        Ok(Figures { rows: rows.len(), train_s, bytes, row_us: 0.0 })
    }

    /// Score and alarm of every row, and the time that a row takes in the module.
    fn score(&mut self, file: &Path) -> Result<(Vec<(f64, bool)>, f64)> {
        let mut score = self.trainer("score");
        score.args(["--allow-unsigned", "--module", "m.wasm", "--out", "scores.csv", "--data"]);
        let told = output(score.arg(fs::canonicalize(file)?))?;
        let row_us = told.split("; ").nth(1).and_then(|rest| rest.split(' ').next());
        let row_us = row_us.and_then(|figure| figure.parse().ok()).unwrap_or(f64::NAN);
        let scores = Csv::read(&self.folder.join("scores.csv"))?;
        let parse = |row: &Vec<String>| Ok((row[1].parse::<f64>()?, row[2] == "anomalous"));
        let scores: Result<Vec<(f64, bool)>> = scores.rows.iter().map(parse).collect();
        Ok((scores?, row_us))
    }

    fn trainer(&self, verb: &str) -> Command {
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| root().join("target"), PathBuf::from);
        let mut command = Command::new(target.join("release/trainer"));
        command.current_dir(&self.folder).arg(verb);
        command
    }

    fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.folder)
            .with_context(|| format!("cannot remove {}", self.folder.display()))
    }
}

/// Runs a command; answers with what it told, which is part of the error when it fails.
fn output(command: &mut Command) -> Result<String> {
    let done = command.output().context("cannot start the trainer")?;
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    if !done.status.success() {
        tell(&told);
        bail!("the trainer ended with {}", done.status);
    }
    Ok(told)
}
