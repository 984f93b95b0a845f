//! What a program is to do. How it is done is not known here.

use crate::bounds::Settings;
use crate::device::DevicePlan;
use crate::error::AssemblyError;
#[cfg(feature = "adls")]
use crate::rights::DeskPlan;
use crate::rights::RightsPlan;
use crate::silence::SilenceSettings;
use crate::sink::{HUB_PREFIX, NOWHERE};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use twinge_drift::DriftSettings;
use twinge_registry::Name;
use twinge_trust::Anchor;

/// Least bytes of a journal: events of the largest size must fit.
pub const JOURNAL_BYTES_MIN: u64 = 64 << 20;

/// What a program is to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Directory of checkpoints, journal and module cache; one program at a time.
    pub state: PathBuf,
    /// Detectors that run side by side on the same events.
    pub detectors: Vec<DetectorPlan>,
    /// Whom to trust.
    pub anchor: Anchor,
    /// Whether a module file without signature may run.
    pub allow_unsigned: bool,
    /// Whether signed machine code may run in place of what it was compiled from.
    pub allow_native: bool,
    /// The argument by which this program compiles a module apart from what it does, where it keeps
    /// what is compiled.
    pub compile_verb: Option<&'static str>,
    /// Where events come from.
    pub input: Input,
    /// Where HTTP is served.
    pub listen: Option<SocketAddr>,
    /// Bounds of the pump.
    pub settings: Settings,
    /// Entities remembered by each detector, in place of the manifest's.
    pub entities_max: Option<u32>,
    /// Time a call of a module may take.
    pub deadline: Duration,
    /// How often a channel is looked at.
    pub poll: Duration,
    /// How often is reported on what runs, if nothing changes.
    pub report: Duration,
    /// Who this device is to its registries.
    pub device: DevicePlan,
    /// The fields that events here have; without it, any schema is taken.
    pub fields: Option<BTreeSet<String>>,
    /// Where rights on the registry are asked for, if not in the environment.
    pub rights: Option<RightsPlan>,
    /// The rights that this program gives to devices, over HTTP.
    #[cfg(feature = "adls")]
    pub desk: Option<DeskPlan>,
    /// Bytes that events may take in the journal before they are scored.
    pub journal_bytes_max: u64,
    /// When an entity that stops sending is told.
    pub silence: SilenceSettings,
    /// When something is told that no longer looks as it did in training.
    pub drift: DriftSettings,
    /// File of labels, if not in the state.
    pub labels: Option<PathBuf>,
}

/// A detector and where its records go.
#[derive(Clone, Debug)]
pub struct DetectorPlan {
    /// Where its module comes from.
    pub origin: Origin,
    /// File of verdicts; `-` is standard output, `hub:NAME` a hub.
    pub verdicts: String,
    /// File of dead letters; `-` is standard output, `hub:NAME` a hub.
    pub dead_letters: String,
    /// Where anomalies go with all that it takes to replay them.
    pub audits: Option<String>,
}

impl DetectorPlan {
    fn outputs(&self) -> impl Iterator<Item = &String> {
        [&self.verdicts, &self.dead_letters].into_iter().chain(&self.audits)
    }
}

/// Where a module comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A file with its signature beside it.
    File(PathBuf),
    /// A channel of a registry.
    Channel {
        /// The registry: a directory, or the address of a container.
        registry: String,
        /// The detector.
        detector: Name,
        /// The channel.
        channel: Name,
    },
}

/// Where events come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A file, once; the program ends with it.
    Replay(PathBuf),
    /// A file that grows.
    Follow(PathBuf),
    /// Standard input; the program ends with it.
    Stdin,
    /// What is pushed: HTTP, and whatever a program feeds.
    Pushed,
    /// Partitions of a hub, which the program brings along.
    Hub,
}

impl Plan {
    /// Events that are pushed, and no detector yet: what else is not said has the usual bounds.
    pub fn new(state: PathBuf) -> Self {
        Self {
            state,
            detectors: Vec::new(),
            anchor: Anchor::default(),
            allow_unsigned: false,
            allow_native: false,
            compile_verb: None,
            input: Input::Pushed,
            listen: None,
            settings: Settings::default(),
            entities_max: None,
            deadline: Duration::from_secs(1),
            poll: Duration::from_secs(10),
            report: Duration::from_mins(1),
            device: DevicePlan::default(),
            fields: None,
            rights: None,
            #[cfg(feature = "adls")]
            desk: None,
            journal_bytes_max: 1 << 30,
            silence: SilenceSettings::default(),
            drift: DriftSettings::default(),
            labels: None,
        }
    }

    /// The detectors whose channels are followed in a registry.
    pub(crate) fn followed(&self, registry: &str) -> Vec<Name> {
        let names = self.detectors.iter().filter_map(|plan| match &plan.origin {
            Origin::Channel { registry: own, detector, .. } if own == registry => {
                Some(detector.clone())
            }
            _ => None,
        });
        names.collect()
    }

    pub(crate) fn check_outputs(&self) -> Result<(), AssemblyError> {
        let mut seen = BTreeSet::new();
        for output in self.detectors.iter().flat_map(DetectorPlan::outputs) {
            let is_file = output != "-" && output != NOWHERE && !output.starts_with(HUB_PREFIX);
            if is_file && !seen.insert(output) {
                return Err(AssemblyError::SameOutput(output.clone()));
            }
        }
        Ok(())
    }

    /// A journal within its bound.
    pub(crate) fn journal(&self) -> twinge_journal::Settings {
        let default = twinge_journal::Settings::default();
        let segment_bytes = default.segment_bytes.min(self.journal_bytes_max / 8);
        let record_bytes_max = u64::from(default.record_bytes_max).min(self.journal_bytes_max / 4);
        let record_bytes_max = record_bytes_max as u32;
        let total_bytes_max = self.journal_bytes_max;
        twinge_journal::Settings { segment_bytes, record_bytes_max, total_bytes_max }
    }
}
