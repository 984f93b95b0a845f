//! The data lake: every scored event as Parquet, in a directory or a container.
//!
//! It goes around whatever else the host brings along, as the console does. Events reach it after
//! they were scored, and its staging is part of each checkpoint.

mod command;
mod labels;
mod outlet;
mod warm;

pub(crate) use command::{Verb, run};

use anyhow::ensure;
use clap::Args;
use outlet::LakeOutlet;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;
use twinge_lake::{Lake, Settings as Rolls};
use twinge_platform::SystemClock;
use twinge_registry::{LocationError, open_store};
use twinge_runner::Runner;
use twinge_stream::assembly::{Extension, ExtensionError, Surroundings};
use twinge_stream::outlet::Outlet;
use twinge_stream::settings::Settings;
use twinge_stream::sink::SinkError;

/// Most events that a detector is shown before it begins.
const WARM_ROWS_MAX: u64 = 10_000_000;
/// Events shown in one call.
const WARM_BATCH: usize = 1024;

/// Flags of the lake.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Lake")]
pub(crate) struct LakeFlags {
    /// Where scored events are kept as Parquet: a directory, or the address of a container.
    #[arg(long, env = "TWINGE_LAKE")]
    lake: Option<String>,
    /// Seconds after which events appear in the lake, however few they are [default: 300].
    #[arg(long, env = "TWINGE_LAKE_SECONDS")]
    lake_seconds: Option<f64>,
    /// Events that fill a file of the lake [default: 1000000].
    #[arg(long, env = "TWINGE_LAKE_ROWS")]
    lake_rows: Option<u64>,
    /// Events of the lake that a detector without memory is shown first, the latest before its own
    /// beginning [default: 0].
    #[arg(long, env = "TWINGE_LAKE_WARM")]
    lake_warm: Option<u64>,
}

/// The lake that scored events are kept in.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Table {
    place: Option<String>,
    seconds: Option<f64>,
    rows: Option<u64>,
    warm: Option<u64>,
}

impl LakeFlags {
    /// The lake that flags and file describe, around what else the host brings along.
    pub(crate) fn extend(
        &self,
        settings: &mut Settings,
        inner: Option<Arc<dyn Extension>>,
    ) -> anyhow::Result<Option<Arc<dyn Extension>>> {
        let table: Table = settings.take("lake")?.unwrap_or_default();
        let default = Rolls::default();
        let seconds = self.lake_seconds.or(table.seconds);
        let seconds = seconds.unwrap_or(default.roll_ms as f64 / 1000.0);
        ensure!(
            (1.0..=86_400.0).contains(&seconds),
            "lake_seconds must lie between 1 and 86400: how long events may wait before they appear in the lake"
        );
        let rows = self.lake_rows.or(table.rows).unwrap_or(default.roll_rows);
        ensure!(
            (1000..=10_000_000).contains(&rows),
            "lake_rows must lie between 1000 and 10000000: how many events fill a file"
        );
        let warm_rows = self.lake_warm.or(table.warm).unwrap_or(0);
        ensure!(
            warm_rows <= WARM_ROWS_MAX,
            "lake_warm must be at most {WARM_ROWS_MAX}: so many events are held in memory at the start"
        );
        let Some(place) = self.lake.clone().or(table.place) else { return Ok(inner) };
        let rolls = Rolls { roll_rows: rows, roll_ms: (seconds * 1000.0) as i64, ..default };
        let opened = Arc::new(Opened { place, lake: OnceCell::new() });
        Ok(Some(Arc::new(Lakeside { inner, opened, rolls, warm_rows: warm_rows as usize })))
    }
}

/// A lake that is opened when it is needed first.
#[derive(Debug)]
struct Opened {
    place: String,
    lake: OnceCell<Lake>,
}

impl Opened {
    async fn lake(&self) -> Result<&Lake, LocationError> {
        let open = || async {
            let variable = |name: &str| std::env::var(name).ok();
            Ok(Lake::new(open_store(&self.place, &variable).await?))
        };
        self.lake.get_or_try_init(open).await
    }
}

/// The lake beside what else the host brings along.
#[derive(Debug)]
struct Lakeside {
    inner: Option<Arc<dyn Extension>>,
    opened: Arc<Opened>,
    rolls: Rolls,
    warm_rows: usize,
}

#[async_trait::async_trait]
impl Extension for Lakeside {
    fn inner(&self) -> Option<&dyn Extension> {
        self.inner.as_deref()
    }

    async fn warm(&self, runner: &mut Runner, offset: u64) -> Result<u64, ExtensionError> {
        if self.warm_rows == 0 {
            return Ok(0);
        }
        let place = runner.place().clone();
        let lake = self.opened.lake().await?;
        let arrivals = warm::latest(lake, &place, offset, self.warm_rows).await?;
        arrivals.chunks(WARM_BATCH).for_each(|batch| runner.warm(batch));
        Ok(arrivals.len() as u64)
    }

    fn outlets(&self, detector: &str) -> Result<Vec<Box<dyn Outlet>>, SinkError> {
        let mut outlets =
            self.inner().map_or_else(|| Ok(Vec::new()), |inner| inner.outlets(detector))?;
        let clock = Arc::new(SystemClock::new());
        let opened = Arc::clone(&self.opened);
        outlets.push(Box::new(LakeOutlet::new(opened, self.rolls, detector, clock)));
        Ok(outlets)
    }

    fn start(&self, surroundings: Surroundings) {
        if let Some(labels) = surroundings.labels.clone() {
            let pause = Duration::from_millis(self.rolls.roll_ms.unsigned_abs());
            let copy =
                labels::copy(Arc::clone(&self.opened), labels, pause, surroundings.stop.clone());
            surroundings.tracker.spawn(copy);
        }
        if let Some(inner) = self.inner() {
            inner.start(surroundings);
        }
    }
}
