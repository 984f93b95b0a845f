//! Nonces: numbers to sign once, soon. Pure: time and randomness are passed in.
//!
//! A nonce carries its own time and a code over it, made with a key that ends with the process, so
//! nothing is remembered of those that were given away, however many. What is remembered, for as
//! long as its code is good, is each that an enrolled device has used: nobody else can fill that.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::collections::BTreeMap;
use thiserror::Error;

/// How long a nonce is good.
pub(super) const LIFETIME_MS: u64 = 60_000;
/// Most nonces used within one lifetime.
const USED_MAX: usize = 65_536;

const TIME_BYTES: usize = 8;
const RANDOM_BYTES: usize = 16;
const BODY_BYTES: usize = TIME_BYTES + RANDOM_BYTES;
const CODE_BYTES: usize = 32;

/// Makes nonces, and takes each back once.
pub(super) struct Nonces {
    key: [u8; 32],
    /// When each nonce that was used is no longer good.
    used: BTreeMap<Nonce, u64>,
}

/// A nonce that was made here and is still good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Nonce([u8; BODY_BYTES]);

/// Why a nonce is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum NonceError {
    #[error("the nonce was not made here since the host started; ask for another")]
    Foreign,
    #[error("the nonce is too old; ask for another, and answer sooner")]
    Old,
    #[error("the nonce was used before; ask for another")]
    Used,
    #[error("too many nonces were used within a minute; ask again later")]
    Full,
}

impl std::fmt::Debug for Nonces {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Nonces({} used)", self.used.len())
    }
}

impl Nonces {
    /// With a key fit for secrets.
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self { key, used: BTreeMap::new() }
    }

    /// A nonce as text, from randomness that does not come again.
    pub(super) fn give(&self, now_ms: u64, random: [u8; RANDOM_BYTES]) -> String {
        let mut bytes = [0; BODY_BYTES + CODE_BYTES];
        bytes[..TIME_BYTES].copy_from_slice(&now_ms.to_be_bytes());
        bytes[TIME_BYTES..BODY_BYTES].copy_from_slice(&random);
        let code = self.mac(&bytes[..BODY_BYTES]).finalize().into_bytes();
        bytes[BODY_BYTES..].copy_from_slice(&code);
        hex::encode(bytes)
    }

    /// The nonce in a text, which is not used up by this.
    pub(super) fn check(&self, text: &str, now_ms: u64) -> Result<Nonce, NonceError> {
        let mut bytes = [0; BODY_BYTES + CODE_BYTES];
        hex::decode_to_slice(text, &mut bytes).map_err(|_shape| NonceError::Foreign)?;
        let (body, code) = bytes.split_at(BODY_BYTES);
        self.mac(body).verify_slice(code).map_err(|_wrong| NonceError::Foreign)?;
        let mut nonce = Nonce([0; BODY_BYTES]);
        nonce.0.copy_from_slice(body);
        if now_ms >= nonce.ends_ms() {
            return Err(NonceError::Old);
        }
        if self.used.contains_key(&nonce) { Err(NonceError::Used) } else { Ok(nonce) }
    }

    /// Uses a nonce up.
    pub(super) fn take(&mut self, nonce: Nonce, now_ms: u64) -> Result<(), NonceError> {
        if self.used.len() >= USED_MAX {
            self.used.retain(|_, ends_ms| now_ms < *ends_ms);
        }
        if self.used.contains_key(&nonce) {
            return Err(NonceError::Used);
        }
        if self.used.len() >= USED_MAX {
            return Err(NonceError::Full);
        }
        self.used.insert(nonce, nonce.ends_ms());
        Ok(())
    }

    fn mac(&self, body: &[u8]) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.key);
        mac.expect("HMAC takes keys of any length").chain_update(body)
    }
}

impl Nonce {
    fn ends_ms(&self) -> u64 {
        let mut time = [0; TIME_BYTES];
        time.copy_from_slice(&self.0[..TIME_BYTES]);
        u64::from_be_bytes(time).saturating_add(LIFETIME_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_good_once_and_soon() {
        let mut nonces = Nonces::new([7; 32]);
        let text = nonces.give(1000, [1; 16]);
        let nonce = nonces.check(&text, 1000).unwrap();
        assert_eq!(nonces.check(&text, 999 + LIFETIME_MS), Ok(nonce), "a look does not use it");
        assert_eq!(nonces.check(&text, 1000 + LIFETIME_MS), Err(NonceError::Old));
        assert_eq!(nonces.take(nonce, 1000), Ok(()));
        assert_eq!(nonces.take(nonce, 1000), Err(NonceError::Used));
        assert_eq!(nonces.check(&text, 1000), Err(NonceError::Used));
        let other = nonces.give(1000, [2; 16]);
        assert!(nonces.check(&other, 1000).is_ok());
    }

    #[test]
    fn what_was_not_made_here_is_foreign() {
        let nonces = Nonces::new([7; 32]);
        let text = nonces.give(1000, [1; 16]);
        assert_eq!(Nonces::new([8; 32]).check(&text, 1000), Err(NonceError::Foreign));
        for wrong in ["", "00", "zz", &text[2..], &format!("{text}00"), &"0".repeat(text.len())] {
            assert_eq!(nonces.check(wrong, 1000), Err(NonceError::Foreign), "{wrong}");
        }
        // Not even a later time can be put in.
        for place in 0..text.len() {
            let mut altered = text.clone().into_bytes();
            altered[place] = if altered[place] == b'0' { b'1' } else { b'0' };
            let altered = String::from_utf8(altered).unwrap();
            assert_eq!(nonces.check(&altered, 1000), Err(NonceError::Foreign), "{place}");
        }
    }

    #[test]
    fn memory_is_bounded_and_comes_back() {
        let mut nonces = Nonces::new([7; 32]);
        for number in 0..USED_MAX as u128 {
            let nonce = nonces.check(&nonces.give(0, number.to_be_bytes()), 0).unwrap();
            nonces.take(nonce, 0).unwrap();
        }
        let one = |nonces: &Nonces, now_ms| {
            nonces.check(&nonces.give(now_ms, [0xff; 16]), now_ms).unwrap()
        };
        let more = one(&nonces, 1);
        assert_eq!(nonces.take(more, 1), Err(NonceError::Full));
        let later = one(&nonces, LIFETIME_MS);
        assert_eq!(nonces.take(later, LIFETIME_MS), Ok(()));
        assert_eq!(nonces.used.len(), 1);
    }
}
