//! `host lake`: what is in a lake, and keeping it.

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use std::io::Write;
use twinge_contract::time::TimeFormat;
use twinge_lake::{Lake, Range};
use twinge_platform::{Clock, SystemClock};
use twinge_registry::open_store;

/// Look at the lake, and keep it.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Tell the files of a lake, whole and counted, as NDJSON.
    List {
        #[command(flatten)]
        place: PlaceFlags,
    },
    /// Tell what people said of verdicts, as NDJSON.
    Labels {
        /// The lake: a directory, or the address of a container.
        #[arg(long, env = "TWINGE_LAKE")]
        lake: String,
    },
    /// Put small files of hours that are over together; no row is changed.
    Compact {
        #[command(flatten)]
        place: PlaceFlags,
        /// Leave hours alone that hold events younger than so many hours.
        #[arg(long, default_value_t = 2.0)]
        older_than_hours: f64,
    },
    /// Remove whole days.
    Expire {
        #[command(flatten)]
        place: PlaceFlags,
        /// The first day that is kept, as 2026-01-31.
        #[arg(long, conflicts_with = "keep_days", required_unless_present = "keep_days")]
        before: Option<String>,
        /// How many days are kept, counted from today.
        #[arg(long)]
        keep_days: Option<u32>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct PlaceFlags {
    /// The lake: a directory, or the address of a container.
    #[arg(long, env = "TWINGE_LAKE")]
    lake: String,
    /// One detector [default: all].
    #[arg(long)]
    detector: Option<String>,
}

/// Does what a verb says.
pub(crate) fn run(verb: Verb) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("the runtime cannot start")?.block_on(verb.run())
}

impl Verb {
    async fn run(self) -> anyhow::Result<()> {
        let place = match &self {
            Self::Labels { lake } => {
                let labels = open(lake).await?.labels().await?;
                return Ok(std::io::stdout().lock().write_all(&labels)?);
            }
            Self::List { place } | Self::Compact { place, .. } | Self::Expire { place, .. } => {
                place
            }
        };
        let lake = open(&place.lake).await?;
        let known = lake.detectors().await?;
        let detectors = match &place.detector {
            None => known,
            Some(name) if known.contains(name) => vec![name.clone()],
            Some(name) => bail!(
                "lake {} has nothing of detector `{name}`: it has {}",
                place.lake,
                if known.is_empty() { "none".to_owned() } else { known.join(", ") }
            ),
        };
        let mut out = std::io::stdout().lock();
        for detector in detectors {
            self.run_for(&lake, &detector, &mut out).await?;
        }
        Ok(())
    }

    async fn run_for(
        &self,
        lake: &Lake,
        detector: &str,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        let now = SystemClock::new().now_ms();
        let kept = match self {
            Self::Labels { .. } => return Ok(()),
            Self::List { .. } => {
                for file in lake.files(detector, Range::ALL).await? {
                    writeln!(out, "{}", serde_json::to_string(&file)?)?;
                }
                return Ok(());
            }
            Self::Compact { older_than_hours, .. } => {
                let age_ms = (older_than_hours * 3_600_000.0) as i64;
                lake.compact(detector, now.saturating_sub(age_ms)).await?
            }
            Self::Expire { before, keep_days, .. } => {
                let date = match (before, keep_days) {
                    (Some(date), _) => date.clone(),
                    (None, days) => day(now - i64::from(days.unwrap_or_default()) * 86_400_000)?,
                };
                lake.expire(detector, &date).await?
            }
        };
        writeln!(
            out,
            "{detector}: {} files before, {} now; {} rows were in files that were touched",
            kept.files_before, kept.files_after, kept.rows
        )?;
        Ok(())
    }
}

async fn open(place: &str) -> anyhow::Result<Lake> {
    let variable = |name: &str| std::env::var(name).ok();
    Ok(Lake::new(open_store(place, &variable).await?))
}

/// The day of a moment, as 2026-01-31.
fn day(milliseconds: i64) -> anyhow::Result<String> {
    let text = twinge_contract::time::to_rfc3339(milliseconds);
    let date = text.get(..10).unwrap_or_default().to_owned();
    TimeFormat::Rfc3339.read_text(&date).context("the day lies beyond the calendar")?;
    Ok(date)
}
