//! What Azure `IoT` Hub asks of an MQTT client: names, topics, and tokens that expire.
//!
//! Follows <https://learn.microsoft.com/azure/iot/iot-mqtt-connect-to-iot-hub>. Makes settings
//! and passwords for a connection; knows no socket.

use std::fmt::{self, Write as _};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;

use crate::settings::{
    Password, PasswordError, Passwords, Secret, Settings, SettingsError, Version, read_secret,
};

/// The version of the hub's interface that this module speaks.
const API_VERSION: &str = "2021-04-12";

/// How long a token is good for, in seconds, where nothing else is said.
const TOKEN_SECONDS: u64 = 3_600;

/// Where a device's connection string comes from, and how long its tokens last.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Access {
    /// A file that holds the connection string.
    pub connection_string_file: Option<PathBuf>,
    /// The environment variable that holds it.
    pub connection_string_env: Option<String>,
    /// How long a token is good for, in seconds.
    pub token_seconds: u64,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            connection_string_file: None,
            connection_string_env: None,
            token_seconds: TOKEN_SECONDS,
        }
    }
}

impl Access {
    /// Reads the connection string.
    ///
    /// # Errors
    /// It is not given, cannot be read, or misses a part.
    pub fn device(&self) -> Result<Device, SettingsError> {
        let key = if self.connection_string_env.is_some() {
            "connection_string_env"
        } else {
            "connection_string_file"
        };
        if self.token_seconds < 60 {
            return Err(SettingsError::new("token_seconds", "must be at least 60"));
        }
        if self.connection_string_env.is_some() && self.connection_string_file.is_some() {
            let problem = "is given together with `connection_string_file`; name one of them";
            return Err(SettingsError::new(key, problem));
        }
        let secret = read_secret(
            self.connection_string_file.as_deref(),
            self.connection_string_env.as_deref(),
        )
        .map_err(|error| SettingsError::new(key, error.to_string()))?
        .ok_or_else(|| SettingsError::new(key, "is missing; it names the device and its key"))?;
        secret
            .expose()
            .parse()
            .map_err(|error: ConnectionStringError| SettingsError::new(key, error.to_string()))
    }

    /// Makes the tokens that a connection of `device` uses as passwords.
    pub fn passwords(&self, device: Device) -> Tokens {
        Tokens { device, lifetime: Duration::from_secs(self.token_seconds) }
    }
}

/// A connection string that cannot be read. It never shows the string, which holds a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionStringError {
    /// A part is not there.
    #[error("the connection string has no {0}; copy the device's primary connection string")]
    Missing(&'static str),
    /// The key is not base64.
    #[error("the SharedAccessKey of the connection string is not base64")]
    Key,
    /// The host or the device has characters that it cannot have.
    #[error("the {0} of the connection string is no name that a hub gives")]
    Name(&'static str),
}

/// A device of a hub, with the key that proves it.
#[derive(Clone)]
pub struct Device {
    host: String,
    id: String,
    key: Vec<u8>,
}

impl fmt::Debug for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Device")
            .field("host", &self.host)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl FromStr for Device {
    type Err = ConnectionStringError;

    /// Reads `HostName=...;DeviceId=...;SharedAccessKey=...`, in any order.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let part = |name: &'static str| {
            text.trim()
                .split(';')
                .filter_map(|pair| pair.split_once('='))
                .find(|(key, value)| *key == name && !value.is_empty())
                .map(|(_, value)| value)
                .ok_or(ConnectionStringError::Missing(name))
        };
        let (host, id, key) = (part("HostName")?, part("DeviceId")?, part("SharedAccessKey")?);
        let host_character = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
        if !host.chars().all(host_character) {
            return Err(ConnectionStringError::Name("HostName"));
        }
        // The characters that a hub allows in a device's name.
        let id_character = |c: char| c.is_ascii_alphanumeric() || "-.+%_#*?!(),:=@$'".contains(c);
        if id.len() > 128 || !id.chars().all(id_character) {
            return Err(ConnectionStringError::Name("DeviceId"));
        }
        let key = BASE64.decode(key).map_err(|_secret| ConnectionStringError::Key)?;
        Ok(Self { host: host.to_owned(), id: id.to_owned(), key })
    }
}

impl Device {
    /// The hub's host name.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The device's name, which is the session's name too.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The user name that the hub expects.
    pub fn username(&self) -> String {
        format!("{}/{}/?api-version={API_VERSION}", self.host, self.id)
    }

    /// Settings for a connection to the hub: MQTT 3.1.1 with TLS.
    pub fn settings(&self) -> Settings {
        Settings {
            version: Version::V311,
            username: Some(self.username()),
            ..Settings::new(format!("mqtts://{}:8883", self.host), self.id.clone())
        }
    }

    /// The topic for messages to the hub, with their properties: system properties by their
    /// short names, such as `$.ct` for the content type and `$.ce` for its encoding.
    pub fn events_topic(&self, properties: &[(&str, &str)]) -> String {
        let mut topic = format!("devices/{}/messages/events/", self.id);
        for (place, (name, value)) in properties.iter().enumerate() {
            if place > 0 {
                topic.push('&');
            }
            // `$` is kept: it is how the hub tells its own properties from the sender's.
            percent_encode(name, b"$", &mut topic);
            topic.push('=');
            percent_encode(value, b"", &mut topic);
        }
        topic
    }

