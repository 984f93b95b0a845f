//! Why something is not believed.

use crate::{Digest, Role};

/// Why a key, an envelope, a statement or a module is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// A text is not a digest.
    #[error("read digest {found:?}: it must be 64 lowercase hexadecimal characters")]
    MalformedDigest {
        /// What was there instead, cut short.
        found: String,
    },
    /// A text is not a key id.
    #[error("read key id {found:?}: it must be 16 lowercase hexadecimal characters")]
    MalformedKeyId {
        /// What was there instead, cut short.
        found: String,
    },
    /// A text is not an Ed25519 public key that can be relied on.
    #[error("read public key {found:?}: {reason}")]
    MalformedPublicKey {
        /// What was there instead, cut short.
        found: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A text is not a signing key. It is never repeated here: it may hold the secret.
    #[error("read signing key: {reason}; restore the key file or make a new key")]
    MalformedSigningKey {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A keyring cannot be read.
    #[error("read keyring: it is not the JSON of trust.json")]
    MalformedKeyring {
        /// Where and why reading stopped.
        #[source]
        source: serde_json::Error,
    },
    /// A keyring entry names another id than its public key has.
    #[error("read keyring: entry {stated} holds the public key of {actual}; correct the entry")]
    KeyIdMismatch {
        /// The id that the entry states.
        stated: String,
        /// The id of the entry's public key.
        actual: String,
    },
    /// A keyring holds a key twice, so that its roles would be ambiguous.
    #[error("read keyring: key {key_id} is listed twice; merge the entries")]
    DuplicateKey {
        /// The key that is there twice.
        key_id: String,
    },
    /// A payload is not a root of trust.
    #[error("read root of trust: the payload is not a root this version understands")]
    MalformedRoot {
        /// Where and why reading stopped.
        #[source]
        source: serde_json::Error,
    },
    /// A root does not follow the one that is believed.
    #[error(
        "accept root of trust: version {found} does not follow version {seen}; somebody serves \
         an old root, or one between is missing"
    )]
    RootVersion {
        /// The version that is believed.
        seen: u64,
        /// The version of the document.
        found: u64,
    },
    /// Too few root keys signed a root.
    #[error(
        "accept root of trust: {found} root keys of version {version} signed it, {needed} must; \
         have more of them sign it"
    )]
    RootThreshold {
        /// The version whose keys are asked for.
        version: u64,
        /// How many must sign.
        needed: usize,
        /// How many did.
        found: usize,
    },
    /// A payload is not an enrolment.
    #[error("read enrolment: the payload is not an enrolment; enrol the device again")]
    MalformedEnrolment {
        /// Where and why reading stopped.
        #[source]
        source: serde_json::Error,
    },
    /// A payload is not a request for rights.
    #[error("read request for rights: the payload is none; bring device and host to one version")]
    MalformedRightsRequest {
        /// Where and why reading stopped.
        #[source]
        source: serde_json::Error,
    },
    /// A device asks for what only enrolled ones get.
    #[error("verify device {device:?}: nobody enrolled it; enrol it, and start it again")]
    NotEnrolled {
        /// The device, by its own word.
        device: String,
    },
    /// An enrolment speaks of another device or another key.
    #[error(
        "verify device {device:?}: its enrolment is that of {enrolled:?} or of another key; \
         enrol it again"
    )]
    OtherDevice {
        /// The device of the enrolment.
        enrolled: String,
        /// The device that was asked for.
        device: String,
    },
    /// Bytes are not a DSSE envelope.
    #[error("read envelope: it is not DSSE JSON; fetch or publish it again")]
    MalformedEnvelope {
        /// Where and why reading stopped.
        #[source]
        source: serde_json::Error,
    },
    /// The envelope carries something else than what was asked for.
    #[error("verify envelope: it holds {found:?} where {expected:?} is needed")]
    WrongPayloadType {
        /// The payload type that is needed.
        expected: String,
        /// The payload type of the envelope, cut short.
        found: String,
    },
    /// The envelope has no signature at all.
    #[error("verify envelope: it has no signature; sign it")]
    NotSigned,
    /// The envelope has more signatures than anyone needs.
    #[error("verify envelope: it has {found} signatures, at most {max} are read")]
    TooManySignatures {
        /// How many there are.
        found: usize,
        /// How many are allowed.
        max: usize,
    },
    /// The signing key is not in the keyring.
    #[error(
        "verify envelope: key {key_id:?} is not trusted here; add it to trust.json if it is yours"
    )]
    UnknownKey {
        /// The id that the signature names, cut short.
        key_id: String,
    },
    /// The signing key was revoked.
    #[error("verify envelope: key {key_id} is revoked; have another key sign it")]
    RevokedKey {
        /// The revoked key.
        key_id: String,
    },
    /// The signing key is trusted, but not for this.
    #[error("verify envelope: key {key_id} does not hold the role {}", either(.needed))]
    RoleNotHeld {
        /// The key that signed.
        key_id: String,
        /// The roles of which one is needed.
        needed: Vec<Role>,
    },
    /// The signature does not fit the payload.
    #[error(
        "verify envelope: the signature by key {key_id} does not fit; the document was altered"
    )]
    BadSignature {
        /// The key that the signature names.
        key_id: String,
    },
    /// A verified payload is not a statement.
    #[error("read statement: the signed payload is not a statement this version understands")]
    MalformedStatement {
        /// Where and why reading stopped.
        #[source]
        source: serde_json::Error,
    },
    /// The artefact is not the one that its statement speaks of.
    #[error(
        "verify artefact: expected {expected} of {expected_bytes} bytes, found {found} of \
         {found_bytes} bytes; it is truncated or altered, fetch it again"
    )]
    WrongArtefact {
        /// The digest that was signed.
        expected: Digest,
        /// The digest of the bytes at hand.
        found: Digest,
        /// The length that was signed.
        expected_bytes: u64,
        /// The length of the bytes at hand.
        found_bytes: u64,
    },
    /// The artefact was compiled from another module.
    #[error("verify artefact: it was compiled from module {found}, not {wanted}; precompile that")]
    ArtefactOfOtherModule {
        /// The digest of the module at hand.
        wanted: Digest,
        /// The digest of the module that the statement names.
        found: Digest,
    },
    /// The module is not the one that the statement speaks of.
    #[error(
        "verify module: expected {expected} of {expected_bytes} bytes, found {found} of \
         {found_bytes} bytes; it is truncated or altered, fetch it again"
    )]
    WrongModule {
        /// The digest that was signed.
        expected: Digest,
        /// The digest of the bytes at hand.
        found: Digest,
        /// The length that was signed.
        expected_bytes: u64,
        /// The length of the bytes at hand.
        found_bytes: u64,
    },
}

fn either(roles: &[Role]) -> String {
    roles.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}
