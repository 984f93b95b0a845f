//! A precompiled form of a module that may be run: machine code, on the word of the third key.
//!
//! It has a statement of its own, so that an artefact for one more target leaves untouched what
//! retrainer and promoter signed. Knows nothing of what a target or an engine is: whoever runs
//! the artefact compares its [`ArtefactIdentity`] with its own.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    Digest, Envelope, KeyId, Keyring, Role, SigningKey, TrustError, VerifiedModule, written,
};

/// The signed word on one precompiled form of one module. Fields that this version does not know
/// are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtefactStatement {
    /// The detector that the module belongs to, for people.
    pub detector: String,
    /// The digest of the module that was compiled.
    pub module_digest: Digest,
    /// What the artefact was compiled for.
    pub identity: ArtefactIdentity,
    /// The digest of the artefact.
    pub digest: Digest,
    /// The length of the artefact.
    pub bytes: u64,
}

/// What an artefact was compiled for. An engine runs only those with exactly its own identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ArtefactIdentity {
    /// The target triple.
    pub target: String,
    /// The version of the engine that compiled it.
    pub engine_version: String,
    /// The digest of the engine's settings and of the CPU features that the code may use.
    pub settings_digest: Digest,
}

/// Machine code that a holder of the role native answers for, of a module that is at hand. The
/// type is the proof: nothing but verification makes one.
#[derive(Clone, Debug)]
pub struct VerifiedArtefact {
    bytes: Arc<[u8]>,
    statement: Arc<ArtefactStatement>,
    key_id: KeyId,
}

impl ArtefactStatement {
    /// The payload type of a statement's envelope.
    pub const PAYLOAD_TYPE: &'static str = "application/vnd.twinge.artefact.v1+json";

    /// The statement in an envelope, signed.
    pub fn sign(&self, key: &SigningKey) -> Envelope {
        Envelope::sign(Self::PAYLOAD_TYPE, written(serde_json::to_vec(self)), key)
    }

    /// Reads a payload.
    pub fn from_json(payload: &[u8]) -> Result<Self, TrustError> {
        serde_json::from_slice(payload).map_err(|source| TrustError::MalformedStatement { source })
    }
}

impl VerifiedArtefact {
    /// Checks that a key with the role native signed the statement, that it speaks of exactly
    /// these bytes, and that they were compiled from `module`.
    ///
    /// No other role will do, whatever else it may sign. That the artefact was compiled for this
    /// machine and this engine is for the engine to compare.
    pub fn verify(
        bytes: impl Into<Arc<[u8]>>,
        envelope: &Envelope,
        keyring: &Keyring,
        module: &VerifiedModule,
    ) -> Result<Self, TrustError> {
        let verified =
            envelope.verify_any(ArtefactStatement::PAYLOAD_TYPE, keyring, &[Role::Native])?;
        let statement = ArtefactStatement::from_json(&verified.payload)?;
        let (wanted, found) = (module.digest(), statement.module_digest);
        if wanted != found {
            return Err(TrustError::ArtefactOfOtherModule { wanted, found });
        }
        let bytes = bytes.into();
        check_bytes(&bytes, &statement)?;
        Ok(Self { bytes, statement: Arc::new(statement), key_id: verified.key_id })
    }

    /// The artefact.
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// The digest of the artefact.
    pub fn digest(&self) -> Digest {
        self.statement.digest
    }

    /// The digest of the module that it was compiled from.
    pub fn module_digest(&self) -> Digest {
        self.statement.module_digest
    }

    /// What it was compiled for.
    pub fn identity(&self) -> &ArtefactIdentity {
        &self.statement.identity
    }

    /// The key that signed for it.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }
}

