//! Signed bytes: DSSE envelopes (<https://github.com/secure-systems-lab/dsse>, version 1).
//!
//! Knows nothing of what a payload means; its type only keeps one kind of document from being
//! passed off as another.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::spelling::cut;
use crate::{KeyId, Keyring, Role, SigningKey, TrustError, written};

/// Most signatures that an envelope may have, so that a forged one costs little to refuse.
pub const SIGNATURES_MAX: usize = 16;

/// A payload with its type and the signatures over both.
///
/// ```
/// use twinge_trust::{Envelope, Keyring, Role, SigningKey, TrustedKey};
/// let key = SigningKey::from_seed([1; 32]);
/// let keyring = Keyring::new(vec![TrustedKey::new(key.public(), &[Role::Device], "pump 7")])?;
/// let envelope = Envelope::sign("text/plain", b"running".to_vec(), &key);
/// assert_eq!(envelope.verify("text/plain", &keyring, Role::Device)?, b"running");
/// # Ok::<(), twinge_trust::TrustError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    #[serde(rename = "payloadType")]
    payload_type: String,
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    payload: Vec<u8>,
    signatures: Vec<Signature>,
}

/// What a verified envelope holds, and on whose word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The signed bytes.
    pub payload: Vec<u8>,
    /// The key whose signature was believed.
    pub key_id: KeyId,
    /// The role in which it was believed.
    pub role: Role,
}

impl Envelope {
    /// Wraps and signs a payload.
    pub fn sign(payload_type: &str, payload: Vec<u8>, key: &SigningKey) -> Self {
        let mut envelope = Self::unsigned(payload_type, payload);
        envelope.add_signature(key);
        envelope
    }

    /// Wraps a payload that is yet to be signed.
    pub(crate) fn unsigned(payload_type: &str, payload: Vec<u8>) -> Self {
        Self { payload_type: payload_type.to_owned(), payload, signatures: Vec::new() }
    }

    /// Adds a signature, in place of one that the same key made before.
    pub fn add_signature(&mut self, key: &SigningKey) {
        let key_id = key.key_id().to_string();
        let bytes = key.sign(&self.signed_bytes()).to_vec();
        self.signatures.retain(|signature| signature.key_id != key_id);
        self.signatures.push(Signature { key_id, bytes });
    }

    /// Adds the signatures that `other` has over the same payload by further keys, up to
    /// [`SIGNATURES_MAX`]; false when its payload is another one. None of them is checked here.
    pub fn merge_signatures(&mut self, other: &Self) -> bool {
        if (&self.payload_type, &self.payload) != (&other.payload_type, &other.payload) {
            return false;
        }
        for signature in &other.signatures {
            let known = self.signatures.iter().any(|mine| mine.key_id == signature.key_id);
            if !known && self.signatures.len() < SIGNATURES_MAX {
                self.signatures.push(signature.clone());
            }
        }
        true
    }

    /// Reads the JSON form.
    pub fn from_json(json: &[u8]) -> Result<Self, TrustError> {
        serde_json::from_slice(json).map_err(|source| TrustError::MalformedEnvelope { source })
    }

    /// The JSON form; the same bytes every time.
    pub fn to_json(&self) -> Vec<u8> {
        written(serde_json::to_vec(self))
    }

    /// The payload, if it has the type asked for and a key that holds `role` signed it.
    pub fn verify(
        &self,
        payload_type: &str,
        keyring: &Keyring,
        role: Role,
    ) -> Result<Vec<u8>, TrustError> {
        self.verify_any(payload_type, keyring, &[role]).map(|verified| verified.payload)
    }

    /// The same, where any of several roles will do; the first in `roles` that somebody signed
    /// in is the one told.
    ///
    /// One good signature is enough, whatever the others are. Without one, the error is that of
    /// the signature which came nearest.
    pub fn verify_any(
        &self,
        payload_type: &str,
        keyring: &Keyring,
        roles: &[Role],
    ) -> Result<Verified, TrustError> {
        self.check_shape(payload_type)?;
        let message = self.signed_bytes();
        let mut believed: Option<(usize, KeyId)> = None;
        let mut nearest = TrustError::NotSigned;
        for signature in &self.signatures {
            match signature.check(&message, keyring, roles) {
                Ok(found) if believed.is_none_or(|best| found.0 < best.0) => believed = Some(found),
                Err(error) if nearness(&error) > nearness(&nearest) => nearest = error,
                Ok(_) | Err(_) => {}
            }
        }
        let (place, key_id) = believed.ok_or(nearest)?;
        Ok(Verified { payload: self.payload.clone(), key_id, role: roles[place] })
    }

