//! Shared access signatures of Event Hubs, and the connection strings that hold the keys for them
//! (<https://learn.microsoft.com/rest/api/eventhub/generate-sas-token>). Knows no socket and no
//! clock.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::secret::Secret;

/// What a connection string of Event Hubs says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConnectionString {
    /// Host, and port if there is one.
    pub(crate) host: String,
    pub(crate) key_name: String,
    pub(crate) key: Secret,
    /// The hub, where the string is for one.
    pub(crate) hub: Option<String>,
}

impl ConnectionString {
    /// Reads `Endpoint=sb://...;SharedAccessKeyName=...;SharedAccessKey=...;EntityPath=...`. An
    /// error names the part at fault and shows nothing of it.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let part = |wanted: &str| {
            let parts = text.split(';').filter_map(|part| part.split_once('='));
            let mut found = parts.filter(|(name, _)| name.trim().eq_ignore_ascii_case(wanted));
            found.next().map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
        };
        let endpoint = part("Endpoint").ok_or("has no Endpoint")?;
        let host = endpoint.strip_prefix("sb://").ok_or("has an Endpoint that is not sb://")?;
        Ok(Self {
            host: host.trim_end_matches('/').to_lowercase(),
            key_name: part("SharedAccessKeyName").ok_or("has no SharedAccessKeyName")?.to_owned(),
            key: Secret::new(part("SharedAccessKey").ok_or("has no SharedAccessKey")?),
            hub: part("EntityPath").map(str::to_owned),
        })
    }

    /// A token that opens a resource until a time in seconds since 1970-01-01T00:00:00Z.
    pub(crate) fn token(&self, resource: &str, expiry_s: i64) -> Secret {
        let resource = percent_encode(resource);
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.expose().as_bytes())
            .expect("HMAC takes keys of any length");
        mac.update(format!("{resource}\n{expiry_s}").as_bytes());
        let signature = percent_encode(&STANDARD.encode(mac.finalize().into_bytes()));
        let key_name = percent_encode(&self.key_name);
        Secret::new(format!(
            "SharedAccessSignature sr={resource}&sig={signature}&se={expiry_s}&skn={key_name}"
        ))
    }
}

/// Escapes all but the unreserved characters of RFC 3986.
pub(crate) fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 3 / 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            for digit in [byte >> 4, byte & 15] {
                encoded.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Endpoint=sb://Mine.servicebus.windows.net/;SharedAccessKeyName=send;\
                        SharedAccessKey=c2VjcmV0+/=;EntityPath=verdicts";

    #[test]
    fn a_connection_string_is_read_and_never_shown() {
        let parsed = ConnectionString::parse(TEXT).unwrap();
        assert_eq!(parsed.host, "mine.servicebus.windows.net");
        assert_eq!((parsed.key_name.as_str(), parsed.key.expose()), ("send", "c2VjcmV0+/="));
        assert_eq!(parsed.hub.as_deref(), Some("verdicts"));
        assert!(!format!("{parsed:?}").contains("c2VjcmV0"));
    }

    #[test]
    fn what_a_connection_string_lacks_is_named() {
        for (text, told) in [
            ("", "no Endpoint"),
            ("Endpoint=https://mine", "not sb://"),
            ("Endpoint=sb://mine", "no SharedAccessKeyName"),
            ("Endpoint=sb://mine;SharedAccessKeyName=send", "no SharedAccessKey"),
            ("Endpoint=sb://mine;SharedAccessKeyName=send;SharedAccessKey=", "no SharedAccessKey"),
        ] {
            assert!(ConnectionString::parse(text).unwrap_err().contains(told), "{text}");
        }
    }

    /// The signature was made with Python's hmac, hashlib, base64 and urllib by the recipe of the
    /// documentation.
    #[test]
    fn a_token_is_what_the_documentation_says() {
        let key = ConnectionString::parse(TEXT).unwrap();
        let token = key.token("https://mine.servicebus.windows.net/verdicts", 1_767_225_600);
        assert_eq!(
            token.expose(),
            "SharedAccessSignature \
             sr=https%3A%2F%2Fmine.servicebus.windows.net%2Fverdicts\
             &sig=qKDhR8o5qtjlUWbPSlZBAkeztr28QQZ%2BYwE86XwYMjY%3D&se=1767225600&skn=send"
        );
    }
}
