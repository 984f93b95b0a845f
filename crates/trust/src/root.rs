//! The root of trust: a signed document that names the keys of each role, and how one follows the
//! other.
//!
//! As in The Update Framework (<https://theupdateframework.github.io/specification/>, section
//! 5.3): a party is given one root to begin with, and from there believes the next version only if
//! the root keys of both versions signed it. So keys are added, revoked and rotated, the root keys
//! themselves too, and a stolen storage key changes nothing.

use serde::{Deserialize, Serialize};

use crate::{Envelope, KeyId, Keyring, Role, SigningKey, TrustError, TrustedKey, written};

/// Which keys hold which roles, as of one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Grows by one with every document.
    pub version: u64,
    /// From when on nothing new is believed on its word, in milliseconds since 1970.
    pub expires_ms: i64,
    /// How many root keys must sign the next version, and this one.
    #[serde(default = "one")]
    pub threshold: u16,
    /// The keys. Those with [`Role::Root`] sign roots and nothing else.
    #[serde(flatten)]
    pub keyring: Keyring,
}

/// A root that is believed: it was put here by the operator, or follows from one that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedRoot {
    root: Root,
    envelope: Envelope,
}

fn one() -> u16 {
    1
}

impl Root {
    /// The payload type of a root's envelope.
    pub const PAYLOAD_TYPE: &'static str = "application/vnd.twinge.root.v1+json";

    /// The document in an envelope, signed by these keys.
    pub fn sign(&self, keys: &[&SigningKey]) -> Envelope {
        let payload = written(serde_json::to_vec(self));
        let mut envelope = Envelope::unsigned(Self::PAYLOAD_TYPE, payload);
        for key in keys {
            envelope.add_signature(key);
        }
        envelope
    }

    /// The next version with one key more.
    pub fn with_key(&self, key: TrustedKey, expires_ms: i64) -> Result<Self, TrustError> {
        Ok(Self { keyring: self.keyring.clone().with(key)?, ..self.next(expires_ms)? })
    }

    /// The next version, in which nothing that a key signed is believed any more.
    pub fn revoking(&self, key_id: &KeyId, expires_ms: i64) -> Result<Self, TrustError> {
        let mut keyring = self.keyring.clone();
        if !keyring.revoke(key_id) {
            return Err(TrustError::UnknownKey { key_id: key_id.to_string() });
        }
        Ok(Self { keyring, ..self.next(expires_ms)? })
    }

    /// The next version with the same keys.
    pub fn next(&self, expires_ms: i64) -> Result<Self, TrustError> {
        let version = self
            .version
            .checked_add(1)
            .ok_or(TrustError::RootVersion { seen: self.version, found: self.version })?;
        Ok(Self { version, expires_ms, ..self.clone() })
    }

    /// Reads a payload.
    pub fn from_json(payload: &[u8]) -> Result<Self, TrustError> {
        serde_json::from_slice(payload).map_err(|source| TrustError::MalformedRoot { source })
    }

    /// Whether enough root keys of this version signed an envelope.
    fn check_signed(&self, envelope: &Envelope) -> Result<(), TrustError> {
        let signers = envelope.signers(Self::PAYLOAD_TYPE, &self.keyring, Role::Root)?;
        let needed = usize::from(self.threshold.max(1));
        if signers.len() < needed {
            let version = self.version;
            return Err(TrustError::RootThreshold { version, needed, found: signers.len() });
        }
        Ok(())
    }
}

impl TrustedRoot {
    /// Believes a root that the operator put here: it need only be signed by its own root keys.
    pub fn anchor(envelope: Envelope) -> Result<Self, TrustError> {
        let root = Root::from_json(envelope.payload_unverified())?;
        root.check_signed(&envelope)?;
        Ok(Self { root, envelope })
    }

    /// The root that follows this one: the next version, signed by the root keys of both. An older
    /// or equal version, or one after a gap, is refused.
    pub fn accept(&self, next: &Envelope) -> Result<Self, TrustError> {
        let root = Root::from_json(next.payload_unverified())?;
        self.root.check_signed(next)?;
        root.check_signed(next)?;
        if Some(root.version) != self.root.version.checked_add(1) {
            let (seen, found) = (self.root.version, root.version);
            return Err(TrustError::RootVersion { seen, found });
        }
        Ok(Self { root, envelope: next.clone() })
    }