    /// The different keys with a good signature that hold `role`. The error, if there is none, is
    /// that of the signature which came nearest.
    pub(crate) fn signers(
        &self,
        payload_type: &str,
        keyring: &Keyring,
        role: Role,
    ) -> Result<BTreeSet<KeyId>, TrustError> {
        self.check_shape(payload_type)?;
        let message = self.signed_bytes();
        let mut signers = BTreeSet::new();
        let mut nearest = TrustError::NotSigned;
        for signature in &self.signatures {
            match signature.check(&message, keyring, &[role]) {
                Ok((_, key_id)) => drop(signers.insert(key_id)),
                Err(error) if nearness(&error) > nearness(&nearest) => nearest = error,
                Err(_) => {}
            }
        }
        if signers.is_empty() { Err(nearest) } else { Ok(signers) }
    }

    /// The payload on nobody's word: to show it to people, never to act on it.
    pub fn payload_unverified(&self) -> &[u8] {
        &self.payload
    }

    fn check_shape(&self, payload_type: &str) -> Result<(), TrustError> {
        if self.payload_type != payload_type {
            let (expected, found) = (payload_type.to_owned(), cut(&self.payload_type));
            return Err(TrustError::WrongPayloadType { expected, found });
        }
        let found = self.signatures.len();
        if found > SIGNATURES_MAX {
            return Err(TrustError::TooManySignatures { found, max: SIGNATURES_MAX });
        }
        Ok(())
    }

    /// The pre-authentication encoding of DSSE: lengths are signed too, so that no byte can move
    /// from the type to the payload.
    fn signed_bytes(&self) -> Vec<u8> {
        let (kind, payload) = (&self.payload_type, &self.payload);
        let mut bytes = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
        bytes.extend_from_slice(payload);
        bytes
    }
}

/// The key id is only a hint that DSSE does not sign; it picks the key, the key decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Signature {
    #[serde(rename = "keyid", default)]
    key_id: String,
    #[serde(rename = "sig", serialize_with = "to_base64", deserialize_with = "from_base64")]
    bytes: Vec<u8>,
}

impl Signature {
    /// The place in `roles` that the signature counts for, and the key that made it.
    fn check(
        &self,
        message: &[u8],
        keyring: &Keyring,
        roles: &[Role],
    ) -> Result<(usize, KeyId), TrustError> {
        let named = self.key_id.parse().ok();
        let Some(key) = named.and_then(|key_id| keyring.key(&key_id)) else {
            return Err(TrustError::UnknownKey { key_id: cut(&self.key_id) });
        };
        let key_id = key.key_id.to_string();
        if key.revoked {
            return Err(TrustError::RevokedKey { key_id });
        }
        let Some(place) = roles.iter().position(|role| key.roles.contains(role)) else {
            return Err(TrustError::RoleNotHeld { key_id, needed: roles.to_vec() });
        };
        if !key.public_key.accepts(message, &self.bytes) {
            return Err(TrustError::BadSignature { key_id });
        }
        Ok((place, key.key_id))
    }
}

