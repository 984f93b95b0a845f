//! Ed25519 keys (RFC 8032) and their ids. Knows nothing of who is trusted: that is the keyring.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::Signer as _;
use serde::{Deserialize, Serialize};

use crate::spelling::{cut, from_hex};
use crate::{Digest, TrustError};

/// Names a key: the first 16 hexadecimal characters of the SHA-256 of its public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId([u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "KeyId({self})")
    }
}

impl FromStr for KeyId {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, TrustError> {
        from_hex(text).map(Self).ok_or_else(|| TrustError::MalformedKeyId { found: cut(text) })
    }
}

impl TryFrom<String> for KeyId {
    type Error = TrustError;

    fn try_from(text: String) -> Result<Self, TrustError> {
        text.parse()
    }
}

impl From<KeyId> for String {
    fn from(key_id: KeyId) -> Self {
        key_id.to_string()
    }
}

/// The half of a key that anyone may see; as text, 64 lowercase hexadecimal characters.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey(ed25519_dalek::VerifyingKey);

impl PublicKey {
    /// The id of this key.
    pub fn key_id(&self) -> KeyId {
        let digest = Digest::of(self.0.as_bytes());
        let mut id = [0; 8];
        id.copy_from_slice(&digest.as_bytes()[..8]);
        KeyId(id)
    }

    /// Whether `signature` is this key's over `message`. Strict: one message has no second
    /// signature that a third party could derive from the first.
    pub(crate) fn accepts(&self, message: &[u8], signature: &[u8]) -> bool {
        ed25519_dalek::Signature::from_slice(signature)
            .is_ok_and(|signature| self.0.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&hex::encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, TrustError> {
        let malformed = |reason| TrustError::MalformedPublicKey { found: cut(text), reason };
        let bytes = from_hex(text)
            .ok_or_else(|| malformed("it must be 64 lowercase hexadecimal characters"))?;
        match ed25519_dalek::VerifyingKey::from_bytes(&bytes) {
            Ok(key) if !key.is_weak() => Ok(Self(key)),
            Ok(_) => Err(malformed("it is a weak key, under which anything can be signed")),
            Err(_) => Err(malformed("it is not a point of the Ed25519 curve")),
        }
    }
}

impl TryFrom<String> for PublicKey {
    type Error = TrustError;

    fn try_from(text: String) -> Result<Self, TrustError> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

/// A secret key. Wiped from memory when dropped, and shown by nothing but
/// [`SigningKey::to_text`].
///
/// What it may sign is not written in it: verifiers decide by their keyring.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// The key of a seed, which must come from a generator fit for secrets. The seed is the
    /// secret: the caller wipes its own copy.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(&seed))
    }

    /// The half that goes into keyrings.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// The id of this key.
    pub fn key_id(&self) -> KeyId {
        self.public().key_id()
    }

    /// The content of a key file: JSON on one line, with the secret in the clear. Whoever writes
    /// it makes the file readable by its owner only.
    pub fn to_text(&self) -> String {
        let (key_id, seed) = (self.key_id(), hex::encode(self.0.as_bytes()));
        format!("{{\"algorithm\":\"ed25519\",\"key_id\":\"{key_id}\",\"seed\":\"{seed}\"}}\n")
    }

    /// Reads the content of a key file. The stated id must be that of the seed, which finds a
    /// damaged file before it signs anything.
    pub fn from_text(text: &str) -> Result<Self, TrustError> {
        let malformed = |reason| TrustError::MalformedSigningKey { reason };
        // The parser's own message is not passed on: it may quote the secret.
        let Ok(file) = serde_json::from_str::<KeyFile<'_>>(text) else {
            return Err(malformed("it is not the JSON of a key file"));
        };
        if file.algorithm != "ed25519" {
            return Err(malformed("its algorithm is not ed25519"));
        }
        let seed = from_hex(file.seed)
            .ok_or_else(|| malformed("its seed is not 64 lowercase hexadecimal characters"))?;
        let key = Self::from_seed(seed);
        if key.key_id() != file.key_id {
            return Err(malformed("its seed is not that of its key id"));
        }
        Ok(key)
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SigningKey({})", self.key_id())
    }
}

/// Borrowed, so that reading a key file leaves no second copy of the secret on the heap.
#[derive(Deserialize)]
struct KeyFile<'a> {
    algorithm: &'a str,
    key_id: KeyId,
    seed: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_file_is_read_back_and_damage_is_found() {
        let key = SigningKey::from_seed([7; 32]);
        let text = key.to_text();
        assert_eq!(SigningKey::from_text(&text).unwrap().key_id(), key.key_id());
        for wrong in [text.replace("0707", "0708"), text.replace("ed25519", "rsa"), String::new()] {
            let message = SigningKey::from_text(&wrong).unwrap_err().to_string();
            assert!(!message.contains("0707"), "{message}");
        }
        assert!(!format!("{key:?}").contains("0707"));
    }

    #[test]
    fn public_key_is_the_published_one() {
        // RFC 8032, section 7.1, test 1.
        let seed = from_hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let key = SigningKey::from_seed(seed.unwrap());
        let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        assert_eq!(key.public().to_string(), public);
        assert_eq!(key.public(), public.parse().unwrap());
    }

    #[test]
    fn weak_public_key_is_refused() {
        let neutral = format!("01{}", "0".repeat(62));
        assert!(neutral.parse::<PublicKey>().unwrap_err().to_string().contains("weak"));
    }
}
