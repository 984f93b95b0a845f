//! What a module tells about itself without being run: the custom section `twinge.manifest`.

use crate::abi;
use crate::schema::Schema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use thiserror::Error;

/// Most entities that a manifest may ask to remember: ten times what a large fleet has. A module
/// that was signed by mistake must not fill the memory of all devices.
pub const ENTITIES_MAX_LIMIT: u32 = 1 << 24;

/// A module's description of itself. Nothing in it depends on when or where it was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Interface version the module speaks; see [`abi::VERSION`].
    pub abi: u32,
    /// Name of the detector: what a channel of the registry is called after.
    pub name: String,
    /// Version in its maker's words; the digest is what identifies it.
    pub version: String,
    /// Input of the module.
    pub schema: Schema,
    /// Bytes of state that an entity has.
    pub state_bytes: u32,
    /// Rules of the stream.
    pub stream: StreamRules,
    /// What is inside.
    pub detector: DetectorInfo,
    /// How the threshold was set.
    pub threshold: ThresholdInfo,
    /// Figures measured in training, by name.
    #[serde(default)]
    pub metrics: BTreeMap<String, f64>,
    /// Where the module comes from.
    pub lineage: Lineage,
    /// What the inputs looked like in training, for drift.
    #[serde(default)]
    pub reference: Vec<ReferenceHistogram>,
    /// What else drift is measured against; without it, inputs are measured and never alarmed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<DriftReference>,
    /// What the trainer found worth telling, in sentences.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// How events are placed in time and how much is remembered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StreamRules {
    /// An event older than its entity's latest by more than this is scored without changing
    /// state. Seconds.
    pub lateness_s: f64,
    /// An event further ahead of its ingestion than this is a dead letter. Seconds.
    pub skew_max_s: f64,
    /// Events of an entity before its verdicts count.
    pub warm_up_events: u32,
    /// Entities remembered at most, 1 to [`ENTITIES_MAX_LIMIT`]; the least recently seen makes room.
    pub entities_max: u32,
}

impl Default for StreamRules {
    fn default() -> Self {
        Self { lateness_s: 0.0, skew_max_s: 3600.0, warm_up_events: 0, entities_max: 100_000 }
    }
}

/// The detector in words and settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DetectorInfo {
    /// Kinds that take part, such as `isolation-forest+tails`.
    pub kind: String,
    /// Settings of that kind.
    pub settings: BTreeMap<String, Value>,
    /// Features computed from the inputs, in order.
    pub features: Vec<String>,
    /// Why it is made as it is, in sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<String>,
}

/// The threshold in figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThresholdInfo {
    /// Share of normal events that may be called anomalous.
    pub false_alarm_rate: f64,
    /// Held-back rows that the threshold was set on.
    pub calibration_rows: u64,
    /// The detector's raw score at which the score is 1.
    pub raw_score: f64,
}

/// What a module was made from: with the same, and the same [anchor](DriftReference::anchor) carried
/// along, the same bytes come out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// SHA-256 of the training data as it was read.
    pub data_digest: String,
    /// Rows read from it.
    pub rows: u64,
    /// SHA-256 of the complete configuration.
    pub config_digest: String,
    /// Seed of every random choice.
    pub seed: u64,
    /// SHA-256 of the runtime that the parameters were linked into.
    pub runtime_digest: String,
}

/// The distribution of an input, or of scores, in training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReferenceHistogram {
    /// Input field.
    pub field: String,
    /// Upper bounds of all bins but the last, ascending. Empty for a category.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bounds: Vec<f64>,
    /// Categories of the bins, the last of which is for all others. Empty for a number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
    /// Share of the rows in each bin.
    pub shares: Vec<f64>,
    /// Share of the rows in which the field was missing.
    pub missing: f64,
    /// Shares of bins and of missing at each [phase](SampleInfo::phase_rows) of the day, where the
    /// day matters: phase by phase, a byte each in base64, 255 times the root of the share.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub phases: String,
    /// How many times more than by chance the shares of blocks of 64, 256, 1024 and so on rows
    /// varied around the whole: the design effect (Kish 1965) of rows that are not independent.
    /// Empty where there were too few rows to tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spread: Vec<f64>,
    /// The same of the share that was missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_spread: Vec<f64>,
    /// Variance of shares between entities, as a part of the whole variance: from 0, all entities
    /// are alike, to 1, each has values of its own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub entity_spread: f64,
}

