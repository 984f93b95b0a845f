//! The finding that what comes in, or what is said of it, no longer looks as it did in training.
//!
//! Like a [`silence`](crate::silence) it is made by whoever runs a module and not by the module. It is
//! told when it begins and when it ends, once each.

use crate::time::to_rfc3339;
use crate::verdict::{Identity, Origin, Severity, verdict_id};
use serde::{Deserialize, Serialize};

/// CloudEvents type of a drift.
pub const DRIFT_TYPE: &str = "io.twinge.drift.v1";

/// A drift as a CloudEvent (<https://github.com/cloudevents/spec>), structured mode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// Always "1.0".
    pub specversion: String,
    /// Always [`DRIFT_TYPE`].
    #[serde(rename = "type")]
    pub kind: String,
    /// Equal for all deliveries of one: a hash of the detector, the field and the event at which it
    /// was told.
    pub id: String,
    /// `/twinge/<detector>`.
    pub source: String,
    /// The input, or `score`, `verdict` or `latency`.
    pub subject: String,
    /// When the event came in at which it is told, RFC 3339.
    pub time: String,
    /// What is known of it.
    pub data: DriftData,
}

/// The content of a drift.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriftData {
    /// `drift-begins` or `drift-ends`.
    pub verdict: String,
    /// How bad, for people: medium when it begins, none when it ends.
    pub severity: Severity,
    /// What it is of and by which measure.
    #[serde(flatten)]
    pub found: Drifted,
    /// When the first event came in of the window in which it showed, RFC 3339.
    pub since: String,
    /// The module's version.
    pub version: String,
    /// SHA-256 of the module.
    pub module: String,
    /// Where the event came from at which it is told.
    pub origin: Origin,
}

/// What drifted, and how far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drifted {
    /// `input`, `score`, `verdicts` or `latency`.
    pub of: String,
    /// `training` or `anchor`: what it is compared with.
    pub against: String,
    /// `psi`, `ks`, `unseen`, `missing`, `verdict-rate` or `latency`: the measure that shows it best.
    pub measure: String,
    /// What it is.
    pub value: f64,
    /// What was expected.
    pub expected: f64,
    /// The least difference that is told.
    pub threshold: f64,
    /// Its probability by chance, corrected for the number of tests.
    pub probability: f64,
    /// Events that the window weighs; 0 where it ends because the module does.
    pub window_events: f64,
    /// Independent events that tell as much.
    pub effective_events: f64,
}

/// What is told of a drift.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Whether it begins.
    pub begins: bool,
    /// The field.
    pub field: String,
    /// What drifted.
    pub found: Drifted,
    /// When it showed first, milliseconds since 1970.
    pub since_ms: i64,
    /// When it is told, milliseconds since 1970.
    pub at_ms: i64,
}

impl Drift {
    /// A drift under a detector's module, told at the event at `origin`.
    pub fn new(detector: &str, told: Told, origin: Origin, version: &str, module: String) -> Self {
        let word = if told.begins { "drift-begins" } else { "drift-ends" };
        let found = &told.found;
        let what = format!(
            "{word} of {} {} by {} against {} in {detector}, {module}",
            found.of, told.field, found.measure, found.against
        );
        let identity = Identity::Offset(origin.offset);
        Self {
            specversion: "1.0".into(),
            kind: DRIFT_TYPE.into(),
            id: verdict_id(&origin.source, &origin.partition, &identity, &what),
            source: format!("/twinge/{detector}"),
            subject: told.field,
            time: to_rfc3339(told.at_ms),
            data: DriftData {
                verdict: word.into(),
                severity: if told.begins { Severity::Medium } else { Severity::None },
                found: told.found,
                since: to_rfc3339(told.since_ms),
                version: version.to_owned(),
                module,
                origin,
            },
        }
    }
}
