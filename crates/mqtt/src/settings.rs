//! What a connection needs to know, and the checks on it. Knows no socket.
//!
//! Secrets are never part of the settings: they come from a file or an environment variable
//! that a key names, and are read anew at each connection, so that they can be rotated.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Deserialize;

/// The longest string that MQTT can carry, in bytes.
pub(crate) const STRING_BYTES_MAX: usize = 65_535;

/// How many publishes may wait for their acknowledgement at the same time: packet identifiers
/// above it are left to subscriptions.
const IN_FLIGHT_LIMIT: u16 = 60_000;

/// The protocol version to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum Version {
    /// MQTT 3.1.1. A broker cannot say why it refuses: a publish it denies looks successful.
    #[serde(rename = "3.1.1")]
    V311,
    /// MQTT 5, where the broker gives reasons.
    #[default]
    #[serde(rename = "5")]
    V5,
}

/// Where the broker is and how to speak with it. Only `broker` and, outside of the edge agent,
/// `client_id` are required.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `mqtt://host:port` or, with TLS, `mqtts://host:port`; ports 1883 and 8883 where none is given.
    pub broker: String,
    /// The protocol version, `"3.1.1"` or `"5"`.
    pub version: Version,
    /// The name of the session at the broker. Two connections with one name push each other out
    /// [default: `twinge-` and the device's name].
    pub client_id: String,
    /// The user name, where the broker asks for one.
    pub username: Option<String>,
    /// A file that holds the password; a line end after it is ignored.
    pub password_file: Option<PathBuf>,
    /// The environment variable that holds the password.
    pub password_env: Option<String>,
    /// Whether the password may go to another machine as plain text, by `mqtt://`: for a line that
    /// nobody else is on.
    pub allow_plain_password: bool,
    /// Certificates (PEM) that may sign the broker's [default: the system's].
    pub ca_file: Option<PathBuf>,
    /// This client's own certificate chain (PEM), where the broker asks for one.
    pub client_certificate_file: Option<PathBuf>,
    /// The key (PEM) of the client's certificate.
    pub client_key_file: Option<PathBuf>,
    /// How long the line may be silent, in seconds, before a ping asks whether the broker lives.
    pub keep_alive_seconds: u16,
    /// How long a connection may take to be made, TLS and the broker's answer included, in seconds.
    pub connect_seconds: u64,
    /// The largest packet whose payload is taken in, in bytes. A larger message is delivered
    /// without its payload, in both versions, so that it blocks nothing and is not lost in silence.
    pub packet_bytes_max: usize,
    /// How long the broker keeps the session while this client is away, in seconds. MQTT 5 only:
    /// in 3.1.1 the broker decides.
    pub session_expiry_seconds: u32,
    /// How many messages the broker may send ahead of their acknowledgement. It is told in
    /// MQTT 5; in both versions it bounds the messages that wait to be taken.
    pub receive_max: u16,
    /// How many bytes of messages may wait to be taken before reading pauses.
    pub queue_bytes_max: usize,
    /// How many publishes may wait for their acknowledgement at the same time.
    pub in_flight_max: u16,
    /// How long without a connection, in seconds, before a publish is answered with "away".
    pub away_seconds: u64,
    /// How long the broker may take to acknowledge a publish, in seconds, before the connection
    /// is given up as broken.
    pub answer_seconds: u64,
    /// How long until a refused subscription is tried again, in seconds.
    pub subscribe_retry_seconds: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            broker: String::new(),
            version: Version::default(),
            client_id: String::new(),
            username: None,
            password_file: None,
            password_env: None,
            allow_plain_password: false,
            ca_file: None,
            client_certificate_file: None,
            client_key_file: None,
            keep_alive_seconds: 30,
            connect_seconds: 10,
            packet_bytes_max: 16 << 20,
            session_expiry_seconds: 14 * 24 * 60 * 60,
            receive_max: 16_384,
            queue_bytes_max: 16 << 20,
            in_flight_max: 512,
            away_seconds: 10,
            answer_seconds: 30,
            subscribe_retry_seconds: 60,
        }
    }
}

/// A setting that cannot be used: which, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("setting `{key}`: {problem}")]
pub struct SettingsError {
    /// The setting's key.
    pub key: &'static str,
    /// What is wrong with it and what would be right.
    pub problem: String,
}