/// What drift is measured against, beside the inputs' distributions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriftReference {
    /// The rows behind [`Manifest::reference`].
    pub sample: SampleInfo,
    /// Scores and verdicts of rows that were held back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<ScoreReference>,
    /// The inputs of the first module of the line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<AnchorReference>,
}

/// The rows that a reference was made of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SampleInfo {
    /// How many.
    pub rows: u64,
    /// Entities that they belong to, as many as count: a few that send nearly all count alone.
    pub entities: f64,
    /// Rows around each phase of the day, the first of which is midnight UTC and all of which are
    /// equally far apart; empty where the hour makes no difference or cannot be told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phase_rows: Vec<f64>,
}

/// What a module said of rows that were held back in its training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoreReference {
    /// The rows.
    pub sample: SampleInfo,
    /// Scores.
    pub scores: ReferenceHistogram,
    /// Verdicts: the category `anomalous`, and others.
    pub verdicts: ReferenceHistogram,
}

/// The reference of the first module of a line, carried along by each that was trained after it, so
/// that drift in steps which are small from one training to the next shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnchorReference {
    /// Version of that module in its maker's words.
    pub version: String,
    /// SHA-256 of its training data.
    pub data_digest: String,
    /// The rows.
    pub sample: SampleInfo,
    /// Their inputs.
    pub reference: Vec<ReferenceHistogram>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

impl Manifest {
    /// Reads and checks a manifest.
    pub fn parse(json: &[u8]) -> Result<Self, ManifestError> {
        let manifest: Self = serde_json::from_slice(json).map_err(ManifestError::Json)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The manifest as it stands in a module.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self)
            .expect("a manifest has text keys only and no value that JSON lacks")
    }

    fn check(&self) -> Result<(), ManifestError> {
        if self.abi != abi::VERSION {
            return Err(ManifestError::Abi(self.abi));
        }
        if self.state_bytes > abi::STATE_BYTES_MAX || !self.state_bytes.is_multiple_of(8) {
            return Err(ManifestError::StateBytes(self.state_bytes));
        }
        let finite = |value: f64| value.is_finite() && value >= 0.0;
        if !finite(self.stream.lateness_s)
            || !finite(self.stream.skew_max_s)
            || !(1..=ENTITIES_MAX_LIMIT).contains(&self.stream.entities_max)
        {
            return Err(ManifestError::Stream);
        }
        if !is_detector_name(&self.name) {
            return Err(ManifestError::Name(self.name.clone()));
        }
        self.schema.check().map_err(ManifestError::Schema)
    }
}

/// Whether `name` can name a detector: 1 to 64 of `a-z`, `0-9` and `-`.
pub fn is_detector_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// Why a manifest cannot be used.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// Not the JSON it should be.
    #[error("manifest is not readable")]
    Json(#[source] serde_json::Error),
    /// Another interface version.
    #[error("module speaks interface version {0} and this program version {version}: use a program or a module of the other version", version = abi::VERSION)]
    Abi(u32),
    /// A state that is too large or not whole words.
    #[error("manifest asks for {0} bytes of state an entity: it must be a multiple of 8 and at most {most}", most = abi::STATE_BYTES_MAX)]
    StateBytes(u32),
    /// Stream rules out of range.
    #[error(
        "manifest's stream rules are out of range: lateness and skew must be finite and not negative, and 1 to {ENTITIES_MAX_LIMIT} entities remembered"
    )]
    Stream,
    /// A name that cannot stand in a path.
    #[error("detector name `{0}` is not usable: take 1 to 64 of a-z, 0-9 and -")]
    Name(String),
    /// A schema that cannot be used.
    #[error("manifest's schema is not usable")]
    Schema(#[source] crate::schema::SchemaError),
}
