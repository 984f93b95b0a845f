//! `trainer train`: from a file to a signed module.

use crate::data::DataFile;
use crate::keys;
use crate::output::{print, tell};
use crate::time::now_ms;
use crate::tracking::{self, Told};
use crate::usage::Usage;
use anyhow::{Context, Result};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use twinge_contract::manifest::Manifest;
use twinge_fit::{Config, Progress, Table, Trained};
use twinge_registry::file::signature_path;
use twinge_trust::{Digest, SigningKey, Statement};

/// Fit a detector and compile it into a signed module.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// CSV, NDJSON or Parquet to learn from.
    #[arg(long, required_unless_present = "dataset", conflicts_with = "dataset")]
    data: Option<PathBuf>,
    /// Digest of a dataset of the lake to learn from; flagged anomalies stay out.
    #[arg(long, requires = "lake", requires = "config")]
    dataset: Option<String>,
    /// The lake that holds it: a directory, or the address of a container.
    #[arg(long, env = "TWINGE_LAKE")]
    lake: Option<String>,
    /// Rows of the dataset that are taken at most.
    #[arg(long, default_value_t = crate::dataset::ROWS_MAX)]
    rows_max: usize,
    /// What to train; left out, the schema is inferred and printed as a detector.toml to keep.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Seed of every random choice: the same data, configuration and seed give the same module.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The module; its signature is written beside it as NAME.sig.
    #[arg(long, default_value = "detector.wasm")]
    out: PathBuf,
    /// The module that this one is to take the place of, so that drift since the first of the line
    /// shows, however many times it was trained again.
    #[arg(long)]
    former: Option<PathBuf>,
    /// Key to sign with [default: your developer key].
    #[arg(long, env = "TWINGE_SIGNING_KEY")]
    key: Option<PathBuf>,
    /// Leave the module unsigned.
    #[arg(long, conflicts_with = "key")]
    unsigned: bool,
    /// Keep a record of this run, with its figures and the module: at `MLFLOW_TRACKING_URI` if that
    /// is set, where it is done without asking, else in the --registry.
    #[arg(long)]
    track: bool,
    /// The registry whose folder experiments/ keeps the record.
    #[arg(long, env = "TWINGE_REGISTRY")]
    registry: Option<String>,
}

/// `trainer train`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let (began, began_ms) = (Instant::now(), now_ms());
    let given = arguments.config.as_deref().map(read_config).transpose()?;
    let file = data_of(arguments, given.as_ref())?;
    let config = match given {
        Some(config) => config,
        None => infer(&file)?,
    };
    let checked = config.check();
    let valid = match &arguments.config {
        Some(path) => checked.with_context(|| format!("{} is not usable", path.display()))?,
        None => checked.with_context(|| file.name())?,
    };
    let key = match (&arguments.key, arguments.unsigned) {
        (_, true) => None,
        (Some(path), false) => Some(keys::read_key(path)?),
        (None, false) => keys::developer_key()?,
    };
    let former = arguments.former.as_deref().map(read_former).transpose()?;
    let bar = bar();
    let schema = &valid.written.schema;
    bar.set_message("reading");
    let table =
        Table::read(file.rows(schema)?, |rows| bar.set_message(format!("reading {rows} rows")));
    let table = table.with_context(|| file.name())?;
    let mut progress = |progress: Progress| {
        bar.set_position((progress.share * 100.0) as u64);
        bar.set_message(progress.step);
        true
    };
    let (former, seed) = (former.as_ref(), arguments.seed);
    let trained = twinge_fit::train_after(former, &table, &valid, seed, &mut progress)
        .with_context(|| file.name())?;
    bar.finish_and_clear();
    write(&arguments.out, &trained, key.as_ref())?;
    report(arguments, &trained, key.is_some(), began.elapsed());
    if arguments.track || tracking::is_mlflow_set() {
        let told = Told { began_ms, reason: "train", ..Told::default() };
        let location = arguments.registry.as_deref();
        let name = arguments.out.display();
        tracking::record_module(location, &trained, &valid.written, told)
            .with_context(|| format!("{name} is written, but its run is not recorded"))?;
    }
    Ok(())
}

/// What is learned from: a file, or a sample of a dataset.
fn data_of(arguments: &Arguments, config: Option<&Config>) -> Result<DataFile> {
    let (Some(dataset), Some(lake), Some(config)) = (&arguments.dataset, &arguments.lake, config)
    else {
        let data = arguments.data.as_deref();
        return DataFile::open(data.ok_or_else(|| Usage("give --data or --dataset".into()))?);
    };
    let schema = &config.schema;
    let (rows_max, seed) = (arguments.rows_max, arguments.seed);
    crate::dataset::sample(lake, dataset, schema, rows_max, seed, false)
}

