//! Where Event Hubs is, and as whom it is used.

use crate::credential::Identity;
use azure_core::credentials::Secret;
use std::fmt;
use std::time::Duration;
use thiserror::Error;

/// Port of AMQP without TLS, where the emulator listens unless its connection string says otherwise.
const AMQP_PORT: u16 = 5672;

/// Longest that an answer is waited for unless something else is said.
const ANSWER: Duration = Duration::from_secs(20);

/// An Event Hubs namespace and the way into it.
#[derive(Clone)]
pub struct Namespace {
    /// Host name, in lower case.
    name: String,
    /// Where to connect instead of to `name` with TLS.
    pub(crate) endpoint: Option<String>,
    pub(crate) access: Access,
    /// Longest that opening, asking and sending may take.
    pub(crate) answer: Duration,
}

/// The way in.
#[derive(Clone)]
pub(crate) enum Access {
    /// A connection string as the SDK reads it.
    ConnectionString(Secret),
    Identity(Identity),
}

/// Why a namespace is not usable. No message repeats a secret.
#[derive(Debug, Error, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is said by its message")]
pub enum NamespaceError {
    #[error(
        "connection string has no `{0}`: copy the whole of it from the namespace's shared access policies"
    )]
    Missing(&'static str),
    #[error(
        "connection string has a part that is not KEY=VALUE: copy the whole of it from the namespace's shared access policies"
    )]
    Part,
    #[error("`Endpoint` of the connection string is not sb://HOST or sb://HOST:PORT")]
    Endpoint,
    #[error("`{0}` is not the host name of a namespace, such as mine.servicebus.windows.net")]
    Host(String),
    #[error("the emulator is used without TLS, so it must be on this machine, not on `{0}`")]
    EmulatorElsewhere(String),
}

impl Namespace {
    /// A namespace by its host name, such as `mine.servicebus.windows.net`, used as `identity`.
    pub fn new(host: &str, identity: Identity) -> Result<Self, NamespaceError> {
        let host = host.trim().trim_start_matches("sb://").trim_end_matches('/');
        let is_name = !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
        if !is_name {
            return Err(NamespaceError::Host(host.chars().take(80).collect()));
        }
        let name = host.to_ascii_lowercase();
        Ok(Self { name, endpoint: None, access: Access::Identity(identity), answer: ANSWER })
    }

    /// A namespace by a connection string, and the hub that it names, if it names one.
    ///
    /// With `UseDevelopmentEmulator=true` the endpoint's port is used, without TLS: the SDK's own
    /// reader drops both.
    pub fn from_connection_string(text: &str) -> Result<(Self, Option<String>), NamespaceError> {
        let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
        let parts: Vec<(&str, &str)> = parts
            .map(|part| part.split_once('=').ok_or(NamespaceError::Part))
            .collect::<Result<_, _>>()?;
        let value = |wanted: &str| {
            let found = parts.iter().find(|(key, _)| key.eq_ignore_ascii_case(wanted));
            found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
        };
        let endpoint = value("Endpoint").ok_or(NamespaceError::Missing("Endpoint"))?;
        let (host, port) = host_and_port(endpoint)?;
        let is_emulator =
            value("UseDevelopmentEmulator").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if is_emulator && !is_loopback(&host) {
            return Err(NamespaceError::EmulatorElsewhere(host));
        }
        let mut for_sdk = format!("Endpoint=sb://{host}/");
        let keys: &[&str] = match value("SharedAccessSignature") {
            Some(_) => &["SharedAccessSignature"],
            None => &["SharedAccessKeyName", "SharedAccessKey"],
        };
        for key in keys {
            let value = value(key).ok_or(NamespaceError::Missing(key))?;
            for_sdk.push_str(&format_part(key, value));
        }
        let port = port.unwrap_or(AMQP_PORT);
        let namespace = Self {
            endpoint: is_emulator.then(|| format!("amqp://{host}:{port}")),
            name: host,
            access: Access::ConnectionString(Secret::new(for_sdk)),
            answer: ANSWER,
        };
        Ok((namespace, value("EntityPath").map(str::to_owned)))
    }

    /// The same with another deadline for answers; a connection that misses it is given up.
    #[must_use]
    pub fn with_deadline(self, answer: Duration) -> Self {
        Self { answer, ..self }
    }

    /// Host name, in lower case.
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn format_part(key: &str, value: &str) -> String {
    format!(";{key}={value}")
}

fn host_and_port(endpoint: &str) -> Result<(String, Option<u16>), NamespaceError> {
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest).trim_end_matches('/');
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().map_err(|_no| NamespaceError::Endpoint)?)),
        None => (rest, None),
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_name) {
        return Err(NamespaceError::Endpoint);
    }
    Ok((host.to_ascii_lowercase(), port))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
}

impl fmt::Debug for Namespace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Namespace")
            .field("name", &self.name)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(Namespace, Option<String>), NamespaceError> {
        Namespace::from_connection_string(text)
    }

    #[test]
    fn connection_strings_of_azure_and_of_the_emulator_are_read() {
        let (azure, hub) = read("Endpoint=sb://Mine.servicebus.windows.net/;SharedAccessKeyName=k;SharedAccessKey=c2VjcmV0==;EntityPath=events").unwrap();
        assert_eq!(
            (azure.name(), azure.endpoint.as_deref()),
            ("mine.servicebus.windows.net", None)
        );
        assert_eq!(hub.as_deref(), Some("events"));
        let (local, hub) = read("Endpoint=sb://127.0.0.1:5999;SharedAccessKeyName=k;SharedAccessKey=s;UseDevelopmentEmulator=true;").unwrap();
        assert_eq!(local.endpoint.as_deref(), Some("amqp://127.0.0.1:5999"));
        assert_eq!(hub, None);
        assert!(!format!("{azure:?}").contains("c2Vj"));
        let (default, _) = read("endpoint=sb://localhost;sharedaccesskeyname=k;sharedaccesskey=s;usedevelopmentemulator=TRUE").unwrap();
        assert_eq!(default.endpoint.as_deref(), Some("amqp://localhost:5672"));
    }

    #[test]
    fn what_is_wrong_with_one_is_told_without_its_secrets() {
        let cases = [
            ("", "Endpoint"),
            ("Endpoint=sb://a.b;SharedAccessKeyName=k", "SharedAccessKey"),
            ("Endpoint=sb://a.b;geheim", "KEY=VALUE"),
            ("Endpoint=sb://a b;SharedAccessKeyName=k;SharedAccessKey=geheim", "sb://HOST"),
            ("Endpoint=sb://a.b:x;SharedAccessKeyName=k;SharedAccessKey=geheim", "sb://HOST"),
            (
                "Endpoint=sb://a.b;SharedAccessKeyName=k;SharedAccessKey=geheim;UseDevelopmentEmulator=true",
                "on this machine",
            ),
        ];
        for (text, expected) in cases {
            let told = read(text).unwrap_err().to_string();
            assert!(told.contains(expected) && !told.contains("geheim"), "{text}: {told}");
        }
        assert!(Namespace::new("a/b", Identity::Auto).is_err());
    }
}