impl SettingsError {
    pub(crate) fn new(key: &'static str, problem: impl Into<String>) -> Self {
        Self { key, problem: problem.into() }
    }
}

impl Settings {
    /// Settings with the defaults of everything but the broker and the session's name.
    pub fn new(broker: impl Into<String>, client_id: impl Into<String>) -> Self {
        Self { broker: broker.into(), client_id: client_id.into(), ..Self::default() }
    }

    pub(crate) fn check_values(&self) -> Result<(), SettingsError> {
        Endpoint::parse(&self.broker)?;
        check_string("client_id", &self.client_id)?;
        if self.client_id.is_empty() {
            return Err(SettingsError::new(
                "client_id",
                "is missing; give the session a name that no other client of the broker uses",
            ));
        }
        if let Some(username) = &self.username {
            check_string("username", username)?;
        }
        check_positive("keep_alive_seconds", u64::from(self.keep_alive_seconds))?;
        check_positive("connect_seconds", self.connect_seconds)?;
        check_positive("receive_max", u64::from(self.receive_max))?;
        check_positive("queue_bytes_max", self.queue_bytes_max as u64)?;
        check_positive("answer_seconds", self.answer_seconds)?;
        check_positive("subscribe_retry_seconds", self.subscribe_retry_seconds)?;
        if !(256..=268_435_460).contains(&self.packet_bytes_max) {
            return Err(SettingsError::new(
                "packet_bytes_max",
                "must be between 256 and 268435460, the largest packet of MQTT",
            ));
        }
        if !(1..=IN_FLIGHT_LIMIT).contains(&self.in_flight_max) {
            let problem = format!("must be between 1 and {IN_FLIGHT_LIMIT}");
            return Err(SettingsError::new("in_flight_max", problem));
        }
        Ok(())
    }

    pub(crate) fn check_secrets(&self) -> Result<(), SettingsError> {
        let key = match (&self.password_file, &self.password_env) {
            (None, None) => return Ok(()),
            (Some(_), Some(_)) => {
                let problem = "is given together with `password_env`; name one of them";
                return Err(SettingsError::new("password_file", problem));
            }
            (Some(_), None) => "password_file",
            (None, Some(_)) => "password_env",
        };
        if self.username.is_none() && self.version == Version::V311 {
            let problem = "is missing; MQTT 3.1.1 has no password without a user name";
            return Err(SettingsError::new("username", problem));
        }
        let endpoint = Endpoint::parse(&self.broker)?;
        if !endpoint.tls && !endpoint.is_loopback() && !self.allow_plain_password {
            let problem = format!(
                "sends the password to {} as plain text: use mqtts://, or set \
                 `allow_plain_password = true` where nobody else is on the line",
                endpoint.host
            );
            return Err(SettingsError::new("broker", problem));
        }
        match self.password(SystemTime::UNIX_EPOCH) {
            Ok(_) => Ok(()),
            Err(error) => Err(SettingsError::new(key, error.to_string())),
        }
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_seconds)
    }
}

fn check_positive(key: &'static str, value: u64) -> Result<(), SettingsError> {
    if value == 0 { Err(SettingsError::new(key, "must be at least 1")) } else { Ok(()) }
}

fn check_string(key: &'static str, text: &str) -> Result<(), SettingsError> {
    if text.len() > STRING_BYTES_MAX || text.contains('\0') {
        let problem = format!("must have no zero byte and at most {STRING_BYTES_MAX} bytes");
        return Err(SettingsError::new(key, problem));
    }
    Ok(())
}

/// Where to connect to, read from the setting `broker`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
}

