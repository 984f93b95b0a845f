//! What a device says of itself: what it was told to run, what it runs, and how that goes.

use serde::{Deserialize, Serialize};
use twinge_trust::Digest;

use crate::{Comparison, Device, Duty};

/// One report; each replaces the one before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The detector.
    pub detector: String,
    /// The channel that is followed.
    pub channel: String,
    /// Who reports.
    pub device: Device,
    /// When, by the device's clock, in milliseconds since 1970.
    pub sent_ms: i64,
    /// What the device was told to run.
    pub desired: Desired,
    /// What it runs.
    pub running: Vec<Running>,
    /// Champion and challenger on the same events, if both run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
    /// Modules that the device left by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub condemned: Vec<Condemned>,
    /// How it is.
    pub health: Health,
    /// What no longer looks as it did in training.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drifts: Vec<DriftSummary>,
}

/// A drift that was told and has not ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriftSummary {
    /// The input, or `score`, `verdict` or `latency`.
    pub field: String,
    /// The measure that showed it.
    pub measure: String,
    /// `training` or `anchor`: what it is compared with.
    pub against: String,
    /// What the measure was when it was told.
    pub value: f64,
    /// What was expected.
    pub expected: f64,
    /// Since when, milliseconds since 1970: the earliest of all partitions.
    pub since_ms: i64,
    /// On how many partitions.
    pub partitions: u32,
}

/// The desired state: what the document accepted last says to this device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// The serial of the document.
    pub serial: u64,
    /// The version of the root of trust.
    #[serde(default)]
    pub root: u64,
    /// The module whose verdicts should count by then.
    pub champion: Digest,
    /// The module that is rolled out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenger: Option<Digest>,
    /// What the device has to do with it.
    pub duty: Duty,
}

/// A module that runs, the reported state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The module.
    pub digest: Digest,
    /// Its version, for people.
    pub version: String,
    /// What it runs as.
    pub part: Part,
    /// On how many partitions.
    pub partitions: u32,
}

/// What a module runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Its verdicts count.
    Acting,
    /// It is compared and not acted on.
    Shadow,
    /// It takes over as soon as it is warm.
    WarmingUp,
    /// It acted before, and stands by for an instant return.
    Fallback,
}

/// A module that a device left by itself, and does not take again in the same rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condemned {
    /// The module.
    pub digest: Digest,
    /// The serial with which the module was put on its way: a later attempt has a greater one.
    pub since: u64,
    /// Why, in a sentence.
    pub reason: String,
}

/// How a device is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// Events taken since the program began.
    pub events: u64,
    /// Verdicts `anomalous` among them.
    pub anomalies: u64,
    /// Dead letters among them.
    pub dead_letters: u64,
    /// Why the channel is not followed, such as an expired document; nothing while it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Why events do not flow; nothing while they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

impl Report {
    /// The payload type of a report's envelope.
    pub const PAYLOAD_TYPE: &'static str = "application/vnd.twinge.report.v1+json";

    /// The module whose verdicts count on most partitions.
    pub fn acting(&self) -> Option<&Running> {
        let acting = self.running.iter().filter(|running| running.part == Part::Acting);
        acting.max_by_key(|running| running.partitions)
    }

    /// Whether the device runs `digest` in any part.
    pub fn runs(&self, digest: &Digest) -> bool {
        self.running.iter().any(|running| running.digest == *digest)
    }
}
