//! What a party is given to begin with: a root of trust, or for small setups the keys themselves.

use crate::{Envelope, Keyring, TrustError, TrustedRoot};

/// Where trust begins: the content of the file that an operator names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// Keys as they stand in `trust.json`; they change only with the file.
    Keys(Keyring),
    /// A root, which its successors replace.
    Root(Box<TrustedRoot>),
}

impl Anchor {
    /// Reads the file: a signed root, or a keyring.
    pub fn from_json(json: &[u8]) -> Result<Self, TrustError> {
        match Envelope::from_json(json) {
            Ok(envelope) => TrustedRoot::anchor(envelope).map(|root| Self::Root(Box::new(root))),
            Err(_) => Keyring::from_json(json).map(Self::Keys),
        }
    }

    /// The keys that it names.
    pub fn keyring(&self) -> &Keyring {
        match self {
            Self::Keys(keyring) => keyring,
            Self::Root(root) => root.keyring(),
        }
    }
}

impl Default for Anchor {
    /// Nobody is trusted.
    fn default() -> Self {
        Self::Keys(Keyring::default())
    }
}
