//! Shared access signatures: the tokens that clients make from the key. Knows no connection and
//! no clock.
//! <https://learn.microsoft.com/azure/event-hubs/authenticate-shared-access-signature>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::address::{covers, path_of};

/// The one key of the broker.
pub(crate) struct SasKey {
    pub(crate) name: String,
    key: String,
}

/// Why a token gives no access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("the token is no shared access signature")]
    Malformed,
    #[error("the token is signed with a key of another name")]
    KeyName,
    #[error("the token's signature is wrong: it was made with another key")]
    Signature,
    #[error("the token has expired")]
    Expired,
    #[error("the token is for another resource")]
    Resource,
}

impl SasKey {
    pub(crate) fn new(name: &str, key: String) -> Self {
        Self { name: name.to_owned(), key }
    }

    /// The secret itself, for the connection string and for SASL PLAIN.
    pub(crate) fn secret(&self) -> &str {
        &self.key
    }

    /// Compares in a time that does not depend on where the keys differ.
    pub(crate) fn is(&self, name: &str, key: &str) -> bool {
        let mut mac = self.mac();
        mac.update(key.as_bytes());
        let given = mac.finalize().into_bytes();
        let mut mac = self.mac();
        mac.update(self.key.as_bytes());
        mac.verify_slice(&given).is_ok() && name == self.name
    }

    /// Checks that the token opens what `name` names, and returns when it expires, in seconds
    /// since the epoch.
    pub(crate) fn check(&self, token: &str, name: &str, now_s: i64) -> Result<i64, TokenError> {
        let token = Token::parse(token).ok_or(TokenError::Malformed)?;
        if token.key_name != self.name {
            return Err(TokenError::KeyName);
        }
        let mut mac = self.mac();
        mac.update(token.resource.as_bytes());
        mac.update(b"\n");
        mac.update(token.expiry.as_bytes());
        mac.verify_slice(&token.signature).or(Err(TokenError::Signature))?;
        let expiry_s = token.expiry.parse::<i64>().or(Err(TokenError::Malformed))?;
        if expiry_s <= now_s {
            return Err(TokenError::Expired);
        }
        let resource = decode_percent(token.resource).ok_or(TokenError::Malformed)?;
        if !covers(&path_of(&resource), &path_of(name)) {
            return Err(TokenError::Resource);
        }
        Ok(expiry_s)
    }

    fn mac(&self) -> Hmac<Sha256> {
        Hmac::new_from_slice(self.key.as_bytes()).expect("HMAC takes keys of any length")
    }
}

/// The fields as they were signed: `resource` and `expiry` undecoded.
struct Token<'a> {
    resource: &'a str,
    signature: Vec<u8>,
    expiry: &'a str,
    key_name: String,
}

impl<'a> Token<'a> {
    fn parse(token: &'a str) -> Option<Self> {
        let fields = token.trim().strip_prefix("SharedAccessSignature ")?;
        let field = |name: &str| fields.split('&').find_map(|field| field.strip_prefix(name));
        Some(Self {
            resource: field("sr=")?,
            signature: STANDARD.decode(decode_percent(field("sig=")?)?).ok()?,
            expiry: field("se=")?,
            key_name: decode_percent(field("skn=")?)?,
        })
    }
}

fn decode_percent(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%' {
            let (digits, after) = rest.split_first_chunk::<2>()?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "amqps://127.0.0.1/events";
    const RESOURCE: &str = "amqps%3a%2f%2f127.0.0.1%2fevents";

    fn key() -> SasKey {
        SasKey::new("Root", "a key".to_owned())
    }

    fn token(key: &str, resource: &str, expiry: i64, key_name: &str) -> String {
        let mut mac = SasKey::new("", key.to_owned()).mac();
        mac.update(format!("{resource}\n{expiry}").as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        let signature = signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        format!("SharedAccessSignature sr={resource}&sig={signature}&se={expiry}&skn={key_name}")
    }

    #[test]
    fn a_token_opens_its_resource_and_what_lies_below() {
        let token = token("a key", RESOURCE, 100, "Root");
        for name in [NAME, "sb://localhost:5672/Events/Partitions/3", "events/$management"] {
            assert_eq!(key().check(&token, name, 99), Ok(100), "{name}");
        }
        assert_eq!(key().check(&token, "amqps://127.0.0.1/others", 99), Err(TokenError::Resource));
        assert_eq!(key().check(&token, "amqps://127.0.0.1", 99), Err(TokenError::Resource));
    }

    #[test]
    fn wrong_tokens_are_told_apart() {
        let check = |token: &str| key().check(token, NAME, 99).unwrap_err();
        assert_eq!(check(&token("a key", RESOURCE, 99, "Root")), TokenError::Expired);
        assert_eq!(check(&token("another", RESOURCE, 100, "Root")), TokenError::Signature);
        assert_eq!(check(&token("a key", RESOURCE, 100, "Other")), TokenError::KeyName);
        let changed = token("a key", RESOURCE, 100, "Root").replace("se=100", "se=900");
        assert_eq!(check(&changed), TokenError::Signature);
        for malformed in ["", "SharedAccessSignature sr=a", "SharedAccessSignature sr=%&sig=%zz"] {
            assert_eq!(check(malformed), TokenError::Malformed, "{malformed}");
        }
    }

    #[test]
    fn a_password_is_compared_whole() {
        assert!(key().is("Root", "a key"));
        assert!(!key().is("Root", "a ke"));
        assert!(!key().is("Other", "a key"));
    }
}