impl Endpoint {
    /// Whether what goes there stays on this machine.
    fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    pub(crate) fn parse(broker: &str) -> Result<Self, SettingsError> {
        let wrong = |problem: &str| {
            let advice = "write mqtt://host:port or mqtts://host:port";
            SettingsError::new("broker", format!("{problem}; {advice}"))
        };
        let (tls, rest) = match broker.split_once("://") {
            Some(("mqtt", rest)) => (false, rest),
            Some(("mqtts", rest)) => (true, rest),
            Some(_) => return Err(wrong("has a scheme that is neither mqtt nor mqtts")),
            None => return Err(wrong("is missing or has no scheme")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('@') {
            return Err(wrong(
                "holds a user or a password, which belong into `username` and `password_file`",
            ));
        }
        if rest.contains(['/', '?', '#']) || rest.contains(char::is_whitespace) {
            return Err(wrong("has more than a host and a port"));
        }
        let (host, port) = split_port(rest).ok_or_else(|| wrong("has a port that is no number"))?;
        if host.is_empty() {
            return Err(wrong("has no host"));
        }
        let port = port.unwrap_or(if tls { 8883 } else { 1883 });
        Ok(Self { host: host.to_owned(), port, tls })
    }
}

/// Splits `host[:port]` or `[ipv6][:port]`.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    if let Some(inner) = text.strip_prefix('[') {
        let (host, rest) = inner.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port.parse().ok()?))),
            None if rest.is_empty() => Some((host, None)),
            None => None,
        };
    }
    match text.split_once(':') {
        Some((host, port)) => Some((host, Some(port.parse().ok()?))),
        None => Some((text, None)),
    }
}

/// A text that no log, error or `Debug` may show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(secret)")
    }
}

/// A password and how long it is good for.
#[derive(Debug, Clone)]
pub struct Password {
    /// The password itself.
    pub secret: Secret,
    /// When to connect anew with a fresh one, if it expires.
    pub renew_at: Option<SystemTime>,
}

/// A password that could not be read or made: what, and why. Never shows the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PasswordError(pub String);

/// Gives the password of each connection. It is asked anew each time.
pub trait Passwords: Send + Sync + fmt::Debug {
    /// The password to connect with at the time `now`, or none.
    ///
    /// # Errors
    /// Where it comes from cannot be read. The connection is tried again later.
    fn password(&self, now: SystemTime) -> Result<Option<Password>, PasswordError>;
}

impl Passwords for Settings {
    fn password(&self, _now: SystemTime) -> Result<Option<Password>, PasswordError> {
        let Some(secret) =
            read_secret(self.password_file.as_deref(), self.password_env.as_deref())?
        else {
            return Ok(None);
        };
        if secret.expose().len() > STRING_BYTES_MAX {
            return Err(PasswordError(format!("holds more than {STRING_BYTES_MAX} bytes")));
        }
        Ok(Some(Password { secret, renew_at: None }))
    }
}

