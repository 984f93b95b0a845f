//! Verdicts and dead letters: what comes out for each event that goes in.

mod letter;

pub use self::letter::{VerdictIds, VerdictWriter};

use crate::abi::Outcome;
use crate::text::SharedText;
use crate::time::to_rfc3339;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// CloudEvents type of a verdict.
pub const VERDICT_TYPE: &str = "io.twinge.verdict.v1";
/// CloudEvents type of a dead letter.
pub const DEAD_LETTER_TYPE: &str = "io.twinge.dead-letter.v1";

/// A verdict as a CloudEvent (<https://github.com/cloudevents/spec>), structured mode.
///
/// It holds nothing that depends on when, where or in which batch it was made, so the same event
/// gives the same bytes again after a crash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Always "1.0".
    pub specversion: SharedText,
    /// Always [`VERDICT_TYPE`].
    #[serde(rename = "type")]
    pub kind: SharedText,
    /// Equal for all deliveries of one verdict; see [`verdict_id`].
    pub id: String,
    /// `/twinge/<detector>`.
    pub source: SharedText,
    /// The entity.
    pub subject: String,
    /// Event time, RFC 3339; left out when the schema has no time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// What the detector says.
    pub data: VerdictData,
}

/// The content of a verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VerdictData {
    /// Normal, anomalous, warming-up or invalid.
    pub verdict: Outcome,
    /// At least 1 means anomalous; twice as much is an event as improbable squared.
    pub score: f64,
    /// How bad, for people.
    pub severity: Severity,
    /// The event was older than the allowed lateness and left no trace in the entity's state.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
    /// The event goes on with an episode that was told already, so its score was held back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub continues: bool,
    /// What made the score, largest first; only for anomalous events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attribution: Vec<Contribution>,
    /// The factor on the score by which the verdict was given, where a channel set one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensitivity: Option<f64>,
    /// The detector's version.
    pub version: SharedText,
    /// SHA-256 of the module.
    pub module: SharedText,
    /// Where the event came from: `source`, `partition` and `offset` identify it.
    pub origin: Origin,
}

/// A field and what it adds to the score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contribution {
    /// Input field; `time` for the event's time itself.
    pub field: String,
    /// Part of the score.
    pub share: f32,
}

/// The place an event has in its source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The source: a file's digest, a journal's name, a hub.
    pub source: SharedText,
    /// Partition within it.
    pub partition: SharedText,
    /// Offset within the partition.
    pub offset: u64,
}

/// Severity steps of a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Not anomalous.
    None,
    /// Score from 1.
    Low,
    /// Score from 1.5.
    Medium,
    /// Score from 2: as improbable as the threshold's rate, squared.
    High,
}

impl Severity {
    /// The step of a verdict.
    pub fn of(outcome: Outcome, score: f64) -> Self {
        match outcome {
            Outcome::Anomalous if score >= 2.0 => Self::High,
            Outcome::Anomalous if score >= 1.5 => Self::Medium,
            Outcome::Anomalous => Self::Low,
            _ => Self::None,
        }
    }
}

/// What identifies an event beyond one delivery of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// Its offset: a source that keeps its events.
    Offset(u64),
    /// Its CloudEvents source and id, or a hash of entity, time and payload: a source that may
    /// deliver again under another offset.
    Hash([u8; 16]),
}

/// The id of a verdict: a hash of where the event comes from, which one it is, and the module.
pub fn verdict_id(source: &str, partition: &str, identity: &Identity, module: &str) -> String {
    VerdictIds::new(source, partition, module).of(identity)
}

/// SHA-256 of the parts, each preceded by its length, cut to 16 bytes.
pub fn identity_hash(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let mut cut = [0; 16];
    cut.copy_from_slice(&hash.finalize()[..16]);
    cut
}

/// An event that got no verdict, with the reason and its original bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Always "1.0".
    pub specversion: String,
    /// Always [`DEAD_LETTER_TYPE`].
    #[serde(rename = "type")]
    pub kind: String,
    /// Equal for all deliveries of one dead letter.
    pub id: String,
    /// `/twinge/<detector>`.
    pub source: String,
    /// The partition key it was sent with, where its source has such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The reason and the event.
    pub data: DeadLetterData,
}

/// The content of a dead letter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadLetterData {
    /// A word for programs, such as `not-json`.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// Where the event came from.
    pub origin: Origin,
    /// Original bytes when they are UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<String>,
    /// Original bytes when they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_base64: Option<String>,
}

impl DeadLetter {
    /// A dead letter for the event at `origin`, whose bytes are `original`.
    pub fn new(
        detector: &str,
        origin: Origin,
        reason: &str,
        message: String,
        original: &[u8],
    ) -> Self {
        let identity = Identity::Offset(origin.offset);
        let (text, base64) = match std::str::from_utf8(original) {
            Ok(text) => (Some(text.to_owned()), None),
            Err(_) => (None, Some(STANDARD.encode(original))),
        };
        Self {
            specversion: "1.0".into(),
            kind: DEAD_LETTER_TYPE.into(),
            id: verdict_id(&origin.source, &origin.partition, &identity, detector),
            source: format!("/twinge/{detector}"),
            subject: None,
            data: DeadLetterData {
                reason: reason.into(),
                message,
                origin,
                original: text,
                original_base64: base64,
            },
        }
    }
}

/// Event time for a verdict.
pub fn verdict_time(time_ms: Option<i64>) -> Option<String> {
    time_ms.map(to_rfc3339)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_in_each_part() {
        let id = verdict_id("s", "0", &Identity::Offset(1), "m");
        assert_eq!(id, verdict_id("s", "0", &Identity::Offset(1), "m"));
        assert_eq!(id.len(), 32);
        for other in [
            verdict_id("t", "0", &Identity::Offset(1), "m"),
            verdict_id("s", "1", &Identity::Offset(1), "m"),
            verdict_id("s", "0", &Identity::Offset(2), "m"),
            verdict_id("s", "0", &Identity::Offset(1), "n"),
            verdict_id("s0", "", &Identity::Offset(1), "m"),
        ] {
            assert_ne!(id, other);
        }
    }

    #[test]
    fn original_bytes_survive() {
        let origin = Origin { source: "s".into(), partition: "0".into(), offset: 7 };
        let text = DeadLetter::new("d", origin.clone(), "not-json", "x".into(), b"{oops");
        assert_eq!(text.data.original.as_deref(), Some("{oops"));
        let bytes = DeadLetter::new("d", origin, "not-json", "x".into(), &[0xff, 0]);
        assert_eq!(bytes.data.original_base64.as_deref(), Some("/wA="));
    }
}