    /// A token that proves the device until `expires`, counted in whole seconds.
    pub fn token(&self, expires: SystemTime) -> Secret {
        let expires = expires.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut resource = String::new();
        percent_encode(&format!("{}/devices/{}", self.host, self.id), b"", &mut resource);
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(format!("{resource}\n{expires}").as_bytes());
        let mut signature = String::new();
        percent_encode(&BASE64.encode(mac.finalize().into_bytes()), b"", &mut signature);
        Secret::new(format!("SharedAccessSignature sr={resource}&sig={signature}&se={expires}"))
    }
}

/// Tokens as the passwords of a connection, each renewed before it expires.
#[derive(Debug, Clone)]
pub struct Tokens {
    device: Device,
    lifetime: Duration,
}

impl Passwords for Tokens {
    fn password(&self, now: SystemTime) -> Result<Option<Password>, PasswordError> {
        // A fifth of the lifetime is left for a reconnect that takes long.
        let renew_at = Some(now + self.lifetime.mul_f64(0.8));
        Ok(Some(Password { secret: self.device.token(now + self.lifetime), renew_at }))
    }
}

/// Appends `text` with everything encoded but unreserved characters (RFC 3986) and `kept`.
fn percent_encode(text: &str, kept: &[u8], into: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.contains(&byte) {
            into.push(byte.into());
        } else {
            write!(into, "%{byte:02X}").expect("writing into a string does not fail");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const CONNECTION: &str =
        "HostName=plant.azure-devices.net;DeviceId=pump 7;SharedAccessKey=c2VjcmV0LWtleQ==";

    fn device() -> Device {
        CONNECTION.replace("pump 7", "pump-7").parse().unwrap()
    }

    #[test]
    fn a_connection_string_is_read_and_its_key_never_shown() {
        let device = device();
        assert_eq!(device.username(), "plant.azure-devices.net/pump-7/?api-version=2021-04-12");
        assert_eq!(device.settings().broker, "mqtts://plant.azure-devices.net:8883");
        assert_eq!(device.settings().client_id, "pump-7");
        let shown = format!("{device:?} {:?}", Access::default().passwords(device.clone()));
        assert!(!shown.contains("secret") && !shown.contains("115, 101"), "{shown}");
    }

    #[test]
    fn a_connection_string_with_a_wrong_part_is_told_without_it() {
        let read = |text: &str| text.parse::<Device>().unwrap_err();
        assert_eq!(read(CONNECTION), ConnectionStringError::Name("DeviceId"));
        assert_eq!(read(""), ConnectionStringError::Missing("HostName"));
        assert_eq!(
            read("HostName=h;DeviceId=d"),
            ConnectionStringError::Missing("SharedAccessKey")
        );
        assert_eq!(
            read("HostName=h/x;DeviceId=d;SharedAccessKey=AA=="),
            ConnectionStringError::Name("HostName")
        );
        let error = read("HostName=h;DeviceId=d;SharedAccessKey=hush!");
        assert_eq!(error, ConnectionStringError::Key);
        assert!(!error.to_string().contains("hush"));
    }

    #[test]
    fn properties_become_a_bag_at_the_end_of_the_topic() {
        let topic = device().events_topic(&[
            ("$.ct", "application/json"),
            ("$.ce", "utf-8"),
            ("a b", "ü&="),
        ]);
        let bag = "$.ct=application%2Fjson&$.ce=utf-8&a%20b=%C3%BC%26%3D";
        assert_eq!(topic, format!("devices/pump-7/messages/events/{bag}"));
        assert_eq!(device().events_topic(&[]), "devices/pump-7/messages/events/");
    }

    #[test]
    fn a_token_is_renewed_before_it_expires() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let tokens = Access::default().passwords(device());
        let password = tokens.password(now).unwrap().unwrap();
        assert!(password.secret.expose().ends_with("&se=4600"));
        assert_eq!(password.renew_at, Some(now + Duration::from_mins(48)));
    }

    /// The signature as the `openssl` program computes it.
    #[test]
    fn a_token_is_signed_as_openssl_signs_it() {
        let directory = tempfile::tempdir().unwrap();
        let text = directory.path().join("text");
        std::fs::write(&text, "plant.azure-devices.net%2Fdevices%2Fpump-7\n1700000000").unwrap();
        let key = format!("hexkey:{}", hex::encode("secret-key"));
        let output = Command::new("openssl")
            .args(["dgst", "-sha256", "-mac", "HMAC", "-macopt", &key, "-binary"])
            .arg(&text)
            .output();
        let Some(output) = crate::testing::program("openssl", output) else { return };
        assert!(output.status.success());
        let mut signature = String::new();
        percent_encode(&BASE64.encode(output.stdout), b"", &mut signature);
        let expires = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        assert_eq!(
            device().token(expires).expose(),
            format!(
                "SharedAccessSignature sr=plant.azure-devices.net%2Fdevices%2Fpump-7&sig={signature}&se=1700000000"
            )
        );
    }

    #[test]
    fn access_reads_the_connection_string_from_where_it_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("connection");
        std::fs::write(&path, format!("{}\n", CONNECTION.replace("pump 7", "pump-7"))).unwrap();
        let access = Access { connection_string_file: Some(path), ..Access::default() };
        assert_eq!(access.device().unwrap().id(), "pump-7");
        assert_eq!(Access::default().device().unwrap_err().key, "connection_string_file");
        let short = Access { token_seconds: 5, ..access };
        assert_eq!(short.device().unwrap_err().key, "token_seconds");
    }
}