/// Reads a secret from a file or an environment variable; without either there is none.
pub(crate) fn read_secret(
    file: Option<&Path>,
    variable: Option<&str>,
) -> Result<Option<Secret>, PasswordError> {
    let text = if let Some(file) = file {
        std::fs::read_to_string(file).map_err(|error| {
            PasswordError(format!("cannot read the file {}: {error}", file.display()))
        })?
    } else if let Some(variable) = variable {
        std::env::var(variable).map_err(|_why| {
            PasswordError(format!("the environment variable {variable} is not set, or not text"))
        })?
    } else {
        return Ok(None);
    };
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(PasswordError("the secret is empty".to_owned()));
    }
    Ok(Some(Secret::new(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(broker: &str) -> (String, u16, bool) {
        let Endpoint { host, port, tls } = Endpoint::parse(broker).unwrap();
        (host, port, tls)
    }

    #[test]
    fn a_broker_is_a_scheme_a_host_and_perhaps_a_port() {
        assert_eq!(endpoint("mqtt://broker"), ("broker".into(), 1883, false));
        assert_eq!(endpoint("mqtts://broker/"), ("broker".into(), 8883, true));
        assert_eq!(endpoint("mqtt://127.0.0.1:99"), ("127.0.0.1".into(), 99, false));
        assert_eq!(endpoint("mqtts://[::1]:8884"), ("::1".into(), 8884, true));
        assert_eq!(endpoint("mqtt://[fe80::1]"), ("fe80::1".into(), 1883, false));
    }

    #[test]
    fn a_broker_that_cannot_be_read_is_told_by_its_key() {
        for broker in [
            "",
            "broker",
            "http://broker",
            "mqtt://",
            "mqtt://:1",
            "mqtt://b:port",
            "mqtt://b:99999",
            "mqtt://b/path",
            "mqtt://user:secret@b",
            "mqtt://[::1",
            "mqtt://[::1]x",
            "mqtt://a b",
        ] {
            let error = Endpoint::parse(broker).unwrap_err();
            assert_eq!(error.key, "broker", "{broker}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn each_wrong_setting_is_named() {
        let good = Settings::new("mqtt://127.0.0.1", "client");
        assert_eq!(good.check(), Ok(()));
        let check = |key: &str, change: fn(&mut Settings)| {
            let mut settings = good.clone();
            change(&mut settings);
            assert_eq!(settings.check().unwrap_err().key, key);
        };
        check("client_id", |s| s.client_id.clear());
        check("client_id", |s| s.client_id.push('\0'));
        check("username", |s| s.username = Some("u".repeat(70_000)));
        check("keep_alive_seconds", |s| s.keep_alive_seconds = 0);
        check("connect_seconds", |s| s.connect_seconds = 0);
        check("packet_bytes_max", |s| s.packet_bytes_max = 1);
        check("in_flight_max", |s| s.in_flight_max = u16::MAX);
        check("receive_max", |s| s.receive_max = 0);
        check("password_file", |s| s.password_file = Some("/nowhere/password".into()));
        check("password_env", |s| s.password_env = Some("TWINGE_MQTT_NOT_SET".into()));
        check("ca_file", |s| {
            s.broker = "mqtts://b".into();
            s.ca_file = Some("/nowhere/ca.pem".into());
        });
        check("client_key_file", |s| {
            s.broker = "mqtts://b".into();
            s.client_certificate_file = Some("/nowhere/c.pem".into());
        });
        check("ca_file", |s| s.ca_file = Some("/nowhere/ca.pem".into()));
    }

    #[test]
    fn a_password_is_read_without_its_line_end_and_never_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        std::fs::write(&path, "hush hush\r\n").unwrap();
        let settings = Settings { password_file: Some(path.clone()), ..Settings::default() };
        let password = settings.password(SystemTime::UNIX_EPOCH).unwrap().unwrap();
        assert_eq!(password.secret.expose(), "hush hush");
        assert!(!format!("{password:?} {settings:?}").contains("hush"));
        std::fs::write(&path, "\n").unwrap();
        assert!(settings.password(SystemTime::UNIX_EPOCH).is_err());
    }

    #[test]
    fn a_password_goes_to_no_other_machine_in_the_clear() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        std::fs::write(&path, "hush hush").unwrap();
        let with = |broker: &str, password_file: Option<&PathBuf>| Settings {
            password_file: password_file.cloned(),
            ..Settings::new(broker, "client")
        };
        for broker in
            ["mqtt://broker", "mqtt://10.0.0.2:1883", "mqtt://[fe80::1]", "mqtt://0.0.0.0"]
        {
            let plain = with(broker, Some(&path));
            let error = plain.check().unwrap_err();
            assert_eq!(error.key, "broker");
            assert!(error.to_string().contains("allow_plain_password"), "{error}");
            assert!(!error.to_string().contains("hush"), "{error}");
            assert_eq!(Settings { allow_plain_password: true, ..plain }.check(), Ok(()));
            assert_eq!(with(broker, None).check(), Ok(()), "without a password nothing is told");
        }
        for broker in ["mqtt://localhost", "mqtt://127.0.0.1:99", "mqtt://[::1]", "mqtts://broker"]
        {
            assert_eq!(with(broker, Some(&path)).check(), Ok(()), "{broker}");
        }
    }

    #[test]
    fn settings_are_read_with_their_defaults_and_refuse_a_wrong_key() {
        use serde::de::value::{Error, MapDeserializer};
        let read = |pairs: &[(&'static str, &'static str)]| {
            Settings::deserialize(MapDeserializer::<_, Error>::new(pairs.iter().copied()))
        };
        let settings = read(&[("broker", "mqtt://b"), ("version", "3.1.1")]).unwrap();
        assert_eq!(settings.version, Version::V311);
        assert_eq!(settings.keep_alive_seconds, 30);
        assert!(read(&[("version", "4")]).is_err());
        assert!(read(&[("password", "inline")]).unwrap_err().to_string().contains("password_file"));
    }
}