/// How near a refused signature came to being believed.
fn nearness(error: &TrustError) -> u8 {
    match error {
        TrustError::UnknownKey { .. } => 1,
        TrustError::RevokedKey { .. } => 2,
        TrustError::RoleNotHeld { .. } => 3,
        TrustError::BadSignature { .. } => 4,
        _ => 0,
    }
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

/// DSSE asks readers to take either alphabet.
fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(&text).or_else(|_| URL_SAFE.decode(&text)).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TrustedKey;

    const KIND: &str = "text/plain";

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed([seed; 32])
    }

    fn keyring() -> Keyring {
        let entry = |seed, role| TrustedKey::new(key(seed).public(), &[role], "");
        Keyring::new(vec![entry(1, Role::Retrainer), entry(2, Role::Promoter)]).unwrap()
    }

    #[test]
    fn signed_bytes_are_those_of_the_specification() {
        // The example of the DSSE protocol text.
        let envelope =
            Envelope::sign("http://example.com/HelloWorld", b"hello world".to_vec(), &key(1));
        let expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world";
        assert_eq!(envelope.signed_bytes(), expected);
    }

    #[test]
    fn json_is_that_of_the_specification_in_either_alphabet() {
        let envelope = Envelope::sign(KIND, vec![0xfb, 0xff, 0xfe], &key(1));
        let json = String::from_utf8(envelope.to_json()).unwrap();
        let start = r#"{"payloadType":"text/plain","payload":"+//+","signatures":[{"keyid":""#;
        assert!(json.starts_with(start), "{json}");
        let other = json.replace("+//+", "-__-");
        assert_eq!(Envelope::from_json(other.as_bytes()).unwrap(), envelope);
    }

    #[test]
    fn every_altered_byte_is_found() {
        let good = Envelope::sign(KIND, b"serial 7, champion a".to_vec(), &key(1));
        assert!(good.verify(KIND, &keyring(), Role::Retrainer).is_ok());
        for place in 0..good.payload.len() {
            for bit in 0..8 {
                let mut altered = good.clone();
                altered.payload[place] ^= 1 << bit;
                let error = altered.verify(KIND, &keyring(), Role::Retrainer).unwrap_err();
                assert!(matches!(error, TrustError::BadSignature { .. }), "{place}: {error}");
            }
        }
        for place in 0..64 {
            let mut altered = good.clone();
            altered.signatures[0].bytes[place] ^= 1;
            assert!(altered.verify(KIND, &keyring(), Role::Retrainer).is_err(), "{place}");
        }
    }

    #[test]
    fn no_altered_or_cut_json_gives_another_payload() {
        let json = Envelope::sign(KIND, b"champion a".to_vec(), &key(1)).to_json();
        for place in 0..json.len() {
            let mut altered = json.clone();
            altered[place] ^= 1;
            for document in [&altered[..], &json[..place]] {
                let payload = Envelope::from_json(document)
                    .and_then(|envelope| envelope.verify(KIND, &keyring(), Role::Retrainer));
                assert!(payload.is_err(), "{place}");
            }
        }
    }

    #[test]
    fn each_reason_to_refuse_has_its_own_error() {
        let sign = |seed| Envelope::sign(KIND, b"x".to_vec(), &key(seed));
        let check = |envelope: &Envelope, keyring: &Keyring, kind| {
            envelope.verify(kind, keyring, Role::Promoter).unwrap_err()
        };
        let trusted = keyring();
        let mut revoked = keyring();
        revoked.revoke(&key(2).key_id());
        let unsigned = Envelope { signatures: Vec::new(), ..sign(2) };
        let crowd = Envelope { signatures: vec![sign(2).signatures[0].clone(); 17], ..sign(2) };
        assert!(matches!(check(&sign(3), &trusted, KIND), TrustError::UnknownKey { .. }));
        assert!(matches!(check(&sign(1), &trusted, KIND), TrustError::RoleNotHeld { .. }));
        assert!(matches!(check(&sign(2), &revoked, KIND), TrustError::RevokedKey { .. }));
        assert!(matches!(check(&sign(2), &trusted, "a/b"), TrustError::WrongPayloadType { .. }));
        assert!(matches!(check(&unsigned, &trusted, KIND), TrustError::NotSigned));
        assert!(matches!(check(&crowd, &trusted, KIND), TrustError::TooManySignatures { .. }));
    }

    #[test]
    fn one_good_signature_among_others_is_enough() {
        let mut envelope = Envelope::sign(KIND, b"x".to_vec(), &key(3));
        envelope.add_signature(&key(1));
        envelope.add_signature(&key(2));
        envelope.add_signature(&key(2));
        assert_eq!(envelope.signatures.len(), 3);
        let roles = [Role::Promoter, Role::Retrainer];
        let verified = envelope.verify_any(KIND, &keyring(), &roles).unwrap();
        assert_eq!((verified.key_id, verified.role), (key(2).key_id(), Role::Promoter));
    }

    #[test]
    fn a_role_is_not_borrowed_from_another_key() {
        // The retrainer's signature under the promoter's name.
        let mut envelope = Envelope::sign(KIND, b"x".to_vec(), &key(1));
        envelope.signatures[0].key_id = key(2).key_id().to_string();
        let error = envelope.verify(KIND, &keyring(), Role::Promoter).unwrap_err();
        assert!(matches!(error, TrustError::BadSignature { .. }), "{error}");
    }
}
