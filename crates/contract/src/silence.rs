//! The finding that an entity has stopped sending.
//!
//! It is the only one that no module makes: a module has no clock. Whoever runs it watches the gaps
//! between an entity's events, so a silence cannot be replayed as a verdict can.

use crate::time::to_rfc3339;
use crate::verdict::{Identity, Origin, Severity, verdict_id};
use serde::{Deserialize, Serialize};

/// CloudEvents type of a silence.
pub const SILENCE_TYPE: &str = "io.twinge.silence.v1";

/// The subject of a silence of everything at once: the source is at fault, not an entity.
pub const EVERYTHING: &str = "*";

/// A silence as a CloudEvent (<https://github.com/cloudevents/spec>), structured mode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Silence {
    /// Always "1.0".
    pub specversion: String,
    /// Always [`SILENCE_TYPE`].
    #[serde(rename = "type")]
    pub kind: String,
    /// Equal for all deliveries of one silence: a hash of the detector and of the last event.
    pub id: String,
    /// `/twinge/<detector>`.
    pub source: String,
    /// The entity, or [`EVERYTHING`].
    pub subject: String,
    /// When its last event came in, RFC 3339.
    pub time: String,
    /// What is known of it.
    pub data: SilenceData,
}

/// The content of a silence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SilenceData {
    /// Always `silent`.
    pub verdict: String,
    /// How bad, for people: medium for an entity, high for everything.
    pub severity: Severity,
    /// Mean time between its events, seconds.
    pub usual_gap_s: f64,
    /// The time without an event that is told, seconds.
    pub allowed_gap_s: f64,
    /// The acting detector's version.
    pub version: String,
    /// SHA-256 of the acting module.
    pub module: String,
    /// Where its last event came from.
    pub origin: Origin,
}

/// What was seen of an entity that stopped.
#[derive(Clone, Debug, PartialEq)]
pub struct Stopped {
    /// The entity, or [`EVERYTHING`].
    pub entity: String,
    /// When its last event came in, milliseconds since 1970.
    pub last_ms: i64,
    /// Mean time between its events, seconds.
    pub usual_gap_s: f64,
    /// The time without an event that is told, seconds.
    pub allowed_gap_s: f64,
}

impl Silence {
    /// A silence of `stopped`, whose last event was at `origin`, under a detector's acting module.
    pub fn new(
        detector: &str,
        stopped: Stopped,
        origin: Origin,
        version: &str,
        module: String,
    ) -> Self {
        // Not the module's digest: a swap makes no second silence of one.
        let identity = Identity::Offset(origin.offset);
        let what = format!("silence of {} in {detector}", stopped.entity);
        let is_everything = stopped.entity == EVERYTHING;
        Self {
            specversion: "1.0".into(),
            kind: SILENCE_TYPE.into(),
            id: verdict_id(&origin.source, &origin.partition, &identity, &what),
            source: format!("/twinge/{detector}"),
            subject: stopped.entity,
            time: to_rfc3339(stopped.last_ms),
            data: SilenceData {
                verdict: "silent".into(),
                severity: if is_everything { Severity::High } else { Severity::Medium },
                usual_gap_s: stopped.usual_gap_s,
                allowed_gap_s: stopped.allowed_gap_s,
                version: version.to_owned(),
                module,
                origin,
            },
        }
    }
}
