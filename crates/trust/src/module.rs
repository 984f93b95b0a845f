//! A module that may be run. The type is the proof: nothing but verification, or the loud way
//! around it, makes one. Knows nothing of WebAssembly.

use std::sync::Arc;

use crate::{Digest, Envelope, KeyId, Keyring, Role, Statement, TrustError};

/// The bytes of a module that somebody answers for.
#[derive(Clone, Debug)]
pub struct VerifiedModule {
    bytes: Arc<[u8]>,
    digest: Digest,
    statement: Option<Arc<Statement>>,
    provenance: Provenance,
}

/// On whose word a module is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// A trusted key signed the statement that names the module.
    Signed {
        /// The key that signed.
        key_id: KeyId,
        /// The role in which it was believed.
        role: Role,
    },
    /// Nobody's: the operator allowed it.
    Unsigned,
}

impl VerifiedModule {
    /// Checks that a retrainer or a promoter signed the statement, and that it speaks of exactly
    /// these bytes.
    ///
    /// That the statement speaks of the *wanted* module is for the caller to compare.
    pub fn verify(
        bytes: impl Into<Arc<[u8]>>,
        envelope: &Envelope,
        keyring: &Keyring,
    ) -> Result<Self, TrustError> {
        let roles = [Role::Promoter, Role::Retrainer];
        let verified = envelope.verify_any(Statement::PAYLOAD_TYPE, keyring, &roles)?;
        let statement = Statement::from_json(&verified.payload)?;
        let bytes = bytes.into();
        let digest = check_bytes(&bytes, &statement)?;
        let provenance = Provenance::Signed { key_id: verified.key_id, role: verified.role };
        Ok(Self { bytes, digest, statement: Some(Arc::new(statement)), provenance })
    }

    /// Takes bytes on nobody's word. Only for what the operator named on the command line
    /// together with `--allow-unsigned`, never for anything out of a registry.
    pub fn allow_unsigned(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        let digest = Digest::of(&bytes);
        Self { bytes, digest, statement: None, provenance: Provenance::Unsigned }
    }

    /// The module.
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// The digest of the module.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// On whose word the module is run.
    pub fn provenance(&self) -> Provenance {
        self.provenance
    }

    /// What the publisher says of the module; nothing for an unsigned one.
    pub fn statement(&self) -> Option<&Statement> {
        self.statement.as_deref()
    }
}

fn check_bytes(bytes: &[u8], statement: &Statement) -> Result<Digest, TrustError> {
    let found = Digest::of(bytes);
    let found_bytes = bytes.len() as u64;
    let (expected, expected_bytes) = (statement.module_digest, statement.module_bytes);
    if (found, found_bytes) != (expected, expected_bytes) {
        return Err(TrustError::WrongModule { expected, found, expected_bytes, found_bytes });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{SigningKey, TrustedKey};

    const MODULE: &[u8] = b"\0asm\x01\0\0\0";

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed([seed; 32])
    }

    fn keyring() -> Keyring {
        let roles = [Role::Retrainer, Role::Promoter, Role::Native, Role::Device];
        let entry = |(role, seed)| TrustedKey::new(key(seed).public(), &[role], "");
        Keyring::new(roles.into_iter().zip(1..).map(entry).collect()).unwrap()
    }

    fn statement() -> Statement {
        Statement {
            detector: "pump".to_owned(),
            version: "1".to_owned(),
            module_digest: Digest::of(MODULE),
            module_bytes: MODULE.len() as u64,
            manifest: Value::Null,
            metrics: json!({"auc": 0.9}),
        }
    }

    #[test]
    fn a_signed_module_is_verified() {
        for (seed, role) in [(1, Role::Retrainer), (2, Role::Promoter)] {
            let module =
                VerifiedModule::verify(MODULE, &statement().sign(&key(seed)), &keyring()).unwrap();
            assert_eq!(&module.bytes()[..], MODULE);
            assert_eq!(module.digest(), Digest::of(MODULE));
            assert_eq!(module.statement(), Some(&statement()));
            let key_id = key(seed).key_id();
            assert_eq!(module.provenance(), Provenance::Signed { key_id, role });
        }
    }

    #[test]
    fn an_altered_or_truncated_module_is_told_by_both_digests() {
        let envelope = statement().sign(&key(1));
        let mut altered = MODULE.to_vec();
        altered[4] = 2;
        for bytes in [altered, MODULE[..7].to_vec(), Vec::new()] {
            let found = Digest::of(&bytes).to_string();
            let message =
                VerifiedModule::verify(bytes, &envelope, &keyring()).unwrap_err().to_string();
            assert!(message.contains(&found), "{message}");
            assert!(message.contains(&Digest::of(MODULE).to_string()), "{message}");
        }
    }

    #[test]
    fn other_roles_cannot_sign_a_module() {
        for seed in [3, 4, 5] {
            let envelope = statement().sign(&key(seed));
            assert!(VerifiedModule::verify(MODULE, &envelope, &keyring()).is_err(), "{seed}");
        }
    }

    #[test]
    fn an_unsigned_module_says_so() {
        let module = VerifiedModule::allow_unsigned(MODULE);
        assert_eq!(module.provenance(), Provenance::Unsigned);
        assert!(module.statement().is_none());
    }

    #[test]
    fn a_statement_from_the_future_is_read() {
        let mut value = serde_json::to_value(statement()).unwrap();
        value["stages"] = json!([1, 2]);
        let payload = serde_json::to_vec(&value).unwrap();
        assert_eq!(Statement::from_json(&payload).unwrap(), statement());
        let envelope = Envelope::sign(Statement::PAYLOAD_TYPE, payload, &key(1));
        assert!(VerifiedModule::verify(MODULE, &envelope, &keyring()).is_ok());
    }

    /// Statements once had a list of artefacts, which no key of the role native ever signed.
    #[test]
    fn a_statement_with_a_list_of_artefacts_is_read() {
        let mut value = serde_json::to_value(statement()).unwrap();
        value["artefacts"] = json!([{"target": "x86_64-unknown-linux-gnu", "bytes": 4}]);
        let payload = serde_json::to_vec(&value).unwrap();
        let envelope = Envelope::sign(Statement::PAYLOAD_TYPE, payload, &key(1));
        let module = VerifiedModule::verify(MODULE, &envelope, &keyring()).unwrap();
        assert_eq!(module.statement(), Some(&statement()));
    }
}