    /// The document.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The keys that it names.
    pub fn keyring(&self) -> &Keyring {
        &self.root.keyring
    }

    /// The document as it was signed.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Whether it is too old to believe anything new by, at a time in milliseconds since 1970.
    pub fn is_expired(&self, now_ms: i64) -> bool {
        now_ms >= self.root.expires_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed([seed; 32])
    }

    fn entry(seed: u8, role: Role) -> TrustedKey {
        TrustedKey::new(key(seed).public(), &[role], "")
    }

    fn root() -> Root {
        let keys = [entry(1, Role::Root), entry(2, Role::Promoter), entry(3, Role::Retrainer)];
        let keyring = Keyring::new(keys.to_vec()).unwrap();
        Root { version: 1, expires_ms: 1000, threshold: 1, keyring }
    }

    fn anchored() -> TrustedRoot {
        TrustedRoot::anchor(root().sign(&[&key(1)])).unwrap()
    }

    #[test]
    fn roots_follow_each_other_and_keys_go() {
        let second = root().revoking(&key(2).key_id(), 2000).unwrap();
        let trusted = anchored().accept(&second.sign(&[&key(1)])).unwrap();
        assert_eq!(trusted.root().version, 2);
        assert!(!trusted.keyring().allows(&key(2).key_id(), Role::Promoter));
        let third = second.with_key(entry(4, Role::Promoter), 2000).unwrap();
        let trusted = trusted.accept(&third.sign(&[&key(1)])).unwrap();
        assert!(trusted.keyring().allows(&key(4).key_id(), Role::Promoter));
        let again =
            TrustedRoot::anchor(Envelope::from_json(&trusted.envelope().to_json()).unwrap());
        assert_eq!(again.unwrap(), trusted);
        assert!(trusted.is_expired(2000) && !trusted.is_expired(1999));
    }

    #[test]
    fn a_root_key_is_rotated_by_the_old_one_and_the_new() {
        let mut second = root().with_key(entry(9, Role::Root), 2000).unwrap();
        second.keyring.revoke(&key(1).key_id());
        let accept = |keys: &[&SigningKey]| anchored().accept(&second.sign(keys));
        assert!(accept(&[&key(1), &key(9)]).is_ok());
        assert!(matches!(accept(&[&key(9)]), Err(TrustError::UnknownKey { .. })));
        assert!(matches!(accept(&[&key(1)]), Err(TrustError::RevokedKey { .. })));
        let third = second.next(3000).unwrap();
        let rotated = accept(&[&key(1), &key(9)]).unwrap();
        assert!(rotated.accept(&third.sign(&[&key(1)])).is_err(), "the old key is worth nothing");
        assert!(rotated.accept(&third.sign(&[&key(9)])).is_ok());
    }

    #[test]
    fn what_does_not_follow_is_refused() {
        let second = root().next(2000).unwrap();
        let good = second.sign(&[&key(1)]);
        let trusted = anchored().accept(&good).unwrap();
        let gap = Root { version: 9, ..root() }.sign(&[&key(1)]);
        for old in [&good, anchored().envelope(), &gap] {
            let refused = trusted.accept(old);
            assert!(matches!(refused, Err(TrustError::RootVersion { .. })), "{refused:?}");
        }
        for seed in [2, 3, 7] {
            assert!(anchored().accept(&second.sign(&[&key(seed)])).is_err(), "{seed}");
            assert!(TrustedRoot::anchor(root().sign(&[&key(seed)])).is_err(), "{seed}");
        }
        let json = good.to_json();
        for place in 0..json.len() {
            let mut altered = json.clone();
            altered[place] ^= 1;
            let accepted = Envelope::from_json(&altered).and_then(|next| anchored().accept(&next));
            assert!(accepted.is_err(), "{place}");
        }
    }

    #[test]
    fn a_threshold_counts_keys_and_not_signatures() {
        let keys = [entry(1, Role::Root), entry(2, Role::Root), entry(3, Role::Root)];
        let keyring = Keyring::new(keys.to_vec()).unwrap();
        let root = Root { threshold: 2, keyring, ..root() };
        assert!(TrustedRoot::anchor(root.sign(&[&key(1), &key(1)])).is_err());
        assert!(TrustedRoot::anchor(root.sign(&[&key(1), &key(7)])).is_err());
        assert!(TrustedRoot::anchor(root.sign(&[&key(3), &key(1)])).is_ok());
    }
}
