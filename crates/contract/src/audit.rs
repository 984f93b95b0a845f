//! Audit records: all that it takes to reach a verdict again, bit for bit.

use crate::event::Attributes;
use crate::verdict::Verdict;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// CloudEvents type of an audit record.
pub const AUDIT_TYPE: &str = "io.twinge.audit.v1";

/// The audit record of a verdict, as a CloudEvent in structured mode. Its id is the verdict's.
///
/// A module's verdict on an event depends on the event and the entity's state before it; both are
/// here, so the record needs nothing but the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// Always "1.0".
    pub specversion: String,
    /// Always [`AUDIT_TYPE`].
    #[serde(rename = "type")]
    pub kind: String,
    /// The id of the verdict.
    pub id: String,
    /// `/twinge/<detector>`.
    pub source: String,
    /// The entity.
    pub subject: String,
    /// Event time, RFC 3339; left out when the schema has no time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// What the verdict was made from.
    pub data: AuditData,
}

/// The content of an audit record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditData {
    /// The verdict.
    pub verdict: Verdict,
    /// The event's bytes as they came.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub event: Vec<u8>,
    /// CloudEvents attributes that came beside them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Attributes>,
    /// When the event came in, milliseconds since 1970.
    pub ingested_ms: i64,
    /// The entity's state before the event; all zeros for one not seen before.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub prior_state: Vec<u8>,
    /// The serial of the channel document that the program followed; nothing for a module file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<u64>,
    /// The module that ran beside the one that gave the verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<String>,
}

impl Audit {
    /// The record of a verdict.
    pub fn new(data: AuditData) -> Self {
        Self {
            specversion: "1.0".into(),
            kind: AUDIT_TYPE.into(),
            id: data.verdict.id.clone(),
            source: data.verdict.source.to_string(),
            subject: data.verdict.subject.clone(),
            time: data.verdict.time.clone(),
            data,
        }
    }
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(&text).map_err(D::Error::custom)
}
