//! What people are told of: an episode of findings that belong together, when it begins, while it
//! goes on and when it ends.

use crate::time::to_rfc3339;
use crate::verdict::{Contribution, Severity, identity_hash};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// CloudEvents type of an alert.
pub const ALERT_TYPE: &str = "io.twinge.alert.v1";

/// An alert as a CloudEvent (<https://github.com/cloudevents/spec>), structured mode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Always "1.0".
    pub specversion: String,
    /// Always [`ALERT_TYPE`].
    #[serde(rename = "type")]
    pub kind: String,
    /// Equal for all deliveries of one alert; see [`alert_id`].
    pub id: String,
    /// `/twinge/<detector>`.
    pub source: String,
    /// What it is about: an entity, a field, a partition, or `*` for many at once.
    pub subject: String,
    /// When it was made, RFC 3339.
    pub time: String,
    /// What happened.
    pub data: AlertData,
}

/// The content of an alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertData {
    /// What kind of finding it is about.
    pub kind: AlertKind,
    /// The detector; `*` where it is about all of them.
    pub detector: String,
    /// Whether the episode begins, goes on or has ended.
    pub state: AlertState,
    /// The episode: equal in all alerts about it; see [`episode_id`].
    pub episode: String,
    /// The worst so far, for people.
    pub severity: Severity,
    /// When the first finding was made, RFC 3339.
    pub first: String,
    /// When the last finding was made, RFC 3339.
    pub last: String,
    /// Findings so far.
    pub count: u64,
    /// Findings of these that a silence covered.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub silenced: u64,
    /// Entities that are known to take part, where it is about many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entities: Option<u64>,
    /// The highest score so far, where findings have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_score: Option<f64>,
    /// What made the highest score, largest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attribution: Vec<Contribution>,
    /// The id of the first finding: of its verdict, or of its silence.
    pub finding: String,
    /// What happened, in a sentence.
    pub message: String,
    /// Why it ended, once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<AlertEnd>,
    /// What to read when it comes: a name, or a link where a place of such texts is set.
    pub runbook: String,
}

/// Kinds of findings that people are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlertKind {
    /// Anomalous events.
    Anomaly,
    /// An entity, or everything, that stopped sending.
    Silence,
    /// Inputs or scores that are not as they were in training.
    Drift,
    /// Events that cannot be scored.
    DataQuality,
    /// Events that wait too long to be scored.
    Lag,
    /// A program that cannot do its work.
    Health,
}

impl AlertKind {
    /// All kinds.
    pub const ALL: [Self; 6] =
        [Self::Anomaly, Self::Silence, Self::Drift, Self::DataQuality, Self::Lag, Self::Health];

    /// The word in files, and the name of its runbook.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anomaly => "anomaly",
            Self::Silence => "silence",
            Self::Drift => "drift",
            Self::DataQuality => "data-quality",
            Self::Lag => "lag",
            Self::Health => "health",
        }
    }
}

/// Where an episode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlertState {
    /// It has begun.
    Opened,
    /// It goes on.
    Updated,
    /// It has ended.
    Resolved,
}

impl AlertState {
    /// The word in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Updated => "updated",
            Self::Resolved => "resolved",
        }
    }
}

/// Why an episode ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlertEnd {
    /// Nothing more was found for the gap between episodes.
    Quiet,
    /// What was silent sends again.
    Returned,
    /// What was wrong is well again.
    Cleared,
    /// It went on for so long that it is not news any more.
    Forgotten,
}

impl Alert {
    /// The alert about `subject`, the `number`th of its episode, made at `now_ms` since 1970.
    pub fn new(subject: String, data: AlertData, number: u64, now_ms: i64) -> Self {
        Self {
            specversion: "1.0".into(),
            kind: ALERT_TYPE.into(),
            id: alert_id(&data.episode, data.state, number),
            source: format!("/twinge/{}", data.detector),
            subject,
            time: to_rfc3339(now_ms),
            data,
        }
    }
}

/// The id of an episode: a hash of what it is about and of its first finding's id, so that it is the
/// same after a restart.
pub fn episode_id(kind: AlertKind, detector: &str, entity: &str, finding: &str) -> String {
    let parts = [kind.as_str(), detector, entity, finding];
    hex(&identity_hash(&parts.map(str::as_bytes)))
}

/// The id of an alert: a hash of its episode, its state and its number within the episode.
pub fn alert_id(episode: &str, state: AlertState, number: u64) -> String {
    let parts: [&[u8]; 3] = [episode.as_bytes(), state.as_str().as_bytes(), &number.to_le_bytes()];
    hex(&identity_hash(&parts))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("text grows");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_depend_on_each_part_and_on_nothing_else() {
        let id = episode_id(AlertKind::Anomaly, "pumps", "p1", "v1");
        assert_eq!(id, episode_id(AlertKind::Anomaly, "pumps", "p1", "v1"));
        assert_eq!(id.len(), 32);
        for other in [
            episode_id(AlertKind::Drift, "pumps", "p1", "v1"),
            episode_id(AlertKind::Anomaly, "pump", "sp1", "v1"),
            episode_id(AlertKind::Anomaly, "pumps", "p2", "v1"),
            episode_id(AlertKind::Anomaly, "pumps", "p1", "v2"),
        ] {
            assert_ne!(id, other);
        }
        assert_ne!(
            alert_id(&id, AlertState::Updated, 1),
            alert_id(&id, AlertState::Updated, 2),
            "two updates are two alerts"
        );
    }

    #[test]
    fn words_in_files_are_those_of_the_code() {
        for kind in AlertKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        for state in [AlertState::Opened, AlertState::Updated, AlertState::Resolved] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }
}
