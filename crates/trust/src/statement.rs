//! What a publisher says of a module. Knows nothing of what manifest and metrics contain.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Digest, Envelope, SigningKey, TrustError, written};

/// The signed word on one module. Fields that this version does not know are ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    /// The detector that the module belongs to.
    pub detector: String,
    /// The version, for people.
    pub version: String,
    /// The digest of the module.
    pub module_digest: Digest,
    /// The length of the module.
    pub module_bytes: u64,
    /// The manifest that the module carries, readable without the module.
    #[serde(default)]
    pub manifest: Value,
    /// How the module did in evaluation.
    #[serde(default)]
    pub metrics: Value,
}

impl Statement {
    /// The payload type of a statement's envelope.
    pub const PAYLOAD_TYPE: &'static str = "application/vnd.twinge.statement.v1+json";

    /// The statement in an envelope, signed.
    pub fn sign(&self, key: &SigningKey) -> Envelope {
        Envelope::sign(Self::PAYLOAD_TYPE, written(serde_json::to_vec(self)), key)
    }

    /// Reads a payload.
    pub fn from_json(payload: &[u8]) -> Result<Self, TrustError> {
        serde_json::from_slice(payload).map_err(|source| TrustError::MalformedStatement { source })
    }
}