fn check_bytes(bytes: &[u8], statement: &ArtefactStatement) -> Result<(), TrustError> {
    let (found, found_bytes) = (Digest::of(bytes), bytes.len() as u64);
    let (expected, expected_bytes) = (statement.digest, statement.bytes);
    if (found, found_bytes) != (expected, expected_bytes) {
        return Err(TrustError::WrongArtefact { expected, found, expected_bytes, found_bytes });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::TrustedKey;

    const CODE: &[u8] = b"\x7fELF machine code";

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed([seed; 32])
    }

    const RETRAINER: u8 = 1;
    const PROMOTER: u8 = 2;
    const NATIVE: u8 = 3;
    const DEVICE: u8 = 4;
    const STRANGER: u8 = 5;

    fn keyring() -> Keyring {
        let roles = [Role::Retrainer, Role::Promoter, Role::Native, Role::Device];
        let entry = |(role, seed)| TrustedKey::new(key(seed).public(), &[role], "");
        Keyring::new(roles.into_iter().zip(RETRAINER..).map(entry).collect()).unwrap()
    }

    fn module() -> VerifiedModule {
        VerifiedModule::allow_unsigned(&b"\0asm\x01\0\0\0"[..])
    }

    fn statement() -> ArtefactStatement {
        ArtefactStatement {
            detector: "pump".to_owned(),
            module_digest: module().digest(),
            identity: ArtefactIdentity {
                target: "x86_64-unknown-linux".to_owned(),
                engine_version: "wasmtime-48".to_owned(),
                settings_digest: Digest::of(b"settings"),
            },
            digest: Digest::of(CODE),
            bytes: CODE.len() as u64,
        }
    }

    fn verify(bytes: &[u8], envelope: &Envelope) -> Result<VerifiedArtefact, TrustError> {
        VerifiedArtefact::verify(bytes, envelope, &keyring(), &module())
    }

    #[test]
    fn what_a_native_key_signed_is_verified() {
        let artefact = verify(CODE, &statement().sign(&key(NATIVE))).unwrap();
        assert_eq!(&artefact.bytes()[..], CODE);
        assert_eq!(artefact.digest(), Digest::of(CODE));
        assert_eq!(artefact.module_digest(), module().digest());
        assert_eq!(artefact.identity(), &statement().identity);
        assert_eq!(artefact.key_id(), key(NATIVE).key_id());
    }

    #[test]
    fn no_other_key_can_sign_machine_code() {
        for seed in [RETRAINER, PROMOTER, DEVICE] {
            let error = verify(CODE, &statement().sign(&key(seed))).unwrap_err();
            assert!(matches!(error, TrustError::RoleNotHeld { .. }), "{seed}: {error}");
        }
        let error = verify(CODE, &statement().sign(&key(STRANGER))).unwrap_err();
        assert!(matches!(error, TrustError::UnknownKey { .. }), "{error}");
        let mut all = statement().sign(&key(PROMOTER));
        all.add_signature(&key(RETRAINER));
        assert!(verify(CODE, &all).is_err());
        all.add_signature(&key(NATIVE));
        assert_eq!(verify(CODE, &all).unwrap().key_id(), key(NATIVE).key_id());
    }

    #[test]
    fn a_native_key_that_holds_other_roles_too_counts() {
        let roles = [Role::Promoter, Role::Native];
        let entry = TrustedKey::new(key(6).public(), &roles, "");
        let keyring = Keyring::new(vec![entry]).unwrap();
        let envelope = statement().sign(&key(6));
        assert!(VerifiedArtefact::verify(CODE, &envelope, &keyring, &module()).is_ok());
    }

    #[test]
    fn a_revoked_native_key_is_not_believed() {
        let envelope = statement().sign(&key(NATIVE));
        let mut keyring = keyring();
        assert!(VerifiedArtefact::verify(CODE, &envelope, &keyring, &module()).is_ok());
        assert!(keyring.revoke(&key(NATIVE).key_id()));
        let error = VerifiedArtefact::verify(CODE, &envelope, &keyring, &module()).unwrap_err();
        assert!(matches!(error, TrustError::RevokedKey { .. }), "{error}");
    }

    #[test]
    fn an_altered_or_cut_artefact_is_told_by_both_digests() {
        let envelope = statement().sign(&key(NATIVE));
        let check = |bytes: &[u8], what: &str| {
            let error = verify(bytes, &envelope).unwrap_err();
            assert!(matches!(error, TrustError::WrongArtefact { .. }), "{what}: {error}");
            let message = error.to_string();
            assert!(message.contains(&Digest::of(bytes).to_string()), "{message}");
            assert!(message.contains(&Digest::of(CODE).to_string()), "{message}");
        };
        for place in 0..CODE.len() {
            let mut altered = CODE.to_vec();
            altered[place] ^= 1;
            check(&altered, "altered");
            check(&CODE[..place], "truncated");
        }
        check(&[CODE, b"\0"].concat(), "longer");
        assert!(verify(CODE, &envelope).is_ok());
    }

    #[test]
    fn an_altered_statement_is_not_believed() {
        let json = statement().sign(&key(NATIVE)).to_json();
        let read = |json: &[u8]| Envelope::from_json(json).and_then(|read| verify(CODE, &read));
        for place in 0..json.len() {
            let mut altered = json.clone();
            altered[place] ^= 1;
            assert!(read(&altered).is_err(), "{place}");
            assert!(read(&json[..place]).is_err(), "{place}");
        }
        assert!(read(&json).is_ok());
    }

    #[test]
    fn an_artefact_of_another_module_is_refused() {
        let envelope = statement().sign(&key(NATIVE));
        let other = VerifiedModule::allow_unsigned(&b"\0asm\x01\0\0\x01"[..]);
        let error = VerifiedArtefact::verify(CODE, &envelope, &keyring(), &other).unwrap_err();
        assert!(matches!(error, TrustError::ArtefactOfOtherModule { .. }), "{error}");
        assert!(verify(CODE, &envelope).is_ok());
    }

    #[test]
    fn a_document_of_another_kind_is_no_statement() {
        let payload = serde_json::to_vec(&statement()).unwrap();
        let other = Envelope::sign(crate::Statement::PAYLOAD_TYPE, payload, &key(NATIVE));
        let error = verify(CODE, &other).unwrap_err();
        assert!(matches!(error, TrustError::WrongPayloadType { .. }), "{error}");
        let empty = Envelope::sign(ArtefactStatement::PAYLOAD_TYPE, b"{}".to_vec(), &key(NATIVE));
        let error = verify(CODE, &empty).unwrap_err();
        assert!(matches!(error, TrustError::MalformedStatement { .. }), "{error}");
    }

    #[test]
    fn a_statement_from_the_future_is_read() {
        let mut value = serde_json::to_value(statement()).unwrap();
        value["signed_ms"] = json!(1);
        value["identity"]["linker"] = json!("none");
        let payload = serde_json::to_vec(&value).unwrap();
        let envelope = Envelope::sign(ArtefactStatement::PAYLOAD_TYPE, payload, &key(NATIVE));
        assert_eq!(verify(CODE, &envelope).unwrap().identity(), &statement().identity);
    }
}
