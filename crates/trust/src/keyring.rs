//! Whose signature counts for what. Knows nothing of where the file `trust.json` lies.

use serde::{Deserialize, Serialize};

use crate::{KeyId, PublicKey, Role, TrustError, written};

/// One entry of a [`Keyring`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustedKey {
    /// The id, which must be that of `public_key`.
    pub key_id: KeyId,
    /// The key that signatures are checked with.
    pub public_key: PublicKey,
    /// What the key may sign for.
    pub roles: Vec<Role>,
    /// Nothing that this key signs is believed any more, whenever it was signed.
    #[serde(default)]
    pub revoked: bool,
    /// Whose key it is, for people.
    #[serde(default)]
    pub comment: String,
}

impl TrustedKey {
    /// An entry for `public_key` with the given roles.
    pub fn new(public_key: PublicKey, roles: &[Role], comment: &str) -> Self {
        Self {
            key_id: public_key.key_id(),
            public_key,
            roles: roles.to_vec(),
            revoked: false,
            comment: comment.to_owned(),
        }
    }
}

/// The public keys that a party trusts: the content of `trust.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "KeyringFile", into = "KeyringFile")]
pub struct Keyring {
    keys: Vec<TrustedKey>,
}

impl Keyring {
    /// A keyring of these keys; refuses a key that is there twice or has another key's id.
    pub fn new(keys: Vec<TrustedKey>) -> Result<Self, TrustError> {
        keys.into_iter().try_fold(Self::default(), Self::with)
    }

    /// The same keyring with one key more.
    pub fn with(mut self, key: TrustedKey) -> Result<Self, TrustError> {
        let actual = key.public_key.key_id();
        if key.key_id != actual {
            let (stated, actual) = (key.key_id.to_string(), actual.to_string());
            return Err(TrustError::KeyIdMismatch { stated, actual });
        }
        if self.key(&key.key_id).is_some() {
            return Err(TrustError::DuplicateKey { key_id: key.key_id.to_string() });
        }
        self.keys.push(key);
        Ok(self)
    }

    /// Reads `trust.json`.
    pub fn from_json(json: &[u8]) -> Result<Self, TrustError> {
        serde_json::from_slice(json).map_err(|source| TrustError::MalformedKeyring { source })
    }

    /// The content of `trust.json`, for people to read and edit.
    pub fn to_json(&self) -> String {
        written(serde_json::to_string_pretty(self))
    }

    /// The entries, in file order.
    pub fn keys(&self) -> &[TrustedKey] {
        &self.keys
    }

    /// The entry of a key, revoked or not.
    pub fn key(&self, key_id: &KeyId) -> Option<&TrustedKey> {
        self.keys.iter().find(|key| key.key_id == *key_id)
    }

    /// Whether a key is known, not revoked, and holds `role`.
    pub fn allows(&self, key_id: &KeyId, role: Role) -> bool {
        self.key(key_id).is_some_and(|key| !key.revoked && key.roles.contains(&role))
    }

    /// Marks a key as revoked; false when it is not there.
    pub fn revoke(&mut self, key_id: &KeyId) -> bool {
        let key = self.keys.iter_mut().find(|key| key.key_id == *key_id);
        key.map(|key| key.revoked = true).is_some()
    }
}

#[derive(Serialize, Deserialize)]
struct KeyringFile {
    keys: Vec<TrustedKey>,
}

impl TryFrom<KeyringFile> for Keyring {
    type Error = TrustError;

    fn try_from(file: KeyringFile) -> Result<Self, TrustError> {
        Self::new(file.keys)
    }
}

impl From<Keyring> for KeyringFile {
    fn from(keyring: Keyring) -> Self {
        Self { keys: keyring.keys }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SigningKey;

    fn entry(seed: u8) -> TrustedKey {
        TrustedKey::new(SigningKey::from_seed([seed; 32]).public(), &[Role::Promoter], "ops")
    }

    #[test]
    fn file_is_read_back_and_ambiguity_is_refused() {
        let keyring = Keyring::new(vec![entry(1), entry(2)]).unwrap();
        assert_eq!(Keyring::from_json(keyring.to_json().as_bytes()).unwrap(), keyring);
        assert!(Keyring::new(vec![entry(1), entry(1)]).is_err());
        let swapped = TrustedKey { key_id: entry(2).key_id, ..entry(1) };
        assert!(matches!(Keyring::new(vec![swapped]), Err(TrustError::KeyIdMismatch { .. })));
    }

    #[test]
    fn a_revoked_key_is_allowed_nothing() {
        let mut keyring = Keyring::new(vec![entry(1)]).unwrap();
        let key_id = entry(1).key_id;
        assert!(keyring.allows(&key_id, Role::Promoter));
        assert!(!keyring.allows(&key_id, Role::Retrainer));
        assert!(keyring.revoke(&key_id));
        assert!(!keyring.allows(&key_id, Role::Promoter));
        assert!(!keyring.revoke(&entry(2).key_id));
    }
}