pub(crate) fn read_config(path: &Path) -> Result<Config> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Config::parse(&text).with_context(|| format!("{} is not usable", path.display()))
}

/// What a module tells of itself.
fn read_former(path: &Path) -> Result<Manifest> {
    let module = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let manifest = twinge_engine::manifest(&module)
        .with_context(|| format!("--former {} cannot be used", path.display()))?;
    if manifest.drift.is_none() {
        tell(&format!(
            "note: {} tells too little of its data for drift to be measured against it; the new module is the first of its line",
            path.display()
        ));
    }
    Ok(manifest)
}

/// A configuration guessed from the data, printed so that it can be kept and corrected.
fn infer(file: &DataFile) -> Result<Config> {
    let inferred =
        twinge_fit::infer::infer(file.reader()?, file.format).with_context(|| file.name())?;
    let config = Config {
        name: name_of(&file.path),
        version: "1".into(),
        schema: inferred.schema,
        ..Config::default()
    };
    if config.schema.width() == 0 {
        let mut notes = inferred.notes.join("; ");
        if !notes.is_empty() {
            notes = format!(" ({notes})");
        }
        return Err(Usage(format!(
            "{}: no column can be an input{notes}: add a column of numbers or of words, or give a --config that names some",
            file.name()
        ))
        .into());
    }
    print(
        "# inferred from the data; keep it as detector.toml, correct it, and pass it with --config",
    );
    print(&config.to_toml());
    for note in inferred.notes {
        tell(&format!("note: {note}"));
    }
    Ok(config)
}

/// A detector's name from a file's.
fn name_of(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let name: String =
        stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(64).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "detector".into() } else { name.into() }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(100);
    let style =
        ProgressStyle::with_template("{spinner} {msg:32} {wide_bar} {percent:>3} %  {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Signature first: a module whose signature is of another one would be refused, a signature
/// without its module hurts nobody.
fn write(out: &Path, trained: &Trained, key: Option<&SigningKey>) -> Result<()> {
    let signature = signature_path(out);
    let cannot = |path: &Path| format!("cannot write {}", path.display());
    if let Some(directory) = out.parent() {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot make the folder {}", directory.display()))?;
    }
    match key {
        Some(key) => {
            let envelope = statement(&trained.module, &trained.manifest)?.sign(key);
            std::fs::write(&signature, envelope.to_json()).with_context(|| cannot(&signature))?;
        }
        None => match std::fs::remove_file(&signature) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot remove the old {}", signature.display()));
            }
        },
    }
    std::fs::write(out, &trained.module).with_context(|| cannot(out))
}

/// The word on a module, to be signed.
pub(crate) fn statement(module: &[u8], manifest: &Manifest) -> Result<Statement> {
    Ok(Statement {
        detector: manifest.name.clone(),
        version: manifest.version.clone(),
        module_digest: Digest::of(module),
        module_bytes: module.len() as u64,
        manifest: serde_json::to_value(manifest)?,
        metrics: serde_json::to_value(&manifest.metrics)?,
    })
}

fn report(arguments: &Arguments, trained: &Trained, signed: bool, took: Duration) {
    let manifest = &trained.manifest;
    for note in &manifest.notes {
        tell(&format!("note: {note}"));
    }
    let bytes = HumanBytes(trained.module.len() as u64);
    let signature = if signed { "signed" } else { "unsigned: runs only with --allow-unsigned" };
    print(&format!("module     {}  {bytes}, {signature}", arguments.out.display()));
    print(&format!("digest     {}", Digest::of(&trained.module)));
    print(&format!(
        "detector   {} {}, {} of {} features",
        manifest.name,
        manifest.version,
        manifest.detector.kind,
        manifest.detector.features.len()
    ));
    for sentence in &manifest.detector.why {
        print(&format!("           {sentence}"));
    }
    print(&format!(
        "threshold  at most {} of normal events are false alarms, from {} rows that were not fitted",
        percent(manifest.threshold.false_alarm_rate),
        manifest.threshold.calibration_rows
    ));
    if let (Some(auc), Some(precision), Some(recall)) = (
        manifest.metrics.get("auc_roc"),
        manifest.metrics.get("average_precision"),
        manifest.metrics.get("recall"),
    ) {
        print(&format!(
            "labels     AUC-ROC {auc:.3}, average precision {precision:.3}, {} of labelled anomalies found",
            percent(*recall)
        ));
    }
    print(&format!("trained    on {} rows in {:.1} s", manifest.lineage.rows, took.as_secs_f64()));
}

/// A share in per cent with as many places as it needs.
pub(crate) fn percent(share: f64) -> String {
    let text = format!("{:.4}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}
