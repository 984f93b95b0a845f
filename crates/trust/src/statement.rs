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
    /// Precompiled forms of the module. Machine code: read them through
    /// [`VerifiedModule::artefacts`](crate::VerifiedModule::artefacts), which asks for the third
    /// key.
    #[serde(default)]
    pub artefacts: Vec<Artefact>,
}

/// One precompiled form of a module, and what it is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artefact {
    /// The target triple it was compiled for.
    pub target: String,
    /// The version of the engine that compiled it.
    pub engine_version: String,
    /// The digest of the engine's settings and CPU features.
    pub settings_digest: Digest,
    /// The digest of the artefact.
    pub digest: Digest,
    /// The length of the artefact.
    pub bytes: u64,
}

impl Statement {
    /// The payload type of a statement's envelope.
    pub const PAYLOAD_TYPE: &'static str = "application/vnd.twinge.statement.v1+json";

    /// The statement in an envelope, signed. A key with the role native vouches for the
    /// artefacts by [`Envelope::add_signature`].
    pub fn sign(&self, key: &SigningKey) -> Envelope {
        Envelope::sign(Self::PAYLOAD_TYPE, written(serde_json::to_vec(self)), key)
    }

    /// Reads a payload.
    pub fn from_json(payload: &[u8]) -> Result<Self, TrustError> {
        serde_json::from_slice(payload).map_err(|source| TrustError::MalformedStatement { source })
    }
}
