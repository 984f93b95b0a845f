//! What a retraining is asked for and works with.

use super::settings::RetrainSettings;
use crate::place::Place;
use clap::ValueEnum;
use std::path::PathBuf;
use twinge_fit::{Config, Trained};
use twinge_registry::Name;

/// Train a challenger on recent data, judge it, and publish it to shadow if the gates pass.
///
/// Exit code 0: published. 3: judged and not published. 1 and 2: it came to no judgement.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// CSV or NDJSON of recent events, labelled or not; given more than once, files are read as one.
    #[arg(long, required_unless_present = "lake", conflicts_with = "lake")]
    pub(super) data: Vec<PathBuf>,
    /// Lake of recent events: a directory, or the address of a container. A dataset is made of what
    /// it holds of the detector.
    #[arg(long, env = "TWINGE_LAKE")]
    pub(super) lake: Option<String>,
    /// The first moment of the lake that is looked at, RFC 3339 [default: the beginning].
    #[arg(long, requires = "lake")]
    pub(super) from: Option<String>,
    /// Rows of the lake that are taken at most.
    #[arg(long, default_value_t = crate::dataset::ROWS_MAX)]
    pub(super) rows_max: usize,
    /// What to train (detector.toml); its table `retrain` holds the gates.
    #[arg(long)]
    pub(super) config: PathBuf,
    /// Why it is done.
    #[arg(long, value_enum, default_value_t = Reason::Hand)]
    pub(super) reason: Reason,
    /// NDJSON of what people said of verdicts: a `label` (anomaly, false-alarm or normal) of a
    /// `verdict_id`, or of an `entity` and a `time`.
    #[arg(long)]
    pub(super) labels: Option<PathBuf>,
    /// NDJSON of verdicts in which the ids of labels are looked up.
    #[arg(long, requires = "labels")]
    pub(super) verdicts: Vec<PathBuf>,
    /// Folder for the report: report.html, report.md and plots/.
    #[arg(long)]
    pub(super) report: PathBuf,
    /// Seed of every random choice.
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
    /// Judge and report, and publish nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) place: Place,
}

/// Why a detector is retrained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Reason {
    /// It is time.
    Schedule,
    /// The data has changed.
    Drift,
    /// Somebody wants it.
    Hand,
}

impl Reason {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Drift => "drift",
            Self::Hand => "hand",
        }
    }
}

/// What a retraining works with.
pub(crate) struct Work {
    pub(super) config: Config,
    pub(super) settings: RetrainSettings,
    pub(super) detector: Name,
    pub(super) began_ms: i64,
}

/// What training made, for those who report it.
pub(crate) type Challenger = Trained;
