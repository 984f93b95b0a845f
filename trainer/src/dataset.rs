//! `trainer dataset`: spans of the lake, fixed for training.

use crate::data::DataFile;
use crate::labels::{Events, Labels, Said};
use crate::output::{print, tell};
use crate::place::block_on;
use crate::usage::Usage;
use anyhow::{Context, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use twinge_contract::schema::Schema;
use twinge_contract::time::TimeFormat;
use twinge_lake::dataset::{Names, Sample, SampleSettings, Strata};
use twinge_lake::{Dataset, Lake, Place, Range, Row};
use twinge_registry::open_store;

/// Rows that a training starts from, unless told otherwise: more teach little and take memory.
pub(crate) const ROWS_MAX: usize = 200_000;

/// Fix a span of the lake for training, look at it, and take a sample of it.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Fix what the lake holds of a span: prints the digest that names it. Made again, it has the
    /// same one.
    Create {
        #[command(flatten)]
        place: PlaceFlags,
        /// The detector whose events are meant.
        #[arg(long)]
        detector: String,
        /// The first moment, RFC 3339 [default: the beginning].
        #[arg(long)]
        from: Option<String>,
        /// The moment after the last, RFC 3339 [default: the end].
        #[arg(long)]
        until: Option<String>,
    },
    /// Tell what is in a dataset, and what is wrong with it.
    Show {
        #[command(flatten)]
        place: PlaceFlags,
        /// Its digest.
        digest: String,
        /// As JSON, to the letter as it is kept.
        #[arg(long)]
        json: bool,
    },
    /// Write a sample as NDJSON, or the whole as its Parquet files for other tools.
    Export {
        #[command(flatten)]
        place: PlaceFlags,
        /// Its digest.
        digest: String,
        /// File of the sample, or folder of the whole.
        #[arg(long)]
        out: PathBuf,
        /// The whole: the Parquet files, dataset.json, and a .dvc file for DVC
        /// (`dvc commit`, `dvc push`).
        #[arg(long)]
        whole: bool,
        /// Take whole entities, and not so many rows of each hour.
        #[arg(long, conflicts_with = "whole")]
        by_entity: bool,
        /// Rows of a sample at most.
        #[arg(long, default_value_t = ROWS_MAX, conflicts_with = "whole")]
        rows_max: usize,
        /// Another seed takes other rows.
        #[arg(long, default_value_t = 0, conflicts_with = "whole")]
        seed: u64,
        /// Take flagged anomalies along.
        #[arg(long, conflicts_with = "whole")]
        anomalies: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct PlaceFlags {
    /// The lake: a directory, or the address of a container.
    #[arg(long, env = "TWINGE_LAKE")]
    lake: String,
}

/// `trainer dataset`.
pub(crate) fn run(verb: &Verb) -> Result<()> {
    block_on(async {
        match verb {
            Verb::Create { place, detector, from, until } => {
                create(place, detector, from.as_deref(), until.as_deref()).await
            }
            Verb::Show { place, digest, json } => show(place, digest, *json).await,
            Verb::Export { place, digest, out, whole: true, .. } => {
                export_whole(place, digest, out).await
            }
            Verb::Export {
                place,
                digest,
                out,
                by_entity,
                rows_max,
                seed,
                anomalies,
                whole: false,
            } => {
                let lake = open(&place.lake).await?;
                let dataset = Dataset::read(&lake, digest).await?;
                let strata = strata(&dataset, *by_entity);
                let settings = settings(*rows_max, *seed, strata, *anomalies, Names::default());
                let mut sample = Sample::new(settings);
                draw(&lake, &dataset, |place, row| sample.add(place, row)).await?;
                let sample = some_rows(sample)?;
                let rows = sample.rows();
                std::fs::write(out, sample.into_ndjson())
                    .with_context(|| format!("cannot write {}", out.display()))?;
                tell(&format!("{rows} of {} rows in {}", dataset.rows, out.display()));
                Ok(())
            }
        }
    })
}

pub(crate) async fn open(place: &str) -> Result<Lake> {
    // Opening a directory makes it; of a slip of the hand, nobody would learn.
    ensure!(
        place.contains("://") || Path::new(place).is_dir(),
        "there is no lake at {place}: give the directory or address that a host was told with --lake"
    );
    let variable = |name: &str| std::env::var(name).ok();
    Ok(Lake::new(open_store(place, &variable).await?))
}

async fn create(
    place: &PlaceFlags,
    detector: &str,
    from: Option<&str>,
    until: Option<&str>,
) -> Result<()> {
    let range = Range { from_ms: moment(from, i64::MIN)?, until_ms: moment(until, i64::MAX)? };
    let (_, dataset) = fix(&place.lake, detector, range).await?;
    print(&dataset.encode()?.1);
    Ok(())
}

fn moment(text: Option<&str>, open: i64) -> Result<i64, Usage> {
    let Some(text) = text else { return Ok(open) };
    TimeFormat::Rfc3339.read_text(text).ok_or_else(|| {
        Usage(format!("`{text}` is no time: write it as 2026-01-31 or 2026-01-31T07:00:00Z"))
    })
}

/// Makes a dataset, tells what is in it, and keeps it.
async fn fix(place: &str, detector: &str, range: Range) -> Result<(Lake, Dataset)> {
    let lake = open(place).await?;
    let known = lake.detectors().await?;
    ensure!(
        known.iter().any(|name| name == detector),
        "lake {place} has nothing of detector `{detector}`: it has {}",
        if known.is_empty() { "none".to_owned() } else { known.join(", ") }
    );
    let dataset = Dataset::create(&lake, detector, range).await?;
    ensure!(dataset.rows > 0, "the lake has no event of `{detector}` with a verdict in this span");
    tell(dataset.describe().trim_end());
    dataset.keep(&lake).await?;
    Ok((lake, dataset))
}

/// What a retraining takes from a lake.
pub(crate) struct Recent {
    lake: String,
    range: Range,
    rows_max: usize,
}

impl Recent {
    pub(crate) fn new(lake: String, from: Option<&str>, rows_max: usize) -> Result<Self> {
        let range = Range { from_ms: moment(from, i64::MIN)?, until_ms: i64::MAX };
        Ok(Self { lake, range, rows_max })
    }

    /// Makes a dataset, and takes a sample of it with its anomalies: whoever judges wants them. With
    /// it comes what people said of its verdicts, in the lake and in `said`; `known` are events of
    /// verdicts besides those of the lake.
    pub(crate) fn sample(
        &self,
        detector: &str,
        schema: &Schema,
        seed: u64,
        said: Said,
        known: Events,
    ) -> Result<(DataFile, Labels)> {
        block_on(async {
            let (lake, dataset) = fix(&self.lake, detector, self.range).await?;
            let said = Said::of_lake(&self.lake, &lake.labels().await?)?.then(said);
            let (ids, mut events) = (said.ids(), known);
            let digest = dataset.encode()?.1;
            tell(&format!("dataset {digest}"));
            let strata = strata(&dataset, schema.entity.is_some());
            let mut sample =
                Sample::new(settings(self.rows_max, seed, strata, true, Names::from(schema)));
            let look = |place, row: Row| {
                if ids.contains(&row.id) {
                    let entity = row.entity.clone().unwrap_or_default();
                    events.insert(row.id.clone(), (entity, row.time_ms.unwrap_or_default()));
                }
                sample.add(place, row);
            };
            draw(&lake, &dataset, look).await?;
            let labels = said.resolve(detector, &events, false)?;
            let name = format!("dataset {digest}");
            Ok((DataFile::of_lines(Path::new(&name), some_rows(sample)?.into_ndjson()), labels))
        })
    }
}

async fn show(place: &PlaceFlags, digest: &str, json: bool) -> Result<()> {
    let lake = open(&place.lake).await?;
    let dataset = Dataset::read(&lake, digest).await?;
    if json {
        print(&String::from_utf8_lossy(&dataset.encode()?.0));
    } else {
        print(dataset.describe().trim_end());
    }
    Ok(())
}

/// The files themselves, for tools that keep versions of folders.
async fn export_whole(place: &PlaceFlags, digest: &str, out: &Path) -> Result<()> {
    let lake = open(&place.lake).await?;
    let dataset = Dataset::read(&lake, digest).await?;
    let cannot = |path: &Path| format!("cannot write {}", path.display());
    for file in &dataset.files {
        let path = out.join(&file.path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| cannot(folder))?;
        }
        std::fs::write(&path, lake.bytes(file).await?).with_context(|| cannot(&path))?;
    }
    std::fs::write(out.join("dataset.json"), dataset.encode()?.0).with_context(|| cannot(out))?;
    let name = out.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.context("the folder has no name: give --out one that has")?;
    // DVC fills in its own digest when it commits; a name is all that it needs.
    let dvc = out.with_file_name(format!("{name}.dvc"));
    let text =
        format!("# dataset {digest} of detector {}\nouts:\n- path: {name}\n", dataset.detector);
    std::fs::write(&dvc, text).with_context(|| cannot(&dvc))?;
    tell(&format!("{} files in {}, and {}", dataset.files.len(), out.display(), dvc.display()));
    Ok(())
}

/// A sample of a dataset for training by `schema`, or with its anomalies for judging.
pub(crate) fn sample(
    place: &str,
    digest: &str,
    schema: &Schema,
    rows_max: usize,
    seed: u64,
    anomalies: bool,
) -> Result<DataFile> {
    block_on(async {
        let lake = open(place).await?;
        let dataset = Dataset::read(&lake, digest).await?;
        let strata = strata(&dataset, schema.entity.is_some());
        let mut sample =
            Sample::new(settings(rows_max, seed, strata, anomalies, Names::from(schema)));
        draw(&lake, &dataset, |place, row| sample.add(place, row)).await?;
        let sample = some_rows(sample)?;
        let (rows, flagged) = (sample.rows(), sample.anomalies);
        tell(&format!("{rows} of {} rows; {flagged} were flagged as anomalies", dataset.rows));
        Ok(DataFile::of_lines(Path::new(&format!("dataset {digest}")), sample.into_ndjson()))
    })
}

fn settings(
    rows_max: usize,
    seed: u64,
    strata: Strata,
    anomalies: bool,
    names: Names,
) -> SampleSettings {
    SampleSettings { rows_max, seed, strata, anomalies, labels: BTreeMap::new(), names }
}

/// Entities have a past that is learned from as a whole; rows without one are drawn hour by hour.
fn strata(dataset: &Dataset, by_entity: bool) -> Strata {
    if by_entity {
        return Strata::Entities;
    }
    let hours: BTreeSet<_> = dataset.files.iter().map(|file| (file.date(), file.hour())).collect();
    Strata::Hours(hours.len())
}

async fn draw(lake: &Lake, dataset: &Dataset, mut take: impl FnMut(Place, Row)) -> Result<()> {
    Ok(dataset.each_row(lake, |_, place, row| take(place, row)).await?)
}

fn some_rows(sample: Sample) -> Result<Sample> {
    ensure!(sample.rows() > 0, "the dataset has no row that can be learned from");
    Ok(sample)
}
