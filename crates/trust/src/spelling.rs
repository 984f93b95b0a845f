//! How digests and ids are read from text, and what is told of a text that is none.

use std::str::FromStr;

use crate::{Digest, TrustError};

impl FromStr for Digest {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, TrustError> {
        from_hex(text)
            .map(Self::from_bytes)
            .ok_or_else(|| TrustError::MalformedDigest { found: cut(text) })
    }
}

impl TryFrom<String> for Digest {
    type Error = TrustError;

    fn try_from(text: String) -> Result<Self, TrustError> {
        text.parse()
    }
}

/// Reads exactly `N` bytes of lowercase hexadecimal. One spelling only: digests and ids are
/// compared as text in file names.
pub(crate) fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let lowercase = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    (lowercase && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(bytes)
}

/// The beginning of a foreign text, so that a message stays one line whatever was sent.
pub(crate) fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_spelling_is_read() {
        let text = Digest::of(b"").to_string();
        assert_eq!(text, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(serde_json::to_string(&Digest::of(b"")).unwrap(), format!("{text:?}"));
        for wrong in ["", &text[1..], &text.to_uppercase(), &format!("{text}0"), &"ß".repeat(32)] {
            assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
        }
    }
}
